"""Trains a list of configurations with Pedigree's own workers under Tune, each in full and nothing after them.

The search decides nothing here, so that what is timed is the machinery: SETTINGS is a `settings.json` of a run, CONFIGS
a JSON list of {"family", "config"}. The rows are in the run folder that the settings name.

    python -m tests.benchmarks.listed SETTINGS CONFIGS
"""

import argparse
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from search.data.pictures import Pictures
from search.settings import Settings
from search.studies.hyperparameters import TrialHyperParameters
from spaces import FAMILIES
from tests.benchmarks.measuring import Row, folder_aside, follow, ready_pictures

Item = dict[str, Any]  # "family" and "config"

# What each configuration changes in the base configuration of its family; six of each kind.
HEAD_ONLY: tuple[dict[str, Any], ...] = (
    {"augmentation": "none"},
    {"augmentation": "none", "learning_rate": 3e-3, "batch_size": 64},
    {"augmentation": "flip", "learning_rate": 3e-3, "label_smoothing": 0.1, "schedule": "cosine"},
    {"augmentation": "flip", "units": 256, "dropout": 0.4},
    {"augmentation": "light", "optimizer": "adamw", "weight_decay": 1e-2, "schedule": "cosine"},
    {"augmentation": "none", "optimizer": "sgd", "learning_rate": 1e-3, "batch_size": 16},
)
MID_DEPTH: tuple[dict[str, Any], ...] = (
    {"unfrozen_blocks": 1, "augmentation": "none", "trunk_rate": 0.1},
    {"unfrozen_blocks": 2, "augmentation": "flip", "trunk_rate": 0.1},
    {"unfrozen_blocks": 2, "augmentation": "light", "trunk_rate": 0.3, "schedule": "cosine"},
    {"unfrozen_blocks": 3, "augmentation": "flip", "trunk_rate": 0.1, "label_smoothing": 0.1, "schedule": "cosine"},
    {"unfrozen_blocks": 3, "augmentation": "none", "trunk_rate": 0.05, "units": 128},
    {"unfrozen_blocks": 4, "augmentation": "flip", "trunk_rate": 0.1, "optimizer": "adamw", "weight_decay": 1e-3},
)
DEEP: tuple[dict[str, Any], ...] = (
    {"unfrozen_blocks": 6, "augmentation": "flip", "trunk_rate": 0.1},
    {"unfrozen_blocks": 7, "augmentation": "none", "trunk_rate": 0.05, "schedule": "cosine"},
    {"unfrozen_blocks": 8, "augmentation": "flip", "trunk_rate": 0.1, "schedule": "cosine"},
    {"unfrozen_blocks": 10, "augmentation": "light", "trunk_rate": 0.05},
    {"unfrozen_blocks": 12, "augmentation": "flip", "trunk_rate": 0.05, "schedule": "cosine"},
    {"unfrozen_blocks": 19, "augmentation": "flip", "trunk_rate": 0.05, "schedule": "cosine"},
)
SCRATCH: tuple[dict[str, Any], ...] = (
    {"stem_stride": 2},
    {"stem_stride": 2, "batch_norm": True, "head": "average", "learning_rate": 3e-3},
    {"stem_stride": 2, "blocks": 5, "filters": 32, "growth": 1.5, "batch_norm": True, "head": "average", "units": 0},
    {"stem_stride": 2, "blocks": 4, "filters": 24, "batch_norm": True, "dropout": 0.2, "schedule": "cosine"},
    {"stem_stride": 2, "blocks": 2, "filters": 32, "flip": "none", "rotation": 0.0, "zoom": 0.0},
    {"stem_stride": 1, "blocks": 4, "batch_norm": True, "head": "average", "contrast": 0.2},
)


def standard_list(size: int, backbones: Sequence[tuple[str, float]], *, every: int = 1) -> list[Item]:
    """The 24 mixed configurations at one picture size, or every so many of them; the backbones take turns."""
    kinds = [
        *(("mobilenet", {"fine_tune": False, **values}) for values in HEAD_ONLY),
        *(("mobilenet", {"fine_tune": True, **values}) for values in (*MID_DEPTH, *DEEP)),
        *(("scratch_keras", values) for values in SCRATCH),
    ]
    items = []
    for number, (family, values) in enumerate(kinds):
        more: dict[str, Any] = {}
        if family == "mobilenet":
            name, alpha = backbones[number % len(backbones)]
            more = {"backbones": tuple(backbones)}
            values = {"backbone": f"{name}-{alpha}", **values}
        hp = TrialHyperParameters(values=values)
        items.append({"family": family, "config": FAMILIES[family].space(hp, image_sizes=(size,), **more)})
    return items[::every]


