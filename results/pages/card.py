"""The model card that lies beside each exported model."""

from typing import Any

from results.analysis import verdict
from results.pages.doubts import card_lines as doubt_lines
from results.pages.tables import MOST_FILES, cell, cost_cells, cost_heads, table
from spaces import family_of

STANFORD_DOGS = (
    "Stanford Dogs (Khosla, Jayadevaprakash, Yao and Fei-Fei 2011), made of ImageNet pictures: for research and "
    "education only. What may be done with a model trained on them is for its user to judge."
)


def card(summary: dict[str, Any], family: str) -> str:
    """A family's model in one page of Markdown: what it is, its figures, its data, its limits and how to load it."""
    record, data = summary["families"][family], summary["data"]
    best, test, model = record["best"], record["test"], record["model"]
    lines = [f"# {cell(verdict.model_title(family, record))} of run {cell(summary['name'])}", ""]
    said = verdict.scored(test)
    lines += [
        f"A classifier of pictures into {len(data['classes']):,} classes, found by Pedigree: trial "
        f"{cell(best['trial'])}, trained again on the training and validation pictures with seed {model['seed']}."
        + (f" {verdict.refitted(model)}" if model["pictures"] else ""),
        "",
        "## Use",
        "",
        *("    " + line for line in loading(f"{family}.keras", data["levels"])),
        "",
        "The file takes uint8 pictures (n, height, width, 3) of any size, holds its own resizing and treatment, loads "
        "in Keras's safe mode and needs nothing of Pedigree. The probabilities are in the order of the classes below.",
        "",
        "## Figures",
        "",
        f"- Test accuracy: {cell(verdict.interval(test))}. {cell(test['method'])}."
        if test
        else "- Not scored on test.",
        *([f"- Test {verdict.called(record['metric'])}: {said}. {cell(test['metric']['method'])}."] if said else []),
        *(
            [f"- Balanced test accuracy, the mean over the classes: {verdict.percent(verdict.balanced(test))}."]
            if verdict.balanced(test) is not None
            else []
        ),
        *(f"- {cell(line.strip())}" for line in [verdict.against_usual(summary, family)] if line),
        *(
            [
                f"- Mean over {verdict.plural(len(test['seeds']), 'seed')}; this file is "
                + ("none of them." if model["pictures"] else "that of one seed.")
            ]
            if test
            else []
        ),
        f"- Validation accuracy of the configuration: {verdict.percent(best['validation_accuracy'])} at epoch "
        f"{best['epoch']}.",
        f"- Training minus validation accuracy: {verdict.points(best['overfit_gap'])} points, "
        f"{verdict.FIT[best['fit']]}.",
    ]
    judged = test["predictions"] if test else None
    if judged:
        error = judged["calibration"]["expected_error"]
        lines += [f"- Expected calibration error: {verdict.percent(error)}.", ""]
        worst = sorted(judged["classes"], key=lambda entry: (entry["accuracy"] is None, entry["accuracy"]))
        lines += table(
            ("Class", "Test accuracy", "Most often taken for"),
            [
                [entry["class"], verdict.percent(entry["accuracy"]), entry["taken_for"] or "none"]
                for entry in worst[:MOST_FILES]
            ],
        )
        lines += ["", f"The classes above are the worst {MOST_FILES} of {len(worst):,}."] * (len(worst) > MOST_FILES)
    lines += doubt_lines(record)
    entries = [entry for entry in summary["costs"] if entry["family"] == family]
    lines += ["", *table(cost_heads(entries)[1:7], [cells[1:7] for cells in cost_cells(entries)]), ""]
    lines += [
        "## Data",
        "",
        f"- {cell(str(data['title'] or data['source'] or 'not recorded'))}, digest {data['digest']}.",
    ]
    split = data["split"]
    lines += [f"- {split['train']:,} training, {split['validation']:,} validation and {split['test']:,} test pictures."]
    dogs = "stanford" in f"{data['title']} {data['source']}".lower().replace("-", " ")
    licence = STANFORD_DOGS if dogs else "not recorded; whoever passes the model on has to know it."
    lines += [f"- Licence of the data: {licence}"]
    lines += [f"- {cell(line)}" for line in [verdict.imbalance(data)] if line]
    lines += [f"- Classes: {cell(', '.join(map(str, data['classes'])))}.", "", "## Limits", ""]
    if summary["overlap"] and family_of(family).transfers:
        lines += [
            "- Stanford Dogs is part of ImageNet's training set: on new photographs expect less than these figures."
        ]
    lines += [
        "- The file names one of these classes whatever the picture shows; it has no answer for anything else"
        + (" but a probability below the threshold." if doubt_lines(record) else "."),
        "- The figures hold for pictures like those of the data, its probabilities as far as the calibration above.",
        f"- Everything else that was found: ../report.html of run {cell(summary['name'])}.",
        "",
        "## Configuration",
        "",
        *(f"- {cell(key.replace('_', ' '))}: {cell(verdict.value(value))}" for key, value in best["config"].items()),
    ]
    return "\n".join(lines) + "\n"


def loading(path: str, levels: dict[str, Any] | None = None) -> list[str]:
    """The lines of Python that classify a picture with the exported file and nothing of Pedigree.

    `levels` are black and white of the run's pictures, by kind, where these had more than 8 bits a channel.
    """
    read = ['picture = np.asarray(Image.open("picture.jpg").convert("RGB"))']
    if levels:
        black, white = next(iter(levels.values()))
        read = [
            'picture = np.asarray(Image.open("picture.png"), float)',
            f"# {black:.17g} is black and {white:.17g} is white in the pictures that it learnt from.",
            f"picture = np.clip((picture - {black:.17g}) / {white - black:.17g}, 0, 1) * 255",
            "picture = np.repeat(picture.round().astype(np.uint8)[..., None], 3, axis=-1)",
        ]
    return [
        "import keras, numpy as np",
        "from PIL import Image",
        f'model = keras.saving.load_model("{path}")',
        *read,
        "probabilities = np.asarray(model(picture[None]))[0]",
        "print(probabilities.argmax(), probabilities.max())",
    ]
