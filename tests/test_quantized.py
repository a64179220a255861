"""The int8 export: real conversions of a small network, and what is refused."""

import json
import re
import shutil
import warnings
from io import StringIO
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image
from written_run import end_row, epoch_row, start_row, write_rows

from models.export import raw_pictures
from models.treatment import with_treatment
from results.__main__ import main
from results.delivery import quantized
from results.delivery.formats import export, root_of
from results.delivery.framework import backend
from results.delivery.picture import alone
from results.delivery.quantized import network_of, read_side, square, told
from search.data.decode import fit_square

pytestmark = pytest.mark.skipif(backend() != "tensorflow", reason="exports are made by TensorFlow")
COLOURS = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200)}


def network(offset: float = 0.0) -> "keras.Model":
    """A network that tells colours at 16 pixels, of a picture and its mirror image; `offset` is added to all logits."""
    inputs = keras.Input((16, 16, 3), dtype="uint8")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(keras.ops.cast(inputs, "float32"))
    inner = keras.Input((16, 16, 3))
    convolution = keras.layers.Conv2D(3, 3, padding="same")
    trunk = keras.Model(inner, keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(convolution(inner))))
    x = keras.layers.Average()([trunk(x), trunk(keras.ops.flip(x, axis=2))])
    dense = keras.layers.Dense(3)
    outputs = keras.layers.Softmax()(dense(x))
    kernel = np.zeros((3, 3, 3, 3))
    kernel[1, 1] = np.eye(3)
    convolution.set_weights([kernel, np.zeros(3)])
    dense.set_weights([8 * np.eye(3), np.full(3, offset)])
    return keras.Model(inputs, outputs)


def write_colours(run: Path, model: "keras.Model") -> Path:
    """A run of pictures in three colours, 12 for training and 6 for validation, and a model of theirs."""
    chance = np.random.default_rng(0)
    split: dict[str, Any] = {"classes": list(COLOURS), "data": "colours", "root": str(run / "data")}
    (run / "data").mkdir(parents=True)
    for side, count in (("train", 4), ("validation", 2), ("test", 1)):
        split[side] = []
        for label, (name, colour) in enumerate(COLOURS.items()):
            for number in range(count):
                picture = np.clip(np.array(colour) + chance.integers(-30, 31, (24, 32, 3)), 0, 255)
                file = f"{side}-{name}-{number}.png"
                Image.fromarray(picture.astype(np.uint8)).save(run / "data" / file)
                split[side].append([file, label])
    (run / "split.json").write_text(json.dumps(split))
    (run / "models").mkdir()
    raw_pictures(model).save(run / "models" / "mobilenet.keras")
    trial = "mobilenet-000"
    write_rows(run, [start_row(trial), epoch_row(trial, 1, 0.5), end_row(trial, "finished")])
    return run


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colours(tmp_path_factory.mktemp("int8") / "runs" / "NAME", network())


def test_int8_is_written_measured_and_used_as_the_guide_says(
    colours: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["export", str(colours), "--format", "litert-int8"]) == 0
    path = colours / "models" / "mobilenet-int8.tflite"
    said = capfd.readouterr()
    measured = (
        "int8 names 100.0 % and float 100.0 % of 6 validation pictures rightly, and both say the same of 100.0 % "
        "(calibrated on 12 training pictures)"
    )
    assert said.out == f"{path}\n{measured}\n"
    record = json.loads(path.with_suffix(".json").read_text())
    assert {key: record[key] for key in ("size", "filter", "classes", "bytes", "int8_accuracy", "float_accuracy")} == {
        **{"size": 16, "filter": "bilinear", "classes": list(COLOURS), "bytes": path.stat().st_size},
        **{"int8_accuracy": 1.0, "float_accuracy": 1.0},
    }
    assert f"- Accuracy: {measured}. The model has learnt from" in path.with_suffix(".md").read_text()

    import tensorflow as tf

    # TensorFlow announces, once in a process, that its interpreter moves.
    warnings.simplefilter("ignore", UserWarning)
    kinds = tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = tf.lite.Interpreter(str(path), experimental_op_resolver_type=kinds)
    interpreter.allocate_tensors()
    # Whole numbers alone: nothing falls back to floating point on a chip that has none.
    assert {tensor["dtype"] for tensor in interpreter.get_tensor_details()} <= {np.uint8, np.int8, np.int32, np.int64}

    guide = Path(__file__).resolve().parent.parent / "docs" / "guide" / "export.md"
    (lines,) = (
        code
        for code in re.findall(r"^```python\n(.*?)^```$", guide.read_text(), re.MULTILINE | re.DOTALL)
        if "int8.tflite" in code
    )
    monkeypatch.chdir(colours.parent.parent)

    def opened(name: str) -> StringIO:
        # The example leaves the file to the end of its process.
        return StringIO(Path(name).read_text())

    for name, colour in COLOURS.items():
        Image.new("RGB", (50, 40), colour).save("dog.jpg")
        exec(lines, {"open": opened})
        assert capfd.readouterr().out.split()[0] == name


