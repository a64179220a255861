import numpy as np

from search.data.folds import folds


def test_every_class_is_spread_alike_over_the_folds() -> None:
    labels = np.repeat([0, 1, 2], [50, 25, 10])
    found = folds(labels, np.arange(85), 5, seed=3)
    assert [np.bincount(found[labels == label], minlength=5).tolist() for label in range(3)] == [
        [10] * 5,
        [5] * 5,
        [2] * 5,
    ]
    np.testing.assert_array_equal(found, folds(labels, np.arange(85), 5, seed=3))
    assert (found != folds(labels, np.arange(85), 5, seed=4)).any()


def test_copies_stay_in_one_fold() -> None:
    groups = np.arange(60) // 3 * 3
    found = folds(np.repeat([0, 1], 30), groups, 4, seed=0)
    assert all(len(set(found[groups == group].tolist())) == 1 for group in set(groups.tolist()))
    assert np.bincount(found).tolist() == [15] * 4


def test_classes_of_a_picture_or_two_do_not_all_fill_the_first_fold() -> None:
    found = folds(np.arange(20), np.arange(20), 5, seed=1)
    assert np.bincount(found).tolist() == [4] * 5
