"""Data at an address: what an object store lists below it, or one archive or table of a web server, fetched once.

What is fetched lies in the cache, below the digest of its address. A manifest says of every file what the store said of
it; a file is fetched again where that is another, and one that the store has no more is removed. A fetch that was ended
goes on where it was.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import timedelta
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen

from results.delivery.files import OTHER_FILES, printable
from search.data.archive import SPARE, is_archive
from search.data.archive import SUFFIXES as ARCHIVES
from search.data.cache import locked, write_aside
from search.data.layout import is_system
from search.data.table import SUFFIXES as TABLES
from search.data.table import is_table

STORES, WEB = ("s3", "gs"), ("http", "https")
CREDENTIALS = {"s3": "AWS_ACCESS_KEY_ID, AWS_PROFILE", "gs": "GOOGLE_APPLICATION_CREDENTIALS"}  # variables
FETCHED = "fetched"  # the folder in the cache
MANIFEST, FILES, PART = "manifest.jsonl", "files", ".part"
CONNECT, SILENCE = 5.0, 20.0  # seconds to a connection, and without a byte, after which a server is out of reach
ATTEMPTS = 3
MOST_SAID = 400  # letters of what a store's library says of an error
THREADS = 16  # they wait for the network more than for the processor
BLOCK = 2**20
# How the two stores say in the texts of their errors that somebody may not read.
DENIED = re.compile(
    "ACCESS_DENIED|PERMISSION_DENIED|UNAUTHENTICATED|INVALID_ACCESS_KEY|SIGNATURE_DOES_NOT_MATCH|INVALID_CLIENT_TOKEN|"
    "HTTP status 40[13]|HTTP Status Code: 403|credentials|access token"
)


@dataclass(frozen=True)
class Remote:
    """A file of a store as its listing tells it."""

    name: str  # below the folder that is fetched
    path: str  # in the store
    size: int
    changed: int  # nanoseconds since 1970: listings have no ETag, which every store makes in its own way


def check_address(address: str) -> None:
    """Raises ValueError for an address of another kind than can be fetched; asks nobody."""
    scheme, place, path = apart(address)
    if scheme not in (*STORES, *WEB):
        known = ", ".join(f"{name}://" for name in (*STORES, *WEB))
        raise ValueError(f"an address needs to begin with one of {known}, got `{address}`")
    if "@" in place:
        raise ValueError(
            f"an address is kept with the run and needs to be without a password, got one in that of `{scheme}://"
            f"{place.rpartition('@')[2]}`"
        )
    if not place:
        raise ValueError(f"an address needs a {'bucket' if scheme in STORES else 'host'}, got `{address}`")
    if scheme in WEB and not is_archive(path) and not is_table(path):
        raise ValueError(
            f"a web server does not list pictures: an {scheme} address needs to end in a table ({', '.join(TABLES)}) "
            f"or an archive ({', '.join(ARCHIVES)}), got `{address}`"
        )


def fetch(address: str, cache: Path, say: Callable[[str], None], *, alone: bool = False) -> Path:
    """The file or the folder at an address, on this machine.

    Of a table in a store its folder is fetched with it, unless it is wanted `alone`. Raises OSError, within seconds,
    where the server cannot be reached, has nothing there or gives no permission.
    """
    check_address(address)
    scheme, _, _ = apart(address)
    home = place_of(f"{address.rstrip('/')}\0{alone}", cache / FETCHED)
    (home / FILES).mkdir(parents=True, exist_ok=True)
    with locked(home.with_suffix(".lock")):
        if scheme in WEB:
            return _fetch_file(address, home, say)
        return _fetch_objects(address, home, say, alone=alone)


def place_of(key: str, folder: Path) -> Path:
    """The folder below another one in which what a key stands for is kept."""
    return folder / hashlib.blake2b(key.encode(), digest_size=12).hexdigest()


def apart(address: str) -> tuple[str, str, str]:
    """Scheme, host or bucket, and path of an address; a store's path may hold any sign."""
    scheme, _, rest = address.partition("://")
    if scheme.lower() in WEB:
        parts = urlsplit(address)
        return scheme.lower(), parts.netloc, unquote(parts.path)
    place, _, path = rest.partition("/")
    return scheme.lower(), place, path


