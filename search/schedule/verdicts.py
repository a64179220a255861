"""What a rung says of a trial: whether it goes on."""

from collections import defaultdict

from models.sizes import HEAD
from results.analysis.metrics import ACCURACY, METRICS, shown
from results.analysis.numbers import baseline_name
from search.record.journal import FINISHED, INFEASIBLE, RUNNING, STOPPED, Journal, Record
from search.schedule.rungs import Rungs, rung_epochs
from search.settings import Settings
from search.studies.aims import Aims
from spaces import family_of
from spaces.costs import work

# Trials of at least `LONG` epochs are first compared after `FIRST_OF_LONG`: one epoch of many tells nothing.
LONG = 27
FIRST_OF_LONG = 3


class Verdicts:
    """The rungs of a run, by what is compared with each other."""

    def __init__(self, settings: Settings, journal: Journal, aims: Aims) -> None:
        self.settings = settings
        self.journal = journal
        self.aims = aims
        # By family, whether the trunk is trained, and whether the trial was drawn or given without a look at others;
        # None for both kinds together.
        self.rungs: dict[tuple[str, bool, bool | None], Rungs] = {}

    def epochs(self, planned: int) -> tuple[int, ...]:
        """Where trials are compared that are planned for so many epochs."""
        first = self.settings.first_rung
        return rung_epochs(max(first, FIRST_OF_LONG) if planned >= LONG else first, self.settings.reduction, planned)

    def goes_on(self, record: Record, epoch: int, value: float) -> bool:
        """Whether a trial goes on after an epoch; one that does not is ended."""
        cost = work(record.family, record.config)
        # A head on cached features is through before another trial has started: stopping it would save nothing.
        judged = cost > HEAD and epoch < record.planned and not self._apart(record)
        verdict = self._verdict(record, epoch, value, cost) if judged else None
        if verdict is None:
            return True
        promoted, threshold = verdict
        # The study's own configuration is never stopped: the report measures against it what the search gained.
        promoted = promoted or record.name == baseline_name(record.family) or self._on_front(record, epoch, value)
        self.journal.write("rung", record.name, record.family, epoch=epoch, value=value, promoted=promoted)
        if not promoted:
            self.journal.end(record.name, STOPPED, f"epoch {epoch}: {self._below(value, threshold)}")
        return promoted

    def _verdict(self, record: Record, epoch: int, value: float, cost: float) -> tuple[bool, float] | None:
        """Whether a trial is good enough, and what it had to reach; None where the epoch is no rung.

        Where full trials are as long as the time allows, few of them find room: until enough of a trial's own kind have
        come to the rung, it has to be as good as the best half (or third) of all that did, be it one.
        """
        own = self._rungs_of(record, record.blind)
        verdict = own.judge(epoch, value, cost)
        if verdict is None or not self.settings.timed:
            return verdict
        together = self._rungs_of(record, None).judge(epoch, value, cost, least=2)
        return verdict if len(own.reached[epoch]) >= self.settings.reduction else together

    def _apart(self, record: Record) -> bool:
        """Whether a trial is compared with no other: a base that has a short schedule, where long ones are planned.

        At its third epoch of nine it is ahead of whatever has hardly begun with fifty, and better in the end than none.
        """
        base = record.name == baseline_name(record.family)
        return base and self.settings.timed

    def _below(self, value: float, threshold: float) -> str:
        name = self.settings.metric
        if name == ACCURACY:
            return f"{value:.3f} below the rung's {threshold:.3f}"
        side = "above" if METRICS[name].minimised else "below"
        return f"{METRICS[name].title} {shown(name, value):.3f} {side} the rung's {shown(name, threshold):.3f}"

    def through(self, record: Record) -> bool:
        """Whether a trial has had its full budget; one that has is ended."""
        if len(record.values) < record.planned:
            return False
        self.journal.end(record.name, FINISHED, "solved" if record.planned == 1 else f"all {record.planned} epochs")
        return True

    def recall(self) -> list[Record]:
        """Brings rungs and ends up to date with the rows of a resumed run; those that it ended."""
        judged: dict[str, set[int]] = defaultdict(set)
        dropped = set()
        for row in self.journal.rows:
            if row["event"] == "start":
                # Once more where a trial began anew with another configuration.
                judged[row["trial"]].clear()
            elif row["event"] == "rung":
                record = self.journal.records[row["trial"]]
                self._verdict(record, row["epoch"], row["value"], work(record.family, record.config))
                judged[record.name].add(row["epoch"])
                if not row["promoted"]:
                    dropped.add(record.name)
        ended = []
        for record in self.journal.records.values():
            if record.status != RUNNING:
                continue
            # Killed between a row and what follows from it: the verdict of a rung, or the row that says it is over.
            new = [(epoch, value) for epoch, value in record.values.items() if epoch not in judged[record.name]]
            objection = self.aims.objection(record.cost)
            if objection:
                self.journal.end(record.name, INFEASIBLE, objection)
            elif record.name in dropped:
                self.journal.end(record.name, STOPPED, "below its rung")
            elif all(self.goes_on(record, *found) for found in new):
                self.through(record)
            if record.status != RUNNING:
                ended.append(record)
        return ended

    def _rungs_of(self, record: Record, blind: bool | None) -> Rungs:
        tuned = family_of(record.family).transfers and record.config["unfrozen_blocks"] > 0
        group = record.family, tuned, blind
        if group not in self.rungs:
            self.rungs[group] = Rungs(self.epochs(record.planned), self.settings.reduction)
        found = self.rungs[group]
        # Those of the longest trial: a family's base has fewer epochs than the trials that follow it, and its first
        # rung may stand earlier.
        found.epochs = max(found.epochs, self.epochs(record.planned), key=lambda epochs: (epochs[:1], len(epochs)))
        return found

    def _on_front(self, record: Record, epoch: int, value: float) -> bool:
        """Whether no other trial of the family was as accurate at this epoch with a model as cheap in every objective.

        By accuracy alone the rungs would stop every cheap model, whatever else the search is after. On a made-up family
        the front after 60 trials then has a hypervolume of 1.05 instead of 1.43 (means of 30 seeds, standard errors
        0.04 and 0.01), for a fifth fewer epochs.
        """
        if len(self.aims.objective) == 1:
            return False
        own = self.aims.values(value, record.cost)
        return not any(
            self.aims.as_good(self.aims.values(other.values[epoch], other.cost), own)
            for other in self.journal.of(record.family)
            if other is not record and epoch in other.values and self.aims.known(other.cost)
        )
