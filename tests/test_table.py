from pathlib import Path

import pytest
from PIL import Image

from search.data.folder import LeftOut, read_folder
from search.data.table import match, read_table


def written(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


def pictures(root: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), number).save(root / name, "PNG")
    return root


def classes(table: Path, *names: str) -> dict[str, str]:
    return dict(match(read_table(table), names).classes)


@pytest.mark.parametrize(
    ("name", "text", "encoding"),
    [
        ("a.csv", "id,breed\n1,pug\n2,corgi\n", "utf-8"),
        ("a.csv", "breed;File Name\npug;1.jpg\ncorgi;x/photos/2.jpg\n", "utf-8-sig"),
        ("a.tsv", "image_id\tspecies\n1.png\tpug\n2.png\tcorgi\n", "utf-16"),
        ("a.csv", '"photo of","kind",\n'.replace(",\n", "\n") + '"1","pug"\n', "utf-8"),
        ("a.csv", "filepaths,class id,labels\nC:\\data\\photos\\1.jpg,0,pug\nphotos/2.jpg,1,corgi\n", "latin-1"),
        ("a.csv", "image,pug,husky,corgi\n1,1.0,0.0,0.0\n2,0.0,0.0,1.0\n", "utf-8"),
        ("a.csv", "file,label,class\n1.jpg,0,pug\n2.jpg,1,corgi\n", "utf-8"),
    ],
)
def test_columns_are_found_by_their_names(tmp_path: Path, name: str, text: str, encoding: str) -> None:
    table = written(tmp_path / name, text, encoding)
    if "photo of" in text:
        with pytest.raises(
            ValueError, match=r"needs a column of files .*, got the columns `photo of`, `kind` in `.*a.csv`"
        ):
            read_table(table)
        return
    assert classes(table, "photos/1.jpg", "photos/2.jpg") == {"photos/1.jpg": "pug", "photos/2.jpg": "corgi"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "needs a table whose first line names its columns, and `.*` is empty"),
        ("1.jpg,0.5,0.1\n", r"needs a column of files .*, got the columns `1.jpg`, `0.5`, `0.1` in"),
        ("image,mel,nv\n1,0.2,0.8\n", "needs a column of labels .*, got the columns `image`, `mel`, `nv` in"),
        ("image,breed,category\n1,pug,a\n2,pug,b\n", "needs one column of labels, and `breed` and `category` of"),
        ("image,label\n8.jpg,a\n", "column `image` of `.*` names no file, first `8.jpg`"),
        (
            "image,label\n1,3.5\n2,4.25\n",
            "needs classes, and column `label` of .* has numbers, such as `3.5` in line 2",
        ),
        ("image,label\n1,a|b\n2,a\n", r"needs one class a picture, and .* has several in line 2: `a\|b`"),
        ("image,label\n1,a\n1,b\n2,c\n2,d\n", "gives most pictures several, first `1.jpg`: `a`, `b`"),
    ],
)
def test_a_table_that_gives_no_classes(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        classes(written(tmp_path / "t.csv", text), "1.jpg", "2.jpg")


def test_rows_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    names = [f"{number}.png" for number in range(8)]
    rows = [f"{name},{'even' if int(name[0]) % 2 == 0 else 'odd'}" for name in names]
    text = "\n".join(["file,class", *rows, "0.png,odd", "1.png,odd", "9.png,odd", "3.png"])
    found = match(read_table(written(tmp_path / "t.csv", text)), names)
    assert sorted(found.classes) == names[1:]
    assert found.left_out == {"0.png": "`t.csv` gives it 2 classes, `even`, `odd`"}
    assert found.notes == (
        "the classes are those of `t.csv`: its column `class` for the 7 pictures that its column `file` names",
        "not used: 1 row of `t.csv` whose file is not there, first `9.png` in line 12",
        "not used: 1 row of `t.csv` without a label or a name, first `3.png` in line 13",
        "counted once: 1 row of `t.csv` like an earlier one",
        "not used: 1 picture with rows that differ, first `0.png`: `t.csv` gives it 2 classes, `even`, `odd`",
    )


def test_a_name_means_the_file_of_its_own_folders(tmp_path: Path) -> None:
    table = written(tmp_path / "t.csv", "path,label\ntrain/1.png,a\ntest/1.png,b\n")
    assert classes(table, "train/1.png") == {"train/1.png": "a"}
    assert classes(table, "train/1.png", "test/1.png") == {"train/1.png": "a", "test/1.png": "b"}
    # Nothing of these folders is here: the names alone count.
    assert classes(written(tmp_path / "u.csv", "path,label\nold/1.png,a\n"), "new/1.png") == {"new/1.png": "a"}


def test_a_bare_name_means_the_picture_of_train_and_no_mask(tmp_path: Path) -> None:
    table = written(tmp_path / "t.csv", "id,label\n1,a\n")
    assert classes(table, "train/1.png", "test/1.png") == {"train/1.png": "a"}
    assert classes(table, "images/1.jpg", "masks/1.png") == {"images/1.jpg": "a"}


def test_a_column_of_sides(tmp_path: Path) -> None:
    text = "image,label,Data Set\n1,a,Train\n2,b,valid\n3,a,\n"
    found = match(read_table(written(tmp_path / "t.csv", text)), ["1.png", "2.png", "3.png"])
    assert found.sides == {"1.png": "train", "2.png": "validation"}
    assert found.left_out == {"3.png": "`t.csv` puts it on no side"}
    other = match(read_table(written(tmp_path / "u.csv", text.replace("valid", "blue"))), ["1.png", "2.png", "3.png"])
    assert (other.sides, len(other.classes)) == ({}, 3)


def test_flat_sides_with_a_table_beside_them(tmp_path: Path) -> None:
    root = pictures(tmp_path, *(f"train/{n}.png" for n in "abcdef"), *(f"test/{n}.png" for n in "xyz"))
    written(root / "flowers.csv", "file,flower\n" + "".join(f"{n},{'rose' if n < 'd' else 'iris'}\n" for n in "abcde"))
    written(root / "sample_submission.csv", "file,flower\nx,rose\n")
    folder = read_folder(root)
    assert (folder.classes, folder.presplit) == (("iris", "rose"), False)
    assert [(found.name, found.label) for found in folder.pictures] == [
        ("train/a.png", 1),
        ("train/b.png", 1),
        ("train/c.png", 1),
        ("train/d.png", 0),
        ("train/e.png", 0),
    ]
    assert folder.notes == (
        "the classes are those of `flowers.csv`: its column `flower` for the 5 pictures that its column `file` names",
        "no picture in `test` has a row in the table, and they are not used: 3 files",
        "no row of the table names 1 file, first `train/f.png`",
    )
    assert folder.left_out == (
        LeftOut("sample_submission.csv", "a .csv file is not a picture"),
        LeftOut("train/f.png", "no row of the table names it"),
    )
    named = read_folder(root / "flowers.csv")
    assert (named.classes, named.digest) == (folder.classes, folder.digest)


def test_the_digest_follows_the_labels(tmp_path: Path) -> None:
    root = pictures(tmp_path, "1.png", "2.png", "3.png")
    digests = []
    for labels in ("aab", "abb"):
        rows = "".join(f"{n},{label}\n" for n, label in enumerate(labels, 1))
        written(root / "labels.csv", f"id,label\n{rows}")
        digests.append(read_folder(root).digest)
    assert digests[0] != digests[1]


def test_a_table_for_each_side(tmp_path: Path) -> None:
    root = pictures(tmp_path, *(f"images/{n}.png" for n in "abcdef"))
    for side, names in (("train", "abc"), ("val", "de"), ("test", "f")):
        rows = "".join(f"{n},{'x' if n in 'ad' else 'y'}\n" for n in names)
        written(root / f"{side}_labels.csv", f"image,label\n{rows}")
    folder = read_folder(root, resplit=True)
    assert [found.side for found in folder.pictures] == [None] * 6
    with pytest.raises(ValueError, match=r"every class needs pictures on every side .*`test/` of `.*` has none of `x`"):
        read_folder(root)


def test_several_tables_of_labels_are_a_question(tmp_path: Path) -> None:
    root = pictures(tmp_path, "images/a.png", "images/b.png")
    for name in ("colours.csv", "shapes.csv"):
        written(root / name, f"image,label\na,{name[:2]}\nb,round\n")
    with pytest.raises(ValueError, match=r"needs one table of labels, and `colours.csv`, `shapes.csv` of .* give one"):
        read_folder(root)
    assert read_folder(root / "shapes.csv").classes == ("round", "sh")


def test_class_folders_need_no_table(tmp_path: Path) -> None:
    root = pictures(tmp_path, "cat/1.png", "cat/2.png", "dog/3.png", "dog/4.png")
    written(root / "labels.csv", "id,label\n1,dog\n2,dog\n3,cat\n4,cat\n")
    folder = read_folder(root)
    assert [found.label for found in folder.pictures] == [0, 0, 1, 1]
    assert folder.left_out == (LeftOut("labels.csv", "lies outside the class folders"),)
    assert [found.label for found in read_folder(root / "labels.csv").pictures] == [1, 1, 0, 0]


def test_why_a_table_was_not_read_is_told_with_the_refusal(tmp_path: Path) -> None:
    root = pictures(tmp_path, "train/1.png", "test/2.png")
    written(root / "scores.csv", "image,first,second\n1,0.5,0.5\n")
    with pytest.raises(
        ValueError, match=r"named after sides (?s:.*)\n  note: `scores.csv` is not read: needs a column of"
    ):
        read_folder(root)


def test_a_table_and_class_folders_give_the_same_labels(tmp_path: Path) -> None:
    names = [f"n0000000{n % 3}-big_dog_{n % 3}/{n}.png" for n in range(9)]
    folders = read_folder(pictures(tmp_path / "folders", *names))
    root = pictures(tmp_path / "table", *(f"train_images/{name.split('/')[1]}" for name in names))
    rows = "".join(f"{name.split('/')[1]},{name.split('/')[0]}\n" for name in names)
    written(root / "train.csv", f"image_id,label\n{rows}")
    table = read_folder(root)
    assert table.classes == folders.classes == ("big dog 0", "big dog 1", "big dog 2")
    by_digest = [{found.digest: found.label for found in folder.pictures} for folder in (folders, table)]
    assert by_digest[0] == by_digest[1]
    assert len(by_digest[0]) == 9


def test_names_with_accents_taken_apart(tmp_path: Path) -> None:
    table = written(tmp_path / "t.csv", "file,label\nchien_\N{LATIN SMALL LETTER E WITH ACUTE}t\u00e9,a\n")
    assert classes(table, "photos/chien_e\u0301te\u0301.jpg") == {"photos/chien_e\u0301te\u0301.jpg": "a"}
