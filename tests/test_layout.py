import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search.data.folder import Folder, read_folder
from search.data.layout import purpose_of, side_of, sides_among
from search.data.pictures import list_folder
from search.parsing import options
from search.starting import begun


def pictures(root: Path, *names: str) -> Path:
    """Files whose content differs; a folder in place of a file gets three pictures."""
    for number, name in enumerate(names):
        for each in (f"{name}{part}.png" for part in range(3)) if name.endswith("/") else (name,):
            path = root / each
            path.parent.mkdir(parents=True, exist_ok=True)
            colours = np.random.default_rng([number, len(each)]).integers(0, 256, (12, 12, 3), dtype=np.uint8)
            Image.fromarray(colours).save(path, "PNG")
    return root


def sides(folder: Folder) -> dict[str | None, int]:
    return {side: sum(found.side == side for found in folder.pictures) for side in {p.side for p in folder.pictures}}


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("Train", ("train", ())),
        ("trainingSet", ("train", ())),
        ("TRAIN-DATA", ("train", ())),
        ("val2017", ("validation", ())),
        ("development set", ("validation", ())),
        ("Eval", ("validation", ())),
        ("test_images", ("test", ())),
        ("seg_test", ("test", ("seg",))),
        ("train_or_test", None),
        ("valley", None),
        ("trainer", None),
        ("", None),
    ],
)
def test_sides_by_any_usual_name(name: str, side: tuple[str, tuple[str, ...]] | None) -> None:
    assert side_of(name) == side


def test_sides_of_one_split_have_the_same_words_beside_them() -> None:
    assert sides_among(["seg_train", "seg_test", "other"]) == {"train": ["seg_train"], "test": ["seg_test"]}
    assert sides_among(["train", "dev", "Test"]) == {"train": ["train"], "validation": ["dev"], "test": ["Test"]}
    assert sides_among(["test", "validation"]) == {}
    assert sides_among(["steam_train", "track_test"]) == {"train": ["steam_train"]}


def test_purposes() -> None:
    assert [purpose_of(name) for name in ("JPEGImages", "Ground_Truth", "cat")] == ["pictures", "annotations", ""]
    assert [purpose_of(name) for name in ("images_002", "HAM_images_part_2", "fold3")] == ["pictures"] * 3
    assert [purpose_of(name) for name in ("level 3", "id_0001", "7", "part", "n01443537")] == [""] * 5


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [("training_set", "dev-set", "test_set"), ("Train Data", "eval", "TESTING"), ("train2017", "val2017", "test2017")],
)
def test_split_folders_are_sides(tmp_path: Path, train: str, validation: str, test: str) -> None:
    root = pictures(tmp_path, *(f"{side}/{name}/" for side in (train, validation, test) for name in ("cat", "dog")))
    folder = read_folder(root)
    assert (folder.classes, folder.presplit) == (("cat", "dog"), True)
    assert sides(folder) == {"train": 6, "validation": 6, "test": 6}


def test_folders_that_an_archive_has_doubled(tmp_path: Path) -> None:
    root = pictures(tmp_path, *(f"seg_{s}/seg_{s}/{c}/" for s in ("train", "test") for c in ("sea", "street")))
    pictures(root, "seg_pred/seg_pred/1.png", "__MACOSX/seg_train/2.png")
    folder = read_folder(root)
    assert (folder.classes, sides(folder)) == (("sea", "street"), {"train": 6, "test": 6})
    assert folder.notes == ("the folder is already split; not used beside it: seg_pred",)


def test_train_alone_is_a_side(tmp_path: Path) -> None:
    folder = read_folder(pictures(tmp_path, "train/cat/", "train/dog/"))
    assert (folder.classes, folder.presplit) == (("cat", "dog"), True)


def test_sides_inside_the_class_folders(tmp_path: Path) -> None:
    root = pictures(tmp_path, *(f"{c}/{s}/" for c in ("crack", "dent", "rust") for s in ("Training", "Test")))
    folder = read_folder(root)
    assert folder.classes == ("crack", "dent", "rust")
    assert sides(folder) == {"train": 9, "test": 9}
    assert folder.notes == ("every class folder is already split into Test, Training",)


def test_unlabelled_test_pictures_are_passed_over(tmp_path: Path) -> None:
    root = pictures(tmp_path, "train/cat/", "train/dog/", "valid/cat/", "valid/dog/", "test/not_labelled/")
    folder = read_folder(root)
    assert sides(folder) == {"train": 6, "validation": 6}
    assert folder.notes == (
        "`test/` holds only `not_labelled`, which is no class of `train/`: unlabelled pictures, not used: 3 files",
    )


