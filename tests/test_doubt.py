"""When a model says nothing, what its temperature does, classes that it has not met, and labels that are wrong."""

import csv
import json
import re
import shutil
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from clouds import clouds
from PIL import Image
from written_run import epoch_row, start_row, write_run

import results
from models.temperature import with_temperature
from results.__main__ import main
from results.analysis.doubt import (
    COVERAGES,
    at_temperature,
    auroc,
    held_of,
    kept_answers,
    risk_coverage,
    threshold_at,
    thresholds,
    usable,
)
from results.analysis.numbers import calibration
from results.rows import Rows
from results.run import Run
from search.data.pictures import Pictures
from search.training.doubt import classes_left_out, held_out, wrong_labels
from search.training.probes import Probed, Solved, solve
from search.training.retraining import retrain
from search.training.trial import MATERIALS, Clock
from spaces import FAMILIES

CONFIG = {
    **{"backbone": "MobileNet", "alpha": 0.25, "image_size": 32, "head": "probe", "beside": "none"},
    "unfrozen_blocks": 0,
}
TABLE = [[coverage, round(1 - coverage, 2)] for coverage in COVERAGES]


def probed(features: Any, labels: Any, solved: Solved) -> Probed:
    places = np.arange(len(labels))
    return Probed(CONFIG, features, labels, places, places, solved)


# --- thresholds ------------------------------------------------------------------------------------------------------


def test_a_threshold_leaves_the_share_that_it_is_for() -> None:
    confidences = np.arange(1, 1001) / 1000
    table = thresholds(confidences)
    assert [pair[0] for pair in table] == list(COVERAGES)
    for coverage, cut in table:
        assert (confidences >= cut).mean() == pytest.approx(coverage, abs=2e-3)
    # Between two of the table, and at the ends.
    assert threshold_at(TABLE, 0.925) == pytest.approx(0.075)
    assert (threshold_at(TABLE, 1), threshold_at(TABLE, 0.5)) == (0.0, 0.5)


@pytest.mark.parametrize("coverage", [0.49, 1.01, 95.0, float("nan")])
def test_a_coverage_out_of_range_is_refused(coverage: float) -> None:
    with pytest.raises(ValueError, match=rf"^needs 0\.5 <= coverage <= 1, got {coverage:g} in `coverage`$"):
        threshold_at(TABLE, coverage)


@pytest.mark.parametrize(
    "record",
    [
        None,
        {"temperature": 0, "thresholds": TABLE},
        {"temperature": 1.5},
        {"temperature": 1.5, "thresholds": TABLE[:-1]},
        {"temperature": 1.5, "thresholds": [*TABLE[:-1], [0.5, 1.5]]},
        {"temperature": True, "thresholds": TABLE},
    ],
)
def test_a_record_that_is_not_whole_is_not_used(record: Any) -> None:
    assert usable({"temperature": 1.5, "thresholds": TABLE})
    assert not usable(record)


def test_the_curve_ends_with_all_answers_and_ties_stay_together() -> None:
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.3, 0.7]])
    curve = risk_coverage(probabilities, np.array([0, 1, 1, 0]))
    assert curve == [
        {"coverage": 0.25, "accuracy": 1.0},
        {"coverage": 0.5, "accuracy": 0.5},
        {"coverage": 1.0, "accuracy": 0.5},
    ]
    assert kept_answers(probabilities, np.array([0, 1, 1, 0]), 0.75) == {
        **{"covered": 0.5, "answered": 2, "accuracy": 0.5}
    }
    assert kept_answers(probabilities, np.array([0, 1, 1, 0]), 0.95)["accuracy"] is None


def test_auroc_counts_pairs() -> None:
    assert auroc(np.array([0.9, 0.8]), np.array([0.1, 0.2, 0.3])) == 1.0
    assert auroc(np.array([0.1]), np.array([0.9])) == 0.0
    assert auroc(np.array([0.5, 0.9]), np.array([0.5, 0.7])) == pytest.approx(2.5 / 4)


# --- the temperature -------------------------------------------------------------------------------------------------


