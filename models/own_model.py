"""A model that its user built and compiled: what it is fed, which labels its loss wants, and its probabilities."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

# Ops that scale pictures when they come before the first weights, as in `x / 127.5 - 1` and Keras's `preprocess_input`.
ARITHMETIC = ("Add", "Divide", "Multiply", "Subtract", "TrueDivide")
SCALES = {"0..1": 1 / 255, "0..255": 1.0}  # by the range of values that a model is fed
ONE_HOT, SPARSE, BINARY = "one-hot", "sparse", "binary"


@dataclass(frozen=True)
class OwnModel:
    """A user's model with what training it takes.

    Args:
        model: the user's own object, compiled again with its optimizer and loss and our metrics; takes float32
            pictures (n, size, size, 3) of values 0 to 255 times `scale`.
        probabilities: shares its weights; from uint8 pictures (n, size, size, 3) to probabilities (n, classes).
        labels: what the loss wants: one-hot (n, classes), sparse (n,), or binary (n, 1).
        pixel_range: of what the model is fed, a key of `SCALES`.
    """

    model: keras.Model
    probabilities: keras.Model
    labels: str
    pixel_range: str

    @property
    def scale(self) -> float:
        """From values of 0 to 255 to what the model is fed."""
        return SCALES[self.pixel_range]

    def exported(self) -> keras.Model:
        """The trained model as it is given away: without its optimizer, and without a loss that only its user has."""
        self.model.optimizer = None
        self.model.compiled = False
        return self.probabilities


def adopt(model: Any, size: int, classes: int, pixel_range: str = "auto") -> OwnModel:
    """Takes over a compiled model; raises ValueError for one that cannot classify such pictures into such classes.

    `pixel_range` is a key of `SCALES`, or auto: 0..255 for a model that scales its input before its first weights, else
    0..1, as Keras's guides feed theirs.
    """
    if not isinstance(model, keras.Model):
        raise ValueError(f"needs a `build` that returns a keras.Model, got {type(model).__name__}")
    if not model.compiled:
        raise ValueError("needs models that `build` has compiled with a loss and an optimizer")
    pictures = keras.Input((size, size, 3), dtype="uint8", name="pictures")
    taken = getattr(model, "input_shape", None) if model.built else None
    if isinstance(taken, list | dict) or (taken and (len(taken) != 4 or any(_differ(taken[1:], (size, size, 3))))):
        hint = f"; give --image-sizes {taken[1]}" if isinstance(taken, tuple) and len(taken) == 4 and taken[1] else ""
        raise ValueError(f"needs models of pictures (n, {size}, {size}, 3) at that image size, got {taken}{hint}")
    if not model.built:
        model(ops.cast(pictures, "float32"))
    if pixel_range == "auto":
        pixel_range = "0..255" if scales_pictures(model) else "0..1"
    outputs = model(keras.layers.Rescaling(SCALES[pixel_range], dtype="float32")(pictures))
    width = outputs.shape[-1] if isinstance(outputs, keras.KerasTensor) and len(outputs.shape) == 2 else None
    if width is None or (width != classes and (width, classes) != (1, 2)):
        shape = getattr(outputs, "shape", type(outputs).__name__)
        raise ValueError(f"needs models with one output (n, {classes}) for {classes} classes, got {shape}")
    labels = _labels(model.loss, width)
    logits = _gives_logits(model)
    probabilities = keras.Model(pictures, _probabilities(outputs, labels, logits, _ends_in_softmax(model)))
    model.compile(
        optimizer=model.optimizer,
        loss=model.loss,
        metrics=_metrics(labels, logits),
        run_eagerly=model.run_eagerly,
        # As for our own models, see `models.compiling`: what the user's compile said of it is no longer known.
        jit_compile=keras.backend.backend() == "jax" and not model.run_eagerly,
    )
    # Built before the first step, so that a checkpoint finds the optimizer's variables to load into.
    model.optimizer.build(model.trainable_variables)
    return OwnModel(model, probabilities, labels, pixel_range)


def scales_pictures(model: keras.Model) -> bool:
    """Whether a model scales what it is fed before its first weights come: by Rescaling, Normalization, Lambda or ops.

    Of a model without a graph, one of its own class, every layer is looked at.
    """
    graph = isinstance(model, keras.Sequential) or hasattr(model, "operations")
    operations = model.layers if isinstance(model, keras.Sequential) else getattr(model, "operations", model.layers)
    for operation in operations:
        if isinstance(operation, keras.layers.Rescaling | keras.layers.Normalization | keras.layers.Lambda):
            return True
        if not isinstance(operation, keras.layers.Layer):
            if type(operation).__name__ in ARITHMETIC:
                return True
            continue
        if isinstance(operation, keras.Model) and scales_pictures(operation):
            return True
        # Layers that draw keep the state of a generator, which Keras does not count as a weight.
        if graph and operation.weights:
            return False
    return False


def multiply_adds(model: keras.Model) -> float:
    """Roughly how many million multiply-adds one picture costs: each weight at every place where it is applied."""
    total = 0.0
    for layer in _leaves(model):
        try:
            shape = layer.output.shape
        except (AttributeError, ValueError):
            shape = ()  # no part of a graph, or of several places in it
        places = math.prod(side or 1 for side in shape[1:-1])
        total += places * sum(math.prod(weight.shape) for weight in layer.weights if len(weight.shape) > 1)
    return total / 1e6


def _leaves(model: keras.Model) -> Iterator[Any]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _leaves(layer)
        else:
            yield layer


def _differ(shape: tuple[int | None, ...], wanted: tuple[int, ...]) -> Iterator[bool]:
    return (side is not None and side != other for side, other in zip(shape, wanted, strict=True))


def _only(loss: Any) -> Any:
    values = list(loss.values()) if isinstance(loss, dict) else loss
    return values[0] if isinstance(values, list | tuple) and len(values) == 1 else values


def _labels(loss: Any, width: int) -> str:
    if width == 1:
        return BINARY
    loss = _only(loss)
    names = (loss, getattr(loss, "name", ""), getattr(loss, "__name__", ""), type(loss).__name__)
    return SPARSE if any("sparse" in str(name).lower() for name in names if isinstance(name, str)) else ONE_HOT


def _gives_logits(model: keras.Model) -> bool:
    loss = _only(model.loss)
    if isinstance(loss, str) or getattr(loss, "__module__", "").startswith("keras."):
        return bool(getattr(loss, "from_logits", False))
    # A loss of the user's own says nothing; a last layer without an activation does.
    return _last_activation(model) == "linear"


def _ends_in_softmax(model: keras.Model) -> bool:
    return _last_activation(model) == "softmax"


def _last_activation(model: keras.Model) -> str:
    last = model.layers[-1] if model.layers else None
    if isinstance(last, keras.Model):
        return _last_activation(last)
    if isinstance(last, keras.layers.Softmax):
        return "softmax"
    return str(getattr(getattr(last, "activation", None), "__name__", ""))


def _probabilities(outputs: Any, labels: str, logits: bool, softmax: bool) -> Any:
    outputs = ops.cast(outputs, "float32")
    if labels == BINARY:
        second = ops.sigmoid(outputs) if logits else ops.clip(outputs, 0.0, 1.0)
        return ops.concatenate([1.0 - second, second], axis=-1)
    if logits:
        return ops.softmax(outputs)
    if softmax:
        return outputs
    # Sigmoids and the like: what Keras's cross-entropy makes of them.
    positive = ops.maximum(outputs, 1e-7)
    return positive / ops.sum(positive, axis=-1, keepdims=True)


def _metrics(labels: str, logits: bool) -> list[Any]:
    kinds = {
        ONE_HOT: (keras.metrics.CategoricalAccuracy, keras.metrics.CategoricalCrossentropy),
        SPARSE: (keras.metrics.SparseCategoricalAccuracy, keras.metrics.SparseCategoricalCrossentropy),
    }
    if labels == BINARY:
        return [
            keras.metrics.BinaryAccuracy(name="accuracy", threshold=0.0 if logits else 0.5),
            keras.metrics.BinaryCrossentropy(name="crossentropy", from_logits=logits),
        ]
    accuracy, crossentropy = kinds[labels]
    return [accuracy(name="accuracy"), crossentropy(name="crossentropy", from_logits=logits)]
