"""A run folder written from a seed, for tests of the report without a search: every number in it is made up."""

import json
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

FAMILIES = ("scratch_pillow", "scratch_keras", "mobilenet")
BREEDS = [
    *("Maltese dog", "Afghan hound", "Scottish deerhound", "Pomeranian", "Bernese mountain dog"),
    *("Irish wolfhound", "Shih-Tzu", "Samoyed", "Great Pyrenees", "Leonberg"),
]
# Highest validation accuracy, how much training runs ahead, seconds per epoch.
SHAPE = {"scratch_pillow": (0.34, 0.45, 6.0), "scratch_keras": (0.52, 0.06, 5.0), "mobilenet": (0.95, 0.04, 2.0)}


def write_run(
    run_dir: Path,
    *,
    trials: int = 20,
    epochs: int = 9,
    families: tuple[str, ...] = FAMILIES,
    classes: list[str] | None = None,
    pictures: int = 30,
    scored: bool = True,
    seed: int = 0,
) -> Path:
    """Write a finished run of `trials` trials a family; `pictures` are the test pictures of each class."""
    chance = random.Random(seed)
    classes = BREEDS if classes is None else classes
    run_dir.mkdir(parents=True)
    rows = list(_rows(chance, families, trials, epochs))
    split = _split(classes, pictures)
    if scored:
        clock = max(row["time"] for row in rows)
        (run_dir / "predictions").mkdir()
        for family in families:
            scores = np.random.default_rng(seed)
            for final in range(3):
                clock += 20 * SHAPE[family][2]
                probabilities = _probabilities(scores, split["test"], len(classes), SHAPE[family][0])
                np.savez(run_dir / "predictions" / f"{family}-{final}.npz", probabilities=probabilities)
                right = probabilities.argmax(axis=1) == np.array([label for _, label in split["test"]])
                rows.append(
                    {
                        **{"event": "test", "time": clock, "trial": f"{family}-004", "family": family, "seed": final},
                        **{"epochs": epochs, "accuracy": float(right.mean()), "loss": 0.3, "pictures": len(right)},
                        **{"train_accuracy": 0.99, "seconds": 40.0},
                    }
                )
            rows.append(
                {
                    **{"event": "model", "time": clock, "trial": f"{family}-004", "family": family, "seed": 0},
                    **{"path": f"models/{family}.keras", "parameters": 3_239_114, "bytes": 13_200_000},
                }
            )
    records: dict[str, Any] = {
        "settings": {
            **{"data": "dogs", "families": list(families), "trials": trials, "epochs": epochs, "weights": "imagenet"},
            **{"seed": seed, "final_seeds": 3, "image_sizes": [96, 160], "time_budget": None, "cpus_per_trial": 1.0},
        },
        "environment": {
            **{"command": "python search/run.py dogs --trials 20", "python": "3.11.7", "platform": "Linux-x86_64"},
            **{"versions": {"keras": "3.15.1", "optuna": "5.0.0", "ray": "2.60.0", "tensorflow": "2.21.0"}},
            **{"devices": {"cpus": 2, "gpus": 0, "nodes": 1}, "backend": "tensorflow"},
        },
        "split": split,
    }
    for name, record in records.items():
        (run_dir / f"{name}.json").write_text(json.dumps(record), encoding="utf-8")
    write_rows(run_dir, rows)
    return run_dir


