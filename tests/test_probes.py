"""Linear probes: solved, honest about themselves, and one Keras model like any other."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from clouds import clouds
from tiers import tiers

from models.sizes import PARAMETERS, is_probe, sources
from search.data.pictures import Pictures
from search.studies.hyperparameters import TrialHyperParameters, values_to_point
from search.training.latency import measure
from search.training.probes import STRENGTHS, TEMPERATURES, Solved, _close, _softmax, averaged, calibrated, solve
from search.training.retraining import play, retrain
from search.training.trial import Inputs, predict, score, train
from spaces import mobilenet
from spaces.costs import parameters, work

CONFIG = {
    **{"backbone": "MobileNet", "alpha": 0.25, "image_size": 32, "head": "probe", "beside": "none"},
    "unfrozen_blocks": 0,
}
PAIR = {**CONFIG, "beside": "MobileNetV2-0.35"}


def test_what_is_held_out_tells_what_new_pictures_will_show() -> None:
    features, labels = clouds(0)
    solved = solve(features, labels, np.arange(len(labels)), 3, seed=0)
    assert set(solved.strengths) <= set(STRENGTHS)
    assert sorted(solved.places.tolist()) == list(range(120))
    told = score(solved.probabilities, labels[solved.places])[1]
    fresh, truth = clouds(1, count=3000)
    real = ((fresh @ solved.weights + solved.bias).argmax(axis=1) == truth).mean()
    # Two standard errors of a share seen on 120.
    assert abs(told - real) < 2 * (real * (1 - real) / 120) ** 0.5


def test_the_temperature_makes_the_confidence_true() -> None:
    features, labels = clouds(2, count=600, apart=1.0)
    solved = solve(features, labels, np.arange(600), 3, seed=0)
    fresh, truth = clouds(3, count=6000, apart=1.0)
    logits = fresh @ solved.weights + solved.bias
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    sure = (shifted / shifted.sum(axis=1, keepdims=True)).max(axis=1)
    assert abs(float(sure.mean()) - (logits.argmax(axis=1) == truth).mean()) < 0.05


def test_copies_are_never_on_both_sides_of_a_fold() -> None:
    random = np.random.default_rng(4)
    noise = random.normal(size=(40, 16)).astype(np.float32)
    features = np.repeat(noise / np.linalg.norm(noise, axis=1, keepdims=True), 5, axis=0)
    labels = np.repeat(random.integers(0, 4, 40), 5)
    groups = np.repeat(np.arange(40), 5)
    apart = solve(features, labels, groups, 4, seed=0)
    torn = solve(features, labels, np.arange(200), 4, seed=0)
    # There is nothing to learn but the copies.
    assert score(apart.probabilities, labels[apart.places])[1] < 0.5 < score(torn.probabilities, labels[torn.places])[1]


def test_what_cannot_be_told_from_the_lowest_cross_entropy_is_close_to_it() -> None:
    even = np.tile([0.4, 0.6], 50).astype(np.float32)
    # A hundredth worse on average, by chance a tenth a picture: one standard error.
    near = even + np.tile([0.11, -0.09], 50).astype(np.float32)
    assert _close([even + 1, even, near, even + 0.1], 1.1) == [1, 2]
    assert _close([even + 1, even, near, even + 0.1], 0.9) == [1]
    assert _close([even + 1, even + 0.5, even], 3.0) == [2]


def ruled(seed: int, count: int = 400, width: int = 30) -> tuple[Any, Any]:
    """Features of length 1 whose labels follow from a linear rule, without an exception."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(count, width)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return features, (features @ random.normal(size=(width, 3))).argmax(axis=1)


