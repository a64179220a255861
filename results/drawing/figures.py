"""The figures of the report as Plotly's own plain dicts, from numbers computed elsewhere; nothing is computed here.

Plain dicts, because building them through `plotly.graph_objects` costs a second and brings nothing to the page.
Plotly reads markup in any text, so every name that comes from the user passes through `label`.
"""

import html
import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from results.analysis import verdict
from results.analysis.metrics import ACCURACY, METRICS, shown
from results.rows import FAILED, FINISHED, Trial
from spaces import family_of

# Mid tones that stand out on white and on near-black alike, so that a figure need not know the theme.
SPARE_COLOURS = ("#d1477a", "#3b82d6", "#6b9a1e")
SPENT_COLOURS = {
    **{"waiting": "#d9a13b", "building": "#b0628f", "training": "#3b82d6", "validating": "#6fb3a8"},
    "other": "#8a8f98",
}
GREY = "#8a8f98"
GRID = "rgba(128,136,150,0.22)"
GAP = 0.18  # of a figure's height between panels that have an axis each
MOST_EFFECTS = 5
MOST_CLASSES = 40
MOST_PAIRS = 30

Curve = dict[str, Any]


# Pixels of what stands between a label and its axis, of a line of text, of an axis title.
APART, LINE, HEADING = 12, 18, 24
# Pixels of a letter of a label, in the wider of the fonts that browsers take.
LETTERS = {**dict.fromkeys("fijlrtI.,:;'|!()[] -/", 5.0), **dict.fromkeys("mwMW@%", 12.5)}
SMALL, CAPITAL, DOUBLE = 8.0, 9.0, 14.0


@dataclass(frozen=True)
class Figure:
    """A drawing for `Plotly.newPlot`, with what a reader who cannot see it is told (`alt`).

    Its margins have room for its labels. Plotly can make that room itself, by drawing again and again, and where the
    number of ticks then changes with the room it gives up with a warning.
    """

    title: str
    alt: str
    caption: str
    data: list[dict[str, Any]]
    layout: dict[str, Any]

    def __post_init__(self) -> None:
        self.layout["margin"] = margins(self.data, self.layout)


def margins(data: Sequence[dict[str, Any]], layout: dict[str, Any]) -> dict[str, float]:
    """The margins of a layout, made wide enough for the labels and titles of the axes on its left and lower edge."""
    found: dict[str, float] = dict(layout["margin"])
    for name, axis in layout.items():
        letter, edge = name[0], {"x": "b", "y": "l"}.get(name[0], "")
        if name[1:5] != "axis" or not _on_edge(letter, axis, layout):
            continue
        longest = max(map(_width, _labels(letter, name, axis, data)), default=0.0)
        if letter == "y":
            room = longest
        else:
            # A slanting label reaches down by its length, a level one by a line.
            room = longest * math.sin(math.radians(abs(axis.get("tickangle", 0)))) + LINE * bool(longest)
        titled = HEADING if axis.get("title", {}).get("text") else 0
        found[edge] = max(found[edge], math.ceil(room + APART + titled))
    return found


def _on_edge(letter: str, axis: dict[str, Any], layout: dict[str, Any]) -> bool:
    """Whether the labels of an axis lie outside of all panels, on the left or below."""
    other = str(axis.get("anchor", "y" if letter == "x" else "x"))
    across = layout.get(f"{other[0]}axis{other[1:]}", {})
    return float(across.get("domain", (0.0, 1.0))[0]) == 0.0


def _labels(letter: str, name: str, axis: dict[str, Any], data: Sequence[dict[str, Any]]) -> list[str]:
    """The labels of an axis, or one as long as the longest of them."""
    if axis.get("showticklabels") is False:
        return []
    if "ticktext" in axis:
        return list(axis["ticktext"])
    if "%" in axis.get("tickformat", ""):
        return ["100.0%"]
    own = letter + name[5:]
    values = [value for trace in data if trace.get(f"{letter}axis", letter) == own for value in trace.get(letter) or ()]
    numbers = [abs(value) for value in values if isinstance(value, int | float)]
    longest = [f"-{max(numbers):,.1f}"] if numbers else []
    return [*(value for value in values if isinstance(value, str)), *longest]


def _width(text: str) -> float:
    """Pixels of a label, rather too many; letters of East Asia and emoji are wider than others."""
    return sum(
        LETTERS.get(letter)
        or (DOUBLE if unicodedata.east_asian_width(letter) in "WF" else CAPITAL if letter.isupper() else SMALL)
        for letter in html.unescape(text)
    )


def colour(family: str, families: Sequence[str] = ()) -> str:
    """The accent colour of a family."""
    if own := family_of(family).colour:
        return own
    strangers = [name for name in families if not family_of(name).colour]
    return SPARE_COLOURS[strangers.index(family) % len(SPARE_COLOURS)] if family in strangers else SPARE_COLOURS[0]


def label(text: object, most: int = 40) -> str:
    """Text that Plotly shows as it is, cut at 40 characters."""
    plain = " ".join(str(text).split())
    return html.escape(plain if len(plain) <= most else plain[: most - 1] + "\N{HORIZONTAL ELLIPSIS}", quote=False)


def _axis(title: str = "", **more: Any) -> dict[str, Any]:
    named: dict[str, Any] = {"title": {"text": title, "standoff": 8, "font": {"size": 12.5}}} if title else {}
    # Unseen ticks keep the labels off the bars.
    ticks = {"ticks": "outside", "ticklen": 5, "tickcolor": "rgba(0,0,0,0)"}
    return {"gridcolor": GRID, "zeroline": False, **ticks, **named, **more}


