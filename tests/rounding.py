"""How far float32 may take two ways to compute the same numbers apart, on any processor."""

import numpy as np

EPSILON = float(np.finfo(np.float32).eps)
SAFETY = 8


def rounding(layers: int, terms: int) -> float:
    """The difference that is allowed between values of about 1 behind so many layers.

    Each layer sums up to `terms` products, in the order and with the fused operations that a processor's kernels have.
    The errors of one sum grow like a random walk; those of one layer after another add up at most.
    """
    return float(SAFETY * layers * terms**0.5 * EPSILON)
