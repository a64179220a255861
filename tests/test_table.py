import json
from pathlib import Path

import pytest
from PIL import Image

from search.data.folder import read_folder
from search.data.table import Columns, match, read_table
from search.data.walking import LeftOut


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
        ('image,label\n1,"a,b"\n2,a\n', "needs one class a picture, and .* has several in line 2: `a,b`"),
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
        ("train/d.png", 0),
        ("train/e.png", 0),
        ("train/a.png", 1),
        ("train/b.png", 1),
        ("train/c.png", 1),
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
    named = read_folder(root / "labels.csv").pictures
    assert [(found.name, found.label) for found in named[:2]] == [("dog/3.png", 0), ("dog/4.png", 0)]


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


ROWS = [("1.png", "pug", "train", "p1"), ("2.png", "corgi", "val", "p2"), ("3.png", "pug", "test", "")]


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_every_kind_of_table_says_the_same(tmp_path: Path, kind: str) -> None:
    path, header = tmp_path / f"t.{kind}", ("file", "breed", "split", "patient_id")
    if kind == "parquet":
        pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        columns = [list(column) for column in zip(*ROWS, strict=True)]
        parquet.write_table(pyarrow.table({**dict(zip(header, columns, strict=True)), "raw": [b"\0"] * 3}), path)
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(dict(zip(header, row, strict=True))) + "\n\n" for row in ROWS))
    else:
        sign = "," if kind == "csv" else "\t"
        path.write_text("".join(sign.join(row) + "\n" for row in [header, *ROWS]))
    found = match(read_table(path), [row[0] for row in ROWS])
    assert found.classes == {"1.png": "pug", "2.png": "corgi", "3.png": "pug"}
    assert found.sides == {"1.png": "train", "2.png": "validation", "3.png": "test"}
    assert found.groups == {"1.png": "p1", "2.png": "p2"}
    assert found.notes[1] == (
        f"the groups are those of column `patient_id` of `t.{kind}`: 2, each kept on one side of the split; 1 picture "
        "without a group is one; --group-column none ignores them"
    )


def test_columns_are_named_by_the_user(tmp_path: Path) -> None:
    table = written(tmp_path / "t.csv", "n,file,what,Kind,part,cam\n1,1.jpg,x,pug,train,7\n2,2.jpg,y,corgi,test,7\n")
    given = Columns(image="n", label="kind", split="part", group="cam")
    found = match(read_table(table, given), ["1.jpg", "2.jpg"])
    assert found.classes == {"1.jpg": "pug", "2.jpg": "corgi"}
    assert found.sides == {"1.jpg": "train", "2.jpg": "test"}
    assert found.groups == {"1.jpg": "7", "2.jpg": "7"}
    # Who names one of two columns that divide differently has said which.
    several = written(tmp_path / "u.csv", "image,breed,category,split\n1,pug,a,train\n2,pug,b,test\n")
    assert match(read_table(several, Columns(label="category", split="none")), ["1.jpg", "2.jpg"]).sides == {}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            Columns(label="race"),
            "--label-column needs the name of a column, got `race`, and `.*` has the columns",
        ),
        (
            Columns(group="breed"),
            "--group-column needs a column of its own, and `breed` of .* has the files or",
        ),
        (Columns(split="site"), r"--split-column needs a column of sides .*, and line 2 of `.*` has `north` in `site`"),
    ],
)
def test_a_named_column_that_cannot_be_it(tmp_path: Path, columns: Columns, message: str) -> None:
    table = written(tmp_path / "t.csv", "file,breed,site\n1.jpg,pug,north\n")
    with pytest.raises(ValueError, match=message):
        read_table(table, columns)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            ['"ears, tail"', '"coat, tail"', "coat"],
            "needs one class a picture, and column `label` .* line 3: `coat, tail`;",
        ),
        (["ears;tail", "coat|tail", "fur"], "needs one class a picture, and .* has several in line 2: `ears;tail`"),
        (
            [str(1000 + 37 * n) for n in range(30)],
            "has 30 different numbers from 1,000 to 2,073 for 30 pictures:",
        ),
        (["1e-3", "2", "3"], "has numbers, such as `1e-3` in line 2: values to be estimated are no classes"),
    ],
)
def test_labels_that_are_no_classes(tmp_path: Path, labels: list[str], message: str) -> None:
    names = [f"{number}.png" for number in range(len(labels))]
    rows = "".join(f"{name},{label}\n" for name, label in zip(names, labels, strict=True))
    with pytest.raises(ValueError, match=message):
        match(read_table(written(tmp_path / "t.csv", f"image,label\n{rows}")), names)


