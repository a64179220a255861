"""Keras's settings of another project: what is overruled, and what is refused before it is imported."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import keras
import pytest

from results.delivery.framework import backend, import_keras


@pytest.fixture
def keras_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    "content", ["{}", "no JSON at all", '{"floatx": "float64", "image_data_format": "channels_first"}']
)
def test_settings_that_are_overruled_are_no_trouble(
    content: str, keras_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec("json")  # so that TensorFlow counts as installed here
    monkeypatch.setattr("importlib.util.find_spec", lambda name: found)
    assert backend() == "tensorflow"
    (keras_home / "keras.json").write_text(content)
    assert backend() == "tensorflow"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"backend": "numpy"},
            "`backend` of `{path}` needs one of tensorflow, jax, got 'numpy'; put KERAS_BACK",
        ),
        (
            {"floatx": "bfloat16"},
            "`floatx` of `{path}` needs one of float16, float32, float64, got 'bfloat16'; me",
        ),
        (
            {"image_data_format": "NHWC"},
            "`image_data_format` of `{path}` needs one of channels_last, channels_fir",
        ),
        ({"epsilon": 1}, "`epsilon` of `{path}` needs a float, got 1"),
        (["tensorflow"], "`{path}` needs a JSON object of settings, got ['tensorflow']"),
    ],
)
def test_settings_with_which_nothing_would_go_are_named(content: Any, message: str, keras_home: Path) -> None:
    path = keras_home / "keras.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="needs") as raised:
        backend()
    assert message.format(path=path) in str(raised.value)


def test_a_backend_of_the_environment_is_named(keras_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (keras_home / "keras.json").write_text('{"backend": "jax"}')
    monkeypatch.setenv("KERAS_BACKEND", "openvino")
    with pytest.raises(ValueError, match=r"^KERAS_BACKEND needs one of tensorflow, jax, got 'openvino'"):
        backend()


def test_a_backend_that_is_not_installed_is_named(keras_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "tensorflow" else found("json"))
    with pytest.raises(
        ValueError,
        match=r"^Keras needs tensorflow, which is not installed: pip install tensorflow, or put KERAS_BACKEND=jax in f",
    ):
        backend()
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    with pytest.raises(ValueError, match=r"^KERAS_BACKEND asks for the backend tensorflow, which is not installed"):
        backend()


def test_the_way_out_is_a_backend_that_is_installed(keras_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    found = importlib.util.find_spec("json")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: found if name == "jax" else None)
    with pytest.raises(ValueError, match=r"got 'torch'; put KERAS_BACKEND=jax in front of the command$"):
        backend()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"got 'torch'; put KERAS_BACKEND=tensorflow in front of the command$"):
        backend()


def test_what_is_relied_on_is_set(keras_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", keras.config.backend())
    monkeypatch.setenv("KERAS_MAX_EPOCHS", "1")
    before = keras.config.dtype_policy()
    keras.config.set_image_data_format("channels_first")
    keras.config.set_floatx("float16")
    keras.config.set_epsilon(0.1)
    keras.config.set_max_steps_per_epoch(1)
    try:
        import_keras.cache_clear()
        assert import_keras() is keras
        found = (keras.config.image_data_format(), keras.config.floatx(), keras.config.epsilon())
        assert found == ("channels_last", "float32", 1e-7)
        assert (keras.config.max_epochs(), keras.config.max_steps_per_epoch()) == (None, None)
        assert keras.layers.Dense(1).dtype_policy.name == "float32"
    finally:
        keras.config.set_dtype_policy(before)
