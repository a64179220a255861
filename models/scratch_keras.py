"""The scratch network behind Keras's own augmentation layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from models import scratch
from models.augmentation import augmentation_layers


def build(config: Mapping[str, Any], classes: int, *, seed: int) -> keras.Model:
    """A network from raw uint8 pictures (n, size, size, 3) to float32 probabilities (n, classes)."""
    layers = augmentation_layers(
        config["flip"], config["rotation"], config["zoom"], config["translation"], config["contrast"],
        config.get("crop", 0.0), config.get("colour", 0.0), seed=seed,
    )  # fmt: skip
    return scratch.build(config, classes, seed=seed, augmentation=layers)
