"""What is doubtful: how sure a model may be, classes that it has not met, and labels that are likely wrong."""

import json
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from results.analysis.doubt import at_temperature, auroc, thresholds
from results.analysis.multilabel import fitted_thresholds
from search.data.folds import folds
from search.data.pictures import Indices, Pictures
from search.training.mistakes import place_of, thumbnail
from search.training.probes import FOLDS, LARGEST, TEMPERATURES, Probed, averaged, probabilities_of
from spaces.family import FILTER

# How far from 1 a temperature is thought to be before a picture is seen, in its logarithm: a handful of pictures that
# are all named rightly would else make a model as sure as can be.
SPREAD = 0.5
PAIRS = 5  # of classes that are left out
BOUND = 4.0  # seconds after which no further pair is left out
SHEET = 24  # labels that are shown with their pictures


@dataclass(frozen=True)
class WrongLabel:
    """A picture whose label is likely wrong."""

    place: int  # among the pictures that were judged
    suggested: int
    score: float  # probability of the given label, by a fit without the picture
    probability: float  # of the suggested one


def held_out(probabilities: NDArray[Any], truth: Indices) -> dict[str, Any]:
    """The temperature for a model with these probabilities of pictures that it has not learnt, and the thresholds.

    The thresholds are those of the probabilities at that temperature. Of several labels a picture it is one threshold
    for each label, and no temperature.
    """
    if truth.ndim == 2:
        return label_thresholds(probabilities, truth)
    logits = np.log(np.clip(probabilities, 1e-7, 1.0))

    def loss(place: int) -> float:
        temperature = TEMPERATURES[place]
        scaled = logits / temperature
        highest = scaled.max(axis=1)
        sums = np.log(np.exp(scaled - highest[:, None]).sum(axis=1)) + highest
        total = float((sums - scaled[np.arange(len(truth)), truth]).sum())
        return total + float(np.log(temperature)) ** 2 / (2 * SPREAD**2)

    # The loss falls to one lowest place and rises behind it.
    low, high = 0, len(TEMPERATURES) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if loss(middle) <= loss(middle + 1) else (middle + 1, high)
    temperature = float(TEMPERATURES[low])
    confidences = at_temperature(probabilities, temperature).max(axis=1)
    return {
        "temperature": round(temperature, 6),
        "thresholds": [[coverage, round(cut, 6)] for coverage, cut in thresholds(confidences)],
        "pictures": len(truth),
    }


def label_thresholds(probabilities: NDArray[Any], truth: Indices) -> dict[str, Any]:
    """The threshold of each label with the highest F1 on pictures that a model has not learnt."""
    cuts = fitted_thresholds(probabilities, truth)
    return {"label_thresholds": [round(float(cut), 6) for cut in cuts], "pictures": len(truth)}


def classes_left_out(probed: Probed, classes: int, *, seed: int, until: float | None = None) -> dict[str, Any]:
    """How well pictures of classes that a probe has not met are told from those of classes that it has.

    Two classes are left out of the training together with one fold of the others, and the largest probabilities of both
    are compared, for several pairs of classes: `pairs` of class numbers with their `auroc`, and the mean. Where nothing
    can be compared the mean is None and `why` says the reason. After the first no pair is begun once `BOUND` seconds
    are gone or `until` (`time.monotonic`) has come.
    """
    labels, groups = probed.labels, probed.groups
    present = np.unique(labels)
    if len(present) < 4:
        return {"auroc": None, "pairs": [], "why": f"it takes four classes or more, and there are {len(present)}"}
    random = np.random.default_rng(seed)
    some = np.arange(len(labels))
    most = max(10 * classes, int(LARGEST / 4 / probed.features.shape[1] / classes))
    if len(some) > most:
        some = np.sort(random.choice(some, most, replace=False))
    number = folds(labels[some], groups[some], FOLDS, seed=seed)
    began = time.monotonic()
    pairs: list[dict[str, Any]] = []
    for fold in range(PAIRS):
        now = time.monotonic()
        if pairs and (now - began > BOUND or (until is not None and now >= until)):
            break
        left = np.sort(random.choice(present, 2, replace=False))
        away = np.isin(labels[some], left)
        # A copy of a picture that is left out may carry another label.
        fitted = some[~away & (number != fold) & ~np.isin(groups[some], groups[some][away])]
        known, unknown = some[~away & (number == fold)], some[away]
        if len(np.unique(labels[fitted])) < 2 or not len(known):
            continue
        solved = probed.solved
        weights, bias = averaged(
            probed.features[fitted], labels[fitted], classes, solved.strengths, solved.temperatures
        )
        sure = [probabilities_of(probed.features[rows], weights, bias).max(axis=1) for rows in (known, unknown)]
        pairs.append(
            {
                **{"classes": left.tolist(), "auroc": round(auroc(*sure), 6)},
                **{"known": len(known), "unknown": len(unknown)},
            }
        )
    if not pairs:
        return {"auroc": None, "pairs": [], "why": "there are too few pictures to hold any out"}
    return {"auroc": float(np.mean([pair["auroc"] for pair in pairs])), "pairs": pairs}


