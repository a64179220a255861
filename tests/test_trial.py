"""One trial as an ordinary function: its rows, its randomness, and what it trains on."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiers import tiers

from search.data.pictures import Pictures
from search.training.trial import PARTS, Clock, Diverged, Inputs, Trained, predict, score, train
from spaces import FAMILIES

Config = Callable[..., dict[str, Any]]
Row = dict[str, Any]


def trained(
    family: str, config: dict[str, Any], pictures: Pictures, *, seed: int = 0, epochs: int = 2, most_views: int = 2
) -> tuple[Trained, list[Row]]:
    rows: list[Row] = []
    result = train(
        family, config, pictures, seed=seed, epochs=epochs, planned=epochs, most_views=most_views, threads=1,
        report=rows.append,
    )  # fmt: skip
    return result, rows


def figures(rows: list[Row]) -> list[tuple[float, ...]]:
    names = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy")
    return [tuple(row[name] for name in names) for row in rows]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_per_epoch(family: str, config: Config, pictures: Pictures) -> None:
    result, rows = trained(family, config(family), pictures.without_test())
    # What validation says of the confidence belongs to the last epoch.
    assert (["held" in row for row in rows], rows[-1].get("held", {}).get("pictures")) == ([False, True], 16)
    assert [[key for key in row if key != "held"] for row in rows] == [
        [
            *("epoch", "parameters", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy"),
            *("seconds", "waiting", "building", "training", "validating"),
        ]
    ] * 2
    assert [row["epoch"] for row in rows] == [1, 2]
    assert all(0 <= row["validation_accuracy"] <= 1 for row in rows)
    assert all(row["seconds"] == pytest.approx(sum(row[part] for part in PARTS), abs=1e-3) for row in rows)
    assert rows[0]["building"] > 0
    assert rows[1]["building"] == 0
    assert result.exported().count_params() == rows[0]["parameters"]


@pytest.mark.parametrize("family", tiers(FAMILIES, "scratch_keras"))
def test_the_seed_decides(family: str, config: Config, pictures: Pictures) -> None:
    values = {"dropout": 0.3} | ({"augmentation": "light", "unfrozen_blocks": 2} if family == "mobilenet" else {})
    one, same, other = (
        trained(family, config(family, **values), pictures, seed=seed, epochs=1)[1] for seed in (1, 1, 2)
    )
    np.testing.assert_allclose(figures(one), figures(same), rtol=1e-4)
    assert figures(one) != figures(other)


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        # A model that may be handed over stands before the row that says how good it is.
        (True, ["checkpoint 1", "row 1", "checkpoint 2", "row 2", "checkpoint 2", "checkpoint 3", "row 3"]),
        (False, ["row 1", "checkpoint 1", "row 2", "checkpoint 2", "row 3"]),
    ],
)
def test_a_checkpoint_is_made_whenever_so_much_time_has_gone_by(
    last: bool, expected: list[str], config: Config, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.training.trial.KEPT_SECONDS", 0.0)
    said: list[str] = []

    def keep(content: bytes) -> None:
        with np.load(BytesIO(content)) as packed:
            said.append(f"checkpoint {json.loads(packed['about'].tobytes())['epoch']}")

    train(
        "scratch_keras", config("scratch_keras"), pictures, seed=1, epochs=3, planned=3, most_views=1, threads=1,
        report=lambda row: said.append(f"row {row['epoch']}"), rungs=(2,), keep=keep, last=last,
    )  # fmt: skip
    assert said == expected


@pytest.mark.parametrize("family", tiers(FAMILIES, "mobilenet"))
def test_a_checkpoint_goes_on_as_if_nothing_had_happened(family: str, config: Config, pictures: Pictures) -> None:
    values: dict[str, Any] = {"dropout": 0.3, "schedule": "cosine"}
    values |= {"augmentation": "light", "unfrozen_blocks": 2} if family == "mobilenet" else {"mixup": 0.2}
    chosen = config(family, **values)
    kept: list[bytes] = []
    rows: list[Row] = []
    common: dict[str, Any] = {"seed": 1, "epochs": 3, "planned": 3, "most_views": 2, "threads": 1}
    train(family, chosen, pictures, report=rows.append, rungs=(1, 2, 3), keep=kept.append, **common)
    assert len(kept) == 2
    again: list[Row] = []
    train(family, chosen, pictures, report=again.append, checkpoint=kept[1], **common)
    assert [row["epoch"] for row in again] == [3]
    np.testing.assert_allclose(figures(again), figures(rows[2:]), rtol=1e-4)


@pytest.mark.parametrize("family", tiers(("scratch_keras", "scratch_pillow"), "scratch_keras"))
def test_what_is_averaged_with_the_mirror_image_is_scored_and_handed_over(
    family: str, config: Config, pictures: Pictures
) -> None:
    chosen = config(family, mirror_average=True, mixup=0.4)
    result, rows = trained(family, chosen, pictures, epochs=2)
    seen = np.asarray(pictures.pixels(32)[pictures.validation])
    exported = result.exported()
    answers, mirrored = (np.asarray(exported.predict_on_batch(batch)) for batch in (seen, seen[:, :, ::-1]))
    # The mean of two numbers, in another order.
    np.testing.assert_allclose(answers, mirrored, atol=1e-6)
    loss, accuracy = score(answers, pictures.labels[pictures.validation])
    assert rows[-1]["validation_accuracy"] == accuracy
    np.testing.assert_allclose(rows[-1]["validation_loss"], loss, rtol=1e-4)
    assert exported.count_params() == rows[-1]["parameters"]


@pytest.mark.slow
def test_a_checkpoint_that_is_damaged_or_of_another_training_is_none(config: Config, pictures: Pictures) -> None:
    kept: list[bytes] = []
    common: dict[str, Any] = {"epochs": 2, "planned": 2, "most_views": 2, "threads": 1}
    base = config("scratch_keras")
    rows: list[Row] = []
    train("scratch_keras", base, pictures, seed=1, report=rows.append, rungs=(1,), keep=kept.append, **common)
    whole = kept[0]
    damaged = (whole[:-100], whole[: len(whole) // 2] + b"?" + whole[len(whole) // 2 + 1 :], b"", b"PK", b"x" * 100)
    others = [(whole, 2, base), (whole, 1, {**base, "dropout": 0.1}), *((content, 1, base) for content in damaged)]
    for content, seed, chosen in others:
        again: list[Row] = []
        train("scratch_keras", chosen, pictures, seed=seed, report=again.append, checkpoint=content, **common)
        assert [row["epoch"] for row in again] == [1, 2]
    np.testing.assert_allclose(figures(again), figures(rows), rtol=1e-4)


def test_losses_are_without_label_smoothing(config: Config, pictures: Pictures) -> None:
    result, rows = trained("mobilenet", config("mobilenet", label_smoothing=0.2, unfrozen_blocks=0), pictures)
    probabilities = predict(result.exported(), Inputs(pictures.pixels(32), pictures.validation))
    loss, accuracy = score(probabilities, pictures.labels[pictures.validation])
    assert rows[-1]["validation_loss"] == pytest.approx(loss, rel=0.02)
    assert rows[-1]["validation_accuracy"] == pytest.approx(accuracy, abs=1 / 16)


def test_something_is_learnt(config: Config, pictures: Pictures) -> None:
    _, rows = trained(
        "scratch_keras", config("scratch_keras", flip="none", rotation=0.0, zoom=0.0), pictures, epochs=12
    )
    assert rows[-1]["train_loss"] < 0.7 * rows[0]["train_loss"]
    assert rows[-1]["train_accuracy"] > 0.5


def test_a_retraining_has_no_validation(config: Config, pictures: Pictures) -> None:
    _, rows = trained("scratch_keras", config("scratch_keras"), pictures.joined(), epochs=1)
    assert "validation_loss" not in rows[0]
    assert "validation_accuracy" not in rows[0]
    assert rows[0]["validating"] == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_a_loss_that_is_not_a_number_ends_the_trial(family: str, config: Config, pictures: Pictures) -> None:
    values = {"unfrozen_blocks": 1, "trunk_rate": 1.0} if family == "mobilenet" else {}
    with pytest.raises(Diverged, match=r"the training loss became (nan|inf) in epoch 1|are not numbers after epoch 1"):
        trained(family, config(family, learning_rate=1e39, optimizer="sgd", **values), pictures)


def test_a_batch_larger_than_the_training_set(config: Config, pictures: Pictures) -> None:
    few = replace(pictures, train=pictures.train[:10])
    _, rows = trained("scratch_keras", config("scratch_keras", batch_size=64), few, epochs=1)
    assert math.isfinite(rows[0]["train_loss"])


@pytest.mark.slow
def test_so_deep_a_cut_trains_the_joined_model(config: Config, pictures: Pictures, tmp_path: Path) -> None:
    alone = replace(pictures, cache=tmp_path)
    values = {"unfrozen_blocks": 19, "augmentation": "strong"}
    _, rows = trained("mobilenet", config("mobilenet", **values), alone, epochs=1)
    assert rows[0]["waiting"] == 0
    assert not (tmp_path / "activations").exists()


@pytest.mark.parametrize(("augmentation", "epochs", "expected"), [("none", 3, 2), ("light", 1, 2), ("light", 3, 3)])
def test_epochs_take_turns_with_the_views(
    augmentation: str, epochs: int, expected: int, config: Config, pictures: Pictures, tmp_path: Path
) -> None:
    alone = replace(pictures, cache=tmp_path)
    trained("mobilenet", config("mobilenet", unfrozen_blocks=0, augmentation=augmentation), alone, epochs=epochs)
    # The plain view of train and of validation, and from the second epoch on one drawn view of train.
    assert len(list((tmp_path / "activations").iterdir())) == expected


def test_scores_of_probabilities() -> None:
    probabilities = np.array([[0.5, 0.5, 0.0], [0.1, 0.2, 0.7], [1.0, 0.0, 0.0]], np.float32)
    loss, accuracy = score(probabilities, np.array([0, 2, 1]))
    assert loss == pytest.approx((-math.log(0.5) - math.log(0.7) - math.log(1e-7)) / 3)
    assert accuracy == pytest.approx(2 / 3)


def test_inputs_are_rows_of_an_array() -> None:
    array = np.arange(10, dtype=np.float16)[:, None]
    whole, some = Inputs(array), Inputs(array, np.array([7, 8, 9]))
    assert (len(whole), len(some)) == (10, 3)
    assert whole.take(np.array([1, 0])).tolist() == [[1], [0]]
    assert some.take(np.array([2, 0])).tolist() == [[9], [7]]
    assert some.take(np.array([0])).dtype == np.float16
    assert Inputs(np.zeros((2, 1), np.uint8)).take(np.array([0])).dtype == np.uint8


def test_one_array_can_follow_another() -> None:
    first, second = np.array([[0], [1], [2]], np.uint8), np.array([[10], [11]], np.uint8)
    both = Inputs(first, np.array([2, 0]), then=Inputs(second))
    assert len(both) == 4
    assert both.take(np.array([3, 0, 1, 2])).tolist() == [[11], [2], [0], [10]]


def test_the_clock_starts_again() -> None:
    clock = Clock()
    with clock("training"):
        pass
    with pytest.raises(ZeroDivisionError), clock("waiting"):
        _ = 1 / 0
    taken = clock.take()
    assert list(taken) == ["seconds", "waiting", "building", "training", "validating"]
    assert taken["building"] == 0
    assert clock.take()["seconds"] == 0
