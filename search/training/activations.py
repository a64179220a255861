"""What the frozen part of the trunk gives, computed once per node and shared by every trial.

An entry belongs to (pictures, backbone, weights, image size, view) and holds one float16 array for each cut, filled in
chunks by as many workers as ask for it at the same time. A chunk starts from the deepest cut that is already there, so
a new cut costs only the blocks between.
"""

import functools
import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models.sizes import LARGEST_STORED, worth_storing
from search.data.cache import Array, Cache, Damaged, Rows, locked
from search.data.pictures import VERSION, Indices, Pictures, subset_digest
from search.training import devices

if TYPE_CHECKING:
    from models.trunk import Trunk

ATTEMPTS = 3  # to read activations that are found damaged
CHUNK = 64  # pictures that one worker computes before it looks again what is left to do
BATCH = 32  # pictures per forward pass: from 16 to 64 the rate is the same on CPU cores
# Of what nobody has asked for yet, activations larger than this many times the picture are not stored: writing them
# must not take longer than the pass itself.
ON_THE_WAY = 1.5


class OutOfTime(Exception):
    """What a trial is to train on would come too late, or its epoch would end too late."""


_until: float | None = None  # in seconds of `time.monotonic`


@contextmanager
def limited(until: float | None) -> Iterator[None]:
    """After `until` (`time.monotonic`) this process computes no chunk and trains on no batch: it raises `OutOfTime`."""
    global _until
    _until = until
    try:
        yield
    finally:
        _until = None


def check_time() -> None:
    """Raises `OutOfTime` where the time that `limited` has set is up."""
    if _until is not None and time.monotonic() >= _until:
        raise OutOfTime


@dataclass(frozen=True)
class Source:
    """One trunk at one image size over one list of pictures."""

    pictures: Pictures
    rows: Indices  # packed rows, in the order of the activations
    backbone: str
    alpha: float
    size: int

    @property
    def trunk(self) -> "Trunk":
        """The trunk, loaded once per process."""
        return load_trunk(self.pictures, self.backbone, self.alpha, self.size)

    def stored(self, cut: int, most: float = LARGEST_STORED) -> bool:
        """Whether activations at this cut are worth storing: they are at most so many times as large as the picture."""
        return cut > 0 and worth_storing(self.trunk.shape(cut), self.size, most)

    def read(self, cut: int | None, augmentation: str, view: int) -> Array:
        """Activations (pictures, ...) at a cut, or the pooled features for None; computes what is not there yet.

        View 0 is the plain picture and the same for every augmentation. What is damaged on the disk is computed again;
        raises OSError where that does not help.
        """
        for _ in range(ATTEMPTS):
            try:
                return self._read(cut, augmentation, view)
            except Damaged as error:
                damage = error
        raise OSError(f"the cache does not keep what is written into it: {damage}")

    def _read(self, cut: int | None, augmentation: str, view: int) -> Array:
        name = _name(cut)
        wanted = self._rows(name, augmentation, view)
        if wanted.complete():
            return wanted.read()
        waiting = []
        for chunk in range(wanted.chunks):
            if not wanted.done(chunk) and not self._compute(wanted, cut, chunk, augmentation, view, wait=False):
                waiting.append(chunk)
        # Chunks that others have begun: done by now, or theirs to finish, or ours if they died.
        for chunk in waiting:
            if not wanted.done(chunk):
                self._compute(wanted, cut, chunk, augmentation, view, wait=True)
        return wanted.read() if wanted.complete() else self._read(cut, augmentation, view)

    def missing(self, cut: int | None, augmentation: str, view: int) -> int:
        """Pictures whose activations at this cut are still to be computed."""
        rows = self._rows(_name(cut), augmentation, view)
        return 0 if rows.complete() else sum(not rows.done(chunk) for chunk in range(rows.chunks)) * CHUNK

    def _compute(self, wanted: Rows, cut: int | None, chunk: int, augmentation: str, view: int, *, wait: bool) -> bool:
        lock = wanted.path.with_name(f"{chunk}.lock")
        with locked(lock, wait=wait) as ours:
            if not ours:
                return False
            if wanted.done(chunk):
                return True
            check_time()
            start, given = self._start(wanted, cut, chunk, augmentation, view)
            # On the way from the pictures, what later trials are most likely to start from is stored as well.
            highest = self.trunk.blocks if cut is None else cut
            ends = [end for end in self.trunk.stage_ends() if end < highest and self.stored(end, ON_THE_WAY)]
            cuts = [*(ends if start == 0 else []), *([] if cut is None else [cut])]
            outputs = _run(_compiled(self.trunk, start, tuple(cuts), cut is None), given)
            names = [_name(found) for found in cuts] + ([_name(None)] if cut is None else [])
            # The wanted one last: when its marker stands, so do the others.
            for name, values in sorted(zip(names, outputs, strict=True), key=lambda pair: pair[0] == _name(cut)):
                rows = self._rows(name, augmentation, view, values.shape[1:])
                if not rows.done(chunk):
                    rows.write(chunk, values)
        return True

    def _start(self, wanted: Rows, cut: int | None, chunk: int, augmentation: str, view: int) -> tuple[int, Array]:
        highest = self.trunk.blocks if cut is None else cut
        for start in range(highest - (cut is not None), 0, -1):
            if self._path(_name(start), augmentation, view).exists():
                rows = self._rows(_name(start), augmentation, view)
                if rows.done(chunk):
                    return start, rows.read()[rows.slice(chunk)]
        rows_of_chunk = self.rows[wanted.slice(chunk)]
        pixels = self.pictures.pixels(self.size)[rows_of_chunk]
        seed = _seed(self.pictures.seed, augmentation, view, chunk)
        return 0, view_of(pixels, augmentation, view, seed=seed)

    def _rows(self, name: str, augmentation: str, view: int, shape: tuple[int, ...] | None = None) -> Rows:
        if shape is None:
            trunk = self.trunk
            shape = (trunk.width,) if name == "pooled" else trunk.shape(int(name.removeprefix("cut-")))
        path = self._path(name, augmentation, view)
        return Rows(path, (len(self.rows), *shape), np.float16, CHUNK)

    def _path(self, name: str, augmentation: str, view: int) -> Path:
        key = {
            "pictures": subset_digest(self.pictures.digest, self.rows),
            "backbone": self.backbone,
            "alpha": self.alpha,
            "weights": weights_name(self.pictures, self.backbone, self.alpha),
            "size": self.size,
            "view": view_name(augmentation, view),
            "seed": self.pictures.seed if view else 0,
            "version": VERSION,
        }
        return Cache(self.pictures.cache).place("activations", key) / f"{name}.npy"


