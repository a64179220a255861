"""Full disks, a cache that goes away or rots in mid-run, who may write what, and one driver for a run."""

import json
import os
import shutil
import stat
import subprocess
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray.tune import TuneError

from search import run as command
from search.data.cache import locked, settled
from search.data.pictures import Pictures, prepare
from search.record.journal import Journal
from search.run import told, unwritten
from search.settings import Settings
from search.training.activations import Source

# What is written into a file system of 2 MB, of which the first argument is the folder; says what came of each.
FULL = """
import json, sys
from pathlib import Path
import numpy as np
from search.data.cache import Cache, Rows, new_array, write_aside
from search.record.journal import Journal, Record
from results.markup import write_aside as write_document
place = Path(sys.argv[1])
said = {}

def tried(name, write):
    try:
        write()
    except OSError as error:
        said[name] = [error.errno, str(error.filename), str(error)]

journal = Journal(place / "trials.jsonl")
journal.records["a-000"] = Record("a-000", "a", {}, {})
journal.start("a-000")
(place / "report.html").write_text("the old report")
tried("array", lambda: new_array(place / "pixels.npy", np.uint8, (4_000_000,)))
tried("activations", lambda: Rows(place / "activations" / "cut-1.npy", (2000, 1000), np.float16, 64))
tried("entry", lambda: Cache(place).once("treated", {}, lambda folder: (folder / "a").write_bytes(bytes(4_000_000))))
tried("model", lambda: write_aside(place / "a.keras", bytes(4_000_000)))
tried("report", lambda: write_document(place / "report.html", "a" * 4_000_000))
left = sorted(path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file())
filler = (place / "filler").open("wb", buffering=0)
try:
    while filler.write(bytes(4096)):
        pass
except OSError:
    pass

def rows():
    for epoch in range(1, 100_000):
        journal.write("retry", "a-000", "a", reason="x" * 1000)

tried("rows", rows)
before = (place / "trials.jsonl").read_bytes()
failed = str(journal.failed)
filler.close()
(place / "filler").unlink()
journal.write("retry", "a-000", "a", reason="after room was made")
journal.close()
lines = (place / "trials.jsonl").read_bytes()
whole = [json.loads(line)["event"] for line in lines.splitlines()]
print(json.dumps({
    "said": said, "left": left, "whole": lines.startswith(before) and before.endswith(b"\\n") and len(whole) > 2,
    "failed": failed, "report": (place / "report.html").read_text(),
}))
"""

# A search on a file system of its own, which is filled once there are epochs, then read-only, then neither.
SEARCHED = """
import json, subprocess, sys, time
from pathlib import Path
place, *options = sys.argv[1:]
run, filler = Path(place, "runs", "full"), Path(place, "filler")
said = []

def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "search.run", *arguments, "--dashboard", "off"], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )

def end(driver):
    text, _ = driver.communicate()
    said.append([driver.returncode, text])

def mount(how):
    subprocess.run(["mount", "-o", f"remount,{how}", place], check=True)

driver = start(*options, "--runs-dir", str(run.parent), "--name", "full")
rows = run / "trials.jsonl"
while driver.poll() is None and not (rows.exists() and '"epoch"' in rows.read_text()):
    time.sleep(0.05)
with filler.open("wb", buffering=0) as file:
    try:
        while file.write(bytes(4096)):
            pass
    except OSError:
        pass
end(driver)
mount("ro")
end(start("--resume", str(run)))
mount("rw")
filler.unlink()
end(start("--resume", str(run)))
from tests.benchmarks.faults import violations
print(json.dumps({"said": said, "violations": violations(run, 0), "report": (run / "report.html").exists()}))
"""
needs_mounts = pytest.mark.skipif(
    shutil.which("unshare") is None or subprocess.run(["unshare", "-m", "true"], check=False).returncode != 0,
    reason="needs the right to mount a small file system: root, and unshare",
)


def on_a_small_disk(size: str, place: Path, script: str, *arguments: str) -> dict[str, Any]:
    """What a script says, as JSON in its last line, that is given a folder which is a file system of this size."""
    mounted = f'mount -t tmpfs -o size={size} tmpfs "$1" && shift && exec "$@"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", mounted, "sh", str(place), sys.executable, "-c", script, str(place), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@needs_mounts
def test_a_full_disk_is_named_and_nothing_is_torn(tmp_path: Path) -> None:
    found = on_a_small_disk("2m", tmp_path, FULL)
    assert {name: number for name, (number, _, _) in found["said"].items()} == dict.fromkeys(
        ("array", "activations", "entry", "model", "report", "rows"), 28
    )
    paths = {name: path for name, (_, path, _) in found["said"].items()}
    assert paths["array"] == str(tmp_path / "pixels.npy")
    assert paths["activations"].startswith(str(tmp_path / "activations"))
    assert paths["model"] == str(tmp_path / "a.keras")
    assert paths["report"] == str(tmp_path / "report.html")
    assert paths["rows"] == str(tmp_path / "trials.jsonl")
    assert "the rows of the run cannot be written" in found["failed"]
    assert "No space left on device: needs 4.0 MB" in found["said"]["array"][2]
    # Nothing half written stays, and what was there is as it was.
    assert [name for name in found["left"] if not name.endswith(".lock")] == ["report.html", "trials.jsonl"]
    assert found["report"] == "the old report"
    assert found["whole"]


