from typing import Any

import pytest
from written_run import end_row, epoch_row, start_row

from results.costs import depth, depth_table, model_costs, pareto, trial_costs
from results.rows import Rows
from results.switches import switches, welch


def test_the_front_by_hand() -> None:
    # (1, .5) opens; (2, .5) costs more for the same; (2, .7) beats it; (3, .6) is beaten by (2, .7).
    assert pareto([(1, 0.5), (2, 0.5), (2, 0.7), (3, 0.6)]) == [True, False, True, False]
    assert pareto([(2, 0.7), (2, 0.7)]) == [True, True]
    assert pareto([]) == []


def test_costs_of_models() -> None:
    common = {"path": "x", "seed": 0, "batch": 32, "device": "1 CPU thread"}
    families: dict[str, dict[str, Any]] = {
        "scratch_keras": {
            "test": {"accuracy": 0.6},
            "model": {**common, "parameters": 100, "bytes": 2_000, "latency_one": 0.002, "latency_batch": 0.05},
        },
        "mobilenet": {
            "test": {"accuracy": 0.9},
            "model": {**common, "parameters": 900, "bytes": 1_000, "latency_one": 0.004, "latency_batch": None},
        },
        "scratch_pillow": {"test": None, "model": None},
    }
    found = model_costs(families)
    assert [entry["family"] for entry in found] == ["scratch_keras", "mobilenet"]
    assert found[0]["front"] == ["parameters", "latency_one", "latency_batch"]
    assert found[1]["front"] == ["parameters", "bytes", "latency_one"]


def test_costs_of_trials() -> None:
    rows = Rows(
        (
            start_row("mobilenet-000"),
            {**epoch_row("mobilenet-000", 1, 0.5), "seconds": 9.0, "parameters": 7},
            {**epoch_row("mobilenet-000", 2, 0.8), "seconds": 1.0, "parameters": 7},
            {**epoch_row("mobilenet-000", 3, 0.7), "seconds": 2.0, "parameters": 7},
            end_row("mobilenet-000", "finished"),
            start_row("mobilenet-001"),
            {**epoch_row("mobilenet-001", 1, 0.9), "seconds": 3.0},
            start_row("mobilenet-002"),
            epoch_row("mobilenet-002", 1, 0.99),
            end_row("mobilenet-002", "failed"),
        )
    )
    first, second = trial_costs(rows.trials.values())
    assert (first["parameters"], first["seconds_per_epoch"], first["validation_accuracy"]) == (7, 2.0, 0.8)
    assert first["front"] == ["parameters", "seconds_per_epoch"]
    assert second["parameters"] is None
    assert second["front"] == ["seconds_per_epoch"]


def test_depth_by_band() -> None:
    records = []
    for number, (blocks, accuracy, seconds) in enumerate(
        [(0, 0.90, 0.2), (0, 0.92, 0.4), (3, 0.95, 5.0), (5, 0.91, 7.0), (19, 0.5, 60.0)]
    ):
        name = f"mobilenet-{number:03d}"
        records += [
            start_row(name, unfrozen_blocks=blocks),
            {**epoch_row(name, 1, accuracy), "seconds": seconds},
            end_row(name, "finished"),
        ]
    points = depth(Rows(tuple(records)).of("mobilenet"))
    assert [point["unfrozen_blocks"] for point in points] == [0, 0, 3, 5, 19]
    head, middle, deep = depth_table(points)
    assert (head["blocks"], head["trials"], head["best"], head["finished"]) == ("0, the head alone", 2, 0.92, 2)
    assert head["mean"] == pytest.approx(0.91)
    assert head["seconds_per_epoch"] == pytest.approx(0.3)
    assert (middle["blocks"], middle["seconds_per_epoch"]) == ("3 to 5", 6.0)
    assert (deep["blocks"], deep["low"]) == ("19", None)


def test_a_treatment_on_against_off() -> None:
    records = []
    for number, (whitening, accuracy) in enumerate([(True, 0.30), (True, 0.34), (False, 0.20), (False, 0.24)]):
        name = f"scratch_pillow-{number:03d}"
        records += [start_row(name, whitening=whitening, equalize=True, rotation=15), epoch_row(name, 1, accuracy)]
    (found,) = switches("scratch_pillow", Rows(tuple(records)).of("scratch_pillow"))
    assert found["treatment"] == "whitening"
    assert found["difference"] == pytest.approx(0.10)
    assert (found["on"]["trials"], found["on"]["mean"]) == (2, pytest.approx(0.32))
    # Both variances are 0.0008: the standard error is sqrt(0.0008), with 2 degrees of freedom t is 4.303.
    assert found["low"] == pytest.approx(0.10 - 4.303 * 0.0008**0.5)
    assert found["high"] == pytest.approx(0.10 + 4.303 * 0.0008**0.5)


def test_a_single_trial_has_no_interval() -> None:
    assert welch([0.3], [0.2, 0.1]) == (None, None)
    assert welch([0.5, 0.5], [0.25, 0.25]) == (0.25, 0.25)
