"""A folder of class folders, listed: names, labels, a digest of every file, and what was left out and why."""

import hashlib
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from results.delivery.files import OTHER_FILES
from results.delivery.files import printable as _printable

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SIDE_FOLDERS = {
    "train": TRAIN,
    "training": TRAIN,
    "validation": VALIDATION,
    "val": VALIDATION,
    "valid": VALIDATION,
    "test": TEST,
    "testing": TEST,
}

WORDNET_ID = re.compile(r"^n\d{8}[-_]")
OUTSIDE = "lies outside the class folders"
READERS = 8  # Hashing waits for the disk more than for the processor.


@dataclass(frozen=True)
class Picture:
    """One file that looks like a picture; whether it can be read is for `decode` to say."""

    name: str  # path below the root, with forward slashes, always printable
    path: Path
    label: int  # index into Folder.classes
    side: str | None  # train, validation or test where the folder is already split
    digest: str  # blake2b of the file's bytes, hexadecimal


@dataclass(frozen=True)
class LeftOut:
    """One file that is not used."""

    name: str
    reason: str


@dataclass(frozen=True)
class Folder:
    """The classes and pictures of a folder."""

    root: Path
    classes: tuple[str, ...]  # printed names, sorted
    pictures: tuple[Picture, ...]  # sorted by name
    left_out: tuple[LeftOut, ...]  # sorted by name
    digest: str  # of the classes and of every picture's name and content; the place of the folder does not matter
    presplit: bool
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _File:
    name: str
    path: Path
    class_folder: str
    side: str | None


def printed_name(folder: str) -> str:
    """The name of a class folder as people read it: `n02085936-Maltese_dog` is `Maltese dog`."""
    words = WORDNET_ID.sub("", folder).replace("_", " ").strip()
    return words or folder


def read_folder(root: Path, classes: int | None = None) -> Folder:
    """Lists a folder of class folders, or one already split into train/, validation/ and perhaps test/.

    `classes` keeps that many of the best-represented classes, ties by name. Pictures in folders below a class folder
    belong to that class. Hidden files and folders are passed over in silence; every other file that is not used is
    in `left_out`. Raises FileNotFoundError, NotADirectoryError or ValueError for a folder that cannot be searched.
    """
    root = Path(root)
    if not root.exists():
        raise FileNotFoundError(f"the data must be a folder of class folders, and there is nothing at `{root}`")
    if not root.is_dir():
        raise NotADirectoryError(f"the data must be a folder of class folders, and `{root}` is a file")
    if classes is not None and classes < 2:
        raise ValueError(f"needs at least 2 classes, got classes = {classes} for `{root}`")

    notes: list[str] = []
    left_out: list[LeftOut] = []
    sides = _sides(root, notes)
    files: list[_File] = []
    if sides:
        for side, folder in sides.items():
            files += _list_classes(folder, root, side, notes, left_out)
        for path in _entries(root, root, notes):
            if not path.is_dir():
                left_out.append(LeftOut(_name(path, root), OUTSIDE))
    else:
        files = _list_classes(root, root, None, notes, left_out)

    counts = Counter(file.class_folder for file in files)
    _check_classes(counts, classes, root)
    printed = _printed_names(counts)
    kept = sorted(counts, key=lambda folder: (-counts[folder], printed[folder]))[:classes]
    order = sorted(kept, key=lambda folder: (printed[folder], folder))
    labels = {folder: label for label, folder in enumerate(order)}
    files = sorted((file for file in files if file.class_folder in labels), key=lambda file: file.name)
    _check_sides(files, sides, root)
    if len(kept) < len(counts):
        notes.append(f"the {len(kept)} best-represented of {len(counts)} classes are kept")

    pictures = []
    with ThreadPoolExecutor(READERS) as readers:
        for file, (digest, reason) in zip(files, readers.map(_read, (file.path for file in files)), strict=True):
            if reason:
                left_out.append(LeftOut(file.name, reason))
            else:
                pictures.append(Picture(file.name, file.path, labels[file.class_folder], file.side, digest))
    with_pictures = {picture.label for picture in pictures}
    for label, class_folder in enumerate(order):
        if label not in with_pictures:
            raise ValueError(f"every class needs pictures, and no file of `{class_folder}` in `{root}` can be opened")

    content = hashlib.blake2b(digest_size=16)
    for line in [*order, *(f"{picture.name}\0{picture.digest}" for picture in pictures)]:
        content.update(line.encode() + b"\n")
    return Folder(
        root=root,
        classes=tuple(printed[folder] for folder in order),
        pictures=tuple(pictures),
        left_out=tuple(sorted(left_out, key=lambda file: file.name)),
        digest=content.hexdigest(),
        presplit=bool(sides),
        notes=tuple(notes),
    )


