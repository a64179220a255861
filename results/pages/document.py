"""The documents of a run: results.json, report.md and report.html, written beside its rows."""

import json
from pathlib import Path
from typing import Any

from results.analysis import costs, numbers, verdict
from results.analysis.metrics import ACCURACY, METRICS
from results.analysis.predecessor import compare
from results.analysis.switches import switches
from results.drawing import figures
from results.drawing.figures import Figure
from results.drawing.plates import draw_plates
from results.markup import beside, embedded, grid, items, text, write_aside
from results.pages import doubts, per_label, predecessor
from results.pages.card import card
from results.pages.label_card import label_card
from results.pages.markdown import markdown
from results.pages.mistakes import read_mistakes
from results.pages.tables import (
    CLASS_HEADS,
    COMPARISON_HEADS,
    COUNT_HEADS,
    DEPTH_HEADS,
    MOST_FILES,
    MOST_FRONT,
    NARROWED_HEADS,
    class_cells,
    compared,
    cost_cells,
    cost_facts,
    cost_heads,
    count_cells,
    count_note,
    cut,
    data_notes,
    depth_cells,
    family_cells,
    family_heads,
    front_cells,
    front_heads,
    narrowed_cells,
    repetition,
    worst_first,
)
from results.records import read_record
from results.rows import FAILED, FINISHED, INFEASIBLE, RUNNING, STOPPED, Rows, read_rows

OUTPUTS = ("results.json", "report.md", "report.html")


def write_report(run_dir: Path) -> Path:
    """Write results.json, report.md and report.html into a run folder from its contents alone; the path of report.html.

    Raises FileNotFoundError where the folder holds no `trials.jsonl`.
    """
    rows = read_rows(run_dir / "trials.jsonl")
    summary = summary_of(run_dir, rows)
    doubts.write_labels(run_dir, summary)
    plates = draw_plates(run_dir / "figures", summary, rows)
    texts = (
        json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False),
        markdown(summary, rows, plates),
        page(run_dir, summary, rows),
    )
    for name, content in zip(OUTPUTS, texts, strict=True):
        write_aside(run_dir / name, content)
    several = per_label.several(summary)
    for family, record in summary["families"].items():
        best, test, path = record["best"], record["test"], run_dir / "models" / f"{family}.md"
        # While a run that was extended has not retrained its new best, the model is still that of the card beside it.
        outrun = best and test and test["scored"][-1] not in (best["trial"], None) and path.exists()
        if best is not None and record["model"] is not None and path.parent.is_dir() and not outrun:
            write_aside(path, label_card(summary, family) if several else card(summary, family))
            if several:
                per_label.write_thresholds(path.parent, family, record, summary["data"]["classes"])
    return run_dir / "report.html"


def summary_of(run_dir: Path, rows: Rows) -> dict[str, Any]:
    """The content of results.json: the numbers of every room of the report in one record."""
    summary = numbers.summarise(run_dir)
    for family, record in summary["families"].items():
        record["switches"] = switches(family, rows.of(family))
        record["depth"] = costs.depth_table(costs.depth(rows.of(family)))
    summary["costs"] = costs.model_costs(summary["families"])
    summary["pareto"] = costs.trial_fronts(rows.trials.values(), summary["objective"])
    summary["doubts"] = doubts.summarise(run_dir, summary)
    split = read_record(run_dir / "split.json")
    summary["from"] = compare(run_dir, rows, split, summary["winner"], summary["metric"])
    return summary


SECTIONS = {
    **{"verdict": "Verdict", "search": "Search", "mattered": "What mattered", "trust": "Trust"},
    **{"mistakes": "Mistakes", "cost": "Cost", "trials": "Trials", "repeat": "How to repeat it"},
}
# The page about the data, where it was explored into the run folder.
DATA_PAGE = "data.html"
# The most trials that the page carries, draws as curves in a family, and draws as bars on the timeline.
MOST_LISTED, MOST_CURVES, MOST_SPANS = 2000, 80, 1000


