"""Trials that sleep: Pedigree's own searcher, rungs, journal and Tune experiment without the work of training.

What is measured with them is the driver, whatever the cores of the machine can do.
"""

import gc
import random
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from ray import tune
from ray.cluster_utils import Cluster as LocalCluster

from search.cluster import connect
from search.data.pictures import Pictures
from search.record.journal import Journal, Row
from search.record.metrics import CacheMetrics, RunMetrics
from search.schedule.course import Course
from search.schedule.tuning import search
from search.settings import Settings
from search.studies.study import studies_of
from search.training.worker import Job, Setup


def sleep_trial(config: dict[str, Any], pictures: Pictures, setup: Setup) -> None:
    """Sleeps where a trial would train: each epoch from half to one and a half of `seconds` / `epochs`, by its seed."""
    import ray

    job: Job = config["job"]
    if job.kind != "search":
        return
    chance = random.Random(job.seed)
    length = float(pictures.digest) / job.epochs * chance.uniform(0.5, 1.5)
    node = ray.get_runtime_context().get_node_id()
    CacheMetrics(setup.run).take({"read": (1, 1000), "built": (0, 0)})
    for epoch in range(1, job.epochs + 1):
        began = time.time()
        time.sleep(length)
        accuracy = chance.random()
        row = {
            "epoch": epoch,
            "train_loss": 1.0,
            "train_accuracy": accuracy,
            "validation_loss": 1.0,
            "validation_accuracy": accuracy,
            "seconds": time.time() - began,
            "training": time.time() - began,
            "validating": 0.0,
            "node": node,
            "began": began,
        }
        tune.report({"rows": [row]})


def sleeping_pictures(seconds: float, cache: Path) -> Pictures:
    """No pictures, and the mean length of a sleeping trial where their digest would be."""
    rows = np.arange(10)
    return Pictures(str(seconds), ("a", "b"), rows % 2, rows[:6], rows[6:8], rows[8:], cache, {})


# For a cluster's first node: one that is killed is missed within some 4 s, not 30.
HEALTH = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 5000,
    "health_check_failure_threshold": 3,
}


@contextmanager
def local_nodes(nodes: int, cpus: int, caches: Sequence[str] = (), **head: Any) -> Iterator[LocalCluster]:
    """A Ray cluster of several raylets on this machine, each with its own cache folder if `caches` names them.

    `head` are more arguments of the first node.
    """

    def more(node: int) -> dict[str, Any]:
        return {"num_cpus": cpus, **({"env_vars": {"PEDIGREE_CACHE": caches[node]}} if caches else {})}

    cluster = LocalCluster(initialize_head=True, head_node_args={"include_dashboard": False, **more(0), **head})
    try:
        for node in range(1, nodes):
            cluster.add_node(**more(node))
        cluster.wait_for_nodes()
        yield cluster
    finally:
        cluster.shutdown()
        with warnings.catch_warnings():
            # Ray looks for free ports with sockets that it leaves to the garbage collector.
            warnings.simplefilter("ignore", ResourceWarning)
            del cluster
            gc.collect()


def run_sleeping(
    folder: Path, address: str | None, *, trials: int, seconds: float, epochs: int = 1, concurrency: int | None = None
) -> tuple[list[Row], float]:
    """Searches with trials that sleep `seconds` on average; returns the rows and the seconds of the experiment."""
    settings = Settings(
        families=("scratch_keras",), trials=trials, epochs=epochs, final_seeds=1, concurrency=concurrency,
        gpus_per_trial=0.0, name="sleeping", runs_dir=str(folder), cache_dir=str(folder / "cache"), address=address,
    )  # fmt: skip
    settings.folder.mkdir(parents=True)
    cluster = connect(settings)
    journal = Journal(settings.folder / "trials.jsonl", watch=RunMetrics(settings.name).take)
    pictures = sleeping_pictures(seconds, settings.cache)
    try:
        course = Course(settings, studies_of(settings, ()), journal, cluster.workers(), pictures, lambda line: None)
        began = time.monotonic()
        search(settings, course, pictures, Setup(1, "float32", 6.0, settings.name), cluster, sleep_trial)
        return journal.rows, time.monotonic() - began
    finally:
        import ray

        journal.close()
        ray.shutdown()
