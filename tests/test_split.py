import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from search.data.split import Split, distinct_pictures, split_pictures

CLASSES = ("cat", "dog")


def alone(count: int) -> NDArray[np.int64]:
    return np.arange(count)


def counts(split: Split, labels: NDArray[np.int64]) -> list[list[int]]:
    return [np.bincount(labels[side], minlength=2).tolist() for side in (split.train, split.validation, split.test)]


def test_every_class_is_divided_alike() -> None:
    labels = np.repeat([0, 1], [100, 50])
    split = split_pictures(labels, alone(150), None, CLASSES)
    assert counts(split, labels) == [[64, 32], [16, 8], [20, 10]]
    everything = np.concatenate([split.train, split.validation, split.test])
    assert np.sort(everything).tolist() == list(range(150))
    assert (split.notes, split.removed.tolist()) == ((), [])


def test_the_seed_decides() -> None:
    labels = np.repeat([0, 1], 50)
    one, same, other = (split_pictures(labels, alone(100), None, CLASSES, seed=seed) for seed in (1, 1, 2))
    assert one.test.tolist() == same.test.tolist()
    assert one.test.tolist() != other.test.tolist()


def test_small_classes_have_a_picture_on_every_side() -> None:
    labels = np.repeat([0, 1], [3, 5])
    assert counts(split_pictures(labels, alone(8), None, CLASSES), labels) == [[1, 3], [1, 1], [1, 1]]


def test_groups_stay_on_one_side() -> None:
    labels = np.repeat([0, 1], 40)
    groups = np.arange(80) // 4
    split = split_pictures(labels, groups, None, CLASSES)
    sides = [set(groups[side].tolist()) for side in (split.train, split.validation, split.test)]
    assert [len(side) for side in sides] == [14, 2, 4]
    assert not sides[0] & sides[1]
    assert not sides[0] & sides[2]
    assert not sides[1] & sides[2]


def test_a_group_of_two_classes_stays_together() -> None:
    labels = np.repeat([0, 1], 10)
    groups = alone(20)
    groups[10:13] = 0  # pictures 0, 10, 11 and 12 are copies
    split = split_pictures(labels, groups, None, CLASSES)
    held = [{0, 10, 11, 12} & set(side.tolist()) for side in (split.train, split.validation, split.test)]
    assert sorted(map(len, held)) == [0, 0, 4]
    assert split.notes == ("nearly the same picture under different classes: 1",)


def test_a_large_group_leaves_every_side_something() -> None:
    labels = np.repeat([0, 1], [15, 10])
    groups = np.concatenate([[0] * 5, [1] * 5, [2] * 5, np.arange(3, 13)])
    split = split_pictures(labels, groups, None, CLASSES)
    assert counts(split, labels)[0][0] == counts(split, labels)[1][0] == counts(split, labels)[2][0] == 5


@settings(deadline=None)
@given(
    st.lists(st.integers(3, 40), min_size=2, max_size=5),
    st.integers(0, 2**32 - 1),
)
def test_any_classes_are_divided_whole_and_fairly(sizes: list[int], seed: int) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    split = split_pictures(labels, alone(len(labels)), None, [str(size) for size in sizes], seed=seed)
    everything = np.concatenate([split.train, split.validation, split.test])
    assert np.sort(everything).tolist() == list(range(len(labels)))
    for label, size in enumerate(sizes):
        for side, fraction in ((split.train, 0.64), (split.validation, 0.16), (split.test, 0.20)):
            held = int(np.sum(labels[side] == label))
            assert held >= 1
            assert abs(held - size * fraction) < 2


def test_unreadable_pictures_are_on_no_side() -> None:
    labels = np.repeat([0, 1], 10)
    readable = np.ones(20, np.bool_)
    readable[[0, 15]] = False
    split = split_pictures(labels, alone(20), None, CLASSES, readable=readable)
    everything = np.concatenate([split.train, split.validation, split.test])
    assert sorted(set(range(20)) - set(everything.tolist())) == [0, 15]


SIDES = ["train"] * 20 + ["validation"] * 6 + ["test"] * 4


def test_the_users_sides_are_kept() -> None:
    labels = np.arange(30) % 2
    split = split_pictures(labels, alone(30), SIDES, CLASSES, seed=7)
    assert split.train.tolist() == list(range(20))
    assert split.validation.tolist() == list(range(20, 26))
    assert split.test.tolist() == list(range(26, 30))
    assert split.notes == ()


def test_without_test_it_is_cut_from_train() -> None:
    labels = np.arange(26) % 2
    split = split_pictures(labels, alone(26), SIDES[:26], CLASSES)
    assert counts(split, labels) == [[8, 8], [3, 3], [2, 2]]
    assert max(split.test) < 20
    assert split.notes == ("the folder has no test/: 4 pictures, 20% of train, were cut from it",)


