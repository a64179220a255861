"""A table of labels: which file is of which class, and perhaps on which side and of which group."""

import csv
import io
import json
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from search.data.label_sets import (
    ONE,
    ZERO_OR_ONE,
    hot_columns,
    nearly_hot,
    note,
    packed,
    packed_hot,
    parts,
    read,
    sign_of,
    told_columns,
    unpacked,
    whole_set,
)
from search.data.layout import TRAIN, listed, purpose_of, side_of, sides_among

SUFFIXES = {".csv": ",", ".tsv": "\t", ".parquet": "", ".jsonl": ""}
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
# No `animal` and no `camera`: the former may be the class, and of the latter there are often too few to be divided.
GROUP = (
    "group", "groups", "groupid", "patient", "patientid", "subject", "subjectid", "individual", "individualid",
    "animalid", "lesionid", "session", "sessionid", "sequenceid",
)  # fmt: skip
NOT_USED = "none"  # what an option says for a column of sides or groups that is not to be used
ENCODINGS = ("utf-8-sig", "utf-16", "cp1252", "latin-1")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
# Pictures are often converted after their table was written.
CONVERTED = frozenset({
    ".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".dcm", ".heic", ".avif",
})  # fmt: skip
MOST_BYTES = 2**28  # of a table
MOST_ROWS = 10**7
BATCH = 2**16  # rows of a Parquet file that are read at a time
# Whole numbers are measurements rather than classes where there are so many of them, with gaps between them, that half
# have no more than so many pictures.
MANY_NUMBERS, FEW_EACH = 20, 2

Cells = Iterable[tuple[int, list[str]]]  # line number, cells


@dataclass(frozen=True)
class Columns:
    """The columns that the user names; what is empty is found by its usual names."""

    image: str = ""
    label: str = ""
    split: str = ""
    group: str = ""
    labels: tuple[str, ...] = ()  # columns of 0 and 1, one for each of several labels a picture
    separator: str = ""  # between the labels of a cell; by default found where it is ; or |

    def any(self) -> bool:
        """Whether one is named."""
        return any((self.image, self.label, self.split, self.group, self.labels, self.separator))


class Row(NamedTuple):
    """What one row says; empty where it says nothing."""

    line: int
    file: str
    label: str  # of several labels a picture all of them, as `label_sets.packed` has it
    side: str
    group: str


@dataclass(frozen=True)
class Table:
    """The rows of a table, and which of its columns they come from."""

    path: Path
    image: str
    label: str
    split: str  # empty where it has none
    group: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    sets: str = ""  # how it tells several labels a picture; empty where each has one class


@dataclass(frozen=True)
class Labels:
    """What a table says of the pictures that lie there."""

    classes: Mapping[str, str]  # by the picture's name
    sides: Mapping[str, str]  # by the picture's name; empty where the table tells none
    groups: Mapping[str, str]  # by the picture's name, of those that have one
    left_out: Mapping[str, str]  # name, reason
    notes: tuple[str, ...]


