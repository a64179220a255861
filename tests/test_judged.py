"""With another metric than accuracy everything that chooses follows it, and accuracy is only shown."""

import json
from pathlib import Path
from typing import Any

import pytest
from written_run import end_row, epoch_row, start_row, write_run

from results.analysis.costs import trial_costs
from results.analysis.numbers import (
    best_epoch,
    best_so_far,
    best_trial,
    choose_winner,
    clear_best,
    contenders,
    figure,
    final_of,
    metric_of,
    observations,
    winner_rule,
)
from results.analysis.verdict import scored as scored_in_print
from results.pages.comparison import write_comparison
from results.pages.document import write_report
from results.pages.live import live_page
from results.rows import Rows, clean, judged_by, read_rows
from results.run import Run
from search.record.journal import Journal, Record
from search.schedule.verdicts import Verdicts
from search.settings import Settings
from search.studies.aims import Aims
from search.studies.earlier import _judged
from search.studies.mirror import judged_as


def rows_of(*rows: dict[str, Any]) -> Rows:
    return Rows(tuple(row for row in map(clean, rows) if row is not None))


def scored(trial: str, epoch: int, accuracy: float, score: float, error: float = 0.01, loss: float = 1.0) -> Any:
    more = {"validation_score": score, "validation_score_error": error, "validation_score_loss": loss}
    return {**epoch_row(trial, epoch, accuracy), **more}


def whole(trial: str, accuracy: float, score: float, **more: float) -> tuple[dict[str, Any], ...]:
    return start_row(trial), scored(trial, 1, accuracy, score, **more), end_row(trial, "finished")


def test_the_epoch_the_trial_and_the_winner_are_chosen_by_the_score() -> None:
    rows = rows_of(
        start_row("a-000", units=1), scored("a-000", 1, 0.95, -0.9), scored("a-000", 2, 0.80, -0.5),
        end_row("a-000", "finished"), *whole("a-001", 0.99, -0.8), *whole("b-000", 0.5, -0.4),
    )  # fmt: skip
    row = best_epoch(rows.trials["a-000"])
    assert row is not None
    assert (row["epoch"], row["validation_accuracy"], judged_by(row)) == (2, 0.80, -0.5)
    best = best_trial(rows, "a")
    assert best is not None
    assert (best["trial"], best["score"], best["validation_accuracy"], figure(best)) == ("a-000", -0.5, 0.80, -0.5)
    assert choose_winner({"a": best, "b": best_trial(rows, "b")}) == "b"
    assert [value for _, value in observations(rows.of("a"))] == [-0.5]
    assert [step["score"] for step in best_so_far(rows.of("a"))] == [-0.9, -0.8, -0.5]


def test_near_scores_are_told_apart_by_the_loss_that_suits_the_metric() -> None:
    assert clear_best([(0.60, 0.9), (0.58, 0.5), (0.50, 0.1)], 10_000, [0.02, 0.02, 0.02]) == 1
    assert clear_best([(0.60, 0.9), (0.58, 0.5)], 10_000, [0.01, 0.5]) == 0
    assert clear_best([(-0.60, 0.9), (-0.58, 0.5)], 100, [0.02, 0.001]) == 1


def test_a_final_is_decided_by_the_score_over_its_folds() -> None:
    def game(trial: str, fold: int, accuracy: float, score: float, loss: float) -> dict[str, Any]:
        of = {"event": "final", "time": 9.0, "family": "a", "trial": trial, "fold": fold, "epochs": 1}
        return {**of, "accuracy": accuracy, "loss": 0.1, "pictures": 50, "score": score, "score_error": 0.02,
                "score_loss": loss}  # fmt: skip

    rows = rows_of(
        *whole("a-000", 0.9, 0.4), *whole("a-001", 0.8, 0.5),
        game("a-000", 1, 0.9, 0.40, 0.2), game("a-000", 2, 0.9, 0.42, 0.2),
        game("a-001", 1, 0.7, 0.60, 0.9), game("a-001", 2, 0.7, 0.62, 0.9),
    )  # fmt: skip
    found = final_of(rows, "a")
    assert found is not None
    assert (found["trial"], found["score"], found["accuracy"]) == ("a-001", pytest.approx(0.61), pytest.approx(0.7))
    assert found["chosen_by"] == 0.5


def test_who_is_clearly_behind_is_told_by_the_standard_error_of_the_metric() -> None:
    trials = (*whole("a-000", 0.5, 0.90, error=0.02), *whole("a-001", 0.9, 0.87), *whole("a-002", 0.9, 0.85))
    assert [record["trial"] for record in contenders(rows_of(*trials), "a", 9, 10)] == ["a-000", "a-001"]


def test_a_rung_compares_scores_and_says_them_as_people_know_them(tmp_path: Path) -> None:
    settings = Settings(metric="log_loss", families=("scratch_keras",), reduction=2, epochs=4)
    journal = Journal(tmp_path / "trials.jsonl")
    verdicts = Verdicts(settings, journal, Aims.of(settings))
    config = {"image_size": 32, "blocks": 2, "filters": 16, "growth": 1.0, "kernel": 3, "stem_stride": 1}
    said = []
    for number, (accuracy, score) in enumerate([(0.1, -0.7), (0.2, -0.5), (0.9, -1.25)]):
        name = f"scratch_keras-{number:03d}"
        record = journal.records[name] = Record(name, "scratch_keras", config, {}, planned=4)
        epoch = {
            key: value for key, value in scored(name, 1, accuracy, score).items() if key not in ("trial", "family")
        }
        epoch = {key: value for key, value in epoch.items() if key not in ("event", "time")}
        journal.epochs(name, [epoch])
        said.append(verdicts.goes_on(record, 1, record.values[1]))
    journal.close()
    assert said == [True, True, False]
    assert record.reason == "epoch 1: log loss 1.250 above the rung's 0.500"
    assert read_rows(tmp_path / "trials.jsonl").trials[record.name].rungs[0]["value"] == -1.25


