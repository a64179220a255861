"""The child process of a worker: it fails one trial at a time, and is replaced where it must be."""

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from search.data.pictures import Pictures
from search.training.trial import PARTS
from search.training.worker import Job, Line, Setup, Worker, WorkerDied, WorkerHung, _answer, describe

Config = Callable[..., dict[str, Any]]

SETUP = Setup(threads=1, precision="float32", memory=6.0)

# Starts a worker, says the process of its child, and waits for its own end.
PARENT = """
import pickle, sys, time
from pathlib import Path
from search.training.worker import Setup, Worker
worker = Worker(Setup(1, "float32", 6.0), pickle.loads(Path(sys.argv[1]).read_bytes()))
print(worker._process.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def worker(pictures: Pictures) -> Iterator[Worker]:
    """One worker for the tests that leave its child alive."""
    # Labels that no class has: a trial that touched a test picture would fail.
    labels = pictures.labels.copy()
    labels[pictures.test] = 99
    worker = Worker(SETUP, replace(pictures, labels=labels))
    yield worker
    stop(worker)


def stop(worker: Worker) -> None:
    assert worker._pipe is not None
    assert worker._process is not None
    worker._pipe.close()
    worker._process.kill()
    worker._process.wait()


def pid(worker: Worker) -> int:
    assert worker._process is not None
    return worker._process.pid


def job(config: dict[str, Any], *, kind: str = "search", epochs: int = 2, rungs: tuple[int, ...] = ()) -> Job:
    return Job(kind, "scratch_keras", config, 0, epochs, epochs, 2, rungs)


def test_rows_come_as_they_are_made(worker: Worker, config: Config) -> None:
    rows: list[dict[str, Any]] = []
    assert worker.run(job(config("scratch_keras")), rows.extend) == ("finished", None)
    assert [row["epoch"] for row in rows] == [1, 2]
    assert all(row["validation_loss"] > 0 for row in rows)
    assert all(row["seconds"] == pytest.approx(sum(row[part] for part in PARTS), abs=1e-3) for row in rows)


def test_a_trial_whose_time_is_up_ends_within_its_epoch_with_the_rows_that_it_has(
    pictures: Pictures, config: Config
) -> None:
    said: list[tuple[str, Any]] = []

    class Said:
        def send(self, kind: str, content: Any = None) -> None:
            said.append((kind, content))

        def recv(self) -> str:
            return "go on"

    endless = replace(job(config("scratch_keras"), epochs=10_000), within=3.0)
    assert _answer(cast(Line, Said()), SETUP, pictures, endless, b"") == ("late", "the time for it is up")
    rows = [row for kind, content in said if kind == "rows" for row in content]
    assert [row["epoch"] for row in rows] == list(range(1, len(rows) + 1))
    assert 1 <= len(rows) < 10_000
    said.clear()
    none = replace(job(config("scratch_keras")), within=0.0)
    assert _answer(cast(Line, Said()), SETUP, pictures, none, b"") == ("late", "the time for it is up")
    assert not [content for kind, content in said if kind == "rows"]


def test_a_trial_that_raises_fails_alone(worker: Worker, config: Config) -> None:
    child = pid(worker)
    rows: list[dict[str, Any]] = []
    assert worker.run(job(config("scratch_keras", optimizer="lion")), rows.extend) == (
        "failed",
        "ValueError: optimizer must be one of adam, adamw, sgd, got 'lion'",
    )
    assert rows == []
    assert worker.run(job(config("scratch_keras"), epochs=1), rows.extend) == ("finished", None)
    assert len(rows) == 1
    assert pid(worker) == child


def test_a_trial_that_diverges_fails_alone(worker: Worker, config: Config) -> None:
    child = pid(worker)
    kind, reason = worker.run(job(config("scratch_keras", learning_rate=1e30)), lambda rows: None)
    assert kind == "failed"
    assert reason in (
        "the training loss became nan in epoch 1",
        "the predictions on validation are not numbers after epoch 1",
    )
    assert worker.run(job(config("scratch_keras"), epochs=1), lambda rows: None) == ("finished", None)
    assert pid(worker) == child


def test_the_answer_to_a_report_can_be_to_stop(worker: Worker, config: Config) -> None:
    child = pid(worker)
    seen: list[int] = []

    def report(rows: list[dict[str, Any]]) -> None:
        seen.extend(row["epoch"] for row in rows)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        worker.run(job(config("scratch_keras"), epochs=9, rungs=(2,)), report)
    assert seen[-1] < 9
    assert worker.run(job(config("scratch_keras"), epochs=1), lambda rows: None) == ("finished", None)
    assert pid(worker) == child


def test_trials_do_not_know_the_test_pictures(worker: Worker, config: Config) -> None:
    for family in ("scratch_pillow", "mobilenet"):
        found = worker.run(replace(job(config(family), epochs=1), family=family), lambda rows: None)
        assert found == ("finished", None)
    kind, reason = worker.run(job(config("scratch_keras"), kind="retrain", epochs=1), lambda rows: None)
    assert kind == "failed"
    assert reason.startswith("IndexError: index 99 is out of bounds")


def test_a_killed_child_takes_one_trial_with_it(pictures: Pictures, config: Config) -> None:
    worker = Worker(SETUP, pictures)
    first = pid(worker)

    def kill(rows: list[dict[str, Any]]) -> None:
        os.kill(first, signal.SIGKILL)

    with pytest.raises(WorkerDied, match=r"the worker process was killed by signal 9 .often .* a lack of memory"):
        worker.run(job(config("scratch_keras"), rungs=(1,)), kill)
    assert worker.run(job(config("scratch_keras"), epochs=1), lambda rows: None) == ("finished", None)
    assert pid(worker) != first
    stop(worker)


def test_checkpoints_are_made_at_rungs_and_taken_back(worker: Worker, config: Config) -> None:
    kept: list[bytes] = []
    rows: list[dict[str, Any]] = []
    asked = replace(job(config("scratch_keras"), epochs=3, rungs=(1, 2)), kept=True)
    assert worker.run(asked, rows.extend, kept.append) == ("finished", None)
    assert len(kept) == 2
    rows.clear()
    assert worker.run(asked, rows.extend, kept.append, kept[1]) == ("finished", None)
    assert [row["epoch"] for row in rows] == [3]


class Recorded(Line):
    """The end of a pipe that writes down what is sent, and answers that the trial is to go on."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Any]] = []

    def send(self, kind: str, value: Any) -> None:
        self.sent.append((kind, value))

    def recv(self) -> Any:
        return "go on"


