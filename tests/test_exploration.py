import base64
import json
import re
import shutil
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from results import write_report
from results.drawing.svg import bins, ticks
from results.pages.exploration import data_page, headline, remarks, write_exploration
from search.commands import main

ODD = "<script>alert(1)</script> Ünï"


@pytest.fixture(scope="module")
def folder(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes: one of plain colour, one of drawn dogs with a copy and a broken file, one with an odd name."""
    place = tmp_path_factory.mktemp("odd") / "pictures"
    first, second, *_ = sorted(path for path in drawn.iterdir() if path.is_dir())
    shutil.copytree(first, place / "dogs")
    shutil.copytree(second, place / ODD.replace("/", "\N{DIVISION SLASH}"))
    files = sorted((place / "dogs").iterdir())
    shutil.copy(files[0], place / "dogs" / "zz-copy.jpg")
    (place / "dogs" / "broken.jpg").write_text("no picture")
    (place / "plain").mkdir()
    for number in range(6):
        Image.new("RGB", (60 + 20 * number, 60), (200, 100, 40 + number)).save(place / "plain" / f"{number}.png")
    return place


@pytest.fixture(scope="module")
def explored(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `pedigree explore` wrote."""
    runs = tmp_path_factory.mktemp("runs")
    arguments = ["explore", str(folder), "--runs-dir", str(runs), "--cache-dir", str(runs / "cache")]
    assert main([*arguments, "--image-sizes", "64"]) == 0
    return runs / "data-pictures"


@pytest.fixture(scope="module")
def record(explored: Path) -> dict[str, Any]:
    found = json.loads((explored / "exploration.json").read_text())
    assert isinstance(found, dict)
    return found


def test_the_numbers_of_plain_pictures(record: dict[str, Any]) -> None:
    plain = next(entry for entry in record["classes"] if entry["class"] == "plain")
    assert plain["pictures"] == 6
    assert plain["mean"] == [200.0, 100.0, 42.5]
    assert plain["brightness"] == pytest.approx(342.5 / 3, abs=0.05)
    assert plain["contrast"] == 0.0
    assert plain["width"] == [60, 85, 110, 135, 160]
    assert plain["height"] == [60, 60, 60, 60, 60]


def test_copies_and_broken_files_are_named(record: dict[str, Any]) -> None:
    assert record["left_out"] == [
        {"name": "dogs/broken.jpg", "reason": "not a picture in a format that Pillow reads"},
    ]
    dogs = next(entry for entry in record["classes"] if entry["class"] == "dogs")
    assert (dogs["pictures"], dogs["unreadable"]) == (25, 1)
    group = next(group for group in record["duplicates"]["shown"] if "dogs/zz-copy.jpg" in group["names"])
    assert group["identical"] is True
    assert len(group["names"]) >= 2
    assert record["pictures"] == 55
    duplicates = record["duplicates"]
    assert (duplicates["rule"], duplicates["largest"]) == ("near", group["pictures"])
    assert duplicates["identical"] >= 1


def test_each_treatment_is_shown_with_its_own_histogram(record: dict[str, Any]) -> None:
    versions = record["treated"][0]["versions"]
    assert [version["name"] for version in versions] == [
        *("as it is", "auto contrast", "equalize", "whitening", "all three", "mirrored (transpose)"),
        *("turned by 15 degrees", "resized by Lanczos"),
    ]
    for version in versions:
        assert Image.open(BytesIO(base64.b64decode(version["picture"]))).size == (128, 128)
        assert [sum(channel) for channel in version["levels"]] == pytest.approx([1, 1, 1], abs=1e-3)
    plain, mirrored = (np.array(versions[place]["levels"]) for place in (0, 5))
    np.testing.assert_array_equal(plain, mirrored)
    stretched = np.array(versions[1]["levels"])
    assert (stretched[:, 0] > 0).all()
    assert (stretched[:, -1] > 0).all()


def test_the_page_is_whole_and_names_are_text(explored: Path) -> None:
    page = (explored / "data.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", page)
    assert "55 pictures of 3 classes; 1 file left out" in page
    assert "Uneven classes: plain has less than a third" in page
    for heading in ("Classes", "Sizes", "Colours", "Samples", "Near-duplicates", "Files left out", "Treatments"):
        assert f">{heading}</h2>" in page
    assert len(page) < 1_000_000


def test_the_report_links_to_the_page_in_its_folder(explored: Path, tmp_path: Path) -> None:
    (tmp_path / "trials.jsonl").touch()
    (tmp_path / "split.json").write_text('{"classes": ["a"], "train": [], "validation": [], "test": []}')
    assert 'href="data.html"' not in write_report(tmp_path).read_text(encoding="utf-8")
    shutil.copy(explored / "exploration.json", tmp_path)
    write_exploration(tmp_path)
    assert '<a href="data.html">The pictures explored</a>' in write_report(tmp_path).read_text(encoding="utf-8")


def test_a_folder_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["explore", str(tmp_path / "no"), "--runs-dir", str(tmp_path / "runs"), "--cache-dir", str(tmp_path)]
    assert main(arguments) == 2
    assert "there is nothing at" in capsys.readouterr().err
    with pytest.raises(FileNotFoundError, match=r"^needs the record of an exploration, got no file at `"):
        write_exploration(tmp_path)


def test_remarks_by_hand() -> None:
    record: dict[str, Any] = {
        **{"notes": [], "pictures": 400, "small": 40, "largest_size": 224, "left_out": []},
        "classes": [{"class": "a", "pictures": 300}, {"class": "b", "pictures": 100}],
        "duplicates": {"groups": 1, "shown": [{"classes": ["a", "b"]}]},
    }
    assert headline(record) == "400 pictures of 2 classes; 0 files left out, 1 group of near-duplicates."
    few, mixed = remarks(record)
    assert few.startswith("40 pictures (10.0 %) have a shorter side below 224 pixels")
    assert mixed == "1 group of near-duplicates mix classes: a label is wrong, or both hold."


def test_what_a_search_would_refuse_is_foreseen(
    drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for breed in [path for path in sorted(drawn.iterdir()) if path.is_dir()][:2]:
        for file in sorted(breed.iterdir())[:6]:
            (tmp_path / "dogs" / breed.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(file, tmp_path / "dogs" / breed.name)
    (tmp_path / "dogs" / "rare").mkdir()
    shutil.copy(file, tmp_path / "dogs" / "rare" / "alone.jpg")
    with Image.open(file) as image:
        image.rotate(90).save(tmp_path / "dogs" / "rare" / "turned.jpg")
    arguments = ["explore", str(tmp_path / "dogs"), "--runs-dir", str(tmp_path / "runs"), "--cache-dir", str(tmp_path)]
    assert main([*arguments, "--image-sizes", "48", "--rare", "refuse"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "a search of this data would be refused: needs at least 3 distinct readable pictures a class" in said
    record = json.loads((tmp_path / "runs" / "data-dogs" / "exploration.json").read_text())
    assert "in `rare`" in record["obstacle"]
    assert remarks(record)[0] == f"A search of this data is refused: {record['obstacle']}."
    assert main([*arguments, "--image-sizes", "48", "--min-pictures", "3"]) == 0
    record = json.loads((tmp_path / "runs" / "data-dogs" / "exploration.json").read_text())
    assert (record["obstacle"], len(record["classes"])) == ("", 2)


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        ("near", "No two pictures are nearly the same."),
        ("exact", "No picture is there twice; near-duplicates were not looked for (--duplicates exact)."),
        ("off", "Copies were not looked for (--duplicates off)."),
    ],
)
def test_the_page_says_what_was_looked_for(record: dict[str, Any], rule: str, sentence: str) -> None:
    nothing = {"rule": rule, "groups": 0, "pictures": 0, "shown": []}
    assert f"<p>{sentence}</p>" in data_page({**record, "duplicates": nothing})


def test_the_largest_group_comes_first(record: dict[str, Any]) -> None:
    shown = record["duplicates"]["shown"]
    assert shown[0]["pictures"] == max(group["pictures"] for group in shown)
    assert f", the largest of {shown[0]['pictures']}; the same pixels in " in data_page(record)


def test_bins_and_ticks_by_hand() -> None:
    assert ticks(0, 100) == [0, 20, 40, 60, 80, 100]
    assert ticks(0, 0.65) == [0, 0.2, 0.4, 0.6]
    assert bins([1.0, 1.0, 2.0, 3.9], most=3) == [(1.0, 2.0, 2), (2.0, 3.0, 1), (3.0, 4.0, 1)]
    assert bins([5.0, 5.0]) == [(5.0, 6.0, 2)]
    assert bins([]) == []
