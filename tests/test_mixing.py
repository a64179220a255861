"""Mixup: what a batch is laid over, and what becomes of its labels."""

import numpy as np
import pytest

from models.mixing import mixed


def test_pictures_and_labels_are_mixed_alike() -> None:
    random = np.random.default_rng(0)
    pictures = np.full((3, 2, 2, 3), 0, np.uint8)
    pictures[1], pictures[2] = 100, 255
    labels = np.eye(3, dtype=np.float32)
    shares = []
    for _ in range(200):
        laid, told, weights = mixed(pictures, labels, np.array([1, 2, 4], np.float32), 0.2, random)
        assert (laid.dtype.name, told.dtype.name) == ("uint8", "float32")
        assert weights is not None
        np.testing.assert_allclose(told.sum(axis=1), 1, rtol=1e-6)
        np.testing.assert_allclose(laid[:, 0, 0, 0], told @ [0, 100, 255], atol=0.51)
        np.testing.assert_allclose(weights, told @ [1, 2, 4], rtol=1e-6)
        shares += [row.max() for row in told]
    # Most batches are next to what they were, or next to another order of it.
    assert np.mean(np.array(shares) > 0.9) > 0.5
    assert min(shares) < 0.6
    assert pictures[1].max() == 100, "what was given stays as it was"


def test_the_random_numbers_decide() -> None:
    pictures = np.random.default_rng(1).integers(0, 256, (8, 4, 4, 3), dtype=np.uint8)
    labels = np.eye(8, dtype=np.float32)
    one, same, other = (mixed(pictures, labels, None, 0.4, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one[0], same[0])
    assert np.array_equal(one[1], same[1])
    assert not np.array_equal(one[1], other[1])
    assert one[2] is None


@pytest.mark.parametrize("strength", [0.2, 0.4])
def test_a_batch_of_one_stays_as_it_is(strength: float) -> None:
    picture = np.arange(48, dtype=np.uint8).reshape(1, 4, 4, 3)
    laid, told, _ = mixed(picture, np.ones((1, 1), np.float32), None, strength, np.random.default_rng(0))
    assert np.array_equal(laid, picture)
    assert told.tolist() == [[1.0]]
