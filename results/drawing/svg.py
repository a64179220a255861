"""Small still drawings inside a page, for the pages that must stay light: no plotting library, no script."""

import math
from collections.abc import Sequence
from html import escape
from itertools import pairwise
from typing import Any

WIDTH, HEIGHT = 640, 260
LEFT, BOTTOM, TOP, RIGHT = 44, 30, 8, 10


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers that span low to high, at most about `most` of them."""
    span = high - low
    if span <= 0:
        return [low]
    step = 10 ** math.floor(math.log10(span / most))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= most)
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 10) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def steps(
    series: Sequence[tuple[str, str, Sequence[tuple[float, float]]]], axis: str, alt: str, *, share: bool = True
) -> str:
    """Shares, or other numbers from 0, against a number that starts at 0.

    One line of steps is drawn for each (name, colour, points).
    """
    points = [point for _, _, line in series for point in line]
    right = max((x for x, _ in points), default=1.0) or 1.0
    upper = max((y for _, y in points), default=1.0)
    top = min(1.0, math.ceil(upper * 10 + 0.3) / 10) if share else upper
    frame = _Frame(right, top)
    drawn = [frame.grid(axis, [f"{100 * y:.0f} %" if share else f"{y:g}" for y in ticks(0, top)])]
    for name, colour, line in series:
        if line:
            path = f"M{frame.x(line[0][0])} {frame.y(line[0][1])}"
            path += "".join(f"H{frame.x(x)}V{frame.y(y)}" for x, y in line[1:])
            drawn.append(
                f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2.5"><title>{_text(name)}</title></path>'
            )
    return _svg(WIDTH, HEIGHT, alt, "".join(drawn))


def scatter(points: Sequence[tuple[float, float]], axes: tuple[str, str], alt: str, colour: str) -> str:
    """Points of two numbers that start at 0."""
    frame = _Frame(max((x for x, _ in points), default=1.0), max((y for _, y in points), default=1.0))
    dots = "".join(f'<circle cx="{frame.x(x)}" cy="{frame.y(y)}" r="2.5"/>' for x, y in points)
    names = [f"{y:,g}" for y in ticks(0, frame.top)]
    head = f'<text x="0" y="{TOP + 4}" class="axis">{_text(axes[1])}</text>'
    return _svg(
        WIDTH, HEIGHT, alt, f'{frame.grid(axes[0], names)}{head}<g fill="{colour}" fill-opacity=".4">{dots}</g>'
    )


def histogram(bins: Sequence[tuple[float, float, int]], axis: str, alt: str, colour: str) -> str:
    """Counts of (low, high, count) as bars over a number."""
    low, high = bins[0][0], bins[-1][1]
    frame = _Frame(high, max(1, *(count for _, _, count in bins)), low)
    bars = "".join(
        f'<rect x="{frame.x(start) + 1}" width="{max(1.0, frame.x(end) - frame.x(start) - 2):.1f}" '
        f'y="{frame.y(count)}" height="{frame.y(0) - frame.y(count):.1f}">'
        f"<title>{start:g} to {end:g}: {count:,}</title></rect>"
        for start, end, count in bins
    )
    return _svg(
        WIDTH, HEIGHT, alt, f'{frame.grid(axis, [f"{y:,g}" for y in ticks(0, frame.top)])}<g fill="{colour}">{bars}</g>'
    )


def channels(levels: Sequence[Sequence[float]], alt: str) -> str:
    """Histograms of red, green and blue over each other, without axes."""
    most = max((share for channel in levels for share in channel), default=0.0) or 1.0
    drawn = []
    for channel, colour in zip(levels, ("#d1453b", "#3f9a4d", "#3b6fd6"), strict=True):
        width = 128 / max(1, len(channel))
        line = "".join(
            f"L{place * width + width / 2:.1f} {40 - 38 * share / most:.1f}" for place, share in enumerate(channel)
        )
        drawn.append(
            f'<path d="M0 40{line}L128 40Z" fill="{colour}" fill-opacity=".35" stroke="{colour}" stroke-width="1"/>'
        )
    return _svg(128, 40, alt, "".join(drawn))


class _Frame:
    """The place of numbers on the drawing."""

    def __init__(self, right: float, top: float, left: float = 0.0) -> None:
        self.left, self.right, self.top = left, right if right > left else left + 1, top if top > 0 else 1.0

    def x(self, value: float) -> float:
        share = (value - self.left) / (self.right - self.left)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        return round(HEIGHT - BOTTOM - value / self.top * (HEIGHT - BOTTOM - TOP), 1)

    def grid(self, axis: str, names: Sequence[str]) -> str:
        lines: list[str] = []
        for y, name in zip(ticks(0, self.top), names, strict=True):
            lines.append(f'<path d="M{LEFT} {self.y(y)}H{WIDTH - RIGHT}" class="rule"/>')
            lines.append(f'<text x="{LEFT - 6}" y="{self.y(y) + 4}" text-anchor="end">{_text(name)}</text>')
        places = ticks(self.left, self.right)
        for x in places:
            lines.append(f'<text x="{self.x(x)}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{x:,g}</text>')
        lines.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 2}" text-anchor="end" class="axis">{_text(axis)}</text>')
        return "".join(lines)


def bins(values: Sequence[float], most: int = 24) -> list[tuple[float, float, int]]:
    """Counts of values in bins of one round width: (low, high, count)."""
    if not values:
        return []
    low, high = min(values), max(values)
    places = ticks(low, high, most)
    width = round(places[1] - places[0], 10) if len(places) > 1 else 1.0
    first = math.floor(low / width + 1e-9)
    edges = [
        round((first + place) * width, 10) for place in range(math.floor((high - first * width) / width + 1e-9) + 2)
    ]
    counts = [0] * (len(edges) - 1)
    for value in values:
        counts[min(len(counts) - 1, math.floor((value - edges[0]) / width + 1e-9))] += 1
    return [(start, end, count) for (start, end), count in zip(pairwise(edges), counts, strict=True)]


def _svg(width: int, height: int, alt: str, inner: str) -> str:
    return f'<svg class="still" role="img" aria-label="{_text(alt)}" viewBox="0 0 {width} {height}">{inner}</svg>'


def _text(words: Any) -> str:
    return escape(str(words))