def test_rows_judged_otherwise_are_not_gone_on_from() -> None:
    plain, other = epoch_row("a-000", 1, 0.5), scored("a-000", 1, 0.5, 0.3)
    assert [_judged(row, "accuracy") for row in (plain, other)] == [True, False]
    assert [_judged(row, "macro_f1") for row in (plain, other)] == [False, True]


def test_every_name_says_the_metric() -> None:
    assert judged_as("accuracy") == "validation accuracy"
    assert judged_as("log_loss") == "minus validation log loss"
    assert winner_rule({}, "log_loss").startswith("lowest validation log loss of a family's best configuration")
    assert metric_of({"metric": "auc"}) == "auc"
    assert metric_of({}) == metric_of({"metric": "speed"}) == "accuracy"
    with pytest.raises(ValueError, match=r"`metric` needs one of accuracy, .*log_loss, got 'f1'"):
        Settings(metric="f1")


def judged_run(folder: Path, metric: str) -> dict[str, Any]:
    """The results of a written run of two families that was judged by a metric."""
    write_run(folder, trials=12, epochs=3, families=("scratch_keras", "mobilenet"), pictures=20)
    rows = []
    for line in (folder / "trials.jsonl").read_text().splitlines():
        row = json.loads(line)
        if row["event"] == "epoch":
            score = row["validation_loss"] * -1 if metric == "log_loss" else 0.9 * row["validation_accuracy"]
            row |= {"validation_score": score, "validation_score_error": 0.01, "validation_score_loss": 1.0}
        rows.append(json.dumps(row))
    (folder / "trials.jsonl").write_text("\n".join(rows) + "\n")
    settings = json.loads((folder / "settings.json").read_text())
    (folder / "settings.json").write_text(json.dumps({**settings, "metric": metric}))
    write_report(folder)
    found = json.loads((folder / "results.json").read_text())
    assert isinstance(found, dict)
    return found


def test_the_documents_lead_with_the_metric_and_show_accuracy_beside_it(tmp_path: Path) -> None:
    results = judged_run(tmp_path / "run", "macro_f1")
    record = results["families"]["mobilenet"]
    best, test = record["best"], record["test"]
    assert (results["metric"], results["winner"]) == ("macro_f1", "mobilenet")
    assert best["score"] == pytest.approx(0.9 * best["validation_accuracy"])
    assert test["metric"]["low"] < test["metric"]["value"] < test["metric"]["high"]
    assert test["metric"]["method"] == "95 % interval: percentiles of a bootstrap over 200 test pictures and 3 seeds"
    page, text = ((tmp_path / "run" / name).read_text().replace("&nbsp;", " ") for name in ("report.html", "report.md"))
    said = f"MobileNet wins: its macro-F1 on 200 test pictures is {scored_in_print(test)}; it names "
    assert said in page
    assert said in text
    for told in (page, text):
        assert "The winner has the highest validation macro-F1" in page
        assert "Best macro-F1, validation" in told
        assert "Best validation accuracy so far" not in told
    assert "Best validation macro-F1 so far, by time." in page
    assert "Mean best validation macro-F1 of" in page


def test_a_metric_that_is_to_be_low_is_shown_with_its_own_sign(tmp_path: Path) -> None:
    results = judged_run(tmp_path / "run", "log_loss")
    best = results["families"]["mobilenet"]["best"]
    assert best["score"] < 0
    page = (tmp_path / "run" / "report.html").read_text().replace("&nbsp;", " ")
    assert f"a validation log loss of {-best['score']:.3f} (" in page
    assert "The winner has the lowest validation log loss" in page
    steps = [step["score"] for step in best_so_far(read_rows(tmp_path / "run" / "trials.jsonl").of("mobilenet"))]
    live = live_page("run", read_rows(tmp_path / "run" / "trials.jsonl"), {"metric": "log_loss"}, 9.0, running=True)
    assert f'<p class="big">{-steps[-1]:.3f}</p><p class="of">best validation log loss, ' in live
    frames = Run(tmp_path / "run").families
    assert frames.loc["mobilenet", "validation_log_loss"] == -best["score"]
    assert frames.loc["mobilenet", "test_log_loss"] > 0


def test_runs_that_were_judged_otherwise_are_compared_by_what_they_share(tmp_path: Path) -> None:
    for name in ("macro_f1", "auc"):
        judged_run(tmp_path / name, name)
    page = write_comparison([tmp_path / "macro_f1", tmp_path / "auc"], tmp_path / "both.html").read_text()
    page = page.replace("&nbsp;", " ")
    assert "The runs were judged by different metrics" in page
    assert "MobileNet, macro-F1, test" in page
    assert "MobileNet, ROC AUC, validation" in page
    assert "Best validation accuracy of MobileNet so far" in page


def test_a_front_is_one_of_scores() -> None:
    rows = rows_of(
        *({"event": "cost", "time": 1.0, "trial": name, "family": "a", "parameters": size}
          for name, size in (("a-000", 5), ("a-001", 9))),
        *whole("a-000", 0.9, 0.3), *whole("a-001", 0.8, 0.5),
    )  # fmt: skip
    entries = {entry["trial"]: entry["front"] for entry in trial_costs(rows.trials.values())}
    assert "parameters" in entries["a-001"]
