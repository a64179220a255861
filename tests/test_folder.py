import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from search.data.folder import printed_name, read_folder
from search.data.walking import LeftOut
from search.settings import Settings


def picture(path: Path, level: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (4, 4), level).save(path, "PNG")


def cats_and_dogs(root: Path) -> Path:
    for level, name in enumerate(["cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png"]):
        picture(root / name, level)
    return root


def test_a_folder_of_class_folders(tmp_path: Path) -> None:
    folder = read_folder(cats_and_dogs(tmp_path))
    assert folder.classes == ("cat", "dog")
    assert [(found.name, found.label, found.side) for found in folder.pictures] == [
        ("cat/1.png", 0, None),
        ("cat/2.png", 0, None),
        ("dog/1.png", 1, None),
        ("dog/2.png", 1, None),
    ]
    assert folder.pictures[0].path == tmp_path / "cat" / "1.png"
    assert (folder.left_out, folder.notes, folder.presplit) == ((), (), False)


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("n02085936-Maltese_dog", "Maltese dog"),
        ("n02086240-Shih-Tzu", "Shih-Tzu"),
        ("Afghan_hound", "Afghan hound"),
        ("n02085936", "n02085936"),
        ("_", "_"),
    ],
)
def test_class_folders_lose_their_wordnet_id_in_print(folder: str, name: str) -> None:
    assert printed_name(folder) == name


def test_classes_that_would_print_alike_keep_their_folder_names(tmp_path: Path) -> None:
    for name in ("n00000001-corgi", "n00000002-corgi", "n00000003-pug"):
        picture(tmp_path / name / "1.png")
    assert read_folder(tmp_path).classes == ("n00000001-corgi", "n00000002-corgi", "pug")


def test_the_digest_follows_names_and_content_and_not_the_place(tmp_path: Path) -> None:
    one = read_folder(cats_and_dogs(tmp_path / "one")).digest
    other = cats_and_dogs(tmp_path / "other")
    assert read_folder(other).digest == one
    picture(other / "dog" / "2.png", level=77)
    changed = read_folder(other).digest
    assert changed != one
    (other / "dog" / "2.png").rename(other / "dog" / "3.png")
    assert read_folder(other).digest not in (one, changed)


def test_classes_keeps_the_best_represented_and_ties_go_by_name(tmp_path: Path) -> None:
    for name, count in (("d", 2), ("c", 3), ("b", 2), ("a", 1)):
        for number in range(count):
            picture(tmp_path / name / f"{number}.png", number)
    folder = read_folder(tmp_path, classes=2)
    assert folder.classes == ("b", "c")
    assert [found.label for found in folder.pictures] == [0, 0, 1, 1, 1]
    assert folder.notes == ("the 2 best-represented of 4 classes are kept",)


