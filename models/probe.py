"""A linear probe: logistic regression on pooled features of frozen trunks, as one Keras model.

The features of each trunk have length 1, so that those of several trunks count the same side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from models.trunk import Trunk


def build_tail(width: int, classes: int, weights: Any = None, bias: Any = None) -> keras.Model:
    """From features (n, width) to probabilities (n, classes); with `weights` (width, classes) and `bias` (classes,)."""
    features = keras.Input((width,), name="features")
    dense = keras.layers.Dense(classes, dtype="float32", name="classes")
    # float32 also where the layers before compute in half precision: probabilities near 1 need it.
    tail = keras.Model(features, keras.layers.Softmax(dtype="float32")(dense(features)), name="tail")
    if weights is not None:
        dense.set_weights([weights, bias])
    return tail


def join(tail: keras.Model, trunks: Sequence[Trunk]) -> keras.Model:
    """The tail on top of the trunks, from uint8 pictures of the trunks' size to probabilities."""
    pictures = keras.Input(trunks[0].shape(0), dtype="uint8", name="pictures")
    x = keras.ops.cast(pictures, "float32")
    features = []
    for trunk in trunks:
        found = _alone(trunk.lower(0, [], pooled=True)(x))
        features.append(keras.layers.UnitNormalization(dtype="float32")(found))
    joined = keras.layers.Concatenate()(features) if len(features) > 1 else features[0]
    # A model of its own around the same layers, as in `models.mobilenet.join`.
    return keras.Model(pictures, keras.Model(tail.inputs, tail.outputs[0], name="tail")(joined))


def _alone(outputs: Any) -> Any:
    return outputs[0] if isinstance(outputs, list) else outputs
