"""What a process sets up before its first operation, and the compiled forward pass."""

import gc
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from search.training import devices
from search.training.devices import forget_models, inference

ROOT = Path(__file__).resolve().parent.parent

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


ON_DEVICES = """
import json, sys
from search.training import devices
devices.prepare(1, "float32", float(sys.argv[3]))
from search.data.pictures import prepare
from search.settings import Settings
from search.studies.hyperparameters import TrialHyperParameters
from search.training.trial import predict, train
from spaces import FAMILIES
family = FAMILIES["scratch_keras"]
settings = Settings(data=sys.argv[1], cache_dir=sys.argv[2], families=(family.name,), image_sizes=(32,))
pictures, _ = prepare(settings, 1, lambda line: None)
config = {**family.space(TrialHyperParameters(), image_sizes=(32,)), **family.off, "batch_size": int(sys.argv[4])}
rows = []
trained = train(family.name, config, pictures.without_test(), seed=0, epochs=2, planned=2, most_views=1, threads=1,
                report=rows.append)
told = {name: [row[name] for row in rows] for name in ("train_loss", "validation_loss")}
devices_of = len(trained.model.trainable_variables[0].value.sharding.device_set)
one = trained.model.predict_on_batch(pictures.pixels(32)[:1])
print(json.dumps({**told, "devices": devices_of, "one": one.tolist()}))
"""


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs JAX: pip install 'pedigree[jax]'")
def test_a_model_is_trained_on_several_devices_as_on_one(drawn: Path, cache_dir: Path) -> None:
    def told(gpus: str, batch: str) -> dict[str, Any]:
        environment = {
            **os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "--xla_force_host_platform_device_count=3",
        }  # fmt: skip
        command = [sys.executable, "-c", ON_DEVICES, str(drawn), str(cache_dir), gpus, batch]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    alone, shared = told("1", "16"), told("2", "16")
    assert (alone.pop("devices"), shared.pop("devices")) == (1, 2)
    for name in alone:
        # The same sums in another order, after a handful of steps.
        np.testing.assert_allclose(shared[name], alone[name], rtol=1e-2, atol=1e-3)
    # 16 pictures cannot be shared out to three: 15 are.
    of_three, of_fifteen = told("3", "16"), told("1", "15")
    assert of_three.pop("devices") == 3
    for name in of_three:
        np.testing.assert_allclose(of_three[name], of_fifteen[name], rtol=1e-2, atol=1e-3)


def test_a_batch_is_shared_out_in_equal_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [devices.shared_out(32, most) for most in (100, 32, 7)] == [32, 32, 7]
    monkeypatch.setattr(devices, "_together", 3)
    assert [devices.shared_out(32, most) for most in (100, 32, 7, 2)] == [30, 30, 6, 3]
