"""Several labels a picture: a sigmoid for each label in place of the softmax, and what that is trained with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops


def with_sigmoid(model: keras.Model) -> keras.Model:
    """A model that ends in a softmax, with a sigmoid on each of the same logits in its place; weights are shared."""
    softmax = model.outputs[0]._keras_history.operation
    if not isinstance(softmax, keras.layers.Softmax):
        raise ValueError(f"needs a model that ends in a softmax, got {type(softmax).__name__}")
    place = model.outputs[0]._keras_history.node_index
    logits = softmax._inbound_nodes[place].input_tensors[0]
    # float32 as the softmax: probabilities near 0 and 1 need it.
    outputs = keras.layers.Activation("sigmoid", dtype="float32", name="probabilities")(logits)
    return keras.Model(model.inputs[0], outputs, name=model.name)


def loss(config: Mapping[str, Any]) -> keras.losses.Loss:
    """Binary cross-entropy, the mean over the labels."""
    return keras.losses.BinaryCrossentropy(label_smoothing=config.get("label_smoothing", 0.0))


def metrics() -> list[keras.metrics.Metric]:
    """`accuracy`, the share of pictures all of whose labels are right, and `crossentropy`."""
    return [
        keras.metrics.MeanMetricWrapper(all_right, name="accuracy"),
        keras.metrics.BinaryCrossentropy(name="crossentropy"),
    ]


def all_right(truth: Any, probabilities: Any) -> Any:
    """1 for each picture all of whose labels are on the right side of a half, else 0."""
    right = ops.equal(ops.greater_equal(truth, 0.5), ops.greater_equal(probabilities, 0.5))
    return ops.cast(ops.all(right, axis=-1), "float32")
