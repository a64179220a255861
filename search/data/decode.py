"""Every picture decoded once, by Pillow, into packed uint8 arrays; what cannot be read is named with its reason."""

import hashlib
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from results.delivery.picture import (
    DRAFT_SIDE,
    FLOAT,
    KINDS,
    MAX_PIXELS,
    Levels,
    Scale,
    levels_of,
    read_picture,
    reason_of,
)
from search.data.cache import new_array
from search.data.duplicates import SIDE
from search.data.folder import Folder

FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

# Bytes that pictures may take that are decoded at the same time: the largest one alone takes no more.
ROOM = 20 * MAX_PIXELS
PROGRESS_STEP = 32  # pictures between two calls of `progress`


@dataclass(frozen=True)
class Decoded:
    """What decoding found out about the pictures of a folder, one row a picture, in the folder's order."""

    readable: NDArray[np.bool_]
    reasons: dict[str, str]  # by picture name, for those that are not readable
    contents: NDArray[np.uint64]  # digests of the decoded pixels (pictures, 2), 0 where not readable
    thumbnails: NDArray[np.uint8]  # (pictures, 32, 32, 3), from which near-duplicates are told
    width: NDArray[np.int32]  # pixels of the file, after its EXIF turn
    height: NDArray[np.int32]
    low: NDArray[np.float64]  # lowest level of a picture of more than 8 bits a channel, else not a number
    high: NDArray[np.float64]  # highest level of such a picture
    floating: NDArray[np.bool_]  # whether its levels are floating-point numbers

    def deep(self, kind: str) -> NDArray[np.int64]:
        """The rows of the pictures of more than 8 bits a channel whose levels are of a kind."""
        return np.flatnonzero(~np.isnan(self.high) & (self.floating == (kind == FLOAT)))

    @property
    def levels(self) -> dict[str, Levels]:
        """What is black and white in all of these pictures, by kind; empty where all have 8 bits a channel."""
        return {
            kind: levels_of(list(zip(self.low[rows].tolist(), self.high[rows].tolist(), strict=True)))
            for kind in KINDS
            if len(rows := self.deep(kind))
        }

    def save(self, path: Path) -> None:
        """Writes all of it to one .npz file."""
        np.savez(
            path,
            readable=self.readable,
            names=np.array(list(self.reasons), dtype=np.str_),
            reasons=np.array(list(self.reasons.values()), dtype=np.str_),
            contents=self.contents,
            thumbnails=self.thumbnails,
            width=self.width,
            height=self.height,
            low=self.low,
            high=self.high,
            floating=self.floating,
        )

    @classmethod
    def load(cls, path: Path) -> "Decoded":
        """Reads what `save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            return cls(
                readable=file["readable"],
                reasons=dict(zip(file["names"].tolist(), file["reasons"].tolist(), strict=True)),
                contents=file["contents"],
                thumbnails=file["thumbnails"],
                width=file["width"],
                height=file["height"],
                low=file["low"],
                high=file["high"],
                floating=file["floating"],
            )


def pack_name(size: int, resize_filter: str) -> str:
    """The file name of the pixels of one shape."""
    return f"{size}-{resize_filter}.npy"


def decode(
    folder: Folder,
    shapes: Sequence[tuple[int, str]],
    directory: Path,
    threads: int,
    progress: Callable[[int, int], None] | None = None,
) -> Decoded:
    """Decodes every picture once and writes one uint8 array (pictures, size, size, 3) per (size, filter).

    Row i is `folder.pictures[i]`; the rows of unreadable pictures are zeros. A row does not depend on the other shapes
    asked for, up to a size of 1,024. Pictures of more than 8 bits a channel are measured first and decoded by the range
    that all of them use. `progress` is called with the pictures done and their number. Raises ValueError for an unknown
    filter.
    """
    for size, name in shapes:
        if name not in FILTERS:
            raise ValueError(f"a resize filter is one of {', '.join(FILTERS)}, got `{name}`")
        if size < 1:
            raise ValueError(f"needs an image size >= 1 pixel, got {size}")
    count = len(folder.pictures)
    packs = {
        shape: new_array(directory / pack_name(*shape), np.uint8, (count, shape[0], shape[0], 3)) for shape in shapes
    }
    draft_side = max([DRAFT_SIDE, *(size for size, _ in shapes)])
    readable = np.zeros(count, np.bool_)
    contents = np.zeros((count, 2), np.uint64)
    thumbnails = np.zeros((count, SIDE, SIDE, 3), np.uint8)
    width = np.zeros(count, np.int32)
    height = np.zeros(count, np.int32)
    low, high = np.full((2, count), np.nan)
    floating = np.zeros(count, np.bool_)
    room = _Room(ROOM)

    def fill(row: int, least: int, scale: Scale) -> None:
        with ExitStack() as held:

            def hold(needed: int) -> None:
                held.close()
                held.enter_context(room.taken(max(needed, least)))

            image, (width[row], height[row]) = read_picture(folder.pictures[row].path, draft_side, hold, scale)
            for (size, name), pack in packs.items():
                pack[row] = np.asarray(fit_square(image, size, name))
            contents[row] = content_of(image)
            thumbnails[row] = thumbnail(image)

    def measured(row: int) -> Scale:
        def scale(kind: str, darkest: float, brightest: float) -> Levels:
            low[row], high[row], floating[row] = darkest, brightest, kind == FLOAT
            raise _Deep

        return scale

    def decode_one(row: int, scale: Scale | None = None) -> str | None:
        scale = scale or measured(row)
        # A damaged file can raise nearly anything from inside Pillow's plugins; none of it may stop the search.
        try:
            try:
                fill(row, 0, scale)
            except MemoryError:
                fill(row, ROOM, scale)  # Others may have held the memory: once more, with all of the room.
        except _Deep:
            pass
        except Exception as error:
            for pack in packs.values():
                pack[row] = 0
            contents[row] = thumbnails[row] = 0
            width[row] = height[row] = 0
            return reason_of(error)
        readable[row] = True
        return None

    reasons: dict[str, str] = {}
    # Filters belong to the whole process, so they are set here, around all threads, and not in each of them.
    with warnings.catch_warnings(), ThreadPoolExecutor(threads) as workers:
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for row, reason in enumerate(workers.map(decode_one, range(count))):
            if reason is not None:
                reasons[folder.pictures[row].name] = reason
            if progress is not None and ((row + 1) % PROGRESS_STEP == 0 or row + 1 == count):
                progress(row + 1, count)
        # What is black and white is known now that all are measured.
        decoded = Decoded(readable, reasons, contents, thumbnails, width, height, low, high, floating)
        known = decoded.levels
        deep = [row for kind in known for row in decoded.deep(kind).tolist()]
        by_kind = partial(decode_one, scale=lambda kind, darkest, brightest: known[kind])
        for row, reason in zip(deep, workers.map(by_kind, deep), strict=True):
            if reason is not None:
                reasons[folder.pictures[row].name] = reason
                readable[row] = False
    for pack in packs.values():
        pack.flush()
    return decoded


def fit_square(image: Image.Image, size: int, resize_filter: str) -> Image.Image:
    """The picture's centred square, resized to `size` pixels a side: shorter side to size, then centre crop.

    Crop and resize are one step with the same result. Pictures more than six times too large are first averaged over
    whole pixels, for speed, to no less than three times the size.
    """
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    box = (left, top, left + side, top + side)
    return image.resize((size, size), FILTERS[resize_filter], box=box, reducing_gap=3.0)


def thumbnail(image: Image.Image) -> NDArray[np.uint8]:
    """The whole picture in 32 by 32 pixels, whatever its shape."""
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.HAMMING, reducing_gap=3.0))


def content_of(image: Image.Image) -> NDArray[np.uint64]:
    """128 bits of the picture's size and pixels, as two numbers: the same for a file saved again without a loss."""
    digest = hashlib.blake2b(np.array(image.size, np.int64).tobytes(), digest_size=16)
    width, height = image.size
    rows = max(1, 2**20 // width)
    for top in range(0, height, rows):
        digest.update(image.crop((0, top, width, min(top + rows, height))).tobytes())  # not all at once: memory
    return np.frombuffer(digest.digest(), np.uint64)


class _Deep(Exception):
    """A picture of more than 8 bits a channel, which waits until those beside it are measured."""


class _Room:
    """Memory that threads share: who finds too little left waits."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._taken = 0
        self._change = threading.Condition()

    @contextmanager
    def taken(self, needed: int) -> Iterator[None]:
        needed = min(needed, self._size)
        with self._change:
            self._change.wait_for(lambda: self._taken + needed <= self._size)
            self._taken += needed
        try:
            yield
        finally:
            with self._change:
                self._taken -= needed
                self._change.notify_all()
