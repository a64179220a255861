"""A process that tells one tracker of one run, from `trials.jsonl` as rows are appended to it; the search never waits.

What has arrived is kept in `trackers/NAME.json` of the run folder, by target: a resumed run goes on there.
"""

import contextlib
import importlib
import json
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from results.analysis.metrics import ACCURACY, shown
from results.records import read_object
from results.rows import Row, clean
from search.data.cache import locked, write_aside
from search.record.tracking.calls import KILLED, Call, End, Log, Summary, Tracker, Translation

EVERY = 1.0  # seconds between two looks at the rows
PAUSE, LONGEST_PAUSE = 5.0, 60.0  # seconds until a tracker that failed is tried again
PATIENCE = 30.0  # seconds that a tracker may take over a batch until it is said not to answer
AT_ONCE = 200  # rows in a batch
ORPHANED = 60.0  # seconds that this process outlives its search
Patience = Callable[[], AbstractContextManager[None]]
FOLDER = "trackers"  # of a run's folder
FINISHED = "finished"  # the word with which a search that came to its end leaves
MODULES = {"mlflow": "mlflow_runs", "wandb": "wandb_runs", "tensorboard": "event_files"}


class State:
    """What a tracker has of a run, by target, in a file of the run's folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / FOLDER / f"{name}.json"
        try:
            self._whole = read_object(self.path)
        except (OSError, ValueError):
            # Without it the run would only be sent anew.
            self._whole = {}

    def default(self, place: str) -> str:
        """The place that stands for no target: the one that stood for it at first, whatever it is now."""
        return str(self._whole.setdefault("default", place))

    def of(self, target: str) -> dict[str, Any]:
        """The part of one target: `token`, `offset` into the rows in bytes, `clock` and the tracker's own `ids`."""
        targets: dict[str, Any] = self._whole.setdefault("targets", {})
        fresh = {"token": uuid.uuid4().hex[:12], "offset": 0, "clock": [], "ids": {}}
        found: dict[str, Any] = targets.setdefault(target, fresh)
        return found

    def save(self) -> None:
        """Writes the file, whole or not at all."""
        self.path.parent.mkdir(exist_ok=True)
        write_aside(self.path, json.dumps(self._whole))


class Clock:
    """Tells the time of day of a row: a resumed search counts its seconds on from those of before."""

    def __init__(self, pieces: list[list[float]]) -> None:
        self._pieces = pieces  # seconds into the search, and the time of day at its second 0 from there on

    def at(self, seconds: float) -> float:
        """Seconds since 1970."""
        began = next((began for since, began in reversed(self._pieces) if since < seconds), self._pieces[0][1])
        return began + seconds


class Sending:
    """Sends the rows of a run to one tracker that is connected.

    Rows that it has already are read again for what follows from them, and not sent. `patience` is held during a call.
    """

    def __init__(
        self, folder: Path, state: State, target: str, connect: Callable[..., Tracker], patience: Patience = nullcontext
    ) -> None:
        self._patience = patience
        self._folder, self._state, self._own = folder, state, state.of(bare(target))
        self._clock = Clock(self._own["clock"])
        # It is looked for under its token if it exists and its id was lost.
        state.save()
        with patience():
            self.tracker = connect(target, folder, self._own, self._clock)
        state.save()
        self._translation = Translation()
        self._read = 0
        self._last = 0.0  # seconds into the search, of the last row
        before = -1
        while before < self._read < self._own["offset"]:
            before = self._read
            for row in self._next(self._own["offset"]):
                list(self._translation.calls(row))
        # A search that was interrupted ended these for the tracker; with their next figure they are at work again.
        self._idle = dict(self._translation.open)

    def _next(self, until: int | None = None) -> Iterator[Row]:
        """The next whole rows, those of one batch at most; torn and foreign lines are passed over."""
        with (self._folder / "trials.jsonl").open("rb") as file:
            file.seek(self._read)
            for _ in range(AT_ONCE):
                line = file.readline() if until is None or self._read < until else b""
                if not line.endswith(b"\n"):
                    return
                self._read += len(line)
                with contextlib.suppress(ValueError, RecursionError):
                    row = clean(json.loads(line))
                    if row is not None:
                        self._last = max(self._last, float(row["time"]))
                        yield row

    def send_new(self) -> bool:
        """Sends what was appended since the last time; says whether there was anything."""
        found = False
        while True:
            begin = self._read
            calls = [call for row in self._next() for call in self._translation.calls(row)]
            if self._read == begin:
                return found
            found = True
            with self._patience():
                self.tracker.send(list(self._woken(calls)))
            self._own["offset"] = self._read
            self._state.save()

    def _woken(self, calls: list[Call]) -> Iterator[Call]:
        """The calls, and before the first of a run that lay idle that it begins again."""
        for call in calls:
            begin = self._idle.pop(call.run, None)
            if begin is not None and (isinstance(call, End) or (isinstance(call, Log) and call.curve)):
                yield begin
            yield call

    def finish(self, finished: bool, *, live: bool) -> None:
        """Ends what is still at work, and the run; artifacts go with one that came to its end.

        `live` says that it ends now, and not with its last row.
        """
        now = max(self._last, time.time() - self._own["clock"][-1][1]) if live else self._last
        left = [End(run, KILLED, "the search was interrupted", now) for run in self._translation.open]
        self.tracker.send(left)
        self.tracker.finish(FINISHED if finished else KILLED, summary(self._folder) if finished else Summary(), now)
        self._state.save()


