"""The search as one Tune experiment: Tune places trials on workers, our searcher and rungs decide what they do.

When a family has no trial left, its retrainings follow in the same experiment, on the same warm workers.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from results.numbers import best_trial
from search.journal import FAILED, FINISHED, RUNNING, STOPPED, Journal, Record
from search.pictures import Pictures
from search.retraining import Outcome
from search.rungs import Rungs, rung_epochs
from search.settings import Settings
from search.study import Study
from search.worker import Job, Setup, Worker, WorkerDied

RETRAIN = "retrain"
# Trials that a family may be ahead of the others at the start: a head on cached features is the cheapest good
# model there is, and the workers that build its activations together have it within the first minute.
LEAD = {"mobilenet": 2}
OUT_OF_TIME = "the time budget is used up"
# Of one retraining beyond its epochs, in seconds: building, scoring, exporting.
RETRAINING_OVERHEAD = 6.0
REPORT_SECONDS = 10.0

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
        self.rungs = {
            family: Rungs(rung_epochs(settings.first_rung, settings.reduction, settings.epochs), settings.reduction)
            for family in settings.families
        }
        self.retrainings: dict[str, list[Job]] = {}  # by family, those not yet given out, once the family is done
        self.retraining: dict[str, tuple[Job, str]] = {}  # by name, those given out, with the trial they repeat
        self._growth = 1 + len(pictures.validation) / len(pictures.train)

    def next(self) -> tuple[str, Job] | None:
        """A name and a job; None where nothing can start until something ends."""
        family = self._next_family()
        if family is not None:
            name = f"{family}-{len(self.journal.of(family)):03d}"
            config, point = self.studies[family].suggest(name)
            self.journal.records[name] = Record(name, family, config, point)
            seed = self.settings.seed + int(name.rsplit("-", 1)[1])
            return name, self._job("search", family, config, seed)
        for family in self.settings.families:
            if self._searched(family) and family not in self.retrainings:
                self._plan_retraining(family)
        for family, jobs in self.retrainings.items():
            if jobs:
                job = jobs.pop(0)
                name = f"{family}-{RETRAIN}-{job.seed}"
                best = best_trial(self.journal.read(), family)
                assert best is not None
                self.retraining[name] = (job, best["trial"])
                return name, job
        return None

    def over(self) -> bool:
        """Whether every trial and retraining has been given out."""
        return (
            self._next_family() is None
            and all(self._searched(family) for family in self.settings.families)
            and len(self.retrainings) == len(self.settings.families)
            and not any(self.retrainings.values())
        )

    def reported(self, name: str, result: Mapping[str, Any]) -> bool:
        """Takes in what a trial says; returns whether it goes on."""
        if name in self.retraining:
            return self._retrained(name, result)
        record = self.journal.records[name]
        if "failed" in result:
            self.journal.end(name, FAILED, result["failed"])
            return False
        self.journal.epochs(name, result["rows"])
        rungs = self.rungs[record.family]
        for row in result["rows"]:
            verdict = rungs.judge(row["epoch"], row["validation_accuracy"])
            if verdict is None:
                continue
            promoted, threshold = verdict
            value = row["validation_accuracy"]
            self.journal.write("rung", name, record.family, epoch=row["epoch"], value=value, promoted=promoted)
            if not promoted:
                self.journal.end(name, STOPPED, f"epoch {row['epoch']}: {value:.3f} below the rung's {threshold:.3f}")
                return False
        if len(record.values) >= self.settings.epochs:
            self.journal.end(name, FINISHED, f"all {self.settings.epochs} epochs")
            return False
        if self.out_of_time():
            self.journal.end(name, STOPPED, OUT_OF_TIME)
            return False
        return True

    def ended(self, name: str, reason: str) -> None:
        """A trial is over for Tune; one that had not said so itself has failed."""
        if name in self.retraining:
            if reason:
                self.say(f"{name} failed: {reason}")
            return
        self.journal.end(name, FAILED, reason or "ended without a result")
        record = self.journal.records[name]
        if record.status == FAILED:
            self.say(f"{name} failed: {record.reason}")
        self.studies[record.family].tell(record)

    def out_of_time(self) -> bool:
        """Whether the rest of the time budget is needed for retraining and the report."""
        budget = self.settings.time_budget
        return budget is not None and self.journal.elapsed + self.reserve() >= budget

    def reserve(self) -> float:
        """Seconds that retraining and report will take, from the epochs measured so far."""
        seconds = REPORT_SECONDS
        for family in self.settings.families:
            tried = [record for record in self.journal.of(family) if record.values]
            if tried and not self.retrainings.get(family):
                leader = max(tried, key=lambda record: (record.status == FINISHED, len(record.values), record.best))
                one = leader.seconds / len(leader.values) * self.settings.epochs * self._growth + RETRAINING_OVERHEAD
                seconds += one * -(-self.settings.final_seeds // self.workers)
        return seconds

    def _next_family(self) -> str | None:
        if self.out_of_time():
            return None
        open_families = [f for f in self.settings.families if len(self.journal.of(f)) < self.settings.trials]
        return min(open_families, key=lambda f: len(self.journal.of(f)) - LEAD.get(f, 0), default=None)

    def _searched(self, family: str) -> bool:
        exhausted = len(self.journal.of(family)) >= self.settings.trials or self.out_of_time()
        return exhausted and not self.journal.of(family, RUNNING)

    def _plan_retraining(self, family: str) -> None:
        best = best_trial(self.journal.read(), family)
        if best is None:
            self.say(f"{family}: no trial came far enough to be retrained")
            self.retrainings[family] = []
            return
        self.say(f"{family}: {best['trial']} is best with {best['validation_accuracy']:.3f}, retraining it")
        self.retrainings[family] = [
            replace(
                self._job(RETRAIN, family, best["config"], self.settings.seed + number),
                epochs=best["epoch"],
                export=number == 0,
            )
            for number in range(self.settings.final_seeds)
        ]

    def _retrained(self, name: str, result: Mapping[str, Any]) -> bool:
        job, trial = self.retraining[name]
        if "failed" in result:
            self.say(f"{name} failed: {result['failed']}")
            return False
        import ray

        outcome: Outcome = ray.get(result["outcome"])
        folder = self.settings.folder
        predictions = folder / "predictions" / f"{job.family}-{job.seed}.npz"
        predictions.parent.mkdir(exist_ok=True)
        _write_bytes(predictions, outcome.probabilities)
        self.journal.write("test", trial, job.family, **outcome.row)
        self.say(f"{job.family}: {outcome.row['accuracy']:.3f} on test with seed {job.seed}")
        if outcome.model is not None:
            model = folder / "models" / f"{job.family}.keras"
            model.parent.mkdir(exist_ok=True)
            _write_bytes(model, outcome.model)
            self.journal.write(
                "model", trial, job.family, seed=job.seed, path=f"models/{job.family}.keras",
                parameters=outcome.parameters, bytes=len(outcome.model),
            )  # fmt: skip
        return False

    def _job(self, kind: str, family: str, config: dict[str, Any], seed: int) -> Job:
        settings = self.settings
        return Job(
            kind, family, config, seed, settings.epochs, settings.epochs, settings.views, self.rungs[family].epochs
        )


def _write_bytes(path: Path, content: bytes) -> None:
    aside = path.with_name(f"{path.name}.part")
    aside.write_bytes(content)
    aside.replace(path)


class CourseSearcher(Searcher):  # type: ignore[misc]
    """Hands the course's jobs to Tune."""

    def __init__(self, course: Course) -> None:
        super().__init__(metric="validation_accuracy", mode="max")
        self.course = course
        self.names: dict[str, str] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        found = self.course.next()
        if found is None:
            return Searcher.FINISHED if self.course.over() else None
        name, job = found
        self.names[trial_id] = name
        return {"name": name, "job": job}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self.course.ended(self.names[trial_id], "the worker was lost" if error else "")

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

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        goes_on = self.course.reported(trial.config["name"], result)
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)

    def __getstate__(self) -> dict[str, Any]:
        return {}