def _layout(height: int, **more: Any) -> dict[str, Any]:
    return {
        **{"height": height, "margin": {"l": 8, "r": 20, "t": 12, "b": 8}, "hovermode": "closest"},
        **{"paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)", "showlegend": False},
        "font": {"family": "system-ui, -apple-system, Segoe UI, Roboto, sans-serif", "size": 12.5, "color": GREY},
        "hoverlabel": {"bgcolor": "#20242c", "bordercolor": "#20242c", "font": {"color": "#f4f5f7"}, "align": "left"},
        **more,
    }


def _head(text: str, x: str, y: str) -> dict[str, Any]:
    return {
        **{"text": text, "xref": f"{x} domain", "yref": f"{y} domain", "x": 0, "y": 1.02, "showarrow": False},
        **{"xanchor": "left", "yanchor": "bottom", "font": {"size": 12.5}},
    }


def blank() -> dict[str, Any]:
    """The layout that the page itself fills when a trial is looked at."""
    sides = {"l": 64, "r": 20, "t": 40, "b": 48}
    layout = _layout(300, xaxis=_axis(""), yaxis=_axis(""), showlegend=True, legend=LEGEND, margin=sides)
    return {"data": [], "layout": layout}


LEGEND = {"orientation": "h", "yanchor": "bottom", "y": 1.02, "xanchor": "left", "x": 0}


def progress(
    series: dict[str, list[dict[str, Any]]], ends: dict[str, float], by: str, metric: str = ACCURACY
) -> Figure:
    """Best score so far, as people know the metric, by `time` (drawn in minutes) or `epochs`.

    `ends` is where each family ended.
    """
    scale = 60.0 if by == "time" else 1.0
    data = []
    told = []
    name, share = verdict.called(metric), METRICS[metric].share
    for family, steps in series.items():
        if not steps:
            continue
        last = steps[-1]
        told.append(f"{verdict.title(family)} {verdict.measured(metric, last['score'])}")
        data.append(
            {
                **{"type": "scatter", "mode": "lines", "name": verdict.title(family)},
                "x": [step[by] / scale for step in steps] + [max(ends[family], last[by]) / scale],
                "y": [shown(metric, step["score"]) for step in [*steps, last]],
                "customdata": [step["trial"] for step in [*steps, last]],
                "line": {"shape": "hv", "width": 2.5, "color": colour(family, list(series))},
            }
        )
    axis = "minutes into the run" if by == "time" else "epochs trained in the family"
    return Figure(
        f"Best so far, by {by}",
        f"Best validation {name} so far, by {by}. At the end: " + ("; ".join(told) or "nothing yet") + ".",
        f"The best validation {name} seen so far, against {axis}.",
        data,
        _layout(
            320,
            xaxis=_axis(axis, rangemode="tozero"),
            yaxis=_axis("", rangemode="tozero", **({"tickformat": ".0%"} if share else {})),
            showlegend=True,
            legend=LEGEND,
            margin={"l": 8, "r": 20, "t": 40, "b": 8},
        ),
    )


PANELS = (
    ("train_accuracy", "x", "y", "training accuracy"),
    ("validation_accuracy", "x2", "y2", "validation accuracy"),
    ("train_loss", "x3", "y3", "training loss"),
    ("validation_loss", "x4", "y4", "validation loss"),
)


def curves(family: str, trials: Sequence[Trial], total: int, best: str | None, baseline: str, accent: str) -> Figure:
    """Learning curves of a family: accuracy and loss, training and validation, every trial cut where it stopped."""
    groups: dict[str, list[Trial]] = {"other trials": [], "baseline": [], "best": []}
    for trial in trials:
        groups["best" if trial.name == best else "baseline" if trial.name == baseline else "other trials"].append(trial)
    styles: dict[str, dict[str, Any]] = {
        "other trials": {"line": {"width": 1.2, "color": accent}, "opacity": 0.32},
        "baseline": {"line": {"width": 2.2, "color": GREY, "dash": "dash"}, "opacity": 1.0},
        "best": {"line": {"width": 3, "color": accent}, "opacity": 1.0},
    }
    data: list[dict[str, Any]] = []
    for metric, x, y, _ in PANELS:
        for group, members in groups.items():
            if not members:
                continue
            data.append(
                {
                    **{"type": "scatter", "mode": "lines+markers", "name": group, "legendgroup": group},
                    **{"xaxis": x, "yaxis": y, "showlegend": metric == "train_accuracy", "connectgaps": False},
                    # One trace for many trials, a gap between them: hundreds of traces would make the page slow.
                    "x": [epoch for trial in members for epoch in [*(row["epoch"] for row in trial.curve), None]],
                    "y": [reached for trial in members for reached in [*(row[metric] for row in trial.curve), None]],
                    "customdata": [trial.name for trial in members for _ in range(len(trial.curve) + 1)],
                    "marker": {"size": 4 if group != "other trials" else 3, "color": styles[group]["line"]["color"]},
                    **styles[group],
                }
            )
    losses = [
        row[metric]
        for trial in trials
        for row in trial.curve
        for metric in ("train_loss", "validation_loss")
        if row[metric]
    ]
    # One exploding loss would flatten every other curve: the axis ends above 95 % of the points.
    most = max(losses, default=1.0)
    top = min(1.05 * most, 1.25 * sorted(losses)[int(0.95 * len(losses))]) if losses else 1.0
    longest = max((row["epoch"] for trial in trials for row in trial.curve), default=1)
    whole = {"dtick": 1} if longest <= 10 else {}
    heads = [_head(text, x, y) for _, x, y, text in PANELS]
    left, right, upper, lower = [0, 0.48], [0.52, 1], [0.56, 1], [0, 0.42]
    drawn = verdict.plural(total, "trial") if len(trials) == total else f"{len(trials):,} of {total:,} trials"
    return Figure(
        f"Learning curves: {verdict.title(family)}",
        f"Learning curves of {verdict.title(family)}, {drawn}: accuracy above, loss below; training left, "
        "validation right.",
        f"{drawn}, each cut where it stopped." + (f" Losses above {top:.2g} are out of sight." if most > top else ""),
        data,
        _layout(
            520,
            annotations=heads,
            showlegend=True,
            legend={**LEGEND, "y": 1.09, "traceorder": "reversed"},
            margin={"l": 8, "r": 20, "t": 64, "b": 8},
            xaxis=_axis("", domain=left, anchor="y", matches="x3", showticklabels=False, **whole),
            yaxis=_axis("", domain=upper, anchor="x", tickformat=".0%", range=[0, 1.02]),
            xaxis2=_axis("", domain=right, anchor="y2", matches="x4", showticklabels=False, **whole),
            yaxis2=_axis("", domain=upper, anchor="x2", matches="y", showticklabels=False),
            xaxis3=_axis("epoch", domain=left, anchor="y3", rangemode="tozero", **whole),
            yaxis3=_axis("", domain=lower, anchor="x3", range=[0, top]),
            xaxis4=_axis("epoch", domain=right, anchor="y4", rangemode="tozero", **whole),
            yaxis4=_axis("", domain=lower, anchor="x4", matches="y3", showticklabels=False),
        ),
    )


