"""A process that imports Keras once and trains one job after another.

It is a child of the actor that Tune runs, and not the actor itself: TensorFlow never gives back all memory of a model,
so past a bound the child is replaced between two trials, at the price of an import and no more; and a child that
the system kills takes one trial with it, while Tune's actor stays to say so.
"""

import contextlib
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe
from typing import Any

import psutil

from results.analysis.metrics import ACCURACY
from results.terminal import plain
from search.data.cache import traffic
from search.data.pictures import Pictures
from search.home import settle_home
from search.training import devices
from search.training.activations import OutOfTime, limited
from search.training.latency import MODELS, measure
from search.training.own_models import OwnModels
from search.training.trial import MATERIALS, Diverged, Row, seconds_a_picture, train

# Rows of a trial travel together while they come faster than this, in seconds: each journey costs what a head-only
# epoch costs.
GATHER = 1.0


# Seconds between two signs of life of a child that trains nothing yet, but builds what it will train on.
HEARTBEAT = 10.0

OUT_OF_MEMORY = ("out of memory", "resource_exhausted")


FINAL = "final"
RETRAIN = "retrain"
REFIT = "refit"
TIMING = "pace"


@dataclass(frozen=True)
class Job:
    """One trial, one training of a final, one retraining or refit, as plain values."""

    kind: str  # "search", "final", "retrain", "refit" or "pace"
    family: str
    config: dict[str, Any]
    seed: int
    epochs: int
    planned: int
    most_views: int
    rungs: tuple[int, ...] = ()  # epochs after which the answer to a report may be to stop
    export: bool = False
    kept: bool = False  # whether checkpoints are made at the rungs
    measured: bool = False  # whether its model's cost is to be reported before it is trained
    fold: int = 0  # of a final: the one that is left out
    name: str = ""  # of a final and of an own model: the trial whose it is
    last: bool = False  # whether a checkpoint of the last epoch is made
    # Seconds after which no further epoch of a retraining begins, and a trial is ended whatever it is at.
    within: float | None = None
    own: bool = False  # of a retraining: nothing is trained, the model is that of the trial's checkpoint
    held: dict[str, Any] | None = None  # of a retraining: what held-out pictures said of the configuration's confidence
    probe: dict[str, Any] | None = None  # of a retraining that exports: the probe that labels are checked with


@dataclass(frozen=True)
class Setup:
    """What a worker is set up for, once."""

    threads: int
    precision: str
    memory: float  # GiB
    run: str = ""  # its name
    gpu_share: float = 0.0
    cache_dir: str = ""  # of every node; empty: each node's own default
    timeout: float | None = None  # seconds without a sign of life after which a trial is ended
    own: OwnModels = field(default_factory=OwnModels)  # the user's hypermodels
    backend: str = ""  # of Keras, the driver's, whatever the node's own settings say; empty: the node's
    folder: str = ""  # where jobs run, that of the command; empty: where the worker is
    metric: str = ACCURACY  # what trials and finals are judged by
    cache_limit: int | None = None  # bytes to which a node's cache is brought before the first job there


class WorkerDied(Exception):
    """The child ended without an answer; the message says how."""


class WorkerHung(Exception):
    """The child gave no sign of life for as long as it may, and was killed."""


