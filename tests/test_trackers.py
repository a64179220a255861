"""Trackers: what they are told follows from the rows, arrives once, and never holds a search."""

import importlib.util
import json
import os
import re
import shlex
import signal
import socket
import struct
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from written_run import end_row, epoch_row, start_row, write_rows, write_run

from results.pages.document import write_report
from results.rows import Row, clean
from search import parsing, run
from search.commands import main
from search.record.tracking import trackers as side
from search.record.tracking.calls import ANEW, PARENT, Begin, Call, End, Log, Translation
from search.record.tracking.sending import Sending, State, resolved
from search.record.tracking.trackers import PACKAGES, Trackers, check_installed, unanswered
from search.settings import Settings, placed, resumed, trackers

ROOT = Path(__file__).resolve().parent.parent
BEGAN = 1_700_000_000.0  # the time of day at second 0 of a search
NET = "scratch_keras-000"


def told(rows: list[Row]) -> list[Call]:
    translation = Translation()
    usable = [row for row in map(clean, rows) if row is not None]
    assert len(usable) == len(rows)
    return [call for row in usable for call in translation.calls(row)]


def test_rows_become_calls() -> None:
    rows = [
        start_row(NET, learning_rate=0.01),
        epoch_row(NET, 1, 0.5, None),
        end_row(NET, "finished", "all 1 epochs"),
        {"event": "test", "time": 120.0, "family": "scratch_keras", "trial": NET, "seed": 2, "accuracy": 0.75},
        {"event": "model", "time": 121.0, "family": "scratch_keras", "path": "models/scratch_keras.keras", "bytes": 9},
    ]
    figures = {
        "train_loss": 0.9, "train_accuracy": 0.6, "validation_accuracy": 0.5, "seconds": 10.0, "waiting": 1.0,
        "building": 2.0, "training": 6.0, "validating": 1.0,
    }  # fmt: skip
    assert told(rows) == [
        Begin(NET, "scratch_keras", {"learning_rate": 0.01}, 0.0),
        Log(NET, figures, 1, 10.0, True),
        End(NET, "finished", "all 1 epochs", 100.0),
        Log(PARENT, {"scratch_keras/best_validation_accuracy": 0.5}, 1, 100.0),
        Log(PARENT, {"scratch_keras/test_accuracy": 0.75}, 2, 120.0),
        Log(NET, {"test_accuracy": 0.75}, 2, 120.0),
        Log(PARENT, {"scratch_keras/model_bytes": 9.0}, 0, 121.0),
    ]


def test_another_configuration_is_another_run() -> None:
    rows = [
        start_row(NET, batch_size=64),
        epoch_row(NET, 1, 0.5),
        start_row(NET, batch_size=32),
        epoch_row(NET, 1, 0.25),
    ]
    calls = told(rows)
    assert calls[2:4] == [End(NET, "stopped", ANEW, 0.0), Begin(f"{NET}.2", "scratch_keras", {"batch_size": 32}, 0.0)]
    assert [(call.run, call.step) for call in calls if isinstance(call, Log)] == [(NET, 1), (f"{NET}.2", 1)]


def test_an_epoch_that_was_trained_again_is_told_once() -> None:
    calls = told(
        [start_row(NET), epoch_row(NET, 1, 0.5), start_row(NET), epoch_row(NET, 1, 0.6), epoch_row(NET, 2, 0.7)]
    )
    assert [type(call) for call in calls] == [Begin, Log, Log]


