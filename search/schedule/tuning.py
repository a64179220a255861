"""The search as one Tune experiment: Tune places trials on workers, our searcher and rungs decide what they do.

When a family has no trial left, its retrainings follow in the same experiment, on the same warm workers.
"""

import os
import signal
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from models.sizes import HEAD, architecture, work
from results.analysis.numbers import baseline_name, best_trial, choose_winner, full_trials
from search.cluster import Cluster
from search.data.pictures import Pictures
from search.record.journal import FAILED, FINISHED, INFEASIBLE, RUNNING, STOPPED, Journal, Record
from search.schedule.rungs import Rungs, rung_epochs
from search.settings import Settings, default_cache
from search.studies.aims import Aims, Cost, size_of
from search.studies.study import Study
from search.training.checkpoint import Checkpoints
from search.training.retraining import MEMBER, Outcome
from search.training.worker import Job, Setup, Worker, WorkerDied, WorkerHung

RETRAIN = "retrain"
# Trials that a family may be ahead of the others at the start: a head on cached features is the cheapest good
# model there is, and the workers that build its activations together have it within the first minute.
LEAD = {"mobilenet": 3}
# Turns of the family with the best model so far for one of each other, once all have shown one: there the winner is
# likelier to come from, and the rest of the --trials of the others follow when its own are done. With 16 workers 46 of
# 50 replayed searches of drawn pictures came to within a point of the best, 41 with two turns and 44 with eight;
# without hand-written points those of photographs did in 11.4 s at the median instead of 16.0.
LEADERS_TURNS = 4
# Configurations in a row that break a limit of the run, after which a family is given up: where one in thirty keeps to
# the limits, random draws alone miss it so often once in a thousand times.
MOST_MISSES = 200
OUT_OF_TIME = "the time budget is used up"
# Of one retraining beyond its epochs, in seconds: building, scoring, exporting, timing, its mistakes.
RETRAINING_OVERHEAD = 9.0
RESERVE_FOR = 1.0  # seconds for which an estimate of what follows the search holds
REPORT_SECONDS = 10.0
UNREACHED = "its node could not be reached"
# Ray's words for an actor whose machine is gone, or is not answering and not yet given up, and ours.
NODE_LOST = {"node has died": "its node has died", " is unavailable: ": UNREACHED}
# Times that a trial is excused for the latter: Ray says so now and then of an actor that died alone, and a trial that
# kills its actors must come to an end.
MOST_UNREACHED = 3

Say = Callable[[str], None]


