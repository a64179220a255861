"""Seconds from the command to each validation accuracy: Pedigree with a cold cache against plain Ray Tune.

Both run as commands, one after the other, on the same folder that is already split, with the same spaces, picture size,
weights and seed, and a row counts when it can be read from the outside. What follows `--` goes to Pedigree as it is.

    python -m tests.benchmarks.time_to_accuracy DATA --weights WEIGHTS --peer-seconds 900 --pedigree-seconds 300
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks import limit
from tests.benchmarks.measuring import Row, folder_aside, follow, parse, show

LEVELS = (0.80, 0.85, 0.90, 0.91, 0.92, 0.93, 0.94, 0.95)
EPOCHS = 9
PLAIN = ("-m", "tests.benchmarks.plain_ray_tune")


def pedigree(options: argparse.Namespace, folder: Path) -> tuple[list[Row], float]:
    """Runs `search/run.py` with an empty cache; returns its rows and the seconds of the whole command."""
    command = [
        "search/run.py",
        *(str(options.data), "--weights", options.weights, "--families", options.families),
        *("--image-sizes", str(options.size), "--epochs", str(options.epochs), "--trials", str(options.trials)),
        *("--seed", str(options.seed), "--name", "timed", "--runs-dir", str(folder / "runs")),
        *("--cache-dir", str(folder / "cache"), "--time-budget", str(options.pedigree_seconds)),
        *options.more,
    ]
    return follow(command, folder / "runs" / "timed" / "trials.jsonl", folder / "pedigree.log")


def peer(options: argparse.Namespace, folder: Path) -> tuple[list[Row], float]:
    """Runs the plain program, or another that takes the same options and writes the same rows."""
    rows = folder / "peer.jsonl"
    command = [
        *(PLAIN if options.peer is None else [str(options.peer.resolve())]),
        *(str(options.data), "--size", str(options.size), "--epochs", str(options.epochs)),
        *("--seconds", str(options.peer_seconds), "--seed", str(options.seed), "--out", str(rows)),
        *("--weights", options.peer_weights or options.weights),
    ]
    # Another program names its families in its own way.
    command += ["--families", options.families, "--trials", "10000"] if options.peer is None else ["--trials", "10000"]
    command += ["--starts"] if options.peer is None and options.starts else []
    return follow(command, rows, folder / "peer.log")


def first_reached(rows: Sequence[Row], key: str, level: float) -> float | None:
    """Seconds until a row's validation accuracy is at least `level`."""
    return next((row["arrived"] for row in rows if key in row and row[key] is not None and row[key] >= level), None)


def standing(rows: Sequence[Row], key: str) -> dict[str, Any]:
    """Where a program stands at its end."""
    values = [row[key] for row in rows if row.get(key) is not None]
    trials = {row["trial"] for row in rows if key in row and "trial" in row}
    return {"accuracy": max(values, default=0.0), "epochs": len(values), "trials": len(trials)}


def compare(own: Sequence[Row], other: Sequence[Row], levels: Sequence[float]) -> dict[str, Any]:
    """Seconds of both to each level and to where the peer stood at its end, as ratios peer / Pedigree."""
    ends = {"pedigree": standing(own, "validation_accuracy"), "peer": standing(other, "val_accuracy")}
    table = []
    for level in sorted({*levels, ends["peer"]["accuracy"]}):
        mine, theirs = first_reached(own, "validation_accuracy", level), first_reached(other, "val_accuracy", level)
        ratio = theirs / mine if mine and theirs else None
        table.append({"accuracy": level, "pedigree": mine, "peer": theirs, "ratio": ratio})
    return {"ends": ends, "levels": table}


def config_of(rows: Sequence[Row], level: float) -> tuple[dict[str, Any] | None, int]:
    """The configuration of the first `mobilenet` trial that reached a level, and its epochs until then."""
    for row in rows:
        if row["event"] == "epoch" and row["family"] == "mobilenet" and row["validation_accuracy"] >= level:
            starts = (start for start in rows if start["event"] == "start" and start["trial"] == row["trial"])
            return next(starts)["config"], row["epoch"]
    return None, EPOCHS


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(parser(), arguments)
    result: dict[str, Any] = {"benchmark": "time_to_accuracy", "size": options.size, "seed": options.seed}
    with folder_aside() as place:
        folder = options.keep or place
        folder.mkdir(parents=True, exist_ok=True)
        own, whole = pedigree(options, folder)
        result["pedigree"] = {"command_seconds": round(whole, 1)}
        other: list[Row] = []
        if not options.alone:
            other, seconds = peer(options, folder)
            result["peer"] = {"command_seconds": round(seconds, 1), "program": str(options.peer or "plain_ray_tune")}
        result |= compare(own, other, options.levels)
        if options.limit:
            target = result["ends"]["peer"]["accuracy"] or max(options.levels)
            config, epochs = config_of(own, target)
            result["limit"] = limit.measured(options.data, options.weights, options.size, config, epochs)
            reached = first_reached(own, "validation_accuracy", target)
            result["limit"]["ratio"] = reached / result["limit"]["seconds"] if reached else None
    body = [[f"{row['accuracy']:.4f}", row["pedigree"], row["peer"], row["ratio"]] for row in result["levels"]]
    for name, end in result["ends"].items():
        print(f"{name}: {end['accuracy']:.4f} at the end, {end['epochs']} epochs of {end['trials']} trials")
    if "limit" in result:
        bare = result["limit"]
        print(f"limit: {bare['seconds']:.1f} s for {bare['accuracy']:.4f}; Pedigree / limit: {bare['ratio']}")
    show(result, ["validation accuracy", "pedigree s", "peer s", "ratio"], body, options.out)
    return 0


def parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.time_to_accuracy",
        description=(__doc__ or "").split("\n\n", 1)[0],
        epilog="Options after `--` go to Pedigree, such as: -- --trials 4",
    )
    command.add_argument("data", type=Path, metavar="DATA", help="a folder with train/ and validation/")
    command.add_argument("--weights", default="none", help="none, a weights file, or a folder of them (default: none)")
    command.add_argument("--families", default="mobilenet,scratch_keras", help="default: %(default)s")
    command.add_argument("--size", type=int, default=160, help="side of the pictures in pixels (default: %(default)s)")
    command.add_argument("--epochs", type=int, default=EPOCHS, help="budget of a full trial (default: %(default)s)")
    command.add_argument("--trials", type=int, default=40, help="of each of Pedigree's families (default: %(default)s)")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--pedigree-seconds", type=float, default=300, help="its time budget (default: %(default)s)")
    command.add_argument("--peer-seconds", type=float, default=900, help="its time budget (default: %(default)s)")
    command.add_argument("--starts", action="store_true", help="give the plain program Pedigree's first points too")
    command.add_argument("--peer", type=Path, metavar="PROGRAM", help="another program in place of the plain one")
    command.add_argument(
        "--peer-weights", metavar="FILE", help="for a program that takes one file (default: --weights)"
    )
    command.add_argument("--alone", action="store_true", help="time Pedigree only")
    command.add_argument("--limit", action="store_true", help="also measure the bare work behind a head, see limit.py")
    command.add_argument(
        "--levels",
        type=lambda text: tuple(float(part) for part in text.split(",")),
        default=LEVELS,
        help=f"validation accuracies (default: {','.join(map(str, LEVELS))}), and where the peer stands at its end",
    )
    command.add_argument(
        "--keep", type=Path, metavar="DIR", help="keep rows, logs, run and cache there (default: a folder thrown away)"
    )
    command.add_argument("--out", type=Path, help="also write the JSON there")
    return command


if __name__ == "__main__":
    raise SystemExit(main())
