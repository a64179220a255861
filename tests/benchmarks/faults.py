"""Processes killed on purpose, and what must be true of the run folder afterwards: shared by `chaos` and `killed`."""

import contextlib
import json
import os
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from results.rows import RUNNING, parse_rows
from search.schedule.rungs import rung_epochs
from search.settings import Settings

Row = dict[str, Any]
CHILD = "search.training.worker import main"  # in the command of a worker's child


@dataclass(frozen=True)
class Process:
    """A process as /proc shows it; `began`, in clock ticks since the boot, tells it from a later one of its number."""

    number: int
    began: int
    parent: int = field(compare=False)  # an orphan gets another one
    command: str = field(compare=False)

    def alive(self) -> bool:
        """Whether this very process runs still; one that has ended and waits for its parent does not."""
        found = _process(self.number)
        return found is not None and found.began == self.began

    def kill(self) -> None:
        """SIGKILL, if it has not ended by itself."""
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.number, signal.SIGKILL)


def descendants(ancestor: int) -> list[Process]:
    """Every process that a process has started, and they, and so on, as long as their parents live."""
    children = defaultdict(list)
    for place in os.listdir("/proc"):
        if place.isdigit() and (found := _process(int(place))) is not None:
            children[found.parent].append(found)
    family, waiting = [], [ancestor]
    while waiting:
        own = children[waiting.pop()]
        family += own
        waiting += [process.number for process in own]
    return family


def marked(mark: str) -> list[Process]:
    """Every process that was started with these words in its environment, orphans included.

    A process that has put a title of its own over its environment, as Ray's workers do, is not found.
    """
    found = []
    for place in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if place.isdigit() and mark.encode() in Path("/proc", place, "environ").read_bytes():
                process = _process(int(place))
                found += [process] if process and process.number != os.getpid() else []
    return found


def outlive(
    processes: Collection[Process], mark: str, seconds: float, but: Sequence[str] = ()
) -> tuple[list[Process], float]:
    """Waits for the end of processes and of all that carry a mark; returns those that have not ended, and the wait.

    Those with one of the words `but` in their command are not waited for.
    """
    began = time.monotonic()
    while True:
        found = {*processes, *marked(mark)}
        left = [process for process in found if process.alive() and not any(word in process.command for word in but)]
        waited = time.monotonic() - began
        if not left or waited > seconds:
            return left, waited
        time.sleep(0.1)


def _process(number: int) -> Process | None:
    try:
        stat = Path(f"/proc/{number}/stat").read_text()
        command = Path(f"/proc/{number}/cmdline").read_bytes()
    except OSError:
        return None
    # The name stands in parentheses and may hold anything, more of them included.
    state, parent, *fields = stat[stat.rindex(")") + 2 :].split()
    if state in "ZX":
        return None
    return Process(number, int(fields[17]), int(parent), command.replace(b"\0", b" ").decode(errors="replace").strip())


def read_lines(path: Path) -> tuple[list[Row], int]:
    """The rows of a run as they stand in the file, and the number of lines that are no JSON object."""
    rows, torn = [], 0
    for line in path.read_text(encoding="utf-8").split("\n") if path.exists() else []:
        if not line:
            continue
        try:
            rows.append(json.loads(line))
        except ValueError:
            torn += 1
    return rows, torn


def curves(rows: Sequence[Row]) -> dict[str, dict[int, float]]:
    """Validation accuracy by trial and epoch."""
    found: dict[str, dict[int, float]] = defaultdict(dict)
    for row in rows:
        if row["event"] == "epoch":
            found[row["trial"]][row["epoch"]] = row["validation_accuracy"]
    return dict(found)


def configurations(rows: Sequence[Row]) -> dict[str, Row]:
    """The configuration of every trial that has started."""
    return {row["trial"]: row["config"] for row in rows if row["event"] == "start"}


def epochs_again(folder: Path) -> tuple[dict[str, int], list[str]]:
    """What a driver that has just been killed leaves to be trained again: reported epochs of each running trial.

    And in words where that is more than one rung: a trial has its checkpoint before it trains past a rung. Heads on
    cached features have none, as they are through in seconds.
    """
    if not (folder / "trials.jsonl").exists():
        return {}, []
    settings = Settings.from_json((folder / "settings.json").read_text())
    assert settings.epochs is not None
    rungs = rung_epochs(settings.first_rung, settings.reduction, settings.epochs)
    again, wrong = {}, []
    trials = parse_rows((folder / "trials.jsonl").read_text(encoding="utf-8").split("\n")).trials
    for name, trial in trials.items():
        if trial.status != RUNNING:
            continue
        reached = max((row["epoch"] for row in trial.curve), default=0)
        kept = _kept(folder / "checkpoints" / f"{name}.npz")
        again[name] = max(0, reached - kept)
        passed = max((rung for rung in rungs if rung < reached), default=0)
        if kept < passed and trial.config.get("unfrozen_blocks") != 0:
            wrong.append(f"{name} was at epoch {reached}, and its checkpoint is that of epoch {kept}")
    return again, wrong


