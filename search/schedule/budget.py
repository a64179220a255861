"""Time as the budget: how long a full trial is, what is kept back for the end of a run, what is not begun.

All of it is in seconds of workers: two workers have twice the seconds of the clock. Each family has an equal share;
what one leaves goes to the others. Without `--time-budget` nothing here limits anything.
"""

import math
from collections.abc import Callable
from functools import partial

from models.sizes import HEAD, is_probe
from results.analysis.numbers import baseline_name
from results.rows import INFEASIBLE, NO_TIME, RUNNING
from search.record.journal import Journal, Record
from search.schedule.pace import LOOKED_AT, Pace
from search.settings import Settings
from spaces import family_of
from spaces.costs import work

# Epochs that a full trial may have. Between the rungs, which grow by `--reduction`, so that the time is used well.
LADDER = (3, 6, 9, 13, 18, 27, 40, 54, 81, 120, 160, 240)
# Where no time is given to decide by; also what the study's own configuration gets, which was trained about so long.
EPOCHS = 9
# Of its family's share a full trial and its retraining may take so much: two or three of them, and many that are
# stopped early.
LARGEST = 0.6
BASE_SHARE = 0.15  # and the study's own configuration
# A trial that could only have less than this part of its family's full epochs is not begun.
LEAST = 3
EXPECTED = 0.5  # of the epochs that running trials have left, how many they will be given
RETRAININGS_SHARE = 0.3  # of a family's share, for the seeds beyond the first
MOST_RESERVED = 0.5  # of a family's share: a retraining that takes longer is not worth what it would keep from others
SHORT_RESERVED = 0.2  # where its trials are so short that more epochs are worth more than a retraining
REPORT_SECONDS = 10.0
# Of a final of heads on stored features: its folds, and seconds of one of them beside a solved head's own, and of one
# that is trained.
FOLDS, SOLVED, TRAINED = 4, 1.0, 2.5
SURE = 1.1  # what is predicted may take so many times as long
MANY = 200  # trials, from which on what goes through all of them is computed once in a while alone
WHILE = 1.0  # seconds