@contextmanager
def head_aside(options: argparse.Namespace) -> Iterator[tuple[Pictures, dict[str, Any]]]:
    """This process as a worker is set up, its pictures in a cache thrown away, and the first head-only configuration.

    `options` are those of a command: data, weights, size, epochs and threads.
    """
    from search.training import devices

    devices.prepare(options.threads, "auto")
    with folder_aside() as place:
        settings = Settings(
            data=str(options.data.resolve()), families=("mobilenet",), image_sizes=(options.size,),
            weights=options.weights, epochs=options.epochs, cache_dir=str(place / "cache"),
        )  # fmt: skip
        found = ready_pictures(settings)
        config = standard_list(options.size, list(found.weights))[0]["config"]
        yield found, {**config, "batch_size": min(32, len(found.train))}


def run_listed(settings: Settings, items: Sequence[Item], folder: Path) -> tuple[list[Row], float]:
    """Runs this command in a fresh process; returns the rows and the seconds that the command took."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "settings.json").write_text(settings.to_json())
    (folder / "configs.json").write_text(json.dumps(list(items)))
    command = ["-m", "tests.benchmarks.listed", str(folder / "settings.json"), str(folder / "configs.json")]
    return follow(command, settings.folder / "trials.jsonl", folder / "listed.log")


def train_list(settings: Settings, items: Sequence[Item]) -> None:
    """Prepares the data, starts Ray and trains every configuration."""
    from search.cluster import connect
    from search.data import pictures as data
    from search.record.journal import Journal, Record
    from search.schedule.course import Course
    from search.schedule.tuning import search
    from search.studies.study import Study
    from search.training.weights import find_weights
    from search.training.worker import Job, Setup

    class Listed(Course):
        """A course that is laid out beforehand."""

        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.waiting = list(enumerate(items))

        def next(self) -> tuple[str, Job] | None:
            if not self.waiting:
                return None
            number, item = self.waiting.pop(0)
            name = f"{item['family']}-{number:03d}"
            self.journal.records[name] = Record(name, item["family"], item["config"], {})
            return name, self._job("search", item["family"], item["config"], self.settings.seed + number)

        def over(self) -> bool:
            return not self.waiting

        def ended(self, name: str, reason: str = "") -> None:
            self.journal.end(name, "failed", reason or "ended without a result")

    began = time.monotonic()
    weights = find_weights(settings.weights, seed=settings.seed)
    pictures, _ = data.prepare(settings, os.cpu_count() or 1, print)
    settings.folder.mkdir(parents=True)
    cluster = connect(settings)
    pictures = cluster.ship(pictures, weights)
    journal = Journal(settings.folder / "trials.jsonl", began)
    none: Mapping[str, Study] = {}
    course = Listed(settings, none, journal, cluster.workers(), pictures, print)
    setup = Setup(
        max(1, int(settings.cpus_per_trial)), settings.precision, settings.worker_memory, cache_dir=settings.cache_dir
    )
    try:
        search(settings, course, pictures, setup, cluster)
    finally:
        journal.close()
        cluster.close()


def main(arguments: Sequence[str] | None = None) -> int:
    command = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.listed", description=(__doc__ or "").split("\n\n", 1)[0]
    )
    command.add_argument("settings", type=Path, metavar="SETTINGS", help="a settings.json with a name of its own")
    command.add_argument("configs", type=Path, metavar="CONFIGS", help='a JSON list of {"family", "config"}')
    options = command.parse_args(arguments)
    settings = Settings.from_json(options.settings.read_text())
    assert settings.epochs is not None
    # A rung at the last epoch is none: every configuration gets its whole budget.
    train_list(replace(settings, first_rung=settings.epochs), json.loads(options.configs.read_text()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
