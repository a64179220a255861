"""The exported model in other formats, each checked against the Keras model on pictures of the run's own data."""

import importlib.util
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from results.delivery.picture import Scale
from results.delivery.prediction import Pixels, answer_of, class_names, load, pixels_of, scale_of, winner
from results.records import read_record

if TYPE_CHECKING:
    import keras

# What the file or folder of a format is called, after the family.
SUFFIXES = {"saved_model": "-saved-model", "onnx": ".onnx", "litert": ".tflite", "litert-int8": "-int8.tflite"}
# The packages that a format needs beyond those of a search, as `pip install` knows them, and by the name to import.
PACKAGES: dict[str, dict[str, str]] = {"onnx": {"tf2onnx": "tf2onnx", "onnxruntime": "onnxruntime"}}
CHECKED = 12  # pictures
# The largest difference of a probability. Other runtimes add the same numbers in another order, so that of the levels
# of a resized photograph 3 in 10,000 are rounded to the other side, and a treatment may spread that further.
TOLERANCE = 1e-2

Run = Callable[[Pixels], Any]


def export(run_dir: Path, form: str, *, family: str | None = None, out: Path | None = None) -> tuple[Path, str]:
    """Writes a family's model (the winner's by default) in another format; its path, and what the check found.

    The export takes a batch of uint8 pictures of any one size (n, height, width, 3), as the Keras model does; that of
    `litert-int8` takes one picture of the model's own size, as `results.delivery.quantized` says. Raises ValueError for
    a format that cannot be written here, naming the package that is missing, and for an export whose answers differ,
    which is taken away again.
    """
    if form not in SUFFIXES:
        raise ValueError(f"a format is one of {', '.join(SUFFIXES)}, got {form!r}")
    missing = [
        package for package, module in PACKAGES.get(form, {}).items() if importlib.util.find_spec(module) is None
    ]
    if missing:
        raise ValueError(f"the format {form} needs packages that are not here: pip install {' '.join(missing)}")
    family = family or winner(run_dir)
    model = load(run_dir, family)
    import keras

    if keras.backend.backend() != "tensorflow":
        raise ValueError(f"exports are made by the tensorflow backend, got KERAS_BACKEND={keras.backend.backend()}")
    out = out or run_dir / "models" / f"{family}{SUFFIXES[form]}"
    if not out.name.endswith(".tflite") and form.startswith("litert"):
        raise ValueError(f"the format {form} needs a name that ends with .tflite, got `{out}`")
    out.parent.mkdir(parents=True, exist_ok=True)
    _remove(out)
    try:
        if form == "litert-int8":
            from results.delivery.quantized import export_int8

            return out, export_int8(run_dir, family, out)
        frozen = _frozen(model) if form == "saved_model" else _portable(model)
        frozen.export(str(out), format="tf_saved_model" if form == "saved_model" else form, verbose=False)
        found = check(model, {"saved_model": _saved_model, "onnx": _onnx, "litert": _litert}[form](out), run_dir)
    except ValueError:
        _remove(out)
        raise
    except Exception as error:  # converters raise whatever they like; the user needs to know which and why
        _remove(out)
        said = " ".join(str(error).split())[:300]
        raise ValueError(f"{family} cannot be written as {form}: {type(error).__name__}: {said}") from error
    return out, found


def check(model: "keras.Model", run: Run, run_dir: Path) -> str:
    """Compares an export with the Keras model on real pictures; raises ValueError where the answers differ."""
    pictures, kind = sample(run_dir)
    classes = len(class_names(run_dir))
    worst = 0.0
    for picture in pictures:
        expected = answer_of(model, picture, classes)
        answer = np.asarray(run(picture[None]), dtype=float)[0]
        # A tie within the tolerance may fall to either side.
        worst = max(worst, float(np.abs(expected - answer).max()))
    if not worst <= TOLERANCE:
        raise ValueError(f"the export gives other answers: a probability differs by {worst:.4f} on {kind}")
    return f"the same answers as the Keras model on {len(pictures)} {kind}, within {worst:.1g}"