def test_a_checkpoint_comes_after_the_rows_of_its_epochs(
    pictures: Pictures, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.training.trial.KEPT_SECONDS", 0.0)
    monkeypatch.setattr("search.training.worker.GATHER", 1e9)
    line = Recorded()
    asked = replace(job(config("scratch_keras"), epochs=3), kept=True)
    assert _answer(line, SETUP, pictures, asked, b"") == ("finished", None)
    said = [[row["epoch"] for row in value] if kind == "rows" else kind for kind, value in line.sent]
    assert [words for words in said if words != "traffic"] == [[1], "checkpoint", [2], "checkpoint", [3]]


@pytest.mark.slow
def test_a_child_that_gives_no_sign_of_life_is_ended(pictures: Pictures, config: Config) -> None:
    worker = Worker(replace(SETUP, timeout=60.0), pictures)
    assert worker.run(job(config("scratch_keras"), epochs=1), lambda rows: None) == ("finished", None)
    first = pid(worker)
    worker._setup = replace(SETUP, timeout=1.0)

    def halt(rows: list[dict[str, Any]]) -> None:
        os.kill(first, signal.SIGSTOP)

    with pytest.raises(WorkerHung, match="no sign of life for 1 s, which is --trial-timeout"):
        worker.run(job(config("scratch_keras"), rungs=(1,)), halt)
    worker._setup = SETUP
    assert worker.run(job(config("scratch_keras"), epochs=1), lambda rows: None) == ("finished", None)
    assert pid(worker) != first
    stop(worker)


def test_lack_of_memory_is_told_apart(worker: Worker, config: Config) -> None:
    kind, reason = worker.run(job(config("scratch_keras", head="average", units=2**40), epochs=1), lambda rows: None)
    assert kind == "out of memory"
    assert reason.startswith("out of memory: ")


@pytest.mark.slow
def test_a_child_past_the_memory_bound_is_replaced(pictures: Pictures, config: Config) -> None:
    worker = Worker(replace(SETUP, memory=0.01), pictures)
    first = pid(worker)
    assert worker.run(job(config("scratch_keras"), epochs=1), lambda rows: None) == ("finished", None)
    assert pid(worker) != first
    stop(worker)


@pytest.mark.slow
def test_the_child_ends_with_its_parent(pictures: Pictures, tmp_path: Path) -> None:
    (tmp_path / "pictures").write_bytes(pickle.dumps(pictures))
    command = [sys.executable, "-c", PARENT, str(tmp_path / "pictures")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = Path("/proc") / parent.stdout.readline().strip()
        assert child.exists()
        parent.kill()
    for _ in range(600):
        if not child.exists() or "State:\tZ" in (child / "status").read_text():
            return
        time.sleep(0.1)
    pytest.fail("the child outlives its parent")


def test_a_worker_that_cannot_start_says_why(pictures: Pictures, config: Config) -> None:
    worker = Worker(replace(SETUP, backend="openvino"), pictures)
    for _ in range(2):
        kind, reason = worker.run(job(config("scratch_keras"), epochs=1), lambda rows: None)
        assert kind == "failed"
        assert reason.startswith(
            "the worker cannot start: ValueError: KERAS_BACKEND needs one of tensorflow, jax, got "
        )
    stop(worker)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("needs  low <= high,\n got 3 > 2"), "ValueError: needs low <= high, got 3 > 2"),
        (MemoryError(), "out of memory"),
        (ValueError("got \x1b[1mshape\x1b[0m (3,)"), "ValueError: got shape (3,)"),
        (RuntimeError("CUDA Out Of Memory: 3 GiB"), "out of memory: CUDA Out Of Memory: 3 GiB"),
        (ValueError("a" * 999), "ValueError: " + "a" * 300),
    ],
)
def test_errors_in_one_line(error: Exception, expected: str) -> None:
    assert describe(error) == expected
