"""The mirror: what optuna-dashboard reads of a run, and that nothing which befalls it harms the run."""

import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from results.rows import parse_rows
from search.record.journal import FAILED, FINISHED, STOPPED, Journal, Record
from search.settings import Settings
from search.studies.mirror import Mirror
from search.studies.study import studies_of
from search.training.weights import Weights

WEIGHTS = (Weights("MobileNet", 0.25, None, "random-0"),)
FAMILIES = ("scratch_keras", "mobilenet")


class Mirrored:
    """A run without training, whose rows are mirrored."""

    def __init__(self, folder: Path, rows: str = "") -> None:
        self.path = folder / "optuna.log"
        self.said: list[str] = []
        settings = Settings(families=FAMILIES, image_sizes=(32,))
        earlier = parse_rows(rows.splitlines()) if rows else None
        self.journal = Journal(folder / "trials.jsonl", time.monotonic(), earlier=earlier)
        self.studies = studies_of(settings, WEIGHTS, self.journal)
        self.mirror = Mirror(
            self.path, "run", self.studies, self.journal.read(), self.journal.elapsed, self.said.append
        )
        self.journal.also(self.mirror.take)

    def start(self, family: str = "mobilenet") -> str:
        name = f"{family}-{len(self.journal.of(family)):03d}"
        self.journal.records[name] = Record(name, family, *self.studies[family].suggest(name))
        self.journal.start(name)
        return name

    def epochs(self, name: str, *accuracies: float, first: int = 1) -> None:
        for epoch, accuracy in enumerate(accuracies, first):
            row = {"epoch": epoch, "validation_accuracy": accuracy, "training": 1.0, "validating": 0.1}
            self.journal.epochs(name, [row])

    def end(self, name: str, status: str, reason: str) -> None:
        self.journal.end(name, status, reason)
        self.studies[self.journal.records[name].family].tell(self.journal.records[name])

    def rows(self) -> str:
        return (self.path.parent / "trials.jsonl").read_text()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Mirrored]:
    mirrored = Mirrored(tmp_path)
    yield mirrored
    mirrored.mirror.close()
    mirrored.journal.close()


def read(path: Path) -> dict[str, list[FrozenTrial]]:
    """The studies of a journal file as Optuna's own reader gives them."""
    storage = JournalStorage(JournalFileBackend(str(path)))
    names = optuna.get_all_study_names(storage)
    return {name: optuna.load_study(study_name=name, storage=storage).trials for name in names}


def seen(path: Path, family: str = "mobilenet") -> list[tuple[str, str, float | None, dict[int, float], str | None]]:
    return [
        (
            trial.user_attrs["trial"],
            trial.state.name,
            trial.value if trial.state == TrialState.COMPLETE else None,
            trial.intermediate_values,
            trial.user_attrs.get("reason"),
        )
        for trial in read(path)[f"run/{family}"]
    ]


def test_each_trial_is_in_its_true_state_while_the_search_runs(run: Mirrored) -> None:
    names = [run.start() for _ in range(4)]
    assert names == [f"mobilenet-{number:03d}" for number in range(4)]
    run.epochs(names[0], 0.5, 0.75, 0.625)
    run.epochs(names[1], 0.25)
    assert seen(run.path) == [
        (names[0], "RUNNING", None, {1: 0.5, 2: 0.75, 3: 0.625}, None),
        (names[1], "RUNNING", None, {1: 0.25}, None),
        (names[2], "RUNNING", None, {}, None),
        (names[3], "RUNNING", None, {}, None),
    ]
    run.end(names[0], FINISHED, "all 3 epochs")
    run.end(names[1], STOPPED, "epoch 1: 0.250 below the rung's 0.500")
    run.end(names[2], FAILED, "the training loss became nan in epoch 1")
    run.end(names[3], STOPPED, "the time budget is used up")
    assert seen(run.path) == [
        (names[0], "COMPLETE", 0.75, {1: 0.5, 2: 0.75, 3: 0.625}, "all 3 epochs"),
        (names[1], "PRUNED", None, {1: 0.25}, "epoch 1: 0.250 below the rung's 0.500"),
        (names[2], "FAIL", None, {}, "the training loss became nan in epoch 1"),
        (names[3], "FAIL", None, {}, "the time budget is used up"),
    ]
    assert list(read(run.path)) == ["run/scratch_keras", "run/mobilenet"]
    assert run.said == []


def test_parameters_come_with_their_distributions(run: Mirrored) -> None:
    names = [run.start("scratch_keras") for _ in range(6)]
    for trial, name in zip(read(run.path)["run/scratch_keras"], names, strict=True):
        assert trial.params == run.journal.records[name].point
        assert trial.distributions["dropout"] == optuna.distributions.FloatDistribution(0.0, 0.5, step=0.1)
        assert trial.distributions["head"] == optuna.distributions.CategoricalDistribution(["flatten", "average"])
        assert ("weight_decay" in trial.distributions) == (trial.params["optimizer"] != "adam")


