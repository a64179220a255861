"""Replays searches on recorded learning curves: who comes within a point of the best configuration first?

A discrete-event simulation: workers ask a contestant (a searcher and a scheduler) for configurations, every epoch takes
the seconds that it took when it was recorded, and after each the contestant says whether the trial goes on. Trials that
start, also those that go on from a checkpoint, pay for building their model; asking and telling cost nothing.

    python -m tests.benchmarks.replay photographs drawn --workers 16,64 --seeds 50

Contestants:

`random`: draws from a family drawn at random, each trained in full.
`random+asha`: the same under Ray's `ASHAScheduler`, all families in one bracket.
`optuna+asha`: Ray's `OptunaSearch` under Ray's `ASHAScheduler`, both the real classes, told what Tune tells them:
    what a user writes, one define-by-run space with the family as a choice on top, no points to begin with.
`optuna+asha+starts`: the same, given Pedigree's base configurations and hand-written points to begin with.
`optuna+asha/family`: one such pair for each family, the families in turn, with the same points to begin with.
`hyperband`: KerasTuner's, random draws in brackets of synchronous rounds that go on from checkpoints.
`random+promotion`: ASHA of the promoting kind (Li et al., 2020, algorithm 2): every trial pauses at each rung, and a
    free worker takes the best paused trial of the top third of a rung, else a new one.
`pedigree`: the product: `search.schedule.course.Course` with its studies and rungs, and simulated workers.
`pedigree-points`: the same without the hand-written points: draws follow each base configuration at once.
`pedigree-cheap`: the product without cheap work first: what is drawn is tried at once, and no family begins ahead.

A search ends where some trial has shown an accuracy within a point of the best of the table.

Limits. What was not recorded is answered with a recorded curve of its family (`--answers`; see `recorded`), so nothing
is ever better than the best of the table, and the landscape between recorded points has steps. That two trainings of
one configuration differ is put back as noise of the size that recorded curves show from epoch to epoch. Caches are
warm, nothing dies, and a worker costs the same everywhere.
"""

import argparse
import heapq
import math
import multiprocessing
import os
import random
import statistics
import tempfile
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from search.settings import Settings
from search.studies.hyperparameters import TrialHyperParameters, values_to_point
from search.studies.spaces import Space, fits
from search.studies.study import Study, studies_of
from search.training.weights import Weights
from spaces import FAMILIES
from tests.benchmarks.measuring import names_from, show
from tests.benchmarks.recorded import TABLES, Curve, Forest, Nearest, OneTree, Table, fit, read_table

WITHIN = 0.01  # of the best accuracy
REDUCTION = 3
TRIALS = 10**6  # of each family: time alone bounds a search
FIRST_SEED = 100_000
SHARES = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)  # of the seconds in which the workers would train the whole table

Answer = Callable[[str, Mapping[str, Any]], Curve]


@dataclass(frozen=True)
class Task:
    """What a worker is to train: a configuration, from its start or from a checkpoint."""

    name: str
    family: str
    point: Mapping[str, Any]
    after: int = 0  # epochs that were trained before


class Contestant(ABC):
    """A searcher and a scheduler."""

    @abstractmethod
    def next(self) -> Task | None:
        """What a free worker does; None where it waits until something happens."""

    @abstractmethod
    def told(self, name: str, epoch: int, value: float) -> bool:
        """Takes in an accuracy; returns whether the worker goes on with the trial. False after the last epoch."""

    def failed(self, name: str, epoch: int, chance: float) -> bool:
        """The loss is no number in this epoch: who does not look for that is told an accuracy by chance."""
        return self.told(name, epoch, chance)

    def close(self) -> None:  # noqa: B027 - only one of them holds anything
        """Gives back what the contestant holds."""


@dataclass(frozen=True)
class Search:
    """What came of one search."""

    improvements: tuple[tuple[float, float], ...]  # simulated seconds, the best accuracy from then on
    trials: int
    epochs: int
    ended: float  # simulated seconds

    def reached(self, accuracy: float) -> float:
        """Simulated seconds until some trial showed it; infinity where none did."""
        return next((when for when, best in self.improvements if best >= accuracy), math.inf)

    def best(self, seconds: float) -> float:
        """The best accuracy by then, 0 before the first epoch."""
        return max((best for when, best in self.improvements if when <= seconds), default=0.0)


