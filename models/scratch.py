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
    x = (_residual if config.get("layout") == "residual" else _plain)(x, config, seeds)
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


def _plain(x: Any, config: Mapping[str, Any], seeds: Iterator[int]) -> Any:
    """Convolutions in a row, each followed by a pooling: the study's network and its variations."""
    for block in range(config["blocks"]):
        width = channels(config["filters"] * config["growth"] ** block)
        stride = config["stem_stride"] if block == 0 else 1
        x = _convolution(x, width, config["kernel"], seeds, stride=stride, bias=not config["batch_norm"])
        # A small picture runs out of pixels before a deep stack runs out of blocks.
        if x.shape[1] >= 2:
            x = keras.layers.MaxPooling2D(2)(x)
        # After the pooling, which gives ReLU the same values for a quarter of the work, and batch norm nearly the same
        # statistics: on CPU cores it would otherwise take more time than all convolutions together.
        if config["batch_norm"]:
            x = _norm(x)
        x = keras.layers.ReLU()(x)
    return x


def _residual(x: Any, config: Mapping[str, Any], seeds: Iterator[int]) -> Any:
    """A stem and a residual block for each stage, as ResNet-D has them (He et al., 2018): average pooling halves the
    shortcut, so that it loses no pixels. All its convolutions have batch norms, which it cannot train without.
    """
    kernel = config["kernel"]
    width = channels(config["filters"])
    x = keras.layers.ReLU()(_norm(_convolution(x, width, kernel, seeds, stride=config["stem_stride"])))
    if x.shape[1] >= 2:
        x = keras.layers.MaxPooling2D(2)(x)
    for block in range(config["blocks"]):
        width = channels(config["filters"] * config["growth"] ** block)
        halved = block > 0 and x.shape[1] >= 2
        shortcut = keras.layers.AveragePooling2D(2, padding="same")(x) if halved else x
        if shortcut.shape[-1] != width:
            shortcut = _norm(_convolution(shortcut, width, 1, seeds))
        x = keras.layers.ReLU()(_norm(_convolution(x, width, kernel, seeds, stride=2 if halved else 1)))
        # Every block begins as its shortcut alone.
        x = _norm(_convolution(x, width, kernel, seeds), gamma="zeros")
        x = keras.layers.ReLU()(keras.layers.Add()([x, shortcut]))
    return x


def _convolution(x: Any, width: int, kernel: int, seeds: Iterator[int], *, stride: int = 1, bias: bool = False) -> Any:
    return keras.layers.Conv2D(
        width,
        kernel,
        strides=stride,
        padding="same",
        use_bias=bias,
        # Glorot, Keras's own default, for the study's plain stack is too small for ReLU once it is deep.
        kernel_initializer=keras.initializers.HeNormal(next(seeds)),
    )(x)


def _norm(x: Any, gamma: str = "ones") -> Any:
    # Short trainings: the running averages must have caught up after the few hundred steps of a first rung.
    return keras.layers.BatchNormalization(momentum=0.9, gamma_initializer=gamma)(x)


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
