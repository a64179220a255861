import contextlib
import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from results.__main__ import main
from results.commands import until_unread
from results.delivery.notes import without_notes
from results.delivery.prediction import found, pixels_of
from results.pages.card import loading
from search.data.folder import read_folder


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
    # What a pattern finds may be a folder.
    assert [path.name for path in found([str(tmp_path / "inn*")])] == ["c.webp"]


def test_a_folder_is_read_as_a_search_reads_it(tmp_path: Path) -> None:
    cats = tmp_path / "cats"
    for name in (
        "scan.jfif",
        "0001",
        "phone.HEIC",
        "inner/x.pic",
        "._scan.jfif",
        ".DS_Store",
        ".ipynb_checkpoints/1.png",
    ):
        (cats / name).parent.mkdir(parents=True, exist_ok=True)
        (cats / name).write_bytes(b"some bytes of a picture")
    (cats / "labels.csv").write_text("a,b")
    (tmp_path / "dogs").mkdir()
    (tmp_path / "dogs/1.jpg").write_text("one")
    (cats / "link").symlink_to(tmp_path / "dogs")
    below = [path.relative_to(tmp_path).as_posix() for path in found([str(tmp_path)])]
    assert below == ["cats/0001", "cats/inner/x.pic", "cats/phone.HEIC", "cats/scan.jfif", "dogs/1.jpg"]
    assert sorted(below) == [picture.name for picture in read_folder(tmp_path).pictures]


@pytest.mark.parametrize(
    ("name", "begin", "reason"),
    [
        pytest.param(
            "a.HEIC",
            b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
            "HEIC pictures are not read without the package pillow-heif; save it as JPEG or PNG",
            marks=pytest.mark.skipif(find_spec("pillow_heif") is not None, reason="here pillow-heif reads them"),
        ),
        ("a.cr3", b"\0\0\0\x18ftypcrx \0\0\0\1", "Canon raw pictures are not read; save it as JPEG or PNG"),
        ("a.jpg", b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL pictures are not read; save it as JPEG or PNG"),
        ("a", b"\0" * 128 + b"DICM\x02\0", "DICOM pictures are not read; save it as JPEG or PNG"),
        ("a.heic", b"no such thing", "not a picture in a format that Pillow reads"),
    ],
)
def test_a_picture_in_a_foreign_format_is_named(name: str, begin: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(begin + b"\0" * 200)
    with pytest.raises(ValueError, match=f"^{reason}$"):
        pixels_of(tmp_path / name)


def test_names_that_are_no_text_are_shown_as_escapes(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # As an archive of a Latin-1 system leaves them where everything else is UTF-8.
    folder = os.path.join(os.fsencode(tmp_path), "Caf\xe9".encode("latin-1"))
    os.mkdir(folder)
    with open(os.path.join(folder, b"a\n.png"), "wb") as file:
        Image.new("RGB", (40, 40), "red").save(file, "PNG")
    assert main(["predict", str(trained_run), str(tmp_path), "--json"]) == 0
    (line,) = capsys.readouterr().out.encode().splitlines()
    assert json.loads(line)["picture"] == rf"{tmp_path}/Caf\xe9/a\n.png"
    assert main(["predict", str(trained_run), os.fsdecode(folder + b"-gone")]) == 2
    assert rf"got nothing at `{tmp_path}/Caf\xe9-gone`" in capsys.readouterr().err


def test_notes_of_tensorflow_are_held_back_and_nothing_else_is(capfd: pytest.CaptureFixture[str]) -> None:
    notes = (
        b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n"
        b"I0000 00:00:1795817011.259555   25822 port.cc:153] oneDNN custom operations are on.\n"
        b"2026-01-31 12:00:00.123456: W external/local_xla/gpu.cc:31] no GPU\n"
    )
    with without_notes():
        os.write(2, notes + b"I have something to say\n")
    assert capfd.readouterr().err == "I have something to say\n"
    with contextlib.suppress(ImportError), without_notes():
        os.write(2, notes)
        raise ImportError
    assert capfd.readouterr().err == notes.decode()


def test_a_command_ends_without_a_word_when_its_reader_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    def told(lines: int) -> int:
        for _ in range(lines):
            print("a line of what was asked for")
        return 0

    for lines in (1, 10_000):  # held back until the end, and more than is held back
        reader, writer = os.pipe()
        os.close(reader)
        with open(writer, "w") as stream:
            monkeypatch.setattr(sys, "stdout", stream)
            assert until_unread(lambda lines=lines: told(lines)) == 141  # type: ignore[misc]
            monkeypatch.undo()


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


@pytest.mark.slow
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
