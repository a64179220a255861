import importlib.util
from pathlib import Path

import numpy as np
import pytest

from results.__main__ import main
from results.delivery.formats import check, export, sample
from results.delivery.framework import backend
from results.delivery.prediction import Pixels, load


@pytest.mark.slow
@pytest.mark.skipif(backend() != "tensorflow", reason="exports are made by TensorFlow")
@pytest.mark.parametrize("form", ["saved_model", "litert", "onnx"])
@pytest.mark.parametrize("family", ["scratch_keras", "scratch_pillow"])
def test_an_export_gives_the_same_answers(trained_run: Path, tmp_path: Path, form: str, family: str) -> None:
    if form == "onnx" and not (importlib.util.find_spec("tf2onnx") and importlib.util.find_spec("onnxruntime")):
        pytest.skip("needs tf2onnx and onnxruntime: pip install '.[onnx]'")
    path, found = export(trained_run, form, family=family, out=tmp_path / "model.tflite")
    assert path.exists()
    assert found.startswith("the same answers as the Keras model on 12 test pictures, within ")


def test_a_missing_package_is_named(trained_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if importlib.util.find_spec("tf2onnx"):
        pytest.skip("needs to lack tf2onnx, which is here")
    assert main(["export", str(trained_run), "--format", "onnx"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("the format onnx needs packages that are not here: pip install tf2onnx")


def test_another_answer_is_refused(trained_run: Path) -> None:
    model = load(trained_run, "scratch_keras")

    def turned(batch: Pixels) -> object:
        return np.asarray(model(batch, training=False))[:, ::-1]

    with pytest.raises(ValueError, match=r"^the export gives other answers: a probability differs by 0\.\d+"):
        check(model, turned, trained_run)


def test_without_the_data_the_kept_pictures_are_used(trained_run: Path, tmp_path: Path) -> None:
    (tmp_path / "split.json").write_text('{"data": "demo", "classes": ["a"], "test": [["a/b.jpg", 0]]}')
    with pytest.raises(ValueError, match=r"checked on pictures of the run's data, and there are none: neither `demo`"):
        sample(tmp_path)
    (tmp_path / "mistakes").symlink_to(trained_run / "mistakes")
    pictures, kind = sample(tmp_path)
    assert kind == "pictures of the data that the run kept"
    assert {picture.shape for picture in pictures} == {(317, 201, 3)}


def test_an_unknown_format(trained_run: Path) -> None:
    with pytest.raises(ValueError, match=r"^a format is one of saved_model, onnx, litert, litert-int8, got 'pickle'$"):
        export(trained_run, "pickle")