def test_without_validation_it_is_cut_from_train() -> None:
    labels = np.arange(24) % 2
    split = split_pictures(labels, alone(24), ["train"] * 20 + ["test"] * 4, CLASSES)
    assert counts(split, labels) == [[8, 8], [2, 2], [2, 2]]
    assert split.notes == ("the folder has no validation/: 4 pictures, 20% of train, were cut from it",)


def test_copies_across_the_users_sides_leave_the_larger_one() -> None:
    labels = np.arange(30) % 2
    groups = alone(30)
    groups[20] = 0  # train and validation
    groups[26] = 2  # train and test
    groups[28] = 22  # validation and test
    split = split_pictures(labels, groups, SIDES, CLASSES)
    assert split.removed.tolist() == [0, 2, 22]
    assert [len(split.train), len(split.validation), len(split.test)] == [18, 5, 4]
    assert split.notes == (
        "2 pictures of train left out: nearly the same picture is in validation or test",
        "1 picture of validation left out: nearly the same picture is in test",
    )


def test_a_class_that_copies_empty_is_an_error() -> None:
    labels = np.array([0, 1, 1, 0, 1, 0, 1])
    sides = ["train"] * 3 + ["validation"] * 2 + ["test"] * 2
    with pytest.raises(
        ValueError, match="every class needs a readable picture of its own in train, and `cat` has none"
    ):
        split_pictures(labels, np.array([0, 1, 2, 0, 4, 5, 6]), sides, CLASSES)


def test_a_class_with_too_few_pictures() -> None:
    with pytest.raises(
        ValueError, match=r"needs at least 3 distinct readable pictures a class, .* test, got 2 in `dog`"
    ):
        split_pictures(np.repeat([0, 1], [9, 2]), alone(11), None, CLASSES)


def test_copies_are_not_distinct_pictures() -> None:
    with pytest.raises(
        ValueError, match=r"needs at least 3 distinct readable pictures a class, .* test, got 1 in `dog`"
    ):
        split_pictures(np.repeat([0, 1], [9, 3]), np.array([*range(9), 9, 9, 9]), None, CLASSES)


def test_all_classes_with_too_few_pictures_are_named_with_the_way_out() -> None:
    labels = np.repeat([0, 1, 2, 3], [9, 2, 1, 8])
    with pytest.raises(
        ValueError,
        match=r"got 2 in `b`, 1 in `c`: add pictures, put these into another class, or .* classes out with --rare drop",
    ):
        split_pictures(labels, alone(20), None, "abcd")
    sides = ["train"] * 12 + ["test"] * 8
    with pytest.raises(
        ValueError, match=r"got 1 in `c`: .* anew with --resplit, or leave the class out with --rare drop$"
    ):
        split_pictures(np.array([0, 1] * 5 + [1, 2] + [0, 1, 2, 0] * 2), alone(20), sides, "abc")


def test_a_validation_side_of_a_few_pictures_is_called_small() -> None:
    labels = np.arange(1010) % 2
    sides = ["train"] * 900 + ["validation"] * 10 + ["test"] * 100
    assert split_pictures(labels, alone(1010), sides, CLASSES).notes == (
        "validation has 10 pictures to 900 of train: too few to tell configurations apart; "
        "--resplit cuts the sides anew",
    )


def test_distinct_pictures_are_counted_by_class() -> None:
    labels = np.array([0, 0, 0, 1, 1, -1])
    readable = np.array([True, True, True, True, False, True])
    assert distinct_pictures(labels, np.array([0, 0, 2, 3, 4, 5]), readable, 3) == [2, 1, 0]


def test_copies_that_leave_too_little_name_the_way_out() -> None:
    with pytest.raises(
        ValueError, match=r"got 1 in `dog` \(its 3 pictures are copies of each other\) \(--duplicates exact takes only"
    ):
        split_pictures(np.repeat([0, 1], [9, 3]), np.array([*range(9), 9, 9, 9]), None, CLASSES)
    with pytest.raises(ValueError, match=r"got 2 in `dog`: add pictures, put"):
        split_pictures(np.repeat([0, 1], [9, 2]), alone(11), None, CLASSES)
    labels, sides = np.array([0, 1, 1, 0, 1, 0, 1]), ["train"] * 3 + ["validation"] * 2 + ["test"] * 2
    lost = r"in train, and `cat` has none: .*; 1 picture of that left out as copies \(--dup"
    with pytest.raises(ValueError, match=lost):
        split_pictures(labels, np.array([0, 1, 2, 0, 4, 5, 6]), sides, CLASSES)


@pytest.mark.parametrize("fractions", [(0.8, 0.2, 0.0), (0.5, 0.2, 0.2)])
def test_fractions_that_divide_nothing(fractions: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="must be positive and sum to 1, got"):
        split_pictures(np.repeat([0, 1], 9), alone(18), None, CLASSES, fractions)
