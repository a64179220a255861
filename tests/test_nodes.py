"""Searches on several Ray nodes on this machine, each test in processes of its own."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray.cluster_utils import AutoscalingCluster
from ray.cluster_utils import Cluster as LocalCluster

from search.cluster import connect
from search.data.pictures import Pictures, prepare
from search.record.journal import Row
from search.settings import Settings
from search.training.weights import find_weights
from tests.benchmarks.sleeping import HEALTH, local_nodes, run_sleeping
from tests.loopback import NAMESPACES

# Ray looks for free ports with sockets that it leaves to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def driver() -> Iterator[ProcessPoolExecutor]:
    """A process for a search: this one belongs to the Ray that the other tests share."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        yield pool


def rows_of(folder: Path, event: str) -> list[Row]:
    path = folder / "sleeping" / "trials.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [row for row in map(json.loads, lines) if row["event"] == event]


def wait_for(folder: Path, event: str, number: int, search: "Future[Any]") -> None:
    while len(rows_of(folder, event)) < number:
        assert not search.done(), search.exception()
        time.sleep(0.1)


def test_trials_spread_over_the_nodes_and_one_that_joins(tmp_path: Path, driver: ProcessPoolExecutor) -> None:
    with local_nodes(2, 1) as cluster:
        search = driver.submit(run_sleeping, tmp_path, cluster.address, trials=18, seconds=1.5)
        wait_for(tmp_path, "epoch", 1, search)
        cluster.add_node(num_cpus=1)
        search.result()
    assert len({row["node"] for row in rows_of(tmp_path, "epoch")}) == 3
    assert [row["status"] for row in rows_of(tmp_path, "end")] == ["finished"] * 18


@pytest.mark.slow
def test_a_node_that_is_lost_takes_its_trial_with_it_and_no_more(tmp_path: Path, driver: ProcessPoolExecutor) -> None:
    with local_nodes(1, 1) as cluster:
        lost = cluster.add_node(num_cpus=1)
        search = driver.submit(run_sleeping, tmp_path, cluster.address, trials=8, seconds=1.5)
        wait_for(tmp_path, "epoch", 4, search)
        cluster.remove_node(lost)
        search.result()
    ends = rows_of(tmp_path, "end")
    assert len({row["trial"] for row in ends}) == 8
    assert {row["reason"] for row in ends if row["status"] == "failed"} <= {"the worker was lost"}
    assert sum(row["status"] == "finished" for row in ends) >= 7


def asks_a_lost_node(address: str, cache: str, raylet: int) -> None:
    """Joins a cluster, kills a node that it still takes for alive, and has every node write its cache folder."""
    cluster = connect(Settings(address=address, name="lost", cache_dir=cache))
    os.kill(raylet, signal.SIGKILL)
    cluster.check_storage(cache)


@pytest.mark.slow
def test_a_node_that_is_lost_while_it_is_asked_is_no_trouble(tmp_path: Path, driver: ProcessPoolExecutor) -> None:
    with local_nodes(1, 1, _system_config=HEALTH) as cluster:
        lost = cluster.add_node(num_cpus=1)
        raylet = lost.all_processes["raylet"][0].process.pid
        driver.submit(asks_a_lost_node, cluster.address, str(tmp_path / "cache"), raylet).result()


