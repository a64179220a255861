"""Warm start: what earlier runs have found, as observations of new studies and as configurations that are tried first.

A trial of an earlier run is an observation where its figure means the same here: the same pictures on the same sides,
the same budget of epochs, and a space that holds every one of its values; parameters that are new take their defaults.
The best configurations of all earlier runs are tried first, as far as they fit: what does not is left at its default.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution

from results.analysis.metrics import METRICS
from results.rows import FAILED, FINISHED, RUNNING, STOPPED, Trial, judged_by, read_rows
from search.record.journal import Record
from search.settings import Settings
from search.studies.aims import Aims, size_of
from search.studies.hyperparameters import TrialHyperParameters, contains
from spaces import family_of

WARM_START = "warm_start.json"  # what earlier runs gave, in a run folder
FIRST = 3  # configurations of earlier runs that a family tries right after its base

Space = Callable[[Any], dict[str, Any]]


@dataclass(frozen=True)
class Earlier:
    """An earlier run, as its folder tells it."""

    name: str
    settings: Settings
    split: dict[str, Any]  # empty where it cannot be read
    code: dict[str, Any]  # of its hypermodels; empty where it had none
    trials: tuple[Record, ...]


@dataclass(frozen=True)
class Source:
    """What was taken from an earlier run, for people."""

    name: str
    trials: int
    observed: int  # trials that are observations here
    apart: str  # why none can be; empty where they can
    unused: dict[str, int]  # trials that are none, by the reason
    test_seen: int  # of its validation pictures, those that bear the name of a test picture here


@dataclass(frozen=True)
class Prior:
    """What earlier runs give to each family; `warm_start.json` is this record."""

    sources: tuple[Source, ...] = ()
    observations: Mapping[str, Sequence[Record]] = field(default_factory=dict)
    first: Mapping[str, Sequence[dict[str, Any]]] = field(default_factory=dict)  # points, the best first
    # Of the run that is gone on from (`search.studies.predecessor`): the point that each family begins with, the family
    # whose model it delivered, and what is to be said of them.
    recipes: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    leader: str = ""
    told: tuple[str, ...] = ()

    def to_json(self) -> str:
        """The record as `warm_start.json` holds it: a resumed run no longer needs the folders of the earlier ones."""
        observations = {
            family: [
                {
                    "trial": seen.name,
                    "point": seen.point,
                    "values": seen.values,
                    "status": seen.status,
                    "cost": seen.cost,
                }
                for seen in records
            ]
            for family, records in self.observations.items()
        }
        sources = [asdict(source) for source in self.sources]
        recipes = {"recipes": self.recipes, "leader": self.leader, "told": self.told} if self.told else {}
        return json.dumps({"sources": sources, "first": self.first, "observations": observations, **recipes}) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Prior":
        """Reads `warm_start.json`; raises ValueError for anything else."""
        try:
            saved = json.loads(text)
            observations = {
                family: [
                    Record(
                        seen["trial"], family, {}, seen["point"],
                        {int(epoch): float(value) for epoch, value in seen["values"].items()}, status=seen["status"],
                        cost=seen["cost"],
                    )
                    for seen in records
                ]
                for family, records in saved["observations"].items()
            }  # fmt: skip
            sources = tuple(Source(**source) for source in saved["sources"])
            recipes, told = dict(saved.get("recipes", {})), tuple(saved.get("told", ()))
            return cls(sources, observations, saved["first"], recipes, str(saved.get("leader", "")), told)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"`warm_start.json` cannot be read: {type(error).__name__}: {error}") from error

    def lines(self) -> Iterator[str]:
        """What was taken from whom, and why not the rest."""
        for source in self.sources:
            line = f"warm start from {source.name}: {source.observed} of its {source.trials} trials are observations"
            if source.apart:
                line += f", because {source.apart}"
            elif source.unused:
                line += f" ({', '.join(f'{count} {reason}' for reason, count in source.unused.items())})"
            if source.test_seen:
                line += f"; {source.test_seen} of its validation pictures are test pictures here"
            yield line
        told = ", ".join(f"{len(points)} of {family}" for family, points in self.first.items() if points)
        if self.sources:
            base = "recipes below and the base" if self.recipes else "base"
            yield f"tried first after the {base}: {told or 'nothing that is not tried anyway'}"
        yield from self.told


def read_earlier(folder: Path, option: str = "--warm-start") -> Earlier:
    """Reads the folder of a run; raises OSError or ValueError where it is none, has no result or unknown settings."""
    for name in ("settings.json", "trials.jsonl"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{option} needs folders of runs, and there is no `{folder / name}`")
    try:
        settings = Settings.from_json((folder / "settings.json").read_text(encoding="utf-8"))
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{option} needs runs of this version of Pedigree or an earlier one, and `{folder / 'settings.json'}` "
            f"is not of one: {error}"
        ) from error
    rows = read_rows(folder / "trials.jsonl")
    points = {row["trial"]: row.get("point") for row in rows.records if row["event"] == "start"}
    trials = [_record(trial, points.get(name)) for name, trial in rows.trials.items()]
    if not any(trial.values for trial in trials):
        raise ValueError(f"{option} needs runs with results, and no trial of `{folder}` has trained an epoch")
    split, code = (read_object(folder / name) for name in ("split.json", "hypermodels.json"))
    return Earlier(folder.resolve().name, settings, split, code, tuple(trials))


def read_object(path: Path) -> dict[str, Any]:
    """What a file of JSON says; nothing where it is absent or broken."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _record(trial: Trial, point: Any) -> Record:
    values = {row["epoch"]: value for row in trial.curve if (value := judged_by(row)) is not None}
    found = point if isinstance(point, dict) else {}
    if trial.changed and "batch_size" in found:
        found = {**found, "batch_size": trial.config.get("batch_size")}
    status = STOPPED if trial.status == RUNNING else trial.status
    return Record(trial.name, trial.family, trial.config, found, values, status=status)


