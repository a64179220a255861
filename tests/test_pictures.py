"""From a folder to arrays: what trials see, what they never see, and what is decoded only once."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from results.delivery.prediction import pixels_of, scale_of
from results.pages.card import loading
from search.data import demo
from search.data.decode import fit_square
from search.data.duplicates import Likeness
from search.data.pictures import (
    File,
    Pictures,
    locate,
    one_hot,
    prepare,
    shapes_needed,
    subset_digest,
    warnings_of,
)
from search.run import check_same_data
from search.settings import DEMO, Settings
from tests.benchmarks.likeness import drawn_set


def said(settings: Settings) -> tuple[Pictures, dict[str, Any], list[str]]:
    lines: list[str] = []
    pictures, record = prepare(settings, 2, lines.append)
    return pictures, record, lines


def test_the_split_is_recorded(drawn: Path, cache_dir: Path) -> None:
    pictures, record, _ = said(Settings(data=str(drawn), image_sizes=(32,), cache_dir=str(cache_dir)))
    assert list(record) == [
        *("data", "root", "title", "digest", "pixels", "seed", "classes", "sizes", "notes", "levels", "left_out"),
        *("duplicates", "likeness", "train", "validation", "test", "prints"),
    ]
    assert [len(prints) for prints in record["prints"].values()] == [60, 16, 20]
    assert all(len(one) == 32 for prints in record["prints"].values() for one in prints)
    assert record["root"] == str(drawn.resolve())
    assert record["sizes"] == {"train": 60, "validation": 16, "test": 20}
    assert record["title"] == "dogs"
    assert (record["left_out"], record["levels"]) == ([], {})
    assert len(pictures.classes) == 4
    train = record["train"]
    first, label = train[0]
    assert (drawn / first).is_file()
    assert pictures.classes[label] == Path(first).parent.name.split("-", 1)[1].replace("_", " ")
    assert pictures.labels[pictures.train].tolist() == [label for _, label in train]


def test_trials_never_see_test(pictures: Pictures) -> None:
    seen = pictures.without_test()
    assert len(seen.test) == 0
    assert (len(seen.train), len(seen.validation)) == (60, 16)
    assert not set(seen.train) & set(pictures.test)
    assert not set(seen.validation) & set(pictures.test)


def test_a_winner_trains_on_train_and_validation(pictures: Pictures) -> None:
    joined = pictures.joined()
    assert joined.train.tolist() == [*pictures.train, *pictures.validation]
    assert len(joined.validation) == 0
    assert joined.test.tolist() == pictures.test.tolist()


def test_pixels_are_pillows_and_read_only(drawn: Path, cache_dir: Path, pictures: Pictures) -> None:
    _, record, _ = said(Settings(data=str(drawn), image_sizes=(32, 48), cache_dir=str(cache_dir)))
    name = record["train"][0][0]
    pixels = pictures.pixels(32)
    assert isinstance(pixels, np.memmap)
    assert (pixels.shape, pixels.dtype) == ((96, 32, 32, 3), np.uint8)
    with Image.open(drawn / name) as image:
        expected = np.asarray(fit_square(image.convert("RGB"), 32, "bilinear"))
    np.testing.assert_array_equal(pixels[pictures.train[0]], expected)
    with pytest.raises(ValueError, match="read-only"):
        pixels[0] = 0


def test_a_second_run_decodes_only_what_is_new(drawn: Path, tmp_path: Path) -> None:
    settings = Settings(data=str(drawn), image_sizes=(32,), cache_dir=str(tmp_path), families=("mobilenet",))
    first, record, lines = said(settings)
    assert lines == ["decoding 96 pictures"]
    again, same, lines = said(settings)
    assert lines == []
    assert same == record
    assert again.packs == first.packs
    larger, _, lines = said(replace(settings, image_sizes=(32, 40)))
    assert lines == ["decoding 96 pictures"]
    assert larger.packs[32, "bilinear"] == first.packs[32, "bilinear"]


def test_what_a_killed_decoding_left_is_swept_away(drawn: Path, tmp_path: Path) -> None:
    settings = Settings(data=str(drawn), families=("scratch_keras",), image_sizes=(32,), cache_dir=str(tmp_path))
    prepare(settings, 2, lambda line: None)
    (scan,) = [path for path in (tmp_path / "scans").iterdir() if path.is_dir()]
    left = scan.with_name(f"{scan.name}.decoding-abcd")
    left.mkdir()
    prepare(replace(settings, image_sizes=(32, 48)), 2, lambda line: None)
    assert not left.exists()


def test_another_seed_splits_otherwise_from_the_same_pixels(drawn: Path, cache_dir: Path, pictures: Pictures) -> None:
    other, _, lines = said(Settings(data=str(drawn), image_sizes=(32, 48), cache_dir=str(cache_dir), seed=1))
    assert lines == []
    assert other.packs == pictures.packs
    assert other.test.tolist() != pictures.test.tolist()


def test_a_folder_that_moves_keeps_its_cache(drawn: Path, cache_dir: Path, tmp_path: Path, pictures: Pictures) -> None:
    shutil.copytree(drawn, tmp_path / "moved")
    moved, record, lines = said(Settings(data=str(tmp_path / "moved"), image_sizes=(32,), cache_dir=str(cache_dir)))
    assert lines == []
    assert moved.digest == pictures.digest
    assert record["title"] == "moved"


def test_treatment_is_cached_by_its_steps(pictures: Pictures) -> None:
    steps = {"whitening": False, "auto_contrast": False, "equalize": False}
    plain = pictures.treated(32, "bilinear", threads=1, **steps)
    np.testing.assert_array_equal(plain, pictures.pixels(32))
    equal = pictures.treated(32, "bilinear", threads=1, **{**steps, "equalize": True})
    assert equal.shape == plain.shape
    assert (np.asarray(equal) != plain).any()
    again = pictures.treated(32, "bilinear", threads=2, **{**steps, "equalize": True})
    assert isinstance(equal, np.memmap)
    assert isinstance(again, np.memmap)
    assert equal.filename == again.filename


def test_copies_are_the_training_pictures_mirrored_and_turned(pictures: Pictures) -> None:
    steps = {"whitening": False, "auto_contrast": False, "equalize": False}
    copies = pictures.copies(32, "lanczos", transpose=True, rotation=10, threads=1, **steps)
    plain = pictures.pixels(32, "lanczos")[pictures.train]
    assert len(copies) == 4 * 60
    np.testing.assert_array_equal(copies[:60], plain)
    assert any((copies[60 * part : 60 * part + 60] == plain[:, :, ::-1]).all() for part in range(1, 4))


def test_every_shape_that_a_space_can_ask_for_is_packed() -> None:
    assert shapes_needed(Settings(image_sizes=(32, 64))) == [
        (32, "bilinear"),
        (32, "lanczos"),
        (64, "bilinear"),
        (64, "lanczos"),
    ]
    assert shapes_needed(Settings(image_sizes=(32,), families=("mobilenet",))) == [(32, "bilinear")]


def test_a_node_without_the_file_takes_it_from_ray(ray_cluster: None, tmp_path: Path, pictures: Pictures) -> None:
    import ray

    content = np.frombuffer(b"weights of a trunk", np.uint8)
    file = File(Path("/nowhere/on/this/node.h5"), "abc", ray.put(content))
    elsewhere = replace(pictures, cache=tmp_path)
    assert elsewhere.local(file).read_bytes() == b"weights of a trunk"
    assert elsewhere.local(file) == elsewhere.local(file)
    here = File(pictures.packs[32, "bilinear"].path, "abc")
    assert elsewhere.local(here) == here.path


def test_a_subset_is_named_by_its_rows_in_order() -> None:
    assert subset_digest("data", np.array([1, 2])) == subset_digest("data", np.array([1, 2]))
    names = {subset_digest("data", np.array(rows)) for rows in ([1, 2], [2, 1], [1], [])}
    assert len(names | {subset_digest("other", np.array([1, 2]))}) == 5


def test_labels_as_the_loss_takes_them() -> None:
    assert one_hot(np.array([2, 0]), 3).tolist() == [[0, 0, 1], [1, 0, 0]]


def test_a_folder_of_unreadable_pictures(tmp_path: Path) -> None:
    for name in ("cats", "dogs"):
        (tmp_path / name).mkdir()
        for number in range(5):
            (tmp_path / name / f"{number}.jpg").write_bytes(os.urandom(50))
    with pytest.raises(ValueError, match=r"none of the 10 in `.*` is one; the first of them, `cats/0.jpg`: not a"):
        said(Settings(data=str(tmp_path), image_sizes=(32,), cache_dir=str(tmp_path / "cache")))


@pytest.fixture(scope="module")
def leaking(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two breeds divided by their owner, who saved four training pictures again and copied one, all for test."""
    root = tmp_path_factory.mktemp("leaking") / "dogs"
    for breed in sorted(path for path in drawn.iterdir() if path.is_dir())[:2]:
        files = sorted(breed.iterdir())
        for side, part in (("train", files[:14]), ("val", files[14:17]), ("test", files[17:20])):
            (root / side / breed.name).mkdir(parents=True)
            for file in part:
                shutil.copy(file, root / side / breed.name)
        for file in files[:2]:
            with Image.open(file) as image:
                image.resize((64, 64)).save(root / "test" / breed.name / f"again-{file.name}", quality=85)
    shutil.copy(files[5], root / "test" / breed.name / "copy.jpg")
    return root


