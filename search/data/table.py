"""A table of labels beside the pictures: which file is of which class, and perhaps on which side."""

import csv
import io
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from search.data.layout import TRAIN, listed, purpose_of, side_of, sides_among

SUFFIXES = {".csv": ",", ".tsv": "\t"}
# Names of columns, in small letters without signs; of several columns of labels the earlier name counts first.
IMAGE = (
    "image", "images", "imageid", "imagename", "imagefile", "imagefilename", "imagepath", "img", "imgid", "imgname",
    "imgfile", "imgpath", "file", "files", "filename", "filenames", "filepath", "filepaths", "fname", "path", "paths",
    "imageindex", "picture", "picturename", "photo", "photoid", "id", "name",
)  # fmt: skip
LABEL = (
    "label", "labels", "labelname", "class", "classes", "classname", "classlabel", "breed", "category",
    "categoryname", "target", "species", "diagnosis", "dx", "finding", "findings", "findinglabels",
    "classid", "labelid", "categoryid",
)  # fmt: skip
SPLIT = ("split", "set", "subset", "dataset", "partition", "phase", "usage")
ENCODINGS = ("utf-8-sig", "utf-16", "cp1252", "latin-1")
ZERO_OR_ONE = ("0", "0.0", "1", "1.0")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
# Pictures are often converted after their table was written.
CONVERTED = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".dcm"})
MOST_BYTES = 2**28  # of a table


@dataclass(frozen=True)
class Table:
    """The cells of a table, and which of its columns are which."""

    path: Path
    image: int
    label: int
    split: int | None
    header: tuple[str, ...]
    rows: tuple[tuple[int, list[str]], ...]  # line number, cells


@dataclass(frozen=True)
class Labels:
    """What a table says of the pictures that lie there."""

    classes: Mapping[str, str]  # by the picture's name
    sides: Mapping[str, str]  # by the picture's name; empty where the table tells none
    left_out: Mapping[str, str]  # name, reason
    notes: tuple[str, ...]


def is_table(name: str) -> bool:
    """Whether a file is a table by its name."""
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def read_table(path: Path) -> Table:
    """Reads a table whose first line names its columns; raises ValueError for one without files or without labels."""
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"needs tables of at most {MOST_BYTES:,} bytes, got {path.stat().st_size:,} in `{path}`")
    content = path.read_bytes()
    # Without its mark UTF-16 would be tried on anything with an even number of bytes.
    marked = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    text = ""
    for encoding in ENCODINGS:
        if encoding != "utf-16" or marked:
            try:
                text = content.decode(encoding)
                break
            except UnicodeDecodeError:
                continue
    first = next((line for line in text.splitlines() if line.strip()), "")
    usual = SUFFIXES[path.suffix.lower()]
    delimiter = max((usual, ",", ";", "\t", "|"), key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    try:
        rows = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if any(map(str.strip, cells))]
    except csv.Error as error:
        raise ValueError(
            f"needs a table of comma-separated values, and line {reader.line_num} of `{path}`: {error}"
        ) from None
    if not rows:
        raise ValueError(f"needs a table whose first line names its columns, and `{path}` is empty")
    header = tuple(rows[0][1])
    bare = [re.sub(r"[\W_]+", "", name.casefold()) for name in header]
    image, label = _column(bare, IMAGE), _column(bare, LABEL)
    if image is None and label is not None and len(header) == 2:
        image = 1 - label
    if label is None and image is not None and len(header) == 2 and header[0] and header[1]:
        label = 1 - image
    if label is None and image is not None:
        one_hot = [place for place in range(len(header)) if place != image and _is_one_hot(rows[1:], place)]
        if len(one_hot) >= 2:
            rows = [rows[0], *((line, [*cells, _hot(path, header, one_hot, line, cells)]) for line, cells in rows[1:])]
            label = len(header)
            header = (*header, f"{header[one_hot[0]]} to {header[one_hot[-1]]}")
    if image is None or label is None:
        lacking = (
            "files (such as image, file, path or id)" if image is None else "labels (such as label, class or breed)"
        )
        raise ValueError(f"needs a column of {lacking}, got the columns {listed(header, 12)} in `{path}`")
    split = _column(bare, SPLIT)
    if split is not None:
        values = {cells[split] for _, cells in rows[1:] if len(cells) > split and cells[split]}
        if split in (image, label) or not values or any(side_of(value) is None for value in values):
            split = None
    return _one_column(Table(path, image, label, split, header, tuple(rows[1:])), bare)


