"""One set of pictures in every layout: the same classes, the same pixels, the same split."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from layouts import LAYOUTS, SPELLINGS, csv, drawn, folder, laid, prepared, side_of, sides, zipped
from PIL import Image

from search.data.source import here
from search.parsing import options
from search.settings import Settings
from search.starting import begun


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    record: dict[str, Any] = prepared(tmp_path_factory.mktemp("cache"), folder(tmp_path_factory.mktemp("pets")))
    return record


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
def test_a_layout_gives_the_same_classes_pixels_and_split(
    tmp_path: Path, layout: Callable[[Path], dict[str, Any]], expected: dict[str, Any]
) -> None:
    record = prepared(tmp_path / "cache", layout(tmp_path))
    assert record["classes"] == ["corgi", "pug", "siamese", "sphynx"]
    assert record["pixels"] == expected["pixels"]
    assert sides(record) == sides(expected)
    assert list(map(len, sides(record))) == [16, 4, 4]


@pytest.mark.parametrize("spelling", SPELLINGS, ids=lambda spelling: spelling[0])
def test_a_split_folder_gives_the_same_classes_and_pixels(
    tmp_path: Path, spelling: tuple[str, ...], expected: dict[str, Any]
) -> None:
    root = laid(tmp_path / "pets", lambda name, _, breed: f"{spelling[side_of(name)]}/{breed}/{name}")
    record = prepared(tmp_path / "cache", {"data": root})
    assert (record["classes"], record["pixels"]) == (expected["classes"], expected["pixels"])
    assert [{int(name[-1]) for name, _ in side} for side in sides(record)] == [{0, 1}, {2, 3}, {4, 5}]
    # A table that says the same gives the same sides.
    header, flat = "id,class,subset\n", laid(tmp_path / "flat", lambda name, *_: name)
    rows = "".join(f"{name},{breed},{spelling[side_of(name)]}\n" for name, (_, breed, _) in drawn().items())
    (flat / "pets.csv").write_text(header + rows)
    assert sides(prepared(tmp_path / "cache", {"data": flat / "pets.csv"})) == sides(record)


def test_an_archive_and_its_folder_are_the_same_data(tmp_path: Path) -> None:
    archive = zipped(tmp_path)
    records = [prepared(tmp_path / "cache", given) for given in (archive, {"data": tmp_path / "pets"})]
    assert records[0]["digest"] == records[1]["digest"]
    assert records[0]["train"] == records[1]["train"]


def test_paths_of_folders_are_classes(tmp_path: Path) -> None:
    def place(name: str, species: str, breed: str) -> str:
        return f"{species}/{'house' if breed in ('pug', 'sphynx') else f'n02085936-big_{breed}'}/{name}"

    given = {"data": laid(tmp_path / "pets", place), "label_from": "path"}
    assert prepared(tmp_path / "cache", given)["classes"] == [
        "cat/big siamese",
        "cat/house",
        "dog/big corgi",
        "dog/house",
    ]
    joined = prepared(tmp_path / "cache", given | {"label_from": "parent"})
    assert joined["classes"] == ["big corgi", "big siamese", "house"]
    assert joined["notes"][0] == "`house` is a folder of `cat`, `dog`: one class; --label-from path keeps them apart"


def test_sides_beside_a_pattern(tmp_path: Path) -> None:
    root = laid(tmp_path / "pets", lambda name, *_: f"{SPELLINGS[1][side_of(name)]}/{name}")
    Image.new("RGB", (16, 16)).save(root / "Testing" / "7.png")
    record = prepared(tmp_path / "cache", {"data": root, "label_pattern": r"(?P<label>[a-z]+)_([a-z]+)_"})
    assert record["classes"] == ["cat", "dog"]
    assert record["sizes"] == {"train": 8, "validation": 8, "test": 8}
    assert record["notes"][0] == (
        "not used: 1 file in whose name --label-pattern finds no class, first `Testing/7.png`"
    )
    assert record["left_out"] == [{"name": "Testing/7.png", "reason": "--label-pattern finds no class in its name"}]
    by_path = prepared(tmp_path / "cache", {"data": root, "label_pattern": r"/[a-z]+_([a-z]+)_"})
    assert by_path["classes"] == ["corgi", "pug", "siamese", "sphynx"]
    with pytest.raises(ValueError, match=r"and `\(\[A-Z\]\+\)-` finds none in those of `.*`, first `Testing/7.png`"):
        prepared(tmp_path / "cache", {"data": root, "label_pattern": "([A-Z]+)-"})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"label_pattern": "([a-z"}, r"`label_pattern` needs a regular expression, got '\(\[a-z': unterminated"),
        ({"label_pattern": "[a-z]+"}, r"`label_pattern` needs a regular expression with a group that is the class"),
        ({"label_pattern": "(a)", "label_from": "path"}, r"`label_pattern` needs no label_from beside it, got 'path'"),
        ({"label_pattern": "(a)", "group_column": "g"}, r"needs no table beside it, .*, got 'group_column'"),
    ],
)
def test_a_pattern_that_cannot_be_one(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Settings(data="pets", **given)


def test_groups_stay_together_and_are_told(tmp_path: Path) -> None:
    given = csv(tmp_path)
    rows = "".join(f"{name},{breed},{name[-1]}\n" for name, (_, breed, _) in drawn().items())
    given["data"].write_text(f"id,breed,session\n{rows}")
    record = prepared(tmp_path / "cache", given)
    on = [{name[-1] for name, _ in side} for side in sides(record)]
    assert sum(map(len, on)) == len(set.union(*on)) == 6
    assert record["notes"][1].startswith("the groups are those of column `session` of `pets.csv`: 6, each kept on one")
    apart = prepared(tmp_path / "cache", given | {"group_column": "none"})
    assert apart["pixels"] == record["pixels"]
    assert [len(side) for side in sides(apart)] == [16, 4, 4]


def test_named_columns_need_a_table(tmp_path: Path) -> None:
    given = folder(tmp_path)
    with pytest.raises(
        ValueError, match=r"a named column needs a table of labels .*, and none of `.*pets` can be read"
    ):
        prepared(tmp_path / "cache", given | {"label_column": "breed"})
    with pytest.raises(
        FileNotFoundError, match=r"--images needs a folder of pictures or an archive of one, and there is"
    ):
        prepared(tmp_path / "cache", given | {"images": tmp_path / "gone"})
    with pytest.raises(
        ValueError, match=r"--label-from parent needs a folder of pictures, and `.*pets.csv` is a table"
    ):
        prepared(tmp_path / "cache", csv(tmp_path / "more") | {"label_from": "parent"})


def test_the_settings_keep_whole_paths_and_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = begun(options(["pets.csv", "--images", "photos.zip", "--group-column", "camera"]))
    assert (settings.data, settings.images) == (str(tmp_path / "pets.csv"), str(tmp_path / "photos.zip"))
    assert settings.group_column == "camera"
    remote = begun(options(["https://example.org/a/pets.zip?key=1", "--name", ""]))
    assert remote.data == "https://example.org/a/pets.zip?key=1"
    assert remote.name.startswith("pets-zip-2")
    assert Settings.from_json(settings.to_json()) == settings


def test_a_folder_is_where_it_is(tmp_path: Path) -> None:
    assert here(str(tmp_path), tmp_path / "cache", print) == tmp_path
    assert not (tmp_path / "cache").exists()
