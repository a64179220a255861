"""Objectives and limits: what is refused untrained, what is measured, and what Optuna is told of it."""

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from models.export import raw_pictures
from results.rows import read_rows
from search import run as command
from search.data.pictures import Pictures
from search.record.journal import FINISHED, INFEASIBLE, STOPPED, Journal, Record
from search.schedule.course import Course
from search.settings import Settings, count, resumed
from search.settings import latency as seconds_of
from search.studies.aims import Aims, size_of
from search.studies.mirror import Mirror
from search.studies.observed import fronts, in_order
from search.studies.study import Study, studies_of
from search.training.latency import latency, measure
from search.training.weights import Weights
from search.training.worker import Job as Work
from search.training.worker import Setup, Worker
from spaces import FAMILIES

Config = Callable[..., dict[str, Any]]
COST = {"parameters": 300, "bytes": 1200, "latency_one": 0.02, "latency_batch": 0.5, "batch": 32, "device": "CPU"}
ALL = Aims(("accuracy", "latency", "size"), 0.025, 200)


class Driven:
    """A course of one family whose trials this test plays itself."""

    def __init__(self, folder: Path, pictures: Pictures, family: str, resumed: bool = False, **values: Any) -> None:
        settings = Settings(
            families=(family,),
            runs_dir=str(folder),
            name="run",
            epochs=2,
            final_seeds=1,
            finalists=1,
            image_sizes=(32,),
            **values,
        )
        settings.folder.mkdir(parents=True, exist_ok=True)
        rows = settings.folder / "trials.jsonl"
        self.journal = Journal(rows, time.monotonic(), earlier=read_rows(rows) if resumed else None)
        weights = (Weights("MobileNet", 0.25, None, "random-0"),)
        self.study = studies_of(settings, weights, self.journal, probed=False)[family]
        self.said: list[str] = []
        self.course = Course(settings, {family: self.study}, self.journal, 1, pictures, self.said.append)

    def start(self) -> tuple[str, Work]:
        found = self.course.next()
        assert found is not None
        if found[0] in self.journal.records:
            self.journal.start(found[0])
        return found

    def through(self, accuracy: float) -> str:
        name, job = self.start()
        if job.measured:
            assert self.course.reported(name, {"rows": [{"event": "cost", **COST}]})
        for epoch in (1, 2):
            row = {"epoch": epoch, "train_loss": 1.0, "train_accuracy": 0.5, "validation_loss": 1.0, "seconds": 1.0}
            parts = {"waiting": 0.0, "building": 0.0, "training": 1.0, "validating": 0.0}
            self.course.reported(name, {"rows": [{**row, **parts, "validation_accuracy": accuracy}]})
        self.course.ended(name)
        return name

    def of(self, event: str) -> list[dict[str, Any]]:
        return [row for row in self.journal.rows if row["event"] == event]


Drive = Callable[..., Driven]


@pytest.fixture
def drive(tmp_path: Path, pictures: Pictures) -> Iterator[Drive]:
    made: list[Driven] = []

    def make(family: str, **values: Any) -> Driven:
        made.append(Driven(tmp_path, pictures, family, **values))
        return made[-1]

    yield make
    for driven in made:
        driven.journal.close()


def test_what_is_asked_for_and_what_breaks_a_limit() -> None:
    assert (Aims().costed, Aims(("accuracy", "size")).costed, Aims(("accuracy", "size")).timed) == (False, True, False)
    assert Aims(max_latency=1.0).timed
    assert ALL.values(0.9, COST) == [0.9, 0.02, 300.0]
    assert ALL.excess(COST) == {"latency_one": pytest.approx(-0.2), "parameters": pytest.approx(0.5)}
    assert ALL.objection(COST) == "300 parameters, more than --max-parameters 200"
    assert ALL.objection({**COST, "parameters": 200}) == ""
    slow = {**COST, "parameters": 1_200_000, "latency_one": 0.0312}
    assert Aims(("accuracy",), 0.025, 1_000_000).objection(slow) == (
        "1,200,000 parameters, more than --max-parameters 1,000,000 and "
        "31.2 ms for one picture, more than --max-latency 25 ms"
    )
    assert [Aims().known({}), ALL.known({"parameters": 5}), ALL.known(COST)] == [True, False, True]
    assert ALL.excess({}) == {}


@pytest.mark.parametrize(
    ("text", "expected"), [("20ms", 0.02), ("0.02s", 0.02), (" 2.5 MS ", 0.0025), ("800us", 0.0008), (".5s", 0.5)]
)
def test_latencies_as_people_write_them(text: str, expected: float) -> None:
    assert seconds_of(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["20", "", "ms", "-5ms", "20 min", "1e3ms", "20ms 5s"])
