"""The rows of a run: `trials.jsonl` read into flat records, and short queries over them."""

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

Row = dict[str, Any]

FINISHED = "finished"
STOPPED = "stopped"
FAILED = "failed"
INFEASIBLE = "infeasible"  # it breaks a limit of the run and was not trained
RUNNING = "running"
# The reason of a trial that was stopped because a run's time was up, and not by what it had shown.
OUT_OF_TIME = "the time budget is used up"
# How the reason begins of one that was not tried because it could not have been done in time.
NO_TIME = "no time for it: "

# What a row of each event must carry to be of use; anything else it carries is kept as it came.
REQUIRED: dict[str, dict[str, type | tuple[type, ...]]] = {
    "start": {"trial": str, "family": str, "config": dict},
    "epoch": {"trial": str, "family": str, "epoch": int},
    "end": {"trial": str, "family": str, "status": str},
    "cost": {"trial": str, "family": str},
    "rung": {"trial": str, "family": str, "epoch": int},
    "retry": {"trial": str, "family": str},
    "pace": {"family": str, "rate": (int, float)},
    "test": {"family": str, "seed": int, "accuracy": (int, float)},
    "member": {"trial": str, "family": str, "accuracy": (int, float)},
    "recipe": {"trial": str, "family": str, "accuracy": (int, float)},
    "final": {"trial": str, "family": str, "fold": int, "accuracy": (int, float)},
    "model": {"family": str, "path": str},
    "refit": {"trial": str, "family": str},
}

# What a cost row says of a model: a number each; anything else in it is kept as it came.
COSTS = ("parameters", "bytes", "latency_one", "latency_batch")

# The measurements of an epoch row: a number each, or None where it was not finite or not given.
MEASURED = (
    "train_loss",
    "train_accuracy",
    "validation_loss",
    "validation_accuracy",
    "seconds",
    "waiting",
    "building",
    "training",
    "validating",
)


# What an epoch row carries beside them where the run is judged by another metric than accuracy: the score, higher for
# the better, its standard error, and the loss by which near scores are told apart. Rows of finals have the same names
# without `validation_`.
SCORED = ("validation_score", "validation_score_error", "validation_score_loss")

# What other rows may carry as numbers, and as counts; None where it is none.
NUMBERS: dict[str, tuple[str, ...]] = {
    "cost": COSTS,
    "rung": ("value",),
    "test": ("loss", "train_accuracy", "seconds"),
    "recipe": ("loss", "train_accuracy", "seconds"),
    "final": ("loss", "seconds", "score", "score_error", "score_loss"),
    "model": ("latency_one", "latency_batch"),
}
COUNTS = {
    "start": ("planned",),
    "epoch": ("parameters",),
    "final": ("pictures", "epochs"),
    "test": ("pictures", "epochs", "seed"),
    "recipe": ("pictures", "epochs", "seed"),
    "model": ("parameters", "bytes", "batch", "seed", "pictures", "epochs"),
}

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")  # of a family and of a trial
LONGEST = 10**10  # seconds, and epochs


@dataclass(frozen=True)
class Trial:
    """One trial put together from its rows.

    `curve` holds one epoch row per epoch, in order. `status` is "running" where no end row has been read.
    """

    name: str
    family: str
    config: dict[str, Any]
    started: float
    curve: tuple[Row, ...]
    status: str
    reason: str
    ended: float | None
    rungs: tuple[Row, ...]
    failures: int = 0  # times that it lost its worker and was tried again
    changed: bool = False  # whether it ended with another configuration than it started with
    cost: dict[str, Any] = field(default_factory=dict)  # of its model, where the run measured it before training
    planned: int | None = None  # epochs of its full budget, where its start says so

    @property
    def full(self) -> bool:
        """Whether it came as far as it could: through its budget, or to the end of the time that a run was given."""
        return self.status == FINISHED or (self.status == STOPPED and self.reason == OUT_OF_TIME)

    @property
    def last(self) -> float:
        """Seconds into the run at which the trial was last heard of."""
        times: list[float] = [self.started, *(row["time"] for row in self.curve)]
        return max(times) if self.ended is None else max(self.ended, *times)


