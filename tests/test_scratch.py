"""The scratch networks: shapes, seeds, every corner of the space, and the treatment inside the exported model."""

from functools import partial
from itertools import product
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from models import scratch_keras, scratch_pillow, treatment
from models.sizes import LARGEST_FLATTENED
from search.data.treatment import treat
from search.studies.hyperparameters import TrialHyperParameters
from spaces import FAMILIES

Pixels = NDArray[np.uint8]


def config(family: str = "scratch_pillow", size: int = 32, **values: Any) -> dict[str, Any]:
    drawn = partial(FAMILIES[family].space, image_sizes=(size,))(TrialHyperParameters(values=values))
    assert isinstance(drawn, dict)
    return drawn


def random_pictures(number: int, size: int = 32, low: int = 0, high: int = 256) -> Pixels:
    return np.random.default_rng(number + low + high).integers(low, high, (number, size, size, 3), dtype=np.uint8)


def kinds(model: keras.Model) -> list[str]:
    return [type(layer).__name__ for layer in model.layers]


def test_the_base_is_three_convolutions_and_one_dense_layer() -> None:
    model = scratch_pillow.build(config(), 4, seed=0)
    block = ["Conv2D", "MaxPooling2D", "ReLU"]
    assert kinds(model) == ["InputLayer", "Rescaling", *block, *block, *block, "Flatten", "Dense", "Dense", "Softmax"]
    assert [layer.filters for layer in model.layers if isinstance(layer, keras.layers.Conv2D)] == [16, 32, 64]
    assert model.count_params() == 155_300


def test_raw_pictures_give_probabilities() -> None:
    model = scratch_keras.build(config("scratch_keras"), 4, seed=0)
    assert (model.input_shape, model.inputs[0].dtype) == ((None, 32, 32, 3), "uint8")
    probabilities = model.predict(random_pictures(5), verbose=0)
    assert (probabilities.shape, probabilities.dtype) == ((5, 4), np.float32)
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(5), abs=1e-6)


def test_the_seed_decides_the_weights() -> None:
    values = [scratch_pillow.build(config(dropout=0.5), 4, seed=seed).get_weights() for seed in (1, 1, 2)]
    assert all(np.array_equal(one, same) for one, same in zip(values[0], values[1], strict=True))
    assert not np.array_equal(values[0][0], values[2][0])


@pytest.mark.parametrize(("blocks", "stem_stride"), list(product([2, 5], [1, 2])))
@pytest.mark.parametrize("head", ["flatten", "average"])
def test_no_corner_of_the_space_runs_out_of_pixels(blocks: int, stem_stride: int, head: str) -> None:
    corner = config(size=16, blocks=blocks, stem_stride=stem_stride, head=head, kernel=5, batch_norm=True, units=0)
    model = scratch_pillow.build(corner, 3, seed=0)
    assert model.predict(random_pictures(2, size=16), verbose=0).shape == (2, 3)


def test_a_wide_map_is_averaged_before_it_is_flattened() -> None:
    corner = config(size=224, blocks=2, filters=64, growth=2.0)
    model = scratch_pillow.build(corner, 3, seed=0)
    flattened = next(layer.output.shape[1] for layer in model.layers if isinstance(layer, keras.layers.Flatten))
    assert flattened == 18 * 18 * 128
    assert flattened < LARGEST_FLATTENED


def test_the_studys_stack_is_flattened_whole_at_224_pixels() -> None:
    model = scratch_pillow.build(config(size=224), 3, seed=0)
    assert "AveragePooling2D" not in kinds(model)


def test_probabilities_stay_float32_in_half_precision() -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = scratch_pillow.build(config(), 4, seed=0)
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.predict(random_pictures(2), verbose=0).dtype == np.float32


CHECKS = [
    random_pictures(6),
    random_pictures(6, low=60, high=90),
    random_pictures(6, low=3, high=5),
    np.full((2, 32, 32, 3), 200, np.uint8),
    # Almost flat: fewer pixels beside the brightest level than Pillow's equalize has steps.
    np.pad(np.zeros((1, 2, 2, 3), np.uint8), ((0, 0), (0, 30), (0, 30), (0, 0)), constant_values=90),
    np.linspace(0, 255, 3 * 32 * 32).astype(np.uint8).reshape(1, 32, 32, 3),
]


@pytest.mark.parametrize("number", range(len(CHECKS)))
def test_equalize_is_pillows(number: int) -> None:
    pictures = CHECKS[number]
    ours = np.asarray(treatment.equalize(pictures.astype(np.float32)))
    np.testing.assert_array_equal(ours, treat(pictures, False, False, True, threads=1))


@pytest.mark.parametrize("number", range(len(CHECKS)))
def test_auto_contrast_is_pillows_to_one_level(number: int) -> None:
    pictures = CHECKS[number]
    ours = np.asarray(treatment.auto_contrast(pictures.astype(np.float32)))
    np.testing.assert_allclose(ours, treat(pictures, False, True, False, threads=1), atol=1)


@pytest.mark.parametrize("number", range(len(CHECKS)))
def test_whitening_is_that_of_the_treatment_to_one_level(number: int) -> None:
    pictures = CHECKS[number]
    ours = np.asarray(treatment.whiten(pictures.astype(np.float32)))
    theirs = treat(pictures, True, False, False, threads=1)
    np.testing.assert_allclose(ours, theirs, atol=1)
    assert (ours != theirs).mean() < 0.01


@pytest.mark.parametrize(("whitening", "auto_contrast", "equalize"), list(product([False, True], repeat=3)))
def test_the_treatment_inside_gives_the_probabilities_of_treated_pictures(
    whitening: bool, auto_contrast: bool, equalize: bool
) -> None:
    chosen = config(whitening=whitening, auto_contrast=auto_contrast, equalize=equalize)
    model = scratch_pillow.build(chosen, 4, seed=0)
    pictures = np.concatenate(CHECKS)
    inside = treatment.with_treatment(model, chosen).predict(pictures, verbose=0)
    treated = model.predict(treat(pictures, whitening, auto_contrast, equalize, threads=1), verbose=0)
    np.testing.assert_allclose(inside, treated, atol=0.01)
