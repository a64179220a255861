import numpy as np
import pytest

from search.data.grouped import divide, joined
from search.data.split import split_pictures

SIDES, FRACTIONS = ("train", "validation", "test"), (0.64, 0.16, 0.20)


def test_copies_and_groups_make_one_relation() -> None:
    # 0 and 3 are copies, 3 and 4 of one patient, 1 and 4 of another camera's name, 2 stands alone.
    copies = np.array([0, 1, 2, 0, 4, 5])
    assert joined(copies, ["", "b", "", "a", "a", "b"]).tolist() == [0, 1, 2, 0, 0, 1]
    assert joined(copies, [""] * 6).tolist() == [0, 1, 2, 0, 4, 5]


def test_no_group_is_on_two_sides_and_every_class_is_spread() -> None:
    chance = np.random.default_rng(4)
    labels = chance.integers(0, 5, 600)
    groups = chance.integers(0, 90, 600)
    split = split_pictures(labels, groups, None, list("abcde"), seed=1, grouped=True)
    on = [set(groups[rows].tolist()) for rows in (split.train, split.validation, split.test)]
    assert not on[0] & on[1] | on[0] & on[2] | on[1] & on[2]
    assert sum(map(len, (split.train, split.validation, split.test))) == 600
    for label, count in enumerate(np.bincount(labels)):
        shares = [(labels[rows] == label).sum() / count for rows in (split.train, split.validation, split.test)]
        assert np.abs(np.subtract(shares, FRACTIONS)).max() < 0.1
    again = split_pictures(labels, groups, None, list("abcde"), seed=1, grouped=True)
    assert again.test.tolist() == split.test.tolist()
    assert (
        split_pictures(labels, groups, None, list("abcde"), seed=2, grouped=True).test.tolist() != again.test.tolist()
    )


def test_a_rare_class_inside_of_large_groups_is_on_every_side() -> None:
    # Of 12 groups, in all of which the first class is the commonest, three alone hold the second.
    labels = np.array([0] * 10 * 12 + [1] * 3)
    groups = np.array([*np.repeat(np.arange(12), 10), 0, 1, 2])
    parts = divide(np.arange(123), labels, groups, ["cat", "dog"], SIDES, FRACTIONS, np.random.default_rng(0))
    assert [(labels[rows] == 1).sum() for rows in parts] == [1, 1, 1]


def test_a_class_of_two_groups_is_refused() -> None:
    labels, groups = np.repeat([0, 1], 10), np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, *[10, 11] * 5])
    with pytest.raises(
        ValueError,
        match=r"needs at least 3 groups of readable pictures a class, .* got 2 in `dog`: .* --exclude dog, or ignore",
    ):
        split_pictures(labels, groups, None, ["cat", "dog"], grouped=True)


def test_groups_that_hold_each_others_last_pictures_are_refused() -> None:
    # Each class is in three of four groups: wherever a side has a single group, the class that this lacks is missing.
    holds = {0: "abc", 1: "abd", 2: "acd", 3: "bcd"}
    pairs = [(group, "abcd".index(name)) for group, names in holds.items() for name in names]
    groups, labels = np.array(pairs).T
    with pytest.raises(
        ValueError, match=r"so that every class is in `train`, `validation`, `test`, and `.` would have"
    ):
        divide(np.arange(len(pairs)), labels, groups, list("abcd"), SIDES, FRACTIONS, np.random.default_rng(0))


def test_of_the_users_own_sides_test_keeps_its_groups() -> None:
    labels = np.tile([0, 1], 6)
    groups = np.array([0, 1, 2, 3, 4, 5, 0, 7, 8, 9, 10, 11])
    sides = ["train"] * 6 + ["test"] * 2 + ["validation"] * 4
    split = split_pictures(labels, groups, sides, ["a", "b"], grouped=True)
    assert split.removed.tolist() == [0]
    assert split.notes[0] == (
        "WARNING: 1 picture of train left out: a picture of the same group, or nearly the same one, is in validation "
        "or test"
    )
