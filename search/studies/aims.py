"""What a search is after, and what a model may cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.study import StudyDirection

from results.analysis.metrics import ACCURACY
from search.settings import Settings
from spaces.costs import parameters

# What a configuration's model costs, under the names of a `cost` row: `parameters`, `bytes` of its weights, and where
# latency is asked for `latency_one` and `latency_batch` in seconds, `batch` and `device`.
Cost = dict[str, Any]

COSTS = {"latency": "latency_one", "size": "parameters"}  # objective -> what of a cost is to be small
WEIGHT = 4  # bytes of a parameter in the exported file


@dataclass(frozen=True)
class Aims:
    """The objectives of a search, accuracy (or what stands in its place, `metric`) among them, and a model's limits."""

    objective: tuple[str, ...] = ("accuracy",)
    max_latency: float | None = None  # seconds for one picture
    max_parameters: int | None = None
    metric: str = ACCURACY  # what `accuracy` means

    @classmethod
    def of(cls, settings: Settings) -> "Aims":
        """Those of a run."""
        return cls(settings.objective, settings.max_latency, settings.max_parameters, settings.metric)

    @property
    def timed(self) -> bool:
        """Whether every configuration's latency has to be known."""
        return "latency" in self.objective or self.max_latency is not None

    @property
    def costed(self) -> bool:
        """Whether anything of a model's cost has to be known."""
        return self.timed or "size" in self.objective or self.max_parameters is not None

    @property
    def directions(self) -> list[StudyDirection]:
        """Optuna's direction of each objective."""
        maximize, minimize = StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE
        return [maximize if name == "accuracy" else minimize for name in self.objective]

    def values(self, score: float, cost: Cost) -> list[float]:
        """What Optuna is told of a trial that ran its budget, one value for each objective."""
        return [score if name == "accuracy" else float(cost[COSTS[name]]) for name in self.objective]

    def as_good(self, values: Sequence[float], than: Sequence[float]) -> bool:
        """Whether values are at least as good as others in every objective."""
        up = [direction == StudyDirection.MAXIMIZE for direction in self.directions]
        return all(a >= b if maximize else a <= b for a, b, maximize in zip(values, than, up, strict=True))

    def known(self, cost: Cost) -> bool:
        """Whether a cost has all that objectives and limits ask for."""
        return not self.costed or ("parameters" in cost and (not self.timed or "latency_one" in cost))

    def excess(self, cost: Cost) -> dict[str, float]:
        """By which share of each limit a cost is above it, negative where it is below; unknown costs are left out."""
        limits = {"latency_one": self.max_latency, "parameters": self.max_parameters}
        return {name: cost[name] / limit - 1 for name, limit in limits.items() if limit is not None and name in cost}

    def objection(self, cost: Cost) -> str:
        """Which limit a cost breaks, in words; empty where it breaks none."""
        excess = self.excess(cost)
        said = []
        if excess.get("parameters", 0.0) > 0:
            said.append(f"{cost['parameters']:,} parameters, more than --max-parameters {self.max_parameters:,}")
        if self.max_latency is not None and excess.get("latency_one", 0.0) > 0:
            took, limit = (f"{1e3 * seconds:.5g} ms" for seconds in (cost["latency_one"], self.max_latency))
            said.append(f"{took} for one picture, more than --max-latency {limit}")
        return " and ".join(said)


def size_of(family: str, config: Mapping[str, Any], classes: int) -> Cost:
    """What is known of a configuration's cost before anything is built; nothing of a family of the user's own."""
    found = parameters(family, config, classes)
    return {} if found is None else {"parameters": found, "bytes": WEIGHT * found}
