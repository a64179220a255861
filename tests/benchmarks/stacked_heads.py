"""What would heads on the same activations gain from training as one batched computation? At best, and of how much?

One after the other: `search.training.trial.train`, as a worker calls it. As a stack: one layer that holds all heads, on
the cheapest terms there can be (the same batches for all, one rate, no dropout, nothing built per head), so that the
real gain is smaller. With `--run` it also says which share of the training in a run's rows head-only trials were:
nothing that is done for them can spare the run more.

    python -m tests.benchmarks.stacked_heads DATA --weights WEIGHTS --heads 1,16,64 --run runs/NAME
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from results.rows import read_rows
from search.data.pictures import Pictures, one_hot
from search.training.activations import Source
from search.training.trial import SCORING_BATCH, train
from tests.benchmarks.listed import head_aside
from tests.benchmarks.measuring import show


def one_by_one(config: Mapping[str, Any], found: Pictures, heads: int, options: argparse.Namespace) -> float:
    """Seconds of so many trials that differ in their learning rates."""
    began = time.perf_counter()
    for number in range(heads):
        changed = {**config, "learning_rate": 1e-3 * 1.1**number}
        train(
            "mobilenet", changed, found, seed=number, epochs=options.epochs, planned=options.epochs, most_views=1,
            threads=options.threads, report=lambda row: None,
        )  # fmt: skip
    return time.perf_counter() - began


def stacked(config: Mapping[str, Any], found: Pictures, heads: int, options: argparse.Namespace) -> float:
    """Seconds of as many heads in one layer."""
    import keras

    class Heads(keras.layers.Layer):  # type: ignore[misc]
        """Features (n, width) to probabilities (n, heads, classes)."""

        def build(self, shape: tuple[int, ...]) -> None:
            self.kernel = self.add_weight(shape=(shape[-1], heads * classes), initializer="glorot_uniform")
            self.bias = self.add_weight(shape=(heads * classes,), initializer="zeros")

        def call(self, features: Any) -> Any:
            # Every head sees the same pictures: then all of them are one matrix.
            logits = keras.ops.matmul(features, self.kernel) + self.bias
            return keras.ops.softmax(keras.ops.reshape(logits, (-1, heads, classes)))

    def features(rows: Any) -> Any:
        read = Source(found, rows, config["backbone"], config["alpha"], config["image_size"]).read(None, "none", 0)
        return np.asarray(read, np.float32)

    classes = len(found.classes)
    x, held_out = features(found.train), features(found.validation)
    y = np.repeat(one_hot(found.labels[found.train], classes)[:, None], heads, axis=1)
    began = time.perf_counter()
    inputs = keras.Input((x.shape[1],))
    model = keras.Model(inputs, Heads()(inputs))
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
    batch = min(int(config["batch_size"]), len(x))
    order = np.random.default_rng(0)
    for _ in range(options.epochs):
        places = order.permutation(len(x))
        for start in range(0, len(x) // batch * batch, batch):
            chosen = places[start : start + batch]
            model.train_on_batch(x[chosen], y[chosen])
        for start in range(0, len(held_out), SCORING_BATCH):
            model.predict_on_batch(held_out[start : start + SCORING_BATCH])
    return time.perf_counter() - began


def share_of_heads(run: Path) -> float:
    """Which part of the seconds of a run's epochs head-only trials took."""
    spent = {True: 0.0, False: 0.0}
    for trial in read_rows(run / "trials.jsonl").trials.values():
        head_only = trial.config.get("unfrozen_blocks") == 0
        spent[head_only] += sum((row["building"] or 0) + (row["training"] or 0) for row in trial.curve)
    return spent[True] / max(sum(spent.values()), 1e-9)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    result: dict[str, Any] = {"benchmark": "stacked_heads", "size": options.size, "epochs": options.epochs}
    body: list[list[Any]] = []
    with head_aside(options) as (found, config):
        for call in (one_by_one, stacked):
            call(config, found, 1, options)  # fills the cache and whatever the framework keeps
        for heads in options.heads:
            seconds = [call(config, found, heads, options) for call in (one_by_one, stacked)]
            result.setdefault("heads", []).append({"heads": heads, "one_by_one": seconds[0], "stacked": seconds[1]})
            body.append([heads, *seconds, seconds[0] / seconds[1]])
    if options.run:
        result["share_of_heads"] = share_of_heads(options.run)
        body.append(["share of a run's training, %", 100 * result["share_of_heads"], None, None])
    show(result, ["heads", "one by one", "stacked", "ratio"], body, options.out)
    return 0


def parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.stacked_heads", description=(__doc__ or "").split("\n\n", 1)[0]
    )
    command.add_argument("data", type=Path, metavar="DATA", help="a folder with one folder of pictures per class")
    command.add_argument("--weights", default="none", help="none, a weights file, or a folder of them (default: none)")
    command.add_argument("--size", type=int, default=160, help="side of the pictures in pixels (default: %(default)s)")
    command.add_argument("--epochs", type=int, default=9, help="default: %(default)s")
    command.add_argument(
        "--heads", type=lambda text: tuple(int(part) for part in text.split(",")), default=(1, 16, 64), metavar="N,N",
        help="how many (default: 1,16,64)",
    )  # fmt: skip
    command.add_argument("--threads", type=int, default=1, help="of the training (default: %(default)s)")
    command.add_argument("--run", type=Path, metavar="DIR", help="a run folder whose head-only trials are counted")
    command.add_argument("--out", type=Path, help="also write the JSON there")
    return command


if __name__ == "__main__":
    raise SystemExit(main())