class Worker:
    """The actor's handle on its child."""

    def __init__(
        self,
        setup: Setup,
        pictures: Pictures,
        count: Callable[[dict[str, tuple[int, int]]], None] = lambda counts: None,
    ) -> None:
        self._setup = setup
        self._pictures = pictures
        self._count = count  # is given the traffic of the child's caches as it comes
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None
        self._start()

    def run(
        self,
        job: Job,
        report: Callable[[list[Row]], None],
        keep: Callable[[bytes], None] = lambda checkpoint: None,
        checkpoint: bytes = b"",
    ) -> tuple[str, Any]:
        """Runs a job, from a checkpoint where one is given; `keep` is given those that it makes.

        `report` is given rows as they come and may raise to end the trial.
        Returns ("finished", result or None), ("failed" or "out of memory" or "late", reason). Raises `WorkerDied` or
        `WorkerHung`, after which the next job has a new child.
        """
        pipe = self._pipe or self._start()
        asked = False  # whether the child waits for an answer
        ended = False
        try:
            pipe.send((job, checkpoint))
            while pipe.poll(self._setup.timeout):
                kind, value = pipe.recv()
                if kind == "traffic":
                    self._count(value)
                elif kind == "checkpoint":
                    keep(value)
                elif kind == "rows":
                    asked = True
                    report(value)
                    pipe.send("go on")
                    asked = False
                else:
                    ended = True
                    return kind, value
            raise WorkerHung(f"no sign of life for {self._setup.timeout:g} s, which is --trial-timeout")
        except (EOFError, BrokenPipeError, ConnectionResetError) as error:
            ended = True
            raise WorkerDied(self._death()) from error
        finally:
            if asked:
                # The report raised: the trial is to end, and the child says that it has.
                pipe.send("stop")
                while pipe.recv()[0] == "traffic":
                    pass
            elif not ended:
                self._kill()
            self._recycle()

    def _kill(self) -> None:
        assert self._process is not None
        assert self._pipe is not None
        self._process.kill()
        self._process.wait()
        self._pipe.close()
        self._pipe = None

    def _start(self) -> Connection:
        ours, theirs = Pipe()
        environment = dict(os.environ, PYTHONPATH=os.pathsep.join(path for path in sys.path if path))
        environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        # A frozen pass frees and takes back its layers' outputs picture for picture: in large pages it spends a third
        # of the time on that, and is a seventh faster. Read by glibc alone.
        environment.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
        if self._setup.backend:
            environment["KERAS_BACKEND"] = self._setup.backend
        settle_home(self._pictures.cache, environment)
        self._process = subprocess.Popen(
            # The run's name is for those who look at the processes of a node.
            [sys.executable, "-P", "-c", f"from {__name__} import main; main()", str(theirs.fileno()), self._setup.run],
            pass_fds=[theirs.fileno()],
            env=environment,
            stdin=subprocess.DEVNULL,
            # A hypermodel may open files by relative paths, as it did when its `build` was checked.
            cwd=self._setup.folder or None,
        )
        theirs.close()
        ours.send((self._setup, self._pictures))
        self._pipe = ours
        return ours

    def _death(self) -> str:
        assert self._process is not None
        code = self._process.wait()
        self._pipe = None
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        memory = " (often the system's answer to a lack of memory)" if code == -9 else ""
        return f"the worker process {how}{memory}"

    def _recycle(self) -> None:
        if self._process is None or self._pipe is None:
            return
        if resident(self._process.pid) > self._setup.memory * 2**30:
            self._pipe.close()
            self._process.wait()
            self._start()


class _Stopped(Exception):
    pass


class Line:
    """The child's end of the pipe, on which its heart beats between what the trial says."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._sending = threading.Lock()

    def send(self, kind: str, value: Any) -> None:
        with self._sending:
            self._pipe.send((kind, value))

    def recv(self) -> Any:
        return self._pipe.recv()

    def beat(self) -> None:
        """Says now and then what caches have been filled with: where nothing else is heard, work still goes on."""
        while True:
            time.sleep(HEARTBEAT)
            counts = traffic.take()
            if any(entries for entries, _ in counts.values()):
                self.send("traffic", counts)


def serve(pipe: Connection) -> None:
    """The child's whole life: jobs from the pipe until it closes."""
    setup, pictures = pipe.recv()
    end_with_parent()
    line = Line(pipe)
    try:
        devices.prepare(setup.threads, setup.precision, setup.gpu_share)
        MATERIALS.update(setup.own.materials())
        MODELS.update(setup.own.exported())
    except Exception as error:  # what keeps every trial from starting is the reason of each, and not an exit code
        traceback.print_exc()
        _refuse(line, f"the worker cannot start: {describe(error)}")
        return
    threading.Thread(target=line.beat, daemon=True).start()
    while True:
        try:
            job, checkpoint = line.recv()
        except (EOFError, ConnectionResetError):
            return
        answer = _answer(line, setup, pictures, job, checkpoint)
        line.send("traffic", traffic.take())
        line.send(*answer)
        devices.forget_models()