def is_table(name: str) -> bool:
    """Whether a file is a table by its name."""
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def read_table(path: Path, columns: Columns | None = None) -> Table:
    """Reads a table whose columns have names; raises ValueError for one without files or without labels."""
    columns = columns or Columns()
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"needs tables of at most {MOST_BYTES:,} bytes, got {path.stat().st_size:,} in `{path}`")
    readers = {".parquet": _read_parquet, ".jsonl": _read_json_lines}
    header, cells = readers.get(path.suffix.lower(), _read_separated)(path)
    bare = [re.sub(r"[\W_]+", "", name.casefold()) for name in header]
    given = [place for name in columns.labels if (place := _named(name, "--label-columns", header, path)) is not None]
    image = _named(columns.image, "--image-column", header, path)
    label = _named(columns.label, "--label-column", header, path)
    image = _column(bare, IMAGE, but=label) if image is None else image
    label = _column(bare, LABEL, but=image) if label is None and not given else label
    if len(header) == 2 and all(header):
        if image is None and label is not None:
            image = 1 - label
        elif label is None and image is not None:
            label = 1 - image
    if image is None:
        raise ValueError(_lacking("files (such as image, file, path or id)", "--image-column", header, path))
    rivals: list[int] = []
    sets = ""
    if label is None:
        rows = list(cells)
        hot = given or [place for place in range(len(header)) if place != image and _is_one_hot(rows, place)]
        if len(hot) < 2 or columns.separator:
            raise ValueError(_lacking("labels (such as label, class or breed)", "--label-column", header, path))
        several = given or _several_hot(rows, hot, [*_beside(columns, header, bare), image], len(header))
        if several:
            cells, sets = packed_hot(rows, several, header, path), told_columns([header[place] for place in several])
        else:
            cells = ((line, [*row, _hot(path, header, hot, line, row)]) for line, row in rows)
        label = len(header)
        first, last = (several or hot)[0], (several or hot)[-1]
        header = [*header, f"{header[first]} to {header[last]}"]
    elif not columns.label:
        rivals = [place for place, name in enumerate(bare) if name in LABEL and place not in (label, image)]
    taken = (label, image)
    split = _other(columns.split, "--split-column", header, bare, SPLIT, taken, path)
    group = _other(columns.group, "--group-column", header, bare, GROUP, taken, path)
    found: list[Row] = []
    told: list[list[str]] = [[] for _ in rivals]
    for line, row in cells:
        if len(found) == MOST_ROWS:
            raise ValueError(f"needs tables of at most {MOST_ROWS:,} rows, got more in `{path}`")
        found.append(Row(line, *(_cell(row, place) for place in (image, label, split, group))))
        for texts, place in zip(told, rivals, strict=True):
            texts.append(_cell(row, place))
    for place, texts in zip(rivals, told, strict=True):
        label, found = _one_column(path, header, label, place, texts, found)
    if not sets:
        every: dict[str, int] = {}
        for one in found:
            if one.label:
                every.setdefault(one.label, one.line)
        sign = sign_of(every, columns.separator, f"column `{header[label]}` of `{path}`")
        if any(unpacked(text) for text in every):
            found = [one._replace(label=whole_set(one.label)) for one in found]
            sets = f"lists in column `{header[label]}`"
        elif sign:
            found = [one._replace(label=packed(parts(one.label, sign))) for one in found]
            sets = f"column `{header[label]}`, split at `{sign}`"
    notes = []
    if split is not None:
        wrong = next((row for row in found if row.side and side_of(row.side) is None), None)
        if wrong and columns.split:
            raise ValueError(
                f"--split-column needs a column of sides (train, validation, test), and line {wrong.line} of `{path}` "
                f"has `{wrong.side}` in `{header[split]}`"
            )
        if wrong:
            notes.append(
                f"column `{header[split]}` of `{path.name}` is not taken for sides: `{wrong.side}` in line "
                f"{wrong.line} is none"
            )
        if wrong or not any(row.side for row in found):
            found, split = [row._replace(side="") for row in found], None
    of_split, of_group = ("" if place is None else header[place] for place in (split, group))
    return Table(path, header[image], header[label], of_split, of_group, tuple(found), tuple(notes), sets)


