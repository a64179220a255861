"""What ASHA decides, figure by figure."""

import pytest

from search.schedule.rungs import Rungs, rung_epochs


@pytest.mark.parametrize(
    ("first", "reduction", "budget", "expected"),
    [
        (1, 3, 9, (1, 3)),
        (1, 3, 10, (1, 3, 9)),
        (2, 4, 40, (2, 8, 32)),
        (1, 3, 1, ()),
        (5, 2, 4, ()),
    ],
)
def test_rungs_lie_below_the_budget(first: int, reduction: int, budget: int, expected: tuple[int, ...]) -> None:
    assert rung_epochs(first, reduction, budget) == expected


def test_the_better_half_passes_the_first_rung_and_the_best_third_every_other() -> None:
    rungs = Rungs((1, 3), 3)
    # Two have nothing to be selected from; the third must be the best of three, the sixth among the best of six.
    verdicts = [rungs.judge(1, value) for value in (0.2, 0.5, 0.3, 0.6, 0.1, 0.5)]
    assert verdicts == [(True, 0.2), (True, 0.2), (False, 0.5), (True, 0.5), (False, 0.5), (True, 0.5)]
    assert rungs.judge(3, 0.2) == (True, 0.2)
    assert rungs.judge(3, 0.5) == (True, 0.2)
    assert rungs.judge(3, 0.3) == (False, 0.5)
    assert rungs.judge(3, 0.6) == (True, 0.6)
    assert rungs.judge(3, 0.1) == (False, 0.6)
    assert rungs.judge(3, 0.5) == (True, 0.5)
    assert rungs.reached == {rung: [0.2, 0.5, 0.3, 0.6, 0.1, 0.5] for rung in (1, 3)}


def test_a_tie_goes_on() -> None:
    rungs = Rungs((1,), 2)
    assert [rungs.judge(1, 0.5) for _ in range(4)] == [(True, 0.5)] * 4


def test_rungs_are_judged_apart() -> None:
    rungs = Rungs((1, 3), 2)
    assert rungs.judge(1, 0.9) == (True, 0.9)
    assert rungs.judge(3, 0.1) == (True, 0.1)
    assert rungs.judge(3, 0.2) == (True, 0.2)
    assert rungs.reached == {1: [0.9], 3: [0.1, 0.2]}


def test_where_few_are_expected_the_second_is_compared_already() -> None:
    rungs = Rungs((1, 3), 3)
    assert [rungs.judge(1, value, least=2) for value in (0.5, 0.4, 0.6, 0.5)] == [
        (True, 0.5), (False, 0.5), (True, 0.6), (True, 0.5),
    ]  # fmt: skip


def test_other_epochs_are_no_rungs() -> None:
    rungs = Rungs((1, 3), 3)
    assert rungs.judge(2, 0.0) is None
    assert rungs.reached == {}


def test_who_does_three_times_the_work_is_compared_with_what_others_showed_for_it() -> None:
    rungs = Rungs((1, 3, 9), 3)
    for value in (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8):
        rungs.judge(1, value)
    # Nobody has come further yet: the work counts for nothing.
    assert rungs.judge(1, 0.1, work=3.0) == (False, 0.5)
    for value in (0.5, 0.6, 0.7, 0.8):
        rungs.judge(3, value)
    # A ninth: the best four of all go on, which are those that went on.
    assert rungs.judge(1, 0.5, work=2.9) == (True, 0.5)
    assert rungs.judge(1, 0.55, work=3.0) == (True, 0.5)
    assert rungs.judge(1, 0.45, work=3.0) == (False, 0.5)
    # At the last rung there is nothing later to be compared with.
    for value in (0.6, 0.7, 0.8):
        rungs.judge(9, value)
    assert rungs.judge(9, 0.65, work=3.0) == (False, 0.8)


def test_of_the_later_rung_no_more_pass_than_the_earlier_one_lets_go_on() -> None:
    rungs = Rungs((1, 3), 3)
    # The first two pass however they start, so that three come to the later rung where two should.
    for value in (0.1, 0.2, 0.5, 0.6):
        rungs.judge(1, value)
    for value in (0.15, 0.55, 0.65):
        rungs.judge(3, value)
    assert rungs.judge(1, 0.3, work=4.0) == (False, 0.55)
