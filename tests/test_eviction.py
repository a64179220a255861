"""A cache within a size: what goes, what stays, and who keeps it from going."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from search import commands
from search.data.cache import Cache, Rows, intact, settled
from search.data.eviction import entries, kept_within, trim, using
from search.progress import shown_size
from search.settings import storage

ROOT = Path(__file__).resolve().parent.parent
KB = 1000


def built(root: Path, kind: str, name: str, size: int, used: float) -> Path:
    """An entry of a cache with so many bytes beside its own two files, last used at a time."""
    place = Cache(root).once(kind, {"name": name}, lambda folder: write(folder / "values", size))
    os.utime(place, (used, used))
    return place


def write(path: Path, size: int) -> None:
    path.write_bytes(bytes(size))


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    old, middle, new = (
        built(tmp_path, kind, kind, 10 * KB, used)
        for kind, used in (("activations", 100.0), ("pixels", 200.0), ("treated", 300.0))
    )
    assert [entry.path for entry in entries(tmp_path)] == [old, middle, new]
    assert [entry.kind for entry in entries(tmp_path)] == ["activations", "pixels", "treated"]
    total = sum(entry.size for entry in entries(tmp_path))
    assert total > 30 * KB
    assert trim(tmp_path, total) == 0
    assert trim(tmp_path, 25 * KB) == pytest.approx(total / 3, abs=100)
    assert (old.exists(), middle.exists(), new.exists()) == (False, True, True)
    assert not list(old.parent.iterdir()), "nor is anything of it left"
    # Who asks for the oldest makes it the newest.
    assert Cache(tmp_path).holds("pixels", {"name": "pixels"})
    trim(tmp_path, 15 * KB)
    assert (middle.exists(), new.exists()) == (True, False)
    assert intact(middle)
    trim(tmp_path, 0)
    assert entries(tmp_path) == []
    assert built(tmp_path, "pixels", "pixels", KB, 0.0) == middle, "it is built anew"


def test_rows_that_are_read_count_as_used(tmp_path: Path) -> None:
    rows = Rows(tmp_path / "activations" / "a" / "pooled.npy", (4, 2), "float16", 4)
    rows.write(0, rows.read()[:4])
    os.utime(rows.path.parent, (100.0, 100.0))
    Rows(rows.path, (4, 2), "float16", 4).read()
    (entry,) = entries(tmp_path)
    assert entry.used > 100.0
    settled()


def test_what_is_no_entry_stays(tmp_path: Path) -> None:
    for place in (
        "fetched/data/a.jpg",
        "unpacked/b.jpg",
        "demo-4/c.png",
        "home/.ray/auth_token",
        "runs/x/trials.jsonl",
    ):
        (tmp_path / place).parent.mkdir(parents=True)
        write(tmp_path / place, KB)
    half = tmp_path / "pixels" / "abc.1234.part"
    half.mkdir(parents=True)
    write(half / "pixels.npy", KB)
    kept = built(tmp_path, "pixels", "kept", KB, 100.0)
    assert trim(tmp_path, 10 * KB) == KB
    assert not half.exists(), "nobody goes on with what was half made"
    assert kept.exists()
    trim(tmp_path, 0)
    assert not kept.exists()
    assert len(list(tmp_path.rglob("*.*g"))) == 3
    assert (tmp_path / "home/.ray/auth_token").exists()


def test_nothing_goes_while_somebody_uses_the_cache(tmp_path: Path) -> None:
    entry = built(tmp_path, "pixels", "own", KB, 100.0)
    with using(tmp_path), using(tmp_path):
        assert trim(tmp_path, 0) is None
    assert entry.exists()
    assert not list((tmp_path / "users").iterdir())
    program = "import sys; from pathlib import Path; from search.data.eviction import attend; "
    program += "attend(Path(sys.argv[1]), None); print('uses it', flush=True); sys.stdin.read()"
    other = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"uses it\n"
        assert trim(tmp_path, 0) is None
        other.kill()
    assert list((tmp_path / "users").iterdir()), "it could not take back that it used the cache"
    assert trim(tmp_path, 0) == pytest.approx(KB, abs=500)
    assert not list((tmp_path / "users").iterdir())


def test_a_run_brings_the_cache_to_its_limit_before_and_after(tmp_path: Path) -> None:
    old = built(tmp_path, "pixels", "old", 10 * KB, 100.0)
    told: list[int] = []
    with kept_within(tmp_path, 5 * KB, told.append):
        assert not old.exists()
        own = built(tmp_path, "pixels", "own", 10 * KB, 200.0)
        new = built(tmp_path, "pixels", "new", 4 * KB, 300.0)
        assert own.exists()
    assert (own.exists(), new.exists()) == (False, True)
    assert [round(size / KB) for size in told] == [10, 10]
    with kept_within(tmp_path, None, told.append), kept_within(tmp_path, 0, told.append):
        pass
    assert new.exists(), "the other one used it"
    assert len(told) == 2


def test_a_process_attends_for_as_long_as_it_lives(tmp_path: Path) -> None:
    entry = built(tmp_path, "pixels", "old", KB, 100.0)
    program = "import sys; from pathlib import Path; from search.data.eviction import attend, trim; "
    program += "root = Path(sys.argv[1]); attend(root, 0); print(list((root / 'pixels').iterdir()), trim(root, 0))"
    told = subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert told.stdout == "[] None\n", told.stderr
    assert not entry.exists()


@pytest.mark.parametrize(
    ("text", "size"),
    [("20GB", 20 * 10**9), ("1.5 tb", 1.5 * 10**12), ("500MB", 5 * 10**8), ("12", 12), ("3 kB", 3000), ("0", 0)],
)
def test_a_size_is_read(text: str, size: float) -> None:
    assert storage(text) == size


@pytest.mark.parametrize("text", ["", "GB", "20 pounds", "-1GB", "1e400", "nan", "2GBGB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="needs a size"):
        storage(text)


def test_a_size_is_shown() -> None:
    assert [shown_size(size) for size in (0, 999, 1500, 2.5e6, 20e9, 1234e9, 5e15)] == [
        *("0 B", "999 B", "1.5 KB", "2.5 MB", "20 GB", "1.23 TB", "5,000 TB")
    ]


def test_the_cache_is_shown_and_made_smaller(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["cache", "--cache-dir", str(tmp_path)]
    built(tmp_path, "pixels", "a", 10 * KB, 86400.0 * 366)
    built(tmp_path, "treated", "b", 20 * KB, 86400.0 * 800)
    (tmp_path / "fetched").mkdir()
    assert commands.main(given) == 0
    told = capsys.readouterr().out
    assert [line.split()[0] for line in told.splitlines()] == [f"{tmp_path}:", "pixels", "treated", "fetched"]
    assert "1 entry, last used 1971-01-02" in told
    assert commands.main([*given, "--limit", "25KB"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("10.")
    assert "that were used longest ago are removed" in told
    assert "pixels" not in told.partition("removed")[2]
    with using(tmp_path):
        assert commands.main([*given, "--limit", "0"]) == 2
    assert "a search is at work with" in capsys.readouterr().err
    assert len(entries(tmp_path)) == 1
    assert commands.main(["cache", "--cache-dir", str(tmp_path / "none")]) == 0
    assert "nothing is at" in capsys.readouterr().out
