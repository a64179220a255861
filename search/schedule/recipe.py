"""The recipe of the run that this one goes on from: it is scored on test at once."""

from dataclasses import replace

from models.sizes import HEAD
from results.analysis.numbers import baseline_name, describe
from search.record.journal import RUNNING, Journal
from search.schedule import Say
from search.schedule.budget import Budget
from search.schedule.repeats import Repeats
from search.training.worker import Job
from spaces.costs import work

SHARE = 0.3  # of a family's share, for the score


class Recipe:
    """The first trial of the `leader`, which is trained again as soon as it is over; none where that is empty."""

    def __init__(self, journal: Journal, budget: Budget, repeats: Repeats, say: Say, leader: str) -> None:
        self.journal = journal
        self.budget = budget
        self.repeats = repeats
        self.say = say
        self.leader = leader
        self.decided = False  # whether its score was given out, or is none to be taken

    def next(self) -> tuple[str, Job] | None:
        """The trial and its retraining, once."""
        record = self.journal.records.get(baseline_name(self.leader)) if self.leader else None
        if self.decided or record is None or record.status == RUNNING:
            return None
        self.decided = True
        rows = self.journal.read()
        found = describe(rows.trials[record.name])
        if rows.recipe() is not None:
            return None
        if not record.full or found is None:
            self.say(f"{record.name}, the recipe of the run before, is not scored on test: {record.reason}")
            return None
        cost = self.budget.retraining(self.leader)
        if self.budget.limited and cost > min(SHARE * self.budget.share(), self.budget.remaining() / 2):
            self.say(f"{record.name}, the recipe of the run before: no time to score it on test at once")
            return None
        job = replace(self.repeats.retraining(self.leader, found, 0), export=False, probe=None)
        if self.budget.limited and work(self.leader, job.config) > HEAD:
            job = replace(job, within=max(0.0, self.budget.remaining() / 2))
        return record.name, job