@pytest.mark.parametrize(
    ("track", "message"),
    [
        (("comet",), "`track` needs names from mlflow, wandb, tensorboard, as NAME or NAME=TARGET, got 'comet'"),
        (("MLflow=x",), "`track` needs names from mlflow, wandb, tensorboard, as NAME or NAME=TARGET, got 'MLflow=x'"),
        (("wandb", "wandb=mine"), "`track` needs each tracker once, got 'wandb=mine'"),
        (("tensorboard=",), "`track` needs a target behind `=`, or the name alone, got 'tensorboard='"),
        (
            ("mlflow=localhost:5000",),
            "`track` needs mlflow=http://HOST:PORT, mlflow=sqlite:///FILE, mlflow=databricks or mlflow=FOLDER, got "
            "'mlflow=localhost:5000'",
        ),
        (
            ("mlflow=http://:5000",),
            "`track` needs mlflow=http://HOST:PORT with a host, and a port from 1 to 65535, got 'mlflow=http://:5000'",
        ),
        (
            ("mlflow=https://host:70000",),
            "`track` needs mlflow=http://HOST:PORT with a host, and a port from 1 to 65535, got "
            "'mlflow=https://host:70000'",
        ),
        (
            ("mlflow=http://me:secret@host:5000",),
            "`track` needs an address without a password: MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD take "
            "it; got one in the address of mlflow",
        ),
        (("wandb=a/b/c",), "`track` needs wandb=PROJECT or wandb=ENTITY/PROJECT, got 'wandb=a/b/c'"),
    ],
)
def test_refused_trackers(track: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Settings(track=track)


def test_targets() -> None:
    track = ("mlflow=http://host:5000", "wandb=team/dogs", "tensorboard")
    assert trackers(track) == {"mlflow": "http://host:5000", "wandb": "team/dogs", "tensorboard": ""}
    here = Path.cwd()
    given = parsing.options(["--track", "tensorboard=events,wandb", "--track", "mlflow=store"])
    assert placed(given)["track"] == (f"tensorboard={here / 'events'}", "wandb", f"mlflow={here / 'store'}")
    kept = ("mlflow=databricks", "mlflow=sqlite:///a.db", "wandb=mine")
    assert placed({"track": kept})["track"] == kept


def test_a_run_that_is_resumed_may_have_other_trackers() -> None:
    saved = Settings.from_json(Settings(track=("wandb",)).to_json())
    assert saved.track == ("wandb",)
    assert resumed(saved, {}).track == ("wandb",)
    assert resumed(saved, {"track": ("tensorboard",)}).track == ("tensorboard",)
    assert resumed(saved, parsing.options(["--track", ""])).track == ()
    older = json.loads(Settings().to_json())
    del older["track"]
    assert Settings.from_json(json.dumps(older)).track == ()


def test_where_mlflow_is_without_a_target(tmp_path: Path) -> None:
    state = State(tmp_path, "mlflow")
    given = {"MLFLOW_TRACKING_URI": "http://me:secret@host:5000"}
    assert resolved("mlflow", "http://other", state, given) == "http://other"
    assert resolved("mlflow", "", state, given) == "http://me:secret@host:5000"
    state.save()
    # A resumed run stays where it was, and no password is kept.
    assert resolved("mlflow", "", State(tmp_path, "mlflow"), {}) == "http://host:5000"
    assert "secret" not in state.path.read_text()
    assert resolved("mlflow", "", State(tmp_path / "other", "mlflow"), {}) == str(Path.cwd())


def test_a_package_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    needed = "`track` needs the package wandb for wandb, and it is not installed: pip install 'wandb>=0.31,<1'"
    with pytest.raises(ValueError, match=f"^{re.escape(needed)}$"):
        check_installed(("tensorboard", "wandb=dogs"))


def test_the_extras_are_what_the_message_says() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {name: [PACKAGES[name][1]] for name in ("mlflow", "wandb")} == {
        name: extras[name] for name in ("mlflow", "wandb")
    }
    assert importlib.util.find_spec("tensorboardX") is not None


def test_refused_before_anything_starts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--track", "neptune", "--runs-dir", str(tmp_path / "runs")]) == 2
    assert "pedigree: `track` needs names from mlflow, wandb, tensorboard" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_folder_that_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"--track tensorboard=FOLDER needs a folder that can be written, and `.*/file`"):
        unanswered("tensorboard", str(tmp_path / "file"), tmp_path)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is, trackers come to their end."""
    monkeypatch.setattr(side, "FINISHING", 600.0)
    monkeypatch.setattr(side, "FAILING", 600.0)


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes every connection and never says a word."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=50)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_server_that_does_not_answer(silent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side, "PROBE", 0.2)
    assert unanswered("mlflow", silent, tmp_path) == f"nothing answers at {silent} (no answer in 0.2 s)"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", silent.replace("http://", "http://me:secret@"))
    assert unanswered("mlflow", "", tmp_path) == f"nothing answers at {silent} (no answer in 0.2 s)"


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        place = f"http://127.0.0.1:{server.getsockname()[1]}"
    assert unanswered("mlflow", place, tmp_path) == f"nothing answers at {place} (Connection refused)"


def events(folder: Path) -> list[tuple[str, int, float, Any]]:
    """Every event of a folder's files in order: tag, step, time of day, and the value or the text."""
    from tensorboard.compat.proto.event_pb2 import Event

    found = []
    for path in sorted(folder.glob("events.out.tfevents.*")):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            event = Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]
            for value in event.summary.value:
                text = value.tensor.string_val[0].decode() if value.tensor.string_val else None
                found.append((value.tag, event.step, event.wall_time, text if text else value.simple_value))
    return found


