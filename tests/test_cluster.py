import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from search import cluster
from search.cluster import Cluster, check_address, connect, described, ray_folder, slots, storage_trouble
from search.settings import Settings

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("name", ["cluster.yaml", "cluster.local.yaml"])
def test_cluster_files_hold_to_the_schema_that_ships_in_ray(name: str) -> None:
    import jsonschema
    import ray

    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    description = yaml.safe_load((ROOT / name).read_text())
    jsonschema.validate(description, schema)
    assert description["file_mounts"] == {"~/pedigree": "."}
    assert "--dashboard-host=127.0.0.1" in description["head_start_ray_commands"][1]


@pytest.mark.parametrize("name", ["cluster.yaml", "cluster.local.yaml"])
def test_rays_own_preparation_takes_the_cluster_files(name: str) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(yaml.safe_load((ROOT / name).read_text()))
    validate_config(prepared)
    assert prepared["cluster_name"].startswith("pedigree")


def test_gpu_machines_of_the_aws_file_are_spot_and_the_head_runs_no_trials() -> None:
    kinds = yaml.safe_load((ROOT / "cluster.yaml").read_text())["available_node_types"]
    assert kinds["head"]["resources"] == {"CPU": 0}
    assert kinds["gpu"]["min_workers"] == 0
    assert kinds["gpu"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert kinds["gpu"]["node_config"]["ImageId"] == kinds["head"]["node_config"]["ImageId"]


@pytest.mark.parametrize(
    ("node", "trial", "expected"),
    [
        ({"CPU": 8.0}, {"cpu": 1.0}, 8),
        ({"CPU": 3.0}, {"cpu": 2.0}, 1),
        ({"CPU": 1.0}, {"cpu": 0.1}, 10),
        ({"CPU": 8.0}, {"cpu": 1.0, "gpu": 1.0}, 0),
        ({"CPU": 8.0, "GPU": 1.0}, {"cpu": 1.0, "gpu": 0.25}, 4),
        ({"CPU": 2.0, "GPU": 1.0}, {"cpu": 1.0, "gpu": 0.25}, 2),
        ({"CPU": 8.0, "GPU": 3.0}, {"cpu": 1.0, "gpu": 0.6}, 3),
        ({"CPU": 64.0, "GPU": 1.0}, {"cpu": 1.0, "gpu": 0.1}, 10),
        ({"CPU": 8.0, "GPU": 5.0}, {"cpu": 1.0, "gpu": 2.0}, 2),
        ({"memory": 1e9}, {"cpu": 1.0}, 0),
    ],
)
def test_slots(node: dict[str, float], trial: dict[str, float], expected: int) -> None:
    assert slots(node, trial) == expected


def test_a_described_cluster_is_counted_at_its_largest(tmp_path: Path) -> None:
    path = tmp_path / "bootstrap.yaml"
    kinds = {
        "head": {"resources": {"CPU": 2}},
        "big": {"resources": {"CPU": 8, "GPU": 2}, "max_workers": 2},
        "small": {"resources": {"CPU": 4}, "max_workers": 5},
    }
    path.write_text(yaml.safe_dump({"head_node_type": "head", "max_workers": 4, "available_node_types": kinds}))
    assert described(path, {"cpu": 1.0}) == 8 + 8 + 4 + 4 + 4
    assert described(path, {"cpu": 1.0, "gpu": 0.5}) == 8
    assert described(tmp_path / "none.yaml", {"cpu": 1.0}) == 0


def test_a_growing_cluster_is_given_trials_to_wait_for() -> None:
    grown = Cluster({"cpu": 1.0}, None, {}, False, reachable=6, _room=2, _asked=float("inf"))
    assert (grown.workers(), grown.growth()) == (2, 4)
    bounded = Cluster({"cpu": 1.0}, 3, {}, False, reachable=6, _room=2, _asked=float("inf"))
    assert (bounded.workers(), bounded.growth()) == (2, 1)
    fixed = Cluster({"cpu": 1.0}, None, {}, True, _room=2, _asked=float("inf"))
    assert (fixed.workers(), fixed.growth()) == (2, 0)


def test_a_folder_that_cannot_be_written_is_named() -> None:
    rule = (
        "--cache-dir, or PEDIGREE_CACHE, needs a folder that can be written, and `/proc/pedigree` cannot: No such file"
    )
    assert rule in storage_trouble("/proc/pedigree")


def test_a_folder_that_can_be_written_is_no_trouble(tmp_path: Path) -> None:
    assert storage_trouble(str(tmp_path / "cache")) == ""
    assert os.listdir(tmp_path / "cache") == []


@pytest.mark.usefixtures("ray_cluster")
def test_a_trial_that_no_machine_can_hold_is_refused() -> None:
    rule = "a trial needs 64 CPU and 0 GPU on one machine, and the cluster has 2 CPU and 0 GPU on 1 machine"
    with pytest.raises(ValueError, match=rule):
        connect(Settings(name="big", cpus_per_trial=64.0))


@pytest.mark.usefixtures("ray_cluster")
def test_concurrency_is_a_bound_on_what_fits() -> None:
    assert connect(Settings(name="all")).workers() == 2
    assert connect(Settings(name="one", concurrency=1)).workers() == 1
    assert connect(Settings(name="half", cpus_per_trial=0.5)).workers() == 4


@contextmanager
def listening(answer: bytes | None) -> Iterator[str]:
    """The address of a server that says this to everybody, or nothing."""
    with socket.create_server(("localhost", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                if answer is not None:
                    connection.sendall(answer)
                connection.settimeout(10)
                while answer is None and connection.recv(99):
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"localhost:{server.getsockname()[1]}"
        thread.join()


@pytest.fixture
def _by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray takes `localhost` for this machine's address to others, at which the servers of these tests do not listen."""
    monkeypatch.setattr("ray._private.services.canonicalize_bootstrap_address", lambda address: address)


@pytest.mark.usefixtures("_by_name")
def test_a_cluster_that_is_gone_is_named() -> None:
    with socket.create_server(("localhost", 0)) as closed:
        address = f"localhost:{closed.getsockname()[1]}"
    with pytest.raises(OSError, match=f"^RAY_ADDRESS needs a running Ray cluster, and none answers at `{address}`"):
        check_address(address, "RAY_ADDRESS", patience=0.1)


@pytest.mark.usefixtures("_by_name")
def test_a_cluster_that_answers_passes() -> None:
    with listening(bytes((0, 0, 6, 4, 0, 0, 0, 0, 0))) as address:
        check_address(address, "--address")


@pytest.mark.usefixtures("_by_name")
@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "what listens there is no Ray"),
        (b"", "what listens there is no Ray"),
        (None, "it takes connections, and says nothing for 0.1 s"),
    ],
)
def test_who_listens_and_is_no_ray_is_named(answer: bytes | None, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "SLOW", 0.1)
    with (
        listening(answer) as address,
        pytest.raises(OSError, match=f"`{address}` .{why}.; start it, or give --address"),
    ):
        check_address(address, "--address")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("http://head:8265", "RAY_ADDRESS needs the HOST:PORT .* and `http://head:8265` is where jobs are sent to"),
        ("head", "RAY_ADDRESS needs HOST:PORT, auto or local, got 'head'"),
        ("head:ray", "RAY_ADDRESS needs HOST:PORT, auto or local, got 'head:ray'"),
    ],
)
def test_an_address_of_another_kind_is_refused(address: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_address(address, "RAY_ADDRESS")


def test_what_asks_for_the_address_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert cluster._address(Settings(address="a:1")) == ("a:1", "--address")
    monkeypatch.setenv("RAY_ADDRESS", "b:2")
    assert cluster._address(Settings()) == cluster._address(Settings(address="auto")) == ("b:2", "RAY_ADDRESS")
    assert cluster._address(Settings(address="local")) == ("local", "--address")


def test_ray_gets_a_folder_in_which_its_sockets_have_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", f"/tmp/{'deep/' * 20}")
    found = ray_folder(tmp_path)
    assert len(found) <= 43
    assert os.access(found, os.W_OK)
    monkeypatch.setenv("RAY_TMPDIR", "/proc/nothing")
    assert ray_folder(tmp_path) == found
    # One letter of room for each of the sockets' paths beyond what this folder needs.
    monkeypatch.setattr(cluster, "MOST_OF_A_SOCKET", len(f"{tmp_path}/ray{cluster.SOCKET}"))
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    assert ray_folder(tmp_path / "cache") == f"{tmp_path}/ray"


def test_a_machine_without_its_loopback_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.check_loopback()
    # An address for documents, which no interface has.
    with pytest.raises(
        OSError, match=r"^Ray needs 198\.51\.100\.7 to be reachable, and it is not .*`ip link set lo up`"
    ):
        cluster.check_loopback("198.51.100.7")


def test_no_folder_for_ray_names_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "MOST_OF_A_SOCKET", len(cluster.SOCKET) + 4)
    monkeypatch.setenv("RAY_TMPDIR", "/here")
    with pytest.raises(
        OSError, match=r"^Ray needs a folder of 0 letters .* tried `/here/ray`, .*; set RAY_TMPDIR to one"
    ):
        ray_folder(tmp_path)