class Course:
    """What is to be done next, and what came of it; Tune's searcher, scheduler and callback all ask here."""

    def __init__(
        self,
        settings: Settings,
        studies: Mapping[str, Study],
        journal: Journal,
        workers: int,
        pictures: Pictures,
        say: Say,
    ) -> None:
        self.settings = settings
        self.studies = studies
        self.journal = journal
        self.workers = workers
        self.say = say
        self.lead = LEAD
        # By family, whether the trunk is trained, and whether the trial was drawn or given without a look at others.
        self.rungs: dict[tuple[str, bool, bool], Rungs] = {}
        self.rung_epochs = rung_epochs(settings.first_rung, settings.reduction, settings.epochs)
        self.retrainings: dict[str, list[Job]] = {}  # by family, those not yet given out, once the family is done
        self.retraining: dict[str, tuple[Job, str]] = {}  # by name, those given out, with the trial they repeat
        self.members: list[tuple[str, Job]] | None = None  # of the ensemble, those not yet given out, once planned
        self.aims = Aims.of(settings)
        self.costs: dict[tuple[Any, ...], Cost] = {}  # measured, by architecture
        self.infeasible = Counter[str]()  # by family, trials that broke a limit
        self.misses = Counter[str]()  # by family, those of them since one kept to the limits
        self._classes = len(pictures.classes)
        self.again = self._recall()  # trials to go on with: of a resumed run, and those whose worker was lost
        self.lost: dict[str, str] = {}  # trials whose worker was lost, and how, until Tune is done with them
        self.checkpoints = Checkpoints(settings.folder / "checkpoints", say)
        self.failures: dict[str, int] = {}  # of retrainings, by name
        self.unreached: Counter[str] = Counter()  # times that a trial's node could not be reached, by name
        self.interrupted = False
        self._time_is_up = False  # for searching, once and for all: what retrains is chosen from what there is then
        self._reserved, self._reserved_at = 0.0, float("-inf")
        self._growth = 1 + len(pictures.validation) / len(pictures.train)
        self._best = {
            family: max((record.best for record in journal.of(family)), default=0.0) for family in settings.families
        }
        for record in journal.records.values():
            self._learn(record)

    def next(self) -> tuple[str, Job] | None:
        """A name and a job; None where nothing can start until something ends."""
        if self.interrupted:
            return None
        if self.again:
            return self._search_job(self.again.pop(0))
        family = self._next_family()
        while family is not None and not self.interrupted:
            # Of a damaged run numbers may be missing: no name is given twice.
            used = (int(record.name.rsplit("-", 1)[1]) for record in self.journal.of(family))
            name = f"{family}-{max(used, default=-1) + 1:03d}"
            config, point = self.studies[family].suggest(name)
            blind = name in self.studies[family].blind
            record = self.journal.records[name] = Record(name, family, config, point, blind=blind)
            cost = self._known_cost(record)
            objection = self.aims.objection(cost)
            # A cost that is not known whole is left to the worker, which says all of it at once.
            record.cost = cost if objection or self.aims.known(cost) else {}
            if not objection:
                return self._search_job(name)
            # No worker is troubled with it, and it is none of the --trials.
            self.journal.start(name)
            self.journal.end(name, INFEASIBLE, objection)
            self._tell(record)
            family = self._next_family()
        for family in self.settings.families:
            if self._searched(family) and family not in self.retrainings:
                self._plan_retraining(family)
        for family, jobs in self.retrainings.items():
            if jobs and not jobs[0].export and self._too_late(family):
                self.say(f"{family}: no time left for the {len(jobs)} other seeds")
                jobs.clear()
            if jobs:
                job = jobs.pop(0)
                name = f"{family}-{RETRAIN}-{job.seed}"
                best = best_trial(self.journal.read(), family)
                assert best is not None
                self.retraining[name] = (job, best["trial"])
                return name, job
        if self._all_planned():
            if self.members is None:
                self.members = self._plan_members()
            if self.members:
                trial, job = self.members.pop(0)
                self.retraining[f"{trial}-{MEMBER}"] = (job, trial)
                return f"{trial}-{MEMBER}", job
        return None

    def _search_job(self, name: str) -> tuple[str, Job]:
        record = self.journal.records[name]
        seed = self.settings.seed + int(name.rsplit("-", 1)[1])
        job = self._job("search", record.family, record.config, seed)
        # A head on cached features is through before its state would have reached the disk.
        kept = work(record.family, record.config) > HEAD
        return name, replace(job, kept=kept, measured=not self.aims.known(record.cost))

    def _known_cost(self, record: Record) -> Cost:
        """What the model of a configuration costs, as far as it is asked for and no worker has to build it."""
        if not self.aims.costed:
            return {}
        measured = self.costs.get(architecture(record.family, record.config), {}) if self.aims.timed else {}
        return {**measured, **size_of(record.family, record.config, self._classes)}

    def _learn(self, record: Record) -> None:
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
            nearest = min(refused, key=lambda found: sum(max(0.0, by) for by in self.aims.excess(found.cost).values()))
            which = "the last" if self._tried(family) else "all"
            self.say(
                f"{family}: {which} {MOST_MISSES} configurations drawn break a limit, and no more are; the nearest has "
                f"{nearest.reason}"
            )

    def _tell(self, record: Record) -> None:
        """A trial has come to its end: the study hears of it."""
        self.studies[record.family].tell(record)
        self._learn(record)

    def _tried(self, family: str) -> int:
        """Trials of a family; those that broke a limit were not tried."""
        return len(self.journal.of(family)) - self.infeasible[family]

    def _open(self, family: str) -> bool:
        """Whether a family has trials left to try."""
        return self._tried(family) < self.settings.trials and self.misses[family] < MOST_MISSES

    def _recall(self) -> list[str]:
        """Brings rungs and ends up to date with the rows of a resumed run; names the trials that go on."""
        judged: dict[str, set[int]] = defaultdict(set)
        dropped = set()
        for row in self.journal.rows:
            if row["event"] == "start":
                # Once more where a trial began anew with another configuration.
                judged[row["trial"]].clear()
            elif row["event"] == "rung":
                record = self.journal.records[row["trial"]]
                self._rungs_of(record).judge(row["epoch"], row["value"], work(record.family, record.config))
                judged[record.name].add(row["epoch"])
                if not row["promoted"]:
                    dropped.add(record.name)
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
            elif all(self._promoted(record, *found) for found in new) and len(record.values) >= self.settings.epochs:
                self.journal.end(record.name, FINISHED, f"all {self.settings.epochs} epochs")
            if record.status != RUNNING:
                self.studies[record.family].tell(record)
        return [record.name for record in self.journal.records.values() if record.status == RUNNING]

    def _rungs_of(self, record: Record) -> Rungs:
        tuned = record.family == "mobilenet" and record.config["unfrozen_blocks"] > 0
        group = record.family, tuned, record.blind
        return self.rungs.setdefault(group, Rungs(self.rung_epochs, self.settings.reduction))

    def nothing_left(self) -> bool:
        """Whether a run that is resumed had already done everything."""
        if self.again or self._next_family() is not None:
            return False
        for family in self.settings.families:
            self._plan_retraining(family)
        return not any(self.retrainings.values()) and not self._plan_members()

    def over(self) -> bool:
        """Whether every trial and retraining has been given out."""
        return (
            not self.again
            and self._next_family() is None
            and all(self._searched(family) for family in self.settings.families)
            and self._all_planned()
            and not any(self.retrainings.values())
            and self.members == []
        )

    def _all_planned(self) -> bool:
        return len(self.retrainings) == len(self.settings.families)

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
            self.lost[name] = result["died"]
            return False
        if name in self.retraining:
            return self._retrained(name, result)
        record = self.journal.records[name]
        if "out of memory" in result:
            self._lacked_memory(record, result["out of memory"])
            return False
        if "failed" in result:
            self.journal.end(name, FAILED, result["failed"])
            return False
        if result["rows"][0].get("event") == "cost":
            return self._measured(record, result["rows"][0])
        # A trial begins anew where it had come to no checkpoint; the epochs that it had reported stand.
        rows = [row for row in result["rows"] if row["epoch"] not in record.values]
        self.journal.epochs(name, rows)
        self._best[record.family] = max(self._best[record.family], record.best)
        if not all(self._promoted(record, row["epoch"], row["validation_accuracy"]) for row in rows):
            return False
        if len(record.values) >= self.settings.epochs:
            self.journal.end(name, FINISHED, f"all {self.settings.epochs} epochs")
            return False
        if self.out_of_time():
            self.journal.end(name, STOPPED, OUT_OF_TIME)
            return False
        # At rungs alone: when rows come between them is chance, and the order of draws must not hang on it.
        if any(row["epoch"] in self.rung_epochs for row in rows) and (family := self._next_family()):
            self.studies[family].draw_ahead()
        return True

    def _measured(self, record: Record, row: Mapping[str, Any]) -> bool:
        """Takes in what a worker measured; returns whether the trial is trained."""
        cost = {name: value for name, value in row.items() if name != "event"}
        self.journal.cost(record.name, {**cost, **size_of(record.family, record.config, self._classes)})
        objection = self.aims.objection(record.cost)
        if objection:
            self.journal.end(record.name, INFEASIBLE, objection)
        else:
            self._learn(record)
        return not objection

    def _promoted(self, record: Record, epoch: int, value: float) -> bool:
        """Whether a trial goes on after an epoch; one that does not is ended."""
        cost = work(record.family, record.config)
        # A head on cached features is through before another trial has started: stopping it would save nothing.
        verdict = self._rungs_of(record).judge(epoch, value, cost) if cost > HEAD else None
        if verdict is None:
            return True
        promoted, threshold = verdict
        # The study's own configuration is never stopped: the report measures against it what the search gained.
        promoted = promoted or record.name == baseline_name(record.family) or self._on_front(record, epoch, value)
        self.journal.write("rung", record.name, record.family, epoch=epoch, value=value, promoted=promoted)
        if not promoted:
            self.journal.end(record.name, STOPPED, f"epoch {epoch}: {value:.3f} below the rung's {threshold:.3f}")
        return promoted

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

    def ended(self, name: str, reason: str = "") -> None:
        """A trial is over for Tune, with a reason where its worker was lost.

        One that had not come to its own end goes on later, from its last checkpoint, unless its workers have been lost
        too often: then it is the likely cause. For the loss of its machine it is not blamed.
        """
        reason = self.lost.pop(name, reason)
        self.unreached[name] += reason == UNREACHED
        blameless = reason in NODE_LOST.values() and (reason != UNREACHED or self.unreached[name] <= MOST_UNREACHED)
        if self.interrupted:
            return
        if name in self.retraining:
            self._retraining_ended(name, reason, blameless)
            return
        record = self.journal.records[name]
        if record.status == RUNNING and name not in self.again:
            reason = reason or "ended without a result"
            if blameless or record.failures < self.settings.max_failures:
                self.journal.retry(name, reason, counts=not blameless)
                self.say(f"{name} is tried again: {reason}")
                self.again.append(name)
            else:
                again = f", tried {record.failures + 1} times" if record.failures else ""
                self.journal.end(name, FAILED, reason + again)
        if record.status == RUNNING:
            return
        self.checkpoints.remove(name)
        if record.status == FAILED:
            self.say(f"{name} failed: {record.reason}")
        self._tell(record)

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

    def _retraining_ended(self, name: str, reason: str, blameless: bool) -> None:
        job, trial = self.retraining[name]
        if not reason:
            self.checkpoints.remove(name)
            return
        failures = self.failures.get(name, 0) + (not blameless)
        self.failures[name] = failures
        if failures > self.settings.max_failures:
            self.checkpoints.remove(name)
            self.say(f"{name} failed: {reason}")
            return
        self.say(f"{name} is tried again: {reason}")
        if name.endswith(f"-{MEMBER}"):
            assert self.members is not None
            self.members.insert(0, (trial, job))
        else:
            self.retrainings[job.family].insert(0, job)

    def out_of_time(self) -> bool:
        """Whether the rest of the time budget is needed for retraining and the report."""
        budget, now = self.settings.time_budget, self.journal.elapsed
        if budget is None:
            return False
        # Asked at every row and suggestion, and every trial of the run goes into the answer.
        if now - self._reserved_at > RESERVE_FOR:
            self._reserved, self._reserved_at = self.reserve(), now
        self._time_is_up = self._time_is_up or now + self._reserved >= budget
        return self._time_is_up

    def reserve(self) -> float:
        """Seconds that retraining and report will take, from the epochs measured so far."""
        seconds = 0.0
        for family in self.settings.families:
            left = len(self.retrainings.get(family, range(self.settings.final_seeds)))
            seconds += left * self._retraining_seconds(family)
        return REPORT_SECONDS + seconds / self.workers

    def _retraining_seconds(self, family: str) -> float:
        tried = [record for record in self.journal.of(family) if record.values]
        if not tried:
            return 0.0
        leader = max(tried, key=lambda record: (record.status == FINISHED, len(record.values), record.best))
        return leader.fastest * self.settings.epochs * self._growth + RETRAINING_OVERHEAD

    def _next_family(self) -> str | None:
        if self.out_of_time():
            return None
        open_families = [f for f in self.settings.families if self._open(f)]
        if not all(self._best.values()):
            return min(open_families, key=lambda f: self._tried(f) - self.lead.get(f, 0), default=None)
        leader = max(self._best, key=lambda f: self._best[f])
        return min(open_families, key=lambda f: self._tried(f) / (LEADERS_TURNS if f == leader else 1), default=None)

    def _searched(self, family: str) -> bool:
        exhausted = not self._open(family) or self.out_of_time()
        return exhausted and not self.journal.of(family, RUNNING)

    def _plan_retraining(self, family: str) -> None:
        best = best_trial(self.journal.read(), family)
        if best is None:
            broken = self.infeasible[family] and not self._tried(family)
            why = "no configuration keeps to the limits" if broken else "no trial came far enough to be retrained"
            self.say(f"{family}: {why}")
            self.retrainings[family] = []
            return
        rows = [row for row in self.journal.rows if row["trial"] == best["trial"]]
        scored = {row["seed"] for row in rows if row["event"] == "test"}
        exported = any(row["event"] == "model" for row in rows)
        jobs = [
            replace(
                self._job(RETRAIN, family, best["config"], self.settings.seed + number),
                epochs=best["epoch"],
                export=number == 0,
            )
            for number in range(self.settings.final_seeds)
        ]
        self.retrainings[family] = [job for job in jobs if job.seed not in scored or (job.export and not exported)]
        if self.retrainings[family]:
            self.say(f"{family}: {best['trial']} is best with {best['validation_accuracy']:.3f}, retraining it")

    def _too_late(self, family: str) -> bool:
        budget = self.settings.time_budget
        return budget is not None and self.journal.elapsed + self._retraining_seconds(family) + REPORT_SECONDS > budget

    def _plan_members(self) -> list[tuple[str, Job]]:
        """The ensemble beside the winner: the next best configurations of its family, where there is time for them."""
        if not self.settings.ensemble or self.out_of_time():
            return []
        rows = self.journal.read()
        winner = choose_winner({family: best_trial(rows, family) for family in self.settings.families})
        following = full_trials(rows, winner)[1 : 1 + self.settings.ensemble] if winner else []
        kept = {row["trial"] for row in self.journal.rows if row["event"] == MEMBER}
        return [
            (
                found["trial"],
                replace(self._job(RETRAIN, str(winner), found["config"], self.settings.seed), epochs=found["epoch"]),
            )
            for found in following
            if found["trial"] not in kept
        ]

    def _retrained(self, name: str, result: Mapping[str, Any]) -> bool:
        job, trial = self.retraining[name]
        trouble = result.get("failed") or result.get("out of memory")
        if trouble:
            self.say(f"{name} failed: {trouble}")
            return False
        try:
            outcome: Outcome = ray.get(result["outcome"])
        except ray.exceptions.RayError:
            self.lost[name] = "its worker was lost with what it had made"
            return False
        member = name.endswith(f"-{MEMBER}")
        outcome.keep(self.settings.folder, self.journal, job.family, trial, member=member)
        if outcome.note:
            self.say(f"{job.family}: {outcome.note}")
        self.say(f"{trial if member else job.family}: {outcome.row['accuracy']:.3f} on test with seed {job.seed}")
        return False

    def _job(self, kind: str, family: str, config: dict[str, Any], seed: int) -> Job:
        settings = self.settings
        return Job(
            kind, family, config, seed, settings.epochs, settings.epochs, settings.views, self.rung_epochs, kept=True
        )