def page(run_dir: Path, summary: dict[str, Any], rows: Rows) -> str:
    """report.html: one file that needs nothing beside it, neither network nor server."""
    drawn = Drawn(summary)
    sections = {**SECTIONS}
    if summary["from"]:
        sections = {"verdict": SECTIONS["verdict"], "before": predecessor.HEADING, **SECTIONS}
    before = predecessor.section(summary)
    body = "".join(
        f'<section id="{name}" aria-labelledby="{name}-head"><h2 id="{name}-head">{heading}</h2>{part}</section>'
        for (name, heading), part in zip(
            sections.items(),
            (
                _verdict(summary, drawn),
                *([before] if before else []),
                _search(summary, rows, drawn),
                _mattered(summary, rows, drawn),
                _trust(summary, drawn, data_page=(run_dir / DATA_PAGE).is_file()),
                _mistakes(run_dir, summary, drawn.accents),
                _cost(summary, rows, drawn),
                _trials(summary),
                _repeat(summary),
            ),
            strict=True,
        )
    )
    links = "".join(f'<li><a href="#{name}">{heading}</a></li>' for name, heading in sections.items())
    accent = drawn.accents.get(summary["winner"], "currentcolor")
    usual = text(verdict.beside_headline(summary))
    from plotly.offline import get_plotlyjs

    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{text(summary['name'])}: report</title><style>{beside('report.css')}</style>"
        '</head><body><a class="skip" href="#verdict">To the verdict</a>'
        f'<header style="--accent:{accent}">'
        f'<p class="eyebrow">Pedigree, report of run <b>{text(summary["name"])}</b></p>'
        f"<h1>{text(verdict.headline(summary))}</h1>"
        f'<p class="effort">{text(verdict.effort(summary))}{usual}</p></header>'
        f'<nav aria-label="Sections"><ul>{links}</ul></nav><main>{body}</main>'
        '<dialog id="trial" aria-labelledby="trial-name"><form method="dialog"><button>Close</button></form>'
        '<h3 id="trial-name"></h3><div></div></dialog>'
        "<footer><p>Every figure here comes from the files of the run folder; <code>python -m results</code> with that "
        "folder writes this page again.</p></footer>"
        '<script type="application/json" id="figure-data">'
        f"{embedded(drawn.figures | {'blank': figures.blank()})}</script>"
        f'<script type="application/json" id="trial-data">{embedded(_listed(summary, rows, drawn.accents))}</script>'
        f"<script>{get_plotlyjs()}</script><script>{beside('report.js')}</script>"
        "</body></html>\n"
    )


class Drawn:
    """The figures of one page under their names, in the order drawn, and each family's accent colour."""

    def __init__(self, summary: dict[str, Any]) -> None:
        names = list(summary["families"])
        self.accents = {family: figures.colour(family, names) for family in names}
        self.figures: dict[str, dict[str, Any]] = {}

    def add(self, name: str, figure: Figure | None) -> str:
        """Keep a figure and give the markup of its place; nothing where there is nothing to draw."""
        if figure is None or not figure.data:
            return ""
        self.figures[name] = {"data": figure.data, "layout": figure.layout}
        return (
            f'<figure class="sheet"><h3>{text(figure.title)}</h3>'
            f'<div class="plot" role="img" data-figure="{text(name)}" aria-label="{text(figure.alt)}" '
            f'style="min-height:{figure.layout["height"]}px"></div>'
            f"<figcaption>{text(figure.caption)}</figcaption></figure>"
        )


def _verdict(summary: dict[str, Any], drawn: Drawn) -> str:
    families, winner = summary["families"], summary["winner"]
    # The winner's card comes first: on a narrow page the last one is below the fold.
    cards = "".join(
        _card(family, families[family], drawn.accents[family], family == winner)
        for family in sorted(families, key=lambda family: family != winner)
    )
    said = verdict.caveats(summary)
    caution = (
        f'<aside class="caveats" aria-label="Limits"><h3>Before you believe it</h3>{items(said)}</aside>'
        if said
        else ""
    )
    overview = grid(
        "Every family against the study that this search grew from, and against its own baseline, which is the study's "
        "configuration trained here. Gained: best minus baseline. Gap: training minus validation accuracy at the best "
        "epoch; training accuracy is measured while training, under augmentation and dropout. "
        f"The winner has the {summary['winner_rule']}.",
        family_heads(summary["metric"]),
        [family_cells(family, record) for family, record in families.items()],
        (2, 3, 4, 5) if summary["metric"] == ACCURACY else (1, 4, 5, 6, 7),
    )
    told = "".join(_told(family, record, drawn.accents[family]) for family, record in families.items())
    return f'<div class="grid">{cards}</div>{caution}<div class="sheet overview">{overview}</div>{told}'


