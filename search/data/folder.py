"""A folder of class folders, listed: names, labels, a digest of every file, and what was left out and why."""

import hashlib
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from results.delivery.files import OTHER_FILES
from results.delivery.files import printable as _printable
from search.data import label_sets
from search.data.collecting import without_circles
from search.data.layout import (
    CLUTTER,
    TEST,
    TRAIN,
    VALIDATION,
    check_folders,
    common_subfolders,
    leave_out,
    listed,
    no_classes,
    purpose_of,
    side_of,
    sides_among,
    subfolders,
    ways,
)
from search.data.library import is_brought, read_set
from search.data.rare import DROP, HANDFUL, REFUSE, dropped, told
from search.data.table import SUFFIXES, Columns, Labels, Table, is_table, match, read_table
from search.data.walking import PICTURE_FILES, LeftOut, Notes, Walk, counted

SIDES = (TRAIN, VALIDATION, TEST)

WORDNET_ID = re.compile(r"(^|(?<=/))n\d{8}[-_]")
OUTSIDE = "lies outside the class folders"
AT_ONCE = 32  # files that one of them reads
AT_ONCE_BYTES = 1 << 22  # and of one of these
READERS = 8  # Hashing waits for the disk more than for the processor.

BELOW = "files in folders below {count} class folders count as those classes: {names}"
EMPTY = "{count} folders hold no pictures and are no classes: {names}"
INNER = ("parent", "path")  # of `label_from`: the classes are not the folders directly below the data
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


@dataclass(frozen=True)
class _File:
    name: str
    path: Path
    folder: str  # the folder directly below the data, or below a side of it
    below: str  # path below that
    class_folder: str
    side: str | None
    group: str = ""
    labels: tuple[str, ...] | None = None


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
    reading = _Reading(images or (root if table is None else root.parent), own, label_from, resplit, columns)
    try:
        with without_circles():
            if table is not None:
                reading.list_table({None: read_table(table, columns)})
            elif is_brought(root):
                reading.list_set()
            elif label_pattern:
                reading.list_by_pattern(label_pattern)
            else:
                reading.list_folder()
            return _chosen(reading, classes, exclude, min_pictures, rare)
    except ValueError as error:
        raise ValueError(with_notes(_printable_lines(str(error)), reading.notes.told())) from error


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


