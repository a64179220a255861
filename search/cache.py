"""Expensive arrays, computed once on a node whoever asks, and memory-mapped by everyone after that.

Two kinds of entry. `once` is for what one process builds whole: aside, then renamed. `Rows` is for an array that many
processes fill together, a chunk of rows each: a chunk belongs to whoever holds its lock, and the kernel drops the
lock of a process that dies, so the others take its chunks over.
"""

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Traffic:
    """Entries and bytes that this process read from caches and built for them since they were last taken."""

    def __init__(self) -> None:
        self._counts = {"read": (0, 0), "built": (0, 0)}
        self._counting = threading.Lock()

    def add(self, how: str, size: int) -> None:
        """One more entry, `read` or `built`."""
        with self._counting:
            entries, before = self._counts[how]
            self._counts[how] = (entries + 1, before + size)

    def take(self) -> dict[str, tuple[int, int]]:
        """What was added, and starts again from nothing."""
        with self._counting:
            counts = self._counts
            self._counts = dict.fromkeys(counts, (0, 0))
            return counts


traffic = Traffic()


class Cache:
    """A folder of entries, each named by a digest of the values that decide its content."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def place(self, kind: str, key: Mapping[str, Any]) -> Path:
        """Where the entry of this key is or would be."""
        text = json.dumps({**key, "kind": kind}, sort_keys=True)
        return self.root / kind / hashlib.blake2b(text.encode(), digest_size=12).hexdigest()

    def once(self, kind: str, key: Mapping[str, Any], build: Callable[[Path], None]) -> Path:
        """The entry's folder, built by `build(folder)` if nobody has: one process at a time, the others wait."""
        place = self.place(kind, key)
        if place.exists():
            traffic.add("read", _size(place))
            return place
        place.parent.mkdir(parents=True, exist_ok=True)
        with locked(place.with_suffix(".lock")):
            if not place.exists():
                aside = place.with_name(f"{place.name}.{uuid.uuid4().hex[:8]}.part")
                aside.mkdir()
                try:
                    build(aside)
                    (aside / "key.json").write_text(json.dumps(dict(key), indent=2, sort_keys=True))
                    aside.rename(place)
                    traffic.add("built", _size(place))
                except BaseException:
                    shutil.rmtree(aside, ignore_errors=True)
                    raise
        return place


class Rows:
    """An array on disk that several processes fill chunk by chunk; a chunk is done when its marker stands.

    Args:
        path: the `.npy` file; the markers lie beside it.
        shape: of the whole array, rows first.
        chunk: rows of one chunk.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: Any, chunk: int) -> None:
        self.path = path
        self.chunk = chunk
        self.chunks = -(-shape[0] // chunk)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            aside = path.with_name(f"{path.stem}.{uuid.uuid4().hex[:8]}.part")
            np.lib.format.open_memmap(aside, mode="w+", dtype=dtype, shape=shape).flush()
            try:
                # A link, unlike a rename, fails where another process was first: its file may hold rows already.
                os.link(aside, path)
            except FileExistsError:
                pass
            finally:
                aside.unlink()
        self._array: Array | None = None

    def slice(self, chunk: int) -> slice:
        """The rows of a chunk."""
        return slice(chunk * self.chunk, (chunk + 1) * self.chunk)

    def done(self, chunk: int) -> bool:
        """Whether the chunk's rows can be read."""
        return self._marker(chunk).exists() or self._marker("all").exists()

    def complete(self) -> bool:
        """Whether every chunk is done; the first to see it has the rows brought to the disk, behind its back."""
        if self._marker("all").exists():
            return True
        if not all(self._marker(chunk).exists() for chunk in range(self.chunks)):
            return False
        thread = threading.Thread(target=self._settle)
        _settling.append(thread)
        thread.start()
        return True

    def write(self, chunk: int, values: Array) -> None:
        """Puts a chunk's rows into the file, then says so."""
        array = np.load(self.path, mmap_mode="r+")
        array[self.slice(chunk)] = values
        self._marker(chunk).touch()
        traffic.add("built", values.nbytes)

    def read(self) -> Array:
        """The array, memory-mapped and read-only; only done chunks hold values."""
        if self._array is None:
            self._array = np.load(self.path, mmap_mode="r")
            traffic.add("read", self._array.nbytes)
        return self._array

    def _settle(self) -> None:
        with contextlib.suppress(OSError), self.path.open("rb") as file:
            os.fsync(file.fileno())
            self._marker("all").touch()

    def _marker(self, chunk: int | str) -> Path:
        # What a process has written survives its death, but not the machine's: until all is on the disk, markers of
        # chunks are good for this boot only.
        boot = "" if chunk == "all" else f".{_boot()}"
        return self.path.with_name(f"{self.path.stem}.{chunk}{boot}.done")


_settling: list[threading.Thread] = []


def settled() -> None:
    """Waits until no row of this process is on its way to the disk any more: its folder may be removed then."""
    while _settling:
        _settling.pop().join()


@functools.cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
    except OSError:
        return "boot"


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Holds an exclusive lock on a file; without `wait` gives False where another holds it.

    The lock ends with its process, however that ends.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True


def write_aside(path: Path, content: str | bytes) -> None:
    """Writes a file so that readers see the old content or the new, never a part."""
    aside = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.part")
    aside.write_bytes(content.encode() if isinstance(content, str) else content)
    aside.replace(path)