def test_a_model_that_int8_ruins_is_not_handed_over(tmp_path: Path) -> None:
    # Beside an offset of 20,000 for all classes, what tells them apart is less than one of 256 steps.
    run = write_colours(tmp_path / "run", network(offset=20_000.0))
    with pytest.raises(ValueError, match=r"loses too much in int8, and no file was written: int8 names \d+\.\d % and"):
        export(run, "litert-int8")
    assert sorted(path.name for path in (run / "models").iterdir()) == ["mobilenet.keras"]


def test_a_drop_is_warned_of() -> None:
    record = {"measured_on": {"pictures": 200}, "calibrated_on": {"pictures": 100}, "agreement": 0.9}
    assert told({**record, "float_accuracy": 0.95, "int8_accuracy": 0.91}).endswith("WARNING: it loses 4.0 points")
    assert "WARNING" not in told({**record, "float_accuracy": 0.95, "int8_accuracy": 0.94})


def test_without_pictures_there_is_no_int8(colours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    shutil.copytree(colours / "models", run / "models")
    shutil.copy(colours / "trials.jsonl", run)
    split = json.loads((colours / "split.json").read_text())
    (run / "split.json").write_text(json.dumps({**split, "root": str(tmp_path / "gone")}))
    assert main(["export", str(run), "--format", "litert-int8"]) == 2
    assert capsys.readouterr().err == (
        f"int8 needs the run's train pictures where the search found them, and of 12 below `{tmp_path / 'gone'}` at "
        "least half cannot be read, the first of them `train-red-0.png`: the file cannot be opened: No such file or "
        "directory\n"
    )
    with pytest.raises(ValueError, match=r"^int8 needs the run's validation pictures .* and of 0 below"):
        list(read_side({**split, "validation": []}, "validation", 10, alone))


def test_the_pictures_are_found_where_they_were_or_where_they_are_now(tmp_path: Path) -> None:
    for place in ("then", "now"):
        (tmp_path / place).mkdir()
    split = {"data": str(tmp_path / "now"), "root": str(tmp_path / "then"), "test": [["a.png", 0]]}
    assert root_of(split, "test") == tmp_path / "then"
    (tmp_path / "now" / "a.png").touch()
    assert root_of(split, "test") == tmp_path / "now"
    (tmp_path / "then" / "a.png").touch()
    assert root_of(split, "test") == tmp_path / "then"


def test_a_treatment_of_grey_levels_cannot_be_quantized() -> None:
    off = {"auto_contrast": False, "equalize": False, "whitening": False}
    with pytest.raises(ValueError, match=r"^int8 cannot stand for the treatment .*Max.* the format litert keeps them$"):
        network_of(raw_pictures(with_treatment(network(), {**off, "auto_contrast": True})))
    with pytest.raises(ValueError, match=r"^int8 cannot stand for the treatment .*Mean"):
        network_of(raw_pictures(with_treatment(network(), {**off, "whitening": True})))
    inner = network_of(raw_pictures(with_treatment(network(), off)))
    assert inner(np.full((1, 16, 16, 3), (200, 0, 0), np.float32))[0, 0] > 0.9


def test_a_model_without_resizing_is_refused() -> None:
    inputs = keras.Input((None, None, 3), dtype="uint8")
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(inputs)))
    with pytest.raises(ValueError, match=r"^int8 needs a model that resizes pictures to a square first"):
        quantized.resizing_of(model)


def test_the_middle_square_is_what_the_model_sees() -> None:
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 200
    assert (square(wide, 10, "bilinear") == 200).all()
    assert (square(wide.transpose(1, 0, 2), 10, "lanczos3") == 200).all()
    # As a search decodes pictures for training.
    noise = np.random.default_rng(0).integers(0, 256, (90, 61, 3), np.uint8)
    for ours, decoded in (("bilinear", "bilinear"), ("lanczos3", "lanczos")):
        assert (square(noise, 7, ours) == np.asarray(fit_square(Image.fromarray(noise), 7, decoded))).all()
