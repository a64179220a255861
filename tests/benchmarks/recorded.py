"""Recorded learning curves, and what a configuration that was never recorded would have shown.

Any point of a space is answered with one of the recorded curves of its own family, so that every curve is a real one
and a recorded point, such as a base configuration or a hand-written point, is answered with its own. There are three
ways to choose it:

`tree`: 100 extremely randomized trees (Geurts et al., 2006) are grown until a leaf holds one recorded point; one of
them, drawn with the asked point as the seed, says whose curve it is. A curve comes as often as its point is close to
the asked one (Breiman's proximity). What matters little to the accuracy hardly counts, which lets a searcher learn, and
what the trees cannot explain, most of the variance, differs from point to point as it does in training.

`forest`: the same trees, and the curve that most of them give. Whole regions then share one curve to the last digit: a
searcher that comes close to a good configuration sees the same one again and again, whatever it changes, and a search
that draws blindly finds the best of the table as soon as one that learns.

`nearest`: the recorded point at the smallest distance, in which every parameter counts the same. In some twenty
dimensions the nearest of a hundred points has little in common with what was asked for.

Distances: numbers and whole numbers on their own (perhaps logarithmic) scale from 0 to 1, another choice counts 1, a
parameter that is inactive stands in the middle of its range; what switches it on already counts 1.
"""

import functools
import json
import lzma
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from search.studies.hyperparameters import TrialHyperParameters
from search.studies.spaces import Space
from search.training.weights import Backbone
from spaces import FAMILIES

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

TABLES = Path(__file__).parent / "curves"
TREES = 100


@dataclass(frozen=True)
class Curve:
    """What a trial shows, epoch by epoch."""

    accuracy: tuple[float, ...]  # on validation
    seconds: tuple[float, ...]  # building is in the first
    fails: int | None = None  # the epoch, from 1, in which the loss is no number any more

    @property
    def building(self) -> float:
        """Seconds that a trial loses each time it starts on a worker."""
        return max(0.0, self.seconds[0] - float(np.median(self.seconds[1:]))) if len(self.seconds) > 1 else 0.0


@dataclass(frozen=True)
class Table:
    """Recorded configurations of some data, by family in their recorded order."""

    header: dict[str, Any]
    points: dict[str, list[dict[str, Any]]]
    curves: dict[str, list[Curve]]

    @property
    def epochs(self) -> int:
        """The budget of a trial."""
        return int(self.header["epochs"])

    @property
    def backbones(self) -> tuple[Backbone, ...]:
        """Name and alpha of the pretrained trunks."""
        return tuple((name, alpha) for name, alpha in self.header["backbones"])

    @property
    def best(self) -> float:
        """The highest accuracy of any recorded epoch."""
        return max(max(curve.accuracy) for curves in self.curves.values() for curve in curves)

    @property
    def seconds(self) -> float:
        """What training everything that was recorded takes, one after the other."""
        return sum(sum(curve.seconds) for curves in self.curves.values() for curve in curves)

    @functools.cached_property
    def spaces(self) -> dict[str, Space]:
        """The spaces that were drawn from."""
        return spaces_of(list(self.points), self.header["image_sizes"], self.backbones)


def spaces_of(families: Sequence[str], image_sizes: Sequence[int], backbones: Sequence[Backbone]) -> dict[str, Space]:
    """The space of each family over these sizes and pretrained backbones."""
    spaces: dict[str, Space] = {}
    for family in families:
        more = {"backbones": tuple(backbones)} if family == "mobilenet" else {}
        spaces[family] = partial(FAMILIES[family].space, image_sizes=tuple(image_sizes), **more)
    return spaces


def read_table(path: Path) -> Table:
    """Reads a packed table; raises ValueError for what is none."""
    try:
        content = json.loads(lzma.decompress(path.read_bytes()))
        rows = content.pop("configurations")
    except (lzma.LZMAError, ValueError, KeyError) as error:
        raise ValueError(f"a table needs what record_curves packs, and `{path}` is not: {error}") from error
    points: dict[str, list[dict[str, Any]]] = {}
    curves: dict[str, list[Curve]] = {}
    for row in rows:
        points.setdefault(row["family"], []).append(row["point"])
        curves.setdefault(row["family"], []).append(_whole(row, content["epochs"], 1 / content["classes"]))
    return Table(content, points, curves)


