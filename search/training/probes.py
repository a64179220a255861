"""Linear probes: logistic regression on stored features, solved to its optimum and scored by cross-validation.

A problem of seconds, convex and so without luck in its training: no configuration that is trained by epochs should be
chosen that is worse. Its strength is chosen by cross-validation each time it is fitted, so that a figure on pictures
outside the fit is the figure of the whole procedure.
"""

import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from models.sizes import PARAMETERS, sources
from models.weighting import of_pictures
from results.analysis.metrics import ACCURACY, judged
from search.data.folds import folds
from search.data.pictures import Indices, Pictures
from search.training import activations
from search.training.trial import Clock, Inputs, Material, Report, Trained, headed, score

if TYPE_CHECKING:
    import keras

Features = NDArray[np.float32]

FOLDS = 5
# Inverse strengths of the penalty, on features of length 1; beyond the last the optimum hardly moves.
STRENGTHS = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
# Numbers in features times classes times pictures up to which every fold is used; of larger problems fewer folds say
# as much, since each has more pictures.
LARGEST = 2e8
STEPS = 200  # of L-BFGS, at most, for one strength
GRADIENT = 1e-4  # its largest entry at the optimum, per picture
# Fits whose cross-entropy is within so many standard errors of the lowest go on after the first fold, and are averaged
# after all of them.
GO_ON, AVERAGED = 2.0, 3.0
# Temperatures that out-of-fold probabilities are tried at.
TEMPERATURES = np.exp(np.linspace(np.log(0.05), np.log(5.0), 93))


@dataclass(frozen=True)
class Solved:
    """A fitted probe and what cross-validation said of it."""

    weights: Features  # (width, classes), the mean of the fits, their temperatures divided out
    bias: Features  # (classes,)
    strengths: tuple[float, ...]  # of the fits
    temperatures: tuple[float, ...]  # theirs
    places: Indices  # of the pictures that were left out once, in the order of the features
    probabilities: Features  # theirs, from fits without them (len(places), classes)

    @property
    def strength(self) -> float:
        """The geometric mean of the strengths of the fits."""
        return float(np.exp(np.mean(np.log(self.strengths))))

    @property
    def temperature(self) -> float:
        """The geometric mean of the temperatures of the fits."""
        return float(np.exp(np.mean(np.log(self.temperatures))))


@dataclass(frozen=True)
class Probed:
    """A fitted probe with what it was fitted on."""

    config: dict[str, Any]
    features: Features  # (n, width)
    labels: Indices
    groups: Indices  # copies share one
    rows: Indices  # packed
    solved: Solved


def solve(
    features: Features,
    labels: Indices,
    groups: Indices,
    classes: int,
    *,
    seed: int,
    mirrored: Features | None = None,
    power: float = 0.0,
) -> Solved:
    """Logistic regression on features (n, width), its strengths and temperatures chosen by cross-validation.

    Pictures of one group are never on both sides of a fold. All strengths are tried on the first fold. Those whose
    cross-entropy is close to the lowest are tried on the others. What is handed over is the mean of the fits, each
    divided by its temperature, whose cross-entropy over all folds is close to the lowest.

    Features of the `mirrored` pictures are learnt from beside the others, and never scored. Pictures count by that
    `power` of their class counts (`models.weighting`) in the fits, and all the same where a fit is scored.
    """
    if labels.ndim == 2:
        from search.training.label_probes import solve_labels

        return solve_labels(features, labels, groups, seed=seed, mirrored=mirrored)
    both = 1 if mirrored is None else 2
    count = max(2, min(FOLDS, round(FOLDS * LARGEST / (both * features.size * classes))))
    number = folds(labels, groups, FOLDS, seed=seed)
    held = [np.flatnonzero(number == fold) for fold in range(FOLDS)][:count]
    held = [places for places in held if 0 < len(places) < len(labels)]
    if not held:
        # A handful of pictures, each class in one group: nothing can be left out.
        weights, bias = _fitted(*_beside(features, labels, mirrored), classes, STRENGTHS[3:4], power)[0]
        none = np.zeros((0, classes), np.float32)
        return Solved(weights, bias, STRENGTHS[3:4], (1.0,), np.zeros(0, np.int64), none)
    # A few hundred pictures hardly tell the strengths apart where the labels are right, and the mean of all that are
    # close is as good as the best fixed strength. It is so where labels are wrong, too, which want a strong penalty.
    coarse = _left_out(features, labels, classes, held[0], STRENGTHS, mirrored, power)
    tried = _close([_entropies(logits, labels[held[0]])[0] for logits in coarse], GO_ON)
    strengths = [STRENGTHS[place] for place in tried]
    rest = [_left_out(features, labels, classes, places, strengths, mirrored, power) for places in held[1:]]
    places = np.concatenate(held)
    found = np.concatenate([coarse[tried], *rest], axis=1)
    judged_by = [_entropies(logits, labels[places]) for logits in found]
    kept = _close([entropies for entropies, _ in judged_by], AVERAGED)
    alone = np.array([judged_by[place][1] for place in kept])
    mean = np.mean(found[kept] / alone[:, None, None].astype(np.float32), axis=0)
    together = calibrated(mean, labels[places])[0]
    chosen = tuple(strengths[place] for place in kept), tuple((together * alone).tolist())
    weights, bias = averaged(*_beside(features, labels, mirrored), classes, *chosen, power)
    return Solved(weights, bias, *chosen, places, _softmax(mean / together))


