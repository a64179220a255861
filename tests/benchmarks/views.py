"""Do a few fixed views cost accuracy against fresh augmentation? The same configurations and seeds both ways.

Fixed: `search.training.trial.train`, which reads activations of views drawn once. Fresh: the whole network, its
augmentation layers drawing anew in every epoch, by `model.fit`. The difference is paired by configuration
and seed, and its interval is Student's.

    python -m tests.benchmarks.views DATA --weights WEIGHTS --size 160 --seeds 5
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from search.data.pictures import Pictures, one_hot
from search.settings import Settings
from search.training.activations import Source
from search.training.trial import train
from tests.benchmarks.listed import head_aside
from tests.benchmarks.measuring import show

AUGMENTATIONS = ("flip", "light", "strong")
# Student's t at 97.5 % by degrees of freedom; between them the lower, which errs on the wide side.
STUDENT = {
    1: 12.71, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262, 10: 2.228, 11: 2.201,
    12: 2.179, 13: 2.160, 14: 2.145, 15: 2.131, 17: 2.110, 19: 2.093, 23: 2.069, 29: 2.045, 59: 2.001, 119: 1.980,
}  # fmt: skip


def fixed(config: Mapping[str, Any], found: Pictures, seed: int, options: argparse.Namespace) -> float:
    """Validation accuracy after the last epoch on fixed views."""
    rows: list[dict[str, Any]] = []
    train(
        "mobilenet", config, found, seed=seed, epochs=options.epochs, planned=options.epochs,
        most_views=options.views, threads=options.threads, report=rows.append,
    )  # fmt: skip
    return float(rows[-1]["validation_accuracy"])


def fresh(config: Mapping[str, Any], found: Pictures, seed: int, options: argparse.Namespace) -> float:
    """Validation accuracy after the last epoch with augmentation drawn anew in each."""
    import keras

    from models import mobilenet
    from models.compiling import compile_model

    size, classes = config["image_size"], len(found.classes)
    keras.utils.set_random_seed(seed)
    trunk = Source(found, found.train, config["backbone"], config["alpha"], size).trunk
    tail = mobilenet.build_tail(config, classes, seed=seed, trunk=trunk)
    slow = mobilenet.trunk_variables(tail)
    model = mobilenet.join(tail, config, seed=seed, trunk=trunk, augment=True)
    steps = len(found.train) // config["batch_size"]
    known = {variable.path for variable in model.trainable_variables}
    compile_model(model, config, steps=steps, epochs=options.epochs, trunk=[path for path in slow if path in known])
    pixels = found.pixels(size)
    history = model.fit(
        pixels[found.train],
        one_hot(found.labels[found.train], classes),
        validation_data=(pixels[found.validation], one_hot(found.labels[found.validation], classes)),
        batch_size=config["batch_size"],
        epochs=options.epochs,
        verbose=0,
    ).history
    return float(history["val_accuracy"][-1])


def interval(differences: Sequence[float]) -> tuple[float, float, float]:
    """The mean and the ends of its 95 % interval."""
    values = np.asarray(differences)
    mean = float(values.mean())
    if len(values) < 2:
        return mean, float("-inf"), float("inf")
    freedom = max(number for number in STUDENT if number <= len(values) - 1)
    half = STUDENT[freedom] * float(values.std(ddof=1)) / len(values) ** 0.5
    return mean, mean - half, mean + half


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    result: dict[str, Any] = {"benchmark": "views", "size": options.size, "views": options.views, "pairs": []}
    with head_aside(options) as (found, base):
        for augmentation in options.augmentations:
            for depth in options.depths:
                config = {
                    **base, "augmentation": augmentation, "unfrozen_blocks": depth,
                    "trunk_rate": 0.1 if depth else 0.0,
                }  # fmt: skip
                for seed in range(options.seeds):
                    pair = {"augmentation": augmentation, "unfrozen_blocks": depth, "seed": seed}
                    pair["fixed"] = fixed(config, found, seed, options)
                    pair["fresh"] = fresh(config, found, seed, options)
                    result["pairs"].append(pair)
                    # A pair takes minutes: what was found so far is kept and seen.
                    print(json.dumps(pair), file=sys.stderr, flush=True)
                    if options.out:
                        options.out.write_text(json.dumps(result) + "\n")
    body: list[list[Any]] = []
    for name in (*options.augmentations, "together"):
        pairs = [pair for pair in result["pairs"] if name in (pair["augmentation"], "together")]
        mean, low, high = interval([pair["fixed"] - pair["fresh"] for pair in pairs])
        result.setdefault("differences", {})[name] = {"mean": mean, "low": low, "high": high, "pairs": len(pairs)}
        sides = [float(np.mean([pair[side] for pair in pairs])) for side in ("fixed", "fresh")]
        body.append([name, len(pairs), *(f"{value:.4f}" for value in (*sides, mean, low, high))])
    show(result, ["augmentation", "pairs", "fixed", "fresh", "difference", "low", "high"], body, options.out)
    return 0


def parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.views", description=(__doc__ or "").split("\n\n", 1)[0]
    )

    def numbers(text: str) -> tuple[int, ...]:
        return tuple(int(part) for part in text.split(","))

    command.add_argument("data", type=Path, metavar="DATA", help="a folder with one folder of pictures per class")
    command.add_argument("--weights", default="none", help="none, a weights file, or a folder of them (default: none)")
    command.add_argument("--size", type=int, default=160, help="side of the pictures in pixels (default: %(default)s)")
    command.add_argument("--epochs", type=int, default=9, help="default: %(default)s")
    command.add_argument("--views", type=int, default=Settings.views, help="fixed ones (default: %(default)s)")
    command.add_argument("--seeds", type=int, default=3, help="default: %(default)s")
    command.add_argument(
        "--augmentations",
        type=lambda text: tuple(text.split(",")),
        default=AUGMENTATIONS,
        help=f"default: {','.join(AUGMENTATIONS)}",
    )
    command.add_argument("--depths", type=numbers, default=(0, 3), help="unfrozen blocks (default: 0,3)")
    command.add_argument("--threads", type=int, default=os.cpu_count(), help="of the training (default: cores)")
    command.add_argument("--out", type=Path, help="also write the JSON there")
    return command


if __name__ == "__main__":
    raise SystemExit(main())
