"""Data that a library of sets has: `hf:NAME` of Hugging Face's datasets, and `tfds:NAME` of TensorFlow Datasets.

Its pictures are written into the cache once, with the bytes that the library keeps of them, and beside them a file that
tells the class, the side and the group of each. What a library has of a set has a name of its own, under which it lies.
"""

import contextlib
import importlib
import json
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from search.data.cache import locked, sweep
from search.data.layout import TRAIN, listed, sides_among
from search.data.remote import FETCHED, place_of
from search.data.table import GROUP, IMAGE, LABEL, NOT_USED, Columns
from search.settings import Settings

TOLD = ".set.jsonl"  # in the folder of a set: what is said of it, and then a line for each picture
VERSION = 1  # of what is written
BATCH = 64  # pictures that are in memory at a time
EACH = 1000  # pictures of a folder
MOST_SAID = 400  # letters of what a library says of an error
NAMES = {
    "hf": re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*){0,2}(@[\w./-]+)?", re.ASCII),
    "tfds": re.compile(r"[A-Za-z]\w*(/[\w.-]+)?(:(\d+|\*)(\.(\d+|\*)){2})?", re.ASCII),
}
FORMS = {
    "hf": "hf:NAME, hf:OWNER/NAME or hf:OWNER/NAME/CONFIG, with @REVISION behind it or not, or hf:/FOLDER",
    "tfds": "tfds:NAME or tfds:NAME/CONFIG, with :VERSION behind it or not, or tfds:/FOLDER",
}
PACKAGES = {"hf": ("datasets", "datasets>=4,<6"), "tfds": ("tensorflow-datasets", "tensorflow-datasets>=4.9.9,<5")}
SIGNS = {
    b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png", b"GIF8": ".gif", b"BM": ".bmp", b"II*\0": ".tif", b"MM\0*": ".tif",
    b"RIFF": ".webp",
}  # fmt: skip


class Example(NamedTuple):
    """One picture as its library has it; without content, or without a class, it is not used."""

    content: bytes | None
    label: str | None
    group: str = ""


@dataclass(frozen=True)
class Part:
    """A split of a set."""

    name: str
    key: str  # another where the library has other pictures of this name
    group: str  # the column that says what belongs together; empty where there is none
    examples: Callable[[], Iterator[Example]]


class Told(NamedTuple):
    """What a set says of one picture."""

    name: str
    label: str
    side: str | None
    group: str


def check_set(settings: Settings) -> None:
    """Raises ValueError for what names no set, for a library that is not installed, and for options of other data."""
    kind, _, name = settings.data.partition(":")
    if not _is_path(name) and not NAMES[kind].fullmatch(name):
        raise ValueError(f"a set needs the form {FORMS[kind]}, got `{settings.data}`")
    if _is_path(name) and not Path(name).is_dir():
        raise FileNotFoundError(f"a set needs the form {FORMS[kind]}, and there is no folder `{name}`")
    folders = [
        option
        for option, given in (
            ("--images", settings.images),
            ("--label-pattern", settings.label_pattern),
            ("--label-from", settings.label_from != "auto"),
            ("--split-column", settings.split_column not in ("", NOT_USED)),
        )
        if given
    ]
    if folders:
        raise ValueError(
            f"{folders[0]} needs a folder or a table, and `{settings.data}` tells classes and sides itself"
        )
    package, install = PACKAGES[kind]
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        raise ValueError(
            f"`{settings.data}` needs the package {package}, and it is not installed: pip install '{install}'"
        ) from None


def bring_set(settings: Settings, say: Callable[[str], None]) -> Path:
    """The folder in the cache with the pictures of a set, and what is told of them; raises for a set that has none.

    Raises FileNotFoundError for a set that there is not, OSError where the library cannot reach it, and ValueError
    where its columns are no pictures and classes.
    """
    kind = settings.data.partition(":")[0]
    columns = Columns(settings.image_column, settings.label_column, settings.split_column, settings.group_column)
    try:
        parts = {"hf": _of_hugging_face, "tfds": _of_tensorflow}[kind](settings.data, columns)
    except _Refused as refused:
        raise ValueError(str(refused)) from None
    except Exception as error:  # What these libraries raise, and those below them, is of nearly any kind.
        text = " ".join(str(error).split())[:MOST_SAID] or type(error).__name__
        kinds = (FileNotFoundError, OSError)
        raise next((known for known in kinds if isinstance(error, known)), ValueError)(
            f"`{settings.data}` cannot be loaded by {PACKAGES[kind][0]}: {text}"
        ) from error
    sides, notes = _sides([part.name for part in parts], settings.data, columns.split == NOT_USED)
    used = [part for part in parts if part.name in sides]
    key = json.dumps([VERSION, kind, columns.image, columns.label, columns.group, [(p.name, p.key) for p in used]])
    place = place_of(key, settings.cache / FETCHED)
    place.parent.mkdir(parents=True, exist_ok=True)
    with locked(place.with_suffix(".lock")):
        if not (place / TOLD).is_file():
            sweep(place, "*.part")
            say(f"writing the pictures of {settings.data} into the cache")
            aside = place.with_name(f"{place.name}.{uuid.uuid4().hex[:8]}.part")
            aside.mkdir()
            try:
                _write(used, sides, notes, aside, settings.data)
                aside.rename(place)
            except BaseException:
                shutil.rmtree(aside, ignore_errors=True)
                raise
    return place


