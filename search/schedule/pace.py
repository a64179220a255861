"""What things take on the workers of a run, in seconds of a worker, told from what its rows have shown."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from models.sizes import HEAD, Source, convolutions, forward, is_probe, sources, stored
from results.rows import RUNNING
from search.record.journal import Journal, Record
from search.training.activations import view_name, views
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
# A multiply-add of a trunk that nobody has run yet takes at most so many times one of the quickest: MobileNetV2 took
# nearly twice what MobileNet did, whose work is less scattered.
UNLIKE = 2.0

Part = tuple[Source, str]  # features of one version of the pictures: a trunk, and the name of the version


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
        self.most_views = most_views
        self._read: set[str] = set()  # transfer trials that are over and counted in what follows
        self._found: set[Part] = set()  # features that are there
        # By backbone, the seconds that were waited for features, and their work, in millions of multiply-adds.
        self._spent: dict[str, tuple[float, float]] = {}
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
        records = [record for record in self.journal.of(family)[-RECENT:] if record.values]
        costs = [(record.fastest, self.epoch_work(family, record.config)) for record in records]
        return [seconds / cost for seconds, cost in costs if cost > HEAD and seconds > 0]

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

    # --- stored features and what is solved on them -----------------------------------------------------------------

    def features(self, family: str, config: Mapping[str, Any]) -> float:
        """Seconds until the features that a configuration trains on are there; 0 where they are, or nobody knows."""
        wanted = self._parts(family, config)
        if not wanted:
            return 0.0
        found, costs = self._computed()
        # Those that a running trial computes are shared by whoever else asks for them.
        found = found.union(*(self._parts(record.family, record.config) for record in self._under_way()))
        return sum(
            self._passing(source[0], costs) * forward(*source) * self.pictures * self.growth
            for source, version in wanted
            if (source, version) not in found
        )

    def solving(self, config: Mapping[str, Any]) -> float:
        """Seconds that solving a probe takes beyond its features; 0 where none was solved yet."""
        if not is_probe(config):
            return 0.0
        solved = [record for record in self._transfers() if record.values and is_probe(record.config)]
        wide = [record.fastest / _size(record.config) for record in solved]
        return median(wide) * _size(config) if wide else 0.0

    def _parts(self, family: str, config: Mapping[str, Any], epochs: int | None = None) -> list[Part]:
        """The features that a configuration needs, those of so many epochs where they are given."""
        if not family_of(family).transfers or not stored(config):
            return []
        if is_probe(config):
            names = [view_name("none", 0), *([view_name("flip", 1)] if config.get("mirrored") else [])]
        else:
            count = views(config["augmentation"], self.most_views)
            count = count if epochs is None else min(count, epochs)
            names = [view_name(config["augmentation"], view) for view in range(count)]
        return [(source, name) for source in sources(config) for name in names]

    def _computed(self) -> tuple[set[Part], dict[str, float]]:
        """The features that are there, and by backbone the seconds of a multiply-add of one picture, in millions."""
        for record in self._transfers():
            if record.name in self._read or record.status == RUNNING:
                continue
            self._read.add(record.name)
            parts = self._parts(record.family, record.config, len(record.values)) if record.values else []
            backbones = {source[0] for source, _ in parts}
            if len(backbones) == 1:
                # Those who wait for the same features compute them together: all that they waited is what it took.
                (backbone,) = backbones
                new = sum(forward(*source) for source, version in parts if (source, version) not in self._found)
                waited, done = self._spent.get(backbone, (0.0, 0.0))
                self._spent[backbone] = waited + record.waited, done + new * self.pictures * self.growth
            self._found.update(parts)
        return self._found, {name: waited / done for name, (waited, done) in self._spent.items() if waited and done}

    def _passing(self, backbone: str, costs: Mapping[str, float]) -> float:
        """Seconds of a million multiply-adds of a backbone."""
        if backbone in costs:
            return costs[backbone]
        if costs:
            return UNLIKE * min(costs.values())
        # Nobody has run one yet: training is about as quick.
        rates = [rate for family, rate in self.sampled.items() if family_of(family).transfers]
        return max(rates, default=0.0) / self.pictures

    def _transfers(self) -> list[Record]:
        """The trials of the families that train on stored features."""
        return [one for family in self.families if family_of(family).transfers for one in self.journal.of(family)]

    def _under_way(self) -> list[Record]:
        """Those of them that a worker has begun and not ended."""
        return [record for record in self._transfers() if record.status == RUNNING and record.started]

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
        return max(self._probes(family), key=lambda one: _size(one.config), default=leader)

    def _probes(self, family: str) -> list[Record]:
        """The probes of a family that were solved."""
        return [record for record in self.journal.of(family) if record.values and is_probe(record.config)]

    def retraining(self, family: str, epochs: int) -> float:
        """Seconds that one retraining of a family's heir will take, of so many epochs."""
        heir = self.heir(family)
        if heir is None:
            return 0.0
        return heir.fastest * epochs * self.growth + self.overhead(family)

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
            costs = self._computed()[1]

            def cost(source: Source) -> float:
                return self._passing(source[0], costs) * forward(*source)

            running = self._under_way()
            found = [sum(map(cost, sources(record.config))) for record in (heir, *running)]
            if is_probe(heir.config):
                tried = [*running, *(record for record in self._transfers() if record.values)]
                probed = {one for record in tried if is_probe(record.config) for one in sources(record.config)}
                found.append(sum(sorted(map(cost, probed))[-2:]))
            return max(found)
        # A third of what training takes.
        return heir.fastest / 3 / self.pictures / passes(family, heir.config, self.pictures)


def _size(config: Mapping[str, Any]) -> int:
    """How large the problem of a probe is, relative to that of one trunk's features of the pictures alone."""
    return len(sources(config)) * (2 if config.get("mirrored") else 1)