def match(table: Table, names: Sequence[str], *, root: Path | None = None, side: str | None = None) -> Labels:
    """The classes of those pictures that a table names: whole, from their last folders on, or without their suffix.

    `names` are paths below one folder, `root`; that of the table by default. `side` is that of pictures of whose names
    there are several. Rows that cannot be used are told in the notes with an example. Raises ValueError for a table
    that names none of the pictures or some outside that folder, and for labels that are not one class a picture.
    """
    root = table.path.parent if root is None else root
    by_end: dict[str, list[str]] = {}
    for name in names:
        whole = _composed(name).rpartition("/")[2]
        for ending in {whole, _stem(whole)[0]}:
            by_end.setdefault(ending, []).append(name)
    tops = sides_among({name.split("/", 1)[0] for name in names if "/" in name})
    side_folders = {folder: of for of, folders in tops.items() for folder in folders}
    # Somebody else's folders may stand before a name; only where none of them is here do names alone count.
    some = any(_meant(row.file, by_end) for row in table.rows)
    said: dict[str, tuple[str, int]] = {}  # by picture, its label and the line that says so first
    torn: dict[str, dict[str, int]] = {}  # the same of those that have several
    sides: dict[str, str] = {}
    groups: dict[str, str] = {}
    differing: dict[str, dict[str, set[str]]] = {"sides": {}, "groups": {}}
    missing: list[tuple[int, str]] = []
    unclear: list[tuple[int, str]] = []
    without: list[tuple[int, str]] = []
    repeated = 0
    for line, file, label, side_told, group in table.rows:
        if not label or not file:
            without.append((line, file))
            continue
        own = side_of(side_told) if side_told else None
        of_row = own[0] if own else side
        inside = file if _plain(file) else _inside(file, table, root, line)
        found = _meant(inside, by_end, loose=not some)
        if len(found) > 1:
            found = _likeliest(found, side_folders, of_row or TRAIN)
        if len(found) != 1:
            (unclear if found else missing).append((line, file))
            continue
        name = found[0]
        if name not in said:
            said[name] = label, line
        elif label == said[name][0] or label in torn.get(name, ()):
            repeated += 1
        else:
            first, of_first = said[name]
            torn.setdefault(name, {first: of_first})[label] = line
        for kind, told, value in (("sides", sides, of_row), ("groups", groups, group)):
            if value and told.setdefault(name, value) != value:
                differing[kind].setdefault(name, {told[name]}).add(value)
    shown = f"`{table.path.name}`"
    if not said:
        example = (unclear or missing or without or [(0, "")])[0][1]
        why = "several files each" if unclear else "no file"
        raise ValueError(
            f"needs a table that names pictures in `{root}`, and column `{table.image}` of `{table.path}` names {why}, "
            f"first `{example}`; paths are taken relative to the table: put it where they hold, or say with --images "
            "which folder they are relative to"
        )
    _check_labels(table, said, torn)
    kind = "sets of labels" if table.sets else "classes"
    left_out = {
        name: f"{shown} gives it {len(labels)} {kind}, {listed(map(read, labels), 3)}" for name, labels in torn.items()
    }
    for kind, what in (("sides", "puts it on {} sides"), ("groups", "puts it into {} groups")):
        for name, values in sorted(differing[kind].items()):
            left_out.setdefault(name, f"{shown} {what.format(len(values))}")
    classes = {name: label for name, (label, _) in said.items() if name not in left_out}
    notes = [
        f"the labels are those of {shown}, for the pictures that its column `{table.image}` names: "
        f"{note(list(classes.values()), table.sets)}"
        if table.sets
        else f"the classes are those of {shown}: its column `{table.label}` for the {len(classes):,} pictures that its "
        f"column `{table.image}` names",
        *table.notes,
    ]
    for rows, what in (
        (missing, "whose file is not there"),
        (unclear, "that could mean several files"),
        (without, "without a label or a name"),
    ):
        if rows:
            line, file = rows[0]
            much = "WARNING: " if 2 * len(rows) > len(table.rows) else ""
            notes.append(f"{much}not used: {_rows(len(rows))} of {shown} {what}, first `{file}` in line {line}")
    if repeated:
        notes.append(f"counted once: {_rows(repeated)} of {shown} like an earlier one")
    if left_out:
        name, reason = next(iter(left_out.items()))
        notes.append(f"not used: {_pictures(len(left_out))} with rows that differ, first `{name}`: {reason}")
    side_of_each = {name: side for name, side in sides.items() if name in classes}
    if not side_of_each:
        side_of_each = {name: side_folders[top] for name in classes if (top := name.split("/", 1)[0]) in side_folders}
        put = set(side_of_each.values())
        if len(side_of_each) < len(classes) or TRAIN not in put or len(put) < 2:
            side_of_each = {}
    elif len(side_of_each) < len(classes):
        nowhere = sorted(set(classes) - set(side_of_each))
        notes.append(f"not used: {_pictures(len(nowhere))} without a side in {shown}, first `{nowhere[0]}`")
        left_out |= dict.fromkeys(nowhere, f"{shown} puts it on no side")
        classes = {name: label for name, label in classes.items() if name in side_of_each}
    group_of_each = {name: group for name, group in groups.items() if name in classes}
    if table.group:
        alone = len(classes) - len(group_of_each)
        rest = f"; {_pictures(alone)} without a group {'is one' if alone == 1 else 'are one each'}" if alone else ""
        notes.append(
            f"the groups are those of column `{table.group}` of {shown}: {len(set(group_of_each.values())):,}, each "
            f"kept on one side of the split{rest}; --group-column {NOT_USED} ignores them"
        )
    return Labels(classes, side_of_each, group_of_each, left_out, tuple(notes))