def rungs(tables: dict[str, list[dict[str, Any]]]) -> Figure | None:
    """How many trials each rung compared and how many of them went on; None without a rung."""
    data = []
    told = []
    for family, table in tables.items():
        if not table:
            continue
        accent, name = colour(family, list(tables)), verdict.title(family)
        names = [f"{name}, epoch {rung['epoch']}" for rung in table]
        told += [f"{name}, epoch {rung['epoch']}: {rung['out']} of {rung['in']} went on" for rung in table]
        common = {"type": "bar", "orientation": "h", "y": names, "hoverinfo": "none"}
        compared = {"x": [rung["in"] for rung in table], "marker": {"color": faded(accent, 0.28)}, "width": 0.7}
        written = {"text": [f"{rung['out']:,} of {rung['in']:,}" for rung in table], "textposition": "outside"}
        data.append({**common, **compared, **written, "cliponaxis": False})
        data.append({**common, "x": [rung["out"] for rung in table], "marker": {"color": accent}, "width": 0.4})
    if not data:
        return None
    count = sum(len(table) for table in tables.values())
    return Figure(
        "Rungs",
        "Trials compared and let go on at each rung. " + "; ".join(told) + ".",
        "Pale: trials compared at the rung. Solid: those that went on to a larger budget.",
        data,
        _layout(
            60 + 34 * count,
            barmode="overlay",
            xaxis=_axis("trials", rangemode="tozero"),
            yaxis=_axis("", autorange="reversed", showgrid=False),
            margin={"l": 8, "r": 92, "t": 12, "b": 8},
        ),
    )


def timeline(spans: Sequence[dict[str, Any]], families: Sequence[str], total: int) -> Figure | None:
    """Each trial as a bar from its start to its end, on as many lanes as ran at once; None without a trial."""
    if not spans:
        return None
    data = []
    for family in families:
        own = [span for span in spans if span["trial"].family == family]
        if not own:
            continue
        data.append(
            {
                **{"type": "bar", "orientation": "h", "name": verdict.title(family), "width": 0.7},
                "y": [f"lane {span['lane'] + 1}" for span in own],
                "base": [span["start"] / 60 for span in own],
                "x": [(span["end"] - span["start"]) / 60 for span in own],
                "customdata": [span["trial"].name for span in own],
                "marker": {
                    "color": colour(family, families),
                    "opacity": [1.0 if span["trial"].status == FINISHED else 0.45 for span in own],
                    "line": {
                        "width": [2 if span["trial"].status == FAILED else 0.5 for span in own],
                        "color": ["#d32f3f" if span["trial"].status == FAILED else "rgba(0,0,0,0)" for span in own],
                    },
                },
            }
        )
    lanes = 1 + max(span["lane"] for span in spans)
    drawn = "Every trial" if len(spans) == total else f"{len(spans):,} of {total:,} trials"
    return Figure(
        "Timeline of trials",
        f"{drawn} as a bar from start to end, at most {lanes} at once.",
        f"{drawn} from start to end. Solid bars ran their full budget, pale ones did not, a red rim marks a failure.",
        data,
        _layout(
            110 + 26 * min(lanes, 24),
            barmode="overlay",
            showlegend=True,
            legend=LEGEND,
            margin={"l": 8, "r": 20, "t": 40, "b": 8},
            xaxis=_axis("minutes into the run", rangemode="tozero"),
            yaxis=_axis(
                "",
                showgrid=False,
                autorange="reversed",
                categoryorder="array",
                categoryarray=[f"lane {lane + 1}" for lane in range(lanes)],
            ),
        ),
    )