# Object stores


def _fetch_objects(address: str, home: Path, say: Callable[[str], None], *, alone: bool) -> Path:
    store, found, single = listing(address, alone=alone)
    wanted, passed = _chosen(found, address)
    if not wanted:
        raise FileNotFoundError(f"the data needs pictures, and there are none at `{address}`")
    files = home / FILES
    more = f"; {passed:,} that are no pictures are left there" if passed else ""
    bring(store, wanted, home, files, address, say, more)
    return files / single if single else files


def bring(
    store: Any,
    wanted: Sequence[Remote],
    home: Path,
    files: Path,
    address: str,
    say: Callable[[str], None],
    more: str = "",
) -> None:
    """Makes a folder what is wanted of a listing: fetches what is another there, and removes the rest.

    `home` has the manifest, and is locked by who calls; `more` ends the line that is said of a fetch. Raises OSError
    where a file cannot be had; the same call goes on then.
    """
    manifest = _Manifest(home / MANIFEST)
    names = {one.name for one in wanted}
    # Whole lines alone: what is added to one that was torn would be lost with it.
    manifest.keep(names)
    known = manifest.read()
    missing = [one for one in wanted if not _is_here(files / one.name, one, known)]
    _remove_others(files, names)
    if missing:
        size = sum(one.size for one in missing)
        _check_room(home, size, address)
        here = len(wanted) - len(missing)
        rest = f"; {here:,} are here already" if here else ""
        say(f"fetching {len(missing):,} files ({size / 1e6:,.1f} MB) from {address}{rest}{more}")
        _fetch_all(store, missing, files, manifest, address)
    manifest.keep(names)


def listing(address: str, *, alone: bool = False, what: str = "the data") -> tuple[Any, list[Remote], str]:
    """The store, what it lists, and the one file that the address names, if it is one.

    A bucket that is open to all wants no credentials, or refuses those that there are.
    """
    from pyarrow import fs

    scheme, bucket, key = apart(address)
    path = f"{bucket}/{key}".rstrip("/")
    refused: Exception | None = None
    for anonymous in (False, True):
        try:
            store = open_store(scheme, bucket, anonymous=anonymous)
            told = store.get_file_info(path)
            single = PurePosixPath(path).name if told.type == fs.FileType.File else ""
            if single and (alone or not is_table(single)):
                return store, [Remote(single, path, told.size, told.mtime_ns or 0)], single
            return store, files_below(store, path.rpartition("/")[0] if single else path), single
        except (OSError, ValueError) as error:
            if not is_denied(error):
                refused = error
                break
            refused = refused or error
    text = " ".join(str(refused).split())[:MOST_SAID]
    if isinstance(refused, FileNotFoundError) or "NO_SUCH_BUCKET" in text or "NOT_FOUND" in text:
        raise FileNotFoundError(f"{what} needs to be there, and there is nothing at `{address}`: {text}") from refused
    if refused is not None and is_denied(refused):
        raise PermissionError(
            f"{what} needs to be readable, and `{address}` gives no permission; credentials are those of the "
            f"environment ({CREDENTIALS[scheme]}): {text}"
        ) from refused
    raise OSError(f"`{address}` cannot be reached: {text}") from refused


def files_below(store: Any, root: str, *, allow_not_found: bool = False) -> list[Remote]:
    """The files that a store has below a folder; raises FileNotFoundError where there is none, unless that may be."""
    from pyarrow import fs

    below = store.get_file_info(fs.FileSelector(root, recursive=True, allow_not_found=allow_not_found))
    return [
        Remote(one.path.removeprefix(f"{root}/"), one.path, one.size, one.mtime_ns or 0)
        for one in below
        if one.type == fs.FileType.File
    ]


def is_denied(error: Exception) -> bool:
    return isinstance(error, PermissionError) or DENIED.search(str(error)) is not None


