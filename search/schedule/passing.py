"""What passing pictures through trunks takes on the workers of a run, and solving on what comes out."""

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

from models.sizes import Source, forward, is_probe, sources, stored
from results.rows import RUNNING
from search.record.journal import Journal, Record
from search.training.activations import view_name, views
from spaces import family_of

# A multiply-add of a trunk that nobody has run yet takes at most so many times one of the quickest: MobileNetV2 took
# nearly twice what MobileNet did, whose work is less scattered.
UNLIKE = 2.0

Part = tuple[Source, str]  # features of one version of the pictures: a trunk, and the name of the version


class Passing:
    """Seconds of a worker for features of trunks that are stored, told from what the rows of a run have shown.

    Args:
        pictures: of train and validation.
        most_views: versions of the pictures that are stored, at most.
        unknown: seconds of a million multiply-adds where no trunk was run yet.
    """

    def __init__(
        self,
        journal: Journal,
        families: Sequence[str],
        *,
        pictures: float,
        most_views: int,
        unknown: Callable[[], float],
    ) -> None:
        self.journal = journal
        self.families = families
        self.pictures = pictures
        self.most_views = most_views
        self.unknown = unknown
        self._read: set[str] = set()  # transfer trials that are over and counted in what follows
        self._found: set[Part] = set()  # features that are there
        # By backbone, the seconds that were waited for features, and their work, in millions of multiply-adds.
        self._spent: dict[str, tuple[float, float]] = {}

    def features(self, family: str, config: Mapping[str, Any]) -> float:
        """Seconds until the features that a configuration trains on are there; 0 where they are, or nobody knows."""
        costs = self._computed()[1]
        return sum(
            self._passing(source[0], costs) * forward(*source) * self.pictures
            for source, _ in self._missing(family, config)
        )

    def operations(self, family: str, config: Mapping[str, Any]) -> float:
        """Million multiply-adds on one picture for the features of a configuration that are not there."""
        return sum(forward(*source) for source, _ in self._missing(family, config))

    def _missing(self, family: str, config: Mapping[str, Any]) -> list[Part]:
        """The features of a configuration that are not there, nor being computed by a trial that is under way."""
        wanted = self._parts(family, config)
        if not wanted:
            return []
        found = self._computed()[0].union(*(self._parts(one.family, one.config) for one in self.under_way()))
        return [part for part in wanted if part not in found]

    def solving(self, config: Mapping[str, Any]) -> float:
        """Seconds that solving a probe takes beyond its features; 0 where none was solved yet."""
        if not is_probe(config):
            return 0.0
        solved = [record for record in self.transfers() if record.values and is_probe(record.config)]
        wide = [record.fastest / size_of(record.config) for record in solved]
        return median(wide) * size_of(config) if wide else 0.0

    def cost(self, source: Source) -> float:
        """Seconds that one picture takes through a trunk."""
        return self._passing(source[0], self._computed()[1]) * forward(*source)

    def transfers(self) -> list[Record]:
        """The trials of the families that train on stored features."""
        return [one for family in self.families if family_of(family).transfers for one in self.journal.of(family)]

    def under_way(self) -> list[Record]:
        """Those of them that a worker has begun and not ended."""
        return [record for record in self.transfers() if record.status == RUNNING and record.started]

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
        for record in self.transfers():
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
                self._spent[backbone] = waited + record.waited, done + new * self.pictures
            self._found.update(parts)
        return self._found, {name: waited / done for name, (waited, done) in self._spent.items() if waited and done}

    def _passing(self, backbone: str, costs: Mapping[str, float]) -> float:
        """Seconds of a million multiply-adds of a backbone."""
        if backbone in costs:
            return costs[backbone]
        if costs:
            return UNLIKE * min(costs.values())
        return self.unknown()


def size_of(config: Mapping[str, Any]) -> int:
    """How large the problem of a probe is, relative to that of one trunk's features of the pictures alone."""
    return len(sources(config)) * (2 if config.get("mirrored") else 1)