def spent(seconds: dict[str, dict[str, float]]) -> Figure | None:
    """Where the seconds of each family's trials went, as one stacked bar each; None where no row accounts for any."""
    seconds = {family: parts for family, parts in seconds.items() if sum(parts.values()) > 0}
    if not seconds:
        return None
    names = [verdict.title(family) for family in seconds]
    data = []
    for part, tint in SPENT_COLOURS.items():
        minutes = [parts[part] / 60 for parts in seconds.values()]
        # What is left over in a sum of parts may be a rounding error and no time at all.
        if max(minutes) > 1e-3:
            data.append(
                {
                    **{"type": "bar", "orientation": "h", "name": part, "y": names, "x": minutes, "width": 0.62},
                    **{"marker": {"color": tint}, "hovertemplate": f"{part}: %{{x:.1f}} min<extra></extra>"},
                }
            )
    told = [
        f"{verdict.title(family)}: "
        + ", ".join(f"{part} {verdict.duration(spent)}" for part, spent in parts.items() if spent >= 0.05)
        for family, parts in seconds.items()
    ]
    return Figure(
        "Where the time went",
        "Time of trials by what it was spent on. " + "; ".join(told) + ".",
        "Minutes of trials, added over all workers. Waiting is for the cache of pixels and activations.",
        data,
        _layout(
            90 + 44 * len(seconds),
            barmode="stack",
            showlegend=True,
            legend={**LEGEND, "traceorder": "normal"},
            margin={"l": 8, "r": 20, "t": 40, "b": 8},
            xaxis=_axis("minutes"),
            yaxis=_axis("", autorange="reversed", showgrid=False),
        ),
    )


def importance(family: str, shares: dict[str, float], accent: str) -> Figure:
    """The ten largest importances of a family's parameters."""
    leading = list(shares.items())[:10]
    return Figure(
        "What mattered",
        f"Importance of parameters of {verdict.title(family)}: "
        + ", ".join(f"{key.replace('_', ' ')} {share:.0%}" for key, share in leading)
        + ".",
        "PED-ANOVA: the share of each parameter in what separates the best trials from the rest. "
        "Stopped trials count with what they had reached.",
        [
            {
                **{"type": "bar", "orientation": "h", "y": [label(key.replace("_", " ")) for key, _ in leading]},
                **{"x": [share for _, share in leading], "marker": {"color": accent}, "hoverinfo": "none"},
                **{"text": [f"{share:.0%}" for _, share in leading], "textposition": "outside", "cliponaxis": False},
            }
        ],
        _layout(
            60 + 28 * len(leading),
            xaxis=_axis("", tickformat=".0%", rangemode="tozero", showticklabels=False, showgrid=False),
            yaxis=_axis("", autorange="reversed", showgrid=False),
            margin={"l": 8, "r": 44, "t": 12, "b": 8},
        ),
    )


def effects(
    family: str, levels: dict[str, list[dict[str, Any]]], order: Sequence[str], accent: str, metric: str = ACCURACY
) -> Figure:
    """Mean score at each level of the leading parameters, with the interval of the mean, as people know the metric."""
    chosen = [key for key in order if key in levels][:MOST_EFFECTS]
    scores = [(key, level) for key in chosen for level in levels[key]]
    minimised, share, name = METRICS[metric].minimised, METRICS[metric].share, verdict.called(metric)
    turned = {"low": "high", "high": "low", "mean": "mean"} if minimised else {}
    lines = [
        (key, {**level, **{end: shown(metric, level[other]) for end, other in turned.items()}}) for key, level in scores
    ]
    names = [f"{label(key.replace('_', ' '))}: {label(verdict.value(level['level']))}" for key, level in lines]
    # The interval of two trials spans everything, and would squeeze the rest into a line.
    ends = [level[end] for _, level in lines for end in ("low", "high") if level["trials"] > 2]
    ends += [level["mean"] for _, level in lines]
    low, high = max(0.0, min(ends)), max(ends) if minimised else min(1.0, max(ends))
    margin = 0.04 * (high - low) + 0.005
    return Figure(
        "The effect of each value",
        f"Mean best validation {name} of {verdict.title(family)} by value: "
        + ", ".join(
            f"{key.replace('_', ' ')} {verdict.value(level['level'])} {verdict.measured(metric, level['mean'])}"
            for key, level in scores
        )
        + ".",
        f"Mean best validation {name} of the trials with that value, and the 95 % interval of the mean. The search "
        "chose the values, so these are not controlled comparisons.",
        [
            {
                **{"type": "scatter", "mode": "markers", "y": names, "x": [level["mean"] for _, level in lines]},
                "marker": {"size": 9, "color": accent},
                "error_x": {
                    **{"type": "data", "symmetric": False, "color": accent, "thickness": 1.6, "width": 0},
                    "array": [(level["high"] or level["mean"]) - level["mean"] for _, level in lines],
                    "arrayminus": [level["mean"] - (level["low"] or level["mean"]) for _, level in lines],
                },
                "text": [verdict.plural(level["trials"], "trial") for _, level in lines],
                "hovertemplate": f"%{{y}}<br>%{{x:{'.1%' if share else '.3f'}}}, %{{text}}<extra></extra>",
            }
        ],
        _layout(
            60 + 24 * len(lines),
            xaxis=_axis(
                "", tickformat=".1~%" if share else ".3~f", tickangle=0, nticks=6, range=[low - margin, high + margin]
            ),
            yaxis=_axis("", autorange="reversed", type="category"),
        ),
    )


