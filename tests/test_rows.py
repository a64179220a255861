from pathlib import Path

import pytest
from written_run import end_row, epoch_row, start_row, write_rows

from results.rows import parse_rows, read_rows, smoothed


def test_torn_foreign_and_useless_lines_are_counted_not_fatal(tmp_path: Path) -> None:
    write_rows(tmp_path, [start_row("mobilenet-000", dropout=0.2), epoch_row("mobilenet-000", 1, 0.5)])
    with (tmp_path / "trials.jsonl").open("a", encoding="utf-8") as file:
        file.write("\n")
        file.write('["a", "list"]\n')
        file.write('{"event": "coffee", "time": 1.0}\n')
        file.write('{"event": ["end"], "time": 1.0}\n')
        file.write(
            '{"event": "end", "time": 1.0, "trial": "mobilenet-000", "family": "mobilenet", "status": "bored"}\n'
        )
        file.write('{"event": "epoch", "time": 1.0, "trial": "mobilenet-000", "family": "mobilenet", "epoch": true}\n')
        file.write('{"event": "epoch", "time": 20.0, "trial": "mobile')
    rows = read_rows(tmp_path / "trials.jsonl")
    assert rows.skipped == 6
    assert [row["event"] for row in rows.records] == ["start", "epoch"]


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"needs the rows of a run, got no file at `.*trials\.jsonl`"):
        read_rows(tmp_path / "trials.jsonl")


def test_not_a_number_and_not_given_become_none() -> None:
    line = '{"event":"epoch","time":1,"trial":"a-000","family":"a","epoch":1,"train_loss":NaN,"train_accuracy":"high"}'
    (row,) = parse_rows([line]).records
    assert row["train_loss"] is None
    assert row["train_accuracy"] is None
    assert row["validation_loss"] is None


def test_a_trial_is_put_together_from_its_rows(tmp_path: Path) -> None:
    rung = {"event": "rung", "time": 10.0, "trial": "a-001", "family": "a", "epoch": 1, "value": 0.4, "promoted": True}
    write_rows(
        tmp_path,
        [
            *(start_row("a-001", dropout=0.3), epoch_row("a-001", 1, 0.4), rung, epoch_row("a-001", 2, 0.5)),
            *(end_row("a-001", "stopped", "below the best third"), start_row("b-000")),
        ],
    )
    rows = read_rows(tmp_path / "trials.jsonl")
    trial = rows.trials["a-001"]
    assert (trial.family, trial.config, trial.status, trial.reason) == (
        "a",
        {"dropout": 0.3},
        "stopped",
        "below the best third",
    )
    assert [row["validation_accuracy"] for row in trial.curve] == [0.4, 0.5]
    assert [row["promoted"] for row in trial.rungs] == [True]
    assert trial.last == 100.0
    assert rows.trials["b-000"].status == "running"
    assert rows.families == ["a", "b"]
    assert [found.name for found in rows.ended("a", "stopped")] == ["a-001"]
    assert rows.of("c") == []
    assert rows.seconds == 100.0


def test_a_resumed_trial_is_open_again_and_its_repeated_epoch_counts_once(tmp_path: Path) -> None:
    write_rows(
        tmp_path,
        [
            *(start_row("a-000"), epoch_row("a-000", 1, 0.1), end_row("a-000", "failed"), start_row("a-000")),
            epoch_row("a-000", 1, 0.2),
        ],
    )
    trial = read_rows(tmp_path / "trials.jsonl").trials["a-000"]
    assert trial.status == "running"
    assert [row["validation_accuracy"] for row in trial.curve] == [0.2]


def test_a_seed_scored_twice_counts_by_its_last_row() -> None:
    line = '{{"event": "test", "time": 1.0, "family": "a", "seed": {}, "accuracy": {}}}'
    rows = parse_rows([line.format(1, 0.5), line.format(0, 0.6), line.format(1, 0.7)])
    assert [(row["seed"], row["accuracy"]) for row in rows.tests("a")] == [(0, 0.6), (1, 0.7)]


def test_the_configuration_scored_last_is_the_one_that_counts() -> None:
    line = '{{"event": "test", "time": 1.0, "trial": "{}", "family": "a", "seed": {}, "accuracy": {}}}'
    rows = parse_rows(
        [line.format("a-001", 0, 0.5), line.format("a-001", 1, 0.6), line.format("a-004", 0, 0.7)],
    )
    assert [(row["seed"], row["accuracy"]) for row in rows.tests("a")] == [(0, 0.7)]
    assert rows.scored("a") == ["a-001", "a-004"]
    assert rows.scored("b") == []
    assert rows.tests("b") == []


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], []),
        ([0.2, 0.9, 0.4], [0.2, 0.9, 0.4]),
        ([0.0, 0.3, 0.6, 0.9, 0.6, 0.3, 0.0, 0.3, 0.6], [0.15, 0.3, 0.6, 0.7, 0.6, 0.3, 0.2, 0.3, 0.45]),
    ],
)
def test_a_curve_of_nine_epochs_or_more_is_smoothed(values: list[float], expected: list[float]) -> None:
    assert smoothed(values) == pytest.approx(expected)
