"""A folder of class folders, listed: names, labels, a digest of every file, and what was left out and why."""

import hashlib
import os
import re
import stat
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from results.delivery.files import printable as _printable
from search.data import label_sets
from search.data.class_folders import ClassFolders
from search.data.collecting import without_circles
from search.data.labelled import Labelled
from search.data.layout import (
    leave_out,
    listed,
    purpose_of,
    ways,
)
from search.data.library import is_brought
from search.data.listing import OUTSIDE, File, Listing
from search.data.rare import DROP, HANDFUL, REFUSE, dropped, told
from search.data.table import SUFFIXES, Columns, is_table, read_table
from search.data.walking import PICTURE_FILES, LeftOut

WORDNET_ID = re.compile(r"(^|(?<=/))n\d{8}[-_]")
AT_ONCE = 32  # files that one of them reads
AT_ONCE_BYTES = 1 << 22  # and of one of these
READERS = 8  # Hashing waits for the disk more than for the processor.

MOST_NOTES = 12  # that are told with a refusal


@dataclass(frozen=True)
class Picture:
    """One file that looks like a picture; whether it can be read is for `decode` to say."""

    name: str  # path below the root, with forward slashes, always printable
    path: Path
    label: int  # index into Folder.classes
    side: str | None  # train, validation or test where the folder is already split
    digest: str  # blake2b of the file's bytes, hexadecimal
    group: str = ""  # what a table says that it belongs to, such as a patient; empty for a picture by itself
    labels: tuple[int, ...] | None = None  # of several labels a picture; None where it has one class


@dataclass(frozen=True)
class Folder:
    """The classes and pictures of a folder."""

    root: Path
    classes: tuple[str, ...]  # printed names, sorted
    pictures: tuple[Picture, ...]  # by name as in class folders, whatever the layout: the split follows the order
    left_out: tuple[LeftOut, ...]  # sorted by name
    digest: str  # of the classes and of every picture's name and content; the place of the folder does not matter
    presplit: bool
    notes: tuple[str, ...]
    multilabel: bool = False  # whether a picture has any number of the labels that `classes` holds then

    def of(self, picture: Picture) -> str:
        """The class of a picture, or all its labels, as people read it."""
        if picture.labels is None:
            return self.classes[picture.label]
        return label_sets.read(label_sets.packed(self.classes[label] for label in picture.labels))


def printed_name(folder: str) -> str:
    """The name of a class folder as people read it: `n02085936-Maltese_dog` is `Maltese dog`.

    Of a path of folders each part reads so.
    """
    words = WORDNET_ID.sub("", folder).replace("_", " ").strip()
    return words or folder


def check_root(root: Path) -> None:
    """Raises FileNotFoundError or NotADirectoryError for what can be no data."""
    if not root.exists():
        raise FileNotFoundError(f"the data must be a folder of class folders, and there is nothing at `{root}`")
    if not root.is_dir() and not is_table(root.name):
        raise NotADirectoryError(
            "the data must be a folder of class folders, an archive (.zip, .tar, .tar.gz) of one, or a table of labels "
            f"({', '.join(SUFFIXES)}), and `{root}` is a file of another kind"
        )