def _read_separated(path: Path) -> tuple[list[str], Cells]:
    """Header and rows of a file of values with a sign between them."""
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
    del content
    first = next((line for line in io.StringIO(text) if line.strip()), "")
    delimiter = max((SUFFIXES[path.suffix.lower()], ",", ";", "\t", "|"), key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)

    def rows() -> Iterator[tuple[int, list[str]]]:
        try:
            for cells in reader:
                if any(map(str.strip, cells)):
                    yield reader.line_num, [cell.strip() for cell in cells]
        except csv.Error as error:
            raise ValueError(
                f"needs a table of comma-separated values, and line {reader.line_num} of `{path}`: {error}"
            ) from None

    found = rows()
    header = next(found, None)
    if header is None:
        raise ValueError(f"needs a table whose first line names its columns, and `{path}` is empty")
    return header[1], found


def _read_json_lines(path: Path) -> tuple[list[str], Cells]:
    """Header and rows of a file with one JSON object a line; the header has the names of all of them."""
    objects: list[tuple[int, dict[str, Any]]] = []
    header: dict[str, None] = {}
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                found = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"needs one JSON object a line, and line {number} of `{path}`: {error}") from None
            if not isinstance(found, dict):
                raise ValueError(f"needs one JSON object a line, got {line.strip()[:40]} in line {number} of `{path}`")
            objects.append((number, found))
            header |= dict.fromkeys(found)
    if not objects:
        raise ValueError(f"needs a table with one JSON object a line, and `{path}` is empty")
    names = list(header)
    return names, (
        (number, [_text(found.get(name), name, number, path) for name in names]) for number, found in objects
    )


def _read_parquet(path: Path) -> tuple[list[str], Cells]:
    """Header and rows of a Parquet file, of its columns of texts and numbers; line 1 is its first row."""
    import pyarrow
    from pyarrow import parquet, types

    try:
        file = parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"needs a Parquet file, and `{path}` cannot be read: {error}") from None
    schema = file.schema_arrow
    lists = [kind for kind in (types.is_list, types.is_large_list, types.is_fixed_size_list)]
    bytes_like = (types.is_binary, types.is_large_binary, types.is_fixed_size_binary, types.is_struct, types.is_map)
    readable = [
        field.name
        for field in schema
        if not any(kind(field.type) for kind in bytes_like)
        and not (any(kind(field.type) for kind in lists) and types.is_nested(field.type.value_type))
    ]
    within = next((field for field in schema if re.sub(r"[\W_]+", "", field.name.casefold()) in IMAGE), None)
    if within is not None and within.name not in readable:
        raise ValueError(
            f"needs names of files, and column `{within.name}` of `{path}` holds {within.type}: pictures inside a "
            "table are not read; write them to files, and their names into the table"
        )

    def rows() -> Iterator[tuple[int, list[str]]]:
        number = 0
        try:
            for batch in file.iter_batches(BATCH, columns=readable):
                columns = [batch.column(place).to_pylist() for place in range(len(readable))]
                for values in zip(*columns, strict=True):
                    number += 1
                    yield (
                        number,
                        [_text(v, name, number, path) for v, name in zip(values, readable, strict=True)],
                    )
        except pyarrow.ArrowException as error:
            raise ValueError(f"needs a Parquet file, and `{path}` cannot be read: {error}") from None

    return readable, rows()


def _text(value: Any, column: str, line: int, path: Path) -> str:
    """A value of a typed table as a cell of a text has it; several values are a set, as `label_sets.packed` has it."""
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, list):
        told = [_text(one, column, line, path) for one in value]
        return packed(told) if len(told) > 1 else "".join(told)
    if isinstance(value, dict):
        raise ValueError(f"needs a text or a number in column `{column}`, and line {line} of `{path}` has an object")
    return str(value).strip()


def _named(name: str, option: str, header: Sequence[str], path: Path) -> int | None:
    """The place of a column that the user names, as it is written or but for small and capital letters."""
    if not name:
        return None
    places = [place for place, own in enumerate(header) if own == name]
    places = places or [place for place, own in enumerate(header) if own.casefold() == name.casefold()]
    if len(places) != 1:
        several = "has several of that name" if places else f"has the columns {listed(header, 12)}"
        raise ValueError(f"{option} needs the name of a column, got `{name}`, and `{path}` {several}")
    return places[0]


