"""A run's folder away from this machine: mirrored to an object store while the search goes on, and fetched from it.

The folder on this machine stays the run's own; the store has a copy of it, file by file, each of them whole. What rows
speak of goes before the rows, these go to their last whole line, and checkpoints that were there before them go last.
So what lies in the store can be resumed whenever the machine is lost. One driver holds a mirror at a time:
`holder.json` in it says which, and is renewed as long as that one is at work.
"""

import contextlib
import json
import os
import re
import shutil
import socket
import stat
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from search.data.cache import check_folder, locked, sweep, write_aside
from search.data.remote import (
    CREDENTIALS,
    FETCHED,
    FILES,
    MOST_SAID,
    STORES,
    Remote,
    apart,
    bring,
    check_names,
    files_below,
    is_denied,
    listing,
    open_store,
    place_of,
)

MIRRORED = "mirrored"  # the folder in the cache with the runs that have a mirror
HOLDER = "holder.json"  # in the mirror
RECORD = "mirror.json"  # in the folder here: what the mirror has of it
ROWS, SETTINGS, CHECKPOINTS = "trials.jsonl", "settings.json", "checkpoints"
TUNE = "tune"  # a folder of Ray Tune's, from which nothing is read again
LEAST, MOST = 5.0, 60.0  # seconds between two rounds: with and without a rung or an end
EVENTS = tuple(
    f'{{"event": "{event}"'.encode() for event in ("rung", "end", "final", "test", "member", "model", "refit")
)
RENEWED = 30.0  # seconds after which a round that takes long renews the holder
HELD = 180.0  # seconds for which a driver that is not heard of any more counts as alive
FINISHING = 3  # attempts at the end
PAUSE = 2.0  # seconds between these
PATIENCE, SLOWEST = 60.0, 50_000  # seconds, and bytes a second, in which a file has to arrive at the end
TYPES = {".html": "text/html; charset=utf-8", ".md": "text/markdown; charset=utf-8", ".json": "application/json"}
BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")

Say = Callable[[str], None]


class Taken(Exception):
    """Another driver has taken the mirror over."""


def checked(address: str, option: str) -> str:
    """The address of runs, or of one, without a slash at its end; raises ValueError for any other kind."""
    scheme, bucket, path = apart(address)
    if scheme not in STORES:
        kinds = " or ".join(f"{store}://" for store in STORES)
        raise ValueError(
            f"{option} needs a folder of this machine or an address that begins with {kinds}, got `{address}`"
        )
    if "@" in bucket:
        hidden = f"{scheme}://{bucket.rpartition('@')[2]}"
        raise ValueError(f"{option} needs an address without a password, got one in that of `{hidden}`")
    parts = path.rstrip("/").split("/") if path.rstrip("/") else []
    wrong = [part for part in parts if part in ("", ".", "..") or not part.isprintable() or "\\" in part]
    if not BUCKET.fullmatch(bucket) or wrong or not (parts or option == "--runs-dir"):
        raise ValueError(f"{option} needs the form {scheme}://BUCKET/FOLDER, got `{address}`")
    return f"{scheme}://{'/'.join([bucket, *parts])}"


def local_folder(address: str, cache: Path) -> Path:
    """Where what an address has of runs lies on this machine."""
    scheme, bucket, path = apart(address)
    return cache.joinpath(MIRRORED, scheme, bucket, *filter(None, path.split("/")))


