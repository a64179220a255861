"""Runs side by side on one page: what each was asked, how far each came, and whether a difference can be told."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from results.analysis import numbers, verdict
from results.analysis.metrics import ACCURACY, METRICS, shown
from results.analysis.multilabel import HALF
from results.analysis.per_label import thresholds_of
from results.drawing import figures
from results.drawing.figures import Figure
from results.markup import beside, embedded, grid, items, text, write_aside
from results.records import read_probabilities, read_record, truth_of
from results.rows import SCORED, Rows, read_rows

# One dash and one tint a run, so that a figure can be read without its colours.
TINTS = ("#0c958a", "#c2700e", "#7a64e8", "#d1477a", "#3b82d6", "#6b9a1e")
DASHES = ("solid", "dash", "dot", "dashdot")
FAMILY_CAPTION = "Each family: best on validation, and on test (95 % interval)."
# Settings that say where a run is kept, and nothing of what it does.
PLACES = ("name", "runs_dir", "offsite", "cache_dir", "address")


def write_comparison(runs: Sequence[Path], out: Path) -> Path:
    """Write the page of several runs; its path. Raises ValueError for fewer than two runs."""
    if len(runs) < 2:
        raise ValueError(f"a comparison needs two runs or more, got {len(runs)}")
    compared = [(numbers.summarise(run), read_rows(run / "trials.jsonl"), run) for run in runs]
    out.parent.mkdir(parents=True, exist_ok=True)
    write_aside(out, comparison_page(compared))
    return out


def comparison_page(runs: Sequence[tuple[dict[str, Any], Rows, Path]]) -> str:
    """One self-contained page."""
    names = labels([summary for summary, _, _ in runs])
    summaries = [summary for summary, _, _ in runs]
    families = list(dict.fromkeys(family for summary in summaries for family in summary["families"]))
    drawn = {f"best-{family}": best_figure(family, names, runs) for family in families}
    drawn = {name: figure for name, figure in drawn.items() if figure.data}
    from plotly.offline import get_plotlyjs

    sheets = "".join(
        f'<figure class="sheet"><h3>{text(figure.title)}</h3><div class="plot" role="img" data-figure="{text(name)}" '
        f'aria-label="{text(figure.alt)}" style="min-height:{figure.layout["height"]}px"></div>'
        f"<figcaption>{text(figure.caption)}</figcaption></figure>"
        for name, figure in drawn.items()
    )
    data = {name: {"data": figure.data, "layout": figure.layout} for name, figure in drawn.items()}
    heads = ("", *names)
    script = (
        'const figures = JSON.parse(document.getElementById("figure-data").textContent);'
        'for (const place of document.querySelectorAll(".plot")) { const figure = figures[place.dataset.figure];'
        "Plotly.newPlot(place, figure.data, figure.layout, { displayModeBar: false, responsive: true }); }"
        'document.documentElement.dataset.drawn = "yes";'
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{text(', '.join(names))}</title><style>{beside('report.css')}</style></head>"
        f'<body><header><p class="eyebrow">Pedigree, {len(runs)} runs side by side</p>'
        f"<h1>{text(headline(names, summaries))}</h1></header><main>"
        f'<section><h2>What can be compared</h2><aside class="caveats">{items(cautions(names, summaries))}</aside>'
        f'<div class="sheet listed">{grid("The runs.", heads, overview(summaries))}</div>'
        f'<div class="sheet listed">{grid(FAMILY_CAPTION, heads, accuracies(families, summaries))}</div>'
        f"{_differences(names, runs)}</section>"
        f'<section><h2>The searches</h2>{sheets}<div class="sheet listed">'
        f"{grid('Settings that differ.', heads, settings_that_differ(summaries))}</div></section></main>"
        f'<script type="application/json" id="figure-data">{embedded(data)}</script>'
        f"<script>{get_plotlyjs()}</script><script>{script}</script></body></html>\n"
    )


def labels(summaries: Sequence[dict[str, Any]]) -> list[str]:
    """A name for each run; numbered where two folders are called alike."""
    names = [str(summary["name"]) for summary in summaries]
    return [f"{name} ({place})" if names.count(name) > 1 else name for place, name in enumerate(names, 1)]


def headline(names: Sequence[str], summaries: Sequence[dict[str, Any]]) -> str:
    """The run with the highest test accuracy of its winner, in one sentence."""
    scored = [
        (winner["test"]["accuracy"], name, winner["test"])
        for name, summary in zip(names, summaries, strict=True)
        if summary["winner"] and (winner := summary["families"][summary["winner"]])["test"]
    ]
    digests = {summary["data"]["digest"] for summary in summaries}
    if None in digests or len(digests) > 1:
        return "These runs did not see the same pictures."
    if not scored:
        return "None of these runs was scored on test pictures."
    _, name, test = max(scored, key=lambda entry: entry[0])
    return f"{name} names the most test pictures rightly: {verdict.interval(test)}."


def cautions(names: Sequence[str], summaries: Sequence[dict[str, Any]]) -> list[str]:
    """What stands in the way of comparing these runs."""
    said = []
    digests = {summary["data"]["digest"] for summary in summaries}
    if None in digests or len(digests) > 1:
        said.append("The runs did not see the same pictures: their accuracies cannot be compared.")
    elif len({json.dumps(summary["data"]["split"]) + str(summary["data"]["seed"]) for summary in summaries}) > 1:
        said.append(
            "The same pictures were split in another way: the test sets differ, so small differences say nothing."
        )
    else:
        said.append("The same pictures, split in the same way.")
    if len({summary["metric"] for summary in summaries}) > 1:
        said.append(
            "The runs were judged by different metrics: each is best by its own, and accuracy is common to all."
        )
    seconds = [summary["seconds"] for summary in summaries]
    if max(seconds) > 1.5 * max(min(seconds), 1e-9):
        said.append("One run had more than half as much time again as another.")
    said += [
        f"{name}: no winner yet." for name, summary in zip(names, summaries, strict=True) if summary["winner"] is None
    ]
    return said


def overview(summaries: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Facts by line, runs by column."""
    lines = {
        "Winner": [
            verdict.title(summary["winner"]) if summary["winner"] else verdict.NOT_KNOWN for summary in summaries
        ],
        "Test of the winner": [
            verdict.interval(summary["families"][summary["winner"]]["test"]) if summary["winner"] else verdict.NOT_KNOWN
            for summary in summaries
        ],
        "Judged by": [verdict.called(summary["metric"]) for summary in summaries],
        "Commonest class alone, test": [
            verdict.percent(summary["data"]["commonest"].get("test", {}).get("share")) for summary in summaries
        ],
        "Trials": [f"{sum(record['trials'] for record in s['families'].values()):,}" for s in summaries],
        "Epochs": [f"{sum(record['epochs'] for record in s['families'].values()):,}" for s in summaries],
        "Time": [verdict.duration(summary["seconds"]) for summary in summaries],
        "Pictures": [f"{summary['data']['images']:,}" for summary in summaries],
        "Data digest": [str(summary["data"]["digest"] or verdict.NOT_KNOWN) for summary in summaries],
        "Command": [str(summary["environment"].get("command") or verdict.NOT_KNOWN) for summary in summaries],
    }
    return [[name, *cells] for name, cells in lines.items()]


