"""The search as one Tune experiment: Tune places trials on workers, the course of the search decides what they do.

When a family has no trial left, its retrainings follow in the same experiment, on the same warm workers.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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

from search.cluster import Cluster
from search.data.eviction import attend
from search.data.pictures import Pictures
from search.schedule.course import Course
from search.schedule.losses import NODE_LOST
from search.settings import Settings, default_cache
from search.training.worker import Setup, Worker, WorkerDied, WorkerHung


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
        checkpoint = self.course.checkpoints.read(job.name if job.own else name) if job.kept else b""
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
        self.course.losses.reasons[trial.config["name"]] = _loss(trial)

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

        cache = Path(setup.cache_dir or default_cache())
        attend(cache, setup.cache_limit)
        here = pictures.on_node(cache)
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
    elif value is not None:
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
