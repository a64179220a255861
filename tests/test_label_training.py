"""Training, scoring and handing over models of several labels a picture, and the documents of such a run."""

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from clouds import clouds
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score

from models.multilabel import with_sigmoid
from models.scratch_keras import build
from results import write_report
from results.__main__ import main as results_main
from results.analysis.doubt import held_of
from results.delivery.prediction import NO_LABEL, predict
from results.pages.comparison import write_comparison
from results.records import read_record, split_problem, truth_of
from results.rows import read_rows
from results.run import Run
from search.data.drawn_labels import LABELS, write
from search.data.label_sets import judged
from search.data.pictures import Pictures, prepare
from search.record.journal import FINISHED, Journal, Record
from search.settings import Settings
from search.training.label_probes import solve_labels
from search.training.retraining import play, retrain
from search.training.trial import Inputs, train
from search.training.trial import predict as probabilities_of
from spaces import FAMILIES
from tests.test_document import needs_chromium, opened

Config = Callable[..., dict[str, Any]]
PROBE = {
    **{"backbone": "MobileNet", "alpha": 0.25, "image_size": 32, "head": "probe", "beside": "none"},
    "unfrozen_blocks": 0,
}
COMMON: dict[str, Any] = {"seed": 0, "epochs": 2, "planned": 2, "most_views": 1, "threads": 1}