def _whole(row: Mapping[str, Any], epochs: int, chance: float) -> Curve:
    # A program that does not look for it trains on after a loss that is no number, and scores by chance.
    accuracy, seconds = row["accuracy"], row["seconds"]
    missing = epochs - len(accuracy)
    return Curve(
        (*accuracy, *[chance] * missing),
        (*seconds, *[seconds[-1]] * (epochs - len(seconds))),
        len(accuracy) + 1 if row["failed"] else None,
    )


class Scale:
    """Points of a space as places in a unit cube."""

    def __init__(self, space: Space, points: Sequence[Mapping[str, Any]]) -> None:
        self._distributions: dict[str, BaseDistribution] = {}
        for point in points:
            hp = TrialHyperParameters(values=point)
            space(hp)
            self._distributions |= hp.distributions

    def place(self, point: Mapping[str, Any]) -> Floats:
        """Coordinates (n,): a number has one, a choice has one for each of its values."""
        found: list[float] = []
        for name, distribution in self._distributions.items():
            match distribution:
                case CategoricalDistribution(choices=choices):
                    # Points with different choices are 1 apart.
                    found += [math.sqrt(0.5) * (point.get(name) == choice) for choice in choices]
                case IntDistribution(low=low, high=high, log=log) | FloatDistribution(low=low, high=high, log=log):
                    found.append(_on_scale(point[name], low, high, log) if name in point else 0.5)
        return np.array(found)


def _on_scale(value: float, low: float, high: float, log: bool) -> float:
    if low == high:
        return 0.5
    return math.log(value / low) / math.log(high / low) if log else (value - low) / (high - low)


@dataclass(frozen=True)
class Trees:
    """Trees over places, as arrays by tree and node; a leaf has itself as both children."""

    feature: Places
    threshold: Floats
    left: Places
    right: Places
    row: Places  # of a leaf: the row that it holds

    def rows(self, place: Floats) -> Places:
        """For each tree the row whose leaf the place falls into."""
        trees = np.arange(len(self.feature))
        node = np.zeros(len(trees), np.int64)
        while True:
            goes_left = place[self.feature[trees, node]] <= self.threshold[trees, node]
            following = np.where(goes_left, self.left[trees, node], self.right[trees, node])
            if (following == node).all():
                return self.row[trees, node]
            node = following


def grow(places: Floats, values: Floats, *, trees: int = TREES, seed: int = 0) -> Trees:
    """Extremely randomized trees: a third of the coordinates are cut at random, and the cut that explains most is kept.

    `places` (n, coordinates), `values` (n, targets) on one scale. Equal places share a leaf, which holds the first.
    """
    chance = np.random.default_rng(seed)
    grown = [_grow_tree(places, values, chance) for _ in range(trees)]
    nodes = max(len(tree[0]) for tree in grown)

    def stack(part: int) -> Any:
        return np.stack([np.pad(tree[part], (0, nodes - len(tree[part]))) for tree in grown])

    return Trees(stack(0), stack(1), stack(2), stack(3), stack(4))