def test_the_mean_of_the_fits_is_handed_over() -> None:
    features, labels = ruled(7)
    solved = solve(features, labels, np.arange(400), 3, seed=0)
    assert len(solved.strengths) > 1
    count = len(solved.strengths)
    fits = [averaged(features, labels, 3, solved.strengths, (t,) * count) for t in (1.0, 2.0)]
    np.testing.assert_allclose(fits[0][0], 2 * fits[1][0], rtol=1e-5, atol=1e-6)
    whole = averaged(features, labels, 3, solved.strengths, solved.temperatures)
    np.testing.assert_allclose(solved.weights, whole[0], rtol=1e-5, atol=1e-6)
    # Their temperatures bring fits of any strength to one scale.
    each = zip(solved.strengths, solved.temperatures, strict=True)
    sizes = [np.abs(averaged(features, labels, 3, (s,), (t,))[0]).mean() for s, t in each]
    assert max(sizes) < 3 * min(sizes)


def test_the_temperature_is_the_best_of_all() -> None:
    random = np.random.default_rng(8)
    for scale in (0.01, 0.3, 1.0, 4.0, 100.0):
        logits = (scale * random.normal(size=(300, 4))).astype(np.float32)
        truth = np.where(random.random(300) < 0.7, logits.argmax(axis=1), random.integers(0, 4, 300))
        losses = [score(_softmax(logits / t), truth)[0] for t in TEMPERATURES]
        assert calibrated(logits, truth) == (float(TEMPERATURES[int(np.argmin(losses))]), min(losses))


def test_wrong_labels_want_a_strong_penalty_and_right_ones_a_weak() -> None:
    features, labels = ruled(5)
    wrong = np.where(np.random.default_rng(5).random(400) < 0.3, (labels + 1) % 3, labels)
    strong, weak = (solve(features, given, np.arange(400), 3, seed=0).strength for given in (wrong, labels))
    assert strong < weak


def test_mirror_images_are_learnt_from_and_not_scored() -> None:
    features, labels = clouds(6)
    turned = features[:, ::-1].copy()
    both = solve(features, labels, np.arange(120), 3, seed=0, mirrored=turned)
    assert sorted(both.places.tolist()) == list(range(120))
    alone = solve(features, labels, np.arange(120), 3, seed=0)

    def named(solved: Solved, given: Any) -> float:
        return float(((given @ solved.weights + solved.bias).argmax(axis=1) == labels).mean())

    assert named(both, turned) > 0.7 > named(alone, turned)


@pytest.mark.parametrize("labels", [np.array([0, 1]), np.array([0, 1, 1]), np.array([2, 2, 2, 2])])
def test_a_handful_of_pictures_is_solved_all_the_same(labels: Any) -> None:
    features = np.eye(len(labels), 6, dtype=np.float32)
    solved = solve(features, labels, np.zeros(len(labels), np.int64), 3, seed=0)
    answers = (features @ solved.weights + solved.bias).argmax(axis=1)
    assert answers.tolist() == labels.tolist()


