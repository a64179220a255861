"""What accuracy costs: parameters, bytes, latency and seconds per epoch, and which models nothing cheaper beats."""

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from results.numbers import best_epoch, mean_interval
from results.rows import FAILED, FINISHED, Trial

# The key of a cost in a model row, and how it is called in print.
MODEL_COSTS = {
    "parameters": "parameters",
    "bytes": "file size, MB",
    "latency_one": "one picture, ms",
    "latency_batch": "a batch, ms",
}
# What a unit of the raw value is in print.
PRINTED = {"parameters": 1.0, "bytes": 1e-6, "latency_one": 1e3, "latency_batch": 1e3}


def pareto(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Which of (cost, accuracy) points are on the front: no other is at least as good in both and better in one."""
    order = sorted(range(len(points)), key=lambda index: (points[index][0], -points[index][1]))
    front = [False] * len(points)
    best: tuple[float, float] | None = None
    for index in order:
        cost, accuracy = points[index]
        if best is None or accuracy > best[1] or (cost, accuracy) == best:
            front[index] = True
            best = (cost, accuracy)
    return front


def model_costs(families: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Cost and test accuracy of every family's exported model, and for each cost whether it is on the front.

    `accuracy` is the mean over seeds where there is a test, else None: such a model is on no front. A cost that was
    not recorded is None.
    """
    found = []
    for family, record in families.items():
        if record["model"] is not None:
            costs = {cost: record["model"].get(cost) for cost in (*MODEL_COSTS, "batch", "device")}
            accuracy = None if record["test"] is None else record["test"]["accuracy"]
            found.append({"family": family, "accuracy": accuracy, **costs, "front": []})
    for cost in MODEL_COSTS:
        known = [entry for entry in found if entry[cost] is not None and entry["accuracy"] is not None]
        for entry, on in zip(known, pareto([(entry[cost], entry["accuracy"]) for entry in known]), strict=True):
            if on:
                entry["front"].append(cost)
    return found


def trial_costs(trials: Iterable[Trial]) -> list[dict[str, Any]]:
    """Parameters (None where rows carry none), median seconds per epoch and best validation accuracy of every trial.

    `front` names the costs at which no other of these trials is cheaper and as accurate. Failed trials are left out.
    """
    found: list[dict[str, Any]] = []
    for trial in trials:
        row = best_epoch(trial)
        if row is None or trial.status == FAILED:
            continue
        found.append(
            {
                **{"trial": trial.name, "family": trial.family, "status": trial.status},
                "parameters": next((epoch["parameters"] for epoch in trial.curve if epoch.get("parameters")), None),
                "seconds_per_epoch": seconds_per_epoch(trial),
                "validation_accuracy": row["validation_accuracy"],
                "front": [],
            }
        )
    for cost in ("parameters", "seconds_per_epoch"):
        known = [entry for entry in found if entry[cost] is not None]
        for entry, on in zip(known, pareto([(e[cost], e["validation_accuracy"]) for e in known]), strict=True):
            if on:
                entry["front"].append(cost)
    return found


def seconds_per_epoch(trial: Trial) -> float | None:
    """The median seconds of a trial's epochs, so that the first one's building and waiting do not count."""
    seconds = [epoch["seconds"] for epoch in trial.curve if epoch["seconds"] is not None]
    return statistics.median(seconds) if seconds else None


def depth(trials: Iterable[Trial]) -> list[dict[str, Any]]:
    """Unfrozen blocks, best validation accuracy and seconds per epoch of every transfer trial that did not fail."""
    found = []
    for trial in trials:
        row = best_epoch(trial)
        blocks = trial.config.get("unfrozen_blocks")
        if row is None or trial.status == FAILED or not isinstance(blocks, int) or isinstance(blocks, bool):
            continue
        found.append(
            {
                **{"trial": trial.name, "unfrozen_blocks": blocks, "status": trial.status},
                "validation_accuracy": row["validation_accuracy"],
                "seconds_per_epoch": seconds_per_epoch(trial),
            }
        )
    return found


# Bands of fine-tuning depth, in unfrozen blocks, both ends included.
BANDS = ((0, 0), (1, 2), (3, 5), (6, 9), (10, 99))


def depth_table(points: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each band of fine-tuning depth its trials, their best and mean accuracy, and median seconds per epoch."""
    table = []
    for low, high in BANDS:
        inside = [point for point in points if low <= point["unfrozen_blocks"] <= high]
        if not inside:
            continue
        first, last = (end(point["unfrozen_blocks"] for point in inside) for end in (min, max))
        seconds = [point["seconds_per_epoch"] for point in inside if point["seconds_per_epoch"] is not None]
        accuracies = [point["validation_accuracy"] for point in inside]
        table.append(
            {
                "blocks": "0, the head alone" if high == 0 else f"{first} to {last}" if last > first else str(first),
                "finished": sum(point["status"] == FINISHED for point in inside),
                "best": max(accuracies),
                **mean_interval(accuracies),
                "seconds_per_epoch": statistics.median(seconds) if seconds else None,
            }
        )
    return table
