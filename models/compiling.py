"""What a model is trained with: optimizer, schedule, weight decay, loss and metrics."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import keras

from models import kernels, multilabel

# The share of all steps over which a cosine schedule first climbs to its rate.
WARM_UP = 0.05


def compile_model(
    model: keras.Model,
    config: Mapping[str, Any],
    *,
    steps: int,
    epochs: int,
    trunk: Collection[str] = (),
    jit: bool | None = None,
    several: bool = False,
) -> None:
    """Compiles a model that gives probabilities for one-hot float32 labels, or for `several` labels a picture.

    `steps` per epoch and `epochs` are those of a full trial: a cosine schedule ends with the last of them.
    `trunk` holds the paths of variables that learn at `config["trunk_rate"]` times the learning rate.
    With `jit` None, XLA compiles under JAX, which is very slow without, and not under TensorFlow, which on two CPU
    cores takes half to two thirds of the time without and saves 4 s of compiling for every new shape.
    The metrics are `accuracy` and `crossentropy`, the latter without label smoothing, so that configurations compare.
    """
    known = {variable.path for variable in model.trainable_variables}
    unknown = sorted(set(trunk) - known)
    if unknown:
        raise ValueError(f"trunk needs paths of trainable variables, got {unknown[0]!r} among {sorted(known)}")
    optimizer = _optimizer(config, _learning_rate(config, steps * epochs))
    optimizer.set_rates(
        decayed=[variable for variable in model.trainable_variables if len(variable.shape) > 1],
        slowed=[variable for variable in model.trainable_variables if variable.path in trunk],
        weight_decay=config.get("weight_decay", 0.0),
        trunk_rate=config.get("trunk_rate", 1.0),
    )
    # Built before the first step, so that a checkpoint finds the optimizer's variables to load into.
    optimizer.build(model.trainable_variables)
    model.compile(
        optimizer=optimizer,
        loss=multilabel.loss(config) if several else _loss(config),
        metrics=multilabel.metrics()
        if several
        else [
            keras.metrics.CategoricalAccuracy(name="accuracy"),
            keras.metrics.CategoricalCrossentropy(name="crossentropy"),
        ],
        jit_compile=keras.backend.backend() == "jax" if jit is None else jit,
    )


class Rates:
    """A rate of its own for each variable, and decoupled weight decay at that rate.

    Keras's own weight decay knows one rate for all variables and would shrink a trunk that hardly learns.
    """

    def set_rates(
        self,
        decayed: list[keras.Variable],
        slowed: list[keras.Variable],
        weight_decay: float,
        trunk_rate: float,
    ) -> None:
        self._decayed = frozenset(self._var_key(variable) for variable in decayed)  # type: ignore[attr-defined]
        self._slowed = frozenset(self._var_key(variable) for variable in slowed)  # type: ignore[attr-defined]
        self._decay = weight_decay
        self._trunk_rate = trunk_rate

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        key = self._var_key(variable)  # type: ignore[attr-defined]
        if key in self._slowed:
            learning_rate = learning_rate * self._trunk_rate
        if self._decay and key in self._decayed:
            shrink = keras.ops.cast(learning_rate * self._decay, variable.dtype)
            self.assign_sub(variable, variable * shrink)  # type: ignore[attr-defined]
        super().update_step(gradient, variable, learning_rate)  # type: ignore[misc]


class OneKernelAdam(keras.optimizers.Adam):  # type: ignore[misc]
    """Adam by `models.kernels.adam` where there is one: Keras's own goes over every variable some ten times."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        if kernels.adam is None or self.amsgrad or keras.backend.standardize_dtype(variable.dtype) != "float32":
            super().update_step(gradient, variable, learning_rate)
            return
        place = self._get_variable_index(variable)
        kernels.adam(
            variable, self._momentums[place], self._velocities[place], gradient, learning_rate,
            self.beta_1, self.beta_2, self.epsilon, self.iterations + 1,
        )  # fmt: skip


class RatedAdam(Rates, OneKernelAdam):
    pass


class RatedSGD(Rates, keras.optimizers.SGD):  # type: ignore[misc]
    pass


def _optimizer(config: Mapping[str, Any], learning_rate: Any) -> Any:
    name = config["optimizer"]
    # Adam and AdamW differ in the decay alone, which `Rates` applies: the space gives plain adam a decay of 0.
    if name in ("adam", "adamw"):
        return RatedAdam(learning_rate)
    if name == "sgd":
        return RatedSGD(learning_rate, momentum=0.9, nesterov=True)
    raise ValueError(f"optimizer must be one of adam, adamw, sgd, got {name!r}")


def _loss(config: Mapping[str, Any]) -> Any:
    smoothing = config.get("label_smoothing", 0.0)
    if config.get("loss") != "focal":
        return keras.losses.CategoricalCrossentropy(label_smoothing=smoothing)
    # Without the factor of a quarter for every class alike that Keras has by default, which is only a lower rate.
    return keras.losses.CategoricalFocalCrossentropy(alpha=1.0, gamma=2.0, label_smoothing=smoothing)


def _learning_rate(config: Mapping[str, Any], steps: int) -> Any:
    rate, schedule = float(config["learning_rate"]), config["schedule"]
    if schedule == "constant":
        return rate
    if schedule == "cosine":
        warm_up = round(steps * WARM_UP)
        return keras.optimizers.schedules.CosineDecay(
            rate if warm_up == 0 else 0.0,
            decay_steps=max(1, steps - warm_up),
            warmup_target=None if warm_up == 0 else rate,
            warmup_steps=warm_up,
        )
    raise ValueError(f"schedule must be one of constant, cosine, got {schedule!r}")
