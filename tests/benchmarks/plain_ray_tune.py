"""Plain Ray Tune with OptunaSearch and ASHA over Keras: the measuring stick for Pedigree's machinery.

Pedigree's own spaces and models, so that a configuration means the same on both sides, in the program that Ray's
guides lead to: pictures decoded once and put in the object store, `tf.data` with prefetching, a fresh process and the
whole network for every trial, one study for all families, concurrency set by hand. One JSON row per epoch: `t` seconds
since the start, `trial`, `family`, `epoch`, `val_accuracy`.

    python -m tests.benchmarks.plain_ray_tune DATA --weights WEIGHTS --size 160 --seconds 900 --out plain.jsonl
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from search.studies.hyperparameters import TrialHyperParameters, values_to_point
from search.studies.spaces import fits
from search.training.weights import find_weights
from spaces import FAMILIES

Array = NDArray[Any]
Backbones = dict[tuple[str, float], str | None]  # weights file by name and alpha; None for random weights


def decode(folder: Path, size: int) -> tuple[Array, Array]:
    """The pictures of a folder of class folders as uint8 (n, size, size, 3), and their labels."""
    classes = sorted(path for path in folder.iterdir() if path.is_dir())
    files = [(file, label) for label, path in enumerate(classes) for file in sorted(path.iterdir())]

    def read(file: Path) -> Array:
        with Image.open(file) as image:
            picture = image.convert("RGB")
        side = min(picture.size)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        box = (left, top, left + side, top + side)
        return np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR, box=box))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        pictures = list(pool.map(read, [file for file, _ in files]))
    return np.stack(pictures), np.array([label for _, label in files])


def suggest(trial: Any, families: Sequence[str], size: int, backbones: Sequence[tuple[str, float]]) -> dict[str, Any]:
    """The space of all families as one define-by-run function, as `OptunaSearch` takes it."""
    family = trial.suggest_categorical("family", list(families))
    hp = TrialHyperParameters(trial)
    more = {"backbones": tuple(backbones)} if family == "mobilenet" else {}
    # One study for all families: the same name with another range would be refused.
    with hp.name_scope(family):
        return {"config": FAMILIES[family].space(hp, image_sizes=(size,), **more)}


def start_points(families: Sequence[str], size: int, weights: Backbones) -> list[dict[str, Any]]:
    """Pedigree's own first points of every family, the families in turn."""
    points: dict[str, list[dict[str, Any]]] = {}
    for family in families:
        bound: dict[str, Any] = {"image_sizes": (size,)}
        starts = FAMILIES[family].starts
        if family == "mobilenet":
            bound |= {"backbones": tuple(weights), "pretrained": all(weights.values())}
            starts = starts if bound["pretrained"] else ()
        space = partial(FAMILIES[family].space, **bound)
        points[family] = [
            {"family": family, **{f"{family}/{name}": value for name, value in values_to_point(space, values).items()}}
            for values in ({}, *starts)
            if fits(space, values)
        ]
    return [point for group in zip_longest(*points.values()) for point in group if point is not None]


def build(family: str, config: dict[str, Any], classes: int, steps: int, epochs: int, weights: Backbones) -> Any:
    """The whole network of a configuration, augmentation included, compiled."""
    from models import mobilenet, scratch_keras
    from models.compiling import compile_model
    from models.trunk import Trunk

    slow: list[str] = []
    if family == "mobilenet":
        file = weights[config["backbone"], config["alpha"]]
        trunk = Trunk(config["backbone"], config["alpha"], config["image_size"], None if file is None else Path(file))
        tail = mobilenet.build_tail(config, classes, seed=0, trunk=trunk)
        slow = mobilenet.trunk_variables(tail)
        model = mobilenet.join(tail, config, seed=0, trunk=trunk, augment=True)
        known = {variable.path for variable in model.trainable_variables}
        slow = [path for path in slow if path in known]
    else:
        model = scratch_keras.build(config, classes, seed=0)
    compile_model(model, config, steps=steps, epochs=epochs, trunk=slow)
    return model


