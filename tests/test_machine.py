"""What a process may use of its machine, told from made-up cgroup folders and by a process held to one core."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import threadpoolctl

from search import machine
from search.machine import GIB, cores, groups, memory, most_workers, notes, worker_memory

ROOT = Path(__file__).resolve().parent.parent
ALLOWED = os.sched_getaffinity(0)
V2 = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"


def made_up(root: Path, files: dict[str, str]) -> Path:
    """A machine of 64 GiB with these files in it."""
    for name, content in {"proc/meminfo": f"MemTotal:       {64 * 2**20} kB\n", **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


@pytest.fixture(autouse=True)
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process may run on all of 128 cores."""
    monkeypatch.setattr(os, "cpu_count", lambda: 128)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(128)))


def test_a_machine_without_limits_is_used_whole(tmp_path: Path) -> None:
    root = made_up(tmp_path, {})
    assert (cores(root, {}), memory(root, {}), notes(root, {})) == (128, 64 * GIB, [])


def test_quotas_of_version_2_count_with_those_of_the_groups_above(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "0::/user.slice/job.scope\n",
        "proc/self/mountinfo": V2,
        "sys/fs/cgroup/user.slice/cpu.max": "350000 100000\n",
        "sys/fs/cgroup/user.slice/memory.max": "max\n",
        "sys/fs/cgroup/user.slice/job.scope/cpu.max": "max 100000\n",
        "sys/fs/cgroup/user.slice/job.scope/memory.max": f"{12 * GIB}\n",
        "sys/fs/cgroup/user.slice/job.scope/memory.high": f"{10 * GIB}\n",
    }
    root = made_up(tmp_path, files)
    assert (cores(root, {}), memory(root, {})) == (3, 10 * GIB)
    assert notes(root, {}) == [
        "3 of the machine's 128 cores are used: the CPU quota of its cgroup allows 3.5",
        "10.0 GiB of the machine's 64.0 GiB of memory are used: the limit of its cgroup allows no more",
    ]


def test_a_container_of_version_1_sees_its_own_group_as_the_mounted_one(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "5:memory:/docker/c0ffee\n4:cpu,cpuacct:/docker/c0ffee\n1:name=systemd:/docker/c0ffee\n",
        "proc/self/mountinfo": "35 31 0:31 /docker/c0ffee /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
        "34 31 0:30 /docker/c0ffee /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "50000\n",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{3 * GIB}\n",
    }
    root = made_up(tmp_path, files)
    # Half a core is one worker.
    assert (cores(root, {}), memory(root, {})) == (1, 3 * GIB)
    assert groups(root, "cpu") == [root / "sys/fs/cgroup/cpu,cpuacct"]


def test_version_1_without_a_limit_says_so_with_numbers_of_its_own(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "5:memory:/a\n4:cpu:/a\n0::/\n",
        "proc/self/mountinfo": "35 31 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
        "34 31 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n",
        "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "-1\n",
        "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "9223372036854771712\n",
    }
    assert notes(made_up(tmp_path, files), {}) == []


def test_a_path_that_the_container_cannot_see_is_that_of_the_mount(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "0::/../../kubepods/pod1\n",
        "proc/self/mountinfo": V2,
        "sys/fs/cgroup/cpu.max": "200000 100000\n",
    }
    assert cores(made_up(tmp_path, files), {}) == 2


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"SLURM_CPUS_PER_TASK": "6", "SLURM_CPUS_ON_NODE": "48"}, 6),
        ({"NSLOTS": "12"}, 12),
        ({"OMP_THREAD_LIMIT": "3"}, 3),
        # Ray and `ray submit` set it for what they start.
        ({"OMP_NUM_THREADS": "1"}, 128),
        ({"SLURM_CPUS_PER_TASK": "", "SLURM_CPUS_ON_NODE": "0", "NSLOTS": "many"}, 128),
    ],
)
def test_what_a_scheduler_allotted_counts(tmp_path: Path, environment: dict[str, str], expected: int) -> None:
    assert cores(made_up(tmp_path, {}), environment) == expected


def test_the_memory_of_a_job_counts(tmp_path: Path) -> None:
    assert memory(made_up(tmp_path, {}), {"SLURM_MEM_PER_NODE": "8192"}) == 8 * GIB


def test_workers_share_the_memory_that_there_is() -> None:
    assert worker_memory(6.0, 2, 24 * GIB) == 6.0
    assert worker_memory(6.0, 4, 16 * GIB) == 4.0
    assert worker_memory(6.0, 64, 16 * GIB) == 1.5
    assert (most_workers(16 * GIB), most_workers(GIB)) == (10, 1)


@pytest.mark.skipif(shutil.which("taskset") is None, reason="needs taskset, which is not installed")
def test_a_process_that_is_held_to_one_core_uses_one() -> None:
    core = min(ALLOWED)
    program = "from search import cluster, machine; print(machine.cores(), cluster._resources()['num_cpus'])"
    done = subprocess.run(
        ["taskset", "-c", str(core), sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "1 1\n"


def test_a_core_alone_is_at_least_as_fast_as_beside_others(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.alone(1, 4) == 1.0
    assert 1.0 <= machine.alone(2, 1) <= 2.0
    # Where two take as long as one, and where they take twice as long.
    for slower, told in ((1.0, 1.0), (2.0, 1.8), (5.0, 1.8)):
        times = iter([9.0, *[1.0] * 5, *[slower] * 5])
        clock = [0.0]

        def now(times: Iterator[float] = times, clock: list[float] = clock) -> float:
            clock.append(clock[-1] + (next(times) if len(clock) % 2 == 0 else 0.0))
            return clock[-1]

        with monkeypatch.context() as patch:
            patch.setattr(machine, "PRODUCTS", 1)
            patch.setattr(machine, "SIDE", 4)
            patch.setattr(time, "perf_counter", now)
            assert machine.alone(2, 1) == pytest.approx(told)
    monkeypatch.setattr(threadpoolctl, "threadpool_info", lambda: [{"user_api": "openmp"}])
    assert machine.alone(2, 1) == 1.0