class CourseSearcher(Searcher):  # type: ignore[misc]
    """Hands the course's jobs to Tune."""

    def __init__(self, course: Course, cluster: Cluster) -> None:
        super().__init__(metric="validation_accuracy", mode="max")
        self.course = course
        self.cluster = cluster
        self.names: dict[str, str] = {}  # by Tune's identifier, those not over

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        # Asked at every turn of Tune's loop, so that nodes that join are used and those that leave are not waited for.
        self.course.workers = self.cluster.workers()
        if len(self.names) >= self.course.workers + self.cluster.growth():
            return None
        found = self.course.next()
        if found is None:
            # Not before all has come back: what is lost on its way is given out again.
            return Searcher.FINISHED if self.course.over() and not self.names else None
        name, job = found
        self.names[trial_id] = name
        if name in self.course.journal.records:
            # Before Tune has a worker for it: were its row lost with the driver, its name and configuration would be.
            self.course.journal.start(name)
        config = {"name": name, "job": job}
        checkpoint = self.course.checkpoints.read(name) if job.kept else b""
        if checkpoint:
            config["checkpoint"] = ray.put(np.frombuffer(checkpoint, np.uint8))
        return config

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self.course.ended(self.names.pop(trial_id), "its worker was lost" if error else "")

    # Tune saves searchers for its own restore; a run is resumed from its rows instead.
    def save(self, checkpoint_path: str) -> None:
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        raise RuntimeError("a run is resumed from trials.jsonl, not from Tune's own checkpoint")

    def __getstate__(self) -> dict[str, Any]:
        return {}


