"""The tables and lists of the documents, as text in cells under heads; both documents show the same ones."""

import html
from collections.abc import Callable, Sequence
from typing import Any

from results.analysis import costs, verdict
from results.analysis.metrics import ACCURACY
from results.records import SIDES
from results.rows import FINISHED, Row

FAMILY_HEADS = (
    "Family",
    "In the study",
    "Baseline, validation",
    "Best, validation",
    "Gained, points",
    "Gap, points",
    "Validation loss",
    "Test (95 % interval)",
    "Balanced, test",
    "Commonest class alone (validation, test)",
    "Trials",
)


def family_heads(metric: str) -> tuple[str, ...]:
    """The heads of the table of families; what a run is judged by beside accuracy stands behind the family."""
    if metric == ACCURACY:
        return FAMILY_HEADS
    name = verdict.called(metric)
    return (FAMILY_HEADS[0], f"Best {name}, validation", f"Test {name} (95 % interval)", *FAMILY_HEADS[1:])


def family_cells(family: str, record: dict[str, Any]) -> list[str]:
    """A row of the table of families, in the order of `family_heads`."""
    baseline, best, metric = record["baseline"], record["best"], record["metric"]
    judged = [verdict.measured(metric, best and best["score"]), verdict.scored(record["test"]) or verdict.NOT_KNOWN]
    gain = verdict.gained(record)
    return [
        verdict.title(family),
        *([] if metric == ACCURACY else judged),
        verdict.study(family),
        verdict.percent(baseline and baseline["validation_accuracy"]),
        verdict.percent(best and best["validation_accuracy"]),
        verdict.points(gain) if metric == ACCURACY else verdict.apart(metric, gain),
        verdict.points(best and best["overfit_gap"]),
        verdict.NOT_KNOWN if best is None else verdict.trend(best),
        verdict.interval(record["test"]),
        verdict.percent(verdict.balanced(record["test"])),
        ", ".join(verdict.percent(record["commonest"][side]) for side in ("validation", "test")),
        verdict.states(record),
    ]


COMPARISON_HEADS = ("Setting", "Baseline", "Best")


def compared(record: dict[str, Any]) -> list[list[str]]:
    """Every setting of a family's best configuration beside its baseline's, under `COMPARISON_HEADS`."""
    best, baseline = record["best"]["config"], (record["baseline"] or {}).get("config", {})
    return [
        [
            key.replace("_", " "),
            *(verdict.value(config[key]) if key in config else verdict.NOT_KNOWN for config in (baseline, best)),
        ]
        for key in dict.fromkeys([*best, *baseline])
    ]


NARROWED_HEADS = ("Hyperparameter", "Searched", "Of")


def narrowed_cells(record: dict[str, Any]) -> list[list[str]]:
    """What `--set` left of a family's space, under `NARROWED_HEADS`."""
    return [
        [
            entry["name"].replace("_", " ") + (f", {entry['remark']}" if entry["remark"] else ""),
            f"{entry['left']}, fixed" if entry.get("fixed") is True else entry["left"],
            entry["of"] or verdict.NOT_KNOWN,
        ]
        for entry in record["narrowed"]
    ]


COUNT_HEADS = ("Class", "Training", "Validation", "Test", "All")


# The most files and groups that a document lists by name.
MOST_FILES = 200
MOST_NAMED = 8  # pictures of the largest group of near-duplicates that are named in a sentence


def count_cells(data: dict[str, Any]) -> list[list[str]]:
    """Pictures of each class by part of the split, under `COUNT_HEADS`; of many classes those with the fewest."""
    counts = data["counts"]
    if len(counts) > MOST_FILES:
        counts = sorted(counts, key=lambda record: sum(record[part] for part in SIDES))[:MOST_FILES]
    return [
        [record["class"], *(f"{record[part]:,}" for part in SIDES), f"{sum(record[part] for part in SIDES):,}"]
        for record in counts
    ]


def count_note(data: dict[str, Any]) -> str:
    """Which classes `count_cells` lists, where it does not list all of them."""
    total = len(data["counts"])
    return f"The {MOST_FILES} of {total:,} classes with the fewest pictures" if total > MOST_FILES else ""


CLASS_HEADS = ("Class", "Test pictures", "Accuracy", "Most often taken for")


# The most pairs and classes that report.md lists.
MOST_PAIRS = 10