def _card(family: str, record: dict[str, Any], accent: str, won: bool) -> str:
    best, test, baseline = record["best"], record["test"], record["baseline"]
    strip = ""
    if test is not None:
        seeds = verdict.plural(len(test["seeds"]), "seed")
        share, of = test["accuracy"], f"on test, {seeds}"
        low, high = (test["low"], test["high"]) if test["low"] is not None else (share, share)
        if test["low"] is not None:
            of = f"on test (95 %: {100 * low:.1f} to {100 * high:.1f}), {seeds}"
        strip = (
            f'<div class="strip" aria-hidden="true"><i></i><i class="bar" style="width:{100 * share:.1f}%"></i>'
            f'<i class="span" style="left:{100 * low:.1f}%;width:{100 * (high - low):.1f}%"></i></div>'
        )
    elif best is not None:
        share, of = best["validation_accuracy"], "validation accuracy; not scored on test"
    else:
        share, of = None, "no usable trial"
    big = verdict.percent(share)
    metric = record["metric"]
    if metric != ACCURACY and best is not None:
        name, found = verdict.called(metric), test and test["metric"]
        if found:
            big = f"{found['value']:.3f}" if not METRICS[metric].share else verdict.percent(found["value"])
            of = f"{name} on test, 95 % interval {verdict.scored(test)}; accuracy {verdict.percent(share)} {of}"
        elif test is None:
            big = verdict.measured(metric, best["score"])
            of = f"validation {name}; accuracy {verdict.percent(share)}; not scored on test"
        else:
            of = f"accuracy {of}; its probabilities were not saved, so its {name} is not known"
    if test is not None and test["commonest"] is not None:
        of += f"; the commonest class alone {verdict.percent(test['commonest'])}"
    facts = [
        ("In the study", verdict.study(family)),
        ("Baseline, validation", verdict.percent(baseline and baseline["validation_accuracy"])),
        ("Best, validation", verdict.percent(best and best["validation_accuracy"])),
        ("Commonest, validation", verdict.percent(record["commonest"]["validation"])),
        ("Balanced, test", verdict.percent(verdict.balanced(test))),
        *([] if metric == ACCURACY else judged_facts(record)),
        ("Gained", verdict.apart(metric, verdict.gained(record))),
        ("Gap", f"{verdict.points(best and best['overfit_gap'])} points"),
        ("Validation loss", verdict.NOT_KNOWN if best is None else best["loss_trend"]["trend"] or "too short to say"),
        ("Fit", verdict.NOT_KNOWN if best is None else verdict.FIT[best["fit"]]),
    ]
    tag = '<span class="tag">winner</span>' if won else ""
    name = verdict.model_title(family, record)
    return (
        f'<article class="sheet card family" style="--accent:{accent}"><h3>{text(name)}{tag}</h3>'
        f'<p class="big">{text(big)}</p><p class="of">{text(of)}</p>{strip}'
        f"<dl>{''.join(f'<dt>{text(key)}</dt><dd>{text(fact)}</dd>' for key, fact in facts)}</dl></article>"
    )


def judged_facts(record: dict[str, Any]) -> list[tuple[str, str]]:
    """What a family's baseline and best are judged by on validation, where that is not accuracy."""
    metric = record["metric"]
    return [
        (f"{name}, {verdict.called(metric)}", verdict.measured(metric, found and found["score"]))
        for name, found in (("Baseline", record["baseline"]), ("Best", record["best"]))
    ]


def _told(family: str, record: dict[str, Any], accent: str) -> str:
    hints = verdict.advice(family, record)
    advice = f'<div class="advice"><h4>What the next search should change</h4>{items(hints)}</div>' if hints else ""
    settings = ""
    if record["best"] is not None:
        listed = grid(
            "Every setting of the best configuration beside the baseline's.", COMPARISON_HEADS, compared(record)
        )
        settings = f"<details><summary>Best configuration against the baseline</summary>{listed}</details>"
    return (
        f'<article class="sheet family told" style="--accent:{accent}"><h3>{text(verdict.title(family))}</h3>'
        f'<div class="pair"><p>{text(verdict.paragraph(family, record))}</p>{advice}</div>{settings}</article>'
    )


