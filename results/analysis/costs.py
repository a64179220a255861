"""What accuracy costs: parameters, bytes, latency and seconds per epoch, and which models nothing cheaper beats."""

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from results.analysis.numbers import DERIVED, baseline_name, best_epoch, mean_interval
from results.rows import FAILED, FINISHED, Trial, judged_by

# The key of a cost in a model row, and how it is called in print.
MODEL_COSTS = {
    "parameters": "parameters",
    "bytes": "file size, MB",
    "latency_one": "one picture, ms",
    "latency_batch": "a batch, ms",
}
# What a unit of the raw value is in print.
PRINTED = {"parameters": 1.0, "bytes": 1e-6, "latency_one": 1e3, "latency_batch": 1e3}
# The costs of a trial, whose model is not exported: its bytes are those of the weights alone.
TRIAL_COSTS = {**MODEL_COSTS, "bytes": "weights, MB", "seconds_per_epoch": "seconds per epoch"}
# What of a trial an objective speaks of.
OBJECTIVES = {"latency": "latency_one", "size": "parameters"}


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


def undominated(points: Sequence[Sequence[float]]) -> list[bool]:
    """Which of (accuracy, cost, cost, …) points are on the front of all of them together: no other is at least as good
    in everything and better in something.
    """
    # Whatever beats a point comes before it in this order, and so does something that nothing beats.
    order = sorted(range(len(points)), key=lambda index: (-points[index][0], *points[index][1:]))
    front: list[tuple[float, ...]] = []
    kept = [False] * len(points)
    for index in order:
        costs = tuple(points[index][1:])
        point = (-points[index][0], *costs)
        beaten = any(all(a <= b for a, b in zip(other, point, strict=True)) and other != point for other in front)
        if not beaten:
            kept[index] = True
            if point not in front:
                front.append(point)
    return kept


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
    """What every trial's model costs, its median seconds per epoch, and its best validation accuracy.

    A cost that no row carries is None. `front` names the costs at which no other of these trials is cheaper and as
    accurate, `family_front` those at which no other of its family is. Failed trials are left out.
    """
    found: list[dict[str, Any]] = []
    for trial in trials:
        row = best_epoch(trial)
        if row is None or trial.status == FAILED:
            continue
        found.append(
            {
                **{"trial": trial.name, "family": trial.family, "status": trial.status},
                **{cost: trial.cost.get(cost) for cost in MODEL_COSTS},
                "parameters": trial.cost.get("parameters")
                or next((epoch["parameters"] for epoch in trial.curve if epoch.get("parameters")), None),
                "seconds_per_epoch": seconds_per_epoch(trial),
                "validation_accuracy": row["validation_accuracy"],
                "score": judged_by(row),
                "epochs": len(trial.curve),
                **{"front": [], "family_front": []},
            }
        )
    for cost in TRIAL_COSTS:
        known = [entry for entry in found if entry[cost] is not None]
        for family in dict.fromkeys(entry["family"] for entry in known):
            _mark([entry for entry in known if entry["family"] == family], cost, "family_front")
        _mark(known, cost, "front")
    return found


def _mark(entries: Sequence[dict[str, Any]], cost: str, name: str) -> None:
    on_front = pareto([(entry[cost], entry["score"]) for entry in entries])
    for entry, on in zip(entries, on_front, strict=True):
        if on:
            entry[name].append(cost)


def trial_fronts(trials: Iterable[Trial], objective: Sequence[str]) -> dict[str, Any]:
    """The Pareto fronts of the trials: against each cost of a model, overall and by family, and of all objectives.

    `trials` holds every trial on one of them, the most accurate first, with its configuration and what of it `differs`
    from the baseline's; `aims` says whether it is on the front of the objectives together, and is None where there is
    only one or a trial's cost is not known.
    """
    every = list(trials)
    entries = trial_costs(every)
    keys = [OBJECTIVES[name] for name in objective if name in OBJECTIVES]
    judged = [entry for entry in entries if keys and all(entry[key] is not None for key in keys)]
    together = undominated([(entry["score"], *(entry[key] for key in keys)) for entry in judged])
    for entry in entries:
        entry["aims"] = None
        # How long an epoch takes is a cost of the search and not of the model.
        for name in ("front", "family_front"):
            entry[name] = [cost for cost in entry[name] if cost in MODEL_COSTS]
    for entry, on in zip(judged, together, strict=True):
        entry["aims"] = on
    configs = {trial.name: trial.config for trial in every}
    kept = [entry for entry in entries if entry["aims"] or entry["front"] or entry["family_front"]]
    kept.sort(key=lambda entry: (not entry["aims"], -entry["score"], entry["trial"]))
    return {
        "objective": list(objective),
        "costs": [cost for cost in MODEL_COSTS if any(entry[cost] is not None for entry in entries)],
        "trials": [
            {**entry, "config": config, "differs": _changes(config, configs.get(baseline_name(entry["family"]), {}))}
            for entry in kept
            for config in [configs[entry["trial"]]]
        ],
    }


def _changes(config: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    return {key: config[key] for key in config if key not in DERIVED and config[key] != base.get(key)}


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