def prior_of(
    runs: Sequence[Earlier],
    settings: Settings,
    split: Mapping[str, Any],
    spaces: Mapping[str, Space],
    code: Mapping[str, Any],
) -> Prior:
    """What earlier runs give to the families of a new one, which searches these spaces.

    `code` is what the new run's `hypermodels.json` says.
    """
    aims = Aims.of(settings)
    sources: list[Source] = []
    observations: dict[str, list[Record]] = {family: [] for family in spaces}
    best: dict[str, list[list[dict[str, Any]]]] = {family: [] for family in spaces}
    for run in runs:
        apart = difference(run, settings, split)
        unused: Counter[str] = Counter()
        observed = 0
        fitting: dict[str, list[Record]] = {family: [] for family in spaces}
        for trial in run.trials:
            if trial.family not in spaces:
                unused["are of families that are not searched here"] += 1
                continue
            if family_of(trial.family).transfers and (run.settings.weights == "none") != (settings.weights == "none"):
                there = "without" if run.settings.weights == "none" else "with"
                unused[f"are of mobilenet {there} trained weights"] += 1
                continue
            if trial.status == FAILED or not trial.values or not trial.point:
                unused["failed" if trial.status == FAILED else "have no result"] += 1
                continue
            cost = size_of(trial.family, trial.config, len(split["classes"])) if aims.costed else {}
            fitting[trial.family].append(replace(trial, cost=cost))
        for family, trials in fitting.items():
            ranked = sorted(trials, key=_order)
            points = {trial.name: project(spaces[family], trial.point) for trial in ranked}
            other = family in code.get("families", ()) and code != run.code
            for trial in trials if not apart else ():
                point, refused = points[trial.name]
                if refused:
                    unused[f"have a `{refused[0]}` that is not in the space"] += 1
                elif other:
                    unused[f"are of {family} with other code"] += 1
                elif not aims.known(trial.cost):
                    unused["have a model of unknown size"] += 1
                else:
                    observations[family].append(replace(trial, name=f"{run.name}/{trial.name}", config={}, point=point))
                    observed += 1
            # A configuration that a limit of the run forbids would only be refused again.
            best[family].append([points[trial.name][0] for trial in ranked if not aims.objection(trial.cost)])
        sources.append(Source(run.name, len(run.trials), observed, apart, dict(unused), _test_seen(run, split)))
    first = {family: _first(spaces[family], found) for family, found in best.items()}
    return Prior(tuple(sources), observations, first)


def difference(run: Earlier, settings: Settings, split: Mapping[str, Any]) -> str:
    """Why figures of an earlier run cannot be compared with those of a new one; empty where they can."""
    if run.split.get("digest") != split["digest"]:
        return "it had other pictures"
    if any(run.split.get(part) != split[part] for part in ("train", "validation")):
        return "it had its pictures split otherwise"
    if run.split.get("levels", {}) != split.get("levels", {}):
        return "it read pictures of more than 8 bits a channel otherwise"
    if run.settings.metric != settings.metric:
        return f"it was judged by {METRICS[run.settings.metric].title}, not {METRICS[settings.metric].title}"
    if Aims.of(settings).timed:
        return "latencies are those of the machine that measured them"
    if run.settings.epochs != settings.epochs:
        there, here = (found or "as many as their time allowed" for found in (run.settings.epochs, settings.epochs))
        return f"its full trials had {there} epochs, not {here}"
    return ""


class Projection(TrialHyperParameters):
    """Takes those of some values that the space has, and the default wherever it has not."""

    def __init__(self, offered: Mapping[str, Any]) -> None:
        super().__init__()
        self.offered = offered
        self.refused: list[str] = []

    def _value(self, name: str, distribution: BaseDistribution, default: Any) -> Any:
        if name not in self.offered:
            return default
        if contains(distribution, self.offered[name]):
            return self.offered[name]
        self.refused.append(name)
        return default


def project(space: Space, values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The point of a space that keeps what it can of some values, and the names of those that it could not keep."""
    hp = Projection(values)
    space(hp)
    missing = [name for name in values if name not in hp.distributions]
    return {name: hp.values[name] for name in hp.distributions}, hp.refused + missing


def _order(trial: Record) -> tuple[bool, int, float]:
    """Full budgets first, then whoever came furthest, and of these the best."""
    full = trial.status == FINISHED
    return not full, 0 if full else -max(trial.values), -trial.best


def _first(space: Space, best: Sequence[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The best of every run, then the second best of every run, and so on, each configuration once and not the base."""
    chosen: list[dict[str, Any]] = []
    base, _ = project(space, {})
    for point in chain.from_iterable(zip_longest(*best)):
        if point is not None and point != base and point not in chosen:
            chosen.append(point)
    return chosen[:FIRST]


def _test_seen(run: Earlier, split: Mapping[str, Any]) -> int:
    names = {str(item[0]) for item in run.split.get("validation") or ()}
    return sum(name in names for name, _ in split["test"])
