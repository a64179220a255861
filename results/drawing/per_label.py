"""Figures of several labels a picture: how well each is ranked, and which are added where others are missed."""

from collections.abc import Sequence
from typing import Any

from results.analysis import verdict
from results.drawing.figures import MOST_CLASSES, Figure, _axis, _layout, dots, faded, label


def precisions(judged: dict[str, list[dict[str, Any]]], order: Sequence[str], accents: dict[str, str]) -> Figure:
    """Average precision of each label in each family, the lowest of the first family on top; at most 40 labels."""
    shown = list(order)[:MOST_CLASSES]
    cut = f" The {MOST_CLASSES} lowest of {len(order)} labels." if len(order) > len(shown) else ""
    return Figure(
        "Average precision by label",
        "Average precision on test of each label and family; the table of labels gives the winner's." + cut,
        "How far up the pictures with a label stand among all test pictures by its probability: 100 % where none "
        "without it comes before them. Mean over seeds." + cut,
        *dots(judged, shown, accents, "average_precision"),
    )


def together(family: str, pairs: Sequence[dict[str, Any]], names: Sequence[str], accent: str) -> Figure | None:
    """On how many pictures a label is added where another is missed; None where that never happens."""
    if not pairs:
        return None
    own = [name for name in names if any(name in (pair["missed"], pair["added"]) for pair in pairs)][:MOST_CLASSES]
    places = list(range(len(own)))
    counts = {(pair["missed"], pair["added"]): pair["pictures"] for pair in pairs}
    grid = [[counts.get((one, other), 0) for other in own] for one in own]
    shown = [label(name) for name in own]
    first = pairs[0]
    return Figure(
        "Mistakes together",
        f"Labels that {verdict.title(family)} adds on test pictures where it misses another; most often "
        f"{first['added']} in the place of {first['missed']}, {verdict.plural(first['pictures'], 'time')}.",
        "Rows: the label that was missed. Columns: the label that was added on the same picture. All seeds together.",
        [
            {
                **{"type": "heatmap", "z": grid, "x": places, "y": places, "showscale": False, "xgap": 1, "ygap": 1},
                **{"zmin": 0, "colorscale": [[0, faded(accent, 0.06)], [1, accent]]},
                "text": [[f"{shown[i]} missed, {shown[j]} added: {grid[i][j]}" for j in places] for i in places],
                "hovertemplate": "%{text}<extra></extra>",
            }
        ],
        _layout(
            min(760, 190 + 30 * len(own)),
            xaxis=_axis("", tickangle=-45, showgrid=False, tickvals=places, ticktext=shown),
            yaxis=_axis("", autorange="reversed", showgrid=False, tickvals=places, ticktext=shown),
        ),
    )
