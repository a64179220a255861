"""The metrics that a search may be judged by: scikit-learn's values, honest errors, one direction inside."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    f1_score,
    log_loss,
    roc_auc_score,
    top_k_accuracy_score,
)

from results.analysis.metrics import METRICS, interval, judged, score, shown, standard_error, tie_loss

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


def drawn(count: int, classes: int, seed: int, clear: float = 1.5) -> tuple[Floats, Labels]:
    """Probabilities that tell something of uneven labels."""
    random = np.random.default_rng(seed)
    weights = np.arange(1, classes + 1) ** 1.5
    truth = random.choice(classes, count, p=weights / weights.sum())
    logits = random.normal(size=(count, classes)) + clear * np.eye(classes)[truth]
    found = np.exp(logits)
    return found / found.sum(axis=1, keepdims=True), truth


@pytest.mark.parametrize("classes", [2, 7])
def test_values_are_those_of_scikit_learn(classes: int) -> None:
    probabilities, truth = drawn(300, classes, 1)
    said, labels = probabilities.argmax(axis=1), list(range(classes))
    area = probabilities[:, 1] if classes == 2 else probabilities
    expected = {
        "accuracy": accuracy_score(truth, said),
        "balanced_accuracy": balanced_accuracy_score(truth, said),
        "macro_f1": f1_score(truth, said, average="macro"),
        "auc": roc_auc_score(truth, area, multi_class="ovr"),
        "log_loss": log_loss(truth, probabilities, labels=labels),
    }
    if classes > 5:
        expected["top5"] = top_k_accuracy_score(truth, probabilities, k=5, labels=labels)
    found = {name: shown(name, score(name, probabilities, truth)) for name in expected}
    assert found == pytest.approx(expected)


def test_a_picture_drawn_twice_counts_twice() -> None:
    probabilities, truth = drawn(60, 6, 2)
    probabilities = probabilities.round(2)
    counts = np.random.default_rng(3).integers(0, 3, 60)
    again = np.repeat(np.arange(60), counts)
    for name in METRICS:
        expected = score(name, probabilities[again], truth[again])
        assert score(name, probabilities, truth, counts.astype(float)) == pytest.approx(expected), name


def test_ties_among_the_five_likeliest_are_broken_as_scikit_learn_does() -> None:
    probabilities = np.full((7, 7), 1 / 7)
    truth = np.arange(7)
    assert score("top5", probabilities, truth) == pytest.approx(5 / 7)
    assert top_k_accuracy_score(truth, probabilities, k=5) == pytest.approx(5 / 7)


@pytest.mark.parametrize("name", list(METRICS))
def test_the_standard_error_is_that_of_a_bootstrap(name: str) -> None:
    probabilities, truth = drawn(500, 7, 4)
    random = np.random.default_rng(5)
    draws = [np.bincount(random.integers(0, 500, 500), minlength=500).astype(float) for _ in range(400)]
    bootstrapped = np.std([score(name, probabilities, truth, counts) for counts in draws])
    assert standard_error(name, probabilities, truth) == pytest.approx(bootstrapped, rel=0.2)


def test_a_score_is_higher_for_the_better_and_shown_as_usual() -> None:
    vague, truth = drawn(200, 6, 6, clear=0.3)
    sure, _ = drawn(200, 6, 6, clear=4.0)
    assert all(score(name, sure, truth) > score(name, vague, truth) for name in METRICS)
    assert score("log_loss", sure, truth) < 0
    assert shown("log_loss", -0.25) == 0.25
    assert shown("macro_f1", 0.25) == 0.25
    assert shown("auc", None) is None


def test_rare_classes_count_alike_where_the_metric_has_it_so() -> None:
    probabilities = np.array([[0.9, 0.1]] * 9 + [[0.8, 0.2]])
    truth = np.array([0] * 9 + [1])
    common, rare = -np.log(0.9), -np.log(0.2)
    assert score("accuracy", probabilities, truth) == 0.9
    assert score("balanced_accuracy", probabilities, truth) == 0.5
    assert score("macro_f1", probabilities, truth) == pytest.approx(18 / 19 / 2)
    assert tie_loss("macro_f1", probabilities, truth) == pytest.approx((common + rare) / 2)
    assert tie_loss("auc", probabilities, truth) == pytest.approx((9 * common + rare) / 10)


def test_one_class_alone_and_no_mistake_give_no_nonsense() -> None:
    alone = np.array([[0.7, 0.3], [0.6, 0.4]])
    assert score("auc", alone, np.array([0, 0])) == 0.5
    assert standard_error("auc", alone, np.array([0, 0])) == 0.25
    perfect = np.eye(3)[[0, 1, 2, 0]]
    assert standard_error("macro_f1", perfect, np.array([0, 1, 2, 0])) == 0.125


def test_rows_say_nothing_more_where_accuracy_is_the_metric() -> None:
    probabilities, truth = drawn(40, 3, 7)
    assert judged("accuracy", probabilities, truth, "validation_") == {}
    found = judged("macro_f1", probabilities, truth, "validation_")
    assert list(found) == ["validation_score", "validation_score_error", "validation_score_loss"]


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    everything, labels = drawn(20000, 4, 8)
    whole = score("macro_f1", everything, labels)
    random = np.random.default_rng(9)
    inside = 0
    for _ in range(40):
        some = random.choice(20000, 200, replace=False)
        mean, low, high = interval("macro_f1", [everything[some]], labels[some])
        assert low <= mean <= high
        inside += low <= whole <= high
    assert inside >= 34


def test_the_interval_covers_seeds_and_shows_the_usual_sign() -> None:
    good, truth = drawn(300, 3, 10, clear=4.0)
    bad, _ = drawn(300, 3, 11, clear=0.0)
    mean, low, high = interval("log_loss", [good, good], truth)
    assert 0 < low < mean < high
    _, lower, higher = interval("log_loss", [good, bad], truth)
    assert higher - lower > 2 * (high - low)
