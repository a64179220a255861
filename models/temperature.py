"""Calibration: a trained network whose logits are divided by a temperature (Guo et al., 2017)."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


def with_temperature(model: keras.Model, temperature: float) -> keras.Model:
    """The model with its logits divided by a temperature, in its last weights where these give the logits.

    Its answers stay the same, and the confidence in them changes. Weights are changed in place; of a model that ends
    otherwise than in a dense layer and a softmax, the probabilities pass through one operation more.
    """
    if temperature == 1:
        return model
    dense = _logits(model)
    if dense is not None:
        dense.set_weights([weights / temperature for weights in dense.get_weights()])
        return model
    logits = ops.log(ops.clip(model.outputs[0], 1e-7, 1.0)) / temperature
    return keras.Model(model.inputs if len(model.inputs) > 1 else model.inputs[0], ops.softmax(logits, axis=-1))


def _logits(model: keras.Model) -> Any | None:
    """The dense layer behind which nothing but a softmax follows; None where a model has none."""
    last = _origin(model.outputs[0])
    if isinstance(last, keras.Model):
        return _logits(last)
    if isinstance(last, keras.layers.Softmax):
        last = _origin(_inputs(model, last))
        return last if _dense(last, "linear") else None
    return last if _dense(last, "softmax") else None


def _dense(layer: Any, activation: str) -> bool:
    named = getattr(getattr(layer, "activation", None), "__name__", "")
    return isinstance(layer, keras.layers.Dense) and named == activation


def _origin(tensor: Any) -> Any:
    return tensor._keras_history.operation


def _inputs(model: keras.Model, layer: Any) -> Any:
    """What a layer is called with inside this model; it may be called in others as well."""
    place = model.outputs[0]._keras_history.node_index
    return layer._inbound_nodes[place].input_tensors[0]