class Budget:
    """What a family may still spend, and for how many epochs a trial is planned.

    Args:
        usual: by family the work of an epoch of what its starts are like.
    """

    def __init__(self, settings: Settings, journal: Journal, pace: Pace, usual: dict[str, float]) -> None:
        self.settings = settings
        self.journal = journal
        self.pace = pace
        self.usual = usual
        self.workers = 1
        self.refits = int(settings.refit == "all")  # trainings of a family's best on all pictures
        # Retrainings that were not given out yet, refits among them.
        self.left = dict.fromkeys(settings.families, settings.final_seeds + self.refits)
        # Families of which the first trial is no comparison: of one configuration, or with a recipe of an earlier run.
        self.alone: set[str] = set()
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

    # --- what is kept back ------------------------------------------------------------------------------------------

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

        return self._now_and_then("spent", family, spent)

    def retraining(self, family: str) -> float:
        """Seconds that one retraining of the family's heir will take."""

        def retraining() -> float:
            heir = self.pace.heir(family)
            return 0.0 if heir is None else self.pace.retraining(family, _length(heir))

        return self._now_and_then("retraining", family, retraining)

    def reserves(self) -> list[float]:
        """Seconds of each retraining that is kept back for: of every family one, and more where they are cheap.

        Where one would take too much of the share, the time to score the trial's own model.
        """
        found: list[float] = []
        for family in self.settings.families:
            one = self.retraining(family)
            seeds = max(1, int(RETRAININGS_SHARE * self.share() / one)) if one else self.left[family]
            short = self._epochs.get(family, math.inf) <= family_of(family).rather_epochs
            if one > (SHORT_RESERVED if short else MOST_RESERVED) * self.share():
                one = min(one, self._now_and_then("overhead", family, partial(self.pace.overhead, family)))
                seeds = 1
            elif self._now_and_then("once", family, partial(self._once, family)):
                refit = self._now_and_then("refit", family, partial(self.pace.refit, family))
                # The last that is left is the refit. Neither has a model to fall back on: both have to fit.
                both = [SURE * one, *[SURE * refit] * self.refits]
                found += both[-self.left[family] :] if self.left[family] else []
                continue
            found += [one] * min(self.left[family], seeds)
        return found

    def _once(self, family: str) -> bool:
        """Whether the family's heir is a probe, which has one optimum whatever the seed."""
        heir = self.pace.heir(family)
        return heir is not None and is_probe(heir.config)

    def reserve(self) -> float:
        """Seconds of the clock that retraining and report will take: no retraining is on two workers."""
        found = self.reserves()
        finals = sum(self._now_and_then("final", f, partial(self._final, f)) for f in self.settings.families)
        # Whoever is retrained is known when the final is over.
        return REPORT_SECONDS + finals / self.workers + max([sum(found) / self.workers, *found])

    def _final(self, family: str) -> float:
        """Seconds that a final between heads on stored features takes: what costs more is held where there is time."""
        heir = self.pace.heir(family)
        if heir is None or self.settings.finalists < 2 or not self.left[family] or work(family, heir.config) > HEAD:
            return 0.0
        # Of the heir it is known what solving it takes; a probe meets heads that are trained.
        own = SOLVED + heir.fastest * _length(heir)
        return FOLDS * (own + TRAINED * (self.settings.finalists - 1))

    def remaining(self) -> float:
        """Seconds of the clock before the report has to be written."""
        assert self.settings.time_budget is not None
        return self.settings.time_budget - REPORT_SECONDS - self.journal.elapsed

    def ahead(self) -> float:
        """Seconds of the clock before retraining and report are due."""
        return self.remaining() + REPORT_SECONDS - self.reserve()

    def patience(self, record: Record) -> float | None:
        """Seconds after which a trial that begins now is ended, whatever it is at; None where there is no limit."""
        if not self.limited:
            return None
        family = record.family
        if self.pace.leader(family) is not None:
            return max(0.0, self.ahead())
        # As long as nothing could be handed over, that comes before the time to retrain it.
        others = any(self.pace.leader(other) is not None for other in self.settings.families)
        found = self.ahead() - self.pace.overhead(family) if others else self.remaining()
        if family_of(family).transfers and work(family, record.config) <= HEAD:
            # What waits for a trunk's passes: the retraining looks at so many pictures more.
            found /= 1 + (self.pace.test + LOOKED_AT) / (self.pace.pictures * self.pace.growth)
        return max(0.0, found)

    def free(self) -> float:
        """Seconds of workers that nothing is expected to need yet."""
        ahead = sum(self._now_and_then("ahead", f, partial(self._ahead_of, f)) for f in self.settings.families)
        return self.remaining() * self.workers - sum(self.reserves()) - EXPECTED * ahead

    def _ahead_of(self, family: str) -> float:
        return sum(map(self._ahead, self.journal.of(family)))

    def _ahead(self, record: Record) -> float:
        if record.status != RUNNING:
            return 0.0
        one = record.fastest if record.values else self.pace.epoch(record.family, record.config) or 0.0
        return max(0.0, _length(record) - len(record.values)) * one

    def out_of_time(self) -> bool:
        """Whether the rest of the time budget is needed for retraining and the report."""
        if self.limited:
            self._up = self._up or self.remaining() + REPORT_SECONDS <= self.reserve()
        return self._up

    def fits(self, seconds: float, promised: float) -> bool:
        """Whether a job of so many seconds would be done in time, beside others that have been promised theirs."""
        remaining = self.remaining() / SURE
        return seconds <= remaining and seconds + promised <= remaining * self.workers

    # --- what follows from it ---------------------------------------------------------------------------------------

    def unknown(self, family: str) -> bool:
        """Whether a few batches of a family have to be timed before its first trial can be planned."""
        return self.limited and self.settings.epochs is None and not self.pace.known(family)

    def epochs(self, family: str) -> int:
        """Epochs of a full trial of a family."""
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
                and work(family, record.config) > HEAD
            ]  # fmt: skip
            rate = self.pace.rate(family)
            if planned:
                self._epochs[family] = max(planned)
            elif rate is None:
                return EPOCHS
            else:
                one = rate * self.usual.get(family, 0.0)
                self._epochs[family] = self._longest(family, one, min(LARGEST * self.share(), self.free()))
        return self._epochs[family]

    def _longest(self, family: str, one: float, room: float) -> int:
        """The longest ladder on which a trial whose epochs take so long, and perhaps its retraining, find room."""
        known = family_of(family)
        ladder = [epochs for epochs in LADDER if epochs <= (known.most_epochs or LADDER[-1])]
        twice = [epochs for epochs in ladder if epochs * one * (1 + self.pace.growth) <= room]
        once = [epochs for epochs in ladder if epochs <= known.rather_epochs and epochs * one <= room]
        return max([*twice, *once], default=ladder[0])

    def plan(self, record: Record) -> tuple[int, str]:
        """For how many epochs a trial is planned, and what speaks against it: that it cannot be done in time."""
        family, given = record.family, self.settings.epochs is not None
        if is_probe(record.config):
            return 1, self._late(record)
        if not given and work(family, record.config) <= HEAD:
            # A head on stored features costs nothing, and has nothing to learn after so many epochs.
            return EPOCHS, self._late(record)
        base = not given and record.name == baseline_name(family) and family not in self.alone
        full = min(self.epochs(family), EPOCHS) if base else self.epochs(family)
        one = self.pace.epoch(family, record.config) if self.limited else None
        if not one:
            return full, ""
        room, features = self._room(record), 0.0
        if given:
            least = epochs = full
        elif base:
            room, features = min(room, BASE_SHARE * self.share()), self.pace.features(record.family, record.config)
            least, epochs = LADDER[0], min(full, int((room - features) / one))
        else:
            least, epochs = -(-full // LEAST), min(full, self._longest(family, one, room))
        if features + least * one > room:
            return least, (
                f"{NO_TIME}{least} epochs would take about {features + least * one:.0f} s, more than the "
                f"{max(0.0, room):.0f} s that there are for it"
            )
        return max(least, epochs), self._late(record)

    def _room(self, record: Record) -> float:
        """Seconds that a trial may take; what shows that its family works at all may have all that is free.

        Whoever takes longer than was predicted takes it from what is kept back for the end.
        """
        free = min(self.free(), self.ahead()) / SURE
        first = not any(other.values for other in self.journal.of(record.family))
        return free if first else min(LARGEST * self.share(), free)

    def _late(self, record: Record) -> str:
        """Why the features that a trial needs cannot be computed in time; empty where they can or are there."""
        if not self.limited:
            return ""
        needed = self.pace.features(record.family, record.config) + self.pace.solving(record.config)
        room = self._room(record)
        if needed <= max(0.0, room):
            return ""
        return f"{NO_TIME}its features would take about {needed:.0f} s, more than the {max(0.0, room):.0f} s left"

    def closed(self, family: str) -> bool:
        """Whether there is no time left for another trial of a family like its starts."""
        if not self.limited or self.out_of_time():
            return self._up
        rate = self.pace.rate(family)
        if rate is None or family_of(family).transfers or not self.journal.of(family):
            # Of a trained trunk there are always heads that cost next to nothing.
            return False
        full = self.epochs(family)
        least = full if self.settings.epochs is not None else -(-full // LEAST)
        return least * rate * self.usual.get(family, 0.0) > self.free()


def _length(record: Record) -> int:
    """How many epochs a trial will have had in the end."""
    return record.planned if record.status == RUNNING and record.planned else len(record.values)
