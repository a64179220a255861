"""Linear probes of several labels a picture: one logistic regression for each label, all of one strength."""

from collections.abc import Sequence

import numpy as np

from results.analysis.multilabel import entropies
from search.data.folds import folds
from search.data.pictures import Indices
from search.training.probes import FOLDS, LARGEST, STRENGTHS, Features, Solved, _beside, _close, _fitted

CLOSE = 1.0  # standard errors within which cross-entropies cannot be told apart


def solve_labels(
    features: Features, labels: Indices, groups: Indices, *, seed: int, mirrored: Features | None = None
) -> Solved:
    """One-vs-rest logistic regression on features (n, width) for 0/1 labels (n, labels), as `probes.solve` does it.

    The strength is the weakest of those whose binary cross-entropy on the first fold cannot be told from the lowest.
    There is no temperature to choose: every label has a fit and an intercept of its own.
    """
    both = 1 if mirrored is None else 2
    count = max(2, min(FOLDS, round(FOLDS * LARGEST / (both * features.size * labels.shape[1]))))
    number = folds(labels, groups, FOLDS, seed=seed)
    held = [np.flatnonzero(number == fold) for fold in range(FOLDS)][:count]
    held = [places for places in held if 0 < len(places) < len(labels)]
    strength, places, told = STRENGTHS[3], np.zeros(0, np.int64), np.zeros((0, labels.shape[1]), np.float32)
    if held:
        coarse = _left_out(features, labels, held[0], STRENGTHS, mirrored)
        best = max(_close([entropies(sigmoid(logits), labels[held[0]]) for logits in coarse], CLOSE))
        strength = STRENGTHS[best]
        rest = [_left_out(features, labels, others, (strength,), mirrored)[0] for others in held[1:]]
        places, told = np.concatenate(held), sigmoid(np.concatenate([coarse[best], *rest]))
    weights, bias = _fits(*_beside(features, labels, mirrored), (strength,))[0]
    return Solved(weights, bias, (strength,), (1.0,), places, told)


def sigmoid(logits: Features) -> Features:
    """Probabilities, one for each label."""
    found: Features = (1 / (1 + np.exp(-logits.astype(np.float64).clip(-500, 500)))).astype(np.float32)
    return found


def _left_out(
    features: Features, labels: Indices, places: Indices, strengths: Sequence[float], mirrored: Features | None
) -> Features:
    """Logits (strengths, places, labels) of pictures by fits without them."""
    rest = np.ones(len(labels), bool)
    rest[places] = False
    learnt = _beside(features[rest], labels[rest], None if mirrored is None else mirrored[rest])
    return np.stack([features[places] @ weights + bias for weights, bias in _fits(*learnt, strengths)])


def _fits(features: Features, labels: Indices, strengths: Sequence[float]) -> list[tuple[Features, Features]]:
    """Weights (width, labels) and bias (labels,) for each strength."""
    each = [_fitted(features, labels[:, label], 2, strengths) for label in range(labels.shape[1])]
    return [
        (
            np.stack([fits[place][0][:, 1] - fits[place][0][:, 0] for fits in each], axis=1),
            np.stack([fits[place][1][1] - fits[place][1][0] for fits in each]),
        )
        for place in range(len(strengths))
    ]
