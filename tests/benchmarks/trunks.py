"""Pooled features per second of each trunk on one core, relative to MobileNet's.

Each trunk takes turns with MobileNet in a process of its own, and the best call of each counts: other work on the
machine, which only ever adds to a call, then touches both alike. Weights are random; their values decide nothing.

    python -m tests.benchmarks.trunks --size 160
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from models.backbones import BACKBONES, known
from models.sizes import forward
from tests.benchmarks.measuring import ROOT, show

BATCH = 32  # pictures of a call, as a search has it
AGAINST = "MobileNet"


def measure(name: str, size: int, turns: int, precision: str) -> dict[str, Any]:
    """Pictures per second of a trunk and of MobileNet, from the best of so many turns."""
    from search.training import devices

    precision = devices.prepare(1, precision)
    import numpy as np

    from models.trunk import Trunk

    pictures = np.random.default_rng(0).integers(0, 256, (BATCH, size, size, 3), dtype=np.uint8)
    runs = [devices.inference(Trunk(*known(one), size, None).lower(0, [], pooled=True)) for one in (name, AGAINST)]
    best = [float("inf")] * 2
    for _ in range(turns + 1):
        for place, run in enumerate(runs):
            began = time.perf_counter()
            run(pictures)
            best[place] = min(best[place], time.perf_counter() - began)
    own, other = (BATCH / seconds for seconds in best)
    return {"trunk": name, "pictures": own, "against": other, "speed": own / other, "precision": precision}


def parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.trunks", description=(__doc__ or "").split("\n\n", 1)[0]
    )
    command.add_argument("--backbones", default=",".join(BACKBONES), help="trunks, separated by commas")
    command.add_argument("--size", type=int, default=160, help="side of the pictures in pixels")
    command.add_argument("--turns", type=int, default=5, help="calls of each trunk of which the best counts")
    command.add_argument("--precision", default="float32", help="auto, float32 or bfloat16")
    command.add_argument("--one", metavar="TRUNK", help="measure this one in this process and print it as JSON")
    command.add_argument("--out", type=Path, help="also write the result here as JSON")
    return command


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    if options.one:
        print(json.dumps(measure(options.one, options.size, options.turns, options.precision)))
        return 0
    rows: list[dict[str, Any]] = []
    for name in options.backbones.split(","):
        command = [sys.executable, "-m", "tests.benchmarks.trunks", "--one", name, "--size", str(options.size)]
        command += ["--turns", str(options.turns), "--precision", options.precision]
        said = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
        rows.append(json.loads(said.splitlines()[-1]))
    body = [
        (row["trunk"], row["pictures"], row["speed"],
         row["speed"] * forward(*known(row["trunk"]), options.size) / forward(*known(AGAINST), options.size))
        for row in rows
    ]  # fmt: skip
    heads = ("trunk", "pictures/s", "of MobileNet's", "multiply-adds/s of MobileNet's")
    show({"size": options.size, "trunks": rows}, heads, body, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
