"""How the parts of a search grow: with pictures, with trials that cost nothing, with workers.

`--pictures` draws that many at 160 pixels and times listing, decoding, near-duplicates, split and a sample of the
activations. `--thumbnails` makes up so many, with a changed copy for one in twenty, and looks for the copies.
`--trials` runs so many through studies, rungs and journal without training or Ray, and then writes the report.
`--workers` trains one list of configurations with so many workers.

    python -m tests.benchmarks.scaling --pictures 2000,20000 --trials 100,1000,10000
    python -m tests.benchmarks.scaling --workers 1,2 --data DATA --weights WEIGHTS
"""

import argparse
import json
import os
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from search.data.pictures import Pictures
from search.settings import Settings
from tests.benchmarks.listed import run_listed, standard_list
from tests.benchmarks.measuring import folder_aside, resident, show

SIZE = 160
RUNNING = 8  # trials at a time in the simulated search
SAMPLE = 512  # pictures whose activations are computed

Count = dict[str, Any]


def pictures(number: int, folder: Path, weights: str) -> Count:
    """Seconds of each step that the pictures of a run go through, on `number` drawn ones."""
    from search.data.cache import Cache
    from search.data.decode import Decoded, decode
    from search.data.demo import draw_demo
    from search.data.duplicates import find_duplicates
    from search.data.folder import read_folder
    from search.data.pictures import File
    from search.data.split import split_pictures
    from search.training import devices
    from search.training.activations import Source
    from search.training.weights import find_weights

    threads = os.cpu_count() or 1
    clock = Laps()
    root = draw_demo(folder / f"drawn-{number}", 10, number // 10, SIZE, threads=threads)
    clock("drawing")
    listed = read_folder(root)
    clock("listing")
    found_by: list[Decoded] = []
    place = Cache(folder / f"packs-{number}").once(
        "pixels", {}, lambda aside: found_by.append(decode(listed, [(SIZE, "bilinear")], aside, threads))
    )
    (decoded,) = found_by
    clock("decoding")
    digests = [picture.digest for picture in listed.pictures]
    groups = find_duplicates(digests, decoded.contents, decoded.thumbnails).groups
    clock("duplicates")
    labels = np.array([picture.label for picture in listed.pictures], np.int64)
    split = split_pictures(labels, groups, None, listed.classes, seed=0, readable=decoded.readable)
    clock("splitting")
    devices.prepare(threads, "auto")
    item = find_weights(weights, seed=0)[0]
    rows = split.train[:SAMPLE]
    found = Pictures(
        listed.digest, listed.classes, labels, split.train, split.validation, split.test, folder / "cache",
        {(SIZE, "bilinear"): File(place / f"{SIZE}-bilinear.npy", "pack")},
        {(item.backbone, item.alpha): File(item.path, item.digest) if item.path else None},
    )  # fmt: skip
    source = Source(found, rows, item.backbone, item.alpha, SIZE)
    assert source.trunk.blocks > 0
    clock("importing")
    source.read(None, "none", 0)
    clock("activations")
    rate = {"decoded_per_second": number / clock.laps["decoding"]}
    rate["activations_per_second"] = len(rows) / clock.laps["activations"]
    packed = sum(file.stat().st_size for file in place.iterdir()) / 2**20
    return {
        "pictures": number,
        "seconds": clock.laps,
        **rate,
        "packed_mib": packed,
        **memory(),
    }


def copies(number: int) -> Count:
    """Seconds in which copies among made-up thumbnails are looked for, the share that is found, and memory."""
    from search.data.duplicates import MANY, SIDE, alike

    random, every = np.random.default_rng(0), number // 20
    made = np.empty((number, SIDE, SIDE, 3), np.uint8)
    for start in range(0, number, 1000):
        part = made[start : start + 1000]
        levels = np.full(part.shape, 128, np.float32)
        for side, weight in ((2, 45), (4, 36), (8, 27), (16, 18), (32, 9)):
            small = random.normal(size=(len(part), side, side, 3)).astype(np.float32)
            levels += weight * small.repeat(SIDE // side, axis=1).repeat(SIDE // side, axis=2)
        part[:] = levels.clip(0, 255)
    first = made[:every].astype(np.float32)
    made[-every:] = (0.9 * first + 10 + random.normal(0, 4, first.shape)).clip(0, 255)
    made[-(every // 2) :] = made[-(every // 2) :, :, ::-1]
    found, seconds = _timed(alike, made)
    wanted = {(place, number - every + place) for place in range(every)}
    return {
        "thumbnails": number, "cells": number >= MANY, "seconds": seconds,
        "found": len(wanted & set(found)) / every, "others": len(set(found) - wanted), **memory(),
    }  # fmt: skip


def memory() -> dict[str, float]:
    """MiB of this process: what is its own, and its peak with the files that it maps, which the kernel takes back."""
    told = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines())
    return {name: int(told[key].split()[0]) / 2**10 for name, key in (("own_mib", "RssAnon"), ("peak_mib", "VmHWM"))}


class Laps:
    """A stopwatch: each call writes down the seconds since the last."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def __call__(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = round(now - self._last, 4)
        self._last = now


def trials(number: int, families: tuple[str, ...], folder: Path, epochs: int = 9) -> Count:
    """Runs `number` trials whose accuracy is made up: latencies in ms, rows, memory, seconds of the report."""
    from results.pages.document import write_report
    from search.data.cache import write_aside
    from search.record.journal import Journal
    from search.run import environment
    from search.schedule.course import Course
    from search.studies.mirror import Mirror
    from search.studies.study import studies_of
    from search.training.weights import find_weights

    settings = Settings(
        families=families, trials=-(-number // len(families)), epochs=epochs, weights="none", image_sizes=(96, 160),
        time_budget=86400.0, name=f"trials-{number}", runs_dir=str(folder), cache_dir=str(folder / "cache"),
    )  # fmt: skip
    settings.folder.mkdir(parents=True)
    write_aside(settings.folder / "settings.json", settings.to_json())
    write_aside(
        settings.folder / "environment.json", json.dumps(environment(["scaling"], {"cpus": 1, "gpus": 0, "nodes": 1}))
    )
    write_aside(settings.folder / "split.json", json.dumps(_split()))
    journal = Journal(settings.folder / "trials.jsonl")
    studies = studies_of(settings, find_weights("none", seed=0), probed=False)
    mirror = Mirror(settings.folder / "optuna.log", settings.name, studies, journal.read(), journal.elapsed, print)
    mirroring: list[float] = []
    journal.also(lambda row: mirroring.append(_timed(mirror.take, row)[1]))
    course = Course(settings, studies, journal, RUNNING, _no_pictures(folder), lambda line: None)
    before, chance = resident(os.getpid()), random.Random(0)
    suggesting, working, taking, telling = [], [], [], []
    running: deque[tuple[str, float]] = deque()
    began = time.perf_counter()
    while len(journal.records) < number or running:
        while len(running) < RUNNING and len(journal.records) < number:
            computed = time.thread_time()
            given, seconds = _timed(course.next)
            suggesting.append(seconds)
            working.append(time.thread_time() - computed)
            assert given is not None
            name, job = given
            journal.start(name)
            running.append((name, _worth(job.config, chance)))
        name, worth = running.popleft()
        epoch = len(journal.records[name].values) + 1
        row = _row(epoch, worth * (1 - 0.5**epoch))
        goes_on, seconds = _timed(course.reported, name, {"rows": [row]})
        taking.append(seconds)
        if goes_on:
            running.append((name, worth))
        else:
            telling.append(_timed(course.ended, name, "")[1])
    whole = time.perf_counter() - began
    mirror.close()
    journal.close()
    held = resident(os.getpid()) - before
    again = _timed(Mirror, settings.folder / "optuna.log", settings.name, studies, journal.read(), 0.0, print)
    again[0].close()
    _, report = _timed(write_report, settings.folder)
    return {
        "trials": number,
        "families": list(families),
        "suggestion_ms": _quantiles(suggesting),
        "suggestion_cpu_ms": _quantiles(working),  # what a machine with other work on it would have needed alone
        "last_hundred_suggestions_ms": _quantiles(suggesting[-100:]),
        "report_of_a_row_ms": _quantiles(taking),
        "end_ms": _quantiles(telling),
        "mirror_of_a_row_ms": _quantiles(mirroring),
        "mirror_seconds": sum(mirroring),
        "mirror_anew_seconds": again[1],
        "mirror_mib": (settings.folder / "optuna.log").stat().st_size / 2**20,
        "rows": len(journal.rows),
        "rows_mib": (settings.folder / "trials.jsonl").stat().st_size / 2**20,
        "driver_mib": held,
        "seconds": whole,
        "report_seconds": report,
        "page_mib": (settings.folder / "report.html").stat().st_size / 2**20,
    }


def workers(number: int, options: argparse.Namespace, folder: Path) -> Count:
    """Trains one list of configurations with `number` workers, in a process of its own and from an empty cache."""
    from search.training.weights import find_weights

    backbones = [(item.backbone, item.alpha) for item in find_weights(options.weights, seed=0)]
    items = standard_list(options.size, backbones[:1], every=options.every)
    settings = Settings(
        data=str(options.data.resolve()), families=("mobilenet", "scratch_keras"), epochs=options.epochs,
        image_sizes=(options.size,), weights=options.weights, concurrency=number, name=f"workers-{number}",
        runs_dir=str(folder), cache_dir=str(folder / f"cache-{number}"),
    )  # fmt: skip
    rows, seconds = run_listed(settings, items, folder / f"files-{number}")
    epochs = sum(row["event"] == "epoch" for row in rows)
    return {"workers": number, "trials": len(items), "epochs": epochs, "seconds": seconds}


def _timed(call: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    began = time.perf_counter()
    value = call(*arguments)
    return value, time.perf_counter() - began


def _quantiles(seconds: Sequence[float]) -> dict[str, float]:
    values = np.asarray(seconds) * 1e3
    return {"p50": float(np.quantile(values, 0.5)), "p99": float(np.quantile(values, 0.99)), "max": float(values.max())}


def _worth(config: dict[str, Any], chance: random.Random) -> float:
    """An accuracy that depends on the configuration smoothly, and on luck."""
    rate = abs(np.log10(config["learning_rate"]) + 2.5) / 2
    return float(np.clip(0.9 - 0.3 * rate - 0.2 * config["dropout"] + chance.gauss(0, 0.03), 0.05, 1.0))


def _row(epoch: int, accuracy: float) -> dict[str, Any]:
    losses = {"train_loss": 1 - accuracy, "train_accuracy": accuracy, "validation_loss": 1.1 - accuracy}
    parts = {"seconds": 1.0, "waiting": 0.1, "building": 0.1, "training": 0.7, "validating": 0.1}
    return {"epoch": epoch, **losses, "validation_accuracy": accuracy, **parts}


def _no_pictures(folder: Path) -> Pictures:
    rows = np.arange(10)
    return Pictures("none", ("a", "b"), rows % 2, rows[:6], rows[6:8], rows[8:], folder / "cache", {})


def _split() -> dict[str, Any]:
    sides = {"train": [["a/1.jpg", 0], ["b/1.jpg", 1]], "validation": [["a/2.jpg", 0], ["b/2.jpg", 1]]}
    sides["test"] = [["a/3.jpg", 0], ["b/3.jpg", 1]]
    return {
        "data": "none", "title": "no pictures", "digest": "none", "seed": 0, "classes": ["a", "b"],
        "sizes": dict.fromkeys(sides, 2), "notes": [], "left_out": [], "duplicates": [], **sides,
    }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    result: dict[str, Any] = {"benchmark": "scaling"}
    body: list[list[Any]] = []
    with folder_aside() as folder:
        for number in options.pictures:
            found = pictures(number, folder, options.weights)
            result.setdefault("pictures", []).append(found)
            body += [[f"{number:,} pictures: {name} s", seconds] for name, seconds in found["seconds"].items()]
            body += [
                [f"{number:,} pictures: {name}", found[name]]
                for name in ("decoded_per_second", "activations_per_second", "packed_mib", "own_mib", "peak_mib")
            ]
        for number in options.thumbnails:
            found = copies(number)
            result.setdefault("thumbnails", []).append(found)
            body += [[f"{number:,} thumbnails: {name}", found[name]] for name in ("seconds", "found", "peak_mib")]
        for number in options.trials:
            found = trials(number, options.families, folder)
            result.setdefault("trials", []).append(found)
            for name in ("suggestion_ms", "suggestion_cpu_ms", "report_of_a_row_ms", "end_ms", "mirror_of_a_row_ms"):
                body += [[f"{number:,} trials: {name} {part}", value] for part, value in found[name].items()]
            body += [
                [f"{number:,} trials: {name}", found[name]]
                for name in ("rows", "mirror_seconds", "mirror_anew_seconds", "driver_mib", "seconds", "report_seconds")
            ]
        for number in options.workers:
            found = workers(number, options, folder)
            result.setdefault("workers", []).append(found)
            body.append([f"{number} workers: seconds", found["seconds"]])
    show(result, ["what", "value"], body, options.out)
    return 0


def parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.scaling", description=(__doc__ or "").split("\n\n", 1)[0]
    )

    def numbers(text: str) -> tuple[int, ...]:
        return tuple(int(part) for part in text.split(","))

    command.add_argument("--pictures", type=numbers, default=(), metavar="N,N", help="such as 2000,20000")
    command.add_argument("--thumbnails", type=numbers, default=(), metavar="N,N", help="such as 20000,100000")
    command.add_argument("--trials", type=numbers, default=(), metavar="N,N", help="such as 100,1000,10000")
    command.add_argument(
        "--families",
        type=lambda text: tuple(text.split(",")),
        default=("scratch_pillow", "scratch_keras", "mobilenet"),
        help="that share the trials of --trials (default: all three)",
    )
    command.add_argument("--workers", type=numbers, default=(), metavar="N,N", help="such as 1,2; needs --data")
    command.add_argument("--data", type=Path, help="for --workers: a folder with train/ and validation/")
    command.add_argument("--weights", default="none", help="none, a weights file, or a folder of them (default: none)")
    command.add_argument("--size", type=int, default=160, help="for --workers, in pixels (default: %(default)s)")
    command.add_argument("--epochs", type=int, default=3, help="for --workers (default: %(default)s)")
    command.add_argument(
        "--every", type=int, default=2, help="for --workers: every Nth of the 24 configurations (default: 2)"
    )
    command.add_argument("--out", type=Path, help="also write the JSON there")
    return command


if __name__ == "__main__":
    raise SystemExit(main())