def open_store(scheme: str, bucket: str, *, anonymous: bool) -> Any:
    from pyarrow import fs

    if scheme == "gs":
        emulator = os.environ.get("STORAGE_EMULATOR_HOST", "")
        kind, _, host = emulator.rpartition("://")
        where = {"endpoint_override": host, "scheme": kind or "http"} if host else {}
        limit = timedelta(seconds=CONNECT)
        return fs.GcsFileSystem(anonymous=anonymous or bool(host), retry_time_limit=limit, **where)
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if not endpoint and not region:
        region = fs.resolve_s3_region(bucket)
    return fs.S3FileSystem(
        anonymous=anonymous,
        region=region,
        endpoint_override=endpoint,
        connect_timeout=CONNECT,
        request_timeout=SILENCE,
        allow_delayed_open=True,  # a small file is written in one request
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
    )


def check_names(found: Iterable[Remote], address: str) -> None:
    """Raises ValueError for names that are no paths below a folder."""
    for one in found:
        parts = one.name.split("/")
        if "" in parts or "." in parts or ".." in parts or "\0" in one.name:
            raise ValueError(
                f"needs objects whose names are paths below a folder, and `{address}` has `{printable(one.name)}`"
            )


def _chosen(found: Iterable[Remote], address: str) -> tuple[list[Remote], int]:
    """What of a listing may be pictures or tables, and how much else there is.

    Raises ValueError for names that are no paths below a folder.
    """
    every = sorted(found, key=lambda one: one.name)
    check_names(every, address)
    wanted, passed = [], 0
    for one in every:
        hidden = any(part.startswith(".") or is_system(part) for part in one.name.split("/"))
        other = PurePosixPath(one.name).suffix.lower() in OTHER_FILES and not is_table(one.name)
        if hidden or (other and not is_archive(one.name)):
            passed += 1
        else:
            wanted.append(one)
    names = {one.name for one in wanted}
    for one in wanted:
        both = next((str(outer) for outer in PurePosixPath(one.name).parents if str(outer) in names), None)
        if both is not None:
            raise ValueError(f"needs names that are files or folders, and `{printable(both)}` of `{address}` is both")
    return wanted, passed


def _is_here(path: Path, one: Remote, known: Mapping[str, list[Any]]) -> bool:
    try:
        return known.get(one.name, [])[:2] == [one.size, one.changed] and path.stat().st_size == one.size
    except OSError:
        return False


def _fetch_all(store: Any, missing: Sequence[Remote], files: Path, manifest: "_Manifest", address: str) -> None:
    def fetch_one(one: Remote) -> None:
        for attempt in range(ATTEMPTS):
            try:
                manifest.add(one, _fetch_one(store, one, files / one.name))
                return
            except OSError as error:
                if attempt + 1 == ATTEMPTS:
                    raise OSError(
                        f"`{printable(one.name)}` of `{address}` cannot be fetched: {' '.join(str(error).split())}; "
                        "what is here stays, and the same command goes on"
                    ) from error

    workers = ThreadPoolExecutor(THREADS)
    try:
        for done in as_completed([workers.submit(fetch_one, one) for one in missing]):
            done.result()
    finally:
        workers.shutdown(cancel_futures=True)


def _fetch_one(store: Any, one: Remote, path: Path) -> str:
    """Brings one object here, whole or not at all; returns its ETag where the store tells it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{uuid.uuid4().hex}{PART}")
    try:
        with store.open_input_stream(one.path) as source, aside.open("wb") as target:
            told = source.metadata() or {}
            while block := source.read(BLOCK):
                target.write(block)
        if aside.stat().st_size != one.size:
            raise OSError(f"it has {aside.stat().st_size:,} bytes, and {one.size:,} were listed")
        aside.rename(path)
    finally:
        aside.unlink(missing_ok=True)
    return str(told.get("ETag", b"").decode("ascii", "replace")) if isinstance(told, dict) else ""


def _remove_others(files: Path, names: set[str]) -> None:
    """Removes what a listing has no more, and what was left half fetched."""
    for folder, _, inside in os.walk(files, topdown=False):
        for name in inside:
            path = Path(folder) / name
            if path.relative_to(files).as_posix() not in names:
                path.unlink()
        if Path(folder) != files:
            with contextlib.suppress(OSError):  # not empty
                Path(folder).rmdir()


class _Manifest:
    """Name, size, time of change and ETag of every file that is here, a line each, written as it comes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writing = threading.Lock()

    def read(self) -> dict[str, list[Any]]:
        """Size, time and ETag by name; of several lines of a name the last."""
        found: dict[str, list[Any]] = {}
        with contextlib.suppress(FileNotFoundError):
            for line in self._path.read_text(encoding="utf-8").splitlines():
                # The last line of a driver that was killed may be cut.
                with contextlib.suppress(ValueError, TypeError):
                    name, *told = json.loads(line)
                    found[name] = told
        return found

    def add(self, one: Remote, etag: str) -> None:
        with self._writing, self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps([one.name, one.size, one.changed, etag]) + "\n")

    def keep(self, names: set[str]) -> None:
        """Only these, a line each."""
        kept = {name: told for name, told in self.read().items() if name in names}
        write_aside(self._path, "".join(json.dumps([name, *told]) + "\n" for name, told in sorted(kept.items())))


