"""What `--set` and `--space` say: hyperparameters by name, and the values or the range that each is narrowed to."""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

FORMS = "a form such as optimizer=adamw, image_size=96,160, learning_rate=1e-4..1e-3 or mobilenet.units=0"
RANGE = ("low", "high")  # the keys of a range in a file
FILES = (".yaml", ".yml", ".json")


@dataclass(frozen=True)
class Rule:
    """What one hyperparameter may be: some values, as they were written, or a range of numbers with both its ends."""

    name: str  # perhaps with a family and a dot in front
    said: str  # the values or the range, as `--set` takes them
    values: tuple[str, ...] = ()
    low: float = -math.inf
    high: float = math.inf

    @property
    def ranged(self) -> bool:
        """Whether it is a range."""
        return not self.values

    def admits(self, value: float) -> bool:
        """Whether a number is among its values or in its range."""
        return self.low <= value <= self.high if self.ranged else value in map(number, self.values)

    def above_zero(self) -> "Rule | None":
        """The same without 0, of a name whose other values are whole and positive; None where that leaves nothing."""
        if self.ranged:
            return replace(self, low=1.0 if 0 <= self.low < 1 else self.low) if self.high >= 1 else None
        values = tuple(text for text in self.values if number(text) != 0)
        return replace(self, values=values) if values else None


def rule(text: str) -> Rule:
    """Reads `NAME=VALUE`, `NAME=VALUE,VALUE` or `NAME=LOW..HIGH`; raises ValueError for anything else."""
    name, equals, said = (part.strip() for part in text.partition("="))
    if not name or not equals or not said:
        raise ValueError(f"needs {FORMS}, got {text!r}")
    if ".." in said:
        # With three dots nobody could tell 1. from .1.
        ends = [end for end in map(number, said.split("..")) if end is not None]
        if len(ends) != 2 or said.count("..") != 1 or "..." in said:
            raise ValueError(f"needs a range of two numbers, as 1e-4..1e-3, got {said!r} in `{name}`")
        low, high = ends
        if low > high:
            raise ValueError(f"needs low <= high, got {said!r} in `{name}`")
        return Rule(name, said, low=low, high=high)
    values = tuple(part.strip() for part in said.split(","))
    if "" in values:
        raise ValueError(f"needs values between its commas, got {said!r} in `{name}`")
    if len(set(values)) < len(values):
        raise ValueError(f"needs each value once, got {said!r} in `{name}`")
    return Rule(name, ",".join(values), values)


def rules(texts: Sequence[str]) -> dict[str, Rule]:
    """The rules by name, with a family in front where one was written; raises ValueError for a name given twice."""
    found: dict[str, Rule] = {}
    for text in texts:
        read = rule(text)
        if read.name in found:
            raise ValueError(f"needs each name once, got {found[read.name].said!r} and {read.said!r} in `{read.name}`")
        found[read.name] = read
    return found


def of_family(texts: Sequence[str], family: str, families: Sequence[str]) -> dict[str, Rule]:
    """The rules that hold for one of some families, by the names of its hyperparameters.

    What was said of the family alone goes before what was said of all.
    """
    every = rules(texts)
    own = {name.partition(".")[2]: found for name, found in every.items() if name.startswith(f"{family}.")}
    # A name may hold a dot itself.
    bare = {name: found for name, found in every.items() if name.partition(".")[0] not in families or "." not in name}
    return {**bare, **own}


def canonical(text: str) -> str:
    """A rule as the settings keep it."""
    read = rule(text)
    return f"{read.name}={read.said}"


def sizes(texts: Sequence[str], families: Sequence[str], image_sizes: Sequence[int]) -> list[int]:
    """Those of the image sizes that any of the families may still choose; all of them where that leaves none."""
    found = [of_family(texts, family, families).get("image_size") for family in families]
    left = [size for size in image_sizes if any(one is None or one.admits(size) for one in found)]
    return left or list(image_sizes)


