"""What is known of a model before it is built, against models that were built."""

from itertools import product
from typing import Any

import keras
import optuna
import pytest

from models import mobilenet, scratch_keras, scratch_pillow, treatment
from models.sizes import features
from models.trunk import Trunk
from search.studies.hyperparameters import TrialHyperParameters
from spaces import FAMILIES
from spaces.costs import architecture, parameters

Config = dict[str, Any]


def drawn(family: str, number: int, image_sizes: tuple[int, ...]) -> list[Config]:
    """Configurations drawn at random from the space of a scratch family."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [FAMILIES[family].space(TrialHyperParameters(study.ask()), image_sizes=image_sizes) for _ in range(number)]


@pytest.mark.slow
def test_parameters_of_scratch_networks_are_those_of_the_built_ones() -> None:
    corners = list(product(["flatten", "average"], [True, False], [0, 64]))
    drawn_ones = [
        {**config, "head": head, "batch_norm": batch_norm, "units": units}
        for config, (head, batch_norm, units) in zip(drawn("scratch_keras", 8, (32, 75)), corners, strict=True)
    ]
    # So wide that its map is averaged before it is flattened.
    wide = {**drawn_ones[0], "image_size": 208, "blocks": 2, "filters": 64, "growth": 1.0, "stem_stride": 1}
    for config in [*drawn_ones, wide]:
        model = scratch_keras.build(config, 7, seed=0)
        assert parameters("scratch_keras", config, 7) == model.count_params(), config
        keras.backend.clear_session()
    (treated,) = drawn("scratch_pillow", 1, (32,))
    joined = treatment.with_treatment(scratch_pillow.build(treated, 3, seed=0), treated)
    assert parameters("scratch_pillow", treated, 3) == joined.count_params()


@pytest.mark.parametrize(
    ("backbone", "alpha", "width"),
    [
        ("MobileNet", 0.25, 256),
        ("MobileNetV2", 0.35, 1280),
        ("MobileNetV2", 1.4, 1792),
        ("MobileNetV3Small", 0.75, 432),
    ],
)
def test_parameters_of_transfer_models_are_those_of_the_joined_ones(backbone: str, alpha: float, width: int) -> None:
    trunk = Trunk(backbone, alpha, 32, None)
    assert features(backbone, alpha) == trunk.width == width
    for units in (0, 128):
        config = {"backbone": backbone, "alpha": alpha, "units": units, "normalize": True, "dropout": 0.2}
        tail = mobilenet.build_tail({**config, "unfrozen_blocks": 0}, 10, seed=0, trunk=trunk)
        assert parameters("mobilenet", config, 10) == mobilenet.parameters(tail, trunk)


def test_a_family_of_the_users_own_is_not_known() -> None:
    assert parameters("mine", {"depth": 3}, 10) is None


def test_what_decides_the_latency() -> None:
    base = {"backbone": "MobileNet", "alpha": 1.0, "image_size": 160, "units": 0, "learning_rate": 1e-3}
    assert architecture("mobilenet", base) == architecture("mobilenet", {**base, "units": 128, "learning_rate": 1.0})
    assert architecture("mobilenet", base) != architecture("mobilenet", {**base, "image_size": 96})
    (scratch,) = drawn("scratch_pillow", 1, (32,))
    assert architecture("scratch_pillow", scratch) == architecture("scratch_pillow", {**scratch, "dropout": 0.4})
    other = {**scratch, "equalize": not scratch["equalize"]}
    assert architecture("scratch_pillow", scratch) != architecture("scratch_pillow", other)
    assert architecture("mine", {"depth": 3}) != architecture("mine", {"depth": 4})
