"""Networks as Keras builds them, with random weights with which every part of them shows."""

import re
from typing import Any

import keras
import numpy as np

from models.trunk import _measure_norms

RANDOM = np.random.default_rng(0)
# The two that are built soonest.
SMALLEST = ("MobileNetV3Small", "EfficientNetV2B0")
HEAD: dict[str, Any] = {
    "alpha": 1.0, "image_size": 32, "head": "trained", "trunk_rate": 0.1, "augmentation": "none", "normalize": True,
    "units": 0, "dropout": 0.0, "label_smoothing": 0.0, "optimizer": "adam", "learning_rate": 1e-3,
    "weight_decay": 0.0, "schedule": "constant", "batch_size": 16,
}  # fmt: skip


def as_keras_builds_it(name: str, size: int) -> tuple[keras.Model, Any]:
    """A network without its top as Keras hands it out, with pooled features, and what its pictures go through first."""
    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, name)(
        input_shape=(size, size, 3), include_top=False, weights=None, pooling="avg"
    )
    module = re.sub(r"(B\d|S|Tiny|Small|Large|\d{2,3})(?=V2|$)", "", name)
    module = {
        "MobileNetV3": "mobilenet_v3", "EfficientNetV2": "efficientnet_v2", "ResNetV2": "resnet_v2",
    }.get(module, module.lower())  # fmt: skip
    return model, getattr(keras.applications, module).preprocess_input


def alive(model: keras.Model, pictures: Any) -> None:
    """Random weights with which every part of a network shows in what it gives."""
    for layer in [inner for one in model.layers for inner in getattr(one, "layers", [one])]:
        if type(layer).__name__ == "LayerScale":
            layer.set_weights([np.full_like(layer.get_weights()[0], 0.5)])
        elif getattr(layer, "use_bias", False):
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel, RANDOM.normal(size=bias.shape) / 10])
        elif layer.name.endswith("project_bn"):
            # What is added is smaller than what it is added to, as in a trained network: rounding grows less.
            layer.gamma.assign(np.full(layer.gamma.shape, 0.2))
    _measure_norms(model, pictures)
