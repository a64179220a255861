"""The last step: the model that is handed over is the one that was scored."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from rounding import rounding

from search.data.pictures import Pictures
from search.settings import FAMILIES
from search.training.retraining import Outcome, retrain
from search.training.trial import score

Config = Callable[..., dict[str, Any]]


def outcome_of(family: str, config: dict[str, Any], pictures: Pictures, *, export: bool = True) -> Outcome:
    rows: list[dict[str, Any]] = []
    outcome = retrain(
        family, config, pictures, seed=3, epochs=2, planned=4, most_views=2, threads=1, export=export,
        report=rows.append,
    )  # fmt: skip
    assert [row["epoch"] for row in rows] == [1, 2]
    return outcome


def probabilities_of(outcome: Outcome) -> Any:
    with np.load(BytesIO(outcome.probabilities)) as file:
        return file["probabilities"]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_model_handed_over_is_the_one_scored(
    family: str, config: Config, pictures: Pictures, tmp_path: Path
) -> None:
    outcome = outcome_of(family, config(family, image_size=48), pictures)
    row = outcome.row
    assert (row["seed"], row["epochs"], row["pictures"]) == (3, 2, 20)
    probabilities = probabilities_of(outcome)
    assert (probabilities.dtype, probabilities.shape) == (np.dtype(np.float32), (20, 4))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-4)
    loss, accuracy = score(probabilities, pictures.labels[pictures.test])
    assert (row["loss"], row["accuracy"]) == (pytest.approx(loss), accuracy)

    assert outcome.model is not None
    (tmp_path / "model.keras").write_bytes(outcome.model)
    model = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert model.count_params() == outcome.parameters
    raw = pictures.pixels(48)[pictures.test]
    np.testing.assert_allclose(model.predict(raw, verbose=0), probabilities, atol=2e-3)
    other_size = np.random.default_rng(0).integers(0, 256, (2, 70, 91, 3), dtype=np.uint8)
    shown = model.predict(other_size, verbose=0)
    np.testing.assert_allclose(shown.sum(axis=1), 1, atol=1e-4)


def test_the_filter_goes_with_the_model(config: Config, pictures: Pictures) -> None:
    outcome = outcome_of("scratch_pillow", config("scratch_pillow", resize_filter="lanczos"), pictures, export=False)
    assert outcome.model is None
    assert probabilities_of(outcome).shape == (20, 4)


def test_the_seed_decides(config: Config, pictures: Pictures) -> None:
    one, same = (
        probabilities_of(outcome_of("mobilenet", config("mobilenet"), pictures, export=False)) for _ in range(2)
    )
    np.testing.assert_allclose(one, same, atol=rounding(28, 256))
