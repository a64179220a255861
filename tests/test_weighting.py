"""Imbalanced data: rare classes may count more, focal loss is a choice, and balanced data changes nothing."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from written_run import write_run

from models.weighting import class_weights, of_pictures
from results.analysis.numbers import imbalanced
from results.analysis.verdict import weighted
from results.pages.document import write_report
from search.run import check_balanced, weighs
from search.settings import Settings
from search.starting import continued
from search.studies.hyperparameters import TrialHyperParameters, distributions
from search.studies.spaces import spaces_of
from search.studies.study import studies_of
from search.training.probes import solve
from search.training.weights import Weights
from spaces import FAMILIES, mobilenet
from tests.benchmarks import imbalance

WEIGHTS = (Weights("MobileNet", 0.25, None, "random-0"),)


def test_the_power_says_how_much_a_rare_class_counts() -> None:
    labels = np.array([0] * 16 + [1] * 4, np.int64)
    assert class_weights(labels, 3, 0.0).tolist() == [1.0, 1.0, 0.0]
    assert class_weights(labels, 3, 1.0) == pytest.approx([0.625, 2.5, 0.0])
    half = class_weights(labels, 2, 0.5)
    assert half[1] / half[0] == pytest.approx(2.0)
    assert 16 * half[0] + 4 * half[1] == pytest.approx(20)
    assert of_pictures(labels, 2, 0.0) is None
    assert of_pictures(labels, 2, None) is None
    found = of_pictures(labels, 2, 1.0)
    assert found is not None
    assert found[[0, 19]] == pytest.approx([0.625, 2.5])


def test_data_is_imbalanced_beyond_one_and_a_half_to_one() -> None:
    assert [imbalanced(counts) for counts in ([15, 10], [16, 10], [5, 0], [], [7])] == [False, True, True, False, False]
    split: dict[str, Any] = {
        "classes": ["a", "b"],
        "train": [["x", 0]] * 8 + [["y", 1]] * 5,
        "validation": [],
        "test": [],
    }
    assert weighs(Settings(), split)
    assert not weighs(Settings(class_weights="none"), split)
    assert not weighs(Settings(), {**split, "train": split["train"][1:]})


@pytest.mark.parametrize("family", FAMILIES)
def test_only_the_spaces_of_imbalanced_data_have_something_to_weigh(family: str) -> None:
    bound: dict[str, Any] = {"image_sizes": (64,)} | (
        {"backbones": (("MobileNet", 1.0),)} if family == "mobilenet" else {}
    )
    plain, other = (partial(FAMILIES[family].space, **bound, **more) for more in ({}, {"weighted": True}))
    base, weighed = plain(TrialHyperParameters()), other(TrialHyperParameters())
    assert weighed == {**base, "class_weight_power": 0.0, "loss": "crossentropy"}
    assert set(distributions(other, {})) - set(distributions(plain, {})) == {"class_weight_power", "loss"}


def test_every_probe_is_tried_with_every_power() -> None:
    plain = mobilenet.probes((64, 96), (("MobileNet", 1.0), ("MobileNetV2", 1.0)))
    found = mobilenet.probes((64, 96), (("MobileNet", 1.0), ("MobileNetV2", 1.0)), weighted=True)
    assert len(found) == 3 * len(plain)
    # One after the other, since the features are the same.
    assert [point.get("class_weight_power", 0.0) for point in found] == [0.0, 0.5, 1.0] * len(plain)
    study = studies_of(Settings(trials=1, image_sizes=(64,), families=("mobilenet",)), WEIGHTS, weighted=True)[
        "mobilenet"
    ]
    drawn = [study.suggest(f"mobilenet-{number:03d}")[0] for number in range(7)]
    powers = [config["class_weight_power"] for config in drawn if config["head"] == "probe"]
    assert powers == [0.0, 0.5, 1.0] * 2


def test_a_probe_that_weighs_names_the_rare_class_more_often() -> None:
    random = np.random.default_rng(0)
    labels = np.array([0] * 180 + [1] * 20, np.int64)
    features = random.normal(size=(200, 4)).astype(np.float32)
    features[:, 0] += labels * 1.2
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    named = [
        int((solve(features, labels, np.arange(200), 2, seed=0, power=power).probabilities.argmax(axis=1) == 1).sum())
        for power in (0.0, 1.0)
    ]
    assert named[1] > named[0] + 20


def test_narrowing_what_balanced_data_does_not_have_is_refused() -> None:
    settings = Settings(set=("class_weight_power=1",), families=("scratch_keras",))
    assert "class_weight_power" in str(spaces_of(settings, (), weighted=True)["scratch_keras"][0].rules)  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"class_weight_power.*; the training pictures are balanced"):
        check_balanced(settings, ())


def test_a_run_from_before_there_was_a_choice_goes_on_as_it_began(tmp_path: Path) -> None:
    old = {
        key: value for key, value in json.loads(Settings().to_json()).items() if key not in ("class_weights", "metric")
    }
    for name, record in (("old", old), ("new", json.loads(Settings().to_json()))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "settings.json").write_text(json.dumps(record))
    found = [continued(tmp_path / name, {}) for name in ("old", "new")]
    assert [(settings.class_weights, settings.metric) for settings in found] == [
        ("none", "accuracy"),
        ("auto", "accuracy"),
    ]
    with pytest.raises(ValueError, match="`metric` needs the value that the run was begun with, 'accuracy', got 'auc'"):
        continued(tmp_path / "old", {"metric": "auc"})


def test_the_report_says_what_the_search_did_about_it() -> None:
    counts = [{"class": "cat", "train": 40}, {"class": "dog", "train": 10}]
    best = {"config": {"class_weight_power": 0.5, "loss": "focal"}}
    summary = {
        "weighted": True,
        "data": {"counts": counts},
        "families": {"a": {"best": best}},
        "winner": "a",
        "metric": "auc",
    }
    assert weighted(summary) == (
        "The training pictures are imbalanced: 40 of the commonest class, 10 of the rarest. Accuracy counts pictures "
        "and so leans to the common classes. The search chose how much rare classes count (--class-weights): the "
        "winner's pictures count by the class counts to the power of \N{MINUS SIGN}0.5, with focal loss."
    )
    assert weighted({**summary, "metric": "accuracy"}).endswith(
        "--metric macro_f1 or balanced_accuracy judge all classes alike."
    )
    assert weighted({**summary, "weighted": False}) == ""


def test_focal_loss_and_weights_train_and_leave_the_figures_as_they_are() -> None:
    import keras

    from models.compiling import compile_model

    config = {"optimizer": "adam", "learning_rate": 1e-3, "schedule": "constant", "weight_decay": 0.0,
              "label_smoothing": 0.0}  # fmt: skip
    inputs, labels = np.ones((4, 2), np.float32), np.eye(2, dtype=np.float32)[[0, 0, 0, 1]]
    logs = []
    for loss in ("crossentropy", "focal"):
        dense = keras.layers.Dense(2, activation="softmax", kernel_initializer="zeros", bias_initializer="zeros")
        model = keras.Sequential([keras.Input((2,)), dense])
        compile_model(model, {**config, "loss": loss}, steps=1, epochs=1)
        weights = np.array([0.5, 0.5, 0.5, 2.5], np.float32)
        logs.append(model.train_on_batch(inputs, labels, sample_weight=weights, return_dict=True))
    found = [{key: float(value) for key, value in one.items()} for one in logs]
    entropy = float(np.log(2))
    # At a probability of a half focal loss is a quarter of the cross-entropy; weights change neither figure.
    assert [one["loss"] for one in found] == pytest.approx([entropy, entropy / 4], rel=1e-4)
    assert [one["crossentropy"] for one in found] == pytest.approx([entropy, entropy], rel=1e-4)
    assert [one["accuracy"] for one in found] == [0.75, 0.75]


def test_the_benchmark_cuts_classes_and_pairs_by_seed(tmp_path: Path) -> None:
    for name in ("ant", "bee", "cat"):
        (tmp_path / "all" / name).mkdir(parents=True)
        for number in range(8):
            (tmp_path / "all" / name / f"{number}.png").write_bytes(b"picture")
    counts = imbalance.cut(tmp_path / "all", 1, tmp_path / "cut", fewest=2, step=3)
    assert sorted(counts.values()) == [2, 5, 8]
    assert {name: len(list((tmp_path / "cut" / name).iterdir())) for name in counts} == counts
    with pytest.raises(ValueError, match=r"needs 10 pictures of a class .*, got 8 in "):
        imbalance.cut(tmp_path / "all", 0, tmp_path / "again", fewest=10, step=0)
    plain, weighed = {"macro_f1": 0.5, "accuracy": 0.75}, {"macro_f1": 0.75, "accuracy": 0.5}
    found = imbalance.differences([{"plain": plain, "weighed": weighed}, {"plain": plain, "weighed": plain}])
    assert (found["macro_f1"]["mean"], found["accuracy"]["mean"]) == (0.125, -0.125)
    assert found["macro_f1"]["low"] < 0 < found["macro_f1"]["high"]


def test_the_benchmark_reads_what_a_winner_reached(tmp_path: Path) -> None:
    write_run(tmp_path / "run", trials=3, epochs=2, families=("mobilenet",), pictures=5)
    write_report(tmp_path / "run")
    found = imbalance.reached(tmp_path / "run")
    assert (found["winner"], found["pictures"], found["class_weight_power"]) == ("mobilenet", 50, None)
    assert 0.5 < found["macro_f1"] <= 1
