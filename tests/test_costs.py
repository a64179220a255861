from typing import Any

import pytest
from written_run import end_row, epoch_row, start_row

from results.analysis.costs import (
    PRINTED,
    TRIAL_COSTS,
    depth,
    depth_table,
    model_costs,
    pareto,
    trial_costs,
    trial_fronts,
    undominated,
)
from results.analysis.switches import switches, welch
from results.drawing import figures
from results.pages.tables import front_cells, front_heads
from results.rows import Rows


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


def cost_row(trial: str, **cost: Any) -> dict[str, Any]:
    return {"event": "cost", "time": 1.0, "trial": trial, "family": trial.rsplit("-", 1)[0], **cost}


def test_the_front_of_three_by_hand() -> None:
    # Accuracy, then two costs. (.9, 5, 5) and its equal; (.8, 5, 6) is beaten by it; (.8, 4, 9) is cheaper in one.
    points = [(0.9, 5, 5), (0.8, 5, 6), (0.8, 4, 9), (0.9, 5, 5), (0.7, 4, 8), (0.7, 4, 9)]
    assert undominated(points) == [True, False, True, True, True, False]
    assert undominated([]) == []


def priced() -> Rows:
    """Five trials of two families and one that was refused."""
    records: list[dict[str, Any]] = []
    for name, accuracy, parameters, seconds in [
        ("mobilenet-000", 0.90, 300, 0.020),
        ("mobilenet-001", 0.80, 200, 0.030),
        ("mobilenet-002", 0.70, 250, 0.010),
        ("scratch_keras-000", 0.60, 100, 0.005),
        ("scratch_keras-001", 0.55, 150, 0.004),
    ]:
        cost = {"parameters": parameters, "bytes": 4 * parameters, "latency_one": seconds}
        records += [
            *(start_row(name, dropout=0.1, units=parameters), cost_row(name, **cost), epoch_row(name, 1, accuracy)),
            end_row(name, "finished"),
        ]
    name = "scratch_keras-002"
    refused = end_row(name, "infeasible", "900 parameters, more than --max-parameters 500")
    return Rows((*records, start_row(name), cost_row(name, parameters=900, bytes=3600), refused))


def test_fronts_of_trials_overall_and_by_family() -> None:
    found = trial_fronts(priced().trials.values(), ["accuracy", "latency", "size"])
    assert found["costs"] == ["parameters", "bytes", "latency_one"]
    assert [(entry["trial"], entry["aims"], entry["front"], entry["family_front"]) for entry in found["trials"]] == [
        ("mobilenet-000", True, [*["parameters", "bytes", "latency_one"]], [*["parameters", "bytes", "latency_one"]]),
        ("mobilenet-001", True, ["parameters", "bytes"], ["parameters", "bytes"]),
        ("mobilenet-002", True, ["latency_one"], ["latency_one"]),
        ("scratch_keras-000", True, ["parameters", "bytes", "latency_one"], ["parameters", "bytes", "latency_one"]),
        ("scratch_keras-001", True, ["latency_one"], ["latency_one"]),
    ]
    assert found["trials"][1]["differs"] == {"units": 200}
    alone = trial_fronts(priced().trials.values(), ["accuracy"])
    assert {entry["aims"] for entry in alone["trials"]} == {None}


def test_the_front_as_a_table() -> None:
    found = trial_fronts(priced().trials.values(), ["accuracy", "size"])
    assert front_heads(found) == [
        *("Trial", "Family", "Validation accuracy", "Parameters", "Weights", "One picture", "All objectives", "Front"),
        *("Status", "Configuration, unlike the baseline's"),
    ]
    cells = {line[0]: line[1:] for line in front_cells(found)}
    assert cells["mobilenet-002"] == [
        *("MobileNet", "70.0 %", "250", "0.00 MB", "10.0 ms", "no", "one picture", "finished", "units 250"),
    ]
    assert cells["scratch_keras-000"][-4:] == ["yes", "parameters, one picture", "finished", "the baseline's"]


def test_the_front_is_drawn_overall_and_by_family() -> None:
    rows = priced()
    accents = {"mobilenet": "#111111", "scratch_keras": "#222222"}
    figure = figures.trial_costs(trial_costs(rows.trials.values()), 5, TRIAL_COSTS, PRINTED, accents)
    assert figure is not None
    lines = [trace for trace in figure.data if trace["mode"] == "lines" and trace["xaxis"] == "x2"]
    # Milliseconds for one picture: MobileNet's own front, that of the scratch networks, and that of all.
    assert [trace["x"] for trace in lines] == [[10.0, 20.0], [4.0, 5.0], [4.0, 5.0, 10.0, 20.0]]
    assert [trace["line"]["color"] for trace in lines] == ["#111111", "#222222", "#8a8f98"]


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
    # Both variances are 0.0008: the standard error is sqrt(0.0008), with 2 degrees of freedom t is 4.302653.
    assert found["low"] == pytest.approx(0.10 - 4.302653 * 0.0008**0.5)
    assert found["high"] == pytest.approx(0.10 + 4.302653 * 0.0008**0.5)


def test_a_single_trial_has_no_interval() -> None:
    assert welch([0.3], [0.2, 0.1]) == (None, None)
    assert welch([0.5, 0.5], [0.25, 0.25]) == (0.25, 0.25)