def simulate(
    contestant: Contestant,
    answer: Answer,
    workers: int,
    *,
    horizon: float,
    enough: float,
    jitter: float = 0.0,
    seed: int = 0,
) -> Search:
    """One search with so many workers until `horizon`, an accuracy that is `enough`, or nothing is left to do.

    `jitter` is the spread of the noise that the contestant sees on every accuracy; what it has found is judged without.
    """
    noise = random.Random(seed)
    waiting: list[tuple[float, int, str, int]] = []  # when its next epoch is done, a tie-breaker, the trial, the epoch
    curves: dict[str, Curve] = {}
    improvements: list[tuple[float, float]] = []
    clock, best, order, epochs = 0.0, 0.0, 0, 0
    while True:
        while len(waiting) < workers and (task := contestant.next()) is not None:
            curve = curves.setdefault(task.name, answer(task.family, task.point))
            seconds = curve.seconds[task.after] + (curve.building if task.after else 0.0)
            order += 1
            heapq.heappush(waiting, (clock + seconds, order, task.name, task.after + 1))
        if not waiting:
            break
        clock, _, name, epoch = heapq.heappop(waiting)
        if clock > horizon:
            clock = horizon
            break
        epochs += 1
        curve = curves[name]
        if epoch == curve.fails:
            goes_on = contestant.failed(name, epoch, curve.accuracy[epoch - 1])
        else:
            accuracy = curve.accuracy[epoch - 1]
            if accuracy > best:
                best = accuracy
                improvements.append((clock, best))
                if best >= enough:
                    break
            seen = min(1.0, max(0.0, accuracy + noise.gauss(0.0, jitter)))
            goes_on = contestant.told(name, epoch, seen)
        if goes_on:
            order += 1
            heapq.heappush(waiting, (clock + curve.seconds[epoch], order, name, epoch + 1))
    return Search(tuple(improvements), len(curves), epochs, clock)


class Draws:
    """Draws from all spaces, the family first."""

    def __init__(self, spaces: Mapping[str, Space], seed: int) -> None:
        self._spaces = spaces
        self._chance = random.Random(seed)
        self._studies = {
            family: optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1000 * seed + place))
            for place, family in enumerate(spaces)
        }
        self._drawn = 0

    def next(self) -> Task:
        family = self._chance.choice(list(self._spaces))
        hp = TrialHyperParameters(self._studies[family].ask())
        self._spaces[family](hp)
        self._drawn += 1
        return Task(str(self._drawn), family, {name: hp.values[name] for name in hp.distributions})


class Random(Contestant):
    """Random draws, each trained in full."""

    def __init__(self, spaces: Mapping[str, Space], epochs: int, seed: int) -> None:
        self._draws = Draws(spaces, seed)
        self._epochs = epochs

    def next(self) -> Task | None:
        return self._draws.next()

    def told(self, name: str, epoch: int, value: float) -> bool:
        return epoch < self._epochs


class Named:
    """What Ray's scheduler asks of a trial."""

    def __init__(self, name: str) -> None:
        self.trial_id = name


class RayAsha:
    """Ray's own ASHAScheduler, asked as Tune asks it."""

    def __init__(self, epochs: int) -> None:
        from ray.tune.schedulers import ASHAScheduler, TrialScheduler

        self._scheduler = ASHAScheduler(
            time_attr="training_iteration", metric="accuracy", mode="max", max_t=epochs, grace_period=1,
            reduction_factor=REDUCTION,
        )  # fmt: skip
        self._goes_on = TrialScheduler.CONTINUE
        self._trials: dict[str, Named] = {}

    def add(self, name: str) -> None:
        self._trials[name] = Named(name)
        self._scheduler.on_trial_add(None, self._trials[name])

    def told(self, name: str, epoch: int, value: float) -> bool:
        result = {"training_iteration": epoch, "accuracy": value}
        goes_on = self._scheduler.on_trial_result(None, self._trials[name], result) == self._goes_on
        if not goes_on:
            self._scheduler.on_trial_complete(None, self._trials.pop(name), result)
        return bool(goes_on)


