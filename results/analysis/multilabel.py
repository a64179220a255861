"""Several labels a picture: average precision, F1 and thresholds from probabilities and a 0/1 matrix.

Arrays are (pictures, labels) throughout; `counts` (pictures,) says how often each picture was drawn, as in
`results.analysis.metrics`. A label that no drawn picture has is left out of a mean over the labels: its average
precision is not defined.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# As the cross-entropy of every row has it: a probability of 0 would make the mean infinite.
LEAST = 1e-7
HALF = 0.5  # the threshold of a label for which none was fitted


def as_matrix(truth: Array, labels: int) -> Array:
    """Truth as a 0/1 matrix: classes (n,) become one label a picture."""
    return truth if truth.ndim == 2 else np.eye(labels, dtype=np.int64)[truth]


def entropies(probabilities: Array, truth: Array) -> Array:
    """The binary cross-entropy of each picture, the mean over the labels (n,)."""
    likely = np.where(truth > 0, probabilities, 1 - probabilities.astype(np.float64))
    return np.asarray(-np.log(np.clip(likely, LEAST, 1.0)).mean(axis=1))


def exact(probabilities: Array, truth: Array, thresholds: Array | float = HALF) -> float:
    """The share of pictures all of whose labels are right, scikit-learn's accuracy of several labels a picture."""
    return float(((probabilities >= thresholds) == (truth > 0)).all(axis=1).mean())


def average_precisions(probabilities: Array, truth: Array, counts: Array) -> Array:
    """The average precision of each label (labels,), as scikit-learn has it; NaN where no drawn picture has it."""
    found = np.full(truth.shape[1], np.nan)
    for label in range(truth.shape[1]):
        order = np.argsort(-probabilities[:, label], kind="stable")
        weights, right = counts[order], counts[order] * (truth[order, label] > 0)
        # Pictures of one probability come in together, whatever their order.
        ends = np.append(np.diff(probabilities[order, label]) != 0, True)
        said, hits = np.cumsum(weights)[ends], np.cumsum(right)[ends]
        if hits[-1] > 0:
            found[label] = (np.diff(hits, prepend=0.0) * hits / np.maximum(said, 1e-12)).sum() / hits[-1]
    return found


def mean_average_precision(probabilities: Array, truth: Array, counts: Array) -> float:
    """The mean of the average precisions of the labels that some picture has; 0 where none has any."""
    found = average_precisions(probabilities, as_matrix(truth, probabilities.shape[1]), counts)
    return float(np.nanmean(found)) if (~np.isnan(found)).any() else 0.0


def map_influence(probabilities: Array, truth: Array) -> Array:
    """By how much each picture moves the mean average precision (infinitesimal jackknife)."""
    truth = as_matrix(truth, probabilities.shape[1])
    held = np.flatnonzero(truth.any(axis=0))
    moved = np.zeros(len(truth))
    for label in held:
        order = np.argsort(-probabilities[:, label], kind="stable")
        right = (truth[order, label] > 0).astype(float)
        _, group = np.unique(-probabilities[order, label], return_inverse=True)
        last = np.searchsorted(group, group, side="right") - 1  # the end of each picture's group of equals
        said = np.arange(1, len(order) + 1)[last]
        precision = np.cumsum(right)[last] / said
        total = right.sum()
        average = float((precision * right).sum() / total)
        # A picture counts in the precision of every one that has the label and stands no higher than itself.
        first = np.searchsorted(group, group, side="left")
        shares = np.cumsum((right / said)[::-1])[::-1][first]
        losses = np.cumsum((right * precision / said)[::-1])[::-1][first]
        moved[order] += (right * (precision - average) + right * shares - losses) / total
    return moved / max(1, len(held))


def f1_scores(
    probabilities: Array, truth: Array, counts: Array, thresholds: Array | float = HALF
) -> tuple[Array, Array]:
    """F1 of each label at its threshold (labels,), and the pictures that have it plus those that are said to."""
    said, own = probabilities >= thresholds, truth > 0
    total = counts @ said + counts @ own
    return 2 * (counts @ (said & own)) / np.maximum(total, 1e-12), total


def macro_f1(probabilities: Array, truth: Array, counts: Array) -> float:
    """The mean of F1 over the labels that some picture has or is said to have, at the threshold of a half."""
    found, total = f1_scores(probabilities, truth, counts)
    return float(found[total > 0].mean()) if (total > 0).any() else 0.0


def macro_f1_influence(probabilities: Array, truth: Array) -> Array:
    """By how much each picture moves macro-F1."""
    found, total = f1_scores(probabilities, truth, np.ones(len(truth)))
    said, own = probabilities >= HALF, truth > 0
    moved = (2.0 * (said & own) - found * (said.astype(float) + own)) / np.maximum(total, 1e-12)
    return np.asarray(moved.sum(axis=1) / max(1, int((total > 0).sum())))


def fitted_thresholds(probabilities: Array, truth: Array) -> Array:
    """The threshold of each label with the highest F1 on these pictures (labels,); of several the nearest to a half.

    A threshold lies half-way between two probabilities that differ. A label that no picture has keeps a half, and so
    does one that every picture has.
    """
    found = np.full(truth.shape[1], HALF)
    for label in range(truth.shape[1]):
        own = truth[:, label] > 0
        if not own.any() or own.all():
            continue
        levels = np.unique(probabilities[:, label].astype(np.float64))
        cuts = np.concatenate([[levels[0] / 2], (levels[1:] + levels[:-1]) / 2])
        order = np.sort(probabilities[:, label])
        said = len(own) - np.searchsorted(order, cuts, side="left")
        hits = own.sum() - np.searchsorted(np.sort(probabilities[own, label]), cuts, side="left")
        scores = 2 * hits / (said + own.sum())
        best = np.flatnonzero(scores >= scores.max() - 1e-12)
        found[label] = cuts[best[np.abs(cuts[best] - HALF).argmin()]]
    return found


def decided(probabilities: Array, thresholds: Array) -> Array:
    """Labels above their thresholds as 1.0, the others as 0.0: what F1 at the threshold of a half is to see."""
    return (probabilities >= thresholds).astype(float)


def judged_by(name: str, probabilities: Array, truth: Array) -> Array:
    """What a metric sees of pictures that were not learnt: macro-F1 the labels at thresholds fitted to them."""
    return decided(probabilities, fitted_thresholds(probabilities, truth)) if name == "macro_f1" else probabilities
