"""How good is what a search hands over, on pictures that its whole command has never seen, and does it say so honestly?

For each seed the pictures are divided anew: the whole command gets the outer training part and a time budget, and its
exported models are scored on the outer test part. Beside them stands what seconds of work give on the same split:
logistic regression (C = 30) on MobileNet's pooled features of 224 pixels, each of length 1, of picture and mirror
image, fitted on the same train and validation pictures that the winners were retrained on.

    python -m tests.benchmarks.truth DATA --weights WEIGHTS --budget 10m --seeds 0,1,2,3,4

For each family: the figure that chose the winner and the test figure that the report claims, each minus the outer one,
and whether the claim's 95 % interval holds the outer figure. Intervals of means are Student's t over the splits.
"""

import argparse
import json
import os
import shutil
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from results.analysis.numbers import mean_interval
from results.delivery.files import pictures_below
from results.delivery.prediction import pixels_of
from search.data.decode import fit_square
from search.training.weights import find_weights
from tests.benchmarks.measuring import folder_aside, parse, parser_over_seeds, show, start

OUTER = 0.3  # of the pictures, for the outer test
STRENGTH = 30.0  # of the logistic regression
SIDE = 224
BATCH = 32


def divide(data: Path, seed: int, aside: Path) -> list[Path]:
    """Fills a folder with the outer training part; returns the outer test pictures, whose folders are their classes."""
    random = np.random.default_rng(seed)
    test: list[Path] = []
    for folder in sorted(path for path in data.iterdir() if path.is_dir()):
        files = sorted(pictures_below(folder))
        held = set(random.permutation(len(files))[: round(OUTER * len(files))].tolist())
        (aside / folder.name).mkdir(parents=True)
        for place, file in enumerate(files):
            if place in held:
                test.append(file)
            else:
                shutil.copy(file, aside / folder.name / file.name)
    return test


def outer_accuracy(model: Path, test: Sequence[tuple[Path, int]]) -> float:
    """The share of the outer test pictures that an exported model names rightly."""
    import keras

    network = keras.saving.load_model(model)
    right = 0
    by_shape: dict[tuple[int, ...], list[tuple[NDArray[np.uint8], int]]] = {}
    for file, label in test:
        picture = pixels_of(file)
        by_shape.setdefault(picture.shape, []).append((picture, label))
    for found in by_shape.values():
        for first in range(0, len(found), BATCH):
            batch = found[first : first + BATCH]
            answers = np.asarray(network(np.stack([picture for picture, _ in batch]), training=False))
            right += int((answers.argmax(axis=1) == [label for _, label in batch]).sum())
    keras.backend.clear_session()
    return right / len(test)


def pooled(files: Sequence[Path], weights: Path, backbone: str = "MobileNet") -> NDArray[np.float32]:
    """A MobileNet's pooled features (2, n, width), of pictures and of their mirror images, each of length 1."""
    import keras
    from PIL import Image

    build = getattr(keras.applications, backbone)
    trunk = build(input_shape=(SIDE, SIDE, 3), include_top=False, weights=None, pooling="avg")
    trunk.load_weights(str(weights))
    found: list[list[NDArray[np.float32]]] = [[], []]
    for first in range(0, len(files), BATCH):
        squares = [
            fit_square(Image.fromarray(pixels_of(file)), SIDE, "bilinear") for file in files[first : first + BATCH]
        ]
        batch = np.stack([np.asarray(square, np.float32) for square in squares]) / 127.5 - 1
        for mirrored, part in enumerate(found):
            given = batch[:, :, ::-1] if mirrored else batch
            part.append(np.asarray(trunk(np.ascontiguousarray(given), training=False)))
    features = np.stack([np.concatenate(part) for part in found])
    scaled: NDArray[np.float32] = features / np.linalg.norm(features, axis=2, keepdims=True)
    return scaled


def weights_of(weights: str, backbone: str) -> Path:
    """The file of a MobileNet of width 1; raises ValueError where it is not among the weights."""
    for item in find_weights(weights, seed=0):
        if (item.backbone, item.alpha) == (backbone, 1.0) and item.path is not None:
            return item.path
    raise ValueError(f"needs weights of {backbone} of width 1, and `{weights}` has none")


def features_of(options: argparse.Namespace) -> dict[str, NDArray[np.float32]]:
    """The pooled features of every picture of the data (2, 1024), by class folder and name: for all divisions."""
    files = [file for folder in sorted(options.data.iterdir()) if folder.is_dir() for file in pictures_below(folder)]
    found = pooled(files, weights_of(options.weights, "MobileNet"))
    return {f"{file.parent.name}/{file.name}": found[:, place] for place, file in enumerate(files)}