def _kept(checkpoint: Path) -> int:
    try:
        with np.load(checkpoint, allow_pickle=False) as packed:
            return int(json.loads(packed["about"].tobytes())["epoch"])
    except FileNotFoundError:
        return 0


def violations(folder: Path, kills: int, blamed: int = 0) -> list[str]:
    """What is wrong with the folder of a run that was killed and resumed until it was done; empty where nothing is.

    `kills` are those of the driver; `blamed` those for which a trial may count a failure of its own.
    """
    settings = Settings.from_json((folder / "settings.json").read_text())
    assert settings.trials is not None
    rows, torn = read_lines(folder / "trials.jsonl")
    # Each death of the driver can cut one line short.
    found = [f"{torn} torn lines after {kills} kills of the driver"] if torn > kills else []
    planned = {f"{family}-{number:03d}" for family in settings.families for number in range(settings.trials)}
    trials = {row["trial"] for row in rows if row["event"] in ("start", "epoch", "rung", "retry", "end")}
    found += [f"{name} is missing" for name in sorted(planned - trials)]
    found += [f"{name} was never planned" for name in sorted(trials - planned)]
    for name in sorted(trials):
        found += [
            f"{name}: {trouble}" for trouble in _of_trial([row for row in rows if row["trial"] == name], settings)
        ]
    for family in settings.families:
        seeds = Counter(row["seed"] for row in rows if row["event"] == "test" and row["family"] == family)
        if set(seeds) != set(range(settings.seed, settings.seed + settings.final_seeds)):
            found.append(f"{family}: tested with seeds {sorted(seeds)}")
        models = [row for row in rows if row["event"] == "model" and row["family"] == family]
        found += [f"{family}: {len(models)} models"] if not models else []
        found += [f"no `{row['path']}`" for row in models if not (folder / row["path"]).is_file()]
    found += [f"no `{name}`" for name in ("report.html", "report.md", "results.json") if not (folder / name).is_file()]
    found += [f"left behind: `{path.name}`" for path in sorted(folder.rglob("*.part"))]
    counted = sum(row["event"] == "retry" and row["counts"] for row in rows)
    found += [f"{counted} failures counted for {blamed} workers killed"] if counted > blamed else []
    times = [row["time"] for row in rows]
    found += ["the time of the rows runs backwards"] if times != sorted(times) else []
    return found


def _of_trial(rows: Sequence[Row], settings: Settings) -> list[str]:
    """What is wrong with the rows of one trial."""
    found = []
    starts = [json.dumps(row["config"], sort_keys=True) for row in rows if row["event"] == "start"]
    if len(set(starts)) != 1:
        found.append(f"{len(starts)} start rows with {len(set(starts))} configurations")
    epochs = [row["epoch"] for row in rows if row["event"] == "epoch"]
    found += [f"epoch {epoch} stands {count} times" for epoch, count in Counter(epochs).items() if count > 1]
    if sorted(set(epochs)) != list(range(1, len(set(epochs)) + 1)):
        found.append(f"its epochs have gaps: {sorted(set(epochs))}")
    judged = Counter(row["epoch"] for row in rows if row["event"] == "rung")
    found += [f"judged {count} times at rung {epoch}" for epoch, count in judged.items() if count > 1]
    ends = [row for row in rows if row["event"] == "end"]
    if len(ends) != 1:
        return [*found, f"{len(ends)} end rows"]
    (end,) = ends
    if end["status"] == "failed":
        found.append(f"failed: {end['reason']}")
    if end["status"] == "finished" and len(set(epochs)) != settings.epochs:
        found.append(f"finished after {len(set(epochs))} of {settings.epochs} epochs")
    if end["status"] == "stopped" and not any(row["event"] == "rung" and not row["promoted"] for row in rows):
        found.append(f"stopped without a rung that says so: {end['reason']}")
    if any(row["event"] in ("epoch", "rung") for row in rows[rows.index(end) :]):
        found.append("goes on after its end")
    return found