class CourseScheduler(FIFOScheduler):  # type: ignore[misc]
    """Ends trials where the course says so."""

    def __init__(self, course: Course) -> None:
        super().__init__()
        self.course = course

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """None: Tune then gives a free worker to a new trial. FIFO's choice is the oldest that waits, and giving it a
        free worker ends the one that is being started for it: short trials would never let the cluster fill.
        """

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """Called before the searcher hears that a trial is lost, which it does without the reason."""
        self.course.lost[trial.config["name"]] = _loss(trial)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        goes_on = self.course.reported(trial.config["name"], result)
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)

    def __getstate__(self) -> dict[str, Any]:
        return {}


class Interruption(Stopper):  # type: ignore[misc]
    """Ends the experiment at Ctrl-C or SIGTERM, which a machine that is taken away sends; the run can be resumed.

    The second of them ends the process at once.
    """

    def __init__(self, course: Course) -> None:
        self.course = course

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.course.interrupted

    def __getstate__(self) -> dict[str, Any]:
        return {}

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Listens to the signals while the experiment runs."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._hear) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.course.interrupted:
            raise KeyboardInterrupt
        self.course.interrupted = True
        self.course.say("interrupted: ending cleanly; once more to end at once")


def _loss(trial: Trial) -> str:
    """How a trial's actor was lost, in a line."""
    try:
        lines = [line.strip() for line in Path(trial.error_file).read_text().splitlines() if line.strip()]
    except (OSError, TypeError):
        lines = []
    for sign, reason in NODE_LOST.items():
        if any(sign in line for line in lines):
            return reason
    return f"its worker was lost: {lines[-1][:200]}" if lines else "its worker was lost"