def summary(folder: Path) -> Summary:
    """What the report of a run says, and the files that are kept of it."""
    files = [(str(folder / name), "") for name in ("report.html", "results.json") if (folder / name).is_file()]
    files += [(str(path), "models") for path in sorted(folder.glob("models/*")) if path.is_file()]
    try:
        results = read_object(folder / "results.json")
    except (OSError, ValueError):
        return Summary(files=tuple(files))
    figures: dict[str, float | None] = {}
    tags: dict[str, str] = {}
    winner = results.get("winner")
    if winner is not None:
        record = results["families"][winner]
        tags = {"winner": str(winner), "winning_trial": str(record["best"]["trial"])}
        figures["validation_accuracy"] = record["best"]["validation_accuracy"]
        metric, test = record.get("metric", ACCURACY), (record.get("test") or {}).get("metric")
        if metric != ACCURACY:
            figures[f"validation_{metric}"] = shown(metric, record["best"]["score"])
            figures[f"test_{metric}"] = test and test["value"]
        for name, key in (("test_accuracy", "accuracy"), ("test_low", "low"), ("test_high", "high")):
            figures[name] = (record.get("test") or {}).get(key)
    report = folder / "report.md"
    text = report.read_text(encoding="utf-8").partition("\n## ")[0] if report.is_file() else ""
    return Summary(
        {name: float(value) for name, value in figures.items() if isinstance(value, int | float)},
        tags,
        # Its title and its verdict: what it draws is in report.html.
        "\n".join(line for line in text.splitlines() if not line.startswith("![")),
        tuple(files),
    )


def resolved(name: str, target: str, state: State, environment: Mapping[str, str]) -> str:
    """Where a tracker is told, whole; without a target as the environment says, else where it was told at first."""
    if name == "mlflow" and not target:
        given = environment.get("MLFLOW_TRACKING_URI")
        before = state.default(bare(given) if given else str(Path.cwd()))
        return given or before
    # A run's own folder may be moved, and a project of Weights & Biases has its defaults in its own settings.
    return target


def bare(place: str) -> str:
    """An address without the user and the password that may stand in it."""
    scheme, mark, rest = place.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}" if mark else place


class Voice:
    """What is said to the search, a line of JSON each: a failure once, and once that it is over."""

    def __init__(self, stream: TextIO, way_out: str, told: bool) -> None:
        self._stream, self._way_out = stream, way_out
        self._told, self._recovered, self._placed = told, False, False
        self._failing = told
        self._speaking = threading.Lock()

    def say(self, line: str, **more: bool) -> None:
        """A line for the user; where nobody listens any more, it is lost."""
        with self._speaking, contextlib.suppress(OSError, ValueError):
            self._stream.write(json.dumps({"say": line, **more}) + "\n")
            self._stream.flush()

    def place(self, line: str) -> None:
        """Where people look at the run; said once."""
        if not self._placed:
            self.say(line)
        self._placed = True

    def failed(self, what: str) -> None:
        """It fails or does not answer."""
        self._failing = True
        self.say("" if self._told else f"{what}; {self._way_out}", failing=True)
        self._told = True

    def arrived(self, name: str) -> None:
        """What was sent has arrived."""
        if self._failing:
            self.say("" if self._recovered else f"{name} answers again", failing=False)
            self._failing, self._recovered = False, True

    @contextlib.contextmanager
    def patience(self, what: str) -> Iterator[None]:
        """Says so where what is done here takes too long."""
        timer = threading.Timer(PATIENCE, self.failed, (what,))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