def averaged(
    features: Features,
    labels: Indices,
    classes: int,
    strengths: Sequence[float],
    temperatures: Sequence[float],
    power: float = 0.0,
) -> tuple[Features, Features]:
    """The mean of fits of these strengths, each divided by its temperature: weights (width, classes) and bias."""
    fits = _fitted(features, labels, classes, strengths, power)
    divided = [(weights / t, bias / t) for (weights, bias), t in zip(fits, map(np.float32, temperatures), strict=True)]
    weights, bias = (np.stack(parts).mean(axis=0) for parts in zip(*divided, strict=True))
    return weights, bias


def _beside(features: Features, labels: Indices, mirrored: Features | None) -> tuple[Features, Indices]:
    """Features and labels with those of the mirrored pictures behind them, where there are any."""
    if mirrored is None:
        return features, labels
    return np.concatenate([features, mirrored]), np.concatenate([labels, labels])


def _entropies(logits: Features, truth: Indices) -> tuple[Features, float]:
    """The cross-entropy of each picture, at the temperature that suits all of them best, and that temperature."""
    temperature = calibrated(logits, truth)[0]
    right = _softmax(logits / temperature)[np.arange(len(truth)), truth]
    found: Features = -np.log(np.clip(right, 1e-7, 1.0))
    return found, temperature


def _close(entropies: Sequence[Features], errors: float) -> list[int]:
    """The places whose cross-entropy is within so many standard errors of the lowest, picture by picture."""
    best = entropies[int(np.argmin([one.mean() for one in entropies]))]
    more = [one - best for one in entropies]
    return [place for place, one in enumerate(more) if one.mean() <= errors * one.std() / len(one) ** 0.5]


def _left_out(
    features: Features,
    labels: Indices,
    classes: int,
    places: Indices,
    strengths: Sequence[float],
    mirrored: Features | None,
    power: float,
) -> Features:
    """Logits (strengths, places, classes) of pictures by fits without them."""
    rest = np.ones(len(labels), bool)
    rest[places] = False
    learnt = _beside(features[rest], labels[rest], None if mirrored is None else mirrored[rest])
    fits = _fitted(*learnt, classes, strengths, power)
    return np.stack([features[places] @ weights + bias for weights, bias in fits])


def calibrated(logits: Features, truth: Indices) -> tuple[float, float]:
    """By what logits are to be divided for the lowest cross-entropy (Guo et al., 2017), and that cross-entropy."""
    losses: dict[int, float] = {}

    def best_of(places: Iterable[int]) -> int:
        for place in places:
            if place not in losses and 0 <= place < len(TEMPERATURES):
                losses[place] = score(_softmax(logits / TEMPERATURES[place]), truth)[0]
        return min(losses, key=lambda place: losses[place])

    # From coarse to fine: of many pictures and classes each temperature takes a while.
    best = best_of(range(0, len(TEMPERATURES), 8))
    for step in (4, 2, 1):
        best = best_of((best - step, best + step))
    return float(TEMPERATURES[best]), losses[best]