def rows_of(config: dict[str, Any], pictures: Pictures) -> tuple[Any, dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    found = train(
        "mobilenet", config, pictures, seed=0, epochs=1, planned=1, most_views=2, threads=1, report=rows.append
    )
    (row,) = rows
    return found, row


def test_a_search_hears_of_every_train_and_validation_picture_by_a_fit_without_it(pictures: Pictures) -> None:
    _, row = rows_of(CONFIG, pictures.without_test())
    assert (row["epoch"], row["held_out"]) == (1, 76)
    assert 0 < row["validation_accuracy"] <= 1
    assert STRENGTHS[0] <= row["strength"] <= STRENGTHS[-1]
    assert row["parameters"] == parameters("mobilenet", CONFIG, 4) == PARAMETERS["MobileNet", 0.25] + 257 * 4


def test_a_final_scores_the_fold_that_is_left_out(pictures: Pictures) -> None:
    left_out = pictures.without_test().fold(2, 5)
    _, row = rows_of(CONFIG, left_out)
    assert "held_out" not in row
    whole = play(
        "mobilenet", CONFIG, pictures.without_test(), fold=2, seed=0, epochs=1, planned=1, most_views=2, threads=1,
        report=lambda row: None,
    )  # fmt: skip
    assert whole["pictures"] == len(left_out.validation) == 15
    assert (whole["accuracy"], whole["loss"]) == (row["validation_accuracy"], row["validation_loss"])


@pytest.mark.parametrize("config", tiers([CONFIG, PAIR], CONFIG))
def test_the_model_says_what_the_features_say(config: dict[str, Any], pictures: Pictures) -> None:
    found, _ = rows_of(config, pictures.joined())
    model = found.exported()
    raw = pictures.pixels(32)
    stored = np.asarray(found.model(found.material.training(0).take(np.arange(76)), training=False))
    # Features are stored in float16.
    np.testing.assert_allclose(predict(model, Inputs(raw, pictures.joined().train)), stored, atol=2e-2)
    assert model.count_params() == parameters("mobilenet", config, 4)


def test_a_probe_is_handed_over_like_any_other_model(pictures: Pictures) -> None:
    outcome = retrain(
        "mobilenet", PAIR, pictures, seed=0, epochs=1, planned=1, most_views=2, threads=1, export=True,
        report=lambda row: None,
    )  # fmt: skip
    assert outcome.model is not None
    assert (outcome.row["epochs"], outcome.row["pictures"]) == (1, 20)
    assert outcome.latency["latency_one"] > 0
    assert measure("mobilenet", PAIR, pictures, 1)["parameters"] == outcome.parameters


def test_what_is_known_of_a_probe_without_building_it() -> None:
    assert is_probe(PAIR)
    assert not is_probe({**PAIR, "head": "trained"})
    assert sources(PAIR) == (("MobileNet", 0.25, 32), ("MobileNetV2", 0.35, 32))
    assert work("mobilenet", PAIR) == 1.0


def test_all_probes_are_points_of_the_space_the_largest_size_first() -> None:
    backbones = (("MobileNet", 1.0), ("MobileNetV2", 1.0))
    points = mobilenet.probes((96, 160, 224), backbones)
    named = [
        (point["image_size"], point["backbone"], point.get("beside"), point.get("mirrored", False)) for point in points
    ]
    assert named[:7] == [
        (224, "MobileNet-1.0", None, False),
        (224, "MobileNetV2-1.0", None, False),
        (224, "MobileNetV2-1.0", "MobileNet-1.0", False),
        (224, "MobileNetV2-1.0", "MobileNet-1.0", True),
        (224, "MobileNet-1.0", None, True),
        (224, "MobileNetV2-1.0", None, True),
        (160, "MobileNet-1.0", None, False),
    ]
    assert len(set(named)) == 18
    # Those come before whatever is trained; narrow trunks wait.
    narrow = mobilenet.probes((96, 160, 224), (("MobileNet", 0.25), *backbones))
    assert len(narrow) == 36
    assert mobilenet.leading(narrow) == list(narrow[:6]) == list(points[:6])

    def space(hp: Any) -> Any:
        return mobilenet.space(hp, image_sizes=(96, 160, 224), backbones=backbones, probed=True)

    for point in points:
        assert is_probe(space(TrialHyperParameters(values=values_to_point(space, point))))
    assert space(TrialHyperParameters())["head"] == "trained"


def test_folds_of_pictures_divide_train_and_validation_anew(pictures: Pictures, config: Callable[..., Any]) -> None:
    parts = [pictures.fold(number, 5) for number in range(5)]
    np.testing.assert_array_equal(parts[0].validation, pictures.validation)
    every = np.concatenate([part.validation for part in parts])
    np.testing.assert_array_equal(np.sort(every), np.sort(pictures.joined().train))
    for part in parts:
        assert not set(part.train.tolist()) & set(part.validation.tolist())
        assert len(part.train) + len(part.validation) == 76
    # A fine-tuned trunk reads the activations that the search has stored of the two sides.
    tuned = config("mobilenet", image_size=32)
    small = replace(pictures, weights={("MobileNet", 0.25): None})
    rows: list[dict[str, Any]] = []
    train(
        "mobilenet", tuned, small.fold(1, 5), seed=0, epochs=1, planned=1, most_views=1, threads=1,
        report=rows.append,
    )  # fmt: skip
    assert 0 <= rows[0]["validation_accuracy"] <= 1