class RandomAsha(Contestant):
    """Random draws under Ray's ASHA."""

    def __init__(self, spaces: Mapping[str, Space], epochs: int, seed: int) -> None:
        self._draws = Draws(spaces, seed)
        self._asha = RayAsha(epochs)

    def next(self) -> Task | None:
        task = self._draws.next()
        self._asha.add(task.name)
        return task

    def told(self, name: str, epoch: int, value: float) -> bool:
        return self._asha.told(name, epoch, value)


class OptunaAsha(Contestant):
    """Ray's OptunaSearch under Ray's ASHA over one space for all families."""

    def __init__(self, spaces: Mapping[str, Space], epochs: int, seed: int, *, starts: bool) -> None:
        from ray.tune.search.optuna import OptunaSearch

        self._spaces = spaces
        self._asha = RayAsha(epochs)
        self._asked = 0
        points = [self._flat(family, point) for family, point in start_points(spaces)] if starts else None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._searcher = OptunaSearch(
                self._draw, points_to_evaluate=points, metric="accuracy", mode="max", seed=seed
            )

    def _flat(self, family: str, point: Mapping[str, Any]) -> dict[str, Any]:
        return {"family": family, **{f"{family}:{name}": value for name, value in point.items()}}

    def _draw(self, trial: Any) -> dict[str, Any]:
        family = trial.suggest_categorical("family", list(self._spaces))
        hp = TrialHyperParameters(Prefixed(trial, f"{family}:"))  # type: ignore[arg-type]
        self._spaces[family](hp)
        return {"task": (family, {name: hp.values[name] for name in hp.distributions})}

    def next(self) -> Task | None:
        self._asked += 1
        name = str(self._asked)
        found = self._searcher.suggest(name)
        self._asha.add(name)
        return Task(name, *found["task"])

    def told(self, name: str, epoch: int, value: float) -> bool:
        goes_on = self._asha.told(name, epoch, value)
        result = {"training_iteration": epoch, "accuracy": value}
        # Tune's order: a result that ends a trial is its completion and nothing before.
        if goes_on:
            self._searcher.on_trial_result(name, result)
        else:
            self._searcher.on_trial_complete(name, result)
        return goes_on


@dataclass
class Prefixed:
    """A trial that families with parameters of one name share: each has its own behind a prefix."""

    trial: Any
    prefix: str

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self.trial.suggest_categorical(self.prefix + name, choices)

    def suggest_int(self, name: str, low: int, high: int, **more: Any) -> int:
        return int(self.trial.suggest_int(self.prefix + name, low, high, **more))

    def suggest_float(self, name: str, low: float, high: float, **more: Any) -> float:
        return float(self.trial.suggest_float(self.prefix + name, low, high, **more))


class OptunaAshaByFamily(Contestant):
    """One OptunaSearch and one ASHA for each family, the families in turn."""

    def __init__(self, spaces: Mapping[str, Space], epochs: int, seed: int) -> None:
        self._own = {
            family: OptunaAsha({family: space}, epochs, seed + 1000 * place, starts=True)
            for place, (family, space) in enumerate(spaces.items())
        }
        self._asked = 0

    def next(self) -> Task | None:
        family = list(self._own)[self._asked % len(self._own)]
        self._asked += 1
        task = self._own[family].next()
        assert task is not None
        return Task(f"{family}/{task.name}", family, task.point)

    def told(self, name: str, epoch: int, value: float) -> bool:
        family, own = name.split("/")
        return self._own[family].told(own, epoch, value)


def start_points(spaces: Mapping[str, Space]) -> list[tuple[str, dict[str, Any]]]:
    """Every family's base configuration, then the hand-written points, the families in turn."""
    found = [
        (place, family, values_to_point(space, values))
        for family, space in spaces.items()
        for place, values in enumerate(({}, *FAMILIES[family].starts))
        if fits(space, values)
    ]
    return [(family, point) for _, family, point in sorted(found, key=lambda item: item[0])]


@dataclass
class Bracket:
    """A bracket of Hyperband: who is in each of its rounds."""

    number: int
    rounds: list[list[str]]


