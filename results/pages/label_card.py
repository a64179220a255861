"""The card of a model that says several labels of a picture."""

from typing import Any

from results.analysis import verdict
from results.pages.card import STANFORD_DOGS, loading
from results.pages.per_label import LABEL_HEADS, METHOD, label_cells
from results.pages.tables import MOST_FILES, cell, cost_cells, cost_heads, table


def label_card(summary: dict[str, Any], family: str) -> str:
    """A family's model in one page of Markdown: what it is, its figures by label, its data and how to load it."""
    record, data = summary["families"][family], summary["data"]
    best, test, model = record["best"], record["test"], record["model"]
    found = (test or {}).get("labels")
    lines = [
        f"# {cell(verdict.model_title(family, record))} of run {cell(summary['name'])}",
        "",
        f"A model that says which of {len(data['classes']):,} labels a picture has, none, one or several, found by "
        f"Pedigree: trial {cell(best['trial'])}, trained again on the training and validation pictures with seed "
        f"{model['seed']}." + (f" {verdict.refitted(model)}" if model["pictures"] else ""),
        "",
        "## Use",
        "",
        *("    " + line for line in use(family, data["levels"])),
        "",
        "The file takes uint8 pictures (n, height, width, 3) of any size, holds its own resizing and treatment, loads "
        "in Keras's safe mode and needs nothing of Pedigree. It gives a probability for each label by itself: they do "
        f"not sum to 1. A picture has a label where the probability reaches its threshold in `{family}.labels.csv`.",
        "",
        "## Figures",
        "",
    ]
    if test:
        judged = test["metric"]
        if judged:
            said = verdict.scored(test)
            lines += [f"- Test {verdict.called(record['metric'])}: {said}. {cell(judged['method'])}."]
        if found:
            lines += [
                f"- Test mAP {verdict.percent(found['map'])}, macro-F1 {verdict.percent(found['macro_f1'])}; "
                f"probabilities drawn by chance have an mAP of about {verdict.percent(found['chance'])}.",
            ]
        lines += [
            f"- All labels of {cell(verdict.interval(test))} of {test['pictures']:,} test pictures are right. "
            f"{cell(test['method'])}.",
            f"- Mean over {verdict.plural(len(test['seeds']), 'seed')}; this file is "
            + ("none of them." if model["pictures"] else "that of one seed."),
        ]
    else:
        lines += ["- Not scored on test."]
    chosen = verdict.measured(record["metric"], best["score"])
    lines += [
        f"- Validation {verdict.called(record['metric'])} of the configuration: {chosen} at epoch {best['epoch']}.",
        f"- Its thresholds were told by {cell(str(model['told_by'] or 'nothing'))} "
        f"({verdict.plural(model['held_out'] or 0, 'picture')}), each for the highest F1. {METHOD}",
        "",
    ]
    if found:
        lines += table(LABEL_HEADS, label_cells(found)[:MOST_FILES])
    entries = [entry for entry in summary["costs"] if entry["family"] == family]
    lines += ["", *table(cost_heads(entries)[1:7], [cells[1:7] for cells in cost_cells(entries)]), ""]
    split, licence = data["split"], "not recorded; whoever passes the model on has to know it."
    dogs = "stanford" in f"{data['title']} {data['source']}".lower().replace("-", " ")
    lines += [
        "## Data",
        "",
        f"- {cell(str(data['title'] or data['source'] or 'not recorded'))}, digest {data['digest']}.",
        f"- {split['train']:,} training, {split['validation']:,} validation and {split['test']:,} test pictures, "
        f"{data['cardinality']['mean']:.2f} labels a picture in the mean.",
        f"- Licence of the data: {STANFORD_DOGS if dogs else licence}",
        f"- Labels: {cell(', '.join(map(str, data['classes'])))}.",
        "",
        "## Limits",
        "",
        "- A label that is not in this list is never said, and nothing tells pictures of another kind apart.",
        "- The figures hold for pictures like those of the data, the thresholds for labels as common as there.",
        f"- Everything else that was found: ../report.html of run {cell(summary['name'])}.",
        "",
        "## Configuration",
        "",
        *(f"- {cell(key.replace('_', ' '))}: {cell(verdict.value(value))}" for key, value in best["config"].items()),
    ]
    return "\n".join(lines) + "\n"


def use(family: str, levels: dict[str, Any] | None = None) -> list[str]:
    """The lines of Python that say the labels of a picture with the exported file and nothing of Pedigree."""
    *lines, _ = loading(f"{family}.keras", levels)
    return [
        "import csv",
        *lines,
        f'labels = list(csv.DictReader(open("{family}.labels.csv", encoding="utf-8")))',
        'print([one["label"] for one, p in zip(labels, probabilities) if p >= float(one["threshold"])])',
    ]
