"""Resident memory of a worker's child over many short trials of all kinds, with recycling off and on.

python -m tests.benchmarks.memory --trials 100 --size 96 --bound 1.5
"""

import argparse
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from search.images.demo import draw_demo
from search.pictures import Pictures
from search.settings import Settings
from search.worker import Job, Setup, Worker
from tests.benchmarks.listed import Item, standard_list
from tests.benchmarks.measuring import Row, folder_aside, ready_pictures, resident, show

OFF = 1e6  # GiB: no child ever holds so much


def series(found: Pictures, items: Sequence[Item], options: argparse.Namespace, bound: float) -> dict[str, Any]:
    """Trains the items in turn in one worker; MiB of its child after each trial."""
    worker = Worker(Setup(1, "auto", bound), found)
    held: list[float] = []
    children: set[int] = set()
    failed = 0
    began = time.perf_counter()
    for number in range(options.trials):
        item = items[number % len(items)]
        job = Job("search", item["family"], item["config"], number, options.epochs, options.epochs, 2)
        assert worker._process is not None
        process = worker._process.pid
        children.add(process)
        inside = [0.0]
        # While the last epoch is reported: after the trial the child may have been replaced.
        kind, _ = worker.run(job, partial(_look, process, inside))
        failed += kind != "finished"
        held.append(round(inside[-1], 1))
    seconds = time.perf_counter() - began
    del worker  # closes the pipe, at which the child ends
    # The first round through the list fills what is kept on purpose: trunks, compiled functions.
    settled = held[min(len(items), len(held) // 2) :]
    slope = float(np.polyfit(np.arange(len(settled)), settled, 1)[0]) if len(settled) > 1 else None
    return {
        "bound_gib": None if bound == OFF else bound,
        "mib": held,
        "most_mib": max(held),
        "mib_per_trial": slope,
        "children": len(children),
        "failed": failed,
        "seconds": seconds,
    }


def _look(process: int, inside: list[float], rows: list[Row]) -> None:
    inside.append(resident(process))


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    result: dict[str, Any] = {"benchmark": "memory", "trials": options.trials, "size": options.size}
    with folder_aside() as folder:
        root = draw_demo(folder / "drawn", 4, options.pictures // 4, options.size)
        settings = Settings(
            data=str(root), families=("mobilenet", "scratch_keras"), image_sizes=(options.size,),
            weights=options.weights, cache_dir=str(folder / "cache"),
        )  # fmt: skip
        found = ready_pictures(settings)
        items = standard_list(options.size, list(found.weights))
        result["off"] = series(found, items, options, OFF)
        result["on"] = series(found, items, options, options.bound)
    marks = sorted({0, *range(9, options.trials, 10), options.trials - 1})
    body: list[list[Any]] = [
        [f"after {mark + 1} trials, MiB", result["off"]["mib"][mark], result["on"]["mib"][mark]] for mark in marks
    ]
    for name in ("most_mib", "mib_per_trial", "children", "failed", "seconds"):
        body.append([name, result["off"][name], result["on"][name]])
    show(result, ["", "no recycling", f"past {options.bound} GiB"], body, options.out)
    return 0


def parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.memory", description=(__doc__ or "").split("\n\n", 1)[0]
    )
    command.add_argument("--trials", type=int, default=100, help="default: %(default)s")
    command.add_argument("--epochs", type=int, default=1, help="of each (default: %(default)s)")
    command.add_argument("--pictures", type=int, default=120, help="drawn ones (default: %(default)s)")
    command.add_argument("--size", type=int, default=96, help="side of the pictures in pixels (default: %(default)s)")
    command.add_argument("--weights", default="none", help="none, a weights file, or a folder of them (default: none)")
    command.add_argument("--bound", type=float, default=1.5, help="GiB for the second series (default: %(default)s)")
    command.add_argument("--out", type=Path, help="also write the JSON there")
    return command


if __name__ == "__main__":
    raise SystemExit(main())