def node_has_pictures(address: str, data: str, folder: Path) -> list[tuple[str, list[int], str]]:
    """Ships a folder's pictures, takes the head's own copy away, and reads them on every node."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    settings = Settings(data=data, image_sizes=(32,), name="shipped", cache_dir=str(folder / "head"), address=address)
    pictures, _ = prepare(settings, 2, lambda line: None)
    whole = np.array(pictures.pixels(32)).sum()
    cluster = connect(Settings(data=data, name="shipped", address=address))
    shipped = cluster.ship(pictures, find_weights("none", seed=0))
    for file in pictures.packs.values():
        file.path.unlink()

    def read(pictures: Pictures) -> tuple[str, list[int], str]:
        from search.settings import default_cache

        here = pictures.on_node(Path(default_cache()))
        pixels = here.pixels(32)
        return (
            str(here.packs[32, "bilinear"].path),
            [*pixels.shape, int(np.array(pixels).sum() - whole)],
            str(here.cache),
        )

    task = ray.remote(num_cpus=0)(read)
    found = [
        task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(shipped)
        for node in ray.nodes()
        if node["Alive"]
    ]
    return list(ray.get(found))


@pytest.mark.slow
def test_a_node_without_the_pictures_gets_them_into_its_own_cache(
    tmp_path: Path, drawn: Path, driver: ProcessPoolExecutor
) -> None:
    with local_nodes(2, 1, [str(tmp_path / "one"), str(tmp_path / "two")]) as cluster:
        found = driver.submit(node_has_pictures, cluster.address, str(drawn), tmp_path).result()
    assert sorted(cache for _, _, cache in found) == [str(tmp_path / "one"), str(tmp_path / "two")]
    for path, shape, cache in found:
        assert path.startswith(f"{cache}/files/")
        assert shape == [96, 32, 32, 3, 0]


def run_on(cluster: LocalCluster, folder: Path, data: Path, options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "search/run.py", str(data), "--address", cluster.address, "--runs-dir", str(folder)]
    environment = {**os.environ, "PEDIGREE_CACHE": str(folder / "head")}
    return subprocess.run([*command, *options.split()], cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_a_node_that_cannot_write_its_cache_is_named_before_the_search(tmp_path: Path, drawn: Path) -> None:
    with local_nodes(2, 1, [str(tmp_path / "one"), "/proc/two"]) as cluster:
        done = run_on(cluster, tmp_path, drawn, "--image-sizes 32 --weights none")
    assert done.returncode == 2
    assert "every node needs a cache folder that it can use" in done.stderr
    assert "`/proc/two` cannot: No such file or directory" in done.stderr


@pytest.mark.slow
def test_a_whole_search_on_two_nodes_fills_the_cache_of_each(tmp_path: Path, drawn: Path) -> None:
    # Every trial of this family needs pictures that are treated on its own node.
    options = "--families scratch_pillow --trials 4 --epochs 1 --image-sizes 32 --final-seeds 1 --name nodes"
    with local_nodes(2, 1, [str(tmp_path / "one"), str(tmp_path / "two")]) as cluster:
        done = run_on(cluster, tmp_path, drawn, options)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "one" / "treated").exists()
    assert (tmp_path / "two" / "treated").exists()
    assert json.loads((tmp_path / "nodes" / "environment.json").read_text())["devices"]["nodes"] == 2
    assert json.loads((tmp_path / "nodes" / "results.json").read_text())["families"]["scratch_pillow"]["finished"] == 4


class Growing(AutoscalingCluster):  # type: ignore[misc]
    """Ray's autoscaler with raylets on this machine; the wheel lacks the example that it is configured from."""

    def _generate_config(self, head_resources: Any, worker_node_types: Any, **more: Any) -> dict[str, Any]:
        head = {"resources": head_resources, "node_config": {}, "max_workers": 0}
        commands = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
        return {
            "cluster_name": "growing",
            "max_workers": 2,
            "provider": {
                "type": "fake_multinode",
                "use_node_id_as_ip": True,
                "disable_node_updaters": True,
                "disable_launch_config_check": True,
            },
            "available_node_types": {"head": head, **worker_node_types},
            "head_node_type": "head",
            "upscaling_speed": 10.0,
            "idle_timeout_minutes": 5,
            "auth": {},
            "docker": {},
            "file_mounts": {},
            "cluster_synced_files": [],
            "file_mounts_sync_continuously": False,
            "rsync_exclude": [],
            "rsync_filter": [],
            **{f"{command}_commands": [] for command in commands},
        }


def grow(folder: Path) -> None:
    """A search on a cluster that has no room at its start; it runs in namespaces, as its end ends every Ray it sees."""
    worker = {"resources": {"CPU": 1, "object_store_memory": 100_000_000}, "node_config": {}, "max_workers": 2}
    cluster = Growing({"CPU": 0}, {"worker": {**worker, "min_workers": 0}})
    cluster.start()
    try:
        run_sleeping(folder, "auto", trials=8, seconds=1.5, concurrency=2)
    finally:
        cluster.shutdown()


@pytest.mark.slow
@pytest.mark.skipif(
    bool(os.geteuid()) or subprocess.run([*NAMESPACES, "true"], capture_output=True).returncode != 0,
    reason="needs the right to make namespaces",
)
def test_a_cluster_without_room_grows_for_the_trials_that_wait(tmp_path: Path) -> None:
    program = f"from pathlib import Path; from tests.test_nodes import grow; grow(Path({str(tmp_path)!r}))"
    done = subprocess.run(
        [*NAMESPACES, sys.executable, "-m", "tests.loopback", str(tmp_path / "home"), sys.executable, "-c", program],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [row["status"] for row in rows_of(tmp_path, "end")] == ["finished"] * 8
    assert len({row["node"] for row in rows_of(tmp_path, "epoch")}) == 2
