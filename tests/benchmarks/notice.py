"""A spot machine's notice: SIGTERM to a raylet while a trial trains on it, and what has to be trained again.

A trial of many epochs and no rung among them trains on a node of its own. Some seconds after its first row the raylet
of that node gets SIGTERM. The row says how long the raylet then lives, how many epochs the driver knows of and has no
checkpoint of, and how old the checkpoint was when the notice came: all that is lost.

    python -m tests.benchmarks.notice --after 27
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from search.data.demo import draw_demo
from tests.benchmarks.faults import epochs_again, read_lines
from tests.benchmarks.measuring import folder_aside, parse, show
from tests.benchmarks.sleeping import HEALTH, local_nodes

ROOT = Path(__file__).resolve().parents[2]
EPOCHS = 100_000  # more than there is time for
SETTLING = 3.0  # seconds in which what was on its way arrives


def curve(folder: Path) -> list[dict[str, Any]]:
    """The epochs that were reported so far, in their order."""
    path = folder / "runs" / "notice" / "trials.jsonl"
    return [row for row in read_lines(path)[0] if row["event"] == "epoch"] if path.exists() else []


def measure(folder: Path, after: float, size: int, options: Sequence[str]) -> dict[str, Any]:
    """Gives notice to the trial's node `after` seconds from its first row."""
    data = draw_demo(folder / "data", breeds=4, pictures=60, size=size)
    command = [
        sys.executable, "search/run.py", str(data), "--families", "scratch_keras", "--trials", "1", "--epochs",
        str(EPOCHS), "--first-rung", str(EPOCHS // 2), "--image-sizes", str(size), "--name", "notice",
        "--runs-dir", str(folder / "runs"), "--cache-dir", str(folder / "cache"), *options,
    ]  # fmt: skip
    with local_nodes(1, 0, _system_config=HEALTH) as cluster:
        node = cluster.add_node(num_cpus=1)
        raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
        with subprocess.Popen([*command, "--address", cluster.address], cwd=ROOT, stdout=subprocess.DEVNULL) as search:
            try:
                while not curve(folder):
                    if search.poll() is not None:
                        raise RuntimeError(f"the search ended with exit code {search.returncode}")
                    time.sleep(0.1)
                time.sleep(after)
                os.kill(raylet.pid, signal.SIGTERM)
                noticed, clock = time.monotonic(), time.time()
                while raylet.is_running() and raylet.status() != psutil.STATUS_ZOMBIE:
                    time.sleep(0.01)
                lived = time.monotonic() - noticed
                time.sleep(SETTLING)
                rows, run = curve(folder), folder / "runs" / "notice"
                (again,) = epochs_again(run)[0].values()
                kept = [path.stat().st_mtime for path in (run / "checkpoints").glob("*.npz")]
            finally:
                search.kill()
    return {
        "after": after, "lived": lived, "epochs": len(rows), "again": again,
        "lost": clock - max(kept, default=clock - after),
    }  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """The options."""
    command = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_argument("--after", type=float, default=27.0, help="seconds from the first row to the notice")
    command.add_argument("--size", type=int, default=64, help="side of the drawn pictures")
    command.add_argument("--out", type=Path, help="where the JSON goes")
    return command


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints one row."""
    given = parse(parser(), arguments)
    with folder_aside() as folder:
        found = measure(folder, given.after, given.size, given.more)
    heads = ("notice after s", "raylet lived s", "epochs", "to train again", "s since the checkpoint")
    show(found, heads, [list(found.values())], given.out)


if __name__ == "__main__":
    main()
