"""The records beside the rows of a run: read whole, or not at all where they are not what a search wrote."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from results.rows import NAME, plain

SIDES = ("train", "validation", "test")
SPACE_PARTS = {"narrowed": ("name", "left", "of", "remark"), "base": ("name", "was", "is")}


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object; raises FileNotFoundError where there is no such file, and ValueError for any other content."""
    if not path.is_file():
        raise FileNotFoundError(f"needs a record of the run, got no file at `{path}`")
    try:
        record = plain(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"`{path}` is not the JSON that a search wrote: {error}") from error
    if not isinstance(record, dict):
        raise ValueError(f"`{path}` is not the JSON that a search wrote: needs an object, got {type(record).__name__}")
    return record


def read_record(path: Path) -> dict[str, Any]:
    """A JSON object of the run folder; empty where absent or broken, since a report must still be written."""
    try:
        record = read_object(path)
    except (OSError, ValueError):
        return {}
    rule = RULES.get(path.name)
    return {} if rule is not None and rule(record) else record


def broken_records(run_dir: Path) -> list[str]:
    """The records that are there and cannot be used, each with the reason."""
    said = []
    for name, rule in RULES.items():
        try:
            problem = rule(read_object(run_dir / name))
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            problem = " ".join(str(error).split())[:300]
        if problem:
            said.append(f"`{name}` is broken and not used: {problem}")
    return said


def read_probabilities(path: Path, shape: tuple[int, int]) -> Any | None:
    """The `probabilities` array of a predictions file, float (pictures, classes); None where absent or broken."""
    try:
        with zipfile.ZipFile(path) as packed:
            # Before it is unpacked: a few bytes can say that they are gigabytes.
            if packed.getinfo("probabilities.npy").file_size > 8 * shape[0] * shape[1] + 4096:
                return None
        with np.load(path, allow_pickle=False) as saved:
            found = saved["probabilities"]
    except Exception:  # Damaged archives raise nearly anything.
        return None
    if found.shape != shape or found.dtype.kind not in "fiu":
        return None
    probabilities = found.astype(float)
    # Not a number is in no range.
    usable = bool(((probabilities >= -1e-6) & (probabilities <= 1 + 1e-3)).all())
    return probabilities if usable else None


def truth_of(split: dict[str, Any], side: str) -> Any:
    """The labels of the pictures of a side (n,); of several labels a picture 0 and 1 (n, labels)."""
    entries = split.get(side) or []
    if not split.get("multilabel"):
        return np.array([label for _, label in entries], dtype=int)
    found = np.zeros((len(entries), len(split.get("classes") or [])), dtype=int)
    for row, (_, labels) in enumerate(entries):
        found[row, labels] = 1
    return found


def split_problem(split: dict[str, Any]) -> str:
    """What keeps a `split.json` from being used; empty where nothing does. All of its fields may be missing."""
    classes = split.get("classes", [])
    if not _strings(classes):
        return "`classes` needs names"
    several = split.get("multilabel", False)
    if not isinstance(several, bool):
        return "`multilabel` needs true or false"
    told = "a list of labels" if several else "a label"
    for side in SIDES:
        for entry in _list(split.get(side, [])):
            if not (isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str)):
                return f"`{side}` needs pairs of a name and {told}, got {str(entry)[:80]}"
            labels = entry[1] if several else [entry[1]]
            if not (isinstance(labels, list) and all(map(_whole, labels))):
                return f"`{side}` needs pairs of a name and {told}, got {str(entry)[:80]}"
            if any(label >= len(classes) for label in labels):
                return f"`{side}` needs labels below {len(classes)}, the number of classes, got {entry[1]}"
    sizes = split.get("sizes", {})
    if not isinstance(sizes, dict) or not all(_whole(size) for size in sizes.values()):
        return "`sizes` needs a number for each side"
    for side in SIDES:
        if side in sizes and isinstance(split.get(side), list) and sizes[side] != len(split[side]):
            return f"`sizes` says {sizes[side]} for {side}, and there are {len(split[side])}"
    left_out = split.get("left_out", [])
    if not all(isinstance(item, dict) and _strings([item.get("name"), item.get("reason")]) for item in _list(left_out)):
        return "`left_out` needs names and reasons"
    if not all(_strings(group) for group in _list(split.get("duplicates", []))):
        return "`duplicates` needs lists of names"
    levels = split.get("levels", {})
    if not isinstance(levels, dict) or not all(map(_range, levels.values())):
        return "`levels` needs a black and a higher white for each kind"
    likeness = split.get("likeness", {})
    if not isinstance(likeness, dict) or not isinstance(likeness.get("rule", ""), str):
        return "`likeness` needs a rule"
    lists = ("notes", "left_out", "duplicates", *SIDES)
    wrong = [name for name in lists if name in split and not isinstance(split[name], list)]
    wrong += [name for name in ("data", "root", "title", "digest") if not isinstance(split.get(name, ""), str)]
    wrong += ["notes"] * (not _strings(split.get("notes", [])))
    wrong += ["seed"] * (not _whole(split.get("seed", 0)))
    return f"`{wrong[0]}` is of another kind" if wrong else ""


def settings_problem(settings: dict[str, Any]) -> str:
    """What keeps a `settings.json` from being shown; empty where nothing does."""
    families = settings.get("families", [])
    if not _strings(families) or not all(NAME.fullmatch(family) for family in families):
        return "`families` needs names"
    deep = [key for key, value in settings.items() if isinstance(value, dict)]
    return f"`{deep[0]}` is of another kind" if deep else ""


def environment_problem(environment: dict[str, Any]) -> str:
    """What keeps an `environment.json` from being shown; empty where nothing does."""
    wrong = [
        key for key in ("command", "python", "platform", "backend") if not isinstance(environment.get(key, ""), str)
    ]
    wrong += [key for key in ("versions", "devices") if not isinstance(environment.get(key, {}), dict)]
    return f"`{wrong[0]}` is of another kind" if wrong else ""


def space_problem(space: dict[str, Any]) -> str:
    """What keeps a `space.json` from being used; empty where nothing does."""
    for family, record in space.items():
        for part, names in SPACE_PARTS.items():
            entries = record.get(part, []) if isinstance(record, dict) else None
            if not isinstance(entries, list) or not all(_named(entry, names) for entry in entries):
                return f"`{family}` needs {', '.join(names)} in each of its `{part}`"
    return ""


def _named(entry: Any, names: tuple[str, ...]) -> bool:
    return isinstance(entry, dict) and _strings([entry.get(name) for name in names])


RULES: dict[str, Callable[[dict[str, Any]], str]] = {
    "settings.json": settings_problem,
    "split.json": split_problem,
    "environment.json": environment_problem,
    "space.json": space_problem,
}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, str) for entry in value)


def _range(value: Any) -> bool:
    ends = value if isinstance(value, list) else []
    return len(ends) == 2 and all(isinstance(end, int | float) for end in ends) and ends[0] < ends[1]


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
