import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from written_run import end_row, epoch_row, start_row, write_rows, write_run

from results.analysis.costs import depth
from results.analysis.numbers import (
    accuracy_interval,
    best_so_far,
    best_trial,
    calibration,
    choose_winner,
    clear_best,
    confusion,
    contenders,
    effects,
    figure,
    final_of,
    fit,
    importance,
    loss_trend,
    per_class,
    rung_table,
    sample,
    spent,
    summarise,
    tally,
    timeline,
    varied,
    wilson,
)
from results.rows import Rows


def rows_of(*records: dict[str, Any]) -> Rows:
    return Rows(tuple(records))


def test_best_is_the_full_trial_with_the_highest_accuracy_not_a_stopped_one() -> None:
    rows = rows_of(
        *(start_row("a-000"), epoch_row("a-000", 1, 0.5), epoch_row("a-000", 2, 0.4), end_row("a-000", "finished")),
        *(start_row("a-001", dropout=0.1), epoch_row("a-001", 1, 0.3, 1.2)),
        *(epoch_row("a-001", 2, 0.7, 1.0, train_accuracy=0.9), epoch_row("a-001", 3, 0.6, 1.4)),
        *(end_row("a-001", "finished"), start_row("a-002"), epoch_row("a-002", 1, 0.99), end_row("a-002", "stopped")),
    )
    best = best_trial(rows, "a")
    assert best is not None
    assert best["trial"] == "a-001"
    assert best["config"] == {"dropout": 0.1}
    assert (best["epoch"], best["epochs"], best["validation_accuracy"], best["validation_loss"]) == (2, 3, 0.7, 1.0)
    assert best["train_accuracy"] == 0.9
    assert best["overfit_gap"] == pytest.approx(0.2)
    assert best["loss_trend"] == {"trend": "rising", "slope": pytest.approx(0.1)}
    assert best["full_budget"] is True
    assert best["fit"] == "overfitted"


def test_ties_go_to_the_lower_loss() -> None:
    rows = rows_of(
        *(start_row("a-000"), epoch_row("a-000", 1, 0.5, 1.0), end_row("a-000", "finished")),
        *(start_row("a-001"), epoch_row("a-001", 1, 0.5, None), end_row("a-001", "finished")),
        *(start_row("a-002"), epoch_row("a-002", 1, 0.5, 0.9), end_row("a-002", "finished")),
    )
    best = best_trial(rows, "a")
    assert best is not None
    assert best["trial"] == "a-002"


def test_without_a_finished_trial_the_longest_is_best_and_says_so() -> None:
    rows = rows_of(
        *(start_row("a-000"), epoch_row("a-000", 1, 0.9), end_row("a-000", "stopped")),
        *(start_row("a-001"), epoch_row("a-001", 1, 0.3), epoch_row("a-001", 2, 0.4)),
        *(start_row("a-002"), *(epoch_row("a-002", epoch, 0.8) for epoch in (1, 2, 3)), end_row("a-002", "failed")),
    )
    best = best_trial(rows, "a")
    assert best is not None
    assert (best["trial"], best["status"], best["full_budget"]) == ("a-001", "running", False)


def test_no_usable_trial_gives_none() -> None:
    failed = rows_of(start_row("a-000"), epoch_row("a-000", 1, None, None), end_row("a-000", "failed"))
    assert best_trial(failed, "a") is None
    assert best_trial(rows_of(), "a") is None


@pytest.mark.parametrize(
    ("losses", "trend", "slope"),
    [
        ([1.0, 2.0, 3.0], "rising", 1.0),
        ([3.0, 2.0, 1.0], "falling", -1.0),
        ([1.0, 1.01, 1.02], "flat", 0.01),
        ([0.0, 0.0], "flat", 0.0),
        ([1.0, None, 3.0], "rising", 1.0),
        ([1.0, None], None, None),
        ([], None, None),
    ],
)
def test_loss_trend(losses: list[float | None], trend: str | None, slope: float | None) -> None:
    assert loss_trend(losses) == {"trend": trend, "slope": None if slope is None else pytest.approx(slope)}


@pytest.mark.parametrize(
    ("train", "gap", "trend", "word"),
    [
        (0.99, 0.10, "falling", "overfitted"),
        (0.99, 0.06, "rising", "overfitted"),
        (0.99, 0.06, "falling", "leaning"),
        (0.95, 0.01, "falling", "sound"),
        (0.40, 0.01, "falling", "underfitted"),
        (None, None, None, "unknown"),
    ],
)
def test_fit(train: float | None, gap: float | None, trend: str | None, word: str) -> None:
    assert fit(train, gap, trend) == word


