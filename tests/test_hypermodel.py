"""Each family under KerasTuner's own tuners."""

from pathlib import Path
from typing import Any

import keras_tuner
import numpy as np
import pytest

from search.studies.hypermodel import FamilyHyperModel

pytestmark = [
    # Keras 3.15 reads TensorFlow's variables in a way of which NumPy 2 warns.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
    # KerasTuner 1.4.8 asks for the current thread by its old names.
    pytest.mark.filterwarnings("ignore:currentThread:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:getName:DeprecationWarning"),
]

RANDOM = np.random.default_rng(0)
LABELS = np.eye(2, dtype=np.float32)[np.arange(16) % 2]
# Dark and light pictures, larger than either image size.
PICTURES = (RANDOM.integers(0, 100, (16, 40, 48, 3)) + 150 * LABELS[:, 1, None, None, None]).astype(np.uint8)


def hypermodel(family: str, **arguments: Any) -> FamilyHyperModel:
    return FamilyHyperModel(family, 2, (32, 48), pictures=16, epochs=2, **arguments)


def fitted(tuner: Any, **arguments: Any) -> Any:
    tuner.search(PICTURES, LABELS, validation_data=(PICTURES, LABELS), verbose=0, **arguments)
    return tuner.get_best_models(1)[0]


# What differs between families is their space and their pictures, which the tests of these look at.
@pytest.mark.slow
@pytest.mark.parametrize("family", ["scratch_pillow", "scratch_keras"])
def test_random_search_goes_through_mixed_image_sizes(family: str, tmp_path: Path) -> None:
    tuner = keras_tuner.RandomSearch(
        hypermodel(family), objective="val_accuracy", max_trials=3, seed=3, directory=tmp_path, project_name="random"
    )
    best = fitted(tuner, epochs=1)
    trials = tuner.oracle.get_best_trials(3)
    assert {trial.hyperparameters.get("image_size") for trial in trials} == {32, 48}
    assert [trial.status for trial in trials] == ["COMPLETED"] * 3
    assert best.predict(PICTURES, verbose=0).shape == (16, 2)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["mobilenet", "scratch_pillow", "scratch_keras"])
def test_hyperband_runs_every_family(family: str, tmp_path: Path) -> None:
    trunks: dict[str, Any] = {"weights": {("MobileNet", 0.25): None}} if family == "mobilenet" else {}
    tuner = keras_tuner.Hyperband(
        hypermodel(family, **trunks),
        objective="val_accuracy",
        max_epochs=2,
        factor=2 if family == "scratch_keras" else 3,
        seed=0,
        directory=tmp_path,
        project_name="hyperband",
    )
    assert fitted(tuner).predict(PICTURES, verbose=0).shape == (16, 2)
    if family == "mobilenet":
        assert tuner.get_best_hyperparameters(1)[0].get("backbone") == "MobileNet-0.25"
    assert {trial.status for trial in tuner.oracle.trials.values()} == {"COMPLETED"}


def test_the_pillow_family_fits_on_mirrored_and_turned_copies() -> None:
    family = hypermodel("scratch_pillow")
    hp = keras_tuner.HyperParameters()
    hp.Fixed("batch_size", 16)
    model = family.build(hp)
    family.fit(hp, model, PICTURES, LABELS, epochs=1, verbose=0)
    # Four times sixteen pictures in batches of sixteen.
    assert int(model.optimizer.iterations.numpy()) == 4


def test_a_family_that_does_not_exist_names_those_that_do() -> None:
    with pytest.raises(ValueError, match="one of scratch_pillow, scratch_keras, mobilenet, got 'resnet'"):
        hypermodel("resnet")


def test_mobilenet_needs_its_backbones() -> None:
    with pytest.raises(ValueError, match="mobilenet needs the backbones to search, got weights=None"):
        hypermodel("mobilenet")