def bring_back(address: str, cache: Path, say: Say, option: str = "--resume") -> Path:
    """The folder here of a run that is to go on, fetched from its mirror unless it is here as the mirror has it.

    Raises BlockingIOError where its driver is alive, FileExistsError where the folder here has rows that the mirror
    lacks, and OSError where the store has no such run, cannot be reached, or may not be written.
    """
    address = checked(address, option)
    place = local_folder(address, cache)
    check_folder(cache / MIRRORED, "--cache-dir")
    place.parent.mkdir(parents=True, exist_ok=True)
    with locked(place.with_name(f"{place.name}.lock")):
        store, root, found = _ready(address, "", f"{option} needs a mirror")
        if SETTINGS not in found:
            raise FileNotFoundError(f"{option} needs the folder of a run, and there is no `{SETTINGS}` at `{address}`")
        if not (place / SETTINGS).is_file():
            return _fetched(store, found, place, address, say)
        with locked(place / "lock", wait=False) as ours:
            if not ours:
                raise BlockingIOError(f"a run has one driver, and another process is at work in `{place}`")
            here, there = whole_lines(place / ROWS), _rows_of(store, root, found)
            if here == there:
                return place
            if here.startswith(there):
                raise FileExistsError(
                    f"{option} would lose what `{place}` has beyond its mirror `{address}`, {_more(here, there)}: "
                    f"{option} {place} goes on with it, and mirrors it"
                )
            if not there.startswith(here):
                raise FileExistsError(f"{_torn(place, address)}; remove that folder to go on with the mirror")
            return _fetched(store, found, place, address, say)


def fetch_run(address: str, cache: Path, say: Say) -> Path:
    """A copy of a run to be read, as its mirror has it now; raises OSError where there is none."""
    address = checked(address, "the run")
    home = place_of(address, cache / FETCHED)
    folder = home / FILES / address.rpartition("/")[2]
    folder.mkdir(parents=True, exist_ok=True)
    with locked(home.with_suffix(".lock")):
        for left in range(FINISHING - 1, -1, -1):
            store, listed, _ = listing(address, what="the run")
            found = _files(listed, address)
            if ROWS not in found:
                raise FileNotFoundError(f"needs the mirror of a run, and there is no `{ROWS}` at `{address}`")
            try:
                bring(store, list(found.values()), home, folder, address, say)
                break
            except OSError:
                # While its search goes on, a file may be another by the time that it is fetched.
                if not left:
                    raise
                time.sleep(PAUSE)
    return folder


