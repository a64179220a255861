"""Keras as this project relies on it, whatever `keras.json` and the environment were set to for another."""

import functools
import importlib.util
import json
import os
from pathlib import Path
from typing import Any

BACKENDS = ("tensorflow", "jax")
# What Keras takes from its file, with what it allows there: with anything else it cannot be imported.
_ALLOWED: dict[str, tuple[str, ...]] = {
    "floatx": ("float16", "float32", "float64"),
    "image_data_format": ("channels_last", "channels_first"),
}


def keras_home() -> Path:
    """The folder of Keras's settings and downloads, as Keras finds it."""
    own = os.environ.get("KERAS_HOME")
    if own:
        return Path(own).expanduser()
    base = os.path.expanduser("~")
    return Path(base if os.access(base, os.W_OK) else "/tmp") / ".keras"


def backend() -> str:
    """The backend that Keras will take, found without importing it.

    Raises ValueError, which names where it was asked for, for one that is not installed or not supported here, and for
    a `keras.json` with which Keras cannot be imported.
    """
    path = keras_home() / "keras.json"
    content = _content(path)
    named, where = os.environ.get("KERAS_BACKEND"), "KERAS_BACKEND"
    if not named and "backend" in content:
        named, where = str(content["backend"]), f"`backend` of `{path}`"
    named = named or "tensorflow"
    if named not in BACKENDS:
        instead = next((name for name in BACKENDS if _is_installed(name)), BACKENDS[0])
        way_out = f"put KERAS_BACKEND={instead} in front of the command"
        raise ValueError(f"{where} needs one of {', '.join(BACKENDS)}, got {named!r}; {way_out}")
    if not _is_installed(named):
        asked = f"{where} asks for the backend {named}" if where in os.environ or content else f"Keras needs {named}"
        others = [name for name in BACKENDS if name != named and _is_installed(name)]
        instead = "".join(f", or put KERAS_BACKEND={name} in front of the command" for name in others)
        raise ValueError(f"{asked}, which is not installed: pip install {named}{instead}")
    return named


def _is_installed(backend: str) -> bool:
    return importlib.util.find_spec(backend) is not None


def _content(path: Path) -> dict[str, Any]:
    """What a `keras.json` says; raises ValueError where Keras would not take it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except ValueError:
        return {}  # Keras passes over it as well.
    except OSError as error:
        raise ValueError(f"`{path}` needs to be readable, and is not ({error.strerror}); {_OTHER_HOME}") from error
    if not isinstance(content, dict):
        raise ValueError(f"`{path}` needs a JSON object of settings, got {str(content)[:80]}; {_OTHER_HOME}")
    for name, allowed in _ALLOWED.items():
        if content.get(name, allowed[0]) not in allowed:
            raise ValueError(
                f"`{name}` of `{path}` needs one of {', '.join(allowed)}, got {content[name]!r}; {_OTHER_HOME}"
            )
    if not isinstance(content.get("epsilon", 1e-7), float):
        raise ValueError(f"`epsilon` of `{path}` needs a float, got {content['epsilon']!r}; {_OTHER_HOME}")
    return content


_OTHER_HOME = "mend it, or set KERAS_HOME to another folder"


@functools.cache
def import_keras() -> Any:
    """Imports Keras and sets what every model here is made for: called before anything else is done with it."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # TensorFlow takes oneDNN's kernels by itself only on processors with AVX-512's newer instructions. With AVX2 alone
    # they train small networks in half of the time and pass pictures through a trunk in two thirds of it.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ["KERAS_BACKEND"] = backend()
    os.environ["KERAS_NNX_ENABLED"] = "false"
    for name in ("KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH"):
        # Made for trying a script out: they would cut the training of hypermodels and scores short.
        os.environ.pop(name, None)
    import keras

    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)
    keras.config.set_dtype_policy("float32")
    keras.config.set_max_epochs(None)
    keras.config.set_max_steps_per_epoch(None)
    return keras
