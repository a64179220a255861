"""The searcher: one Optuna study per family, told the truth about every trial."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import optuna
from optuna.trial import TrialState

from search.hyperparameters import TrialHyperParameters, values_to_point
from search.journal import FAILED, FINISHED, Record
from search.settings import FAMILIES, Settings
from search.weights import Weights
from spaces import SPACES, STARTS

Space = Callable[[Any], dict[str, Any]]

STATES = {FINISHED: TrialState.COMPLETE, FAILED: TrialState.FAIL}


class Study:
    """One family's Optuna study.

    The study lives in memory. A trial that finished its budget is told COMPLETE with its best validation accuracy, one
    that ASHA stopped PRUNED with its values by epoch, which TPE ranks below every trial that went further, and a failed
    one FAIL.
    """

    def __init__(self, space: Space, starts: tuple[Mapping[str, Any], ...], *, seed: int) -> None:
        self._space = space
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(multivariate=True, group=True, constant_liar=True, seed=seed)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.study = optuna.create_study(direction="maximize", sampler=sampler)
        self._trials: dict[str, optuna.trial.Trial] = {}
        # The defaults of the space are the study's own configuration: it always comes first.
        for values in ({}, *starts):
            self.study.enqueue_trial(values_to_point(space, values), skip_if_exists=True)

    def suggest(self, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """The configuration of the next trial, and the point of the space that it was made from."""
        trial = self.study.ask()
        self._trials[name] = trial
        hp = TrialHyperParameters(trial)
        return self._space(hp), {key: hp.values[key] for key in hp.distributions}

    def tell(self, record: Record) -> None:
        """How the trial of this name ended."""
        trial = self._trials.pop(record.name)
        for epoch, value in record.values.items():
            trial.report(value, epoch)
        state = STATES.get(record.status, TrialState.PRUNED)
        if state == TrialState.PRUNED and not record.values:
            # Ended from outside before it had told anything: no observation at all.
            state = TrialState.FAIL
        self.study.tell(trial, record.best if state == TrialState.COMPLETE else None, state=state)


def studies_of(settings: Settings, weights: Sequence[Weights]) -> dict[str, Study]:
    """A fresh study for each family of a run, over the spaces that its settings and weights allow."""
    studies = {}
    for family in settings.families:
        bound: dict[str, Any] = {"image_sizes": settings.image_sizes}
        starts = STARTS[family]
        if family == "mobilenet":
            bound["backbones"] = tuple((item.backbone, item.alpha) for item in weights)
            bound["pretrained"] = all(item.path for item in weights)
            # What is known to be good of a trained trunk says nothing of a random one.
            starts = starts if bound["pretrained"] else ()
        # Seeds of their own, or families that share a space would draw the same points.
        seed = settings.seed + 1000 * FAMILIES.index(family)
        studies[family] = Study(partial(SPACES[family], **bound), starts, seed=seed)
    return studies
