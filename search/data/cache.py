"""Expensive arrays, computed once on a node whoever asks, and memory-mapped by everyone after that.

Two kinds of entry. `once` is for what one process builds whole: aside, then renamed. `Rows` is for an array that many
processes fill together, a chunk of rows each: a chunk belongs to whoever holds its lock, and the kernel drops the
lock of a process that dies, so the others take its chunks over.

Both carry checksums. An entry is read through once per boot and after any change of its files, the chunks of an array
once by every process; what is damaged is made again.
"""

import contextlib
import errno
import functools
import hashlib
import json
import os
import shutil
import threading
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from filelock import lock_descriptor
from numpy.typing import NDArray

from search.home import check_private, own_temporary

Array = NDArray[Any]
# What systems say of file systems that cannot keep processes apart, or cannot keep room on the disk.
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)
NO_ROOM_AHEAD = (errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
POLL = 0.02  # seconds between two tries of who waits for a lock
BLOCK = 2**20  # bytes that are read or written at a time
SUMS = "sums.json"  # of an entry: the checksum of each of its files


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

    def holds(self, kind: str, key: Mapping[str, Any]) -> bool:
        """Whether the entry is there and intact."""
        return intact(self.place(kind, key))

    def once(self, kind: str, key: Mapping[str, Any], build: Callable[[Path], None]) -> Path:
        """The entry's folder, built by `build(folder)` if nobody has: one process at a time, the others wait.

        An entry that is damaged is built again; who has it in memory keeps the old one.
        """
        place = self.place(kind, key)
        if intact(place):
            traffic.add("read", size_of(place))
            return place
        place.parent.mkdir(parents=True, exist_ok=True)
        with locked(place.with_suffix(".lock")):
            if not intact(place):
                sweep(place, "*.part", "*.bad")
                aside = place.with_name(f"{place.name}.{uuid.uuid4().hex[:8]}.part")
                aside.mkdir()
                try:
                    build(aside)
                    (aside / "key.json").write_text(json.dumps(dict(key), indent=2, sort_keys=True))
                    (aside / SUMS).write_text(json.dumps({file.name: _sum(file) for file in sorted(aside.iterdir())}))
                    if place.exists():
                        place.rename(aside.with_suffix(".bad"))
                        shutil.rmtree(aside.with_suffix(".bad"), ignore_errors=True)
                    aside.rename(place)
                    _remember(place)
                    traffic.add("built", size_of(place))
                except BaseException:
                    shutil.rmtree(aside, ignore_errors=True)
                    raise
        return place


def sweep(place: Path, *endings: str) -> None:
    """Removes what those who were killed while they built an entry have left beside it; for who holds its lock."""
    for ending in endings:
        for left in place.parent.glob(f"{place.name}.{ending}"):
            shutil.rmtree(left, ignore_errors=True)


def intact(place: Path) -> bool:
    """Whether an entry's files are those that were built.

    They are read through once per boot, and again where size, inode or time of change of one is another than then.
    """
    try:
        files = _files(place)
        note = _note(place)
        if note.exists() and json.loads(note.read_text()) == [_boot(), files]:
            _used(place)
            return True
        sums = json.loads((place / SUMS).read_text())
        if set(sums) | {SUMS} != set(files) or any(_sum(place / name) != told for name, told in sums.items()):
            return False
        _remember(place)
    except (OSError, ValueError, TypeError):
        return False
    return True


def _used(place: Path) -> None:
    """An entry was used now: those that were used longest ago go first where a cache has grown too large."""
    with contextlib.suppress(OSError):  # of another user's
        os.utime(place)


def _files(place: Path) -> dict[str, list[int]]:
    told = {path.name: path.stat() for path in place.iterdir()}
    return {name: [status.st_size, status.st_ino, status.st_mtime_ns] for name, status in told.items()}


def _note(place: Path) -> Path:
    return place.with_name(f"{place.name}.intact")


def _remember(place: Path) -> None:
    # Where nothing can be written any more, the entry is read through again next time.
    with contextlib.suppress(OSError):
        write_aside(_note(place), json.dumps([_boot(), _files(place)]))


def _sum(path: Path) -> str:
    """A checksum that finds damage, not malice: whoever can write the cache can also write its sums."""
    found = 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            found = zlib.crc32(block, found)
    return f"{found:08x}"


def _sum_rows(rows: Array) -> str:
    return f"{zlib.crc32(rows.data):08x}"


def new_array(path: Path, dtype: Any, shape: tuple[int, ...]) -> np.memmap[Any, Any]:
    """A memory-mapped `.npy` file with its whole room on the disk.

    Raises OSError where there is no such room: a process that writes into the map of a file that has none is killed.
    """
    array: np.memmap[Any, Any] = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    try:
        with path.open("r+b") as file:
            _take_room(file.fileno(), path.stat().st_size)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise OSError(error.errno, f"{error.strerror}: needs {array.nbytes / 1e6:,.1f} MB", str(path)) from error
    return array


def _take_room(descriptor: int, size: int) -> None:
    """Takes a new file's room on the disk; its bytes read as zeros before and after."""
    if hasattr(os, "posix_fallocate"):  # macOS has none
        try:
            os.posix_fallocate(descriptor, 0, size)
            return
        except OSError as error:
            if error.errno not in NO_ROOM_AHEAD:
                raise
    # The head of the file, which says what is in it, is written already.
    begun = os.pread(descriptor, BLOCK, 0)
    for start in range(0, size, BLOCK):
        block = begun if start == 0 else bytes(min(BLOCK, size - start))
        if os.pwrite(descriptor, block, start) < len(block):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Damaged(Exception):
    """Rows that were done have other values than were written; they count as not done from here on."""


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
            # Where another process is first, its file may hold rows already; a link would tell as well, but not every
            # file system has them.
            with locked(path.with_suffix(".lock")):
                if not path.exists():
                    aside = path.with_name(f"{path.stem}.{uuid.uuid4().hex[:8]}.part")
                    try:
                        new_array(aside, dtype, shape)
                        aside.rename(path)
                    finally:
                        aside.unlink(missing_ok=True)
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
        array = np.load(self.path, mmap_mode="r+", allow_pickle=False)
        part = np.ascontiguousarray(values, array.dtype)
        array[self.slice(chunk)] = part
        write_aside(self._marker(chunk), _sum_rows(part))
        traffic.add("built", values.nbytes)

    def read(self) -> Array:
        """The array, memory-mapped and read-only; only done chunks hold values, and have been compared with their sums.

        Raises `Damaged` where one that is done holds others.
        """
        if self._array is None:
            self._array = np.load(self.path, mmap_mode="r", allow_pickle=False)
            _used(self.path.parent)
            traffic.add("read", self._array.nbytes)
        damaged = []
        for chunk in range(self.chunks):
            if self.done(chunk) and (self.path, chunk) not in _compared:
                if _sum_rows(self._array[self.slice(chunk)]) == self._sum_of(chunk):
                    _compared.add((self.path, chunk))
                else:
                    damaged.append(chunk)
        if damaged:
            # All of them at once: whoever computes them again has a handful of attempts for the whole array.
            self._take_back(damaged)
            raise Damaged(f"rows {self.slice(damaged[0])} of `{self.path}` are damaged")
        return self._array

    def _take_back(self, damaged: Sequence[int]) -> None:
        """These chunks count as not done, the others as they were."""
        sums = {chunk: self._sum_of(chunk) for chunk in range(self.chunks) if chunk not in damaged and self.done(chunk)}
        for chunk, told in sums.items():
            if told:
                write_aside(self._marker(chunk), told)
        self._marker("all").unlink(missing_ok=True)
        for chunk in damaged:
            self._marker(chunk).unlink(missing_ok=True)

    def _sum_of(self, chunk: int) -> str:
        with contextlib.suppress(FileNotFoundError):
            return self._marker(chunk).read_text()
        # Gone where another process has just found damage, and takes chunks back.
        with contextlib.suppress(FileNotFoundError):
            sums = self._marker("all").read_text().split()
            return sums[chunk] if chunk < len(sums) else ""
        return ""

    def _settle(self) -> None:
        with contextlib.suppress(OSError), self.path.open("rb") as file:
            os.fsync(file.fileno())
            write_aside(self._marker("all"), " ".join(self._marker(chunk).read_text() for chunk in range(self.chunks)))

    def _marker(self, chunk: int | str) -> Path:
        # What a process has written survives its death, but not the machine's: until all is on the disk, markers of
        # chunks are good for this boot only.
        boot = "" if chunk == "all" else f".{_boot()}"
        return self.path.with_name(f"{self.path.stem}.{chunk}{boot}.done")


_settling: list[threading.Thread] = []
_compared: set[tuple[Path, int]] = set()  # chunks that this process has compared with their sums


def settled() -> None:
    """Waits until no row of this process is on its way to the disk any more: its folder may be removed then."""
    while _settling:
        _settling.pop().join()


@functools.cache
def _boot() -> str:
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
    # macOS has none, some containers hide it, and the second of the boot tells as much.
    with contextlib.suppress(OSError, RuntimeError, psutil.Error):
        return str(int(psutil.boot_time()))
    return "boot"


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.lstat().st_size if path.is_symlink() or path.is_file() else 0
    return total


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Holds an exclusive lock on a file; without `wait` gives False where another holds it.

    It is the system's own (`flock`, where there is one), so it ends with its process, however that ends. Raises OSError
    that names the file where its file system has no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            # Not `filelock.FileLock`, whose stand-in where there are no locks outlives a process that is killed.
            ours = lock_descriptor(file.fileno(), blocking=wait, poll_interval=POLL)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            said = f"{error.strerror}: no file locks here; choose another folder with --cache-dir or --runs-dir"
            raise OSError(error.errno, said, str(path)) from error
        yield ours


def check_folder(folder: Path, option: str) -> None:
    """Makes a folder if need be; raises OSError that names the option where nothing can be written or locked there."""
    probe = folder / f".write-test-{os.getpid()}"
    try:
        if folder == own_temporary():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            check_private(folder)
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"pedigree")
    except OSError as error:
        raise OSError(
            f"{option} needs a folder that can be written, and `{folder}` cannot: {error.strerror}"
        ) from error
    try:
        with locked(probe):
            pass
    except OSError as error:
        raise OSError(
            f"{option} needs a folder on a file system with file locks, and `{folder}` is on one without: "
            f"{os.strerror(error.errno or 0)}"
        ) from error
    finally:
        probe.unlink(missing_ok=True)


def write_aside(path: Path, content: str | bytes) -> None:
    """Writes a file so that readers see the old content or the new, never a part."""
    aside = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        aside.write_bytes(content.encode() if isinstance(content, str) else content)
        aside.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            # A full disk names no file.
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
