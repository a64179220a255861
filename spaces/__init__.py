"""The search spaces, one file per family, in KerasTuner's vocabulary."""

from collections.abc import Callable
from typing import Any

from spaces import mobilenet, scratch_keras, scratch_pillow

# space(hp, *, image_sizes) -> config; `mobilenet` also takes `backbones`.
SPACES: dict[str, Callable[..., dict[str, Any]]] = {
    "scratch_pillow": scratch_pillow.space,
    "scratch_keras": scratch_keras.space,
    "mobilenet": mobilenet.space,
}

# Hand-written points that are tried right after the base configuration, in this order.
STARTS: dict[str, tuple[dict[str, Any], ...]] = {
    "scratch_pillow": scratch_pillow.STARTS,
    "scratch_keras": scratch_keras.STARTS,
    "mobilenet": mobilenet.STARTS,
}

# What people who narrow a space should know of a hyperparameter beyond its name.
REMARKS = {"learning_rate": "on the scale of Adam: sgd trains with ten times as much"}
