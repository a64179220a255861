"""The model that a user takes away: any raw picture in, probabilities out, loaded without this project."""

from __future__ import annotations

import keras
from keras import ops

from models.augmentation import without_augmentation

# Pillow's name of a filter and Keras's; both widen it when they make a picture smaller.
INTERPOLATIONS = {"bilinear": "bilinear", "lanczos": "lanczos3"}


def raw_pictures(model: keras.Model, *, resize_filter: str = "bilinear", augmented: bool = False) -> keras.Model:
    """A model of pictures (n, size, size, 3) as one of uint8 pictures (n, height, width, 3) of any size.

    A picture is resized by its shorter side and cropped in the middle, and rounded back to whole grey levels as it was
    for training; one that has the model's size already passes unchanged. `resize_filter` is bilinear or lanczos. The
    augmentation layers are left out unless `augmented`: without them the result consists of Keras's own layers alone
    and its file loads in safe mode anywhere. It is not compiled.
    """
    if resize_filter not in INTERPOLATIONS:
        raise ValueError(f"resize_filter must be one of {', '.join(INTERPOLATIONS)}, got {resize_filter!r}")
    size = model.input_shape[1]
    inputs = keras.Input((None, None, 3), dtype="uint8", name="pictures")
    x = keras.layers.Resizing(
        size,
        size,
        interpolation=INTERPOLATIONS[resize_filter],
        crop_to_aspect_ratio=True,
        antialias=True,
        dtype="float32",
    )(inputs)
    x = ops.clip(ops.round(x), 0, 255)
    inner = model if augmented else without_augmentation(model)
    return keras.Model(inputs, inner(ops.cast(x, inner.inputs[0].dtype)))
