"""The trunk and its cuts: where it can be cut, and that the pieces make the whole."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from rounding import rounding

from models.trunk import Trunk

PICTURES = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3)).astype(np.float32)

# Backbone and alpha, then blocks, length of the pooled features, and the cuts below a halving of the resolution.
TRUNKS = [
    ("MobileNet", 0.25, 14, 256, [2, 4, 6, 12, 14]),
    ("MobileNetV2", 0.35, 19, 1280, [2, 4, 7, 14, 19]),
    ("MobileNetV3Small", 0.75, 13, 432, [1, 2, 4, 9, 13]),
    ("MobileNetV3Large", 0.75, 17, 720, [2, 4, 7, 13, 17]),
]


@pytest.mark.parametrize(("backbone", "alpha", "blocks", "width", "ends"), TRUNKS)
def test_where_a_trunk_can_be_cut(backbone: str, alpha: float, blocks: int, width: int, ends: list[int]) -> None:
    trunk = Trunk(backbone, alpha, 64, None)
    assert (trunk.blocks, trunk.width, trunk.stage_ends()) == (blocks, width, ends)
    assert trunk.shape(0) == (64, 64, 3)
    assert trunk.shape(blocks) == (2, 2, width)


def allowed(trunk: Trunk, values: Any) -> float:
    """Every block has up to three convolutions."""
    return float(rounding(3 * trunk.blocks, trunk.width) * np.abs(values).max())


@pytest.mark.parametrize(("backbone", "alpha"), [trunk[:2] for trunk in TRUNKS])
def test_the_pieces_make_the_whole(backbone: str, alpha: float) -> None:
    trunk = Trunk(backbone, alpha, 64, None, sample=PICTURES)
    cut, higher = trunk.stage_ends()[1:3]
    at_cut, at_higher, pooled = trunk.lower(0, [cut, higher], pooled=True)(PICTURES)
    assert at_cut.shape == (4, *trunk.shape(cut))
    np.testing.assert_allclose(trunk.lower(cut, [higher])(at_cut), at_higher, atol=allowed(trunk, at_higher))
    np.testing.assert_allclose(trunk.lower(higher, [], pooled=True)(at_higher), pooled, atol=allowed(trunk, pooled))
    top = keras.ops.mean(trunk.upper(higher)(at_higher), axis=(1, 2))
    np.testing.assert_allclose(top, pooled, atol=allowed(trunk, pooled))


def test_a_trunk_scales_raw_pictures_itself() -> None:
    trunk = Trunk("MobileNet", 0.25, 64, None, sample=PICTURES)
    expected = trunk.model(PICTURES / 127.5 - 1)
    np.testing.assert_allclose(trunk.lower(0, [trunk.blocks])(PICTURES), expected, rtol=1e-3, atol=1e-3)


def test_unfreezing_counts_from_the_top() -> None:
    trunk = Trunk("MobileNet", 0.25, 64, None)
    assert [trunk.frozen_blocks(count) for count in (0, 1, 13, 14, 19)] == [14, 13, 1, 0, 0]


def test_what_is_unfrozen_trains_but_its_batch_norms_do_not() -> None:
    trunk = Trunk("MobileNet", 0.25, 64, None, sample=PICTURES)
    upper = trunk.upper(12)
    norms = [layer for layer in upper.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert len(norms) == 4  # of two blocks, a depthwise and a pointwise convolution each
    assert len(upper.trainable_variables) == 4
    activations = trunk.lower(0, [12])(PICTURES)
    before = [norm.moving_mean.numpy() for norm in norms]
    np.testing.assert_allclose(upper(activations, training=True), upper(activations, training=False), atol=1e-5)
    assert all((norm.moving_mean.numpy() == mean).all() for norm, mean in zip(norms, before, strict=True))


def test_training_a_copy_leaves_the_trunk_alone() -> None:
    trunk = Trunk("MobileNet", 0.25, 64, None)
    before = [weight.copy() for weight in trunk.model.get_weights()]
    for variable in trunk.upper(12).trainable_variables:
        variable.assign(variable + 1)
    assert trunk.model.trainable_variables == []
    for weight, old in zip(trunk.model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, old)


def test_random_weights_come_from_the_seed() -> None:
    one, same, other = (Trunk("MobileNet", 0.25, 32, None, seed=seed).model.get_weights()[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_a_sample_keeps_random_activations_alive() -> None:
    features = Trunk("MobileNetV2", 0.35, 64, None, sample=PICTURES).lower(0, [], pooled=True)(PICTURES)
    assert 0.1 < float(np.std(features)) < 10
    assert float(np.abs(features[0] - features[1]).max()) > 0.1


def test_a_weights_file_serves_every_size(tmp_path: Path) -> None:
    trained = Trunk("MobileNet", 0.25, 64, None, seed=5)
    trained.model.save_weights(tmp_path / "small.weights.h5")
    loaded = Trunk("MobileNet", 0.25, 96, tmp_path / "small.weights.h5")
    for weight, expected in zip(loaded.model.get_weights(), trained.model.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)
    assert loaded.shape(loaded.blocks) == (3, 3, 256)
