"""What keeps a cache within a size: what was used longest ago goes first, and only while nobody uses any of it.

Whoever reads or fills a cache says so with a lock of its own below `users/`, which ends with its process. To say so
and to take entries away, both need the lock of all users, so that neither happens while the other does.
"""

import contextlib
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from search.data.cache import locked, size_of

# What is computed again from the pictures where it is wanted; of all else that lies in a cache nothing is taken away.
KINDS = ("activations", "code", "copies", "files", "pixels", "scans", "treated")
HALF_MADE = (".part", ".bad")  # what those who were killed leave of an entry


@dataclass(frozen=True)
class Entry:
    """One entry of a cache."""

    path: Path
    size: int  # bytes
    used: float  # when it was built or used last, in seconds since 1970

    @property
    def kind(self) -> str:
        """What it is: `pixels`, `activations` and so on."""
        return self.path.parent.name


def entries(root: Path) -> list[Entry]:
    """All that can be taken away, what was used longest ago first."""
    found = []
    for kind in KINDS:
        with contextlib.suppress(OSError):
            for path in (root / kind).iterdir():
                # Gone meanwhile where it was half made.
                with contextlib.suppress(OSError):
                    if path.is_dir():
                        found.append(Entry(path, size_of(path), path.stat().st_mtime))
    return sorted(found, key=lambda entry: entry.used)


@contextmanager
def using(root: Path) -> Iterator[None]:
    """While this lasts nothing is taken away from a cache."""
    mine = root / "users" / f"{uuid.uuid4().hex}.lock"
    with ExitStack() as held:
        with _all_users(root):
            held.enter_context(locked(mine))
        try:
            yield
        finally:
            mine.unlink(missing_ok=True)


@contextmanager
def kept_within(root: Path, limit: int | None, say: Callable[[int], None]) -> Iterator[None]:
    """Uses a cache, and before and after that brings it to a limit, where there is one and nobody else uses it.

    `say` is told the bytes that were taken away, where there were any.
    """

    def bring() -> None:
        if limit is not None and (gone := trim(root, limit)):
            say(gone)

    bring()
    try:
        with using(root):
            yield
    finally:
        bring()


def attend(root: Path, limit: int | None) -> None:
    """Uses a cache for as long as this process lives, and brings it to a limit before where nobody else uses it."""
    if limit is not None:
        trim(root, limit)
    _attended.enter_context(using(root))


_attended = ExitStack()


def trim(root: Path, limit: int) -> int | None:
    """Takes away what was used longest ago until a cache has no more than so many bytes.

    Returns the bytes that were taken away; None where somebody uses the cache, from which nothing is taken then.
    """
    with _all_users(root):
        if _in_use(root):
            return None
        found = entries(root)
        left = total = sum(entry.size for entry in found)
        for entry in found:
            half_made = entry.path.suffix in HALF_MADE
            if left <= limit and not half_made:
                continue
            _remove(entry.path, half_made)
            left -= entry.size
        return total - left


def _remove(path: Path, half_made: bool) -> None:
    if not half_made:
        # Under another name first: what is removed half is no entry.
        gone = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.bad")
        path.rename(gone)
        for beside in path.parent.glob(f"{path.name}.*"):
            if beside.is_file():
                beside.unlink(missing_ok=True)
        path = gone
    shutil.rmtree(path, ignore_errors=True)


def _in_use(root: Path) -> bool:
    used = False
    for path in (root / "users").glob("*.lock"):
        with locked(path, wait=False) as ended:
            used = used or not ended
        if ended:
            path.unlink(missing_ok=True)
    return used


@contextmanager
def _all_users(root: Path) -> Iterator[None]:
    with locked(root / "users.lock"):
        yield
