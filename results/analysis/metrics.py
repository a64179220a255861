"""What a search is judged by: scikit-learn's metrics from class probabilities, with standard errors and intervals.

Inside there is one convention, a `score` that is higher for the better: the metric itself, and minus it where low is
good. People are shown the metric with its usual sign (`shown`).

All is written in NumPy and takes `counts`, how often each picture was drawn: a bootstrap is then a thousand sums, and
no sorting. Of several labels a picture truth is a 0/1 matrix (n, labels), for which `map` and `macro_f1` are defined
(`results.analysis.multilabel`).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from results.analysis import multilabel

Array = NDArray[Any]

ACCURACY = "accuracy"
SEVERAL = ("map", "macro_f1")  # metrics of several labels a picture, the default first
# As the cross-entropy of every row has it: a probability of 0 would make the mean infinite.
LEAST = 1e-7
DRAWS = 1000  # of a bootstrap
MOST = 2e8  # pictures times classes times draws of one bootstrap, beyond which it has fewer draws, but never FEWEST
FEWEST = 200
TOP = 5


@dataclass(frozen=True)
class Metric:
    """One metric.

    `value` takes probabilities (n, classes), labels (n,) and counts (n,), and `influence` the first two: by how much
    each picture moves the value, so that the root of the sum of squares is its standard error (infinitesimal
    jackknife; for AUC this is the variance of DeLong, DeLong and Clarke-Pearson, 1988).
    """

    title: str
    value: Callable[[Array, Array, Array], float]
    influence: Callable[[Array, Array], Array]
    minimised: bool = False
    share: bool = True  # shown in per cent
    even: bool = False  # every class counts the same, however few pictures it has


def score(name: str, probabilities: Array, truth: Array, counts: Array | None = None) -> float:
    """A metric of probabilities (n, classes) against labels (n,), higher for the better."""
    metric = METRICS[name]
    drawn = np.ones(len(truth)) if counts is None else counts
    value = metric.value(probabilities, truth, drawn)
    return -value if metric.minimised else value


def standard_error(name: str, probabilities: Array, truth: Array) -> float:
    """The standard error of a metric over pictures, at least that of half a picture."""
    found = math.sqrt(float((METRICS[name].influence(probabilities, truth) ** 2).sum()))
    return max(found, 0.5 / len(truth))


def tie_loss(name: str, probabilities: Array, truth: Array) -> float:
    """The cross-entropy by which scores are told apart that are too near to each other.

    Of a metric for which all classes count the same it is the mean over the classes. Of several labels a picture all
    labels count the same.
    """
    losses = _losses(probabilities, truth)
    if truth.ndim == 2 or not METRICS[name].even:
        return float(losses.mean())
    sizes = np.bincount(truth)
    return float((losses / sizes[truth]).sum() / (sizes > 0).sum())


def judged(name: str, probabilities: Array, truth: Array, before: str = "") -> dict[str, float]:
    """What a row carries beside accuracy: `score`, its standard error and the loss for ties; nothing for accuracy."""
    if name == ACCURACY:
        return {}
    said = multilabel.judged_by(name, probabilities, truth) if truth.ndim == 2 else probabilities
    return {
        f"{before}score": score(name, said, truth),
        f"{before}score_error": standard_error(name, said, truth),
        f"{before}score_loss": tie_loss(name, probabilities, truth),
    }


def shown(name: str, found: float | None) -> float | None:
    """A score as people know the metric."""
    return None if found is None else -found if METRICS[name].minimised else found


def interval(name: str, runs: list[Array], truth: Array, *, seed: int = 0) -> tuple[float, float, float]:
    """The mean of a metric over the seeds of a model, with the 95 % interval of a bootstrap over test pictures.

    `runs` holds the probabilities of each seed. Every draw takes as many pictures as there are, the same for all seeds,
    and where there are several also as many seeds as there are: the interval covers the luck of both. It is that of
    the percentiles, widened so far that the mean lies in it.
    """
    metric = METRICS[name]
    count, seeds = len(truth), len(runs)
    found = [metric.value(one, truth, np.ones(count)) for one in runs]
    mean = float(np.mean(found))
    random = np.random.default_rng(seed)
    draws = int(min(DRAWS, max(FEWEST, MOST / (count * runs[0].shape[1]))))
    values = []
    for _ in range(draws):
        counts = np.bincount(random.integers(0, count, count), minlength=count).astype(float)
        chosen = random.integers(0, seeds, seeds)
        each = {int(one): metric.value(runs[one], truth, counts) for one in set(chosen.tolist())}
        values.append(float(np.mean([each[int(one)] for one in chosen])))
    low, high = np.quantile(values, [0.025, 0.975])
    return mean, min(float(low), mean), max(float(high), mean)


def _losses(probabilities: Array, truth: Array) -> Array:
    if truth.ndim == 2:
        return multilabel.entropies(probabilities, truth)
    likely = probabilities[np.arange(len(truth)), truth].astype(np.float64)
    return np.asarray(-np.log(np.clip(likely, LEAST, 1.0)))


def _mean(values: Array, counts: Array) -> float:
    return float((values * counts).sum() / counts.sum())


def _spread(values: Array) -> Array:
    return np.asarray((values - values.mean()) / len(values))


def _right(probabilities: Array, truth: Array) -> Array:
    return np.asarray(probabilities.argmax(axis=1) == truth, float)


def _in_top(probabilities: Array, truth: Array) -> Array:
    """Whether the true class is among the five likeliest; of equals the later classes come first, as scikit-learn's."""
    own = probabilities[np.arange(len(truth)), truth][:, None]
    later = np.arange(probabilities.shape[1]) > truth[:, None]
    before = ((probabilities > own) | ((probabilities == own) & later)).sum(axis=1)
    return np.asarray(before < TOP, float)