def _search(summary: dict[str, Any], rows: Rows, drawn: Drawn) -> str:
    families = summary["families"]
    if not rows.trials:
        return "<p>No trial has started.</p>"
    steps, metric = {family: numbers.best_so_far(rows.of(family)) for family in families}, summary["metric"]
    ends = {
        "time": {family: max((trial.last for trial in rows.of(family)), default=0.0) for family in families},
        "epochs": {family: float(record["epochs"]) for family, record in families.items()},
    }
    parts = [
        "".join(drawn.add(f"best-by-{by}", figures.progress(steps, ends[by], by, metric)) for by in ("time", "epochs"))
    ]
    parts[0] = f'<div class="pair">{parts[0]}</div>'
    for family, record in families.items():
        best = record["best"] and record["best"]["trial"]
        trained = [trial for trial in rows.of(family) if trial.curve]
        baseline = numbers.baseline_name(family)
        chosen = numbers.sample(trained, MOST_CURVES, (best, baseline))
        if chosen:
            figure = figures.curves(family, chosen, len(trained), best, baseline, drawn.accents[family])
            parts.append(drawn.add(f"curves-{family}", figure))
    every = list(rows.trials.values())
    spans = numbers.timeline(every)
    stride = -(-len(spans) // MOST_SPANS)
    parts.append(drawn.add("timeline", figures.timeline(spans[:: max(1, stride)], list(families), len(spans))))
    rungs = drawn.add("rungs", figures.rungs({family: record["rungs"] for family, record in families.items()}))
    spent = drawn.add("spent", figures.spent({family: record["spent"] for family, record in families.items()}))
    parts.append(f'<div class="pair">{rungs}{spent}</div>')
    lead = '<p class="lead">Hover a point to see its configuration; click it to see the whole trial.</p>'
    return lead + "".join(parts)


def _mattered(summary: dict[str, Any], rows: Rows, drawn: Drawn) -> str:
    parts, metric = [], summary["metric"]
    for family, record in summary["families"].items():
        accent = drawn.accents[family]
        shares = record["importance"]
        found = ""
        if shares is not None:
            found += drawn.add(f"importance-{family}", figures.importance(family, shares, accent))
        if record["effects"]:
            order = list(shares or record["effects"])
            found += drawn.add(f"effects-{family}", figures.effects(family, record["effects"], order, accent, metric))
        found += drawn.add(f"switches-{family}", figures.switches(family, record["switches"], accent, metric))
        missing = (
            "<p>Too few trials with different results to rank its parameters: "
            f"it takes {numbers.LEAST_FOR_IMPORTANCE}.</p>"
            if shares is None
            else ""
        )
        if record["narrowed"]:
            listed = grid(verdict.narrowed(record), NARROWED_HEADS, narrowed_cells(record))
            missing = f'<div class="sheet listed">{listed}</div>{missing}'
        parts.append(
            f"<h3>{text(verdict.title(family))}</h3>{missing}" + (f'<div class="pair">{found}</div>' if found else "")
        )
    for family, record in summary["families"].items():
        points = costs.depth(numbers.sample(rows.of(family), MOST_LISTED))
        if points:
            parts.append(drawn.add(f"depth-{family}", figures.depth(points, drawn.accents[family])))
            listed = grid(
                "Fine-tuning depth against accuracy and cost.", DEPTH_HEADS, depth_cells(record["depth"]), (1, 2, 3, 4)
            )
            parts.append(f'<div class="sheet listed">{listed}</div>')
    return "".join(parts)


def _trust(summary: dict[str, Any], drawn: Drawn, *, data_page: bool) -> str:
    families, data = summary["families"], summary["data"]
    if per_label.several(summary):
        return per_label.trust_section(summary, drawn.add, drawn.accents) + _data(data, data_page=data_page)
    scored = {family: record for family, record in families.items() if record["test"] is not None}
    judged = {
        family: record["test"]["predictions"] for family, record in scored.items() if record["test"]["predictions"]
    }
    parts = []
    if scored:
        methods = dict.fromkeys(record["test"]["method"] for record in scored.values())
        parts.append(drawn.add("seeds", figures.seeds(scored, drawn.accents)))
        parts.append(
            '<div class="sheet listed">'
            + grid(
                "Difference: what chose it minus test. Choosing pushes it up, less so where a final chose; that the "
                "models scored also learnt from the validation pictures pushes it down.",
                (
                    *("Family", "Best, validation or final", "Test (95 % interval)", "Difference, points"),
                    *("Balanced, test", "Commonest class alone (validation, test)", "By seed"),
                ),
                [
                    [
                        verdict.title(family),
                        verdict.percent(record["best"] and numbers.figure(record["best"])),
                        verdict.interval(record["test"]),
                        verdict.points(record["test"]["gap"]),
                        verdict.percent(verdict.balanced(record["test"])),
                        ", ".join(verdict.percent(record["commonest"][side]) for side in ("validation", "test")),
                        ", ".join(
                            f"{seed['seed']}: {verdict.percent(seed['accuracy'])}" for seed in record["test"]["seeds"]
                        ),
                    ]
                    for family, record in scored.items()
                ],
                (1, 3, 4),
            )
            + "".join(f'<p class="of">{text(method)}.</p>' for method in methods)
            + "</div>"
        )
    else:
        parts.append("<p>No family has been scored on the test pictures.</p>")
    if judged:
        leader = summary["winner"] if summary["winner"] in judged else next(iter(judged))
        worst = worst_first(judged[leader]["classes"])
        by_class = {family: found["classes"] for family, found in judged.items()}
        classes = [record["class"] for record in worst]
        parts.append(drawn.add("classes", figures.per_class(by_class, classes, drawn.accents)))
        listed = grid(
            f"Test accuracy of {verdict.title(leader)} by class, the worst first{cut(len(worst))}.",
            CLASS_HEADS,
            class_cells(worst[:MOST_FILES]),
            (1, 2),
        )
        parts.append(f'<details class="sheet"><summary>Accuracy by class as a table</summary>{listed}</details>')
        calibrations = {family: found["calibration"] for family, found in judged.items()}
        matrix: Figure | None
        if judged[leader]["confusion"] is not None:
            matrix = figures.confusion(leader, judged[leader]["confusion"], data["classes"], drawn.accents[leader])
        else:
            matrix = figures.confused(leader, judged[leader]["confused"], len(data["classes"]), drawn.accents[leader])
        parts.append(
            '<div class="pair">'
            + drawn.add("confusion", matrix)
            + drawn.add("calibration", figures.reliability(calibrations, drawn.accents))
            + "</div>"
        )
    elif scored:
        parts.append("<p>The predictions were not saved, so nothing is said by class.</p>")
    curves = {family: record["doubt"]["curve"] for family, record in scored.items() if record["doubt"]}
    parts.append(doubts.coverage_section(summary, drawn.add("coverage", figures.coverage(curves, drawn.accents))))
    parts += [_ensemble(family, record["ensemble"]) for family, record in families.items() if record["ensemble"]]
    return "".join(parts) + _data(data, data_page=data_page)


def _ensemble(family: str, found: dict[str, Any]) -> str:
    return f'<div class="sheet"><h3>An ensemble</h3><p>{text(verdict.ensemble(family, found))}</p></div>'


def _mistakes(run_dir: Path, summary: dict[str, Any], accents: dict[str, str]) -> str:
    if per_label.several(summary):
        return per_label.mistakes_section(run_dir, summary, accents)
    return _surest(run_dir, summary, accents) + doubts.labels_section(run_dir, summary)


def _surest(run_dir: Path, summary: dict[str, Any], accents: dict[str, str]) -> str:
    split = read_record(run_dir / "split.json")
    read = {family: read_mistakes(run_dir, family, split) for family in summary["families"]}
    kept = {family: found for family, found in read.items() if found is not None}
    if not kept:
        return "<p>The run kept no pictures of its mistakes.</p>"
    first = summary["winner"] if summary["winner"] in kept else next(iter(kept))
    parts = [
        '<p class="lead">The wrong answers on test pictures that the exported model was surest of, each beside the '
        "training picture most like it by the features that the model itself decides on. Bright in the third picture: "
        "what the wrong answer rests on, found by covering a square at a time.</p>"
    ]
    for family in sorted(kept, key=lambda family: family != first):
        found = kept[family]
        shown = "".join(_mistake(mistake) for mistake in found["mistakes"])
        inner = f"<p>{text(verdict.mistakes(found))}</p>" + (f'<ul class="mistakes">{shown}</ul>' if shown else "")
        state = " open" if family == first else ""
        parts.append(
            f'<details class="sheet family" style="--accent:{accents[family]}"{state}>'
            f"<summary>{text(verdict.title(family))}</summary>{inner}</details>"
        )
    return "".join(parts)


def _mistake(mistake: dict[str, Any]) -> str:
    nearest = mistake["nearest"]
    pictures = [
        (mistake["picture"], f"Test picture {mistake['name']}, a {mistake['true']}", "the picture"),
        (
            nearest["picture"],
            f"Training picture {nearest['name']}, a {nearest['class']}",
            f"nearest: {nearest['class']}",
        ),
    ]
    if mistake["where"] is not None:
        said = f"The test picture, bright where the answer {mistake['predicted']} comes from"
        pictures.append((mistake["where"], said, "where it looked"))
    drawn = "".join(
        f'<figure><img src="{source}" alt="{text(said)}" title="{text(said)}" width="128" height="128">'
        f"<figcaption>{text(under)}</figcaption></figure>"
        for source, said, under in pictures
    )
    return (
        f'<li><div class="thumbs">{drawn}</div><p><b>{text(mistake["predicted"])}</b>, '
        f"{text(verdict.percent(mistake['probability']))} sure<br>in truth {text(mistake['true'])} "
        f"({text(verdict.percent(mistake['true_probability']))})</p></li>"
    )


def _cost(summary: dict[str, Any], rows: Rows, drawn: Drawn) -> str:
    entries = summary["costs"]
    parts = []
    if entries:
        parts.append(drawn.add("costs", figures.model_costs(entries, costs.MODEL_COSTS, costs.PRINTED, drawn.accents)))
        listed = grid(
            "Each family's exported model, which takes raw pictures. Latency: the fastest of repeated calls in the "
            "process that trained it. On the front: no other family's model is as accurate for less."
            + (f" On test, {verdict.usual(summary['data'])}." if verdict.usual(summary["data"]) else ""),
            cost_heads(entries),
            cost_cells(entries),
            (1, 2, 3, 4, 5),
        )
        parts.append(f'<div class="sheet listed">{listed}</div>')
    else:
        parts.append("<p>No model was exported, so its cost is not known.</p>")
    every = costs.trial_costs(rows.trials.values())
    most = MOST_LISTED // 2
    thinned = [entry for place, entry in enumerate(every) if _on_front(entry) or place % -(-len(every) // most) == 0]
    parts.append(
        drawn.add(
            "trial-costs", figures.trial_costs(thinned, len(every), costs.TRIAL_COSTS, costs.PRINTED, drawn.accents)
        )
    )
    found = summary["pareto"]
    if found["trials"]:
        caption = f"{len(found['trials']):,} trials{cut(len(found['trials']), MOST_FRONT)}. {verdict.front(found)}"
        numbered = tuple(range(2, 3 + len(found["costs"])))
        listed = grid(caption, front_heads(found), front_cells(found), numbered)
        head = "<summary>The Pareto front of the trials</summary>"
        parts.append(f'<details class="sheet listed fronts" open>{head}{listed}</details>')
    return "".join(parts)


def _on_front(entry: dict[str, Any]) -> bool:
    return bool(entry["front"] or entry["family_front"])


def _data(data: dict[str, Any], *, data_page: bool) -> str:
    if not data["classes"]:
        return "<p>The split was not recorded, so the pictures cannot be described.</p>"
    parts = [
        "<h3>The pictures</h3>",
        items(data_notes(data)),
        grid(
            f"{count_note(data) or 'Pictures of each class'} in each part of the split.",
            COUNT_HEADS,
            count_cells(data),
            (1, 2, 3, 4),
        ),
    ]
    if data["left_out"]:
        listed = [[str(file.get("name")), str(file.get("reason"))] for file in data["left_out"][:MOST_FILES]]
        parts.append(grid(f"Files left out{cut(len(data['left_out']))}.", ("File", "Why"), listed))
    if data["duplicates"]:
        groups = [
            [str(place), ", ".join(map(str, group))] for place, group in enumerate(data["duplicates"][:MOST_FILES], 1)
        ]
        parts.append(
            grid(f"Near-duplicates, kept on one side{cut(len(data['duplicates']))}.", ("Group", "Pictures"), groups)
        )
    first, second, *tables = parts
    link = f'<p><a href="{DATA_PAGE}">The pictures explored</a></p>' if data_page else ""
    return (
        f'<div class="sheet">{first}{second}{link}'
        + "".join(
            f"<details><summary>{name}</summary>{listed}</details>"
            for name, listed in zip(_table_names(data), tables, strict=True)
        )
        + "</div>"
    )


def _table_names(data: dict[str, Any]) -> list[str]:
    names = ["Pictures by class"]
    if data["left_out"]:
        names.append("Files left out")
    if data["duplicates"]:
        names.append("Near-duplicates")
    return names


def _trials(summary: dict[str, Any]) -> str:
    total = sum(record["trials"] for record in summary["families"].values())
    listed = (
        f"<p>About {MOST_LISTED:,} of {total:,} trials, evenly over each family's ranking; "
        "all of them are in <code>trials.jsonl</code>.</p>"
        if total > MOST_LISTED
        else ""
    )
    families = "".join(
        f'<option value="{text(family)}">{text(verdict.title(family))}</option>' for family in summary["families"]
    )
    refused = any(record["infeasible"] for record in summary["families"].values())
    shown = (FINISHED, STOPPED, FAILED, RUNNING, *([INFEASIBLE] if refused else []))
    states = "".join(f"<option>{state}</option>" for state in shown)
    heads = "".join(
        f'<th scope="col"{kind}><button>{head}</button></th>'
        for head, kind in (
            *(("Trial", ""), ("Family", ""), ("Status", ""), ("Epochs", ' class="n"')),
            *(("Validation accuracy", ' class="n"'), ("At epoch", ' class="n"'), ("Gap", ' class="n"')),
            *(("Seconds", ' class="n"'), ("Reason", "")),
        )
    )
    return (
        f'{listed}<div class="sheet"><div class="controls"><label>Search<input type="search" id="words" '
        'placeholder="adam 160 stopped"></label>'
        f'<label>Family<select id="by-family"><option value="">all</option>{families}</select></label>'
        f'<label>Status<select id="by-status"><option value="">all</option>{states}</select></label></div>'
        '<p id="found" role="status" class="of"></p><noscript>The table needs JavaScript.</noscript>'
        '<div class="scroll" tabindex="0"><table id="table">'
        "<caption>Choose a trial to see it whole; choose a heading to sort.</caption>"
        f"<thead><tr>{heads}</tr></thead><tbody></tbody></table></div>"
        '<button id="more">Show all</button></div>'
    )


def _listed(summary: dict[str, Any], rows: Rows, accents: dict[str, str]) -> list[dict[str, Any]]:
    families = summary["families"]
    share = max(1, MOST_LISTED // max(1, len(families)))
    listed = []
    for family, record in families.items():
        own = rows.of(family)
        trained = [trial for trial in own if trial.curve]
        always = (record["best"] and record["best"]["trial"], numbers.baseline_name(family))
        # What the curves draw is carried too, so that every point there opens its trial.
        drawn = [trial.name for trial in numbers.sample(trained, MOST_CURVES, always)]
        for trial in numbers.sample(own, share, (*always, *drawn)):
            found = numbers.describe(trial) or {}
            metric = record["metric"]
            told = verdict.measured(metric, found.get("score"))
            judged = {
                "score": _short(found.get("score")),
                "judged": [f"best validation {verdict.called(metric)}", told],
            }
            listed.append(
                {
                    **{"trial": trial.name, "family": family, "title": verdict.title(family), "status": trial.status},
                    **{"reason": trial.reason, "config": trial.config, "seconds": _short(trial.last - trial.started)},
                    **{"validation_accuracy": _short(found.get("validation_accuracy")), "epoch": found.get("epoch")},
                    **({} if metric == ACCURACY else judged),
                    **{
                        "gap": _short(found.get("overfit_gap")),
                        "colour": accents[family],
                        "cost": cost_facts(trial.cost),
                    },
                    "epochs": [row["epoch"] for row in trial.curve],
                    "validation_accuracy_by_epoch": [_short(row["validation_accuracy"]) for row in trial.curve],
                    **{
                        metric: [_short(row[metric]) for row in trial.curve]
                        for metric in ("train_accuracy", "train_loss", "validation_loss")
                    },
                }
            )
    return listed


def _short(number: float | None) -> float | None:
    return None if number is None else float(f"{number:.5g}")


def _repeat(summary: dict[str, Any]) -> str:
    command = summary["environment"].get("command") or "The command was not recorded."
    facts = "".join(f"<dt>{text(key)}</dt><dd>{text(fact)}</dd>" for key, fact in repetition(summary))
    return f'<div class="sheet"><pre><code>{text(command)}</code></pre><dl class="wide">{facts}</dl></div>'
