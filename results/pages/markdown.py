"""report.md: the verdict and the tables."""

from collections.abc import Sequence
from typing import Any

from results.analysis import numbers, verdict
from results.pages import doubts, per_label, predecessor
from results.pages.tables import (
    CLASS_HEADS,
    COMPARISON_HEADS,
    COUNT_HEADS,
    CURVE_HEADS,
    DEPTH_HEADS,
    MOST_FILES,
    MOST_FRONT,
    MOST_PAIRS,
    MOST_STEPS,
    NARROWED_HEADS,
    cell,
    class_cells,
    compared,
    cost_cells,
    cost_heads,
    count_cells,
    count_note,
    curve_cells,
    cut,
    data_notes,
    depth_cells,
    family_cells,
    family_heads,
    front_cells,
    front_heads,
    narrowed_cells,
    repetition,
    step_cells,
    step_heads,
    table,
    test_sentence,
    worst_first,
)
from results.rows import Rows


def markdown(summary: dict[str, Any], rows: Rows, plates: Sequence[tuple[str, str]]) -> str:
    """report.md: the verdict and the tables."""
    lines = [
        f"# {cell(summary['name'])}",
        "",
        f"**{cell(verdict.headline(summary))}**",
        "",
        cell(verdict.effort(summary) + verdict.beside_headline(summary)),
        "",
    ]
    lines += ["## Families", ""]
    heads = family_heads(summary["metric"])
    lines += table(heads, [family_cells(name, record) for name, record in summary["families"].items()])
    pictures = {name: f"![{cell(said)}](figures/{name})" for name, said in plates}
    lines += [line for name in ("best.png", "test.png") if name in pictures for line in ("", pictures[name])]
    said = verdict.caveats(summary)
    if said:
        lines += ["", "Before you believe it:", "", *(f"- {cell(line)}" for line in said)]
    lines += predecessor.markdown_lines(summary)
    for family, record in summary["families"].items():
        lines += ["", f"## {cell(verdict.model_title(family, record))}", "", cell(verdict.paragraph(family, record))]
        hints = verdict.advice(family, record)
        if hints:
            lines += ["", "What the next search should change:", "", *(f"- {cell(hint)}" for hint in hints)]
        if f"curves-{family}.png" in pictures:
            lines += ["", pictures[f"curves-{family}.png"]]
        if record["narrowed"]:
            lines += ["", cell(verdict.narrowed(record)), "", *table(NARROWED_HEADS, narrowed_cells(record))]
        if record["best"] is not None:
            trial = rows.trials[record["best"]["trial"]]
            lines += ["", *table(COMPARISON_HEADS, compared(record))]
            lines += ["", f"The curve of {cell(trial.name)}:", "", *table(CURVE_HEADS, curve_cells(trial.curve))]
            steps = numbers.best_so_far(rows.of(family))[-MOST_STEPS:]
            lines += [
                "",
                f"Best so far, the last {len(steps)} improvements:",
                "",
                *table(step_heads(summary["metric"]), step_cells(steps, summary["metric"])),
            ]
    scored = {family: record["test"] for family, record in summary["families"].items() if record["test"] is not None}
    if scored:
        lines += ["", "## Test", ""]
        lines += [f"- {cell(verdict.title(name))}: {test_sentence(test)}" for name, test in scored.items()]
        lines += [
            f"- {cell(verdict.ensemble(family, record['ensemble']))}"
            for family, record in summary["families"].items()
            if record["ensemble"]
        ]
        lines += _confused(summary, scored)
    lines += per_label.markdown_lines(summary) if per_label.several(summary) else doubts.markdown_lines(summary)
    lines += [line for name in ("coverage.png", "labels.png") if name in pictures for line in ("", pictures[name])]
    if summary["costs"]:
        lines += [
            "",
            "## Cost",
            "",
            *[f"On test, {cell(line)}." for line in [verdict.usual(summary["data"])] if line],
            "",
        ]
        lines += [*table(cost_heads(summary["costs"]), cost_cells(summary["costs"]))]
    found = summary["pareto"]
    if found["trials"]:
        shown = cut(len(found["trials"]), MOST_FRONT)
        lines += ["", f"The Pareto front of the trials{shown}. {verdict.front(found)}", ""]
        lines += table(front_heads(found), front_cells(found))
    for family, record in summary["families"].items():
        if record["depth"]:
            lines += ["", f"Fine-tuning depth of {cell(verdict.title(family))}:", ""]
            lines += table(DEPTH_HEADS, depth_cells(record["depth"]))
    lines += ["", "## Data", ""]
    if summary["data"]["classes"]:
        lines += [*(f"- {cell(note)}" for note in data_notes(summary["data"])), ""]
        lines += table(COUNT_HEADS, count_cells(summary["data"]))
        lines += ["", f"{count_note(summary['data'])}."] * bool(count_note(summary["data"]))
        listed = summary["data"]["left_out"][:MOST_FILES]
        if listed:
            lines += ["", f"Files left out{cut(len(summary['data']['left_out']))}:", ""]
            lines += [f"- {cell(str(file.get('name')))}: {cell(str(file.get('reason')))}" for file in listed]
    else:
        lines += ["The split was not recorded, so the pictures cannot be described."]
    lines += ["", "## How to repeat it", ""]
    lines += [f"    {' '.join(str(summary['environment'].get('command') or 'not recorded').split())}", ""]
    lines += [f"- {cell(key)}: {cell(fact)}" for key, fact in repetition(summary)]
    return "\n".join(lines) + "\n"


def _confused(summary: dict[str, Any], scored: dict[str, Any]) -> list[str]:
    """The pairs of classes that the leader takes for each other most often, and the classes that it knows least."""
    judged = {family: test["predictions"] for family, test in scored.items() if test["predictions"]}
    if not judged:
        return []
    leader = summary["winner"] if summary["winner"] in judged else next(iter(judged))
    found = judged[leader]
    lines = ["", f"What {cell(verdict.title(leader))} confuses, all seeds together:", ""]
    if not found["confused"]:
        lines.append("- nothing.")
    lines += [f"- {cell(verdict.pair(pair))}." for pair in found["confused"][:MOST_PAIRS]]
    worst = worst_first(found["classes"])[:MOST_PAIRS]
    return [
        *(*lines, "", f"Its worst {len(worst)} of {len(found['classes']):,} classes:", ""),
        *table(CLASS_HEADS, class_cells(worst)),
    ]
