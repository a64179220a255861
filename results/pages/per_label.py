"""Several labels a picture: what the documents say in the place of confusion, coverage and checks of labels."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from results.analysis import numbers, verdict
from results.drawing import per_label as drawing
from results.drawing.figures import Figure
from results.markup import grid, items, text, write_aside
from results.pages.mistakes import data_uri
from results.pages.tables import MOST_FILES, cell, cut, table
from results.records import read_record

LABEL_HEADS = ("Label", "Test pictures", "Average precision", "Precision", "Recall", "F1", "Threshold")
FAMILY_HEADS = ("Family", "Validation", "Test (95 % interval)", "mAP", "Macro-F1", "All labels right", "By seed")
PAIR_HEADS = ("Missed", "Added on the same picture", "Pictures")
COLUMNS = ("label", "threshold", "test_pictures", "average_precision", "precision", "recall", "f1")
MOST_SHOWN = 10  # pairs of labels that a document lists
NOT_SAVED = "The predictions were not saved, so nothing is said by label."


def several(summary: dict[str, Any]) -> bool:
    """Whether the pictures of a run have several labels each."""
    return bool(summary["data"].get("multilabel"))


def judged(summary: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What is known of the labels, by family, the winner's first."""
    found = {family: record["test"]["labels"] for family, record in summary["families"].items()
             if record["test"] and record["test"].get("labels")}  # fmt: skip
    first = summary["winner"]
    return {family: found[family] for family in sorted(found, key=lambda family: family != first)}


def label_cells(found: dict[str, Any]) -> list[list[str]]:
    """The labels under `LABEL_HEADS`, that of the lowest average precision first."""
    order = sorted(found["labels"], key=lambda one: (one["average_precision"] is None, one["average_precision"]))
    return [
        [
            one["class"],
            f"{one['pictures']:,}",
            *(verdict.percent(one[key]) for key in ("average_precision", "precision", "recall", "f1")),
            f"{one['threshold']:.3f}",
        ]
        for one in order
    ]


def family_cells(summary: dict[str, Any]) -> list[list[str]]:
    """The families under `FAMILY_HEADS`."""
    lines = []
    for family, found in judged(summary).items():
        record = summary["families"][family]
        best, test = record["best"], record["test"]
        seeds = ", ".join(
            f"{seed}: {verdict.percent(value)}" for seed, value in zip(found["seeds"], found["by_seed"], strict=True)
        )
        chosen = verdict.measured(record["metric"], best and numbers.figure(best))
        lines.append(
            [
                *(verdict.title(family), chosen, verdict.scored(test), verdict.percent(found["map"])),
                *(verdict.percent(found["macro_f1"]), verdict.percent(test["accuracy"]), seeds),
            ]
        )
    return lines


def pair_cells(found: dict[str, Any]) -> list[list[str]]:
    """What is missed and added together, under `PAIR_HEADS`."""
    return [[pair["missed"], pair["added"], f"{pair['pictures']:,}"] for pair in found["together"][:MOST_SHOWN]]


def remarks(summary: dict[str, Any]) -> list[str]:
    """How many labels pictures have and are given, and what chance alone would score, in sentences."""
    said = []
    known = summary["data"]["cardinality"]
    if known:
        counts = ", ".join(f"{count:,} with {size}" for size, count in enumerate(known["pictures"]) if count)
        said.append(f"A picture has {known['mean']:.2f} labels in the mean ({counts}).")
    found = judged(summary)
    if found:
        first, leader = next(iter(found.items()))
        said.append(
            f"On test {verdict.title(first)} gives a picture {leader['cardinality']['said']:.2f} labels in the mean, "
            f"and {leader['cardinality']['true']:.2f} are right; {verdict.percent(leader['hamming'])} of all its "
            "decisions on a label are wrong."
        )
        said.append(
            f"Probabilities drawn by chance would have an mAP of about {verdict.percent(leader['chance'])}, the mean "
            "share of the labels."
        )
    return said


METHOD = (
    "mAP is the mean over the labels of the average precision, macro-F1 that of F1 at the threshold of each label "
    "(scikit-learn's definitions). Thresholds come from pictures that the model has not learnt, never from test."
)


