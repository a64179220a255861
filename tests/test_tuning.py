"""The search: what is tried when, what becomes of each trial, and that Optuna and the rows tell the same story."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pytest
import ray
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from ray import tune

from results.rows import OUT_OF_TIME, read_rows
from search.cluster import connect
from search.data.pictures import Pictures
from search.record.journal import Journal
from search.schedule.course import Course
from search.schedule.tuning import CourseScheduler, CourseSearcher, search
from search.settings import Settings
from search.studies.mirror import Mirror
from search.studies.study import Study, studies_of
from search.training.retraining import Outcome, Refitted
from search.training.weights import Weights
from search.training.worker import TIMING, Job, Setup
from spaces import FAMILIES

WEIGHTS = (Weights("MobileNet", 0.25, None, "random-0"),)


class Planned:
    """A course driven by hand: what the trials of a run report is up to the test."""

    def __init__(self, folder: Path, pictures: Pictures, *, gone: float = 0.0, **values: Any) -> None:
        usual = {"trials": 2, "epochs": 3, "final_seeds": 2, "finalists": 1, "image_sizes": (32,), "refit": "none"}
        given: dict[str, Any] = {**usual, **values}
        self.settings = Settings(runs_dir=str(folder), name="run", **given)
        self.settings.folder.mkdir(parents=True, exist_ok=True)
        rows = self.settings.folder / "trials.jsonl"
        earlier = read_rows(rows) if rows.exists() else None
        self.journal = Journal(rows, time.monotonic() - gone, earlier=earlier)
        self.said: list[str] = []
        self.studies = studies_of(self.settings, WEIGHTS, self.journal)
        self.course = Course(self.settings, self.studies, self.journal, 1, pictures, self.said.append)

    def start(self) -> tuple[str, Job]:
        found = self.course.next()
        assert found is not None
        if found[0] in self.journal.records:
            self.journal.start(found[0])
        return found

    def report(self, name: str, *accuracies: float, first: int = 1, seconds: float = 1.0) -> bool:
        rows = [
            {
                **{"epoch": epoch, "train_loss": 1.0, "train_accuracy": accuracy, "validation_loss": 1.0},
                **{"validation_accuracy": accuracy, "seconds": seconds, "waiting": 0.0, "building": 0.0},
                **{"training": seconds, "validating": 0.0},
            }
            for epoch, accuracy in enumerate(accuracies, first)
        ]
        return self.course.reported(name, {"rows": rows})

    def through(self, *accuracies: float) -> str:
        """A whole trial."""
        name, _ = self.start()
        self.report(name, *accuracies)
        self.course.ended(name, "")
        return name

    def ends(self) -> dict[str, tuple[str, str]]:
        return {row["trial"]: (row["status"], row["reason"]) for row in self.journal.rows if row["event"] == "end"}


Plan = Callable[..., Planned]


@pytest.fixture
def plan(tmp_path: Path, pictures: Pictures) -> Iterator[Plan]:
    """Makes courses in folders of their own, and closes their files."""
    made: list[Planned] = []

    def make(folder: str = "", **values: Any) -> Planned:
        made.append(Planned(tmp_path / (folder or str(len(made))), pictures, **values))
        return made[-1]

    yield make
    for planned in made:
        planned.journal.close()


def test_families_take_turns_and_mobilenet_leads(plan: Plan) -> None:
    planned = plan()
    # Two trials of each family, and two linear probes, which are none of them.
    assert [planned.start()[0] for _ in range(8)] == [
        *("mobilenet-000", "mobilenet-001", "mobilenet-002", "scratch_pillow-000", "scratch_keras-000"),
        *("mobilenet-003", "scratch_pillow-001", "scratch_keras-001"),
    ]
    assert planned.journal.records["mobilenet-001"].config == {
        **{"backbone": "MobileNet", "alpha": 0.25, "image_size": 32, "unfrozen_blocks": 0},
        **{"head": "probe", "beside": "none", "mirrored": False},
    }
    assert planned.course.next() is None
    assert not planned.course.over()


def test_the_family_with_the_best_model_has_four_turns_to_the_others_one(plan: Plan) -> None:
    planned = plan(families=("scratch_keras", "scratch_pillow"), trials=9)

    def follow(turns: int, keras: float) -> Counter[str]:
        found = Counter[str]()
        for _ in range(turns):
            name, job = planned.start()
            planned.report(name, *[keras if job.family == "scratch_keras" else 0.6] * 3)
            planned.course.ended(name, "")
            found[job.family] += 1
        return found

    assert follow(2, 0.5) == {"scratch_keras": 1, "scratch_pillow": 1}
    assert follow(5, 0.5) == {"scratch_keras": 1, "scratch_pillow": 4}
    # A better model turns the tables, and in the end each family has had its trials.
    assert follow(8, 0.7) == {"scratch_keras": 5, "scratch_pillow": 3}
    assert follow(3, 0.7) == {"scratch_keras": 2, "scratch_pillow": 1}


def test_jobs_say_all_that_a_worker_needs(plan: Plan) -> None:
    planned = plan()
    _, first = planned.start()
    _, probe = planned.start()
    assert (probe.epochs, probe.planned, probe.rungs, probe.kept) == (1, 1, (), False)
    name, second = [planned.start() for _ in range(4)][-1]
    assert (name, second.kind, second.family, second.seed) == ("mobilenet-003", "search", "mobilenet", 3)
    assert (second.epochs, second.planned, second.most_views, second.rungs) == (3, 3, 4, (1,))
    assert (first.config["backbone"], first.config["alpha"]) == ("MobileNet", 0.25)
    assert planned.journal.records[name].config == second.config


def test_a_family_that_is_done_is_retrained_with_every_seed(plan: Plan) -> None:
    planned = plan(families=("scratch_keras",), seed=5)
    planned.through(0.2, 0.5, 0.4)
    assert planned.through(0.2, 0.3, 0.6) == "scratch_keras-001"
    assert planned.ends() == {
        "scratch_keras-000": ("finished", "all 3 epochs"),
        "scratch_keras-001": ("finished", "all 3 epochs"),
    }
    found = [planned.start() for _ in range(2)]
    assert [name for name, _ in found] == ["scratch_keras-retrain-5", "scratch_keras-retrain-6"]
    best = planned.journal.records["scratch_keras-001"]
    assert [(job.kind, job.epochs, job.planned, job.seed, job.export) for _, job in found] == [
        ("retrain", 3, 3, 5, True),
        ("retrain", 3, 3, 6, False),
    ]
    assert all(job.config == best.config for _, job in found)
    assert planned.course.next() is None
    assert planned.course.over()
    assert planned.said == ["scratch_keras: scratch_keras-001 is best with 0.600, retraining it"]


def test_a_failed_trial_fails_alone(plan: Plan) -> None:
    planned = plan(families=("scratch_keras",), trials=3)
    name, _ = planned.start()
    assert not planned.course.reported(name, {"failed": "the training loss became nan in epoch 2"})
    planned.course.ended(name, "")
    lost, _ = planned.start()
    for _ in range(3):
        planned.course.ended(lost, "its worker was lost")
        assert planned.course.trials.again == [lost] * (planned.journal.records[lost].status == "running")
        planned.course.trials.again.clear()
    planned.through(0.2, 0.2, 0.3)
    assert planned.ends() == {
        "scratch_keras-000": ("failed", "the training loss became nan in epoch 2"),
        "scratch_keras-001": ("failed", "its worker was lost, tried 3 times"),
        "scratch_keras-002": ("finished", "all 3 epochs"),
    }
    assert planned.said[:4] == [
        "scratch_keras-000 failed: the training loss became nan in epoch 2",
        "scratch_keras-001 is tried again: its worker was lost",
        "scratch_keras-001 is tried again: its worker was lost",
        "scratch_keras-001 failed: its worker was lost, tried 3 times",
    ]
    states = [trial.state for trial in planned.studies["scratch_keras"].study.trials]
    assert states == [TrialState.FAIL, TrialState.FAIL, TrialState.COMPLETE]
    assert planned.start()[0] == "scratch_keras-retrain-0"


def test_a_lost_machine_is_not_held_against_a_trial(plan: Plan) -> None:
    planned = plan(families=("scratch_keras",), trials=1, max_failures=0)
    for _ in range(3):
        name, _ = planned.start()
        assert name == "scratch_keras-000"
        planned.course.ended(name, "its node has died")
    name, _ = planned.start()
    assert not planned.course.reported(name, {"died": "the worker process was killed by signal 9"})
    planned.course.ended(name)
    assert planned.ends() == {"scratch_keras-000": ("failed", "the worker process was killed by signal 9")}
    assert [row["counts"] for row in planned.journal.rows if row["event"] == "retry"] == [False] * 3


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("The actor died because its node has died. Node Id: 12", "its node has died"),
        (
            str(ray.exceptions.ActorUnavailableError("RPC error: Socket closed", bytes(16))),
            "its node could not be reached",
        ),
        ("Worker unexpectedly exits: End of file.", "its worker was lost: Worker unexpectedly exits: End of file."),
    ],
)
def test_a_lost_machine_is_told_from_a_lost_worker(plan: Plan, tmp_path: Path, error: str, reason: str) -> None:
    planned = plan(families=("scratch_keras",), trials=1)
    name, _ = planned.start()
    (tmp_path / "error.txt").write_text(f"Traceback (most recent call last):\n  in run\n{error}\n")
    trial = SimpleNamespace(error_file=str(tmp_path / "error.txt"), config={"name": name})
    CourseScheduler(planned.course).on_trial_error(None, trial)
    planned.course.ended(name)
    (row,) = [row for row in planned.journal.rows if row["event"] == "retry"]
    assert (row["reason"], row["counts"]) == (reason, reason.startswith("its worker"))


def test_a_trial_has_its_row_before_it_has_a_worker(plan: Plan, ray_cluster: None) -> None:
    planned = plan(families=("scratch_keras",), trials=2, cpus_per_trial=1)
    searcher = CourseSearcher(planned.course, connect(planned.settings))
    given = [searcher.suggest("a"), searcher.suggest("b")]
    assert [(row["event"], row["trial"]) for row in planned.journal.rows] == [
        ("start", "scratch_keras-000"),
        ("start", "scratch_keras-001"),
    ]
    assert [found["name"] for found in given if isinstance(found, dict)] == ["scratch_keras-000", "scratch_keras-001"]


def test_a_verdict_that_was_lost_is_given_when_the_run_goes_on(plan: Plan, pictures: Pictures) -> None:
    planned = plan(families=("scratch_keras",), reduction=2)
    for accuracy in (0.6, 0.5):
        planned.report(planned.start()[0], accuracy)
    planned.journal.close()
    rows = planned.settings.folder / "trials.jsonl"
    # Killed after the second trial's epoch row: its verdict and end never came to be.
    kept = rows.read_text().splitlines(keepends=True)[:-2]
    assert json.loads(kept[-1])["event"] == "epoch"
    rows.write_text("".join(kept))
    journal = Journal(rows, earlier=read_rows(rows))
    course = Course(planned.settings, studies_of(planned.settings, (), journal), journal, 1, pictures, print)
    journal.close()
    assert {name: (record.status, record.reason) for name, record in journal.records.items()} == {
        "scratch_keras-000": ("running", ""),
        "scratch_keras-001": ("stopped", "epoch 1: 0.500 below the rung's 0.600"),
    }
    assert course.trials.again == ["scratch_keras-000"]


def test_a_trial_whose_machine_is_never_reached_fails_in_the_end(plan: Plan) -> None:
    planned = plan(families=("scratch_keras",), trials=1, max_failures=1)
    name, _ = planned.start()
    for _ in range(5):
        planned.course.ended(name, "its node could not be reached")
        planned.course.trials.again.clear()
    assert planned.ends() == {name: ("failed", "its node could not be reached, tried 2 times")}
    counts = [row["counts"] for row in planned.journal.rows if row["event"] == "retry"]
    assert counts == [False, False, False, True]


def test_a_trial_goes_on_from_its_checkpoint_and_leaves_none(plan: Plan, ray_cluster: None) -> None:
    planned = plan(families=("scratch_keras",), trials=2, epochs=4)
    name, job = planned.start()
    assert job.kept
    assert planned.report(name, 0.5)
    assert planned.course.reported(name, {"checkpoint": ray.put(np.frombuffer(b"state", np.uint8))})
    planned.course.ended(name, "its worker was lost")
    assert planned.start()[0] == name
    assert planned.course.checkpoints.read(name) == b"state"
    # The epoch before the checkpoint is not written twice, whatever the trial repeats.
    planned.report(name, 0.5, 0.6, 0.7, 0.8)
    planned.course.ended(name)
    assert planned.course.checkpoints.read(name) == b""
    assert [row["epoch"] for row in planned.journal.rows if row["event"] == "epoch"] == [1, 2, 3, 4]


def put_and_die() -> list[Any]:
    """The reference of something that its owner took with it."""

    class Owner:
        def put(self) -> list[Any]:
            return [ray.put(np.zeros(10**6, np.uint8))]

    owner = ray.remote(num_cpus=0)(Owner).remote()
    held: list[Any] = ray.get(owner.put.remote())
    ray.kill(owner)
    for _ in range(300):
        time.sleep(0.1)
        try:
            ray.get(held[0])
        except ray.exceptions.RayError:
            return held
    pytest.fail("the object outlives its owner")


def test_what_is_lost_on_its_way_to_the_driver_costs_no_more_than_its_trial(plan: Plan, ray_cluster: None) -> None:
    planned = plan(families=("scratch_keras",), trials=1, final_seeds=1)
    (lost,) = put_and_die()
    name, _ = planned.start()
    assert planned.course.reported(name, {"checkpoint": lost})
    assert planned.course.checkpoints.read(name) == b""
    planned.report(name, 0.2, 0.2, 0.3)
    planned.course.ended(name)
    for _ in range(2):
        name, _ = planned.start()
        assert name == "scratch_keras-retrain-0"
        assert not planned.course.reported(name, {"outcome": lost})
        planned.course.ended(name)
    assert planned.said[-1] == "scratch_keras-retrain-0 is tried again: its worker was lost with what it had made"


def test_a_retraining_whose_worker_is_lost_is_tried_again(plan: Plan) -> None:
    planned = plan(families=("scratch_keras",), trials=1, final_seeds=1, max_failures=1)
    planned.through(0.2, 0.2, 0.3)
    for _ in range(2):
        name, _ = planned.start()
        assert name == "scratch_keras-retrain-0"
        planned.course.ended(name, "its worker was lost")
    assert planned.course.next() is None
    assert planned.course.over()
    assert planned.said[-1] == "scratch_keras-retrain-0 failed: its worker was lost"


def handed_back(planned: Planned, name: str, family: str, seed: int, *, exported: bool = True) -> None:
    """What the worker of a retraining hands back, in rows."""
    trial = f"{family}-000"
    row = {"seed": seed, "epochs": 3, "accuracy": 0.4, "train_accuracy": 0.9}
    planned.journal.write("test", trial, family, **row)
    if exported:
        planned.journal.write("model", trial, family, seed=seed, path=f"models/{family}.keras")
    planned.course.ended(name)


def test_what_is_handed_over_is_trained_once_more_after_it_was_scored(plan: Plan) -> None:
    planned = plan(families=("scratch_keras",), trials=1, final_seeds=3, refit="all")
    planned.through(0.2, 0.2, 0.3)
    # Before there is a figure of it nothing is trained on the test pictures.
    first, second = planned.start()[0], planned.start()[0]
    assert (first, second) == ("scratch_keras-retrain-0", "scratch_keras-retrain-1")
    handed_back(planned, second, "scratch_keras", 1, exported=False)
    third, _ = planned.start()
    assert third == "scratch_keras-retrain-2"
    assert planned.course.next() is None
    assert not planned.course.over()
    handed_back(planned, first, "scratch_keras", 0)
    name, job = planned.start()
    assert (name, job.kind, job.seed, job.epochs, job.export) == ("scratch_keras-refit-0", "refit", 0, 3, False)
    assert job.config == planned.journal.records["scratch_keras-000"].config
    assert planned.course.over()
    # Its worker is lost, and it is tried again.
    planned.course.ended(name, "its worker was lost")
    assert not planned.course.over()
    assert planned.start()[0] == "scratch_keras-refit-0"


def test_a_probe_learns_all_pictures_while_it_is_scored(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.get", lambda outcome: outcome)
    planned = plan(families=("mobilenet",), trials=1, final_seeds=1, refit="all")
    for accuracies in ((0.2, 0.2, 0.3), (0.9,), (0.8,)):
        planned.through(*accuracies)
    scored, refit = planned.start()[0], planned.start()[0]
    assert (scored, refit) == ("mobilenet-retrain-0", "mobilenet-refit-0")
    row: dict[str, Any] = {"seed": 0, "epochs": 1, "pictures": 96, "parameters": 7}
    planned.course.reported(refit, {"outcome": Refitted(dict(row), b"on all", 1.0)})
    planned.course.ended(refit)
    model = planned.settings.folder / "models" / "mobilenet.keras"
    # No figure speaks of it yet.
    assert not model.exists()
    row |= {"accuracy": 0.8, "train_accuracy": 1.0, "pictures": 20, "seconds": 1.0}
    took: dict[str, Any] = {"latency_one": 0.02, "latency_batch": 0.1, "batch": 32, "device": "1 CPU thread"}
    outcome = Outcome(row, b"", b"scored", 7, took, doubt={"temperature": 0.5})
    planned.course.reported(scored, {"outcome": outcome})
    planned.course.ended(scored)
    assert model.read_bytes() == b"on all"
    one, other = (row for row in planned.journal.rows if row["event"] == "model")
    assert (one.get("pictures"), other["pictures"]) == (None, 96)
    assert {key: other[key] for key in (*took, "temperature")} == {**took, "temperature": 0.5}
    assert planned.course.next() is None
    assert planned.course.over()


def test_a_probe_whose_retraining_fails_is_not_handed_over(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.get", lambda outcome: outcome)
    planned = plan(families=("mobilenet",), trials=1, final_seeds=1, max_failures=0, refit="all")
    for accuracies in ((0.2, 0.2, 0.3), (0.9,), (0.8,)):
        planned.through(*accuracies)
    scored, refit = planned.start()[0], planned.start()[0]
    planned.course.reported(scored, {"failed": "no luck"})
    planned.course.ended(scored)
    row = {"seed": 0, "epochs": 1, "pictures": 96, "parameters": 7}
    planned.course.reported(refit, {"outcome": Refitted(row, b"on all", 1.0)})
    planned.course.ended(refit)
    assert not (planned.settings.folder / "models" / "mobilenet.keras").exists()
    assert planned.course.next() is None
    assert planned.course.over()


def test_without_a_model_that_was_scored_there_is_nothing_to_train_once_more(plan: Plan) -> None:
    planned = plan(families=("scratch_keras",), trials=1, final_seeds=1, max_failures=0, refit="all")
    planned.through(0.2, 0.2, 0.3)
    name, _ = planned.start()
    planned.course.reported(name, {"failed": "no luck"})
    planned.course.ended(name)
    assert planned.course.next() is None
    assert planned.course.over()


def test_a_run_that_is_resumed_trains_once_more_what_was_only_scored(plan: Plan) -> None:
    planned = plan("one", families=("scratch_keras",), trials=1, final_seeds=1, refit="none")
    planned.through(0.2, 0.2, 0.3)
    handed_back(planned, planned.start()[0], "scratch_keras", 0)
    assert planned.course.next() is None
    assert planned.course.over()
    again = plan("one", families=("scratch_keras",), trials=1, final_seeds=1, refit="all")
    assert again.start()[0] == "scratch_keras-refit-0"
    again.journal.write("model", "scratch_keras-000", "scratch_keras", seed=0, path="models/a.keras", pictures=90)
    once_more = plan("one", families=("scratch_keras",), trials=1, final_seeds=1, refit="all")
    assert once_more.course.next() is None
    assert once_more.course.over()


def test_a_run_that_is_resumed_does_not_train_again_what_was_refused(plan: Plan) -> None:
    planned = plan("one", families=("scratch_keras",), trials=1, final_seeds=1, refit="none")
    planned.through(0.2, 0.2, 0.3)
    handed_back(planned, planned.start()[0], "scratch_keras", 0)
    planned.journal.write("refit", "scratch_keras-000", "scratch_keras", reason="it names 0.7 of its training pictures")
    again = plan("one", families=("scratch_keras",), trials=1, final_seeds=1, refit="all")
    assert again.course.next() is None
    assert again.course.over()


def test_out_of_memory_is_tried_once_with_half_the_batch(plan: Plan) -> None:
    planned = plan(families=("scratch_keras",), trials=2)
    name, job = planned.start()
    batch = job.config["batch_size"]
    planned.report(name, 0.9)
    assert not planned.course.reported(name, {"out of memory": "out of memory: 2 GiB"})
    planned.course.ended(name)
    assert planned.start()[1].config == {**job.config, "batch_size": batch // 2}
    planned.report(name, 0.2, 0.3, 0.4)
    planned.course.ended(name)
    told = planned.studies["scratch_keras"].study.get_trials(states=(TrialState.COMPLETE, TrialState.FAIL))
    assert [(trial.state.name, trial.value, trial.params["batch_size"]) for trial in told] == [
        ("FAIL", None, batch),
        ("COMPLETE", 0.4, batch // 2),
    ]
    trial = planned.journal.read().trials[name]
    assert ([row["validation_accuracy"] for row in trial.curve], trial.changed) == ([0.2, 0.3, 0.4], True)
    second, _ = planned.start()
    for _ in range(2):
        assert not planned.course.reported(second, {"out of memory": "out of memory: 2 GiB"})
        planned.course.ended(second)
        if planned.course.trials.again:
            planned.start()
    assert planned.ends()[second] == ("failed", "infeasible: out of memory: 2 GiB")


def test_an_interrupted_course_gives_nothing_out_and_ends_nothing(plan: Plan) -> None:
    planned = plan(families=("scratch_keras",), trials=2)
    name, _ = planned.start()
    planned.report(name, 0.3)
    planned.course.interrupted = True
    assert not planned.report(name, 0.4, first=2)
    planned.course.ended(name)
    assert planned.course.next() is None
    assert not planned.course.over()
    assert planned.ends() == {}
    assert planned.journal.records[name].status == "running"


def test_a_family_without_a_result_ends_without_retraining(plan: Plan) -> None:
    planned = plan(families=("scratch_keras",), trials=1)
    name, _ = planned.start()
    planned.course.reported(name, {"failed": "out of memory"})
    planned.course.ended(name, "")
    assert planned.course.next() is None
    assert planned.course.over()
    assert planned.said[-1] == "scratch_keras: no trial came far enough to be retrained"


def test_rungs_stop_the_worse_but_never_the_base(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.studies.observed.BLIND", 0.0)
    planned = plan(families=("scratch_keras",), trials=5, reduction=2)
    names = [planned.start()[0] for _ in range(5)]
    assert planned.report(names[1], 0.6)
    assert planned.report(names[0], 0.1)  # the worse of two, but the study's own configuration
    assert not planned.report(names[2], 0.5)  # the best one of three is 0.6
    assert planned.report(names[3], 0.6)
    assert not planned.report(names[4], 0.2)  # the best two of five
    assert planned.ends() == {
        names[2]: ("stopped", "epoch 1: 0.500 below the rung's 0.600"),
        names[4]: ("stopped", "epoch 1: 0.200 below the rung's 0.600"),
    }
    rungs = [
        (row["trial"], row["epoch"], row["value"], row["promoted"])
        for row in planned.journal.rows
        if row["event"] == "rung"
    ]
    assert rungs == [
        (names[1], 1, 0.6, True),
        (names[0], 1, 0.1, True),
        (names[2], 1, 0.5, False),
        (names[3], 1, 0.6, True),
        (names[4], 1, 0.2, False),
    ]


def test_a_base_with_a_short_schedule_is_compared_with_no_other(plan: Plan) -> None:
    planned = plan(families=("scratch_keras",), epochs=None, time_budget=10_000.0, trials=4, reduction=2)
    planned.course.pace.sampled["scratch_keras"] = 1e-6
    base, first, second = (planned.start()[0] for _ in range(3))
    assert [planned.journal.records[name].planned for name in (base, first)] == [9, 240]
    rung = planned.course.trials.verdicts.epochs(240)[0]
    assert planned.report(base, *[0.9] * rung)
    assert planned.report(first, *[0.4] * rung)
    # The better of two, both far from where the base is at the same epoch.
    assert planned.report(second, *[0.5] * rung)
    assert {row["trial"] for row in planned.journal.rows if row["event"] == "rung"} == {first, second}


def test_blind_draws_are_judged_among_themselves_also_after_a_resume(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    values: dict[str, Any] = {"families": ("scratch_keras",), "trials": 8, "reduction": 2}
    # The base and two points come first, and from there on every draw is a proposal.
    monkeypatch.setattr("search.studies.observed.BLIND", 0.0)
    planned = plan("once", **values)
    names = [planned.start()[0] for _ in range(3)]
    for name, accuracy in zip(names, (0.7, 0.8, 0.9), strict=True):
        planned.report(name, accuracy)
    proposed = [planned.start()[0] for _ in range(3)]
    assert [planned.journal.records[name].blind for name in names + proposed] == [True] * 3 + [False] * 3
    assert planned.report(proposed[0], 0.3)
    assert not planned.report(proposed[1], 0.2)
    planned.journal.close()
    again = plan("once", **values)
    assert [again.journal.records[name].blind for name in names + proposed] == [True] * 3 + [False] * 3
    for name in again.course.trials.again[:]:
        again.start()
        if name == proposed[2]:
            assert again.report(name, 0.3)
    started = [row for row in again.journal.rows if row["event"] == "start"]
    assert [row.get("blind", False) for row in started] == [True] * 3 + [False] * 3


def test_families_are_not_judged_against_each_other(plan: Plan) -> None:
    planned = plan(families=("scratch_keras", "scratch_pillow"), trials=2, reduction=2)
    names = [planned.start()[0] for _ in range(4)]
    verdicts = {name: planned.report(name, 0.9 if "keras" in name else 0.1) for name in names}
    assert verdicts == dict.fromkeys(names, True)


def test_the_time_budget_leaves_room_for_the_retraining(plan: Plan) -> None:
    planned = plan(families=("scratch_keras",), trials=9, time_budget=1000.0)
    first, _ = planned.start()
    assert planned.report(first, 0.3, seconds=10.0)
    # Report 8 s, and two retrainings of 3 epochs of 10 s on 76 instead of 60 pictures, for each 9 s more and what 20
    # test pictures and 300 others take.
    one = 3 * 10 * 76 / 60 + 9 + 320 / 60 * 10 / 3
    assert planned.course.budget.reserve() == pytest.approx(8 + 1.1 * 2 * one)
    assert not planned.course.budget.out_of_time()
    planned.journal.began -= 900
    assert not planned.report(first, 0.4, first=2, seconds=10.0)
    assert planned.ends() == {first: ("stopped", OUT_OF_TIME)}
    planned.course.ended(first, "")
    name, job = planned.start()
    assert (name, job.epochs) == ("scratch_keras-retrain-0", 2)
    assert [trial.state for trial in planned.studies["scratch_keras"].study.trials][:1] == [TrialState.PRUNED]


def configurations(planned: Planned, count: int = 18) -> list[tuple[str, str]]:
    found = []
    for _ in range(count):
        name, job = planned.start()
        found.append((name, json.dumps(job.config, sort_keys=True)))
        accuracy = job.config.get("batch_size", 16) / 100 + job.config.get("dropout", 0.0) / 10
        planned.report(name, *[accuracy] * job.epochs)
        planned.course.ended(name, "")
    return found


def test_the_seed_gives_the_same_configurations_in_the_same_order(plan: Plan) -> None:
    one, same, other = (configurations(plan(trials=6, seed=seed)) for seed in (1, 1, 2))
    assert one == same
    assert one != other


def scored(planned: Planned, *seeds: int) -> None:
    """Writes the rows of retrainings of what the course plans next, as if they had been done."""
    for seed in seeds:
        name, job = planned.start()
        assert (name, job.seed) == (f"scratch_keras-retrain-{seed}", seed)
        trial = planned.course.delivery.given[name][1]
        planned.journal.write("test", trial, "scratch_keras", seed=seed, accuracy=0.5)
        if job.export:
            planned.journal.write("model", trial, "scratch_keras", seed=seed, path="models/scratch_keras.keras")


def test_a_run_that_is_extended_retrains_only_a_new_best(plan: Plan) -> None:
    first = plan(folder="run", families=("scratch_keras",))
    first.through(0.2, 0.2, 0.6)
    first.through(0.2, 0.2, 0.3)
    scored(first, 0, 1)
    assert plan(folder="run", families=("scratch_keras",)).course.nothing_left()
    worse = plan(folder="run", families=("scratch_keras",), trials=3)
    assert not worse.course.nothing_left()
    assert worse.through(0.2, 0.2, 0.4) == "scratch_keras-002"
    assert worse.course.next() is None
    assert worse.course.over()
    better = plan(folder="run", families=("scratch_keras",), trials=4)
    assert better.through(0.2, 0.2, 0.9) == "scratch_keras-003"
    scored(better, 0, 1)
    assert better.course.next() is None
    assert better.said == ["scratch_keras: scratch_keras-003 is best with 0.900, retraining it"]
    points = [json.dumps(record.point, sort_keys=True) for record in better.journal.of("scratch_keras")]
    assert len(set(points)) == 4
    assert better.journal.read().scored("scratch_keras") == ["scratch_keras-000", "scratch_keras-003"]


def test_an_ensemble_is_trained_once(plan: Plan) -> None:
    first = plan(folder="run", families=("scratch_keras",), ensemble=1, final_seeds=1)
    first.through(0.2, 0.2, 0.6)
    first.through(0.2, 0.2, 0.3)
    scored(first, 0)
    name, job = first.start()
    assert (name, job.config) == ("scratch_keras-001-member", first.journal.records["scratch_keras-001"].config)
    first.journal.write("member", "scratch_keras-001", "scratch_keras", seed=0, accuracy=0.5)
    assert plan(folder="run", families=("scratch_keras",), ensemble=1, final_seeds=1).course.nothing_left()
    assert not plan(folder="run", families=("scratch_keras",), trials=3, ensemble=2).course.nothing_left()


def played(planned: Planned, accuracy: float, name: str, job: Job) -> None:
    """What a finalist shows on a fold, as the driver writes it down."""
    row = {"accuracy": accuracy, "loss": 1.0, "pictures": 15, "seconds": 1.0, "epochs": job.epochs}
    planned.journal.write("final", job.name, job.family, fold=job.fold, **row)
    planned.course.ended(name, "")


def test_the_best_of_a_family_meet_on_other_folds_and_the_better_there_is_retrained(plan: Plan) -> None:
    planned = plan(families=("scratch_keras",), trials=3, finalists=2, final_seeds=1)
    planned.through(0.2, 0.5, 0.60)
    planned.through(0.2, 0.5, 0.62)
    planned.through(0.2, 0.5, 0.10)
    shown = {"scratch_keras-000": 0.6, "scratch_keras-001": 0.5}
    found = []
    for _ in range(4):
        name, job = planned.start()
        found.append((name, job.kind, job.fold, job.epochs, job.planned))
        played(planned, shown[job.name], name, job)
    assert found == [
        ("scratch_keras-001-final-1", "final", 1, 3, 3),
        ("scratch_keras-000-final-1", "final", 1, 3, 3),
        ("scratch_keras-001-final-2", "final", 2, 3, 3),
        ("scratch_keras-000-final-2", "final", 2, 3, 3),
    ]
    name, job = planned.start()
    assert (name, job.config) == ("scratch_keras-retrain-0", planned.journal.records["scratch_keras-000"].config)
    assert planned.said == [
        "scratch_keras: 2 configurations meet in a final, on other folds",
        "scratch_keras: scratch_keras-000 is best with 0.600, retraining it",
    ]


def test_what_is_too_dear_for_a_final_leaves_it_to_the_others(plan: Plan) -> None:
    given: dict[str, Any] = {"families": ("scratch_keras",), "trials": 3, "finalists": 3, "final_seeds": 1}
    for dear, met in (("scratch_keras-002", ["001", "000"]), ("scratch_keras-001", [])):
        planned = plan(time_budget=1000.0, **given)
        for best in (0.60, 0.62, 0.61):
            planned.through(0.2, 0.5, best)
        planned.journal.records[dear].fastest = 80.0
        found = [planned.course.next() for _ in range(len(met))]
        assert [name for name, _ in filter(None, found)] == [f"scratch_keras-{number}-final-1" for number in met]
        if met:
            assert f"scratch_keras: no time for {dear} in its final" in planned.said
        else:
            # Without the first there is nothing to decide.
            planned.start()
            assert "scratch_keras: no time for a final between its best 3" in planned.said


def test_who_is_clearly_behind_leaves_the_final_and_a_lost_game_is_played_again(plan: Plan) -> None:
    planned = plan(families=("scratch_keras",), trials=2, finalists=2, final_seeds=1)
    planned.through(0.2, 0.5, 0.60)
    planned.through(0.2, 0.5, 0.62)
    name, job = planned.start()
    planned.course.ended(name, "its worker was lost")
    assert planned.said[-1] == "scratch_keras-001-final-1 is tried again: its worker was lost"
    names = []
    for accuracy in (0.1, 0.9, 0.9):
        name, job = planned.start()
        names.append(name)
        played(planned, accuracy, name, job)
    # On 15 pictures a tenth against nine tenths cannot be chance.
    assert names == ["scratch_keras-001-final-1", "scratch_keras-000-final-1", "scratch_keras-000-final-2"]
    assert planned.start()[0] == "scratch_keras-retrain-0"


def test_a_final_that_was_interrupted_goes_on_where_it_was(plan: Plan) -> None:
    first = plan(folder="run", families=("scratch_keras",), finalists=2, final_seeds=1)
    first.through(0.2, 0.5, 0.60)
    first.through(0.2, 0.5, 0.62)
    name, job = first.start()
    played(first, 0.5, name, job)
    again = plan(folder="run", families=("scratch_keras",), finalists=2, final_seeds=1)
    # That it was asked takes nothing away from it.
    assert not again.course.nothing_left()
    assert again.start()[0] == "scratch_keras-000-final-1"


def test_a_few_batches_are_timed_before_the_first_trial_of_a_family(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = plan(families=("scratch_keras",), trials=None, epochs=None, time_budget=1000.0)
    name, job = planned.start()
    assert (name, job.kind, job.config) == ("scratch_keras-pace", TIMING, planned.studies["scratch_keras"].usual)
    # Nothing of the family begins before the answer.
    assert planned.course.next() is None
    assert not planned.course.over()
    monkeypatch.setattr("search.schedule.course.ray.get", lambda value: value)
    assert not planned.course.reported(name, {"outcome": 0.5})
    planned.course.ended(name, "")
    assert planned.journal.rows[-1]["event"] == "pace"
    name, job = planned.start()
    assert (name, job.kind) == ("scratch_keras-000", "search")
    again = plan(folder="0", families=("scratch_keras",), trials=None, epochs=None, time_budget=1000.0)
    assert again.course.pace.sampled == pytest.approx(planned.course.pace.sampled)


@pytest.mark.parametrize(("seconds", "size"), [(0.001, 64), (0.5, 32)])
def test_hand_written_points_begin_with_as_large_pictures_as_the_time_allows(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, seconds: float, size: int
) -> None:
    values: dict[str, Any] = {"families": ("scratch_keras",), "trials": None, "epochs": None, "time_budget": 1000.0}
    planned = plan("run", **values, image_sizes=(32, 64, 96))
    name, job = planned.start()
    # The larger pictures are timed: on small ones what a step takes beside its arithmetic counts for more.
    assert (job.kind, job.config["image_size"]) == (TIMING, 64)
    monkeypatch.setattr("search.schedule.course.ray.get", lambda value: value)
    planned.course.reported(name, {"outcome": seconds})
    planned.course.ended(name, "")
    # A run that is resumed says the same of what is still to come.
    again = plan("run", **values, image_sizes=(32, 64, 96))
    for course in (planned, again):
        base, start = course.start()[1], course.start()[1]
        assert (base.config["blocks"], start.config["blocks"]) == (3, 5)
        assert start.config["image_size"] == size
        assert course.studies["scratch_keras"].usual["image_size"] == size
    # And begins no smaller one where the larger was tried.
    once_more = plan("run", **values, image_sizes=(32, 64, 96))
    assert once_more.start()[0] == "scratch_keras-000"
    assert once_more.start()[1].config["image_size"] == size


def test_where_trials_are_as_long_as_the_time_allows_the_second_is_compared_already(plan: Plan) -> None:
    planned = plan(families=("scratch_keras",), trials=None, epochs=None, time_budget=1000.0)
    planned.course.turns.timed.add("scratch_keras")
    planned.course.pace.sample("scratch_keras", planned.studies["scratch_keras"].usual, 0.01)
    base, _ = planned.start()
    assert planned.report(base, 0.9)
    name, job = planned.start()
    assert (job.planned >= 27, job.rungs[0]) == (True, 3)
    assert planned.report(name, 0.1, 0.2, 0.3)
    other, _ = planned.start()
    assert not planned.report(other, 0.1, 0.2, 0.25)
    assert planned.ends() == {other: ("stopped", "epoch 3: 0.250 below the rung's 0.300")}
    # With a number of epochs of the user's own three have to be there.
    limited = plan(families=("scratch_keras",), trials=9, epochs=27)
    for _ in range(2):
        name, _ = limited.start()
        assert limited.report(name, 0.1, 0.2, 0.3)
    name, _ = limited.start()
    assert limited.report(name, 0.3, 0.2, 0.25) is False


def test_a_family_whose_batches_fail_is_searched_all_the_same(plan: Plan) -> None:
    planned = plan(families=("scratch_keras",), trials=None, epochs=None, time_budget=1000.0)
    name, _ = planned.start()
    assert not planned.course.reported(name, {"failed": "it does not learn"})
    planned.course.ended(name, "")
    name, job = planned.start()
    assert (name, job.planned) == ("scratch_keras-000", 9)


def test_where_there_is_no_time_to_retrain_the_trial_s_own_model_is_handed_over(plan: Plan) -> None:
    planned = plan(families=("scratch_keras",), trials=None, epochs=None, time_budget=1000.0, finalists=1)
    family, config = "scratch_keras", planned.studies["scratch_keras"].usual
    planned.course.turns.timed.add(family)
    planned.course.pace.sample(family, config, 0.1)
    name, job = planned.start()
    assert (job.planned, job.last) == (9, True)
    planned.report(name, 0.3, seconds=30.0)
    planned.course.checkpoints.write(name, b"its state")
    planned.journal.began -= 930
    assert not planned.report(name, 0.4, first=2, seconds=30.0)
    planned.course.ended(name, "")
    assert planned.ends() == {name: ("stopped", OUT_OF_TIME)}
    planned.journal.began -= 10
    name, job = planned.start()
    assert (name, job.own, job.name, job.epochs) == ("scratch_keras-retrain-0", True, "scratch_keras-000", 9)
    assert planned.said == [
        "scratch_keras: scratch_keras-000 is best with 0.400, and there is no time to retrain it: its own model is "
        "scored"
    ]
    assert planned.course.checkpoints.holds("scratch_keras-000")


def test_where_there_is_nothing_to_hand_over_the_retraining_is_short(plan: Plan) -> None:
    planned = plan(families=("scratch_keras",), trials=None, epochs=None, time_budget=1000.0, finalists=1)
    planned.course.turns.timed.add("scratch_keras")
    planned.course.pace.sample("scratch_keras", planned.studies["scratch_keras"].usual, 0.1)
    name, _ = planned.start()
    # No state of it has come.
    planned.report(name, 0.3, seconds=30.0)
    planned.journal.began -= 930
    assert not planned.report(name, 0.4, first=2, seconds=30.0)
    planned.course.ended(name, "")
    planned.journal.began -= 10
    name, job = planned.start()
    assert (name, job.own, job.export, job.epochs) == ("scratch_keras-retrain-0", False, True, 2)
    assert job.within is not None
    assert job.within < 50
    assert planned.said == [
        "scratch_keras: scratch_keras-000 is best with 0.400, retraining it briefly: there is hardly time for it, and "
        "no other model"
    ]
    # With a model of another family it is left.
    assert not planned.course.delivery.retrainings.other_model("scratch_keras")
    planned.journal.write("model", "mobilenet-000", "mobilenet", seed=0, path="models/mobilenet.keras")
    settings = planned.course.settings
    planned.course.delivery.retrainings.settings = dataclasses.replace(
        settings, families=("scratch_keras", "mobilenet")
    )
    assert planned.course.delivery.retrainings.other_model("scratch_keras")


def test_a_head_on_stored_features_is_retrained_however_little_time_is_left(plan: Plan) -> None:
    heads = ("mobilenet.head=trained", "mobilenet.unfrozen_blocks=0")
    planned = plan(families=("mobilenet",), set=heads, trials=1, epochs=None, time_budget=1000.0, finalists=1)
    name, job = planned.start()
    while job.kind == TIMING:
        planned.course.reported(name, {"failed": "no matter"})
        planned.course.ended(name, "")
        name, job = planned.start()
    assert (name, job.epochs, job.last) == ("mobilenet-000", 9, False)
    planned.report(name, *(0.1 * epoch for epoch in range(1, 10)), seconds=0.1)
    planned.course.ended(name, "")
    planned.journal.began -= 985
    # No model of it is kept, and no report is worth more than one with a model.
    name, job = planned.start()
    assert (name, job.own, job.epochs, job.within) == ("mobilenet-retrain-0", False, 9, None)


def test_a_trial_whose_features_would_come_too_late_is_ended(plan: Plan) -> None:
    heads = ("mobilenet.head=trained", "mobilenet.unfrozen_blocks=0")
    planned = plan(families=("mobilenet",), set=heads, trials=1, epochs=None, time_budget=1000.0)
    name, job = planned.start()
    while job.kind == TIMING:
        planned.course.reported(name, {"failed": "no matter"})
        planned.course.ended(name, "")
        name, job = planned.start()
    # Of 990 seconds. The retraining looks at 4.2 times as many pictures as the trial learns from.
    assert job.within == pytest.approx(990 / (1 + 320 / 76), abs=5)
    planned.course.reported(name, {"late": "its features would have come too late"})
    planned.course.ended(name, "")
    assert planned.ends()[name] == ("stopped", OUT_OF_TIME)


def test_time_that_is_left_makes_the_figure_surer(plan: Plan) -> None:
    planned = plan(families=("scratch_keras",), trials=1, time_budget=3000.0, finalists=1, final_seeds=1)
    planned.through(0.2, 0.2, 0.6)
    seeds = []
    for _ in range(9):
        name, job = planned.start()
        seeds.append(job.seed)
        trial = planned.course.delivery.given[name][1]
        planned.journal.write("test", trial, "scratch_keras", seed=job.seed, accuracy=0.5)
        planned.course.ended(name, "")
    assert seeds == list(range(9))
    assert planned.course.next() is None
    assert planned.course.over()


def test_a_refit_stands_back_for_that_of_a_better_family(plan: Plan) -> None:
    families = ("scratch_pillow", "scratch_keras")
    planned = plan(families=families, trials=1, time_budget=3000.0, final_seeds=1, refit="all")
    for _ in families:
        name, job = planned.start()
        planned.report(name, *[0.6 if job.family == "scratch_keras" else 0.4] * 3, seconds=100.0)
        planned.course.ended(name, "")
    retrainings = planned.course.delivery.retrainings
    for family in families:
        retrainings.plan(family)
        retrainings.waiting[family].clear()
    assert retrainings.best_first() == ["scratch_keras", "scratch_pillow"]
    # There is time for one of them and not for two.
    room = 1.5 * retrainings._cost(retrainings.refits["scratch_keras"])
    planned.journal.began -= planned.course.budget.remaining() - room
    for family, fits in (("scratch_keras", True), ("scratch_pillow", False)):
        job = retrainings.refits.pop(family)
        assert retrainings.in_time(family, refit=job) == fits
        retrainings.refits[family] = job
    # A family's first retraining stands back for the refit of the best alone, all other seeds for every refit.
    assert [retrainings.in_time(family, first=True) for family in families] == [False, True]
    assert [retrainings.in_time(family) for family in families] == [False, False]


SEARCHED = """
import json, sys
from pathlib import Path
from benchmarks.sleeping import sleeping_pictures
from test_tuning import Planned, configurations
planned = Planned(Path(sys.argv[1]), sleeping_pictures(0, Path()), trials=16, seed=7)
print(json.dumps(configurations(planned, 48)))
planned.journal.close()
"""


@pytest.mark.slow
def test_a_fresh_process_tries_the_same_in_the_same_order(tmp_path: Path) -> None:
    here = Path(__file__).resolve().parent
    found = []
    for number in range(2):
        # Nothing may depend on how Python happens to order a set.
        more = {"PYTHONPATH": os.pathsep.join([str(here.parent), str(here)]), "PYTHONHASHSEED": str(number)}
        command = [sys.executable, "-c", SEARCHED, str(tmp_path / str(number))]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **more})
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout.splitlines()[-1]))
    assert found[0] == found[1]
    assert len({config for _, config in found[0]}) == 48


def test_an_interrupted_search_leaves_no_trial_of_optuna_running(plan: Plan) -> None:
    planned = plan(trials=20)
    for _ in range(24):
        planned.start()
    planned.report("mobilenet-004", 0.5)
    for study in planned.studies.values():
        study.close()
    states = {trial.state for study in planned.studies.values() for trial in study.study.trials}
    assert states == {TrialState.FAIL}


TROUBLES: dict[str, dict[str, Any]] = {
    "none": {},
    "raises": {"optimizer": "lion"},
    "diverges": {"learning_rate": 1e39},
    "learns nothing": {"learning_rate": 1e-12},
}


def troubled(hp: Any) -> dict[str, Any]:
    """A space some of whose configurations end badly."""
    trouble = hp.Choice("trouble", list(TROUBLES))
    config = FAMILIES["scratch_keras"].space(hp, image_sizes=(32,))
    return {**config, "flip": "none", "rotation": 0.0, "zoom": 0.0, **TROUBLES[trouble]}


# The rows, Optuna's study, what was said, and the trials of the mirror.
Searched = tuple[Journal, Study, list[str], list[FrozenTrial]]


def mirrored(path: Path, name: str) -> list[FrozenTrial]:
    storage = JournalStorage(JournalFileBackend(str(path)))
    return optuna.load_study(study_name=name, storage=storage).trials


@pytest.fixture(scope="module")
def searched(_ray: None, pictures: Pictures, tmp_path_factory: pytest.TempPathFactory) -> Searched:
    """One trial after the other on real workers: the base, one that raises, one that diverges, one that is stopped."""
    settings = Settings(
        name="troubled",
        families=("scratch_keras",),
        image_sizes=(32,),
        trials=4,
        epochs=14,
        first_rung=12,
        reduction=2,
        final_seeds=1,
        concurrency=1,
        runs_dir=str(tmp_path_factory.mktemp("runs")),
        cache_dir=str(pictures.cache),
    )
    settings.folder.mkdir()
    starts = [{"trouble": trouble} for trouble in ("raises", "diverges", "learns nothing")]
    study = Study("scratch_keras", troubled, starts, trials=4, seed=0)
    said: list[str] = []
    journal = Journal(settings.folder / "trials.jsonl")
    cluster = connect(settings)
    shipped = cluster.ship(pictures, ())
    mirror = Mirror(
        settings.folder / "optuna.log", "troubled", {"scratch_keras": study}, journal.read(), 0, said.append
    )
    journal.also(mirror.take)
    course = Course(settings, {"scratch_keras": study}, journal, cluster.workers(), shipped, said.append)
    search(settings, course, shipped, Setup(1, "float32", 6.0), cluster)
    mirror.close()
    journal.close()
    return journal, study, said, mirrored(settings.folder / "optuna.log", "troubled/scratch_keras")


@pytest.mark.slow
def test_every_trial_ends_as_it_went(searched: Searched) -> None:
    journal, _, said, _ = searched
    records = list(journal.records.values())
    assert [record.status for record in records] == ["finished", "failed", "failed", "stopped"]
    assert records[0].reason == "all 14 epochs"
    assert records[1].reason == "ValueError: optimizer must be one of adam, adamw, sgd, got 'lion'"
    assert "nan in epoch 1" in records[2].reason or "not numbers after epoch 1" in records[2].reason
    assert records[3].reason.startswith("epoch 12: ")
    assert said[0] == "scratch_keras-001 failed: ValueError: optimizer must be one of adam, adamw, sgd, got 'lion'"


@pytest.mark.slow
def test_optuna_and_the_rows_agree(searched: Searched) -> None:
    journal, study, _, _ = searched
    trials = study.study.trials
    assert [trial.state for trial in trials] == [
        *(TrialState.COMPLETE, TrialState.FAIL, TrialState.FAIL, TrialState.PRUNED),
    ]
    for trial, record in zip(trials, journal.records.values(), strict=True):
        assert trial.intermediate_values == record.values
        assert trial.params == record.point
    assert trials[0].value == journal.records["scratch_keras-000"].best
    assert list(trials[3].intermediate_values) == list(range(1, 13))


@pytest.mark.slow
def test_the_mirror_says_what_optuna_was_told(searched: Searched) -> None:
    journal, study, _, shown = searched
    for trial, copy, record in zip(study.study.trials, shown, journal.records.values(), strict=True):
        assert (copy.state, copy.params, copy.values) == (trial.state, trial.params, trial.values)
        assert copy.intermediate_values == trial.intermediate_values
        assert copy.user_attrs == {"trial": record.name, "reason": record.reason}


@pytest.mark.slow
def test_failures_do_not_end_the_search(searched: Searched) -> None:
    journal, _, _, _ = searched
    assert Counter(row["event"] for row in journal.rows) == {
        **{"start": 4, "epoch": 14 + 12, "end": 4, "rung": 2, "test": 1, "model": 2},
    }
    (test,) = [row for row in journal.rows if row["event"] == "test"]
    assert (test["trial"], test["seed"], test["pictures"]) == ("scratch_keras-000", 0, 20)
    assert test["accuracy"] > 0.25


STATES = {"finished": TrialState.COMPLETE, "stopped": TrialState.PRUNED, "failed": TrialState.FAIL}


def rounded(point: dict[str, Any]) -> dict[str, Any]:
    """A point as Optuna and the rows both have it: its 0.30000000000000004 is a plain 0.3 in the rows."""
    return {key: round(value, 9) if isinstance(value, float) else value for key, value in point.items()}


def by_point(pair: tuple[dict[str, Any], TrialState]) -> str:
    return json.dumps(pair[0], sort_keys=True)


@pytest.mark.slow
def test_no_trial_stays_running_where_a_third_fails(ray_cluster: None, pictures: Pictures, tmp_path: Path) -> None:
    def trial(config: dict[str, Any], pictures: Pictures, setup: Setup) -> None:
        job = config["job"]
        for epoch in range(1, job.epochs + 1):
            if job.kind != "search" or (epoch == 1 and job.seed % 7 == 6):
                tune.report({"failed": "ValueError: no such optimizer"})
                return
            if epoch == 3 and job.seed % 5 == 4:
                tune.report({"failed": "the training loss became nan in epoch 3"})
                return
            accuracy = job.seed % 4 / 4
            times = {"seconds": 0.0, "training": 0.0, "validating": 0.0}
            losses = {"train_loss": 1.0, "train_accuracy": 0.5, "validation_loss": 1.0}
            tune.report({"rows": [{"epoch": epoch, "validation_accuracy": accuracy, **losses, **times}]})

    settings = Settings(
        name="third", families=("scratch_keras", "scratch_pillow"), image_sizes=(32,), trials=20, epochs=4,
        runs_dir=str(tmp_path), cache_dir=str(pictures.cache),
    )  # fmt: skip
    settings.folder.mkdir()
    said: list[str] = []
    studies = studies_of(settings, WEIGHTS)
    journal = Journal(settings.folder / "trials.jsonl")
    mirror = Mirror(settings.folder / "optuna.log", "third", studies, journal.read(), 0.0, said.append)
    journal.also(mirror.take)
    cluster = connect(settings)
    shipped = cluster.ship(pictures, ())
    course = Course(settings, studies, journal, cluster.workers(), shipped, said.append)
    search(settings, course, shipped, Setup(1, "float32", 6.0), cluster, trial)
    mirror.close()
    journal.close()
    for family, study in studies.items():
        expected = [(rounded(record.point), STATES[record.status]) for record in journal.of(family)]
        assert len(expected) == 20
        # Trials 6 and 13 raise; 4, 9, 14 and 19 diverge unless a rung has stopped them.
        assert [state for _, state in expected].count(TrialState.FAIL) >= 2
        trials = [trial for trial in study.study.trials if trial.state != TrialState.WAITING]
        drawn = [(rounded(trial.params), trial.state) for trial in trials]
        assert sorted(drawn, key=by_point) == sorted(expected, key=by_point)
        shown = [
            (rounded(trial.params), trial.state)
            for trial in mirrored(settings.folder / "optuna.log", f"third/{family}")
        ]
        assert sorted(shown, key=by_point) == sorted(expected, key=by_point)
    assert Counter(record.status for record in journal.records.values())["failed"] >= 6