def curve(folder: Path, tag: str = "validation_accuracy") -> list[tuple[int, float, float]]:
    return [(step, at, round(value, 6)) for name, step, at, value in events(folder) if name == tag]


def to_files(folder: Path) -> Sending:
    """A connection to event files; for the first one the search began at BEGAN."""
    from search.record.tracking.event_files import connect

    state = State(folder, "tensorboard")
    own = state.of("")
    own["clock"] = own["clock"] or [[0.0, BEGAN]]
    return Sending(folder, state, "", connect)


@pytest.fixture
def halves() -> tuple[list[Row], list[Row]]:
    """The rows of two trials, cut in the middle of the second."""
    other = "scratch_keras-001"
    first = [
        start_row(NET, filters=8),
        epoch_row(NET, 1, 0.5),
        epoch_row(NET, 2, 0.75),
        end_row(NET, "stopped", "a rung"),
    ]
    first += [{**start_row(other, filters=16, flip=True), "time": 101.0}, epoch_row(other, 1, 0.25, time=110.0)]
    second = [epoch_row(other, 2, 0.5, time=120.0), {**end_row(other, "finished", "all 2 epochs"), "time": 125.0}]
    second.append(
        {"event": "test", "time": 130.0, "family": "scratch_keras", "trial": other, "seed": 0, "accuracy": 0.5}
    )
    return first, second


def test_event_files_hold_the_curves_at_their_steps_and_times(
    tmp_path: Path, halves: tuple[list[Row], list[Row]]
) -> None:
    write_rows(tmp_path, [*halves[0], *halves[1]])
    sending = to_files(tmp_path)
    assert sending.send_new()
    sending.finish(True, live=False)
    board = tmp_path / "tensorboard"
    assert curve(board / NET) == [(1, BEGAN + 10, 0.5), (2, BEGAN + 20, 0.75)]
    assert curve(board / "scratch_keras-001") == [(1, BEGAN + 110, 0.25), (2, BEGAN + 120, 0.5)]
    assert curve(board / "scratch_keras-001", "test_accuracy") == [(0, BEGAN + 130, 0.5)]
    assert curve(board, "scratch_keras/test_accuracy") == [(0, BEGAN + 130, 0.5)]
    assert curve(board, "scratch_keras/best_validation_accuracy") == [(1, BEGAN + 100, 0.75), (2, BEGAN + 125, 0.75)]
    texts = {tag: text for tag, _, _, text in events(board / NET) if tag.endswith("text_summary")}
    assert texts["status/text_summary"] == "stopped: a rung"
    assert "| filters | 8 |" in texts["configuration/text_summary"]
    starts = {
        path.name: "_hparams_/session_start_info" in {tag for tag, *_ in events(path)} for path in board.glob("s*")
    }
    ends = {path.name: "_hparams_/session_end_info" in {tag for tag, *_ in events(path)} for path in board.glob("s*")}
    assert starts == {NET: True, "scratch_keras-001": True}
    assert ends == {NET: False, "scratch_keras-001": True}


