"""Faster kernels: the same functions as Keras's own compositions, gradients and running averages included."""

from typing import Any

import keras
import numpy as np
import pytest
from rounding import rounding

from models import kernels
from models.compiling import RatedAdam
from models.folding import OneKernelNorm, folded
from search.training import devices

RANDOM = np.random.default_rng(0)
needs_tensorflow = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="its kernels are TensorFlow's")
# Keras 3.15 reads TensorFlow's variables in a way of which NumPy 2 warns.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)


@pytest.fixture
def in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorFlow's kernels as a worker has them, for one test."""
    for name in ("sampling", "normalization", "adam"):
        monkeypatch.setattr(kernels, name, getattr(kernels, name))
    devices._put_kernels_in_place(compiled=True)


def turned(number: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Maps that mirror, turn, zoom and shift, some of them far over the edge."""
    angle, zoom = RANDOM.uniform(-np.pi, np.pi, number), RANDOM.uniform(0.5, 1.4, number)
    sign = RANDOM.choice([-1.0, 1.0], number)
    a0, a1, b0, b1 = (
        sign * zoom * np.cos(angle),
        -zoom * np.sin(angle),
        sign * zoom * np.sin(angle),
        zoom * np.cos(angle),
    )
    middle = (size - 1) / 2
    shift = RANDOM.uniform(-0.3, 0.3, (2, number)) * size
    a2, b2 = middle - (a0 + a1) * middle + shift[0], middle - (b0 + b1) * middle + shift[1]
    return np.stack([a0, a1, a2], 1).astype(np.float32), np.stack([b0, b1, b2], 1).astype(np.float32)


def expected_sample(pictures: np.ndarray, across: np.ndarray, down: np.ndarray) -> np.ndarray:
    transform = np.concatenate([across, down, np.zeros((len(pictures), 2), np.float32)], axis=1)
    found = keras.ops.image.affine_transform(pictures, transform, interpolation="bilinear", fill_mode="reflect")
    return np.asarray(keras.ops.convert_to_numpy(found))


def test_sampling_is_keras_affine_transform() -> None:
    pictures = RANDOM.uniform(0, 255, (12, 20, 20, 3)).astype(np.float32)
    across, down = turned(12, 20)
    shown = keras.ops.convert_to_numpy(kernels.sample(pictures, across, down))
    np.testing.assert_allclose(shown, expected_sample(pictures, across, down), atol=0.02)


def test_sampling_knows_height_from_width() -> None:
    pictures = RANDOM.uniform(0, 255, (3, 9, 14, 2)).astype(np.float32)
    across = np.tile(np.array([[-1, 0, 13]], np.float32), (3, 1))
    down = np.tile(np.array([[0, 1, 2]], np.float32), (3, 1))
    shown = keras.ops.convert_to_numpy(kernels.sample(pictures, across, down))
    moved = np.concatenate([pictures[:, 2:], pictures[:, :-3:-1]], axis=1)[:, :, ::-1]
    np.testing.assert_allclose(shown, moved, atol=1e-3)


@needs_tensorflow
def test_compiled_sampling_is_the_same(in_place: None) -> None:
    assert kernels.sampling is not kernels.sample
    pictures = RANDOM.uniform(0, 255, (6, 16, 16, 3)).astype(np.float32)
    across, down = turned(6, 16)
    shown = keras.ops.convert_to_numpy(kernels.sampling(pictures, across, down))
    np.testing.assert_allclose(shown, kernels.sample(pictures, across, down), atol=0.02)


def network() -> keras.Model:
    inputs = keras.Input((8, 8, 3))
    # Without a bias, whose gradient is nothing but rounding behind a norm: Adam would make it as large as the others.
    x = keras.layers.Conv2D(4, 3, use_bias=False, kernel_initializer=keras.initializers.HeNormal(1))(inputs)
    x = keras.layers.BatchNormalization(momentum=0.9, gamma_initializer=keras.initializers.RandomUniform(0.5, 1.5, 2))(
        x
    )
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Activation("silu")(x))
    return keras.Model(inputs, keras.layers.Dense(3, "softmax", kernel_initializer=keras.initializers.HeNormal(3))(x))


@needs_tensorflow
def test_a_norm_that_trains_runs_in_one_kernel_and_is_the_same(in_place: None) -> None:
    plain, other = network(), network()
    quick = folded(other)
    assert [type(layer) for layer in quick.layers].count(OneKernelNorm) == 1
    assert [v.path for v in quick.trainable_variables] == [v.path for v in other.trainable_variables]
    batch = RANDOM.normal(2, 3, (16, 8, 8, 3)).astype(np.float32)
    labels = np.eye(3, dtype=np.float32)[RANDOM.integers(0, 3, 16)]
    for model in (plain, quick):
        model.compile(keras.optimizers.SGD(0.1), "categorical_crossentropy", jit_compile=False)
        for _ in range(3):
            model.train_on_batch(batch, labels)
    for one, same in zip(plain.variables, other.variables, strict=True):
        np.testing.assert_allclose(np.array(one), np.array(same), atol=rounding(6, 1024), err_msg=one.path)
    np.testing.assert_allclose(quick(batch), plain(batch), atol=rounding(6, 1024))
    np.testing.assert_allclose(other(batch), plain(batch), atol=rounding(6, 1024))


def test_without_a_kernel_the_layers_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "normalization", None)
    assert not any(isinstance(layer, OneKernelNorm) for layer in folded(network()).layers)


@needs_tensorflow
@pytest.mark.parametrize("schedule", [False, True])
def test_adam_in_one_kernel_takes_the_same_steps(in_place: None, schedule: bool) -> None:
    def trained(own: bool) -> list[Any]:
        if not own:
            kernels.adam = None
        model = network()
        rate: Any = keras.optimizers.schedules.CosineDecay(0.03, 8) if schedule else 0.03
        optimizer = RatedAdam(rate)
        slow = model.trainable_variables[:1]
        optimizer.set_rates(decayed=model.trainable_variables, slowed=slow, weight_decay=0.1, trunk_rate=0.2)
        model.compile(optimizer, "categorical_crossentropy", jit_compile=False)
        random = np.random.default_rng(1)
        for _ in range(5):
            labels = np.eye(3, dtype=np.float32)[random.integers(0, 3, 16)]
            model.train_on_batch(random.normal(size=(16, 8, 8, 3)).astype(np.float32), labels)
        return [np.array(variable) for variable in (*model.variables, *optimizer.variables)]

    for one, same in zip(trained(True), trained(False), strict=True):
        np.testing.assert_allclose(one, same, atol=rounding(10, 1024))


@needs_tensorflow
@pytest.mark.parametrize(("bfloat16", "faster"), [(0.1, True), (0.75, True), (0.9, False), (1.9, False)])
def test_bfloat16_is_taken_where_it_is_measured_to_be_faster(
    monkeypatch: pytest.MonkeyPatch, bfloat16: float, faster: bool
) -> None:
    class Clock:
        """Every second convolution, those in bfloat16, takes so many seconds; the others take one."""

        now, calls = 0.0, 0

        def perf_counter(self) -> float:
            self.calls += 1
            if self.calls % 2 == 0:
                self.now += 1.0 if self.calls % 4 == 2 else bfloat16
            return self.now

    monkeypatch.setattr(devices, "time", Clock())
    assert devices.faster_in_bfloat16() is faster