def trust_section(summary: dict[str, Any], add: Any, accents: dict[str, str]) -> str:
    """The part of the page on trust; `add` keeps a figure under a name and gives the markup of its place."""
    found = judged(summary)
    if not found:
        scored = any(record["test"] for record in summary["families"].values())
        return f"<p>{NOT_SAVED if scored else 'No family has been scored on the test pictures.'}</p>"
    methods = dict.fromkeys(summary["families"][family]["test"]["metric"]["method"] for family in found)
    leader, first = next(iter(found.items()))
    by_label = {family: one["labels"] for family, one in found.items()}
    order = [line[0] for line in label_cells(first)]
    figure: Figure | None = drawing.together(leader, first["together"], summary["data"]["classes"], accents[leader])
    lines = label_cells(first)
    pairs = pair_cells(first)
    families = grid(
        f"What chose each family, and what it shows on test. {METHOD}",
        FAMILY_HEADS,
        family_cells(summary),
        (1, 3, 4, 5),
    )
    listed = grid(
        f"The labels of {verdict.title(leader)} on test, the lowest first{cut(len(lines))}. Precision, recall and F1 "
        "are those at the threshold.",
        LABEL_HEADS,
        lines[:MOST_FILES],
        (1, 2, 3, 4, 5, 6),
    )
    said = "".join(f'<p class="of">{text(method)}.</p>' for method in methods)
    drawn = add("labels", drawing.precisions(by_label, order, accents)) + add("together", figure)
    together = ""
    if pairs:
        caption = "The pairs of labels that are wrong together most often, all seeds together."
        head = "<summary>Mistakes together as a table</summary>"
        together = f'<details class="sheet">{head}{grid(caption, PAIR_HEADS, pairs, (2,))}</details>'
    return (
        f'<div class="sheet listed">{families}{said}{items(remarks(summary))}</div>'
        f'<div class="sheet listed">{listed}</div><div class="pair">{drawn}</div>{together}'
    )


def read_label_mistakes(run_dir: Path, family: str, split: dict[str, Any]) -> dict[str, Any] | None:
    """The clearest mistakes of a family's model with names, labels and pictures as data URIs.

    None where the run kept none; a broken entry is passed over, since a report must still be written.
    """
    record = read_record(run_dir / "mistakes" / f"{family}.json")
    if not record:
        return None
    classes = split.get("classes") or []
    kept = record.get("mistakes")
    found = []
    for mistake in kept if isinstance(kept, list) else []:
        try:
            nearest = mistake["nearest"]
            name, true = split["test"][_place(mistake["place"])]
            found.append(
                {
                    "name": name,
                    "true": [classes[label] for label in true],
                    **{
                        kind: [(classes[_place(label)], float(share)) for label, share in mistake[kind]]
                        for kind in ("missed", "added")
                    },
                    "picture": data_uri(_inside(run_dir, mistake["picture"])),
                    "where": data_uri(_inside(run_dir, mistake["where"])) if "where" in mistake else None,
                    "nearest": {
                        "name": split[nearest["side"]][_place(nearest["place"])][0],
                        "labels": [classes[_place(label)] for label in nearest["labels"]],
                        "picture": data_uri(_inside(run_dir, nearest["picture"])),
                    },
                }
            )
        except (KeyError, IndexError, TypeError, ValueError, OSError):
            continue
    counts = {key: int(record[key]) if isinstance(record.get(key), int) else 0 for key in ("wrong", "test", "compared")}
    return {**counts, "mistakes": found}


def _place(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"needs a place, got {value!r}")
    return value


def _inside(run_dir: Path, name: str) -> Path:
    if Path(name).name != name:
        raise ValueError(f"needs the name of a file in mistakes/, got {name!r}")
    return run_dir / "mistakes" / name


def mistakes_section(run_dir: Path, summary: dict[str, Any], accents: dict[str, str]) -> str:
    """The sheet of mistakes: labels that were missed and labels that were added."""
    split = read_record(run_dir / "split.json")
    read = {family: read_label_mistakes(run_dir, family, split) for family in summary["families"]}
    kept = {family: found for family, found in read.items() if found is not None}
    if not kept:
        return "<p>The run kept no pictures of its mistakes.</p>"
    first = summary["winner"] if summary["winner"] in kept else next(iter(kept))
    parts = [
        '<p class="lead">The test pictures with a wrong label furthest beyond its threshold, each beside the training '
        "picture most like it by the features that the model itself decides on. Bright in the third picture: what the "
        "label that was added rests on, found by covering a square at a time.</p>"
    ]
    for family in sorted(kept, key=lambda family: family != first):
        found = kept[family]
        shown = "".join(map(_mistake, found["mistakes"]))
        inner = f"<p>{text(told(found))}</p>" + (f'<ul class="mistakes">{shown}</ul>' if shown else "")
        state = " open" if family == first else ""
        parts.append(
            f'<details class="sheet family" style="--accent:{accents[family]}"{state}>'
            f"<summary>{text(verdict.title(family))}</summary>{inner}</details>"
        )
    return "".join(parts) + f'<p class="of">{text(summary["doubts"]["why"])}</p>'


