"""What a study draws from: TPE, and for a share of the trials blind chance."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

# Of all draws. TPE comes back to what it believes in and has no way of hearing that it is wrong: blind draws have, as
# in BOHB (Falkner et al., 2018), which takes a third. On the recorded tables a quarter halved what a search misses in
# the end.
BLIND = 0.25
# Of the draws of a study that has told its sampler of `search.studies.study.STALE` proposals since one was better than
# all.
BLIND_WHEN_STALE = 0.75


class PartlyBlind(BaseSampler):
    """Another sampler, but for a share of the trials, drawn by a seed, whose parameters are all drawn at random."""

    def __init__(
        self, sampler: BaseSampler, *, share: float, seed: int, given: Mapping[str, Any] | None = None
    ) -> None:
        self.share = share
        self._given = dict(given or {})  # values that no draw departs from; points that are enqueued may
        self._sampler = sampler
        chance, points = np.random.SeedSequence(seed).generate_state(2)
        self._chance = np.random.default_rng(chance)
        # Not the seed itself: TPE begins with random draws from it, and the two would draw the same points.
        self._random = optuna.samplers.RandomSampler(seed=int(points))
        self._now: BaseSampler = sampler  # what the trial draws from that is being drawn

    @property
    def blind(self) -> bool:
        """Whether the last trial that was drawn was a blind one."""
        return self._now is self._random

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        # The first that Optuna asks of a new trial.
        self._now = self._random if self._chance.random() < self.share else self._sampler
        return self._now.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        found = self._now.sample_relative(study, trial, search_space)
        return found | {name: value for name, value in self._given.items() if name in found}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        if param_name in self._given:
            return self._given[param_name]
        return self._now.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Any) -> None:
        self._sampler.after_trial(study, trial, state, values)
