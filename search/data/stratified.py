"""Iterative stratification: several labels a picture, each divided alike (Sechidis, Tsoumakas and Vlahavas, 2011).

The label that fewest of the pictures left have is dealt with first: as long as there is room for it, it goes where most
of it is wanted. Here whole groups are placed, so that copies stay on one side.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from search.data.grouped import Part, fill, shuffled

Indices = NDArray[np.int64]


def stratify(
    labels: Indices,
    groups: NDArray[np.integer],
    wanted: Sequence[Sequence[float]],
    sizes: Sequence[float],
    random: np.random.Generator,
) -> Indices:
    """The side of each picture (n,), by 0/1 labels (n, labels) and the group of each; `random` decides what is equal.

    `wanted` says how many pictures of each label every side is to have (sides, labels), and `sizes` how many in all.
    The last groups of a label go to the sides that have none of it, and groups are moved where a side lacks one still.
    Of the sides that want as much of a label, that with most room is taken; pictures without a label go where most room
    is left.
    """
    units = shuffled(np.arange(len(labels)), groups, random)
    units.sort(key=len, reverse=True)
    counts_of = [_counts(labels[unit].sum(axis=0)) for unit in units]
    lacking = [list(side) for side in wanted]
    room = list(sizes)
    number = labels.shape[1]
    holders: list[list[int]] = [[] for _ in range(number)]
    for unit, own in enumerate(counts_of):
        for label, _ in own:
            holders[label].append(unit)
    left = [len(units_of) for units_of in holders]  # groups of each label that are not placed
    empty = [set(range(len(sizes))) for _ in range(number)]  # sides without the label
    placed = [-1] * len(units)

    def put(unit: int, side: int) -> None:
        placed[unit] = side
        room[side] -= len(units[unit])
        for label, count in counts_of[unit]:
            lacking[side][label] -= count
            left[label] -= 1
            empty[label].discard(side)

    while any(left):
        label = min((one for one in range(number) if left[one]), key=left.__getitem__)
        for unit in holders[label]:
            if placed[unit] < 0:
                must = sorted(empty[label]) if left[label] <= len(empty[label]) else range(len(sizes))
                put(unit, max(must, key=lambda side: (lacking[side][label], room[side])))
    for unit in range(len(units)):
        if placed[unit] < 0:
            put(unit, max(range(len(sizes)), key=room.__getitem__))
    _fill(units, counts_of, placed, lacking, labels)
    found = np.empty(len(labels), np.int64)
    for rows, side in zip(units, placed, strict=True):
        found[rows] = side
    return found


def _fill(
    units: Sequence[list[int]],
    counts_of: Sequence[list[tuple[int, int]]],
    placed: list[int],
    lacking: Sequence[Sequence[float]],
    labels: Indices,
) -> None:
    """Moves groups until every label is on every side, as far as that goes."""
    parts = [
        Part(unit, *(np.array([one[place] for one in own], np.int64) for place in (0, 1)))
        for unit, own in zip(units, counts_of, strict=True)
    ]
    holders = np.zeros((len(lacking), labels.shape[1]), np.int64)
    for part, side in zip(parts, placed, strict=True):
        holders[side, part.classes] += 1
    # A label of fewer groups than there are sides keeps no other from being moved.
    holders[:, holders.sum(axis=0) < len(lacking)] = len(units)
    total = np.maximum(labels.sum(axis=0), 1).astype(np.float64)
    fill(parts, placed, holders, -np.array(lacking, np.float64), total)


def _counts(having: Indices) -> list[tuple[int, int]]:
    """Each label that a group has, and how many of its pictures."""
    own = np.flatnonzero(having)
    return list(zip(own.tolist(), having[own].tolist(), strict=True))


def label_folds(labels: Indices, groups: Indices, count: int, *, seed: int) -> Indices:
    """The fold, from 0 to `count` - 1, of every picture (n,), each label as often in each of them."""
    share = labels.sum(axis=0) / count
    wanted = [share.tolist()] * count
    return stratify(labels, groups, wanted, [len(labels) / count] * count, np.random.default_rng(seed))
