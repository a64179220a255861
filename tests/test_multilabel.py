"""Metrics, thresholds and stratification of several labels a picture, by scikit-learn's and by hand."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, log_loss

from results.analysis.metrics import interval, judged, score, standard_error, tie_loss
from results.analysis.multilabel import average_precisions, decided, exact, fitted_thresholds
from search.data.folds import folds
from search.data.label_sets import check_sides
from search.data.split import split_pictures


def drawn(pictures: int, labels: int, seed: int, clear: float = 1.5) -> tuple[Any, Any]:
    """Probabilities that are the surer the clearer, and truth, every label of which some pictures have."""
    random = np.random.default_rng(seed)
    truth = (random.random((pictures, labels)) < np.linspace(0.15, 0.6, labels)).astype(int)
    logits = clear * (2 * truth - 1) + random.normal(size=truth.shape) - 0.3
    return 1 / (1 + np.exp(-logits)), truth


def test_values_are_those_of_scikit_learn() -> None:
    probabilities, truth = drawn(200, 5, 1)
    each = [average_precision_score(truth[:, label], probabilities[:, label]) for label in range(5)]
    assert average_precisions(probabilities, truth, np.ones(200)).tolist() == pytest.approx(each)
    assert score("map", probabilities, truth) == pytest.approx(average_precision_score(truth, probabilities))
    said = (probabilities >= 0.5).astype(int)
    assert score("macro_f1", probabilities, truth) == pytest.approx(f1_score(truth, said, average="macro"))
    assert exact(probabilities, truth) == accuracy_score(truth, said)
    losses = [log_loss(truth[:, label], probabilities[:, label]) for label in range(5)]
    assert tie_loss("map", probabilities, truth) == pytest.approx(np.mean(losses))


def test_equal_probabilities_come_in_together_as_scikit_learn_has_it() -> None:
    probabilities, truth = drawn(120, 3, 2)
    rough = probabilities.round(1)
    expected = average_precision_score(truth, rough)
    assert score("map", rough, truth) == pytest.approx(expected)
    order = np.random.default_rng(0).permutation(120)
    assert score("map", rough[order], truth[order]) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["map", "macro_f1"])
def test_the_standard_error_is_that_of_a_bootstrap(name: str) -> None:
    probabilities, truth = drawn(400, 4, 3)
    random = np.random.default_rng(4)
    draws = [np.bincount(random.integers(0, 400, 400), minlength=400).astype(float) for _ in range(400)]
    spread = np.std([score(name, probabilities, truth, counts) for counts in draws])
    assert standard_error(name, probabilities, truth) == pytest.approx(spread, rel=0.2)


@pytest.mark.parametrize("name", ["map", "macro_f1"])
def test_a_picture_drawn_twice_counts_twice(name: str) -> None:
    probabilities, truth = drawn(60, 3, 5)
    probabilities = probabilities.round(2)
    counts = np.random.default_rng(6).integers(0, 3, 60)
    again = np.repeat(np.arange(60), counts)
    expected = score(name, probabilities[again], truth[again])
    assert score(name, probabilities, truth, counts.astype(float)) == pytest.approx(expected)


def test_a_label_that_nobody_has_is_left_out_of_the_mean() -> None:
    truth = np.array([[1, 0], [0, 0], [1, 0]])
    probabilities = np.array([[0.9, 0.2], [0.8, 0.1], [0.3, 0.1]])
    assert np.isnan(average_precisions(probabilities, truth, np.ones(3))[1])
    assert score("map", probabilities, truth) == pytest.approx((1 + 2 / 3) / 2)
    assert score("macro_f1", probabilities, truth) == pytest.approx(0.5)
    assert score("map", probabilities, np.zeros((3, 2), int)) == 0.0


def test_a_threshold_has_the_highest_f1_and_is_the_nearest_to_a_half_of_those() -> None:
    probabilities, truth = drawn(90, 4, 7, clear=0.8)
    cuts = fitted_thresholds(probabilities, truth)
    for label, cut in enumerate(cuts):
        own = truth[:, label]
        best = max(f1_score(own, probabilities[:, label] >= other) for other in np.linspace(0, 1, 500))
        assert f1_score(own, probabilities[:, label] >= cut) >= best - 1e-9
    # Anything between 0.2 and 0.9 parts these rightly.
    assert fitted_thresholds(np.array([[0.2], [0.9]]), np.array([[0], [1]])).tolist() == [0.55]
    # Where nothing can be told, a half stays.
    assert fitted_thresholds(np.array([[0.2, 0.4], [0.9, 0.3]]), np.array([[1, 0], [1, 0]])).tolist() == [0.5, 0.5]
    assert decided(np.array([[0.5, 0.4]]), np.array([0.5, 0.5])).tolist() == [[1.0, 0.0]]


def test_rows_are_judged_at_thresholds_fitted_to_them_by_f1_alone() -> None:
    # All say too little, in the right order.
    truth = np.array([[1, 0], [0, 1], [0, 0], [1, 1]])
    probabilities = np.where(truth > 0, 0.3, 0.1)
    assert exact(probabilities, truth) == 0.25
    assert judged("macro_f1", probabilities, truth)["score"] == 1.0
    assert judged("map", probabilities, truth, "validation_")["validation_score"] == 1.0
    assert score("macro_f1", probabilities, truth) == 0.0
    assert judged("accuracy", probabilities, truth) == {}


def test_the_interval_covers_the_mean_of_the_seeds() -> None:
    good, truth = drawn(150, 3, 8, clear=2.0)
    bad, _ = drawn(150, 3, 9, clear=0.1)
    mean, low, high = interval("map", [good], truth)
    assert low <= mean <= high
    assert mean == pytest.approx(score("map", good, truth))
    _, lower, higher = interval("map", [good, bad], truth)
    assert higher - lower > high - low


def test_map_of_one_class_a_picture_sets_each_class_against_the_rest() -> None:
    random = np.random.default_rng(10)
    truth = random.integers(0, 3, 80)
    probabilities = random.dirichlet(np.ones(3), 80)
    expected = average_precision_score(np.eye(3)[truth], probabilities)
    assert score("map", probabilities, truth) == pytest.approx(expected)


def shares_of(labels: Any, *sides: Any) -> Any:
    return np.array([labels[side].mean(axis=0) for side in sides])


def test_every_label_is_divided_alike() -> None:
    random = np.random.default_rng(11)
    # Labels that come together, and rare ones.
    one = random.random(500) < 0.5
    labels = np.stack([one, one & (random.random(500) < 0.7), random.random(500) < 0.04], axis=1).astype(int)
    split = split_pictures(labels, np.arange(500), None, ("a", "b", "c"))
    assert np.sort(np.concatenate([split.train, split.validation, split.test])).tolist() == list(range(500))
    assert list(map(len, (split.train, split.validation, split.test))) == [320, 80, 100]
    having = [labels[side].sum(axis=0) for side in (split.train, split.validation, split.test)]
    wanted = np.outer((0.64, 0.16, 0.2), labels.sum(axis=0))
    assert np.abs(np.array(having) - wanted).max() <= 2
    same, other = (split_pictures(labels, np.arange(500), None, ("a", "b", "c"), seed=seed) for seed in (0, 1))
    assert same.test.tolist() == split.test.tolist() != other.test.tolist()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 5), st.integers(60, 150))
def test_groups_stay_on_one_side_and_labels_on_all(seed: int, number: int, pictures: int) -> None:
    random = np.random.default_rng(seed)
    labels = (random.random((pictures, number)) < 0.4).astype(int)
    groups = random.integers(0, pictures // 2, pictures)
    split = split_pictures(labels, groups, None, [str(label) for label in range(number)], seed=seed)
    sides = (split.train, split.validation, split.test)
    assert sum(map(len, sides)) == pictures
    held = [set(groups[side].tolist()) for side in sides]
    assert len(set.union(*held)) == sum(map(len, held))
    assert all(labels[side].any(axis=0).all() for side in sides)


def test_folds_hold_each_label_as_often_and_no_group_twice() -> None:
    random = np.random.default_rng(12)
    labels = (random.random((300, 4)) < [0.5, 0.3, 0.1, 0.05]).astype(int)
    groups = np.arange(300) // 2
    found = folds(labels, groups, 5, seed=3)
    assert (found[::2] == found[1::2]).all()
    counts = np.array([labels[found == fold].sum(axis=0) for fold in range(5)])
    assert (counts.max(axis=0) - counts.min(axis=0)).max() <= 4
    assert np.bincount(found).tolist() == pytest.approx([60] * 5, abs=4)
    assert found.tolist() == folds(labels, groups, 5, seed=3).tolist()


def test_a_side_without_a_label_is_refused_with_the_ways_out() -> None:
    labels = np.array([[1, 0]] * 6 + [[1, 1]] * 2 + [[0, 0]] * 4)
    message = (
        r"needs every label on a picture of its own in train, validation and test, and .* has none with `tail` \(2\), "
        r"pictures on all sides in brackets: add pictures, or leave the label out with --exclude tail"
    )
    with pytest.raises(ValueError, match=message):
        split_pictures(labels, np.arange(12), None, ("ears", "tail"))
    sides = ["train"] * 7 + ["validation", "test", "train", "validation", "test"]
    with pytest.raises(ValueError, match=r"and test has none with `ears` \(8\), `tail` \(2\), .* anew with --resplit"):
        split_pictures(labels, np.arange(12), sides, ("ears", "tail"))


def test_a_label_that_all_training_pictures_have_is_refused() -> None:
    labels = np.array([[1, 1], [1, 0], [1, 1], [0, 1]])
    with pytest.raises(ValueError, match=r"and all 2 have `ears`: cut the sides anew with --resplit, or leave it out"):
        check_sides(labels, ("ears", "tail"), np.array([0, 1]), np.array([2]), np.array([2, 3]), own=True)


def test_copies_of_other_labels_are_told() -> None:
    labels = np.array([[1, 0], [0, 1]] * 10)
    groups = np.arange(20)
    groups[1] = 0
    assert split_pictures(labels, groups, None, ("a", "b")).notes == (
        "nearly the same picture under different labels: 1",
    )