def match(table: Table, names: Sequence[str], *, side: str | None = None) -> Labels:
    """The classes of those pictures that a table names: whole, from their last folders on, or without their suffix.

    `names` are paths below one folder. `side` is that of pictures of whose names there are several. Rows that cannot be
    used are told in the notes with an example. Raises ValueError for a table that names none of the pictures, and for
    labels that are not one class a picture.
    """
    by_end: dict[str, list[str]] = {}
    for name in names:
        whole = PurePosixPath(_composed(name))
        for ending in {whole.name, whole.stem}:
            by_end.setdefault(ending, []).append(name)
    tops = sides_among({name.split("/", 1)[0] for name in names if "/" in name})
    side_folders = {folder: of for of, folders in tops.items() for folder in folders}
    # Somebody else's folders may stand before a name; only where none of them is here do names alone count.
    some = any(_meant(cells[table.image], by_end) for _, cells in table.rows if len(cells) > table.image)
    said: dict[str, dict[str, int]] = {}
    sides: dict[str, set[str]] = {}
    missing: list[tuple[int, str]] = []
    unclear: list[tuple[int, str]] = []
    without: list[tuple[int, str]] = []
    repeated = 0
    for line, cells in table.rows:
        if len(cells) <= max(table.image, table.label) or not cells[table.label] or not cells[table.image]:
            without.append((line, cells[table.image] if len(cells) > table.image else ""))
            continue
        file, label = cells[table.image], cells[table.label]
        own = side_of(cells[table.split]) if table.split is not None and len(cells) > table.split else None
        of_row = own[0] if own else side
        found = _likeliest(_meant(file, by_end, loose=not some), side_folders, of_row or TRAIN)
        if len(found) != 1:
            (unclear if found else missing).append((line, file))
            continue
        labels = said.setdefault(found[0], {})
        repeated += label in labels
        labels.setdefault(label, line)
        if of_row:
            sides.setdefault(found[0], set()).add(of_row)
    shown = f"`{table.path.name}`"
    if not said:
        example = (unclear or missing or without or [(0, "")])[0][1]
        why = "several files each" if unclear else "no file"
        raise ValueError(
            f"needs a table that names pictures in `{table.path.parent}`, and column `{table.header[table.image]}` of "
            f"`{table.path}` names {why}, first `{example}`; paths are taken relative to the table: put it where they "
            "hold, or give the folder that holds both as the data"
        )
    torn = {name: labels for name, labels in said.items() if len(labels) > 1}
    _check_labels(table, said, torn)
    classes = {name: next(iter(labels)) for name, labels in said.items() if name not in torn}
    left_out = {name: f"{shown} gives it {len(labels)} classes, {listed(labels, 3)}" for name, labels in torn.items()}
    on_two = sorted(name for name, found in sides.items() if len(found) > 1 and name in classes)
    left_out |= {name: f"{shown} puts it on {len(sides[name])} sides" for name in on_two}
    classes = {name: label for name, label in classes.items() if name not in left_out}
    notes = [
        f"the classes are those of {shown}: its column `{table.header[table.label]}` for the {len(classes):,} pictures "
        f"that its column `{table.header[table.image]}` names"
    ]
    for rows, what in (
        (missing, "whose file is not there"),
        (unclear, "that could mean several files"),
        (without, "without a label or a name"),
    ):
        if rows:
            line, file = rows[0]
            notes.append(f"not used: {_rows(len(rows))} of {shown} {what}, first `{file}` in line {line}")
    if repeated:
        notes.append(f"counted once: {_rows(repeated)} of {shown} like an earlier one")
    if left_out:
        name, reason = next(iter(left_out.items()))
        notes.append(f"not used: {_pictures(len(left_out))} with rows that differ, first `{name}`: {reason}")
    told = {name: next(iter(found)) for name, found in sides.items() if name in classes}
    if not told:
        told = {name: side_folders[top] for name in classes if (top := name.split("/", 1)[0]) in side_folders}
        if len(told) < len(classes) or TRAIN not in told.values() or len(set(told.values())) < 2:
            told = {}
    elif len(told) < len(classes):
        nowhere = sorted(set(classes) - set(told))
        notes.append(f"not used: {_pictures(len(nowhere))} without a side in {shown}, first `{nowhere[0]}`")
        left_out |= dict.fromkeys(nowhere, f"{shown} puts it on no side")
        classes = {name: label for name, label in classes.items() if name in told}
    return Labels(classes, told, left_out, tuple(notes))


