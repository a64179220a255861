"""Several labels a picture: what the saved predictions of a family say of each label, and of its mistakes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from results.analysis import metrics, multilabel
from results.records import read_probabilities, truth_of
from results.rows import Row

MOST_PAIRS = 40  # of labels that are wrong together


def cardinality(split: dict[str, Any]) -> dict[str, Any] | None:
    """How many labels pictures have: the mean, and pictures by their number; None where each has one class."""
    if not split.get("multilabel"):
        return None
    sizes = np.concatenate([truth_of(split, side).sum(axis=1) for side in ("train", "validation", "test")])
    counts = np.bincount(sizes) if len(sizes) else np.zeros(1, int)
    return {"mean": float(sizes.mean()) if len(sizes) else 0.0, "pictures": [int(count) for count in counts]}


def judge(
    run_dir: Path, family: str, split: dict[str, Any], tests: Sequence[Row], metric: str
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """What the metric and the single labels show on test, from the saved probabilities of all seeds.

    The second has by label its pictures, average precision, and precision, recall and F1 at the threshold (means over
    the seeds), what is missed and added together, and how many labels are said. Both are None where the predictions or
    the thresholds of a seed were not saved.
    """
    truth = truth_of(split, "test")
    classes = split.get("classes") or []
    read = {int(row["seed"]): (read_probabilities(run_dir / "predictions" / f"{family}-{row['seed']}.npz", truth.shape),
                               thresholds_of(row, len(classes))) for row in tests}  # fmt: skip
    known = {seed: (one, cuts) for seed, (one, cuts) in read.items() if one is not None and cuts is not None}
    if not known or len(known) < len(read) or not len(truth):
        return None, None
    said = [multilabel.decided(one, cuts) for one, cuts in known.values()]
    seen = [one for one, _ in known.values()] if metric != "macro_f1" else said
    value, low, high = metrics.interval(metric, seen, truth)
    luck = f" and {len(seen)} seeds" if len(seen) > 1 else ", one seed"
    method = f"95 % interval: percentiles of a bootstrap over {len(truth)} test pictures{luck}"
    own = truth > 0
    each = np.ones(len(truth))
    ranked = [multilabel.average_precisions(one, truth, each) for one, _ in known.values()]
    shares = np.array([_shares(one > 0, own) for one in said])
    return (
        {"name": metric, "value": value, "low": low, "high": high, "method": method},
        {
            "seeds": list(known),
            "by_seed": [metrics.score(metric, one, truth) for one in seen],
            "map": float(np.mean([multilabel.mean_average_precision(one, truth, each) for one, _ in known.values()])),
            "macro_f1": float(np.mean([multilabel.macro_f1(one, truth, each) for one in said])),
            "chance": float(own.mean(axis=0)[own.any(axis=0)].mean()) if own.any() else 0.0,
            "hamming": float(np.mean([(one > 0) != own for one in said])),
            "cardinality": {
                "true": float(own.sum(axis=1).mean()),
                "said": float(np.mean([one.sum(axis=1) for one in said])),
            },
            "labels": [
                {
                    "class": name,
                    "pictures": int(own[:, label].sum()),
                    "average_precision": _known(np.mean([one[label] for one in ranked])),
                    **{key: _known(shares[:, place, label].mean()) for place, key in enumerate(SHARES)},
                    "threshold": float(next(iter(known.values()))[1][label]),
                }
                for label, name in enumerate(classes)
            ],
            "together": _together(said, own, classes),
        },
    )


SHARES = ("precision", "recall", "f1")


def thresholds_of(row: Row | None, labels: int) -> Any | None:
    """The threshold of each label in a row of a test or of a model; None where it has none of so many labels."""
    cuts = (row or {}).get("label_thresholds")
    if not isinstance(cuts, list) or len(cuts) != labels or not labels:
        return None
    usable = all(isinstance(cut, int | float) and not isinstance(cut, bool) and 0 <= cut <= 1 for cut in cuts)
    return np.array(cuts, float) if usable else None


def _known(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def _shares(said: Any, own: Any) -> Any:
    """Precision, recall and F1 of each label (3, labels); a share of nothing is not a number."""
    hits, told, held = (said & own).sum(axis=0), said.sum(axis=0), own.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.array([hits / told, hits / held, 2 * hits / (told + held)])


def _together(said: Sequence[Any], own: Any, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Pairs of a label that is missed and one that is added on the same pictures, the commonest first.

    What is added in the place of another is a confusion. Counts are sums over the seeds.
    """
    missed = np.sum([(~(one > 0) & own).astype(int).T @ ((one > 0) & ~own).astype(int) for one in said], axis=0)
    found: list[dict[str, Any]] = [
        {"missed": classes[one], "added": classes[other], "pictures": int(missed[one, other])}
        for one, other in np.argwhere(missed).tolist()
    ]
    found.sort(key=lambda pair: int(-pair["pictures"]))
    return found[:MOST_PAIRS]
