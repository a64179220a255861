"""Treatments and augmentations, each switched on against off."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

from results.analysis.numbers import mean_interval, observations, t95
from results.rows import Trial
from spaces import family_of


def switches(family: str, trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """Mean best validation accuracy with each treatment on and off, and the difference with its 95 % interval.

    Welch's interval for two means of unequal spread; None with fewer than two trials on a side. A treatment that was
    always on, or always off, is left out. The search chose what it tried together, so these are no controlled
    experiments.
    """
    seen = observations(trials)
    found = []
    for key, off in family_of(family).off.items():
        sides: dict[bool, list[float]] = {True: [], False: []}
        for config, accuracy in seen:
            if key in config:
                sides[config[key] != off].append(accuracy)
        if sides[True] and sides[False]:
            low, high = welch(sides[True], sides[False])
            difference = statistics.fmean(sides[True]) - statistics.fmean(sides[False])
            found.append(
                {
                    **{"treatment": key, "on": mean_interval(sides[True]), "off": mean_interval(sides[False])},
                    **{"difference": difference, "low": low, "high": high},
                }
            )
    return found


def welch(one: Sequence[float], other: Sequence[float]) -> tuple[float | None, float | None]:
    """The 95 % interval of the difference of two means (Welch 1947)."""
    if len(one) < 2 or len(other) < 2:
        return None, None
    parts = [statistics.variance(side) / len(side) for side in (one, other)]
    difference = statistics.fmean(one) - statistics.fmean(other)
    if sum(parts) == 0:
        return difference, difference
    freedom = sum(parts) ** 2 / sum(part**2 / (len(side) - 1) for part, side in zip(parts, (one, other), strict=True))
    half = t95(freedom) * math.sqrt(sum(parts))
    return difference - half, difference + half
