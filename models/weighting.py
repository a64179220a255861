"""Weights of training pictures by how common their classes are."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def class_weights(labels: NDArray[np.int64], classes: int, power: float) -> NDArray[np.float32]:
    """The weight of each class: its count to the power of minus `power`, so that the pictures' mean weight is 1.

    At 0 all pictures count the same, at 1 all classes do. A class without pictures has the weight 0.
    """
    counts = np.bincount(labels, minlength=classes)
    weights = np.where(counts > 0, np.maximum(counts, 1.0) ** -float(power), 0.0)
    found: NDArray[np.float32] = (weights * len(labels) / (weights * counts).sum()).astype(np.float32)
    return found


def of_pictures(labels: NDArray[np.int64], classes: int, power: Any) -> NDArray[np.float32] | None:
    """The weight of each picture; None where all have the same, as where a configuration says nothing of it."""
    if not power:
        return None
    found: NDArray[np.float32] = class_weights(labels, classes, float(power))[labels]
    return found