class _Reading:
    """The files of a folder as they are found, and what is to be said of them."""

    def __init__(self, root: Path, own: Sequence[Path], label_from: str, resplit: bool, columns: Columns) -> None:
        self.root = root
        self.files: list[_File] = []
        self.left_out: list[LeftOut] = []
        self.sides: dict[str, str] = {}  # how each side is called where the data is already split
        self.from_table = False
        self.resplit = resplit
        self.notes = Notes()
        self.walk = Walk(root, own, self.notes)
        self._name = self.walk.name
        self._label_from = label_from
        self.columns = columns
        self._matched: dict[Path, Labels] = {}  # what a table that lies there says of the pictures
        self._checked = False  # whether the folders have to look like classes
        self._place = root  # where the class folders lie, of train where there are sides

    def order(self, presplit: bool) -> Callable[[_File], tuple[str, str]]:
        """By what files are sorted: their names in class folders, those that they would have there elsewhere."""
        if not self.from_table and self._label_from not in INNER:
            return lambda file: (file.name, "")
        return lambda file: (
            f"{file.side if presplit else ''}/{file.class_folder}/{file.name.rpartition('/')[2]}",
            file.name,
        )

    def list_folder(self) -> None:
        """Lists the pictures of class folders, of sides, or of a table that lies there."""
        if self.columns.any():
            tables = self._find_tables()
            if not tables:
                raise ValueError(
                    f"a named column needs a table of labels ({', '.join(SUFFIXES)}), and none of `{self.root}` can be "
                    "read"
                )
            self.list_table(tables)
            return
        sides = self._find_sides()
        for side, folder in sides.items():
            self._list_classes(folder, side)
        if sides:
            self.sides = {side: self._name(folder) for side, folder in sides.items()}
            for path in self.walk.entries(self.root):
                if not path.is_dir():
                    self.left_out.append(LeftOut(self._name(path), OUTSIDE))
        else:
            self._list_classes(self.root, None)
            folders = {file.folder for file in self.files}
            if self._label_from == "auto" and (len(folders) < 2 or no_classes(folders)):
                tables = self._find_tables()
                if tables:
                    self.files.clear()
                    self.left_out.clear()
                    for kind in (BELOW, EMPTY):
                        self.notes.forget(kind)
                    self.list_table(tables)
                    return
            self._find_inner_sides()
        self._checked = self._label_from == "auto" and (bool(sides) or not self.sides)
        self._place = sides.get(TRAIN, self.root)
        if self._label_from == "parent":
            self._tell_joined()
        for name in sorted({file.class_folder for file in self.files}):
            if CLUTTER.fullmatch(name):
                self.notes.say(
                    f"`{name}` is clutter by its name and is searched as a class; {leave_out([name])} leaves it out"
                )
        if self.resplit and self.sides:
            self.notes.say(f"--resplit: {', '.join(self.sides.values())} are put together and cut anew")

    def check(self, files: Sequence[_File]) -> None:
        """Raises ValueError where the folders of these files are rather something else than classes."""
        if not self._checked:
            return
        below: dict[str, list[str]] = {}
        paths: dict[str, list[Path]] = {}
        for file in files:
            if file.side in (None, TRAIN):
                below.setdefault(file.folder, []).append(file.below)
                paths.setdefault(file.folder, []).append(file.path)
        check_folders(self._place, below, paths)

    def list_table(self, tables: Mapping[str | None, Table]) -> None:
        """Lists the pictures that one table names, or several, one for each side."""
        self.from_table = True
        there = {}
        for path in self.walk.files(self.root):
            name = self._name(path)
            if path.suffix.lower() not in OTHER_FILES:
                there[name] = path
            elif path not in [table.path for table in tables.values()]:
                self.left_out.append(LeftOut(name, f"a {path.suffix.lower()} file is not a picture"))
        labelled: dict[str, tuple[str, str | None]] = {}
        groups: dict[str, str] = {}
        names = sorted(there)
        for side, table in tables.items():
            before = self._matched.get(table.path) if side is None else None
            found = before or match(table, names, root=self.root, side=side)
            groups |= found.groups
            for line in found.notes:
                self.notes.say(_printable(line))
            self.left_out += [LeftOut(name, _printable(reason)) for name, reason in found.left_out.items()]
            for name, label in found.classes.items():
                of = found.sides.get(name)
                if name in labelled and labelled[name] != (label, of):
                    raise ValueError(
                        f"needs tables that agree, and `{name}` is in several of them: {listed(map(str, tables))}"
                    )
                labelled[name] = (label, of)
        if len({bool(table.sets) for table in tables.values()}) > 1:
            several = listed(table.path.name for table in tables.values())
            raise ValueError(
                f"needs tables that agree, and some of {several} give a picture several labels and some one class: "
                "--label-separator says that all of them may have several"
            )
        told = {side for _, side in labelled.values() if side}
        if told and TRAIN not in told:
            raise ValueError(f"needs pictures of train, and the table has only {' and '.join(sorted(told))}")
        self.sides = {side: side for side in SIDES if side in told}
        self.files = [
            _labelled(name, there[name], label, side, groups.get(name, "")) for name, (label, side) in labelled.items()
        ]
        gone = {item.name for item in self.left_out}
        rest = [name for name in sorted(there) if name not in labelled and name not in gone]
        known = {name.rpartition("/")[0] for name in labelled}
        aside = Counter(name.partition("/")[0] for name in rest if name.rpartition("/")[0] not in known)
        for folder, count in sorted(aside.items()):
            self.notes.say(
                f"no picture in `{folder}` has a row in the table, and they are not used: {counted(count)}",
                folder,
                "pictures in {count} folders have no row in the table and are not used: {names}",
            )
        lacking = [name for name in rest if name.rpartition("/")[0] in known]
        self.left_out += [LeftOut(name, "no row of the table names it") for name in lacking]
        if lacking:
            self.notes.say(f"no row of the table names {counted(len(lacking))}, first `{lacking[0]}`")
        if self.resplit and told:
            self.notes.say(f"--resplit: {', '.join(self.sides)} of the table are put together and cut anew")

    def list_set(self) -> None:
        """Lists the pictures of a set that a library has, of which a file tells classes and sides."""
        self.from_table = True
        notes, told = read_set(self.root)
        for line in notes:
            self.notes.say(_printable(line))
        self.files = [
            _File(name, self.root / name, _printable(label), "", _printable(label), side, group)
            for name, label, side, group in told
        ]
        sides = {file.side for file in self.files}
        self.sides = {side: side for side in SIDES if side in sides}
        if self.resplit and self.sides:
            self.notes.say(f"--resplit: {', '.join(self.sides)} of the set are put together and cut anew")

    def _find_tables(self) -> dict[str | None, Table]:
        """The table of labels that lies beside pictures, or one for each side; empty where none can be read."""
        places = [self.root, *self.walk.folders(self.root)]
        paths = [
            path for place in places for path in self.walk.entries(place) if is_table(path.name) and path.is_file()
        ]
        if not paths:
            return {}
        names = sorted(
            self._name(path) for path in self.walk.files(self.root) if path.suffix.lower() not in OTHER_FILES
        )
        found: dict[Path, Table] = {}
        unread = []
        for path in paths:
            shown = self._name(path)
            try:
                if "submission" in path.name.casefold():
                    raise ValueError("by its name it is a form to fill in")
                table = read_table(path, self.columns)
                self._matched[path] = match(table, names, root=self.root)
                found[path] = table
            except (ValueError, OSError) as error:
                unread.append(_printable(f"`{shown}` is not read: {error}"))
        if not found:
            for line in unread:
                self.notes.say(line)
            return {}
        by_side: dict[str | None, Table] = {}
        for side, stems in sides_among(path.stem for path in found).items():
            by_side[side] = next(table for path, table in found.items() if path.stem == stems[0])
        if len(by_side) == len(found) > 1:
            return by_side
        if len(found) > 1:
            several = listed(self._name(path) for path in found)
            raise ValueError(
                f"needs one table of labels, and {several} of `{self.root}` could each be it: give one of them as the "
                f"data, for instance `{next(iter(found))}`"
            )
        return dict.fromkeys([None], next(iter(found.values())))

    def _find_sides(self) -> dict[str, Path]:
        """The folders of a folder that is already split, by side; empty where it is not split."""
        folders = self.walk.folders(self.root)
        by_name = {path.name: path for path in folders}
        found = sides_among(by_name)
        if not found or (len(found) == 1 and len(folders) > 1):
            return {}  # A class may well be called `train`: it stands beside cars and ships, not beside `validation`.
        sides: dict[str, Path] = {}
        flat: list[Path] = []
        for side in SIDES:
            places = [(name, self.walk.unwrapped(by_name[name])) for name in found.get(side, ())]
            with_classes = [(name, place) for name, place in places if self.walk.folders(place)]
            if len(with_classes) > 1:
                both = " and ".join(f"`{name}`" for name, _ in with_classes)
                raise ValueError(f"needs one folder for {side}, got {both} in `{self.root}`: rename or join them")
            if with_classes:
                sides[side] = with_classes[0][1]
            flat += [place for _, place in places if not self.walk.folders(place)]
        if TRAIN not in sides:
            return {}
        classes = {path.name for path in self.walk.folders(sides[TRAIN])}
        for side in (VALIDATION, TEST):
            names = [path.name for path in self.walk.folders(sides[side])] if side in sides else []
            if len(names) == 1 and names[0] not in classes and self._label_from not in INNER:
                self.notes.say(
                    f"`{self._name(sides[side])}/` holds only `{_printable(names[0])}`, which is no class of "
                    f"`{self._name(sides[TRAIN])}/`: unlabelled pictures, not used: {self.walk.counted(sides[side])}"
                )
                del sides[side]
        tables = [self._name(path) for path in self.walk.entries(self.root) if is_table(path.name)]
        for folder in flat:
            own = [name for name in tables if side_of(name.rpartition(".")[0]) == side_of(folder.name)]
            unread = f"; {listed(own)} is not read, since the folders of train are the classes" if own else ""
            self.notes.say(
                f"`{self._name(folder)}/` has no class folders and is not used: {self.walk.counted(folder)}{unread}"
            )
        used = {name for names in found.values() for name in names}
        beside = [name for name in by_name if name not in used]
        if beside:
            self.notes.say(
                f"the folder is already split; not used beside it: {', '.join(_printable(n) for n in beside)}"
            )
        return sides

    def _find_inner_sides(self) -> None:
        """Takes the folders below the class folders for sides, where all of them are sides and nothing else."""
        below: dict[str, list[str]] = {}
        for file in self.files:
            below.setdefault(file.folder, []).append(file.below)
        if self._label_from in INNER:
            return
        common = common_subfolders(below)
        found = sides_among(common)
        if len(found) < 2 or sum(map(len, found.values())) != len(common) or any(len(n) > 1 for n in found.values()):
            return
        side = {names[0]: of for of, names in found.items()}
        outside = [file for file in self.files if file.below.partition("/")[0] not in side]
        self.left_out += [LeftOut(file.name, "lies on no side of its class") for file in outside]
        self.files = [
            replace(file, side=side[file.below.partition("/")[0]]) for file in self.files if file not in outside
        ]
        self.sides = {of: names[0] for of, names in found.items()}
        self.notes.forget(BELOW)
        self.notes.say(f"every class folder is already split into {', '.join(side)}")

    def _list_classes(self, folder: Path, side: str | None) -> None:
        for path in self.walk.entries(folder):
            if not path.is_dir():
                self.left_out.append(LeftOut(self._name(path), OUTSIDE))
                continue
            if Path(os.path.realpath(self.root)).is_relative_to(os.path.realpath(path)):
                self.notes.say(f"`{self._name(path)}` leads back to the data folder and is not followed")
                continue
            if self.walk.passed_over(path):
                continue
            found = [file for file in self.walk.files(path) if self._may_be_picture(file)]
            kept = self._without_annotations(path, found)
            below = 0
            for file in kept:
                top = _printable(path.name)
                inner = _printable(file.relative_to(path).as_posix())
                self.files.append(_File(self._name(file), file, top, inner, self._class_of(file, folder, top), side))
                below += file.parent != path
            if below and self._label_from not in INNER:
                self.notes.say(
                    f"files in folders below `{self._name(path)}` count as that class: {below}",
                    self._name(path),
                    BELOW,
                )
            if not found:
                self.notes.say(
                    f"`{self._name(path)}` holds no pictures and is not a class",
                    self._name(path),
                    EMPTY,
                )

    def _class_of(self, file: Path, folder: Path, top: str) -> str:
        """The class of a file below the folder of all classes."""
        if self._label_from == "parent":
            return _printable(file.parent.name)
        return _printable(file.parent.relative_to(folder).as_posix()) if self._label_from == "path" else top

    def _tell_joined(self) -> None:
        """Says where --label-from parent makes one class of folders in different places."""
        places: dict[str, set[str]] = {}
        for file in self.files:
            outer = file.below.rpartition("/")[0].rpartition("/")[0]
            whole = f"{file.folder}/{outer}".rstrip("/") if "/" in file.below else ""
            places.setdefault(file.class_folder, set()).add(whole)
        for name, found in sorted(places.items()):
            if len(found) > 1:
                self.notes.say(
                    f"`{name}` is a folder of {listed(sorted(found), 3)}: one class; --label-from path keeps them "
                    "apart",
                    name,
                    "{count} classes have their pictures in several folders of one name: {names}; --label-from path "
                    "keeps these apart",
                )

    def list_by_pattern(self, pattern: str) -> None:
        """Lists the pictures whose names tell their class; folders tell sides alone."""
        expression = re.compile(pattern)
        group: int | str = "label" if "label" in expression.groupindex else 1
        found: list[tuple[Path, str, str]] = []
        unmatched = []
        for path in self.walk.files(self.root):
            if not self._may_be_picture(path):
                continue
            name = self._name(path)
            hit = expression.search(name if "/" in pattern else path.name)
            label = (hit[group] or "").strip() if hit else ""
            if label:
                found.append((path, name, _printable(label)))
            else:
                unmatched.append(name)
        if not found:
            first = f"first `{unmatched[0]}`" if unmatched else "none of which is a picture"
            raise ValueError(
                f"--label-pattern needs to find the class in names of files, and `{pattern}` finds none in those of "
                f"`{self.root}`, {first}"
            )
        if unmatched:
            self.left_out += [LeftOut(name, "--label-pattern finds no class in its name") for name in unmatched]
            self.notes.say(f"not used: {counted(len(unmatched))} in whose name --label-pattern finds no class, first "
                      f"`{unmatched[0]}`")  # fmt: skip
        tops = {name.partition("/")[0] for _, name, _ in found if "/" in name}
        side_of_top = {top: side for side, names in sides_among(tops).items() for top in names}
        split = set(side_of_top) == tops and len(set(side_of_top.values())) > 1 and all("/" in n for _, n, _ in found)
        self.sides = {side: side for side in SIDES if side in side_of_top.values()} if split else {}
        self.from_table = True  # the digest needs the classes, which folders do not tell
        for path, name, label in found:
            side = side_of_top[name.partition("/")[0]] if split else None
            self.files.append(_File(name, path, label, "", label, side))

    def _without_annotations(self, folder: Path, files: list[Path]) -> list[Path]:
        """The files of a class folder, without the masks that lie in it beside a folder of its pictures."""
        inner = subfolders(file.relative_to(folder).as_posix() for file in files)
        aside = [name for name in inner if purpose_of(name) == "annotations"]
        if not aside or not any(purpose_of(name) == "pictures" for name in inner):
            return files
        for name in aside:
            self.notes.say(
                f"`{self._name(folder / name)}` lies beside the pictures of its class and is not used",
                self._name(folder / name),
                "{count} folders lie beside the pictures of their class and are not used: {names}",
            )
        return [file for file in files if file.relative_to(folder).parts[0] not in aside]

    def _may_be_picture(self, file: Path) -> bool:
        if file.suffix.lower() in OTHER_FILES:
            self.left_out.append(LeftOut(self._name(file), f"a {file.suffix.lower()} file is not a picture"))
            return False
        return True