class CourseCallback(Callback):  # type: ignore[misc]
    """Writes down when a trial starts."""

    def __init__(self, course: Course) -> None:
        self.course = course

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        name = trial.config["name"]
        if name in self.course.journal.records:
            self.course.journal.start(name)

    def __getstate__(self) -> dict[str, Any]:
        return {}


_worker: Worker | None = None


def run_trial(config: dict[str, Any], pictures: Pictures, setup: Setup) -> None:
    """What Tune runs in its actor: passes a job to the actor's child and its rows to Tune."""
    global _worker
    if _worker is None:
        _worker = Worker(setup, pictures)

    def report(rows: list[dict[str, Any]]) -> None:
        tune.report({"rows": rows})

    try:
        kind, value = _worker.run(config["job"], report)
    except WorkerDied as error:
        kind, value = "failed", str(error)
    if kind == "failed":
        tune.report({"failed": value})
    elif config["job"].kind == RETRAIN:
        import ray

        tune.report({"outcome": ray.put(value)})


def search(settings: Settings, course: Course, pictures: Pictures, setup: Setup, resources: dict[str, float]) -> None:
    """Runs the experiment to its end."""
    # Tune's own loggers would write every row a second and a third time, into files that nobody reads.
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    # A report carries rows of several epochs, and a failure or an outcome carries none: no one metric is in all.
    os.environ["TUNE_DISABLE_STRICT_METRIC_CHECKING"] = "1"
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(course.workers)
    os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = str(10**9)
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    trainable = tune.with_parameters(run_trial, pictures=pictures, setup=setup)
    tune.Tuner(
        tune.with_resources(trainable, resources),
        tune_config=tune.TuneConfig(
            search_alg=CourseSearcher(course),
            scheduler=CourseScheduler(course),
            num_samples=-1,
            max_concurrent_trials=course.workers,
            reuse_actors=True,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(settings.folder.resolve()),
            verbose=0,
            callbacks=[CourseCallback(course)],
            failure_config=tune.FailureConfig(max_failures=0),
        ),
    ).fit()


def _trial_name(trial: Trial) -> str:
    return str(trial.config["name"])
