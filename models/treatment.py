"""What Pillow does to the pictures of a treated family, inside the exported model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

# Standard deviations on either side of the mean that whitening spreads over 0 to 255.
SIGMAS = 3.0


def with_treatment(model: keras.Model, config: Mapping[str, Any]) -> keras.Model:
    """The same network on raw uint8 pictures, auto contrast, equalize and whitening (in this order) inside.

    `config` says which. Built from Keras's own operations alone, so that the saved file loads without this project.
    They work in float32 and Pillow in float64: see each for where a grey level can differ.
    """
    inputs = keras.Input(model.input_shape[1:], dtype="uint8", name="raw_pictures")
    x = ops.cast(inputs, "float32")
    if config["auto_contrast"]:
        x = auto_contrast(x)
    if config["equalize"]:
        x = equalize(x)
    if config["whitening"]:
        x = whiten(x)
    # A model of its own around the same layers: a compiled one inside would take its optimizer into the file.
    network = keras.Model(model.inputs, model.outputs[0])
    return keras.Model(inputs, network(ops.cast(x, "uint8")))


def auto_contrast(x: Any) -> Any:
    """Pillow's `ImageOps.autocontrast` on float32 grey levels (n, h, w, c): each channel stretched to 0..255.

    Where the stretched level is a whole number, Pillow's sum in float64 can fall just below it and lose one level: this
    happens to 0.4 % of all levels in all ranges. Keras's `AutoContrast` layer does not round at all.
    """
    low = ops.min(x, axis=(1, 2), keepdims=True)
    high = ops.max(x, axis=(1, 2), keepdims=True)
    # Multiplied before it is divided, which float32 does without error for grey levels.
    stretched = ops.floor((x - low) * 255.0 / ops.maximum(high - low, 1.0))
    return ops.where(high > low, stretched, x)


def equalize(x: Any) -> Any:
    """Pillow's `ImageOps.equalize` on float32 grey levels (n, h, w, c), exactly: a table from each channel's histogram.

    Keras's `Equalization` layer takes one histogram of the whole batch and spreads it by another formula.
    """
    _, height, width, channels = x.shape
    levels = ops.cast(ops.reshape(x, (-1, height * width, channels)), "int32")
    # The histogram as a product of one-hot halves of each byte: 32 numbers a level, where one one-hot has 256.
    upper = ops.one_hot(levels // 16, 16)
    lower = ops.one_hot(levels % 16, 16)
    histogram = ops.reshape(ops.einsum("npci,npcj->ncij", upper, lower), (-1, channels, 256))
    below = ops.cumsum(histogram, axis=-1) - histogram
    brightest = ops.expand_dims(ops.max(levels, axis=1), -1)
    step = ops.floor((height * width - ops.take_along_axis(histogram, brightest, axis=-1)) / 255.0)
    table = ops.floor((ops.floor(step / 2.0) + below) / ops.maximum(step, 1.0))
    levels = ops.transpose(levels, (0, 2, 1))
    spread = ops.minimum(ops.take_along_axis(table, levels, axis=-1), 255.0)
    # Pillow leaves a channel alone that has too few pixels besides its brightest to spread.
    spread = ops.where(step > 0, spread, ops.cast(levels, "float32"))
    return ops.reshape(ops.transpose(spread, (0, 2, 1)), (-1, height, width, channels))


def whiten(x: Any) -> Any:
    """Each channel of float32 grey levels (n, h, w, c) at zero mean and unit variance, then -3..3 to 0..255, rounded.

    A deviation below one level counts as one; a flat channel becomes 128. A level whose result lies within
    0.001 of a half can be rounded to the other side than in float64.
    """
    mean = ops.mean(x, axis=(1, 2), keepdims=True)
    deviation = ops.maximum(ops.std(x, axis=(1, 2), keepdims=True), 1.0)
    whitened = ops.clip(ops.round((x - mean) / deviation * (127.5 / SIGMAS) + 127.5), 0, 255)
    # A float32 mean of a large flat channel can miss its level, and half a level decides between 127 and 128.
    flat = ops.max(x, axis=(1, 2), keepdims=True) == ops.min(x, axis=(1, 2), keepdims=True)
    return ops.where(flat, 128.0, whitened)
