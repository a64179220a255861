"""Time as the budget: what an epoch will take, how long a full trial is, what is kept back for the end of a run.

All of it is in seconds of workers: two workers have twice the seconds of the clock. Each family has an equal share;
what one leaves goes to the others. Without `--time-budget` nothing here limits anything.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from statistics import median
from typing import Any

from models.sizes import HEAD, is_probe, passes, work
from results.analysis.numbers import baseline_name
from results.rows import FINISHED, RUNNING
from search.record.journal import Journal, Record
from search.settings import Settings

# Epochs that a full trial may have. Between the rungs, which grow by `--reduction`, so that the time is used well.
LADDER = (3, 9, 18, 27, 40, 54, 81, 120, 160, 240)
# Where no time is given to decide by; also what the study's own configuration gets, which was trained about so long.
EPOCHS = 9
# A trunk that was trained already learns in few epochs what it ever will.
MOST_EPOCHS = {"mobilenet": 27}
# Of its family's share a full trial and its retraining may take so much: two or three of them, and many that are
# stopped early.
LARGEST = 0.6
BASE_SHARE = 0.15  # and the study's own configuration, before it is stopped
# A trial that could only have less than this part of its family's full epochs is not begun.
LEAST = 3
EXPECTED = 0.5  # of the epochs that running trials have left, how many they will be given
RETRAININGS_SHARE = 0.3  # of a family's share, for the seeds beyond the first
# Of one retraining beyond its epochs: building, exporting and timing, in seconds, and beside the test pictures those
# that are looked at for its mistakes.
RETRAINING_OVERHEAD = 9.0
LOOKED_AT = 300
MOST_RESERVED = 0.5  # of a family's share: a retraining that takes longer is not worth what it would keep from others
REPORT_SECONDS = 10.0
MANY = 200  # trials, from which on what goes through all of them is computed once in a while alone
WHILE = 1.0  # seconds
RECENT = 15  # trials of a family by which the next one's cost is predicted


class Budget:
    """What a family may still spend, and for how many epochs a trial is planned.

    Args:
        typical: by family the work per picture of what its starts are like.
        pictures: of the training side.
        test: pictures of the test side.
        growth: by how much a retraining's epochs are longer, having the validation pictures too.
    """

    def __init__(
        self,
        settings: Settings,
        journal: Journal,
        typical: Mapping[str, float],
        pictures: int,
        test: int,
        growth: float,
    ) -> None:
        self.settings = settings
        self.journal = journal
        self.typical = typical
        self.pictures = pictures
        self.test = test
        self.growth = growth
        self.workers = 1
        self.left = dict.fromkeys(settings.families, settings.final_seeds)  # retrainings that were not given out yet
        self._epochs: dict[str, int] = {}
        self._known: dict[tuple[str, str], tuple[float, float]] = {}  # what was computed, and when
        self._up = False  # once and for all: what is retrained is chosen from what there is then

    @property
    def limited(self) -> bool:
        """Whether there is a time budget."""
        return self.settings.time_budget is not None

    def _now_and_then(self, what: str, family: str, compute: Callable[[], float]) -> float:
        """A figure of all trials of a family: of many it is a while old, since every row and suggestion asks for it."""
        now = self.journal.elapsed
        value, computed = self._known.get((what, family), (0.0, -math.inf))
        if len(self.journal.records) < MANY or not 0 <= now - computed < WHILE:
            value = compute()
            self._known[what, family] = value, now
        return value

    # --- what things take -------------------------------------------------------------------------------------------

    def rate(self, family: str) -> float | None:
        """Seconds per work of an epoch of a family, of another where it has shown none; None where nobody has."""
        found = self._ratios(family) or [one for other in self.settings.families for one in self._ratios(other)]
        return median(found) if found else None

    def _ratios(self, family: str) -> list[float]:
        records = [record for record in self.journal.of(family)[-RECENT:] if record.values]
        costs = [(record.fastest, self.epoch_work(family, record.config)) for record in records]
        return [seconds / cost for seconds, cost in costs if cost > HEAD and seconds > 0]

    def epoch_work(self, family: str, config: Mapping[str, Any]) -> float:
        """What an epoch of a configuration costs, relative to that of another."""
        return work(family, config) * passes(family, config, self.pictures)

    def seconds(self, family: str, config: Mapping[str, Any]) -> float | None:
        """Seconds that an epoch will take; None where nothing is known, 0 for a head on stored features."""
        if work(family, config) <= HEAD:
            return 0.0
        rate = self.rate(family)
        return None if rate is None else rate * self.epoch_work(family, config)

    def retraining(self, family: str) -> float:
        """Seconds that one retraining of the family's best trial so far will take."""
        return self._now_and_then("retraining", family, lambda: self._retraining(family))

    def _retraining(self, family: str) -> float:
        tried = [record for record in self.journal.of(family) if record.values]
        if not tried:
            return 0.0
        leader = max(tried, key=lambda record: (record.status == FINISHED, len(record.values), record.best))
        return leader.fastest * self._length(leader) * self.growth + self.overhead(family)

    def _length(self, record: Record) -> float:
        """How many epochs a trial will have had in the end."""
        if record.status != RUNNING or not record.planned:
            return len(record.values)
        if self.limited and record.name == baseline_name(record.family) and record.fastest > 0:
            return max(len(record.values), min(record.planned, BASE_SHARE * self.share() / record.fastest))
        return record.planned

    def overhead(self, family: str) -> float:
        """Seconds that a retraining takes beside its epochs."""
        tried = [record for record in self.journal.of(family) if record.values]
        # What a picture takes: of a trunk what was waited for, of other networks a third of what training on it takes.
        passing = [record.waited if family in MOST_EPOCHS else record.fastest / 3 for record in tried]
        return RETRAINING_OVERHEAD + (self.test + LOOKED_AT) / self.pictures * max(passing, default=0.0)

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
            records = self.journal.of(family)
            return sum((now if record.until is None else record.until) - record.since for record in records)

        return self._now_and_then("spent", family, spent)

    def reserves(self) -> list[float]:
        """Seconds of each retraining that is kept back for: of every family one, and more where they are cheap."""
        found: list[float] = []
        for family in self.settings.families:
            one = min(self.retraining(family), MOST_RESERVED * self.share())
            seeds = max(1, int(RETRAININGS_SHARE * self.share() / one)) if one else self.left[family]
            found += [one] * min(self.left[family], seeds)
        return found

    def reserve(self) -> float:
        """Seconds of the clock that retraining and report will take: no retraining is on two workers."""
        found = self.reserves()
        return REPORT_SECONDS + max([sum(found) / self.workers, *found])

    def remaining(self) -> float:
        """Seconds of the clock before the report has to be written."""
        assert self.settings.time_budget is not None
        return self.settings.time_budget - REPORT_SECONDS - self.journal.elapsed

    def free(self) -> float:
        """Seconds of workers that nothing is expected to need yet."""
        ahead = sum(self._now_and_then("ahead", f, partial(self._ahead_of, f)) for f in self.settings.families)
        return self.remaining() * self.workers - sum(self.reserves()) - EXPECTED * ahead

    def _ahead_of(self, family: str) -> float:
        return sum(map(self._ahead, self.journal.of(family)))

    def _ahead(self, record: Record) -> float:
        if record.status != RUNNING:
            return 0.0
        one = record.fastest if record.values else self.seconds(record.family, record.config) or 0.0
        return max(0.0, self._length(record) - len(record.values)) * one

    def out_of_time(self) -> bool:
        """Whether the rest of the time budget is needed for retraining and the report."""
        if self.limited:
            self._up = self._up or self.remaining() + REPORT_SECONDS <= self.reserve()
        return self._up

    def fits(self, seconds: float, promised: float) -> bool:
        """Whether a job of so many seconds would be done in time, beside others that have been promised theirs."""
        remaining = self.remaining()
        return seconds <= remaining and seconds + promised <= remaining * self.workers

    # --- what follows from it ---------------------------------------------------------------------------------------

    def epochs(self, family: str) -> int | None:
        """Epochs of a full trial of a family; None while its base has not shown yet what an epoch takes."""
        if self.settings.epochs is not None:
            return self.settings.epochs
        if not self.limited:
            return EPOCHS
        if family not in self._epochs:
            base = baseline_name(family)
            planned = [
                record.planned
                for record in self.journal.of(family)
                if record.planned and record.name != base and not is_probe(record.config)
            ]
            found = max(planned) if planned else self._planned(family)
            if found is None:
                return None
            self._epochs[family] = found
        return self._epochs[family]

    def _planned(self, family: str) -> int | None:
        first = self.journal.records.get(baseline_name(family))
        if not self._ratios(family) and first is not None and first.status == RUNNING:
            return None
        rate = self.rate(family)
        if rate is None:
            return EPOCHS
        one = rate * self.typical.get(family, 0.0)
        return self._longest(family, one, min(LARGEST * self.share(), self.free()))

    def _longest(self, family: str, one: float, room: float) -> int:
        """The longest ladder on which a trial whose epochs take so long, and its retraining, find room."""
        ladder = [epochs for epochs in LADDER if epochs <= MOST_EPOCHS.get(family, LADDER[-1])]
        fitting = [epochs for epochs in ladder if epochs * one * (1 + self.growth) <= room]
        return max(fitting, default=ladder[0])

    def plan(self, record: Record) -> tuple[int, str]:
        """For how many epochs a trial is planned, and what speaks against it: that it cannot be done in time."""
        if is_probe(record.config):
            return 1, ""
        if self.settings.epochs is None and work(record.family, record.config) <= HEAD:
            # A head on stored features costs nothing, and has nothing to learn after so many.
            return EPOCHS, ""
        full = self.epochs(record.family)
        if record.name == baseline_name(record.family) or full is None:
            return min(full or EPOCHS, EPOCHS) if self.settings.epochs is None else full or EPOCHS, ""
        one = self.seconds(record.family, record.config) if self.limited else None
        if not one:
            return full, ""
        room = min(LARGEST * self.share(), self.free())
        epochs = full if self.settings.epochs is not None else min(full, self._longest(record.family, one, room))
        least = max(epochs, -(-full // LEAST))
        needed = least * one * (1 + self.growth)
        if needed <= room and epochs == least:
            return epochs, ""
        return epochs, (
            f"{least} epochs and a retraining would take about {needed:.0f} s, more than the {max(0.0, room):.0f} s "
            "that there are for it"
        )

    def closed(self, family: str) -> bool:
        """Whether there is no time left for another trial of a family like its starts."""
        if not self.limited or self.out_of_time():
            return self._up
        full, rate = self.epochs(family), self.rate(family)
        if full is None or rate is None or not self.journal.of(family):
            return False
        least = full if self.settings.epochs is not None else -(-full // LEAST)
        return least * rate * self.typical.get(family, 0.0) * (1 + self.growth) > self.free()

    def overdrawn(self, record: Record) -> bool:
        """Whether the study's own configuration has had its part of the family's share."""
        if not self.limited or record.name != baseline_name(record.family):
            return False
        return self.journal.elapsed - record.since > BASE_SHARE * self.share()
