"""When a model should rather say nothing: thresholds for a wished coverage, and what they show on test."""

from collections.abc import Sequence
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from results.analysis.numbers import calibration, is_number
from results.rows import Rows

Probabilities = NDArray[Any]

NONE = "none of these classes"
# The shares of pictures of the known classes for which a threshold is kept; those between are interpolated.
COVERAGES = (1.0, 0.99, 0.98, 0.97, 0.96, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6, 0.5)
SHOWN = (1.0, 0.95, 0.9, 0.8)  # in the report
CURVE_POINTS = 100


def thresholds(confidences: Probabilities) -> list[list[float]]:
    """Pairs of a coverage and the largest probability that so many of some held-out pictures reach, the first 1 and 0.

    `confidences` (n,) are the largest probabilities of pictures that the model has not learnt from.
    """
    cuts = np.quantile(confidences, [1 - coverage for coverage in COVERAGES[1:]])
    return [[1.0, 0.0], *([coverage, float(cut)] for coverage, cut in zip(COVERAGES[1:], cuts, strict=True))]


def threshold_at(table: Sequence[Sequence[float]], coverage: float) -> float:
    """The threshold for a coverage, between the two nearest of the table; raises ValueError for one outside it."""
    lowest = COVERAGES[-1]
    if not lowest <= coverage <= 1:
        raise ValueError(f"needs {lowest:g} <= coverage <= 1, got {coverage:g} in `coverage`")
    known = sorted(map(tuple, table))
    return float(np.interp(coverage, [pair[0] for pair in known], [pair[1] for pair in known]))


def usable(held: Any) -> TypeGuard[dict[str, Any]]:
    """Whether a record has a temperature and the thresholds of every coverage, as `held_out` writes them."""
    if not isinstance(held, dict) or not is_number(held.get("temperature")) or held["temperature"] <= 0:
        return False
    table = held.get("thresholds")
    if not isinstance(table, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in table):
        return False
    numbers = all(is_number(number) and 0 <= number <= 1 for pair in table for number in pair)
    return numbers and [pair[0] for pair in table] == list(COVERAGES)


def held_of(rows: Rows, trial: str, family: str) -> dict[str, Any] | None:
    """What pictures that a configuration had not learnt from said of its confidence, as far as its rows tell.

    Those of the folds of its final together, else the validation pictures at its last epoch of which this was kept.
    None where neither is known. Of several labels a picture it is a threshold for each label, and no temperature.
    """
    folds = [row.get("held") for row in rows.finals(family).get(trial, {}).values()]
    curve = [row.get("held") for row in rows.trials[trial].curve] if trial in rows.trials else []
    for known in (usable, usable_cuts):
        found: list[dict[str, Any]] = [held for held in folds if known(held)]
        told_by = "the folds of its final"
        if not found:
            found, told_by = [held for held in curve if known(held)][-1:], "the validation pictures of its trial"
        if found:
            pictures = sum(int(held.get("pictures") or 0) for held in found)
            return {**_together(found), "pictures": pictures, "told_by": told_by}
    return None


def _together(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What several records of held-out pictures say together."""
    if "label_thresholds" in found[0]:
        cuts = [held["label_thresholds"] for held in found]
        alike = [one for one in cuts if len(one) == len(cuts[0])]
        return {"label_thresholds": np.mean(np.array(alike), axis=0).round(6).tolist()}
    tables = np.array([held["thresholds"] for held in found])
    return {
        "temperature": float(np.exp(np.mean([np.log(held["temperature"]) for held in found]))),
        "thresholds": np.mean(tables, axis=0).round(6).tolist(),
    }


def usable_cuts(held: Any) -> TypeGuard[dict[str, Any]]:
    """Whether a record has a threshold for each of several labels a picture."""
    cuts = held.get("label_thresholds") if isinstance(held, dict) else None
    return isinstance(cuts, list) and bool(cuts) and all(is_number(cut) and 0 <= cut <= 1 for cut in cuts)


def at_temperature(probabilities: Probabilities, temperature: float) -> Probabilities:
    """Probabilities (n, classes) with their logits divided by a temperature (Guo et al., 2017)."""
    logits = np.log(np.clip(probabilities.astype(np.float64), 1e-12, 1.0)) / temperature
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    cooled: Probabilities = shifted / shifted.sum(axis=1, keepdims=True)
    return cooled


def auroc(known: Probabilities, unknown: Probabilities) -> float:
    """How often a known picture scores higher than an unknown one, of all pairs; a tie counts half."""
    order = np.sort(known)
    below = np.searchsorted(order, unknown, "left")
    above = len(order) - np.searchsorted(order, unknown, "right")
    ties = len(order) - below - above
    return float((above + ties / 2).sum() / (len(known) * len(unknown)))


def risk_coverage(probabilities: Probabilities, truth: Any) -> list[dict[str, float]]:
    """The accuracy of the surest answers, by the share of all that they are: about 100 points up to all of them."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    order = np.argsort(-confidence, kind="stable")
    shares = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    # Answers that are as sure cannot be told apart: a threshold takes all of them or none.
    ends = np.flatnonzero(np.append(np.diff(confidence[order]) != 0, True))
    kept = ends[np.unique(np.linspace(0, len(ends) - 1, min(CURVE_POINTS, len(ends))).astype(int))]
    return [{"coverage": float((end + 1) / len(order)), "accuracy": float(shares[end])} for end in kept]


def kept_answers(probabilities: Probabilities, truth: Any, threshold: float) -> dict[str, Any]:
    """What a threshold leaves: the share of pictures that are answered, and how many of the answers are right."""
    answered = probabilities.max(axis=1) >= threshold
    right = probabilities.argmax(axis=1) == truth
    return {
        "covered": float(answered.mean()),
        "answered": int(answered.sum()),
        "accuracy": float(right[answered].mean()) if answered.any() else None,
    }


def of_family(read: dict[int, Any], truth: Any, model: dict[str, Any] | None) -> dict[str, Any] | None:
    """Coverage against accuracy on test, and what the temperature did to the calibration error.

    `read` are the probabilities (pictures, classes) by seed, `truth` their labels, and `model` what is recorded of the
    exported model, whose seed the table and the errors are of. None without probabilities.
    """
    if not read:
        return None
    record: dict[str, Any] = {
        "curve": risk_coverage(np.concatenate(list(read.values())), np.tile(truth, len(read))),
        **{"table": [], "temperature": None, "error_before": None, "error_after": None},
    }
    if model is None or not usable(model) or model.get("seed") not in read:
        return record
    own = read[model["seed"]]
    for coverage in SHOWN:
        cut = threshold_at(model["thresholds"], coverage)
        record["table"].append({"coverage": coverage, "threshold": cut, **kept_answers(own, truth, cut)})
    record["temperature"] = model["temperature"]
    before = at_temperature(own, 1 / model["temperature"])
    record["error_before"] = calibration(before, truth)["expected_error"]
    record["error_after"] = calibration(own, truth)["expected_error"]
    return record