@dataclass(frozen=True)
class Rows:
    """Every usable row of a run in the order written, and the number of lines that were skipped."""

    records: tuple[Row, ...]
    skipped: int = 0

    @cached_property
    def trials(self) -> dict[str, Trial]:
        """Every trial by name, in order of its first row."""
        starts: dict[str, Row] = {}
        ends: dict[str, Row] = {}
        families: dict[str, str] = {}
        first: dict[str, float] = {}
        curves: dict[str, dict[int, Row]] = {}
        rungs: dict[str, dict[int, Row]] = {}
        failures: dict[str, int] = {}
        changed: set[str] = set()
        costs: dict[str, dict[str, Any]] = {}
        for row in self.records:
            event = row["event"]
            if event not in ("start", "epoch", "end", "rung", "retry", "cost"):
                continue
            name = row["trial"]
            families.setdefault(name, row["family"])
            first.setdefault(name, row["time"])
            if event == "start":
                # A resumed run starts a trial again: it is open until its next end row.
                if name in starts and starts[name]["config"] != row["config"]:
                    # What another configuration showed says nothing of this one.
                    curves.pop(name, None)
                    rungs.pop(name, None)
                    changed.add(name)
                starts[name] = row
                ends.pop(name, None)
            elif event == "epoch":
                # An epoch trained again after a resume replaces the one that was lost.
                curves.setdefault(name, {})[row["epoch"]] = row
            elif event == "retry":
                failures[name] = failures.get(name, 0) + bool(row.get("counts", True))
            elif event == "rung":
                rungs.setdefault(name, {})[row["epoch"]] = row
            elif event == "cost":
                known = {key: value for key, value in row.items() if value is not None}
                costs[name] = {key: known[key] for key in known if key not in ("event", "time", "trial", "family")}
            else:
                ends[name] = row
        trials = {}
        for name, family in families.items():
            end = ends.get(name, {})
            curve = curves.get(name, {})
            decided = rungs.get(name, {})
            trials[name] = Trial(
                name=name,
                family=family,
                config=starts.get(name, {}).get("config", {}),
                started=first[name],
                curve=tuple(curve[epoch] for epoch in sorted(curve)),
                status=end.get("status", RUNNING),
                reason=str(end.get("reason") or ""),
                ended=end.get("time"),
                rungs=tuple(decided[epoch] for epoch in sorted(decided)),
                failures=failures.get(name, 0),
                changed=name in changed,
                cost=costs.get(name, {}),
                planned=starts.get(name, {}).get("planned"),
            )
        return trials

    @cached_property
    def families(self) -> list[str]:
        """The families that have a row, sorted by name."""
        return sorted({row["family"] for row in self.records})

    @cached_property
    def _by_family(self) -> dict[str, list[Trial]]:
        grouped: dict[str, list[Trial]] = {family: [] for family in self.families}
        for trial in self.trials.values():
            grouped[trial.family].append(trial)
        return grouped

    def of(self, family: str) -> list[Trial]:
        """The trials of a family in the order they started."""
        return self._by_family.get(family, [])

    def ended(self, family: str, status: str) -> list[Trial]:
        """The trials of a family whose state is `status`."""
        return [trial for trial in self.of(family) if trial.status == status]

    def tests(self, family: str) -> list[Row]:
        """The test rows of the configuration of a family that was scored last, one per seed in order of seed.

        A repeated seed counts by its last row.
        """
        scored = self.scored(family)
        last = {
            row["seed"]: row
            for row in self.records
            if row["event"] == "test" and row["family"] == family and row.get("trial") == scored[-1]
        }
        return [last[seed] for seed in sorted(last)]

    def scored(self, family: str) -> list[str | None]:
        """The trials of a family whose configurations were scored on test, the one scored last at the end."""
        rows = [row for row in self.records if row["event"] == "test" and row["family"] == family]
        last = {row.get("trial"): place for place, row in enumerate(rows)}
        return sorted(last, key=lambda trial: last[trial])

    def members(self, family: str) -> list[Row]:
        """What the ensemble of a family was made of beside its best, one row per trial in the order they came."""
        found = {row["trial"]: row for row in self.records if row["event"] == "member" and row["family"] == family}
        return list(found.values())

    def recipe(self) -> Row | None:
        """The score of the recipe of the run that this one goes on from, if it was taken."""
        return next((row for row in reversed(self.records) if row["event"] == "recipe"), None)

    def finals(self, family: str) -> dict[str, dict[int, Row]]:
        """What the finalists of a family showed, by trial and fold."""
        found: dict[str, dict[int, Row]] = {}
        for row in self.records:
            if row["event"] == "final" and row["family"] == family:
                found.setdefault(row["trial"], {})[row["fold"]] = row
        return found

    def model(self, family: str) -> Row | None:
        """The last model row of a family, if one was exported."""
        found = None
        for row in self.records:
            if row["event"] == "model" and row["family"] == family:
                found = row
        return found

    def refitted(self, family: str, trial: str) -> bool:
        """Whether a trial was trained on all pictures, and it was decided whether that model is handed over."""
        delivered = self.model(family) or {}
        refused = any(row["event"] == "refit" and row["trial"] == trial for row in self.records)
        return refused or (delivered.get("trial") == trial and bool(delivered.get("pictures")))

    @cached_property
    def seconds(self) -> float:
        """Seconds from the start of the run to its last row."""
        return float(max((row["time"] for row in self.records), default=0.0))