def _fitted(
    features: Features, labels: Indices, classes: int, strengths: Sequence[float], power: float = 0.0
) -> list[tuple[Features, Features]]:
    """Weights (width, classes) and bias (classes,) for each strength; each fit begins where the one before ended."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    present = np.unique(labels)
    found = []
    model = LogisticRegression(max_iter=STEPS, tol=GRADIENT, warm_start=True)
    for strength in strengths:
        weights = np.zeros((features.shape[1], classes), np.float32)
        # A class that a fold lacks is never named by its fit.
        bias = np.full(classes, -30.0, np.float32)
        if len(present) == 1:
            bias[present] = 0.0
        else:
            model.C = strength
            with warnings.catch_warnings():
                # The last steps towards the optimum change no answer.
                warnings.simplefilter("ignore", ConvergenceWarning)
                model.fit(features, labels, of_pictures(labels, classes, power))
            if len(present) == 2:
                # One row of weights, for the second class against the first.
                weights[:, present[1]], bias[present] = model.coef_[0], (0.0, model.intercept_[0])
            else:
                weights[:, present], bias[present] = model.coef_.T, model.intercept_
        found.append((weights, bias))
    return found


def probabilities_of(features: Features, weights: Features, bias: Features) -> Features:
    """What a fitted probe says of features (n, classes)."""
    return _softmax(features @ weights + bias)


def _softmax(logits: Any) -> Features:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: Features = (shifted / shifted.sum(axis=1, keepdims=True)).astype(np.float32)
    return probabilities


def train_probe(
    config: Mapping[str, Any],
    pictures: Pictures,
    *,
    seed: int,
    threads: int,
    report: Report,
    clock: Clock,
    metric: str = ACCURACY,
) -> Trained:
    """Solves a configuration's probe and reports its one row.

    Of a search's pictures, train and validation together are the folds, and `validation` figures are those of every
    picture by a fit without it. Of pictures with `parts` it is fitted on `train`, and scored on `validation` where
    there are any.
    """
    # What is loaded within the limits is not limited, and threads of several processes on one core wait for each other.
    import sklearn.linear_model  # noqa: F401
    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    began = time.perf_counter()
    searching = not pictures.parts
    whole = pictures.joined() if searching else pictures
    with clock("waiting"):
        seen = features_of(config, pictures, whole.train)
        held = features_of(config, pictures, whole.validation)
        mirrored = features_of(config, pictures, whole.train, mirrored=True) if config.get("mirrored") else None
    labels, groups = pictures.labels[whole.train], pictures.grouped(whole.train)
    with clock("training"), threadpool_limits(threads):
        power = float(config.get("class_weight_power") or 0.0)
        solved = solve(seen, labels, groups, len(pictures.classes), seed=seed, mirrored=mirrored, power=power)
    train_loss, train_accuracy = score(answers(seen, solved, pictures), labels)
    row: dict[str, Any] = {
        "epoch": 1,
        "parameters": sum(PARAMETERS[backbone, alpha] for backbone, alpha, _ in sources(config)) + solved.weights.size
        + solved.bias.size,
        "train_loss": train_loss,
        "train_accuracy": train_accuracy,
        "strength": round(solved.strength, 4),
        "temperature": round(solved.temperature, 4),
    }  # fmt: skip
    if len(held):
        said, truth = answers(held, solved, pictures), pictures.labels[whole.validation]
        row["validation_loss"], row["validation_accuracy"] = score(said, truth)
        row |= judged(metric, said, truth, "validation_")
    elif searching and len(solved.places):
        row["validation_loss"], row["validation_accuracy"] = score(solved.probabilities, labels[solved.places])
        row |= judged(metric, solved.probabilities, labels[solved.places], "validation_")
        row["held_out"] = len(solved.places)
    clock.spent["building"] += max(0.0, time.perf_counter() - began - sum(clock.spent.values()))
    report({**row, **clock.take()})

    def exported() -> "keras.Model":
        return probe_model(config, pictures, solved.weights, solved.bias)

    from models import probe

    tail = headed(probe.build_tail(seen.shape[1], len(pictures.classes), solved.weights, solved.bias), pictures)
    material = Material(tail, lambda epoch: Inputs(seen), labels, None, exported, row["parameters"])
    probed = Probed(dict(config), seen, labels, groups, whole.train, solved)
    return Trained(tail, exported, train_accuracy, material, probed=probed)


def answers(features: Features, solved: Solved, pictures: Pictures) -> Features:
    """What a fitted probe says of features (n, classes)."""
    if not pictures.multilabel:
        return probabilities_of(features, solved.weights, solved.bias)
    from search.training.label_probes import sigmoid

    return sigmoid(features @ solved.weights + solved.bias)


def probe_model(config: Mapping[str, Any], pictures: Pictures, weights: Any = None, bias: Any = None) -> "keras.Model":
    """The model that a configuration exports, with these weights or new ones."""
    from models import probe

    trunks = [activations.load_trunk(pictures, *source) for source in sources(config)]
    tail = probe.build_tail(sum(trunk.width for trunk in trunks), len(pictures.classes), weights, bias)
    tail = headed(tail, pictures)
    return probe.join(tail, trunks)


def features_of(config: Mapping[str, Any], pictures: Pictures, rows: Indices, *, mirrored: bool = False) -> Features:
    """What the probe of a configuration sees of some packed rows, from what is cached of each part of the pictures.

    `mirrored` asks for that of their mirror images.
    """
    version = ("flip", 1) if mirrored else ("none", 0)
    if not len(rows):
        return np.zeros((0, 0), np.float32)
    parts = pictures.parts or (pictures.train, pictures.validation)
    found = []
    for source in sources(config):
        pooled = np.concatenate(
            [activations.Source(pictures, part, *source).read(None, *version) for part in parts if len(part)]
        )
        known = np.concatenate(parts)
        places = np.argsort(known, kind="stable")
        known = known[places]
        # The squares of float16 features soon leave its range, those of wide trunks the sooner.
        chosen = pooled[places[np.searchsorted(known, rows)]].astype(np.float32)
        found.append(chosen / np.maximum(np.linalg.norm(chosen, axis=1, keepdims=True), 1e-6))
    return np.concatenate(found, axis=1).astype(np.float32)