def test_numbers_and_commas_that_are_classes(tmp_path: Path) -> None:
    labels = [str(number // 3) for number in range(90)]
    rows = "".join(f"{number}.png,{label}\n" for number, label in enumerate(labels))
    found = classes(written(tmp_path / "t.csv", f"image,label\n{rows}"), *(f"{number}.png" for number in range(90)))
    assert len(set(found.values())) == 30
    table = written(tmp_path / "u.csv", 'image,label\n1,"retriever, golden"\n2,"retriever, flat-coated"\n')
    assert len(set(classes(table, "1.png", "2.png").values())) == 2


def test_a_path_that_leads_out_of_the_folder(tmp_path: Path) -> None:
    pictures(tmp_path, "other/1.png", "data/1.png", "data/2.png")
    table = written(tmp_path / "data" / "t.csv", "file,label\n2.png,a\n../other/1.png,b\n")
    message = r"needs pictures inside `.*data`, and column `file` of `.*t.csv` names one outside it in line 3: `../o"
    with pytest.raises(ValueError, match=message):
        read_folder(table)
    whole = written(tmp_path / "data" / "u.csv", f"file,label\n2.png,a\n{tmp_path}/other/1.png,b\n")
    with pytest.raises(ValueError, match="names one outside it in line 3: `/"):
        read_folder(whole)
    # Whole paths into the folder are those of its pictures, and paths that lead nowhere were somebody else's.
    own = written(tmp_path / "data" / "v.csv", f"file,label\n{tmp_path}/data/2.png,a\n../data/1.png,b\n")
    assert [picture.label for picture in read_folder(own).pictures] == [0, 1]
    moved = written(tmp_path / "data" / "w.csv", "file,label\n/home/ann/2.png,a\nD:\\ann\\1.png,b\n")
    assert [picture.label for picture in read_folder(moved).pictures] == [0, 1]


def test_pictures_elsewhere_than_their_table(tmp_path: Path) -> None:
    root = pictures(tmp_path / "photos", *(f"{n}.png" for n in "abcd"))
    table = written(tmp_path / "lists" / "t.csv", "id,label,subject\na,x,1\nb,y,2\nc,x,1\nd,y,\n")
    folder = read_folder(table, images=root)
    assert [(found.name, found.label, found.group) for found in folder.pictures] == [
        ("a.png", 0, "1"),
        ("c.png", 0, "1"),
        ("b.png", 1, "2"),
        ("d.png", 1, ""),
    ]
    with pytest.raises(ValueError, match=r"names pictures in `.*lists`, .* names no file, first `a`; .* --images"):
        read_folder(table)
    with pytest.raises(ValueError, match=r"--images .* needs a table as the data .*, got the folder `.*photos`"):
        read_folder(root, images=root)
    with pytest.raises(NotADirectoryError, match=r"--images needs a folder of pictures .*, and `.*gone` is not there"):
        read_folder(table, images=tmp_path / "gone")


def test_rows_that_put_a_picture_into_two_groups(tmp_path: Path) -> None:
    text = "image,label,patient\n1,a,p\n1,a,q\n2,b,r\n3,a,s\n9,a,s\n8,a,s\n7,a,s\n6,a,s\n"
    found = match(read_table(written(tmp_path / "t.csv", text)), ["1.png", "2.png", "3.png"])
    assert found.left_out == {"1.png": "`t.csv` puts it into 2 groups"}
    assert found.groups == {"2.png": "r", "3.png": "s"}
    # More than half of a table is no trifle.
    assert found.notes[1].startswith("not used: 4 rows of `t.csv` whose file is not there, first `9` in line 6")
    more = match(read_table(written(tmp_path / "t.csv", text + "5,a,s\n4,a,s\n")), ["1.png", "2.png"])
    assert more.notes[1].startswith("WARNING: not used: 7 rows of `t.csv` whose file is not there")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "t.jsonl",
            b'{"file": "1.png", "label": "a"}\n{"file": \n',
            "needs one JSON object a line, and line 2 of `",
        ),
        ("t.jsonl", b"[1]\n", r"needs one JSON object a line, got \[1\] in line 1 of"),
        ("t.jsonl", b"\n", "needs a table with one JSON object a line, and `.*` is empty"),
        (
            "t.jsonl",
            b'{"file": "1.png", "label": {"a": 1}}\n',
            "needs a text or a number in column `label`, and line 1",
        ),
        ("t.parquet", b"PAR1 and no more", "needs a Parquet file, and `.*` cannot be read: "),
    ],
)
def test_tables_that_cannot_be_read(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        classes(tmp_path / name, "1.png")


def test_pictures_inside_a_table_are_refused(tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"image": [{"bytes": b"\0"}], "label": [1]}), tmp_path / "t.parquet")
    with pytest.raises(ValueError, match=r"column `image` of .* holds struct.*: pictures inside a table are not read"):
        read_table(tmp_path / "t.parquet")
