"""Groups of pictures that are one picture: its copies, saved again, resized, brightened, cropped or mirrored.

Each picture's thumbnail is compared with those nearest to it, once what they all have in common is taken away: the part
under a fixed camera, the form that is filled in, the shape of a digit. What is left agrees in copies alone.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.settings import DUPLICATES

NEAR, EXACT, OFF = DUPLICATES
SIDE = 32  # pixels of a thumbnail
COARSE = 8  # pixels of its coarse version, which proposes pairs
PROPOSED, MIRRORED = 8, 2  # nearest pictures that each is compared with, and nearest ones to its mirror image
# What a picture has in common with others is the mean of its 9th to 24th nearest: those before may be its copies. Where
# more are equally alike, they are no copies but one kind of picture.
NEIGHBOURS = (9, 24)
# One picture is what agrees more than chance brings about in the set: USUAL times the median of the pictures' third
# best agreements (copies may be the first two) on Fisher's scale, within these bounds. In photographs of dogs that
# median is 0.18, the lower bound decides, and all pairs down to 0.85 show one dog in one place. In 1,797 handwritten
# digits, none of them a copy, it is 0.39, and agreements up to 0.95 occur.
AGREEMENT = (0.90, 0.98)
USUAL = 6.5
# Where pictures have less than this of their own, of 1, two scratches close to each other agree well: the upper bound.
OWN = 0.1
FEW = 50  # pictures, below which the upper bound decides
WORTH_ALIGNING = (0.5, 0.3)  # coarse and fine agreement of pairs that are laid over each other, in case one is cropped
MOST_CROPPED = 0.2  # of a side
STEPS = ((SIDE // 2, 4), (SIDE, 3))  # of laying over: pixels, steps
ROUNDS = 3  # in which copies of copies are compared
# Grey levels of deviation from an even slope, below which there is too little to see: the same bytes or pixels decide.
FLAT = 2.0
COLOURED, SAME_COLOURS = 8.0, 0.1  # levels of colour from which a pair's colours count, and their least cosine
# Share of pictures that may be copies before the rule is doubted and not applied: one copy of each is half. Of fewer
# pictures it says nothing.
MOST_ALIKE, FEW_TO_DOUBT = 0.5, 10
BLOCK = 256  # pairs or pictures worked on at a time
ROWS = 64  # pictures compared with all others at a time: some 5 megabytes for 20,000 pictures
PARTS = 20  # of such a row, whose highest values are found first
# From so many pictures on each is compared with those in the cells around it alone: cells of about so many pictures,
# and how many of them.
MANY, CELL, AROUND = 25_000, 256, 12

Indices = NDArray[np.int64]
Floats = NDArray[np.float32]
Thumbnails = NDArray[np.uint8]


@dataclass(frozen=True)
class Likeness:
    """The group of each picture: the index of the group's first picture."""

    groups: Indices  # what a split keeps together
    identical: Indices  # pictures of the same bytes or pixels alone, whatever the rule
    doubted: int = 0  # pictures that near likeness would have tied to others, where they were too many to be believed


def find_duplicates(
    digests: Sequence[str], pixels: NDArray[np.uint64], thumbnails: Thumbnails, rule: str = NEAR
) -> Likeness:
    """Groups pictures by a rule: `near`, `exact` (the same bytes or pixels), or `off`, by which each is a group.

    `pixels` (pictures, 2) are digests of what was decoded, 0 where that failed; `thumbnails` are (pictures, 32, 32, 3).
    Near groups never chain: each holds one picture and what is like that one. Memory and time grow with the pictures,
    time with their square up to `MANY`.
    """
    everything = np.arange(len(digests))
    identical = _identical(digests, pixels)
    if rule == OFF:
        return Likeness(everything, identical)
    distinct = np.flatnonzero((identical == everything) & pixels.any(axis=1))
    if rule == EXACT or len(distinct) < 2:
        return Likeness(identical, identical)
    pairs = alike(thumbnails[distinct])
    groups = everything.copy()
    groups[distinct] = distinct[stars(len(distinct), pairs)]
    followers = int((groups[distinct] != distinct).sum())
    if followers > MOST_ALIKE * len(distinct) and len(distinct) >= FEW_TO_DOUBT:
        return Likeness(identical, identical, followers)
    return Likeness(groups[identical], identical)