def read_folder(
    root: Path,
    classes: int | None = None,
    *,
    exclude: Sequence[str] = (),
    min_pictures: int | None = None,
    rare: str = REFUSE,
    resplit: bool = False,
    label_from: str = "auto",
    label_pattern: str = "",
    columns: Columns | None = None,
    images: Path | None = None,
    own: Sequence[Path] = (),
) -> Folder:
    """Lists a folder of class folders, one already split into train/, validation/ and perhaps test/, or a table's.

    Where no folder can be a class, a table of labels beside the pictures gives the classes; `root` may be the table.
    Pictures in folders below a class folder belong to that class. Every file that is not used is in `left_out`, but
    for hidden ones and the unlabelled pictures that a note counts. Raises FileNotFoundError, NotADirectoryError or
    ValueError for a folder that cannot be searched; the message ends with the notes so far.

    Args:
        classes: keeps that many of the best-represented classes, ties by name.
        exclude: classes that are left out, by the name of their folder or as it is printed.
        min_pictures: classes with fewer pictures are left out; copies and unreadable ones count here.
        rare: `drop` leaves out classes of a handful of pictures that a side of a split folder lacks.
        resplit: puts the folder's own sides together.
        label_from: `top`: the folders directly below the data are the classes, whatever they look like; `parent`: the
            folders that hold the pictures; `path`: all folders between the data and the picture, with slashes between;
            `auto`: as `top`, where nothing speaks against it.
        label_pattern: a regular expression whose group finds the class in the name of a file, or in its path below the
            data where the expression has a slash.
        columns: of a table, where they are not to be found by their usual names.
        images: the folder that the paths of a table are relative to, where it is not the table's own.
        own: folders that a search writes, which are no data.
    """
    root = Path(root)
    check_root(root)
    if classes is not None and classes < 2:
        raise ValueError(f"needs at least 2 classes, got classes = {classes} for `{root}`")
    columns = columns or Columns()
    if images is not None:
        _check_images(root, images)
    table = None if root.is_dir() else root
    if table is not None and (label_pattern or label_from != "auto"):
        option = "--label-pattern" if label_pattern else f"--label-from {label_from}"
        raise ValueError(f"{option} needs a folder of pictures, and `{root}` is a table, which has the classes itself")
    listing = Listing(images or (root if table is None else root.parent), own, label_from, resplit, columns)
    try:
        with without_circles():
            if table is not None:
                Labelled(listing).list_table({None: read_table(table, columns)})
            elif is_brought(root):
                Labelled(listing).list_set()
            elif label_pattern:
                Labelled(listing).list_by_pattern(label_pattern)
            else:
                ClassFolders(listing).fill()
            return _chosen(listing, classes, exclude, min_pictures, rare)
    except ValueError as error:
        raise ValueError(with_notes(_printable_lines(str(error)), listing.notes.told())) from error


def _check_images(root: Path, images: Path) -> None:
    if root.is_dir():
        raise ValueError(
            "--images says what the paths of a table are relative to: needs a table as the data "
            f"({', '.join(SUFFIXES)}), got the folder `{root}`"
        )
    if not images.is_dir():
        kind = "is a file" if images.exists() else "is not there"
        raise NotADirectoryError(f"--images needs a folder of pictures or an archive of one, and `{images}` {kind}")


def with_notes(message: str, notes: Sequence[str]) -> str:
    """A refusal, and below it what was noted on the way to it."""
    more = [f"and {len(notes) - MOST_NOTES} more notes"] if len(notes) > MOST_NOTES else []
    return "\n".join([message, *(f"  note: {note}" for note in [*notes[:MOST_NOTES], *more])])


def without_small_classes(folder: Folder, counts: Sequence[int], least: int) -> Folder:
    """The folder without the classes that have fewer pictures than the least; their pictures get the label -1.

    `counts` are the pictures of each class that can be used. The digest stays, since the pictures do.
    """
    small = {label: count for label, count in enumerate(counts) if count < least}
    if not small:
        return folder
    left = len(folder.classes) - len(small)
    if left < 2:
        raise ValueError(f"--min-pictures {least} leaves {left} of {len(counts)} classes, and 2 are needed")
    return without_classes(folder, small, _too_small({folder.classes[label]: of for label, of in small.items()}, least))


def without_classes(folder: Folder, gone: Collection[int], note: str) -> Folder:
    """The folder without the classes of these labels, and with a note of it; their pictures get the label -1."""
    kept = [label for label in range(len(folder.classes)) if label not in gone]
    labels = {old: new for new, old in enumerate(kept)}
    return replace(
        folder,
        classes=tuple(folder.classes[label] for label in kept),
        pictures=tuple(replace(picture, label=labels.get(picture.label, -1)) for picture in folder.pictures),
        notes=(*folder.notes, note),
    )


