"""A small network from scratch on pictures that Pillow has treated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spaces import scratch
from spaces.family import FILTER, Family

if TYPE_CHECKING:
    import keras_tuner

FILTERS = (FILTER, "lanczos")

# Without the treatments that take away what tells breeds apart: of 200 random configurations on two sets of pictures
# those with neither whitening nor equalize were the best, by two to five points in the mean, and at the top as well.
STARTS: tuple[dict[str, Any], ...] = tuple({**point, "whitening": False, "equalize": False} for point in scratch.STARTS)


def space(
    hp: keras_tuner.HyperParameters,
    *,
    image_sizes: tuple[int, ...],
    weighted: bool = False,
    filters: tuple[str, ...] = FILTERS,
) -> dict[str, Any]:
    """The shared space and what Pillow does to the pictures; `rotation` in degrees, 0 for no turned copies.

    `filters` are those with which the pictures were resized.
    """
    return {
        **scratch.space(hp, image_sizes=image_sizes, weighted=weighted),
        "whitening": hp.Boolean("whitening", default=True),
        "auto_contrast": hp.Boolean("auto_contrast", default=True),
        "equalize": hp.Boolean("equalize", default=True),
        "transpose": hp.Boolean("transpose", default=True),
        "rotation": hp.Int("rotation", 0, 30, step=5, default=15),
        "resize_filter": hp.Choice("resize_filter", list(filters), default=FILTER),
    }


FAMILY = Family(
    "scratch_pillow",
    space,
    starts=STARTS,
    later=scratch.LATER,
    work=scratch.work,
    parameters=scratch.parameters,
    # The exported model treats its pictures itself.
    shape=(*scratch.SHAPE, "whitening", "auto_contrast", "equalize"),
    treated=True,
    filters=FILTERS,
    title="Pillow from scratch",
    colour="#c2700e",
    notebook="unusable: every loss rose",
    off={"whitening": False, "auto_contrast": False, "equalize": False, "transpose": False, "rotation": 0},
)