def test_a_class_that_lacks_a_side_has_ways_out(tmp_path: Path) -> None:
    root = pictures(tmp_path, *(f"train/{name}/" for name in "abcd"), *(f"test/{name}/" for name in "ab"))
    with pytest.raises(
        ValueError,
        match=r"`test/` of `.*` has none of `c`, `d`: leave them out with --exclude c,d, or cut .* --resplit",
    ):
        read_folder(root)
    assert read_folder(root, exclude=("c", "d")).classes == ("a", "b")
    folder = read_folder(root, resplit=True)
    assert (folder.classes, folder.presplit, sides(folder)) == (("a", "b", "c", "d"), False, {None: 18})
    assert folder.notes == ("--resplit: train, test are put together and cut anew",)


@pytest.mark.parametrize(
    ("names", "seen"),
    [
        (("images/", "trimaps/"), r"after what their files are: `images`, `trimaps`: put the pictures of each class"),
        (("Pictures/cat/", "Pictures/dog/", "XML/"), r"`Pictures`, `XML`: give `.*/Pictures` if its folders"),
        (("training/", "validation/"), r"named after sides .*: `training`, `validation`: put .* a table of labels"),
        (
            ("train/images/", "train/masks/", "val/images/", "val/masks/"),
            r"of `.*/train` are named .*`images`, `masks`",
        ),
    ],
)
def test_sides_and_purposes_are_no_classes(tmp_path: Path, names: tuple[str, ...], seen: str) -> None:
    with pytest.raises(ValueError, match=f"needs folders named after the classes.*{seen}.*--label-from top"):
        read_folder(pictures(tmp_path, *names))


def test_who_says_so_has_classes_of_any_name(tmp_path: Path) -> None:
    assert read_folder(pictures(tmp_path, "labels/", "photos/"), label_from="top").classes == ("labels", "photos")


def test_names_of_files_that_begin_with_classes_are_seen(tmp_path: Path) -> None:
    root = pictures(tmp_path, *(f"train/{name}.{n}.png" for name in ("oak", "elm") for n in range(4)), "test1/1.png")
    with pytest.raises(ValueError, match="the names of the files begin with `elm`, `oak`;"):
        read_folder(root)


def test_versions_of_one_set_are_no_classes(tmp_path: Path) -> None:
    root = pictures(tmp_path, *(f"{v}/{c}/" for v in ("day", "night", "fog") for c in ("bus", "car", "van")))
    with pytest.raises(
        ValueError, match=r"all 3 folders of .* hold the same 3 folders \(`bus`, `car`, `van`\): give one"
    ):
        read_folder(root)
    assert read_folder(root, label_from="parent").classes == ("bus", "car", "van")
    assert read_folder(root, label_from="top").classes == ("day", "fog", "night")
    assert read_folder(root / "fog").classes == ("bus", "car", "van")


def test_different_subfolders_are_no_hint(tmp_path: Path) -> None:
    root = pictures(tmp_path, "cat/black/", "cat/white/", "dog/black/", "dog/poodle/", "dog/terrier/")
    assert read_folder(root).classes == ("cat", "dog")


def test_a_copy_of_the_whole_set_inside_it(tmp_path: Path) -> None:
    root = pictures(tmp_path, "bus/", "car/", "van/", "vehicles/bus/", "vehicles/car/", "vehicles/van/")
    with pytest.raises(
        ValueError, match=r"`vehicles` of .* holds folders named as those beside it.* --exclude vehicles"
    ):
        read_folder(root)
    assert read_folder(root, exclude=["vehicles"]).classes == ("bus", "car", "van")


def flat(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((12, 12), number, np.uint8)).save(path)


def test_masks_of_the_other_folder_are_no_class(tmp_path: Path) -> None:
    root = pictures(tmp_path, *(f"scans/case_{n}.png" for n in range(5)))
    for n in range(5):
        flat(root / "target" / f"case_{n}.png", n)
    with pytest.raises(ValueError, match=r"the files of `target` of .* are named as the pictures of `scans`, as masks"):
        read_folder(root)


def test_two_classes_with_the_same_file_names(tmp_path: Path) -> None:
    root = pictures(tmp_path, *(f"{name}/{n}.png" for name in ("cat", "dog") for n in range(5)))
    assert read_folder(root).classes == ("cat", "dog")