def train(
    config: dict[str, Any], data: tuple[Array, ...], epochs: int, threads: int, weights: Backbones, seed: int
) -> None:
    """One trial: the body of a Ray Tune trainable."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras
    import tensorflow as tf
    from ray import tune

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    keras.utils.set_random_seed(seed)
    pictures, labels, held_out, truth = data
    item = config.get("item", config)
    family, settings = item["family"], item["config"]
    batch, classes = settings["batch_size"], int(labels.max()) + 1
    training = tf.data.Dataset.from_tensor_slices((pictures, np.eye(classes, dtype=np.float32)[labels]))
    training = training.shuffle(len(labels), seed=seed).batch(batch, drop_remainder=len(labels) >= batch).prefetch(2)
    validation = tf.data.Dataset.from_tensor_slices((held_out, np.eye(classes, dtype=np.float32)[truth]))
    model = build(family, settings, classes, max(1, len(labels) // batch), epochs, weights)

    class Report(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
            tune.report({"val_accuracy": logs["val_accuracy"], "epoch": epoch + 1})

    model.fit(
        training, validation_data=validation.batch(64).prefetch(2), epochs=epochs, verbose=0, callbacks=[Report()]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    began = time.monotonic()
    options = parser().parse_args(arguments)
    import ray
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    families = options.families.split(",")
    found = find_weights(options.weights, seed=0) if "mobilenet" in families else ()
    weights: Backbones = {(item.backbone, item.alpha): str(item.path) if item.path else None for item in found}
    data = (*decode(options.data / "train", options.size), *decode(options.data / "validation", options.size))
    out = options.out.resolve()
    out.unlink(missing_ok=True)

    class Rows(tune.Callback):  # type: ignore[misc]
        def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **_: Any) -> None:
            item = trial.config.get("item", trial.config)
            row = {
                "t": round(time.monotonic() - began, 2),
                "trial": trial.trial_id,
                "number": item.get("number"),
                "family": item["family"],
                "epoch": result["epoch"],
                "val_accuracy": result["val_accuracy"],
                "config": item["config"],
            }
            with out.open("a") as file:
                file.write(json.dumps(row) + "\n")

    metric = {"metric": "val_accuracy", "mode": "max"}
    listed = json.loads(options.configs.read_text()) if options.configs else None
    if listed is not None:
        how = tune.TuneConfig(max_concurrent_trials=options.concurrency, **metric)
        space = tune.grid_search([{"number": number, **item} for number, item in enumerate(listed)])
        parameters = {"item": space}
    else:
        define = partial(suggest, families=families, size=options.size, backbones=tuple(weights))
        points = start_points(families, options.size, weights) if options.starts else None
        how = tune.TuneConfig(
            search_alg=OptunaSearch(define, points_to_evaluate=points, seed=options.seed, **metric),
            scheduler=ASHAScheduler(max_t=options.epochs, grace_period=1, reduction_factor=3, **metric),
            num_samples=options.trials,
            time_budget_s=options.seconds,
            max_concurrent_trials=options.concurrency,
        )
        parameters = {}
    # A cluster of its own, whatever else runs on this machine.
    ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    body = tune.with_parameters(
        train, data=data, epochs=options.epochs, threads=options.threads, weights=weights, seed=options.seed
    )
    with tempfile.TemporaryDirectory() as storage:
        tune.Tuner(
            tune.with_resources(body, {"cpu": (os.cpu_count() or 1) / options.concurrency}),
            param_space=parameters,
            tune_config=how,
            run_config=tune.RunConfig(storage_path=storage, verbose=0, callbacks=[Rows()]),
        ).fit()
    print(json.dumps({"program": "plain ray tune", "seconds": round(time.monotonic() - began, 1)}))
    return 0


def parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.plain_ray_tune", description=(__doc__ or "").split("\n\n", 1)[0]
    )
    command.add_argument("data", type=Path, metavar="DATA", help="a folder with train/ and validation/")
    command.add_argument("--weights", default="none", help="none, a weights file, or a folder of them (default: none)")
    command.add_argument("--families", default="mobilenet,scratch_keras", help="default: %(default)s")
    command.add_argument("--size", type=int, default=160, help="side of the pictures in pixels (default: %(default)s)")
    command.add_argument("--trials", type=int, default=40, help="of all families together (default: %(default)s)")
    command.add_argument("--epochs", type=int, default=9, help="budget of a full trial (default: %(default)s)")
    command.add_argument("--starts", action="store_true", help="begin with the same first points as Pedigree")
    command.add_argument("--seconds", type=float, help="bound on the search (default: none)")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--concurrency", type=int, default=os.cpu_count(), help="trials at a time (default: cores)")
    command.add_argument("--threads", type=int, default=1, help="TensorFlow's threads in a trial (default: 1)")
    command.add_argument(
        "--configs", type=Path, help='JSON list of {"family", "config"} to train instead of a search, each in full'
    )
    command.add_argument("--out", type=Path, default=Path("plain.jsonl"), help="where rows go (default: %(default)s)")
    return command


if __name__ == "__main__":
    raise SystemExit(main())