def plain_regression(
    learnt: Sequence[tuple[str, int]], test: Sequence[tuple[str, int]], features: dict[str, NDArray[np.float32]]
) -> float:
    """The outer accuracy of what scikit-learn makes of pooled features; pictures are named by class folder and name."""
    from sklearn.linear_model import LogisticRegression

    labels = [label for _, label in learnt]
    model = LogisticRegression(C=STRENGTH, max_iter=1000)
    model.fit(np.concatenate([[features[name][side] for name, _ in learnt] for side in (0, 1)]), labels * 2)
    return float((model.predict([features[name][0] for name, _ in test]) == [label for _, label in test]).mean())


def one_split(
    options: argparse.Namespace, seed: int, folder: Path, features: dict[str, NDArray[np.float32]]
) -> dict[str, Any]:
    """What the command made of one division, and what it is worth."""
    data = folder / "outer"
    outer = divide(options.data, seed, data)
    command = [
        *("search/run.py", str(data), "--weights", options.weights, "--time-budget", f"{options.budget:g}s"),
        *("--seed", str(seed), "--name", "truth", "--runs-dir", str(folder / "runs")),
        *("--cache-dir", str(folder / "cache"), "--dashboard", "off", *options.more),
    ]
    began = time.monotonic()
    code = start(command, folder / "log.txt").wait()
    took = time.monotonic() - began
    if code:
        raise RuntimeError(
            f"`{' '.join(command)}` ended with exit code {code}:\n{(folder / 'log.txt').read_text()[-2000:]}"
        )
    run = folder / "runs" / "truth"
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    split = json.loads((run / "split.json").read_text(encoding="utf-8"))
    labels = {name.split("/")[0]: label for name, label in split["train"]}
    test = [(file, labels[file.parent.name]) for file in outer]
    families = {}
    for family, record in results["families"].items():
        model = run / "models" / f"{family}.keras"
        best, claimed = record["best"], record["test"]
        if best is None or claimed is None or not model.exists():
            families[family] = {"trials": record["trials"]}
            continue
        chosen = best.get("final") or {"accuracy": best["validation_accuracy"]}
        reached = outer_accuracy(model, test)
        families[family] = {
            **{"trials": record["trials"], "trial": best["trial"], "chosen_by": chosen["accuracy"], "outer": reached},
            **{"claimed": claimed["accuracy"], "low": claimed["low"], "high": claimed["high"]},
            "holds": claimed["low"] <= reached <= claimed["high"],
        }
    learnt = [(name, label) for side in ("train", "validation") for name, label in split[side]]
    named = [(f"{file.parent.name}/{file.name}", label) for file, label in test]
    plain = plain_regression(learnt, named, features)
    return {"seed": seed, "seconds": took, "pictures": len(test), "plain": plain, "families": families}


def summary_of(splits: Sequence[dict[str, Any]], budget: float) -> dict[str, Any]:
    """Means over the splits, with their intervals."""
    found = [record for split in splits for record in split["families"].values() if "outer" in record]
    transfer = [
        split["families"]["mobilenet"]["outer"] - split["plain"]
        for split in splits
        if "outer" in split["families"].get("mobilenet", {})
    ]
    return {
        "mobilenet_minus_plain": mean_interval(transfer) if transfer else None,
        "chosen_minus_outer": statistics.fmean(record["chosen_by"] - record["outer"] for record in found)
        if found
        else None,
        "claimed_minus_outer": statistics.fmean(record["claimed"] - record["outer"] for record in found)
        if found
        else None,
        "intervals_that_hold": sum(record["holds"] for record in found),
        "intervals": len(found),
        "time_used": [split["seconds"] / budget for split in splits],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(parser(), arguments)
    splits = []
    features = features_of(options)
    for seed in options.seeds:
        with folder_aside() as folder:
            splits.append(one_split(options, seed, folder, features))
        print(json.dumps(splits[-1]), flush=True)
    summary = summary_of(splits, options.budget)
    body = [
        [split["seed"], family, *(record.get(key) for key in ("chosen_by", "claimed", "outer")), split["plain"]]
        for split in splits
        for family, record in split["families"].items()
    ]
    heads = ["seed", "family", "chosen by", "claimed", "outer", "logistic regression"]
    result = {"budget": options.budget, "cores": os.cpu_count(), "splits": splits, "summary": summary}
    for name, value in summary.items():
        print(f"{name}: {value}")
    show(result, heads, body, options.out)
    return 0


def parser() -> argparse.ArgumentParser:
    return parser_over_seeds(
        "truth", __doc__, weights="; MobileNet's must be among them", budget=(600.0, "10m"), each="outer split"
    )


if __name__ == "__main__":
    raise SystemExit(main())
