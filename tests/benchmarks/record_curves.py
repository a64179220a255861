"""Records learning curves of configurations drawn at random, each trained to its full budget: what `replay` replays.

Of every family the base configuration and the hand-written points come first, then draws from its space, the families
in turn, so that whatever has been recorded is balanced. Every configuration is one JSON line of ROWS, appended when it
is through; those that are there already are passed over, so the command can be interrupted and repeated. `--pack` makes
the table of a repository out of it: numbers and points of the space alone.

The seconds of an epoch are processor time of the process that trains it, on one thread, with its building in the first
epoch and without its waiting for pixels and activations, which trials share: unlike the seconds on a clock they stay
true while other work shares the cores.

    python -m tests.benchmarks.record_curves DATA --weights WEIGHTS --image-sizes 48,64 --rows rows.jsonl \
        --pack tests/benchmarks/curves/photographs.json.xz
"""

import argparse
import json
import lzma
import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from search.data.pictures import Indices, Pictures
from search.parsing import names, sizes
from search.settings import DEMO, Settings
from search.studies.hyperparameters import TrialHyperParameters, values_to_point
from search.studies.spaces import Space, fits
from search.training import devices
from search.training.weights import find_weights
from spaces import FAMILIES
from spaces.costs import work
from tests.benchmarks.measuring import Row, ready_pictures
from tests.benchmarks.recorded import spaces_of

EPOCHS = 9
DRAWS = 1000  # of one configuration, before none is taken to be cheap enough
JOBS = 25  # of a process before it is replaced: TensorFlow keeps memory of every model

_pictures: Pictures | None = None


def points(family: str, space: Space, *, seed: int, most_work: float) -> Iterator[dict[str, Any]]:
    """Points of a space without end: its base, its hand-written points, then draws; none of more than `most_work`."""
    starts = [values_to_point(space, values) for values in ({}, *FAMILIES[family].starts) if fits(space, values)]
    yield from (point for point in starts if work(family, space(TrialHyperParameters(values=point))) <= most_work)
    sampler = optuna.samplers.RandomSampler(seed=seed + list(FAMILIES).index(family))
    study = optuna.create_study(sampler=sampler)
    while True:
        for _ in range(DRAWS):
            hp = TrialHyperParameters(study.ask())
            if work(family, space(hp)) <= most_work:
                break
        else:
            raise ValueError(f"--most-work needs to leave something, and {most_work} leaves nothing of {family}")
        yield {name: hp.values[name] for name in hp.distributions}


def planned(
    spaces: dict[str, Space], count: int, *, seed: int, most_work: float
) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """`count` configurations as family, number within it and point, the families in turn."""
    streams = {family: points(family, space, seed=seed, most_work=most_work) for family, space in spaces.items()}
    for place in range(count):
        family = list(spaces)[place % len(spaces)]
        yield family, place // len(spaces), next(streams[family])


def set_up(pictures: Pictures, precision: str) -> None:
    """Prepares a process of the pool for one thread of training."""
    global _pictures
    devices.prepare(1, precision)
    _pictures = pictures.without_test()


def record(family: str, number: int, config: dict[str, Any], epochs: int, views: int) -> Row:
    """Trains one configuration in this process; returns accuracy and seconds by epoch, and why it failed if it did."""
    from search.training.trial import Diverged, train

    assert _pictures is not None
    accuracy: list[float] = []
    seconds: list[float] = []
    taken = time.process_time()

    def report(row: Row) -> None:
        nonlocal taken
        now = time.process_time()
        own = (row["seconds"] - row["waiting"]) / row["seconds"] if row["seconds"] else 1.0
        accuracy.append(round(row["validation_accuracy"], 5))
        seconds.append(round((now - taken) * own, 4))
        taken = now

    failed = None
    try:
        train(
            family, config, _pictures, seed=number, epochs=epochs, planned=epochs, most_views=views, threads=1,
            report=report,
        )  # fmt: skip
    except Diverged as error:
        failed = str(error)
    if failed:
        # The epoch in which it diverged was paid for.
        seconds.append(round(time.process_time() - taken, 4))
    devices.forget_models()
    return {"accuracy": accuracy, "seconds": seconds, "failed": failed}


def read(rows: Path) -> list[Row]:
    """The rows that are whole; the last may have been cut short."""
    found = []
    for line in rows.read_text(encoding="utf-8").split("\n") if rows.exists() else ():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found


