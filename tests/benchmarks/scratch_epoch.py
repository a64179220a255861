"""What an epoch of a scratch network costs, against every way in which plain Keras and TensorFlow would train it.

The same network, augmentation, pictures, batches and Adam on each side, each side in a process of its own, in turns:

`pedigree`: `search.training.trial.train`, as a worker calls it.
`fit`: Keras's own layers and `model.fit` on the arrays.
`fit on tf.data`: the same on a shuffled, batched and prefetched dataset.
`fit by XLA`: the first with `jit_compile=True`.
`tf.function`: the same layers in a training step written by hand.

The bare sides run in each precision of `--precisions`, Pedigree in the one that it measures to be faster. An epoch is
the training alone, without validation; the first one of each process, which also compiles, is not counted.

    python -m tests.benchmarks.scratch_epoch DATA --size 96
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from search.data.pictures import Pictures, one_hot
from search.settings import Settings
from search.studies.hyperparameters import TrialHyperParameters
from spaces import FAMILIES
from spaces.costs import work
from tests.benchmarks.measuring import ROOT, folder_aside, names_from, ready_pictures, show

FAMILY = "scratch_keras"
# What each network changes in the family's base configuration.
NETWORKS: dict[str, dict[str, Any]] = {
    "plain": {"blocks": 4, "filters": 32, "stem_stride": 1},
    "stride 2": {"blocks": 4, "filters": 32, "stem_stride": 2},
    "stride 2 and batch norm": {"blocks": 4, "filters": 32, "stem_stride": 2, "batch_norm": True, "head": "average"},
}


def configuration(network: str, size: int) -> dict[str, Any]:
    """A network's whole configuration at a picture size."""
    return FAMILIES[FAMILY].space(TrialHyperParameters(values=NETWORKS[network]), image_sizes=(size,))


def own(config: Mapping[str, Any], found: Pictures, epochs: int, threads: int) -> list[float]:
    """Seconds of each epoch by Pedigree."""
    from search.training import devices
    from search.training.trial import train

    devices.prepare(threads, "auto")
    rows: list[dict[str, Any]] = []
    train(
        FAMILY, config, found, seed=0, epochs=epochs, planned=epochs, most_views=1, threads=threads, report=rows.append
    )
    return [row["training"] for row in rows]


def plain_network(config: Mapping[str, Any], classes: int) -> Any:
    """The network of a configuration behind Keras's own random layers, its weights trained by Keras's own Adam."""
    import keras

    from models import scratch

    layers = [keras.layers.Rescaling(1.0)]
    if config["flip"] != "none":
        layers.append(keras.layers.RandomFlip("horizontal" if config["flip"] == "horizontal" else None))
    for strength, layer in (
        (config["rotation"], keras.layers.RandomRotation),
        (config["zoom"], keras.layers.RandomZoom),
        (config["translation"], lambda strength: keras.layers.RandomTranslation(strength, strength)),
        (config["contrast"], lambda strength: keras.layers.RandomContrast(strength, value_range=(0, 255))),
    ):
        if strength:
            layers.append(layer(strength))
    return scratch.build(config, classes, seed=0, augmentation=layers)


def by_fit(config: Mapping[str, Any], found: Pictures, epochs: int, *, dataset: bool, jit: bool) -> list[float]:
    """Seconds of each epoch of `model.fit`."""
    import keras
    import tensorflow as tf

    class Marks(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            began.append(time.perf_counter())

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            seconds.append(time.perf_counter() - began[-1])

    began: list[float] = []
    seconds: list[float] = []
    x, y = _arrays(config, found)
    batch = _batch(config, found)
    model = plain_network(config, len(found.classes))
    optimizer = keras.optimizers.Adam(config["learning_rate"])
    model.compile(optimizer, loss="categorical_crossentropy", metrics=["accuracy"], jit_compile=jit)
    if dataset:
        data = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(y)).batch(batch, drop_remainder=True).prefetch(2)
        model.fit(data, epochs=epochs, verbose=0, callbacks=[Marks()])
    else:
        model.fit(x, y, batch_size=batch, epochs=epochs, verbose=0, callbacks=[Marks()])
    return seconds