class Hyperband(Contestant):
    """KerasTuner's Hyperband (keras_tuner/src/tuners/hyperband.py, 1.4.8), which repeats its brackets without end.

    A round's best go on once so many of it are done that none of the others could be among them; a free worker for
    which no open bracket has work opens the next.
    """

    def __init__(self, spaces: Mapping[str, Space], epochs: int, seed: int) -> None:
        self._draws = Draws(spaces, seed)
        self._epochs = epochs
        self._most = int(math.log(epochs, REDUCTION) + 1e-9)  # the number of the bracket with the most rounds
        self._brackets: list[Bracket] = []
        self._next_bracket = self._most
        self._tasks: dict[str, Task] = {}
        self._until: dict[str, int] = {}
        self._scores: dict[tuple[str, int], float] = {}  # by trial and the epochs it has had

    def size(self, bracket: int, place: int) -> int:
        """Trials in a round."""
        last = math.ceil(1 + math.log(self._epochs, REDUCTION)) / (bracket + 1)
        return math.ceil(last * float(REDUCTION) ** (bracket - place))

    def budget(self, bracket: int, place: int) -> int:
        """Epochs after which a round is over."""
        return math.ceil(self._epochs / float(REDUCTION) ** (bracket - place))

    def next(self) -> Task | None:
        for bracket in self._brackets:
            if len(bracket.rounds[0]) < self.size(bracket.number, 0):
                return self._new(bracket)
            for place in range(1, len(bracket.rounds)):
                before, here = bracket.rounds[place - 1], bracket.rounds[place]
                epochs = self.budget(bracket.number, place - 1)
                ready = [name for name in before if name not in here and (name, epochs) in self._scores]
                if len(ready) > self.size(bracket.number, place - 1) - self.size(bracket.number, place):
                    name = max(ready, key=lambda name: self._scores[name, epochs])
                    here.append(name)
                    self._until[name] = self.budget(bracket.number, place)
                    task = self._tasks[name]
                    return Task(name, task.family, task.point, epochs)
        self._brackets.append(Bracket(self._next_bracket, [[] for _ in range(self._next_bracket + 1)]))
        self._next_bracket = (self._next_bracket - 1) % (self._most + 1)
        return self._new(self._brackets[-1])

    def _new(self, bracket: Bracket) -> Task:
        task = self._draws.next()
        bracket.rounds[0].append(task.name)
        self._tasks[task.name] = task
        self._until[task.name] = self.budget(bracket.number, 0)
        return task

    def told(self, name: str, epoch: int, value: float) -> bool:
        if epoch < self._until[name]:
            return True
        self._scores[name, epoch] = value
        self._brackets = [bracket for bracket in self._brackets if not self._over(bracket)]
        return False

    def _over(self, bracket: Bracket) -> bool:
        return len(bracket.rounds[-1]) == self.size(bracket.number, bracket.number)


