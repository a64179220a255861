"""What of a run's rows a resumed search goes on from."""

import json
from pathlib import Path
from typing import Any

from results.rows import Rows, clean, parse_rows
from search.record.journal import FAILED, FINISHED, Journal, Record
from search.settings import Settings
from search.studies.earlier import usable
from search.studies.study import studies_of
from search.training.weights import Weights

SETTINGS = Settings(families=("scratch_keras", "mobilenet"), trials=3, epochs=2, image_sizes=(32,))
WEIGHTS = (Weights("MobileNet", 0.25, None, "random-0"),)


def written(tmp_path: Path) -> list[dict[str, Any]]:
    """The rows of two trials: scratch_keras-000, which finished, and mobilenet-000, which did not."""
    journal = Journal(tmp_path / "trials.jsonl")
    studies = studies_of(SETTINGS, WEIGHTS)
    parts = dict.fromkeys(("seconds", "waiting", "building", "training", "validating"), 1.0)
    for family in SETTINGS.families:
        name = f"{family}-000"
        journal.records[name] = Record(name, family, *studies[family].suggest(name))
        journal.start(name)
        journal.epochs(name, [{"epoch": 1, "validation_accuracy": 0.5, **parts}])
        journal.write("rung", name, family, epoch=1, value=0.5, promoted=True)
    journal.end("scratch_keras-000", FINISHED, "all 2 epochs")
    journal.close()
    for study in studies.values():
        study.close()
    return [json.loads(line) for line in (tmp_path / "trials.jsonl").read_text().splitlines()]


def of(rows: list[dict[str, Any]]) -> Rows:
    return usable(parse_rows(json.dumps(row) for row in rows), SETTINGS, studies_of(SETTINGS, WEIGHTS))


def test_the_rows_of_a_run_are_all_of_use(tmp_path: Path) -> None:
    rows = written(tmp_path)
    found = of(rows)
    assert found.skipped == 0
    assert list(found.records) == [clean(row) for row in rows]


def test_a_run_from_before_a_hyperparameter_goes_on(tmp_path: Path) -> None:
    rows = written(tmp_path)
    start = rows[0]
    assert (start["trial"], start["event"]) == ("scratch_keras-000", "start")
    old = {key: {k: v for k, v in start[key].items() if k not in ("mixup", "crop")} for key in ("config", "point")}
    assert len(old["config"]) == len(start["config"]) - 2
    found = of([{**start, **old}, *rows[1:]])
    assert found.skipped == 0
    (tmp_path / "old.jsonl").write_text("\n".join(json.dumps({**row, **(old if row is start else {})}) for row in rows))
    journal = Journal(tmp_path / "old.jsonl", earlier=found)
    study = studies_of(SETTINGS, WEIGHTS, journal)["scratch_keras"]
    (trial,) = (one for one in study.study.trials if one.state.is_finished())
    assert (trial.params["mixup"], trial.params["crop"]) == (0.0, 0.0)
    study.close()
    journal.close()
    # What it has always had cannot be missing, nor can what its point names.
    for lost in ({"config": {k: v for k, v in start["config"].items() if k != "dropout"}}, {"config": old["config"]}):
        assert of([{**start, **lost}, *rows[1:]]).skipped > 0


def test_rows_of_other_runs_are_counted_and_left_out(tmp_path: Path) -> None:
    rows = written(tmp_path)
    start, epoch = rows[0], rows[1]
    foreign = [
        {**start, "family": "resnet", "trial": "resnet-000"},
        {**start, "trial": "scratch_keras-1x"},
        {**start, "trial": "mobilenet-001"},
        {**epoch, "epoch": 3},
        {**epoch, "epoch": 2, "validation_accuracy": None},
        {**epoch, "event": "rung", "value": "high", "promoted": True},
        {**epoch, "event": "rung", "value": 0.5, "promoted": "yes"},
        {"event": "model", "time": 1.0, "family": "mobilenet", "path": "models/mobilenet.keras"},
    ]
    found = of([*rows, *foreign])
    assert found.skipped == len(foreign)
    assert list(found.records) == [clean(row) for row in rows]


def test_a_trial_without_its_configuration_has_failed_and_keeps_its_name(tmp_path: Path) -> None:
    rows = written(tmp_path)
    for damaged in (
        [{**rows[0], "config": {**rows[0]["config"], "filters": "many"}}, *rows[1:]],
        [{**rows[0], "config": {**rows[0]["config"], "more": 1}}, *rows[1:]],
        [{**rows[0], "point": {**rows[0]["point"], "filters": -7}}, *rows[1:]],
        [{**rows[0], "point": None}, *rows[1:]],
        rows[1:],
    ):
        found = of(damaged)
        trial = found.trials["scratch_keras-000"]
        assert (trial.status, trial.reason, trial.curve) == (
            FAILED, "the row with its configuration is lost or damaged", (),
        )  # fmt: skip
        assert found.trials["mobilenet-000"].status == "running"
        # And the search goes on from there.
        journal = Journal(tmp_path / "again.jsonl", earlier=found)
        studies = studies_of(SETTINGS, WEIGHTS, journal)
        assert studies["scratch_keras"].suggest("scratch_keras-001")[0].keys() == rows[0]["config"].keys()
        journal.close()
        for study in studies.values():
            study.close()