def sample(run_dir: Path) -> tuple[list[Pixels], str]:
    """Up to 12 pictures of the run's data: test pictures where its folder is in place, else what the run kept."""
    split = read_record(run_dir / "split.json")
    root = root_of(split, "test")
    paths = [root / str(name) for name, _ in split.get("test") or []]
    scale = scale_of(run_dir)
    pictures = _readable(paths[:: max(1, len(paths) // CHECKED)][:CHECKED], scale)
    if pictures:
        return pictures, "test pictures"
    kept = sorted((run_dir / "mistakes").glob("*-wrong.jpg")) + sorted((run_dir / "mistakes").glob("*-nearest.jpg"))
    # Those are of the model's own size: made larger, so that the resizing is checked as well.
    pictures = [np.asarray(Image.fromarray(picture).resize((201, 317))) for picture in _readable(kept[:CHECKED], scale)]
    if pictures:
        return pictures, "pictures of the data that the run kept"
    raise ValueError(
        f"an export is checked on pictures of the run's data, and there are none: neither `{root}` nor mistakes/"
    )


def root_of(split: dict[str, Any], side: str) -> Path:
    """The folder to which the names of a split's pictures are relative.

    That is where the search found them, or what the run was given as its data, which may have moved there.
    """
    data = Path(str(split.get("data") or ""))
    # The data may be a table, and names are paths beside it.
    places = [data.parent if data.is_file() else data]
    if split.get("root"):
        places.insert(0, Path(str(split["root"])))
    first = next((str(name) for name, _ in split.get(side) or []), "")
    return next((place for place in places if (place / first).is_file()), places[0])


def _readable(paths: list[Path], scale: Scale) -> list[Pixels]:
    pictures = []
    for path in paths:
        try:
            pictures.append(pixels_of(path, scale))
        except ValueError:
            continue
    return pictures


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _frozen(model: "keras.Model") -> "keras.Model":
    """The same model, told for good not to train: Keras's export else takes batch statistics into the file."""
    import keras

    pictures = keras.Input((None, None, 3), dtype="uint8", name="pictures")
    return _called(keras.Model(pictures, model(pictures, training=False)))


def _called(model: "keras.Model") -> "keras.Model":
    # Keras exports only what has run once.
    model(np.zeros((1, 32, 32, 3), np.uint8))
    return model


def _portable(model: "keras.Model") -> "keras.Model":
    """The same model with its resizing written as two products of matrices.

    TensorFlow's smoothed resizing is an operation that neither ONNX nor LiteRT has. Rows and columns are weighted by
    the same filter here, made from the picture's size when the model runs, so any size still goes in.
    """
    import keras
    from keras import ops

    resizing = next(layer for layer in model.layers if isinstance(layer, keras.layers.Resizing))

    class Resize(keras.layers.Layer):  # type: ignore[misc]
        def call(self, pictures: Any) -> Any:
            x = ops.cast(pictures, "float32")
            height, width = ops.shape(x)[1], ops.shape(x)[2]
            side = ops.minimum(height, width)
            x = ops.einsum("oh,nhwc->nowc", self.weights_of(height, side, resizing.height), x)
            return ops.einsum("pw,nowc->nopc", self.weights_of(width, side, resizing.width), x)

        def weights_of(self, length: Any, side: Any, size: int) -> Any:
            length, side = ops.cast(length, "float32"), ops.cast(side, "float32")
            scale = side / size
            spread = ops.maximum(scale, 1.0)
            # The middle square begins at a whole pixel, as the layer that this stands for crops it.
            first = ops.floor((length - side) / 2)
            centres = first + (ops.arange(size, dtype="float32") + 0.5) * scale
            places = ops.arange(length, dtype="float32") + 0.5
            away = ops.expand_dims(places, 0) - ops.expand_dims(centres, 1)
            inside = ops.logical_and(places >= first, places <= first + side)
            weights = self.filter(away / spread) * ops.cast(ops.expand_dims(inside, 0), "float32")
            return weights / ops.sum(weights, axis=1, keepdims=True)

        def filter(self, x: Any) -> Any:
            if resizing.interpolation == "bilinear":
                return ops.maximum(0.0, 1.0 - ops.abs(x))
            lobes = 3.0
            turn = ops.where(ops.abs(x) < 1e-6, 1e-6, x) * np.pi
            value = lobes * ops.sin(turn) * ops.sin(turn / lobes) / (turn * turn)
            return ops.where(ops.abs(x) < lobes, value, 0.0)

        def compute_output_shape(self, shape: Any) -> Any:
            return (shape[0], resizing.height, resizing.width, 3)

    rest = keras.Model(resizing.output, model.output)
    pictures = keras.Input((None, None, 3), dtype="uint8", name="pictures")
    return _called(keras.Model(pictures, rest(Resize()(pictures), training=False)))


def _saved_model(path: Path) -> Run:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    return lambda batch: loaded.serve(batch).numpy()


def _onnx(path: Path) -> Run:
    runtime = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda batch: session.run(None, {name: batch})[0]


def _litert(path: Path) -> Run:
    import tensorflow as tf

    with warnings.catch_warnings():
        # TensorFlow announces that its interpreter moves to a package of its own; the file is the same for both.
        warnings.simplefilter("ignore", UserWarning)
        interpreter = tf.lite.Interpreter(model_path=os.fspath(path))
    given, result = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def run(batch: Pixels) -> Any:
        interpreter.resize_tensor_input(given, batch.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(given, batch)
        interpreter.invoke()
        return interpreter.get_tensor(result)

    return run
