"""What this process may use of its machine: cores and memory, by affinity, cgroups and what a scheduler allotted.

Also how fast a worker is while the others have nothing to do.
"""

import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

# What a scheduler says of the cores of a job, and OpenMP's own bound. Not OMP_NUM_THREADS: Ray and `ray submit` set it
# to 1 for what they start, whatever there is.
ALLOTTED = ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE", "NSLOTS", "LSB_DJOB_NUMPROC", "OMP_THREAD_LIMIT")
ROOT = Path("/")
MIB = 2**20
GIB = 2**30
# Of the products by which it is measured how fast a core is alone: their size, how many at a time, how often.
SIDE, PRODUCTS, TRIES = 384, 8, 5
CAUTION = 0.8  # of what a core gains alone, how much is counted on
WORKER = 3 * GIB // 2  # bytes that a worker needs: it holds 1 GiB once it has trained a few small models


def cores(root: Path = ROOT, environment: Mapping[str, str] = os.environ) -> int:
    """Cores that this process may keep busy, at least 1; of a quota of 2.5 cores 2."""
    return max(1, int(min(core_limits(root, environment).values())))


def core_limits(root: Path = ROOT, environment: Mapping[str, str] = os.environ) -> dict[str, float]:
    """The number of cores by what it comes from; the least one counts. `root` is where `/proc` and `/sys` are."""
    found = {"the machine": float(os.cpu_count() or 1)}
    if hasattr(os, "sched_getaffinity"):
        found["the affinity of this process"] = float(len(os.sched_getaffinity(0)))
    quotas = [quota for folder in groups(root, "cpu") if (quota := _quota(folder)) is not None]
    if quotas:
        found["the CPU quota of its cgroup"] = min(quotas)
    for name in ALLOTTED:
        given = environment.get(name, "")
        if given.isdecimal() and int(given):
            found[name] = float(given)
    return found


def memory(root: Path = ROOT, environment: Mapping[str, str] = os.environ) -> int:
    """Bytes of memory that this process and what it starts may hold."""
    return min(memory_limits(root, environment).values())


def memory_limits(root: Path = ROOT, environment: Mapping[str, str] = os.environ) -> dict[str, int]:
    """Bytes of memory by what they come from; the least number counts."""
    found = {"the machine": _physical(root)}
    names = ("memory.max", "memory.high", "memory.limit_in_bytes")
    limits = [limit for folder in groups(root, "memory") for name in names if (limit := _whole(folder / name))]
    if limits:
        # Without a limit of its own a cgroup of version 1 has one beyond any machine's memory.
        found["the limit of its cgroup"] = min(limits)
    given = environment.get("SLURM_MEM_PER_NODE", "")
    if given.isdecimal() and int(given):
        found["SLURM_MEM_PER_NODE"] = int(given) * MIB
    return found


