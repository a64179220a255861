"""Groups that never cross the split: copies of one picture, and what a table says belongs together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.data.layout import MOST_NAMED, leave_out, listed

Indices = NDArray[np.int64]
ROUNDS = 20  # of moving groups to where a class has none, for each class and side


def joined(copies: Indices, told: Sequence[str]) -> Indices:
    """The groups of pictures once copies and groups of one name are put together, each named by its first picture.

    `copies` has the group of copies of each picture, `told` the name of its group, empty for none. Whatever two groups
    share a picture, or copies of one, become a single group, however long the chain.
    """
    parents = np.arange(len(copies)).tolist()

    def first(member: int) -> int:
        while parents[member] != member:
            parents[member] = member = parents[parents[member]]
        return int(member)

    seen: dict[str, int] = {}
    for picture, (copy, name) in enumerate(zip(copies.tolist(), told, strict=True)):
        others = (copy, seen.setdefault(name, picture)) if name else (copy,)
        for other in others:
            low, high = sorted((first(other), first(picture)))
            parents[high] = low
    return np.array([first(picture) for picture in range(len(parents))], np.int64)


def shuffled(pictures: Indices, groups: NDArray[np.integer], random: np.random.Generator) -> list[list[int]]:
    """The pictures of each group, groups and pictures in an order that is drawn."""
    members: dict[int, list[int]] = {}
    for picture in random.permutation(pictures).tolist():
        members.setdefault(int(groups[picture]), []).append(picture)
    return list(members.values())


@dataclass(frozen=True)
class Part:
    """One group, as the division sees it."""

    pictures: list[int]
    classes: Indices  # labels that it has
    counts: Indices  # pictures of each of them


def divide(
    pictures: Indices,
    labels: NDArray[np.integer],
    groups: NDArray[np.integer],
    classes: Sequence[str],
    sides: Sequence[str],
    fractions: Sequence[float],
    random: np.random.Generator,
) -> tuple[Indices, ...]:
    """Divides pictures in whole groups, every class by the given fractions as near as its groups allow.

    The largest groups first, each goes where it brings the shares of its classes nearest to what is wanted. Then groups
    are moved until every class is on every side. Raises ValueError where a class has too few groups for that.
    """
    members = shuffled(pictures, groups, random)
    parts = [
        Part(rows, *np.unique(labels[rows], return_counts=True)) for rows in sorted(members, key=len, reverse=True)
    ]
    holding = np.zeros(len(classes), np.int64)
    for part in parts:
        holding[part.classes] += 1
    few = [label for label in range(len(classes)) if holding[label] < len(sides)]
    if few:
        raise ValueError(_too_few(few, holding, classes, sides))
    total = np.bincount(labels[pictures], minlength=len(classes)).astype(np.float64)
    have = -np.outer(fractions, total)  # pictures of each side and class beyond what is wanted
    holders = np.zeros((len(sides), len(classes)), np.int64)
    placed = []
    for part in parts:
        own = have[:, part.classes]
        gain = ((own + part.counts) ** 2 - own**2) / total[part.classes] ** 2
        side = int(gain.sum(axis=1).argmin())
        placed.append(side)
        have[side, part.classes] += part.counts
        holders[side, part.classes] += 1
    fill(parts, placed, holders, have, total)
    lacking = np.argwhere(holders == 0)
    if len(lacking):
        side, label = (int(value) for value in lacking[0])
        raise ValueError(
            f"needs groups of pictures that can be divided so that every class is in {listed(sides)}, and "
            f"`{classes[label]}` would have none in {sides[side]}, since its groups hold the last pictures of other "
            f"classes there too: leave the class out with {leave_out([classes[label]])}, or ignore the groups with "
            "--group-column none"
        )
    return tuple(
        np.sort(np.array([row for part, at in zip(parts, placed, strict=True) if at == side for row in part.pictures],
                         dtype=np.int64))
        for side in range(len(sides))
    )  # fmt: skip


def fill(
    parts: Sequence[Part],
    placed: list[int],
    holders: Indices,
    have: NDArray[np.float64],
    total: NDArray[np.float64],
) -> None:
    """Moves groups until every class is on every side, as far as that goes.

    No move takes the last group of a class from a side. `placed` has the side of each group, `holders` how many groups
    and `have` how many pictures beyond what is wanted each side has of each class.
    """
    for _ in range(ROUNDS * holders.size):
        lacking = np.argwhere(holders == 0)
        if not len(lacking):
            return
        side, label = (int(value) for value in lacking[0])
        best, best_cost = -1, np.inf
        for place, part in enumerate(parts):
            at = placed[place]
            # A class that has no group on its own side any more would only be the next that lacks one.
            if at == side or label not in part.classes or (holders[at, part.classes] < 2).any():
                continue
            to, off = have[side, part.classes], have[at, part.classes]
            change = (to + part.counts) ** 2 - to**2 + (off - part.counts) ** 2 - off**2
            cost = float((change / total[part.classes] ** 2).sum())
            if cost < best_cost:
                best, best_cost = place, cost
        if best < 0:
            break
        part, at = parts[best], placed[best]
        have[at, part.classes] -= part.counts
        holders[at, part.classes] -= 1
        have[side, part.classes] += part.counts
        holders[side, part.classes] += 1
        placed[best] = side


def _too_few(few: Sequence[int], holding: Indices, classes: Sequence[str], sides: Sequence[str]) -> str:
    told = [f"{holding[label]} in `{classes[label]}`" for label in few]
    more = f" and {len(told) - MOST_NAMED} more classes" if len(told) > MOST_NAMED else ""
    names = leave_out([classes[label] for label in few[:MOST_NAMED]])
    return (
        f"needs at least {len(sides)} groups of readable pictures a class, one for each of {', '.join(sides)}, since "
        f"no group may be on two sides, got {', '.join(told[:MOST_NAMED])}{more}: add groups, leave the "
        f"class{'es' * (len(few) > 1)} out with {names}, or ignore the groups with --group-column none"
    )
