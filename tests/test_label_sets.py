"""Tables of several labels a picture: what is understood, what is kept, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from search.data.drawn_labels import LABELS, draw, main, write
from search.data.folder import read_folder
from search.data.label_sets import packed, read, unpacked
from search.data.pictures import prepare
from search.data.table import Columns, match, read_table
from search.parsing import options
from search.settings import Settings
from search.starting import begun

NAMES = [f"{number}.png" for number in range(12)]
SETS = ["ears;tail", "tail", "", "coat;ears", "coat", "ears", "coat;tail;ears", "", "tail;coat", "ears", "coat", "tail"]


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def table_of(folder: Path, sets: list[str], header: str = "image,labels") -> Path:
    rows = "".join(f'{name},"{labels}"\n' for name, labels in zip(NAMES, sets, strict=False))
    return written(folder / "t.csv", f"{header}\n{rows}")


def sets_of(table: Path, columns: Columns | None = None) -> dict[str, Any]:
    return {name: unpacked(text) for name, text in match(read_table(table, columns), NAMES).classes.items()}


def pictures(folder: Path, count: int = 12) -> None:
    random = np.random.default_rng(0)
    for name in NAMES[:count]:
        Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(folder / name)


def test_a_set_is_the_same_in_any_order_and_none_is_one() -> None:
    assert packed(["tail", "ears", "tail"]) == packed(["ears", "tail"])
    assert unpacked(packed(["tail", "ears"])) == ("ears", "tail")
    assert (unpacked(packed([])), unpacked("ears"), unpacked("")) == ((), None, None)
    assert [read(text) for text in (packed(["tail", "ears"]), packed([]), "pug")] == ["ears; tail", "no label", "pug"]


@pytest.mark.parametrize("sign", [";", "|"])
def test_signs_are_found(tmp_path: Path, sign: str) -> None:
    table = table_of(tmp_path, [labels.replace(";", f" {sign} ") for labels in SETS])
    assert sets_of(table) == {
        name: tuple(sorted(filter(None, labels.split(";")))) for name, labels in zip(NAMES, SETS, strict=True)
    }
    assert match(read_table(table), NAMES).notes[0] == (
        "the labels are those of `t.csv`, for the pictures that its column `image` names: 12 pictures with 0 to 3 of 3 "
        f"labels (column `labels`, split at `{sign}`): 2 with none, 6 with one, 4 with several"
    )


def test_any_text_between_labels_is_named(tmp_path: Path) -> None:
    table = table_of(tmp_path, ["ears, tail", "tail", "ears / tail"])
    assert sets_of(table, Columns(separator=","))["0.png"] == ("ears", "tail")
    assert sets_of(table, Columns(separator=" / "))["2.png"] == ("ears", "tail")
    with pytest.raises(ValueError, match=r"has several in line 2: `ears, tail`; .* --label-separator says what stands"):
        sets_of(table)


def test_a_sign_inside_of_names_makes_no_labels(tmp_path: Path) -> None:
    found = match(read_table(table_of(tmp_path, ["cat; tame", "dog", "dog", "cat; tame"])), NAMES)
    assert set(found.classes.values()) == {"cat; tame", "dog"}


def test_one_hot_columns_of_which_some_row_has_several(tmp_path: Path) -> None:
    text = "image,ears,coat,tail,split,group\n0,1,0,1,train,0\n1,0,0,0,val,1\n2,0,1.0,0,test,1\n3,1,true,0,train,0\n"
    found = match(read_table(written(tmp_path / "t.csv", text)), NAMES)
    assert [unpacked(text) for text in found.classes.values()] == [("ears", "tail"), (), ("coat",), ("coat", "ears")]
    assert found.sides == {"0.png": "train", "1.png": "validation", "2.png": "test", "3.png": "train"}
    assert found.groups["0.png"] == "0"
    assert "4 pictures with 0 to 2 of 3 labels (0/1 columns `ears`, `coat`, `tail`): 1 with none" in found.notes[0]


def test_exclusive_columns_are_classes_unless_they_are_named(tmp_path: Path) -> None:
    table = written(tmp_path / "t.csv", "image,ears,coat,tail\n0,1,0,0\n1,0,1,0\n2,0,0,1\n3,0,0,0\n")
    single = match(read_table(table), NAMES)
    assert single.classes == {"0.png": "ears", "1.png": "coat", "2.png": "tail"}
    assert "1 row of `t.csv` without a label" in single.notes[1]
    named = sets_of(table, Columns(labels=("ears", "tail")))
    assert named == {"0.png": ("ears",), "1.png": (), "2.png": ("tail",), "3.png": ()}


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        (
            "image,ears,coat\n0,1,1\n1,0,2\n2,1,0\n",
            Columns(labels=("ears", "coat")),
            "needs 0 or 1 in the columns that are labels, got `2` in line 3 of `.*t.csv`, column `coat`",
        ),
        (
            "image,ears,coat,tail\n0,1,1,0\n1,0,1,0\n2,1,0,yes\n",
            None,
            "needs 0 or 1 in the columns that are labels, got `yes` in line 4 of `.*t.csv`, column `tail`; --label-col",
        ),
        (
            "image,ears,coat\n0,1,0\n1,1,\n",
            Columns(labels=("ears", "coat")),
            "got `` in line 3 of `.*t.csv`, column `coat`",
        ),
        (
            "image,ears,coat,tail\n0,1,1,0\n1,0,1,0\n",
            None,
            "needs a 1 in every column that is a label, and column `tail` of `.*t.csv` has none",
        ),
        (
            "image,ears,coat\n0,1,0\n1,0,1\n",
            Columns(labels=("ears", "fur")),
            "--label-columns needs the name of a column, got `fur`, and `.*t.csv` has the columns `image`, `ears`",
        ),
        (
            "image,labels\n0,a;b\n1,a\n2,c|d\n3,c\n",
            None,
            r"needs one sign between the labels of a picture, and column `labels` of `.*t.csv` has `;` in line 2 "
            r"\(`a;b`\) and `\|` in line 4 \(`c\|d`\): --label-separator says which",
        ),
        (
            "image,labels\n0,0.5;1\n1,1\n2,0.25;0.5\n",
            None,
            "needs classes, and column `labels` of `.*` has numbers, such as `0.5` in line 2: values to be estimated",
        ),
        (
            "image,labels\n0,a;b\n0,a\n1,b\n1,a;b\n",
            None,
            "needs one row with all its labels a picture, and .* most pictures several, first `0.png`: `a; b`, `a`",
        ),
    ],
)
def test_tables_that_give_no_labels(tmp_path: Path, text: str, columns: Columns | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        match(read_table(written(tmp_path / "t.csv", text), columns), NAMES)


def test_rows_that_differ_are_left_out_and_empty_cells_are_not(tmp_path: Path) -> None:
    text = "image,labels\n0,a;b\n0,b;a\n1,a\n1,b\n2,\n3,b\n4,a\n9.jpg,a\n"
    found = match(read_table(written(tmp_path / "t.csv", text)), NAMES[:5])
    assert {name: unpacked(text) for name, text in found.classes.items()} == {
        "0.png": ("a", "b"), "2.png": (), "3.png": ("b",), "4.png": ("a",)
    }  # fmt: skip
    assert found.left_out == {"1.png": "`t.csv` gives it 2 sets of labels, `a`, `b`"}
    assert "counted once: 1 row of `t.csv` like an earlier one" in found.notes


def test_a_folder_of_sets(tmp_path: Path) -> None:
    pictures(tmp_path)
    table = table_of(tmp_path, [labels.replace("ears", "n01234567-big_ears") for labels in SETS])
    folder = read_folder(table)
    assert (folder.classes, folder.multilabel, len(folder.pictures)) == (("big ears", "coat", "tail"), True, 12)
    assert {found.name: found.labels for found in folder.pictures}["6.png"] == (0, 1, 2)
    assert [folder.of(found) for found in folder.pictures if found.name in ("2.png", "3.png")] == [
        "big ears; coat",
        "no label",
    ]
    # The folder finds the table that lies in it, and the digest follows the labels.
    assert read_folder(tmp_path).digest == folder.digest
    table_of(tmp_path, [*SETS[:-1], "coat"])
    assert read_folder(table).digest != folder.digest


def test_labels_are_left_out_and_their_pictures_stay(tmp_path: Path) -> None:
    pictures(tmp_path)
    table = table_of(tmp_path, [*SETS[:11], "tail;fur"])
    less = read_folder(table, exclude=["coat"])
    assert (less.classes, len(less.pictures)) == (("ears", "fur", "tail"), 12)
    assert "labels left out by --exclude, their pictures kept: `coat`" in less.notes
    few = read_folder(table, min_pictures=2)
    assert few.classes == ("coat", "ears", "tail")
    assert (
        few.notes[-1]
        == "labels on fewer than 2 pictures are left out by --min-pictures, their pictures kept: `fur` (1)"
    )
    assert read_folder(table, 2).classes == ("coat", "ears")
    assert read_folder(table, 2).notes[-1] == "the 2 best-represented of 4 labels are kept"
    with pytest.raises(
        ValueError, match=r"--exclude needs names of labels, got `paws` for .* has `coat`, `ears`, `fur`"
    ):
        read_folder(table, exclude=["paws"])
    with pytest.raises(ValueError, match=r"needs 2 labels or more, got 1 \(`tail`\) in the table of"):
        read_folder(table, exclude=["coat", "ears", "fur"])
    with pytest.raises(ValueError, match=r"--label-separator needs a text that stands between labels, got `/`, and no"):
        read_folder(table_of(tmp_path, ["a", "b", "a"]), columns=Columns(separator="/"))


def test_tables_of_sides_agree_on_what_they_tell(tmp_path: Path) -> None:
    pictures(tmp_path, 9)
    for side, rows in (("train", ["a;b", "a", "b", "", "a;b"]), ("val", ["a", "b"]), ("test", ["b", "a"])):
        first = {"train": 0, "val": 5, "test": 7}[side]
        text = "".join(f"{first + number},{labels}\n" for number, labels in enumerate(rows))
        written(tmp_path / f"{side}.csv", f"image,labels\n{text}")
    with pytest.raises(ValueError, match=r"needs tables that agree, and some of .* --label-separator says that all"):
        read_folder(tmp_path)
    folder = read_folder(tmp_path, columns=Columns(separator=";"))
    assert (folder.multilabel, folder.presplit, len(folder.pictures)) == (True, True, 9)


def prepared(folder: Path, table: Path, **values: Any) -> dict[str, Any]:
    settings = Settings(data=str(table), image_sizes=(16,), families=("scratch_keras",),
                        cache_dir=str(folder / "cache"), **values)  # fmt: skip
    return prepare(settings, 1, lambda line: None)[1]


def test_the_record_lists_all_labels_of_a_picture(tmp_path: Path) -> None:
    pictures(tmp_path)
    record = prepared(tmp_path, table_of(tmp_path, SETS))
    assert (record["multilabel"], record["classes"]) == (True, ["coat", "ears", "tail"])
    told = {name: labels for side in ("train", "validation", "test") for name, labels in record[side]}
    assert (told["0.png"], told["2.png"], told["6.png"]) == ([1, 2], [], [0, 1, 2])
    assert len(told) == sum(record["sizes"].values()) == 12


@pytest.mark.parametrize(
    ("sets", "values", "message"),
    [
        (
            [f"{one};fur" if one else "fur" for one in SETS],
            {},
            "of the 12 readable pictures of `.*` every one has it: `fur`",
        ),
        ([*SETS[:10], "wet;tail", "wet"], {}, r"has none with `wet` \(2\), pictures on all sides .* --exclude wet"),
        (SETS, {"metric": "auc"}, r"--metric needs one of map, macro_f1 \(mAP is the default\), .* got auc"),
        (SETS, {"rare": "keep"}, "--rare needs to be left out: --min-pictures leaves out rare labels, .* got keep"),
        (SETS, {"ensemble": 2}, "--ensemble needs to be 0: models of several labels are not averaged"),
    ],
)
def test_what_is_refused_before_a_search(tmp_path: Path, sets: list[str], values: dict[str, Any], message: str) -> None:
    pictures(tmp_path)
    with pytest.raises(ValueError, match=message):
        prepared(tmp_path, table_of(tmp_path, sets), **values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"label_columns": ("ears",)}, "`label_columns` needs two columns of 0 and 1 or more, .* got"),
        ({"label_columns": ("a", "a")}, "`label_columns` needs each column once"),
        ({"label_columns": ("a", "b"), "label_column": "c"}, "`label_columns` needs no label_column and no label_sep"),
        ({"label_columns": ("a", "b"), "label_separator": ";"}, "`label_columns` needs no label_column and no label"),
        ({"label_pattern": "(a)", "label_separator": ";"}, "`label_pattern` needs no table beside it"),
    ],
)
def test_settings_that_leave_it_open_where_labels_stand(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Settings(**values)


def test_the_options_reach_the_settings() -> None:
    given = begun(options(["t.csv", "--label-columns", "ears,coat", "--label-columns", "tail", "--name", "a"]))
    assert given.label_columns == ("ears", "coat", "tail")
    assert begun(options(["t.csv", "--label-separator", "|", "--name", "a"])).label_separator == "|"


def test_a_drawn_set_is_the_same_in_both_kinds_of_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = write(tmp_path / "one", 20, 16, seed=3)
    assert main([str(tmp_path / "two"), "--pictures", "20", "--size", "16", "--seed", "3", "--columns"]) == 0
    second = Path(capsys.readouterr().out.strip())
    expected = [labels for _, labels in draw(20, 16, 3)]
    for table in (first, second):
        folder = read_folder(table)
        assert folder.classes == LABELS
        assert [tuple(LABELS[label] for label in found.labels or ()) for found in sorted(
            folder.pictures, key=lambda found: found.name)] == expected  # fmt: skip
    assert {len(labels) for labels in expected} >= {0, 1, 2}
    assert main([str(tmp_path / "one")]) == 2
    assert "needs a new folder for a drawn set" in capsys.readouterr().err


def test_lists_of_typed_tables_are_sets_whatever_they_hold(tmp_path: Path) -> None:
    lists = [["a", "b"], ["c"], [], ["d", "e;f"]]
    lines = "".join(json.dumps({"file": name, "label": one}) + "\n" for name, one in zip(NAMES, lists, strict=False))
    found = match(read_table(written(tmp_path / "t.jsonl", lines)), NAMES)
    assert [unpacked(text) for text in found.classes.values()] == [("a", "b"), ("c",), (), ("d", "e;f")]
    assert "4 pictures with 0 to 2 of 5 labels (lists in column `label`): 1 with none" in found.notes[0]
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pytest.importorskip("pyarrow").table({"file": NAMES[:4], "label": lists})
    parquet.write_table(table, tmp_path / "t.parquet")
    assert match(read_table(tmp_path / "t.parquet"), NAMES).classes == found.classes
