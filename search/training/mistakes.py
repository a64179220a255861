"""What a final model gets wrong with the most confidence, what that resembles, and where the model looked."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from search.data.pictures import Indices, Pictures, Pixels
from search.training.trial import SCORING_BATCH, Inputs, Trained, predict

if TYPE_CHECKING:
    import keras

Features = NDArray[np.float32]

MOST = 12  # mistakes that are kept
LOOKED_AT = 3  # of them with a picture of where the model looked: one batch of covered pictures each
THUMBNAIL = 128  # pixels
COVERED = 8  # positions of the cover along a side, so that all of them are one batch
# Seconds after which no further batch of training pictures is compared, and no further picture is looked at.
BOUND = 4.0


def find_mistakes(
    family: str,
    trained: Trained,
    model: "keras.Model",
    pictures: Pictures,
    pixels: Pixels,
    probabilities: Any,
    learnt: Indices,
    until: float | None = None,
) -> dict[str, bytes]:
    """The files of `mistakes/`: FAMILY.json and the small JPEG pictures that it names.

    `pictures` are those of the retraining, with train and validation apart; `pixels` the packed ones at the model's
    size; `probabilities` (test pictures, classes) the model's; `learnt` the packed rows that it was trained on. A
    mistake in the record has the place of its picture in the test list of split.json, the labels, the probabilities of
    the predicted and of the true class, the nearest of `compared` training pictures by the cosine of what enters the
    last dense layer, and for the first ones `where`: the picture, bright where covering it took most from the predicted
    class. After `until` (`time.monotonic`) none is looked at.
    """
    truth = pictures.labels[pictures.test]
    predicted = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != truth)
    sure = probabilities[wrong, predicted[wrong]]
    chosen = wrong[np.argsort(-sure, kind="stable")[:MOST]]
    files: dict[str, bytes] = {}
    record: dict[str, Any] = {"family": family, "test": len(truth), "wrong": len(wrong), "compared": 0, "mistakes": []}
    if len(chosen):
        rows = pictures.test[chosen]
        nearest, similar, record["compared"] = most_alike(trained, model, pixels[rows], learnt)
        for number, (place, row, other) in enumerate(
            zip(chosen.tolist(), rows.tolist(), nearest.tolist(), strict=True)
        ):
            names = {kind: f"{family}-{number}-{kind}.jpg" for kind in ("wrong", "nearest")}
            files[names["wrong"]] = thumbnail(pixels[row])
            files[names["nearest"]] = thumbnail(pixels[other])
            record["mistakes"].append(
                {
                    "place": place,
                    "true": int(truth[place]),
                    "predicted": int(predicted[place]),
                    "probability": float(probabilities[place, predicted[place]]),
                    "true_probability": float(probabilities[place, truth[place]]),
                    "picture": names["wrong"],
                    "nearest": {
                        "picture": names["nearest"],
                        **place_of(pictures, other),
                        "label": int(pictures.labels[other]),
                        "similarity": float(similar[number]),
                    },
                }
            )
        began = time.monotonic()
        for mistake, row in zip(record["mistakes"][:LOOKED_AT], rows.tolist(), strict=False):
            now = time.monotonic()
            if now - began < BOUND and (until is None or now < until):
                mistake["where"] = f"{mistake['picture'].removesuffix('wrong.jpg')}where.jpg"
                files[mistake["where"]] = thumbnail(
                    lit(pixels[row], occlusion(model, pixels[row], mistake["predicted"]))
                )
    files[f"{family}.json"] = json.dumps(record, indent=1).encode()
    return files


def features(model: "keras.Model", batch: Any) -> Features:
    """What enters the last dense layer of a model (n, width) for a batch of its inputs; its outputs if it has none."""
    layer = _last_dense(model)
    if layer is None:
        return np.asarray(model(batch, training=False), np.float32)
    with _listening(layer) as heard:
        model(batch, training=False)
    return heard[-1].reshape(len(batch), -1)


def occlusion(model: "keras.Model", picture: Pixels, label: int) -> NDArray[np.float32]:
    """How much of a class's probability goes when a square of the picture is covered with its mean colour.

    (COVERED, COVERED), not negative; the square's side is a quarter of the picture's. After Zeiler and Fergus (2014).
    """
    size = len(picture)
    side = size // 4
    covered = np.repeat(picture[None], COVERED**2, axis=0)
    centres = (np.arange(COVERED) + 0.5) * size / COVERED
    for number in range(COVERED**2):
        top, left = (round(centres[place] - side / 2) for place in divmod(number, COVERED))
        covered[number, max(0, top) : top + side, max(0, left) : left + side] = picture.mean(axis=(0, 1))
    plain = predict(model, Inputs(picture[None]))[0, label]
    left_over = predict(model, Inputs(covered))[:, label]
    lost: NDArray[np.float32] = np.maximum(0.0, plain - left_over).reshape(COVERED, COVERED)
    return lost


def lit(picture: Pixels, heat: NDArray[np.float32]) -> Pixels:
    """The picture, darkened where the heat (any shape) is low and with an orange glow where it is high."""
    scaled = Image.fromarray((255 * heat / max(float(heat.max()), 1e-6)).astype(np.uint8))
    weight = np.asarray(scaled.resize(picture.shape[1::-1], Image.Resampling.BICUBIC), np.float32)[..., None] / 255
    glow = np.array([255.0, 140.0, 0.0], np.float32)
    result = picture * (0.35 + 0.65 * weight) * (1 - 0.3 * weight) + glow * 0.3 * weight
    return np.clip(np.rint(result), 0, 255).astype(np.uint8)


def thumbnail(picture: Pixels) -> bytes:
    """A small JPEG."""
    content = BytesIO()
    side = min(THUMBNAIL, len(picture))
    image = Image.fromarray(np.ascontiguousarray(picture)).resize((side, side), Image.Resampling.LANCZOS)
    image.save(content, "JPEG", quality=82)
    return content.getvalue()


def _training_features(trained: Trained, learnt: Indices) -> tuple[Features, Indices]:
    """Features of the training pictures without augmentation, as many as the bound allows; and their places."""
    # The inputs begin with the plain pictures in their order, whatever copies follow.
    inputs = trained.material.training(0)
    order = np.random.default_rng(0).permutation(len(learnt)).astype(np.int64)
    parts = []
    began = time.monotonic()
    for start in range(0, len(order), SCORING_BATCH):
        parts.append(features(trained.model, inputs.take(order[start : start + SCORING_BATCH])))
        if time.monotonic() - began > BOUND:
            break
    found = np.concatenate(parts)
    return found, order[: len(found)]


def most_alike(trained: Trained, model: "keras.Model", batch: Pixels, learnt: Indices) -> tuple[Indices, Features, int]:
    """Of each of some pictures the packed row of the training picture most like it, how like, and of how many.

    By the cosine of what enters the last dense layer.
    """
    seen, places = _training_features(trained, learnt)
    similar = _unit(features(model, batch)) @ _unit(seen).T
    return learnt[places[similar.argmax(axis=1)]], similar.max(axis=1), len(places)


def _last_dense(model: "keras.Model") -> "keras.layers.Dense | None":
    import keras

    for layer in reversed(model.layers):
        found = _last_dense(layer) if isinstance(layer, keras.Model) else layer
        if isinstance(found, keras.layers.Dense):
            return found
    return None


@contextmanager
def _listening(layer: "keras.layers.Layer") -> Iterator[list[Features]]:
    """What a layer is called with. The layer may lie in a model within a model, whose tensors no outer model names."""
    import keras

    heard: list[Features] = []
    call = layer.call

    def listen(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        heard.append(np.asarray(keras.ops.convert_to_numpy(inputs), np.float32))
        return call(inputs, *args, **kwargs)

    layer.call = listen
    try:
        yield heard
    finally:
        layer.call = call


def _unit(vectors: Features) -> Features:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Features = vectors / np.maximum(lengths, 1e-9)
    return unit


def place_of(pictures: Pictures, row: int) -> dict[str, Any]:
    """The side of the split and the place there of a packed row that a model has learnt from."""
    for side, rows in (("train", pictures.train), ("validation", pictures.validation)):
        found = np.flatnonzero(rows == row)
        if len(found):
            return {"side": side, "place": int(found[0])}
    raise AssertionError("a training picture is on the training or on the validation side")