def bounded(root: Path = ROOT, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether less memory than the machine's may be held."""
    return memory(root, environment) < memory_limits(root, environment)["the machine"]


def worker_memory(wanted: float, workers: int, allowed: int) -> float:
    """GiB past which a worker is replaced: what is wanted, or less: an even share of the memory, 1.5 at least."""
    return min(wanted, max(WORKER, allowed / max(1, workers)) / GIB)


def most_workers(allowed: int) -> int:
    """Workers that so many bytes of memory have room for, at least 1."""
    return max(1, allowed // WORKER)


def notes(root: Path = ROOT, environment: Mapping[str, str] = os.environ) -> list[str]:
    """What this process may not use of the machine, in a sentence each; nothing where it may use all of it."""
    said = []
    by_core, by_memory = core_limits(root, environment), memory_limits(root, environment)
    if cores(root, environment) < by_core["the machine"]:
        why = min(by_core, key=by_core.__getitem__)
        used = cores(root, environment)
        said.append(
            f"{used} of the machine's {by_core['the machine']:.0f} cores {'is' if used == 1 else 'are'} used: {why} "
            f"allows {by_core[why]:g}"
        )
    if bounded(root, environment):
        why = min(by_memory, key=by_memory.__getitem__)
        said.append(
            f"{by_memory[why] / GIB:.1f} GiB of the machine's {by_memory['the machine'] / GIB:.1f} GiB of memory are "
            f"used: {why} allows no more"
        )
    return said


def groups(root: Path, controller: str) -> list[Path]:
    """The folders of the cgroups, of either version, that limit this process, from its own one up to the mounted one.

    A container may see its own cgroup as the root of the tree, or only the path that it has outside.
    """
    mounts = _mounts(root)
    found: list[Path] = []
    for line in _lines(root / "proc/self/cgroup"):
        number, controllers, path = line.split(":", 2)
        kind = "" if number == "0" and not controllers else controller
        if kind and controller not in controllers.split(","):
            continue
        for mount, top in mounts.get(kind, []):
            below = Path(path).relative_to(top) if Path(path).is_relative_to(top) else Path()
            folder = mount / below
            if ".." in below.parts or not folder.is_dir():
                folder = mount
            found += [folder, *(parent for parent in folder.parents if parent.is_relative_to(mount))]
    return found


def _mounts(root: Path) -> dict[str, list[tuple[Path, str]]]:
    """By controller, "" for version 2: where its tree is mounted, and which of its folders is."""
    found: dict[str, list[tuple[Path, str]]] = {}
    for line in _lines(root / "proc/self/mountinfo"):
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or len(kind) < 3 or kind[0] not in ("cgroup", "cgroup2"):
            continue
        for controller in [""] if kind[0] == "cgroup2" else kind[2].split(","):
            found.setdefault(controller, []).append((root / fields[4].lstrip("/"), fields[3]))
    return found


def _quota(folder: Path) -> float | None:
    """Cores that a cgroup may keep busy; None without a quota."""
    for line in _lines(folder / "cpu.max"):
        given, _, each = line.partition(" ")
        return int(given) / int(each) if given.isdecimal() and each.isdecimal() and int(each) else None
    quota, period = _whole(folder / "cpu.cfs_quota_us"), _whole(folder / "cpu.cfs_period_us")
    return quota / period if quota and period else None


def _physical(root: Path) -> int:
    for line in _lines(root / "proc/meminfo"):
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    try:
        return int(psutil.virtual_memory().total)
    except (OSError, psutil.Error):  # Linux without /proc
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _whole(path: Path) -> int | None:
    """The number in a file; None where there is none, or another word than a number."""
    for line in _lines(path):
        return int(line) if line.isdecimal() else None
    return None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
    except OSError:
        return []


def alone(workers: int, threads: int) -> float:
    """How many times as fast a worker of so many threads is while the others have nothing to do, at least 1.

    Two virtual cores are often one: what both do takes nearly twice as long as what one does. It is measured on
    products of matrices. What is told is the less, since networks also wait for memory.
    """
    import numpy as np
    from threadpoolctl import threadpool_info, threadpool_limits  # comes with scikit-learn

    # Of a library whose threads nobody can limit the products say nothing.
    if workers == 1 or not any(library["user_api"] == "blas" for library in threadpool_info()):
        return 1.0
    a, b = np.random.default_rng(0).random((2, SIDE, SIDE), np.float32)

    def work(_: int) -> None:
        for _ in range(PRODUCTS):
            a @ b

    def seconds(pool: ThreadPoolExecutor, count: int) -> float:
        began = time.perf_counter()
        list(pool.map(work, range(count)))
        return time.perf_counter() - began

    with threadpool_limits(1), ThreadPoolExecutor(workers * threads) as pool:
        seconds(pool, workers * threads)
        one, every = (min(seconds(pool, count) for _ in range(TRIES)) for count in (threads, workers * threads))
    return 1 + CAUTION * max(0.0, min(every / one, workers) - 1)