def test_a_resumed_search_goes_on_with_the_same_runs(tmp_path: Path, halves: tuple[list[Row], list[Row]]) -> None:
    write_rows(tmp_path, halves[0])
    sending = to_files(tmp_path)
    sending.send_new()
    sending.finish(False, live=False)
    before = {path: events(path) for path in (tmp_path / "tensorboard").iterdir() if path.is_dir()}
    write_rows(tmp_path, [*halves[0], *halves[1]])
    # The machine was off for a while: from here on second 0 lies later.
    own = State(tmp_path, "tensorboard")
    own.of("")["clock"].append([110.0, BEGAN + 5000])
    own.save()
    sending = to_files(tmp_path)
    assert sending.send_new()
    assert not sending.send_new()
    sending.finish(True, live=False)
    assert events(tmp_path / "tensorboard" / NET) == before[tmp_path / "tensorboard" / NET]
    assert curve(tmp_path / "tensorboard" / "scratch_keras-001") == [(1, BEGAN + 110, 0.25), (2, BEGAN + 5120, 0.5)]


def test_what_was_not_known_to_have_arrived_is_shown_once(
    tmp_path: Path, halves: tuple[list[Row], list[Row]], monkeypatch: pytest.MonkeyPatch
) -> None:
    # TensorBoard's own reader, without TensorFlow.
    monkeypatch.setitem(sys.modules, "tensorboard.compat.notf", ModuleType("notf"))
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    write_rows(tmp_path, halves[0])
    to_files(tmp_path).send_new()
    state = State(tmp_path, "tensorboard")
    # Killed between the writing of the files and that of its state.
    lines = (tmp_path / "trials.jsonl").read_bytes().splitlines(keepends=True)
    state.of("")["offset"] = len(b"".join(lines[:5]))
    state.save()
    write_rows(tmp_path, [*halves[0], *halves[1]])
    sending = to_files(tmp_path)
    sending.send_new()
    sending.finish(True, live=False)
    shown = EventAccumulator(str(tmp_path / "tensorboard" / "scratch_keras-001")).Reload()
    assert [(event.step, event.value) for event in shown.Scalars("validation_accuracy")] == [(1, 0.25), (2, 0.5)]


def test_torn_and_foreign_lines_are_passed_over(tmp_path: Path, halves: tuple[list[Row], list[Row]]) -> None:
    whole = [json.dumps(row) for row in halves[0]]
    text = "\n".join([whole[0], whole[1][:20], "{}", "[1]", whole[2], whole[3][:10]])
    (tmp_path / "trials.jsonl").write_text(text)
    sending = to_files(tmp_path)
    sending.send_new()
    assert curve(tmp_path / "tensorboard" / NET) == [(2, BEGAN + 20, 0.75)]
    # The line that is still being written comes when it is whole.
    with (tmp_path / "trials.jsonl").open("a") as file:
        file.write(whole[3][10:] + "\n")
    assert sending.send_new()
    assert "status/text_summary" in {tag for tag, *_ in events(tmp_path / "tensorboard" / NET)}


def append(folder: Path, rows: list[Row]) -> None:
    with (folder / "trials.jsonl").open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def until(holds: Callable[[], bool], tries: int = 3000) -> None:
    """Waits for another process; a test that waits in vain says so."""
    for _ in range(tries):
        if holds():
            return
        time.sleep(0.1)
    pytest.fail("in vain")


