"""What is done with the time that is left when every family has been retrained."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from models.sizes import is_probe
from results.analysis.numbers import best_trial, choose_winner, full_trials
from search.record.journal import Journal
from search.schedule.budget import Budget
from search.schedule.repeats import Repeats
from search.settings import Settings
from search.training.retraining import MEMBER
from search.training.worker import Job

MOST_SEEDS = 9  # retrainings of one configuration, however much time is left


class Extras:
    """Members of an ensemble beside the winner, and retrainings with more seeds."""

    def __init__(self, settings: Settings, journal: Journal, budget: Budget, repeats: Repeats) -> None:
        self.settings = settings
        self.journal = journal
        self.budget = budget
        self.repeats = repeats
        self.members: list[tuple[str, Job]] | None = None  # with the trial of each; those not given out, once planned

    def member(self) -> tuple[str, Job] | None:
        """The next trial of the ensemble and its retraining; None where all are given out."""
        if self.members is None:
            self.members = self.plan()
        return self.members.pop(0) if self.members else None

    def plan(self) -> list[tuple[str, Job]]:
        """The next best configurations of the winner's family, where there is time for them."""
        if not self.settings.ensemble or self.budget.out_of_time():
            return []
        rows = self.journal.read()
        winner = choose_winner({family: best_trial(rows, family) for family in self.settings.families})
        following = full_trials(rows, winner)[1 : 1 + self.settings.ensemble] if winner else []
        kept = {row["trial"] for row in self.journal.rows if row["event"] == MEMBER}
        return [
            (found["trial"], replace(self.repeats.retraining(str(winner), found, 0), export=False))
            for found in following
            if found["trial"] not in kept
        ]

    def more(self, given: Sequence[Job], in_time: Callable[[str], bool]) -> Job | None:
        """The cheapest retraining with a seed that none of those `given` had, of the families for which it is in time.

        A probe has one optimum, whatever the seed.
        """
        if not self.budget.limited:
            return None
        rows = self.journal.read()
        found: list[tuple[float, str, dict[str, Any], int]] = []
        for family in self.settings.families:
            best = best_trial(rows, family)
            done = {job.seed for job in given if job.family == family}
            done |= {row["seed"] for row in rows.tests(family)}
            if best is None or is_probe(best["config"]) or len(done) >= MOST_SEEDS or not in_time(family):
                continue
            number = max(done, default=-1) + 1 - self.settings.seed
            found.append((self.budget.retraining(family), family, best, number))
        if not found:
            return None
        _, family, best, number = min(found, key=lambda one: one[:2])
        return self.repeats.retraining(family, best, number)
