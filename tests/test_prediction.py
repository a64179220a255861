import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from results.__main__ import main
from results.delivery.prediction import found, pixels_of
from results.pages.card import loading


def pictures_of(run: Path, most: int) -> list[tuple[Path, str]]:
    split = json.loads((run / "split.json").read_text())
    return [(Path(split["data"]) / name, split["classes"][label]) for name, label in split["test"][:most]]


def test_predictions_are_those_that_were_saved(trained_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [path for path, _ in pictures_of(trained_run, 20)]
    arguments = ["predict", str(trained_run), *map(str, paths), "--family", "scratch_keras", "--json", "--top", "4"]
    assert main(arguments) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer["picture"] for answer in told] == [str(path) for path in paths]
    classes = json.loads((trained_run / "split.json").read_text())["classes"]
    with np.load(trained_run / "predictions" / "scratch_keras-0.npz") as saved:
        for answer, probabilities in zip(told, saved["probabilities"], strict=True):
            said = {likely["class"]: likely["probability"] for likely in answer["classes"]}
            # Training saw the pictures resized by Pillow, the model resizes by Keras: whole levels may differ by one.
            np.testing.assert_allclose([said[name] for name in classes], probabilities, atol=0.02)


def test_people_read_lines_and_what_cannot_be_read_is_named(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.jpg").write_text("no picture")
    Image.new("RGB", (50, 40), "white").save(tmp_path / "white.png")
    assert main(["predict", str(trained_run), str(tmp_path), "--top", "2"]) == 1
    said = capsys.readouterr()
    assert said.err.startswith(f"{tmp_path / 'broken.jpg'}: not a picture in a format that Pillow reads")
    lines = said.out.splitlines()
    assert lines[0] == str(tmp_path / "white.png")
    assert len(lines) == 3
    assert " %  " in lines[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.jpg"], "needs a picture, a folder of pictures or a glob, got nothing at `nothing.jpg`"),
        (["SELF", "--family", "mobilenet"], "has models of scratch_keras, scratch_pillow, got 'mobilenet'"),
        (["SELF", "--top", "0"], "needs 1 class or more to show, got 0"),
    ],
)
def test_what_is_wrong_is_said(
    trained_run: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(trained_run / "mistakes") if word == "SELF" else word for word in arguments]
    assert main(["predict", str(trained_run), *given]) == 2
    assert message in capsys.readouterr().err


def test_a_run_without_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "trials.jsonl").touch()
    (tmp_path / "split.json").write_text('{"classes": ["a", "b"]}')
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    assert main(["predict", str(tmp_path), str(tmp_path / "a.png")]) == 2
    assert capsys.readouterr().err == f"needs an exported model, got no .keras file in `{tmp_path / 'models'}`\n"


def with_model(run: Path, folder: Path, model: "keras.Model") -> Path:
    """A copy of a run's rows and split with another model in it."""
    (folder / "models").mkdir()
    for name in ("trials.jsonl", "split.json"):
        shutil.copy(run / name, folder)
    model.save(folder / "models" / "scratch_keras.keras")
    Image.new("RGB", (8, 8)).save(folder / "a.png")
    return folder


def test_a_model_that_brings_code_of_its_own_is_refused(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = keras.Input((None, None, 3), dtype="uint8")
    means = keras.layers.Lambda(lambda x: x[:, 0, 0, :], output_shape=(3,))(pictures)
    run = with_model(trained_run, tmp_path, keras.Model(pictures, keras.layers.Dense(4)(means)))
    assert main(["predict", str(run), str(run / "a.png")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    path = run / "models" / "scratch_keras.keras"
    assert line.startswith(f"`{path}` cannot be loaded without running code of its own")
    path.write_bytes(b"PK no archive")
    assert main(["predict", str(run), str(run / "a.png")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "or is damaged" in line


def test_a_model_of_other_classes_is_refused(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = keras.Input((None, None, 3), dtype="uint8")
    means = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(pictures))
    run = with_model(trained_run, tmp_path, keras.Model(pictures, keras.layers.Dense(7)(means)))
    assert main(["predict", str(run), str(run / "a.png")]) == 2
    assert capsys.readouterr().err == "the model needs an answer for each of 4 classes, and gives (1, 7)\n"


def test_files_folders_and_globs(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.PNG", "inner/c.webp", "notes.txt", "[x].jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    names = [path.relative_to(tmp_path).as_posix() for path in found([str(tmp_path)])]
    assert names == ["[x].jpg", "a.PNG", "b.jpg", "inner/c.webp"]
    assert [path.name for path in found([str(tmp_path / "*.jpg")])] == ["[x].jpg", "b.jpg"]
    # A file whose name looks like a pattern is itself, and no picture comes twice.
    assert [path.name for path in found([str(tmp_path / "[x].jpg"), str(tmp_path / "[x].jpg")])] == ["[x].jpg"]


def test_a_picture_is_upright_and_over_white(tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (40, 20), "red").save(tmp_path / "a.jpg", exif=turned)
    assert pixels_of(tmp_path / "a.jpg").shape == (40, 20, 3)
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "b.png")
    assert pixels_of(tmp_path / "b.png").min() == 255


def test_a_picture_is_read_as_it_was_for_training(tmp_path: Path) -> None:
    # 16 bits are scaled and not cut off, a program in PostScript is not run, and nobody waits for a pipe.
    Image.fromarray(np.full((4, 4), 0x8080, np.uint16)).save(tmp_path / "a.png")
    assert (pixels_of(tmp_path / "a.png") == 128).all()
    Image.new("RGB", (4, 4)).save(tmp_path / "b.jpg", "EPS")
    os.mkfifo(tmp_path / "c.jpg")
    for name, reason in (("b.jpg", "not a picture in a format"), ("c.jpg", "not a regular file"), ("d.jpg", "No such")):
        with pytest.raises(ValueError, match=reason):
            pixels_of(tmp_path / name)


def test_the_lines_of_the_card_classify_a_jpeg_without_this_project(trained_run: Path, tmp_path: Path) -> None:
    path, _ = pictures_of(trained_run, 1)[0]
    Image.open(path).convert("RGB").save(tmp_path / "picture.jpg", quality=98)
    # The family with a treatment of its own inside, and a compiled model within a model.
    lines = loading(str(trained_run / "models" / "scratch_pillow.keras"))
    assert len(lines) < 10
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    label, probability = done.stdout.split()
    assert int(label) in range(4)
    assert 0.25 <= float(probability) <= 1.0