@pytest.fixture(scope="module")
def dogs(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> tuple[Settings, Pictures, dict[str, Any]]:
    """80 drawn dogs of three labels at 32 pixels."""
    table = write(tmp_path_factory.mktemp("labelled") / "dogs", 80, 32)
    settings = Settings(
        data=str(table), families=("scratch_keras", "mobilenet"), image_sizes=(32,), weights="none", metric="map",
        name="dogs", runs_dir=str(tmp_path_factory.mktemp("runs")), cache_dir=str(cache_dir),
    )  # fmt: skip
    found, split = prepare(settings, 2, lambda line: None)
    return settings, replace(found, weights={("MobileNet", 0.25): None}), split


def test_a_run_without_a_choice_is_judged_by_map(dogs: Any) -> None:
    settings, pictures, split = dogs
    assert split["multilabel"]
    assert pictures.labels.shape == (80, 3)
    changed, said = judged(replace(settings, metric="accuracy"), split)
    assert changed.metric == "map"
    assert said.startswith("several labels a picture: judged by mAP")
    assert judged(replace(settings, metric="macro_f1"), split) == (replace(settings, metric="macro_f1"), "")
    assert judged(Settings(), {"classes": ["a", "b"]}) == (Settings(), "")


def test_a_sigmoid_takes_the_place_of_the_softmax(config: Config) -> None:
    plain = build(config("scratch_keras"), 3, seed=0)
    model = with_sigmoid(plain)
    picture = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    soft, own = np.asarray(plain(picture)), np.asarray(model(picture))
    odds = own / (1 - own)
    np.testing.assert_allclose(odds / odds.sum(axis=1, keepdims=True), soft, rtol=1e-4)
    assert model.count_params() == plain.count_params()
    with pytest.raises(ValueError, match="needs a model that ends in a softmax, got Activation"):
        with_sigmoid(model)


@pytest.mark.parametrize(
    ("family", "metric"), [*((family, "map") for family in FAMILIES), ("scratch_keras", "macro_f1")]
)
def test_every_family_is_trained_on_all_labels(family: str, metric: str, config: Config, dogs: Any) -> None:
    _, pictures, _ = dogs
    rows: list[dict[str, Any]] = []
    # The labels of pictures that are mirrored and turned stay beside them.
    more = {"transpose": True, "rotation": 10} if family == "scratch_pillow" else {}
    trained = train(
        family, config(family, label_smoothing=0.1, **more), pictures.without_test(), report=rows.append,
        metric=metric, **COMMON,
    )  # fmt: skip
    assert trained.material.validation is not None
    said = probabilities_of(trained.model, trained.material.validation)
    truth = pictures.labels[pictures.validation]
    assert said.shape == truth.shape
    assert not np.allclose(said.sum(axis=1), 1.0)
    losses = -np.log(np.clip(np.where(truth > 0, said, 1 - said), 1e-7, 1))
    assert rows[-1]["validation_loss"] == pytest.approx(losses.mean(), rel=1e-5)
    assert rows[-1]["validation_accuracy"] == ((said >= 0.5) == (truth > 0)).all(axis=1).mean()
    if metric == "map":
        assert rows[-1]["validation_score"] == pytest.approx(average_precision_score(truth, said))
    cuts = np.array(rows[-1]["held"]["label_thresholds"])
    assert rows[-1]["held"]["pictures"] == len(truth)
    if metric == "macro_f1":
        assert rows[-1]["validation_score"] == pytest.approx(f1_score(truth, said >= cuts, average="macro"), abs=1e-6)
    assert (len(cuts), "temperature" in rows[-1]["held"]) == (3, False)


def test_training_learns_the_labels(config: Config, dogs: Any) -> None:
    _, pictures, _ = dogs
    rows: list[dict[str, Any]] = []
    chosen = config("scratch_keras", batch_norm=True, head="average", learning_rate=3e-3, rotation=0.0, zoom=0.0)
    train("scratch_keras", chosen, pictures.without_test(), report=rows.append, metric="map",
          **{**COMMON, "epochs": 8, "planned": 8})  # fmt: skip
    assert rows[-1]["train_loss"] < 0.75 * rows[0]["train_loss"]
    assert rows[-1]["train_accuracy"] > rows[0]["train_accuracy"]


def test_a_probe_fits_each_label_by_itself() -> None:
    features, classes = clouds(0, count=240)
    # Two labels of the same features: whether it is the first cloud, and whether it is not the second.
    labels = np.stack([classes == 0, classes != 1], axis=1).astype(int)
    solved = solve_labels(features, labels, np.arange(240), seed=0)
    assert (solved.weights.shape, solved.bias.shape, solved.temperature) == ((8, 2), (2,), 1.0)
    assert sorted(solved.places.tolist()) == list(range(240))
    told = average_precision_score(labels[solved.places], solved.probabilities)
    fresh, others = clouds(1, count=3000)
    truth = np.stack([others == 0, others != 1], axis=1).astype(int)
    real = average_precision_score(truth, fresh @ solved.weights + solved.bias)
    assert told == pytest.approx(real, abs=0.05)
    # Probabilities are true: as many as they add up to.
    sure = 1 / (1 + np.exp(-(fresh @ solved.weights + solved.bias)))
    assert sure.mean(axis=0).tolist() == pytest.approx(truth.mean(axis=0).tolist(), abs=0.04)
    mirrored = solve_labels(features, labels, np.arange(240), seed=0, mirrored=features)
    assert len(mirrored.places) == 240


def test_a_label_that_a_fold_lacks_is_no_obstacle() -> None:
    features = np.eye(6, dtype=np.float32)
    labels = np.array([[1, 0], [0, 0], [1, 0], [0, 0], [1, 0], [0, 1]])
    solved = solve_labels(features, labels, np.arange(6), seed=0)
    assert np.isfinite(solved.weights).all()
    logits = features @ solved.weights + solved.bias
    assert logits[labels[:, 0] > 0, 0].min() > logits[labels[:, 0] == 0, 0].max()
    assert logits[:, 1].argmax() == 5


def test_a_probe_is_judged_by_cross_validation_and_exported_with_sigmoids(dogs: Any) -> None:
    _, pictures, _ = dogs
    rows: list[dict[str, Any]] = []
    found = train("mobilenet", PROBE, pictures.without_test(), report=rows.append, metric="map", **COMMON)
    (row,) = rows
    assert (row["epoch"], row["held_out"]) == (1, len(pictures.train) + len(pictures.validation))
    assert 0 < row["validation_score"] <= 1
    model = found.exported()
    stored = np.asarray(found.model(found.material.training(0).take(np.arange(20)), training=False))
    said = probabilities_of(model, Inputs(pictures.pixels(32), pictures.joined().train[:20]))
    np.testing.assert_allclose(said, stored, atol=2e-2)
    assert not np.allclose(said.sum(axis=1), 1.0)


def test_a_final_keeps_the_thresholds_of_its_fold(config: Config, dogs: Any) -> None:
    _, pictures, _ = dogs
    told = play("scratch_keras", config("scratch_keras"), pictures.without_test(), fold=1, metric="macro_f1",
                report=lambda row: None, **COMMON)  # fmt: skip
    assert len(told["held"]["label_thresholds"]) == 3
    assert 0 <= told["score"] <= 1
    assert told["score_loss"] == pytest.approx(told["loss"])


@pytest.fixture(scope="module")
def run(dogs: Any, config: Config) -> Path:
    """The folder of a run of two families, every file of it from real training, without Ray."""
    settings, pictures, split = dogs
    settings.folder.mkdir()
    (settings.folder / "settings.json").write_text(settings.to_json())
    (settings.folder / "split.json").write_text(json.dumps(split))
    journal = Journal(settings.folder / "trials.jsonl")
    small = config("scratch_keras", batch_norm=True, head="average", learning_rate=3e-3)
    for family, chosen in (("scratch_keras", small), ("mobilenet", PROBE)):
        name = f"{family}-000"
        journal.records[name] = Record(name, family, chosen, {})
        journal.start(name)
        told: list[dict[str, Any]] = []
        train(family, chosen, pictures.without_test(), report=told.append, metric="map", **COMMON)
        journal.epochs(name, told)
        journal.end(name, FINISHED, "all epochs")
        held = held_of(journal.read(), name, family)
        for seed in (0, 1) if family == "scratch_keras" else (0,):
            outcome = retrain(family, chosen, pictures, export=seed == 0, report=told.append, held=held,
                              **{**COMMON, "seed": seed})  # fmt: skip
            outcome.keep(settings.folder, journal, family, name)
        keras.backend.clear_session()
    journal.close()
    write_report(settings.folder)
    folder: Path = settings.folder
    return folder


def test_the_figures_are_those_of_scikit_learn_on_the_saved_predictions(run: Path) -> None:
    split, results = read_record(run / "split.json"), json.loads((run / "results.json").read_text())
    truth = truth_of(split, "test")
    assert results["metric"] == "map"
    for family, seeds in (("scratch_keras", (0, 1)), ("mobilenet", (0,))):
        test = results["families"][family]["test"]
        rows = {row["seed"]: row for row in read_rows(run / "trials.jsonl").tests(family)}
        said = {seed: np.load(run / "predictions" / f"{family}-{seed}.npz")["probabilities"] for seed in seeds}
        cuts = {seed: np.array(rows[seed]["label_thresholds"]) for seed in seeds}
        each = [average_precision_score(truth, said[seed]) for seed in seeds]
        assert test["metric"]["value"] == pytest.approx(np.mean(each))
        assert test["metric"]["low"] <= test["metric"]["value"] <= test["metric"]["high"]
        assert [rows[seed]["map"] for seed in seeds] == pytest.approx(each, abs=1e-6)
        assert test["labels"]["by_seed"] == pytest.approx(each)
        f1 = np.mean([f1_score(truth, said[seed] >= cuts[seed], average="macro", zero_division=0) for seed in seeds])
        assert test["labels"]["macro_f1"] == pytest.approx(f1)
        right = np.mean([((said[seed] >= cuts[seed]) == truth).all(axis=1).mean() for seed in seeds])
        assert test["accuracy"] == pytest.approx(right)
        for label, entry in enumerate(test["labels"]["labels"]):
            own = truth[:, label]
            answers = [said[seed][:, label] >= cuts[seed][label] for seed in seeds]
            assert (entry["class"], entry["pictures"]) == (split["classes"][label], own.sum())
            ranked = np.mean([average_precision_score(own, said[seed][:, label]) for seed in seeds])
            assert entry["average_precision"] == pytest.approx(ranked)
            assert entry["recall"] == pytest.approx(np.mean([recall_score(own, one) for one in answers]))
            if entry["precision"] is not None:
                assert entry["precision"] == pytest.approx(np.mean([precision_score(own, one) for one in answers]))
            assert entry["threshold"] == cuts[0][label]
        wrong = np.mean([((said[seed] >= cuts[seed]) != truth).mean() for seed in seeds])
        assert test["labels"]["hamming"] == pytest.approx(wrong)
        assert (test["predictions"], test["gap"]) == (None, None)
    every = np.concatenate([truth_of(split, side) for side in ("train", "validation", "test")]).sum(axis=1)
    assert results["data"]["cardinality"]["mean"] == pytest.approx(every.mean())
    assert results["data"]["cardinality"]["pictures"] == np.bincount(every).tolist()
    assert results["broken"] == []


def test_labels_missed_and_added_together_are_counted(run: Path) -> None:
    split, results = read_record(run / "split.json"), json.loads((run / "results.json").read_text())
    truth = truth_of(split, "test") > 0
    counts: dict[tuple[str, str], int] = {}
    for row in read_rows(run / "trials.jsonl").tests("scratch_keras"):
        said = np.load(run / "predictions" / f"scratch_keras-{row['seed']}.npz")["probabilities"]
        said = said >= np.array(row["label_thresholds"])
        for own, told in zip(truth, said, strict=True):
            for one in np.flatnonzero(own & ~told):
                for other in np.flatnonzero(told & ~own):
                    pair = LABELS[one], LABELS[other]
                    counts[pair] = counts.get(pair, 0) + 1
    found = results["families"]["scratch_keras"]["test"]["labels"]["together"]
    assert {(pair["missed"], pair["added"]): pair["pictures"] for pair in found} == counts


def test_the_kept_mistakes_are_the_pictures_with_a_wrong_label(run: Path) -> None:
    split = read_record(run / "split.json")
    truth = truth_of(split, "test")
    for family in ("scratch_keras", "mobilenet"):
        record = json.loads((run / "mistakes" / f"{family}.json").read_text())
        said = np.load(run / "predictions" / f"{family}-0.npz")["probabilities"]
        cuts = np.array(read_rows(run / "trials.jsonl").tests(family)[0]["label_thresholds"])
        wrong = np.flatnonzero(((said >= cuts) != truth).any(axis=1))
        assert (record["test"], record["wrong"], len(record["mistakes"])) == (
            len(truth),
            len(wrong),
            min(12, len(wrong)),
        )
        for mistake in record["mistakes"]:
            place = mistake["place"]
            missed = np.flatnonzero((truth[place] > 0) & (said[place] < cuts)).tolist()
            added = np.flatnonzero((truth[place] == 0) & (said[place] >= cuts)).tolist()
            assert [label for label, _ in mistake["missed"]] == missed
            assert [label for label, _ in mistake["added"]] == added
            assert (run / "mistakes" / mistake["picture"]).read_bytes()[:2] == b"\xff\xd8"
            nearest = mistake["nearest"]
            assert nearest["labels"] == split[nearest["side"]][nearest["place"]][1]


def test_the_documents_have_sections_of_their_own(run: Path) -> None:
    page, told = (run / "report.html").read_text(), (run / "report.md").read_text()
    count = len(read_record(run / "split.json")["test"])
    assert f"its mAP on {count} test pictures is" in told.split("\n")[2]
    assert "of them are right (95 % interval" in told.split("\n")[2]
    assert "80 pictures with any of 3 labels" in told
    for name in LABELS:
        assert f"| {name} |" in told
    assert "## Labels" in told
    assert "Probabilities drawn by chance would have an mAP of about" in told
    assert "accuracy is the share of pictures all of whose labels are right" in told
    for absent in ("Confusion", "None of these", "Labels to check", "commonest class", "Calibration"):
        assert absent not in told
        assert f"<h3>{absent}" not in page
    assert "Average precision by label" in page


@pytest.mark.slow
def test_the_card_carries_the_thresholds_and_its_code_works(run: Path) -> None:
    model = read_rows(run / "trials.jsonl").model("mobilenet")
    assert model is not None
    card = (run / "models" / "mobilenet.md").read_text()
    with (run / "models" / "mobilenet.labels.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert [line["label"] for line in lines] == list(LABELS)
    assert [float(line["threshold"]) for line in lines] == model["label_thresholds"]
    assert model["told_by"] == "cross-validation"
    sizes = read_record(run / "split.json")["sizes"]
    assert f"told by cross-validation ({sizes['train'] + sizes['validation']} pictures)" in card
    code = "\n".join(line[4:] for line in card.split("\n") if line.startswith("    "))
    split = read_record(run / "split.json")
    name = split["test"][0][0]
    code = code.replace('"picture.jpg"', repr(str(Path(split["root"]) / name)))
    done = subprocess.run([sys.executable, "-c", code], cwd=run / "models", capture_output=True, text=True, check=True)
    (answer,) = predict(run, [str(Path(split["root"]) / name)], family="mobilenet")
    assert done.stdout.strip().split("\n")[-1] == repr(sorted(one["class"] for one in answer["classes"]))


def test_predict_lists_the_labels_that_reach_their_thresholds(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    split = read_record(run / "split.json")
    paths = [str(Path(split["root"]) / name) for name, _ in split["test"]]
    cuts = np.array((read_rows(run / "trials.jsonl").model("mobilenet") or {})["label_thresholds"])
    said = np.load(run / "predictions" / "mobilenet-0.npz")["probabilities"]
    for answer, own in zip(predict(run, paths, family="mobilenet"), said, strict=True):
        # Decoded anew and resized by the model, a probability may differ a little.
        clear = np.abs(own - cuts) > 0.03
        named = np.isin(LABELS, [one["class"] for one in answer["classes"]])
        assert (named == (own >= cuts))[clear].all()
        assert [one["probability"] for one in answer["classes"]] == sorted(
            (one["probability"] for one in answer["classes"]), reverse=True
        )
        assert all(one["probability"] >= one["threshold"] for one in answer["classes"])
    assert results_main(["predict", str(run), paths[0], "--family", "mobilenet", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["picture"] == paths[0]
    assert results_main(["predict", str(run), paths[0], "--coverage", "0.9"]) == 2
    assert "`coverage` needs one class a picture" in capsys.readouterr().err
    assert results_main(["export", str(run), "--format", "litert-int8"]) == 2
    assert "have several labels each" in capsys.readouterr().err


def test_frames_of_answers_name_pictures_without_a_label(run: Path) -> None:
    found = Run(run)
    frame = found.predict(np.zeros((2, 32, 32, 3), np.uint8), family="mobilenet")
    assert set(frame["picture"]) == {0, 1}
    assert set(frame["class"]) <= {*LABELS, NO_LABEL}
    assert (
        found.families.loc["mobilenet", "test_map"] == found.results["families"]["mobilenet"]["test"]["metric"]["value"]
    )


def test_runs_of_several_labels_are_compared(run: Path, tmp_path: Path) -> None:
    page = write_comparison([run, run], tmp_path / "compare.html").read_text()
    assert "The same pictures, split in the same way." in page
    assert "+0.0 points" in page


@pytest.mark.slow
@needs_chromium
def test_the_page_draws_all_of_it_without_an_error(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "report.html"
    copy.write_bytes((run / "report.html").read_bytes())
    script = """
      const images = [...document.querySelectorAll(".mistakes img")];
      document.title = JSON.stringify({
        images: images.length, drawn: images.filter((image) => image.naturalWidth > 0).length,
        plots: [...document.querySelectorAll(".plot")].filter((plot) => plot.querySelector(".main-svg")).length,
        places: document.querySelectorAll(".plot").length,
      });
    """
    seen, console = opened(copy, tmp_path / "profile", script)
    assert console == ""
    title = re.search(r"<title>(.*?)</title>", seen)
    assert title is not None
    told = json.loads(title[1])
    assert told["drawn"] == told["images"] > 0
    assert told["plots"] == told["places"] > 5


def test_a_split_with_other_labels_than_it_says_is_not_used() -> None:
    split = {"classes": ["a", "b"], "multilabel": True, "test": [["x", [0, 1]], ["y", []]]}
    assert split_problem(split) == ""
    assert truth_of(split, "test").tolist() == [[1, 1], [0, 0]]
    assert (
        split_problem({**split, "test": [["x", 0]]})
        == "`test` needs pairs of a name and a list of labels, got ['x', 0]"
    )
    assert (
        split_problem({**split, "test": [["x", [2]]]}) == "`test` needs labels below 2, the number of classes, got [2]"
    )
    assert split_problem({**split, "multilabel": "yes"}) == "`multilabel` needs true or false"
    assert "needs pairs of a name and a label" in split_problem({**split, "multilabel": False})


def test_a_run_whose_rows_lost_their_thresholds_is_not_guessed_at(run: Path, tmp_path: Path) -> None:
    for name in ("settings.json", "split.json"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    rows = [json.loads(line) for line in (run / "trials.jsonl").read_text().splitlines()]
    for row in rows:
        row.pop("label_thresholds", None)
    (tmp_path / "trials.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "mobilenet.keras").write_bytes((run / "models" / "mobilenet.keras").read_bytes())
    write_report(tmp_path)
    assert "The predictions were not saved, so nothing is said by label." in (tmp_path / "report.md").read_text()
    with pytest.raises(
        ValueError, match="needs a threshold for each of 3 labels, and the row of the model of 'mobilenet'"
    ):
        list(predict(tmp_path, [str(tmp_path)]))