def follow(
    folder: Path, name: str, target: str, clock: tuple[float, float] | None, over: threading.Event, words: list[str],
    voice: Voice,
) -> int:  # fmt: skip
    """Sends rows until the search is over, and then the rest; returns the exit status.

    Args:
        clock: seconds into the search and the time of day at its second 0; None where the run is over already.
        words: the word that the search left with, once `over` is set.
    """
    state = State(folder, name)
    place = resolved(name, target, state, os.environ)
    own = state.of(bare(place))
    if clock is not None:
        own["clock"].append(list(clock))
    elif not own["clock"]:
        rows = folder / "trials.jsonl"
        own["clock"].append([0.0, rows.stat().st_mtime - last_time(rows)])
    silent = f"`track` needs a tracker that answers, and {name} has not answered for {PATIENCE:.0f} s"
    sending: Sending | None = None
    pause = PAUSE
    while True:
        last = over.is_set()
        try:
            if sending is None:
                connect = importlib.import_module(f"{__package__}.{MODULES[name]}").connect
                sending = Sending(folder, state, place, connect, partial(voice.patience, silent))
                voice.place(f"{name}: {sending.tracker.place}")
            sending.send_new()
            voice.arrived(name)
            pause = PAUSE
            if last:
                # Files may take long, and the search itself says when it waits no more.
                sending.finish(words == [FINISHED], live=clock is not None)
                return 0
        except Exception as error:
            print(time.strftime("%Y-%m-%d %H:%M:%S"), repr(error), flush=True)
            voice.failed(f"`track` needs a tracker that can be told, and {name} fails: {in_a_line(error)}")
            if last:
                return 1
            sending = None
            over.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            continue
        over.wait(EVERY)


def last_time(rows: Path) -> float:
    """Seconds into the search at which the last row was written."""
    found = 0.0
    with rows.open("rb") as lines:
        for line in lines:
            with contextlib.suppress(ValueError, RecursionError):
                row = clean(json.loads(line))
                found = float(row["time"]) if row is not None else found
    return found


def in_a_line(error: Exception, most: int = 200) -> str:
    """What an error says, shortened."""
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= most else f"{words[:most]}..."


def main() -> None:
    """The process: arguments as JSON; its standard input ends with the search."""
    given = json.loads(sys.argv[1])
    # Ctrl-C is for the search, which then says that it is over.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        # Behind the trials, but not so far that they would starve it.
        os.nice(5)
    # Whatever a tracker's package prints goes into its log, and never between the lines of the search.
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    folder, name = Path(given["folder"]), given["name"]
    (folder / FOLDER).mkdir(exist_ok=True)
    with (folder / FOLDER / f"{name}.log").open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    over = threading.Event()
    words: list[str] = []

    def listen() -> None:
        words.extend(line.strip() for line in sys.stdin)
        over.set()
        if given["clock"] is not None:
            # The search gives a tracker less; this is for one that was killed.
            orphaned = threading.Timer(ORPHANED, os._exit, (1,))
            orphaned.daemon = True
            orphaned.start()

    threading.Thread(target=listen, name="search", daemon=True).start()
    voice = Voice(stream, given["way_out"], given["told"])
    with locked(folder / FOLDER / f"{name}.lock", wait=given["clock"] is not None) as ours:
        if ours:
            clock = given["clock"]
            status = follow(folder, name, given["target"], tuple(clock) if clock else None, over, words, voice)
        else:
            voice.failed(f"`track` needs a run that nobody else sends, and another process sends `{folder}` to {name}")
            status = 1
    sys.stdout.flush()
    # Threads of a tracker's package that still wait for something do not hold this process.
    os._exit(status)