def by_hand(config: Mapping[str, Any], found: Pictures, epochs: int) -> list[float]:
    """Seconds of each epoch of a TensorFlow loop with a training step of its own."""
    import keras
    import tensorflow as tf

    x, y = _arrays(config, found)
    batch = _batch(config, found)
    model = plain_network(config, len(found.classes))
    optimizer = keras.optimizers.Adam(config["learning_rate"])
    optimizer.build(model.trainable_variables)

    @tf.function  # type: ignore[untyped-decorator]
    def step(pictures: Any, truth: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = keras.losses.categorical_crossentropy(truth, model(pictures, training=True))
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return tf.reduce_mean(loss)

    order = np.random.default_rng(0)
    seconds = []
    for _ in range(epochs):
        began = time.perf_counter()
        places = order.permutation(len(y))
        for start in range(0, len(y) - batch + 1, batch):
            chosen = places[start : start + batch]
            loss = step(x[chosen], y[chosen])
        float(loss)
        seconds.append(time.perf_counter() - began)
    return seconds


def _arrays(config: Mapping[str, Any], found: Pictures) -> tuple[Any, Any]:
    pixels = np.asarray(found.pixels(config["image_size"]))[found.train]
    return pixels, one_hot(found.labels[found.train], len(found.classes))


def _batch(config: Mapping[str, Any], found: Pictures) -> int:
    return min(int(config["batch_size"]), len(found.train))


BARE: dict[str, Callable[[Mapping[str, Any], Pictures, int], list[float]]] = {
    "fit": lambda config, found, epochs: by_fit(config, found, epochs, dataset=False, jit=False),
    "fit on tf.data": lambda config, found, epochs: by_fit(config, found, epochs, dataset=True, jit=False),
    "fit by XLA": lambda config, found, epochs: by_fit(config, found, epochs, dataset=False, jit=True),
    "tf.function": by_hand,
}
OWN = "pedigree"


def one_side(settings: Settings, side: str, precision: str, network: str, epochs: int, threads: int) -> list[float]:
    """Seconds of each epoch but the first, in this process."""
    found = ready_pictures(settings)
    config = configuration(network, settings.image_sizes[0])
    if side == OWN:
        return own(config, found, epochs + 1, threads)[1:]
    import keras
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    keras.utils.set_random_seed(0)
    if precision != "float32":
        keras.config.set_dtype_policy(f"mixed_{precision}")
    return BARE[side](config, found, epochs + 1)[1:]


def pairs(sides: Sequence[str], precisions: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Pedigree and every bare side, with the precision that each is told."""
    yield OWN, "auto"
    for precision in precisions:
        for side in sides:
            yield side, precision


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    if options.one:
        settings, *what = json.loads(options.one)
        print(json.dumps(one_side(Settings.from_json(settings), *what)))
        return 0
    every = list(pairs(options.sides, options.precisions))
    result: dict[str, Any] = {"benchmark": "scratch_epoch", "size": options.size, "threads": options.threads}
    body: list[list[Any]] = []
    with folder_aside() as folder:
        settings = Settings(
            data=str(options.data.resolve()), families=(FAMILY,), image_sizes=(options.size,), weights="none",
            name="epoch", runs_dir=str(folder / "runs"), cache_dir=str(folder / "cache"),
        )  # fmt: skip
        pictures = len(ready_pictures(settings).train)
        for network in options.networks:
            seconds: dict[tuple[str, str], list[float]] = {side: [] for side in every}
            for _ in range(options.repeat):
                for side, precision in every:
                    seconds[side, precision] += in_a_process(settings, side, precision, network, options)
            medians = {side: median(found) for side, found in seconds.items()}
            best = min((side for side in medians if side[0] != OWN), key=medians.__getitem__)
            # A step has six operations for each multiply-add forward: two of them there, four in both gradients.
            operations = 2 * work(FAMILY, configuration(network, options.size)) * pictures / 1e3
            result.setdefault("networks", []).append(
                {
                    "network": network,
                    "pictures": pictures,
                    "seconds": {", ".join(side): value for side, value in medians.items()},
                    "best": ", ".join(best),
                    "ratio": medians[OWN, "auto"] / medians[best],
                }
            )
            for (side, precision), value in medians.items():
                name = f"{network}: {side}, {precision}"
                body.append([name, value, operations / value, medians[OWN, "auto"] / value])
    show(result, ["epoch", "seconds", "GFLOP/s", "Pedigree's share"], body, options.out)
    return 0


def in_a_process(
    settings: Settings, side: str, precision: str, network: str, options: argparse.Namespace
) -> list[float]:
    """Seconds of each epoch of one side, in a fresh process; raises RuntimeError with what it said if it fails."""
    what = [settings.to_json(), side, precision, network, options.epochs, options.threads]
    command = [sys.executable, "-m", "tests.benchmarks.scratch_epoch", str(options.data), "--one", json.dumps(what)]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{side}, {precision}, {network}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    seconds: list[float] = json.loads(done.stdout.splitlines()[-1])
    return seconds


def parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.scratch_epoch", description=(__doc__ or "").split("\n\n", 1)[0]
    )
    command.add_argument("data", type=Path, metavar="DATA", help="a folder with one folder of pictures per class")
    command.add_argument("--size", type=int, default=96, help="side of the pictures in pixels (default: %(default)s)")
    command.add_argument("--epochs", type=int, default=3, help="counted, of each process (default: %(default)s)")
    command.add_argument("--repeat", type=int, default=2, help="processes of each side (default: %(default)s)")
    command.add_argument("--threads", type=int, default=os.cpu_count(), help="of the training (default: cores)")
    for option, known, which in (
        ("--networks", tuple(NETWORKS), tuple(NETWORKS)),
        ("--sides", tuple(BARE), tuple(BARE)),
        ("--precisions", ("float32", "bfloat16"), ("float32",)),
    ):
        command.add_argument(
            option,
            type=names_from(known),
            default=which,
            metavar="A,B",
            help=f"from {', '.join(known)} (default: {', '.join(which)})",
        )
    command.add_argument("--one", help=argparse.SUPPRESS)
    command.add_argument("--out", type=Path, help="also write the JSON there")
    return command


if __name__ == "__main__":
    raise SystemExit(main())
