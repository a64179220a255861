"""The search's side of the trackers: checks them before anything starts, and has a process for each while it lasts."""

import contextlib
import importlib.util
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from http.client import HTTPException
from pathlib import Path
from types import TracebackType

from search.data.cache import check_folder
from search.record.tracking.sending import FINISHED, FOLDER, State, bare, last_time, resolved
from search.settings import TRACKERS, Settings, placed, trackers

FINISHING = 30.0  # seconds that trackers have at the end of a search for what is left
FAILING = 5.0  # and those of which it is known that they fail
PROBE = 3.0  # seconds in which a server has to answer before the search starts
# What is imported for a tracker, and what installs that: the extra of the same name, or what Ray Tune brings.
PACKAGES = {
    "mlflow": ("mlflow", "mlflow-skinny>=3.17,<4"),
    "wandb": ("wandb", "wandb>=0.31,<1"),
    "tensorboard": ("tensorboardX", "tensorboardX>=2.6,<3"),
}
SENDING = f"{__package__}.sending"


def check_installed(track: Sequence[str]) -> None:
    """Raises ValueError with the way out for a tracker whose package is not installed."""
    for name in trackers(track):
        package, install = PACKAGES[name]
        if importlib.util.find_spec(package) is None:
            raise ValueError(
                f"`track` needs the package {package} for {name}, and it is not installed: pip install '{install}'"
            )


def unanswered(name: str, target: str, folder: Path) -> str:
    """Why a tracker cannot be told from here, as far as one look tells; empty where nothing speaks against it.

    Any answer of a server is one: who may do what is settled later. Raises OSError for a folder that is no use.
    """
    place = resolved(name, target, State(folder, name), os.environ)
    if name != "wandb" and place and ":" not in place and not place.startswith("databricks"):
        check_folder(Path(place), f"--track {name}=FOLDER")
    if name != "mlflow" or not place.startswith(("http://", "https://")):
        return ""
    try:
        urllib.request.urlopen(f"{bare(place).rstrip('/')}/health", timeout=PROBE).close()
    except urllib.error.HTTPError:
        return ""
    except (OSError, ValueError, HTTPException) as error:
        why = getattr(error, "reason", error)
        said = f"no answer in {PROBE:g} s" if isinstance(why, TimeoutError) else getattr(why, "strerror", None) or why
        return f"nothing answers at {bare(place)} ({said})"
    return ""