def test_training_pictures_that_copies_cost_are_said_aloud(leaking: Path, tmp_path: Path) -> None:
    settings = Settings(data=str(leaking), image_sizes=(32,), cache_dir=str(tmp_path), families=("mobilenet",))
    _, near, lines = said(settings)
    assert near["sizes"] == {"train": 23, "validation": 6, "test": 11}
    assert near["notes"][-1] == (
        "WARNING: 5 of 28 training pictures are left out, because the same or nearly the same picture is in validation "
        "or test; --duplicates exact keeps 4 of them, --duplicates off keeps all"
    )
    assert near["likeness"] == {"rule": "near", "doubted": 0}
    assert lines[-1].startswith(
        "duplicates: 5 groups of 10 pictures in all, each kept on one side of the split, the largest of 2: "
    )
    _, exact, lines = said(replace(settings, duplicates="exact"))
    assert exact["sizes"]["train"] == 27
    assert lines == [f"duplicates: 1 group of 2 pictures in all, {lines[0].split(' in all, ')[1]}"]
    assert exact["notes"][-1] == (
        "WARNING: 1 of 28 training pictures is left out, because the same picture is in validation or test; "
        "--duplicates off keeps all"
    )
    _, off, lines = said(replace(settings, duplicates="off"))
    assert (off["sizes"]["train"], off["duplicates"], lines) == (28, [], [])
    assert off["notes"] == [
        "WARNING: 1 picture of one side of the split is on another as well (--duplicates off), which flatters the "
        "results"
    ]