class RandomPromotion(Contestant):
    """Random draws under the promoting kind of ASHA."""

    def __init__(self, spaces: Mapping[str, Space], epochs: int, seed: int) -> None:
        self._draws = Draws(spaces, seed)
        self._epochs = epochs
        self._rungs = [REDUCTION**place for place in range(9) if REDUCTION**place < epochs]
        self._paused: dict[int, dict[str, float]] = {rung: {} for rung in self._rungs}  # everyone that reached it
        self._promoted: dict[int, set[str]] = {rung: set() for rung in self._rungs}
        self._tasks: dict[str, Task] = {}

    def next(self) -> Task | None:
        for rung in reversed(self._rungs):
            reached = self._paused[rung]
            top = sorted(reached, key=lambda name: -reached[name])[: len(reached) // REDUCTION]
            for name in top:
                if name not in self._promoted[rung]:
                    self._promoted[rung].add(name)
                    task = self._tasks[name]
                    return Task(name, task.family, task.point, rung)
        task = self._draws.next()
        self._tasks[task.name] = task
        return task

    def told(self, name: str, epoch: int, value: float) -> bool:
        if epoch in self._paused:
            self._paused[epoch][name] = value
            return False
        return epoch < self._epochs


class Pedigree(Contestant):
    """The product itself: the course of a search, and simulated workers under it."""

    def __init__(self, table: Table, seed: int, workers: int, *, points: bool = True, cheap: bool = True) -> None:
        from search.record.journal import Journal
        from search.schedule.course import Course
        from tests.benchmarks.sleeping import sleeping_pictures

        self._folder = tempfile.TemporaryDirectory()
        settings = Settings(
            families=tuple(table.points), trials=TRIALS, epochs=table.epochs,
            image_sizes=tuple(table.header["image_sizes"]), reduction=REDUCTION, seed=seed, finalists=1,
            name="replayed", runs_dir=self._folder.name,
        )  # fmt: skip
        settings.folder.mkdir()
        self.journal = Journal(settings.folder / "trials.jsonl")
        weights = [Weights(name, alpha, Path(name), "") for name, alpha in table.backbones]
        # Probes were not recorded.
        studies = studies_of(settings, weights, probed=False)
        if not points:
            studies = {
                family: Study(family, space, (), trials=TRIALS, seed=seed + 1000 * place)
                for place, (family, space) in enumerate(table.spaces.items())
            }
        pictures = sleeping_pictures(1, Path(self._folder.name))
        self.course = Course(settings, studies, self.journal, workers, pictures, lambda line: None)
        if not cheap:
            self.course.turns.lead = {}
            for study in studies.values():
                study.ahead = 1

    def next(self) -> Task | None:
        found = self.course.next()
        # The retrainings that follow a search are no part of it.
        if found is None or found[1].kind != "search":
            return None
        name = found[0]
        self.journal.start(name)
        record = self.journal.records[name]
        return Task(name, record.family, record.point)

    def told(self, name: str, epoch: int, value: float) -> bool:
        row = {"epoch": epoch, "train_loss": 1.0, "train_accuracy": value, "validation_loss": 1.0}
        parts = {"seconds": 1.0, "waiting": 0.0, "building": 0.0, "training": 1.0, "validating": 0.0}
        goes_on = self.course.reported(name, {"rows": [{**row, "validation_accuracy": value, **parts}]})
        if not goes_on:
            self.course.ended(name, "")
        return goes_on

    def failed(self, name: str, epoch: int, chance: float) -> bool:
        self.course.reported(name, {"failed": f"the training loss became nan in epoch {epoch}"})
        self.course.ended(name, "")
        return False

    def close(self) -> None:
        self.journal.close()
        self._folder.cleanup()


# table, seed, workers -> contestant
CONTESTANTS: dict[str, Callable[[Table, int, int], Contestant]] = {
    "random": lambda table, seed, workers: Random(table.spaces, table.epochs, seed),
    "random+asha": lambda table, seed, workers: RandomAsha(table.spaces, table.epochs, seed),
    "optuna+asha": lambda table, seed, workers: OptunaAsha(table.spaces, table.epochs, seed, starts=False),
    "optuna+asha+starts": lambda table, seed, workers: OptunaAsha(table.spaces, table.epochs, seed, starts=True),
    "optuna+asha/family": lambda table, seed, workers: OptunaAshaByFamily(table.spaces, table.epochs, seed),
    "hyperband": lambda table, seed, workers: Hyperband(table.spaces, table.epochs, seed),
    "random+promotion": lambda table, seed, workers: RandomPromotion(table.spaces, table.epochs, seed),
    "pedigree": Pedigree,
    "pedigree-points": lambda table, seed, workers: Pedigree(table, seed, workers, points=False),
    "pedigree-cheap": lambda table, seed, workers: Pedigree(table, seed, workers, cheap=False),
}
ANSWERS: dict[str, type[Forest] | type[Nearest]] = {"tree": OneTree, "forest": Forest, "nearest": Nearest}


@cache
def ready(path: Path, answers: str) -> tuple[Table, Answer]:
    """A table and what answers from it, made once in a process."""
    table = read_table(path)
    return table, ANSWERS[answers](table)


def jitter_of(table: Table) -> float:
    """The spread of the accuracy from epoch to epoch around a smooth curve: from second differences."""
    seconds = [np.diff(curve.accuracy, 2) for curves in table.curves.values() for curve in curves]
    # The median, because a curve that leaps is not noisy; 6 is the sum of the squares of 1, -2, 1.
    return float(np.median(np.abs(np.concatenate(seconds))) / 0.6745 / math.sqrt(6))


def horizon_of(table: Table, workers: int) -> float:
    """Seconds in which so many workers train as much as was recorded, or two of the longest trials, if that is more."""
    longest = max(sum(curve.seconds) for curves in table.curves.values() for curve in curves)
    return max(table.seconds / workers, 2 * longest)


def oracle_of(table: Table) -> float:
    """Seconds until somebody is within a point of the best who begins with the configuration that comes there first.

    No searcher can be sooner, whatever the number of workers: an epoch cannot be trained before the one ahead of it.
    """
    return min(
        spent
        for curves in table.curves.values()
        for curve in curves
        for accuracy, spent in zip(curve.accuracy, accumulate(curve.seconds), strict=True)
        if accuracy >= table.best - WITHIN
    )


def one_search(path: Path, answers: str, contestant: str, workers: int, seed: int) -> Search:
    """One search of one contestant on one table."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    table, answer = ready(path, answers)
    # Small seeds drew the table itself: a contestant that repeats them would draw what was recorded.
    player = CONTESTANTS[contestant](table, FIRST_SEED + seed, workers)
    try:
        return simulate(
            player, answer, workers, horizon=horizon_of(table, workers), enough=table.best - WITHIN,
            jitter=jitter_of(table), seed=seed,
        )  # fmt: skip
    finally:
        player.close()


def summary(table: Table, workers: int, searches: Sequence[Search]) -> dict[str, Any]:
    """Quartiles over searches: seconds until within a point of the best, infinite as None, and regrets by then."""
    horizon = horizon_of(table, workers)
    times = [search.reached(table.best - WITHIN) for search in searches]
    regrets = {
        f"{share:g}": _quartiles([table.best - search.best(share * horizon) for search in searches]) for share in SHARES
    }
    return {
        "seconds": [None if math.isinf(value) else value for value in _quartiles(times)],
        "reached": sum(math.isfinite(value) for value in times),
        "searches": len(searches),
        "horizon": horizon,
        "regret": regrets,
        "trials": statistics.median(search.trials for search in searches),
        "epochs": statistics.median(search.epochs for search in searches),
    }


def _quartiles(values: Sequence[float]) -> list[float]:
    # By rank and not between ranks: what lies between a time and never is no time.
    ordered = sorted(values)
    return [ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))] for share in (0.25, 0.5, 0.75)]


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    paths = {name: table_path(name) for name in options.tables}
    tables = {name: read_table(path) for name, path in paths.items()}
    entries: dict[str, Any] = {
        name: {"best": table.best, "jitter": jitter_of(table), "oracle": oracle_of(table), "workers": {}}
        for name, table in tables.items()
    }
    result = {"benchmark": "replay", "seeds": options.seeds, "answers": options.answers, "tables": entries}
    body: list[list[Any]] = [
        [f"{name}, an oracle", entry["oracle"], *[None] * (len(SHARES) + 4)] for name, entry in entries.items()
    ]
    curves: dict[tuple[str, int, str], list[Search]] = {}
    with ProcessPoolExecutor(options.processes, multiprocessing.get_context("spawn")) as pool:
        jobs = {
            (name, workers, contestant): [
                pool.submit(one_search, path, options.answers, contestant, workers, seed)
                for seed in range(options.seeds)
            ]
            for name, path in paths.items()
            for workers in options.workers
            for contestant in options.contestants
        }
        for (name, workers, contestant), futures in jobs.items():
            searches = curves[name, workers, contestant] = [future.result() for future in futures]
            found = summary(tables[name], workers, searches)
            entries[name]["workers"].setdefault(str(workers), {})[contestant] = found
            low, middle, high = found["seconds"]
            body.append(
                [
                    f"{name}, {workers} workers, {contestant}", middle, low, high,
                    f"{found['reached']}/{found['searches']}",
                    *(100 * found["regret"][f"{share:g}"][1] for share in SHARES),
                    int(found["trials"]),
                ]
            )  # fmt: skip
    if options.fit:
        for name, table in tables.items():
            entries[name]["fit"] = fit(table)
            for way, correlations in entries[name]["fit"].items():
                print(f"{name}, {way}: " + ", ".join(f"{key} {value:.2f}" for key, value in correlations.items()))
    heads = [
        "contestant",
        "median s",
        "quarter",
        "three",
        "reached",
        *(f"regret {share:.0%}" for share in SHARES),
        "trials",
    ]
    show(result, heads, body, options.out)
    if options.plot:
        draw(result, curves, options.plot)
    return 0


def draw(result: Mapping[str, Any], curves: Mapping[tuple[str, int, str], Sequence[Search]], place: Path) -> None:
    """Median regret against simulated time, a row for each table and a column for each number of workers, as HTML."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    tables = list(dict.fromkeys(name for name, _, _ in curves))
    counts = list(dict.fromkeys(workers for _, workers, _ in curves))
    players = list(dict.fromkeys(contestant for _, _, contestant in curves))
    colours = ("#1b6ca8", "#d1495b", "#66a182", "#edae49", "#8d6a9f", "#00798c", "#7a7a7a", "#b3541e")
    figure = make_subplots(
        rows=len(tables),
        cols=len(counts),
        subplot_titles=[f"{name}, {workers} workers" for name in tables for workers in counts],
        x_title="simulated seconds",
        y_title="median regret, points of accuracy",
    )
    for (name, workers, contestant), searches in curves.items():
        entry = result["tables"][name]
        horizon = entry["workers"][str(workers)][contestant]["horizon"]
        times = np.geomspace(horizon / 1000, horizon, 120)
        regret = [100 * (entry["best"] - statistics.median(search.best(when) for search in searches)) for when in times]
        figure.add_trace(
            go.Scatter(
                x=times,
                y=regret,
                name=contestant,
                legendgroup=contestant,
                showlegend=(name, workers) == (tables[0], counts[0]),
                line={"color": colours[players.index(contestant) % len(colours)], "shape": "hv"},
            ),
            row=tables.index(name) + 1,
            col=counts.index(workers) + 1,
        )
    figure.update_xaxes(type="log")
    figure.update_layout(template="plotly_white", height=380 * len(tables), width=max(700, 420 * len(counts)))
    figure.write_html(place, include_plotlyjs=True)


def table_path(name: str) -> Path:
    """A table by its name in the repository, or by its path; raises ValueError that lists the names."""
    path = TABLES / f"{name}.json.xz"
    if not path.exists():
        path = Path(name)
    if not path.is_file():
        known = ", ".join(sorted(found.name.removesuffix(".json.xz") for found in TABLES.glob("*.json.xz")))
        raise ValueError(f"a table needs a path or one of {known}, got {name!r}")
    return path


def parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.replay", description=(__doc__ or "").split("\n\n", 1)[0]
    )

    def numbers(text: str) -> tuple[int, ...]:
        return tuple(int(part) for part in text.split(",") if part)

    command.add_argument(
        "tables", nargs="*", default=("photographs", "drawn"), metavar="TABLE", help="names or paths (default: both)"
    )
    command.add_argument("--workers", type=numbers, default=(1, 4, 16, 64, 500), metavar="N,N", help="simulated")
    command.add_argument("--seeds", type=int, default=50, help="searches of each contestant (default: %(default)s)")
    command.add_argument(
        "--contestants",
        type=names_from(CONTESTANTS),
        default=tuple(CONTESTANTS),
        metavar="A,B",
        help=", ".join(CONTESTANTS),
    )
    command.add_argument("--answers", choices=ANSWERS, default="tree", help="(default: %(default)s)")
    command.add_argument("--fit", action="store_true", help="also say how well each way answers for unseen points")
    command.add_argument("--processes", type=int, default=os.cpu_count(), help="of this machine (default: cores)")
    command.add_argument("--plot", type=Path, metavar="HTML", help="draw regret against simulated time")
    command.add_argument("--out", type=Path, help="also write the JSON there")
    return command


if __name__ == "__main__":
    raise SystemExit(main())
