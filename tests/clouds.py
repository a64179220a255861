"""Drawn features for tests of linear probes."""

from typing import Any

import numpy as np


def clouds(seed: int, *, count: int = 120, classes: int = 3, width: int = 8, apart: float = 2.0) -> tuple[Any, Any]:
    """Features of length 1 around a centre for each class, and their labels."""
    random = np.random.default_rng(seed)
    centres = np.eye(classes, width) * apart
    labels = np.arange(count) % classes
    features = centres[labels] + random.normal(size=(count, width))
    return (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32), labels
