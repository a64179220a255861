"""What follows a family's search: the final between its best, retrainings, the score on test, refit, ensemble."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import ray

from models.sizes import HEAD, is_probe
from results.analysis.numbers import best_trial
from results.rows import Row
from search.record.journal import Journal
from search.schedule import Say
from search.schedule.budget import Budget
from search.schedule.extras import Extras
from search.schedule.finals import Finals
from search.schedule.handover import Handover
from search.schedule.recipe import Recipe
from search.schedule.repeats import Repeats
from search.schedule.retrainings import Retrainings
from search.settings import Settings
from search.training.retraining import MEMBER, RECIPE, TEST, Outcome, Refitted
from search.training.worker import FINAL, RETRAIN, Job
from spaces.costs import work

LATE = 15.0  # seconds before the report from which on a probe's retraining looks at nothing more


class Delivery:
    """The jobs behind a family's search, in their order, and what becomes of them."""

    def __init__(
        self,
        settings: Settings,
        journal: Journal,
        budget: Budget,
        job: Callable[..., Job],
        kept: Callable[[str], bool],
        say: Say,
        leader: str = "",
    ) -> None:
        """`leader` is the family whose first trial is the recipe of the run that is gone on from; empty for none."""
        self.settings = settings
        self.journal = journal
        self.budget = budget
        self.say = say
        self.repeats = Repeats(settings, journal, budget, job)

        def plans(say: Say) -> tuple[Finals, Retrainings]:
            retrainings = Retrainings(settings, journal, budget, self.repeats, kept, say)
            return Finals(settings, journal, budget, job, say), retrainings

        self._plans = plans
        self.finals, self.retrainings = self._plans(say)
        self.recipe = Recipe(journal, budget, self.repeats, say, leader)
        self.handover = Handover(settings, journal, say)
        self.extras = Extras(settings, journal, budget, self.repeats)
        self.given: dict[str, tuple[Job, str]] = {}  # by name, those given out, with the trial they repeat

    def next(self, searched: Callable[[str], bool]) -> tuple[str, Job] | None:
        """A name and a job; `searched` says whether a family has no trials left to try."""
        for family in self.settings.families:
            if searched(family) and not self.retrainings.planned(family):
                found = self.finals.next(family)
                if found:
                    return self._named(*found, found[1].name)
                if not self.finals.playing[family]:
                    self.retrainings.plan(family)
        for family in self.retrainings.best_first():
            found_job = self.retrainings.next(family)
            if found_job:
                return self._give(family, found_job)
        if not self.retrainings.all_planned():
            return None
        if member := self.extras.member():
            trial, job = member
            return self._named(f"{trial}-{MEMBER}", job, trial)
        more = self._more()
        return self._give(more.family, more) if more else None

    def _more(self) -> Job | None:
        """Where time is left, another seed makes a figure surer."""
        # Members of the ensemble and the recipe are called otherwise.
        given = [job for name, (job, _) in self.given.items() if name.startswith(f"{job.family}-{RETRAIN}-")]
        return self.extras.more(given, self.retrainings.in_time)

    def over(self) -> bool:
        """Whether everything has been given out."""
        return (
            self.retrainings.all_planned()
            and not self.retrainings.left()
            and self.extras.members == []
            and self._more() is None
        )

    def nothing_left(self) -> bool:
        """Whether a run that is resumed, and has no trials left to try, had already done everything.

        Nothing is given out by it: what is asked are plans of their own, which say nothing.
        """
        left = dict(self.budget.left)
        finals, retrainings = self._plans(lambda line: None)
        try:
            for family in self.settings.families:
                if finals.next(family):
                    return False
                retrainings.plan(family)
            return not retrainings.left() and not self.extras.plan()
        finally:
            self.budget.left = left

    def next_recipe(self) -> tuple[str, Job] | None:
        """A name and the retraining of the recipe, as soon as that was tried; None otherwise."""
        found = self.recipe.next()
        return self._named(f"{found[0]}-{RECIPE}", found[1], found[0]) if found else None

    def _give(self, family: str, job: Job) -> tuple[str, Job]:
        best = best_trial(self.journal.read(), family)
        assert best is not None
        name = self.retrainings.begin(job)
        if self.budget.limited and work(family, job.config) > HEAD:
            job = replace(job, within=max(0.0, self.budget.remaining() - self.budget.pace.overhead(family)))
        elif self.budget.limited and is_probe(job.config):
            # Nothing of it can be trained less; what is only looked at can be left out.
            job = replace(job, within=max(0.0, self.budget.remaining() - LATE))
        return self._named(name, job, best["trial"])

    def _named(self, name: str, job: Job, trial: str) -> tuple[str, Job]:
        self.given[name] = (job, trial)
        return name, job

    # --- what comes back ---------------------------------------------------------------------------------------------

    def reported(self, name: str, result: Mapping[str, Any]) -> str:
        """Takes in what a final or a retraining says; how it was lost, where what it had made did not arrive."""
        job, trial = self.given[name]
        trouble = result.get("failed") or result.get("out of memory")
        if trouble:
            self.say(f"{name} failed: {trouble}")
            return ""
        try:
            outcome: Outcome | Row = ray.get(result["outcome"])
        except ray.exceptions.RayError:
            return "its worker was lost with what it had made"
        if isinstance(outcome, Refitted):
            scoring = self.retrainings.scoring(job.family, job.seed)
            self.handover.refitted(outcome, job.family, trial, scoring=scoring)
        elif isinstance(outcome, Outcome):
            event = next((event for event in (MEMBER, RECIPE) if name.endswith(f"-{event}")), TEST)
            self.handover.scored(outcome, job, trial, event)
        else:
            self.journal.write(FINAL, trial, job.family, fold=job.fold, epochs=job.epochs, **outcome)
        return ""

    def ended(self, name: str, *, again: bool) -> None:
        """A job is over for Tune; what is to be tried `again` is given out next."""
        job, trial = self.given[name]
        if job.kind == FINAL:
            self.finals.ended(name, job, again=again)
        elif name.endswith(f"-{RECIPE}"):
            self.recipe.decided = not again
        elif not name.endswith(f"-{MEMBER}"):
            self.retrainings.ended(name, job, again=again)
        elif again:
            assert self.extras.members is not None
            self.extras.members.insert(0, (trial, job))
