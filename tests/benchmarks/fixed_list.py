"""Wall time of 24 mixed configurations without stopping: Pedigree's machinery against plain Ray Tune's.

A quarter trains a head only, a quarter a few blocks of the trunk, a quarter most of them, a quarter a network from
scratch. Both sides start as commands with nothing cached, and train and validate on the same pictures.

    python -m tests.benchmarks.fixed_list DATA --weights WEIGHTS --epochs 9
"""

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from search.data import pictures as data
from search.data.folder import read_folder
from search.settings import Settings
from search.training.weights import find_weights
from tests.benchmarks.listed import Item, run_listed, standard_list
from tests.benchmarks.measuring import Row, folder_aside, follow, show

SUBSET = 3  # --subset alone takes every third configuration, two of each kind


def link_sides(settings: Settings, folder: Path) -> Path:
    """The train and validation pictures that a run with these settings uses, as links in class folders."""
    _, split = data.prepare(settings, os.cpu_count() or 1, print)
    files = {
        picture.name: picture.path.resolve() for picture in read_folder(Path(settings.data), settings.classes).pictures
    }
    for side in ("train", "validation"):
        for number, (name, label) in enumerate(split[side]):
            link = folder / side / f"{label:03d}" / f"{number:06d}{Path(name).suffix}"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(files[name])
    return folder


def plain(options: argparse.Namespace, items: Sequence[Item], sides: Path, folder: Path) -> tuple[list[Row], float]:
    """Trains the list with the plain program."""
    folder.mkdir(parents=True)
    (folder / "configs.json").write_text(json.dumps(list(items)))
    command = [
        *("-m", "tests.benchmarks.plain_ray_tune", str(sides), "--configs", str(folder / "configs.json")),
        *("--weights", options.weights, "--size", str(options.size), "--epochs", str(options.epochs)),
        *("--seed", str(options.seed), "--concurrency", str(options.concurrency), "--out", str(folder / "plain.jsonl")),
    ]
    return follow(command, folder / "plain.jsonl", folder / "plain.log")


def last_accuracies(rows: Sequence[Row], key: str) -> dict[int, float]:
    """The validation accuracy of each configuration after its last epoch, by its number in the list."""
    found: dict[int, tuple[int, float]] = {}
    for row in rows:
        if row.get(key) is not None:
            number = row["number"] if "number" in row else int(row["trial"].rsplit("-", 1)[1])
            found[number] = max(found.get(number, (0, 0.0)), (row["epoch"], row[key]))
    return {number: value for number, (_, value) in found.items()}


def kind(item: Item) -> str:
    """Which quarter of the list a configuration belongs to."""
    if item["family"] != "mobilenet":
        return "scratch"
    depth = item["config"]["unfrozen_blocks"]
    return "head only" if depth == 0 else "mid-depth" if depth <= 4 else "deep"


def compare(items: Sequence[Item], own: Sequence[Row], other: Sequence[Row]) -> dict[str, Any]:
    """Accuracies of every configuration on both sides, and the mean of their differences."""
    mine, theirs = last_accuracies(own, "validation_accuracy"), last_accuracies(other, "val_accuracy")
    both = sorted(mine.keys() & theirs.keys())
    differences = [mine[number] - theirs[number] for number in both]
    return {
        "configurations": [
            {"number": number, "kind": kind(item), "pedigree": mine.get(number), "plain": theirs.get(number)}
            for number, item in enumerate(items)
        ],
        "compared": len(both),
        "mean_difference": float(np.mean(differences)) if both else None,
        "mean_absolute_difference": float(np.mean(np.abs(differences))) if both else None,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    weights = find_weights(options.weights, seed=options.seed)
    # Small backbones would make the list cheaper than what people search.
    backbones = [(item.backbone, item.alpha) for item in weights if item.alpha >= 1] or [
        (weights[0].backbone, weights[0].alpha)
    ]
    items = standard_list(options.size, backbones, every=options.subset)
    result: dict[str, Any] = {"benchmark": "fixed_list", "size": options.size, "epochs": options.epochs}
    with folder_aside() as place:
        folder = options.keep or place
        settings = Settings(
            data=str(options.data.resolve()), families=("mobilenet", "scratch_keras"), epochs=options.epochs,
            image_sizes=(options.size,), weights=options.weights, concurrency=options.concurrency, seed=options.seed,
            name="listed", runs_dir=str(folder / "runs"), cache_dir=str(folder / "listing"),
        )  # fmt: skip
        sides = link_sides(settings, folder / "sides")
        own, seconds = run_listed(
            Settings.from_json(json.dumps({**json.loads(settings.to_json()), "cache_dir": str(folder / "cache")})),
            items,
            folder / "pedigree",
        )
        other, plain_seconds = plain(options, items, sides, folder / "plain")
    result |= {"pedigree_seconds": seconds, "plain_seconds": plain_seconds, "ratio": plain_seconds / seconds}
    result |= compare(items, own, other)
    result["pedigree_by_kind"] = _seconds_by_kind(items, own)
    body = [[f"{row['number']} {row['kind']}", row["pedigree"], row["plain"]] for row in result["configurations"]]
    body += [["wall seconds", seconds, plain_seconds], ["mean difference", result["mean_difference"], None]]
    body += [["times faster", result["ratio"], None]]
    show(result, ["configuration", "pedigree", "plain"], body, options.out)
    return 0


def _seconds_by_kind(items: Sequence[Item], rows: Sequence[Row]) -> dict[str, float]:
    spent: dict[str, float] = {}
    for row in rows:
        if row["event"] == "epoch":
            name = kind(items[int(row["trial"].rsplit("-", 1)[1])])
            spent[name] = round(spent.get(name, 0.0) + row["seconds"], 2)
    return spent


def parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.fixed_list", description=(__doc__ or "").split("\n\n", 1)[0]
    )
    command.add_argument("data", type=Path, metavar="DATA", help="a folder of class folders, split already or not")
    command.add_argument("--weights", default="none", help="none, a weights file, or a folder of them (default: none)")
    command.add_argument("--size", type=int, default=160, help="side of the pictures in pixels (default: %(default)s)")
    command.add_argument("--epochs", type=int, default=9, help="of every configuration (default: %(default)s)")
    command.add_argument(
        "--subset", type=int, nargs="?", const=SUBSET, default=1, metavar="N",
        help=f"for a quick try: only every Nth configuration (default: {SUBSET}; without the option: all)",
    )  # fmt: skip
    command.add_argument("--concurrency", type=int, default=os.cpu_count(), help="trials at a time (default: cores)")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument(
        "--keep", type=Path, metavar="DIR", help="keep rows, logs and caches there (default: a folder thrown away)"
    )
    command.add_argument("--out", type=Path, help="also write the JSON there")
    return command


if __name__ == "__main__":
    raise SystemExit(main())