def write_rows(run_dir: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows as `trials.jsonl`."""
    (run_dir / "trials.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def epoch_row(trial: str, epoch: int, accuracy: float | None, loss: float | None = 1.0, **more: Any) -> dict[str, Any]:
    """An epoch row of a trial, named after its family as trials are, at 10 seconds an epoch."""
    return {
        **{"event": "epoch", "time": 10.0 * epoch, "trial": trial, "family": trial.rsplit("-", 1)[0], "epoch": epoch},
        **{"train_loss": 0.9, "train_accuracy": 0.6, "validation_loss": loss, "validation_accuracy": accuracy},
        **{"seconds": 10.0, "waiting": 1.0, "building": 2.0, "training": 6.0, "validating": 1.0},
        **more,
    }


def start_row(trial: str, **config: Any) -> dict[str, Any]:
    """The start row of a trial at second 0."""
    return {"event": "start", "time": 0.0, "trial": trial, "family": trial.rsplit("-", 1)[0], "config": config}


def end_row(trial: str, status: str, reason: str = "") -> dict[str, Any]:
    """The end row of a trial at second 100."""
    family = trial.rsplit("-", 1)[0]
    return {"event": "end", "time": 100.0, "trial": trial, "family": family, "status": status, "reason": reason}


def _rows(chance: random.Random, families: tuple[str, ...], trials: int, epochs: int) -> Iterator[dict[str, Any]]:
    clocks = [12.0, 12.0]
    for number in range(trials):
        for family in families:
            name = f"{family}-{number:03d}"
            same = {"trial": name, "family": family}
            worker = clocks.index(min(clocks))
            config = _config(chance, family, base=number == 0)
            clock = round(clocks[worker], 3)
            yield {"event": "start", "time": clock, **same, "config": config}
            top, ahead, pace = SHAPE[family]
            skill = 0.55 if number == 0 else min(1.0, chance.betavariate(4, 2) + number / (10 * trials))
            broken = number % 17 == 11
            status, reason = "finished", "ran its full budget"
            for epoch in range(1, epochs + 1):
                reach = 1 - math.exp(-epoch / (2 if family == "mobilenet" else 4))
                validation = max(0.1, top * (0.35 + 0.65 * skill) * reach + chance.gauss(0, 0.008))
                train = min(0.999, validation + ahead * reach + chance.gauss(0, 0.006))
                rise = 0.11 * epoch if family == "scratch_pillow" else 0.0
                loss = 2.3 * (1 - validation) + 0.05 + rise
                waiting = pace if epoch == 1 and number < 2 else 0.0
                building = 1.5 if epoch == 1 else 0.0
                seconds = pace * (0.8 + 0.4 * chance.random())
                clock = round(clock + seconds + waiting + building, 3)
                yield {
                    **{"event": "epoch", "time": clock, **same, "epoch": epoch},
                    **{"train_loss": 2.3 * (1 - train), "train_accuracy": train},
                    **{"validation_loss": float("nan") if broken else loss, "validation_accuracy": validation},
                    **{"seconds": seconds + waiting + building, "waiting": waiting, "building": building},
                    **{"training": 0.85 * seconds, "validating": 0.15 * seconds},
                }
                if broken:
                    status, reason = "failed", "the training loss is not a number at epoch 1"
                    break
                if epoch in (1, 3):
                    promoted = number == 0 or skill > (0.55 if epoch == 1 else 0.68)
                    yield {
                        **{"event": "rung", "time": clock, **same, "epoch": epoch, "value": validation},
                        "promoted": promoted,
                    }
                    if not promoted:
                        status, reason = "stopped", f"below the best third at rung {epoch}"
                        break
            yield {"event": "end", "time": clock, **same, "status": status, "reason": reason}
            clocks[worker] = clock + 0.3


def _config(chance: random.Random, family: str, *, base: bool) -> dict[str, Any]:
    rate = 1e-3 if base else 10 ** chance.uniform(-4, -2)
    config: dict[str, Any] = {
        **{"image_size": 160 if base else chance.choice([96, 160]), "dropout": 0.2 if base else chance.random() / 2},
        **{"batch_size": 32 if base else chance.choice([16, 32, 64]), "learning_rate": rate},
        **{"optimizer": "adam" if base else chance.choice(["adam", "adamw", "sgd"])},
        **{"label_smoothing": 0.0 if base else chance.choice([0.0, 0.05, 0.1])},
    }
    if family == "mobilenet":
        config |= {
            **{"backbone": "MobileNet" if base else chance.choice(["MobileNet", "MobileNetV2"]), "alpha": 1.0},
            **{"unfrozen_blocks": 4 if base else chance.randint(0, 13)},
            **{"augmentation": "flip" if base else chance.choice(["none", "flip", "light", "strong"])},
        }
    else:
        config |= {"blocks": 3 if base else chance.randint(2, 5), "filters": 32 if base else chance.choice([16, 32])}
    if family == "scratch_keras":
        config |= {"flip": "horizontal" if base else chance.choice(["none", "horizontal", "both"]), "zoom": 0.1}
    if family == "scratch_pillow":
        config |= {"whitening": True if base else chance.random() < 0.5, "equalize": base or chance.random() < 0.5}
    return config


def _split(classes: list[str], pictures: int) -> dict[str, Any]:
    parts = {"train": 3 * pictures, "validation": pictures, "test": pictures}
    split: dict[str, Any] = {
        **{"data": "dogs", "title": "Stanford Dogs", "digest": "9f2c4e7a10b35d68", "seed": 0, "classes": classes},
        "sizes": {part: count * len(classes) for part, count in parts.items()},
        "notes": [],
        "left_out": [{"name": "Samoyed/broken.jpg", "reason": "truncated after 512 bytes"}],
        "duplicates": [["Pomeranian/3.jpg", "Pomeranian/17.jpg"]],
    }
    for part, count in parts.items():
        split[part] = [
            [f"{part}/{label}-{index}.jpg", label] for label in range(len(classes)) for index in range(count)
        ]
    return split


def _probabilities(scores: np.random.Generator, test: list[list[Any]], classes: int, accuracy: float) -> Any:
    logits = scores.normal(0, 1, (len(test), classes))
    logits[np.arange(len(test)), [label for _, label in test]] += 6 * accuracy - 1
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (exponents / exponents.sum(axis=1, keepdims=True)).astype(np.float32)
