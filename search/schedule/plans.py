"""For how many epochs a trial is planned within the budget of time, and which are not begun."""

from collections.abc import Callable, Mapping
from typing import Any

from models.sizes import HEAD, is_probe
from results.analysis.numbers import baseline_name
from results.rows import NO_TIME, RUNNING
from search.record.journal import Record
from search.schedule.budget import SURE, Budget, length
from search.schedule.pace import LOOKED_AT
from spaces import family_of
from spaces.costs import copies, passes, work

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
# Times that a network from scratch sees each picture, from which on it learns more from larger ones than from smaller
# ones in the same time.
ENOUGH = 40
EXPECTED = 0.5  # of the epochs that running trials have left, how many they will be given


class Plans:
    """The length of a trial, and whether there is time for it.

    Args:
        usual: the work of an epoch of what a family's starts are like.
    """

    def __init__(self, budget: Budget, usual: Callable[[str], float]) -> None:
        self.budget = budget
        self.settings = budget.settings
        self.journal = budget.journal
        self.pace = budget.pace
        self.usual = usual
        # Families of which the first trial is no comparison: of one configuration, or with a recipe of an earlier run.
        self.alone: set[str] = set()

    def unknown(self, family: str) -> bool:
        """Whether a few batches of a family have to be timed before its first trial can be planned."""
        return self.settings.timed and not self.pace.known(family)

    def epochs(self, family: str) -> int:
        """Epochs of a full trial of a family."""
        if self.settings.epochs is not None:
            return self.settings.epochs
        if not self.budget.limited:
            return EPOCHS
        if family not in self.budget.lengths:
            base = baseline_name(family)
            planned = [
                record.planned
                for record in self.journal.of(family)
                if record.planned and record.name != base and not is_probe(record.config)
                and work(family, record.config) > HEAD
            ]  # fmt: skip
            rate = self.pace.rate(family)
            if planned:
                self.budget.lengths[family] = max(planned)
            elif rate is None:
                return EPOCHS
            else:
                one = rate * self.usual(family)
                found = self._longest(family, one, min(LARGEST * self.budget.share(), self.free()))
                if not family_of(family).transfers:
                    # Told anew until there is a full trial: what a few batches took is no more than a guess.
                    return found
                self.budget.lengths[family] = found
        return self.budget.lengths[family]

    def cost(self, family: str, config: Mapping[str, Any]) -> float:
        """What a full trial costs beside others of its family: million multiply-adds on one picture."""
        trained = work(family, config)
        features = self.pace.passing.operations(family, config)
        return features + (trained * self.epochs(family) if trained > HEAD else trained)

    def affords(self, family: str, config: Mapping[str, Any]) -> bool:
        """Whether full trials of a configuration would be long enough for its larger pictures to pay."""
        if not self.settings.timed or not self.pace.known(family):
            return False
        one = self.pace.epoch(family, config) or 0.0
        epochs = self._longest(family, one, LARGEST * self.budget.share())
        return epochs * copies(family, config) * passes(family, config, self.pace.pictures) >= ENOUGH

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
        one = self.pace.epoch(family, record.config) if self.budget.limited else None
        if not one:
            return full, ""
        room, features = self._room(record), 0.0
        if given:
            least = epochs = full
        elif base:
            room, features = (
                min(room, BASE_SHARE * self.budget.share()),
                self.pace.passing.features(record.family, record.config),
            )
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
        free = self._now()
        first = not any(other.values for other in self.journal.of(record.family))
        return free if first else min(LARGEST * self.budget.share(), free)

    def _now(self) -> float:
        """Seconds that a trial which begins now may take: those of one worker before retraining and report are due."""
        return min(self.free(), self.budget.ahead()) / SURE

    def _late(self, record: Record) -> str:
        """Why the features that a trial needs cannot be computed in time; empty where they can or are there."""
        if not self.budget.limited:
            return ""
        needed = self.pace.passing.features(record.family, record.config) + self.pace.passing.solving(record.config)
        room = self._room(record)
        if needed <= max(0.0, room):
            return ""
        return f"{NO_TIME}its features would take about {needed:.0f} s, more than the {max(0.0, room):.0f} s left"

    def patience(self, record: Record) -> float | None:
        """Seconds after which a trial that begins now is ended, whatever it is at; None where there is no limit."""
        if not self.budget.limited:
            return None
        family = record.family
        if self.pace.leader(family) is not None:
            return max(0.0, self.budget.ahead())
        # As long as nothing could be handed over, that comes before the time to retrain it.
        others = any(self.pace.leader(other) is not None for other in self.settings.families)
        found = self.budget.ahead() - self.pace.overhead(family) if others else self.budget.remaining()
        if family_of(family).transfers and work(family, record.config) <= HEAD:
            # What waits for a trunk's passes: the retraining looks at so many pictures more.
            found /= 1 + (self.pace.test + LOOKED_AT) / (self.pace.pictures * self.pace.growth)
        return max(0.0, found)

    def closed(self, family: str) -> bool:
        """Whether there is no time left for another trial of a family like its starts."""
        if self.budget.out_of_time():
            return True
        if not self.budget.limited:
            return False
        rate = self.pace.rate(family)
        if rate is None or family_of(family).transfers or not self.journal.of(family):
            # Of a trained trunk there are always heads that cost next to nothing.
            return False
        full = self.epochs(family)
        least = full if self.settings.epochs is not None else -(-full // LEAST)
        return least * rate * self.usual(family) > self._now()

    def free(self) -> float:
        """Seconds of workers that nothing is expected to need yet."""
        ahead = sum(map(self.ahead, self.settings.families))
        return self.budget.remaining() * self.budget.workers - sum(self.budget.reserves()) - ahead

    def ahead(self, family: str) -> float:
        """Seconds of workers that the trials of a family that are under way are expected to need yet."""

        def ahead() -> float:
            return EXPECTED * sum(map(self._ahead, self.journal.of(family)))

        return self.budget.now_and_then("ahead", family, ahead)

    def _ahead(self, record: Record) -> float:
        if record.status != RUNNING:
            return 0.0
        one = record.fastest if record.values else self.pace.epoch(record.family, record.config) or 0.0
        return max(0.0, length(record) - len(record.values)) * one
