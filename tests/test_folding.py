"""Folding frozen batch norms and zeros: the same function with the same gradients, and none that trains is touched."""

from collections.abc import Iterator

import keras
import numpy as np
import pytest
from rounding import rounding

from models import mobilenet
from models.folding import FoldedConvolution, folded
from models.trunk import Trunk

RANDOM = np.random.default_rng(0)
PICTURES = RANDOM.integers(0, 256, (6, 64, 64, 3), dtype=np.uint8)
LABELS = np.eye(5, dtype=np.float32)[RANDOM.integers(0, 5, 6)]
CONFIG = {"normalize": False, "units": 0, "dropout": 0.0, "augmentation": "none"}


def foldings(model: keras.Model) -> int:
    return sum(
        foldings(layer) if isinstance(layer, keras.Model) else isinstance(layer, FoldedConvolution)
        for layer in model.layers
    )


def step(model: keras.Model, inputs: np.ndarray) -> tuple[float, list[np.ndarray]]:
    """The loss of one step of plain gradient descent, and what it took off every trainable variable."""
    model.compile(keras.optimizers.SGD(1.0), "categorical_crossentropy", jit_compile=False)
    before = [np.array(variable.numpy()) for variable in model.trainable_variables]
    loss = float(model.train_on_batch(inputs, LABELS))
    taken = [old - variable.numpy() for old, variable in zip(before, model.trainable_variables, strict=True)]
    for variable, old in zip(model.trainable_variables, before, strict=True):
        variable.assign(old)
    return loss, taken


@pytest.fixture
def double() -> Iterator[None]:
    """Layers compute in float64: in float32 rounding takes activations over ReLU's corner, where gradients leap."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_dtype_policy(before)


@pytest.mark.parametrize(
    ("backbone", "alpha", "count"),
    [
        ("MobileNet", 0.25, 27),
        pytest.param("MobileNetV2", 0.35, 52, marks=pytest.mark.slow),
        pytest.param("MobileNetV3Small", 0.75, 34, marks=pytest.mark.slow),
    ],
)
@pytest.mark.usefixtures("double")
def test_a_folded_network_is_the_same_function_with_the_same_gradients(backbone: str, alpha: float, count: int) -> None:
    trunk = Trunk(backbone, alpha, 64, None, sample=PICTURES.astype(np.float32))
    config = {**CONFIG, "unfrozen_blocks": 19}
    tail = mobilenet.build_tail(config, 5, seed=0, trunk=trunk)
    quick = folded(tail)
    assert foldings(quick) == count
    assert not any(isinstance(layer, keras.layers.ZeroPadding2D) for layer in quick.get_layer("upper").layers)
    inputs = PICTURES.astype(np.float32) / 127.5 - 1
    np.testing.assert_allclose(quick(inputs), tail(inputs), atol=1e-5)
    assert [variable.path for variable in quick.trainable_variables] == [
        variable.path for variable in tail.trainable_variables
    ]
    (loss, gradients), (expected_loss, expected) = step(quick, inputs), step(tail, inputs)
    assert loss == pytest.approx(expected_loss, abs=1e-4)
    for gradient, other in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(gradient, other, atol=2e-3 * max(1.0, float(np.abs(other).max())))


def test_nested_models_are_folded_and_training_reaches_what_is_saved() -> None:
    trunk = Trunk("MobileNet", 0.25, 64, None, sample=PICTURES.astype(np.float32))
    config = {**CONFIG, "unfrozen_blocks": 3}
    tail = mobilenet.build_tail(config, 5, seed=0, trunk=trunk)
    joined = mobilenet.join(tail, config, seed=0, trunk=trunk, augment=False)
    quick = folded(joined)
    assert foldings(quick) == 27
    quick.compile(keras.optimizers.SGD(0.1), "categorical_crossentropy", jit_compile=False)
    before = joined.predict(PICTURES, verbose=0)
    quick.train_on_batch(PICTURES, LABELS)
    after = joined.predict(PICTURES, verbose=0)
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_allclose(quick.predict(PICTURES, verbose=0), after, atol=rounding(27, 256))


def test_what_trains_or_does_not_follow_a_convolution_stays() -> None:
    inputs = keras.Input((8, 8, 3))
    bias = keras.layers.Conv2D(4, 3, bias_initializer="ones")(inputs)
    frozen = keras.layers.BatchNormalization(beta_initializer="ones", moving_mean_initializer="ones")
    frozen.trainable = False
    x = frozen(bias)
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3)(x))
    twice = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    alone = keras.layers.BatchNormalization()
    alone.trainable = False
    shared = keras.layers.Conv2D(4, 1)(alone(twice))
    other = keras.layers.BatchNormalization()
    other.trainable = False
    model = keras.Model(inputs, keras.layers.Add()([other(shared), shared]))
    quick = folded(model)
    assert foldings(quick) == 1
    assert sum(isinstance(layer, keras.layers.BatchNormalization) for layer in quick.layers) == 3
    batch = RANDOM.normal(size=(2, 8, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(quick(batch), model(batch), atol=rounding(3, 75))


def test_the_factors_of_a_norm_are_exact_in_mixed_precision() -> None:
    inputs = keras.Input((8, 8, 3))
    random = keras.initializers.RandomUniform(0.5, 1.5, seed=1)
    norm = keras.layers.BatchNormalization(
        gamma_initializer=random, moving_variance_initializer=random, dtype="mixed_bfloat16"
    )
    norm.trainable = False
    convolution = keras.layers.Conv2D(4, 3, dtype="mixed_bfloat16", kernel_initializer=random)
    model = keras.Model(inputs, norm(convolution(inputs)))
    quick = folded(model)
    assert foldings(quick) == 1
    batch = RANDOM.normal(size=(2, 8, 8, 3)).astype(np.float32)
    shown, expected = (keras.ops.convert_to_numpy(keras.ops.cast(one(batch), "float32")) for one in (quick, model))
    assert quick(batch).dtype == model(batch).dtype
    np.testing.assert_allclose(shown, expected, atol=0.02 * float(np.abs(expected).max()))


@pytest.mark.parametrize(
    ("size", "padding", "kernel", "stride", "merged"),
    [
        (8, ((0, 1), (0, 1)), 3, 2, True),
        (7, ((1, 1), (1, 1)), 3, 2, True),
        (7, ((0, 1), (0, 1)), 3, 2, False),
        (8, ((1, 1), (1, 1)), 3, 2, False),
        (8, ((2, 2), (2, 2)), 5, 1, True),
    ],
)
def test_zeros_are_left_to_the_convolution_where_it_puts_the_same(
    size: int, padding: tuple[tuple[int, int], tuple[int, int]], kernel: int, stride: int, merged: bool
) -> None:
    inputs = keras.Input((size, size, 3))
    norm = keras.layers.BatchNormalization()
    norm.trainable = False
    x = keras.layers.Conv2D(4, kernel, strides=stride)(keras.layers.ZeroPadding2D(padding)(inputs))
    model = keras.Model(inputs, norm(x))
    quick = folded(model)
    assert any(isinstance(layer, keras.layers.ZeroPadding2D) for layer in quick.layers) is not merged
    batch = RANDOM.normal(size=(2, size, size, 3)).astype(np.float32)
    np.testing.assert_allclose(quick(batch), model(batch), atol=rounding(3, 75))
