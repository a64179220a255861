"""The spaces: their base configurations, their starts, and that one table serves Optuna and KerasTuner alike."""

import pickle
import subprocess
import sys
from functools import partial
from typing import Any

import keras_tuner
import optuna
import pytest

from search.studies.hyperparameters import Space, TrialHyperParameters, defaults, distributions, values_to_point
from spaces import FAMILIES


def family_space(family: str) -> Space:
    space = partial(FAMILIES[family].space, image_sizes=(96, 160, 224))
    backbones = (("MobileNet", 1.0), ("MobileNetV2", 1.0), ("MobileNet", 0.25))
    return partial(space, backbones=backbones) if family == "mobilenet" else space


SCRATCH_BASE = {
    "image_size": 160,
    "blocks": 3,
    "filters": 16,
    "growth": 2.0,
    "kernel": 3,
    "stem_stride": 1,
    "batch_norm": False,
    "head": "flatten",
    "units": 128,
    "dropout": 0.0,
    "crop": 0.0,
    "colour": 0.0,
    "mixup": 0.0,
    "mirror_average": False,
    "weight_decay": 0.0,
    "label_smoothing": 0.0,
    "optimizer": "adam",
    "learning_rate": 0.001,
    "schedule": "constant",
    "batch_size": 32,
}


def base(family: str) -> Any:
    return family_space(family)(TrialHyperParameters())


def test_the_pillow_base_is_the_study() -> None:
    assert base("scratch_pillow") == {
        **SCRATCH_BASE,
        "whitening": True,
        "auto_contrast": True,
        "equalize": True,
        "transpose": True,
        "rotation": 15,
        "resize_filter": "bilinear",
    }


def test_the_keras_base_is_the_study() -> None:
    assert base("scratch_keras") == {
        **SCRATCH_BASE,
        "flip": "horizontal",
        "rotation": 0.1,
        "zoom": 0.1,
        "translation": 0.0,
        "contrast": 0.0,
    }


def test_the_mobilenet_base_is_transfer_then_retraining() -> None:
    assert base("mobilenet") == {
        "backbone": "MobileNet",
        "alpha": 1.0,
        "image_size": 160,
        "head": "trained",
        "unfrozen_blocks": 1,
        "trunk_rate": 0.1,
        "augmentation": "flip",
        "normalize": False,
        "units": 0,
        "dropout": 0.2,
        "weight_decay": 0.0,
        "label_smoothing": 0.0,
        "optimizer": "adam",
        "learning_rate": 0.001,
        "schedule": "constant",
        "batch_size": 32,
    }


def test_a_head_alone_unfreezes_nothing() -> None:
    config = family_space("mobilenet")(TrialHyperParameters(values={"fine_tune": False}))
    assert (config["unfrozen_blocks"], config["trunk_rate"]) == (0, 0.0)


def test_the_backbone_is_the_first_that_has_weights_without_mobilenet() -> None:
    space = partial(FAMILIES["mobilenet"].space, image_sizes=(96,), backbones=(("MobileNetV2", 1.4),))
    config = space(TrialHyperParameters())
    assert (config["backbone"], config["alpha"]) == ("MobileNetV2", 1.4)


def test_sgd_gets_ten_times_the_rate_of_adam() -> None:
    config = family_space("scratch_keras")(TrialHyperParameters(values={"optimizer": "sgd", "learning_rate": 0.005}))
    assert config["learning_rate"] == pytest.approx(0.05)
    assert config["weight_decay"] == 0.001


@pytest.mark.parametrize("family", FAMILIES)
def test_a_space_pickles(family: str) -> None:
    copy = pickle.loads(pickle.dumps(family_space(family)))
    assert copy(TrialHyperParameters()) == base(family)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_start_is_a_point_of_its_space(family: str) -> None:
    for start in FAMILIES[family].starts:
        point = values_to_point(family_space(family), start)
        assert {name: point[name] for name in start} == start


def test_the_first_start_of_mobilenet_is_the_cheap_head() -> None:
    assert FAMILIES["mobilenet"].starts[0]["fine_tune"] is False


@pytest.mark.filterwarnings("ignore:Argument .* is an experimental feature:optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("family", FAMILIES)
def test_tpe_draws_from_the_base_on_and_keras_tuner_agrees(family: str) -> None:
    space = family_space(family)
    sampler = optuna.samplers.TPESampler(multivariate=True, group=True, constant_liar=True, n_startup_trials=5, seed=0)
    study = optuna.create_study(sampler=sampler, direction="maximize")
    study.enqueue_trial(defaults(space))
    configs = []
    for number in range(30):
        trial = study.ask()
        hp = TrialHyperParameters(trial)
        config = space(hp)
        theirs = keras_tuner.HyperParameters()
        theirs.values = dict(hp.values)
        assert space(theirs) == config
        assert theirs.values == hp.values
        study.tell(trial, float(number % 7))
        configs.append(config)
    assert configs[0] == base(family)
    assert study.trials[0].params == defaults(space)
    assert study.trials[0].distributions == distributions(space, defaults(space))
    assert len({str(config) for config in configs}) > 25


@pytest.mark.parametrize("family", FAMILIES)
def test_keras_tuner_has_the_same_defaults(family: str) -> None:
    theirs = keras_tuner.HyperParameters()
    assert family_space(family)(theirs) == base(family)
    assert theirs.values == defaults(family_space(family))


def test_the_driver_pays_for_no_framework() -> None:
    program = (
        "import sys, spaces, search.studies.hyperparameters\n"
        "print(sorted({'tensorflow', 'keras', 'keras_tuner', 'pandas', 'plotly'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
