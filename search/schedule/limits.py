"""What breaks a limit of the run: a configuration whose model is too large or too slow."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from results.rows import NO_TIME
from search.record.journal import INFEASIBLE, Journal, Record
from search.studies.aims import Aims, Cost, size_of
from spaces.costs import architecture

# Configurations in a row that break a limit of the run, after which a family is given up: where one in thirty keeps to
# the limits, random draws alone miss it so often once in a thousand times.
MOST_MISSES = 200


class Limits:
    """The costs of models that are known, and how often each family has missed the limits."""

    def __init__(self, aims: Aims, journal: Journal, classes: int, say: Callable[[str], None]) -> None:
        self.aims = aims
        self.journal = journal
        self.classes = classes
        self.say = say
        self.costs: dict[tuple[Any, ...], Cost] = {}  # measured, by architecture
        self.infeasible = Counter[str]()  # by family, trials that were refused
        self.misses = Counter[str]()  # by family, those of them since one kept to the limits
        for record in journal.records.values():
            self.learn(record)

    def cost_of(self, record: Record) -> Cost:
        """What the model of a configuration costs, as far as it is asked for and no worker has to build it."""
        if not self.aims.costed:
            return {}
        measured = self.costs.get(architecture(record.family, record.config), {}) if self.aims.timed else {}
        return {**measured, **size_of(record.family, record.config, self.classes)}

    def measured(self, record: Record, row: Mapping[str, Any]) -> bool:
        """Takes in what a worker measured; returns whether the trial is trained."""
        cost = {name: value for name, value in row.items() if name != "event"}
        self.journal.cost(record.name, {**cost, **size_of(record.family, record.config, self.classes)})
        objection = self.aims.objection(record.cost)
        if objection:
            self.journal.end(record.name, INFEASIBLE, objection)
        else:
            self.learn(record)
        return not objection

    def learn(self, record: Record) -> None:
        """Takes in what a trial's model costs, and whether it broke a limit."""
        family = record.family
        if record.cost and self.aims.timed and self.aims.known(record.cost):
            self.costs.setdefault(architecture(family, record.config), record.cost)
        if record.status != INFEASIBLE:
            self.misses[family] = 0
            return
        self.infeasible[family] += 1
        self.misses[family] += 1
        if self.misses[family] == MOST_MISSES:
            refused = self.journal.of(family, INFEASIBLE)
            late = sum(record.reason.startswith(NO_TIME) for record in refused[-MOST_MISSES:])
            if late > MOST_MISSES // 2:
                self.say(
                    f"{family}: for the last {MOST_MISSES} configurations drawn there was no time, and no more are"
                )
                return
            nearest = min(refused, key=lambda found: sum(max(0.0, by) for by in self.aims.excess(found.cost).values()))
            which = "the last" if len(self.journal.of(family)) > self.infeasible[family] else "all"
            self.say(
                f"{family}: {which} {MOST_MISSES} configurations drawn break a limit, and no more are; the nearest has "
                f"{nearest.reason}"
            )

    def given_up(self, family: str) -> bool:
        """Whether no more configurations of a family are drawn."""
        return self.misses[family] >= MOST_MISSES