def _sides(root: Path, notes: list[str]) -> dict[str, Path]:
    """The folders of a folder that is already split, by side; empty where it is not split."""
    found: dict[str, Path] = {}
    beside = []
    for path in _entries(root, root, notes=None):
        side = SIDE_FOLDERS.get(path.name.casefold())
        if not path.is_dir():
            continue
        if side is None:
            beside.append(path.name)
        elif side in found:
            raise ValueError(f"needs one folder for {side}, got `{found[side].name}` and `{path.name}` in `{root}`")
        else:
            found[side] = path
    if TRAIN not in found or len(found) == 1 or not _holds_folders(found[TRAIN]):
        return {}  # A class may well be called `train`: it stands beside cars and ships, not beside `validation`.
    for side in (VALIDATION, TEST):
        if side in found and not _holds_folders(found[side]):
            notes.append(f"`{found[side].name}/` has no class folders and is not used")
            del found[side]
    if beside:
        notes.append(f"the folder is already split; not used beside it: {', '.join(_printable(n) for n in beside)}")
    return {side: found[side] for side in (TRAIN, VALIDATION, TEST) if side in found}


def _list_classes(folder: Path, root: Path, side: str | None, notes: list[str], left_out: list[LeftOut]) -> list[_File]:
    files = []
    for path in _entries(folder, root, notes):
        if not path.is_dir():
            left_out.append(LeftOut(_name(path, root), OUTSIDE))
            continue
        if Path(os.path.realpath(root)).is_relative_to(os.path.realpath(path)):
            notes.append(f"`{_name(path, root)}` leads back to the data folder and is not followed")
            continue
        class_folder = _printable(path.name)
        below = 0
        found = []
        for file in _walk(path, root, notes):
            name = _name(file, root)
            if file.suffix.lower() in OTHER_FILES:
                left_out.append(LeftOut(name, f"a {file.suffix.lower()} file is not a picture"))
                continue
            found.append(_File(name, file, class_folder, side))
            below += file.parent != path
        if below:
            notes.append(f"files in folders below `{_name(path, root)}` count as that class: {below}")
        if not found:
            notes.append(f"`{_name(path, root)}` holds no pictures and is not a class")
        files += found
    return files


def _walk(folder: Path, root: Path, notes: list[str]) -> Iterator[Path]:
    for path in _entries(folder, root, notes):
        if not path.is_dir():
            yield path
        elif path.is_symlink():  # It may lead in a circle, or anywhere at all.
            notes.append(f"`{_name(path, root)}` is a link to a folder and is not followed")
        else:
            yield from _walk(path, root, notes)


def _entries(folder: Path, root: Path, notes: list[str] | None) -> list[Path]:
    """What lies in a folder, sorted, without hidden names; a folder that may not be listed is noted and empty."""
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        if folder == root:
            raise
        if notes is not None:
            notes.append(f"`{_name(folder, root)}` cannot be listed: {error.strerror}")
        return []
    return [folder / name for name in names if not name.startswith(".")]


def _holds_folders(folder: Path) -> bool:
    return any(path.is_dir() for path in _entries(folder, folder, notes=None))


def _check_sides(files: list[_File], sides: dict[str, Path], root: Path) -> None:
    every = {file.class_folder for file in files}
    for side, folder in sides.items():
        missing = sorted(every - {file.class_folder for file in files if file.side == side})
        if missing:
            raise ValueError(
                f"every class needs pictures on every side of a split folder; `{folder.name}/` of `{root}` has none of"
                f" {', '.join(f'`{name}`' for name in missing)}"
            )


def _check_classes(counts: Counter[str], classes: int | None, root: Path) -> None:
    if not counts:
        raise ValueError(f"needs at least 2 class folders with pictures, got none in `{root}`")
    if len(counts) == 1:
        (only,) = counts
        inner = root / only
        hint = f"; if its folders are the classes, give `{inner}`" if inner.is_dir() and _holds_folders(inner) else ""
        raise ValueError(f"needs at least 2 class folders with pictures, got 1 (`{only}`) in `{root}`{hint}")
    if classes is not None and classes > len(counts):
        raise ValueError(f"needs classes <= {len(counts)}, the classes there are, got {classes} for `{root}`")


def _printed_names(folders: Counter[str]) -> dict[str, str]:
    """Printed names by class folder; folders that would print alike keep their own names."""
    alike = Counter(printed_name(folder) for folder in folders)
    return {folder: printed_name(folder) if alike[printed_name(folder)] == 1 else folder for folder in folders}


def _read(path: Path) -> tuple[str, str]:
    """The digest of a file's bytes, or else the reason why there is none."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # Opening a pipe would wait for ever.
            return "", "not a regular file"
        if status.st_size == 0:
            return "", "the file is empty"
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest(), ""
    except OSError as error:
        return "", f"the file cannot be opened: {error.strerror}"


def _name(path: Path, root: Path) -> str:
    return _printable(path.relative_to(root).as_posix())