def _recalls(probabilities: Array, truth: Array, counts: Array) -> tuple[Array, Array]:
    """By class, the share of its pictures that are named rightly, and how many it has."""
    classes = probabilities.shape[1]
    sizes = np.bincount(truth, counts, classes)
    hits = np.bincount(truth, counts * _right(probabilities, truth), classes)
    return hits / np.maximum(sizes, 1e-12), sizes


def _balanced(probabilities: Array, truth: Array, counts: Array) -> float:
    recalls, sizes = _recalls(probabilities, truth, counts)
    return float(recalls[sizes > 0].mean())


def _balanced_influence(probabilities: Array, truth: Array) -> Array:
    recalls, sizes = _recalls(probabilities, truth, np.ones(len(truth)))
    moved = (_right(probabilities, truth) - recalls[truth]) / sizes[truth]
    return np.asarray(moved / (sizes > 0).sum())


def _f1(probabilities: Array, truth: Array, counts: Array) -> tuple[Array, Array]:
    """By class, F1, and the pictures that are of it plus those that are named so."""
    classes = probabilities.shape[1]
    said = probabilities.argmax(axis=1)
    total = np.bincount(truth, counts, classes) + np.bincount(said, counts, classes)
    hits = np.bincount(truth, counts * (said == truth), classes)
    return 2 * hits / np.maximum(total, 1e-12), total


def _macro_f1(probabilities: Array, truth: Array, counts: Array) -> float:
    if truth.ndim == 2:
        return multilabel.macro_f1(probabilities, truth, counts)
    found, total = _f1(probabilities, truth, counts)
    # A class that no picture has and none is taken for says nothing; scikit-learn leaves it out as well.
    return float(found[total > 0].mean())


def _macro_f1_influence(probabilities: Array, truth: Array) -> Array:
    if truth.ndim == 2:
        return multilabel.macro_f1_influence(probabilities, truth)
    found, total = _f1(probabilities, truth, np.ones(len(truth)))
    said = probabilities.argmax(axis=1)
    part = found / np.maximum(total, 1e-12)
    moved = np.where(said == truth, 2 / total[truth], 0.0) - part[truth] - part[said]
    return np.asarray(moved / (total > 0).sum())


def _below(values: Array, others: Array, weights: Array) -> Array:
    """For each value the weight of the others that are lower, equal ones by half."""
    order = np.argsort(others, kind="stable")
    sums = np.concatenate([[0.0], np.cumsum(weights[order])])
    lower = np.searchsorted(others[order], values, side="left")
    upto = np.searchsorted(others[order], values, side="right")
    return np.asarray((sums[lower] + sums[upto]) / 2)


def _auc(probabilities: Array, truth: Array, counts: Array) -> float:
    found = []
    for label in np.unique(truth[counts > 0]):
        own = truth == label
        inside, outside = counts[own].sum(), counts[~own].sum()
        if outside > 0:
            below = _below(probabilities[own, label], probabilities[~own, label], counts[~own])
            found.append((below * counts[own]).sum() / (inside * outside))
    # Of one class alone nothing is told apart.
    return float(np.mean(found)) if found else 0.5


def _auc_influence(probabilities: Array, truth: Array) -> Array:
    moved = np.zeros(len(truth))
    labels = np.unique(truth)
    for label in labels if len(labels) > 1 else ():
        own = truth == label
        ours, theirs = probabilities[own, label], probabilities[~own, label]
        beaten = _below(ours, theirs, np.ones(len(theirs))) / len(theirs)
        beating = 1 - _below(theirs, ours, np.ones(len(ours))) / len(ours)
        moved[own] += _spread(beaten)
        moved[~own] += _spread(beating)
    return moved / len(labels)


METRICS: dict[str, Metric] = {
    ACCURACY: Metric("accuracy", lambda p, t, c: _mean(_right(p, t), c), lambda p, t: _spread(_right(p, t))),
    "balanced_accuracy": Metric("balanced accuracy", _balanced, _balanced_influence, even=True),
    "macro_f1": Metric("macro-F1", _macro_f1, _macro_f1_influence, even=True),
    "map": Metric("mAP", multilabel.mean_average_precision, multilabel.map_influence, even=True),
    "top5": Metric("top-5 accuracy", lambda p, t, c: _mean(_in_top(p, t), c), lambda p, t: _spread(_in_top(p, t))),
    "auc": Metric("ROC AUC", _auc, _auc_influence, share=False),
    "log_loss": Metric(
        "log loss",
        lambda p, t, c: _mean(_losses(p, t), c),
        lambda p, t: _spread(_losses(p, t)),
        minimised=True,
        share=False,
    ),
}
