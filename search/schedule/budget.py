"""Time as the budget: what each family has of it, what is kept back for the end of a run, and when it is up.

All of it is in seconds of workers: two workers have twice the seconds of the clock. Each family has an equal share;
what one leaves goes to the others. Without `--time-budget` nothing here limits anything.
"""

import math
from collections.abc import Callable
from functools import partial

from models.sizes import HEAD, is_probe
from results.rows import INFEASIBLE, RUNNING
from search.record.journal import Journal, Record
from search.schedule.pace import Pace
from search.settings import Settings
from spaces import family_of
from spaces.costs import copies, work

RETRAININGS_SHARE = 0.3  # of a family's share, for the seeds beyond the first
MOST_RESERVED = 0.5  # of a family's share: a retraining that takes longer is not worth what it would keep from others
SHORT_RESERVED = 0.2  # where its trials are so short that more epochs are worth more than a retraining
REPORT_SECONDS = 8.0
# Of a final of heads on stored features: its folds, and seconds of one of them beside a solved head's own, and of one
# that is trained.
FOLDS, SOLVED, TRAINED = 4, 1.0, 2.5
SURE = 1.1  # what is predicted may take so many times as long
MANY = 200  # trials, from which on what goes through all of them is computed once in a while alone
WHILE = 1.0  # seconds


class Budget:
    """What a family has spent, what is kept back for its end, and what time is left."""

    def __init__(self, settings: Settings, journal: Journal, pace: Pace) -> None:
        self.settings = settings
        self.journal = journal
        self.pace = pace
        self.workers = 1
        self.alone = 1.0  # how many times as fast a worker is while the others have nothing to do
        self.refits = int(settings.refit == "all")  # trainings of a family's best on all pictures
        # Retrainings that were not given out yet, refits among them.
        self.left = dict.fromkeys(settings.families, settings.final_seeds + self.refits)
        self.lengths: dict[str, int] = {}  # by family the epochs of a full trial, once they are planned
        self._known: dict[tuple[str, str], tuple[float, float]] = {}  # what was computed, and when
        self._up = False  # once and for all: what is retrained is chosen from what there is then

    @property
    def limited(self) -> bool:
        """Whether there is a time budget."""
        return self.settings.time_budget is not None

    def now_and_then(self, what: str, family: str, compute: Callable[[], float]) -> float:
        """A figure of all trials of a family: of many it is a while old, since every row and suggestion asks for it."""
        now = self.journal.elapsed
        value, computed = self._known.get((what, family), (0.0, -math.inf))
        if len(self.journal.records) < MANY or not 0 <= now - computed < WHILE:
            value = compute()
            self._known[what, family] = value, now
        return value

    # --- what there is ----------------------------------------------------------------------------------------------

    def share(self) -> float:
        """Seconds of workers that each family has in the whole run."""
        assert self.settings.time_budget is not None
        whole = (self.settings.time_budget - REPORT_SECONDS) * self.workers
        return max(0.0, whole / len(self.settings.families))

    def spent(self, family: str) -> float:
        """Seconds of workers that the trials of a family have had."""
        now = self.journal.elapsed

        def spent() -> float:
            # What was refused took the time of no worker.
            records = [record for record in self.journal.of(family) if record.status != INFEASIBLE]
            return sum((now if record.until is None else record.until) - record.since for record in records)

        return self.now_and_then("spent", family, spent)

    def remaining(self) -> float:
        """Seconds of the clock before the report has to be written."""
        assert self.settings.time_budget is not None
        return self.settings.time_budget - REPORT_SECONDS - self.journal.elapsed

    def ahead(self) -> float:
        """Seconds of the clock before retraining and report are due."""
        return self.remaining() + REPORT_SECONDS - self.reserve()

    def out_of_time(self) -> bool:
        """Whether the rest of the time budget is needed for retraining and the report."""
        if self.limited:
            self._up = self._up or self.remaining() + REPORT_SECONDS <= self.reserve()
        return self._up

    def fits(self, seconds: float, promised: float) -> bool:
        """Whether a job of so many seconds would be done in time, beside others that have been promised theirs."""
        return self.together(seconds, promised) <= self.remaining() / SURE

    def together(self, longest: float, others: float) -> float:
        """Seconds of the clock until a job and others are done, which are shorter; no job is on two workers.

        Seconds of a job are those that it takes beside others. What it does alone is done faster.
        """
        if self.workers == 1:
            return longest + others
        beside = min(longest, others / (self.workers - 1))
        return max((longest + others) / self.workers, beside + (longest - beside) / self.alone)

    # --- what is kept back ------------------------------------------------------------------------------------------

    def retraining(self, family: str) -> float:
        """Seconds that one retraining of the family's heir will take."""

        def retraining() -> float:
            heir = self.pace.heir(family)
            return 0.0 if heir is None else self.pace.retraining(family, length(heir))

        return self.now_and_then("retraining", family, retraining)

    def reserves(self) -> list[float]:
        """Seconds of each retraining that is kept back for: of every family one, and more where they are cheap.

        Where one would take too much of the share, the time to score the trial's own model.
        """
        return [one for family in self.settings.families for one in self._kept_back(family)]

    def _kept_back(self, family: str) -> list[float]:
        left, one = self.left[family], self.retraining(family)
        short = self._epochs(family) <= family_of(family).rather_epochs
        if one > (SHORT_RESERVED if short else MOST_RESERVED) * self.share():
            return [min(one, self.now_and_then("overhead", family, partial(self.pace.overhead, family)))][:left]
        if self._once(family):
            # The last that is left is the refit.
            both = [one, *[self.refit(family)] * self.refits]
            return both[-left:] if left else []
        seeds = max(1, int(RETRAININGS_SHARE * self.share() / one)) if one else left
        return [one] * min(left, seeds)

    def refit(self, family: str) -> float:
        """Seconds that training the family's heir once more, on all pictures, will take."""
        if self._once(family):
            return self.now_and_then("refit", family, partial(self.pace.refit, family))
        return self.retraining(family) * self.pace.whole

    def _epochs(self, family: str) -> float:
        """Epochs of a full trial like the family's heir, of which each counts for every copy of a picture."""
        heir = self.pace.heir(family)
        return self.lengths.get(family, math.inf) * (1 if heir is None else copies(family, heir.config))

    def _once(self, family: str) -> bool:
        """Whether the family's heir is a probe, which has one optimum whatever the seed."""

        def once() -> bool:
            heir = self.pace.heir(family)
            return heir is not None and is_probe(heir.config)

        return bool(self.now_and_then("once", family, once))

    def reserve(self) -> float:
        """Seconds of the clock that retraining and report will take."""
        found = self.reserves()
        finals = sum(self.now_and_then("final", f, partial(self._final, f)) for f in self.settings.families)
        # Whoever is retrained is known when the final is over.
        longest = max(found, default=0.0)
        # Each has to fit once its turn has come, with what `fits` asks for.
        return REPORT_SECONDS + finals / self.workers + SURE * self.together(longest, sum(found) - longest)

    def _final(self, family: str) -> float:
        """Seconds that a final between heads on stored features takes: what costs more is held where there is time."""
        heir = self.pace.heir(family)
        if heir is None or self.settings.finalists < 2 or not self.left[family] or work(family, heir.config) > HEAD:
            return 0.0
        # Of the heir it is known what solving it takes; a probe meets heads that are trained.
        own = SOLVED + heir.fastest * length(heir)
        return FOLDS * (own + TRAINED * (self.settings.finalists - 1))


def length(record: Record) -> int:
    """How many epochs a trial will have had in the end."""
    return record.planned if record.status == RUNNING and record.planned else len(record.values)