@pytest.mark.slow
@needs_mounts
def test_a_search_whose_disk_fills_up_says_so_and_goes_on_once_there_is_room(drawn: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    options = ["--families", "scratch_keras", "--trials", "3", "--epochs", "4", "--image-sizes", "32"]
    options += ["--final-seeds", "1", "--cache-dir", str(tmp_path / "cache")]
    found = on_a_small_disk("64m", tmp_path / "disk", SEARCHED, str(drawn), *options)
    (full, full_text), (locked_out, locked_text), (done, done_text) = found["said"]
    assert full == 2, full_text
    assert "No space left on device" in full_text
    assert "make room there" in full_text
    assert "--resume" in full_text
    assert locked_out == 2, locked_text
    assert "Read-only file system" in locked_text
    assert f"`{tmp_path}/disk/runs` cannot" in locked_text
    assert done == 0, done_text
    assert found["violations"] == []
    assert found["report"]


def test_a_message_of_a_full_disk_says_the_way_out() -> None:
    said = told(OSError(28, "No space left on device", "/runs/a/trials.jsonl"))
    assert said.startswith("[Errno 28] No space left on device: '/runs/a/trials.jsonl'; make room there")
    assert "--cache-dir" in said
    assert "--resume" in said
    assert told(ValueError("needs 2 or more, got 1")) == "needs 2 or more, got 1"


@pytest.fixture
def own(drawn: Path, tmp_path: Path) -> tuple[Settings, Pictures]:
    """The drawn folder with a cache of its own."""
    settings = Settings(data=str(drawn), image_sizes=(32,), cache_dir=str(tmp_path / "cache"))
    found, _ = prepare(settings, 2, lambda line: None)
    return settings, replace(found, weights={("MobileNet", 0.25): None})


def test_activations_are_computed_again_where_the_cache_is_deleted_or_rots(own: tuple[Settings, Pictures]) -> None:
    _, pictures = own
    source = Source(pictures, pictures.train, "MobileNet", 0.25, 32)
    first = np.array(source.read(None, "none", 0))
    settled()
    shutil.rmtree(pictures.cache / "activations")
    np.testing.assert_allclose(source.read(None, "none", 0), first, atol=0.05)
    settled()
    (file,) = pictures.cache.glob("activations/*/pooled.npy")
    content = bytearray(file.read_bytes())
    content[-3] ^= 64
    file.write_bytes(content)
    # As a process finds it that has not compared these rows yet.
    from search.data.cache import _compared

    _compared.clear()
    np.testing.assert_allclose(source.read(None, "none", 0), first, atol=0.05)


def test_pixels_that_rot_are_not_trained_on_and_the_next_start_decodes_anew(own: tuple[Settings, Pictures]) -> None:
    settings, pictures = own
    pack = pictures.packs[32, "bilinear"].path
    content = bytearray(pack.read_bytes())
    content[-3] ^= 64
    pack.write_bytes(content)
    with pytest.raises(OSError, match=r"pixels.npy` in the cache is gone or damaged; the next start, or --resume, dec"):
        pictures.pixels(32)
    content[-3] ^= 64
    again, _ = prepare(settings, 2, lambda line: None)
    assert pack.read_bytes() == bytes(content)
    assert again.pixels(32).shape == (96, 32, 32, 3)
    shutil.rmtree(settings.cache)
    with pytest.raises(OSError, match="is gone or damaged"):
        pictures.pixels(32)
    assert prepare(settings, 2, lambda line: None)[0].pixels(32).shape == (96, 32, 32, 3)


def given(drawn: Path, tmp_path: Path, *more: str) -> list[str]:
    return [str(drawn), "--runs-dir", str(tmp_path / "runs"), "--cache-dir", str(tmp_path / "cache"), *more]


def test_two_drivers_of_one_run_are_refused(drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings(data=str(drawn), runs_dir=str(tmp_path / "runs"), name="one", cache_dir=str(tmp_path / "cache"))
    settings.folder.mkdir(parents=True)
    (settings.folder / "settings.json").write_text(settings.to_json())
    before = settings.to_json()
    with locked(settings.folder / "lock") as ours:
        assert ours
        assert command.main(["--resume", str(settings.folder)]) == 2
    assert capsys.readouterr().err.endswith(f"another process is at work in `{settings.folder}`\n")
    assert (settings.folder / "settings.json").read_text() == before


def test_nobody_else_can_write_a_run(drawn: Path, tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        assert command.main(given(drawn, tmp_path, "--name", "a", "--image-sizes", "32", "--explore")) == 0
    finally:
        os.umask(mask)
    written = [path for path in (tmp_path / "runs", tmp_path / "cache") for path in (path, *path.rglob("*"))]
    assert len(written) > 10
    assert [path for path in written if path.stat().st_mode & stat.S_IWOTH] == []


def test_times_of_rows_do_not_follow_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path / "trials.jsonl")
    monkeypatch.setattr("time.time", lambda: 0.0)
    journal.write("retry", "a-000", "a", reason="")
    monkeypatch.setattr("time.time", lambda: 4e9)
    journal.write("retry", "a-000", "a", reason="")
    journal.close()
    times: list[Any] = [row["time"] for row in journal.rows]
    assert 0 <= times[0] <= times[1] < 600


def test_a_file_that_cannot_be_written_is_found_behind_what_tune_says() -> None:
    full = OSError(28, "No space left on device", "/runs/a/models/mobilenet.keras")

    def as_tune_does() -> None:
        try:
            raise full
        except OSError:
            raise TuneError(traceback.format_exc())  # noqa: B904

    with pytest.raises(TuneError) as told_by_text:
        as_tune_does()
    assert unwritten(told_by_text.value) is full
    assert unwritten(TuneError("no callback")) is None
    assert unwritten(full) is None
