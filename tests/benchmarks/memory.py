"""Resident memory of a worker's child over many short trials of all kinds, with recycling off and on; and of a search.

    python -m tests.benchmarks.memory --trials 100 --size 96 --bound 1.5
    python -m tests.benchmarks.memory --search 500

With `--search` it is the driver and the workers' children of a real search of so many trials of one epoch.
"""

import argparse
import contextlib
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from search.data.demo import draw_demo
from search.data.pictures import Pictures
from search.settings import Settings
from search.training.worker import Job, Setup, Worker
from tests.benchmarks.faults import CHILD, descendants, read_lines
from tests.benchmarks.listed import Item, standard_list
from tests.benchmarks.measuring import Row, folder_aside, ready_pictures, resident, show, start, stop

LOOK = 0.5  # seconds between two looks at a search
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


def search(trials: int, folder: Path) -> dict[str, Any]:
    """A search of so many trials of one epoch; MiB of its driver and of its workers' children as trials end.

    The slope is that of the later half: until then what is kept on purpose is filled.
    """
    data = draw_demo(folder / "drawn", 4, 24, 48)
    command = [
        "search/run.py", str(data), "--families", "scratch_keras", "--trials", str(trials), "--epochs", "1",
        "--image-sizes", "32", "--final-seeds", "1", "--dashboard", "off", "--name", "memory",
        "--runs-dir", str(folder / "runs"), "--cache-dir", str(folder / "cache"),
    ]  # fmt: skip
    rows, log = folder / "runs" / "memory" / "trials.jsonl", folder / "log"
    began = time.monotonic()
    driver = start(command, log)
    looks: list[dict[str, Any]] = []
    try:
        while driver.poll() is None:
            ended = sum(row["event"] == "end" for row in read_lines(rows)[0])
            if ended > (looks[-1]["trials"] if looks else 0):
                with contextlib.suppress(OSError):
                    children = [found for found in descendants(driver.pid) if CHILD in found.command]
                    held = {str(child.number): round(resident(child.number), 1) for child in children}
                    looks.append({"trials": ended, "driver": round(resident(driver.pid), 1), "children": held})
            time.sleep(LOOK)
    finally:
        stop(driver)
    if driver.returncode:
        raise RuntimeError(f"the search ended with {driver.returncode}:\n{log.read_text(errors='replace')[-2000:]}")
    late = [look for look in looks if look["trials"] >= trials / 2]
    names = {child for look in looks for child in look["children"]}
    slopes = {
        child: _slope([(at["trials"], at["children"][child]) for at in late if child in at["children"]])
        for child in names
    }
    return {
        "trials": trials,
        "looks": looks,
        "driver_mib_per_trial": _slope([(look["trials"], look["driver"]) for look in late]),
        "driver_mib": [looks[0]["driver"], looks[-1]["driver"]],
        # Trials of a child are the search's, shared out evenly.
        "child_mib_per_trial": {child: slope and slope * len(late[-1]["children"]) for child, slope in slopes.items()},
        "most_mib_of_a_child": max(max(look["children"].values(), default=0.0) for look in looks),
        "children": len(names),
        "seconds": round(time.monotonic() - began, 1),
    }


def _slope(points: Sequence[tuple[int, float]]) -> float | None:
    if len(points) < 3:
        return None
    return float(np.polyfit([at for at, _ in points], [mib for _, mib in points], 1)[0])


def _show_search(options: argparse.Namespace) -> int:
    with folder_aside() as folder:
        found = search(options.search, folder)
    looks = found["looks"]
    marks = [looks[round(share * (len(looks) - 1))] for share in (0, 0.1, 0.25, 0.5, 0.75, 1)]
    body: list[list[Any]] = [
        [f"after {look['trials']} trials, MiB", look["driver"], max(look["children"].values(), default=None)]
        for look in marks
    ]
    slopes = [slope for slope in found["child_mib_per_trial"].values() if slope is not None]
    body.append(["MiB per trial, later half", found["driver_mib_per_trial"], max(slopes, default=None)])
    body.append(["children of workers in all", None, found["children"]])
    result = {"benchmark": "memory", "search": found}
    show(result, ["", "driver", "largest child"], body, options.out)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    if options.search:
        return _show_search(options)
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
    command.add_argument("--search", type=int, metavar="N", help="instead: a whole search of N trials, with its driver")
    command.add_argument("--weights", default="none", help="none, a weights file, or a folder of them (default: none)")
    command.add_argument("--bound", type=float, default=1.5, help="GiB for the second series (default: %(default)s)")
    command.add_argument("--out", type=Path, help="also write the JSON there")
    return command


if __name__ == "__main__":
    raise SystemExit(main())