def test_a_part_under_a_camera_that_stands_still_is_divided(tmp_path: Path) -> None:
    root = tmp_path / "part"
    for number, image in enumerate(drawn_set("part", 40, seed=3)):
        folder = root / ("whole", "scratched")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        image.save(folder / f"{number}.png")
    settings = Settings(data=str(root), image_sizes=(32,), cache_dir=str(tmp_path), families=("mobilenet",))
    _, record, _ = said(settings)
    assert record["sizes"] == {"train": 26, "validation": 6, "test": 8}
    assert (record["duplicates"], record["notes"]) == ([], [])


def test_likeness_that_is_not_believed_is_said_aloud() -> None:
    everything = np.arange(30)
    (line,) = warnings_of(Likeness(everything, everything, 20), None, np.ones(30, np.bool_), "near")
    assert line.startswith("WARNING: 20 pictures of 30 look like copies of others, too many to be believed")
    assert "--duplicates exact" in line


def test_what_a_killed_driver_has_half_drawn_is_removed(tmp_path: Path) -> None:
    left = tmp_path / f".demo-{demo.VERSION}-abcd" / "n90000001-red_hound"
    left.mkdir(parents=True)
    (left / "n90000001_1.jpg").write_bytes(b"half")
    root, title, classes = locate(Settings(data=DEMO, cache_dir=str(tmp_path)), 2, lambda line: None)
    assert (title, classes) == ("the drawn demo set", None)
    assert sorted(path.name for path in tmp_path.iterdir()) == [root.name, f"{root.name}.lock"]


def noise(path: Path, seed: int, size: int = 40) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC).save(path)