_worker: Worker | None = None


def run_trial(config: dict[str, Any], pictures: Pictures, setup: Setup) -> None:
    """What Tune runs in its actor: passes a job to the actor's child and its rows to Tune."""
    global _worker
    if _worker is None:
        # Here and not in the child, which is no process of Ray's and cannot reach the object store.
        from search.record.metrics import CacheMetrics

        here = pictures.on_node(Path(setup.cache_dir or default_cache()))
        _worker = Worker(setup, here, CacheMetrics(setup.run).take)
    # Goes to the actor's log, which the dashboard shows: an actor outlives its trials.
    print(f"{setup.run}: {config['name']}", flush=True)

    def report(rows: list[dict[str, Any]]) -> None:
        tune.report({"rows": rows})

    def keep(checkpoint: bytes) -> None:
        tune.report({"checkpoint": ray.put(np.frombuffer(checkpoint, np.uint8))})

    checkpoint = ray.get(config["checkpoint"]).tobytes() if "checkpoint" in config else b""
    try:
        kind, value = _worker.run(config["job"], report, keep, checkpoint)
    except WorkerDied as error:
        kind, value = "died", str(error)
    except WorkerHung as error:
        kind, value = "failed", f"timed out: {error}"
    if kind != "finished":
        tune.report({kind: value})
    elif config["job"].kind == RETRAIN:
        tune.report({"outcome": ray.put(value)})


