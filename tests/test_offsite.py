"""Runs whose folders are mirrored to an object store, and go on elsewhere."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from stores import LACKING, MOTO, put, serving
from written_run import write_run

import search.commands as program
from results.__main__ import main as results_main
from results.rows import read_rows
from search import interface, parsing, starting
from search import run as command
from search.data import remote
from search.data.cache import locked
from search.record import offsite
from search.record.offsite import Offsite, bring_back, checked, fetch_run, local_folder
from search.settings import Settings
from tests.benchmarks.faults import descendants, outlive, violations

needs_moto = pytest.mark.skipif(not MOTO, reason=LACKING)

START = '{"event": "start", "time": 1.0, "trial": "a-000", "family": "a", "config": {}}\n'
END = '{"event": "end", "time": 2.0, "trial": "a-000", "family": "a", "status": "finished", "reason": ""}\n'


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, int]]:
    with serving("bucket") as found:
        yield found


@pytest.fixture
def store(server: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The store, emptied, with short pauses between rounds."""
    monkeypatch.setattr(offsite, "LEAST", 0.02)
    monkeypatch.setattr(offsite, "PAUSE", 0.02)
    found = remote.open_store("s3", "bucket", anonymous=False)
    found.delete_dir_contents("bucket", missing_dir_ok=True)
    return found


def names(store: Any, root: str = "bucket/runs/far") -> list[str]:
    return sorted(one.name for one in remote.files_below(store, root, allow_not_found=True))


def content(store: Any, name: str) -> bytes:
    with store.open_input_stream(f"bucket/runs/far/{name}") as stream:
        found: bytes = stream.read()
    return found


def begun(place: Path) -> Path:
    """A run folder in mid-run, with what is not mirrored beside the rest."""
    folder = place / "far"
    for name, text in {
        "settings.json": "{}", "trials.jsonl": START, "models/a.keras": "a model", "checkpoints/a-000.npz": "a state",
        "lock": "", "trackers/mlflow.lock": "", "report.html.0123.part": "half", "tune/state.json": "{}",
    }.items():  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def mirrored(
    folder: Path,
    *,
    resume: bool = False,
    say: Callable[[str], None] = lambda line: None,
    root: str = "bucket/runs/far",
) -> list[str]:
    """Mirrors a folder once; the names of what was written, in their order."""
    written: list[str] = []
    whole = offsite._write

    def noted(store: Any, path: str, content: bytes) -> None:
        written.append(path.removeprefix(f"{root}/"))
        whole(store, path, content)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(offsite, "_write", noted)
        mirror = Offsite("s3://bucket/runs", folder, say)
        mirror.claim(resume=resume)
        with mirror:
            mirror.begin()
    return [name for name in written if name != "holder.json" and not name.startswith(".probe")]


