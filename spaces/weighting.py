"""What imbalanced data adds to the spaces of all families: how much rare classes count, and the loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras_tuner

# Of the class counts: a class counts by its pictures to one minus this power.
POWERS = (0.0, 0.5, 1.0)
LOSSES = ("crossentropy", "focal")


def power(hp: keras_tuner.HyperParameters) -> dict[str, Any]:
    """The power of the class counts by which pictures of common classes count less."""
    return {"class_weight_power": hp.Choice("class_weight_power", list(POWERS), default=0.0)}


def choices(hp: keras_tuner.HyperParameters) -> dict[str, Any]:
    """The power, and focal loss, which looks less at what is named rightly already (Lin et al., 2017)."""
    return {**power(hp), "loss": hp.Choice("loss", list(LOSSES), default=LOSSES[0])}