def _chosen(
    listing: Listing, classes: int | None, exclude: Sequence[str], min_pictures: int | None, rare: str
) -> Folder:
    """Those classes of what was listed that are asked for, with the digests of their pictures."""
    root, files = listing.root, listing.files
    if any(file.labels is not None for file in files):
        return _with_labels(listing, classes, exclude, min_pictures)
    if exclude:
        every = {file.class_folder for file in files}
        by_name = {name: {folder for folder in every if name in (folder, printed_name(folder))} for name in exclude}
        unknown = [name for name, found in by_name.items() if not found]
        if unknown:
            raise ValueError(
                f"--exclude needs names of classes, got `{unknown[0]}` for `{root}`, which has {listed(sorted(every))}"
            )
        gone = set().union(*by_name.values())
        files = [file for file in files if file.class_folder not in gone]
        listing.notes.say(f"left out by --exclude: {listed(sorted(gone))}")
    listing.check(files)
    counts = Counter(file.class_folder for file in files)
    if min_pictures:
        small = {name: count for name, count in sorted(counts.items()) if count < min_pictures}
        if small:
            listing.notes.say(_too_small(small, min_pictures))
        files = [file for file in files if file.class_folder not in small]
        counts = Counter(file.class_folder for file in files)
    if rare == DROP and listing.sides and not listing.resplit:
        few = _rare_of_sides(files, listing.sides)
        if few:
            listing.notes.say(dropped(few))
        files = [file for file in files if file.class_folder not in few]
        counts = Counter(file.class_folder for file in files)
    straight = [item.name for item in listing.left_out if item.reason == OUTSIDE and "/" not in item.name]
    _check_classes(counts, classes, root, [name for name in straight if Path(name).suffix.lower() in PICTURE_FILES])
    printed = _printed_names(counts)
    kept = sorted(counts, key=lambda folder: (-counts[folder], printed[folder]))[:classes]
    order = sorted(kept, key=lambda folder: (printed[folder], folder))
    labels = {folder: label for label, folder in enumerate(order)}
    presplit = bool(listing.sides) and not listing.resplit
    files = sorted((file for file in files if file.class_folder in labels), key=listing.order(presplit))
    if presplit:
        _check_sides(files, listing.sides, root)
    if len(kept) < len(counts):
        listing.notes.say(f"the {len(kept)} best-represented of {len(counts)} classes are kept")

    opened, left_out = _opened(listing, files)
    pictures = [
        Picture(file.name, file.path, labels[file.class_folder], file.side if presplit else None, digest, file.group)
        for file, digest in opened
    ]
    with_pictures = {picture.label for picture in pictures}
    closed = [class_folder for label, class_folder in enumerate(order) if label not in with_pictures]
    if closed:
        raise ValueError(
            f"every class needs pictures, and no file of {listed(closed)} in `{root}` can be opened: mend the files, or"
            f" leave the class out with {leave_out(closed)}"
        )

    # The name of a picture says its class, but for what a table or a pattern says.
    told = [f"\0{order[picture.label]}\0{picture.side}" if listing.from_table else "" for picture in pictures]
    return Folder(
        root=root,
        classes=tuple(printed[folder] for folder in order),
        pictures=tuple(pictures),
        left_out=tuple(sorted(left_out, key=lambda file: file.name)),
        digest=_digest(order, pictures, told),
        presplit=presplit,
        notes=tuple(listing.notes.told()),
    )


def _with_labels(listing: Listing, classes: int | None, exclude: Sequence[str], min_pictures: int | None) -> Folder:
    """Those labels of a table of several labels a picture that are asked for, and all its pictures."""
    presplit = bool(listing.sides) and not listing.resplit
    files = sorted(listing.files, key=listing.order(presplit))
    sets = {file.name: file.labels or () for file in files}
    where = f"the table of `{listing.root}`"
    label_sets.check_several(sets.values(), where, listing.columns.separator)
    printed = _printed_names(Counter(label for labels in sets.values() for label in labels))
    order, notes = label_sets.chosen(
        sets, printed, where=where, classes=classes, exclude=exclude, min_pictures=min_pictures
    )
    for line in notes:
        listing.notes.say(line)
    place = {label: number for number, label in enumerate(order)}
    opened, left_out = _opened(listing, files)
    pictures = [
        Picture(
            file.name, file.path, 0, file.side if presplit else None, digest, file.group,
            tuple(sorted(place[label] for label in file.labels or () if label in place)),
        )
        for file, digest in opened
    ]  # fmt: skip
    if not pictures:
        raise ValueError(f"needs pictures, and no file that {where} names can be opened")
    told = [f"\0{[order[label] for label in picture.labels or ()]}\0{picture.side}" for picture in pictures]
    return Folder(
        root=listing.root,
        classes=tuple(printed[label] for label in order),
        pictures=tuple(pictures),
        left_out=tuple(sorted(left_out, key=lambda file: file.name)),
        digest=_digest(order, pictures, told),
        presplit=presplit,
        notes=tuple(listing.notes.told()),
        multilabel=True,
    )


def _opened(listing: Listing, files: Sequence[File]) -> tuple[list[tuple[File, str]], list[LeftOut]]:
    """The files that can be opened with the digests of their bytes, and all that is left out."""
    opened = []
    left_out = [*listing.left_out, *listing.walk.hidden.values()]
    with ThreadPoolExecutor(READERS) as readers:
        # Handing over one file costs more than listing a small one.
        blocks = [files[start : start + AT_ONCE] for start in range(0, len(files), AT_ONCE)]
        for block, found in zip(blocks, readers.map(_read_all, blocks), strict=True):
            for file, (digest, reason) in zip(block, found, strict=True):
                if reason:
                    left_out.append(LeftOut(file.name, reason))
                else:
                    opened.append((file, digest))
    return opened, left_out