def drawn(count: int, hot: float, seed: int) -> tuple[Any, Any]:
    """Probabilities of four classes with their truth drawn from them, and then made as sure as if divided by `hot`."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 1.5, (count, 4))
    true = at_temperature(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), 1.0)
    truth = (true.cumsum(axis=1) > random.random((count, 1))).argmax(axis=1)
    return at_temperature(true, hot), truth


@pytest.mark.parametrize("hot", [0.3, 1.0, 1.8])
def test_the_temperature_undoes_what_made_a_model_too_sure_or_too_modest(hot: float) -> None:
    found = held_out(*drawn(4000, hot, 0))
    assert found["temperature"] == pytest.approx(1 / hot, rel=0.12)
    assert found["pictures"] == 4000
    assert usable(found)
    fresh, truth = drawn(4000, hot, 1)
    errors = [calibration(p, truth)["expected_error"] for p in (fresh, at_temperature(fresh, found["temperature"]))]
    assert errors[1] < 0.03
    if hot != 1.0:
        assert errors[1] < errors[0] / 2


def test_a_handful_that_is_all_right_does_not_make_a_model_certain() -> None:
    probabilities = np.full((8, 4), 0.1)
    probabilities[:, 0] = 0.7
    assert 0.4 < held_out(probabilities, np.zeros(8, np.int64))["temperature"] < 1


@pytest.mark.parametrize("family", FAMILIES)
def test_a_network_takes_the_temperature_into_its_last_weights(
    family: str, config: Callable[..., dict[str, Any]], pictures: Pictures
) -> None:
    material = MATERIALS[family](config(family), pictures, seed=0, most_views=1, threads=1, clock=Clock())
    model = material.exported()
    some = pictures.pixels(32)[pictures.test[:6]]
    before = np.asarray(model(some, training=False), float)
    cooled = with_temperature(model, 2.5)
    assert cooled is model
    np.testing.assert_allclose(np.asarray(cooled(some, training=False)), at_temperature(before, 2.5), atol=2e-3)


def test_a_model_that_ends_otherwise_takes_it_as_one_more_operation(tmp_path: Path) -> None:
    inputs = keras.Input((3,))
    positive = keras.layers.Dense(4, activation="sigmoid")(inputs)
    model = keras.Model(inputs, positive / keras.ops.sum(positive, axis=-1, keepdims=True))
    some = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    before = np.asarray(model(some), float)
    cooled = with_temperature(model, 0.4)
    assert with_temperature(cooled, 1.0) is cooled
    np.testing.assert_allclose(np.asarray(cooled(some)), at_temperature(before, 0.4), atol=1e-5)
    cooled.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_allclose(np.asarray(loaded(some)), np.asarray(cooled(some)), atol=1e-6)


def test_what_was_held_out_of_a_configuration_is_read_from_its_rows() -> None:
    def held(temperature: float, cut: float) -> dict[str, Any]:
        return {"temperature": temperature, "thresholds": [[c, cut * (1 - c)] for c in COVERAGES], "pictures": 10}

    name = "scratch_keras-003"
    start = {**start_row(name), "time": 0.0}
    epochs = [epoch_row(name, 1, 0.5), epoch_row(name, 2, 0.6, held=held(3.0, 0.5)), epoch_row(name, 3, 0.6)]
    found = held_of(Rows((start, *epochs)), name, "scratch_keras")
    assert found is not None
    assert (found["temperature"], found["told_by"]) == (pytest.approx(3.0), "the validation pictures of its trial")
    finals = [
        {**{"event": "final", "time": 9.0, "trial": name, "family": "scratch_keras", "fold": fold}, **more}
        for fold, more in ((1, {"held": held(1.0, 0.4)}), (2, {"held": held(4.0, 0.8)}), (3, {"held": {"a": 1}}))
    ]
    found = held_of(Rows((start, *epochs, *finals)), name, "scratch_keras")
    assert found is not None
    assert (found["temperature"], found["pictures"], found["told_by"]) == (2.0, 20, "the folds of its final")
    assert threshold_at(found["thresholds"], 0.5) == pytest.approx(0.3)
    assert held_of(Rows((start,)), name, "scratch_keras") is None


# --- classes and labels ----------------------------------------------------------------------------------------------


def test_classes_that_were_left_out_are_told_apart_where_they_lie_apart() -> None:
    def found(apart: float, classes: int = 6) -> dict[str, Any]:
        features, labels = clouds(0, count=300, classes=classes, width=12, apart=apart)
        places = np.arange(300)
        solved = Solved(features[:0], features[:0], (30.0,), (1.0,), places[:0], features[:0])
        return classes_left_out(probed(features, labels, solved), classes, seed=0)

    far, near = found(12.0), found(0.0)
    assert far["auroc"] > 0.95
    assert near["auroc"] == pytest.approx(0.5, abs=0.1)
    assert far["pairs"][0]["unknown"] == 100
    assert len(set(far["pairs"][0]["classes"])) == 2
    assert found(5.0, classes=3) == {
        **{"auroc": None, "pairs": [], "why": "it takes four classes or more, and there are 3"}
    }


def test_the_first_pair_is_left_out_even_where_the_time_is_up() -> None:
    features, labels = clouds(1, count=120, classes=5, width=12, apart=6.0)
    solved = Solved(features[:0], features[:0], (30.0,), (1.0,), np.arange(0), features[:0])
    found = classes_left_out(probed(features, labels, solved), 5, seed=0, until=0.0)
    assert len(found["pairs"]) == 1
    assert found["auroc"] == found["pairs"][0]["auroc"]


def swapped(labels: Any, classes: int, share: float, seed: int) -> tuple[Any, Any]:
    """Labels of which a share is wrong on purpose, and the places of these."""
    random = np.random.default_rng(seed)
    places = random.choice(len(labels), round(share * len(labels)), replace=False)
    wrong = labels.copy()
    wrong[places] = (wrong[places] + random.integers(1, classes, len(places))) % classes
    return wrong, places


@pytest.mark.parametrize("seed", [0, 1])
def test_labels_that_were_swapped_on_purpose_are_found(seed: int) -> None:
    pytest.importorskip("cleanlab", reason="needs cleanlab: pip install cleanlab")
    features, labels = clouds(seed, count=600, classes=6, width=12, apart=6.0)
    given, swaps = swapped(labels, 6, 0.05, seed)
    solved = solve(features, given, np.arange(600), 6, seed=0)
    found = wrong_labels(given[solved.places], solved.probabilities)
    places = solved.places[[one.place for one in found]]
    # Precision of the sheet of 24, recall of all, and what they are instead.
    assert np.isin(places[:24], swaps).mean() >= 0.9
    assert np.isin(swaps, places).mean() >= 0.65
    suggested = [one.suggested for one, place in zip(found, places, strict=True) if place in swaps]
    assert np.mean(suggested == labels[places[np.isin(places, swaps)]]) > 0.95
    assert [one.score for one in found] == sorted(one.score for one in found)


def test_right_labels_and_classes_without_a_picture_are_left_alone() -> None:
    pytest.importorskip("cleanlab", reason="needs cleanlab: pip install cleanlab")
    probabilities = np.full((60, 5), 0.02)
    labels = np.arange(60) % 3
    probabilities[np.arange(60), labels] = 0.92
    assert wrong_labels(labels, probabilities) == []
    assert wrong_labels(np.zeros(60, np.int64), probabilities) == []
    given = labels.copy()
    given[7] = 2
    (one,) = wrong_labels(given, probabilities)
    assert (one.place, one.suggested, round(one.score, 2), round(one.probability, 2)) == (7, 1, 0.02, 0.96)


# --- a run -----------------------------------------------------------------------------------------------------------


def test_a_probe_hands_over_its_thresholds_and_its_doubts(pictures: Pictures, tmp_path: Path) -> None:
    outcome = retrain(
        "mobilenet", CONFIG, pictures, seed=0, epochs=1, planned=1, most_views=2, threads=1, export=True,
        report=lambda row: None,
    )  # fmt: skip
    assert usable(outcome.doubt)
    assert (outcome.doubt["told_by"], outcome.doubt["held_out"]) == ("cross-validation", 76)
    record = json.loads(outcome.doubts["mobilenet.json"])
    assert record["own"] is True
    assert 0 <= record["left_out"]["auroc"] <= 1
    if record["labels"] is None:
        assert record["why"].startswith("labels are not checked, which takes cleanlab")
    else:
        assert record["labels"]["judged"] == 76


@pytest.mark.slow
def test_another_configuration_is_calibrated_by_what_was_held_out_and_checked_by_the_best_probe(
    config: Callable[..., dict[str, Any]], pictures: Pictures, tmp_path: Path
) -> None:
    def probabilities(held: dict[str, Any] | None) -> tuple[Any, Any]:
        outcome = retrain(
            "mobilenet", config("mobilenet"), pictures, seed=0, epochs=1, planned=1, most_views=1, threads=1,
            export=held is not None, held=held, probe=CONFIG, report=lambda row: None,
        )  # fmt: skip
        keras.backend.clear_session()
        with np.load(BytesIO(outcome.probabilities)) as saved:
            return outcome, saved["probabilities"]

    plain, sure = probabilities(None)
    cooled, calm = probabilities({"temperature": 2.0, "thresholds": TABLE, "pictures": 30, "told_by": "a fold"})
    np.testing.assert_allclose(calm, at_temperature(sure, 2.0), atol=5e-3)
    assert plain.doubt == {}
    assert cooled.row["temperature"] == 2.0
    assert cooled.doubt == {"temperature": 2.0, "thresholds": TABLE, "held_out": 30, "told_by": "a fold"}
    assert json.loads(cooled.doubts["mobilenet.json"])["own"] is False


def doubtful(run: Path) -> Path:
    """Thresholds and doubts in a written run, as a search leaves them."""
    lines = (run / "trials.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    for row in rows:
        if row["event"] == "model" and row["family"] == "mobilenet":
            row |= {"temperature": 0.5, "thresholds": TABLE, "held_out": 60, "told_by": "cross-validation"}
    (run / "trials.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (run / "doubts").mkdir()
    Image.new("RGB", (64, 64), "teal").save(run / "doubts" / "mobilenet-0.jpg")
    found = [
        {"side": "train", "place": 3, "given": 0, "suggested": 2, "score": 0.01, "probability": 0.9},
        {"side": "validation", "place": 1, "given": 0, "suggested": 1, "score": 0.02, "probability": 0.8},
        *({"side": "train", "place": 10**6, "given": 0, "suggested": 1, "score": 0.1, "probability": 0.8}, "no entry"),
    ]
    found[0]["picture"] = "mobilenet-0.jpg"  # type: ignore[index]
    found[1]["picture"] = "../../secret.jpg"  # type: ignore[index]
    record = {
        **{"family": "mobilenet", "own": False, "config": {"backbone": "MobileNet", "beside": "none"}, "why": ""},
        "left_out": {"auroc": 0.9, "pairs": [{"classes": [0, 1], "auroc": 0.875, "known": 9, "unknown": 9}, {}]},
        "labels": {"judged": 1200, "accuracy": 0.915, "found": [*found, {**found[1], "picture": None}]},  # type: ignore[dict-item]
    }
    (run / "doubts" / "mobilenet.json").write_text(json.dumps(record))
    return run


def test_the_report_shows_coverage_and_the_labels_to_check(tmp_path: Path) -> None:
    run = doubtful(write_run(tmp_path / "demo", trials=3))
    page = results.write_report(run).read_text(encoding="utf-8")
    summary = json.loads((run / "results.json").read_text())
    found = summary["families"]["mobilenet"]["doubt"]
    assert [entry["coverage"] for entry in found["table"]] == [1.0, 0.95, 0.9, 0.8]
    assert found["table"][0]["covered"] == 1.0
    assert found["curve"][-1]["coverage"] == 1.0
    with np.load(run / "predictions" / "mobilenet-0.npz") as saved:
        probabilities = saved["probabilities"]
    truth = np.array([label for _, label in json.loads((run / "split.json").read_text())["test"]])
    answered = probabilities.max(axis=1) >= 0.2
    assert found["table"][3]["covered"] == pytest.approx(answered.mean())
    right = probabilities.argmax(axis=1) == truth
    assert found["table"][3]["accuracy"] == pytest.approx(right[answered].mean())
    assert found["error_after"] == pytest.approx(calibration(probabilities, truth)["expected_error"])
    assert summary["families"]["scratch_keras"]["doubt"]["table"] == []
    assert summary["families"]["mobilenet"]["model"]["thresholds"] == TABLE
    said = "AUROC 0.875 (1 tells them all apart, 0.5 none), the mean over 1 pair of classes left out"
    for text in (page, (run / "report.md").read_text()):
        assert said in text
        assert "It is that of the best linear probe of MobileNet (MobileNet)" in text
        assert "Of 1,200 training and validation pictures 2 labels are doubted by the best linear probe" in text
        assert (
            ", which names 91.5&nbsp;% of them as labelled".replace("&nbsp;", "&nbsp;" if text is page else " ") in text
        )
        assert "scratch: no pictures were held out for its confidence" in text
    assert page.count('alt="train/0-3.jpg, labelled Maltese dog"') == 1
    assert "secret" not in page
    with (run / "labels_to_check.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["path", "given", "suggested", "score"],
            ["train/0-3.jpg", "Maltese dog", "Scottish deerhound", "0.010000"],
            ["validation/0-1.jpg", "Maltese dog", "Afghan hound", "0.020000"],
        ]
    for name in ("coverage.png", "labels.png"):
        assert f"(figures/{name})" in (run / "report.md").read_text()
        with Image.open(run / "figures" / name) as opened:
            assert opened.width == 860


def test_older_runs_say_that_it_is_not_known(tmp_path: Path) -> None:
    run = write_run(tmp_path / "old", trials=3)
    page = results.write_report(run).read_text(encoding="utf-8")
    assert "so it carries no temperature and no thresholds" in page
    assert "No linear probe was fitted in this run" in page
    assert not (run / "labels_to_check.csv").exists()
    (run / "doubts").mkdir()
    (run / "doubts" / "mobilenet.json").write_text('{"left_out": 3, "labels": {"found": 7}, "config": []}')
    page = results.write_report(run).read_text(encoding="utf-8")
    assert "How well other classes are told apart is not known: it was not recorded." in page
    bare = write_run(tmp_path / "bare", trials=2, scored=False)
    assert "None of these</h3>" not in results.write_report(bare).read_text(encoding="utf-8")


def test_predict_says_none_of_these_below_the_threshold(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    (run / "models").mkdir(parents=True)
    shutil.copy(trained_run / "models" / "scratch_keras.keras", run / "models")
    shutil.copy(trained_run / "split.json", run)
    split = json.loads((run / "split.json").read_text())
    paths = [str(Path(split["data"]) / name) for name, _ in split["test"][:6]]
    shutil.copy(trained_run / "trials.jsonl", run)
    everything = Run(run).predict(paths, family="scratch_keras")
    cut = float(everything["probability"].sort_values().iloc[2:4].mean())
    rows = [json.loads(line) for line in (run / "trials.jsonl").read_text().splitlines()]
    for row in rows:
        if row["event"] == "model" and row["family"] == "scratch_keras":
            table = [[coverage, 0.0 if coverage == 1 else cut] for coverage in COVERAGES]
            row |= {"temperature": 1.0, "thresholds": table, "held_out": 16, "told_by": "a fold"}
        elif row["event"] == "model":
            row.pop("thresholds", None)
    (run / "trials.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    told = Run(run).predict(paths, family="scratch_keras", coverage=0.9, top=2)
    declined = told[told["none"]]
    assert set(declined["class"]) == {"none of these classes"}
    assert (len(declined), len(told)) == (3, 9)
    assert (declined["probability"] < cut).all()
    arrays = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    again = Run(run).predict(arrays, family="scratch_keras", coverage=0.9, top=2)
    assert again["class"].tolist() == told["class"].tolist()
    assert not Run(run).predict(paths, family="scratch_keras", coverage=1.0)["none"].any()

    asked = ["predict", str(run), *paths, "--family", "scratch_keras", "--coverage", "0.9"]
    assert main(asked) == 0
    said = capsys.readouterr().out
    assert said.count("none of these classes (") == 3
    assert f"below {100 * cut:.1f} %)" in said
    assert main([*asked, "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sum(line["none"] for line in lines) == 3
    assert [line["threshold"] for line in lines] == pytest.approx([cut] * 6)
    assert main([*asked[:-1], "95"]) == 2
    assert capsys.readouterr().err == "needs 0.5 <= coverage <= 1, got 95 in `coverage`\n"
    shutil.copy(trained_run / "models" / "scratch_pillow.keras", run / "models")
    assert main(["predict", str(run), paths[0], "--family", "scratch_pillow", "--coverage", "0.9"]) == 2
    assert capsys.readouterr().err == (
        f"`coverage` needs a model with thresholds, got 'scratch_pillow' of `{run}`, of which no held-out pictures "
        "were kept; models with thresholds: scratch_keras\n"
    )


def test_the_examples_of_the_guide_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = doubtful(write_run(tmp_path / "runs" / "NAME", trials=3))
    results.write_report(run)
    monkeypatch.chdir(tmp_path)
    guide = Path(__file__).resolve().parent.parent / "docs" / "guide"
    blocks = [
        block
        for name, word in (("export.md", "results.json"), ("report.md", "labels_to_check.csv"))
        for block in re.findall(r"^```python\n(.*?)^```$", (guide / name).read_text(), re.MULTILINE | re.DOTALL)
        if word in block
    ]
    assert len(blocks) == 2
    for block in blocks:
        # Files that the examples leave open are closed by the end of a process.
        code = f"import warnings\nwarnings.simplefilter('ignore')\n{block}"
        exec(compile(code, "guide", "exec"), {})
    assert capsys.readouterr().out.splitlines() == [
        "0",
        "train/0-3.jpg is called Maltese dog and looks like Scottish deerhound 0.010000",
        "validation/0-1.jpg is called Maltese dog and looks like Afghan hound 0.020000",
    ]
