from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search.data.pictures import prepare
from search.explore import measure
from search.parsing import options
from search.settings import Settings
from search.starting import begun


def drawn(root: Path, counts: dict[str, int], seed: int = 0) -> None:
    random = np.random.default_rng([seed, *map(ord, "".join(counts))])
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            coarse = random.integers(0, 256, (6, 6, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize((40, 40), Image.Resampling.BICUBIC).save(root / name / f"{number}.png")


@pytest.fixture
def pets(tmp_path: Path) -> Settings:
    drawn(tmp_path / "pets", {"cat": 5, "dog": 5, "newt": 2})
    return over(tmp_path / "pets")


def over(root: Path) -> Settings:
    cache = str(root.parent / "cache")
    return Settings(data=str(root), image_sizes=(32,), families=("scratch_keras",), cache_dir=cache)


def classes_on(record: dict[str, list[tuple[str, int]]]) -> list[list[str]]:
    return [sorted({name.split("/")[-2] for name, _ in record[side]}) for side in ("train", "validation", "test")]


NEWT = (
    "a class with too few distinct readable pictures for train, validation and test is left out: `newt` (2); "
    "add pictures, or put its pictures into the folder of another class, to have them searched (--rare refuse "
    "stops instead)"
)


def test_a_rare_class_is_left_out_by_name_and_count(pets: Settings) -> None:
    pictures, record = prepare(pets, 1, lambda line: None)
    assert pictures.classes == ("cat", "dog")
    assert classes_on(record) == [["cat", "dog"]] * 3
    assert record["notes"] == [NEWT]


def test_the_page_about_the_data_says_so_as_the_guide_does(pets: Settings) -> None:
    record = measure(pets, 1, lambda line: None)
    assert (record["notes"], record["obstacle"]) == ([NEWT], "")
    assert [entry["class"] for entry in record["classes"]] == ["cat", "dog"]
    guide = Path(__file__).parents[1] / "docs" / "guide" / "data.md"
    assert f"```text\n{NEWT}\n```" in guide.read_text(encoding="utf-8")


@pytest.mark.parametrize("rare", ["keep", "refuse"])
def test_who_wants_no_class_dropped_is_told_what_is_possible(pets: Settings, rare: str) -> None:
    possible = r"got 2 in `newt`: add pictures, put these into another class, or leave the class out with --rare drop$"
    with pytest.raises(ValueError, match=possible):
        prepare(replace(pets, rare=rare), 1, lambda line: None)


def test_small_classes_are_dropped_kept_or_refused_below_min_pictures(tmp_path: Path) -> None:
    drawn(tmp_path / "birds", {"auk": 6, "emu": 3, "jay": 7})
    settings = replace(over(tmp_path / "birds"), min_pictures=5)
    assert prepare(settings, 1, lambda line: None)[0].classes == ("auk", "jay")
    _, record = prepare(replace(settings, rare="keep"), 1, lambda line: None)
    assert classes_on(record) == [["auk", "emu", "jay"]] * 3
    assert record["notes"] == [
        "classes with fewer than 5 pictures are kept by --rare keep, with at least one picture on every side: "
        "`emu` (3); a score on so few says little of them"
    ]
    with pytest.raises(ValueError, match=r"needs at least 5 .* got `emu` \(3\): .* --exclude emu, or"):
        prepare(replace(settings, rare="refuse"), 1, lambda line: None)


def test_two_classes_have_to_be_left(tmp_path: Path) -> None:
    drawn(tmp_path / "pets", {"cat": 5, "dog": 1, "newt": 2})
    with pytest.raises(ValueError, match=r"--rare drop leaves 1 of 3 classes, and 2 are needed: .*another class$"):
        prepare(over(tmp_path / "pets"), 1, lambda line: None)


def split(root: Path, emus: int) -> Settings:
    drawn(root / "train", {"auk": 6, "emu": emus, "jay": 6})
    drawn(root / "test", {"auk": 3, "jay": 3})
    return over(root)


def test_a_handful_that_a_side_of_split_data_lacks_is_left_out(tmp_path: Path) -> None:
    settings = split(tmp_path / "birds", 4)
    pictures, record = prepare(settings, 1, lambda line: None)
    assert pictures.classes == ("auk", "jay")
    assert classes_on(record) == [["auk", "jay"]] * 3
    assert any("left out: `emu` (4)" in note for note in record["notes"])
    with pytest.raises(ValueError, match=r"`test/` of .* has none of `emu`"):
        prepare(replace(settings, rare="refuse"), 1, lambda line: None)


def test_a_large_class_that_a_side_lacks_is_no_rare_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`test/` of .* has none of `emu`"):
        prepare(split(tmp_path / "birds", 10), 1, lambda line: None)


def test_the_command_line_takes_it() -> None:
    assert begun(options(["demo", "--rare", "keep"])).rare == "keep"