def depth(points: Sequence[dict[str, Any]], accent: str) -> Figure | None:
    """Fine-tuning depth against accuracy and against the cost of an epoch; None without transfer trials."""
    if not points:
        return None
    common = {
        **{"type": "scatter", "mode": "markers", "x": [point["unfrozen_blocks"] for point in points]},
        "customdata": [point["trial"] for point in points],
    }
    faint = [1.0 if point["status"] == FINISHED else 0.4 for point in points]
    marker = {"size": 9, "color": accent, "opacity": faint}
    best = max(points, key=lambda point: float(point["validation_accuracy"]))
    return Figure(
        "How deep to fine-tune",
        f"Validation accuracy and seconds per epoch by unfrozen blocks, {verdict.plural(len(points), 'trial')}; the "
        f"best, {verdict.percent(best['validation_accuracy'])}, had {best['unfrozen_blocks']} unfrozen blocks.",
        "Unfrozen blocks of the trunk (0 trains the head alone) against the best validation accuracy, and against the "
        "median seconds of an epoch. Pale points did not run their full budget.",
        [
            {**common, "y": [point["validation_accuracy"] for point in points], "marker": marker},
            {
                **common,
                **{
                    "y": [point["seconds_per_epoch"] for point in points],
                    "marker": marker,
                    "xaxis": "x2",
                    "yaxis": "y2",
                },
            },
        ],
        _layout(
            340,
            annotations=[_head("validation accuracy", "x", "y"), _head("seconds per epoch", "x2", "y2")],
            margin={"l": 8, "r": 20, "t": 30, "b": 8},
            xaxis=_axis("unfrozen blocks", domain=[0, 0.46]),
            yaxis=_axis("", tickformat=".0%"),
            xaxis2=_axis("unfrozen blocks", domain=[0.56, 1], anchor="y2"),
            yaxis2=_axis("", anchor="x2", rangemode="tozero"),
        ),
    )


def confusion(family: str, counts: Sequence[Sequence[int]], classes: Sequence[str], accent: str) -> Figure:
    """What each class was taken for on the test pictures, as shares of the true class."""
    shares = [[count / max(1, sum(row)) for count in row] for row in counts]
    # Numbers on the axes, names as their labels: two classes whose names are cut alike stay two.
    places = list(range(len(classes)))
    names = [label(name) for name in classes]
    ticks = {"tickvals": places, "ticktext": names} if len(classes) <= MOST_CLASSES else {"showticklabels": False}
    size = min(760, 190 + 30 * len(classes))
    wrong = sum(map(sum, counts)) - sum(counts[place][place] for place in places)
    return Figure(
        "Confusion",
        f"Confusion matrix of {verdict.title(family)} on the test pictures: {wrong} of {sum(map(sum, counts))} answers "
        "were wrong. The table of classes says what each is most often taken for.",
        "Rows: the true class. Columns: what the model said. Share of the true class, all seeds together.",
        [
            {
                **{"type": "heatmap", "z": shares, "x": places, "y": places, "showscale": False, "xgap": 1, "ygap": 1},
                **{"zmin": 0, "zmax": 1, "colorscale": [[0, faded(accent, 0.06)], [1, accent]]},
                "text": [[f"{names[i]}<br>taken for {names[j]}: {counts[i][j]}" for j in places] for i in places],
                "hovertemplate": "%{text} (%{z:.0%})<extra></extra>",
            }
        ],
        _layout(
            size,
            xaxis=_axis("", tickangle=-45, showgrid=False, **ticks),
            yaxis=_axis("", autorange="reversed", showgrid=False, **ticks),
        ),
    )


def confused(family: str, pairs: Sequence[dict[str, Any]], classes: int, accent: str) -> Figure | None:
    """The pairs of classes most often taken for each other, where a matrix of all would be too large."""
    shown = list(pairs)[:MOST_PAIRS]
    if not shown:
        return None
    places = list(range(len(shown)))
    names = [" / ".join(label(name, 22) for name in pair["classes"]) for pair in shown]
    return Figure(
        "Most often taken for each other",
        f"The {len(shown)} pairs of {classes:,} classes that {verdict.title(family)} takes for each other most often: "
        + "; ".join(verdict.pair(pair) for pair in shown[:10])
        + ".",
        "Test pictures of either class that were taken for the other, all seeds together: the first "
        f"{len(shown)} pairs of {classes:,} classes. results.json has more of them, and every class.",
        [
            {
                **{
                    "type": "bar",
                    "orientation": "h",
                    "y": places,
                    "x": [pair["there"] + pair["back"] for pair in shown],
                },
                **{"marker": {"color": accent}, "width": 0.7},
                "text": [verdict.pair({**pair, "classes": list(map(label, pair["classes"]))}) for pair in shown],
                **{"textposition": "none", "hovertemplate": "%{text}<extra></extra>"},
            }
        ],
        _layout(
            76 + 24 * len(shown),
            xaxis=_axis("test pictures", rangemode="tozero"),
            yaxis=_axis("", tickvals=places, ticktext=names, range=[len(shown) - 0.5, -0.5], showgrid=False),
        ),
    )