class Trackers:
    """Tells trackers of a run while it lasts: `with` leaves them what is to be finished, and a bounded time for it.

    Args:
        say: what takes a line for the user.
        wait: whether to wait at the end for as long as they take, as nothing else is to be done.

    Raises ValueError for a tracker whose package is not installed.
    """

    def __init__(self, folder: Path, track: Sequence[str], say: Callable[[str], None], *, wait: bool = False) -> None:
        check_installed(track)
        self._folder = folder
        self._targets = trackers(track)
        self._say = say
        self._wait = wait
        self._told: dict[str, bool] = dict.fromkeys(self._targets, False)
        self.failing: set[str] = set()
        self.finished = False  # whether the run came to its end, report and models included
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._readers: list[threading.Thread] = []

    def check(self) -> None:
        """Says of every tracker that does not answer that the search goes on without it; called before it starts.

        Raises ValueError for one where nothing else is to be done.
        """
        for name, target in self._targets.items():
            why = unanswered(name, target, self._folder)
            if not why:
                continue
            rule = f"`track` needs a tracker that answers, and for {name} {why}"
            if self._wait:
                raise ValueError(rule)
            self._say(f"{rule}; {self._way_out(name)}")
            self._told[name] = True
            self.failing.add(name)

    def _way_out(self, name: str) -> str:
        if self._wait:
            return "the same command goes on where it ended"
        return f"the search goes on and tries it again, and `{self._command(name)}` sends the run later"

    def _command(self, name: str) -> str:
        given = f"{name}={self._targets[name]}" if self._targets[name] else name
        return f"pedigree track {shlex.quote(str(self._folder))} --track {shlex.quote(given)}"

    def begin(self, seconds: float | None = None) -> None:
        """Starts them; `seconds` are those of the search so far, None for one that is over."""
        if self._processes:
            return
        clock = None if seconds is None else (seconds_before(self._folder), time.time() - seconds)
        for name, target in self._targets.items():
            given = {
                "folder": str(self._folder), "name": name, "target": target, "clock": clock, "told": self._told[name],
                "way_out": self._way_out(name),
            }  # fmt: skip
            self._processes[name] = process = subprocess.Popen(
                [sys.executable, "-P", "-c", f"from {SENDING} import main; main()", json.dumps(given)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
                start_new_session=True,
            )
            reader = threading.Thread(target=self._listen, args=(name, process), name=f"track-{name}", daemon=True)
            reader.start()
            self._readers.append(reader)

    def _listen(self, name: str, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            said = json.loads(line)
            if said.get("failing") is not None:
                (self.failing.add if said["failing"] else self.failing.discard)(name)
            if said["say"]:
                self._say(said["say"])

    def __enter__(self) -> "Trackers":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        try:
            for process in self._processes.values():
                assert process.stdin is not None
                with contextlib.suppress(OSError):
                    process.stdin.write(f"{FINISHED if self.finished else 'interrupted'}\n".encode())
                with contextlib.suppress(OSError):
                    process.stdin.close()
            began = time.monotonic()
            # Input that was refused leaves no folder behind, and nothing to be told.
            for name, process in self._processes.items() if self._folder.exists() else ():
                self._await(name, process, began)
        finally:
            # At a second Ctrl-C as well.
            for process in self._processes.values():
                if process.poll() is None:
                    # With what a tracker's package may have started.
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        for reader, process in zip(self._readers, self._processes.values(), strict=True):
            assert process.stdout is not None
            reader.join()
            process.stdout.close()

    def _await(self, name: str, process: "subprocess.Popen[bytes]", began: float) -> None:
        """Waits until a process has ended, or for as long as a tracker in its state is given."""
        while process.poll() is None:
            waited = time.monotonic() - began
            if not self._wait and name in self.failing and waited > FAILING:
                return
            if not self._wait and waited > FINISHING:
                self._say(f"{name} needs longer than {FINISHING:g} s for what is left of the run; {self._rest(name)}")
                return
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
        if process.returncode and name not in self.failing:
            self.failing.add(name)
            log, code = self._folder / FOLDER / f"{name}.log", process.returncode
            self._say(f"{name} was not told all (exit code {code}, see `{log}`); {self._rest(name)}")

    def _rest(self, name: str) -> str:
        return f"`{self._command(name)}` sends the rest"


def send_run(folder: Path, track: Sequence[str] | None, say: Callable[[str], None]) -> set[str]:
    """Sends a run to trackers, by default to those that its search was given; returns the names of those that failed.

    Raises ValueError or OSError for what the user has to change.
    """
    if not (folder / "trials.jsonl").is_file():
        raise FileNotFoundError(f"needs the rows of a run, got no file at `{folder / 'trials.jsonl'}`")
    chosen = placed({"track": tuple(track or ())})["track"] or _given_before(folder)
    if not chosen:
        raise ValueError(f"`track` needs names from {', '.join(TRACKERS)}: the search of `{folder}` was given none")
    with Trackers(folder.absolute(), chosen, say, wait=True) as ours:
        ours.check()
        ours.begin()
        ours.finished = (folder / "results.json").is_file()
    return ours.failing


def _given_before(folder: Path) -> Sequence[str]:
    settings = folder / "settings.json"
    return Settings.from_json(settings.read_text(encoding="utf-8")).track if settings.is_file() else ()


def seconds_before(folder: Path) -> float:
    """Seconds of a search, by its rows so far."""
    rows = folder / "trials.jsonl"
    return last_time(rows) if rows.exists() else 0.0