def alike(thumbnails: Thumbnails) -> list[tuple[int, int]]:
    """The pairs of thumbnails (pictures, 32, 32, 3) that show one picture, the lower index first."""
    seen = np.flatnonzero(_in_blocks(thumbnails, lambda some: _detail(_grey(some))) >= FLAT)
    if len(seen) < 2:
        return []
    sight = Sight(thumbnails if len(seen) == len(thumbnails) else thumbnails[seen])
    pairs = sight.proposed()
    agreement = sight.agreement(pairs)
    needed = _needed(len(seen), pairs, agreement[1]) if sight.own() >= OWN else AGREEMENT[1]
    found = pairs[sight.alike(pairs, agreement, needed)]
    for _ in range(ROUNDS):
        # Of many copies each has others nearest: what is like the same picture is compared as well.
        more = _second(found, pairs)
        pairs = np.concatenate([pairs, more])
        found = np.concatenate([found, more[sight.alike(more, sight.agreement(more), needed)]])
    return sorted({(one, other) for one, other in seen[found[:, :2]].tolist()})


class Sight:
    """The thumbnails of a set, and what each of them has in common with others.

    Each is a vector of mean 0 and length 1. A pair is a row (one, other, whether the other is mirrored). Of many
    pictures the values have half of the precision and of the memory.
    """

    def __init__(self, thumbnails: Thumbnails) -> None:
        many = len(thumbnails) >= MANY
        stored = np.dtype(np.float16 if many else np.float32)
        self._colours = _in_blocks(thumbnails, _colours, stored)
        self._fine = _in_blocks(thumbnails, lambda some: _standard(_grey(some)), stored)
        self._coarse = _in_blocks(thumbnails, lambda some: _standard(_smaller(_grey(some), COARSE)))
        self._cells = Cells(self._coarse) if many else None
        self._near = self._nearest(self._coarse, NEIGHBOURS[1])
        first = min(NEIGHBOURS[0], max(2, len(thumbnails) // 2)) - 1
        self._fine_common = self._common(self._fine, self._near[:, first:])
        self._coarse_common = self._common(self._coarse, self._near[:, first:])

    @staticmethod
    def _common(pictures: Floats, near: Indices) -> Floats:
        common = np.zeros_like(pictures)
        if near.shape[1]:
            for start in range(0, len(pictures), BLOCK):
                common[start : start + BLOCK] = pictures[near[start : start + BLOCK]].mean(axis=1, dtype=np.float32)
        return common

    def _nearest(self, wanted: Floats, most: int) -> Indices:
        return _nearest(wanted, self._coarse, most) if self._cells is None else self._cells.nearest(wanted, most)

    def own(self) -> float:
        """How much of a picture it has not in common with others, at the median; 1 for pictures of nothing alike."""
        parts = [slice(start, start + BLOCK) for start in range(0, len(self._fine), BLOCK)]
        own = (_full(self._fine[part]) - _full(self._fine_common[part]) for part in parts)
        squares = [np.square(one).sum(axis=(1, 2)) for one in own]
        return float(np.sqrt(np.median(np.concatenate(squares))))

    def proposed(self) -> Indices:
        """The pairs whose coarse versions are nearest, each once."""
        mirrored = self._nearest(self._coarse[:, :, ::-1], MIRRORED)
        rows = []
        for near, flip in ((self._near[:, :PROPOSED], 0), (mirrored, 1)):
            one, other = np.repeat(np.arange(len(near)), near.shape[1]), near.ravel()
            rows.append(np.stack([np.minimum(one, other), np.maximum(one, other), np.full(len(one), flip)], axis=1))
        return np.unique(np.concatenate(rows), axis=0)

    def alike(self, pairs: Indices, agreement: Floats, needed: float) -> NDArray[np.bool_]:
        """Which pairs are one picture: those that agree as they are, or once one is laid over the other."""
        coarse, fine = agreement
        worth = (coarse >= WORTH_ALIGNING[0]) & (fine >= WORTH_ALIGNING[1]) & (fine < needed)
        fine = fine.copy()
        fine[worth] = np.maximum(fine[worth], self.aligned_agreement(pairs[worth]))
        found: NDArray[np.bool_] = (fine >= needed) & self.same_colours(pairs)
        return found

    def agreement(self, pairs: Indices) -> Floats:
        """How well the own detail of two pictures agrees, coarse and fine (2, pairs), 1 where it is the same."""
        sizes = ((self._coarse, self._coarse_common), (self._fine, self._fine_common))
        found = np.empty((2, len(pairs)), np.float32)
        for start in range(0, len(pairs), 4 * BLOCK):
            part = slice(start, start + 4 * BLOCK)
            for size, (pictures, common) in enumerate(sizes):
                (one, other), shared = self._taken(pairs[part], pictures), _full(common[pairs[part, :2].T])
                shared[1] = _turned(shared[1], pairs[part])
                # The lower one: in a crowd around either of the two, agreement is worth nothing.
                found[size, part] = np.minimum(*(_cosine(one - mean, other - mean) for mean in shared))
        return found

    def aligned_agreement(self, pairs: Indices) -> Floats:
        """The fine agreement of two pictures inside what both show, once one is laid over the other."""
        found = np.empty(len(pairs), np.float32)
        for start in range(0, len(pairs), BLOCK):
            part = pairs[start : start + BLOCK]
            (one, other), shared = self._taken(part, self._fine), _full(self._fine_common[part[:, :2].T])
            scale, shift = _place(one, other)
            there = _agreement_inside(one, other, shared[0], scale, shift)
            back = _agreement_inside(other, one, _turned(shared[1], part), np.float32(1) / scale, -shift / scale)
            found[start : start + BLOCK] = np.minimum(there, back)
        return found

    def same_colours(self, pairs: Indices) -> NDArray[np.bool_]:
        """Whether the colours of two pictures may be those of one; a grey picture may be a copy of any."""
        one, other = self._taken(pairs, self._colours)
        levels = [np.sqrt(np.square(colours).mean(axis=(1, 2))) for colours in (one, other)]
        same: NDArray[np.bool_] = (np.minimum(*levels) < COLOURED) | (_cosine(one, other) >= SAME_COLOURS)
        return same

    @staticmethod
    def _taken(pairs: Indices, pictures: Floats) -> tuple[Floats, Floats]:
        return _full(pictures[pairs[:, 0]]), _turned(_full(pictures[pairs[:, 1]]), pairs)


def _second(found: Indices, known: Indices) -> Indices:
    """The pairs of pictures that are both like a third one and have not been compared."""
    partners: dict[int, dict[int, int]] = {}
    for one, other, flip in found.tolist():
        partners.setdefault(one, {})[other] = flip
        partners.setdefault(other, {})[one] = flip
    between = {
        (one, other, first ^ second)
        for near in partners.values()
        for one, first in near.items()
        for other, second in near.items()
        if one < other
    }
    known_rows = set(map(tuple, known[np.isin(known[:, 0], found[:, :2])].tolist())) if between else set()
    return np.array(sorted(between - known_rows), np.int64).reshape(-1, 3)


def _needed(count: int, pairs: Indices, agreement: Floats) -> float:
    low, high = AGREEMENT
    if count < FEW:
        return high
    pictures, best = pairs[:, :2].T.ravel(), np.concatenate([agreement, agreement])
    order = np.lexsort((-best, pictures))
    places = np.searchsorted(pictures[order], np.arange(count)) + 2  # every picture is proposed eight others
    usual = np.median(np.arctanh(np.clip(best[order][places], -0.999, 0.999)))
    return float(np.clip(np.tanh(USUAL * usual), low, high))


def _identical(digests: Sequence[str], pixels: NDArray[np.uint64]) -> Indices:
    """Groups by bytes or pixels; an unreadable picture has no pixels to be the same."""
    parents = list(range(len(digests)))

    def first(member: int) -> int:
        while parents[member] != member:
            parents[member] = member = parents[parents[member]]
        return member

    seen: dict[object, int] = {}
    for index, (digest, content) in enumerate(zip(digests, pixels.tolist(), strict=True)):
        for key in (digest, tuple(content)) if any(content) else (digest,):
            low, high = sorted((first(seen.setdefault(key, index)), first(index)))
            parents[high] = low
    return np.array([first(index) for index in range(len(digests))], dtype=np.int64)


def stars(count: int, pairs: Sequence[tuple[int, int]]) -> Indices:
    """Groups of one member and those paired with it, the members of most pairs first; named by the lowest index."""
    partners: list[list[int]] = [[] for _ in range(count)]
    for one, other in pairs:
        partners[one].append(other)
        partners[other].append(one)
    groups = np.full(count, -1, np.int64)
    for centre in sorted(range(count), key=lambda member: (-len(partners[member]), member)):
        if groups[centre] < 0:
            members = [centre, *(member for member in partners[centre] if groups[member] < 0)]
            groups[members] = min(members)
    return groups


def _nearest(wanted: Floats, pictures: Floats, most: int) -> Indices:
    """For each vector the indices of the pictures nearest to it, best first, but for the one of its own index."""
    count = len(pictures)
    most = min(most, count - 1)
    flat, wanted = pictures.reshape(count, -1), wanted.reshape(count, -1)
    parts = PARTS if count > 4 * PARTS * most else 1
    length = -(-count // parts)
    near = np.empty((count, most), np.int64)
    agreement = np.full((ROWS, parts * length), -2, np.float32)
    for start in range(0, count, ROWS):
        rows = np.arange(start, min(start + ROWS, count))
        found = agreement[: len(rows)]
        found[:, :count] = wanted[rows] @ flat.T
        found[rows - start, rows] = -2
        # The best lie among the columns that hold, over the parts, the highest values: fewer to sort.
        high = found.reshape(len(rows), parts, length).max(axis=1)
        columns = np.argpartition(high, length - most, axis=1)[:, length - most :]
        columns = (columns[:, None] + length * np.arange(parts)[:, None]).reshape(len(rows), -1)
        found = np.take_along_axis(found, columns, axis=1)
        best = np.argsort(-found, axis=1, kind="stable")[:, :most]
        near[rows] = np.take_along_axis(columns, best, axis=1)
    return near


class Cells:
    """The cells of k-means that many pictures lie in. Those around a vector's own are looked through for its nearest.

    An inverted file, as of H. Jégou, M. Douze and C. Schmid, "Product Quantization for Nearest Neighbor Search" (2011).
    """

    def __init__(self, pictures: Floats) -> None:
        from sklearn.cluster import MiniBatchKMeans

        self._pictures = pictures.reshape(len(pictures), -1)
        number = -(-len(pictures) // CELL)
        self._means = MiniBatchKMeans(number, batch_size=4096, max_iter=4, n_init=1, random_state=0)
        self._members = _by_cell(self._means.fit_predict(self._pictures), number)

    def nearest(self, wanted: Floats, most: int) -> Indices:
        """What `_nearest` gives, but for what lies far off."""
        means = self._means.cluster_centers_
        wanted = wanted.reshape(len(wanted), -1)
        most = min(most, len(wanted) - 1)
        near = np.empty((len(wanted), most), np.int64)
        for cell, rows in enumerate(_by_cell(self._means.predict(wanted), len(means))):
            order = np.argsort(np.square(means - means[cell]).sum(axis=1), kind="stable")
            sizes = np.cumsum([len(self._members[one]) for one in order])
            enough = max(AROUND, int(np.searchsorted(sizes, most + 1)) + 1)
            candidates = np.sort(np.concatenate([self._members[one] for one in order[:enough]]))
            for start in range(0, len(rows), ROWS):
                some = rows[start : start + ROWS]
                found = wanted[some] @ self._pictures[candidates].T
                found[candidates == some[:, None]] = -2
                high = np.argpartition(found, found.shape[1] - most, axis=1)[:, found.shape[1] - most :]
                found = np.take_along_axis(found, high, axis=1)
                best = np.argsort(-found, axis=1, kind="stable")
                near[some] = candidates[np.take_along_axis(high, best, axis=1)]
        return near


def _by_cell(homes: NDArray[Any], cells: int) -> list[Indices]:
    """The members of each cell."""
    order = np.argsort(homes, kind="stable")
    return np.split(order, np.searchsorted(homes[order], np.arange(1, cells)))


def _place(one: Floats, other: Floats) -> tuple[Floats, Floats]:
    """Scale and shift (pairs, 2), rows and columns, by which the other is laid over the one; -1 to 1 are the edges.

    B. Lucas and T. Kanade, "An Iterative Image Registration Technique" (1981), with gain and offset of the levels.
    """
    scale, shift = np.ones((len(one), 2), np.float32), np.zeros((len(one), 2), np.float32)
    for side, steps in STEPS:
        small, seen = _smaller(one, side), _smaller(other, side)
        place = _places(side)
        for _ in range(steps):
            laid, inside = _laid(seen, scale, shift)
            down, across = (slope * np.float32(side / 2) for slope in np.gradient(laid, axis=(1, 2)))
            known = np.stack(
                [laid, np.ones_like(laid), down * place[:, None], across * place, down, across], axis=1
            ) * inside[:, None]  # fmt: skip
            solved = _solved(known.reshape(len(one), 6, -1), (small * inside).reshape(len(one), -1))
            change = np.clip(solved[:, 2:] / np.maximum(solved[:, :1], 0.2), -0.1, 0.1)
            shift = np.clip(shift + scale * change[:, 2:], -MOST_CROPPED, MOST_CROPPED)
            scale = np.clip(scale * (1 + change[:, :2]), 1 - MOST_CROPPED, 1 / (1 - MOST_CROPPED))
    return scale, shift


def _agreement_inside(one: Floats, other: Floats, common: Floats, scale: Floats, shift: Floats) -> Floats:
    laid, inside = _laid(other, scale, shift)
    one, laid, common, inside = (values.reshape(len(one), -1) for values in (one, laid, common, inside))
    own, seen = one, laid
    for _ in range(3):
        known = np.stack([seen, np.ones_like(seen)], axis=1)
        gain = _solved(known * inside[:, None], own * inside)
        matched = gain[:, :1] * laid + gain[:, 1:]
        # A picture that was brightened is cut off at white: beyond that, the other says nothing.
        white = np.minimum(*(np.where(inside > 0, values, -9).max(axis=1, keepdims=True) for values in (one, matched)))
        own, matched = np.minimum(one, white), np.minimum(matched, white)
        seen = (matched - gain[:, 1:]) / np.maximum(gain[:, :1], 0.2)
    counted = inside.sum(axis=1, keepdims=True)
    detail = [(values - common) * inside for values in (own, matched)]
    return _cosine(*(values - inside * values.sum(axis=1, keepdims=True) / counted for values in detail))


def _laid(pictures: Floats, scale: Floats, shift: Floats) -> tuple[Floats, Floats]:
    """Pictures scaled and shifted, by linear interpolation, and 1 where they have pixels, 0 elsewhere."""
    side = pictures.shape[1]
    at = scale[:, :, None] * _places(side) + shift[:, :, None]
    pixel = np.clip((at + 1) * (side / 2) - 0.5, 0, side - 1)
    weights = np.maximum(0, 1 - np.abs(pixel[..., None] - np.arange(side, dtype=np.float32)))
    inside = (np.abs(at) <= 1).astype(np.float32)
    return weights[:, 0] @ pictures @ weights[:, 1].transpose(0, 2, 1), inside[:, 0, :, None] * inside[:, 1, None, :]


def _places(side: int) -> Floats:
    return (np.arange(side, dtype=np.float32) + np.float32(0.5)) * np.float32(2 / side) - 1


def _solved(known: Floats, wanted: Floats) -> Floats:
    """Least squares with a trace of ridge: `known` is (pairs, unknowns, pixels), `wanted` (pairs, pixels)."""
    squares = known @ known.transpose(0, 2, 1)
    ridge = 1e-4 * np.trace(squares, axis1=1, axis2=2) / squares.shape[1] + 1e-6
    squares += ridge[:, None, None].astype(np.float32) * np.eye(squares.shape[1], dtype=np.float32)
    solved: Floats = np.linalg.solve(squares, known @ wanted[:, :, None])[:, :, 0]
    return solved


def _turned(pictures: Floats, pairs: Indices) -> Floats:
    """Those of mirrored pairs mirrored."""
    mirrored = pairs[:, 2] == 1
    if not mirrored.any():
        return pictures
    turned = pictures.copy()
    turned[mirrored] = pictures[mirrored][:, :, ::-1]
    return turned


def _cosine(one: Floats, other: Floats) -> Floats:
    one, other = (values.reshape(len(values), math.prod(values.shape[1:])) for values in (one, other))
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    cosine: Floats = np.einsum("pn,pn->p", one, other) / np.maximum(lengths, 1e-9)
    return cosine


def _smaller(pictures: Floats, side: int) -> Floats:
    step = pictures.shape[1] // side
    smaller: Floats = pictures.reshape(len(pictures), side, step, side, step).mean(axis=(2, 4))
    return smaller


def _standard(pictures: Floats) -> Floats:
    centred = pictures - pictures.mean(axis=(1, 2), keepdims=True)
    standard: Floats = centred / np.maximum(np.sqrt(np.square(centred).sum(axis=(1, 2), keepdims=True)), 1e-6)
    return standard


def _in_blocks(thumbnails: Thumbnails, make: Callable[[Thumbnails], Floats], kind: Any = np.float32) -> Any:
    """What is made of each picture, a block of them at a time: what is needed on the way is many times as large."""
    found = None
    for start in range(0, len(thumbnails), BLOCK):
        made = make(thumbnails[start : start + BLOCK])
        if found is None:
            found = np.empty((len(thumbnails), *made.shape[1:]), kind)
        found[start : start + BLOCK] = made
    return np.zeros(0, kind) if found is None else found


def _full(pictures: Any) -> Floats:
    """In full precision, the same array where it has that."""
    full: Floats = pictures.astype(np.float32, copy=False)
    return full


def _colours(thumbnails: Thumbnails) -> Floats:
    red, green, blue = (_smaller(thumbnails[..., channel].astype(np.float32), COARSE) for channel in range(3))
    return np.concatenate([red - green, blue - green], axis=1)


def _grey(thumbnails: Thumbnails) -> Floats:
    grey = np.zeros(thumbnails.shape[:3], np.float32)
    for channel, weight in enumerate((0.299, 0.587, 0.114)):
        grey += thumbnails[..., channel] * np.float32(weight)
    return grey


def _detail(grey: Floats) -> Floats:
    """Standard deviation of each picture's grey levels from the plane that fits them best."""
    place = _places(SIDE)
    grey = grey - grey.mean(axis=(1, 2), keepdims=True)
    squares = np.square(place).sum() * SIDE
    for slope in (place[:, None], place[None, :]):
        grey = grey - (grey * slope).sum(axis=(1, 2), keepdims=True) / squares * slope
    deviation: Floats = grey.std(axis=(1, 2))
    return deviation
