"""The bare work behind a good head, in one fresh process: import, decode, one pass of the trunk, training of the head.

No search can give its first good model sooner than this. The pass is the fastest that the project knows (batch norms
folded, bfloat16 where it is faster), or Keras's own float32 with `--plain`.

    python -m tests.benchmarks.limit DATA --weights WEIGHTS --size 160 --backbone MobileNetV2-1.0
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

from models.sizes import is_probe
from search.training.weights import find_weights
from tests.benchmarks.measuring import ROOT, show
from tests.benchmarks.plain_ray_tune import decode

PARTS = ("import", "decode", "trunk", "head")
EPOCHS = 9
# A head that is known to be good: no search is timed here.
HEAD: dict[str, Any] = {
    "normalize": True, "units": 0, "dropout": 0.2, "weight_decay": 0.0, "label_smoothing": 0.0, "optimizer": "adam",
    "learning_rate": 3e-3, "schedule": "constant", "batch_size": 32,
}  # fmt: skip


def measured(data: Path, weights: str, size: int, config: dict[str, Any] | None, epochs: int) -> dict[str, Any]:
    """Runs this command in a fresh process, for a configuration's backbone and head; returns what it says."""
    command = [sys.executable, "-m", "tests.benchmarks.limit", str(data), "--weights", weights, "--size", str(size)]
    # A probe has no epochs: the work is that of the head that is known to be good.
    command += ["--epochs", str(EPOCHS if config is not None and is_probe(config) else epochs)]
    if config is not None:
        head = {name: config.get(name, usual) for name, usual in HEAD.items()}
        command += ["--backbone", f"{config['backbone']}-{config['alpha']}", "--head", json.dumps(head)]
    said = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    result: dict[str, Any] = json.loads(said.splitlines()[-1])
    return result


def measure(options: argparse.Namespace, began: float) -> dict[str, Any]:
    """Does the work once, part by part."""
    marks = [began]
    from search.training import devices

    precision = devices.prepare(os.cpu_count() or 1, "float32" if options.plain else "auto")
    import keras
    import numpy as np

    from models import mobilenet
    from models.compiling import compile_model
    from models.trunk import Trunk

    found = {f"{item.backbone}-{item.alpha}": item for item in find_weights(options.weights, seed=0)}
    if options.backbone is not None and options.backbone not in found:
        raise ValueError(f"--backbone needs one of {', '.join(found)}, got {options.backbone!r}")
    item = found[options.backbone or next(iter(found))]
    marks.append(time.monotonic())
    sides = [decode(options.data / side, options.size) for side in ("train", "validation")]
    marks.append(time.monotonic())
    trunk = Trunk(item.backbone, item.alpha, options.size, item.path)
    lower = trunk.lower(0, [], pooled=True)
    forward = (lambda batch: [lower.predict_on_batch(batch)]) if options.plain else devices.inference(lower)
    features = [
        np.concatenate([np.asarray(forward(pictures[at : at + 32])[0]) for at in range(0, len(pictures), 32)])
        for pictures, _ in sides
    ]
    marks.append(time.monotonic())
    keras.utils.set_random_seed(options.seed)
    classes = len(np.unique(sides[0][1]))
    config = {**HEAD, **options.head, "unfrozen_blocks": 0}
    head = mobilenet.build_tail(config, classes, seed=options.seed, trunk=trunk)
    compile_model(head, config, steps=len(sides[0][1]) // config["batch_size"], epochs=options.epochs)
    truth = [np.eye(classes, dtype=np.float32)[labels] for _, labels in sides]
    history = head.fit(
        features[0].astype(np.float32),
        truth[0],
        validation_data=(features[1].astype(np.float32), truth[1]),
        batch_size=config["batch_size"],
        epochs=options.epochs,
        verbose=0,
    ).history
    marks.append(time.monotonic())
    parts = {name: round(marks[index + 1] - marks[index], 2) for index, name in enumerate(PARTS)}
    return {
        "benchmark": "limit",
        "backbone": f"{item.backbone}-{item.alpha}",
        "size": options.size,
        "precision": precision,
        "pictures": sum(len(labels) for _, labels in sides),
        "parts": parts,
        "seconds": round(marks[-1] - marks[0], 2),
        "accuracy": max(history["val_accuracy"]),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    began = time.monotonic()
    options = parser().parse_args(arguments)
    result = measure(options, began)
    body = [*([name, seconds] for name, seconds in result["parts"].items()), ["together", result["seconds"]]]
    show(result, [f"{result['backbone']}, {result['accuracy']:.4f}", "seconds"], body, options.out)
    return 0


def parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.limit", description=(__doc__ or "").split("\n\n", 1)[0]
    )
    command.add_argument("data", type=Path, metavar="DATA", help="a folder with train/ and validation/")
    command.add_argument("--weights", default="none", help="none, a weights file, or a folder of them (default: none)")
    command.add_argument("--size", type=int, default=160, help="side of the pictures in pixels (default: %(default)s)")
    command.add_argument("--backbone", help="as NAME-ALPHA (default: the first that --weights has)")
    command.add_argument("--epochs", type=int, default=EPOCHS, help="of the head (default: %(default)s)")
    command.add_argument("--head", type=json.loads, default={}, help="JSON of what its configuration changes")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--plain", action="store_true", help="the pass by Keras as it is, in float32")
    command.add_argument("--out", type=Path, help="also write the JSON there")
    return command


if __name__ == "__main__":
    raise SystemExit(main())