def _digest(order: Sequence[str], pictures: Sequence[Picture], told: Sequence[str]) -> str:
    """A name for classes, and for pictures with what is told of each."""
    content = hashlib.blake2b(digest_size=16)
    told = [f"{more}\0{p.group}" if p.group else more for more, p in zip(told, pictures, strict=True)]
    lines = [f"{picture.name}\0{picture.digest}{more}" for picture, more in zip(pictures, told, strict=True)]
    if find_spec("pillow_heif") and any(picture.name.lower().endswith((".heic", ".heif")) for picture in pictures):
        lines.append("read by pillow-heif")  # without it they were left out, and what is cached says so
    for line in [*order, *lines]:
        content.update(line.encode() + b"\n")
    return content.hexdigest()


def _rare_of_sides(files: list[File], sides: Mapping[str, str]) -> dict[str, int]:
    """Classes that a side lacks, with their counts of pictures: all of them where each is rare, else none."""
    counts = Counter(file.class_folder for file in files)
    lacking = {name for side in sides for name in set(counts) - {f.class_folder for f in files if f.side == side}}
    every = {name.casefold().strip() for name in counts}
    # Classes that differ in capital letters alone are one class under two names, which is to be mended.
    if len(every) < len(counts) or len(counts) - len(lacking) < 2 or any(counts[name] >= HANDFUL for name in lacking):
        return {}
    return {name: counts[name] for name in sorted(lacking)}


def _check_sides(files: list[File], sides: Mapping[str, str], root: Path) -> None:
    every = {file.class_folder for file in files}
    lacking = {side: sorted(every - {file.class_folder for file in files if file.side == side}) for side in sides}
    told = [f"`{sides[side]}/` of `{root}` has none of {listed(names)}" for side, names in lacking.items() if names]
    if told:
        names = sorted({name for names in lacking.values() for name in names})
        if len({name.casefold().strip() for name in names}) < len(names):
            told.append("some of these differ in small and capital letters alone")
        out = f"leave {'it' if len(names) == 1 else 'them'} out with {leave_out(names)}, or " if len(names) < 20 else ""
        raise ValueError(
            f"every class needs pictures on every side of a split folder; {'; '.join(told)}: {out}cut the sides anew "
            "from all pictures with --resplit"
        )


def _check_classes(counts: Counter[str], classes: int | None, root: Path, straight: Sequence[str]) -> None:
    if not counts:
        hint = f"; {len(straight)} pictures lie straight in it: {ways(straight)}" if straight else ""
        raise ValueError(f"needs at least 2 class folders with pictures, got none in `{root}`{hint}")
    if len(counts) == 1:
        (only,) = counts
        inner = root / only
        hint = f"; if its folders are the classes, give `{inner}`" if inner.is_dir() and _holds_folders(inner) else ""
        if purpose_of(only) and not hint:
            hint = f", which says what its files are and not of which class: {ways(())}"
        raise ValueError(f"needs at least 2 class folders with pictures, got 1 (`{only}`) in `{root}`{hint}")
    if classes is not None and classes > len(counts):
        raise ValueError(f"needs classes <= {len(counts)}, the classes there are, got {classes} for `{root}`")


def _holds_folders(folder: Path) -> bool:
    return any(path.is_dir() for path in folder.iterdir() if not path.name.startswith("."))


def _too_small(small: Mapping[str, int], least: int) -> str:
    return f"classes with fewer than {least} pictures are left out by --min-pictures: {told(small)}"


def _printable_lines(text: str) -> str:
    return "\n".join(_printable(line) for line in text.split("\n"))


def _printed_names(folders: Counter[str]) -> dict[str, str]:
    """Printed names by class folder; folders that would print alike keep their own names."""
    alike = Counter(printed_name(folder) for folder in folders)
    return {folder: printed_name(folder) if alike[printed_name(folder)] == 1 else folder for folder in folders}


def _read_all(files: Sequence[File]) -> list[tuple[str, str]]:
    return [_read(file.path) for file in files]


def _read(path: Path) -> tuple[str, str]:
    """The digest of a file's bytes, or else the reason why there is none."""
    try:
        # Opening a pipe would wait for ever.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                return "", "not a regular file"
            if status.st_size == 0:
                return "", "the file is empty"
            content = hashlib.blake2b(digest_size=16)
            while part := file.read(AT_ONCE_BYTES):
                content.update(part)
            return content.hexdigest(), ""
    except OSError as error:
        return "", f"the file cannot be opened: {error.strerror}"
