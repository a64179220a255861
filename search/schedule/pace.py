"""What things take on the workers of a run, in seconds of a worker, told from what its rows have shown."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from models.sizes import HEAD, convolutions, is_probe, sources
from results.analysis.numbers import baseline_name
from search.record.journal import Journal, Record
from search.schedule.passing import Passing, size_of
from spaces import family_of
from spaces.costs import passes, work

RECENT = 15  # trials of a family by which the next one's cost is predicted
# Of one retraining beyond its epochs, in seconds: building, exporting and timing, and in a family with probes the check
# of the labels. Pictures beside the test pictures are those by which it is timed and looked at for its mistakes.
RETRAINING_OVERHEAD = 9.0
LABELS_OVERHEAD = 5.0
LOOKED_AT = 300
# Building takes longer where trunks have more convolutions than any two MobileNets side by side.
CONVOLUTIONS = 120


class Pace:
    """Seconds of a worker, by family and configuration.

    Args:
        pictures: of the training side.
        test: pictures of the test side.
        growth: by how much a retraining's epochs are longer, having the validation pictures too.
        most_views: versions of the pictures that are stored, at most.
    """

    def __init__(
        self,
        journal: Journal,
        families: Sequence[str],
        *,
        pictures: int,
        test: int,
        growth: float,
        most_views: int,
    ) -> None:
        self.journal = journal
        self.families = families
        self.pictures = pictures
        self.test = test
        self.growth = growth
        self.whole = 1 + test / (pictures * growth)  # by how much a training on all pictures is longer than that
        self.passing = Passing(
            journal, families, pictures=pictures * growth, most_views=most_views, unknown=self._trained_work
        )
        # By family, seconds per work of an epoch, from the few batches that were trained before its first trial.
        self.sampled: dict[str, float] = {
            row["family"]: row["rate"] for row in journal.rows if row["event"] == "pace" and row["rate"]
        }

    # --- epochs -----------------------------------------------------------------------------------------------------

    def rate(self, family: str) -> float | None:
        """Seconds per work of an epoch of a family, of another where it has shown none; None where nobody has."""
        own = self._ratios(family)
        if own or family in self.sampled:
            return median(own) if own else self.sampled[family]
        others = [one for other in self.families for one in self._ratios(other)] or list(self.sampled.values())
        return median(others) if others else None

    def _ratios(self, family: str) -> list[float]:
        # The study's own configuration is of another kind than what follows it, of which a few batches say more.
        base = baseline_name(family) if family in self.sampled else ""
        records = [one for one in self.journal.of(family)[-RECENT:] if one.values and one.name != base]
        costs = [(record.fastest, self.epoch_work(family, record.config)) for record in records]
        return [seconds / cost for seconds, cost in costs if cost > HEAD and seconds > 0]

    def _trained_work(self) -> float:
        """Seconds of a million multiply-adds of a trunk that is trained, which is about as quick as one that is not."""
        rates = [rate for family, rate in self.sampled.items() if family_of(family).transfers]
        return max(rates, default=0.0) / self.pictures

    def known(self, family: str) -> bool:
        """Whether a family has shown itself what an epoch takes."""
        return family in self.sampled or bool(self._ratios(family))

    def sample(self, family: str, config: Mapping[str, Any], seconds: float) -> float:
        """Takes in the seconds that training on one picture took; what an epoch's work takes."""
        # Validating is a forward pass, a third of the work, over the pictures that a retraining has beside.
        self.sampled[family] = seconds * self.pictures * (1 + (self.growth - 1) / 3) / work(family, config)
        return self.sampled[family]

    def epoch_work(self, family: str, config: Mapping[str, Any]) -> float:
        """What an epoch of a configuration costs, relative to that of another."""
        return work(family, config) * passes(family, config, self.pictures)

    def epoch(self, family: str, config: Mapping[str, Any]) -> float | None:
        """Seconds that an epoch will take; None where nothing is known, 0 for a head on stored features."""
        if work(family, config) <= HEAD:
            return 0.0
        rate = self.rate(family)
        return None if rate is None else rate * self.epoch_work(family, config)

    # --- retrainings ------------------------------------------------------------------------------------------------

    def leader(self, family: str) -> Record | None:
        """The trial of a family that would be retrained, were its search over now."""
        tried = [record for record in self.journal.of(family) if record.values]
        return max(tried, key=lambda one: one.standing, default=None)

    def heir(self, family: str) -> Record | None:
        """The trial whose retraining is reckoned with: the leader, or the largest probe if it leads by a trained head.

        The final decides between them, and among probes the larger is taken. None where no trial has shown anything.
        """
        leader = self.leader(family)
        if leader is None or is_probe(leader.config) or work(family, leader.config) > HEAD:
            return leader
        return max(self._probes(family), key=lambda one: size_of(one.config), default=leader)

    def _probes(self, family: str) -> list[Record]:
        """The probes of a family that were solved."""
        return [record for record in self.journal.of(family) if record.values and is_probe(record.config)]

    def retraining(self, family: str, epochs: int) -> float:
        """Seconds that one retraining of a family's heir will take, of so many epochs; as long as those before it.

        Beside other trials an epoch may take twice as long as alone: two workers often share a core.
        """
        heir = self.heir(family)
        if heir is None:
            return 0.0
        done = [row for row in self.journal.rows if row["event"] == "test" and row.get("trial") == heir.name]
        training = max((row.get("seconds") or 0.0 for row in done), default=0.0)
        return (training or heir.fastest * epochs * self.growth) + self.overhead(family)

    def refit(self, family: str) -> float:
        """Seconds that solving a family's heir, a probe, once more on all pictures will take."""
        heir = self.heir(family)
        if heir is None:
            return 0.0
        versions = 2 if heir.config.get("mirrored") else 1
        return heir.fastest * self.growth + self._building(family) + versions * self.test * self._looking(family)

    def overhead(self, family: str) -> float:
        """Seconds that a retraining takes beside its epochs, or a trial's own model to be scored and exported."""
        return self._building(family) + (self.test + LOOKED_AT) * self._looking(family)

    def _building(self, family: str) -> float:
        """Seconds that the largest model of a family that was tried takes to be built, exported, timed and checked."""
        if not family_of(family).transfers:
            return RETRAINING_OVERHEAD
        tried = [convolutions(record.config) for record in self.journal.of(family) if record.values]
        # Labels are checked by the family's best probe.
        checked = bool(self._probes(family))
        fixed = RETRAINING_OVERHEAD * max(1.0, max(tried, default=0) / CONVOLUTIONS)
        return fixed + LABELS_OVERHEAD * checked

    def _looking(self, family: str) -> float:
        """Seconds of a picture through the exported model of a family's heir; 0 where there is none.

        Of trunks those of a trial that is under way count too, and of probes any two that were tried: they may come to
        lead.
        """
        heir = self.heir(family)
        if heir is None:
            return 0.0
        if family_of(family).transfers:
            cost, running = self.passing.cost, self.passing.under_way()
            found = [sum(map(cost, sources(record.config))) for record in (heir, *running)]
            if is_probe(heir.config):
                tried = [*running, *(record for record in self.passing.transfers() if record.values)]
                probed = {one for record in tried if is_probe(record.config) for one in sources(record.config)}
                found.append(sum(sorted(map(cost, probed))[-2:]))
            return max(found)
        # A third of what training takes.
        return heir.fastest / 3 / self.pictures / passes(family, heir.config, self.pictures)