def wrong_labels(labels: Indices, probabilities: NDArray[Any]) -> list[WrongLabel]:
    """The labels that are likely wrong, the likeliest first, by out-of-fold probabilities (n, classes).

    Confident learning (Northcutt, Jiang and Chuang, 2021) says which, as cleanlab does it; they are ranked by the
    probability of the given label. Raises ImportError where cleanlab is not installed.
    """
    from cleanlab.filter import find_label_issues

    # A class without a picture among these has no threshold of its own.
    present, given = np.unique(labels, return_inverse=True)
    if len(present) < 2:
        return []
    shares = probabilities[:, present].astype(np.float64)
    shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1e-12)
    # In one process: this one holds a runtime that does not survive a fork.
    found = find_label_issues(
        given,
        shares,
        return_indices_ranked_by="self_confidence",
        filter_by="confident_learning",
        n_jobs=1,
        verbose=False,
    )
    return [
        WrongLabel(place, int(present[said]), float(shares[place, given[place]]), float(shares[place, said]))
        for place, said in zip(found.tolist(), shares[found].argmax(axis=1).tolist(), strict=True)
        if said != given[place]
    ]


def find_doubts(
    family: str, probed: Probed, pictures: Pictures, size: int, *, own: bool, seed: int, until: float | None = None
) -> tuple[dict[str, bytes], str]:
    """The files of `doubts/`: FAMILY.json and the pictures that it names; and why labels were not checked, if so.

    `pictures` are those of the run with train and validation apart, `size` that of the pixels, and `own` says whether
    the probe is the family's best configuration itself.
    """
    record: dict[str, Any] = {
        **{"family": family, "config": probed.config, "own": own, "pictures": len(probed.labels)},
        "left_out": classes_left_out(probed, len(pictures.classes), seed=seed, until=until),
        "labels": None,
    }
    files: dict[str, bytes] = {}
    note, places = "", probed.solved.places
    if len(places):
        try:
            found = wrong_labels(probed.labels[places], probed.solved.probabilities)
        except ImportError as error:
            found, note = None, f"labels are not checked, which takes cleanlab: {error}"
        if found is not None:
            pixels = pictures.pixels(size, FILTER)
            listed = []
            for number, one in enumerate(found):
                row = int(probed.rows[places[one.place]])
                entry: dict[str, Any] = {
                    **place_of(pictures, row),
                    **{"given": int(pictures.labels[row]), "suggested": one.suggested},
                    **{"score": round(one.score, 6), "probability": round(one.probability, 6)},
                }
                if number < SHEET:
                    entry["picture"] = f"{family}-{number}.jpg"
                    files[entry["picture"]] = thumbnail(pixels[row])
                listed.append(entry)
            right = probed.solved.probabilities.argmax(axis=1) == probed.labels[places]
            record["labels"] = {"judged": len(places), "accuracy": round(float(right.mean()), 6), "found": listed}
    else:
        note = "labels are not checked: there are too few pictures for a cross-validation"
    record["why"] = note
    files[f"{family}.json"] = json.dumps(record, indent=1).encode()
    return files, note
