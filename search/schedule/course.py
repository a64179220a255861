"""What is done next in a search, and what came of it; what decides stands in the files beside this one."""

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import ray

from models.sizes import is_probe
from search.data.pictures import Pictures
from search.record.journal import Journal
from search.schedule import Say
from search.schedule.budget import Budget
from search.schedule.delivery import Delivery
from search.schedule.limits import Limits
from search.schedule.losses import Losses
from search.schedule.pace import Pace
from search.schedule.plans import EPOCHS, Plans
from search.schedule.trials import Trials
from search.schedule.turns import Turns
from search.schedule.verdicts import Verdicts
from search.settings import Settings
from search.studies.aims import Aims
from search.studies.study import Study
from search.training.checkpoint import Checkpoints
from search.training.worker import TIMING, Job


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
        self.budget = Budget(settings, journal, self.pace)
        self.plans = Plans(self.budget, lambda family: self.pace.epoch_work(family, studies[family].usual))
        self.plans.alone = {family for family, study in studies.items() if study.size == 1 or study.recipe}
        verdicts = Verdicts(settings, journal, aims)
        for record in verdicts.recall():
            studies[record.family].tell(record)
        limits = Limits(aims, journal, len(pictures.classes), say)
        self.turns = Turns(settings, studies, journal, self.budget, self.plans, limits, leader)
        self.losses = Losses(settings.max_failures)
        self.checkpoints = Checkpoints(settings.folder / "checkpoints", say)
        self.trials = Trials(
            settings, studies, journal, self.plans, verdicts, limits, self.turns, self.checkpoints, self._job, say
        )
        self.delivery = Delivery(settings, journal, self.budget, self._job, self.checkpoints.holds, say, leader)
        self.workers = workers
        for family, study in studies.items():
            study.cost = partial(self.plans.cost, family)
            study.affords = partial(self.plans.affords, family)

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
        if self.trials.again:
            return self.trials.resumed()
        if recipe := self.delivery.next_recipe():
            return recipe
        while not self.interrupted and (family := self.turns.next()) is not None:
            if family not in self.turns.timed and self.plans.unknown(family):
                return self._timing_job(family)
            if drawn := self.trials.drawn(family):
                return drawn
        return None if self.interrupted else self.delivery.next(self.turns.searched)

    def _timing_job(self, family: str) -> tuple[str, Job]:
        name = f"{family}-{TIMING}"
        self.turns.timing[name] = family
        self.turns.timed.add(family)
        return name, self._job(TIMING, family, self._timed(family), self.settings.seed)

    def _timed(self, family: str) -> dict[str, Any]:
        """The configuration by which a family's pace is told."""
        return self.studies[family].larger or self.studies[family].usual

    def _job(self, kind: str, family: str, config: dict[str, Any], seed: int) -> Job:
        return Job(kind, family, config, seed, EPOCHS, EPOCHS, self.settings.views, kept=not is_probe(config))

    def nothing_left(self) -> bool:
        """Whether a run that is resumed had already done everything."""
        return not self.trials.again and self.turns.next() is None and self.delivery.nothing_left()

    def over(self) -> bool:
        """Whether every trial and retraining has been given out."""
        searched = all(self.turns.searched(family) for family in self.settings.families)
        return not self.trials.again and self.turns.next() is None and searched and self.delivery.over()

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
        return self.trials.reported(name, result)

    def _paced(self, family: str, result: Mapping[str, Any]) -> None:
        # Where it fails, so will the family's trials, each of which says why.
        with suppress(ray.exceptions.RayError, KeyError):
            rate = self.pace.sample(family, self._timed(family), float(ray.get(result["outcome"])))
            self.journal.write("pace", f"{family}-{TIMING}", family, rate=rate)

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
        self.trials.ended(name, reason, blamed=blamed)

    def _delivered(self, name: str, reason: str, blamed: bool) -> None:
        again = bool(reason) and self.losses.again(name, blamed=blamed)
        if again:
            self.say(f"{name} is tried again: {reason}")
        else:
            self.checkpoints.remove(name)
            if reason:
                self.say(f"{name} failed: {reason}")
        self.delivery.ended(name, again=again)
