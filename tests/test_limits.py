"""The report of a run with limits: what was refused is counted apart, and said."""

import json
from pathlib import Path
from typing import Any

import pytest
from written_run import end_row, epoch_row, start_row, write_rows

from results.analysis import numbers, verdict
from results.pages.document import write_report
from results.pages.live import live_page
from results.rows import read_rows

REASON = "4,000,000 parameters, more than --max-parameters 2,000,000"
SETTINGS: dict[str, Any] = {
    **{"families": ["mobilenet", "scratch_keras"], "trials": 2, "epochs": 1, "objective": ["accuracy", "latency"]},
    **{"max_latency": 0.02, "max_parameters": 2_000_000},
}


@pytest.fixture
def limited(tmp_path: Path) -> Path:
    """A run whose MobileNet tried two configurations and refused its baseline, and whose other family refused all."""
    run = tmp_path / "limited"
    run.mkdir()
    records: list[dict[str, Any]] = []
    for name in ("mobilenet-000", "scratch_keras-000", "scratch_keras-001"):
        cost = {"event": "cost", "time": 0.0, "trial": name, "family": name[:-4], "parameters": 4_000_000}
        records += [start_row(name, width=9), cost, end_row(name, "infeasible", REASON)]
    for name, accuracy, seconds in (("mobilenet-001", 0.8, 0.015), ("mobilenet-002", 0.7, 0.005)):
        cost = {"event": "cost", "time": 0.0, "trial": name, "family": "mobilenet", "latency_one": seconds}
        records += [start_row(name, width=2), cost, epoch_row(name, 1, accuracy), end_row(name, "finished")]
    common = {"time": 110.0, "trial": "mobilenet-001", "family": "mobilenet", "seed": 0}
    records += [
        {"event": "test", **common, "accuracy": 0.75, "pictures": 100},
        {"event": "model", **common, "path": "models/mobilenet.keras", "parameters": 1_900_000, "latency_one": 0.0213},
    ]
    write_rows(run, records)
    (run / "settings.json").write_text(json.dumps(SETTINGS))
    return run


def test_what_was_refused_is_no_trial(limited: Path) -> None:
    summary = numbers.summarise(limited)
    mobilenet, scratch = (summary["families"][family] for family in ("mobilenet", "scratch_keras"))
    assert (mobilenet["trials"], mobilenet["infeasible"], mobilenet["finished"]) == (2, 1, 2)
    assert (scratch["trials"], scratch["infeasible"], scratch["best"]) == (0, 2, None)
    assert (summary["limits"], summary["objective"]) == (
        {"max_latency": 0.02, "max_parameters": 2_000_000},
        ["accuracy", "latency"],
    )
    assert summary["winner"] == "mobilenet"
    assert summary["winner_rule"] == (
        "highest validation accuracy of a family's best configuration that keeps to --max-latency and "
        "--max-parameters, that of its final where it had one; the test set does not choose"
    )
    assert [span["trial"].name for span in numbers.timeline(read_rows(limited / "trials.jsonl").trials.values())] == [
        *("mobilenet-001", "mobilenet-002")
    ]


def test_the_report_says_what_was_refused(limited: Path) -> None:
    summary = numbers.summarise(limited)
    said = verdict.caveats(summary)
    assert said[:5] == [
        "MobileNet: 1 configuration broke a limit and was not trained.",
        f"MobileNet: the baseline has {REASON}; what the search gained over it is not known.",
        "MobileNet: measured again, its exported model takes 21.3 ms for one picture, more than --max-latency 20.0 ms.",
        "Keras from scratch: none of 2 configurations drawn keeps to the limits.",
        "The split was not recorded (`split.json` is missing or broken): nothing can be said about the data.",
    ]
    assert verdict.states(summary["families"]["mobilenet"]) == "2 finished, 1 infeasible"
    page = write_report(limited).read_text()
    assert "<option>infeasible</option>" in page
    document = (limited / "report.md").read_text()
    assert "None of 2 configurations drawn keeps to the limits." in document
    assert "| mobilenet-002 | MobileNet | 70.0 % | 5.0 ms | yes |" in document
    results = json.loads((limited / "results.json").read_text())
    assert [entry["trial"] for entry in results["pareto"]["trials"]] == ["mobilenet-001", "mobilenet-002"]


def test_the_live_page_counts_what_was_refused_apart(limited: Path) -> None:
    rows = read_rows(limited / "trials.jsonl")
    page = live_page("limited", rows, SETTINGS, 120.0, running=True)
    assert "2 of 4 trials have ended" in page
    assert "<dt>infeasible</dt><dd>2</dd><dt>to come</dt><dd>2</dd>" in page
