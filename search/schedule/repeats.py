"""The jobs that train one of a family's trials again, or score the model that it has left."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from models.sizes import is_probe
from results.analysis.doubt import held_of
from results.analysis.numbers import full_trials
from search.record.journal import Journal
from search.schedule.budget import Budget
from search.settings import Settings
from search.training.worker import REFIT, RETRAIN, Job


class Repeats:
    """Makes them; `best` is what `results.analysis.numbers.describe` says of the trial."""

    def __init__(self, settings: Settings, journal: Journal, budget: Budget, job: Callable[..., Job]) -> None:
        self.settings = settings
        self.journal = journal
        self.budget = budget
        self.job = job  # makes a job of kind, family, configuration and seed

    def retraining(self, family: str, best: Mapping[str, Any], number: int) -> Job:
        """The retraining of a trial with the seed of a number; that of number 0 is exported."""
        planned = self.journal.records[best["trial"]].planned
        job = self.job(RETRAIN, family, best["config"], self.settings.seed + number)
        rows = self.journal.read()
        return replace(
            job, epochs=best["epoch"], planned=planned, export=number == 0,
            held=held_of(rows, best["trial"], family), probe=self._probe(family, best) if number == 0 else None,
        )  # fmt: skip

    def refit(self, family: str, best: Mapping[str, Any]) -> Job:
        """The training of a trial on all pictures, once the model that is scored is there."""
        return replace(self.retraining(family, best, 0), kind=REFIT, export=False, probe=None)

    def own(self, family: str, best: Mapping[str, Any]) -> Job:
        """The trial's own model, trained without the validation pictures, is scored and handed over."""
        record = self.journal.records[best["trial"]]
        job = self.job(RETRAIN, family, best["config"], self.settings.seed + int(record.name.rsplit("-", 1)[1]))
        return replace(
            job, epochs=record.planned, planned=record.planned, export=True, own=True, kept=True, name=record.name
        )

    def _probe(self, family: str, best: Mapping[str, Any]) -> dict[str, Any] | None:
        """The family's best linear probe, where it is not the best itself, was tried, and there is time for it."""
        if is_probe(best["config"]):
            return None
        rows = self.journal.read()
        for record in full_trials(rows, family):
            if is_probe(record["config"]):
                seconds = sum(row["seconds"] or 0.0 for row in rows.trials[record["trial"]].curve)
                # It is solved again, and with classes left out.
                fits = not self.budget.limited or self.budget.fits(self.budget.retraining(family) + 2 * seconds, 0.0)
                return record["config"] if fits else None
        return None
