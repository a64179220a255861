"""MobileNet and other backbones: a pretrained trunk, frozen below a cut, under a new head."""

from collections.abc import Mapping
from typing import Any

import keras

from models.augmentation import AUGMENTATIONS, augmentation_layers
from models.trunk import Trunk, pooled_features

# What pooled features are scaled to where a configuration normalizes them: about the length that MobileNet's have.
LENGTH = 10.0


def build(config: Mapping[str, Any], classes: int, *, seed: int, trunk: Trunk, augment: bool = True) -> keras.Model:
    """The joined model: uint8 pictures (size, size, 3) to class probabilities."""
    return join(build_tail(config, classes, seed=seed, trunk=trunk), config, seed=seed, trunk=trunk, augment=augment)


def build_tail(config: Mapping[str, Any], classes: int, *, seed: int, trunk: Trunk) -> keras.Model:
    """What is trained: from the activations at the cut to probabilities.

    Activations are float32; where nothing is unfrozen they are the pooled features.
    """
    cut = trunk.frozen_blocks(config["unfrozen_blocks"])
    if cut == trunk.blocks:
        inputs = x = keras.Input((trunk.width,), name="pooled")
    else:
        inputs = keras.Input(trunk.shape(cut), name="activations")
        upper = trunk.upper(cut, seed=seed)
        upper.name = "upper"
        x = pooled_features(upper(inputs))
    if config["normalize"]:
        x = keras.layers.Rescaling(LENGTH)(keras.layers.UnitNormalization()(x))
    if config["units"]:
        initializer = keras.initializers.GlorotUniform(seed=seed)
        x = keras.layers.Dense(config["units"], activation="relu", kernel_initializer=initializer)(x)
    x = keras.layers.Dropout(config["dropout"], seed=seed)(x)
    initializer = keras.initializers.GlorotUniform(seed=seed + 1)
    logits = keras.layers.Dense(classes, kernel_initializer=initializer)(x)
    return keras.Model(inputs, keras.layers.Softmax()(logits), name="tail")


def trunk_variables(tail: keras.Model) -> list[str]:
    """The paths of the tail's variables that belong to the trunk: they train at the smaller rate."""
    upper = _upper(tail)
    return [variable.path for variable in upper.trainable_variables] if upper else []


def parameters(tail: keras.Model, trunk: Trunk) -> int:
    """How many parameters the joined model has."""
    upper = _upper(tail)
    return int(tail.count_params() + trunk.model.count_params() - (upper.count_params() if upper else 0))


def _upper(tail: keras.Model) -> keras.Model | None:
    return next((layer for layer in tail.layers if layer.name == "upper"), None)


def join(tail: keras.Model, config: Mapping[str, Any], *, seed: int, trunk: Trunk, augment: bool) -> keras.Model:
    """The tail (its weights shared, not copied) on top of the frozen part, from uint8 pictures to probabilities."""
    pictures = x = keras.Input(trunk.shape(0), dtype="uint8", name="pictures")
    if augment:
        for layer in augmentation_layers(**AUGMENTATIONS[config["augmentation"]], seed=seed):
            x = layer(x)
    cut = trunk.frozen_blocks(config["unfrozen_blocks"])
    pooled = cut == trunk.blocks
    # A cast by hand: without augmentation the first layer met is the nested trunk, which would take uint8 as it is.
    x = keras.ops.cast(x, "float32")
    x = trunk.lower(0, [] if pooled else [cut], pooled=pooled)(x)
    x = x[0] if isinstance(x, list) else x
    # A model of its own around the same layers: a compiled one inside would take its optimizer into the file.
    return keras.Model(pictures, keras.Model(tail.inputs, tail.outputs[0], name="tail")(x))