def _column(bare: Sequence[str], names: Sequence[str]) -> int | None:
    return next((bare.index(name) for name in names if name in bare), None)


def _is_one_hot(rows: Sequence[tuple[int, list[str]]], place: int) -> bool:
    return bool(rows) and all(len(cells) > place and cells[place] in ZERO_OR_ONE for _, cells in rows)


def _hot(path: Path, header: Sequence[str], columns: Sequence[int], line: int, cells: Sequence[str]) -> str:
    """The column that has a one; nothing where none has."""
    ones = [header[place] for place in columns if cells[place] in ZERO_OR_ONE[2:]]
    if len(ones) > 1:
        raise ValueError(f"needs one class a picture, and line {line} of `{path}` has several: {listed(ones)}")
    return ones[0] if ones else ""


def _meant(file: str, by_end: Mapping[str, list[str]], *, loose: bool = False) -> list[str]:
    """The pictures that a cell may mean: those whose path ends as the cell does, or that end the cell's own path."""
    parts = [part for part in _composed(file.replace("\\", "/")).split("/") if part not in ("", ".", "..")]
    if not parts:
        return []
    last = PurePosixPath(parts[-1])
    found = by_end.get(last.name, [])
    if not found and last.suffix.lower() in CONVERTED:
        found = by_end.get(last.stem, [])
    if loose:
        return found
    return [
        name
        for name in found
        if all(mine == theirs for mine, theirs in zip(name.split("/")[-2::-1], parts[-2::-1], strict=False))
    ]


def _likeliest(found: list[str], side_folders: Mapping[str, str], side: str) -> list[str]:
    """Of several pictures those that are no masks, and then those that lie on a side."""
    if len(found) > 1:
        found = [n for n in found if not any(purpose_of(p) == "annotations" for p in n.split("/")[:-1])] or found
    if len(found) > 1:
        found = [n for n in found if side_folders.get(n.split("/", 1)[0]) == side] or found
    return found


def _composed(name: str) -> str:
    # macOS takes letters and their accents apart.
    return unicodedata.normalize("NFC", name)


def _one_column(table: Table, bare: Sequence[str]) -> Table:
    """The table with words for its labels, where it has numbers for them too; raises ValueError where two differ."""
    for other in [
        place for place, name in enumerate(bare) if name in LABEL and place not in (table.label, table.image)
    ]:
        pairs = {(c[table.label], c[other]) for _, c in table.rows if len(c) > max(table.label, other)}
        mine, theirs = ({pair[place] for pair in pairs} for place in (0, 1))
        if not len(mine) == len(pairs) == len(theirs):
            raise ValueError(
                f"needs one column of labels, and `{table.header[table.label]}` and `{table.header[other]}` of "
                f"`{table.path}` divide the pictures differently: leave one of them in the table"
            )
        if all(map(NUMBER.fullmatch, mine)) and not all(map(NUMBER.fullmatch, theirs)):
            table = replace(table, label=other)
    return table


def _check_labels(table: Table, said: Mapping[str, Mapping[str, int]], torn: Mapping[str, Mapping[str, int]]) -> None:
    column = f"column `{table.header[table.label]}` of `{table.path}`"
    if 2 * len(torn) > len(said):
        name, labels = next(iter(torn.items()))
        raise ValueError(
            f"needs one class a picture, and {column} gives most pictures several, first `{name}`: {listed(labels, 3)}"
        )
    every = {label: line for labels in said.values() for label, line in labels.items()}
    for label, line in every.items():
        parts = [part.strip() for part in re.split(r"[|;,]", label)]
        if len(parts) > 1 and any(part in every for part in parts):
            raise ValueError(f"needs one class a picture, and {column} has several in line {line}: `{label}`")
    numbers = [label for label in every if NUMBER.fullmatch(label)]
    if len(numbers) == len(every) and any(not float(label).is_integer() for label in numbers):
        example = next(label for label in numbers if not float(label).is_integer())
        raise ValueError(f"needs classes, and {column} has numbers, such as `{example}` in line {every[example]}")


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"


def _pictures(count: int) -> str:
    return "1 picture" if count == 1 else f"{count:,} pictures"
