"""Archives of pictures: unpacked once into the cache, each member inside its folder, and none that is a bomb."""

import hashlib
import lzma
import os
import shutil
import stat
import tarfile
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from results.delivery.files import printable
from search.data.cache import locked, sweep
from search.data.layout import SYSTEM, side_of

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
UNPACKED = "unpacked"  # the folder in the cache
BLOCK = 2**20  # bytes that are written at a time
# Pictures hardly shrink in an archive; flat drawings in formats without compression may, a hundredfold.
MOST_TIMES = 200  # bytes unpacked for each byte of the archive
ALWAYS = 2**26  # bytes that any archive may hold
MOST_MEMBERS = 2_000_000
SPARE = 2**28  # bytes of the disk that stay free
TOLD = ".told"  # a hidden file in the folder: what is said of the archive whenever it is read
REGULAR, FOLDER, OTHER = "file", "folder", "other"


@dataclass(frozen=True)
class Member:
    """One entry of an archive, as its header tells it."""

    name: str
    size: int  # bytes, unpacked
    kind: str
    target: str  # of a link, as written; empty for anything else
    opened: Callable[[], IO[bytes]]


def is_archive(name: str) -> bool:
    """Whether a file is an archive by its name."""
    return name.lower().endswith(SUFFIXES)


def unpack(archive: Path, cache: Path, say: Callable[[str], None]) -> Path:
    """The folder with the pictures of an archive, below the cache and named by the archive's content.

    Raises ValueError for a member that leaves the folder, for a link that does, for more than an archive of its size
    may hold, and for a damaged or encrypted one; OSError where the disk has no room. Nothing of it stays then.
    """
    place = cache / UNPACKED / digest_of(archive)
    place.parent.mkdir(parents=True, exist_ok=True)
    with locked(place.with_suffix(".lock")):
        if not place.is_dir():
            sweep(place, "*.part")
            say(f"unpacking {archive.name}")
            aside = place.with_name(f"{place.name}.{uuid.uuid4().hex[:8]}.part")
            aside.mkdir()
            try:
                (aside / TOLD).write_text(_unpack(archive, aside), encoding="utf-8", errors="backslashreplace")
                aside.rename(place)
            except BaseException:
                shutil.rmtree(aside, ignore_errors=True)
                raise
    told = (place / TOLD).read_text(encoding="utf-8")
    if told:
        say(told)
    return _inner(place)


def digest_of(path: Path) -> str:
    """Of the bytes of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _unpack(archive: Path, into: Path) -> str:
    """Writes the members of an archive below a folder; returns what is to be said of those that were passed over."""
    most = ALWAYS + MOST_TIMES * archive.stat().st_size
    total = count = passed = 0
    first_passed = ""
    with members(archive) as found:
        for member in found:
            count += 1
            shown = printable(member.name)
            if count > MOST_MEMBERS:
                raise ValueError(f"needs archives of at most {MOST_MEMBERS:,} members, got more in `{archive}`")
            path = below(member.name)
            if path is None:
                raise ValueError(f"needs archives whose members stay in their folder, and `{archive}` has `{shown}`")
            if member.target and below(os.path.join(path.parent, member.target)) is None:
                raise ValueError(
                    f"needs archives whose members stay in their folder, and `{shown}` of `{archive}` is a link to "
                    f"`{printable(member.target)}`"
                )
            total += member.size
            _check_size(archive, into, total, member.size, most)
            if member.kind == FOLDER or any(part.casefold() in SYSTEM for part in path.parts):
                continue
            if member.kind == OTHER:
                passed, first_passed = passed + 1, first_passed or shown
                continue
            try:
                write(member, into / path)
            except (FileExistsError, NotADirectoryError, IsADirectoryError):
                raise ValueError(
                    f"needs archives in which a name is a file or a folder, and `{shown}` of `{archive}` is both"
                ) from None
    if not passed:
        return ""
    what = "1 member that is a link or a device" if passed == 1 else f"{passed:,} members that are links or devices"
    return f"passed over in {archive.name}: {what}, first `{first_passed}`"


def _check_size(archive: Path, into: Path, total: int, size: int, most: int) -> None:
    if total > most:
        raise ValueError(
            f"needs archives that hold at most {MOST_TIMES} times their size and {ALWAYS // 2**20} MiB, and "
            f"`{archive}` ({archive.stat().st_size:,} bytes) holds {total:,} bytes or more"
        )
    free = shutil.disk_usage(into).free
    if size + SPARE > free:
        raise OSError(
            f"unpacking `{archive}` needs {size + SPARE:,} free bytes in `{into.parent}`, and there are {free:,}; "
            "--cache-dir chooses another place"
        )


def below(name: str) -> PurePosixPath | None:
    """A member's path below the folder; None where it leads out of it."""
    whole = PurePosixPath(os.path.normpath(name.replace("\\", "/")))
    if "\0" in name or whole.is_absolute() or ".." in whole.parts:
        return None
    return whole


