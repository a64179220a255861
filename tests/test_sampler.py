"""The share of trials that is drawn blindly."""

from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from search.studies.sampler import BLIND, PartlyBlind


class Half(BaseSampler):
    """Draws 0.5, whatever is asked."""

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: Any) -> dict[str, Any]:
        return {}

    def sample_independent(self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: Any) -> Any:
        return 0.5


def drawn(sampler: BaseSampler, count: int) -> list[tuple[float, float]]:
    study = optuna.create_study(sampler=sampler)
    found = []
    for _ in range(count):
        trial = study.ask()
        found.append((trial.suggest_float("x", 0, 1), trial.suggest_float("y", 0, 1)))
        study.tell(trial, sum(found[-1]))
    return found


@pytest.mark.parametrize(("share", "low", "high"), [(0.0, 0, 0), (BLIND, 80, 120), (1.0, 400, 400)])
def test_a_share_of_the_trials_is_blind_in_every_parameter(share: float, low: int, high: int) -> None:
    points = drawn(PartlyBlind(Half(), share=share, seed=3), 400)
    blind = [point for point in points if point != (0.5, 0.5)]
    assert low <= len(blind) <= high
    assert all(0.5 not in point for point in blind)


def test_the_seed_decides_and_no_point_comes_twice() -> None:
    one, same, other = (drawn(PartlyBlind(TPESampler(seed=seed), share=0.5, seed=seed), 30) for seed in (1, 1, 2))
    assert one == same
    assert one != other
    # The blind draws are not those that TPE itself begins with.
    assert len(set(one)) == 30
