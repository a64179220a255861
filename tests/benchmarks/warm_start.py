"""Seconds from the command to the first epoch row, with an empty cache and with a warm one.

The same search starts twice, each time as a fresh command that is interrupted at its first epoch row; the second finds
what the first has decoded and computed. What follows `--` goes to Pedigree as it is.

    python -m tests.benchmarks.warm_start DATA --weights WEIGHTS --size 160
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.measuring import Row, folder_aside, follow, parse, show


def first_row(options: argparse.Namespace, folder: Path, name: str) -> Row:
    """Starts a search with the cache of `folder` and stops it at its first epoch row, which is returned."""
    command = [
        *("search/run.py", str(options.data), "--weights", options.weights, "--families", options.families),
        *("--image-sizes", str(options.size), "--seed", str(options.seed), "--name", name),
        *("--runs-dir", str(folder / "runs"), "--cache-dir", str(folder / "cache")),
        *options.more,
    ]
    rows, _ = follow(
        command, folder / "runs" / name / "trials.jsonl", folder / f"{name}.log", lambda row: row["event"] == "epoch"
    )
    return next(row for row in rows if row["event"] == "epoch")


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(parser(), arguments)
    result: dict[str, Any] = {"benchmark": "warm_start", "size": options.size}
    body = []
    with folder_aside() as place:
        for name in ("cold", "warm"):
            row = first_row(options, place, name)
            kept = ("arrived", "trial", "seconds", "waiting", "building", "training", "validating")
            result[name] = {key: row[key] for key in kept}
            body.append([name, row["arrived"], row["trial"], row["seconds"], row["waiting"]])
    show(result, ["cache", "first epoch row at s", "of trial", "epoch s", "of these waiting"], body, options.out)
    return 0


def parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.warm_start",
        description=(__doc__ or "").split("\n\n", 1)[0],
        epilog="Options after `--` go to Pedigree, such as: -- --trials 4",
    )
    command.add_argument("data", type=Path, metavar="DATA", help="a folder with one folder of pictures per class")
    command.add_argument("--weights", default="none", help="none, a weights file, or a folder of them (default: none)")
    command.add_argument("--families", default="mobilenet,scratch_keras", help="default: %(default)s")
    command.add_argument("--size", type=int, default=160, help="side of the pictures in pixels (default: %(default)s)")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--out", type=Path, help="also write the JSON there")
    return command


if __name__ == "__main__":
    raise SystemExit(main())
