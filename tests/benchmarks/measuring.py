"""What the benchmarks share: a command followed while it writes rows, a table for people, JSON for everyone else."""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from search.data import cache
from search.data import pictures as data
from search.data.pictures import File, Pictures
from search.settings import Settings, seconds
from search.training.weights import find_weights

ROOT = Path(__file__).resolve().parents[2]
POLL = 0.05  # seconds between two looks at a file that another process writes

Row = dict[str, Any]


@contextmanager
def folder_aside() -> Iterator[Path]:
    """A folder for one measurement, removed after it."""
    # A worker that was interrupted may take a moment to die, and write until then.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        yield Path(place)
        cache.settled()


def parse(command: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options, and in `more` what follows a `--`."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    end = given.index("--") if "--" in given else len(given)
    return argparse.Namespace(**vars(command.parse_args(given[:end])), more=given[end + 1 :])


def parser_over_seeds(
    name: str, description: str | None, *, weights: str, budget: tuple[float, str], each: str
) -> argparse.ArgumentParser:
    """The options of a benchmark that searches a folder once for each seed.

    `budget` is the usual one in seconds and in words, `each` what a seed stands for.
    """
    command = argparse.ArgumentParser(
        prog=f"python -m tests.benchmarks.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="What follows `--` goes to search/run.py as it is.",
    )
    command.add_argument(
        "data", type=lambda text: Path(text).absolute(), metavar="DATA", help="a folder of class folders"
    )
    usual, said = budget
    command.add_argument("--weights", default="imagenet", help=f"as of search/run.py{weights}")
    command.add_argument("--budget", type=seconds, default=usual, help=f"of each search, as {said} (default: {said})")
    command.add_argument(
        "--seeds", type=lambda text: [int(part) for part in text.split(",")], default=[0, 1, 2, 3, 4], metavar="N,N",
        help=f"one {each} each (default: 0,1,2,3,4)",
    )  # fmt: skip
    command.add_argument("--out", type=Path, metavar="FILE", help="where the result goes as JSON")
    return command


def names_from(known: Iterable[str]) -> Callable[[str], tuple[str, ...]]:
    """What reads an option that is names out of those known, separated by commas."""

    def read(text: str) -> tuple[str, ...]:
        found = tuple(part for part in text.split(",") if part)
        for name in found:
            if name not in known:
                raise argparse.ArgumentTypeError(f"needs names from {', '.join(known)}, got {name!r}")
        return found

    return read


def start(command: Sequence[str], log: Path) -> "subprocess.Popen[bytes]":
    """Starts a Python command of this project in a process of its own, what it prints going to `log`."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "TF_CPP_MIN_LOG_LEVEL": "3"}
    # What a shell started in the background ignores Ctrl-C, and hands that down: these are ended by it.
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if ignored:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with log.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, *command], cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT
            )
    finally:
        if ignored:
            signal.signal(signal.SIGINT, signal.SIG_IGN)


def follow(
    command: Sequence[str], rows: Path, log: Path, enough: Callable[[Row], bool] = lambda row: False
) -> tuple[list[Row], float]:
    """Runs a command that appends JSON rows to a file; returns the rows and the seconds that the command took.

    Each row gets `arrived`, seconds from the start of the process until the row could be read: the same clock for
    whatever program wrote it. The process is interrupted after a row that is `enough`. Raises RuntimeError with the end
    of the log where the command fails.
    """
    began = time.monotonic()
    process = start(command, log)
    seen: list[Row] = []
    satisfied = False
    try:
        while True:
            over = process.poll() is not None
            for row in _new_rows(rows, len(seen)):
                seen.append({**row, "arrived": round(time.monotonic() - began, 2)})
                satisfied = satisfied or enough(row)
            if over or satisfied:
                break
            time.sleep(POLL)
    finally:
        seconds = time.monotonic() - began
        stop(process)
    if process.returncode and not satisfied:
        end = log.read_text(errors="replace")[-2000:]
        raise RuntimeError(f"`{' '.join(command)}` ended with exit code {process.returncode}:\n{end}")
    return seen, seconds


def stop(process: "subprocess.Popen[bytes]") -> None:
    """Interrupts a process as Ctrl-C would, and waits for its end."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _new_rows(path: Path, known: int) -> Iterator[Row]:
    if path.exists():
        # The last line may be half written; it is read once its line feed is there.
        for line in path.read_text(encoding="utf-8").split("\n")[known:-1]:
            yield json.loads(line)


def outlived(child: Callable[[int], "subprocess.CompletedProcess[str]"]) -> tuple[list[Row], dict[str, str]]:
    """Runs children that work through a list, from a given place on, until one comes to the end.

    A child prints rows: one with `begins` before each item and one with `ends` after it. Returns all rows, and the
    items at which a child died, with how. Raises RuntimeError where one died between two items.
    """
    rows: list[Row] = []
    died: dict[str, str] = {}
    start = 0
    while True:
        done = child(start)
        new = [json.loads(line) for line in done.stdout.splitlines()]
        rows += new
        if done.returncode == 0:
            return rows, died
        begun = [row["begins"] for row in new if "begins" in row]
        if not begun or any(row.get("ends") == begun[-1] for row in new):
            raise RuntimeError(f"a child ended with exit code {done.returncode}:\n{done.stderr[-2000:]}")
        died[begun[-1]] = "hang" if "Timeout" in done.stderr else f"exit code {done.returncode}"
        start += len(begun)


def ready_pictures(settings: Settings) -> Pictures:
    """The pictures of a run on this machine, with the weights of its trunks: what a worker is given, without Ray."""
    weights = find_weights(settings.weights, seed=settings.seed)
    found, _ = data.prepare(settings, os.cpu_count() or 1, lambda line: None)
    files = {(item.backbone, item.alpha): File(item.path, item.digest) if item.path else None for item in weights}
    return replace(found, weights=files)


def resident(process: int) -> float:
    """MiB of memory that a process holds."""
    with open(f"/proc/{process}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def show(result: dict[str, Any], heads: Sequence[str], body: Sequence[Sequence[Any]], out: Path | None) -> None:
    """Prints a table and the whole result as JSON; the JSON also goes to `out`."""
    cells = [list(heads), *([_cell(value) for value in row] for row in body)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    for row in cells:
        print(
            "  ".join(
                cell.rjust(width) if index else cell.ljust(width)
                for index, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
        )
    text = json.dumps(result)
    print(text, flush=True)
    if out is not None:
        out.write_text(text + "\n", encoding="utf-8")


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 10 else f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
