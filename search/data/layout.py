"""What the names of folders mean: sides of a split, purposes of files, and when folders are no classes."""

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SIDE_WORDS = {
    **dict.fromkeys(("train", "training", "trn"), TRAIN),
    **dict.fromkeys(("validation", "val", "valid", "validate", "dev", "development", "eval", "evaluation"), VALIDATION),
    **dict.fromkeys(("test", "testing", "tst", "holdout"), TEST),
}
# Words that add nothing to the name of a side: `training_set`, `Test images`, `val2017`.
FILLERS = frozenset({
    "set", "sets", "split", "data", "dataset", "folder", "dir", "image", "images", "img", "imgs", "pic", "pics",
    "picture", "pictures", "photo", "photos", "sample", "samples", "part", "files",
})  # fmt: skip

# What holds pictures whatever they show, and what tells something of the pictures elsewhere.
PICTURES = frozenset({
    "image", "images", "img", "imgs", "pic", "pics", "picture", "pictures", "photo", "photos", "jpegimages", "jpegs",
    "jpeg", "jpg", "png", "rgb", "originals", "alldata", "dataset", "data", "unlabeled", "unlabelled",
})  # fmt: skip
ANNOTATIONS = frozenset({
    "annotation", "annotations", "annots", "mask", "masks", "label", "labels", "trimap", "trimaps", "xml", "xmls",
    "json", "segmentation", "segmentations", "segmentationclass", "segmentationobject", "groundtruth", "gt", "bbox",
    "bboxes", "boxes", "boundingboxes", "parts", "attributes", "imagesets", "lists", "meta", "metadata", "keypoints",
    "landmarks",
})  # fmt: skip
# What a numbered part of a set is called.
PARTS = frozenset({"part", "images", "image", "imgs", "img", "batch", "chunk", "shard", "fold", "archive", "folder"})
SYSTEM = frozenset({
    "__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found", "__pycache__", "#recycle",
})  # fmt: skip
# Clutter that data sets bring as a class of its own.
CLUTTER = re.compile(r"(\d+\W)?(background[\W_]google|clutter)", re.IGNORECASE)

MOST_NAMED = 20  # names in one message
ALIKE = 0.8  # share of all subfolders that each class folder has where they say that the folders are no classes
PAIRED = 0.9  # share of the pictures of a folder of masks that are named as pictures elsewhere
FLAT = 64  # colours that a mask has at most
LOOKED_AT = 5  # pictures of a folder whose colours are counted


