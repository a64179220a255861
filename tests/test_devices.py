"""What a process sets up before its first operation, and the compiled forward pass."""

import gc
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from search.training.devices import forget_models, inference

PREPARED = """
from search.training.devices import prepare
print(prepare(1, "{precision}"), prepare(1, "{precision}"))
import keras
if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
    print(tf.config.threading.get_intra_op_parallelism_threads())
"""


@pytest.fixture(scope="module")
def model() -> keras.Model:
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3)(inputs))
    return keras.Model(inputs, [x, keras.layers.GlobalAveragePooling2D()(x)])


def test_a_forward_pass_gives_every_output_as_float16(model: keras.Model) -> None:
    batch = np.random.default_rng(0).normal(size=(5, 8, 8, 3)).astype(np.float32)
    maps, pooled = inference(model)(batch)
    expected = model(batch, training=False)
    assert maps.dtype == pooled.dtype == np.float16
    assert (maps.shape, pooled.shape) == ((5, 6, 6, 4), (5, 4))
    np.testing.assert_allclose(maps, expected[0], atol=5e-3)
    np.testing.assert_allclose(pooled, expected[1], atol=5e-3)


def test_a_forward_pass_takes_pictures_and_any_number(model: keras.Model) -> None:
    forward = inference(model)
    pictures = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    maps, _ = forward(pictures)
    np.testing.assert_allclose(forward(pictures[:1].astype(np.float16))[0], maps[:1], rtol=1e-2, atol=1e-2)


def test_a_forward_pass_keeps_the_weights_of_its_making(model: keras.Model) -> None:
    copy = keras.models.clone_model(model)
    batch = np.ones((1, 8, 8, 3), np.float32)
    forward = inference(copy)
    before = forward(batch)[0]
    copy.trainable_variables[0].assign(copy.trainable_variables[0] + 1)
    np.testing.assert_array_equal(forward(batch)[0], before)


@pytest.mark.slow
def test_a_process_is_set_up_once() -> None:
    result = subprocess.run(
        [sys.executable, "-c", PREPARED.format(precision="float32")],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    first, *threads = result.stdout.splitlines()
    assert first == "float32 float32"
    assert threads in ([], ["1"])


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="its graphs are TensorFlow's")
def test_no_graph_outlives_its_model() -> None:
    def graphs_after_training() -> int:
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])
        model.compile("adam", "categorical_crossentropy")
        model.train_on_batch(np.ones((8, 4), np.float32), np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1, 2, 0, 1]])
        del model
        forget_models()
        return sum(type(found).__name__ == "FuncGraph" for found in gc.get_objects())

    before = graphs_after_training()
    assert [graphs_after_training() for _ in range(3)] == [before] * 3
