"""The scratch network on pictures that Pillow has treated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from models import scratch
from models.augmentation import augmentation_layers


def build(config: Mapping[str, Any], classes: int, *, seed: int) -> keras.Model:
    """A network from already treated uint8 pictures (n, size, size, 3) to float32 probabilities (n, classes)."""
    crop, colour = config.get("crop", 0.0), config.get("colour", 0.0)
    layers = augmentation_layers("none", 0.0, 0.0, 0.0, 0.0, crop, colour, seed=seed)
    return scratch.build(config, classes, seed=seed, augmentation=layers)