def _column(bare: Sequence[str], names: Sequence[str], *, but: int | None = None) -> int | None:
    return next((bare.index(name) for name in names if name in bare and bare.index(name) != but), None)


def _other(
    name: str,
    option: str,
    header: Sequence[str],
    bare: Sequence[str],
    usual: Sequence[str],
    taken: Sequence[int],
    path: Path,
) -> int | None:
    """The place of a column that a table need not have."""
    if name == NOT_USED and NOT_USED not in header:
        return None
    place = _named(name, option, header, path)
    if place is not None and place in taken:
        raise ValueError(f"{option} needs a column of its own, and `{name}` of `{path}` has the files or the labels")
    if place is None and not name:
        place = _column(bare, usual)
        place = None if place in taken else place
    return place


def _lacking(what: str, option: str, header: Sequence[str], path: Path) -> str:
    return f"needs a column of {what}, got the columns {listed(header, 12)} in `{path}`; {option} names it"


def _cell(row: Sequence[str], place: int | None) -> str:
    return row[place] if place is not None and place < len(row) else ""


def _is_one_hot(rows: Sequence[tuple[int, list[str]]], place: int) -> bool:
    return bool(rows) and all(len(cells) > place and cells[place].casefold() in ZERO_OR_ONE for _, cells in rows)


def _beside(columns: Columns, header: Sequence[str], bare: Sequence[str]) -> list[int]:
    """The places of the columns that tell sides and groups."""
    named = (columns.split, columns.group)
    return [place for place, name in enumerate(bare) if name in (*SPLIT, *GROUP) or header[place] in named]


def _several_hot(
    rows: Sequence[tuple[int, list[str]]], hot: Sequence[int], taken: Sequence[int], width: int
) -> list[int]:
    """The columns of 0 and 1 that are labels, where some picture has several of them; none where none has.

    Columns that are so but for a few cells are among them: such cells are to be mended.
    """
    own = [place for place in hot if place not in taken]
    if len(own) < 2 or not hot_columns(rows, own):
        return []
    return [place for place in range(width) if place in own or (place not in taken and nearly_hot(rows, place))]


def _hot(path: Path, header: Sequence[str], columns: Sequence[int], line: int, cells: Sequence[str]) -> str:
    """The column that has a one; nothing where none has."""
    ones = [header[place] for place in columns if cells[place].casefold() in ONE]
    if len(ones) > 1:
        raise ValueError(f"needs one class a picture, and line {line} of `{path}` has several: {listed(ones)}")
    return ones[0] if ones else ""


def _plain(file: str) -> bool:
    """Whether a path surely leads nowhere but down."""
    return file[0] not in "/\\~" and ".." not in file and file[1:2] != ":"


def _inside(file: str, table: Table, root: Path, line: int) -> str:
    """A path that may lead out of the folder, relative to it where it leads into it.

    Raises ValueError for one that leads to a file outside. One that leads nowhere is somebody else's, as it was.
    """
    whole = os.path.abspath(os.path.join(root, os.path.expanduser(file)))
    home = os.path.abspath(root)
    if whole.startswith(home + os.sep):
        return os.path.relpath(whole, home)
    if os.path.isfile(whole):
        raise ValueError(
            f"needs pictures inside `{root}`, and column `{table.image}` of `{table.path}` names one outside it in "
            f"line {line}: `{file}`; --images says which folder holds them"
        )
    return file


def _meant(file: str, by_end: Mapping[str, list[str]], *, loose: bool = False) -> list[str]:
    """The pictures that a cell may mean: those whose path ends as the cell does, or that end the cell's own path."""
    parts = [part for part in _composed(file.replace("\\", "/")).split("/") if part not in ("", ".", "..")]
    if not parts:
        return []
    last = parts[-1]
    found = by_end.get(last, [])
    if not found:
        stem, suffix = _stem(last)
        if suffix.lower() in CONVERTED:
            found = by_end.get(stem, [])
    if loose or len(parts) == 1 or not found:
        return found
    return [
        name
        for name in found
        if all(mine == theirs for mine, theirs in zip(name.split("/")[-2::-1], parts[-2::-1], strict=False))
    ]


