"""The figures of report.md as PNG files, drawn with Pillow: a chat and a pull request show no scripts."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from results.analysis import numbers, verdict
from results.analysis.metrics import METRICS
from results.drawing import figures
from results.drawing.svg import ticks
from results.markup import write_aside
from results.rows import Rows

# Drawn at twice the size and made smaller: Pillow's lines have no smooth edges of their own.
SCALE = 2
WIDTH, HEIGHT = 860, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 20, 64, 48
INK, SOFT, RULE, PAPER = "#1b1e24", "#565d69", "#e3e1dc", "#ffffff"
MOST_FAINT = 60
SHEET_SIDE, SHEET_COLUMNS = 120, 6  # of a contact sheet


@dataclass(frozen=True)
class Line:
    """Points to be joined, straight or in steps."""

    name: str  # in the legend; empty for none
    colour: str
    points: Sequence[tuple[float, float]]
    stepped: bool = False
    width: float = 2.5
    faint: bool = False


def draw_plates(folder: Path, summary: dict[str, Any], rows: Rows) -> list[tuple[str, str]]:
    """Write the PNG figures of a run into a folder; (file name, what it shows) of each, in the order of the report."""
    families = list(summary["families"])
    accents = {family: figures.colour(family, families) for family in families}
    drawn: list[tuple[str, str, Image.Image]] = []
    lines = []
    for family in families:
        steps = numbers.best_so_far(rows.of(family))
        if steps:
            end = max(trial.last for trial in rows.of(family)) / 60
            points = [(step["time"] / 60, step["score"]) for step in steps]
            lines.append(Line(verdict.title(family), accents[family], [*points, (end, points[-1][1])], stepped=True))
    # The scale of these plates ends at 1.
    if lines and not METRICS[summary["metric"]].minimised:
        title = f"Best validation {verdict.called(summary['metric'])} so far"
        drawn.append(("best.png", f"{title}, by minutes into the run", plot(title, "minutes into the run", lines)))
    scored = [(family, record["test"]) for family, record in summary["families"].items() if record["test"]]
    if scored:
        picture = intervals("Test accuracy, 95 % interval and each seed", scored, accents)
        drawn.append(("test.png", "Test accuracy of each family with its 95 % interval", picture))
    for family in families:
        trained = [trial for trial in rows.of(family) if trial.curve]
        best = (summary["families"][family]["best"] or {}).get("trial")
        base = numbers.baseline_name(family)
        kept = numbers.sample(trained, MOST_FAINT, (best, base))
        # The two that have a name are drawn last, above the others.
        kept.sort(key=lambda trial: (trial.name == base, trial.name == best))
        curves = [
            Line(
                "best" if trial.name == best else "baseline" if trial.name == base else "",
                figures.GREY if trial.name == base and trial.name != best else accents[family],
                [
                    (row["epoch"], row["validation_accuracy"])
                    for row in trial.curve
                    if row["validation_accuracy"] is not None
                ],
                width=3.0 if trial.name in (best, base) else 1.5,
                faint=trial.name not in (best, base),
            )
            for trial in kept
        ]
        if any(curve.points for curve in curves):
            title = f"Validation accuracy by epoch: {verdict.title(family)}"
            drawn.append((f"curves-{family}.png", title, plot(title, "epoch", curves)))
    curves = [
        Line(
            verdict.title(family), accents[family],
            [(point["coverage"], point["accuracy"]) for point in record["doubt"]["curve"]],
        )
        for family, record in summary["families"].items()
        if record.get("doubt")
    ]  # fmt: skip
    if curves:
        title = "Accuracy of the surest answers on test"
        drawn.append(("coverage.png", f"{title}, by the share answered", plot(title, "share answered", curves)))
    shown = [entry for entry in (summary["doubts"]["labels"] or {"found": []})["found"] if entry["picture"]]
    sheet = contact_sheet("The likeliest wrong labels", folder.parent / "doubts", shown)
    if sheet is not None:
        drawn.append(("labels.png", "The pictures whose labels are likeliest wrong", sheet))
    if drawn:
        folder.mkdir(exist_ok=True)
    for name, _, picture in drawn:
        content = BytesIO()
        picture.save(content, "PNG", optimize=True)
        write_aside(folder / name, content.getvalue())
    return [(name, said) for name, said, _ in drawn]


def plot(title: str, axis: str, lines: Sequence[Line]) -> Image.Image:
    """Shares against a number that starts at 0."""
    points = [point for line in lines for point in line.points]
    plate = _Plate(title, max((x for x, _ in points), default=1.0), max((y for _, y in points), default=1.0), HEIGHT)
    plate.grid(axis)
    for line in lines:
        path = [plate.place(x, y) for x, y in line.points]
        if line.stepped:
            path = [corner for one, two in pairwise(path) for corner in (one, (two[0], one[1]))] + path[-1:]
        colour = _faded(line.colour) if line.faint else line.colour
        if len(path) > 1:
            plate.pen.line(path, fill=colour, width=round(line.width * SCALE), joint="curve")
        elif path:
            (x, y), radius = path[0], 1.5 * line.width * SCALE
            plate.pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    plate.legend({line.name: line.colour for line in lines if line.name})
    return plate.done()


def intervals(title: str, scored: Sequence[tuple[str, dict[str, Any]]], accents: dict[str, str]) -> Image.Image:
    """A mean with its interval and its seeds, one line for each family."""
    plate = _Plate(title, 1.0, 1.0, TOP + BOTTOM + 64 * len(scored), left=190)
    plate.columns()
    for place, (family, test) in enumerate(scored):
        y = SCALE * (TOP + 64 * place + 32)
        accent = accents[family]
        plate.text((SCALE * 16, y), verdict.title(family), INK, "lm")
        if test["low"] is not None:
            plate.pen.line(
                [(plate.place(test["low"], 0)[0], y), (plate.place(test["high"], 0)[0], y)], accent, 3 * SCALE
            )
        for seed in test["seeds"]:
            x = plate.place(seed["accuracy"], 0)[0]
            plate.pen.line([(x, y - 9 * SCALE), (x, y + 9 * SCALE)], figures.GREY, 2 * SCALE)
        x = plate.place(test["accuracy"], 0)[0]
        plate.pen.ellipse((x - 7 * SCALE, y - 7 * SCALE, x + 7 * SCALE, y + 7 * SCALE), fill=accent)
        plate.text((x, y - 20 * SCALE), verdict.percent(test["accuracy"]), INK, "mm")
    return plate.done()


def contact_sheet(title: str, folder: Path, entries: Sequence[dict[str, Any]]) -> Image.Image | None:
    """Pictures of a folder six a row, each with the given label and the likelier one; None where none can be read."""
    pictures = []
    for entry in entries:
        try:
            with Image.open(folder / entry["picture"], formats=["JPEG"]) as opened:
                pictures.append((entry, opened.convert("RGB").resize((SHEET_SIDE * SCALE, SHEET_SIDE * SCALE))))
        except (OSError, ValueError, SyntaxError):
            continue
    if not pictures:
        return None
    high = SHEET_SIDE + 60
    plate = _Plate(title, 1.0, 1.0, TOP + -(-len(pictures) // SHEET_COLUMNS) * high)
    for place, (entry, picture) in enumerate(pictures):
        down, across = divmod(place, SHEET_COLUMNS)
        left, top = SCALE * (16 + across * (WIDTH - 32) // SHEET_COLUMNS), SCALE * (TOP - 16 + down * high)
        plate.image.paste(picture, (left, top))
        named = [figures.label(entry[key], 17) for key in ("given", "suggested")]
        told = ((named[0], SOFT), (named[1], INK), (verdict.percent(entry["probability"], 0), INK))
        for line, (words, ink) in enumerate(told):
            plate.text((left, top + SCALE * (SHEET_SIDE + 8 + 15 * line)), html.unescape(words), ink, "lm", size=12)
    return plate.done()


class _Plate:
    """A sheet with a title, and the place of numbers on it."""

    def __init__(self, title: str, right: float, top: float, height: int, left: int = LEFT) -> None:
        self.right, self.top, self.height, self.left = right or 1.0, min(1.0, top * 1.08) or 1.0, height, left
        self.image = Image.new("RGB", (WIDTH * SCALE, height * SCALE), PAPER)
        self.pen = ImageDraw.Draw(self.image)
        self.text((SCALE * 16, SCALE * 22), title, INK, "lm", size=17)

    def place(self, x: float, y: float) -> tuple[float, float]:
        across = self.left + x / self.right * (WIDTH - self.left - RIGHT)
        return SCALE * across, SCALE * (self.height - BOTTOM - y / self.top * (self.height - TOP - BOTTOM))

    def text(self, at: tuple[float, float], words: str, colour: str, anchor: str, size: int = 14) -> None:
        self.pen.text(at, words, colour, ImageFont.load_default(size * SCALE), anchor=anchor)

    def grid(self, axis: str) -> None:
        for y in ticks(0, self.top):
            self.pen.line([self.place(0, y), self.place(self.right, y)], RULE, SCALE)
            self.text((self.place(0, y)[0] - 8 * SCALE, self.place(0, y)[1]), f"{100 * y:.0f} %", SOFT, "rm")
        for x in ticks(0, self.right, 8):
            self.text((self.place(x, 0)[0], self.place(x, 0)[1] + 14 * SCALE), f"{x:,g}", SOFT, "mm")
        self.text((SCALE * (WIDTH - RIGHT), SCALE * (self.height - 12)), axis, SOFT, "rm")

    def columns(self) -> None:
        for x in ticks(0, 1.0, 5):
            self.pen.line([self.place(x, 0), self.place(x, 1)], RULE, SCALE)
            self.text((self.place(x, 0)[0], self.place(x, 0)[1] + 14 * SCALE), f"{100 * x:.0f} %", SOFT, "mm")

    def legend(self, names: dict[str, str]) -> None:
        x = float(SCALE * self.left)
        for name, colour in names.items():
            self.pen.rounded_rectangle((x, SCALE * 42, x + 14 * SCALE, SCALE * 48), 3 * SCALE, fill=colour)
            self.text((x + 20 * SCALE, SCALE * 45), name, SOFT, "lm")
            x += 44 * SCALE + self.pen.textlength(name, ImageFont.load_default(14 * SCALE))

    def done(self) -> Image.Image:
        return self.image.resize((WIDTH, self.height), Image.Resampling.LANCZOS)


def _faded(colour: str) -> str:
    parts = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return "#" + "".join(f"{round(255 - 0.35 * (255 - part)):02x}" for part in parts)