def search(
    settings: Settings,
    course: Course,
    pictures: Pictures,
    setup: Setup,
    cluster: Cluster,
    trial: Callable[..., None] = run_trial,
) -> None:
    """Runs the experiment to its end; `trial` is what an actor does with a job."""
    # Tune's own loggers would write every row a second and a third time, into files that nobody reads.
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    # A report carries rows of several epochs, and a failure or an outcome carries none: no one metric is in all.
    os.environ["TUNE_DISABLE_STRICT_METRIC_CHECKING"] = "1"
    # The searcher itself holds back what the cluster has no room for: Tune's own limits are fixed at the start.
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(10**6)
    os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = str(10**9)
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    interruption = Interruption(course)
    trainable = tune.with_parameters(trial, pictures=pictures, setup=setup)
    trainable.__name__ = f"pedigree-{settings.name}"  # what the dashboard calls the actors
    tuner = tune.Tuner(
        tune.with_resources(trainable, cluster.resources),
        tune_config=tune.TuneConfig(
            search_alg=CourseSearcher(course, cluster),
            scheduler=CourseScheduler(course),
            num_samples=-1,
            reuse_actors=True,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(settings.folder.resolve()),
            verbose=0,
            stop=interruption,
            failure_config=tune.FailureConfig(max_failures=0),
        ),
    )
    try:
        with interruption.heard():
            tuner.fit()
        if course.over():
            course.checkpoints.clear()
    finally:
        for study in course.studies.values():
            study.close()


def _trial_name(trial: Trial) -> str:
    return str(trial.config["name"])
