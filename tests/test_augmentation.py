"""The random layers: what they move, what they leave alone, and that they stay in range."""

from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from models.augmentation import AUGMENTATIONS, RandomAffine, augmentation_layers, without_augmentation

OFF: dict[str, Any] = {"flip": "none", "rotation": 0.0, "zoom": 0.0, "translation": 0.0, "contrast": 0.0}


def corner_marked(number: int) -> NDArray[np.uint8]:
    """Grey pictures whose upper left quarter is white."""
    pictures = np.full((number, 16, 16, 3), 100, np.uint8)
    pictures[:, :8, :8] = 255
    return pictures


def augmented(pictures: NDArray[np.uint8], seed: int = 0, **changes: Any) -> NDArray[np.float32]:
    x: Any = pictures
    for layer in augmentation_layers(**{**OFF, **changes}, seed=seed):
        x = layer(x, training=True)
    return np.asarray(x, np.float32)


def corners(pictures: NDArray[np.float32]) -> set[tuple[int, int]]:
    """Where the white quarter lies: (0, 0) is upper left, (0, 1) upper right."""
    return {
        (row, column)
        for picture in pictures
        for row in (0, 1)
        for column in (0, 1)
        if picture[4 + 8 * row, 4 + 8 * column, 0] > 200
    }


def test_no_strength_gives_no_layer() -> None:
    assert augmentation_layers(**OFF, seed=0) == []


def test_a_horizontal_flip_never_turns_upside_down() -> None:
    assert corners(augmented(corner_marked(40), flip="horizontal")) == {(0, 0), (0, 1)}


def test_flipping_both_draws_each_axis_for_itself() -> None:
    assert corners(augmented(corner_marked(40), flip="both")) == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_the_affine_layer_mirrors_as_the_flips_do() -> None:
    assert corners(augmented(corner_marked(40), flip="horizontal", zoom=0.01)) == {(0, 0), (0, 1)}
    assert corners(augmented(corner_marked(40), flip="both", zoom=0.01)) == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert corners(augmented(corner_marked(40), zoom=0.01)) == {(0, 0)}


def test_half_a_turn_either_way_reaches_every_corner() -> None:
    assert corners(augmented(corner_marked(80), rotation=0.5)) == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_a_small_turn_keeps_the_corner() -> None:
    assert corners(augmented(corner_marked(40), rotation=0.05)) == {(0, 0)}


def test_translation_moves_by_no_more_than_its_fraction() -> None:
    x = np.broadcast_to(np.arange(0, 160, 10, dtype=np.uint8)[None, None, :, None], (40, 16, 16, 3))
    moved = augmented(np.ascontiguousarray(x), translation=0.125)[:, 8, 8, 0] - 80
    # Two of sixteen pixels either way, at ten levels a pixel.
    assert -20 <= moved.min() < -10
    assert 10 < moved.max() <= 20


def test_what_leaves_the_frame_is_mirrored_and_never_black() -> None:
    pictures = np.full((20, 16, 16, 3), 100, np.uint8)
    shown = augmented(pictures, flip="both", rotation=0.25, zoom=0.3, translation=0.2)
    np.testing.assert_allclose(shown, 100, atol=0.01)


def test_contrast_stays_in_the_range_of_pixels() -> None:
    shown = augmented(corner_marked(40), contrast=0.4)
    assert shown.min() >= 0
    assert shown.max() == 255
    assert len({float(picture[12, 12, 0]) for picture in shown}) > 30


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_named_augmentations_leave_inference_alone(name: str) -> None:
    x: Any = corner_marked(3)
    for layer in augmentation_layers(**AUGMENTATIONS[name], seed=0):
        x = layer(x, training=False)
    np.testing.assert_array_equal(np.asarray(x), corner_marked(3))


def test_the_seed_decides_what_is_drawn() -> None:
    strong = AUGMENTATIONS["strong"]
    one, same, other = (augmented(corner_marked(4), seed=seed, **strong) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_an_unknown_flip_names_the_valid_ones() -> None:
    with pytest.raises(ValueError, match="one of none, horizontal, both, got 'vertical'"):
        augmentation_layers(**{**OFF, "flip": "vertical"}, seed=0)


def test_a_model_loses_its_augmentation_and_nothing_else() -> None:
    inputs = keras.Input((16, 16, 3), dtype="uint8")
    x = inputs
    for layer in augmentation_layers(**AUGMENTATIONS["strong"], seed=0):
        x = layer(x)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    plain = without_augmentation(model)
    assert not any(isinstance(layer, RandomAffine | keras.layers.RandomContrast) for layer in plain.layers)
    pictures = corner_marked(2)
    np.testing.assert_array_equal(
        plain.predict(pictures.astype(np.float32), verbose=0), model.predict(pictures, verbose=0)
    )
    assert without_augmentation(plain) is plain
