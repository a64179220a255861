"""Ray: started here or joined, what it offers, and the files that its nodes need."""

import contextlib
import importlib.util
import os
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from search.data.pictures import File, Pictures
from search.settings import Settings, default_cache
from search.training.weights import Weights

# Seconds for which the size of the cluster is remembered: Tune's loop asks at each turn.
REMEMBERED = 1.0
# Where `ray up` leaves the cluster's description on the head.
DESCRIPTION = Path("~/ray_bootstrap_config.yaml")
LOCAL = "local"  # Ray's word for a cluster of its own on this machine
# Seconds that a node has to answer whether it can write its cache.
ANSWER = 60.0


@dataclass
class Cluster:
    """A Ray cluster with the shares of it that trials take.

    Args:
        resources: of one trial, as Tune names them: `cpu`, and `gpu` where one is used.
        concurrency: most trials at a time, None for as many as there is room for.
        devices: what the cluster has, for environment.json.
        ours: whether this process started it.
        reachable: trials that a growing cluster will have room for at its largest.
        dashboard: address of Ray's dashboard, empty without one.
    """

    resources: dict[str, float]
    concurrency: int | None
    devices: dict[str, Any]
    ours: bool
    reachable: int = 0
    dashboard: str = ""
    _room: int = field(default=0, repr=False)
    _asked: float = field(default=float("-inf"), repr=False)

    def workers(self) -> int:
        """Trials that run at a time as the cluster is now; 1 while it has room for none."""
        import ray

        if time.monotonic() - self._asked > REMEMBERED:
            self._room = sum(slots(node["Resources"], self.resources) for node in ray.nodes() if node["Alive"])
            self._asked = time.monotonic()
        return max(1, min(self._room, self.concurrency or self._room))

    def growth(self) -> int:
        """Trials to keep waiting beyond those that run: what waits is what makes a cluster grow."""
        workers = self.workers()
        return max(0, min(self.reachable, self.concurrency or self.reachable) - workers)

    def ship(self, pictures: Pictures, weights: tuple[Weights, ...]) -> Pictures:
        """The pictures with their trunk weights, every file within reach of every node, now and later."""
        files: dict[tuple[str, float], File | None] = {
            (item.backbone, item.alpha): File(item.path, item.digest) if item.path else None for item in weights
        }
        if self.ours:
            return replace(pictures, weights=files)
        return replace(
            pictures,
            packs={shape: _put(file) for shape, file in pictures.packs.items()},
            weights={backbone: file and _put(file) for backbone, file in files.items()},
        )

    def check_storage(self, cache_dir: str) -> None:
        """Raises OSError that names every node that cannot write its cache folder."""
        if self.ours:
            return
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        check = ray.remote(num_cpus=0)(storage_trouble)
        asked = {
            check.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
                name="pedigree: check of the cache folder",
            ).remote(cache_dir): node["NodeManagerAddress"]
            for node in ray.nodes()
            if node["Alive"]
        }
        answered, silent = ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER)
        troubles = []
        for reference in answered:
            # A node that is lost while it is asked is no trouble of its cache: the search goes on without it.
            with contextlib.suppress(ray.exceptions.RayError):
                if trouble := ray.get(reference):
                    troubles.append(trouble)
        troubles += [f"{asked[reference]} does not answer within {ANSWER:g} s" for reference in silent]
        if troubles:
            raise OSError(
                "every node needs a cache folder that it can write (--cache-dir, or PEDIGREE_CACHE in the environment "
                f"of `ray start` on the node): {'; '.join(sorted(troubles))}"
            )

    def close(self) -> None:
        """Leaves the cluster, and ends it where this process started it."""
        import ray

        if self.ours:
            ray.shutdown()


def joins(settings: Settings) -> bool:
    """Whether a search is meant for a cluster that stands, and not for a Ray that it starts on this machine."""
    return _address(settings) != LOCAL


