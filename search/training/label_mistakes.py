"""What a final model of several labels a picture gets wrong most clearly: labels that it misses, and that it adds."""

import json
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from search.data.pictures import Indices, Pictures, Pixels, entry_of
from search.training.mistakes import (
    BOUND,
    LOOKED_AT,
    MOST,
    lit,
    most_alike,
    occlusion,
    place_of,
    thumbnail,
)
from search.training.trial import Trained

if TYPE_CHECKING:
    import keras


def find_label_mistakes(
    family: str,
    trained: Trained,
    model: "keras.Model",
    pictures: Pictures,
    pixels: Pixels,
    probabilities: Any,
    thresholds: Any,
    learnt: Indices,
    until: float | None = None,
) -> dict[str, bytes]:
    """The files of `mistakes/`, as `search.training.mistakes.find_mistakes` has them.

    A mistake in the record has the place of its picture in the test list of split.json, the labels that were `missed`
    and those that were `added`, each with its probability, and the nearest training picture with its labels. The
    pictures come first whose wrong labels are furthest beyond their `thresholds` (labels,). `where` is bright where
    covering the picture took most from the surest label that was added. After `until` (`time.monotonic`) none is
    covered.
    """
    truth = pictures.labels[pictures.test] > 0
    said = probabilities >= thresholds
    wrong = np.flatnonzero((said != truth).any(axis=1))
    # How far each probability is from the threshold, as a share of the way to 0 or 1.
    room = np.where(said, 1 - thresholds, thresholds)
    beyond = np.abs(probabilities - thresholds) / np.maximum(room, 1e-6) * (said != truth)
    chosen = wrong[np.argsort(-beyond[wrong].max(axis=1, initial=0.0), kind="stable")[:MOST]]
    files: dict[str, bytes] = {}
    record: dict[str, Any] = {"family": family, "test": len(truth), "wrong": len(wrong), "compared": 0, "mistakes": []}
    if len(chosen):
        rows = pictures.test[chosen]
        nearest, similar, record["compared"] = most_alike(trained, model, pixels[rows], learnt)
        began = time.monotonic()
        for number, (place, row, other) in enumerate(
            zip(chosen.tolist(), rows.tolist(), nearest.tolist(), strict=True)
        ):
            name = f"{family}-{number}"
            files[f"{name}-wrong.jpg"] = thumbnail(pixels[row])
            files[f"{name}-nearest.jpg"] = thumbnail(pixels[other])
            told: dict[str, list[list[Any]]] = {
                kind: [[int(label), float(probabilities[place, label])] for label in np.flatnonzero(of)]
                for kind, of in (("missed", truth[place] & ~said[place]), ("added", said[place] & ~truth[place]))
            }
            mistake: dict[str, Any] = {
                **{"place": place, **told, "picture": f"{name}-wrong.jpg"},
                "nearest": {
                    "picture": f"{name}-nearest.jpg",
                    **place_of(pictures, other),
                    "labels": entry_of(pictures.labels[other]),
                    "similarity": float(similar[number]),
                },
            }
            now = time.monotonic()
            in_time = now - began < BOUND and (until is None or now < until)
            if told["added"] and number < LOOKED_AT and in_time:
                surest = int(max(told["added"], key=lambda one: one[1])[0])
                mistake["where"] = f"{name}-where.jpg"
                files[mistake["where"]] = thumbnail(lit(pixels[row], occlusion(model, pixels[row], surest)))
            record["mistakes"].append(mistake)
    files[f"{family}.json"] = json.dumps(record, indent=1).encode()
    return files