def test_other_latencies_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"a latency needs a number and its unit, as 20ms or 0\.02s, got"):
        seconds_of(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("5M", 5_000_000), ("500k", 500_000), ("1200000", 1_200_000), ("0.3m", 300_000), (" 2 G ", 2_000_000_000)],
)
def test_counts_as_people_write_them(text: str, expected: int) -> None:
    assert count(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("many", "a count needs a form such as 500k, 5M or 1200000, got 'many'"),
        ("-5", "a count needs a form such as 500k, 5M or 1200000, got '-5'"),
        ("1.5", "a count needs a whole number of at least 1, got '1.5'"),
        ("0k", "a count needs a whole number of at least 1, got '0k'"),
    ],
)
def test_other_counts_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        count(text)


def test_a_resumed_run_keeps_its_objectives_and_limits() -> None:
    saved = Settings(objective=("accuracy", "size"), max_latency=0.02)
    changes: list[dict[str, Any]] = [{"objective": ("accuracy",)}, {"max_latency": 0.01}, {"max_parameters": 5}]
    for given in changes:
        (name,) = given
        with pytest.raises(ValueError, match=f"`{name}` needs the value that the run was begun with"):
            resumed(saved, given)
    assert resumed(saved, {"objective": ("accuracy", "size"), "max_latency": 0.02}) == saved


def test_too_large_a_configuration_costs_no_worker_and_no_trial(drive: Drive) -> None:
    # The study's own three convolutions have 155,300 parameters here.
    driven = drive("scratch_pillow", trials=3, max_parameters=120_000)
    trained = [driven.through(0.5 + number / 10) for number in range(3)]
    assert "scratch_pillow-000" not in trained
    refused = {row["trial"]: row["reason"] for row in driven.of("end") if row["status"] == "infeasible"}
    assert refused["scratch_pillow-000"] == "155,300 parameters, more than --max-parameters 120,000"
    assert len(driven.journal.records) == 3 + len(refused)
    costs = {row["trial"]: row for row in driven.of("cost")}
    assert costs["scratch_pillow-000"]["bytes"] == 4 * 155_300
    assert all((row["parameters"] > 120_000) == (trial in refused) for trial, row in costs.items())
    assert "latency_one" not in costs[trained[0]]
    states = {trial.state for trial in driven.study.study.trials if sum(trial.constraints.values()) > 0}
    assert states == {TrialState.PRUNED}
    assert driven.start()[0] == "scratch_pillow-retrain-0"
    assert driven.said == [f"scratch_pillow: {trained[-1]} is best with 0.700, retraining it"]


