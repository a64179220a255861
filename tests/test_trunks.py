"""Trunks other than MobileNets: what Keras gives, taken apart and put together."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras.src.applications.convnext import ConvNeXt
from keras.src.legacy.saving import legacy_h5_format
from networks import HEAD, SMALLEST, alive, as_keras_builds_it
from rounding import rounding
from tiers import tiers

from models import mobilenet
from models.backbones import BACKBONES, file_of, walked
from models.export import raw_pictures
from models.folding import FoldedConvolution, folded
from models.own_model import multiply_adds
from models.trunk import Trunk, plain, pooled_features, turn_colours
from search.training.weights import identify
from spaces.costs import parameters

RANDOM = np.random.default_rng(0)
EVERY = tiers((name for name in BACKBONES if name not in ("MobileNet", "MobileNetV2")), SMALLEST[0])


@dataclass(frozen=True)
class Made:
    """A network as Keras builds it with random weights, and the trunk that its file gives."""

    name: str
    trunk: Trunk
    pictures: Any  # float32, 0 to 255
    expected: Any  # the pooled features that Keras's own network gives


@pytest.fixture(scope="module", params=EVERY)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    name = request.param
    size = max(64, -(-BACKBONES[name].smallest // 32) * 32)
    pictures = RANDOM.integers(0, 256, (2, size, size, 3)).astype(np.float32)
    whole, preprocess = as_keras_builds_it(name, size)
    prepared = np.array(preprocess(pictures.copy()))
    # Of two pictures alone a deep map has 8 places: what differs a little then differs much behind a norm.
    many = RANDOM.integers(0, 256, (32, size, size, 3)).astype(np.float32)
    alive(whole, np.concatenate([prepared, np.array(preprocess(many))]))
    # As Keras publishes weights, in its older format.
    path = tmp_path_factory.mktemp("published") / file_of(name, 1.0)
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, whole)
    assert identify(path) == (name, 1.0)
    return Made(name, Trunk(name, 1.0, size, path), pictures, np.array(whole(prepared, training=False)))


def close(trunk: Trunk, values: Any, others: Any) -> None:
    allowed = rounding(4 * trunk.blocks, trunk.width) * float(np.abs(others).max())
    np.testing.assert_allclose(np.array(values), np.array(others), atol=allowed)


def test_a_trunk_is_what_keras_gives(made: Made) -> None:
    trunk, known = made.trunk, walked(made.name, 1.0, made.trunk.shape(0)[0])
    assert [trunk.shape(cut) for cut in range(1, trunk.blocks + 1)] == [
        (block.side, block.side, block.channels) for block in known.blocks
    ]
    assert trunk.model.count_params() == known.parameters
    assert multiply_adds(trunk.model) == pytest.approx(known.multiply_adds / 1e6)
    assert np.std(made.expected) > 0.01
    close(trunk, trunk.lower(0, [], pooled=True)(made.pictures), made.expected)


@pytest.mark.slow
def test_a_trunk_is_cut_folded_and_exported(made: Made, tmp_path: Path) -> None:
    trunk = made.trunk
    cut = trunk.stage_ends()[-2] + 1
    at_cut, features = trunk.lower(0, [cut], pooled=True)(made.pictures)
    close(trunk, trunk.lower(cut, [], pooled=True)(at_cut), features)
    close(trunk, pooled_features(trunk.upper(cut)(at_cut)), features)
    config = {**HEAD, "backbone": made.name, "image_size": trunk.shape(0)[0], "unfrozen_blocks": trunk.blocks - cut}
    tail = mobilenet.build_tail(config, 3, seed=0, trunk=trunk)
    assert parameters("mobilenet", config, 3) == mobilenet.parameters(tail, trunk)
    joined = mobilenet.join(tail, config, seed=0, trunk=trunk, augment=False)
    levels = made.pictures.astype(np.uint8)
    answers = np.array(joined(levels, training=False))
    np.testing.assert_allclose(folded(joined)(levels, training=False), answers, atol=1e-3)
    raw_pictures(joined).save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_allclose(loaded(levels, training=False), answers, atol=1e-3)


def test_groups_of_one_channel_and_models_within_become_plain_layers() -> None:
    keras.utils.set_random_seed(0)
    model = ConvNeXt(
        depths=(1, 1, 2, 1), projection_dims=(8, 16, 24, 32), name="convnext_tiny", include_top=False, pooling="avg",
        include_preprocessing=False, input_shape=(64, 64, 3),
    )  # fmt: skip
    pictures = RANDOM.normal(size=(2, 64, 64, 3)).astype(np.float32)
    alive(model, pictures)
    found = plain(model)
    assert sum(isinstance(layer, keras.layers.DepthwiseConv2D) for layer in found.layers) == 5
    assert not any(isinstance(layer, keras.Model) for layer in found.layers)
    assert found.count_params() == model.count_params()
    np.testing.assert_allclose(found(pictures), model(pictures), atol=rounding(40, 128))
    assert plain(found) is found


def test_a_first_convolution_turned_round_takes_the_colours_the_other_way() -> None:
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(4, 3)(keras.layers.ZeroPadding2D(1)(inputs)))
    pictures = RANDOM.normal(size=(2, 8, 8, 3)).astype(np.float32)
    before = model(pictures)
    turn_colours(model)
    np.testing.assert_allclose(model(pictures[..., ::-1]), before, atol=rounding(1, 27))


def test_a_convolution_that_arithmetic_takes_from_is_not_folded() -> None:
    inputs = keras.Input((8, 8, 3))
    norm = keras.layers.BatchNormalization(beta_initializer="ones")
    norm.trainable = False
    x = keras.layers.Conv2D(4, 3)(inputs)
    model = keras.Model(inputs, norm(x) + 2.0 * x)
    quick = folded(model)
    assert not any(isinstance(layer, FoldedConvolution) for layer in quick.layers)
    pictures = RANDOM.normal(size=(2, 8, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(quick(pictures), model(pictures), atol=rounding(3, 27))


@pytest.mark.slow
def test_what_is_trained_drops_blocks_by_its_seed_and_what_is_frozen_drops_none() -> None:
    pictures = RANDOM.integers(0, 256, (8, 32, 32, 3)).astype(np.float32)
    trunk = Trunk("EfficientNetV2B0", 1.0, 32, None, sample=pictures)
    at_cut = trunk.lower(0, [18])(pictures, training=True)
    np.testing.assert_array_equal(at_cut, trunk.lower(0, [18])(pictures, training=False))
    one, same, other = (np.array(trunk.upper(18, seed=seed)(at_cut, training=True)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 1e-3