def wait_for(holds: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


@needs_moto
def test_a_folder_is_mirrored_and_then_only_what_changed(store: Any, tmp_path: Path) -> None:
    folder = begun(tmp_path)
    said: list[str] = []
    # What rows speak of goes before them, and checkpoints go after them.
    assert mirrored(folder, say=said.append) == [
        "models/a.keras", "settings.json", "trials.jsonl", "checkpoints/a-000.npz",
    ]  # fmt: skip
    assert names(store) == ["checkpoints/a-000.npz", "models/a.keras", "settings.json", "trials.jsonl"]
    assert content(store, "models/a.keras") == b"a model"
    assert said == [
        f"the run lies in `{folder}` and is mirrored to s3://bucket/runs/far", "mirrored to s3://bucket/runs/far",
    ]  # fmt: skip
    # A driver that was killed has torn the last line.
    (folder / "trials.jsonl").write_text(START + END + '{"event": "sta')
    (folder / "checkpoints/a-000.npz").unlink()
    assert mirrored(folder, resume=True) == ["trials.jsonl"]
    assert content(store, "trials.jsonl").decode() == START + END
    assert names(store) == ["models/a.keras", "settings.json", "trials.jsonl"]
    assert mirrored(folder, resume=True) == []


@needs_moto
def test_an_end_is_mirrored_while_the_search_goes_on(store: Any, tmp_path: Path) -> None:
    folder = begun(tmp_path)
    mirror = Offsite("s3://bucket/runs", folder, lambda line: None)
    mirror.claim(resume=False)
    with mirror:
        mirror.begin()
        wait_for(lambda: "trials.jsonl" in names(store))
        assert "holder.json" in names(store)
        with (folder / "trials.jsonl").open("a") as rows:
            rows.write(END)
        wait_for(lambda: content(store, "trials.jsonl").decode() == START + END)
    assert "holder.json" not in names(store)


@needs_moto
def test_a_run_is_fetched_elsewhere_and_goes_on_there(store: Any, tmp_path: Path) -> None:
    folder = begun(tmp_path)
    mirrored(folder)
    there = bring_back("s3://bucket/runs/far/", tmp_path / "cache", lambda line: None)
    assert there == tmp_path / "cache/mirrored/s3/bucket/runs/far"
    found = {path.relative_to(there).as_posix(): path.read_text() for path in there.rglob("*") if path.is_file()}
    assert found.pop("mirror.json")
    assert found == {
        "settings.json": "{}", "trials.jsonl": START, "models/a.keras": "a model", "checkpoints/a-000.npz": "a state",
    }  # fmt: skip
    with (there / "trials.jsonl").open("a") as rows:
        rows.write(END)
    # What it was fetched with is there already.
    assert mirrored(there, resume=True) == ["trials.jsonl"]
    # The first machine's folder is behind, and is not taken for the run.
    with pytest.raises(
        FileExistsError, match=r"would lose what the mirror `s3://bucket/runs/far` has .*, 1 row: --resume s3://"
    ):
        Offsite("s3://bucket/runs", folder, print).claim(resume=True)
    assert "holder.json" not in names(store)


@needs_moto
def test_a_folder_that_is_here_is_used_replaced_or_refused(store: Any, tmp_path: Path) -> None:
    address, cache = "s3://bucket/runs/far", tmp_path / "cache"
    mirrored(begun(tmp_path))
    here = bring_back(address, cache, print)
    (here / "notes.txt").write_text("mine")
    assert bring_back(address, cache, print) == here
    assert (here / "notes.txt").exists()
    # The mirror has gone on.
    offsite._write(store, "bucket/runs/far/trials.jsonl", f"{START}{END}".encode() + b'{"ev')
    assert (bring_back(address, cache, print) / "trials.jsonl").read_text() == START + END
    assert not (here / "notes.txt").exists()
    # So has the folder.
    (here / "trials.jsonl").write_text(START + END + END)
    with pytest.raises(
        FileExistsError, match=rf"--resume would lose what `{here}` has beyond its mirror .*, 1 row: --resume {here}"
    ):
        bring_back(address, cache, print)
    (here / "trials.jsonl").write_text(START + START)
    with pytest.raises(FileExistsError, match=r"have gone on apart, and each has rows that the other lacks; remove"):
        bring_back(address, cache, print)
    with pytest.raises(FileExistsError, match=rf"gone on apart, .*; --resume {here} --runs-dir {here.parent} goes on"):
        Offsite("s3://bucket/runs", here, print).claim(resume=True)
    with locked(here / "lock"):
        program = f"from search.record.offsite import bring_back; from pathlib import Path; bring_back({address!r}, "
        done = subprocess.run(
            [sys.executable, "-c", f"{program}Path({str(cache)!r}), print)"], capture_output=True, text=True
        )
    assert f"a run has one driver, and another process is at work in `{here}`" in done.stderr


@needs_moto
def test_a_mirror_has_one_driver(store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = begun(tmp_path / "one"), begun(tmp_path / "two")
    held = Offsite("s3://bucket/runs", first, lambda line: None)
    held.claim(resume=False)
    alive = (
        r"a run has one driver, and that of `s3://bucket/runs/far` was at work \d+ s ago: process \d+ on .*; the same"
    )
    with pytest.raises(BlockingIOError, match=alive):
        Offsite("s3://bucket/runs", second, print).claim(resume=True)
    with pytest.raises(BlockingIOError, match=alive):
        bring_back("s3://bucket/runs/far", tmp_path / "cache", print)
    # One whose process is seen to be gone is not waited for, and of another machine's nobody knows.
    told = json.loads(content(store, "holder.json"))
    for changed, dead in (({"began": 1.0}, True), ({"space": "another boot", "began": 1.0}, False)):
        assert offsite._is_dead({**told, **changed}) is dead
    assert not offsite._is_dead({})
    monkeypatch.setattr(offsite, "HELD", 0.0)
    taking = Offsite("s3://bucket/runs", second, lambda line: None)
    taking.claim(resume=True)
    said: list[str] = []
    held._say = said.append
    with (
        pytest.raises(OSError, match=rf"`s3://bucket/runs/far` has been taken over by process \d+ on .*`{first}`"),
        held,
    ):
        held.begin()
    assert said[1].endswith("; the search goes on here")
    # And nothing of it has arrived.
    assert names(store) == ["holder.json"]


@needs_moto
def test_a_store_that_does_not_answer_is_said_once_and_tried_again(
    server: tuple[str, int], store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"CONNECT": 0.3, "SILENCE": 0.3, "ATTEMPTS": 1}.items():
        monkeypatch.setattr(remote, name, value)
    monkeypatch.setattr(offsite, "MOST", 0.1)
    folder, said = begun(tmp_path), list[str]()
    mirror = Offsite("s3://bucket/runs", folder, said.append)
    mirror.claim(resume=False)
    with mirror:
        mirror.begin()
        wait_for(lambda: "trials.jsonl" in names(store))
        os.kill(server[1], signal.SIGSTOP)
        try:
            with (folder / "trials.jsonl").open("a") as rows:
                rows.write(END)
            wait_for(lambda: len(said) == 2)
            time.sleep(0.5)  # for another attempt, of which nothing is said
        finally:
            os.kill(server[1], signal.SIGCONT)
        wait_for(lambda: len(said) == 3)
    assert said[1].startswith("s3://bucket/runs/far cannot be written (")
    assert said[1].endswith(f"the search goes on, all of it is in `{folder}`, and the mirror is tried again")
    assert said[2:] == ["s3://bucket/runs/far is mirrored again", "mirrored to s3://bucket/runs/far"]
    assert content(store, "trials.jsonl").decode() == START + END


@needs_moto
def test_the_end_fails_where_the_last_state_does_not_arrive(store: Any, tmp_path: Path) -> None:
    folder = begun(tmp_path)
    mirror = Offsite("s3://bucket/runs", folder, lambda line: None)
    mirror.claim(resume=False)
    mirror._store = remote.open_store("s3", "bucket", anonymous=False)
    mirror._root = "gone/runs/far"
    with (
        pytest.raises(
            OSError,
            match=rf"the last state of the run is not mirrored .*NO_SUCH_BUCKET.*; all of it is in `{folder}`, and",
        ),
        mirror,
    ):
        mirror.begin()
    # What ended the search is what counts.
    said: list[str] = []
    again = Offsite("s3://bucket/others", folder, said.append)
    again.claim(resume=True)
    again._root = "gone/runs/far"

    def searched() -> None:
        with again:
            again.begin()
            raise ValueError("the search")

    with pytest.raises(ValueError, match="the search"):
        searched()
    assert said[-1].startswith("the last state of the run is not mirrored to `s3://bucket/others/far` (")


@needs_moto
def test_input_that_is_refused_leaves_nothing_in_the_store(
    store: Any, drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = [str(drawn), "--runs-dir", "s3://bucket/runs", "--name", "far", "--cache-dir", str(tmp_path)]
    assert command.main([*line, "--classes", "99", "--weights", "none"]) == 2
    assert "needs classes <= 4, the classes there are, got 99" in capsys.readouterr().err
    assert names(store) == []
    assert not list(tmp_path.glob("mirrored/s3/bucket/runs/*"))


@needs_moto
def test_a_name_that_is_taken_in_the_store(
    store: Any, drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mirrored(begun(tmp_path))
    line = [str(drawn), "--runs-dir", "s3://bucket/runs/", "--name", "far", "--cache-dir", str(tmp_path / "cache")]
    assert command.main(line) == 2
    assert (
        "a run needs a name of its own, and `s3://bucket/runs/far` exists; choose another with --name, or go on with "
        "--resume s3://bucket/runs/far" in capsys.readouterr().err
    )


@needs_moto
def test_what_is_no_run_in_the_store(store: Any, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no `settings.json` at `s3://bucket/runs/none`"):
        bring_back("s3://bucket/runs/none", tmp_path, print)
    with pytest.raises(FileNotFoundError, match=r"the run needs to be there, and there is nothing at `s3://bucket/a`"):
        fetch_run("s3://bucket/a", tmp_path, print)
    with pytest.raises(
        FileNotFoundError, match=r"--runs-dir needs a place in a bucket that is there, got `s3://gone/a/"
    ):
        Offsite("s3://gone/a", tmp_path, print).claim(resume=False)
    put(os.environ["AWS_ENDPOINT_URL"], "bucket/a/report.html", b"x")
    with pytest.raises(
        FileNotFoundError, match=r"needs the mirror of a run, and there is no `trials.jsonl` at `s3://b"
    ):
        fetch_run("s3://bucket/a", tmp_path, print)


class Closed(BaseHTTPRequestHandler):
    """A store in which nobody may do anything."""

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
        self.send_response(403)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(0 if self.command == "HEAD" else len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_DELETE = do_PUT

    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_a_store_that_refuses_or_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "wrong", "AWS_DEFAULT_REGION": "us-east-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    with ThreadingHTTPServer(("127.0.0.1", 0), Closed) as closed:
        thread = threading.Thread(target=closed.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{closed.server_port}")
        try:
            with pytest.raises(
                PermissionError,
                match=r"needs a place that can be written, and `s3://b1/a/.*` gives no permission; cr",
            ):
                Offsite("s3://b1/a", tmp_path, print).claim(resume=False)
        finally:
            closed.shutdown()
            thread.join()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    way_out = f"--resume {tmp_path} --runs-dir {tmp_path.parent} goes on without the mirror"
    with pytest.raises(
        OSError, match=rf"needs a place that answers, and `s3://b1/a/.*` cannot be reached: .*; {way_out}"
    ):
        Offsite("s3://b1/a", tmp_path, print).claim(resume=True)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("https://a.org/runs", r"--runs-dir needs a folder of this machine or an address that begins with s3:// or gs"),
        ("s3://", r"--runs-dir needs the form s3://BUCKET/FOLDER, got `s3://`"),
        ("s3://bucket/a/../b", r"--runs-dir needs the form s3://BUCKET/FOLDER, got `s3://bucket/a/\.\./b`"),
        ("gs://bucket//a", r"--runs-dir needs the form gs://BUCKET/FOLDER, got `gs://bucket//a`"),
        ("s3://ann:pw@bucket/a", r"needs an address without a password, got one in that of `s3://bucket`"),
    ],
)
def test_addresses_that_hold_no_runs(address: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        starting.begun({"runs_dir": address})


def test_the_folder_of_a_run_with_an_address_lies_in_the_cache(tmp_path: Path) -> None:
    given = parsing.options(["--runs-dir", "gs://bucket/my runs/", "--cache-dir", str(tmp_path), "--name", "far"])
    settings = starting.begun(given)
    assert settings.offsite == "gs://bucket/my runs"
    assert settings.folder == tmp_path / "mirrored/gs/bucket/my runs/far"
    assert Settings.from_json(settings.to_json()) == settings
    assert local_folder("s3://b1/far", tmp_path) == tmp_path / "mirrored/s3/b1/far"
    assert starting.place_of_run("gs://bucket/my runs/far", given) == settings.folder
    with pytest.raises(ValueError, match=r"--resume needs the form s3://BUCKET/FOLDER, got `s3://bucket`"):
        checked("s3://bucket", "--resume")
    with pytest.raises(ValueError, match=r"`runs_dir` needs a folder of this machine, got 's3://b1/a'"):
        Settings(runs_dir="s3://b1/a")
    with pytest.raises(ValueError, match=r"`offsite` needs an address s3://BUCKET/FOLDER or .*, got 'ftp://b1'"):
        Settings(offsite="ftp://b1")
    with pytest.raises(ValueError, match=r"--explore writes its page into --runs-dir, which needs to be a folder"):
        command.explore({"runs_dir": "s3://b1/a"})


def test_a_run_goes_on_with_another_mirror_or_without(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "far"
    folder.mkdir(parents=True)
    settings = Settings(runs_dir=str(folder.parent), name="far", offsite="s3://b1/a", data=str(tmp_path))
    (folder / "settings.json").write_text(settings.to_json())

    def resumed(**given: str) -> str:
        return starting.continued(*starting.going_on(str(folder), given, "--resume")).offsite

    assert resumed() == "s3://b1/a"
    assert resumed(runs_dir="gs://b2/b/") == "gs://b2/b"
    assert resumed(runs_dir=str(folder.parent)) == ""
    with pytest.raises(ValueError, match="`runs_dir` needs the value that the run was begun with"):
        resumed(runs_dir=str(tmp_path))


@needs_moto
def test_a_mirrored_run_is_read_from_anywhere(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PEDIGREE_CACHE", str(tmp_path / "cache"))
    folder = write_run(tmp_path / "far", trials=2, epochs=2, classes=["cat", "dog"])
    mirrored(folder)
    found = interface.open_run("s3://bucket/runs/far")
    assert found.folder.name == "far"
    assert len(found.trials) == len(read_rows(folder / "trials.jsonl").trials)
    capsys.readouterr()
    assert program.main(["report", "s3://bucket/runs/far"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == f"{found.folder}/results.json"
    assert program.main(["fetch", "s3://bucket/runs/far/"]) == 0
    assert capsys.readouterr().out == f"{found.folder}\n"
    assert results_main(["s3://bucket/runs/far"]) == 2
    assert "`python -m pedigree fetch s3://bucket/runs/far` brings it here" in capsys.readouterr().err
    assert program.main(["export", "s3://bucket/runs/none", "--format", "onnx"]) == 2
    assert "there is nothing at `s3://bucket/runs/none`" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        program.main(["track", "s3://bucket/runs/far"])
    assert "needs the run's own folder, which keeps what was told" in capsys.readouterr().err


@needs_moto
def test_the_commands_of_the_guide_name_one_run(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PEDIGREE_CACHE", str(tmp_path / "cache"))
    page = (Path(__file__).resolve().parent.parent / "docs/guide/resume.md").read_text(encoding="utf-8")
    part = page.split("## A mirror in an object store\n")[1].split("```bash\n")[1].split("```")[0]
    begin, resume, _, fetch = (line.replace("my-bucket", "bucket").split() for line in part.splitlines())
    settings = starting.begun(parsing.options(begin[2:]))
    mirrored(write_run(settings.folder, trials=1, epochs=1, classes=["cat", "dog"]), root="bucket/runs/dogs")
    given = parsing.options(resume[2:])
    assert starting.place_of_run(given["resume"], given) == settings.folder
    assert program.main(fetch[1:]) == 0
    copy = Path(capsys.readouterr().out.strip())
    assert (copy / "trials.jsonl").read_bytes() == (settings.folder / "trials.jsonl").read_bytes()


@pytest.mark.slow
@needs_moto
def test_a_search_whose_machine_is_lost_goes_on_from_its_mirror(store: Any, drawn: Path, tmp_path: Path) -> None:
    def start(home: str, *words: str) -> subprocess.Popen[str]:
        place = tmp_path / home
        place.mkdir()
        where = {"HOME": str(place), "PEDIGREE_CACHE": str(place / "cache"), "PEDIGREE_LOST": str(tmp_path)}
        return subprocess.Popen(
            [sys.executable, "-m", "search.run", *words, "--dashboard", "off"], text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, **where},
        )  # fmt: skip

    line = ["--families", "scratch_keras", "--trials", "4", "--epochs", "6", "--image-sizes", "32"]
    line += ["--final-seeds", "1", "--runs-dir", "s3://bucket/runs", "--name", "far"]
    first = start("one", str(drawn), *line)
    try:
        wait_for(lambda: first.poll() is not None or "trials.jsonl" in names(store), 600)
        wait_for(lambda: first.poll() is not None or b'"event": "end"' in content(store, "trials.jsonl"), 600)
        before = descendants(first.pid)
    finally:
        first.kill()
    text, _ = first.communicate()
    assert "and is mirrored to s3://bucket/runs/far" in text
    for left in outlive(before, f"PEDIGREE_LOST={tmp_path}", 30.0)[0]:
        left.kill()
    kept = content(store, "trials.jsonl")
    shutil.rmtree(tmp_path / "one")
    second = start("two", "--resume", "s3://bucket/runs/far")
    text, _ = second.communicate()
    assert second.returncode == 0, text
    folder = tmp_path / "two/cache/mirrored/s3/bucket/runs/far"
    assert (folder / "trials.jsonl").read_bytes().startswith(kept)
    assert violations(folder, kills=1) == []
    assert "holder.json" not in names(store)
    for name in ("trials.jsonl", "report.html", "results.json", "models/scratch_keras.keras"):
        assert content(store, name) == (folder / name).read_bytes()