def write(member: Member, path: Path) -> None:
    """Writes a member that is a file; raises ValueError where it ends early."""
    path.parent.mkdir(parents=True, exist_ok=True)
    left = member.size
    with member.opened() as source, path.open("wb") as target:
        # No more than the header says: that much was counted.
        while left and (block := source.read(min(BLOCK, left))):
            left -= len(block)
            target.write(block)
    if left:
        raise ValueError(f"needs whole archives, and `{printable(member.name)}` ends {left:,} bytes early")


@contextmanager
def members(archive: Path) -> Iterator[Iterator[Member]]:
    """The entries of an archive in their order; what its reader raises becomes a ValueError that names it."""
    try:
        if zipfile.is_zipfile(archive) and not archive.name.lower().endswith(SUFFIXES[1:]):
            with zipfile.ZipFile(archive) as opened:
                yield (_of_zip(opened, info) for info in opened.infolist())
        else:
            with tarfile.open(archive, tarinfo=_Header) as tar:
                yield (_of_tar(tar, info) for info in tar)
    except (
        zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError,
        UnicodeError, OverflowError,
    ) as error:  # fmt: skip
        raise ValueError(f"needs an archive that can be unpacked, and `{archive}` cannot be: {error}") from error


class _Header(tarfile.TarInfo):
    """A header of a tar archive, without those that give the next one a name of gigabytes, which are read at once."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type not in (*tarfile.REGULAR_TYPES, tarfile.DIRTYPE) and self.size > BLOCK:
            raise tarfile.ReadError(f"a header in it has {self.size:,} bytes")
        found: tarfile.TarInfo = super()._proc_member(tar)  # type: ignore[misc]
        return found


def _of_zip(opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    mode = info.external_attr >> 16
    link = stat.S_ISLNK(mode)
    if info.flag_bits & 1:
        raise zipfile.BadZipFile("it is encrypted")
    target = opened.read(info).decode("utf-8", "replace") if link and info.file_size < BLOCK else ""
    kind = FOLDER if info.is_dir() else OTHER if link or stat.S_IFMT(mode) not in (0, stat.S_IFREG) else REGULAR
    return Member(info.filename, info.file_size, kind, target, lambda: opened.open(info))


def _of_tar(tar: tarfile.TarFile, info: tarfile.TarInfo) -> Member:
    kind = REGULAR if info.isreg() else FOLDER if info.isdir() else OTHER
    # A hard link's target is a member, whose path begins where the archive does.
    up = "../" * (len(PurePosixPath(info.name).parts) - 1)
    target = info.linkname if info.issym() else os.path.join(up, info.linkname) if info.islnk() else ""

    def opened() -> IO[bytes]:
        content = tar.extractfile(info)
        assert content is not None
        return content

    return Member(info.name, info.size, kind, target, opened)


def _inner(folder: Path) -> Path:
    """The folder in which an archive keeps everything, as most do; a side of a split is none."""
    inside = [path for path in folder.iterdir() if not path.name.startswith(".")]
    if len(inside) == 1 and inside[0].is_dir() and side_of(inside[0].name) is None:
        below = [path for path in inside[0].iterdir() if not path.name.startswith(".")]
        # A single folder of pictures is no class folder's parent: it is the class, or the one that a pattern reads.
        if below:
            return _inner(inside[0])
    return folder