def _refuse(line: Line, reason: str) -> None:
    """Answers every job with the reason why none can be done here."""
    with contextlib.suppress(EOFError, ConnectionResetError, BrokenPipeError):
        while True:
            line.recv()
            line.send("failed", reason)


def _answer(line: Line, setup: Setup, pictures: Pictures, job: Job, checkpoint: bytes) -> tuple[str, Any]:
    rows: list[Row] = []
    sent = time.monotonic()

    def report(row: Row) -> None:
        peak = devices.gpu_peak()
        rows.append({**row, "gpu_peak": peak, "gpu_total": devices.gpu_memory()} if peak else row)
        due = time.monotonic() - sent > GATHER
        if job.kind == "search" and (due or row["epoch"] in job.rungs or row["epoch"] == job.epochs):
            deliver()

    def deliver() -> None:
        nonlocal sent
        line.send("traffic", traffic.take())
        line.send("rows", list(rows))
        rows.clear()
        if line.recv() == "stop":
            raise _Stopped
        sent = time.monotonic()

    def keep(content: bytes) -> None:
        # Not before the rows of its epochs: whoever goes on from it trains none of them again.
        if rows and job.kind == "search":
            deliver()
        line.send("checkpoint", content)

    common: dict[str, Any] = {
        "seed": job.seed,
        "epochs": job.epochs,
        "planned": job.planned,
        "most_views": job.most_views,
        "threads": setup.threads,
        "report": report,
        "rungs": job.rungs,
        "keep": keep if job.kept else None,
        "checkpoint": checkpoint,
    }
    metric = setup.metric
    try:
        if job.measured:
            line.send("rows", [{"event": "cost", **measure(job.family, job.config, pictures, setup.threads)}])
            if line.recv() == "stop":
                raise _Stopped
        if job.kind == TIMING:
            return "finished", seconds_a_picture(
                job.family, job.config, pictures.without_test(), seed=job.seed, most_views=job.most_views,
                threads=setup.threads,
            )  # fmt: skip
        if job.kind == "search":
            with limited(None if job.within is None else time.monotonic() + job.within):
                train(job.family, job.config, pictures.without_test(), last=job.last, metric=metric, **common)
            return "finished", None
        from search.training.retraining import play, refit, retrain

        if job.kind == FINAL:
            held_in = pictures.without_test()
            return "finished", play(job.family, job.config, held_in, fold=job.fold, metric=metric, **common)

        until = None if job.within is None else time.monotonic() + job.within
        if job.kind == REFIT:
            return "finished", refit(job.family, job.config, pictures, until=until, held=job.held, **common)
        return "finished", retrain(
            job.family, job.config, pictures, export=job.export, until=until, own=job.own, held=job.held,
            probe=job.probe, **common,
        )  # fmt: skip
    except _Stopped:
        return "stopped", None
    except OutOfTime:
        try:
            if rows:
                deliver()
        except _Stopped:
            return "stopped", None
        return "late", "the time for it is up"
    except Diverged as error:
        return "failed", str(error)
    except Exception as error:  # whatever a configuration does, it fails alone
        traceback.print_exc()
        return ("out of memory" if lacked_memory(error) else "failed"), describe(error)


def lacked_memory(error: Exception) -> bool:
    """Whether an error says that the device had no memory left, as Python, TensorFlow and JAX say it."""
    signs = any(sign in str(error).lower() for sign in OUT_OF_MEMORY)
    return isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError" or signs


def describe(error: Exception) -> str:
    """An error in one line, lack of memory told apart."""
    text = " ".join(plain(error).split())[:300]
    if lacked_memory(error):
        return f"out of memory: {text}" if text else "out of memory"
    return f"{type(error).__name__}: {text}"


def end_with_parent() -> None:
    """Ends this process when the one that started it is gone."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def resident(process: int) -> int:
    """Bytes of memory that a process holds, 0 where it is gone."""
    try:
        return int(psutil.Process(process).memory_info().rss)
    except (OSError, psutil.Error):
        return 0


def main() -> None:
    """The child's beginning: its end of the pipe is the file whose number it is given."""
    serve(Connection(int(sys.argv[1])))
