"""Ray: started here or joined, what it offers, and the files that its nodes need."""

import contextlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from search.pictures import File, Pictures
from search.settings import Settings
from search.weights import Weights


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster with the shares of it that trials take."""

    resources: dict[str, float]  # of one trial
    workers: int  # trials at a time
    devices: dict[str, Any]  # for environment.json
    nodes: int
    ours: bool  # started by this process

    def ship(self, pictures: Pictures, weights: tuple[Weights, ...]) -> Pictures:
        """The pictures with their trunk weights, every file within reach of every node."""
        files: dict[tuple[str, float], File | None] = {
            (item.backbone, item.alpha): File(item.path, item.digest) if item.path else None for item in weights
        }
        if self.nodes > 1:
            return replace(
                pictures,
                packs={shape: _put(file) for shape, file in pictures.packs.items()},
                weights={backbone: file and _put(file) for backbone, file in files.items()},
            )
        return replace(pictures, weights=files)

    def close(self) -> None:
        """Ends Ray where this process started it."""
        import ray

        if self.ours:
            ray.shutdown()


def connect(settings: Settings) -> Cluster:
    """Starts Ray on this machine, or joins `settings.address`; raises ValueError where no trial would fit."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    ours = not ray.is_initialized()
    if ours:
        try:
            ray.init(
                address=settings.address,
                log_to_driver=False,
                logging_level="ERROR",
                configure_logging=True,
                **({} if settings.address else {"include_dashboard": None}),
            )
        except ConnectionError as error:
            raise OSError(
                f"--address needs a running Ray cluster, and `{settings.address}` does not answer: {error}"
            ) from error
    offered = ray.cluster_resources()
    cpus, gpus = offered.get("CPU", 0.0), offered.get("GPU", 0.0)
    nodes = sum(1 for node in ray.nodes() if node["Alive"])
    share = settings.gpus_per_trial if settings.gpus_per_trial is not None else float(gpus > 0)
    resources = {"cpu": settings.cpus_per_trial, **({"gpu": share} if share else {})}
    fitting = int(cpus // settings.cpus_per_trial)
    if share:
        # A share above one takes whole cards; below, so many to the card.
        fitting = min(fitting, int(gpus // share) if share >= 1 else int(gpus) * int(1 / share + 1e-9))
    if fitting < 1:
        with contextlib.suppress(Exception):
            ray.shutdown() if ours else None
        raise ValueError(
            f"a trial needs {settings.cpus_per_trial:g} CPU and {share:g} GPU, "
            f"and the cluster has {cpus:g} CPU and {gpus:g} GPU"
        )
    workers = min(settings.concurrency or fitting, fitting)
    return Cluster(resources, workers, {"cpus": int(cpus), "gpus": int(gpus), "nodes": nodes}, nodes, ours)


def _put(file: File) -> File:
    import ray

    return replace(file, content=ray.put(np.fromfile(Path(file.path), np.uint8)))