def test_a_run_that_is_resumed_writes_the_mirror_anew(run: Mirrored, tmp_path: Path) -> None:
    done, stopped, open_ = (run.start() for _ in range(3))
    run.epochs(done, 0.5, 0.6)
    run.end(done, FINISHED, "all 2 epochs")
    run.epochs(stopped, 0.1)
    run.end(stopped, STOPPED, "epoch 1: 0.100 below the rung's 0.500")
    run.epochs(open_, 0.4)
    before = seen(run.path)
    run.mirror.close()
    assert seen(run.path)[2] == (
        *(open_, "FAIL", None, {1: 0.4}, "the search ended before the trial; --resume goes on with it"),
    )
    run.path.write_text("garbage")
    (tmp_path / "again").mkdir()
    again = Mirrored(tmp_path / "again", run.rows())
    assert seen(again.path) == before
    again.epochs(open_, 0.7, first=2)
    again.journal.end(open_, FINISHED, "all 2 epochs")
    again.start()
    assert seen(again.path)[2:] == [
        (open_, "COMPLETE", 0.7, {1: 0.4, 2: 0.7}, "all 2 epochs"),
        ("mobilenet-003", "RUNNING", None, {}, None),
    ]
    trials = read(again.path)["run/mobilenet"]
    began = [trial.datetime_start for trial in trials if trial.datetime_start is not None]
    assert began == sorted(began)
    assert len(began) == 4
    again.mirror.close()
    again.journal.close()
    assert [path.name for path in again.path.parent.iterdir() if "part" in path.name] == []


def goes_on_without(run: Mirrored, reason: str) -> None:
    """The run writes its rows and says once that the mirror is lost."""
    lines = len(run.rows().splitlines())
    name = run.start()
    run.epochs(name, 0.5)
    run.end(name, FINISHED, "all 1 epochs")
    run.mirror.close()
    assert len(run.rows().splitlines()) == lines + 3
    trials = run.studies["mobilenet"].study.trials
    assert TrialState.COMPLETE in {trial.state for trial in trials}
    (line,) = run.said
    assert line.startswith(f"{run.path} is given up (")
    assert reason in line
    assert line.endswith("; the search goes on without it, and --resume writes it anew")


def test_a_mirror_that_is_deleted_is_said_once(run: Mirrored) -> None:
    run.path.unlink()
    goes_on_without(run, "No such file or directory")
    assert not run.path.exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "another file has taken its place"),
        (b"\0\xff garbage\n" * 1000, "no Optuna journal any more"),
        (b'{"op_code": 8, "worker_id": "x", "trial_id": 0}\n' * 1000, "no Optuna journal any more"),
        (b"[]\n" * 10_000, "no Optuna journal any more"),
    ],
)
def test_a_mirror_of_garbage_is_said_once(run: Mirrored, content: bytes, reason: str) -> None:
    run.start()
    run.path.write_bytes(content)
    goes_on_without(run, reason)


def test_a_full_disk_is_said_once(run: Mirrored) -> None:
    run.start()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (os.path.getsize(run.path) + 10, hard))
    try:
        goes_on_without(run, "File too large")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    # What was written before can still be read.
    assert [line[:2] for line in seen(run.path)] == [("mobilenet-000", "RUNNING")]


def test_a_mirror_that_cannot_be_written_is_said_once(tmp_path: Path) -> None:
    (tmp_path / "optuna.log").mkdir()
    (tmp_path / "optuna.log" / "note").touch()
    run = Mirrored(tmp_path)
    goes_on_without(run, "Is a directory")
    run.journal.close()


def test_what_a_dashboard_writes_is_no_harm(run: Mirrored) -> None:
    run.start()
    storage: Any = JournalStorage(JournalFileBackend(str(run.path)))
    study = optuna.load_study(study_name="run/mobilenet", storage=storage)
    study.set_user_attr("note", "looks good")
    study.enqueue_trial({"units": 0})
    name = run.start()
    run.epochs(name, 0.5)
    trials = read(run.path)["run/mobilenet"]
    assert [trial.state.name for trial in trials] == ["RUNNING", "WAITING", "RUNNING"]
    assert (trials[2].user_attrs["trial"], trials[2].intermediate_values) == ("mobilenet-001", {1: 0.5})
    assert run.said == []


def test_a_trial_that_begins_anew_with_half_the_batch_is_shown_twice(run: Mirrored, tmp_path: Path) -> None:
    name = run.start()
    run.epochs(name, 0.5)
    run.journal.change(name, {**run.journal.records[name].config, "batch_size": 8}, "out of memory")
    run.epochs(name, 0.25)
    changed = (name, "RUNNING", None, {1: 0.25}, None)
    assert seen(run.path) == [(name, "FAIL", None, {1: 0.5}, "tried again with another configuration"), changed]
    (tmp_path / "again").mkdir()
    again = Mirrored(tmp_path / "again", run.rows())
    assert seen(again.path) == [(name, "FAIL", None, {}, "tried again with another configuration"), changed]
    first, second = read(again.path)["run/mobilenet"]
    assert first.params["batch_size"] == 32
    assert "batch_size" not in second.params  # 8 is not in the space
    again.mirror.close()
    again.journal.close()
