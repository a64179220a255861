"""What a tracker is told, as it follows from the rows of a run: runs that begin, figures, and runs that end."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from results.rows import COSTS, FINISHED, MEASURED, OUT_OF_TIME, SCORED, STOPPED, Row, smoothed

PARENT = ""  # the name of the run that all trials belong to
KILLED = "killed"  # of what was at work when the search was interrupted
ANEW = "began anew with another configuration"


@dataclass(frozen=True)
class Begin:
    """A trial is at work, for the first time or again."""

    run: str
    family: str
    config: Mapping[str, Any]
    time: float  # seconds into the search, as in the rows


@dataclass(frozen=True)
class Log:
    """Figures of one step; of a `curve` the steps are epochs, else seeds, folds or counts."""

    run: str
    figures: Mapping[str, float]
    step: int
    time: float
    curve: bool = False


@dataclass(frozen=True)
class End:
    """A trial is over."""

    run: str
    status: str  # of `results.rows`, or KILLED
    reason: str
    time: float


Call = Begin | Log | End


class Tracker(Protocol):
    """One tracker, connected: whatever it raises is said to the user and never ends a search."""

    place: str  # where people look at the run

    def send(self, calls: Sequence[Call]) -> None:
        """Tells it, in order; once it returns, all of this has arrived."""

    def finish(self, status: str, summary: "Summary", time: float) -> None:
        """Ends the run of all trials."""


@dataclass(frozen=True)
class Summary:
    """What is known of a whole run when it is over; empty of one that was interrupted."""

    figures: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    text: str = ""  # what the report says first, as Markdown
    files: tuple[tuple[str, str], ...] = ()  # path of each artifact, and the folder among the artifacts


class Translation:
    """Turns rows into calls, one row after the other; it follows from the rows alone, so that a resume repeats it.

    A trial that begins anew with another configuration is a run of its own, `TRIAL.2`: what the first one showed says
    nothing of it.
    """

    def __init__(self) -> None:
        self.open: dict[str, Begin] = {}  # runs that are at work, in the order in which they began
        self._runs: dict[str, str] = {}  # by trial, the last of its runs
        self._begins: dict[str, Begin] = {}
        self._curves: dict[str, list[float]] = {}  # validation accuracies by run
        self._epochs: dict[str, int] = {}  # the last one of each run
        self._counts: dict[str, int] = {}  # runs of a trial
        self._failures: dict[str, int] = {}
        self._ended: dict[str, int] = {}  # trials of a family
        self._best: dict[str, float] = {}

    def calls(self, row: Row) -> Iterator[Call]:
        """What a usable row comes to, as `results.rows.clean` gives it."""
        event, time = row["event"], float(row["time"])
        trial, family = row.get("trial"), row["family"]
        if event == "start":
            yield from self._start(row["trial"], family, row["config"], time)
        elif event == "epoch":
            yield from self._known(row["trial"], family, time)
            run = self._runs[row["trial"]]
            if row["epoch"] > self._epochs.get(run, 0):
                self._epochs[run] = row["epoch"]
                if row["validation_accuracy"] is not None:
                    self._curves.setdefault(run, []).append(row["validation_accuracy"])
                yield from _log(run, row, (*MEASURED, SCORED[0]), row["epoch"], curve=True)
        elif event == "cost":
            yield from self._known(row["trial"], family, time)
            yield from _log(self._runs[row["trial"]], row, COSTS, 0)
        elif event == "retry":
            yield from self._known(row["trial"], family, time)
            self._failures[row["trial"]] = self._failures.get(row["trial"], 0) + 1
            yield Log(self._runs[row["trial"]], {"retries": self._failures[row["trial"]]}, 0, time)
        elif event == "end":
            yield from self._known(row["trial"], family, time)
            yield from self._end(row["trial"], family, row["status"], str(row.get("reason") or ""), time)
        elif event == "final":
            yield from self._score(trial, {"final_accuracy": row["accuracy"]}, row["fold"], time)
        elif event == "test":
            figures = {"test_accuracy": row["accuracy"]}
            figures |= {"test_loss": row["loss"]} if row.get("loss") is not None else {}
            yield Log(PARENT, {f"{family}/{name}": value for name, value in figures.items()}, row["seed"], time)
            yield from self._score(trial, figures, row["seed"], time)
        elif event == "model":
            sizes = {name: row.get(name) for name in COSTS}
            figures = {f"{family}/model_{name}": float(value) for name, value in sizes.items() if value is not None}
            if figures:
                yield Log(PARENT, figures, row.get("seed") or 0, time)

    def _start(self, trial: str, family: str, config: Mapping[str, Any], time: float) -> Iterator[Call]:
        run = self._runs.get(trial, trial)
        before = self._begins.get(run)
        if before is not None and before.config == config:
            if run not in self.open:
                # A resumed search goes on with it.
                yield self._begin(run, before)
            return
        if before is not None:
            if run in self.open:
                del self.open[run]
                yield End(run, STOPPED, ANEW, time)
            self._counts[trial] = self._counts.get(trial, 1) + 1
            run = f"{trial}.{self._counts[trial]}"
        self._runs[trial] = run
        yield self._begin(run, Begin(run, family, dict(config), time))

    def _begin(self, run: str, begin: Begin) -> Begin:
        self._begins[run] = self.open[run] = begin
        return begin

    def _known(self, trial: str, family: str, time: float) -> Iterator[Call]:
        """A trial whose start row was lost has begun all the same."""
        if trial not in self._runs:
            yield from self._start(trial, family, {}, time)

    def _end(self, trial: str, family: str, status: str, reason: str, time: float) -> Iterator[Call]:
        run = self._runs[trial]
        if run not in self.open:
            return
        del self.open[run]
        yield End(run, status, reason, time)
        self._ended[family] = self._ended.get(family, 0) + 1
        curve = self._curves.get(run)
        if curve:
            self._best[family] = max(self._best.get(family, 0.0), *smoothed(curve))
            yield Log(PARENT, {f"{family}/best_validation_accuracy": self._best[family]}, self._ended[family], time)

    def _score(self, trial: str | None, figures: Mapping[str, float], step: int, time: float) -> Iterator[Call]:
        if trial in self._runs:
            yield Log(self._runs[trial], figures, step, time)


def _log(run: str, row: Row, names: tuple[str, ...], step: int, *, curve: bool = False) -> Iterator[Log]:
    """The numbers of a row by name; one that was not finite is left out, and so is a row without any."""
    figures = {name: float(row[name]) for name in names if row.get(name) is not None}
    if figures:
        yield Log(run, figures, step, float(row["time"]), curve)


def succeeded(end: End) -> bool:
    """Whether a trial came as far as it could, as `results.rows.Trial.full` has it."""
    return end.status == FINISHED or (end.status == STOPPED and end.reason == OUT_OF_TIME)
