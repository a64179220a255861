"""The model of the run that a run goes on from, beside its own on the same test pictures; and what changed in the data.

A class that the earlier model does not know it can only name wrongly: such pictures count in one figure and are left
out of the other.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from results.analysis import numbers
from results.analysis.metrics import ACCURACY, DRAWS, FEWEST, METRICS, MOST
from results.records import read_probabilities, read_record
from results.rows import Rows

Array = NDArray[Any]

OLD, RECIPE, NEW = "old", "recipe", "new"
MODELS = (OLD, RECIPE, NEW)
# Of test pictures: those of its classes, all of them, those of its classes that it never had.
FIGURES = ("known", "all", "unseen")
CHANGES = ("before", "now", "added", "removed", "moved_in", "moved_out")
COUNTED = ("pictures", "same", "added", "removed", "moved")


def compare(run_dir: Path, rows: Rows, split: dict[str, Any], family: str | None, metric: str) -> dict[str, Any] | None:
    """What the two runs' models say of the same test pictures; None where a run goes on from no other.

    `family` is the winner's, None while there is none. A figure has the accuracy of each model with its 95 % interval,
    and the `difference` of the new one, or of the recipe while there is none, to the old one, paired by picture.
    """
    if split.get("multilabel"):
        # It goes on from none: `--from` takes one label a picture.
        return None
    record, told = read_record(run_dir / "from.json"), split.get("from")
    classes, earlier, places = split.get("classes") or [], record.get("classes"), _places(told)
    truth = np.array([label for _, label in split.get("test") or []], dtype=int)
    if not isinstance(told, dict) or not _names(earlier) or not _names(classes) or len(places) != len(truth):
        return None
    assert isinstance(earlier, list)
    old = read_probabilities(run_dir / "predictions" / "from.npz", (len(truth), len(earlier)))
    if old is None or not len(truth):
        return None
    names = [*classes, *(name for name in earlier if name not in classes)]
    models = {OLD: [_spread(old, earlier, names)]}
    shape, taken = (len(truth), len(classes)), rows.recipe()
    files = {
        RECIPE: [f"{taken['trial']}-recipe"] if taken else [],
        NEW: [f"{family}-{row['seed']}" for row in rows.tests(family)] if family else [],
    }
    for model, found in files.items():
        read = [read_probabilities(run_dir / "predictions" / f"{name}.npz", shape) for name in found]
        models[model] = [_spread(one, classes, names) for one in read if one is not None]
    known = np.array([classes[label] in earlier for label in truth], bool)
    unseen = np.array([place is None for place in places], bool)
    parts = {"known": known, "all": np.ones(len(truth), bool), "unseen": known & unseen}
    right = {
        model: np.mean([one.argmax(axis=1) == truth for one in found], axis=0)
        for model, found in models.items() if found
    }  # fmt: skip
    last = NEW if NEW in right else RECIPE
    return {
        **{"name": str(record.get("name")), "folder": str(record.get("folder")), "family": str(record.get("family"))},
        **{"trial": record.get("trial"), "refitted": record.get("refitted") is True, "compared": last},
        "knows": len(set(earlier)),
        "stored": int(record["stored"]) if isinstance(record.get("stored"), int) else 0,
        "recipe": taken["trial"] if taken else None,
        **{name: _figure(models, right, truth, part, last) for name, part in parts.items()},
        "metric": None if metric == ACCURACY else _measured(models, truth, known, metric),
        "classes": _by_class(right, truth, classes, earlier, last),
        "data": {
            **{key: told[key] if isinstance(told.get(key), int) else 0 for key in COUNTED},
            "moved_pictures": [one for one in told.get("moved_pictures") or [] if _names(one) and len(one) == 3],
            "changes": [one for one in told.get("changes") or [] if _change(one)],
        },
    }


def paired(apart: Array) -> dict[str, Any]:
    """The mean of differences picture by picture, each from -1 to 1, with its 95 % interval.

    Bonett and Price (2012): as if one more picture were named rightly by the one model alone, and one by the other, so
    that two models that agree on a few pictures are not called the same. Over seeds a difference may be a fraction.
    """
    count, mean = len(apart), float(apart.mean())
    centre = float(apart.sum()) / (count + 2)
    spread = (float((apart**2).sum()) + 2) / (count + 2) - centre**2
    half = numbers.Z95 * math.sqrt(spread / (count + 2))
    low, high = max(-1.0, centre - half), min(1.0, centre + half)
    return {"value": mean, "low": min(low, mean), "high": max(high, mean)}


def mcnemar(gained: int, lost: int) -> float:
    """The exact two-sided probability of so uneven counts where the two models are as good (McNemar 1947)."""
    count, few = gained + lost, min(gained, lost)
    return min(1.0, 2 * sum(math.comb(count, one) for one in range(few + 1)) / (1 << count))


def _figure(
    models: dict[str, list[Array]], right: dict[str, Array], truth: Array, part: Array, last: str
) -> dict[str, Any] | None:
    count = int(part.sum())
    if not count:
        return None
    found: dict[str, Any] = {"pictures": count, "difference": None}
    for model in MODELS:
        shares = [float((one.argmax(axis=1) == truth)[part].mean()) for one in models.get(model, ())]
        if not shares:
            found[model] = None
            continue
        low, high, _ = numbers.accuracy_interval(shares, count)
        found[model] = {"accuracy": float(np.mean(shares)), "low": low, "high": high}
    if last in right:
        first = models[last][0].argmax(axis=1) == truth
        before = right[OLD] > 0.5
        gained, lost = int((first & ~before)[part].sum()), int((~first & before)[part].sum())
        found["difference"] = {
            **paired((right[last] - right[OLD])[part]),
            **{"gained": gained, "lost": lost, "p": mcnemar(gained, lost)},
        }
    return found


def _measured(models: dict[str, list[Array]], truth: Array, known: Array, metric: str) -> dict[str, Any] | None:
    """The run's metric on pictures of the classes that both know, and the difference by a paired bootstrap."""
    if not models.get(NEW) or not known.any():
        return None
    value, labels = METRICS[metric].value, truth[known]
    old, new = models[OLD][0][known], [one[known] for one in models[NEW]]
    ones, count = np.ones(len(labels)), len(labels)

    def apart(counts: Array) -> float:
        return float(np.mean([value(one, labels, counts) for one in new])) - value(old, labels, counts)

    random = np.random.default_rng(0)
    draws = int(min(DRAWS, max(FEWEST, MOST / (count * old.shape[1]))))
    drawn = [apart(np.bincount(random.integers(0, count, count), minlength=count).astype(float)) for _ in range(draws)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    mean = apart(ones)
    return {
        **{"name": metric, "old": value(old, labels, ones), "new": mean + value(old, labels, ones)},
        **{"difference": mean, "low": min(float(low), mean), "high": max(float(high), mean)},
    }


def _by_class(
    right: dict[str, Array], truth: Array, classes: list[str], earlier: list[str], last: str
) -> list[dict[str, Any]]:
    found = []
    for label, name in enumerate(classes):
        own = truth == label
        shares = {
            model: float(right[model][own].mean()) if own.any() and model in right else None for model in (OLD, last)
        }
        if name not in earlier:
            shares[OLD] = None
        found.append(
            {
                **{"class": name, "new_class": name not in earlier, "pictures": int(own.sum())},
                **{OLD: shares[OLD], NEW: shares[last]},
                "difference": None
                if shares[OLD] is None or shares[last] is None
                else paired((right[last] - right[OLD])[own]),
            }
        )
    return found


def _spread(probabilities: Array, own: list[str], names: list[str]) -> Array:
    """Probabilities of some classes as those of others, in their order; 0 for what is unknown."""
    places = {name: place for place, name in enumerate(names)}
    found = np.zeros((len(probabilities), len(names)))
    found[:, [places[name] for name in own]] = probabilities
    return found


def _places(told: Any) -> list[int | None]:
    found = told.get("test") if isinstance(told, dict) else None
    return [one if isinstance(one, int) else None for one in found] if isinstance(found, list) else []


def _names(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(name, str) for name in value)


def _change(entry: Any) -> bool:
    numbered = isinstance(entry, dict) and all(isinstance(entry.get(key), int) for key in CHANGES)
    return numbered and isinstance(entry.get("class"), str)
