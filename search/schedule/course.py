"""What is done next in a search, and what came of it; what decides stands in the files beside this one."""

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import ray

from models.sizes import HEAD, is_probe, work
from results.rows import OUT_OF_TIME
from search.data.pictures import Pictures
from search.record.journal import FAILED, INFEASIBLE, RUNNING, STOPPED, Journal, Record
from search.schedule.budget import EPOCHS, Budget
from search.schedule.delivery import Delivery
from search.schedule.limits import Limits
from search.schedule.losses import Losses
from search.schedule.pace import Pace
from search.schedule.verdicts import Verdicts
from search.settings import Settings
from search.studies.aims import Aims
from search.studies.study import Study
from search.training.checkpoint import Checkpoints
from search.training.worker import TIMING, Job

# Trials that a family may be ahead of the others at the start: a head on cached features is the cheapest good
# model there is, and the workers that build its activations together have it within the first minute.
LEAD = {"mobilenet": 3}
# Turns of the family with the best model so far for one of each other, once all have shown one: there the winner is
# likelier to come from, and the rest of the --trials of the others follow when its own are done. With 16 workers 46 of
# 50 replayed searches of drawn pictures came to within a point of the best, 41 with two turns and 44 with eight;
# without hand-written points those of photographs did in 11.4 s at the median instead of 16.0. With a time budget
# families have equal times instead: nobody is to be kept from their share by another's cost.
LEADERS_TURNS = 4

Say = Callable[[str], None]


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
        self.lead = LEAD
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
        self.timing: dict[str, str] = {}  # by name, the family of each job that times a few batches
        self.timed: set[str] = set()  # families for which there was one
        self.verdicts = Verdicts(settings, journal, aims)
        for record in self.verdicts.recall():
            studies[record.family].tell(record)
        self.limits = Limits(aims, journal, len(pictures.classes), say)
        self.losses = Losses(settings.max_failures)
        self.checkpoints = Checkpoints(settings.folder / "checkpoints", say)
        self._models: dict[str, list[str]] = {}  # by family, the trials whose own models are kept
        self.delivery = Delivery(settings, journal, self.budget, self._job, self.checkpoints.holds, say)
        self.delivery.leader = leader
        # Trials to go on with: of a resumed run, and those whose worker was lost.
        self.again = [record.name for record in journal.records.values() if record.status == RUNNING]
        self._best = {
            family: max((record.best for record in journal.of(family)), default=-math.inf)
            for family in settings.families
        }
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
        while not self.interrupted and (family := self._next_family()) is not None:
            if family not in self.timed and self.budget.unknown(family):
                return self._timing_job(family)
            record = self._drawn(family)
            objection = self._objection(record)
            if not objection:
                return self._search_job(record.name)
            # No worker is troubled with it, and it is none of the --trials.
            self.journal.start(record.name)
            self.journal.end(record.name, INFEASIBLE, objection)
            self._tell(record)
        return None if self.interrupted else self.delivery.next(self._searched)

    def _timing_job(self, family: str) -> tuple[str, Job]:
        name = f"{family}-{TIMING}"
        self.timing[name] = family
        self.timed.add(family)
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

    def _next_family(self) -> str | None:
        if self.budget.out_of_time():
            return None
        families = [family for family in self.settings.families if self._open(family)]
        # Whose pace is being measured waits: how long its trials are hangs on it.
        families = [family for family in families if family not in self.timing.values()]
        leader = self.delivery.leader
        if leader in families and not self.journal.of(leader):
            return leader
        if self.budget.limited:
            return min(families, key=lambda f: (self.budget.spent(f), -self.lead.get(f, 0)), default=None)
        if -math.inf in self._best.values():
            return min(families, key=lambda f: self._tried(f) - self.lead.get(f, 0), default=None)
        ahead = max(self._best, key=lambda f: self._best[f])
        return min(families, key=lambda f: self._tried(f) / (LEADERS_TURNS if f == ahead else 1), default=None)

    def _tried(self, family: str) -> int:
        """Trials of a family; those that broke a limit were not tried."""
        return len(self.journal.of(family)) - self.limits.infeasible[family]

    def _open(self, family: str) -> bool:
        """Whether a family has trials left to try."""
        return self.studies[family].more and not self.limits.given_up(family) and not self.budget.closed(family)

    def _searched(self, family: str) -> bool:
        exhausted = not self._open(family) or self.budget.out_of_time()
        exhausted = exhausted and family not in self.timing.values()
        return exhausted and not self.journal.of(family, RUNNING)

    def nothing_left(self) -> bool:
        """Whether a run that is resumed had already done everything."""
        return not self.again and self._next_family() is None and self.delivery.nothing_left()

    def over(self) -> bool:
        """Whether every trial and retraining has been given out."""
        searched = all(self._searched(family) for family in self.settings.families)
        return not self.again and self._next_family() is None and searched and self.delivery.over()

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
        if name in self.timing:
            self._paced(self.timing[name], result)
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
        self._best[record.family] = max(self._best[record.family], record.best)
        if not all(self.verdicts.goes_on(record, row["epoch"], record.values[row["epoch"]]) for row in rows):
            return False
        if self.verdicts.through(record):
            return False
        if self.budget.out_of_time():
            self.journal.end(record.name, STOPPED, OUT_OF_TIME)
            return False
        # At rungs alone: when rows come between them is chance, and the order of draws must not hang on it.
        rungs = self.verdicts.epochs(record.planned)
        if any(row["epoch"] in rungs for row in rows) and (family := self._next_family()):
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
        if name in self.timing:
            del self.timing[name]
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