@pytest.mark.usefixtures("patient")
def test_rows_arrive_while_the_search_goes_on(tmp_path: Path, halves: tuple[list[Row], list[Row]]) -> None:
    said: list[str] = []
    append(tmp_path, halves[0][:2])
    other = tmp_path / "tensorboard" / "scratch_keras-001"
    with Trackers(tmp_path, ("tensorboard",), said.append) as ours:
        ours.check()
        ours.begin(10.0)
        until(lambda: bool(curve(tmp_path / "tensorboard" / NET)))
        append(tmp_path, halves[0][2:])
        until(lambda: bool(curve(other)))
    with Trackers(tmp_path, ("tensorboard",), said.append) as ours:
        append(tmp_path, halves[1])
        ours.begin(110.0)
        ours.finished = True
    assert [step for step, _, _ in curve(other)] == [1, 2]
    statuses = [text for tag, _, _, text in events(other) if tag == "status/text_summary"]
    assert statuses == ["killed: the search was interrupted", "finished: all 2 epochs"]
    assert said == 2 * [f"tensorboard: tensorboard --logdir {tmp_path}/tensorboard"]
    assert ours.failing == set()


def test_a_tracker_that_hangs_does_not_hold_the_search(
    tmp_path: Path, halves: tuple[list[Row], list[Row]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(side, "FINISHING", 0.3)
    said: list[str] = []
    append(tmp_path, halves[0])
    with Trackers(tmp_path, ("tensorboard",), said.append) as ours:
        ours.begin(110.0)
        ours._processes["tensorboard"].send_signal(signal.SIGSTOP)
    assert ours._processes["tensorboard"].returncode == -signal.SIGKILL
    assert said == [
        f"tensorboard needs longer than 0.3 s for what is left of the run; `pedigree track {tmp_path} --track "
        "tensorboard` sends the rest"
    ]


def test_a_tracker_that_dies_says_so_once(tmp_path: Path, halves: tuple[list[Row], list[Row]]) -> None:
    said: list[str] = []
    append(tmp_path, halves[0])
    with Trackers(tmp_path, ("tensorboard",), said.append) as ours:
        ours.begin(110.0)
        ours._processes["tensorboard"].kill()
        ours._processes["tensorboard"].wait()
    assert said == [
        f"tensorboard was not told all (exit code -9, see `{tmp_path}/trackers/tensorboard.log`); `pedigree track "
        f"{tmp_path} --track tensorboard` sends the rest"
    ]


@pytest.mark.usefixtures("patient")
def test_a_tracker_that_fails_says_so_once_and_is_tried_again(
    tmp_path: Path, halves: tuple[list[Row], list[Row]]
) -> None:
    said: list[str] = []
    append(tmp_path, halves[0])
    # No folder can be made where a file stands.
    (tmp_path / "tensorboard").write_text("")
    with Trackers(tmp_path, ("tensorboard",), said.append) as ours:
        ours.begin(110.0)
        until(lambda: "tensorboard" in ours.failing)
        (tmp_path / "tensorboard").unlink()
        ours.finished = True
    assert len(said) == 3
    assert said[2] == "tensorboard answers again"
    assert said[0].startswith("tensorboard: tensorboard --logdir")
    assert said[1].startswith("`track` needs a tracker that can be told, and tensorboard fails: ")
    later = f"`pedigree track {tmp_path} --track tensorboard` sends the run later"
    assert said[1].endswith(f"; the search goes on and tries it again, and {later}")


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """The folder of a run of two trials that is over, report and a model included."""
    folder: Path = write_run(
        tmp_path / "runs" / "dogs", trials=2, epochs=3, families=("mobilenet",), classes=["a", "b"]
    )
    (folder / "settings.json").write_text(Settings(data="dogs", families=("mobilenet",), name="dogs").to_json())
    (folder / "models").mkdir()
    (folder / "models" / "mobilenet.keras").write_bytes(b"a model")
    write_report(folder)
    return folder


def test_a_finished_run_is_sent_later(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["track", str(finished), "--track", "tensorboard"]) == 0
    board = finished / "tensorboard"
    assert capsys.readouterr().out == f"tensorboard: tensorboard --logdir {board}\n"
    assert [step for step, _, _ in curve(board / "mobilenet-001")] == [1, 2, 3]
    report = [text for tag, _, _, text in events(board) if tag == "report/text_summary"]
    assert report[0].startswith("- status: finished\n- winner: mobilenet\n- winning_trial: mobilenet-00")
    # The last row is as old as its file.
    last = max(at for _, at, _ in curve(board / "mobilenet-001"))
    assert last <= (finished / "trials.jsonl").stat().st_mtime
    main(["track", str(finished), "--track", "tensorboard"])
    assert [step for step, _, _ in curve(board / "mobilenet-001")] == [1, 2, 3]


def test_what_cannot_be_sent(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["track", str(tmp_path / "nothing"), "--track", "tensorboard"]) == 2
    assert capsys.readouterr().err == f"needs the rows of a run, got no file at `{tmp_path}/nothing/trials.jsonl`\n"
    assert main(["track", str(finished)]) == 2
    none = f"`track` needs names from mlflow, wandb, tensorboard: the search of `{finished}` was given none\n"
    assert capsys.readouterr().err == none
    assert main(["track", str(finished), "--track", "aim"]) == 2
    assert capsys.readouterr().err.startswith("`track` needs names from mlflow, wandb, tensorboard, as NAME")


needs_mlflow = pytest.mark.skipif(
    importlib.util.find_spec("mlflow") is None, reason="needs mlflow: pip install -e '.[mlflow]'"
)
needs_wandb = pytest.mark.skipif(
    importlib.util.find_spec("wandb") is None, reason="needs wandb: pip install -e '.[wandb]'"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real MLflow server on loopback."""
    if importlib.util.find_spec("flask") is None:
        pytest.skip("needs MLflow's server: pip install mlflow")
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("server")
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, env=environment)
        try:
            place = f"http://127.0.0.1:{port}"
            until(lambda: process.poll() is not None or not unanswered("mlflow", place, folder), 2400)
            assert process.poll() is None, (folder / "log").read_text()
            yield place
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.slow
@needs_mlflow
@pytest.mark.filterwarnings("ignore")  # MLflow's own
@pytest.mark.usefixtures("patient")
def test_mlflow(server: str, finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = (finished / "trials.jsonl").read_text().splitlines(keepends=True)
    said: list[str] = []
    # A search that is interrupted in the middle of its second trial, and resumed.
    half = next(place for place, row in enumerate(rows) if '"mobilenet-001"' in row and '"epoch": 2' in row)
    (finished / "trials.jsonl").write_text("".join(rows[:half]))
    with Trackers(finished, (f"mlflow={server}",), said.append) as ours:
        ours.check()
        ours.begin(30.0)
        until(lambda: bool(said))
    children, parent = mlflow_runs(server)
    assert {name: run.info.status for name, run in children.items()} == {
        "mobilenet-000": "FINISHED", "mobilenet-001": "KILLED",
    }  # fmt: skip
    assert (parent.info.status, parent.data.tags["pedigree.status"]) == ("KILLED", "killed")
    # As if it had been killed before it knew that anything had arrived.
    state = State(finished, "mlflow")
    own = state.of(server)
    own["offset"], own["ids"] = 0, {}
    state.save()
    append(finished, [json.loads(row) for row in rows[half:]])
    with Trackers(finished, (f"mlflow={server}",), said.append) as ours:
        ours.begin(60.0)
        ours.finished = True
    assert ours.failing == set()
    assert len(said) == 2
    assert said[0] == said[1]
    children, parent = mlflow_runs(server)
    assert said[0] == f"mlflow: {server}/#/experiments/{parent.info.experiment_id}/runs/{parent.info.run_id}"
    # The second trial came to its own end: MLflow has no other word for one that a rung stopped.
    ends = {row["trial"]: row for row in map(json.loads, rows) if row["event"] == "end"}
    assert ends["mobilenet-001"]["status"] == "stopped"
    assert {name: (run.info.status, run.data.tags["pedigree.reason"]) for name, run in children.items()} == {
        "mobilenet-000": ("FINISHED", "ran its full budget"),
        "mobilenet-001": ("KILLED", ends["mobilenet-001"]["reason"]),
    }
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["mlflow.runName"] == "dogs"
    assert parent.data.tags["pedigree.winner"] == "mobilenet"
    assert parent.data.params["time_budget"] == "null"
    assert 0 < parent.data.metrics["test_low"] <= parent.data.metrics["test_accuracy"] <= 1
    client = mlflow_client(server)
    run = children["mobilenet-001"]
    assert run.data.params["backbone"] in ("MobileNet", "MobileNetV2")
    assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    history = client.get_metric_history(run.info.run_id, "validation_accuracy")
    values = [json.loads(row)["validation_accuracy"] for row in rows if '"mobilenet-001"' in row and '"epoch", ' in row]
    assert [(point.step, point.value) for point in history] == list(enumerate(values, 1))
    assert {item.path for item in client.list_artifacts(parent.info.run_id)} == {
        "models",
        "report.html",
        "results.json",
    }
    kept = [item.path for item in client.list_artifacts(parent.info.run_id, "models") if item.path.endswith(".keras")]
    assert kept == ["models/mobilenet.keras"]
    # And once more, as a whole.
    assert main(["track", str(finished), "--track", f"mlflow={server}"]) == 0
    again, _ = mlflow_runs(server)
    assert {name: one.info.run_id for name, one in again.items()} == {
        name: one.info.run_id for name, one in children.items()
    }
    assert client.get_metric_history(run.info.run_id, "validation_accuracy") == history


def mlflow_client(place: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(place)


def mlflow_runs(place: str) -> tuple[dict[str, Any], Any]:
    """The runs of trials by name, and the one that they are nested in."""
    client = mlflow_client(place)
    runs = client.search_runs([client.get_experiment_by_name("pedigree").experiment_id])
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    named = {run.info.run_name: run for run in children}
    assert len(named) == len(children)
    return named, parent


@pytest.mark.slow
@needs_mlflow
@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_mlflow_in_a_folder(finished: Path, tmp_path: Path) -> None:
    assert main(["track", str(finished), "--track", f"mlflow={tmp_path / 'store'}"]) == 0
    children, parent = mlflow_runs(f"sqlite:///{tmp_path}/store/mlflow.db")
    assert sorted(children) == ["mobilenet-000", "mobilenet-001"]
    assert parent.info.artifact_uri.startswith(f"file://{tmp_path}/store/mlruns/")


@pytest.mark.slow
@needs_mlflow
def test_a_server_that_falls_silent(silent: str, finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side, "PROBE", 0.2)
    monkeypatch.setattr(side, "FAILING", 1.0)
    said: list[str] = []
    with Trackers(finished, (f"mlflow={silent}",), said.append) as ours:
        ours.check()
        ours.begin(30.0)
        time.sleep(5)
    assert said == [
        f"`track` needs a tracker that answers, and for mlflow nothing answers at {silent} (no answer in 0.2 s); the "
        f"search goes on and tries it again, and `pedigree track {finished} --track mlflow={silent}` sends the run "
        "later"
    ]
    assert ours._processes["mlflow"].returncode == -signal.SIGKILL


def wandb_records(folder: Path) -> Iterator[Any]:
    """The records of the runs in a folder of Weights & Biases, as `wandb sync` reads them: blocks of LevelDB's log."""
    from wandb.proto.wandb_internal_pb2 import Record

    for path in sorted(folder.glob("wandb/offline-run-*/run-*.wandb")):
        content = path.read_bytes()
        assert content[:4] == b":W&B"
        place, record = 7, b""
        while place + 7 <= len(content):
            left = 2**15 - place % 2**15
            if left < 7:
                place += left
                continue
            _, length, kind = struct.unpack("<IHB", content[place : place + 7])
            record += content[place + 7 : place + 7 + length]
            place += 7 + length
            if kind in (1, 4):  # whole, or its last part
                yield Record.FromString(record)
                record = b""


@pytest.mark.slow
@needs_wandb
def test_wandb_offline(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    (tmp_path / "wandb").mkdir()
    assert main(["track", str(finished), "--track", "wandb=team/breeds"]) == 0
    records = list(wandb_records(tmp_path))
    runs = {record.run.display_name: record.run for record in records if record.HasField("run")}
    assert sorted(runs) == ["dogs", "mobilenet-000", "mobilenet-001"]
    assert {(run.project, run.entity, run.run_group) for run in runs.values()} == {("breeds", "team", "dogs")}
    assert {name: run.job_type for name, run in runs.items()} == {
        "dogs": "search", "mobilenet-000": "trial", "mobilenet-001": "trial",
    }  # fmt: skip
    steps = [
        {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
        for record in records
        if record.HasField("history")
    ]
    rows = [json.loads(row) for row in (finished / "trials.jsonl").read_text().splitlines()]
    curves = [step["validation_accuracy"] for step in steps if "validation_accuracy" in step]
    assert sorted(curves) == sorted(row["validation_accuracy"] for row in rows if row["event"] == "epoch")
    assert {step["_step"] for step in steps if "validation_accuracy" in step} == {1, 2, 3}
    config = {item.key: json.loads(item.value_json) for item in runs["mobilenet-001"].config.update}
    assert config["family"] == "mobilenet"
    assert 0 < config["learning_rate"] < 1
    kept = {entry.path for record in records for entry in record.request.log_artifact.artifact.manifest.contents}
    kept |= {entry.path for record in records for entry in record.artifact.manifest.contents}
    assert {"report.html", "results.json", "mobilenet.keras"} <= kept


@pytest.mark.slow
def test_the_worked_example(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "guide" / "trackers.md").read_text(encoding="utf-8")
    command = re.findall(r"^python search/run.py (.*)$", page, re.MULTILINE)[0]
    (reading,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    common: dict[str, Any] = {"cwd": tmp_path, "capture_output": True, "text": True}
    arguments = [*shlex.split(command), "--dashboard", "off"]
    searched = subprocess.run([sys.executable, ROOT / "search" / "run.py", *arguments], **common)
    assert searched.returncode == 0, searched.stderr
    folder = tmp_path / "runs" / "tracked"
    assert f"tensorboard: tensorboard --logdir {folder}/tensorboard" in searched.stdout
    rows = [json.loads(row) for row in (folder / "trials.jsonl").read_text().splitlines()]
    read = subprocess.run([sys.executable, "-c", reading], **common)
    assert read.returncode == 0, read.stderr
    told = sorted(read.stdout.splitlines())
    # TensorBoard keeps 32 bits of a number.
    assert told == sorted(
        f"{row['trial']} {row['epoch']} {round(float(np.float32(row['validation_accuracy'])), 3)}"
        for row in rows
        if row["event"] == "epoch"
    )
    assert len(told) > 3
    board = folder / "tensorboard"
    assert {path.name for path in board.iterdir() if path.is_dir()} == {
        row["trial"] for row in rows if row["event"] == "start"
    }
    assert "winning_trial: mobilenet-" in {tag: text for tag, _, _, text in events(board)}["report/text_summary"]
    assert len(events(board)) > 3
