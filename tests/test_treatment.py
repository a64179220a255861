import numpy as np
import pytest
from PIL import Image, ImageOps

from search.data.demo import draw_array
from search.data.treatment import mirror, training_copies, treat, turn, whiten


def test_whitening_follows_its_formula() -> None:
    pictures, _ = draw_array(6, 32)
    levels = pictures.astype(np.float64)
    mean = levels.mean(axis=(1, 2), keepdims=True)
    deviation = np.maximum(
        1.0, np.sqrt(np.maximum((levels * levels).mean(axis=(1, 2), keepdims=True) - mean * mean, 0))
    )
    gain = 42.5 / deviation
    expected = np.clip(np.rint(levels * gain + (127.5 - mean * gain)), 0, 255).astype(np.uint8)
    whitened = treat(pictures, whitening=True, auto_contrast=False, equalize=False, threads=2)
    assert (whitened == expected).all()


def test_whitening_of_a_small_picture() -> None:
    picture = np.zeros((1, 4, 3), np.uint8)
    picture[0, :, 0] = [0, 0, 200, 200]
    picture[0, :, 1] = [9, 9, 9, 9]
    picture[0, :, 2] = [0, 0, 0, 255]
    whitened = np.asarray(whiten(Image.fromarray(picture)))
    assert whitened[0, :, 0].tolist() == [85, 85, 170, 170]  # one deviation is 42.5 levels
    assert whitened[0, :, 1].tolist() == [128, 128, 128, 128]
    assert whitened[0, :, 2].tolist() == [103, 103, 103, 201]


def test_whitened_channels_have_one_mean_and_deviation() -> None:
    random = np.random.default_rng(0)
    pictures = random.integers([0, 90, 20], [256, 110, 60], (8, 48, 48, 3), dtype=np.uint8)
    whitened = treat(pictures, whitening=True, auto_contrast=False, equalize=False, threads=1).astype(np.float64)
    assert whitened.mean(axis=(1, 2)) == pytest.approx(127.5, abs=0.5)
    assert whitened.std(axis=(1, 2)) == pytest.approx(42.5, abs=0.5)


def test_treatments_are_pillows_in_a_fixed_order() -> None:
    pictures, _ = draw_array(40, 24)
    treated = treat(pictures, whitening=True, auto_contrast=True, equalize=True, threads=3)
    for picture, result in zip(pictures, treated, strict=True):
        expected = whiten(ImageOps.equalize(ImageOps.autocontrast(Image.fromarray(picture))))
        assert (result == np.asarray(expected)).all()


def test_auto_contrast_and_equalize_alone() -> None:
    picture = np.full((1, 2, 2, 3), 100, np.uint8)
    picture[0, 0] = 49
    assert treat(picture, False, True, False, threads=1)[0, :, 0, 0].tolist() == [0, 255]
    pictures, _ = draw_array(3, 64)
    equal = treat(pictures, False, False, True, threads=1)
    assert equal.mean(axis=(1, 2)) == pytest.approx(127.5, abs=8)


def test_nothing_to_do_gives_the_array_itself() -> None:
    pictures, _ = draw_array(2, 16)
    assert treat(pictures, False, False, False, threads=1) is pictures
    assert training_copies(pictures, transpose=False, rotation=0, threads=1) is pictures


def test_treatment_leaves_its_input_alone() -> None:
    pictures, _ = draw_array(4, 16)
    pictures.flags.writeable = False
    before = pictures.copy()
    treat(pictures, True, True, True, threads=2)
    training_copies(pictures, transpose=True, rotation=10, threads=2)
    assert (pictures == before).all()


def test_copies_come_in_blocks() -> None:
    pictures, _ = draw_array(5, 20)
    copies = training_copies(pictures, transpose=True, rotation=15.0, threads=2)
    assert copies.shape == (20, 20, 20, 3)
    assert (copies[:5] == pictures).all()
    assert (copies[5:10] == pictures[:, :, ::-1]).all()
    assert (copies[13] == turn(pictures[3], 15.0)).all()
    assert (copies[18] == turn(pictures[3], -15.0)).all()


@pytest.mark.parametrize(("transpose", "rotation", "blocks"), [(True, 0, 2), (False, 5.0, 3)])
def test_number_of_copies(transpose: bool, rotation: float, blocks: int) -> None:
    pictures, _ = draw_array(3, 16)
    assert len(training_copies(pictures, transpose, rotation, threads=1)) == 3 * blocks


def test_a_quarter_turn_is_counter_clockwise() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    assert turn(picture, 90).astype(int) == pytest.approx(np.rot90(picture).astype(int), abs=1)
    assert (turn(picture, 0) == picture).all()


def test_turning_leaves_no_black_corner() -> None:
    plain = np.full((16, 24, 3), 200, np.uint8)
    assert (turn(plain, 33) == 200).all()


def test_mirror_shares_memory() -> None:
    pictures, _ = draw_array(2, 16)
    assert np.shares_memory(mirror(pictures), pictures)
    assert (mirror(mirror(pictures)) == pictures).all()


def test_a_negative_rotation_is_refused() -> None:
    pictures, _ = draw_array(2, 16)
    with pytest.raises(ValueError, match="needs a rotation >= 0 degrees, got -5"):
        training_copies(pictures, transpose=False, rotation=-5, threads=1)
