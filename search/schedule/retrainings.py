"""What is retrained of a family once it is decided, and whether there is time for it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from models.sizes import HEAD, is_probe
from results.analysis.metrics import ACCURACY, METRICS, shown
from results.analysis.numbers import DOUBT, best_trial, figure
from results.rows import Rows
from search.record.journal import INFEASIBLE, Journal
from search.schedule import Say
from search.schedule.budget import Budget
from search.schedule.repeats import Repeats
from search.settings import Settings
from search.training.worker import REFIT, RETRAIN, Job
from spaces.costs import work


class Retrainings:
    """The jobs of each family that is decided: retrainings by seed, the first of which is exported, and a refit."""

    def __init__(
        self,
        settings: Settings,
        journal: Journal,
        budget: Budget,
        repeats: Repeats,
        kept: Callable[[str], bool],
        say: Say,
    ) -> None:
        self.settings = settings
        self.journal = journal
        self.budget = budget
        self.repeats = repeats
        self.kept = kept  # whether a trial's own model is kept
        self.say = say
        self.waiting: dict[str, list[Job]] = {}  # by family, those not yet given out, once the family is decided
        self.refits: dict[str, Job] = {}  # by family, those not yet given out: they wait for the model that is scored
        self.under_way: dict[str, tuple[Job, float]] = {}  # by name, those given out and not over, and since when

    def planned(self, family: str) -> bool:
        """Whether it is decided what is retrained of a family."""
        return family in self.waiting

    def all_planned(self) -> bool:
        """Whether that is so of all families."""
        return len(self.waiting) == len(self.settings.families)

    def left(self) -> bool:
        """Whether any are not given out."""
        return any(self.waiting.values()) or bool(self.refits)

    def next(self, family: str) -> Job | None:
        """The next of a family; those for which there is no time left go."""
        jobs = self.waiting[family]
        if family in self.refits and (self._beside(family) or self._exported(family)):
            job = replace(self.refits.pop(family), held=told(self.journal.read(), family, DOUBT) or None)
            if self.in_time(family, refit=job):
                return job
            self.say(f"{family}: no time left to train the delivered model on all pictures")
        if jobs and not jobs[0].export and not self.in_time(family):
            self.say(f"{family}: no time left for the {len(jobs)} other seeds")
            jobs.clear()
        self.budget.left[family] = len(jobs) + (family in self.refits)
        return jobs.pop(0) if jobs else None

    def begin(self, job: Job) -> str:
        """One is given out; its name."""
        name = f"{job.family}-{job.kind}-{job.seed}"
        self.under_way[name] = job, self.journal.elapsed
        return name

    def ended(self, name: str, job: Job, *, again: bool) -> None:
        """One is over; what is to be tried `again` is given out next."""
        self.under_way.pop(name, None)
        if again and job.kind == REFIT:
            self.refits[job.family] = job
        elif again:
            self.waiting[job.family].insert(0, job)

    def best_first(self) -> list[str]:
        """The families that are decided, the one with the best trial first: for the last there may be no time."""

        def best(family: str) -> float:
            leader = self.budget.pace.leader(family)
            return -math.inf if leader is None else leader.best

        return sorted(self.waiting, key=best, reverse=True)

    def plan(self, family: str) -> None:
        """Decides what is retrained of a family, and says so."""
        rows = self.journal.read()
        best = best_trial(rows, family)
        self.waiting[family] = []
        self.budget.left[family] = 0
        if best is None:
            ended = self.journal.of(family)
            broken = ended and all(record.status == INFEASIBLE for record in ended)
            why = "no configuration keeps to the limits" if broken else "no trial came far enough to be retrained"
            self.say(f"{family}: {why}")
            return
        done = [row for row in rows.records if row["event"] in ("test", "model") and row["family"] == family]
        done = [row for row in done if row.get("trial") == best["trial"]]
        scored = {row["seed"] for row in done if row["event"] == "test"}
        exported = any(row["event"] == "model" for row in done)
        # A probe has one optimum, whatever the seed.
        seeds = 1 if is_probe(best["config"]) else self.settings.final_seeds
        jobs = [self.repeats.retraining(family, best, number) for number in range(seeds)]
        jobs = [job for job in jobs if job.seed not in scored or (job.export and not exported)]
        metric = self.settings.metric
        by = "" if metric == ACCURACY else f"{METRICS[metric].title} "
        told = f"{family}: {best['trial']} is best with {by}{shown(metric, figure(best)):.3f}"
        # Of a head on stored features no model is kept: it is trained again in less time than one is scored.
        late = bool(jobs) and work(family, best["config"]) > HEAD and not self.in_time(family, first=True)
        if late and self.kept(best["trial"]):
            # Better the model that there is than one that is half trained.
            jobs = [self.repeats.own(family, best)]
            self.say(f"{told}, and there is no time to retrain it: its own model is scored")
        elif late and jobs[0].export and self.other_model(family):
            jobs = []
            self.say(f"{told}, and there is no time to retrain it: nor is there a model of it to score")
        elif late and jobs[0].export:
            # A run that hands over nothing is worth less than one that ends a little late.
            del jobs[1:]
            self.say(f"{told}, retraining it briefly: there is hardly time for it, and no other model")
        elif jobs:
            self.say(f"{told}, retraining it")
        self.waiting[family] = jobs
        own = any(job.own for job in jobs) or any(row.get("own") for row in done)
        if self.settings.refit == "all" and not own and not rows.refitted(family, best["trial"]):
            self.refits[family] = self.repeats.refit(family, best)

    def other_model(self, family: str) -> bool:
        """Whether another family hands over a model, or still may."""
        rows = self.journal.read()
        return any(
            rows.model(other) is not None
            or (self.waiting[other] if other in self.waiting else best_trial(rows, other) is not None)
            or any(job.family == other for job, _ in self.under_way.values())
            for other in self.settings.families
            if other != family
        )

    def scoring(self, family: str, seed: int) -> bool:
        """Whether the retraining of a family with a seed is under way."""
        return f"{family}-{RETRAIN}-{seed}" in self.under_way

    def _exported(self, family: str) -> bool:
        """Whether the model of a family that is scored is there; where it will never be, nothing is to be refitted."""
        job = self.refits[family]
        if any(other.export for other in self.waiting[family]) or self.scoring(family, job.seed):
            return False
        rows = self.journal.read()
        best, delivered = best_trial(rows, family), rows.model(family)
        if best is None or delivered is None or delivered["trial"] != best["trial"]:
            del self.refits[family]
            return False
        return True

    def _beside(self, family: str) -> bool:
        """Whether the refit of a family needs nothing of its retraining, which is under way: of a probe it does not."""
        job = self.refits[family]
        return is_probe(job.config) and self.scoring(family, job.seed)

    def in_time(self, family: str, refit: Job | None = None, *, first: bool = False) -> bool:
        """Whether one more retraining of a family, or its `refit`, would be done in time, beside what is promised.

        That is a model of every family. A refit is promised before all other seeds, and before those of families that
        are behind: they stand back for it. The `first` retraining of a family stands back for that of the best alone.
        """
        if not self.budget.limited:
            return True
        jobs = [job for other, waiting in self.waiting.items() for job in waiting if job.export and other != family]
        order = self.best_first()
        if first:
            before = [other for other in order[:1] if other != family]
        else:
            before = order if refit is None or family not in order else order[: order.index(family)]
        jobs += [job for other, job in self.refits.items() if other in before]
        now = self.journal.elapsed
        promised = sum(map(self._cost, jobs))
        promised += sum(max(0.0, self._cost(job) - (now - since)) for job, since in self.under_way.values())
        return self.budget.fits(self.budget.retraining(family) if refit is None else self._cost(refit), promised)

    def _cost(self, job: Job) -> float:
        """Seconds that one of the jobs behind the final takes."""
        if job.own:
            return self.budget.pace.overhead(job.family)
        if job.kind == REFIT:
            return self.budget.refit(job.family)
        return self.budget.retraining(job.family)


def told(rows: Rows, family: str, keys: Sequence[str]) -> dict[str, Any]:
    """What the row of the exported model of a family says of these."""
    model = rows.model(family) or {}
    return {key: model[key] for key in keys if key in model}
