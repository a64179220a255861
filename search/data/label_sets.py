"""Several labels a picture: how a table tells them, which are searched, and what of a search they rule out."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from results.analysis.metrics import ACCURACY, METRICS, SEVERAL
from search.data.layout import MOST_NAMED, TEST, TRAIN, VALIDATION, leave_out, listed
from search.settings import Settings

Indices = NDArray[np.int64]

MARK = "\x1f"  # stands before every label of a picture's set, since no cell of a table holds it
SIGNS = (";", "|")  # between labels, as far as they are found without being named
LEAST_LABELS = 2
ZERO_OR_ONE = ("0", "0.0", "1", "1.0", "false", "true")
ONE = ("1", "1.0", "true")


def packed(labels: Iterable[str]) -> str:
    """A set of labels as one text, the same for every order; that of no label is no empty text."""
    return MARK + MARK.join(sorted(set(labels)))


def unpacked(text: str) -> tuple[str, ...] | None:
    """The labels of a text that `packed` has made; None for the one class of a picture."""
    return tuple(filter(None, text[1:].split(MARK))) if text.startswith(MARK) else None


def whole_set(text: str) -> str:
    """A set of labels as one text, whether it is one, a single label, or nothing at all."""
    return text if text.startswith(MARK) else packed([text] if text else [])


def read(text: str) -> str:
    """A class, or a set of labels, as people read it."""
    labels = unpacked(text)
    return text if labels is None else "; ".join(labels) or "no label"


def parts(cell: str, sign: str) -> list[str]:
    """The labels of a cell; an empty one has none."""
    return [part.strip() for part in cell.split(sign) if part.strip()]


def sign_of(every: Mapping[str, int], given: str, column: str) -> str:
    """What stands between the labels of a cell: what is `given`, else `;` or `|` where cells show several.

    `every` has the line of each cell's text. Empty where every picture has one class. A sign alone shows nothing: one
    of the labels around it has to stand by itself elsewhere, or in another company. Raises ValueError for two signs.
    """
    if given:
        return given
    found = {sign: cell for sign in SIGNS if (cell := _in_company(every, sign))}
    if len(found) > 1:
        told = " and ".join(f"`{sign}` in line {every[cell]} (`{cell}`)" for sign, cell in found.items())
        raise ValueError(
            f"needs one sign between the labels of a picture, and {column} has {told}: --label-separator says which"
        )
    return next(iter(found), "")


def _in_company(every: Mapping[str, int], sign: str) -> str:
    """A cell of several labels, one of which stands alone or in another cell too; empty where there is none."""
    seen: dict[str, str] = {}
    for cell in every:
        labels = parts(cell, sign)
        for label in labels if len(labels) > 1 else ():
            if label in every or seen.setdefault(label, cell) != cell:
                return cell
    return ""


def hot_columns(rows: Sequence[tuple[int, list[str]]], places: Sequence[int]) -> bool:
    """Whether columns of 0 and 1 give some picture several labels."""
    return any(sum(row[place].casefold() in ONE for place in places) > 1 for _, row in rows)


def packed_hot(
    rows: Sequence[tuple[int, list[str]]], places: Sequence[int], header: Sequence[str], path: Path
) -> list[tuple[int, list[str]]]:
    """The rows with the set of their columns that have a one behind them.

    Raises ValueError for any other value than 0 and 1, and for a column without a one.
    """
    found = []
    for line, row in rows:
        for place in places:
            value = row[place] if place < len(row) else ""
            if value.casefold() not in ZERO_OR_ONE:
                raise ValueError(
                    f"needs 0 or 1 in the columns that are labels, got `{value}` in line {line} of `{path}`, column "
                    f"`{header[place]}`; --label-columns names those that are labels"
                )
        whole = [*row, *[""] * (len(header) - len(row))][: len(header)]
        found.append((line, [*whole, packed(header[place] for place in places if row[place].casefold() in ONE)]))
    for place in places:
        if not any(row[place].casefold() in ONE for _, row in rows):
            raise ValueError(
                f"needs a 1 in every column that is a label, and column `{header[place]}` of `{path}` has none: name "
                "the others with --label-columns"
            )
    return found


def nearly_hot(rows: Sequence[tuple[int, list[str]]], place: int) -> bool:
    """Whether a column is one of 0 and 1 but for a few cells, which are rather slips."""
    right = sum(place < len(row) and row[place].casefold() in ZERO_OR_ONE for _, row in rows)
    return len(rows) <= 2 * right < 2 * len(rows)


def told_columns(names: Sequence[str]) -> str:
    """The columns of labels in the note of a table."""
    return f"0/1 columns {listed(names, 8)}"


def note(sets: Sequence[str], how: str) -> str:
    """What was understood of a table of several labels a picture, in one line."""
    sizes = [len(unpacked(text) or ()) for text in sets]
    labels = {label for text in sets for label in unpacked(text) or ()}
    counts = Counter(min(size, 2) for size in sizes)
    told = [
        f"{counts[size]:,} with {words}" for size, words in ((0, "none"), (1, "one"), (2, "several")) if counts[size]
    ]
    low, high = min(sizes), max(sizes)
    spread = f"{low} to {high}" if low < high else f"{low}"
    return f"{len(sets):,} pictures with {spread} of {len(labels):,} labels ({how}): {', '.join(told)}"


def chosen(
    sets: Mapping[str, Sequence[str]],
    printed: Mapping[str, str],
    *,
    where: str,
    classes: int | None = None,
    exclude: Sequence[str] = (),
    min_pictures: int | None = None,
) -> tuple[list[str], list[str]]:
    """The labels that are searched, and notes of those that are not; pictures stay, whatever labels they lose.

    `sets` has the labels of each picture by its name, `printed` how labels read. Raises ValueError for names that are
    no labels, for fewer than two labels, and where no picture has several.
    """
    counts = Counter(label for labels in sets.values() for label in labels)
    notes = []
    unknown = [name for name in exclude if name not in counts and name not in printed.values()]
    if unknown:
        raise ValueError(
            f"--exclude needs names of labels, got `{unknown[0]}` for {where}, which has {listed(sorted(counts))}"
        )
    gone = [label for label in sorted(counts) if label in exclude or printed[label] in exclude]
    if gone:
        notes.append(f"labels left out by --exclude, their pictures kept: {listed(gone)}")
    left = {label: count for label, count in counts.items() if label not in gone}
    small = {label: count for label, count in sorted(left.items()) if min_pictures and count < min_pictures}
    if small:
        told = ", ".join(f"`{label}` ({count})" for label, count in small.items())
        notes.append(
            f"labels on fewer than {min_pictures} pictures are left out by --min-pictures, their pictures kept: {told}"
        )
    kept = sorted((label for label in left if label not in small), key=lambda label: (-left[label], printed[label]))
    if classes is not None:
        if classes > len(kept):
            raise ValueError(f"needs classes <= {len(kept)}, the labels there are, got {classes} for {where}")
        if classes < len(kept):
            notes.append(f"the {classes} best-represented of {len(kept)} labels are kept")
        kept = kept[:classes]
    if len(kept) < LEAST_LABELS:
        raise ValueError(
            f"needs {LEAST_LABELS} labels or more, got {len(kept)} ({listed(kept) or 'none'}) in {where}: what a "
            "picture has or has not is two classes, each with its name in one column of labels"
        )
    return sorted(kept, key=lambda label: (printed[label], label)), notes


def check_several(sets: Iterable[Sequence[str]], where: str, separator: str) -> None:
    """Raises ValueError where a named separator parts nothing."""
    if separator and not any(len(labels) > 1 for labels in sets):
        raise ValueError(
            f"--label-separator needs a text that stands between labels, got `{separator}`, and no cell of {where} has "
            "labels on both sides of it"
        )


def check_shares(labels: Indices, names: Sequence[str], readable: NDArray[np.bool_], root: Path) -> None:
    """Raises ValueError for a label that no readable picture has, or that every one has: nothing tells it apart."""
    having = labels[readable].sum(axis=0)
    for label, count in enumerate(having.tolist()):
        if count in (0, int(readable.sum())):
            which = "every one has it" if count else "none has it"
            raise ValueError(
                f"needs labels that some pictures have and some have not, and of the {int(readable.sum()):,} readable "
                f"pictures of `{root}` {which}: `{names[label]}`; leave the label out with {leave_out([names[label]])}"
            )


def check_sides(
    labels: NDArray[np.integer], names: Sequence[str], train: Indices, validation: Indices, test: Indices, *, own: bool
) -> None:
    """Raises ValueError for a label that a side of the split has no picture of, or that all training pictures have.

    `own` says whether the sides are the user's.
    """
    anew = "cut the sides anew with --resplit, " if own else ""
    for side, pictures in ((TRAIN, train), (VALIDATION, validation), (TEST, test)):
        lacking = [name for label, name in enumerate(names) if not labels[pictures, label].any()]
        if lacking:
            every = np.concatenate([train, validation, test])
            told = ", ".join(
                f"`{name}` ({labels[every, list(names).index(name)].sum()})" for name in lacking[:MOST_NAMED]
            )
            raise ValueError(
                f"needs every label on a picture of its own in {TRAIN}, {VALIDATION} and {TEST}, and {side} has none "
                f"with {told}, pictures on all sides in brackets: add pictures, {anew}or leave the label"
                f"{'s' * (len(lacking) > 1)} out with {leave_out(lacking[:MOST_NAMED])}"
            )
    full = [name for label, name in enumerate(names) if labels[train, label].all()]
    if full:
        raise ValueError(
            f"needs training pictures that have not every label, and all {len(train):,} have `{full[0]}`: "
            f"{anew or 'add pictures without it, '}or leave it out with {leave_out(full[:MOST_NAMED])}"
        )


def check_settings(settings: Settings) -> None:
    """Raises ValueError for a setting that has no meaning where a picture has several labels, naming the way out."""
    refused: list[tuple[bool, str, object, str]] = [
        (
            settings.metric not in (ACCURACY, *SEVERAL), "--metric", settings.metric,
            f"one of {', '.join(SEVERAL)} ({METRICS[SEVERAL[0]].title} is the default)",
        ),
        (settings.rare != "drop", "--rare", settings.rare, "to be left out: --min-pictures leaves out rare labels"),
        (bool(settings.from_run), "--from", settings.from_run, "to be left out: it compares models of one label"),
        (settings.ensemble > 0, "--ensemble", settings.ensemble, "to be 0: models of several labels are not averaged"),
        (
            bool(settings.hypermodel), "--hypermodel", ", ".join(settings.hypermodel),
            "to be left out: models of your own are trained on one class a picture",
        ),
    ]  # fmt: skip
    for wrong, option, value, rule in refused:
        if wrong:
            raise ValueError(f"{option} needs {rule}, since the pictures have several labels each; got {value}")


def judged(settings: Settings, split: Mapping[str, Any]) -> tuple[Settings, str]:
    """The settings of a run once its data is read, and what is said of a change: without a choice mAP judges."""
    if not split.get("multilabel") or settings.metric != ACCURACY:
        return settings, ""
    title = METRICS[SEVERAL[0]].title
    said = (
        f"several labels a picture: judged by {title}, the mean over the labels of the average precision (--metric "
        f"{SEVERAL[1]} is the other choice); classes are not weighted, and neither labels nor confidence are checked"
    )
    return replace(settings, metric=SEVERAL[0]), said
