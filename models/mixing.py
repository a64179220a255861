"""Mixup: pictures and labels of a batch laid over one another (Zhang et al., 2018)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def mixed(
    pictures: Array, labels: Array, weights: Array | None, strength: float, random: np.random.Generator
) -> tuple[Array, Array, Array | None]:
    """Each uint8 picture of a batch over another, with labels (n, classes) and weights (n,) mixed as they are.

    How much of the other is seen is drawn once for the batch, from the beta distribution of this strength: most often
    next to nothing of one of them. Before the augmentation, which then moves both alike.
    """
    share = float(random.beta(strength, strength))
    others = random.permutation(len(pictures))
    # In 256ths and whole numbers: a quarter of the time that floating point takes.
    own = round(256 * share)
    laid = pictures.astype(np.uint16) * own + pictures[others].astype(np.uint16) * (256 - own) + 128 >> 8

    def between(values: Array) -> Array:
        return np.asarray(values * (own / 256) + values[others] * (1 - own / 256), values.dtype)

    return laid.astype(np.uint8), between(labels), None if weights is None else between(weights)