def with_space(given: Mapping[str, Any]) -> dict[str, Any]:
    """What is given, with what the file of `--space` says among the `set`, where the command line goes before it."""
    own = rules(given.get("set", ()))
    kept = [f"{name}={found.said}" for name, found in own.items()]
    if "space" in given:
        kept += [text for text in read_space(Path(given["space"])) if rule(text).name not in own]
    rest = {name: value for name, value in given.items() if name != "space"}
    # In one order, so that a run that is resumed is not refused for another.
    return {**rest, "set": tuple(sorted(kept))} if kept else rest


def read_space(path: Path) -> tuple[str, ...]:
    """The rules of a file of YAML or JSON; raises ValueError or OSError that names the file and the place."""
    if path.suffix.lower() not in FILES:
        raise ValueError(f"--space needs a file that ends in {', '.join(FILES)}, got `{path}`")
    if not path.is_file():
        raise FileNotFoundError(f"--space needs a file, and there is none at `{path}`")
    try:
        text = path.read_text(encoding="utf-8")
        return written(json.loads(text, object_pairs_hook=_once) if path.suffix.lower() == ".json" else _yaml(text))
    except RecursionError:
        raise ValueError(f"--space cannot use `{path}`: it is nested too deep to read") from None
    except ValueError as error:
        raise ValueError(f"--space cannot use `{path}`: {error}") from None


def written(space: Any) -> tuple[str, ...]:
    """A mapping of names, or of families and their names, as the words that `--set` takes.

    Raises ValueError for what is no value, list of values or range.
    """
    if not isinstance(space, Mapping):
        raise ValueError(f"needs a mapping of names, or of families and their names, got {str(space)[:80]!r}")
    found = tuple(_lines(space, ""))
    if not found:
        raise ValueError("needs at least one name, got none")
    rules(found)
    return found


def _lines(space: Mapping[Any, Any], family: str) -> Iterator[str]:
    for key, value in space.items():
        name = f"{family}{key}"
        if not isinstance(key, str) or not key.strip() or "=" in key:
            raise ValueError(f"needs names that are words without `=`, got {key!r}")
        if isinstance(value, Mapping) and set(value) != set(RANGE):
            if family:
                raise ValueError(f"needs a value, a list, or a range of {' and '.join(RANGE)}, got {value} in `{name}`")
            yield from _lines(value, f"{key}.")
        elif isinstance(value, Mapping):
            yield canonical(f"{name}={_word(value['low'], name)}..{_word(value['high'], name)}")
        elif isinstance(value, list | tuple):
            words = [_word(one, name) for one in value]
            if any(".." in word or "," in word for word in words):
                raise ValueError(f"needs a list of values, without commas or ranges in them, got {value} in `{name}`")
            yield canonical(f"{name}={','.join(words)}")
        else:
            yield canonical(f"{name}={_word(value, name)}")


def _word(value: Any, name: str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    raise ValueError(f"needs words and numbers for values, got {value!r} in `{name}`")


def _once(pairs: Sequence[tuple[Any, Any]]) -> dict[Any, Any]:
    """A mapping whose names came once each: of two the second would be taken without a word."""
    found: dict[Any, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"needs each name once, got `{key}` twice")
        found[key] = value
    return found


def _yaml(text: str) -> Any:
    # Here and not above: hardly any start needs it.
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        """Reads plain values, and mappings whose names come once each."""

    def mapping(loader: Any, node: Any) -> dict[Any, Any]:
        keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
        if not all(isinstance(key, str | int | float) for key in keys):
            raise ValueError(f"needs names that are words, got {keys[0]!r}")
        return _once(
            [(key, loader.construct_object(value, deep=True)) for key, (_, value) in zip(keys, node.value, strict=True)]
        )

    Loader.add_constructor("tag:yaml.org,2002:map", mapping)
    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"it is no YAML: {' '.join(str(error).split())}") from None


_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def number(text: str) -> float | None:
    """The number that a word is; None where it is none."""
    found = float(text) if _NUMBER.fullmatch(text.strip()) else math.inf
    return found if math.isfinite(found) else None
