"""The rows as the driver writes them, and what it remembers of each trial."""

import json
import math
from pathlib import Path

from results.rows import read_rows
from search.record.journal import FAILED, FINISHED, RUNNING, STOPPED, Journal, Record

EPOCH = {
    "epoch": 1,
    "train_loss": 1.5,
    "train_accuracy": 0.25,
    "validation_loss": 1.4,
    "validation_accuracy": 0.3,
    "seconds": 2.0,
    "waiting": 0.5,
    "building": 0.5,
    "training": 0.75,
    "validating": 0.25,
}


def test_rows_are_on_disk_when_they_are_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "trials.jsonl")
    journal.records["mobilenet-000"] = Record("mobilenet-000", "mobilenet", {"units": 0}, {"units": 0})
    journal.start("mobilenet-000")
    journal.epochs("mobilenet-000", [EPOCH, {**EPOCH, "epoch": 2, "validation_accuracy": 0.2}])
    journal.end("mobilenet-000", FINISHED, "all 2 epochs")
    rows = [json.loads(line) for line in (tmp_path / "trials.jsonl").read_text().splitlines()]
    assert [row["event"] for row in rows] == ["start", "epoch", "epoch", "end"]
    assert {row["trial"] for row in rows} == {"mobilenet-000"}
    assert rows[0]["config"] == {"units": 0}
    assert {key: rows[1][key] for key in EPOCH} == EPOCH
    assert (rows[3]["status"], rows[3]["reason"]) == ("finished", "all 2 epochs")
    assert [row["time"] for row in rows] == sorted(row["time"] for row in rows)
    journal.close()
    assert read_rows(tmp_path / "trials.jsonl").skipped == 0


def test_only_the_first_end_counts(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "trials.jsonl")
    journal.records["a"] = Record("a", "mobilenet", {}, {})
    journal.end("a", STOPPED, "below the rung")
    journal.end("a", FAILED, "the worker was lost")
    journal.close()
    assert [(row["status"], row["reason"]) for row in journal.rows] == [("stopped", "below the rung")]


def test_a_record_knows_its_trial(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "trials.jsonl")
    for name, family in (("a", "mobilenet"), ("b", "mobilenet"), ("c", "scratch_keras")):
        journal.records[name] = Record(name, family, {}, {})
    journal.epochs("a", [EPOCH, {**EPOCH, "epoch": 2, "validation_accuracy": 0.2}])
    journal.end("b", FAILED, "out of memory")
    journal.close()
    record = journal.records["a"]
    assert (record.values, record.best, record.fastest) == ({1: 0.3, 2: 0.2}, 0.3, 1.0)
    assert journal.records["b"].best == -math.inf
    assert [record.name for record in journal.of("mobilenet")] == ["a", "b"]
    assert [record.name for record in journal.of("mobilenet", RUNNING)] == ["a"]
    assert [record.name for record in journal.of("mobilenet", FINISHED, FAILED)] == ["b"]
    assert [trial.name for trial in journal.read().of("mobilenet")] == ["a", "b"]
