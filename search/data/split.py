"""The division of the pictures into train, validation and test."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.data.collecting import without_circles
from search.data.grouped import divide, shuffled
from search.data.label_sets import check_sides
from search.data.layout import MOST_NAMED, TEST, TRAIN, VALIDATION, leave_out, listed
from search.data.rare import HANDFUL, RareClassError
from search.data.stratified import stratify

FRACTIONS = (0.64, 0.16, 0.20)  # train, validation, test: a fifth for test, then a fifth of the rest for validation
# A validation side of the user's own is called small below so many pictures and below this share of train.
FEW_PICTURES, FEW_SHARE = 50, 0.05
Indices = NDArray[np.int64]
MUCH_LOST = 0.03  # share of a side that groups may cost without a warning
NEARLY, SAME_GROUP = "nearly the same picture", "a picture of the same group, or nearly the same one,"
WAY_OUT = " (--duplicates exact takes only the same bytes or pixels for copies, --duplicates off nothing)"


@dataclass(frozen=True)
class Split:
    """Indices of the pictures of each side, ascending."""

    train: Indices
    validation: Indices
    test: Indices
    notes: tuple[str, ...]  # what the report must say about how the sides came about
    removed: Indices  # copies taken out of the user's own sides, because another side holds them too


@without_circles()
def split_pictures(
    labels: NDArray[np.integer],
    groups: NDArray[np.integer],
    sides: Sequence[str | None] | None,
    classes: Sequence[str],
    fractions: tuple[float, float, float] = FRACTIONS,
    seed: int = 0,
    readable: NDArray[np.bool_] | None = None,
    grouped: bool = False,
) -> Split:
    """Divides pictures so that every class is spread alike and no group of duplicates is on two sides.

    `labels` and `groups` have one entry a picture; pictures that are not `readable` are on no side. `sides` is the
    user's own division (train, validation, test), None where there is none: it is kept, and a side that it lacks is cut
    from train. Of copies that cross the user's sides test keeps its own, then validation. The same arguments give the
    same split. `grouped` says that groups are more than copies: they may hold many pictures of several classes, and are
    divided by all of these. Of several labels a picture, 0/1 `labels` (n, labels), each is divided alike. Raises
    ValueError for fractions that divide nothing and for labels that a side lacks, RareClassError for too small classes.
    """
    if min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise ValueError(f"the fractions of train, validation and test must be positive and sum to 1, got {fractions}")
    usable = np.flatnonzero(readable) if readable is not None else np.arange(len(labels))
    random = np.random.default_rng(seed)
    notes: list[str] = []
    none = np.array([], dtype=np.int64)
    train_part, validation_part, test_part = fractions
    several = labels.ndim == 2
    told = np.unique(labels, axis=0, return_inverse=True)[1].reshape(-1) if several else labels
    torn = np.unique(np.stack([groups[usable], told[usable]]), axis=1).shape[1] - len(np.unique(groups[usable]))
    if torn and not grouped:
        kinds = "labels" if several else "classes"
        notes.append(f"nearly the same picture under different {kinds}: {torn}")

    def cut(pictures: Indices, *parts: tuple[str, float]) -> tuple[Indices, ...]:
        names, shares = [name for name, _ in parts], [share for _, share in parts]
        if several:
            return _cut_sets(pictures, labels, groups, shares, random)
        if grouped:
            return divide(pictures, labels, groups, classes, names, shares, random)
        return _cut(pictures, labels, groups, classes, names, shares, random)

    three = tuple(zip((TRAIN, VALIDATION, TEST), fractions, strict=True))
    if sides is None:
        train, validation, test = cut(usable, *three)
        if several:
            check_sides(labels, classes, train, validation, test, own=False)
        return Split(train, validation, test, tuple(notes), none)

    own = np.array(["" if side is None else side for side in sides])[usable]
    train, validation, test = usable[own == TRAIN], usable[own == VALIDATION], usable[own == TEST]
    train_copies = train[np.isin(groups[train], groups[np.concatenate([validation, test])])]
    validation_copies = validation[np.isin(groups[validation], groups[test])]
    for copies, side, elsewhere in (
        (train_copies, TRAIN, "validation or test"),
        (validation_copies, VALIDATION, "test"),
    ):
        if len(copies):
            why = f"{SAME_GROUP if grouped else NEARLY} is in {elsewhere}"
            much = "WARNING: " if grouped and len(copies) > MUCH_LOST * (own == side).sum() else ""
            notes.append(f"{much}{_pictures(len(copies))} of {side} left out: {why}")
    train, validation = np.setdiff1d(train, train_copies), np.setdiff1d(validation, validation_copies)

    if not len(test) and not len(validation):
        train, validation, test = cut(train, *three)
        notes.append("the folder has neither validation/ nor test/: both were cut from train")
    elif not len(test):
        train, test = cut(train, (TRAIN, 1 - test_part), (TEST, test_part))
        notes.append(f"the folder has no test/: {_pictures(len(test))}, {test_part:.0%} of train, were cut from it")
    elif not len(validation):
        part = validation_part / (train_part + validation_part)
        train, validation = cut(train, (TRAIN, 1 - part), (VALIDATION, part))
        notes.append(
            f"the folder has no validation/: {_pictures(len(validation))}, {part:.0%} of train, were cut from it"
        )
    if several:
        check_sides(labels, classes, train, validation, test, own=True)
    for side, pictures in () if several else ((TRAIN, train), (VALIDATION, validation), (TEST, test)):
        lacking = [name for label, name in enumerate(classes) if not (labels[pictures] == label).any()]
        if lacking:
            copied = labels[[*train_copies, *validation_copies]]
            lost = int(np.isin(copied, [classes.index(name) for name in lacking]).sum())
            message = (
                f"every class needs a readable picture of its own in {side}, and {listed(lacking)} "
                f"{'have' if len(lacking) > 1 else 'has'} none: cut the sides anew with --resplit, or leave the "
                f"class{'es' * (len(lacking) > 1)} out with {leave_out(lacking[:MOST_NAMED])}"
                + (f"; {_pictures(lost)} of that left out {_why_out(grouped)}" if lost else "")
            )
            found = {classes.index(name): int((labels[usable] == classes.index(name)).sum()) for name in lacking}
            raise RareClassError(message, found) if max(found.values()) < HANDFUL else ValueError(message)
    if (own == VALIDATION).any() and len(validation) < min(FEW_PICTURES, len(train) * FEW_SHARE):
        notes.append(
            f"validation has {_pictures(len(validation))} to {len(train)} of train: too few to tell configurations "
            "apart; --resplit cuts the sides anew"
        )
    return Split(train, validation, test, tuple(notes), np.sort(np.concatenate([train_copies, validation_copies])))


def _cut(
    pictures: Indices,
    labels: NDArray[np.integer],
    groups: NDArray[np.integer],
    classes: Sequence[str],
    sides: Sequence[str],
    fractions: Sequence[float],
    random: np.random.Generator,
) -> tuple[Indices, ...]:
    """Divides pictures, class by class and in whole groups, by the given fractions; no class lacks a side."""
    # A group that holds several classes counts as its commonest; large groups go first, while there is room for them.
    own = labels.tolist()
    queue = [(_main([own[picture] for picture in group]), group) for group in shuffled(pictures, groups, random)]
    queue.sort(key=lambda entry: len(entry[1]), reverse=True)
    waiting = np.bincount([main for main, _ in queue], minlength=len(classes)).tolist()
    few = [label for label, count in enumerate(waiting) if count < len(sides)]
    if few:
        told = [
            f"{waiting[label]} in `{classes[label]}`{_copied(int((labels[pictures] == label).sum()), waiting[label])}"
            for label in few
        ]
        more = f" and {len(told) - MOST_NAMED} more classes" if len(told) > MOST_NAMED else ""
        anew = "" if len(sides) == len(FRACTIONS) else ", cut all sides anew with --resplit"
        copied = any(int((labels[pictures] == label).sum()) > waiting[label] for label in few)
        raise RareClassError(
            f"needs at least {len(sides)} distinct readable pictures a class, one for each of {', '.join(sides)},"
            f" got {', '.join(told[:MOST_NAMED])}{more}{WAY_OUT if copied else ''}: add pictures, put these "
            f"into another class{anew}, or leave the class{'es' * (len(few) > 1)} out with --rare drop",
            {label: waiting[label] for label in few},
        )

    # Plain numbers: an array of a few sides costs more to ask than it holds, and there may be 100,000 groups.
    lacking = [_shares(int(count), fractions) for count in np.bincount(labels[pictures], minlength=len(classes))]
    empty = [set(range(len(sides))) for _ in classes]
    result: list[list[int]] = [[] for _ in sides]
    for main, group in queue:
        # The last groups of a class go where it has none yet, however little is wanted there.
        must = sorted(empty[main]) if 0 < waiting[main] <= len(empty[main]) else range(len(sides))
        side = max(must, key=lacking[main].__getitem__)
        result[side] += group
        for picture in group:
            lacking[own[picture]][side] -= 1
        empty[main].discard(side)
        waiting[main] -= 1
    return tuple(np.sort(np.array(side, dtype=np.int64)) for side in result)


def _cut_sets(
    pictures: Indices,
    labels: NDArray[np.integer],
    groups: NDArray[np.integer],
    fractions: Sequence[float],
    random: np.random.Generator,
) -> tuple[Indices, ...]:
    """Divides pictures of several labels each in whole groups, every label by the given fractions."""
    own = labels[pictures].astype(np.int64)
    few = len(fractions)  # a label of fewer pictures cannot be on every side, and is refused
    wanted = [
        _shares(count, fractions) if count >= few else [count] + [0] * (few - 1) for count in own.sum(axis=0).tolist()
    ]
    sizes = [len(pictures) * fraction for fraction in fractions]
    side = stratify(own, groups[pictures], list(zip(*wanted, strict=True)), sizes, random)
    return tuple(np.sort(pictures[side == number]) for number in range(len(fractions)))


def _shares(count: int, fractions: Sequence[float]) -> list[int]:
    """Whole numbers that sum to `count` and are nearest to its fractions (largest remainders), none of them 0."""
    exact = [count * fraction for fraction in fractions]
    shares = [int(share) for share in exact]
    for index in sorted(range(len(exact)), key=lambda index: shares[index] - exact[index])[: count - sum(shares)]:
        shares[index] += 1
    while 0 in shares:
        shares[shares.index(max(shares))] -= 1
        shares[shares.index(0)] += 1
    return shares


def distinct_pictures(
    labels: NDArray[np.integer], groups: NDArray[np.integer], readable: NDArray[np.bool_], classes: int
) -> list[int]:
    """How many readable pictures each class has that are no copies of each other."""
    usable = np.flatnonzero(readable & (labels >= 0))
    mains: dict[int, list[int]] = {}
    for group, label in zip(groups[usable].tolist(), labels[usable].tolist(), strict=True):
        mains.setdefault(group, []).append(label)
    found = np.bincount([_main(of) for of in mains.values()], minlength=classes)
    return [int(count) for count in found]


def _main(labels: Sequence[int]) -> int:
    """The commonest label, of several the lowest."""
    return labels[0] if len(labels) == 1 else int(np.bincount(labels).argmax())


def _why_out(grouped: bool) -> str:
    return "with groups that cross the sides (--group-column none ignores groups)" if grouped else f"as copies{WAY_OUT}"


def _copied(pictures: int, groups: int) -> str:
    return f" (its {_pictures(pictures)} are copies of each other)" if pictures > groups else ""


def _pictures(count: int) -> str:
    return "1 picture" if count == 1 else f"{count} pictures"
