"""What a trial costs beyond the bare Keras loop, for a head, a few blocks, and all of the network.

Both train the same model on the same arrays, one after the other and in turns: `search.training.trial.train` as a
worker calls it, and `build`, `compile`, `fit` as anyone would write it. With `--tune` the same trials also run through
Tune and its warm workers, and the wall time per trial is given.

    python -m tests.benchmarks.cost_per_trial DATA --weights WEIGHTS --size 160
"""

import argparse
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from search.data.pictures import Pictures, one_hot
from search.settings import Settings
from search.training.trial import MATERIALS, Clock, train
from tests.benchmarks.listed import Item, run_listed, standard_list
from tests.benchmarks.measuring import folder_aside, names_from, ready_pictures, show

DEPTHS = {"head only": 0, "mid-depth": 3, "everything": 19}


def own(config: Mapping[str, Any], found: Pictures, epochs: int, threads: int) -> tuple[float, list[float]]:
    """Seconds of a whole trial, and those between its reports."""
    marks = [time.perf_counter()]
    train(
        "mobilenet", config, found, seed=0, epochs=epochs, planned=epochs, most_views=1, threads=threads,
        report=lambda row: marks.append(time.perf_counter()),
    )  # fmt: skip
    return time.perf_counter() - marks[0], np.diff(marks[1:]).tolist()