def _likeliest(found: list[str], side_folders: Mapping[str, str], side: str) -> list[str]:
    """Of several pictures those that are no masks, and then those that lie on a side."""
    found = [n for n in found if not any(purpose_of(p) == "annotations" for p in n.split("/")[:-1])] or found
    if len(found) > 1:
        found = [n for n in found if side_folders.get(n.split("/", 1)[0]) == side] or found
    return found


def _stem(name: str) -> tuple[str, str]:
    """A file's name without its suffix, and the suffix."""
    dot = name.rfind(".")
    return (name[:dot], name[dot:]) if 0 < dot < len(name) - 1 else (name, "")


def _composed(name: str) -> str:
    # macOS takes letters and their accents apart.
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def _one_column(
    path: Path, header: Sequence[str], label: int, other: int, texts: Sequence[str], rows: list[Row]
) -> tuple[int, list[Row]]:
    """Label and rows with words for labels where they were numbers; raises ValueError where two columns differ."""
    pairs = {(row.label, text) for row, text in zip(rows, texts, strict=True) if row.label and text}
    mine, theirs = ({pair[place] for pair in pairs} for place in (0, 1))
    if not len(mine) == len(pairs) == len(theirs):
        raise ValueError(
            f"needs one column of labels, and `{header[label]}` and `{header[other]}` of `{path}` divide the pictures "
            "differently: name one of them with --label-column"
        )
    if all(map(NUMBER.fullmatch, mine)) and not all(map(NUMBER.fullmatch, theirs)):
        return other, [row._replace(label=text) for row, text in zip(rows, texts, strict=True)]
    return label, rows


def _check_labels(table: Table, said: Mapping[str, tuple[str, int]], torn: Mapping[str, Mapping[str, int]]) -> None:
    column = f"column `{table.label}` of `{table.path}`"
    if 2 * len(torn) > len(said):
        name, labels = next(iter(torn.items()))
        one = "row with all its labels" if table.sets else "class"
        raise ValueError(
            f"needs one {one} a picture, and {column} gives most pictures several, first `{name}`: "
            f"{listed(map(read, labels), 3)}"
        )
    every: dict[str, int] = {}
    pictures: dict[str, int] = {}
    for name, first in said.items():
        for told, line in torn[name].items() if name in torn else (first,):
            own = unpacked(told)
            for label in (told,) if own is None else own:
                every.setdefault(label, line)
                pictures[label] = pictures.get(label, 0) + 1
    several = "" if table.sets else _several(every)
    if several:
        raise ValueError(
            f"needs one class a picture, and {column} has several in line {every[several]}: `{several}`; where a "
            "picture may have several labels, --label-separator says what stands between them"
        )
    numbers = [label for label in every if NUMBER.fullmatch(label)]
    if len(numbers) < len(every):
        return
    broken = next((label for label in numbers if not float(label).is_integer()), None)
    if broken is not None:
        raise ValueError(
            f"needs classes, and {column} has numbers, such as `{broken}` in line {every[broken]}: values to be "
            "estimated are no classes"
        )
    counts = sorted(pictures[label] for label in numbers)
    values = [float(label) for label in numbers]
    gaps = max(values) - min(values) >= 2 * len(values)
    if len(numbers) > MANY_NUMBERS and gaps and counts[len(counts) // 2] <= FEW_EACH:
        raise ValueError(
            f"needs classes, and {column} has {len(numbers):,} different numbers from {min(values):,.10g} to "
            f"{max(values):,.10g} for {len(said):,} pictures: values to be estimated are no classes"
        )


def _several(labels: Mapping[str, int]) -> str:
    """A label that is rather several, one of which stands elsewhere too; nothing where there is none.

    Commas stand inside of names as well: there one of the parts has to be a label of its own.
    """
    for label in labels:
        parts = [part.strip() for part in re.split(r"[|;,]", label)]
        if len(parts) > 1 and any(part in labels for part in parts):
            return label
    seen: dict[str, str] = {}
    for label in labels:
        parts = [part.strip() for part in re.split(r"[|;]", label) if part.strip()]
        for part in parts if len(parts) > 1 else ():
            if seen.setdefault(part, label) != label:
                return seen[part]
    return ""


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"


def _pictures(count: int) -> str:
    return "1 picture" if count == 1 else f"{count:,} pictures"
