"""What a model is trained with: rates per variable, decay, schedules, and losses that compare."""

from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from models.compiling import compile_model

# Keras 3.15 reads TensorFlow's variables in a way of which NumPy 2 warns.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)

PLAIN: dict[str, Any] = {
    "optimizer": "adam",
    "learning_rate": 0.01,
    "schedule": "constant",
    "weight_decay": 0.0,
    "label_smoothing": 0.0,
}

ONES = np.ones((8, 3), np.float32)
LABELS = np.tile(np.array([[1, 0]], np.float32), (8, 1))


def two_layers(**config: Any) -> keras.Model:
    """Ones everywhere: a trunk of three units under a head of two classes."""
    inputs = keras.Input((3,))
    x = keras.layers.Dense(3, kernel_initializer="ones", name="trunk")(inputs)
    x = keras.layers.Dense(2, kernel_initializer="ones", name="head")(x)
    model = keras.Model(inputs, keras.layers.Softmax()(x))
    compile_model(model, {**PLAIN, **config}, steps=1, epochs=10, trunk=["trunk/kernel", "trunk/bias"])
    return model


def step(model: keras.Model, steps: int = 1) -> dict[str, NDArray[np.float32]]:
    """How far each variable has moved."""
    before = {variable.path: np.array(variable) for variable in model.trainable_variables}
    for _ in range(steps):
        model.train_on_batch(ONES, LABELS)
    return {variable.path: np.array(variable) - before[variable.path] for variable in model.trainable_variables}


def test_adam_moves_the_trunk_at_its_smaller_rate() -> None:
    inputs = keras.Input((3,))
    x = keras.layers.Dense(3, name="trunk", kernel_initializer=keras.initializers.GlorotUniform(0))(inputs)
    x = keras.layers.Dense(2, name="head", kernel_initializer=keras.initializers.GlorotUniform(1))(x)
    model = keras.Model(inputs, keras.layers.Softmax()(x))
    compile_model(model, {**PLAIN, "trunk_rate": 0.1}, steps=1, epochs=10, trunk=["trunk/kernel", "trunk/bias"])
    moved = step(model)
    # Adam's first step is the learning rate, whatever the gradient.
    assert np.abs(moved["head/kernel"]) == pytest.approx(np.full((3, 2), 0.01), rel=1e-3)
    assert np.abs(moved["head/bias"]) == pytest.approx(np.full(2, 0.01), rel=1e-3)
    assert np.abs(moved["trunk/kernel"]) == pytest.approx(np.full((3, 3), 0.001), rel=1e-3)
    assert np.abs(moved["trunk/bias"]) == pytest.approx(np.full(3, 0.001), rel=1e-3)


def test_sgd_takes_nesterovs_first_step() -> None:
    moved = step(two_layers(optimizer="sgd", trunk_rate=0.1))
    # The gradient of either bias is half; with momentum 0.9 the first step is 1.9 rates long.
    assert moved["head/bias"] == pytest.approx([0.01 * 1.9 * 0.5, -0.01 * 1.9 * 0.5], rel=1e-4)


def test_weight_decay_shrinks_kernels_at_their_own_rate_and_spares_biases() -> None:
    moved = step(two_layers(optimizer="adamw", weight_decay=0.5, trunk_rate=0.1))
    # Equal head weights send no gradient to the trunk: what moves it is decay alone.
    assert moved["trunk/kernel"] == pytest.approx(np.full((3, 3), -0.01 * 0.1 * 0.5), rel=1e-3)
    assert moved["trunk/bias"] == pytest.approx(np.zeros(3))
    assert moved["head/kernel"].sum(axis=1) == pytest.approx(np.full(3, -2 * 0.01 * 0.5), rel=1e-2)


def test_batch_norm_is_not_decayed() -> None:
    inputs = keras.Input((3,))
    x = keras.layers.BatchNormalization(name="norm")(inputs)
    x = keras.layers.Dense(2, kernel_initializer="zeros", name="head")(x)
    model = keras.Model(inputs, keras.layers.Softmax()(x))
    compile_model(model, {**PLAIN, "optimizer": "sgd", "weight_decay": 0.5}, steps=1, epochs=10)
    assert step(model)["norm/gamma"] == pytest.approx(np.zeros(3))


def test_the_metrics_know_no_label_smoothing() -> None:
    model = two_layers(label_smoothing=0.2)
    shown = model.evaluate(ONES, LABELS, verbose=0, return_dict=True)
    # Equal logits: every cross-entropy is log 2, smoothed or not.
    assert shown == pytest.approx({"loss": np.log(2), "accuracy": 1.0, "crossentropy": np.log(2)}, rel=1e-4)
    step(model, 20)
    shown = model.evaluate(ONES, LABELS, verbose=0, return_dict=True)
    probability = float(model.predict(ONES[:1], verbose=0)[0, 0])
    assert shown["crossentropy"] == pytest.approx(-np.log(probability), rel=1e-3)
    assert shown["loss"] == pytest.approx(-0.9 * np.log(probability) - 0.1 * np.log(1 - probability), rel=1e-3)


def test_the_cosine_climbs_and_ends_at_nothing() -> None:
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Softmax()(keras.layers.Dense(2)(inputs)))
    compile_model(model, {**PLAIN, "schedule": "cosine"}, steps=20, epochs=10)
    rates = [float(model.optimizer._learning_rate(at)) for at in (0, 5, 10, 105, 200)]
    assert rates == pytest.approx([0.0, 0.005, 0.01, 0.005, 0.0], abs=1e-6)


def test_a_cosine_of_few_steps_has_no_warm_up() -> None:
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Softmax()(keras.layers.Dense(2)(inputs)))
    compile_model(model, {**PLAIN, "schedule": "cosine"}, steps=1, epochs=1)
    assert float(model.optimizer._learning_rate(0)) == pytest.approx(0.01)


def test_unknown_words_name_the_valid_ones() -> None:
    with pytest.raises(ValueError, match="one of adam, adamw, sgd, got 'lion'"):
        two_layers(optimizer="lion")
    with pytest.raises(ValueError, match="one of constant, cosine, got 'step'"):
        two_layers(schedule="step")


def test_a_trunk_path_that_is_no_variable_is_refused() -> None:
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Softmax()(keras.layers.Dense(2, name="head")(inputs)))
    with pytest.raises(ValueError, match="paths of trainable variables, got 'trunk/kernel' among"):
        compile_model(model, PLAIN, steps=1, epochs=1, trunk=["trunk/kernel"])