def is_brought(folder: Path) -> bool:
    """Whether a folder is one that `bring_set` has made."""
    return (folder / TOLD).is_file()


def read_set(folder: Path) -> tuple[list[str], list[Told]]:
    """What is to be said of a set, and what it tells of each of its pictures."""
    with (folder / TOLD).open(encoding="utf-8") as lines:
        notes = json.loads(next(lines))
        return notes, [Told(*json.loads(line)) for line in lines]


class _Refused(Exception):
    """What a set lacks."""


def _is_path(name: str) -> bool:
    return name.startswith(("/", ".", "~"))


def _sides(names: Sequence[str], text: str, joined: bool) -> tuple[dict[str, str | None], list[str]]:
    """The side of every split that is used, and what is to be said of the others.

    One split alone is no side, and neither are those that are to be joined.
    """
    if len(names) == 1 or joined:
        return dict.fromkeys(names), []
    found = sides_among(names)
    if TRAIN not in found:
        raise ValueError(
            f"needs a split for training, and `{text}` has {listed(names)}; --split-column {NOT_USED} joins them"
        )
    double = next((both for both in found.values() if len(both) > 1), None)
    if double:
        raise ValueError(
            f"needs one split for each side, and `{text}` has {' and '.join(f'`{name}`' for name in double)}; "
            f"--split-column {NOT_USED} puts all of them together"
        )
    sides: dict[str, str | None] = {only: side for side, (only,) in found.items()}
    rest = [name for name in names if name not in sides]
    return sides, [f"not used: the splits {listed(rest)}, which are no sides"] if rest else []


def _write(parts: Sequence[Part], sides: Mapping[str, str | None], notes: Sequence[str], into: Path, text: str) -> None:
    """Writes the pictures of a set into an empty folder, and the file that tells of them, last."""
    told: list[Told] = []
    lines = list(notes)
    for part in parts:
        without: dict[str, int] = {}
        for number, example in enumerate(part.examples()):
            if example.content is None or example.label is None:
                lack = "a class" if example.content is not None else "a picture"
                without[lack] = without.get(lack, 0) + 1
                continue
            suffix = next((end for sign, end in SIGNS.items() if example.content.startswith(sign)), "")
            name = f"{part.name}/{number // EACH:04d}/{number:07d}{suffix}"
            path = into / name
            if number % EACH == 0 or not path.parent.is_dir():
                path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(example.content)
            told.append(Told(name, example.label, sides[part.name], example.group))
        lines += [f"not used: {count:,} of split `{part.name}` without {lack}" for lack, count in without.items()]
    groups = {one.group for one in told if one.group}
    if groups:
        alone = sum(not one.group for one in told)
        rest = f"; of {alone:,} without a group each is one" if alone else ""
        lines.append(
            f"the groups are those of column `{parts[0].group}`: {len(groups):,}, each kept on one side of the split"
            f"{rest}; --group-column {NOT_USED} ignores them"
        )
    if not told:
        raise ValueError(f"the data needs pictures with classes, and `{text}` has none")
    with (into / TOLD).open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in [lines, *told])


def _chosen(columns: Columns, features: Mapping[str, str], text: str) -> tuple[str, str, str]:
    """The columns of pictures, classes and groups (or nothing); raises `_Refused`.

    `features` has a word for each column: image, classes, text, number, or what else it holds.
    """
    for option, name in (("image", columns.image), ("label", columns.label), ("group", columns.group)):
        if name and name not in features and not (option == "group" and name == NOT_USED):
            raise _Refused(f"--{option}-column needs the name of a column, got `{name}`, and `{text}` has "
                           f"{listed(features, 12)}")  # fmt: skip
    image = columns.image or _only("image", IMAGE, ("image",), features, text)
    if features[image] != "image":
        raise _Refused(f"needs a column of pictures, and `{image}` of `{text}` holds {features[image]}")
    label = columns.label or _only("label", LABEL, ("classes",), features, text)
    if features[label] not in ("classes", "text", "number"):
        raise _Refused(f"needs one class a picture, and `{label}` of `{text}` holds {features[label]}")
    group = "" if columns.group == NOT_USED else columns.group
    if not columns.group:
        group = next((name for name in features if _bare(name) in GROUP and name not in (image, label)), "")
    return image, label, group


