"""What the two families that start from scratch have in common: a small stack of convolutions and how it is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from models.sizes import channels, dense, shrunk
from spaces import weighting

if TYPE_CHECKING:
    import keras_tuner

# Each point keeps the base's value for what it does not name.
STARTS: tuple[dict[str, Any], ...] = (
    {
        "blocks": 5,
        "filters": 32,
        "growth": 1.5,
        "stem_stride": 2,
        "batch_norm": True,
        "head": "average",
        "units": 0,
        "crop": 0.65,
        "colour": 0.2,
        "mixup": 0.2,
        "mirror_average": True,
        "label_smoothing": 0.1,
        "optimizer": "adamw",
        "weight_decay": 0.2,
        "learning_rate": 3e-3,
        "schedule": "cosine",
        "batch_size": 16,
    },
    {
        "blocks": 4,
        "filters": 32,
        "growth": 2.0,
        "stem_stride": 2,
        "batch_norm": True,
        "head": "average",
        "units": 0,
        "dropout": 0.2,
        "crop": 0.4,
        "learning_rate": 2e-3,
        "schedule": "cosine",
    },
)


def space(hp: keras_tuner.HyperParameters, *, image_sizes: tuple[int, ...], weighted: bool = False) -> dict[str, Any]:
    """The shared part of both scratch spaces; its defaults are the study's three convolutions and one dense layer.

    With `mirror_average` a model's answer is the mean of those for a picture and for its mirror image. On photographs
    that was 2 points better in the mean of 11 trainings of 100 epochs, and in each of them, for twice the time of an
    answer. `mixup` was better on each of 3 divisions, by 2.3 points in the mean. Random erasing and cutmix were not.
    `image_sizes` in pixels; where `weighted`, for imbalanced data, rare classes may count more. Filters 16, 32, 64 and
    128 units are those of the Keras tutorial on image classification.
    """
    image_size = hp.Choice("image_size", list(image_sizes), default=sorted(image_sizes)[(len(image_sizes) - 1) // 2])
    blocks = hp.Int("blocks", 2, 5, default=3)
    filters = hp.Choice("filters", [16, 24, 32, 48, 64], default=16)
    growth = hp.Choice("growth", [1.0, 1.5, 2.0], default=2.0)
    kernel = hp.Choice("kernel", [3, 5], default=3)
    stem_stride = hp.Choice("stem_stride", [1, 2], default=1)
    batch_norm = hp.Boolean("batch_norm", default=False)
    head = hp.Choice("head", ["flatten", "average"], default="flatten")
    units = hp.Choice("units", [0, 64, 128, 256], default=128)
    dropout = hp.Float("dropout", 0.0, 0.5, step=0.1, default=0.0)
    crop = hp.Choice("crop", [0.0, 0.4, 0.65], default=0.0)
    colour = hp.Choice("colour", [0.0, 0.2, 0.4], default=0.0)
    mixup = hp.Choice("mixup", [0.0, 0.2, 0.4], default=0.0)
    mirror_average = hp.Boolean("mirror_average", default=False)
    label_smoothing = hp.Float("label_smoothing", 0.0, 0.2, step=0.05, default=0.0)
    optimizer = hp.Choice("optimizer", ["adam", "adamw", "sgd"], default="adam")
    with hp.conditional_scope("optimizer", ["adamw", "sgd"]):
        weight_decay = hp.Float("weight_decay", 1e-5, 3e-1, sampling="log", default=1e-3)
    learning_rate = hp.Float("learning_rate", 1e-4, 1e-2, sampling="log", default=1e-3)
    schedule = hp.Choice("schedule", ["constant", "cosine"], default="constant")
    batch_size = hp.Choice("batch_size", [16, 32, 64], default=32)
    return {
        "image_size": image_size,
        "blocks": blocks,
        "filters": filters,
        "growth": growth,
        "kernel": kernel,
        "stem_stride": stem_stride,
        "batch_norm": batch_norm,
        "head": head,
        "units": units,
        "dropout": dropout,
        "crop": crop,
        "colour": colour,
        "mixup": mixup,
        "mirror_average": mirror_average,
        "weight_decay": weight_decay or 0.0,
        "label_smoothing": label_smoothing,
        "optimizer": optimizer,
        # SGD with momentum wants about ten times the rate of Adam; on one scale every draw suits its optimizer.
        "learning_rate": learning_rate * 10 if optimizer == "sgd" else learning_rate,
        "schedule": schedule,
        "batch_size": batch_size,
        **(weighting.choices(hp) if weighted else {}),
    }


# Hyperparameters that earlier versions did not have: their models are those of the defaults.
LATER = ("crop", "colour", "mixup", "mirror_average")

# What decides how fast a network answers.
SHAPE = (
    "image_size", "blocks", "filters", "growth", "kernel", "stem_stride", "batch_norm", "head", "units",
    "mirror_average",
)  # fmt: skip


def work(config: Mapping[str, Any]) -> float:
    """Million multiply-adds of training on one picture: forward, and twice as many backward."""
    total, side, before = 0.0, float(config["image_size"]), 3.0
    for block in range(config["blocks"]):
        side /= config["stem_stride"] if block == 0 else 1
        filters = config["filters"] * config["growth"] ** block
        total += side**2 * before * filters * config["kernel"] ** 2
        before, side = filters, max(1.0, side / 2)
    return 3 * total / 1e6


def parameters(config: Mapping[str, Any], classes: int) -> int:
    """The parameters of the network, as Keras counts them."""
    total, side, before = 0, int(config["image_size"]), 3
    for block in range(config["blocks"]):
        filters = channels(config["filters"] * config["growth"] ** block)
        # A batch norm has four numbers for each channel, and takes the place of the bias.
        total += config["kernel"] ** 2 * before * filters + filters * (4 if config["batch_norm"] else 1)
        side = -(-side // (config["stem_stride"] if block == 0 else 1))
        side, before = max(1, side // 2), filters
    if config["head"] == "flatten":
        before *= (side // shrunk(side, before)) ** 2
    return total + dense(before, config["units"], classes)
