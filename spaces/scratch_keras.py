"""A small network from scratch with augmentation by Keras layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spaces import scratch
from spaces.family import Family

if TYPE_CHECKING:
    import keras_tuner


def space(hp: keras_tuner.HyperParameters, *, image_sizes: tuple[int, ...], weighted: bool = False) -> dict[str, Any]:
    """The shared space and Keras's augmentation; `rotation` in fractions of a turn, the others of the picture."""
    return {
        **scratch.space(hp, image_sizes=image_sizes, weighted=weighted),
        "flip": hp.Choice("flip", ["none", "horizontal", "both"], default="horizontal"),
        "rotation": hp.Float("rotation", 0.0, 0.25, step=0.05, default=0.1),
        "zoom": hp.Float("zoom", 0.0, 0.3, step=0.05, default=0.1),
        "translation": hp.Float("translation", 0.0, 0.2, step=0.05, default=0.0),
        "contrast": hp.Float("contrast", 0.0, 0.4, step=0.1, default=0.0),
    }


FAMILY = Family(
    "scratch_keras",
    space,
    starts=scratch.STARTS,
    later=scratch.LATER,
    work=scratch.work,
    parameters=scratch.parameters,
    shape=scratch.SHAPE,
    title="Keras from scratch",
    colour="#7a64e8",
    notebook="about 35 %",
    off={"flip": "none", "rotation": 0, "zoom": 0, "translation": 0, "contrast": 0},
)