def _grow_tree(places: Floats, values: Floats, chance: np.random.Generator) -> tuple[NDArray[Any], ...]:
    feature, threshold, left, right, row = [0], [0.0], [0], [0], [0]
    waiting = [(0, np.arange(len(places)))]
    while waiting:
        node, members = waiting.pop()
        here = places[members]
        low, high = here.min(axis=0), here.max(axis=0)
        if (low == high).all():
            left[node] = right[node] = node
            row[node] = int(members[0])
            continue
        cut = chance.uniform(low, high)
        goes_left = here <= cut
        count = goes_left.sum(axis=0)
        sums = goes_left.T.astype(np.float64) @ values[members]
        total = values[members].sum(axis=0)
        # What lies between the two sides' means; the more, the less is left inside them.
        others = len(members) - count
        with np.errstate(divide="ignore", invalid="ignore"):
            gain = (sums**2).sum(axis=1) / count + ((total - sums) ** 2).sum(axis=1) / others
        gain[(count == 0) | (others == 0)] = -np.inf
        passed_over = chance.permutation(np.flatnonzero(np.isfinite(gain)))
        gain[passed_over[: len(passed_over) - -(-len(passed_over) // 3)]] = -np.inf
        chosen = int(gain.argmax())
        feature[node], threshold[node] = chosen, float(cut[chosen])
        for side, children in ((goes_left[:, chosen], left), (~goes_left[:, chosen], right)):
            children[node] = len(feature)
            waiting.append((len(feature), members[side]))
            for part, value in ((feature, 0), (left, 0), (right, 0), (row, 0)):
                part.append(value)
            threshold.append(0.0)
    return np.array(feature), np.array(threshold), np.array(left), np.array(right), np.array(row)


class Nearest:
    """Answers with the nearest recorded curve."""

    def __init__(self, table: Table) -> None:
        self._curves = table.curves
        self._scales = {family: Scale(table.spaces[family], points) for family, points in table.points.items()}
        self._places = {
            family: np.stack([self._scales[family].place(point) for point in points])
            for family, points in table.points.items()
        }

    def __call__(self, family: str, point: Mapping[str, Any]) -> Curve:
        distances = np.square(self._places[family] - self._scales[family].place(point)).sum(axis=1)
        return self._curves[family][int(distances.argmin())]


class Forest:
    """Answers with the recorded curve that most trees give."""

    def __init__(self, table: Table, *, trees: int = TREES, seed: int = 0) -> None:
        self._curves = table.curves
        self._scales = {family: Scale(table.spaces[family], points) for family, points in table.points.items()}
        self._trees = {
            family: grow(
                np.stack([self._scales[family].place(point) for point in points]),
                targets(table.curves[family]),
                trees=trees,
                seed=seed,
            )
            for family, points in table.points.items()
        }

    def __call__(self, family: str, point: Mapping[str, Any]) -> Curve:
        return self._curves[family][self._choose(self._trees[family].rows(self._scales[family].place(point)), point)]

    def _choose(self, rows: Places, point: Mapping[str, Any]) -> int:
        return int(np.bincount(rows).argmax())


class OneTree(Forest):
    """Answers with the recorded curve that one of the trees gives, always the same one for a point."""

    def _choose(self, rows: Places, point: Mapping[str, Any]) -> int:
        return int(random.Random(repr(sorted(point.items()))).choice(rows))


def targets(curves: Sequence[Curve]) -> Floats:
    """What trees explain: accuracies and the logarithm of all seconds, each with a spread of 1 (n, epochs + 1)."""
    values = np.array([[*curve.accuracy, math.log(sum(curve.seconds))] for curve in curves])
    spread = values.std(axis=0)
    return np.asarray((values - values.mean(axis=0)) / np.where(spread > 0, spread, 1.0))


def fit(table: Table, folds: int = 10) -> dict[str, dict[str, float]]:
    """How well each way answers for points that it has not seen: Spearman's correlation of the best accuracies.

    By family and over `all` of them; every recorded point is left out once, with its fold.
    """
    found: dict[str, dict[str, float]] = {}
    ways: dict[str, type[Nearest] | type[Forest]] = {"nearest": Nearest, "forest": Forest, "tree": OneTree}
    for way, kind in ways.items():
        truth: dict[str, list[float]] = {family: [] for family in table.points}
        guess: dict[str, list[float]] = {family: [] for family in table.points}
        for fold in range(folds):
            kept = {
                family: [i for i in range(len(points)) if i % folds != fold] for family, points in table.points.items()
            }
            seen = Table(
                table.header,
                {family: [table.points[family][i] for i in rows] for family, rows in kept.items()},
                {family: [table.curves[family][i] for i in rows] for family, rows in kept.items()},
            )
            answer = kind(seen)
            for family, points in table.points.items():
                for i in range(fold, len(points), folds):
                    truth[family].append(max(table.curves[family][i].accuracy))
                    guess[family].append(max(answer(family, points[i]).accuracy))
        found[way] = {family: _spearman(truth[family], guess[family]) for family in table.points}
        found[way]["all"] = _spearman([*chain(*truth.values())], [*chain(*guess.values())])
    return found


def _spearman(first: Sequence[float], second: Sequence[float]) -> float:
    return float(np.corrcoef(_ranks(first), _ranks(second))[0, 1])


def _ranks(values: Sequence[float]) -> Floats:
    # Equal values share the mean of their places.
    _, inverse, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[inverse])
