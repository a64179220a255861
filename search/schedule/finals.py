"""The final of a family: its best configurations meet on folds that have not chosen them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from results.analysis.numbers import contenders, final_error, final_score
from search.record.journal import Journal
from search.schedule import Say
from search.schedule.budget import Budget
from search.settings import Settings
from search.training.worker import FINAL, Job

# Folds of train and validation on which finalists meet, beside the validation side, which has chosen them.
FINAL_FOLDS = (1, 2)
# And all that there are, where that takes no more of a family's share: two folds of a few hundred pictures tell little.
ALL_FOLDS, ALL_SHARE = (1, 2, 3, 4), 0.1
FINAL_SHARE = 0.25  # of a family's share, that the final may take


class Finals:
    """The races, each a list of jobs by name; a finalist that is clearly behind leaves."""

    def __init__(self, settings: Settings, journal: Journal, budget: Budget, job: Callable[..., Job], say: Say) -> None:
        self.settings = settings
        self.journal = journal
        self.budget = budget
        self.job = job  # makes a job of kind, family, configuration and seed
        self.say = say
        self.waiting: dict[str, list[tuple[str, Job]]] = {}  # by family, jobs not given out, once its search is over
        self.playing: dict[str, set[str]] = {}  # by family, names of those given out

    def next(self, family: str) -> tuple[str, Job] | None:
        """A name and a job, whose `name` is the finalist; None where all are given out."""
        if family not in self.waiting:
            self.waiting[family], self.playing[family] = list(self._plan(family)), set()
            if self.waiting[family]:
                trials = {job.name for _, job in self.waiting[family]}
                self.say(f"{family}: {len(trials)} configurations meet in a final, on other folds")
        while self.waiting[family]:
            name, job = self.waiting[family].pop(0)
            if self._behind(family, job):
                continue
            self.playing[family].add(name)
            return name, job
        return None

    def ended(self, name: str, job: Job, *, again: bool) -> None:
        """A job is over; what is to be tried `again` is given out next."""
        self.playing[job.family].discard(name)
        if again:
            self.waiting[job.family].insert(0, (name, job))

    def _plan(self, family: str) -> Iterator[tuple[str, Job]]:
        rows = self.journal.read()
        found = contenders(rows, family, self.settings.finalists, self._chosen_on())
        played = rows.finals(family)
        if len(found) < 2 or rows.scored(family):
            return
        folds: tuple[int, ...] = FINAL_FOLDS
        if self.budget.limited:
            half, share = self.budget.remaining() / 2, self.budget.share()
            met = self._fitting(found, min(FINAL_SHARE * share, half) / len(FINAL_FOLDS))
            if len(met) < 2:
                self.say(f"{family}: no time for a final between its best {len(found)}")
                return
            for record in found:
                if record not in met:
                    self.say(f"{family}: no time for {record['trial']} in its final")
            found = met
            if sum(map(self._seconds, found)) * len(ALL_FOLDS) <= min(ALL_SHARE * share, half):
                folds = ALL_FOLDS
        for fold in folds:
            for record in found:
                if fold in played.get(record["trial"], {}):
                    continue
                seed = self.settings.seed + 100 * fold
                job = self.job(FINAL, family, record["config"], seed)
                planned = self.journal.records[record["trial"]].planned
                job = replace(job, epochs=record["epoch"], planned=planned, fold=fold, name=record["trial"])
                yield f"{record['trial']}-{FINAL}-{fold}", job

    def _seconds(self, record: Mapping[str, Any]) -> float:
        """What one fold takes of a contender."""
        return self.journal.records[record["trial"]].fastest * float(record["epoch"])

    def _fitting(self, found: Sequence[dict[str, Any]], room: float) -> list[dict[str, Any]]:
        """The contenders for whom there are so many seconds a fold: without the first there is no final."""
        met = list(found)
        while len(met) > 1 and sum(map(self._seconds, met)) > room:
            met.remove(max(met[1:], key=self._seconds))
        return met

    def _chosen_on(self) -> int:
        """Pictures of the validation side, by which the contenders were chosen."""
        return max(1, round((self.budget.pace.growth - 1) * self.budget.pace.pictures))

    def _behind(self, family: str, job: Job) -> bool:
        """Whether a finalist is out of the race: clearly behind another on the folds that both have been tried on."""
        played = self.journal.read().finals(family)
        own = played.get(job.name, {})
        for trial, theirs in played.items():
            common = [fold for fold in own if fold in theirs]
            if trial == job.name or not common:
                continue
            pictures = sum(own[fold].get("pictures") or 0 for fold in common) or 1
            mine, other = (final_score(one[fold] for fold in common) for one in (own, theirs))
            error = final_error(theirs[fold] for fold in common)
            error = (other * (1 - other) / pictures) ** 0.5 if error is None else error
            # Two standard errors of a difference of two scores.
            if other - mine > 2 * 2**0.5 * error:
                return True
        return False