def faded(accent: str, opacity: float) -> str:
    """An accent colour seen through."""
    red, green, blue = (int(accent[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def dots(
    judged: dict[str, list[dict[str, Any]]], shown: Sequence[str], accents: dict[str, str], key: str
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Data and layout of a row of dots for each class, one dot for what each family's records say of it by a key."""
    places = list(range(len(shown)))
    data = []
    for family, records in judged.items():
        found = {record["class"]: record[key] for record in records}
        data.append(
            {
                **{"type": "scatter", "mode": "markers", "name": verdict.title(family), "y": places},
                "x": [found.get(name) for name in shown],
                "marker": {"size": 10, "color": accents[family]},
                "text": [label(name) for name in shown],
                "hovertemplate": f"%{{text}}<br>{verdict.title(family)} %{{x:.1%}}<extra></extra>",
            }
        )
    return data, _layout(
        90 + 26 * len(shown),
        showlegend=True,
        legend=LEGEND,
        margin={"l": 8, "r": 20, "t": 40, "b": 8},
        xaxis=_axis("", tickformat=".0%", range=[-0.02, 1.02]),
        yaxis=_axis("", tickvals=places, ticktext=[label(name) for name in shown], range=[len(shown) - 0.5, -0.5]),
    )


def per_class(judged: dict[str, list[dict[str, Any]]], order: Sequence[str], accents: dict[str, str]) -> Figure:
    """Test accuracy of each class in each family, the worst class of the first family on top; at most 40 classes."""
    shown = list(order)[:MOST_CLASSES]
    cut = f" The {MOST_CLASSES} worst of {len(order)} classes." if len(order) > len(shown) else ""
    return Figure(
        "Accuracy by class",
        "Test accuracy of each class and family; the table below gives the winner's." + cut,
        "The share of each class's test pictures that was named rightly, mean over seeds." + cut,
        *dots(judged, shown, accents, "accuracy"),
    )


def reliability(judged: dict[str, dict[str, Any]], accents: dict[str, str]) -> Figure:
    """How often the models were right when they were so sure, with the line of honest confidence."""
    data: list[dict[str, Any]] = [
        {
            **{"type": "scatter", "mode": "lines", "name": "as sure as right", "x": [0, 1], "y": [0, 1]},
            **{"line": {"color": GREY, "dash": "dot", "width": 1.5}, "hoverinfo": "none"},
        }
    ]
    for family, found in judged.items():
        most = max(record["pictures"] for record in found["bins"])
        data.append(
            {
                **{"type": "scatter", "mode": "lines+markers", "name": verdict.title(family)},
                "x": [record["confidence"] for record in found["bins"]],
                "y": [record["accuracy"] for record in found["bins"]],
                "text": [verdict.plural(record["pictures"], "answer") for record in found["bins"]],
                "marker": {"size": [5 + 13 * (record["pictures"] / most) ** 0.5 for record in found["bins"]]},
                "line": {"color": accents[family], "width": 2},
                "hovertemplate": "sure to %{x:.0%}, right in %{y:.0%}<br>%{text}<extra></extra>",
            }
        )
    told = [f"{verdict.title(family)} {verdict.percent(found['expected_error'])}" for family, found in judged.items()]
    return Figure(
        "Calibration",
        "Reliability diagram. Expected calibration error: " + "; ".join(told) + ".",
        "Below the dotted line the model is surer than it is right. Larger points hold more answers. "
        "Expected calibration error: " + "; ".join(told) + ".",
        data,
        _over_shares("how sure", _axis("how often right", tickformat=".0%", range=[0, 1.04])),
    )


def _over_shares(x: str, yaxis: dict[str, Any]) -> dict[str, Any]:
    """The layout of curves over a share from 0 to 1."""
    return _layout(
        380,
        showlegend=True,
        legend=LEGEND,
        margin={"l": 8, "r": 20, "t": 56, "b": 8},
        xaxis=_axis(x, tickformat=".0%", range=[0, 1.02]),
        yaxis=yaxis,
    )


def coverage(curves: dict[str, list[dict[str, float]]], accents: dict[str, str]) -> Figure | None:
    """How right the surest answers are, by the share of pictures that are answered."""
    if not curves:
        return None
    data = [
        {
            **{"type": "scatter", "mode": "lines", "name": verdict.title(family)},
            "x": [point["coverage"] for point in points],
            "y": [point["accuracy"] for point in points],
            "line": {"color": accents[family], "width": 2.5},
            "hovertemplate": "the surest %{x:.0%}: right in %{y:.1%}<extra></extra>",
        }
        for family, points in curves.items()
    ]
    told = "; ".join(
        f"{verdict.title(family)} {verdict.percent(one[-1]['accuracy'])}" for family, one in curves.items()
    )
    return Figure(
        "Coverage against accuracy",
        f"Risk-coverage curve on test. Accuracy where every picture is answered: {told}.",
        "Test pictures in the order of the largest probability, all seeds together: how many of the answers are right "
        "where only the surest are given.",
        data,
        _over_shares("share of pictures answered", _axis("right of the answers", tickformat=".0%", rangemode="tozero")),
    )


def seeds(families: dict[str, dict[str, Any]], accents: dict[str, str]) -> Figure:
    """Test accuracy of each seed with the interval of their mean, beside the validation accuracy that chose."""
    names = [verdict.title(family) for family in families]
    chosen = [record["best"]["validation_accuracy"] if record["best"] else None for record in families.values()]
    tests = [record["test"] for record in families.values()]
    tints = [accents[family] for family in families]
    data: list[dict[str, Any]] = [
        {
            **{"type": "scatter", "mode": "markers", "name": "mean on test, 95 % interval", "y": names},
            "x": [test["accuracy"] for test in tests],
            "marker": {"size": 12, "color": tints},
            "error_x": {
                **{"type": "data", "symmetric": False, "thickness": 2, "width": 6, "color": GREY},
                "array": [(test["high"] or test["accuracy"]) - test["accuracy"] for test in tests],
                "arrayminus": [test["accuracy"] - (test["low"] or test["accuracy"]) for test in tests],
            },
            "hovertemplate": "%{x:.1%} on test<extra></extra>",
        },
        {
            **{"type": "scatter", "mode": "markers", "name": "each seed"},
            "y": [name for name, test in zip(names, tests, strict=True) for _ in test["seeds"]],
            "x": [seed["accuracy"] for test in tests for seed in test["seeds"]],
            "marker": {"size": 14, "symbol": "line-ns-open", "color": GREY},
            "text": [f"seed {seed['seed']}" for test in tests for seed in test["seeds"]],
            "hovertemplate": "%{text}: %{x:.1%}<extra></extra>",
        },
        {
            **{"type": "scatter", "mode": "markers", "name": "best validation", "y": names, "x": chosen},
            "marker": {"size": 11, "symbol": "diamond-open", "color": tints, "line": {"width": 2}},
            "hovertemplate": "%{x:.1%} on validation<extra></extra>",
        },
    ]
    return Figure(
        "Validation against test",
        "Test accuracy with its interval beside validation accuracy. "
        + "; ".join(f"{name}: {verdict.interval(test)}" for name, test in zip(names, tests, strict=True))
        + ".",
        "The configuration was chosen by its validation accuracy, so that figure flatters; the test pictures chose "
        "nothing. The final models also learnt from the validation pictures.",
        data,
        _layout(
            110 + 54 * len(names),
            showlegend=True,
            legend=LEGEND,
            margin={"l": 8, "r": 20, "t": 56, "b": 8},
            xaxis=_axis("", tickformat=".0%"),
            yaxis=_axis("", range=[len(names) - 0.5, -0.5], type="category"),
        ),
    )


def switches(family: str, rows: Sequence[dict[str, Any]], accent: str, metric: str = ACCURACY) -> Figure | None:
    """What each treatment brought, on minus off in points, with its interval; None without one to compare."""
    if not rows:
        return None
    names = [label(row["treatment"].replace("_", " ")) for row in rows]
    ends = [abs(row[end]) for row in rows for end in ("low", "high") if row[end] is not None and _telling(row)]
    difference = f"Mean best validation {verdict.called(metric)}"
    if not METRICS[metric].share:
        difference += " (in hundredths, better to the right)"
    reach = 100 * 1.1 * max(0.02, *ends, *(abs(row["difference"]) for row in rows))
    told = [
        f"{row['treatment'].replace('_', ' ')} {verdict.apart(metric, row['difference'])} "
        f"(on {verdict.measured(metric, row['on']['mean'])} in {row['on']['trials']}, off "
        f"{verdict.measured(metric, row['off']['mean'])} in {row['off']['trials']})"
        for row in rows
    ]
    return Figure(
        "On against off",
        f"Mean best validation {verdict.called(metric)} of {verdict.title(family)} with each treatment on minus off: "
        + "; ".join(told)
        + ".",
        f"{difference} with the treatment on, minus without it, and the 95 % interval of the "
        "difference (Welch). Right of the line it helped. The search chose what went together, so these are not "
        "controlled comparisons.",
        [
            {
                **{"type": "scatter", "mode": "markers", "y": names, "x": [100 * row["difference"] for row in rows]},
                "marker": {"size": 11, "color": accent},
                "error_x": {
                    **{"type": "data", "symmetric": False, "color": accent, "thickness": 1.8, "width": 0},
                    "array": [100 * ((row["high"] or row["difference"]) - row["difference"]) for row in rows],
                    "arrayminus": [100 * (row["difference"] - (row["low"] or row["difference"])) for row in rows],
                },
                "text": [
                    f"on {verdict.measured(metric, row['on']['mean'])} in "
                    f"{verdict.plural(row['on']['trials'], 'trial')}<br>"
                    f"off {verdict.measured(metric, row['off']['mean'])} in "
                    f"{verdict.plural(row['off']['trials'], 'trial')}"
                    for row in rows
                ],
                "hovertemplate": "%{y}: %{x:+.1f} points<br>%{text}<extra></extra>",
            }
        ],
        _layout(
            76 + 32 * len(rows),
            xaxis=_axis("points", range=[-reach, reach], zeroline=True, zerolinecolor=GREY, zerolinewidth=1.5),
            yaxis=_axis("", autorange="reversed", type="category", showgrid=False),
        ),
    )


def _telling(row: dict[str, Any]) -> bool:
    # The interval of two trials spans everything, and would squeeze the rest into a line.
    return bool(min(row["on"]["trials"], row["off"]["trials"]) > 2)


def model_costs(
    entries: Sequence[dict[str, Any]], costs: dict[str, str], printed: dict[str, float], accents: dict[str, str]
) -> Figure | None:
    """Test accuracy of every family's model against each cost, the front as a line; None where nothing was measured."""
    shown = [cost for cost in costs if any(entry[cost] is not None for entry in entries)]
    entries = [entry for entry in entries if entry["accuracy"] is not None]
    if not shown or not entries:
        return None
    data: list[dict[str, Any]] = []
    axes: dict[str, Any] = {}
    for number, cost in enumerate(shown):
        place = "" if number == 0 else str(number + 1)
        column, line = number % 2, number // 2
        lines = -(-len(shown) // 2)
        x_axis, y_axis = f"x{place}", f"y{place}"
        known = sorted((entry for entry in entries if entry[cost] is not None), key=lambda entry: float(entry[cost]))
        front = [entry for entry in known if cost in entry["front"]]
        x = [entry[cost] * printed[cost] for entry in front]
        common = {"type": "scatter", "xaxis": x_axis, "yaxis": y_axis}
        dashes = {"mode": "lines", "line": {"color": GREY, "dash": "dot", "width": 1.5, "shape": "hv"}}
        data.append({**common, **dashes, "x": x, "y": [entry["accuracy"] for entry in front], "hoverinfo": "skip"})
        data += [
            {
                **common,
                **{"mode": "markers", "name": verdict.title(entry["family"]), "legendgroup": entry["family"]},
                **{"x": [entry[cost] * printed[cost]], "y": [entry["accuracy"]], "showlegend": number == 0},
                "marker": {"size": 13, "color": accents[entry["family"]]},
                "hovertemplate": f"{verdict.title(entry['family'])}<br>%{{x:,.4~g}} {costs[cost]}<br>"
                "%{y:.1%} on test<extra></extra>",
            }
            for entry in known
        ]
        data[-len(known) - 1]["showlegend"] = False
        height = 1 / lines
        top = 1 - line * height
        axes[f"xaxis{place}"] = _axis(
            costs[cost], domain=[0.0, 0.44] if column == 0 else [0.56, 1.0], anchor=y_axis, rangemode="tozero",
            nticks=5,
        )  # fmt: skip
        axes[f"yaxis{place}"] = _axis(
            "", domain=[top - height * (0.72 if lines > 1 else 1), top], anchor=x_axis, tickformat=".0%",
            range=[0, 1.04],
        )  # fmt: skip
    told = [
        f"{verdict.title(entry['family'])} {verdict.percent(entry['accuracy'])}: "
        + ", ".join(f"{entry[cost] * printed[cost]:,.4g} {costs[cost]}" for cost in shown if entry[cost] is not None)
        for entry in entries
    ]
    return Figure(
        "Accuracy against cost",
        "Test accuracy of each family's model against its cost. " + "; ".join(told) + ".",
        "Each family's exported model. Dotted: the Pareto front, which no other family's model beats at that cost.",
        data,
        _layout(
            260 * -(-len(shown) // 2) + 40,
            showlegend=True,
            legend=LEGEND,
            margin={"l": 8, "r": 20, "t": 40, "b": 8},
            **axes,
        ),
    )


def decades(values: Sequence[float]) -> dict[str, Any]:
    """Ticks of a logarithmic axis at 1, 2 and 5 times the powers of ten around some values."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    steps = (1, 2, 5) if high - low <= 2 else (1,)
    places = [step * 10.0**power for power in range(low, high + 1) for step in steps]
    units = ((1e6, "M"), (1e3, "k"), (1.0, ""))
    named = [next(((place / unit, sign) for unit, sign in units if place >= unit), (place, "")) for place in places]
    return {"tickvals": places, "ticktext": [f"{number:g}{sign}" for number, sign in named]}


def trial_costs(
    entries: Sequence[dict[str, Any]],
    total: int,
    costs: dict[str, str],
    printed: dict[str, float],
    accents: dict[str, str],
) -> Figure | None:
    """Validation accuracy of every trial against what its model and an epoch of it cost, with the fronts."""
    # The bytes of the weights are four times their number: the same picture again.
    shown = [cost for cost in costs if cost != "bytes" and any(entry[cost] for entry in entries)]
    if not shown:
        return None
    data: list[dict[str, Any]] = []
    axes: dict[str, Any] = {}
    for number, cost in enumerate(shown):
        place = "" if number == 0 else str(number + 1)
        common = {"type": "scatter", "xaxis": f"x{place}", "yaxis": f"y{place}"}
        scale = printed.get(cost, 1.0)
        for family, accent in accents.items():
            own = [entry for entry in entries if entry["family"] == family and entry[cost]]
            if own:
                data.append(
                    {
                        **common,
                        **{"mode": "markers", "name": verdict.title(family), "legendgroup": family},
                        "x": [entry[cost] * scale for entry in own],
                        "y": [entry["validation_accuracy"] for entry in own],
                        **{"customdata": [entry["trial"] for entry in own], "showlegend": number == 0},
                        "marker": {
                            **{"size": 8, "color": accent},
                            "opacity": [1.0 if entry["status"] == FINISHED else 0.4 for entry in own],
                        },
                    }
                )
            if len(accents) > 1:
                data.append({**common, **_front(own, cost, scale, "family_front", accent), "legendgroup": family})
        data.append({**common, **_front(entries, cost, scale, "front", GREY)})
        known = [float(entry[cost]) * scale for entry in entries if entry[cost]]
        column, line, lines = number % 2, number // 2, -(-len(shown) // 2)
        across = [0.0, 1.0] if len(shown) == 1 else [0.0, 0.46] if column == 0 else [0.54, 1.0]
        height = (1 - GAP * (lines - 1)) / lines
        top = 1 - line * (height + GAP)
        # A head has a thousand parameters, a trunk millions: only a logarithm shows both.
        axes[f"xaxis{place}"] = _axis(costs[cost], domain=across, anchor=f"y{place}", type="log", **decades(known))
        axes[f"yaxis{place}"] = _axis(
            "", domain=[top - height, top], anchor=f"x{place}", tickformat=".0%", rangemode="tozero"
        )
    front = [entry for entry in entries if "seconds_per_epoch" in entry["front"]]
    drawn = verdict.plural(total, "trial") if len(entries) == total else f"{len(entries):,} of {total:,} trials"
    each = " and of each family in its colour" if len(accents) > 1 else ""
    return Figure(
        "Accuracy of every trial against its cost",
        f"Best validation accuracy of {drawn} against their cost. On the front by seconds per epoch: "
        + ", ".join(f"{entry['trial']} {verdict.percent(entry['validation_accuracy'])}" for entry in front[:12])
        + ".",
        f"{drawn}. Dotted: the Pareto front, of all trials in grey{each}. Pale points did not run their full budget.",
        data,
        _layout(
            360 if len(shown) < 3 else 600,
            showlegend=True,
            legend=LEGEND,
            margin={"l": 8, "r": 20, "t": 40, "b": 8},
            **axes,
        ),
    )


def _front(entries: Sequence[dict[str, Any]], cost: str, scale: float, name: str, tint: str) -> dict[str, Any]:
    front = sorted((entry for entry in entries if cost in entry[name]), key=lambda entry: float(entry[cost]))
    return {
        **{"mode": "lines", "showlegend": False, "hoverinfo": "skip"},
        "x": [entry[cost] * scale for entry in front],
        "y": [entry["validation_accuracy"] for entry in front],
        "line": {"color": tint, "dash": "dot", "width": 1.5, "shape": "hv"},
    }