def test_files_that_are_not_used_are_named_with_the_reason(tmp_path: Path) -> None:
    cats_and_dogs(tmp_path)
    (tmp_path / "README").write_text("about these animals")
    (tmp_path / "cat" / "labels.CSV").write_text("1,2")
    (tmp_path / "cat" / "empty.jpg").touch()
    (tmp_path / "dog" / "gone.jpg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "dog" / "circle.jpg").symlink_to(tmp_path / "dog" / "circle.jpg")
    os.mkfifo(tmp_path / "dog" / "pipe.jpg")
    (tmp_path / "dog" / ".hidden.txt").write_text("passed over")
    (tmp_path / ".thumbnails").mkdir()
    folder = read_folder(tmp_path)
    assert len(folder.pictures) == 4
    assert folder.left_out == (
        LeftOut("README", "lies outside the class folders"),
        LeftOut("cat/empty.jpg", "the file is empty"),
        LeftOut("cat/labels.CSV", "a .csv file is not a picture"),
        LeftOut("dog/circle.jpg", "the file cannot be opened: Too many levels of symbolic links"),
        LeftOut("dog/gone.jpg", "the file cannot be opened: No such file or directory"),
        LeftOut("dog/pipe.jpg", "not a regular file"),
    )


def test_nested_folders_count_and_are_noted(tmp_path: Path) -> None:
    cats_and_dogs(tmp_path)
    picture(tmp_path / "dog" / "puppies" / "white" / "3.png")
    (tmp_path / "bird").mkdir()
    folder = read_folder(tmp_path)
    assert [found.name for found in folder.pictures if found.label == 1] == [
        "dog/1.png",
        "dog/2.png",
        "dog/puppies/white/3.png",
    ]
    assert folder.notes == (
        "`bird` holds no pictures and is not a class",
        "files in folders below `dog` count as that class: 1",
    )


def test_links_to_pictures_and_classes_are_followed_and_circles_are_not(tmp_path: Path) -> None:
    root = cats_and_dogs(tmp_path / "data")
    picture(tmp_path / "elsewhere" / "1.png", 9)
    (root / "bird").symlink_to(tmp_path / "elsewhere")
    (root / "cat" / "3.png").symlink_to(tmp_path / "elsewhere" / "1.png")
    (root / "cat" / "up").symlink_to(root)
    (root / "root").symlink_to("/")
    (root / "self").symlink_to(root / "self")
    folder = read_folder(root)
    assert folder.classes == ("bird", "cat", "dog")
    assert [found.name for found in folder.pictures if found.label == 1] == ["cat/1.png", "cat/2.png", "cat/3.png"]
    assert folder.notes == (
        "`cat/up` is a link to a folder and is not followed",
        "`root` leads back to the data folder and is not followed",
    )
    assert folder.left_out == (LeftOut("self", "lies outside the class folders"),)


def test_odd_names_are_read_and_can_be_printed(tmp_path: Path) -> None:
    cats_and_dogs(tmp_path)
    picture(tmp_path / "犬 <b>" / "naïve 🐕.png")
    os.rename(tmp_path / "dog" / "1.png", os.fsencode(tmp_path / "dog") + b"/\xff.png")
    folder = read_folder(tmp_path)
    assert folder.classes == ("cat", "dog", "犬 <b>")
    assert [found.name for found in folder.pictures[2:]] == ["dog/2.png", r"dog/\xff.png", "犬 <b>/naïve 🐕.png"]
    assert all(found.path.exists() for found in folder.pictures)


def test_names_cannot_write_over_what_stands_beside_them(tmp_path: Path) -> None:
    cats_and_dogs(tmp_path)
    picture(tmp_path / "two\nlines" / "\x1b[2Jclear \u202egnp.png")
    folder = read_folder(tmp_path)
    assert folder.classes == ("cat", "dog", r"two\nlines")
    assert folder.pictures[4].name == r"two\nlines/\x1b[2Jclear \u202egnp.png"
    assert folder.pictures[4].path.exists()


def test_a_folder_already_split_keeps_its_sides(tmp_path: Path) -> None:
    for side in ("train", "val", "Test"):
        for name in ("cat", "dog"):
            picture(tmp_path / side / f"n00000001-{name}" / "1.png", len(side))
    picture(tmp_path / "masks" / "1.png")
    (tmp_path / "labels.csv").touch()
    folder = read_folder(tmp_path)
    assert (folder.classes, folder.presplit) == (("cat", "dog"), True)
    assert [(found.name, found.side) for found in folder.pictures] == [
        ("Test/n00000001-cat/1.png", "test"),
        ("Test/n00000001-dog/1.png", "test"),
        ("train/n00000001-cat/1.png", "train"),
        ("train/n00000001-dog/1.png", "train"),
        ("val/n00000001-cat/1.png", "validation"),
        ("val/n00000001-dog/1.png", "validation"),
    ]
    assert folder.notes == ("the folder is already split; not used beside it: masks",)
    assert folder.left_out == (LeftOut("labels.csv", "lies outside the class folders"),)


def test_a_test_folder_without_classes_is_noted(tmp_path: Path) -> None:
    for side in ("train", "validation"):
        cats_and_dogs(tmp_path / side)
    picture(tmp_path / "test" / "1.png")
    folder = read_folder(tmp_path)
    assert {found.side for found in folder.pictures} == {"train", "validation"}
    assert folder.notes == ("`test/` has no class folders and is not used: 1 file",)


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    for name in ("train", "ship"):
        picture(tmp_path / name / "1.png")
    assert read_folder(tmp_path).classes == ("ship", "train")


def test_a_class_missing_from_a_side_is_an_error(tmp_path: Path) -> None:
    for side in ("train", "validation", "test"):
        cats_and_dogs(tmp_path / side)
    shutil.rmtree(tmp_path / "validation" / "dog")
    with pytest.raises(
        ValueError, match=r"every class needs pictures on every side.*`validation/` of .* none of `dog`"
    ):
        read_folder(tmp_path)


def test_a_class_that_is_not_kept_may_miss_a_side(tmp_path: Path) -> None:
    for side in ("train", "validation"):
        cats_and_dogs(tmp_path / side)
    picture(tmp_path / "train" / "fox" / "1.png")
    assert read_folder(tmp_path, classes=2).classes == ("cat", "dog")


def test_two_folders_for_one_side_are_an_error(tmp_path: Path) -> None:
    for side in ("train", "val", "valid"):
        cats_and_dogs(tmp_path / side)
    with pytest.raises(ValueError, match="needs one folder for validation, got `val` and `valid` in"):
        read_folder(tmp_path)


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"must be a folder of class folders.* nothing at `.*/nowhere`"):
        read_folder(tmp_path / "nowhere")


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    picture(tmp_path / "cat.png")
    with pytest.raises(
        NotADirectoryError, match=r"folder of class folders, .* or a table of labels .*, and `.*cat.png` is a file"
    ):
        read_folder(tmp_path / "cat.png")


def test_no_class(tmp_path: Path) -> None:
    picture(tmp_path / "1.png")
    with pytest.raises(ValueError, match="needs at least 2 class folders with pictures, got none in"):
        read_folder(tmp_path)


