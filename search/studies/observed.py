"""What an Optuna study is told of trials, its own and those of other runs, and how it is kept small."""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.study import StudyDirection
from optuna.trial import TrialState

from search.record.journal import FAILED, FINISHED, INFEASIBLE, Record
from search.studies.aims import Aims, Cost
from search.studies.hyperparameters import distributions
from search.studies.sampler import BLIND, BLIND_WHEN_STALE, PartlyBlind
from search.studies.spaces import Space, fits

# A suggestion takes TPE some 30 ms for every 1,000 trials of the study. At MOST trials a fresh study goes on from KEPT
# of them: the BEST, from which alone TPE models what is good (it takes 25), and of the others, whose weight falls with
# their age anyway, an even sample. Over 1,200 made-up trials this found as good configurations as the whole history.
MOST = 600
KEPT = 300
BEST = 50

# Proposals in a row that end without a new best, after which most draws are blind until there is one: what TPE models
# as good is by then one neighbourhood. Of 50 replayed searches of drawn pictures by 16 workers 41 came to within a
# point of the best in their time with it, 33 without; on the photographs it changed nothing.
STALE = 10

STATES = {FINISHED: TrialState.COMPLETE, FAILED: TrialState.FAIL}


class Observed:
    """The Optuna study of one family.

    It lives in memory. A trial that finished its budget is told COMPLETE with its best validation accuracy, one
    that ASHA stopped PRUNED with its values by epoch, which TPE ranks below every trial that went further, and a failed
    one FAIL. One that breaks a limit of the run is told PRUNED with the share by which it breaks it, as a constraint:
    TPE ranks such trials below all others, the nearest to the limit first.

    With several objectives a full trial is told one value for each, and TPE models the trials of the first fronts.
    Optuna knows no values by epoch then, so that a stopped trial is PRUNED without any: still below every full one,
    which is what matters while more than a tenth of the trials, those that TPE models as good, run their budget. On a
    made-up family, with rungs that spare the front, telling it COMPLETE with what it had reached found the same fronts.
    """

    def __init__(self, space: Space, aims: Aims, seed: int, given: Mapping[str, Any] | None = None) -> None:
        """No draw departs from the values that are `given`."""
        self.space = space
        self.aims = aims
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            tpe = optuna.samplers.TPESampler(multivariate=True, group=True, constant_liar=True, seed=seed)
        self.sampler = PartlyBlind(tpe, share=BLIND, seed=seed, given=given)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.study = optuna.create_study(directions=aims.directions, sampler=self.sampler)
        self._told = 0  # trials that the study holds, running ones not counted
        self._best = -math.inf  # the highest score that it was told of
        self._since = 0  # proposals that it was told of since then

    def tell(self, trial: optuna.trial.Trial, record: Record) -> None:
        """How a trial that was asked of it ended."""
        state, values = told(record.status, record.values, self.aims, record.cost)
        excess = self.aims.excess(record.cost)
        # Optuna takes values by epoch of studies with one objective alone.
        by_epoch = record.values if len(self.aims.objective) == 1 else {}
        if record.changed:
            # What was drawn has failed; what was trained in its place is an observation where the space has it.
            trial.study.tell(trial, state=TrialState.FAIL)
            point = {**record.point, "batch_size": record.config["batch_size"]}
            if fits(self.space, point):
                ended = optuna.create_trial(
                    state=state, values=values, params=point, distributions=distributions(self.space, point),
                    intermediate_values=by_epoch, constraints=excess,
                )  # fmt: skip
                self.study.add_trial(ended)
        else:
            for name, share in excess.items():
                trial.set_constraint(name, share)
            for epoch, accuracy in by_epoch.items():
                trial.report(accuracy, epoch)
            ended = trial.study.tell(trial, values, state=state)
            if trial.study is not self.study:
                # It was running when the study was renewed.
                self.study.add_trial(ended)
        self._count(record)
        self._grown()

    def learn(self, record: Record) -> None:
        """Takes in a trial of another run, whose figures mean the same in this one."""
        state, values = told(record.status, record.values, self.aims, record.cost)
        seen = optuna.create_trial(
            state=state, values=values, params=record.point, distributions=distributions(self.space, record.point),
            intermediate_values=record.values if len(self.aims.objective) == 1 else {},
            constraints=self.aims.excess(record.cost), user_attrs={"trial": record.name},
        )  # fmt: skip
        self.study.add_trial(seen)
        self._best = max(self._best, record.best)
        self._grown()

    def _count(self, record: Record) -> None:
        """Whether the proposals still find better ones decides how many of the next draws are blind."""
        if record.best > self._best:
            self._best, self._since = record.best, 0
        else:
            self._since += not record.blind and record.status != INFEASIBLE
        # With several objectives a proposal can be worth its trial without being the most accurate.
        stale = self._since >= STALE and len(self.aims.objective) == 1
        self.sampler.share = BLIND_WHEN_STALE if stale else BLIND

    def _grown(self) -> None:
        """It holds one more trial; with too many it goes on in a fresh study from those that TPE learns from most."""
        self._told += 1
        if self._told < MOST:
            return
        seen = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        ranked = in_order(seen, self.aims)
        best, rest = ranked[:BEST], sorted(ranked[BEST:], key=lambda trial: trial.number)
        kept = [*best, *rest[:: -(-len(rest) // (KEPT - BEST))]] if rest else best
        self.study = optuna.create_study(directions=self.aims.directions, sampler=self.sampler)
        self.study.add_trials(sorted(kept, key=lambda trial: trial.number))
        self._told = len(kept)


def told(status: str, values: Mapping[int, float], aims: Aims, cost: Cost) -> tuple[TrialState, list[float] | None]:
    """What Optuna is told of a trial that has ended: its state and, of a complete one, a value for each objective."""
    state = STATES.get(status, TrialState.PRUNED)
    if state == TrialState.PRUNED and not values and status != INFEASIBLE:
        # Ended from outside before it had told anything: no observation at all.
        return TrialState.FAIL, None
    best = max(values.values(), default=-math.inf)
    return state, aims.values(best, cost) if state == TrialState.COMPLETE else None


def in_order(trials: Sequence[optuna.trial.FrozenTrial], aims: Aims) -> list[optuna.trial.FrozenTrial]:
    """Trials as TPE prefers them: full budgets by their front and accuracy, the furthest of the others, the infeasible.

    Of several objectives the first front holds what no trial beats, the second what only the first beats, and so on.
    """
    full = [trial for trial in trials if trial.state == TrialState.COMPLETE and not infeasible(trial)]
    front = dict(zip([trial.number for trial in full], fronts([trial.values for trial in full], aims), strict=True))
    accuracy = aims.objective.index("accuracy")

    def rank(trial: optuna.trial.FrozenTrial) -> tuple[int, float, float]:
        if infeasible(trial):
            return 2, infeasible(trial), 0.0
        if trial.number in front:
            return 0, front[trial.number], -trial.values[accuracy]
        step = trial.last_step
        return 1, -(step or 0), 0.0 if step is None else -trial.intermediate_values[step]

    return sorted(trials, key=rank)


def infeasible(trial: optuna.trial.FrozenTrial) -> float:
    """By how much a trial breaks the limits, in shares of them; 0 where it breaks none."""
    return sum(share for share in trial.constraints.values() if share > 0)


def fronts(values: Sequence[Sequence[float]], aims: Aims) -> list[int]:
    """Of each trial's values how many fronts are better than its own; with one objective all share the first."""
    if len(aims.objective) == 1:
        return [0] * len(values)
    signs = [-1.0 if direction == StudyDirection.MAXIMIZE else 1.0 for direction in aims.directions]
    losses = np.array(values, float).reshape(len(values), len(signs)) * signs
    beats = np.all(losses[:, None] <= losses, axis=2) & np.any(losses[:, None] < losses, axis=2)
    found = np.zeros(len(values), int)
    left = np.ones(len(values), bool)
    while left.any():
        beaten = np.any(beats[left], axis=0)
        found[left & beaten] += 1
        left &= beaten
    return found.tolist()