# Web servers


def _fetch_file(address: str, home: Path, say: Callable[[str], None]) -> Path:
    """One file of a web server, fetched again where its ETag or time of change is another."""
    path = home / FILES / PurePosixPath(apart(address)[2]).name
    aside, note = home / f"file{PART}", home / "manifest.json"
    known = _noted(note)
    headers = {"User-Agent": "pedigree", "Accept-Encoding": "identity"}
    whole = path.exists() and known.get("size") == path.stat().st_size
    begun = aside.stat().st_size if aside.exists() and not whole and known.get("validator") else 0
    if whole:
        headers |= {"If-None-Match": known["etag"]} if known.get("etag") else {}
        headers |= {"If-Modified-Since": known["changed"]} if known.get("changed") else {}
    elif begun:
        headers |= {"Range": f"bytes={begun}-", "If-Range": known["validator"]}
    try:
        with urlopen(Request(address, headers=headers), timeout=SILENCE) as answer:
            etag, changed = answer.headers.get("ETag", ""), answer.headers.get("Last-Modified", "")
            length = answer.headers.get("Content-Length")
            goes_on = answer.status == 206 and begun > 0
            size = int(length) + (begun if goes_on else 0) if length and length.isdecimal() else None
            _check_room(home, (size or 0) - (begun if goes_on else 0), address)
            # A weak ETag is good for no range.
            strong = etag if etag and not etag.startswith("W/") else changed
            write_aside(note, json.dumps({"validator": strong}))
            say(f"fetching {path.name}" + (f" ({size / 1e6:,.1f} MB)" if size else "") + f" from {_shown(address)}")
            with aside.open("ab" if goes_on else "wb") as target:
                while block := answer.read(BLOCK):
                    target.write(block)
    except HTTPError as error:
        error.close()
        if error.code == 304:
            return path
        if error.code == 416:  # what was fetched of it is more than there is now
            aside.unlink(missing_ok=True)
            return _fetch_file(address, home, say)
        kind: type[OSError] = PermissionError if error.code in (401, 403) else OSError
        raise kind(f"`{_shown(address)}` cannot be fetched: the server says {error.code} {error.reason}") from None
    except (URLError, HTTPException, OSError) as error:
        why = getattr(error, "reason", None) or error
        raise OSError(f"`{_shown(address)}` cannot be fetched: {why}; the same command goes on") from error
    got = aside.stat().st_size
    if size is not None and got != size:
        raise OSError(
            f"`{_shown(address)}` cannot be fetched: it ends after {got:,} of {size:,} bytes; the same command goes on"
        )
    aside.rename(path)
    write_aside(note, json.dumps({"etag": etag, "changed": changed, "size": got}))
    return path


def _noted(note: Path) -> dict[str, Any]:
    try:
        found = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _shown(address: str) -> str:
    """An address without what may be a key."""
    return address.partition("?")[0]


def _check_room(home: Path, size: int, address: str) -> None:
    free = shutil.disk_usage(home).free
    if size + SPARE > free:
        raise OSError(
            f"fetching `{_shown(address)}` needs {size + SPARE:,} free bytes in `{home}`, and there are {free:,}; "
            "--cache-dir chooses another place"
        )
