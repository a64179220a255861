"""What follows a family's search: the final between its best, retrainings, the score on test, refit, ensemble."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import ray

from models.sizes import HEAD, is_probe, work
from results.analysis.doubt import held_of
from results.analysis.metrics import ACCURACY, METRICS, SEVERAL, shown
from results.analysis.numbers import (
    DOUBT,
    baseline_name,
    best_trial,
    choose_winner,
    contenders,
    describe,
    figure,
    final_error,
    final_score,
    full_trials,
)
from results.rows import Row
from search.record.journal import INFEASIBLE, RUNNING, Journal
from search.schedule.budget import Budget
from search.settings import Settings
from search.training.retraining import MEMBER, RECIPE, TEST, Outcome, Refitted
from search.training.worker import FINAL, REFIT, RETRAIN, Job

# Folds of train and validation on which finalists meet, beside the validation side, which has chosen them.
FINAL_FOLDS = (1, 2)
# And all that there are, where that takes no more of a family's share: two folds of a few hundred pictures tell little.
ALL_FOLDS, ALL_SHARE = (1, 2, 3, 4), 0.1
# Of a family's share the final may take so much.
FINAL_SHARE = 0.25
# What a model's row says of how long it takes.
LATENCY = ("latency_one", "latency_batch", "batch", "device")
LATE = 15.0  # seconds before the report from which on a probe's retraining looks at nothing more
# And the score of the recipe of the run that is gone on from so much.
RECIPE_SHARE = 0.3
MOST_SEEDS = 9  # retrainings of one configuration, however much time is left

Say = Callable[[str], None]


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
    ) -> None:
        self.settings = settings
        self.journal = journal
        self.budget = budget
        self.job = job  # makes a job of kind, family, configuration and seed
        self.kept = kept  # whether a trial's own model is kept
        self.say = say
        self.finals: dict[str, list[tuple[str, Job]]] = {}  # by family, those not given out, once its search is over
        self.playing: dict[str, set[str]] = {}  # by family, names of those given out
        self.retrainings: dict[str, list[Job]] = {}  # by family, those not yet given out, once the family is decided
        self.refits: dict[str, Job] = {}  # by family, those not yet given out: they wait for the model that is scored
        self.early: dict[str, tuple[Refitted, str]] = {}  # by family, those that are done before it, and their trial
        self.given: dict[str, tuple[Job, str]] = {}  # by name, those given out, with the trial they repeat
        self.since: dict[str, float] = {}  # by name, when each retraining was given out that is not over
        self.members: list[tuple[str, Job]] | None = None  # of the ensemble, those not yet given out, once planned
        self.leader = ""  # the family whose first trial is the recipe of the run that is gone on from
        self.recipe_given = False  # whether its score was given out, or is none to be taken

    def next(self, searched: Callable[[str], bool]) -> tuple[str, Job] | None:
        """A name and a job; `searched` says whether a family has no trials left to try."""
        for family in self.settings.families:
            if searched(family) and family not in self.retrainings:
                found = self._next_final(family)
                if found:
                    return found
                if not self.playing[family]:
                    self._plan_retraining(family)
        for family in self._best_first():
            jobs = self.retrainings[family]
            if family in self.refits and (self._beside(family) or self._exported(family)):
                job = replace(self.refits.pop(family), held=self._told(family, DOUBT) or None)
                if self._in_time(family, self.budget.pace.refit(family) if is_probe(job.config) else None):
                    return self._give(family, job)
                self.say(f"{family}: no time left to train the delivered model on all pictures")
            if jobs and not jobs[0].export and not self._in_time(family):
                self.say(f"{family}: no time left for the {len(jobs)} other seeds")
                jobs.clear()
            self.budget.left[family] = len(jobs) + (family in self.refits)
            if jobs:
                return self._give(family, jobs.pop(0))
        if len(self.retrainings) == len(self.settings.families):
            if self.members is None:
                self.members = self._plan_members()
            if self.members:
                trial, job = self.members.pop(0)
                return self._named(f"{trial}-{MEMBER}", job, trial)
            return self._one_more()
        return None

    def _best_first(self) -> list[str]:
        """The families that are decided, the one with the best trial first: for the last there may be no time."""

        def best(family: str) -> float:
            leader = self.budget.pace.leader(family)
            return -math.inf if leader is None else leader.best

        return sorted(self.retrainings, key=best, reverse=True)

    def over(self) -> bool:
        """Whether everything has been given out."""
        return (
            len(self.retrainings) == len(self.settings.families)
            and not any(self.retrainings.values())
            and not self.refits
            and self.members == []
            and self._more() is None
        )

    def nothing_left(self) -> bool:
        """Whether a run that is resumed, and has no trials left to try, had already done everything."""
        for family in self.settings.families:
            if self._next_final(family):
                return False
            self._plan_retraining(family)
        return not any(self.retrainings.values()) and not self.refits and not self._plan_members()

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
        job = replace(self._retraining(self.leader, found, 0), export=False, probe=None)
        if self.budget.limited and work(self.leader, job.config) > HEAD:
            job = replace(job, within=max(0.0, self.budget.remaining() / 2))
        return self._named(f"{record.name}-{RECIPE}", job, record.name)

    # --- the final ---------------------------------------------------------------------------------------------------

    def _next_final(self, family: str) -> tuple[str, Job] | None:
        if family not in self.finals:
            self.finals[family], self.playing[family] = list(self._plan_final(family)), set()
            if self.finals[family]:
                trials = {job.name for _, job in self.finals[family]}
                self.say(f"{family}: {len(trials)} configurations meet in a final, on other folds")
        while self.finals[family]:
            name, job = self.finals[family].pop(0)
            if self._behind(family, job):
                continue
            self.playing[family].add(name)
            return self._named(name, job, job.name)
        return None

    def _plan_final(self, family: str) -> Iterator[tuple[str, Job]]:
        rows = self.journal.read()
        found = contenders(rows, family, self.settings.finalists, self._chosen_on())
        played = rows.finals(family)
        if len(found) < 2 or rows.scored(family):
            return
        seconds = [self.journal.records[record["trial"]].fastest * float(record["epoch"]) for record in found]
        folds: tuple[int, ...] = FINAL_FOLDS
        if self.budget.limited:
            half, share = self.budget.remaining() / 2, self.budget.share()
            if sum(seconds) * len(FINAL_FOLDS) > min(FINAL_SHARE * share, half):
                self.say(f"{family}: no time for a final between its best {len(found)}")
                return
            if sum(seconds) * len(ALL_FOLDS) <= min(ALL_SHARE * share, half):
                folds = ALL_FOLDS
        for fold in folds:
            for record in found:
                if fold in played.get(record["trial"], {}):
                    continue
                seed = self.settings.seed + 100 * fold
                job = self.job(FINAL, family, record["config"], seed)
                planned = self.journal.records[record["trial"]].planned
                job = replace(job, epochs=record["epoch"], planned=planned, fold=fold, name=record["trial"])
                yield f"{record['trial']}-{FINAL}-{fold}", job

    def _chosen_on(self) -> int:
        """Pictures of the validation side, by which the contenders were chosen."""
        return max(1, round((self.budget.pace.growth - 1) * self.budget.pace.pictures))

    def _behind(self, family: str, job: Job) -> bool:
        """Whether a finalist is out of the race: clearly behind another on the folds that both have been tried on."""
        played = self.journal.read().finals(family)
        own = played.get(job.name, {})
        for trial, theirs in played.items():
            common = [fold for fold in own if fold in theirs]
            if trial == job.name or not common:
                continue
            pictures = sum(own[fold].get("pictures") or 0 for fold in common) or 1
            mine, other = (final_score(one[fold] for fold in common) for one in (own, theirs))
            error = final_error(theirs[fold] for fold in common)
            error = (other * (1 - other) / pictures) ** 0.5 if error is None else error
            # Two standard errors of a difference of two scores.
            if other - mine > 2 * 2**0.5 * error:
                return True
        return False

    # --- retrainings -------------------------------------------------------------------------------------------------

    def _plan_retraining(self, family: str) -> None:
        rows = self.journal.read()
        best = best_trial(rows, family)
        self.retrainings[family] = []
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
        jobs = [self._retraining(family, best, number) for number in range(seeds)]
        jobs = [job for job in jobs if job.seed not in scored or (job.export and not exported)]
        metric = self.settings.metric
        by = "" if metric == ACCURACY else f"{METRICS[metric].title} "
        told = f"{family}: {best['trial']} is best with {by}{shown(metric, figure(best)):.3f}"
        # Of a head on stored features no model is kept: it is trained again in less time than one is scored.
        late = bool(jobs) and work(family, best["config"]) > HEAD and not self._in_time(family)
        if late and self.kept(best["trial"]):
            # Better the model that there is than one that is half trained.
            jobs = [self._own(family, best)]
            self.say(f"{told}, and there is no time to retrain it: its own model is scored")
        elif late and jobs[0].export and self._other_model(family):
            jobs = []
            self.say(f"{told}, and there is no time to retrain it: nor is there a model of it to score")
        elif late and jobs[0].export:
            # A run that hands over nothing is worth less than one that ends a little late.
            del jobs[1:]
            self.say(f"{told}, retraining it briefly: there is hardly time for it, and no other model")
        elif jobs:
            self.say(f"{told}, retraining it")
        self.retrainings[family] = jobs
        own = any(job.own for job in jobs) or any(row.get("own") for row in done)
        delivered = rows.model(family) or {}
        refitted = delivered.get("trial") == best["trial"] and delivered.get("pictures")
        if self.settings.refit == "all" and not own and not refitted:
            self.refits[family] = replace(self._retraining(family, best, 0), kind=REFIT, export=False, probe=None)

    def _other_model(self, family: str) -> bool:
        """Whether another family hands over a model, or still may."""
        rows = self.journal.read()
        return any(
            rows.model(other) is not None
            or (self.retrainings[other] if other in self.retrainings else best_trial(rows, other) is not None)
            or any(self.given[name][0].family == other for name in self.since)
            for other in self.settings.families
            if other != family
        )

    def _exported(self, family: str) -> bool:
        """Whether the model of a family that is scored is there; where it will never be, nothing is to be refitted."""
        job = self.refits[family]
        if any(other.export for other in self.retrainings[family]) or f"{family}-{RETRAIN}-{job.seed}" in self.since:
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
        return is_probe(job.config) and f"{family}-{RETRAIN}-{job.seed}" in self.since

    def _told(self, family: str, keys: Sequence[str]) -> dict[str, Any]:
        """What the row of the exported model of a family says of these."""
        model = self.journal.read().model(family) or {}
        return {key: model[key] for key in keys if key in model}

    def _retraining(self, family: str, best: Mapping[str, Any], number: int) -> Job:
        planned = self.journal.records[best["trial"]].planned
        job = self.job(RETRAIN, family, best["config"], self.settings.seed + number)
        rows = self.journal.read()
        return replace(
            job, epochs=best["epoch"], planned=planned, export=number == 0,
            held=held_of(rows, best["trial"], family), probe=self._probe(family, best) if number == 0 else None,
        )  # fmt: skip

    def _probe(self, family: str, best: Mapping[str, Any]) -> dict[str, Any] | None:
        """The family's best linear probe, where it is not the best itself, was tried, and there is time for it."""
        if is_probe(best["config"]):
            return None
        rows = self.journal.read()
        for record in full_trials(rows, family):
            if is_probe(record["config"]):
                seconds = sum(row["seconds"] or 0.0 for row in rows.trials[record["trial"]].curve)
                # It is solved again, and with classes left out.
                fits = not self.budget.limited or self.budget.fits(self.budget.retraining(family) + 2 * seconds, 0.0)
                return record["config"] if fits else None
        return None

    def _own(self, family: str, best: Mapping[str, Any]) -> Job:
        """The trial's own model, trained without the validation pictures, is scored and handed over."""
        record = self.journal.records[best["trial"]]
        job = self.job(RETRAIN, family, best["config"], self.settings.seed + int(record.name.rsplit("-", 1)[1]))
        return replace(
            job, epochs=record.planned, planned=record.planned, export=True, own=True, kept=True, name=record.name
        )

    def _in_time(self, family: str, seconds: float | None = None) -> bool:
        """Whether one more retraining of a family would be done in time, beside those that are promised theirs.

        It takes so many `seconds`, or what the budget says.
        """
        if not self.budget.limited:
            return True
        waiting = [job for other, jobs in self.retrainings.items() for job in jobs if job.export and other != family]
        promised = sum(map(self._cost, (*waiting, *self.refits.values())))
        now = self.budget.journal.elapsed
        promised += sum(max(0.0, self._cost(self.given[name][0]) - (now - since)) for name, since in self.since.items())
        return self.budget.fits(self.budget.retraining(family) if seconds is None else seconds, promised)

    def _cost(self, job: Job) -> float:
        """Seconds that one of the jobs behind the final takes."""
        if job.own:
            return self.budget.pace.overhead(job.family)
        if job.kind == REFIT and is_probe(job.config):
            return self.budget.pace.refit(job.family)
        return self.budget.retraining(job.family)

    def _give(self, family: str, job: Job) -> tuple[str, Job]:
        best = best_trial(self.journal.read(), family)
        assert best is not None
        name = f"{family}-{job.kind}-{job.seed}"
        self.since[name] = self.budget.journal.elapsed
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
            if best is None or is_probe(best["config"]) or not self._in_time(family) or len(done) >= MOST_SEEDS:
                continue
            number = max(done, default=-1) + 1 - self.settings.seed
            found.append((self.budget.retraining(family), family, best, number))
        return min(found, key=lambda one: one[:2])[1:] if found else None

    def _one_more(self) -> tuple[str, Job] | None:
        """Where time is left, another seed makes a figure surer."""
        found = self._more()
        return self._give(found[0], self._retraining(*found)) if found else None

    def _plan_members(self) -> list[tuple[str, Job]]:
        """The ensemble beside the winner: the next best configurations of its family, where there is time for them."""
        if not self.settings.ensemble or self.budget.out_of_time():
            return []
        rows = self.journal.read()
        winner = choose_winner({family: best_trial(rows, family) for family in self.settings.families})
        following = full_trials(rows, winner)[1 : 1 + self.settings.ensemble] if winner else []
        kept = {row["trial"] for row in self.journal.rows if row["event"] == MEMBER}
        return [
            (found["trial"], replace(self._retraining(str(winner), found, 0), export=False))
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
            if f"{job.family}-{RETRAIN}-{job.seed}" not in self.since:
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
        told = self._told(family, (*DOUBT, *LATENCY))
        why = outcome.keep(self.settings.folder, self.journal, family, trial, learnt, told)
        what = f"the model that was scored is handed over: {why}" if why else "its model has learnt all pictures"
        self.say(f"{family}: {what}")

    def ended(self, name: str, *, again: bool) -> None:
        """A job is over for Tune; what is to be tried `again` is given out next."""
        job, trial = self.given[name]
        self.since.pop(name, None)
        if job.kind == FINAL:
            self.playing[job.family].discard(name)
            if again:
                self.finals[job.family].insert(0, (name, job))
        elif name.endswith(f"-{RECIPE}"):
            self.recipe_given = not again
        elif again and job.kind == REFIT:
            self.refits[job.family] = job
        elif again and name.endswith(f"-{MEMBER}"):
            assert self.members is not None
            self.members.insert(0, (trial, job))
        elif again:
            self.retrainings[job.family].insert(0, job)