def test_a_folder_of_masks_beside_classes(tmp_path: Path) -> None:
    root = pictures(tmp_path, *(f"{name}/{name}_{n}.png" for name in ("cat", "dog") for n in range(3)))
    for name in ("cat", "dog"):
        for n in range(3):
            flat(root / "masks" / f"{name}_{n}_mask.png", n)
    with pytest.raises(ValueError, match=r"the files of `masks` of .* are named as the pictures of `cat`, `dog`"):
        read_folder(root)


def test_masks_on_faces_are_a_class(tmp_path: Path) -> None:
    root = pictures(tmp_path, *(f"{name}/{n}.png" for name in ("mask", "no_mask") for n in range(5)))
    assert read_folder(root).classes == ("mask", "no mask")


def test_masks_inside_the_class_folders_are_not_used(tmp_path: Path) -> None:
    root = pictures(tmp_path, *(f"{c}/{kind}/" for c in ("ill", "well") for kind in ("images", "masks")))
    folder = read_folder(root)
    assert [found.name for found in folder.pictures if found.label == 0] == [f"ill/images/{n}.png" for n in range(3)]
    assert folder.notes[:2] == (
        "`ill/masks` lies beside the pictures of its class and is not used",
        "`well/masks` lies beside the pictures of its class and is not used",
    )


def test_folds_of_one_set_are_no_classes(tmp_path: Path) -> None:
    root = pictures(tmp_path, *(f"fold{n}/{c}/" for n in (1, 2, 3) for c in ("bus", "car")))
    with pytest.raises(ValueError, match=r"all 3 folders of .* hold the same 2 folders .* --label-from parent"):
        read_folder(root)


def test_pictures_straight_in_the_data_have_a_way(tmp_path: Path) -> None:
    root = pictures(tmp_path, *(f"{name}_{n}.png" for name in ("rose", "iris") for n in range(3)))
    with pytest.raises(
        ValueError, match=r"got none in .*; 6 pictures lie straight in it: put .* begin with `iris`, `rose`"
    ):
        read_folder(root)


def test_a_side_without_classes_says_which_table_is_not_read(tmp_path: Path) -> None:
    root = pictures(tmp_path, "Train/0/", "Train/1/", "Test/")
    (root / "Test.csv").write_text("ClassId,Path\n0,Test/0.png\n")
    assert read_folder(root).notes == (
        "`Test/` has no class folders and is not used: 3 files; `Test.csv` is not read, since the folders of train are "
        "the classes",
    )


def test_names_that_differ_in_capitals_are_seen(tmp_path: Path) -> None:
    root = pictures(tmp_path, "train/Cat/", "train/dog/", "val/cat/", "val/dog/")
    with pytest.raises(
        ValueError, match=r"`train/` of .* none of `cat`; `val/` of .* none of `Cat`; some of these differ"
    ):
        read_folder(root)


def test_clutter_is_named(tmp_path: Path) -> None:
    folder = read_folder(pictures(tmp_path, "BACKGROUND_Google/", "ant/", "bee/"))
    assert folder.notes == (
        "`BACKGROUND_Google` is clutter by its name and is searched as a class; "
        "--exclude BACKGROUND_Google leaves it out",
    )


def test_the_way_out_can_be_pasted_into_a_shell(tmp_path: Path) -> None:
    root = pictures(tmp_path, "train/cat/", "train/dog/", "train/O'Neil & co/", "test/cat/", "test/dog/")
    with pytest.raises(ValueError, match="none of `O'Neil & co`: leave") as refused:
        read_folder(root)
    words = shlex.split(str(refused.value).split("with ")[1].split(", or")[0])
    assert words == ["--exclude", "O'Neil & co"]
    assert read_folder(root, exclude=words[1:]).classes == ("cat", "dog")


def test_the_options_reach_the_reading(tmp_path: Path) -> None:
    given = ["data", "--exclude", "a,b", "--exclude", "c d", "--resplit", "--min-pictures", "4", "--label-from", "top"]
    settings = begun(options(given))
    assert (settings.exclude, settings.resplit, settings.min_pictures) == (("a", "b", "c d"), True, 4)
    assert settings.label_from == "top"
    root = pictures(
        tmp_path, *(f"{side}/{name}/{n}.png" for side in ("train", "val") for name in "abe" for n in "1234")
    )
    folder = list_folder(replace(settings, exclude=("a",)), root, None)
    assert (folder.classes, folder.presplit) == (("b", "e"), False)
