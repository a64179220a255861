"""Ray: started here or joined, what it offers, and the files that its nodes need."""

import contextlib
import importlib.util
import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from search import machine
from search.data.cache import check_folder
from search.data.pictures import File, Pictures
from search.home import check_private
from search.settings import Settings, default_cache
from search.training.weights import Weights

# Seconds for which the size of the cluster is remembered: Tune's loop asks at each turn.
REMEMBERED = 1.0
# Where `ray up` leaves the cluster's description on the head.
DESCRIPTION = Path("~/ray_bootstrap_config.yaml")
LOCAL = "local"  # Ray's word for a cluster of its own on this machine
# Seconds that a node has to answer whether it can write its cache.
ANSWER = 60.0
# Variables for older releases of Tune, which this one refuses to run with and makes no other use of.
OBSOLETE = ("TUNE_RESULT_DIR", "RAY_AIR_LOCAL_CACHE_DIR")
PATIENCE = 8.0  # seconds in which somebody has to listen at the address of a cluster
SLOW = 30.0  # seconds that whoever listens has to say a first word
# What Ray puts its sockets under, below its folder, and the most letters that the system allows in the path of one.
SOCKET = "/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
MOST_OF_A_SOCKET = 103 if sys.platform == "darwin" else 107
STORE, LEAST_STORE = 0.3, 80 * machine.MIB  # of the memory, for Ray's object store, and the least that Ray takes


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
                "every node needs a cache folder that it can use (--cache-dir, or PEDIGREE_CACHE in the environment "
                f"of `ray start` on the node): {'; '.join(sorted(troubles))}"
            )

    def close(self) -> None:
        """Leaves the cluster, and ends it where this process started it."""
        import ray

        if self.ours:
            ray.shutdown()


def joins(settings: Settings) -> bool:
    """Whether a search is meant for a cluster that stands, and not for a Ray that it starts on this machine."""
    return _address(settings)[0] != LOCAL