@lru_cache(maxsize=4096)  # asked for every row of a table
def side_of(name: str) -> tuple[str, tuple[str, ...]] | None:
    """The side that a folder's or a table's name tells, and the words beside it; None where it names none or two."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z0-9])", " ", name)
    sides, rest = [], []
    for word in re.split(r"[\W_]+", apart.casefold()):
        bare = next((word.removesuffix(end) for end in FILLERS if word.removesuffix(end) in SIDE_WORDS), word)
        if bare in SIDE_WORDS:
            sides.append(SIDE_WORDS[bare])
        elif word and word not in FILLERS and not word.isdigit():
            rest.append(word)
    return (sides[0], tuple(rest)) if len(sides) == 1 else None


def sides_among(names: Iterable[str]) -> dict[str, list[str]]:
    """Those of the names that are sides of one split, by side: `train` and `Test_set`, or `seg_train` and `seg_test`.

    Empty where no train is among them.
    """
    groups: dict[tuple[str, ...], dict[str, list[str]]] = {}
    for name in names:
        found = side_of(name)
        if found is not None:
            groups.setdefault(found[1], {}).setdefault(found[0], []).append(name)
    split = [group for group in groups.values() if TRAIN in group]
    # Plain names before those with a word of their own, and a whole split before a part of one.
    return max(split, key=lambda group: (len(group), groups.get(()) is group), default={})


def is_system(name: str) -> bool:
    """Whether a folder is what an operating system or an archive program leaves behind."""
    return name.casefold() in SYSTEM


def purpose_of(name: str) -> str:
    """`pictures` or `annotations` for a folder named after what its files are for, else nothing.

    Numbered parts of a set, as `images_002` or `fold3`, are `pictures` too.
    """
    words = re.findall(r"[^\W\d_]+|\d+", name.casefold())
    if words and words[-1].isdigit() and PARTS & set(words):
        return "pictures"
    bare = re.sub(r"[\W_]+", "", name.casefold())
    return "pictures" if bare in PICTURES else "annotations" if bare in ANNOTATIONS else ""


def no_classes(names: Iterable[str]) -> bool:
    """Whether several folders are named after sides or purposes, or some of them after the sides of one split."""
    every = list(names)
    return len(every) >= 2 and (
        all(purpose_of(name) or side_of(name) for name in every) or len(sides_among(every)) >= 2
    )


def listed(names: Iterable[str], most: int = MOST_NAMED) -> str:
    """Names in backquotes with commas, the first of them where there are many."""
    every = list(names)
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(f"`{name}`" for name in every[:most]) + more


def leave_out(names: Iterable[str]) -> str:
    """The option that leaves classes out, as a shell takes it."""
    return f"--exclude {shlex.quote(','.join(names))}"


def subfolders(names: Iterable[str]) -> dict[str, int]:
    """How many files each folder directly below a class folder holds, itself as the empty name."""
    counts: dict[str, int] = {}
    for name in names:
        head, slash, _ = name.partition("/")
        counts[head if slash else ""] = counts.get(head if slash else "", 0) + 1
    return counts


def common_subfolders(below: Mapping[str, Sequence[str]]) -> list[str]:
    """The subfolders that all class folders have, where these hold nothing else of weight; else none.

    `below` has the files of each class folder, as paths below it.
    """
    if len(below) < 2:
        return []
    found = {name: subfolders(files) for name, files in below.items()}
    inner = [set(counts) - {""} for counts in found.values()]
    common, every = set.intersection(*inner), set.union(*inner)
    straight = sum(counts.get("", 0) for counts in found.values())
    few = straight <= (1 - PAIRED) * sum(map(len, below.values()))
    whole = len(common) >= 2 and all(len(names) >= ALIKE * len(every) for names in inner)
    return sorted(common) if few and whole else []


def check_folders(root: Path, below: Mapping[str, Sequence[str]], paths: Mapping[str, Sequence[Path]]) -> None:
    """Raises ValueError where class folders are rather something else: sides, purposes, masks, versions of one set.

    `below` has the files of each class folder as paths below it, `paths` the same as paths of the machine.
    """
    names = sorted(below)
    all_the_same = "; if these are the classes all the same, say so with --label-from top"
    common = common_subfolders(below)
    parts = common and all(purpose_of(name) == "pictures" for name in names)
    if no_classes(names) and not parts:
        inner = [name for name in names if len(set(subfolders(below[name])) - {""}) >= 2]
        inner = [name for name in inner if purpose_of(name) == "pictures"] or inner
        way = (
            f"give `{root / inner[0]}` if its folders are the classes"
            if len(inner) == 1
            else ways(file for files in below.values() for file in files)
        )
        raise ValueError(
            f"needs folders named after the classes; folders of `{root}` are named after sides or after what their "
            f"files are: {listed(names)}: {way}{all_the_same}"
        )
    if common:
        raise ValueError(
            f"needs folders that are the classes; all {len(names)} folders of `{root}` ({listed(names, 5)}) hold the "
            f"same {len(common)} folders ({listed(common, 5)}): give one of the folders as the data, say with "
            "--label-from parent that the inner folders are the classes, or with --label-from top that the outer are"
        )
    for name in names:
        others = set(names) - {name}
        inside = others & set(subfolders(below[name]))
        if len(inside) >= 2 and 2 * len(inside) >= len(others):
            raise ValueError(
                f"needs folders that are the classes; `{name}` of `{root}` holds folders named as those beside it "
                f"({listed(sorted(inside), 5)}), a copy of the whole set: move it away, leave it out with "
                f"{leave_out([name])}, or give `{root / name}` as the data{all_the_same}"
            )
    for name in names:
        others = set(names) - {name}
        # Of many classes files are often numbered alike, and one may be blank: there the name has to say it too.
        if not others or (len(names) > 2 and purpose_of(name) != "annotations") or not _paired(name, below):
            continue
        elsewhere = [path for other in sorted(others) for path in paths[other]]
        if _flat(paths[name]) and not _flat(elsewhere):
            raise ValueError(
                f"needs folders that are the classes; the files of `{name}` of `{root}` are named as the pictures of "
                f"{listed(sorted(others), 5)}, as masks or annotations of them would be: move `{name}` away"
                f"{all_the_same}"
            )


def ways(files: Iterable[str]) -> str:
    """How the classes of pictures can be told that lie together, by their names."""
    told = "put the pictures of each class into a folder of its own, or a table of labels (labels.csv) beside them"
    starts = Counter(re.split(r"[\d._ -]", PurePosixPath(file).name, maxsplit=1)[0] for file in files)
    words = sorted(start for start, count in starts.items() if len(start) >= 3 and count >= 3)
    return f"{told}; the names of the files begin with {listed(words, 5)}" if 2 <= len(words) <= MOST_NAMED else told


def _stems(files: Iterable[str]) -> list[str]:
    names = (PurePosixPath(file).stem.casefold() for file in files)
    return [re.sub(r"[\W_]+(mask|masks|seg|segmentation|gt|label|trimap|annotation)$", "", name) for name in names]


def _paired(name: str, below: Mapping[str, Sequence[str]]) -> bool:
    mine = _stems(below[name])
    theirs = {stem for other, files in below.items() if other != name for stem in _stems(files)}
    return len(mine) >= 3 and sum(stem in theirs for stem in mine) >= PAIRED * len(mine)


def _flat(paths: Sequence[Path]) -> bool:
    """Whether the pictures have so few colours as masks have."""
    from PIL import Image

    for path in paths[:: max(1, len(paths) // LOOKED_AT)][:LOOKED_AT]:
        try:
            with Image.open(path, formats=("PNG", "BMP", "TIFF", "GIF")) as image:
                if image.width * image.height > 4096**2 or image.getcolors(FLAT) is None:
                    return False
        except Exception:  # whatever a damaged file raises inside Pillow, or another format: no mask
            return False
    return True
