"""The last step: the model that is handed over is the one that was scored."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from rounding import rounding
from tiers import tiers

from results.rows import Rows
from search.data.pictures import Pictures
from search.record.journal import Journal
from search.training.retraining import Outcome, Refitted, refit, retrain
from search.training.trial import score
from spaces import FAMILIES

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


@pytest.mark.parametrize("family", tiers(FAMILIES, "scratch_keras"))
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


def refitted(family: str, config: dict[str, Any], pictures: Pictures, **training: Any) -> Refitted:
    given = {"epochs": 2, "planned": 4, "most_views": 2, "threads": 1, "report": lambda row: None, **training}
    return refit(family, config, pictures, seed=3, **given)


@pytest.mark.parametrize("family", tiers(FAMILIES, "mobilenet"))
def test_a_refit_learns_every_picture(family: str, config: Config, pictures: Pictures, tmp_path: Path) -> None:
    found = refitted(family, config(family, image_size=48), pictures)
    sides = (pictures.train, pictures.validation, pictures.test)
    assert (found.row["seed"], found.row["epochs"], found.row["pictures"]) == (3, 2, sum(map(len, sides)))
    assert found.model is not None
    (tmp_path / "model.keras").write_bytes(found.model)
    model = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert model.count_params() == found.row["parameters"]
    shown = model.predict(pictures.pixels(48)[pictures.test], verbose=0)
    np.testing.assert_allclose(shown.sum(axis=1), 1, atol=1e-4)


def test_a_probe_that_is_refitted_is_solved_on_every_picture(config: Config, pictures: Pictures) -> None:
    probe = {"backbone": "MobileNet", "alpha": 0.25, "image_size": 48, "head": "probe", "beside": "none"}
    found = refitted("mobilenet", {**probe, "unfrozen_blocks": 0}, pictures, epochs=1, planned=1)
    assert found.model is not None
    assert found.row["pictures"] == len(pictures.train) + len(pictures.validation) + len(pictures.test)
    # Its strengths are chosen anew: that it fits its own pictures less well is no bad luck.
    assert found.train_accuracy is None


def test_a_refit_that_had_to_end_early_is_not_handed_over(config: Config, pictures: Pictures) -> None:
    found = refitted("scratch_keras", config("scratch_keras"), pictures, until=0.0)
    assert (found.model, found.note) == (None, "there was time for 1 of 2 epochs")


def test_a_refit_takes_the_place_of_the_model_that_was_scored(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "net.keras").write_bytes(b"scored")
    journal = Journal(tmp_path / "trials.jsonl", 0.0)
    row = {"seed": 0, "epochs": 3, "pictures": 40, "parameters": 7}
    # It does not where its training had bad luck.
    poor = Refitted(row, b"poor", 0.72)
    assert poor.keep(tmp_path, journal, "net", "net-004", 0.9, {"temperature": 2.0}) == (
        "it names 0.720 of its training pictures, the one that was scored 0.900"
    )
    unsaved = Refitted(row, None, 0.9, "cannot be saved")
    assert unsaved.keep(tmp_path, journal, "net", "net-004", 0.9, {}) == "cannot be saved"
    assert (tmp_path / "models" / "net.keras").read_bytes() == b"scored"
    # Where it had bad luck a run that is resumed does not train it again; what was not saved it does.
    assert [(row["event"], row["trial"], row["train_accuracy"]) for row in journal.rows] == [("refit", "net-004", 0.72)]
    assert (Rows(tuple(journal.rows)).refitted("net", "net-004"), Rows(()).refitted("net", "net-004")) == (True, False)
    assert Refitted(row, b"solved", None).keep(tmp_path, journal, "net", "net-004", 0.9, {}) == ""
    journal.rows.clear()
    assert Refitted(row, b"on all", 0.88).keep(tmp_path, journal, "net", "net-004", 0.9, {"temperature": 2.0}) == ""
    assert (tmp_path / "models" / "net.keras").read_bytes() == b"on all"
    (written,) = journal.rows
    assert (written["event"], written["trial"], written["pictures"], written["bytes"]) == ("model", "net-004", 40, 6)
    assert written["temperature"] == 2.0
    journal.close()