def test_dashboard_needs_an_address() -> None:
    with pytest.raises(ValueError, match=r"`dashboard` needs auto, off, or HOST or HOST:PORT, got 'a b'"):
        Settings(dashboard="a b")


# Starts Ray as a search does, and says at which addresses its processes listen.
LISTENING = """
import json, os, re
from pathlib import Path
from search.cluster import connect
from search.settings import Settings

cluster = connect(Settings(dashboard="off"))
parents = {}
for place in Path("/proc").glob("[0-9]*"):
    try:
        parents[int(place.name)] = int((place / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        continue

def ours(process):
    while process > 1 and process != os.getpid():
        process = parents.get(process, 0)
    return process == os.getpid()

sockets = set()
for process in filter(ours, parents):
    try:
        for found in Path(f"/proc/{process}/fd").iterdir():
            sockets.update(re.findall(r"socket:\\[(\\d+)\\]", os.readlink(found)))
    except OSError:
        continue
lines = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
print(json.dumps(sorted(line[1].split(":")[0] for line in lines if line[3] == "0A" and line[9] in sockets)))
cluster.close()
"""


@pytest.mark.slow
def test_a_ray_of_its_own_listens_on_the_loopback_address_alone() -> None:
    done = subprocess.run([sys.executable, "-c", LISTENING], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    addresses = json.loads(done.stdout.splitlines()[-1])
    assert len(addresses) >= 4
    # 127.0.0.1, and the same as IPv6 writes it, in the kernel's order of bytes.
    assert set(addresses) <= {"0100007F", "0000000000000000FFFF00000100007F"}