def test_wilson_matches_published_values() -> None:
    # Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20.
    assert wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(15 / 148, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson(0.0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


def test_interval_of_one_seed_is_wilsons_and_says_what_it_leaves_out() -> None:
    low, high, method = accuracy_interval([81 / 263], 263)
    assert (low, high) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert method == "95 % Wilson score interval on 263 test pictures; one seed, so its spread is not covered"


def test_interval_of_several_seeds_adds_their_spread() -> None:
    # Wilson at 0.9 on 100: 0.8256 to 0.9448. Student's t: 4.303 * 0.02 / sqrt(3) = 0.04969.
    low, high, method = accuracy_interval([0.88, 0.90, 0.92], 100)
    assert low == pytest.approx(0.9 - (0.0744**2 + 0.04969**2) ** 0.5, abs=2e-4)
    assert high == pytest.approx(0.9 + (0.0448**2 + 0.04969**2) ** 0.5, abs=2e-4)
    assert "Student's t over 3 seeds" in method
    assert accuracy_interval([1.0, 1.0], 10)[1] == 1.0


def test_winner_is_chosen_by_validation_accuracy() -> None:
    low, high = ({"score": accuracy, "score_loss": 1.0} for accuracy in (0.4, 0.9))
    assert choose_winner({"a": low, "b": high, "c": None}) == "b"
    assert choose_winner({"a": None}) is None


def test_rung_table_counts_in_and_out() -> None:
    def rung(trial: str, epoch: int, value: float | None, promoted: bool) -> dict[str, Any]:
        same = {"event": "rung", "time": 1.0, "trial": trial, "family": "a"}
        return {**same, "epoch": epoch, "value": value, "promoted": promoted}

    rows = rows_of(rung("a-0", 1, 0.5, True), rung("a-1", 1, 0.2, False), rung("a-0", 3, None, False))
    assert rung_table(rows.of("a")) == [
        {"epoch": 1, "in": 2, "out": 1, "lowest": 0.5},
        {"epoch": 3, "in": 1, "out": 0, "lowest": None},
    ]


def test_spent_adds_what_rows_explain_and_what_they_do_not() -> None:
    rows = rows_of(epoch_row("a-0", 1, 0.5), epoch_row("a-0", 2, 0.5, waiting=None, seconds=12.0))
    assert spent(rows.of("a")) == {"waiting": 1, "building": 4, "training": 12, "validating": 2, "other": 3}


def test_best_so_far_keeps_only_improvements() -> None:
    rows = rows_of(
        *(epoch_row("a-0", 1, 0.2), epoch_row("a-0", 2, 0.1), epoch_row("a-0", 3, None)),
        epoch_row("a-1", 4, 0.3),
    )
    assert best_so_far(rows.of("a")) == [
        {"time": 10.0, "epochs": 1, "score": 0.2, "validation_accuracy": 0.2, "trial": "a-0"},
        {"time": 40.0, "epochs": 4, "score": 0.3, "validation_accuracy": 0.3, "trial": "a-1"},
    ]


def test_timeline_uses_as_many_lanes_as_ran_at_once() -> None:
    rows = rows_of(
        *({**start_row(f"a-{number}"), "time": start} for number, start in enumerate((0.0, 5.0, 20.0))),
        *({**end_row(f"a-{number}", "finished"), "time": end} for number, end in enumerate((20.0, 30.0, 40.0))),
    )
    assert [(span["trial"].name, span["lane"]) for span in timeline(rows.of("a"))] == [
        ("a-0", 0),
        ("a-1", 1),
        ("a-2", 0),
    ]


def test_sample_spans_the_ranking_and_keeps_what_it_must() -> None:
    rows = rows_of(*(epoch_row(f"a-{number:03d}", 1, number / 100) for number in range(100)))
    kept = [trial.name for trial in sample(rows.of("a"), 4, ("a-001", None))]
    assert kept == ["a-001", "a-024", "a-049", "a-074", "a-099"]
    assert len(sample(rows.of("a"), 100)) == 100


def trials_where(accuracy: dict[str, float], count: int = 40) -> Rows:
    """Trials of family `a` whose accuracy hangs on the optimizer alone, while the dropout varies at random."""
    chance = np.random.default_rng(0)
    records = []
    for number in range(count):
        optimizer = list(accuracy)[number % len(accuracy)]
        name = f"a-{number:03d}"
        records.append(start_row(name, optimizer=optimizer, dropout=float(chance.random()), alpha=1.0))
        records.append(epoch_row(name, 1, accuracy[optimizer] + 0.001 * float(chance.random())))
        records.append(end_row(name, "finished"))
    return rows_of(*records)


def test_importance_finds_the_parameter_that_matters() -> None:
    shares = importance(trials_where({"adam": 0.9, "sgd": 0.2, "adamw": 0.3}).of("a"))
    assert shares is not None
    assert list(shares) == ["optimizer", "dropout"]
    assert shares["optimizer"] > 0.7
    assert sum(shares.values()) == pytest.approx(1.0)


def test_importance_is_not_claimed_from_few_or_equal_trials() -> None:
    assert importance(trials_where({"adam": 0.9, "sgd": 0.2}, count=9).of("a")) is None
    same = rows_of(*(row for n in range(12) for row in (start_row(f"a-{n}", dropout=n), epoch_row(f"a-{n}", 1, 0.5))))
    assert importance(same.of("a")) is None


def test_effects_are_means_with_intervals() -> None:
    rows = rows_of(
        *(start_row("a-0", flip=True), epoch_row("a-0", 1, 0.4), start_row("a-1", flip=True), epoch_row("a-1", 1, 0.6)),
        *(start_row("a-2", flip=False), epoch_row("a-2", 1, 0.3)),
    )
    # Student's t with one degree of freedom, 12.70620, times 0.141421 / sqrt(2).
    assert effects(rows.of("a"))["flip"] == [
        {"level": False, "trials": 1, "mean": 0.3, "low": None, "high": None},
        {"level": True, "trials": 2, "mean": 0.5, "low": pytest.approx(-0.770620), "high": pytest.approx(1.770620)},
    ]


def test_varied_tells_choices_from_ranges() -> None:
    configs = [{"size": size, "rate": rate, "same": 1, "kind": kind} for size, rate, kind in zip(
        [96, 160] * 4, [0.1 * step for step in range(8)], [None, "adam"] * 4, strict=True
    )]  # fmt: skip
    assert varied(configs) == {"kind": [None, "adam"], "rate": None, "size": [96, 160]}


def test_depth_takes_the_median_seconds() -> None:
    rows = rows_of(
        *(start_row("m-0", unfrozen_blocks=3), start_row("m-1"), epoch_row("m-1", 1, 0.5)),
        *(epoch_row("m-0", epoch, 0.5, seconds=seconds) for epoch, seconds in ((1, 9.0), (2, 2.0), (3, 3.0))),
    )
    assert depth(rows.of("m")) == [
        {
            **{"trial": "m-0", "unfrozen_blocks": 3, "validation_accuracy": 0.5, "seconds_per_epoch": 3.0},
            "status": "running",
        }
    ]


def test_confusion_per_class_and_calibration() -> None:
    probabilities = np.array([[0.95, 0.05], [0.85, 0.15], [0.35, 0.65], [0.95, 0.05]])
    truth = np.array([0, 0, 1, 1])
    counts = confusion(probabilities.argmax(axis=1), truth, 2)
    assert counts == [[2, 0], [1, 1]]
    assert per_class(tally(probabilities.argmax(axis=1), truth), ["cat", "dog"]) == [
        {"class": "cat", "pictures": 2, "accuracy": 1.0, "taken_for": None},
        {"class": "dog", "pictures": 2, "accuracy": 0.5, "taken_for": "cat"},
    ]
    found = calibration(probabilities, truth)
    # A quarter each at 0.65 (right) and 0.85 (right), half at 0.95 (right once): 0.25 * (0.35 + 0.15) + 0.5 * 0.45.
    assert found["expected_error"] == pytest.approx(0.35)
    assert [(entry["low"], entry["pictures"]) for entry in found["bins"]] == [(0.6, 1), (0.8, 1), (0.9, 2)]


def test_summary_has_every_promised_key(tmp_path: Path) -> None:
    summary = summarise(write_run(tmp_path / "demo"))
    assert summary["name"] == "demo"
    assert {"seconds", "data", "families", "winner"} <= set(summary)
    assert {"classes", "images", "left_out", "split"} <= set(summary["data"])
    assert summary["data"]["split"] == {"train": 900, "validation": 300, "test": 300}
    assert summary["data"]["images"] == 1500
    assert list(summary["families"]) == ["scratch_pillow", "scratch_keras", "mobilenet"]
    assert summary["winner"] == "mobilenet"
    assert summary["overlap"] is True
    for record in summary["families"].values():
        assert {"trials", "finished", "stopped", "failed", "epochs", "baseline", "best", "test", "model"} <= set(record)
        for side in ("baseline", "best"):
            wanted = {"trial", "config", "epoch", "validation_accuracy", "validation_loss", "train_accuracy"}
            assert wanted | {"overfit_gap", "loss_trend"} <= set(record[side])
        assert record["trials"] == 20 == record["finished"] + record["stopped"] + record["failed"]
        test = record["test"]
        assert test["low"] <= test["accuracy"] <= test["high"]
        # The saved probabilities tell the same accuracy as the rows.
        assert test["predictions"]["accuracy"] == pytest.approx(test["accuracy"])
    assert summary["families"]["scratch_pillow"]["loss_trends"] == {"rising": 14}
    json.dumps(summary, allow_nan=False)


def test_an_empty_run_is_summarised(tmp_path: Path) -> None:
    (tmp_path / "trials.jsonl").touch()
    summary = summarise(tmp_path)
    assert summary["families"] == {}
    assert summary["winner"] is None
    assert summary["data"]["images"] == 0


def test_predictions_of_another_split_are_not_used(tmp_path: Path) -> None:
    run = write_run(tmp_path / "demo", families=("mobilenet",), trials=2)
    np.savez(run / "predictions" / "mobilenet-0.npz", probabilities=np.zeros((3, 10)))
    (run / "predictions" / "mobilenet-1.npz").write_bytes(b"torn")
    predictions = summarise(run)["families"]["mobilenet"]["test"]["predictions"]
    assert predictions["seeds"] == [2]


def test_overlap_is_not_claimed_without_imagenet_weights(tmp_path: Path) -> None:
    run = write_run(tmp_path / "demo", families=("mobilenet",), trials=1)
    settings = json.loads((run / "settings.json").read_text(encoding="utf-8"))
    for own in ("none", "demo"):
        (run / "settings.json").write_text(json.dumps(settings | {"weights": own}), encoding="utf-8")
        assert summarise(run)["overlap"] is False


def test_rows_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    write_rows(tmp_path, [start_row("a-000"), epoch_row("a-000", 1, 0.5)])
    with (tmp_path / "trials.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"event": "ep')
    assert summarise(tmp_path)["skipped_rows"] == 1


def final_row(trial: str, fold: int, accuracy: float, loss: float = 1.0) -> dict[str, Any]:
    of = {"event": "final", "time": 9.0, "family": trial.rsplit("-", 1)[0], "trial": trial}
    return {**of, "fold": fold, "accuracy": accuracy, "loss": loss, "pictures": 50, "epochs": 1}


def full(trial: str, accuracy: float) -> tuple[dict[str, Any], ...]:
    return start_row(trial), epoch_row(trial, 1, accuracy), end_row(trial, "finished")


def test_a_final_decides_and_not_what_chose_its_finalists() -> None:
    trials = (*full("a-000", 0.90), *full("a-001", 0.85), *full("a-002", 0.80))
    games = [final_row("a-000", 1, 0.80), final_row("a-001", 1, 0.84), final_row("a-001", 2, 0.86)]
    rows = rows_of(*trials, *games, final_row("a-000", 2, 0.82))
    best = best_trial(rows, "a")
    assert best is not None
    assert best["trial"] == "a-001"
    assert figure(best) == pytest.approx(0.85)
    assert final_of(rows, "a") == {
        **{"trial": "a-001", "accuracy": pytest.approx(0.85), "loss": 1.0, "folds": 2, "pictures": 100},
        **{"finalists": 2, "score": pytest.approx(0.85), "chosen_by": 0.85},
    }
    # Who fell out after the first fold does not win by it.
    early = rows_of(*trials, *games, final_row("a-002", 1, 0.99))
    assert (final_of(early, "a") or {})["trial"] == "a-001"
    # One alone has met nobody.
    assert final_of(rows_of(*trials, games[0]), "a") is None
    other = {"score": 0.87, "score_loss": 1.0}
    assert choose_winner({"a": best, "b": other}) == "b"


def test_what_accuracy_cannot_tell_apart_is_told_by_cross_entropy() -> None:
    # A standard error of the difference of two shares of 90 % of 200 pictures is 3 points.
    assert clear_best([(0.90, 0.40), (0.88, 0.30), (0.86, 0.10)], 200) == 1
    assert clear_best([(0.90, 0.40), (0.88, None)], 200) == 0
    assert clear_best([(0.90, 0.30), (0.89, 0.30)], 200) == 0
    rows = rows_of(
        *full("a-000", 0.90), *full("a-001", 0.89), final_row("a-000", 1, 0.84, 0.5), final_row("a-001", 1, 0.82, 0.4)
    )
    assert (final_of(rows, "a") or {})["trial"] == "a-001"


def probe(trial: str, accuracy: float, loss: float) -> tuple[dict[str, Any], ...]:
    """A linear probe that was solved, judged on 900 pictures."""
    row = {**epoch_row(trial, 1, accuracy), "validation_loss": loss, "held_out": 900}
    return {**start_row(trial), "config": {"head": "probe"}}, row, end_row(trial, "finished")


def test_one_probe_stands_for_all_of_them() -> None:
    rows = rows_of(*probe("a-000", 0.950, 0.16), *probe("a-001", 0.945, 0.14), *probe("a-002", 0.90, 0.1))
    assert (best_trial(rows, "a") or {})["trial"] == "a-001"
    # Of those that accuracy cannot tell apart the one that learns from most.
    start, *rest = probe("a-004", 0.943, 0.19)
    pair = {"head": "probe", "beside": "MobileNet-1.0", "mirrored": True}
    assert (best_trial(rows_of(*rows.records, {**start, "config": pair}, *rest), "a") or {})["trial"] == "a-004"
    start, *rest = probe("a-004", 0.925, 0.19)
    assert (best_trial(rows_of(*rows.records, {**start, "config": pair}, *rest), "a") or {})["trial"] == "a-001"
    # Rare classes are weighed where that is clearly better.
    for reached, chosen in ((0.952, "a-001"), (0.975, "a-004")):
        start, *rest = probe("a-004", reached, 0.1)
        weighs = {**start, "config": {"head": "probe", "class_weight_power": 0.5}}
        assert (best_trial(rows_of(*rows.records, weighs, *rest), "a") or {})["trial"] == chosen
    both = rows_of(*rows.records, *full("a-003", 0.94))
    assert [record["trial"] for record in contenders(both, "a", 9, 100)] == ["a-001", "a-003"]
    # What was trained by epochs is best where it is clearly above: by 3 points on a fifth of 900 pictures.
    lucky = rows_of(*rows.records, *full("a-003", 0.960))
    assert (best_trial(lucky, "a") or {})["trial"] == "a-001"
    assert [record["trial"] for record in contenders(lucky, "a", 9, 100)] == ["a-001", "a-003"]
    for reached, best in ((0.969, "a-001"), (0.980, "a-003")):
        assert (best_trial(rows_of(*rows.records, *full("a-003", reached)), "a") or {})["trial"] == best
    # And so it is in a final, whose folds have more pictures.
    for reached, best in ((0.955, "a-001"), (0.969, "a-003")):
        games = (final_row("a-001", 1, 0.945, 0.2), {**final_row("a-003", 1, reached, 0.1), "pictures": 400})
        played = rows_of(*lucky.records, {**games[0], "pictures": 400}, games[1])
        assert (best_trial(played, "a") or {})["trial"] == best


def test_the_best_probe_is_met_in_the_final_however_many_stand_before_it() -> None:
    heads = [row for number in range(3, 9) for row in full(f"a-00{number}", 0.985)]
    rows = rows_of(*heads, *probe("a-000", 0.950, 0.16), *probe("a-001", 0.945, 0.17))
    assert [record["trial"] for record in contenders(rows, "a", 3, 40)] == ["a-003", "a-004", "a-000"]
    assert [record["trial"] for record in contenders(rows, "a", 3, 4000)] == ["a-003", "a-004"]
    assert [record["trial"] for record in contenders(rows, "a", 1, 40)] == ["a-003"]


def test_contenders_are_those_that_luck_may_have_put_second() -> None:
    rows = rows_of(*full("a-000", 0.90), *full("a-001", 0.85), *full("a-002", 0.70), *full("a-003", 0.89))
    # Two standard errors of 90 % on 100 pictures are 6 points.
    assert [record["trial"] for record in contenders(rows, "a", 9, 100)] == ["a-000", "a-003", "a-001"]
    assert [record["trial"] for record in contenders(rows, "a", 2, 100)] == ["a-000", "a-003"]
    assert [record["trial"] for record in contenders(rows, "a", 9, 10_000)] == ["a-000"]
    assert contenders(rows, "b", 9, 100) == []