def connect(settings: Settings) -> Cluster:
    """Starts Ray on this machine, or joins `settings.address`; raises ValueError where no trial would fit."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    joined = ray.is_initialized()
    address = _address(settings)
    dashboard = ""
    if not joined:
        try:
            with _loopback(address == LOCAL):
                context = ray.init(
                    address=address,
                    log_to_driver=False,
                    logging_level="ERROR",
                    namespace=f"pedigree-{settings.name}",
                    job_config=ray.job_config.JobConfig(metadata={"job_name": f"pedigree-{settings.name}"}),
                    **(_dashboard(settings.dashboard) if address == LOCAL else {}),
                )
        except ConnectionError as error:
            raise OSError(f"--address needs a running Ray cluster, and `{address}` does not answer: {error}") from error
        except Exception as error:
            # What Ray raises where its processes do not come up within half a minute is nothing more precise.
            if type(error) is not Exception:
                raise
            raise OSError(f"Ray could not be started on this machine, perhaps for lack of time: {error}") from error
        dashboard = context.dashboard_url or ""
    ours = not joined and address == LOCAL
    offered = ray.cluster_resources()
    cpus, gpus = offered.get("CPU", 0.0), offered.get("GPU", 0.0)
    nodes = sum(1 for node in ray.nodes() if node["Alive"])
    share = settings.gpus_per_trial if settings.gpus_per_trial is not None else float(gpus > 0)
    resources = {"cpu": settings.cpus_per_trial, **({"gpu": share} if share else {})}
    reachable = 0 if ours else max(settings.concurrency or 0, described(DESCRIPTION.expanduser(), resources))
    room = sum(slots(node["Resources"], resources) for node in ray.nodes() if node["Alive"])
    cluster = Cluster(
        resources,
        settings.concurrency,
        {"cpus": int(cpus), "gpus": int(gpus), "nodes": nodes},
        ours,
        reachable,
        dashboard,
    )
    if room + reachable < 1:
        with contextlib.suppress(Exception):
            cluster.close()
        raise ValueError(
            f"a trial needs {settings.cpus_per_trial:g} CPU and {share:g} GPU on one machine, "
            f"and the cluster has {cpus:g} CPU and {gpus:g} GPU on {nodes} machine{'s' if nodes > 1 else ''}"
        )
    cluster.check_storage(settings.cache_dir)
    return cluster


def slots(node: Mapping[str, float], trial: Mapping[str, float]) -> int:
    """Trials that a node has room for; a share of a GPU never spans two."""
    fitting = int(node.get("CPU", 0.0) / trial["cpu"] + 1e-9)
    share, cards = trial.get("gpu", 0.0), node.get("GPU", 0.0)
    if share >= 1:
        fitting = min(fitting, int(cards // share))
    elif share:
        fitting = min(fitting, int(cards) * int(1 / share + 1e-9))
    return fitting


def described(path: Path, trial: Mapping[str, float]) -> int:
    """Trials that a cluster of `ray up` has room for at its largest; 0 where nothing describes one."""
    if not path.exists():
        return 0
    import yaml

    cluster = yaml.safe_load(path.read_text())
    head = cluster.get("head_node_type")
    most: list[int] = []
    for name, kind in cluster.get("available_node_types", {}).items():
        count = 1 if name == head else kind.get("max_workers", cluster.get("max_workers", 0))
        most += [slots(kind.get("resources", {}), trial)] * count
    return sum(sorted(most, reverse=True)[: cluster.get("max_workers", 0) + 1])


def storage_trouble(cache_dir: str) -> str:
    """What keeps this node from writing its cache folder, with the node's name; empty where nothing does."""
    folder = Path(cache_dir or default_cache())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".write-test-{os.getpid()}"
        probe.write_bytes(b"pedigree")
        probe.unlink()
    except OSError as error:
        return f"{socket.gethostname()} cannot write `{folder}` ({error.strerror})"
    return ""


def _address(settings: Settings) -> str:
    given = settings.address or os.environ.get("RAY_ADDRESS")
    if given:
        return given
    # What `ray submit` runs is meant for the cluster of the machine that it finds itself on.
    return "auto" if DESCRIPTION.expanduser().exists() else LOCAL


@contextlib.contextmanager
def _loopback(wanted: bool) -> Iterator[None]:
    """Where `wanted`, a Ray that is started meanwhile listens on the loopback address alone.

    No option of Ray's says so on Linux: whatever address its servers are given, they listen on all of them, unless Ray
    was told that there is no cluster to be part of, as it is by default on other systems.
    """
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = before and not wanted
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def _dashboard(wanted: str) -> dict[str, Any]:
    """What `ray.init` is told about the dashboard; raises ValueError where Ray is installed without one."""
    if wanted == "off":
        return {"include_dashboard": False}
    installed = importlib.util.find_spec("aiohttp_cors") is not None and importlib.util.find_spec("aiohttp") is not None
    if wanted == "auto":
        return {"include_dashboard": installed}
    if not installed:
        raise ValueError(f"--dashboard {wanted} needs Ray's dashboard: pip install 'pedigree[cluster]'")
    host, _, port = wanted.partition(":")
    return {"include_dashboard": True, "dashboard_host": host, **({"dashboard_port": int(port)} if port else {})}


def _put(file: File) -> File:
    import ray

    return replace(file, content=ray.put(np.fromfile(Path(file.path), np.uint8)))
