"""What Ray's metrics endpoint says during a search, and the Grafana dashboard that draws it."""

import contextlib
import importlib.util
import json
import multiprocessing
import re
import time
import urllib.request
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from search.record import metrics
from search.record.metrics import CacheMetrics, RunMetrics
from tests.benchmarks.sleeping import local_nodes, run_sleeping

# Ray looks for free ports with sockets that it leaves to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")

NEEDS_AGENT = pytest.mark.skipif(
    importlib.util.find_spec("aiohttp_cors") is None, reason="needs ray[default] (pip install 'pedigree[cluster]')"
)
DASHBOARD = Path(metrics.__file__).with_name("grafana.json")


def endpoint(node: dict[str, Any]) -> str:
    address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    with urllib.request.urlopen(address, timeout=5) as answer:
        return str(answer.read().decode())


def metrics_of(text: str) -> dict[str, set[tuple[tuple[str, str], ...]]]:
    """Names of Pedigree's metrics in a Prometheus page, each with the labels that are Pedigree's own."""
    found: dict[str, set[tuple[tuple[str, str], ...]]] = {}
    for name, labels in re.findall(r"^(ray_pedigree_\w+)\{(.*)\} ", text, re.MULTILINE):
        own = [
            pair
            for pair in re.findall(r'(\w+)="([^"]*)"', labels)
            if pair[0] in ("run", "family", "state", "part", "how")
        ]
        found.setdefault(name, set()).add(tuple(sorted(own)))
    return found


def literal_rows(address: str) -> dict[tuple[str, ...], float]:
    """Tells the metrics some rows and some traffic; returns what the endpoint then says, by name and own labels."""
    import ray

    ray.init(address, log_to_driver=False, logging_level="ERROR")
    run, worker = RunMetrics("r"), CacheMetrics("r")
    parts = {"waiting": 0.5, "building": 0.0, "training": 2.0, "validating": 0.25}
    rows: list[dict[str, Any]] = [
        {"event": "start", "trial": "a-000", "family": "a"},
        {"event": "start", "trial": "a-001", "family": "a"},
        {"event": "epoch", "trial": "a-000", "family": "a", "validation_accuracy": 0.75, **parts},
        {"event": "epoch", "trial": "a-001", "family": "a", "validation_accuracy": 0.5, **parts},
        {"event": "rung", "trial": "a-001", "family": "a"},
        {"event": "end", "trial": "a-001", "family": "a", "status": "stopped"},
        {"event": "test", "trial": "a-000", "family": "a", "seed": 2, "accuracy": 0.625},
    ]
    for row in rows:
        run.take(row)
    worker.take({"read": (2, 3000), "built": (0, 0)})
    worker.take({"read": (1, 500), "built": (1, 40)})
    values: dict[tuple[str, ...], float] = {}
    while len(values) < 12:
        time.sleep(0.5)
        with contextlib.suppress(OSError):
            text = endpoint(ray.nodes()[0])
            for name, labels, value in re.findall(r"^ray_pedigree_(\w+)\{(.*)\} (\S+)", text, re.MULTILINE):
                own = dict(re.findall(r'(\w+)="([^"]*)"', labels))
                values[name, *(own[key] for key in ("family", "state", "part", "seed", "how") if key in own)] = float(
                    value
                )
    ray.shutdown()
    return values


@pytest.mark.slow
@NEEDS_AGENT
def test_rows_and_cache_traffic_become_metrics() -> None:
    with local_nodes(1, 1) as cluster, ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as driver:
        values = driver.submit(literal_rows, cluster.address).result()
    assert values == {
        ("trials", "a", "running"): 1,
        ("trials", "a", "stopped"): 1,
        ("epochs_total", "a"): 2,
        ("epoch_seconds_total", "a", "waiting"): 1.0,
        ("epoch_seconds_total", "a", "training"): 4.0,
        ("epoch_seconds_total", "a", "validating"): 0.5,
        ("best_validation_accuracy", "a"): 0.75,
        ("test_accuracy", "a", "2"): 0.625,
        ("cache_entries_total", "read"): 3,
        ("cache_bytes_total", "read"): 3500,
        ("cache_entries_total", "built"): 1,
        ("cache_bytes_total", "built"): 40,
    }


def search_and_look(folder: Path, address: str) -> dict[str, set[tuple[tuple[str, str], ...]]]:
    """Runs a search of sleeping trials, and reads the endpoint until everything is there."""
    from concurrent.futures import ThreadPoolExecutor

    import ray

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look)
        run_sleeping(folder, address, trials=12, seconds=4.0, epochs=3)
        found = looking.result()
    assert not ray.is_initialized()
    return found


def look() -> dict[str, set[tuple[tuple[str, str], ...]]]:
    import ray

    found: dict[str, set[tuple[tuple[str, str], ...]]] = {}
    while not ray.is_initialized():
        time.sleep(0.1)
    while ray.is_initialized() and len(found) < 6:
        # Until the agent of the node is up nobody answers.
        with contextlib.suppress(OSError):
            found = metrics_of(endpoint(ray.nodes()[0]))
        time.sleep(0.5)
    return found


@pytest.mark.slow
@NEEDS_AGENT
def test_the_endpoint_tells_of_a_search_while_it_runs(tmp_path: Path) -> None:
    with local_nodes(1, 2) as cluster, ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as driver:
        found = driver.submit(search_and_look, tmp_path, cluster.address).result()
    own = ("run", "sleeping")
    assert (("family", "scratch_keras"), own, ("state", "running")) in found["ray_pedigree_trials"]
    assert found["ray_pedigree_epochs_total"] == {(("family", "scratch_keras"), own)}
    assert found["ray_pedigree_best_validation_accuracy"] == {(("family", "scratch_keras"), own)}
    assert (("family", "scratch_keras"), ("part", "training"), own) in found["ray_pedigree_epoch_seconds_total"]
    assert found["ray_pedigree_cache_entries_total"] == {(("how", "read"), own)}
    assert found["ray_pedigree_cache_bytes_total"] == {(("how", "read"), own)}


def test_the_dashboard_asks_for_metrics_that_exist() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    asked = set(re.findall(r"ray_pedigree_\w+", DASHBOARD.read_text()))
    assert asked == {
        "ray_pedigree_trials",
        "ray_pedigree_best_validation_accuracy",
        "ray_pedigree_test_accuracy",
        "ray_pedigree_epochs_total",
        "ray_pedigree_epoch_seconds_total",
        "ray_pedigree_cache_entries_total",
        "ray_pedigree_cache_bytes_total",
    }
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"]) == 8
    assert all('run=~"$run"' in target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
