"""The trials of a search: each is drawn, looked at, given out, and what it says is taken in."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from models.sizes import HEAD
from results.rows import OUT_OF_TIME
from search.record.journal import FAILED, INFEASIBLE, RUNNING, STOPPED, Journal, Record
from search.schedule import Say
from search.schedule.limits import Limits
from search.schedule.plans import Plans
from search.schedule.turns import Turns
from search.schedule.verdicts import Verdicts
from search.settings import Settings
from search.studies.study import Study
from search.training.checkpoint import Checkpoints
from search.training.worker import Job
from spaces.costs import work


class Trials:
    """What is tried, from the draw to its last row, and what is tried again."""

    def __init__(
        self,
        settings: Settings,
        studies: Mapping[str, Study],
        journal: Journal,
        plans: Plans,
        verdicts: Verdicts,
        limits: Limits,
        turns: Turns,
        checkpoints: Checkpoints,
        job: Callable[..., Job],
        say: Say,
    ) -> None:
        self.settings = settings
        self.studies = studies
        self.journal = journal
        self.budget = plans.budget
        self.plans = plans
        self.verdicts = verdicts
        self.limits = limits
        self.turns = turns
        self.checkpoints = checkpoints
        self.job = job  # makes a job of kind, family, configuration and seed
        self.say = say
        # To go on with: trials of a resumed run, and those whose worker was lost.
        self.again = [record.name for record in journal.records.values() if record.status == RUNNING]
        self._models: dict[str, list[str]] = {}  # by family, the trials whose own models are kept

    # --- what is next ------------------------------------------------------------------------------------------------

    def resumed(self) -> tuple[str, Job]:
        """The first of those that are to go on."""
        return self._given(self.again.pop(0))

    def drawn(self, family: str) -> tuple[str, Job] | None:
        """A new one; None where what was drawn is not tried, which takes no worker and is none of the --trials."""
        record = self._draw(family)
        objection = self._objection(record)
        if not objection:
            return self._given(record.name)
        self.journal.start(record.name)
        self.journal.end(record.name, INFEASIBLE, objection)
        self._tell(record)
        return None

    def _draw(self, family: str) -> Record:
        # Of a damaged run numbers may be missing: no name is given twice.
        used = (int(record.name.rsplit("-", 1)[1]) for record in self.journal.of(family))
        name = f"{family}-{max(used, default=-1) + 1:03d}"
        config, point = self.studies[family].suggest(name)
        blind = name in self.studies[family].blind
        record = self.journal.records[name] = Record(name, family, config, point, blind=blind)
        return record

    def _objection(self, record: Record) -> str:
        """Why a configuration is not tried; empty where it is. Its record says then for how many epochs."""
        aims = self.limits.aims
        cost = self.limits.cost_of(record)
        objection = aims.objection(cost)
        # A cost that is not known whole is left to the worker, which says all of it at once.
        record.cost = cost if objection or aims.known(cost) else {}
        record.planned, late = self.plans.plan(record)
        return objection or late

    def _given(self, name: str) -> tuple[str, Job]:
        record = self.journal.records[name]
        seed = self.settings.seed + int(name.rsplit("-", 1)[1])
        job = self.job("search", record.family, record.config, seed)
        # A head on cached features is through before its state would have reached the disk.
        kept = work(record.family, record.config) > HEAD
        rungs = self.verdicts.epochs(record.planned)
        measured = not self.limits.aims.known(record.cost)
        return name, replace(
            job, epochs=record.planned, planned=record.planned, rungs=rungs, kept=kept, measured=measured,
            last=kept and self.budget.limited,
            within=self.plans.patience(record),
        )  # fmt: skip

    # --- what came of it ---------------------------------------------------------------------------------------------

    def reported(self, name: str, result: Mapping[str, Any]) -> bool:
        """Takes in what one says; returns whether it goes on."""
        record = self.journal.records[name]
        if "out of memory" in result:
            self._lacked_memory(record, result["out of memory"])
            return False
        if "failed" in result:
            self.journal.end(name, FAILED, result["failed"])
            return False
        if "late" in result:
            self.journal.end(name, STOPPED, OUT_OF_TIME)
            return False
        if result["rows"][0].get("event") == "cost":
            return self.limits.measured(record, result["rows"][0])
        return self._trained(record, result["rows"])

    def _trained(self, record: Record, reported: list[dict[str, Any]]) -> bool:
        # A trial begins anew where it had come to no checkpoint; the epochs that it had reported stand.
        rows = [row for row in reported if row["epoch"] not in record.values]
        self.journal.epochs(record.name, rows)
        self.turns.best[record.family] = max(self.turns.best[record.family], record.best)
        if not all(self.verdicts.goes_on(record, row["epoch"], record.values[row["epoch"]]) for row in rows):
            return False
        if self.verdicts.through(record):
            return False
        if self.budget.out_of_time():
            self.journal.end(record.name, STOPPED, OUT_OF_TIME)
            return False
        # At rungs alone: when rows come between them is chance, and the order of draws must not hang on it.
        rungs = self.verdicts.epochs(record.planned)
        if any(row["epoch"] in rungs for row in rows) and (family := self.turns.next()):
            self.studies[family].draw_ahead()
        return True

    def ended(self, name: str, reason: str, *, blamed: bool) -> None:
        """One is over for Tune, with a reason where its worker was lost, and whether it is blamed for that.

        One that had not come to its own end goes on later, from its last checkpoint, unless its workers have been lost
        too often: then it is the likely cause.
        """
        record = self.journal.records[name]
        if record.status == RUNNING and name not in self.again:
            reason = reason or "ended without a result"
            if not blamed or record.failures < self.settings.max_failures:
                self.journal.retry(name, reason, counts=blamed)
                self.say(f"{name} is tried again: {reason}")
                self.again.append(name)
            else:
                again = f", tried {record.failures + 1} times" if record.failures else ""
                self.journal.end(name, FAILED, reason + again)
        if record.status == RUNNING:
            return
        self._drop(record)
        if record.status == FAILED:
            self.say(f"{name} failed: {record.reason}")
        self._tell(record)

    def _tell(self, record: Record) -> None:
        """A trial has come to its end: the study hears of it."""
        self.studies[record.family].tell(record)
        self.limits.learn(record)

    def _drop(self, record: Record) -> None:
        """Removes the checkpoints that nobody needs: where time is short the best trials' own models are kept."""
        kept: list[Record] = []
        if self.budget.limited:
            ended = [other for other in self.journal.of(record.family) if other.values and other.status != RUNNING]
            kept = sorted(ended, key=lambda other: other.standing, reverse=True)[: self.settings.finalists]
        for other in {record.name, *self._models.get(record.family, ())} - {other.name for other in kept}:
            self.checkpoints.remove(other)
        self._models[record.family] = [other.name for other in kept]

    def _lacked_memory(self, record: Record, reason: str) -> None:
        """A trial is tried once more with half the batch; after that it is infeasible."""
        batch = record.config.get("batch_size", 1)
        if record.changed or batch < 2:
            self.journal.end(record.name, FAILED, f"infeasible: {reason}")
            return
        self.checkpoints.remove(record.name)
        self.journal.change(record.name, {**record.config, "batch_size": batch // 2}, reason)
        self.say(f"{record.name} is tried again with a batch of {batch // 2}: {reason}")
        self.again.append(record.name)
