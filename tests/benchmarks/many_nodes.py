"""Where the driver saturates: trivial trials on many local nodes, and hundreds of workers simulated in one process.

The simulated workers take no time of their own: everything that is timed is the driver's own work for a trial, drawing
its configuration, taking in its rows and telling the study. Tune's share of it shows in the trials on local nodes.
"""

import argparse
import heapq
import random
import resource
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from search.record.journal import Journal
from search.schedule.course import Course
from search.settings import Settings
from search.studies.study import studies_of
from tests.benchmarks.measuring import folder_aside, show
from tests.benchmarks.sleeping import local_nodes, run_sleeping, sleeping_pictures
from tests.benchmarks.utilisation import measure


def simulate(workers: int, trials: int, epochs: int, folder: Path) -> dict[str, Any]:
    """Runs a whole search with simulated workers on a clock of its own; returns the real seconds of the driver.

    An epoch takes a simulated second, give or take a half. `saturates_at` is the number of workers that would ask for
    more than the driver can do, with trials of `--seconds` simulated seconds.
    """
    settings = Settings(
        families=("scratch_keras", "scratch_pillow"), trials=trials // 2, epochs=epochs, final_seeds=1, weights="none",
        name=f"simulated-{workers}-{trials}", runs_dir=str(folder),
    )  # fmt: skip
    settings.folder.mkdir(parents=True)
    journal = Journal(settings.folder / "trials.jsonl")
    chance = random.Random(0)
    course = Course(
        settings, studies_of(settings, ()), journal, workers, sleeping_pictures(1, folder), lambda line: None
    )
    waiting: list[tuple[float, int, str, int]] = []  # when its next epoch is done, a tie-breaker, the trial, the epoch
    drawing: list[float] = []
    taking: list[float] = []
    clock, began, order, most = 0.0, time.perf_counter(), 0, 0
    while True:
        while len(waiting) < workers:
            start = time.perf_counter()
            found = course.next()
            drawing.append(time.perf_counter() - start)
            if found is None or found[1].kind != "search":
                break
            journal.start(found[0])
            order += 1
            heapq.heappush(waiting, (clock + chance.uniform(0.5, 1.5), order, found[0], 1))
        if not waiting:
            break
        most = max(most, len(waiting))
        clock, _, name, epoch = heapq.heappop(waiting)
        accuracy = min(1.0, max(0.0, chance.gauss(0.5, 0.1) + 0.02 * epoch))
        row = {"epoch": epoch, "train_loss": 1.0, "train_accuracy": accuracy, "validation_loss": 1.0}
        parts = {"seconds": 1.0, "waiting": 0.0, "building": 0.0, "training": 1.0, "validating": 0.0}
        start = time.perf_counter()
        if course.reported(name, {"rows": [{**row, "validation_accuracy": accuracy, **parts}]}):
            order += 1
            heapq.heappush(waiting, (clock + chance.uniform(0.5, 1.5), order, name, epoch + 1))
        else:
            course.ended(name, "")
        taking.append(time.perf_counter() - start)
    seconds = time.perf_counter() - began
    journal.close()
    draws = np.array(drawing) * 1e3
    return {
        "workers": workers,
        "trials": len(journal.records),
        "at_once": most,
        "driver_seconds": seconds,
        "ms_per_trial": 1e3 * seconds / len(journal.records),
        "draw_p50_ms": float(np.quantile(draws, 0.5)),
        "draw_p99_ms": float(np.quantile(draws, 0.99)),
        "row_p99_ms": float(np.quantile(np.array(taking) * 1e3, 0.99)),
        "trials_per_second": len(journal.records) / seconds,
        "driver_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10,
    }


def trivial(nodes: int, workers: int, trials: int) -> dict[str, Any]:
    """Trials that take no time on local nodes: how many a second go through Tune."""
    with folder_aside() as folder, local_nodes(nodes, workers) as cluster:
        rows, seconds = run_sleeping(folder, cluster.address, trials=trials, seconds=0.001)
    found = measure(rows, seconds, nodes * workers)
    per_second = trials / found["first_to_last"]
    return {
        "nodes": nodes,
        "workers": nodes * workers,
        "trials": trials,
        "seconds": seconds,
        "trials_per_second": per_second,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    result: dict[str, Any] = {"benchmark": "many_nodes"}
    body: list[list[Any]] = []
    with folder_aside() as folder:
        for workers in options.simulated:
            found = simulate(workers, options.trials, options.epochs, folder)
            # As many workers as end a trial in the time that the driver needs for one.
            found["saturates_at"] = int(options.seconds * found["trials_per_second"])
            result.setdefault("simulated", []).append(found)
            body += [[f"{workers} simulated workers: {name}", value] for name, value in found.items()]
    for nodes in options.nodes:
        found = trivial(nodes, options.workers, options.trivial)
        found["saturates_at"] = int(options.seconds * found["trials_per_second"])
        result.setdefault("nodes", []).append(found)
        body += [[f"{nodes} nodes: {name}", value] for name, value in found.items()]
    show(result, ["what", "value"], body, options.out)
    return 0


def parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.many_nodes", description=(__doc__ or "").split("\n\n", 1)[0]
    )

    def numbers(text: str) -> tuple[int, ...]:
        return tuple(int(part) for part in text.split(",") if part)

    command.add_argument("--simulated", type=numbers, default=(500,), metavar="N,N", help="workers (default: 500)")
    command.add_argument("--trials", type=int, default=10_000, help="of a simulation (default: %(default)s)")
    command.add_argument("--epochs", type=int, default=9, help="of a simulated trial, with ASHA (default: %(default)s)")
    command.add_argument("--nodes", type=numbers, default=(4,), metavar="N,N", help="local nodes (default: 4)")
    command.add_argument(
        "--workers", type=int, default=1, help="trials at a time on a local node (default: %(default)s)"
    )
    command.add_argument("--trivial", type=int, default=200, help="trials on the local nodes (default: %(default)s)")
    command.add_argument("--seconds", type=float, default=60.0, help="of a real trial, for saturates_at (default: 60)")
    command.add_argument("--out", type=Path, help="also write the JSON there")
    return command


if __name__ == "__main__":
    raise SystemExit(main())
