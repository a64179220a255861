"""The section of the report on the run that a run goes on from: both models on the same test pictures, and the data."""

from typing import Any

from results.analysis import verdict
from results.analysis.metrics import METRICS
from results.analysis.predecessor import FIGURES, NEW, OLD, RECIPE
from results.markup import grid, items
from results.pages.tables import MOST_FILES, cell, cut, table

HEADING = "The run before"
TITLES = {
    "known": "of classes that it knows",
    "all": "all of them",
    "unseen": "of its classes, pictures that it never had",
}
FIGURE_HEADS = ("Test pictures", "How many", "Model of the run before", "Its recipe, trained here", "New model",
                "Difference, points", "95 % interval")  # fmt: skip
CLASS_HEADS = ("Class", "Test pictures", "Run before", "Here", "Difference, points", "95 % interval")
CHANGE_HEADS = ("Class", "Pictures before", "Now", "Added", "Removed", "Moved in", "Moved out")
MOVED_HEADS = ("Picture", "Was", "Is")
CLASS_CAPTION = (
    "Test accuracy by class. A class that the model of the run before does not know is new; what it says of such "
    "pictures is always wrong."
)


def sentence(found: dict[str, Any]) -> str:
    """What the model of the run before is worth here, in one sentence."""
    known, every = found["known"], found["all"]
    if known is None:
        return (
            f"No test picture is of a class that the model of {found['name']} knows: it names none of "
            f"{verdict.plural(every['pictures'], 'test picture')} rightly."
        )
    said = (
        f"The model of {found['name']} names {verdict.interval(known[OLD])} of "
        f"{verdict.plural(known['pictures'], 'test picture')} of its classes rightly"
    )
    if every["pictures"] > known["pictures"]:
        said += f", {verdict.percent(every[OLD]['accuracy'])} of all {every['pictures']:,}"
    return f"{said}."


def difference(found: dict[str, Any]) -> str:
    """How the new model compares, in one sentence; empty while there is none."""
    known = found["known"] or found["all"]
    apart = known["difference"]
    if apart is None:
        return ""
    told = apart["low"] > 0 or apart["high"] < 0
    which = "The new model" if found["compared"] == NEW else f"Its recipe ({found['recipe']}) on the new data"
    better = "more" if apart["value"] >= 0 else "fewer"
    said = (
        f"{which} names {verdict.percent(known[found['compared']]['accuracy'])} of the same pictures rightly, "
        f"{abs(100 * apart['value']):.1f} points {better} (95 % interval of the difference, paired by picture: "
        f"{verdict.points(apart['low'])} to {verdict.points(apart['high'])}), which "
        f"{'is a difference' if told else 'cannot be told from none'}. "
        f"{verdict.plural(apart['gained'], 'picture')} only the new one has right, {apart['lost']:,} only the old one "
        f"(McNemar's exact test: p = {apart['p']:.2g})."
    )
    if found["all"]["pictures"] > known["pictures"]:
        every = found["all"]
        said += (
            f" Of all {every['pictures']:,} test pictures, those of new classes among them, it names "
            f"{verdict.percent(every[found['compared']]['accuracy'])} rightly and the old one "
            f"{verdict.percent(every[OLD]['accuracy'])}."
        )
    if len(found["classes"]) != found["knows"]:
        said += f" It chooses among {len(found['classes']):,} classes, the old one among {found['knows']:,}."
    return said


def measured(found: dict[str, Any]) -> str:
    """The same in what the run is judged by; empty where that is accuracy."""
    one = found["metric"]
    if one is None:
        return ""
    name, share = METRICS[one["name"]].title, METRICS[one["name"]].share
    values = [verdict.percent(one[key]) if share else f"{one[key]:.3f}" for key in ("old", "new")]
    ends = [verdict.apart(one["name"], one[key]) for key in ("difference", "low", "high")]
    return (
        f"By {name}, on pictures of the classes that both know: {values[0]} before, {values[1]} now, a difference of "
        f"{ends[0]} (95 % bootstrap over pictures: {ends[1]} to {ends[2]})."
    )


def how(found: dict[str, Any]) -> str:
    """Why the score of the model of the run before is no lie."""
    said = "No test picture is one that it has learnt: those stayed in train and validation."
    if found["refitted"] and found["stored"]:
        return (
            f"No test picture is one that it had learnt when it answered. {found['stored']:,} were test pictures of "
            f"{found['name']}, whose delivered model was trained on all pictures in the end: there the answers count "
            "that it gave before."
        )
    return said


