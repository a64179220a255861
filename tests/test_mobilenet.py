"""The transfer family: a head, perhaps some blocks, and the joined model that is handed over."""

from typing import Any

import numpy as np
import pytest
from rounding import rounding

from models import mobilenet
from models.trunk import Trunk

PICTURES = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def trunk() -> Trunk:
    return Trunk("MobileNet", 0.25, 64, None, sample=PICTURES.astype(np.float32))


def config(**values: Any) -> dict[str, Any]:
    return {"unfrozen_blocks": 0, "normalize": False, "units": 0, "dropout": 0.0, "augmentation": "none", **values}


def test_a_head_alone_takes_pooled_features(trunk: Trunk) -> None:
    tail = mobilenet.build_tail(config(), 5, seed=0, trunk=trunk)
    assert tail.input_shape == (None, 256)
    assert tail.count_params() == 256 * 5 + 5
    assert mobilenet.trunk_variables(tail) == []
    assert mobilenet.parameters(tail, trunk) == 218_544 + 256 * 5 + 5


def test_hidden_units(trunk: Trunk) -> None:
    tail = mobilenet.build_tail(config(units=128), 5, seed=0, trunk=trunk)
    assert tail.count_params() == 256 * 128 + 128 + 128 * 5 + 5


def test_normalized_features_have_one_length(trunk: Trunk) -> None:
    tail = mobilenet.build_tail(config(normalize=True), 5, seed=0, trunk=trunk)
    features = np.random.default_rng(0).normal(size=(4, 256)).astype(np.float32)
    np.testing.assert_allclose(
        tail.predict(features, verbose=0), tail.predict(features * 7, verbose=0), atol=rounding(2, 256)
    )


def test_unfrozen_blocks_take_the_activations_at_the_cut(trunk: Trunk) -> None:
    tail = mobilenet.build_tail(config(unfrozen_blocks=2), 5, seed=0, trunk=trunk)
    assert tail.input_shape == (None, 4, 4, 128)
    slow = mobilenet.trunk_variables(tail)
    assert len(slow) == 4
    assert set(slow) < {variable.path for variable in tail.trainable_variables}
    assert mobilenet.parameters(tail, trunk) == 218_544 + 256 * 5 + 5


def test_unfreezing_all_takes_pictures(trunk: Trunk) -> None:
    tail = mobilenet.build_tail(config(unfrozen_blocks=19), 5, seed=0, trunk=trunk)
    assert tail.input_shape == (None, 64, 64, 3)
    assert len(mobilenet.trunk_variables(tail)) == 27


@pytest.mark.parametrize("unfrozen_blocks", [0, 1, 5, 19])
def test_the_joined_model_gives_probabilities(trunk: Trunk, unfrozen_blocks: int) -> None:
    model = mobilenet.build(config(unfrozen_blocks=unfrozen_blocks), 5, seed=0, trunk=trunk)
    assert model.inputs[0].dtype == "uint8"
    shown = model.predict(PICTURES, verbose=0)
    assert shown.shape == (4, 5)
    np.testing.assert_allclose(shown.sum(axis=1), 1, atol=1e-5)


def test_the_joined_model_shares_the_tails_weights(trunk: Trunk) -> None:
    tail = mobilenet.build_tail(config(unfrozen_blocks=1), 5, seed=0, trunk=trunk)
    model = mobilenet.join(tail, config(unfrozen_blocks=1), seed=0, trunk=trunk, augment=False)
    before = model.predict(PICTURES, verbose=0)
    tail.trainable_variables[-1].assign([9.0, 0.0, 0.0, 0.0, 0.0])
    after = model.predict(PICTURES, verbose=0)
    assert (after[:, 0] > before[:, 0]).all()
    assert {variable.path for variable in model.trainable_variables} == {
        variable.path for variable in tail.trainable_variables
    }


def test_augmentation_is_for_training_alone(trunk: Trunk) -> None:
    model = mobilenet.build(config(unfrozen_blocks=19, augmentation="strong"), 5, seed=0, trunk=trunk)
    plain = mobilenet.build(config(unfrozen_blocks=19), 5, seed=0, trunk=trunk)
    np.testing.assert_allclose(model(PICTURES, training=False), plain(PICTURES, training=False), atol=rounding(28, 256))
    assert np.abs(model(PICTURES, training=True) - plain(PICTURES, training=True)).max() > 2 * rounding(28, 256)


def test_the_seed_draws_the_head(trunk: Trunk) -> None:
    one, same, other = (
        mobilenet.build(config(), 5, seed=seed, trunk=trunk).predict(PICTURES, verbose=0) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