def test_classes_of_too_few_distinct_pictures_are_left_out(tmp_path: Path) -> None:
    for label, name in enumerate(("cat", "dog")):
        for number in range(5):
            noise(tmp_path / "data" / name / f"{number}.png", 10 * label + number)
    for number in range(6):
        noise(tmp_path / "data" / "bird" / f"{number}.png", 100)
        (tmp_path / "data" / "ant").mkdir(exist_ok=True)
        (tmp_path / "data" / "ant" / f"{number}.png").write_bytes(b"no picture")
    settings = Settings(
        data=str(tmp_path / "data"),
        image_sizes=(16, 32),
        families=("scratch_keras",),
        cache_dir=str(tmp_path / "cache"),
    )
    with pytest.raises(
        ValueError, match=r"every class needs readable pictures, and `ant` of .* has none; .*`ant/0.png`:"
    ):
        prepare(settings, 2, lambda line: None)
    with pytest.raises(ValueError, match=r"got 1 in `bird` .*\n  note: left out by --exclude: `ant`"):
        prepare(replace(settings, exclude=("ant",), rare="refuse"), 2, lambda line: None)
    pictures, record, _ = said(replace(settings, min_pictures=3))
    assert pictures.classes == ("cat", "dog")
    assert sorted(name for side in ("train", "validation", "test") for name, _ in record[side]) == [
        *(f"{name}/{number}.png" for name in ("cat", "dog") for number in range(5)),
    ]
    assert {label for side in ("train", "validation", "test") for _, label in record[side]} == {0, 1}
    assert record["notes"] == [
        "classes with fewer than 3 pictures are left out by --min-pictures: `ant` (0), `bird` (1)",
    ]


def test_pictures_smaller_than_they_are_wanted_are_told(tmp_path: Path) -> None:
    for number in range(8):
        noise(tmp_path / "data" / "ab"[number % 2] / f"{number}.png", number, size=20 + number)
    settings = Settings(data=str(tmp_path / "data"), image_sizes=(16, 24), families=("scratch_keras",))
    settings = replace(settings, cache_dir=str(tmp_path / "cache"))
    assert said(settings)[1]["notes"] == [
        "4 of 8 pictures are smaller than 24 pixels, the largest of --image-sizes, and are enlarged there: "
        "their shorter sides are of 20 to 23 pixels",
    ]
    assert said(replace(settings, image_sizes=(16, 20)))[1]["notes"] == []


def test_pictures_of_14_bits_have_one_range_that_is_said_and_kept(tmp_path: Path) -> None:
    chance = np.random.default_rng(5)
    for number in range(24):
        path = tmp_path / "scans" / f"class-{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(chance.integers(0, 4_000 + 500 * number, (40, 40)).astype(np.uint16)).save(path)
    settings = Settings(data=str(tmp_path / "scans"), image_sizes=(32,), cache_dir=str(tmp_path / "cache"))
    pictures, record, _ = said(settings)
    assert record["levels"] == {"integer": [0.0, 16_383.0]}
    (note,) = (note for note in record["notes"] if "8 bits" in note)
    assert note.startswith("24 pictures have more than 8 bits a channel (integer levels, 0 to 15,")
    assert note.endswith("): in all of them 0 is black and 16,383 is white")
    # The same again from the cache, and for other sizes, whose pixels are decoded anew.
    _, again, lines = said(replace(settings, image_sizes=(32, 40)))
    assert (again, lines) == (record, ["decoding 24 pictures"])
    # What the lines of the model's card make of a file is what a prediction and the training see.
    (tmp_path / "split.json").write_text(json.dumps(record))
    name, _ = record["test"][0]
    read = pixels_of(tmp_path / "scans" / name, scale_of(tmp_path))
    assert 60 < read.mean() < 120
    lines_of_card = [
        line.replace("picture.png", str(tmp_path / "scans" / name)) for line in loading("", record["levels"])
    ]
    told: dict[str, Any] = {"Image": Image, "np": np}
    exec("\n".join(line for line in lines_of_card if line.startswith("picture")), told)
    assert (told["picture"] == read).all()
    row = int(pictures.test[0])
    packed = np.asarray(fit_square(Image.fromarray(read), 32, "bilinear"))
    assert (pictures.pixels(32)[row] == packed).all()


def test_a_run_from_before_levels_were_measured_is_not_resumed_with_other_pixels(tmp_path: Path) -> None:
    split: dict[str, Any] = {"digest": "1", "classes": [], "train": [], "validation": [], "test": []}
    (tmp_path / "split.json").write_text(json.dumps(split))
    check_same_data(tmp_path / "split.json", {**split, "levels": {}})
    with pytest.raises(ValueError, match=r"the levels None of .* they are \{'integer': \[0, 4095\]\} now"):
        check_same_data(tmp_path / "split.json", {**split, "levels": {"integer": [0, 4095]}})
