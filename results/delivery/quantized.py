"""The exported model in 8-bit whole numbers, for phones: calibrated on training pictures, measured on validation."""

import json
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from results.delivery.formats import TOLERANCE, root_of
from results.delivery.notes import without_notes
from results.delivery.picture import Scale
from results.delivery.prediction import Pixels, answer_of, class_names, load, pixels_of, scale_of
from results.markup import write_aside
from results.records import read_object
from results.rows import read_rows

if TYPE_CHECKING:
    import keras

CALIBRATED = 100  # training pictures, from which the range of every layer is told
MEASURED = 500  # validation pictures at most
CHECKED = 3  # of these, by the model as it is
LARGE_DROP, REFUSED_DROP = 0.02, 0.10  # of accuracy: said beside the figures, and not handed over
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "lanczos3": Image.Resampling.LANCZOS}
LEARNT = "The model has learnt from most of these pictures, so only the difference of the two figures tells something."


def export_int8(run_dir: Path, family: str, out: Path) -> str:
    """Writes a family's model with 8-bit weights and activations, and its card and record beside it; what was measured.

    The file takes one uint8 picture (1, size, size, 3), cut and resized already, and gives uint8 probabilities in 256
    steps. Raises ValueError for a model that whole numbers cannot hold, for a run whose pictures are gone, and,
    before a file is written, where accuracy falls by more than 10 points.
    """
    about = (out.with_suffix(".json"), out.with_suffix(".md"))
    for path in about:
        path.unlink(missing_ok=True)  # Of an export before, which this one takes the place of.
    model = load(run_dir, family)
    size, interpolation = resizing_of(model)
    if read_object(run_dir / "split.json").get("multilabel"):
        raise ValueError(
            f"int8 is measured by the class that it names, and pictures of `{run_dir}` have several labels each; the "
            "format litert writes the model as it is"
        )
    network = network_of(model)
    split, classes, scale = read_object(run_dir / "split.json"), class_names(run_dir), scale_of(run_dir)
    train = [picture for picture, _ in read_side(split, "train", CALIBRATED, scale)]
    measured = list(read_side(split, "validation", MEASURED, scale))
    content = converted(network, [square(picture, size, interpolation) for picture in train])
    run = interpreted(content)
    floating = compiled(model, network)
    expected = np.array([floating(picture) for picture, _ in measured])
    for (picture, _), answer in zip(measured[:CHECKED], expected, strict=False):
        # Taking the model apart must have changed nothing.
        if not np.abs(answer_of(model, picture, len(classes)) - answer).max() <= TOLERANCE:
            raise ValueError(f"{family} answers otherwise without its casts, which int8 cannot have")
    answers = np.array([run(square(picture, size, interpolation)) for picture, _ in measured])
    truth = np.array([label for _, label in measured])
    record: dict[str, Any] = {
        "family": family, "classes": classes, "size": size, "filter": interpolation, "bytes": len(content),
        "input": {"dtype": "uint8", "shape": [1, size, size, 3]},
        "output": {"dtype": "uint8", "shape": [1, len(classes)], "scale": 1 / 256},
        "thresholds": (read_rows(run_dir / "trials.jsonl").model(family) or {}).get("thresholds"),
        "calibrated_on": {"side": "train", "pictures": len(train)},
        "measured_on": {"side": "validation", "pictures": len(measured), "remark": LEARNT},
        "float_accuracy": float((expected.argmax(axis=1) == truth).mean()),
        "int8_accuracy": float((answers.argmax(axis=1) == truth).mean()),
        "agreement": float((answers.argmax(axis=1) == expected.argmax(axis=1)).mean()),
    }  # fmt: skip
    said = told(record)
    if record["float_accuracy"] - record["int8_accuracy"] > REFUSED_DROP:
        raise ValueError(f"{family} loses too much in int8, and no file was written: {said}")
    write_aside(out, content)
    write_aside(about[0], json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    write_aside(about[1], card(record, out.name, run_dir.resolve().name))
    return said


def told(record: dict[str, Any]) -> str:
    """The figures of an export in a line."""
    float_accuracy, int8_accuracy = record["float_accuracy"], record["int8_accuracy"]
    drop = float_accuracy - int8_accuracy
    large = f"; WARNING: it loses {100 * drop:.1f} points" if drop > LARGE_DROP else ""
    return (
        f"int8 names {100 * int8_accuracy:.1f} % and float {100 * float_accuracy:.1f} % of "
        f"{record['measured_on']['pictures']:,} validation pictures rightly, and both say the same of "
        f"{100 * record['agreement']:.1f} % (calibrated on {record['calibrated_on']['pictures']:,} training pictures)"
        f"{large}"
    )


def card(record: dict[str, Any], name: str, run: str) -> str:
    """What whoever builds the model into a program has to know, in Markdown."""
    size = record["size"]
    lines = [
        f"# {name} of run {run}",
        "",
        f"The model of {record['family']} in 8-bit whole numbers ({record['bytes'] / 1e6:.2f} MB), for LiteRT.",
        "",
        f"- Accuracy: {told(record)}. {record['measured_on']['remark']}",
        f"- In: one uint8 picture (1, {size}, {size}, 3), RGB, 0 to 255. Take the middle square of a picture and "
        f"resize it to {size} pixels a side with the filter {record['filter']}, widened where it shrinks.",
        f"- Out: uint8 (1, {len(record['classes'])}); divided by 256 these are the probabilities of the classes below.",
        f"- Classes: {', '.join(record['classes'])}.",
        "",
    ]
    return "\n".join(lines)


def resizing_of(model: "keras.Model") -> tuple[int, str]:
    """The side of the pictures behind a model's resizing, and its filter."""
    import keras

    found = next((layer for layer in model.layers if isinstance(layer, keras.layers.Resizing)), None)
    if found is None or found.height != found.width or found.interpolation not in FILTERS:
        raise ValueError("int8 needs a model that resizes pictures to a square first, by a search of this program")
    return int(found.height), str(found.interpolation)


def network_of(model: "keras.Model") -> "keras.Model":
    """What comes after the resizing, on float pictures (n, size, size, 3) of levels 0 to 255; weights are shared.

    Raises ValueError where the pictures are treated by their grey levels on the way.
    """
    import keras

    resizing = next(layer for layer in model.layers if isinstance(layer, keras.layers.Resizing))
    network = _without_casts(keras.Model(resizing.output, model.output), {}, first=True)
    size = resizing.height
    pictures = keras.Input((size, size, 3), name="pictures")
    frozen = keras.Model(pictures, network(pictures, training=False))
    # Keras exports only what has run once.
    frozen(np.zeros((1, size, size, 3), np.float32))
    return frozen


def _without_casts(model: "keras.Model", made: dict[int, Any], *, first: bool = False) -> "keras.Model":
    """A model without its casts to whole levels and back, and, at its begin, without the rounding before them.

    Whole levels are all that goes in here, so that these change nothing; between them nothing can be quantized.
    """
    import keras

    if id(model) in made:  # One that is called twice, on a picture and its mirror image, stays one.
        return made[id(model)]
    gone = {"Cast", "Round", "Clip"} if first else {"Cast"}
    treated = [] if first else _treatments(model)
    if treated:
        raise ValueError(
            f"int8 cannot stand for the treatment of the pictures inside this model ({', '.join(treated)}): it counts "
            "and stretches single grey levels, and rounded to 8 bits of a layer's range the steps between would be "
            "lost; the format litert keeps them"
        )

    def call(layer: Any, *arguments: Any, **more: Any) -> Any:
        if type(layer).__name__ in gone:
            return arguments[0]
        if isinstance(layer, keras.Model):
            return _without_casts(layer, made)(*arguments, **more)
        return layer(*arguments, **more)

    inputs = keras.tree.map_structure(lambda tensor: keras.Input(tensor.shape[1:]), model.input)
    made[id(model)] = keras.models.clone_model(
        model, input_tensors=inputs, clone_function=lambda layer: layer, call_function=call
    )
    return made[id(model)]


def _treatments(model: "keras.Model") -> list[str]:
    """The operations before a model's last cast to uint8, besides casts: those that treat whole grey levels."""
    names: list[str] = []
    found: list[str] = []
    for operation in model.operations:
        kind = type(operation).__name__
        if kind == "Cast" and getattr(operation, "dtype", "") == "uint8":
            found = list(dict.fromkeys(names))
        elif kind not in ("Cast", "InputLayer"):
            names.append(kind)
    return found


def read_side(split: dict[str, Any], side: str, most: int, scale: Scale) -> Iterator[tuple[Pixels, int]]:
    """Pictures of one side of the run's split with their labels, spread over it, without those that cannot be read.

    Raises ValueError where that is half of them or more.
    """
    entries = split.get(side) or []
    wanted = [
        entries[place] for place in np.unique(np.linspace(0, len(entries) - 1, min(most, len(entries))).astype(int))
    ]
    root = root_of(split, side)
    lost: list[str] = []
    for name, label in wanted:
        try:
            picture = pixels_of(root / name, scale)
        except ValueError as error:
            lost.append(f"`{name}`: {error}")
            if 2 * len(lost) >= len(wanted):
                break
            continue
        yield picture, label
    if 2 * len(lost) >= len(wanted):
        first = f", the first of them {lost[0]}" if lost else ""
        raise ValueError(
            f"int8 needs the run's {side} pictures where the search found them, and of {len(wanted):,} below `{root}` "
            f"at least half cannot be read{first}"
        )


def square(picture: Pixels, size: int, interpolation: str) -> Pixels:
    """The middle square of a picture (height, width, 3), resized by Pillow as for training."""
    height, width = picture.shape[:2]
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    box = (left, top, left + side, top + side)
    image = Image.fromarray(picture).resize((size, size), FILTERS[interpolation], box=box, reducing_gap=3.0)
    return np.asarray(image)


def converted(network: "keras.Model", pictures: Sequence[Pixels]) -> bytes:
    """A `.tflite` file of whole numbers alone, uint8 in and out; the pictures (size, size, 3) give the ranges."""
    import keras
    import tensorflow as tf

    shape = (1, *network.input_shape[1:])

    def sample() -> Iterator[list[Any]]:
        for number, picture in enumerate(pictures):
            levels = picture.astype(np.float32)
            if number == 0:
                # Black and white are in the range whatever the pictures hold: level 7 goes in as 7.
                levels[0, 0], levels[0, 1] = 0.0, 255.0
            yield [levels[None]]

    with tempfile.TemporaryDirectory() as folder, without_notes(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        signature = [keras.InputSpec(shape=shape, dtype="float32")]
        network.export(folder, format="tf_saved_model", verbose=False, input_signature=signature)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = sample
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.uint8
        content: bytes = converter.convert()
    return content


def compiled(model: "keras.Model", network: "keras.Model") -> Callable[[Pixels], Any]:
    """The float model at work on a picture (height, width, 3) of any size: compiled it takes a fraction of the time."""
    import keras
    import tensorflow as tf

    resizing = next(layer for layer in model.layers if isinstance(layer, keras.layers.Resizing))
    answer = tf.function(lambda levels: network(levels, training=False))

    def run(picture: Pixels) -> Any:
        levels = np.clip(np.rint(np.asarray(resizing(picture[None]))), 0, 255)
        return np.asarray(answer(levels.astype(np.float32)))[0]

    return run


def interpreted(content: bytes) -> Callable[[Pixels], Any]:
    """A `.tflite` file at work: probabilities (classes,) of a picture (size, size, 3).

    Raises ValueError where its levels are not the picture's own, or its answers not probabilities in 256 steps.
    """
    import tensorflow as tf

    with warnings.catch_warnings(), without_notes():
        # As in `results.delivery.formats`.
        warnings.simplefilter("ignore", UserWarning)
        interpreter = tf.lite.Interpreter(model_content=content, num_threads=len(os.sched_getaffinity(0)))
        interpreter.allocate_tensors()
    given, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    for name, tensor, expected in (("takes", given, (1.0, 0)), ("gives", result, (1 / 256, 0))):
        found = tensor["quantization"]
        if tensor["dtype"] is not np.uint8 or abs(found[0] / expected[0] - 1) > 1e-4 or found[1] != expected[1]:
            raise ValueError(f"the file {name} {tensor['dtype'].__name__} of scale {found}, and needs {expected}")

    def run(picture: Pixels) -> Any:
        interpreter.set_tensor(given["index"], picture[None])
        interpreter.invoke()
        return interpreter.get_tensor(result["index"])[0] / 256

    return run
