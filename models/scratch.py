"""The network that both scratch families train: convolution blocks, a pooling head and a dense layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any

import keras

from models.sizes import channels, shrunk


def build(
    config: Mapping[str, Any], classes: int, *, seed: int, augmentation: Sequence[keras.layers.Layer] = ()
) -> keras.Model:
    """A network from uint8 pictures (n, size, size, 3) to float32 probabilities (n, classes).

    `augmentation` layers see the pictures before they are scaled to -1..1. Every initial weight and every dropout
    mask follows from `seed`.
    """
    seeds = _seeds(seed)
    size = int(config["image_size"])
    inputs = keras.Input((size, size, 3), dtype="uint8", name="pictures")
    x = inputs
    for layer in augmentation:
        x = layer(x)
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(x)
    for block in range(config["blocks"]):
        x = keras.layers.Conv2D(
            channels(config["filters"] * config["growth"] ** block),
            config["kernel"],
            strides=config["stem_stride"] if block == 0 else 1,
            padding="same",
            use_bias=not config["batch_norm"],
            # Glorot, Keras's own default, for the study's plain stack is too small for ReLU once it is deep.
            kernel_initializer=keras.initializers.HeNormal(next(seeds)),
        )(x)
        # A small picture runs out of pixels before a deep stack runs out of blocks.
        if x.shape[1] >= 2:
            x = keras.layers.MaxPooling2D(2)(x)
        # After the pooling, which gives ReLU the same values for a quarter of the work, and batch norm nearly the same
        # statistics: on CPU cores it would otherwise take more time than all convolutions together.
        if config["batch_norm"]:
            # Short trainings: the running averages must have caught up after the few hundred steps of a first rung.
            x = keras.layers.BatchNormalization(momentum=0.9)(x)
        x = keras.layers.ReLU()(x)
    x = _head(x, config["head"])
    if config["units"]:
        x = keras.layers.Dense(
            config["units"], activation="relu", kernel_initializer=keras.initializers.HeNormal(next(seeds))
        )(x)
    if config["dropout"]:
        x = keras.layers.Dropout(config["dropout"], seed=next(seeds))(x)
    x = keras.layers.Dense(classes, kernel_initializer=keras.initializers.GlorotUniform(next(seeds)), name="classes")(x)
    # float32 also where the layers before compute in half precision: probabilities near 1 need it.
    outputs = keras.layers.Softmax(dtype="float32", name="probabilities")(x)
    return keras.Model(inputs, outputs)


def _head(x: Any, head: str) -> Any:
    if head == "average":
        return keras.layers.GlobalAveragePooling2D()(x)
    factor = shrunk(x.shape[1], x.shape[3])
    if factor > 1:
        x = keras.layers.AveragePooling2D(factor)(x)
    return keras.layers.Flatten()(x)


def _seeds(seed: int) -> Iterator[int]:
    source = Random(seed)
    while True:
        yield source.randrange(2**31)