def accuracies(families: Sequence[str], summaries: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Best validation accuracy and test accuracy of each family, runs by column."""
    lines = []
    for family in families:
        records = [summary["families"].get(family) for summary in summaries]
        bests = [record and record["best"] for record in records]
        lines.append(
            [
                f"{verdict.title(family)}, validation",
                *(verdict.percent(best["validation_accuracy"] if best else None) for best in bests),
            ]
        )
        lines.append(
            [
                f"{verdict.title(family)}, test",
                *(verdict.interval(record["test"]) if record else verdict.NOT_KNOWN for record in records),
            ]
        )
        for metric in dict.fromkeys(summary["metric"] for summary in summaries if summary["metric"] != ACCURACY):
            own = [record if record and record["metric"] == metric else None for record in records]
            name = f"{verdict.title(family)}, {verdict.called(metric)}"
            scores = [record["best"]["score"] if record and record["best"] else None for record in own]
            lines.append([f"{name}, validation", *(verdict.measured(metric, score) for score in scores)])
            tests = [verdict.scored(record["test"]) if record else "" for record in own]
            lines.append([f"{name}, test", *(test or verdict.NOT_KNOWN for test in tests)])
        evens = [verdict.balanced(record["test"]) if record else None for record in records]
        lines.append([f"{verdict.title(family)}, balanced test", *map(verdict.percent, evens)])
    return lines


def settings_that_differ(summaries: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Every setting with more than one value, runs by column."""
    keys = dict.fromkeys(key for summary in summaries for key in summary["settings"] if key not in PLACES)
    lines = []
    for key in keys:
        values = [summary["settings"].get(key) for summary in summaries]
        if len({json.dumps(value) for value in values}) > 1:
            lines.append([key.replace("_", " "), *(verdict.value(value) for value in values)])
    return lines or [["none", *("" for _ in summaries)]]


def paired(run: Path, other: Path, family: str, other_family: str) -> dict[str, Any] | None:
    """How much more a family of one run gets right than one of another, on the very same test pictures.

    The accuracy of each picture is its mean over seeds; the difference has a 95 % interval from its spread over the
    pictures (a paired z interval). None where the test pictures are not the same or predictions are missing.
    """
    splits = [read_record(path / "split.json") for path in (run, other)]
    if not splits[0].get("test") or splits[0].get("digest") != splits[1].get("digest"):
        return None
    if splits[0]["test"] != splits[1].get("test"):
        return None
    truth = truth_of(splits[0], "test")
    right = []
    for path, name in ((run, family), (other, other_family)):
        tests = read_rows(path / "trials.jsonl").tests(name)
        shape = (len(truth), len(splits[0].get("classes") or []))
        read = [(read_probabilities(path / "predictions" / f"{name}-{row['seed']}.npz", shape), row) for row in tests]
        usable = [(array, row) for array, row in read if array is not None]
        if not usable:
            return None
        right.append(np.mean([_right(array, truth, row) for array, row in usable], axis=0))
    apart = right[0] - right[1]
    half = numbers.Z95 * float(apart.std(ddof=1)) / math.sqrt(len(apart)) if len(apart) > 1 else 1.0
    mean = float(apart.mean())
    return {"difference": mean, "low": mean - half, "high": mean + half, "pictures": len(apart)}


def _right(probabilities: Any, truth: Any, row: dict[str, Any]) -> Any:
    """Which pictures are named rightly; of several labels those all of which are right, at the row's thresholds."""
    if truth.ndim == 1:
        return probabilities.argmax(axis=1) == truth
    cuts = thresholds_of(row, truth.shape[1])
    return ((probabilities >= (HALF if cuts is None else cuts)) == (truth > 0)).all(axis=1)


def _differences(names: Sequence[str], runs: Sequence[tuple[dict[str, Any], Rows, Path]]) -> str:
    first, *others = range(len(runs))
    lines = []
    for other in others:
        winners = [runs[place][0]["winner"] for place in (other, first)]
        if None in winners:
            continue
        found = paired(runs[other][2], runs[first][2], winners[0], winners[1])
        if found is not None:
            told = "yes" if found["low"] > 0 or found["high"] < 0 else "no"
            lines.append(
                [
                    f"{names[other]} minus {names[first]}",
                    f"{verdict.points(found['difference'])} points",
                    f"{verdict.points(found['low'])} to {verdict.points(found['high'])}",
                    told,
                ]
            )
    if not lines:
        return ""
    caption = "The winners on the very same test pictures, paired picture by picture."
    heads = ("Difference", "Test accuracy", "95 % interval", "Can it be told from none")
    return f'<div class="sheet listed">{grid(caption, heads, lines)}</div>'


def best_figure(family: str, names: Sequence[str], runs: Sequence[tuple[dict[str, Any], Rows, Path]]) -> Figure:
    """Best validation accuracy of a family so far, by time, one line a run."""
    data = []
    told = []
    metrics = {summary["metric"] for summary, _, _ in runs}
    # What all have: runs that were judged otherwise have no score in common.
    metric = metrics.pop() if len(metrics) == 1 else ACCURACY
    if metrics:
        runs = [(summary, _by_accuracy(rows), path) for summary, rows, path in runs]
    for place, (name, (_, rows, _path)) in enumerate(zip(names, runs, strict=True)):
        steps = numbers.best_so_far(rows.of(family))
        if steps:
            last = {**steps[-1], "time": max(trial.last for trial in rows.of(family))}
            told.append(f"{name} {verdict.measured(metric, last['score'])}")
            line = {
                "shape": "hv",
                "width": 2.5,
                "color": TINTS[place % len(TINTS)],
                "dash": DASHES[place % len(DASHES)],
            }
            data.append(
                {
                    **{"type": "scatter", "mode": "lines", "name": figures.label(name), "line": line},
                    "x": [step["time"] / 60 for step in [*steps, last]],
                    "y": [_drawn(step, metric) for step in [*steps, last]],
                    "hovertemplate": f"%{{y:{'.1%' if METRICS[metric].share else '.3f'}}}"
                    " after %{x:.1f} min<extra></extra>",
                }
            )
    layout = {
        **figures.blank()["layout"],
        **{"height": 320, "margin": {"l": 8, "r": 20, "t": 40, "b": 8}, "showlegend": True},
    }
    layout["xaxis"] = {**layout["xaxis"], "title": {"text": "minutes into the run"}, "rangemode": "tozero"}
    layout["yaxis"] = {**layout["yaxis"], "rangemode": "tozero"}
    layout["yaxis"] |= {"tickformat": ".0%"} if METRICS[metric].share else {}
    return Figure(
        f"Best so far: {verdict.title(family)}",
        f"Best validation {verdict.called(metric)} of {verdict.title(family)} so far, by time: {', '.join(told)}.",
        "Every run's clock starts with its command.",
        data,
        layout,
    )


def _by_accuracy(rows: Rows) -> Rows:
    kept = ({key: value for key, value in row.items() if key not in SCORED} for row in rows.records)
    return Rows(tuple(kept), rows.skipped)


def _drawn(step: dict[str, Any], metric: str) -> float | None:
    return shown(metric, step["score"])