class Offsite:
    """Mirrors the folder of a run in a thread, from `begin` to the end of `with`; without an address does nothing.

    The end of `with` raises OSError where the last state did not arrive.
    """

    def __init__(self, address: str, folder: Path, say: Say) -> None:
        self.address = f"{address}/{folder.name}" if address else ""
        self._folder = folder
        self._say = say
        self._token = uuid.uuid4().hex
        self._store: Any = None  # once it is claimed
        self._root = ""
        # What the mirror has of each file: size and time of change of it here; of the rows the bytes of whole lines.
        self._sent: dict[str, list[int]] = {}
        self._seen = 0  # bytes of the rows in which an event was looked for
        self._renewed = 0.0
        self._arrived, self._size = time.monotonic(), 0  # when the last file did, and of what size the next one is
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._why = ""  # the last round failed; empty after one that did not
        self._taken = ""  # by whom
        self._told, self._told_again = False, False

    def claim(self, *, resume: bool) -> None:
        """Makes this driver the mirror's one, before anything starts.

        Raises FileExistsError for a name that is taken and for a mirror that has gone on elsewhere, BlockingIOError
        where another driver is at work on it, and OSError where the store cannot be reached or may not be written.
        """
        if not self.address:
            return
        alone = f"--resume {self._folder} --runs-dir {self._folder.parent} goes on without the mirror"
        way_out = f"; {alone}" if resume else ""
        store, root, found = _ready(self.address, way_out, "--runs-dir needs a place")
        if not resume and found:
            raise FileExistsError(
                f"a run needs a name of its own, and `{self.address}` exists; choose another with --name, or go on "
                f"with --resume {self.address}"
            )
        if resume:
            here, there = whole_lines(self._folder / ROWS), _rows_of(store, root, found)
            if there.startswith(here) and there != here:
                raise FileExistsError(
                    f"--resume would lose what the mirror `{self.address}` has beyond `{self._folder}`, "
                    f"{_more(there, here)}: --resume {self.address} goes on with it"
                )
            if not here.startswith(there):
                raise FileExistsError(f"{_torn(self._folder, self.address)}{way_out}")
        self._store, self._root = store, root
        self._sent = self._known(found)
        self._hold()

    def begin(self) -> None:
        """Starts mirroring; nothing can refuse the run any more."""
        if not self.address or self._thread is not None:
            return
        self._say(f"the run lies in `{self._folder}` and is mirrored to {self.address}")
        self._thread = threading.Thread(target=self._keep, name="offsite", daemon=True)
        self._thread.start()

    def __enter__(self) -> "Offsite":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._store is None:
            return
        self._join()
        if self._thread is None or not self._folder.exists():
            # Input that was refused leaves no run behind.
            with contextlib.suppress(Exception):
                self._forget()
            return
        if not self._taken and not self._why and not self._thread.is_alive():
            self._say(f"mirrored to {self.address}")
            return
        if self._taken:
            message = f"the mirror `{self.address}` has been taken over by {self._taken}; all of this run is in "
            message += f"`{self._folder}`"
        else:
            why = self._why or "it does not answer"
            message = f"the last state of the run is not mirrored to `{self.address}` ({why}); all of it is in "
            message += f"`{self._folder}`, and --resume {self._folder} mirrors it"
        if kind is None:
            raise OSError(message)
        self._say(message)

    def _join(self) -> None:
        """Waits for the last round, as long as files arrive."""
        self._over.set()
        self._arrived = time.monotonic()
        while self._thread is not None and self._thread.is_alive():
            self._thread.join(0.2)
            if time.monotonic() - self._arrived > PATIENCE + self._size / SLOWEST:
                return

    def _known(self, found: Mapping[str, Remote]) -> dict[str, list[int]]:
        """What the mirror has, by the record of an earlier driver where that still holds."""
        record: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError, AttributeError):
            saved = json.loads((self._folder / RECORD).read_text(encoding="utf-8"))
            record = dict(saved["files"]) if saved["address"] == self.address else {}
        return {name: told if (told := record.get(name)) and told[0] == one.size else [] for name, one in found.items()}

    def _keep(self) -> None:
        last, attempts = -MOST, 0
        while True:
            over = self._over.is_set()
            if over or time.monotonic() - last >= MOST or self._woken():
                last = time.monotonic()
                try:
                    self._round(over)
                    self._worked()
                except Taken as taken:
                    self._taken = str(taken)
                    self._tell(f"the mirror `{self.address}` has been taken over by {taken}; the search goes on here")
                    return
                except Exception as error:  # What a store's library may raise is not told, and must not end a search.
                    self._failed(error)
                attempts += over
                if over and (not self._why or attempts == FINISHING):
                    return
            if over:
                time.sleep(PAUSE)
            else:
                self._over.wait(MOST / 2 if self._why else LEAST)

    def _woken(self) -> bool:
        """Whether the rows have a rung or an end since this was asked last."""
        with contextlib.suppress(OSError), (self._folder / ROWS).open("rb") as file:
            file.seek(self._seen)
            new = file.read()
            new = new[: new.rfind(b"\n") + 1]
            self._seen += len(new)
            return any(line.startswith(EVENTS) for line in new.splitlines())
        return False

    def _worked(self) -> None:
        if self._why and not self._told_again:
            self._say(f"{self.address} is mirrored again")
            self._told_again = True
        self._why = ""

    def _failed(self, error: Exception) -> None:
        self._why = _in_a_line(error)
        self._tell(
            f"{self.address} cannot be written ({self._why}); the search goes on, all of it is in `{self._folder}`, "
            "and the mirror is tried again"
        )

    def _tell(self, line: str) -> None:
        """Says once of a mirror that it fails."""
        if not self._told:
            self._say(line)
        self._told = True

    def _round(self, over: bool) -> None:
        """Brings the mirror to the state of the folder; raises what the store raises, and `Taken`."""
        if not self._folder.is_dir():
            return
        self._hold()
        # A checkpoint that is ahead of the rows would leave out epochs: it is read before the rows.
        before = self._there()
        checkpoints = {name: self._read(name) for name in self._changed(before) if _is_checkpoint(name)}
        rows = whole_lines(self._folder / ROWS)
        there = self._there()
        sent = dict(self._sent)
        for name in self._changed(there):
            if not _is_checkpoint(name):
                self._put(name, self._read(name), there[name])
        if rows and self._sent.get(ROWS) != [len(rows), 0]:
            self._put(ROWS, rows, [len(rows), 0])
        for name, content in checkpoints.items():
            self._put(name, content, before[name])
        for name in [name for name in self._sent if name not in before and name not in there and name != ROWS]:
            self._delete(name)
            del self._sent[name]
        if self._sent != sent:
            with contextlib.suppress(OSError):
                write_aside(self._folder / RECORD, json.dumps({"address": self.address, "files": self._sent}))
        if over:
            self._delete(HOLDER)

    def _there(self) -> dict[str, list[int]]:
        """Size and time of change of every file that is mirrored, but for the rows."""
        found = {}
        for folder, folders, names in os.walk(self._folder):
            if Path(folder) == self._folder:
                folders[:] = [name for name in folders if name != TUNE]
            for name in names:
                path = Path(folder) / name
                whole = path.relative_to(self._folder).as_posix()
                if name == "lock" or path.suffix in (".lock", ".part") or whole in (RECORD, ROWS, HOLDER):
                    continue
                with contextlib.suppress(OSError):
                    told = path.lstat()
                    # No address has a name that is no text.
                    if stat.S_ISREG(told.st_mode) and whole.isprintable():
                        found[whole] = [told.st_size, told.st_mtime_ns]
        return found

    def _changed(self, there: Mapping[str, list[int]]) -> list[str]:
        return sorted(name for name, told in there.items() if self._sent.get(name) != told)

    def _read(self, name: str) -> bytes | None:
        """The content of a file here; None of one that is gone."""
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError:
            return None

    def _put(self, name: str, content: bytes | None, told: list[int]) -> None:
        if content is None:
            return
        if time.monotonic() - self._renewed > RENEWED:
            self._hold()
        self._size = len(content)
        _write(self._store, f"{self._root}/{name}", content)
        self._sent[name] = told
        self._arrived, self._size = time.monotonic(), 0

    def _delete(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._store.delete_file(f"{self._root}/{name}")
        self._arrived = time.monotonic()

    def _hold(self) -> None:
        """Says in the mirror that this driver is alive; raises `Taken` where another one says so there."""
        holder = _holder(self._store, self._root)
        if holder is not None and self._renewed and holder.get("token") != self._token:
            raise Taken(_who(holder))
        told = {"token": self._token, "host": socket.gethostname(), "process": os.getpid(), "space": _space()}
        told |= {"began": psutil.Process().create_time(), "renewed": time.time()}
        _write(self._store, f"{self._root}/{HOLDER}", json.dumps(told).encode())
        self._renewed = time.monotonic()

    def _forget(self) -> None:
        """Removes what this driver has put there of a run that there is none of any more."""
        if not self._folder.exists():
            for name in list(self._sent):
                self._delete(name)
        self._delete(HOLDER)


def whole_lines(path: Path) -> bytes:
    """The rows of a run up to the last whole line; nothing where there are none."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return b""
    return content[: content.rfind(b"\n") + 1]


def _rows_of(store: Any, root: str, found: Mapping[str, Remote]) -> bytes:
    if ROWS not in found:
        return b""
    with store.open_input_stream(f"{root}/{ROWS}") as stream:
        content: bytes = stream.read()
    return content[: content.rfind(b"\n") + 1]


def _ready(address: str, way_out: str, needs: str) -> tuple[Any, str, dict[str, Remote]]:
    """A store in which this process may write, the path of the run in it, and the run's files there by name.

    Raises OSError where it may not, and BlockingIOError where the run's driver is alive.
    """
    scheme, bucket, key = apart(address)
    root = f"{bucket}/{key}"
    try:
        store = open_store(scheme, bucket, anonymous=False)
        # How old the holder is the store's clock tells, which is one for all machines.
        probe = f"{root}/.probe-{uuid.uuid4().hex}"
        _write(store, probe, b"pedigree")
        now = store.get_file_info(probe).mtime_ns or time.time_ns()
        store.delete_file(probe)
        listed = files_below(store, root, allow_not_found=True)
        holder = _holder(store, root)
    except (OSError, ValueError) as error:
        text = _in_a_line(error)
        if is_denied(error):
            raise PermissionError(
                f"{needs} that can be written, and `{address}` gives no permission; credentials are those of the "
                f"environment ({CREDENTIALS[scheme]}): {text}{way_out}"
            ) from error
        if isinstance(error, FileNotFoundError) or "NO_SUCH_BUCKET" in text or "NOT_FOUND" in text:
            raise FileNotFoundError(f"{needs} in a bucket that is there, got `{address}`: {text}{way_out}") from error
        raise OSError(f"{needs} that answers, and `{address}` cannot be reached: {text}{way_out}") from error
    renewed = next((one.changed for one in listed if one.name == HOLDER), now)
    age = max(0.0, (now - renewed) / 1e9)
    if holder is not None and age < HELD and not _is_dead(holder):
        raise BlockingIOError(
            f"a run has one driver, and that of `{address}` was at work {age:.0f} s ago: {_who(holder)}; the same "
            f"command goes on once it has not been heard of for {HELD:.0f} s"
        )
    return store, root, _files(listed, address)


def _files(listed: Iterable[Remote], address: str) -> dict[str, Remote]:
    """What a listing has of the run itself, by name; raises ValueError for names that lead out of a folder."""
    found = [one for one in listed if one.name != HOLDER and not one.name.startswith(".")]
    check_names(found, address)
    return {one.name: one for one in found}


def _fetched(store: Any, found: Mapping[str, Remote], place: Path, address: str, say: Say) -> Path:
    """Puts the folder of a run here as the mirror has it, in place of an older one; who calls holds its lock."""
    sweep(place, "*.part", "*.bad")
    aside = place.with_name(f"{place.name}.{uuid.uuid4().hex[:8]}.part")
    files = aside / FILES
    files.mkdir(parents=True)
    try:
        bring(store, list(found.values()), aside, files, address, say)
        rows = whole_lines(files / ROWS)
        if ROWS in found:
            write_aside(files / ROWS, rows)
        told = {}
        for name in found:
            status = (files / name).stat()
            told[name] = [status.st_size, status.st_mtime_ns] if name != ROWS else [len(rows), 0]
        write_aside(files / RECORD, json.dumps({"address": address, "files": told}))
        if place.exists():
            place.rename(aside.with_suffix(".bad"))
        files.rename(place)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        shutil.rmtree(aside.with_suffix(".bad"), ignore_errors=True)
    return place


def _write(store: Any, path: str, content: bytes) -> None:
    """Writes one object: what a store has not been given whole it does not have."""
    kind = TYPES.get(Path(path).suffix) if store.type_name == "s3" else None
    with store.open_output_stream(path, metadata={"Content-Type": kind} if kind else None) as stream:
        stream.write(content)


def _holder(store: Any, root: str) -> dict[str, Any] | None:
    """What the mirror says of its driver; None where it has none."""
    try:
        with store.open_input_stream(f"{root}/{HOLDER}") as stream:
            content = stream.read()
    except FileNotFoundError:
        return None
    try:
        found = json.loads(content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _is_dead(holder: Mapping[str, Any]) -> bool:
    """Whether a driver has surely ended: its process would be seen from here, and is not there."""
    here, process = _space(), holder.get("process")
    if not here or holder.get("space") != here or not isinstance(process, int):
        return False
    try:
        found = psutil.Process(process)
        return bool(found.status() == psutil.STATUS_ZOMBIE or abs(found.create_time() - float(holder["began"])) > 1)
    except (psutil.Error, LookupError, ValueError, TypeError):
        return True


def _space() -> str:
    """A name for where the numbers of processes mean the same: one boot and one namespace; empty where none tells."""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.stat('/proc/self/ns/pid').st_ino}"
    return ""


def _who(holder: Mapping[str, Any]) -> str:
    return f"process {holder.get('process', '?')} on {holder.get('host', '?')}"


def _more(more: bytes, fewer: bytes) -> str:
    count = more.count(b"\n") - fewer.count(b"\n")
    return "1 row" if count == 1 else f"{count:,} rows"


def _torn(place: Path, address: str) -> str:
    return f"the run in `{place}` and its mirror `{address}` have gone on apart, and each has rows that the other lacks"


def _is_checkpoint(name: str) -> bool:
    return name.partition("/")[0] == CHECKPOINTS


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split())[:MOST_SAID] or type(error).__name__