def _labelled(name: str, path: Path, label: str, side: str | None, group: str) -> _File:
    """A file and what a table says of it."""
    told, labels = _printable(label_sets.read(label)), label_sets.unpacked(label)
    return _File(name, path, told, "", told, side, group, None if labels is None else tuple(map(_printable, labels)))


def _chosen(
    reading: _Reading, classes: int | None, exclude: Sequence[str], min_pictures: int | None, rare: str
) -> Folder:
    """Those classes of what was listed that are asked for, with the digests of their pictures."""
    root, files = reading.root, reading.files
    if any(file.labels is not None for file in files):
        return _with_labels(reading, classes, exclude, min_pictures)
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
        reading.notes.say(f"left out by --exclude: {listed(sorted(gone))}")
    reading.check(files)
    counts = Counter(file.class_folder for file in files)
    if min_pictures:
        small = {name: count for name, count in sorted(counts.items()) if count < min_pictures}
        if small:
            reading.notes.say(_too_small(small, min_pictures))
        files = [file for file in files if file.class_folder not in small]
        counts = Counter(file.class_folder for file in files)
    if rare == DROP and reading.sides and not reading.resplit:
        few = _rare_of_sides(files, reading.sides)
        if few:
            reading.notes.say(dropped(few))
        files = [file for file in files if file.class_folder not in few]
        counts = Counter(file.class_folder for file in files)
    straight = [item.name for item in reading.left_out if item.reason == OUTSIDE and "/" not in item.name]
    _check_classes(counts, classes, root, [name for name in straight if Path(name).suffix.lower() in PICTURE_FILES])
    printed = _printed_names(counts)
    kept = sorted(counts, key=lambda folder: (-counts[folder], printed[folder]))[:classes]
    order = sorted(kept, key=lambda folder: (printed[folder], folder))
    labels = {folder: label for label, folder in enumerate(order)}
    presplit = bool(reading.sides) and not reading.resplit
    files = sorted((file for file in files if file.class_folder in labels), key=reading.order(presplit))
    if presplit:
        _check_sides(files, reading.sides, root)
    if len(kept) < len(counts):
        reading.notes.say(f"the {len(kept)} best-represented of {len(counts)} classes are kept")

    opened, left_out = _opened(reading, files)
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
    told = [f"\0{order[picture.label]}\0{picture.side}" if reading.from_table else "" for picture in pictures]
    return Folder(
        root=root,
        classes=tuple(printed[folder] for folder in order),
        pictures=tuple(pictures),
        left_out=tuple(sorted(left_out, key=lambda file: file.name)),
        digest=_digest(order, pictures, told),
        presplit=presplit,
        notes=tuple(reading.notes.told()),
    )


