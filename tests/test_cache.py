"""One build however many ask, and arrays that several processes fill together."""

import errno
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from search.data.cache import Cache, Damaged, Rows, check_folder, intact, locked, new_array, settled, write_aside

# Takes the lock of chunk 0, says so, and waits for its end.
HOLDER = """
import sys, time
from pathlib import Path
from search.data.cache import locked
with locked(Path(sys.argv[1])) as ours:
    print("holds", ours, flush=True)
    time.sleep(60)
"""


def test_the_key_decides_the_place(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    place = cache.place("pixels", {"size": 96, "filter": "bilinear"})
    assert place.parent == tmp_path / "pixels"
    assert place == cache.place("pixels", {"filter": "bilinear", "size": 96})
    assert place != cache.place("pixels", {"size": 160, "filter": "bilinear"})
    assert place.name != cache.place("treated", {"size": 96, "filter": "bilinear"}).name


def test_an_entry_is_built_once_however_many_ask(tmp_path: Path) -> None:
    built = []

    def build(folder: Path) -> None:
        built.append(folder)
        (folder / "content").write_text("dogs")

    with ThreadPoolExecutor(8) as threads:
        places = list(threads.map(lambda _: Cache(tmp_path).once("pixels", {"size": 96}, build), range(8)))
    assert len(built) == 1
    assert len(set(places)) == 1
    assert (places[0] / "content").read_text() == "dogs"
    assert (places[0] / "key.json").read_text() == '{\n  "size": 96\n}'


def test_a_failed_build_leaves_nothing_and_is_tried_again(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise OSError("disk full")

    def build(folder: Path) -> None:
        (folder / "content").touch()

    cache = Cache(tmp_path)
    with pytest.raises(OSError, match="disk full"):
        cache.once("pixels", {}, fail)
    assert [path.suffix for path in (tmp_path / "pixels").iterdir()] == [".lock"]
    names = sorted(path.name for path in cache.once("pixels", {}, build).iterdir())
    assert names == ["content", "key.json", "sums.json"]


def test_rows_are_filled_by_chunks(tmp_path: Path) -> None:
    rows = Rows(tmp_path / "rows.npy", (5, 2), np.float16, 2)
    assert rows.chunks == 3
    rows.write(2, np.array([[9, 9]]))
    assert [rows.done(chunk) for chunk in range(3)] == [False, False, True]
    assert not rows.complete()
    rows.write(0, np.array([[1, 2], [3, 4]]))
    rows.write(1, np.array([[5, 6], [7, 8]]))
    assert rows.complete()
    read = rows.read()
    assert read.tolist() == [[1, 2], [3, 4], [5, 6], [7, 8], [9, 9]]
    assert read.dtype == np.float16
    assert isinstance(read, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        read[0] = 0


def test_a_second_process_finds_what_the_first_wrote(tmp_path: Path) -> None:
    first = Rows(tmp_path / "rows.npy", (4,), np.float32, 2)
    first.write(0, np.array([1.0, 2.0]))
    second = Rows(tmp_path / "rows.npy", (4,), np.float32, 2)
    assert second.done(0)
    second.write(1, np.array([3.0, 4.0]))
    assert first.complete()
    assert first.read().tolist() == [1, 2, 3, 4]
    settled()
    assert sorted(re.sub(r"\.[0-9a-f]{8}\.", ".BOOT.", path.name) for path in tmp_path.iterdir()) == [
        "rows.0.BOOT.done",
        "rows.1.BOOT.done",
        "rows.all.done",
        "rows.lock",
        "rows.npy",
    ]


def test_rows_that_may_not_have_reached_the_disk_before_a_reboot_are_not_trusted(tmp_path: Path) -> None:
    rows = Rows(tmp_path / "rows.npy", (4,), np.float32, 2)
    rows.write(0, np.array([1.0, 2.0]))
    (marker,) = tmp_path.glob("rows.0.*.done")
    marker.rename(tmp_path / "rows.0.anotherboot.done")
    assert not rows.done(0)


def spoil(path: Path, at: int = -1) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def pixels(folder: Path) -> None:
    (folder / "pixels.npy").write_bytes(bytes(1000))


def test_an_entry_that_is_damaged_is_built_again(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    place = cache.once("pixels", {"size": 96}, pixels)
    assert cache.holds("pixels", {"size": 96})
    for damage in (
        lambda: spoil(place / "pixels.npy"),
        lambda: (place / "pixels.npy").unlink(),
        lambda: (place / "pixels.npy").write_bytes(b""),
        lambda: (place / "sums.json").unlink(),
        lambda: (place / "sums.json").write_text("[]"),
        lambda: (place / "more").touch(),
    ):
        damage()
        assert not cache.holds("pixels", {"size": 96})
        assert cache.once("pixels", {"size": 96}, pixels) == place
        assert (place / "pixels.npy").read_bytes() == bytes(1000)
        assert cache.holds("pixels", {"size": 96})
    assert sorted(path.suffix for path in (tmp_path / "pixels").iterdir()) == ["", ".intact", ".lock"]


def test_damage_that_keeps_size_and_times_is_found_after_a_reboot(tmp_path: Path) -> None:
    place = Cache(tmp_path).once("pixels", {}, pixels)
    before = (place / "pixels.npy").stat()
    with (place / "pixels.npy").open("r+b") as file:
        file.write(b"bit rot")
    os.utime(place / "pixels.npy", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert intact(place)
    note = tmp_path / "pixels" / f"{place.name}.intact"
    note.write_text(note.read_text().replace(json.loads(note.read_text())[0], "anotherboot"))
    assert not intact(place)


def test_damaged_rows_are_not_read_and_count_as_missing(tmp_path: Path) -> None:
    def rows() -> Rows:
        return Rows(tmp_path / "rows.npy", (6,), np.float32, 2)

    for chunk in range(3):
        rows().write(chunk, np.array([chunk, chunk]))
    assert rows().complete()
    settled()
    spoil(tmp_path / "rows.npy", -9)
    with pytest.raises(Damaged, match=r"rows slice\(2, 4, None\) of `.*rows.npy` are damaged"):
        rows().read()
    assert [rows().done(chunk) for chunk in range(3)] == [True, False, True]
    rows().write(1, np.array([1, 1]))
    assert rows().complete()
    assert rows().read().tolist() == [0, 0, 1, 1, 2, 2]
    settled()


def test_damaged_rows_are_found_all_at_once(tmp_path: Path) -> None:
    rows = Rows(tmp_path / "rows.npy", (6,), np.float32, 2)
    for chunk in range(3):
        rows.write(chunk, np.array([chunk, chunk]))
    for marker in tmp_path.glob("rows.[02].*.done"):
        marker.write_text("")
    with pytest.raises(Damaged, match=r"rows slice\(0, 2, None\)"):
        rows.read()
    assert [rows.done(chunk) for chunk in range(3)] == [False, True, False]


def test_rows_that_were_settled_are_compared_after_a_reboot(tmp_path: Path) -> None:
    first = Rows(tmp_path / "rows.npy", (4,), np.float32, 2)
    first.write(0, np.array([1, 2]))
    first.write(1, np.array([3, 4]))
    assert first.complete()
    settled()
    for marker in tmp_path.glob("rows.[01].*.done"):
        marker.unlink()
    spoil(tmp_path / "rows.npy")
    second = Rows(tmp_path / "rows.npy", (4,), np.float32, 2)
    assert second.complete()
    with pytest.raises(Damaged, match=r"rows slice\(2, 4, None\)"):
        second.read()
    assert [second.done(chunk) for chunk in range(2)] == [True, False]
    assert second.read().tolist()[:2] == [1, 2]


def test_what_a_killed_builder_left_is_swept_away(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    place = cache.place("pixels", {"data": "a"})
    for left in ("1234.part", "1234.bad"):
        place.with_name(f"{place.name}.{left}").mkdir(parents=True)
        (place.with_name(f"{place.name}.{left}") / "pixels.npy").write_bytes(b"half")
    other = place.with_name("other.5678.part")
    other.mkdir()
    cache.once("pixels", {"data": "a"}, lambda folder: (folder / "pixels.npy").touch())
    assert sorted(path.name for path in place.parent.iterdir() if path.is_dir()) == sorted([place.name, other.name])


def test_many_at_once_make_one_file(tmp_path: Path) -> None:
    def fill(chunk: int) -> None:
        Rows(tmp_path / "rows.npy", (16,), np.int64, 2).write(chunk, np.array([chunk, chunk]))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(fill, range(8)))
    rows = Rows(tmp_path / "rows.npy", (16,), np.int64, 2)
    assert rows.complete()
    assert rows.read().tolist() == np.repeat(np.arange(8), 2).tolist()
    settled()
    assert not list(tmp_path.glob("*.part"))


def test_a_lock_ends_with_the_process_that_holds_it(tmp_path: Path) -> None:
    lock = tmp_path / "0.lock"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(lock)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "holds True\n"
        with locked(lock, wait=False) as ours:
            assert not ours
        os.kill(holder.pid, signal.SIGKILL)
        with locked(lock) as ours:
            assert ours


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    write_aside(path, "old")
    write_aside(path, "Löwchen")
    assert path.read_text(encoding="utf-8") == "Löwchen"
    assert [item.name for item in tmp_path.iterdir()] == ["split.json"]


def test_rows_need_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*given: object, **more: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    Rows(tmp_path / "rows.npy", (4,), np.int64, 2).write(1, np.array([3, 4]))
    again = Rows(tmp_path / "rows.npy", (4,), np.int64, 2)
    again.write(0, np.array([1, 2]))
    assert again.read().tolist() == [1, 2, 3, 4]
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named_with_the_option(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*given: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    rule = f"^--runs-dir needs a folder on a file system with file locks, and `{tmp_path}/a` is on one without: "
    with pytest.raises(OSError, match=rule + os.strerror(number)):
        check_folder(tmp_path / "a", "--runs-dir")
    assert list((tmp_path / "a").iterdir()) == []
    with (
        pytest.raises(OSError, match="no file locks here; choose another folder with --cache-dir or") as raised,
        locked(tmp_path / "b.lock"),
    ):
        pass
    assert (raised.value.errno, raised.value.filename) == (number, str(tmp_path / "b.lock"))


def test_room_is_taken_where_the_system_cannot_take_it_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fallocate(*given: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", fallocate)
    array = new_array(tmp_path / "a.npy", np.uint8, (3, 1_000_000))
    assert not array.any()
    assert (tmp_path / "a.npy").stat().st_blocks * 512 >= 3_000_000
    array[2] = 7
    array.flush()
    assert np.load(tmp_path / "a.npy").sum() == 7_000_000