def test_a_family_without_a_feasible_configuration_ends(drive: Drive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.schedule.limits.MOST_MISSES", 12)
    driven = drive("mobilenet", trials=3, max_parameters=1000)
    assert driven.course.next() is None
    assert driven.course.over()
    # 218,544 of the trunk and 4 x 257 of the head.
    assert driven.said == [
        "mobilenet: all 12 configurations drawn break a limit, and no more are; the nearest has 219,572 parameters, "
        "more than --max-parameters 1,000",
        "mobilenet: no configuration keeps to the limits",
    ]
    assert [record.status for record in driven.journal.records.values()] == [INFEASIBLE] * 12
    again = drive("mobilenet", resumed=True, trials=3, max_parameters=1000)
    assert again.course.nothing_left()


def test_a_resumed_run_knows_what_it_refused(drive: Drive) -> None:
    driven = drive("scratch_pillow", trials=3, max_parameters=120_000)
    first = driven.through(0.5)
    refused = len(driven.journal.of("scratch_pillow", INFEASIBLE))
    assert refused > 0
    again = drive("scratch_pillow", resumed=True, trials=3, max_parameters=120_000)
    assert again.journal.records[first].cost == driven.journal.records[first].cost
    again.through(0.6)
    again.through(0.7)
    assert again.start()[1].kind == "retrain"
    assert len(again.journal.of("scratch_pillow", FINISHED)) == 3


def test_an_architecture_is_measured_once(drive: Drive) -> None:
    driven = drive("mobilenet", trials=3, objective=("accuracy", "latency"), max_latency=0.025)
    name, job = driven.start()
    assert (name, job.measured) == ("mobilenet-000", True)
    assert driven.course.reported(name, {"rows": [{"event": "cost", **COST}]})
    second, job = driven.start()
    assert not job.measured
    (one, other) = driven.of("cost")
    assert (one["trial"], other["trial"]) == (name, second)
    # Measured on the first model, its parameters those of the configuration: the trunk's and its own head's.
    assert (one["latency_one"], one["parameters"]) == (0.02, 219_572)
    assert (other["latency_one"], other["parameters"]) == (0.02, size_of("mobilenet", job.config, 4)["parameters"])


def test_too_slow_a_configuration_is_measured_and_not_trained(drive: Drive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.schedule.limits.MOST_MISSES", 12)
    driven = drive("mobilenet", trials=3, max_latency=0.015)
    name, _ = driven.start()
    assert not driven.course.reported(name, {"rows": [{"event": "cost", **COST}]})
    driven.course.ended(name)
    # Every other configuration has the same trunk, and the driver knows it.
    assert driven.course.next() is None
    assert driven.of("end")[0]["reason"] == "20 ms for one picture, more than --max-latency 15 ms"
    assert len(driven.journal.of("mobilenet", INFEASIBLE)) == 12
    assert driven.of("epoch") == []


def test_fronts_of_several_objectives() -> None:
    aims = Aims(("accuracy", "size"))
    assert fronts([[0.9, 100], [0.8, 50], [0.8, 60], [0.7, 70], [0.9, 100]], aims) == [0, 0, 1, 2, 0]
    assert fronts([[0.9], [0.8]], Aims()) == [0, 0]
    assert fronts([], aims) == []


def test_the_order_in_which_trials_are_kept() -> None:
    aims = Aims(("accuracy", "size"), max_parameters=100)
    study = optuna.create_study(directions=aims.directions)
    told: list[tuple[TrialState, list[float] | None, float]] = [
        (TrialState.PRUNED, None, 0.5),
        (TrialState.COMPLETE, [0.7, 60.0], -0.4),
        (TrialState.PRUNED, None, -0.2),
        (TrialState.PRUNED, None, 0.1),
        (TrialState.COMPLETE, [0.8, 50.0], -0.5),
        (TrialState.COMPLETE, [0.9, 90.0], -0.1),
    ]
    for state, values, share in told:
        study.add_trial(optuna.create_trial(state=state, values=values, constraints={"parameters": share}))
    assert [trial.number for trial in in_order(study.trials, aims)] == [5, 4, 1, 2, 3, 0]


def test_tpe_goes_on_with_several_objectives_and_infeasible_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("MOST", 25), ("KEPT", 12), ("BEST", 4)):
        monkeypatch.setattr(f"search.studies.observed.{name}", value)
    settings = Settings(families=("scratch_keras",), image_sizes=(32,))
    space = studies_of(settings, ())["scratch_keras"]._space
    study = Study(
        "scratch_keras", space, (), trials=36, seed=0, aims=Aims(("accuracy", "size"), max_parameters=200_000)
    )
    for number in range(30):
        config, point = study.suggest(str(number))
        cost = size_of("scratch_keras", config, 4)
        record = Record(str(number), "scratch_keras", config, point, {1: 0.1, 2: number / 100}, cost=cost)
        if cost["parameters"] > 200_000:
            record.status, record.values = INFEASIBLE, {}
        else:
            record.status = FINISHED if number % 3 == 0 else STOPPED
        study.tell(record)
    study.close()
    kept = study.study.trials
    assert len(kept) < 30
    assert {trial.state for trial in kept} >= {TrialState.COMPLETE, TrialState.PRUNED}
    assert all(trial.values is None or len(trial.values) == 2 for trial in kept)
    assert all(trial.constraints["parameters"] <= 0 for trial in study.study.best_trials)


def test_the_mirror_tells_what_the_study_was_told(drive: Drive, tmp_path: Path) -> None:
    driven = drive("scratch_pillow", trials=2, objective=("accuracy", "size"), max_parameters=120_000)
    path = tmp_path / "optuna.log"
    mirror = Mirror(path, "run", {"scratch_pillow": driven.study}, driven.journal.read(), 0.0, driven.said.append)
    driven.journal.also(mirror.take)
    driven.through(0.5)
    driven.through(0.6)
    written_anew = tmp_path / "anew.log"
    Mirror(written_anew, "run", {"scratch_pillow": driven.study}, driven.journal.read(), 0.0, print).close()
    mirror.close()
    driven.study.close()
    told = {
        (trial.state, tuple(trial.values or ()), trial.constraints.get("parameters"))
        for trial in driven.study.study.trials
        if trial.state != TrialState.FAIL
    }
    assert {state for state, _, _ in told} == {TrialState.PRUNED, TrialState.COMPLETE}
    for file in (path, written_anew):
        storage = JournalStorage(JournalFileBackend(str(file)))
        shown = optuna.load_study(study_name="run/scratch_pillow", storage=storage)
        assert shown.metric_names == ["validation accuracy", "parameters"]
        seen = {(trial.state, tuple(trial.values or ()), trial.constraints["parameters"]) for trial in shown.trials}
        assert seen == told
        assert all(trial.constraints["parameters"] <= 0 for trial in shown.best_trials)


def test_rungs_spare_the_front_of_several_objectives(drive: Drive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.studies.observed.BLIND", 1.0)  # proposals have rungs of their own
    driven = drive("scratch_pillow", trials=5, objective=("accuracy", "size"), reduction=2, first_rung=1)
    names = [driven.start()[0] for _ in range(5)]
    sizes = [300, 200, 100, 100, 400]
    for name, size in zip(names, sizes, strict=True):
        driven.journal.records[name].cost = {"parameters": size}
    row = {"epoch": 1, "train_loss": 1.0, "train_accuracy": 0.5, "validation_loss": 1.0, "seconds": 1.0}
    parts = {"waiting": 0.0, "building": 0.0, "training": 1.0, "validating": 0.0}
    goes_on = [
        driven.course.reported(name, {"rows": [{**row, **parts, "validation_accuracy": accuracy}]})
        for name, accuracy in zip(names, [0.6, 0.7, 0.5, 0.4, 0.55], strict=True)
    ]
    # The third is worse than both before it, and smaller; the fourth no smaller than the third; the last is beaten.
    assert goes_on == [True, True, True, False, False]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_measured_model_is_the_one_that_is_exported(family: str, config: Config, pictures: Pictures) -> None:
    base = config(family)
    cost = measure(family, base, pictures, 1)
    assert set(cost) == {"parameters", "bytes", "latency_one", "latency_batch", "batch", "device"}
    assert {"parameters": cost["parameters"], "bytes": cost["bytes"]} == size_of(family, base, 4)
    assert 0 < cost["latency_one"] < cost["latency_batch"]
    assert (cost["batch"], cost["device"]) == (32, "1 CPU thread")


def test_more_work_takes_longer(pictures: Pictures) -> None:
    def stack(convolutions: int) -> keras.Model:
        inputs = x = keras.Input((48, 48, 3), dtype="uint8")
        x = keras.layers.Rescaling(1 / 255)(x)
        for _ in range(convolutions):
            x = keras.layers.Conv2D(48, 5, padding="same")(x)
        return raw_pictures(keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x)))

    some = pictures.pixels(48)[:32]
    little, much = (latency(stack(convolutions), some, 1) for convolutions in (1, 8))
    assert little["latency_one"] < much["latency_one"]
    assert little["latency_batch"] < much["latency_batch"]