_trunks: dict[tuple[Any, ...], "Trunk"] = {}


def load_trunk(pictures: Pictures, backbone: str, alpha: float, size: int) -> "Trunk":
    """A trunk, kept for the later trials of this process."""
    from models.trunk import Trunk

    key = (backbone, alpha, size, weights_name(pictures, backbone, alpha))
    if key not in _trunks:
        file = pictures.weights[backbone, alpha]
        path = None if file is None else pictures.local(file)
        sample = pictures.pixels(size)[pictures.sample] if file is None else None
        _trunks[key] = Trunk(backbone, alpha, size, path, seed=pictures.seed, sample=sample)
    return _trunks[key]


def weights_name(pictures: Pictures, backbone: str, alpha: float) -> str:
    """What tells the weights of a trunk from others in the cache; random ones depend on the seed and the sample."""
    file = pictures.weights[backbone, alpha]
    if file is not None:
        return file.digest
    return f"random-{pictures.seed}-{subset_digest(pictures.digest, pictures.sample)}"


def views(augmentation: str, most: int) -> int:
    """How many versions of the training set an augmentation has: the plain one, and drawn ones up to `most`."""
    return {"none": 1, "flip": min(2, most)}.get(augmentation, most)


def view_name(augmentation: str, view: int) -> str:
    """What a version is called in the cache; the plain one and the mirrored one serve several augmentations."""
    if view == 0:
        return "plain"
    return "mirrored" if augmentation == "flip" else f"{augmentation}-{view}"


def view_of(pixels: Array, augmentation: str, view: int, *, seed: int) -> Array:
    """One version of some pictures (n, h, w, 3) of values 0 to 255: plain, mirrored, or drawn from `seed`."""
    if view == 0:
        return pixels
    if augmentation == "flip":
        return pixels[:, :, ::-1]
    import keras

    from models.augmentation import AUGMENTATIONS, augmentation_layers

    x: Any = keras.ops.convert_to_tensor(np.asarray(pixels, np.float32))
    for layer in augmentation_layers(**AUGMENTATIONS[augmentation], seed=seed):
        x = layer(x, training=True)
    return np.asarray(keras.ops.convert_to_numpy(x))


@functools.lru_cache(maxsize=32)
def _compiled(trunk: "Trunk", start: int, cuts: tuple[int, ...], pooled: bool) -> Callable[[Array], list[Array]]:
    return devices.inference(trunk.lower(start, cuts, pooled=pooled))


def _run(forward: Callable[[Array], list[Array]], given: Array) -> list[Array]:
    batches = []
    for start in range(0, len(given), BATCH):
        batch = np.asarray(given[start : start + BATCH])
        short = BATCH - len(batch)
        # One shape only: a compiler that specialises on shapes would start again for the last batch.
        padded = np.concatenate([batch, np.repeat(batch[-1:], short, axis=0)]) if short else batch
        batches.append([output[: len(batch)] for output in forward(padded)])
    return [np.concatenate(parts) for parts in zip(*batches, strict=True)]


def _name(cut: int | None) -> str:
    return "pooled" if cut is None else f"cut-{cut}"


def _seed(seed: int, augmentation: str, view: int, chunk: int) -> int:
    text = f"{seed} {augmentation} {view} {chunk}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=3).digest(), "big")