def changed(found: dict[str, Any]) -> str:
    """What changed in the data, in one sentence."""
    data = found["data"]
    return (
        f"Of {data['pictures']:,} pictures of {found['name']} {data['same']:,} are here again; "
        f"{verdict.plural(data['added'], 'picture')} came, {data['removed']:,} went, and {data['moved']:,} have "
        "another class now."
    )


def figure_cells(found: dict[str, Any]) -> list[list[str]]:
    """The figures under `FIGURE_HEADS`."""
    lines = []
    for name in FIGURES:
        part = found[name]
        # A line that says the same twice says nothing.
        if part is None or (name == "all" and found["known"] and part["pictures"] == found["known"]["pictures"]):
            continue
        apart = part["difference"]
        lines.append(
            [
                TITLES[name],
                f"{part['pictures']:,}",
                *(verdict.interval(part[model]) if part[model] else verdict.NOT_KNOWN for model in (OLD, RECIPE, NEW)),
                verdict.points(apart and apart["value"]),
                interval_of(apart),
            ]
        )
    return lines


def class_cells(found: dict[str, Any]) -> list[list[str]]:
    """Classes under `CLASS_HEADS`, what was lost most first and new classes last."""

    def order(entry: dict[str, Any]) -> tuple[bool, float]:
        apart = entry["difference"]
        return apart is None, apart["value"] if apart else 0.0

    return [
        [
            f"{entry['class']} (new)" if entry["new_class"] else entry["class"],
            f"{entry['pictures']:,}",
            verdict.percent(entry["old"]),
            verdict.percent(entry["new"]),
            verdict.points(entry["difference"] and entry["difference"]["value"]),
            interval_of(entry["difference"]),
        ]
        for entry in sorted(found["classes"], key=order)
    ]


def change_cells(found: dict[str, Any]) -> list[list[str]]:
    """What changed in each class, under `CHANGE_HEADS`."""
    marks = {True: " (new)", False: ""}
    return [
        [
            f"{entry['class']}{' (gone)' if entry.get('gone') else marks[entry.get('new') is True]}",
            *(f"{entry[key]:,}" for key in ("before", "now", "added", "removed", "moved_in", "moved_out")),
        ]
        for entry in found["data"]["changes"]
    ]


def interval_of(apart: dict[str, Any] | None) -> str:
    """The interval of a difference, in points."""
    return f"{verdict.points(apart['low'])} to {verdict.points(apart['high'])}" if apart else verdict.NOT_KNOWN


def sentences(found: dict[str, Any]) -> list[str]:
    """All that is said of the run before."""
    return [line for line in (sentence(found), difference(found), measured(found), how(found), changed(found)) if line]


def section(summary: dict[str, Any]) -> str:
    """The part of the report; empty where the run goes on from no other."""
    found = summary["from"]
    if not found:
        return ""
    figures = grid(
        f"{found['name']} against this run on the same test pictures.", FIGURE_HEADS, figure_cells(found),
        (1, 2, 3, 4, 5, 6),
    )  # fmt: skip
    classes = class_cells(found)
    by_class = grid(f"{CLASS_CAPTION}{cut(len(classes))}", CLASS_HEADS, classes[:MOST_FILES], (1, 2, 3, 4, 5))
    changes = change_cells(found)
    data = grid(f"Pictures by class, before and now{cut(len(changes))}.", CHANGE_HEADS, changes[:MOST_FILES],
                (1, 2, 3, 4, 5, 6))  # fmt: skip
    moved = found["data"]["moved_pictures"]
    listed = (
        grid(f"Pictures of another class now{cut(found['data']['moved'], len(moved))}.", MOVED_HEADS, moved)
        if moved
        else ""
    )
    return (
        f'<div class="sheet">{items(sentences(found))}</div><div class="sheet listed">{figures}</div>'
        f'<div class="sheet listed">{by_class}</div>'
        f'<details class="sheet listed"><summary>What changed in the data</summary>{data}{listed}</details>'
    )


def markdown_lines(summary: dict[str, Any]) -> list[str]:
    """The same for report.md."""
    found = summary["from"]
    if not found:
        return []
    lines = ["", f"## {HEADING}", "", *(f"- {cell(line)}" for line in sentences(found)), ""]
    lines += [*table(FIGURE_HEADS, figure_cells(found)), "", cell(CLASS_CAPTION), ""]
    lines += [*table(CLASS_HEADS, class_cells(found)[:MOST_FILES]), "", "What changed in the data:", ""]
    lines += table(CHANGE_HEADS, change_cells(found)[:MOST_FILES])
    moved = found["data"]["moved_pictures"]
    if moved:
        lines += ["", "Pictures of another class now:", "", *table(MOVED_HEADS, moved)]
    return lines