def _with_labels(reading: _Reading, classes: int | None, exclude: Sequence[str], min_pictures: int | None) -> Folder:
    """Those labels of a table of several labels a picture that are asked for, and all its pictures."""
    presplit = bool(reading.sides) and not reading.resplit
    files = sorted(reading.files, key=reading.order(presplit))
    sets = {file.name: file.labels or () for file in files}
    where = f"the table of `{reading.root}`"
    label_sets.check_several(sets.values(), where, reading.columns.separator)
    printed = _printed_names(Counter(label for labels in sets.values() for label in labels))
    order, notes = label_sets.chosen(
        sets, printed, where=where, classes=classes, exclude=exclude, min_pictures=min_pictures
    )
    for line in notes:
        reading.notes.say(line)
    place = {label: number for number, label in enumerate(order)}
    opened, left_out = _opened(reading, files)
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
        root=reading.root,
        classes=tuple(printed[label] for label in order),
        pictures=tuple(pictures),
        left_out=tuple(sorted(left_out, key=lambda file: file.name)),
        digest=_digest(order, pictures, told),
        presplit=presplit,
        notes=tuple(reading.notes.told()),
        multilabel=True,
    )


def _opened(reading: _Reading, files: Sequence[_File]) -> tuple[list[tuple[_File, str]], list[LeftOut]]:
    """The files that can be opened with the digests of their bytes, and all that is left out."""
    opened = []
    left_out = [*reading.left_out, *reading.walk.hidden.values()]
    with ThreadPoolExecutor(READERS) as readers:
        # Handing over one file costs more than reading a small one.
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


def _rare_of_sides(files: list[_File], sides: Mapping[str, str]) -> dict[str, int]:
    """Classes that a side lacks, with their counts of pictures: all of them where each is rare, else none."""
    counts = Counter(file.class_folder for file in files)
    lacking = {name for side in sides for name in set(counts) - {f.class_folder for f in files if f.side == side}}
    every = {name.casefold().strip() for name in counts}
    # Classes that differ in capital letters alone are one class under two names, which is to be mended.
    if len(every) < len(counts) or len(counts) - len(lacking) < 2 or any(counts[name] >= HANDFUL for name in lacking):
        return {}
    return {name: counts[name] for name in sorted(lacking)}


def _check_sides(files: list[_File], sides: Mapping[str, str], root: Path) -> None:
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


def _read_all(files: Sequence[_File]) -> list[tuple[str, str]]:
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