def told(found: dict[str, Any]) -> str:
    """On how many test pictures a label is wrong, and how the kept ones were compared."""
    if not found["wrong"]:
        return f"All labels of {verdict.plural(found['test'], 'test picture')} are right."
    kept = len(found["mistakes"])
    shown = f"; the {kept} clearest are shown" if 0 < kept < found["wrong"] else ""
    return (
        f"On {found['wrong']:,} of {verdict.plural(found['test'], 'test picture')} a label is wrong{shown}. Each was "
        f"compared with {verdict.plural(found['compared'], 'training picture')}."
    )


def _mistake(mistake: dict[str, Any]) -> str:
    nearest = mistake["nearest"]
    own, theirs = (", ".join(labels) or "no label" for labels in (mistake["true"], nearest["labels"]))
    pictures = [
        (mistake["picture"], f"Test picture {mistake['name']}: {own}", "the picture"),
        (nearest["picture"], f"Training picture {nearest['name']}: {theirs}", f"nearest: {theirs}"),
    ]
    if mistake["where"] is not None:
        said = f"The test picture, bright where {max(mistake['added'], key=lambda one: one[1])[0]} comes from"
        pictures.append((mistake["where"], said, "where it looked"))
    drawn = "".join(
        f'<figure><img src="{source}" alt="{text(said)}" title="{text(said)}" width="128" height="128">'
        f"<figcaption>{text(under)}</figcaption></figure>"
        for source, said, under in pictures
    )
    wrong = [
        f"{kind} <b>{text(name)}</b> ({text(verdict.percent(share))})"
        for kind in ("missed", "added")
        for name, share in mistake[kind]
    ]
    return (
        f'<li><div class="thumbs">{drawn}</div><p>{"<br>".join(wrong)}<br>in truth {text(own)}</p></li>'
    )  # fmt: skip


def markdown_lines(summary: dict[str, Any]) -> list[str]:
    """The same for report.md, without the pictures."""
    found = judged(summary)
    if not found:
        return ["", "## Labels", "", NOT_SAVED]
    leader, first = next(iter(found.items()))
    lines = ["", "## Labels", "", METHOD, "", *table(FAMILY_HEADS, family_cells(summary)), ""]
    lines += [f"- {cell(line)}" for line in remarks(summary)]
    lines += ["", f"The labels of {cell(verdict.title(leader))} on test, the lowest first:", ""]
    lines += table(LABEL_HEADS, label_cells(first)[:MOST_FILES])
    pairs = pair_cells(first)
    if pairs:
        lines += ["", "Wrong together most often, all seeds together:", "", *table(PAIR_HEADS, pairs)]
    return [*lines, "", cell(str(summary["doubts"]["why"]))]


def write_thresholds(folder: Path, family: str, record: dict[str, Any], names: Sequence[str]) -> Path | None:
    """Writes models/FAMILY.labels.csv, the threshold of each label and its figures; None where they are not known."""
    cuts = (record["model"] or {}).get("label_thresholds")
    if not cuts or len(cuts) != len(names) or not folder.is_dir():
        return None
    figures = {one["class"]: one for one in ((record["test"] or {}).get("labels") or {"labels": []})["labels"]}
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(COLUMNS)
    for name, threshold in zip(names, cuts, strict=True):
        own = figures.get(name, {})
        shares = [own.get(key) for key in COLUMNS[3:]]
        writer.writerow(
            [
                name,
                f"{threshold:.6f}",
                own.get("pictures", ""),
                *("" if one is None else f"{one:.6f}" for one in shares),
            ]
        )
    write_aside(folder / f"{family}.labels.csv", lines.getvalue())
    return folder / f"{family}.labels.csv"
