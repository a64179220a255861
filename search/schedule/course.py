"""What is done next in a search, and what came of it; what decides stands in the files beside this one."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import ray

from models.sizes import HEAD, is_probe
from results.rows import OUT_OF_TIME
from search.data.pictures import Pictures
from search.record.journal import FAILED, INFEASIBLE, RUNNING, STOPPED, Journal, Record
from search.schedule import Say
from search.schedule.budget import EPOCHS, Budget
from search.schedule.delivery import Delivery
from search.schedule.limits import Limits
from search.schedule.losses import Losses
from search.schedule.pace import Pace
from search.schedule.turns import Turns
from search.schedule.verdicts import Verdicts
from search.settings import Settings
from search.studies.aims import Aims
from search.studies.study import Study
from search.training.checkpoint import Checkpoints
from search.training.worker import TIMING, Job
from spaces.costs import work


class Course:
    """What Tune's searcher, scheduler and callback all ask."""

    def __init__(
        self,
        settings: Settings,
        studies: Mapping[str, Study],
        journal: Journal,
        workers: int,
        pictures: Pictures,
        say: Say,
        leader: str = "",
    ) -> None:
        """`leader` is the family that begins, with the recipe of the run that this one goes on from."""
        self.settings = settings
        self.studies = studies
        self.journal = journal
        self.say = say
        self.interrupted = False
        for record in journal.records.values():
            # A run from before a trial's row said it.
            record.planned = record.planned or settings.epochs or EPOCHS
        aims = Aims.of(settings)
        growth = 1 + len(pictures.validation) / len(pictures.train)
        self.pace = Pace(
            journal, settings.families, pictures=len(pictures.train), test=len(pictures.test), growth=growth,
            most_views=settings.views,
        )  # fmt: skip
        self.usual = {family: study.usual for family, study in studies.items()}
        usual = {family: self.pace.epoch_work(family, config) for family, config in self.usual.items()}
        self.budget = Budget(settings, journal, self.pace, usual)
        self.budget.alone = {family for family, study in studies.items() if study.size == 1 or study.recipe}
        self.verdicts = Verdicts(settings, journal, aims)
        for record in self.verdicts.recall():
            studies[record.family].tell(record)
        self.limits = Limits(aims, journal, len(pictures.classes), say)
        self.turns = Turns(settings, studies, journal, self.budget, self.limits, leader)
        self.losses = Losses(settings.max_failures)
        self.checkpoints = Checkpoints(settings.folder / "checkpoints", say)
        self._models: dict[str, list[str]] = {}  # by family, the trials whose own models are kept
        self.delivery = Delivery(settings, journal, self.budget, self._job, self.checkpoints.holds, say, leader)
        # Trials to go on with: of a resumed run, and those whose worker was lost.
        self.again = [record.name for record in journal.records.values() if record.status == RUNNING]
        self.workers = workers

    @property
    def workers(self) -> int:
        """Trials that can run at a time; nodes come and go."""
        return self.budget.workers

    @workers.setter
    def workers(self, count: int) -> None:
        self.budget.workers = max(1, count)

    # --- what is next ------------------------------------------------------------------------------------------------

    def next(self) -> tuple[str, Job] | None:
        """A name and a job; None where nothing can start until something ends."""
        if self.interrupted:
            return None
        if self.again:
            return self._search_job(self.again.pop(0))
        if recipe := self.delivery.next_recipe():
            return recipe
        while not self.interrupted and (family := self.turns.next()) is not None:
            if family not in self.turns.timed and self.budget.unknown(family):
                return self._timing_job(family)
            record = self._drawn(family)
            objection = self._objection(record)
            if not objection:
                return self._search_job(record.name)
            # No worker is troubled with it, and it is none of the --trials.
            self.journal.start(record.name)
            self.journal.end(record.name, INFEASIBLE, objection)
            self._tell(record)
        return None if self.interrupted else self.delivery.next(self.turns.searched)

    def _timing_job(self, family: str) -> tuple[str, Job]:
        name = f"{family}-{TIMING}"
        self.turns.timing[name] = family
        self.turns.timed.add(family)
        return name, self._job(TIMING, family, self.usual[family], self.settings.seed)

    def _drawn(self, family: str) -> Record:
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
        record.planned, late = self.budget.plan(record)
        return objection or late

    def _search_job(self, name: str) -> tuple[str, Job]:
        record = self.journal.records[name]
        seed = self.settings.seed + int(name.rsplit("-", 1)[1])
        job = self._job("search", record.family, record.config, seed)
        # A head on cached features is through before its state would have reached the disk.
        kept = work(record.family, record.config) > HEAD
        rungs = self.verdicts.epochs(record.planned)
        measured = not self.limits.aims.known(record.cost)
        return name, replace(
            job, epochs=record.planned, planned=record.planned, rungs=rungs, kept=kept, measured=measured,
            last=kept and self.budget.limited,
            within=self.budget.patience(record),
        )  # fmt: skip

    def _job(self, kind: str, family: str, config: dict[str, Any], seed: int) -> Job:
        return Job(kind, family, config, seed, EPOCHS, EPOCHS, self.settings.views, kept=not is_probe(config))

    def nothing_left(self) -> bool:
        """Whether a run that is resumed had already done everything."""
        return not self.again and self.turns.next() is None and self.delivery.nothing_left()

    def over(self) -> bool:
        """Whether every trial and retraining has been given out."""
        searched = all(self.turns.searched(family) for family in self.settings.families)
        return not self.again and self.turns.next() is None and searched and self.delivery.over()

    # --- what came of it ---------------------------------------------------------------------------------------------

    def reported(self, name: str, result: Mapping[str, Any]) -> bool:
        """Takes in what a trial says; returns whether it goes on."""
        if self.interrupted:
            return False
        if "checkpoint" in result:
            # Lost where its worker was, before it came here: that will be heard of, and an earlier one does.
            with suppress(ray.exceptions.RayError):
                self.checkpoints.write(name, ray.get(result["checkpoint"]).tobytes())
            return True
        if "died" in result:
            self.losses.reasons[name] = result["died"]
            return False
        if name in self.turns.timing:
            self._paced(self.turns.timing[name], result)
            return False
        if name in self.delivery.given:
            lost = self.delivery.reported(name, result)
            if lost:
                self.losses.reasons[name] = lost
            return False
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

    def _paced(self, family: str, result: Mapping[str, Any]) -> None:
        # Where it fails, so will the family's trials, each of which says why.
        with suppress(ray.exceptions.RayError, KeyError):
            rate = self.pace.sample(family, self.usual[family], float(ray.get(result["outcome"])))
            self.journal.write("pace", f"{family}-{TIMING}", family, rate=rate)

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

    def _tell(self, record: Record) -> None:
        """A trial has come to its end: the study hears of it."""
        self.studies[record.family].tell(record)
        self.limits.learn(record)

    def ended(self, name: str, reason: str = "") -> None:
        """A trial is over for Tune, with a reason where its worker was lost.

        One that had not come to its own end goes on later, from its last checkpoint, unless its workers have been lost
        too often: then it is the likely cause. For the loss of its machine it is not blamed.
        """
        reason, blamed = self.losses.reason(name, reason)
        if self.interrupted:
            return
        if name in self.turns.timing:
            del self.turns.timing[name]
            return
        if name in self.delivery.given:
            self._delivered(name, reason, blamed)
            return
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

    def _drop(self, record: Record) -> None:
        """Removes the checkpoints that nobody needs: where time is short the best trials' own models are kept."""
        kept: list[Record] = []
        if self.budget.limited:
            ended = [other for other in self.journal.of(record.family) if other.values and other.status != RUNNING]
            kept = sorted(ended, key=lambda other: other.standing, reverse=True)[: self.settings.finalists]
        for other in {record.name, *self._models.get(record.family, ())} - {other.name for other in kept}:
            self.checkpoints.remove(other)
        self._models[record.family] = [other.name for other in kept]

    def _delivered(self, name: str, reason: str, blamed: bool) -> None:
        again = bool(reason) and self.losses.again(name, blamed=blamed)
        if again:
            self.say(f"{name} is tried again: {reason}")
        else:
            self.checkpoints.remove(name)
            if reason:
                self.say(f"{name} failed: {reason}")
        self.delivery.ended(name, again=again)

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
