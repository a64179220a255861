"""What a GPU makes of shares: trials at a time, time, memory of a trial, failures, for each share of a GPU per trial.

Each line is one search with the command line, on the drawn pictures or on DATA, with one seed. Without a GPU the same
search runs once on CPU cores, to try the command, and the output says that it holds no figure of a GPU.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from search.record.journal import Row
from search.training.devices import gpu_memory, proposed_share
from tests.benchmarks.measuring import ROOT, folder_aside, show


def search(options: argparse.Namespace, share: float, folder: Path) -> tuple[list[Row], float]:
    """One search with trials of this share; returns its rows and its seconds. Raises RuntimeError where it fails."""
    command = [
        sys.executable, "search/run.py", options.data, "--weights", options.weights, "--families", options.families,
        "--trials", str(options.trials), "--epochs", str(options.epochs), "--image-sizes", options.sizes,
        "--gpus-per-trial", str(share), "--final-seeds", "1", "--name", f"share-{share:g}", "--runs-dir", str(folder),
        "--cache-dir", str(folder / "cache"), "--dashboard", "off",
    ]  # fmt: skip
    environment = {**os.environ, **({"KERAS_BACKEND": options.backend} if options.backend else {})}
    began = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"`{' '.join(command)}` ended with exit code {done.returncode}:\n{done.stderr[-2000:]}")
    lines = (folder / f"share-{share:g}" / "trials.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines], time.monotonic() - began


def measure(rows: Sequence[Row], seconds: float, share: float) -> dict[str, Any]:
    """What the rows of a search say; times are seconds since the command, `at_once` the most trials at a time."""
    running, at_once = 0, 0
    for row in rows:
        running += (row["event"] == "start") - (row["event"] == "end")
        at_once = max(at_once, running)
    epochs = [row for row in rows if row["event"] == "epoch"]
    best = max((row["validation_accuracy"] or 0.0 for row in epochs), default=0.0)
    ends = [row for row in rows if row["event"] == "end"]
    peak = max((row.get("gpu_peak", 0) for row in epochs), default=0)
    total = max((row.get("gpu_total", 0) for row in epochs), default=0)
    return {
        "share": share,
        "at_once": at_once,
        "seconds": seconds,
        "epochs_per_second": len(epochs) / (epochs[-1]["time"] - rows[0]["time"]) if epochs else 0.0,
        "best": best,
        "seconds_to_best": min((row["time"] for row in epochs if row["validation_accuracy"] == best), default=None),
        "peak_gib": peak / 2**30,
        "share_gib": total * min(share, 1.0) / 2**30,
        "enough": proposed_share(peak, total) if peak else None,
        "out_of_memory": sum(row["reason"].startswith("out of memory") for row in ends),
        "failed": sum(row["status"] == "failed" for row in ends),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    total = gpu_memory()
    result: dict[str, Any] = {"benchmark": "gpu", "gpu_bytes": total, "backend": options.backend or "tensorflow"}
    if total:
        result["device"] = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True).stdout.strip()
        print(result["device"])
    else:
        print(
            "There is no GPU here. The search below ran on CPU cores, to try the command: none of it is a GPU's figure."
        )
    shares = options.shares if total else (0.0,)
    # A cache for each: what the first search computes is not given to the others.
    found = []
    for share in shares:
        with folder_aside() as folder:
            found.append(measure(*search(options, share, folder), share))
    result["runs"] = found
    heads = list(found[0])
    show(result, heads, [[run[head] for head in heads] for run in found], options.out)
    return 0


def parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.gpu", description=(__doc__ or "").split("\n\n", 1)[0]
    )

    def shares(text: str) -> tuple[float, ...]:
        return tuple(float(part) for part in text.split(","))

    command.add_argument("--data", default="demo", help="a folder of class folders, or demo (default)")
    command.add_argument("--weights", default="none", help="as of search/run.py (default: none)")
    command.add_argument("--families", default="scratch_keras,mobilenet", help="(default: %(default)s)")
    command.add_argument("--sizes", default="96", help="image sizes (default: %(default)s)")
    command.add_argument("--trials", type=int, default=8, help="of each family (default: %(default)s)")
    command.add_argument("--epochs", type=int, default=6, help="of a full trial (default: %(default)s)")
    command.add_argument("--shares", type=shares, default=(1.0, 0.5, 0.25), help="(default: 1,0.5,0.25)")
    command.add_argument("--backend", default="", help="jax or tensorflow (default: as the environment says)")
    command.add_argument("--out", type=Path, help="also write the JSON there")
    return command


if __name__ == "__main__":
    raise SystemExit(main())