def worst_first(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Classes by their accuracy, the lowest first; those without test pictures last."""
    return sorted(records, key=lambda record: (record["accuracy"] is None, record["accuracy"]))


def class_cells(records: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Classes under `CLASS_HEADS`."""
    return [
        [
            record["class"],
            f"{record['pictures']:,}",
            verdict.percent(record["accuracy"]),
            record["taken_for"] or verdict.NOT_KNOWN,
        ]
        for record in records
    ]


CURVE_HEADS = ("Epoch", "Training accuracy", "Validation accuracy", "Training loss", "Validation loss")


STEP_HEADS = ("Minutes", "Epochs trained", "Validation accuracy", "Trial")


def step_heads(metric: str) -> tuple[str, ...]:
    """The heads of the improvements of the best score."""
    return tuple(head.replace("accuracy", verdict.called(metric)) for head in STEP_HEADS)


# The most epochs of a curve, and improvements of a family, that a table in Markdown lists.
MOST_EPOCHS, MOST_STEPS = 20, 10


def curve_cells(curve: Sequence[Row]) -> list[list[str]]:
    """A learning curve under `CURVE_HEADS`, thinned evenly to about 20 epochs with the last one kept."""
    stride = -(-len(curve) // MOST_EPOCHS)
    kept = [row for place, row in enumerate(curve, 1) if place % stride == 0 or place in (1, len(curve))]
    return [
        [
            str(row["epoch"]),
            *(verdict.percent(row[metric]) for metric in ("train_accuracy", "validation_accuracy")),
            *(
                verdict.NOT_KNOWN if row[metric] is None else f"{row[metric]:.3f}"
                for metric in ("train_loss", "validation_loss")
            ),
        ]
        for row in kept
    ]


def step_cells(steps: Sequence[dict[str, Any]], metric: str = ACCURACY) -> list[list[str]]:
    """Improvements of the best score under `step_heads`."""
    return [
        [f"{step['time'] / 60:.1f}", f"{step['epochs']:,}", verdict.measured(metric, step["score"]), step["trial"]]
        for step in steps
    ]


DEPTH_HEADS = ("Unfrozen blocks", "Trials", "Best", "Mean (95 % interval)", "Seconds per epoch")


def depth_cells(table: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Fine-tuning depth against accuracy and cost, in the order of `DEPTH_HEADS`."""
    return [
        [
            band["blocks"],
            f"{band['trials']:,}",
            verdict.percent(band["best"]),
            verdict.percent(band["mean"])
            + (
                "" if band["low"] is None else f" ({100 * max(0, band['low']):.1f} to {100 * min(1, band['high']):.1f})"
            ),
            verdict.NOT_KNOWN if band["seconds_per_epoch"] is None else f"{band['seconds_per_epoch']:.2f}",
        ]
        for band in table
    ]


COST_HEADS = (
    "Family",
    "Test accuracy",
    "Parameters",
    "File",
    "One picture",
    "Batch of {}",
    "Measured on",
    "On the front",
)


def cost_heads(entries: Sequence[dict[str, Any]]) -> list[str]:
    """`COST_HEADS` with the size of the batch that was measured."""
    sizes = [entry["batch"] for entry in entries if entry["batch"]]
    return [head.format(sizes[0] if sizes else 32) for head in COST_HEADS]


def cost_cells(entries: Sequence[dict[str, Any]]) -> list[list[str]]:
    """What each family's model costs, in the order of `COST_HEADS`."""
    return [
        [
            verdict.title(entry["family"]),
            verdict.percent(entry["accuracy"]),
            verdict.NOT_KNOWN if entry["parameters"] is None else f"{entry['parameters']:,}",
            verdict.NOT_KNOWN if entry["bytes"] is None else f"{entry['bytes'] / 1e6:.2f} MB",
            verdict.milliseconds(entry["latency_one"]),
            verdict.milliseconds(entry["latency_batch"]),
            entry["device"] or verdict.NOT_KNOWN,
            ", ".join(costs.MODEL_COSTS[cost].split(",")[0] for cost in entry["front"]) or "no",
        ]
        for entry in entries
    ]


# The most trials of the fronts that a document lists.
MOST_FRONT = 40


def front_heads(found: dict[str, Any]) -> list[str]:
    """The heads of the table of the fronts: the costs that were measured."""
    shown = [FRONT_HEADS[cost] for cost in found["costs"]]
    together = ["All objectives"] if len(found["objective"]) > 1 else []
    return [
        "Trial",
        "Family",
        "Validation accuracy",
        *shown,
        *together,
        "Front",
        "Status",
        "Configuration, unlike the baseline's",
    ]


FRONT_HEADS = {
    "parameters": "Parameters",
    "bytes": "Weights",
    "latency_one": "One picture",
    "latency_batch": "A batch",
}
PRINTED: dict[str, Callable[[Any], str]] = {
    "parameters": "{:,}".format,
    "bytes": lambda size: f"{size / 1e6:.2f} MB",
    "latency_one": verdict.milliseconds,
    "latency_batch": verdict.milliseconds,
}


def front_cells(found: dict[str, Any]) -> list[list[str]]:
    """The trials on the fronts, under `front_heads`."""
    lines = []
    for entry in found["trials"][:MOST_FRONT]:
        # The bytes of the weights say what their number says.
        overall, own = ([cost for cost in entry[name] if cost != "bytes"] for name in ("front", "family_front"))
        only = [FRONT_HEADS[cost].lower() for cost in own if cost not in overall]
        on = ", ".join(FRONT_HEADS[cost].lower() for cost in overall)
        on += ("; in its family " if on else "in its family ") + ", ".join(only) if only else ""
        costs_of = [verdict.NOT_KNOWN if entry[cost] is None else PRINTED[cost](entry[cost]) for cost in found["costs"]]
        together = ["yes" if entry["aims"] else "no"] if len(found["objective"]) > 1 else []
        changes = verdict.configuration(entry["differs"]) if entry["differs"] else "the baseline's"
        epochs = f" after {verdict.plural(entry['epochs'], 'epoch')}" if entry["status"] != FINISHED else ""
        lines.append(
            [
                *(entry["trial"], verdict.title(entry["family"]), verdict.percent(entry["validation_accuracy"])),
                *costs_of,
                *together,
                *(on or "no", entry["status"] + epochs, changes),
            ]
        )
    return lines


def cost_facts(cost: dict[str, Any]) -> list[list[str]]:
    """What a trial's model costs as names and words, where the run measured it."""
    return [
        [FRONT_HEADS[name].lower(), PRINTED[name](cost[name])] for name in FRONT_HEADS if cost.get(name) is not None
    ]


def data_notes(data: dict[str, Any]) -> list[str]:
    """What a reader should know of the pictures, in sentences."""
    left, groups = len(data["left_out"]), data["duplicates"]
    kept = sum(len(group) for group in groups)
    largest: list[str] = max(groups, key=len, default=[])
    rule = data["likeness"].get("rule", "near")
    exact = "; only the same bytes or pixels were looked for (--duplicates exact)" if rule == "exact" else ""
    named = ", ".join(map(str, largest[:MOST_NAMED])) + (" and others" if len(largest) > MOST_NAMED else "")
    said = [
        f"{left} files were left out." if left != 1 else "1 file was left out.",
        "Copies were not looked for (--duplicates off)."
        if rule == "off"
        else f"No near-duplicates were found{exact}."
        if not groups
        else f"{verdict.plural(len(groups), 'group')} of near-duplicates, {verdict.plural(kept, 'picture')} in all; "
        f"each group was kept on one side of the split. The largest has {len(largest):,}: {named}{exact}.",
    ]
    return said + [str(note) for note in data["notes"]]


def repetition(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """What it takes to repeat the run: data, seeds, settings, versions and machine, as far as they were recorded."""
    data, settings, environment = summary["data"], summary["settings"], summary["environment"]
    devices = environment.get("devices") or {}
    facts = [
        ("data", data["source"]),
        ("data digest", data["digest"]),
        ("seed of the split", data["seed"]),
        ("python", environment.get("python")),
        ("platform", environment.get("platform")),
        ("backend", environment.get("backend")),
        ("devices", ", ".join(f"{count} {kind}" for kind, count in devices.items()) or None),
        ("versions", ", ".join(f"{name} {version}" for name, version in (environment.get("versions") or {}).items())),
        ("settings", verdict.configuration(settings)),
    ]
    return [(key, verdict.NOT_KNOWN if fact in (None, "") else str(fact)) for key, fact in facts]


def test_sentence(test: dict[str, Any]) -> str:
    """The test accuracy of a family with its seeds and the method of its interval."""
    seeds = ", ".join(f"seed {seed['seed']} {verdict.percent(seed['accuracy'])}" for seed in test["seeds"])
    even = "" if verdict.balanced(test) is None else f"; balanced {verdict.percent(verdict.balanced(test))}"
    usual = "" if test["commonest"] is None else f"; the commonest class alone {verdict.percent(test['commonest'])}"
    return f"{verdict.interval(test)}{even}{usual}; {seeds}. {test['method']}."


def cut(count: int, most: int = MOST_FILES) -> str:
    return f", the first {most} of {count:,}" if count > most else ""


def table(heads: Sequence[str], body: list[list[str]]) -> list[str]:
    """A table in Markdown."""
    return [f"| {' | '.join(map(cell, line))} |" for line in (heads, ["---"] * len(heads), *body)]


def cell(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return html.escape(" ".join(text.split()), quote=False).replace("|", "\\|")