def test_one_class_with_the_folder_that_was_meant(tmp_path: Path) -> None:
    cats_and_dogs(tmp_path / "Images")
    with pytest.raises(
        ValueError, match=r"got 1 \(`Images`\) in `.*`; if its folders are the classes, give `.*Images`"
    ):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    ("classes", "message"), [(1, "needs at least 2 classes, got classes = 1"), (3, "needs classes <= 2.*, got 3 for")]
)
def test_classes_out_of_range(tmp_path: Path, classes: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_folder(cats_and_dogs(tmp_path), classes)


def test_a_class_whose_files_cannot_be_opened(tmp_path: Path) -> None:
    cats_and_dogs(tmp_path)
    (tmp_path / "fox").mkdir()
    (tmp_path / "fox" / "1.jpg").touch()
    with pytest.raises(ValueError, match=r"every class needs pictures, and no file of `fox` in .* can be opened"):
        read_folder(tmp_path)


def test_what_searches_wrote_is_no_class(tmp_path: Path) -> None:
    root = cats_and_dogs(tmp_path / "data")
    for run in ("runs/first", "elsewhere/second", "cat/third"):
        picture(root / run / "report" / "1.png", 9)
        (root / run / "settings.json").write_text(Settings().to_json())
    picture(root / "cat" / "looked-at" / "1.png", 9)
    for name in ("exploration.json", "data.html"):
        (root / "cat" / "looked-at" / name).touch()
    picture(root / "cache" / "demo" / "1.png", 9)
    folder = read_folder(root, own=(root / "runs", root / "dog" / ".." / "cache"))
    assert (folder.classes, len(folder.pictures), folder.left_out) == (("cat", "dog"), 4, ())
    assert folder.digest == read_folder(cats_and_dogs(tmp_path / "plain")).digest
    assert set(folder.notes) == {
        "`cache` is where searches write, and is not read",
        "`cat/looked-at` was written by a search, and is not read",
        "`cat/third` was written by a search, and is not read",
        "`elsewhere/second` was written by a search, and is not read",
        "`elsewhere` holds no pictures and is not a class",
        "`runs` is where searches write, and is not read",
    }


def test_a_class_may_hold_settings_of_something_else(tmp_path: Path) -> None:
    cats_and_dogs(tmp_path)
    (tmp_path / "dog" / "settings.json").write_text('{"camera": 1}')
    assert len(read_folder(tmp_path).pictures) == 4


def test_hidden_pictures_are_told(tmp_path: Path) -> None:
    cats_and_dogs(tmp_path)
    for name in (".fox/1.png", ".fox/2.png", ".git/3.png", "dog/.4.jpg", "dog/._5.jpg", "dog/.6"):
        picture(tmp_path / name)
    folder = read_folder(tmp_path)
    assert len(folder.pictures) == 4
    assert folder.left_out == (LeftOut("dog/.4.jpg", "hidden: its name begins with a dot"),)
    assert folder.notes == (
        "`.fox` is hidden, since its name begins with a dot: not used, 2 files; under another name it counts",
    )


def test_what_systems_leave_behind_is_passed_over(tmp_path: Path) -> None:
    cats_and_dogs(tmp_path)
    for name in ("__MACOSX/cat/1.png", "cat/@eaDir/1.png/thumb.jpg", "cat/.ipynb_checkpoints/1-checkpoint.png"):
        picture(tmp_path / name)
    folder = read_folder(tmp_path)
    assert (len(folder.pictures), folder.notes, folder.left_out) == (4, (), ())


def test_a_refusal_ends_with_what_was_noted(tmp_path: Path) -> None:
    picture(tmp_path / "elsewhere" / "1.png")
    picture(tmp_path / "data" / "dog" / "1.png")
    (tmp_path / "data" / "cat").mkdir()
    (tmp_path / "data" / "cat" / "more").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(
        ValueError,
        match=r"got 1 \(`dog`\) in .*\n  note: `cat/more` is a link to a folder and is not followed\n  note:",
    ):
        read_folder(tmp_path / "data")


def test_many_notes_of_a_kind_are_one(tmp_path: Path) -> None:
    for name in "abcdefg":
        picture(tmp_path / name / "inner" / "1.png")
        picture(tmp_path / name / name / "1.png")
    assert read_folder(tmp_path).notes == (
        "files in folders below 7 class folders count as those classes: `a`, `b`, `c` and 4 more",
    )


def test_classes_are_left_out_by_name_or_by_size(tmp_path: Path) -> None:
    cats_and_dogs(tmp_path)
    for name in ("n00000001-red_fox/1.png", "owl/1.png", "owl/2.png"):
        picture(tmp_path / name)
    folder = read_folder(tmp_path, exclude=["red fox", "owl"])
    assert (folder.classes, folder.notes) == (("cat", "dog"), ("left out by --exclude: `n00000001-red_fox`, `owl`",))
    folder = read_folder(tmp_path, min_pictures=2)
    assert folder.classes == ("cat", "dog", "owl")
    assert folder.notes == (
        "classes with fewer than 2 pictures are left out by --min-pictures: `n00000001-red_fox` (1)",
    )
    with pytest.raises(
        ValueError, match=r"--exclude needs names of classes, got `cow` for .*, which has `cat`, `dog`,"
    ):
        read_folder(tmp_path, exclude=["owl", "cow"])
