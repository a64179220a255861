"""Whose turn it is: the family that is searched next."""

import math
from collections.abc import Mapping

from search.record.journal import RUNNING, Journal
from search.schedule.budget import Budget
from search.schedule.limits import Limits
from search.schedule.plans import Plans
from search.settings import Settings
from search.studies.study import Study
from spaces import family_of

# Turns of the family with the best model so far for one of each other, once all have shown one: there the winner is
# likelier to come from, and the rest of the --trials of the others follow when its own are done. With 16 workers 46 of
# 50 replayed searches of drawn pictures came to within a point of the best, 41 with two turns and 44 with eight;
# without hand-written points those of photographs did in 11.4 s at the median instead of 16.0. With a time budget
# families have equal times instead: nobody is to be kept from their share by another's cost.
LEADERS_TURNS = 4


class Turns:
    """The order of the families.

    Args:
        leader: the family that begins, with the recipe of the run that this one goes on from; empty for none.
    """

    def __init__(
        self,
        settings: Settings,
        studies: Mapping[str, Study],
        journal: Journal,
        budget: Budget,
        plans: Plans,
        limits: Limits,
        leader: str = "",
    ) -> None:
        self.settings = settings
        self.studies = studies
        self.journal = journal
        self.budget = budget
        self.plans = plans
        self.limits = limits
        self.leader = leader
        self.lead = {family: family_of(family).lead for family in settings.families}
        self.timing: dict[str, str] = {}  # by name, the family of each job that times a few batches
        self.timed: set[str] = set()  # families for which there was one
        self.best = {
            family: max((record.best for record in journal.of(family)), default=-math.inf)
            for family in settings.families
        }

    def next(self) -> str | None:
        """The family of the next trial; None where none has one to try, or the time is up."""
        if self.budget.out_of_time():
            return None
        families = [family for family in self.settings.families if self._open(family)]
        # Whose pace is being measured waits: how long its trials are hangs on it.
        families = [family for family in families if family not in self.timing.values()]
        if self.leader in families and not self.journal.of(self.leader):
            return self.leader
        if self.budget.limited:
            # What runs is as good as spent: two long trials of one family would keep the others waiting.
            had = {family: self.budget.spent(family) + self.plans.ahead(family) for family in families}
            return min(families, key=lambda f: (had[f], -self.lead.get(f, 0)), default=None)
        if -math.inf in self.best.values():
            return min(families, key=lambda f: self._tried(f) - self.lead.get(f, 0), default=None)
        ahead = max(self.best, key=lambda f: self.best[f])
        return min(families, key=lambda f: self._tried(f) / (LEADERS_TURNS if f == ahead else 1), default=None)

    def searched(self, family: str) -> bool:
        """Whether the search of a family is over: nothing is left to try, and nothing is under way."""
        exhausted = not self._open(family) or self.budget.out_of_time()
        exhausted = exhausted and family not in self.timing.values()
        return exhausted and not self.journal.of(family, RUNNING)

    def _open(self, family: str) -> bool:
        """Whether a family has trials left to try."""
        return self.studies[family].more and not self.limits.given_up(family) and not self.plans.closed(family)

    def _tried(self, family: str) -> int:
        """Trials of a family; those that broke a limit were not tried."""
        return len(self.journal.of(family)) - self.limits.infeasible[family]