def bare(config: Mapping[str, Any], found: Pictures, epochs: int, threads: int) -> tuple[float, list[float]]:
    """The same by `model.fit` on the same arrays: seconds of the whole, and of its epochs after the first."""
    import keras

    from models.compiling import compile_model

    class Marks(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            marks.append(time.perf_counter())

    # Where the arrays come from is the cache's business: they are there before the clock starts.
    material = MATERIALS["mobilenet"](config, found, seed=0, most_views=1, threads=threads, clock=Clock())
    everything = np.arange(len(material.labels))
    x, y = material.training(0).take(everything), one_hot(material.labels, len(found.classes))
    assert material.validation is not None
    held_out = material.validation.take(np.arange(len(material.validation)))
    truth = one_hot(found.labels[found.validation], len(found.classes))
    began = time.perf_counter()
    marks: list[float] = []
    keras.utils.set_random_seed(0)
    # Built again, because building is a part of every trial.
    model = MATERIALS["mobilenet"](config, found, seed=0, most_views=1, threads=threads, clock=Clock()).model
    batch = min(int(config["batch_size"]), len(y))
    compile_model(model, config, steps=len(y) // batch, epochs=epochs, trunk=_slow(material.slow, model))
    model.fit(x, y, batch_size=batch, epochs=epochs, validation_data=(held_out, truth), verbose=0, callbacks=[Marks()])
    return time.perf_counter() - began, np.diff(marks).tolist()


def _slow(paths: Sequence[str], model: Any) -> list[str]:
    known = {variable.path for variable in model.trainable_variables}
    return [path for path in paths if path in known]


def measure(name: str, config: Mapping[str, Any], found: Pictures, options: argparse.Namespace) -> dict[str, Any]:
    """Medians over repetitions, the two taking turns so that a busy machine is busy for both."""
    calls = {"pedigree": own, "bare": bare}
    sides: dict[str, list[tuple[float, list[float]]]] = {side: [] for side in calls}
    computed = dict.fromkeys(calls, 0.0)
    for call in calls.values():
        call(config, found, 1, options.threads)  # fills the cache and whatever the framework keeps
    for _ in range(options.repeat):
        for side, call in calls.items():
            began = time.process_time()
            sides[side].append(call(config, found, options.epochs, options.threads))
            computed[side] += (time.process_time() - began) / options.repeat
    wholes = {side: float(np.median([whole for whole, _ in runs])) for side, runs in sides.items()}
    per_epoch = {side: float(np.median([s for _, epochs in runs for s in epochs])) for side, runs in sides.items()}
    return {
        "depth": name,
        "seconds": wholes,
        "cpu_seconds": computed,  # of all threads; tells more than the clock does on a busy machine
        "epoch_seconds": per_epoch,
        "trial_overhead_seconds": wholes["pedigree"] - wholes["bare"],
        "trial_overhead": wholes["pedigree"] / wholes["bare"] - 1,
        "epoch_overhead_seconds": per_epoch["pedigree"] - per_epoch["bare"],
    }


def through_tune(settings: Settings, config: dict[str, Any], number: int, folder: Path) -> dict[str, float]:
    """Wall seconds per trial of `number` equal trials with one warm worker, its start and the cache left out."""
    items: list[Item] = [{"family": "mobilenet", "config": config}] * number
    rows, _ = run_listed(settings, items, folder)
    ends = [row["time"] for row in rows if row["event"] == "end"]
    inside = [row["seconds"] for row in rows if row["event"] == "epoch" and not row["trial"].endswith("-000")]
    wall = (ends[-1] - ends[0]) / (len(ends) - 1)
    return {"seconds": wall, "inside_seconds": sum(inside) / (len(ends) - 1)}


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    from search.training import devices

    devices.prepare(options.threads, "auto")
    result: dict[str, Any] = {"benchmark": "cost_per_trial", "size": options.size, "epochs": options.epochs}
    body: list[list[Any]] = []
    with folder_aside() as folder:
        settings = Settings(
            data=str(options.data.resolve()), families=("mobilenet",), epochs=options.epochs, weights=options.weights,
            image_sizes=(options.size,), concurrency=1, name="tune", runs_dir=str(folder / "runs"),
            cache_dir=str(folder / "cache"),
        )  # fmt: skip
        found = ready_pictures(settings)
        config = standard_list(options.size, list(found.weights))[0]["config"]
        for name in options.depths:
            changed = {**config, "unfrozen_blocks": DEPTHS[name], "trunk_rate": 0.1 if DEPTHS[name] else 0.0}
            found_costs = measure(name, changed, found, options)
            result.setdefault("depths", []).append(found_costs)
            seconds, per_epoch = found_costs["seconds"], found_costs["epoch_seconds"]
            computed = found_costs["cpu_seconds"]
            body.append([f"{name}: trial", seconds["pedigree"], seconds["bare"], found_costs["trial_overhead_seconds"]])
            spent = (computed["pedigree"], computed["bare"])
            body.append([f"{name}: trial, CPU", *spent, spent[0] - spent[1]])
            body.append(
                [f"{name}: epoch", per_epoch["pedigree"], per_epoch["bare"], found_costs["epoch_overhead_seconds"]]
            )
        if options.tune:
            result["tune"] = through_tune(settings, config, options.tune, folder / "tune")
            wall, inside = result["tune"]["seconds"], result["tune"]["inside_seconds"]
            body.append(["head only through Tune: wall, inside", wall, inside, wall - inside])
    show(result, ["seconds", "pedigree", "bare", "overhead"], body, options.out)
    return 0


def parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.cost_per_trial", description=(__doc__ or "").split("\n\n", 1)[0]
    )
    command.add_argument("data", type=Path, metavar="DATA", help="a folder with one folder of pictures per class")
    command.add_argument("--weights", default="none", help="none, a weights file, or a folder of them (default: none)")
    command.add_argument("--size", type=int, default=160, help="side of the pictures in pixels (default: %(default)s)")
    command.add_argument("--epochs", type=int, default=3, help="of each trial (default: %(default)s)")
    command.add_argument("--repeat", type=int, default=3, help="trials on each side (default: %(default)s)")
    command.add_argument("--threads", type=int, default=os.cpu_count(), help="of the training (default: cores)")
    command.add_argument(
        "--depths",
        type=names_from(DEPTHS),
        default=tuple(DEPTHS),
        help=f"from {', '.join(DEPTHS)}, separated by commas (default: all)",
    )
    command.add_argument("--tune", type=int, default=0, metavar="N", help="also N head-only trials through Tune")
    command.add_argument("--out", type=Path, help="also write the JSON there")
    return command


if __name__ == "__main__":
    raise SystemExit(main())