def connect(settings: Settings) -> Cluster:
    """Starts Ray on this machine, or joins `settings.address`; raises ValueError where no trial would fit."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    for name in OBSOLETE:
        os.environ.pop(name, None)
    import ray

    joined = ray.is_initialized()
    address, asked = _address(settings)
    dashboard = ""
    if not joined:
        if address != LOCAL:
            check_address(address, asked)
        try:
            with _loopback(address == LOCAL):
                context = ray.init(
                    address=address,
                    log_to_driver=False,
                    logging_level="ERROR",
                    namespace=f"pedigree-{settings.name}",
                    job_config=ray.job_config.JobConfig(metadata={"job_name": f"pedigree-{settings.name}"}),
                    **({"_temp_dir": ray_folder(settings.cache)} if address == LOCAL else {}),
                    **({**_dashboard(settings.dashboard), **_resources()} if address == LOCAL else {}),
                )
        except ConnectionError as error:
            raise OSError(_gone(address, asked, str(error))) from error
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
    concurrency = settings.concurrency
    if ours and concurrency is None and machine.bounded():
        most = machine.most_workers(machine.memory())
        concurrency = most if most < room else None
    cluster = Cluster(
        resources,
        concurrency,
        {"cpus": int(cpus), "gpus": int(gpus), "nodes": nodes},
        ours,
        reachable,
        dashboard,
    )
    if room + reachable < 1:
        with contextlib.suppress(Exception):
            cluster.close()
        allowed = "".join(f"; {note}" for note in machine.notes()) if ours else ""
        raise ValueError(
            f"a trial needs {settings.cpus_per_trial:g} CPU and {share:g} GPU on one machine, "
            f"and the cluster has {cpus:g} CPU and {gpus:g} GPU on {nodes} machine{'s' if nodes > 1 else ''}{allowed}"
        )
    cluster.check_storage(settings.cache_dir)
    return cluster


def _resources() -> dict[str, Any]:
    """What a Ray that is started here counts as its own; by itself it takes all cores, and the memory of containers.

    Its object store, of which a search on one machine needs little, takes the same share as by default.
    """
    given: dict[str, Any] = {"num_cpus": machine.cores()}
    if machine.bounded():
        store = max(LEAST_STORE, int(STORE * machine.memory()))
        given |= {"object_store_memory": store, "_memory": max(LEAST_STORE, machine.memory() - store)}
    return given


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
    try:
        check_folder(Path(cache_dir or default_cache()), "--cache-dir, or PEDIGREE_CACHE,")
    except OSError as error:
        return f"{socket.gethostname()}: {error}"
    return ""


def _address(settings: Settings) -> tuple[str, str]:
    """The address of the cluster, or `LOCAL`, and what asks for it."""
    given = os.environ.get("RAY_ADDRESS")
    # Ray takes `auto` for the variable's address, where there is one.
    if settings.address and not (settings.address == "auto" and given):
        return settings.address, "--address"
    if given:
        return given, "RAY_ADDRESS"
    # What `ray submit` runs is meant for the cluster of the machine that it finds itself on.
    path = DESCRIPTION.expanduser()
    return ("auto", f"`{path}`") if path.exists() else (LOCAL, "")


def check_reachable(settings: Settings) -> None:
    """Raises what `connect` would raise of a cluster that does not answer, or of a Ray that has no folder here."""
    address, asked = _address(settings)
    if address == LOCAL:
        check_loopback()
        ray_folder(settings.cache)
    else:
        check_address(address, asked)


def check_loopback(host: str = "127.0.0.1") -> None:
    """Raises OSError where processes of this machine cannot reach each other, for which Ray would wait for ever."""
    try:
        with (
            socket.create_server((host, 0)) as server,
            socket.create_connection(server.getsockname(), timeout=PATIENCE),
        ):
            pass
    except OSError as error:
        raise OSError(
            f"Ray needs {host} to be reachable, and it is not ({error.strerror or error}); bring the loopback "
            "interface up (`ip link set lo up`)"
        ) from error


def check_address(address: str, asked: str, patience: float = PATIENCE) -> None:
    """Raises OSError or ValueError, naming what asks for the address, where no Ray cluster answers there.

    Ray itself tries for ten minutes and says nothing.
    """
    from ray._private.services import canonicalize_bootstrap_address

    place = address
    if address.startswith(("http://", "https://")):
        raise ValueError(
            f"{asked} needs the HOST:PORT that `ray start --head` prints, and `{address}` is where jobs are sent to; "
            f"give --address HOST:PORT, or --address {LOCAL} for a Ray of its own on this machine"
        )
    try:
        place = address.removeprefix("ray://") if "://" in address else canonicalize_bootstrap_address(address)
        host, _, port = place.rpartition(":")
        number = int(port)
    except (ConnectionError, OSError) as error:
        raise OSError(_gone(address, asked, str(error))) from error
    except (ValueError, AttributeError):
        raise ValueError(f"{asked} needs HOST:PORT, auto or {LOCAL}, got {address!r}") from None
    shown = address
    if address == "auto":
        shown, asked = place, f"{asked}, by way of the cluster that was last started on this machine,"
    end = time.monotonic() + patience
    while True:
        try:
            with socket.create_connection((host.strip("[]"), number), timeout=patience) as connection:
                trouble = "" if os.environ.get("RAY_USE_TLS", "0") not in ("0", "") else _no_ray(connection, SLOW)
            break
        except OSError as error:
            # A head that is being restarted refuses for a moment; a name that nobody knows will not be known then.
            if isinstance(error, socket.gaierror) or time.monotonic() > end:
                raise OSError(_gone(shown, asked, error.strerror or str(error))) from error
        time.sleep(min(1.0, patience / 5))
    if trouble:
        raise OSError(_gone(shown, asked, trouble))


def _no_ray(connection: socket.socket, patience: float) -> str:
    """Why no Ray can be at the other end, empty where one may be: its servers begin with HTTP/2's settings."""
    connection.settimeout(patience)
    answer = b""
    try:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)))
        while len(answer) < 4 and (part := connection.recv(4)):
            answer += part
    except TimeoutError:
        return f"it takes connections, and says nothing for {patience:g} s"
    except OSError:
        pass  # Closed: the same as another answer.
    return "" if answer[3:4] == b"\x04" else "what listens there is no Ray"


def _gone(address: str, asked: str, why: str) -> str:
    return (
        f"{asked} needs a running Ray cluster, and none answers at `{address}` ({why.rstrip('.')}); start it, or give "
        f"--address of another, or --address {LOCAL} for a Ray of its own on this machine"
    )


def ray_folder(cache: Path) -> str:
    """The folder of the Ray that is started here: Ray's own choice, or where that is no use the first that is.

    Its sockets lie there, whose paths the system bounds. Raises OSError where there is no such folder.
    """
    base = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    # Ray opens its own folder to everybody: below one that is this user's alone.
    private = [Path(place, f"ray-{os.getuid()}") for place in ("/tmp", "/var/tmp", "/dev/shm")]
    folders = [Path(base, "ray"), Path("/tmp/ray"), *(place / "ray" for place in private), cache / "ray"]
    for folder in (folder.absolute() for folder in folders):
        with contextlib.suppress(OSError):
            if len(os.fsencode(folder)) + len(SOCKET) <= MOST_OF_A_SOCKET:
                if folder.parent in private:
                    folder.parent.mkdir(mode=0o700, exist_ok=True)
                    check_private(folder.parent)
                folder.mkdir(parents=True, exist_ok=True)
                if os.access(folder, os.W_OK | os.X_OK):
                    return str(folder)
    tried = ", ".join(f"`{folder}`" for folder in dict.fromkeys(folders))
    most = MOST_OF_A_SOCKET - len(SOCKET) - len("/ray")
    raise OSError(
        f"Ray needs a folder of {most} letters at most that can be written, and tried {tried}; set RAY_TMPDIR to one"
    )


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