def train_all(options: argparse.Namespace, header: Row, pictures: Pictures, spaces: dict[str, Space]) -> None:
    """Appends a row for every planned configuration that has none."""
    known = {(row["family"], row["number"]) for row in read(options.rows)}
    waiting = [
        item
        for item in planned(spaces, options.count, seed=options.seed, most_work=options.most_work)
        if item[:2] not in known
    ]
    options.rows.parent.mkdir(parents=True, exist_ok=True)
    began, running, through = time.monotonic(), dict[Future[Row], tuple[str, int, dict[str, Any]]](), 0
    with (
        ProcessPoolExecutor(
            options.processes,
            multiprocessing.get_context("spawn"),
            set_up,
            (pictures, options.precision),
            max_tasks_per_child=JOBS,
        ) as pool,
        options.rows.open("a", encoding="utf-8") as file,
    ):
        while waiting or running:
            while waiting and len(running) < options.processes:
                family, number, point = waiting.pop(0)
                config = spaces[family](TrialHyperParameters(values=point))
                job = pool.submit(record, family, number, config, header["epochs"], header["views"])
                running[job] = (family, number, point)
            for job in wait(running, return_when=FIRST_COMPLETED).done:
                family, number, point = running.pop(job)
                row = {"family": family, "number": number, "point": point, **job.result()}
                file.write(json.dumps(row) + "\n")
                file.flush()
                through += 1
                best = max(row["accuracy"], default=0.0)
                print(
                    f"{time.monotonic() - began:6.0f} s  {through} of {through + len(waiting) + len(running)}  "
                    f"{family}-{number:03d}  {best:.3f}  {sum(row['seconds']):.1f} processor seconds",
                    flush=True,
                )


def pack(header: Row, rows: Sequence[Row], place: Path) -> None:
    """Writes the table: the header, and the rows in their planned order."""
    ordered = sorted(rows, key=lambda row: (row["number"], list(FAMILIES).index(row["family"])))
    text = json.dumps({**header, "configurations": ordered}, separators=(",", ":"))
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(lzma.compress(text.encode(), preset=9))


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    settings = Settings(
        data=options.data, families=options.families, image_sizes=options.image_sizes, weights=options.weights,
        precision=options.precision, cache_dir=options.cache_dir,
    )  # fmt: skip
    weights = find_weights(options.weights, seed=settings.seed) if "mobilenet" in options.families else ()
    backbones = [(item.backbone, item.alpha) for item in weights]
    pictures = ready_pictures(settings)
    if options.train:
        pictures = replace(pictures, train=first_of_each(pictures, options.train))
    header = {
        "command": command_of(options),
        "data": options.title,
        "classes": len(pictures.classes),
        "train": len(pictures.train),
        "validation": len(pictures.validation),
        "epochs": options.epochs,
        "views": settings.views,
        "image_sizes": list(options.image_sizes),
        "backbones": [list(backbone) for backbone in backbones],
        "most_work": options.most_work,
        "seconds": "processor time on one thread",
    }
    train_all(options, header, pictures, spaces_of(options.families, options.image_sizes, backbones))
    if options.pack:
        pack(header, read(options.rows), options.pack)
    return 0


def first_of_each(pictures: Pictures, count: int) -> Indices:
    """The first training pictures of every class, as rows in their order."""
    labels = pictures.labels[pictures.train]
    kept = [pictures.train[labels == label][:count] for label in range(len(pictures.classes))]
    return np.sort(np.concatenate(kept))


def command_of(options: argparse.Namespace) -> str:
    """The command that made a table, without the paths of the machine that it ran on."""
    data = options.data if options.data == DEMO else "DATA"
    weights = options.weights if options.weights in ("none", "imagenet") else "WEIGHTS"
    train = f" --train {options.train}" if options.train else ""
    return (
        f"python -m tests.benchmarks.record_curves {data} --weights {weights}"
        f" --families {','.join(options.families)} --image-sizes {','.join(map(str, options.image_sizes))}{train}"
        f" --count {options.count} --epochs {options.epochs} --most-work {options.most_work:g}"
        f" --seed {options.seed} --precision {options.precision} --rows ROWS --pack TABLE"
    )


def parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.record_curves", description=(__doc__ or "").split("\n\n", 1)[0]
    )
    command.add_argument("data", metavar="DATA", help="a folder of class folders, or `demo`")
    command.add_argument("--title", default="", help="what the table calls the data")
    command.add_argument("--weights", default="none", help="none, a weights file, or a folder of them (default: none)")
    command.add_argument("--families", type=names, default=tuple(FAMILIES), help="default: all")
    command.add_argument("--image-sizes", type=sizes, default=(48, 64), help="sides in pixels (default: 48,64)")
    command.add_argument("--train", type=int, metavar="N", help="train on N pictures of each class (default: on all)")
    command.add_argument("--count", type=int, default=300, help="configurations of all families (default: 300)")
    command.add_argument("--epochs", type=int, default=EPOCHS, help="budget of a trial (default: %(default)s)")
    command.add_argument(
        "--most-work", type=float, default=float("inf"), metavar="W",
        help="draws that cost more million multiply-adds a picture, as models/sizes.py counts them, are drawn again",
    )  # fmt: skip
    command.add_argument("--seed", type=int, default=0, help="of the draws (default: %(default)s)")
    command.add_argument("--precision", default="auto", help="of convolutions (default: auto)")
    command.add_argument("--processes", type=int, default=os.cpu_count(), help="side by side (default: cores)")
    command.add_argument("--cache-dir", default="", help="of pixels and activations")
    command.add_argument("--rows", type=Path, required=True, help="the JSON lines")
    command.add_argument("--pack", type=Path, metavar="TABLE", help="also write the compressed table there")
    return command


if __name__ == "__main__":
    raise SystemExit(main())
