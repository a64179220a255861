"""What follows a family's search: the final between its best, retrainings, the score on test, refit, ensemble."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import ray

from models.sizes import HEAD, is_probe
from results.analysis.metrics import METRICS, SEVERAL
from results.analysis.numbers import (
    DOUBT,
    baseline_name,
    best_trial,
    choose_winner,
    describe,
    full_trials,
)
from results.rows import Row
from search.record.journal import RUNNING, Journal
from search.schedule import Say
from search.schedule.budget import Budget
from search.schedule.finals import Finals
from search.schedule.retrainings import Retrainings
from search.settings import Settings
from search.training.retraining import MEMBER, RECIPE, TEST, Outcome, Refitted
from search.training.worker import FINAL, RETRAIN, Job
from spaces.costs import work

# What a model's row says of how long it takes.
LATENCY = ("latency_one", "latency_batch", "batch", "device")
LATE = 15.0  # seconds before the report from which on a probe's retraining looks at nothing more
RECIPE_SHARE = 0.3  # of a family's share, for the score of the recipe of the run that is gone on from
MOST_SEEDS = 9  # retrainings of one configuration, however much time is left


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

        def plans(say: Say) -> tuple[Finals, Retrainings]:
            return Finals(settings, journal, budget, job, say), Retrainings(settings, journal, budget, job, kept, say)

        self._plans = plans
        self.finals, self.retrainings = self._plans(say)
        self.early: dict[str, tuple[Refitted, str]] = {}  # by family, those that are done before it, and their trial
        self.given: dict[str, tuple[Job, str]] = {}  # by name, those given out, with the trial they repeat
        self.members: list[tuple[str, Job]] | None = None  # of the ensemble, those not yet given out, once planned
        self.leader = leader
        self.recipe_given = False  # whether its score was given out, or is none to be taken

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
        if self.retrainings.all_planned():
            if self.members is None:
                self.members = self._plan_members()
            if self.members:
                trial, job = self.members.pop(0)
                return self._named(f"{trial}-{MEMBER}", job, trial)
            return self._one_more()
        return None

    def over(self) -> bool:
        """Whether everything has been given out."""
        return (
            self.retrainings.all_planned()
            and not self.retrainings.left()
            and self.members == []
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
            return not retrainings.left() and not self._plan_members()
        finally:
            self.budget.left = left

    # --- the recipe --------------------------------------------------------------------------------------------------

    def next_recipe(self) -> tuple[str, Job] | None:
        """The retraining of the leading family's first trial, as soon as that is over: it is scored on test at once."""
        record = self.journal.records.get(baseline_name(self.leader)) if self.leader else None
        if self.recipe_given or record is None or record.status == RUNNING:
            return None
        self.recipe_given = True
        rows = self.journal.read()
        found = describe(rows.trials[record.name])
        if rows.recipe() is not None:
            return None
        if not record.full or found is None:
            self.say(f"{record.name}, the recipe of the run before, is not scored on test: {record.reason}")
            return None
        cost = self.budget.retraining(self.leader)
        if self.budget.limited and cost > min(RECIPE_SHARE * self.budget.share(), self.budget.remaining() / 2):
            self.say(f"{record.name}, the recipe of the run before: no time to score it on test at once")
            return None
        job = replace(self.retrainings.retraining(self.leader, found, 0), export=False, probe=None)
        if self.budget.limited and work(self.leader, job.config) > HEAD:
            job = replace(job, within=max(0.0, self.budget.remaining() / 2))
        return self._named(f"{record.name}-{RECIPE}", job, record.name)

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

    def _more(self) -> tuple[str, dict[str, Any], int] | None:
        """The family with the cheapest further retraining for which there is time, its best, and the seed's number."""
        if not self.budget.limited:
            return None
        rows = self.journal.read()
        found: list[tuple[float, str, dict[str, Any], int]] = []
        for family in self.settings.families:
            best = best_trial(rows, family)
            done = {job.seed for name, (job, _) in self.given.items() if name.startswith(f"{family}-{RETRAIN}-")}
            done |= {row["seed"] for row in rows.tests(family)}
            if (
                best is None
                or is_probe(best["config"])
                or not self.retrainings.in_time(family)
                or len(done) >= MOST_SEEDS
            ):
                continue
            number = max(done, default=-1) + 1 - self.settings.seed
            found.append((self.budget.retraining(family), family, best, number))
        return min(found, key=lambda one: one[:2])[1:] if found else None

    def _one_more(self) -> tuple[str, Job] | None:
        """Where time is left, another seed makes a figure surer."""
        found = self._more()
        return self._give(found[0], self.retrainings.retraining(*found)) if found else None

    def _plan_members(self) -> list[tuple[str, Job]]:
        """The ensemble beside the winner: the next best configurations of its family, where there is time for them."""
        if not self.settings.ensemble or self.budget.out_of_time():
            return []
        rows = self.journal.read()
        winner = choose_winner({family: best_trial(rows, family) for family in self.settings.families})
        following = full_trials(rows, winner)[1 : 1 + self.settings.ensemble] if winner else []
        kept = {row["trial"] for row in self.journal.rows if row["event"] == MEMBER}
        return [
            (found["trial"], replace(self.retrainings.retraining(str(winner), found, 0), export=False))
            for found in following
            if found["trial"] not in kept
        ]

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
            self.early[job.family] = outcome, trial
            if not self.retrainings.scoring(job.family, job.seed):
                self._hand_over(job.family)
            return ""
        if not isinstance(outcome, Outcome):
            self.journal.write(FINAL, trial, job.family, fold=job.fold, epochs=job.epochs, **outcome)
            return ""
        event = next((event for event in (MEMBER, RECIPE) if name.endswith(f"-{event}")), TEST)
        outcome.keep(self.settings.folder, self.journal, job.family, trial, event=event)
        if outcome.note:
            self.say(f"{job.family}: {outcome.note}")
        # Of several labels a picture the accuracy counts pictures all of whose labels are right.
        found = "".join(f"{METRICS[name].title} {outcome.row[name]:.3f}, " for name in SEVERAL if name in outcome.row)
        names = {TEST: job.family, MEMBER: trial, RECIPE: f"{trial}, the recipe of the run before"}
        reached = f"{found}{'accuracy ' * bool(found)}{outcome.row['accuracy']:.3f}"
        self.say(f"{names[event]}: {reached} on test with seed {job.seed}")
        if job.export and job.family in self.early:
            self._hand_over(job.family)
        return ""

    def _hand_over(self, family: str) -> None:
        """The model that has learnt all pictures takes the place of the one that was scored."""
        outcome, trial = self.early.pop(family)
        rows = self.journal.read()
        scored = [row for row in rows.tests(family) if row["seed"] == outcome.row["seed"]]
        if not scored or rows.model(family) is None:
            # Its retraining came to nothing: no figure speaks of it.
            return
        learnt = max(row.get("train_accuracy") or 0.0 for row in scored)
        told = self.retrainings.told(family, (*DOUBT, *LATENCY))
        why = outcome.keep(self.settings.folder, self.journal, family, trial, learnt, told)
        what = f"the model that was scored is handed over: {why}" if why else "its model has learnt all pictures"
        self.say(f"{family}: {what}")

    def ended(self, name: str, *, again: bool) -> None:
        """A job is over for Tune; what is to be tried `again` is given out next."""
        job, trial = self.given[name]
        if job.kind == FINAL:
            self.finals.ended(name, job, again=again)
        elif name.endswith(f"-{RECIPE}"):
            self.recipe_given = not again
        elif not name.endswith(f"-{MEMBER}"):
            self.retrainings.ended(name, job, again=again)
        elif again:
            assert self.members is not None
            self.members.insert(0, (trial, job))