@pytest.mark.slow
def test_a_worker_measures_before_it_trains(pictures: Pictures, config: Config) -> None:
    worker = Worker(Setup(1, "float32", 6.0), pictures)
    rows: list[dict[str, Any]] = []
    job = Work("search", "scratch_keras", config("scratch_keras"), 0, 1, 1, 2, measured=True)

    class Ended(Exception):
        pass

    def refuse(reported: list[dict[str, Any]]) -> None:
        raise Ended

    with pytest.raises(Ended):
        worker.run(job, refuse)
    # The same child goes on with the next job.
    assert worker.run(job, rows.extend) == ("finished", None)
    assert [row.get("event", row.get("epoch")) for row in rows] == ["cost", 1]
    assert rows[0]["parameters"] == rows[1]["parameters"] == 155_300
    worker._kill()


@pytest.mark.slow
def test_a_search_with_every_objective_and_limit(ray_cluster: None, drawn: Path, tmp_path: Path) -> None:
    arguments = [
        *(str(drawn), "--objective", "accuracy,latency,size", "--max-parameters", "150k", "--max-latency", "5s"),
        *("--families", "scratch_keras", "--trials", "3", "--epochs", "2", "--image-sizes", "32", "--final-seeds", "1"),
        *("--weights", "none", "--name", "aims", "--runs-dir", str(tmp_path), "--cache-dir", str(tmp_path / "cache")),
    ]
    assert command.main(arguments) == 0
    rows = read_rows(tmp_path / "aims/trials.jsonl")
    trials = rows.of("scratch_keras")
    assert rows.trials["scratch_keras-000"].status == "infeasible"
    tried = [trial for trial in trials if trial.status != "infeasible"]
    assert len(tried) == 3
    for trial in tried:
        assert trial.status in ("finished", "stopped")
        assert trial.cost["parameters"] == trial.curve[0]["parameters"] <= 150_000
        assert 0 < trial.cost["latency_one"] < trial.cost["latency_batch"]
    model = rows.model("scratch_keras")
    assert model is not None
    assert model["parameters"] <= 150_000
    saved = json.loads((tmp_path / "aims/settings.json").read_text())
    assert (saved["objective"], saved["max_latency"], saved["max_parameters"]) == (
        ["accuracy", "latency", "size"],
        5.0,
        150_000,
    )
