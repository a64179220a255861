"""How busy the search keeps 1, 2 and 4 local nodes: sleeping trials, busy worker-seconds over available ones.

A node has the same number of trials to sleep through whatever their number, so each line takes the same time.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from search.record.journal import Row
from tests.benchmarks.measuring import folder_aside, show
from tests.benchmarks.sleeping import local_nodes, run_sleeping


def measure(rows: Sequence[Row], seconds: float, workers: int) -> dict[str, Any]:
    """What the rows of a sleeping search say about its workers.

    `utilisation` counts from the first trial's begin to the last one's, when nothing is left to give out; `overall`
    runs to the end of the last trial, so that the tail is in it; `ideal` is the sleep shared out evenly.
    """
    epochs = [(row["began"], row["began"] + row["seconds"]) for row in rows if row["event"] == "epoch"]
    first, last = min(began for began, _ in epochs), max(ended for _, ended in epochs)
    final = max({row["trial"]: row["began"] for row in reversed(rows) if row["event"] == "epoch"}.values())
    busy = sum(ended - began for began, ended in epochs)
    before = sum(min(ended, final) - min(began, final) for began, ended in epochs)
    return {
        "trials": sum(row["event"] == "start" for row in rows),
        "nodes_used": len({row["node"] for row in rows if row["event"] == "epoch"}),
        "ideal": busy / workers,
        "first_to_last": last - first,
        "experiment": seconds,
        "utilisation": before / (workers * max(final - first, 1e-9)),
        "overall": busy / (workers * (last - first)),
        "over_ideal": seconds / (busy / workers),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    found = []
    for nodes in options.nodes:
        with folder_aside() as folder, local_nodes(nodes, options.workers) as cluster:
            rows, seconds = run_sleeping(
                folder,
                cluster.address,
                trials=options.trials * nodes,
                seconds=options.seconds,
                epochs=options.epochs,
            )
        found.append(
            {"nodes": nodes, "workers": nodes * options.workers, **measure(rows, seconds, nodes * options.workers)}
        )
    heads = ["nodes", "workers", "trials", "ideal", "experiment", "over_ideal", "utilisation", "overall"]
    result = {"benchmark": "utilisation", "seconds": options.seconds, "epochs": options.epochs, "runs": found}
    show(result, heads, [[run[head] for head in heads] for run in found], options.out)
    return 0


def parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.utilisation", description=(__doc__ or "").split("\n\n", 1)[0]
    )

    def numbers(text: str) -> tuple[int, ...]:
        return tuple(int(part) for part in text.split(","))

    command.add_argument("--nodes", type=numbers, default=(1, 2, 4), metavar="N,N", help="local nodes (default: 1,2,4)")
    command.add_argument("--workers", type=int, default=1, help="trials at a time on a node (default: %(default)s)")
    command.add_argument("--trials", type=int, default=25, help="for each node (default: %(default)s)")
    command.add_argument("--seconds", type=float, default=4.0, help="of a trial, on average (default: %(default)s)")
    command.add_argument("--epochs", type=int, default=1, help="of a trial, with ASHA's rungs (default: %(default)s)")
    command.add_argument("--out", type=Path, help="also write the JSON there")
    return command


if __name__ == "__main__":
    raise SystemExit(main())