def _only(option: str, usual: Sequence[str], kinds: Sequence[str], features: Mapping[str, str], text: str) -> str:
    """The one column of a kind, or the one of several that has a usual name; of labels also one of texts or numbers."""
    found = [name for name, kind in features.items() if kind in kinds]
    if not found and option == "label":
        found = [name for name, kind in features.items() if kind in ("text", "number") and _bare(name) in usual]
    named = [name for name in found if _bare(name) in usual]
    if len(found) != 1 and len(named) != 1:
        what = {"image": "pictures", "label": "classes"}[option]
        several = f", of which {listed(found, 12)} could each be it" if found else ""
        raise _Refused(
            f"needs a column of {what}, got the columns {listed(features, 12)} in `{text}`{several}; --{option}-column "
            "names it"
        )
    return found[0] if len(found) == 1 else named[0]


def _bare(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.casefold())


def _word(value: Any, names: Sequence[str] | None) -> str | None:
    """A class as people read it; None where there is none, as for the number -1 of a class."""
    if value is None:
        return None
    if names is not None:
        return names[int(value)] if 0 <= int(value) < len(names) else None
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text.strip() or None


def _of_hugging_face(text: str, columns: Columns) -> list[Part]:
    datasets = importlib.import_module("datasets")
    if not hasattr(datasets, "load_dataset"):
        raise _Refused(f"`{text}` needs the package datasets, and `{datasets.__file__}` has taken its name")
    name = text.partition(":")[2]
    if _is_path(name):
        saved = any((Path(name) / record).is_file() for record in ("dataset_dict.json", "dataset_info.json"))
        loaded = datasets.load_from_disk(name) if saved else datasets.load_dataset(name)
    else:
        whole, _, revision = name.partition("@")
        owner_and_name, config = "/".join(whole.split("/")[:2]), "/".join(whole.split("/")[2:])
        loaded = datasets.load_dataset(owner_and_name, config or None, revision=revision or None)
    splits = dict(loaded) if isinstance(loaded, dict) else {str(loaded.split or "all"): loaded}
    parts = []
    for split, rows in splits.items():
        kinds = {name: _kind_of_hugging_face(feature, datasets) for name, feature in rows.features.items()}
        image, label, group = _chosen(columns, kinds, text)
        own = rows.select_columns([image, label, *([group] if group else [])])
        own = own.with_format(None).cast_column(image, datasets.Image(decode=False))
        names = getattr(rows.features[label], "names", None)

        def examples(
            own: Any = own, image: str = image, label: str = label, group: str = group, names: Any = names
        ) -> Iterator[Example]:
            for batch in own.iter(batch_size=BATCH):
                groups = batch[group] if group else [None] * len(batch[label])
                for cell, value, of in zip(batch[image], batch[label], groups, strict=True):
                    content = cell and (cell["bytes"] or (cell["path"] and Path(cell["path"]).read_bytes()))
                    yield Example(content or None, _word(value, names), _word(of, None) or "")

        parts.append(Part(str(split), str(rows._fingerprint), group, examples))
    return parts


def _kind_of_hugging_face(feature: Any, datasets: Any) -> str:
    if isinstance(feature, datasets.Image):
        return "image"
    if isinstance(feature, datasets.ClassLabel):
        return "classes"
    if not isinstance(feature, datasets.Value):
        return "several values"
    kind = str(feature.dtype)
    return "text" if "string" in kind else "number" if "int" in kind or kind == "bool" else f"{kind} values"


def _of_tensorflow(text: str, columns: Columns) -> list[Part]:
    library = importlib.import_module("tensorflow_datasets")
    # This process decodes nothing and trains nothing: the GPU is left to the trials.
    with contextlib.suppress(RuntimeError):
        importlib.import_module("tensorflow").config.set_visible_devices([], "GPU")
    name = text.partition(":")[2]
    if _is_path(name):
        builder = library.builder_from_directory(name)
    else:
        builder = library.builder(name)
        builder.download_and_prepare()
    features = builder.info.features
    kinds = {name: _kind_of_tensorflow(feature, library.features) for name, feature in features.items()}
    image, label, group = _chosen(columns, kinds, text)
    names = getattr(features[label], "names", None)
    parts = []
    for split, told in builder.info.splits.items():

        def examples(split: str = split) -> Iterator[Example]:
            rows = builder.as_dataset(split=split, decoders={image: library.decode.SkipDecoding()}, shuffle_files=False)
            for row in library.as_numpy(rows):
                group_of = _word(row[group], None) if group else None
                yield Example(bytes(row[image]) or None, _word(row[label], names), group_of or "")

        files = [Path(path).stat() for path in told.filepaths]
        key = [builder.info.full_name, *([file.st_size, file.st_mtime_ns] for file in files)]
        parts.append(Part(str(split), json.dumps(key), group, examples))
    return parts


def _kind_of_tensorflow(feature: Any, features: Any) -> str:
    if isinstance(feature, features.Image):
        return "image"
    if isinstance(feature, features.ClassLabel):
        return "classes"
    if isinstance(feature, features.Text):
        return "text"
    if getattr(feature, "shape", None) != ():
        return "several values"
    kind = feature.numpy_dtype.__name__ if isinstance(feature.numpy_dtype, type) else str(feature.numpy_dtype)
    return "number" if "int" in kind or "bool" in kind else f"{kind} values"