def judged_by(row: Row) -> float | None:
    """What an epoch row is judged by, higher for the better: its score, and its accuracy where that is the metric."""
    found: float | None = row.get("validation_score", row["validation_accuracy"])
    return found


def tied_by(row: Row) -> float | None:
    """The loss by which an epoch row is told from one with as good a score, lower for the better."""
    found: float | None = row.get("validation_score_loss", row["validation_loss"])
    return found


def final_judged_by(row: Row) -> float:
    """What the row of a final is judged by, as `judged_by` says of an epoch's."""
    found = row.get("score")
    return float(row["accuracy"] if found is None else found)


def smoothed(values: Sequence[float]) -> list[float]:
    """Each value of a curve averaged with its neighbours, one on either side from 9 epochs on, two from 36, and so on.

    The best of many epochs is the luckiest on the few pictures that it is told by; that of a smoothed curve hardly is.
    """
    reach = math.isqrt(len(values)) // 3
    return [
        math.fsum(near) / len(near)
        for near in (values[max(0, place - reach) : place + reach + 1] for place in range(len(values)))
    ]


def read_rows(path: Path) -> Rows:
    """Read `trials.jsonl`; a torn or foreign line is skipped and counted, never fatal.

    Raises FileNotFoundError where there is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"needs the rows of a run, got no file at `{path}`")
    with path.open(encoding="utf-8", errors="replace") as lines:
        return parse_rows(lines)


def parse_rows(lines: Iterable[str]) -> Rows:
    """Parse lines of JSON into rows; blank lines are no rows and are not counted as skipped."""
    records: list[Row] = []
    skipped = 0
    for line in lines:
        if not line.strip():
            continue
        try:
            row = clean(json.loads(line))
        except (ValueError, RecursionError):
            row = None
        if row is None:
            skipped += 1
        else:
            records.append(row)
    return Rows(tuple(records), skipped)


def clean(row: Any) -> Row | None:
    """A row with None for every number that is not finite; None for what is not a usable row."""
    if not isinstance(row, dict) or not isinstance(row.get("event"), str) or row["event"] not in REQUIRED:
        return None
    try:
        kept: Row = plain(row)
    except ValueError:
        return None
    event = kept["event"]
    if event == "epoch":
        if any(_wrong(kept.get(key), key) for key in MEASURED):
            return None
        kept |= {key: _number(kept.get(key)) for key in MEASURED}
        kept |= {key: _number(kept[key]) for key in SCORED if key in kept}
    kept |= {key: _number(kept[key]) for key in NUMBERS.get(event, ()) if key in kept}
    kept |= {key: None for key in COUNTS.get(event, ()) if key in kept and not _count(kept[key])}
    needed = {"time": (int, float), **REQUIRED[event]}
    for key, kind in needed.items():
        # A bool is an int to Python, but never a time, an epoch or an accuracy.
        if not isinstance(kept.get(key), kind) or isinstance(kept[key], bool):
            return None
    # Families and trials name files: what else these names could hold has no place in a path.
    if not all(NAME.fullmatch(kept[key]) for key in ("family", "trial") if key in kept and kept[key] is not None):
        return None
    if not 0 <= kept["time"] < LONGEST or not 1 <= kept.get("epoch", 1) < LONGEST or kept.get("seed", 0) is None:
        return None
    if event in ("test", "member", "recipe", "final") and _wrong(kept["accuracy"], "accuracy"):
        return None
    if event == "end" and kept["status"] not in (FINISHED, STOPPED, FAILED, INFEASIBLE):
        return None
    return kept


def plain(value: Any, deep: int = 0) -> Any:
    """A value read from JSON as documents can show it and JSON write it again: None for a number that is not finite.

    Raises ValueError for what no search writes: numbers beyond 64 bits and values nested more than 20 deep.
    """
    if deep > 20:
        raise ValueError("nested more than 20 deep")
    if isinstance(value, dict):
        return {plain(key, deep): plain(inner, deep + 1) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner, deep + 1) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int) and abs(value) >= 2**63:
        raise ValueError("a number beyond 64 bits")
    if isinstance(value, str) and not value.isascii():
        # JSON may name half of a surrogate pair, which no file takes.
        return value.encode("utf-8", "replace").decode()
    return value


def _wrong(value: Any, key: str) -> bool:
    """Whether a number cannot be what it is said to be: no accuracy is above 1, and nothing measured is negative."""
    number = _number(value)
    return number is not None and (number < 0 or (number > 1 and key.endswith("accuracy")))


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
