"""A trunk trained on ImageNet (a MobileNet, or others by name), its new head, and how deep the training reaches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from models.backbones import is_mobile, walked
from models.sizes import PARAMETERS, dense, features, frozen_blocks, stored
from spaces import weighting
from spaces.family import Family

if TYPE_CHECKING:
    import keras_tuner

# Each point keeps the base's value for what it does not name, and is passed over where a run does not have one of its
# values. A head alone costs seconds on cached activations, so heads come first: a good model exists before the first
# fine-tuning is done. Features scaled to one length reach in 3 epochs what plain ones reach in 9, at a rate of 3e-3.
STARTS: tuple[dict[str, Any], ...] = (
    {"fine_tune": False, "augmentation": "none", "normalize": True, "learning_rate": 3e-3},
    {
        "backbone": "MobileNetV2-1.0",
        "fine_tune": False,
        "augmentation": "none",
        "normalize": True,
        "learning_rate": 3e-3,
        "schedule": "cosine",
    },
    {"fine_tune": False, "normalize": True, "learning_rate": 3e-3, "schedule": "cosine"},
    {"unfrozen_blocks": 3, "normalize": True, "learning_rate": 1e-3, "label_smoothing": 0.1, "schedule": "cosine"},
)


def called(backbone: str, alpha: float) -> str:
    """What a trunk is called in the space: a MobileNet with its width, `MobileNet-1.0`, any other by its name alone."""
    return f"{backbone}-{alpha}" if is_mobile(backbone) else backbone


def probes(
    image_sizes: tuple[int, ...], backbones: tuple[tuple[str, float], ...], *, weighted: bool = False
) -> tuple[dict[str, Any], ...]:
    """The points of all linear probes: of each trunk, and of each two side by side, at each size.

    Where `weighted`, for imbalanced data, each of them with every power of the class counts, one after the other: the
    features are the same.

    The largest size comes first, that of the pictures that the trunks were trained on: of photographs of dogs 224
    pixels were better than 160, and 256 and 288 no better than 224. One trunk at two sizes side by side was no better
    than at one. The widest trunks come before all others. Behind them come the same that learn from the mirror images
    too, two side by side first, for twice the time: 0.3 points better over 8 divisions of photographs.
    """
    widest = max((alpha for _, alpha in backbones), default=0.0)
    names = [called(*one) for one in sorted(backbones, key=lambda one: -one[1])]
    wide = sum(alpha == widest for _, alpha in backbones)
    powers = weighting.POWERS if weighted else (0.0,)
    found: list[dict[str, Any]] = []
    for size in sorted(image_sizes, reverse=True):
        plain: list[dict[str, Any]] = []
        for number, name in enumerate(names):
            point = {"head": "probe", "backbone": name, "image_size": size}
            plain += [point, *({**point, "beside": other} for other in names[:number])]
        # Of the first trunks, and of these two by two.
        first, rest = plain[: wide * (wide + 1) // 2], plain[wide * (wide + 1) // 2 :]
        for points in (first, rest):
            both = sorted(points, key=lambda point: "beside" not in point)
            found += [*points, *({**point, "mirrored": True} for point in both)]
    return tuple({**point, **({"class_weight_power": power} if power else {})} for point in found for power in powers)


def leading(points: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of the points of `probes` those that come before all that is trained: of the largest size and widest trunks."""
    widest = max((_alpha(point["backbone"]) for point in points), default=0.0)
    return [
        point
        for point in points
        if point["image_size"] == points[0]["image_size"]
        and min(_alpha(point[key]) for key in ("backbone", "beside") if key in point) == widest
    ]


def _alpha(backbone: str) -> float:
    return float(backbone.partition("-")[2] or 1.0)


def space(
    hp: keras_tuner.HyperParameters,
    *,
    image_sizes: tuple[int, ...],
    backbones: tuple[tuple[str, float], ...],
    pretrained: bool = True,
    probed: bool = False,
    weighted: bool = False,
) -> dict[str, Any]:
    """The space of transfer and fine-tuning; its defaults are the study's MobileNet, transferred then retrained.

    `image_sizes` in pixels; `backbones` are the (name, alpha) pairs that have weights, the base's first. Where they are
    not `pretrained` there is nothing to transfer, and the base trains all of it at one rate.
    `trunk_rate` is the fraction of the head's learning rate at which the unfrozen blocks are trained.
    Where `probed`, the head may be a linear probe instead: logistic regression on the pooled features, solved to its
    optimum, perhaps with those of another trunk `beside` them, and perhaps learning from `mirrored` pictures too.
    Where `weighted`, for imbalanced data, rare classes may count more.
    """
    named = {called(*one): one for one in backbones}
    names = list(named)
    backbone = hp.Choice("backbone", names, default="MobileNet-1.0" if "MobileNet-1.0" in names else names[0])
    name, alpha = named[backbone]
    image_size = hp.Choice("image_size", list(image_sizes), default=sorted(image_sizes)[len(image_sizes) // 2])
    head = hp.Choice("head", ["trained", "probe"], default="trained") if probed else "trained"
    if head == "probe":
        with hp.conditional_scope("head", ["probe"]):
            beside = hp.Choice("beside", ["none", *names], default="none")
            mirrored = hp.Boolean("mirrored", default=False)
        return {
            "backbone": name,
            "alpha": alpha,
            "image_size": image_size,
            "head": head,
            "beside": beside,
            "mirrored": mirrored,
            "unfrozen_blocks": 0,
            **(weighting.power(hp) if weighted else {}),
        }
    hp.Boolean("fine_tune", default=True)
    with hp.conditional_scope("fine_tune", [True]):
        unfrozen_blocks = hp.Int("unfrozen_blocks", 1, 19, sampling="log", default=1 if pretrained else 19)
        trunk_rate = hp.Float("trunk_rate", 0.01, 1.0, sampling="log", default=0.1 if pretrained else 1.0)
    augmentation = hp.Choice("augmentation", ["none", "flip", "light", "strong"], default="flip")
    normalize = hp.Boolean("normalize", default=False)
    units = hp.Choice("units", [0, 128, 256, 512], default=0)
    dropout = hp.Float("dropout", 0.0, 0.5, step=0.1, default=0.2)
    label_smoothing = hp.Float("label_smoothing", 0.0, 0.2, step=0.05, default=0.0)
    optimizer = hp.Choice("optimizer", ["adam", "adamw", "sgd"], default="adam")
    with hp.conditional_scope("optimizer", ["adamw", "sgd"]):
        weight_decay = hp.Float("weight_decay", 1e-5, 1e-1, sampling="log", default=1e-3)
    learning_rate = hp.Float("learning_rate", 1e-4, 1e-2, sampling="log", default=1e-3)
    schedule = hp.Choice("schedule", ["constant", "cosine"], default="constant")
    batch_size = hp.Choice("batch_size", [16, 32, 64], default=32)
    return {
        "backbone": name,
        "alpha": alpha,
        "image_size": image_size,
        "head": head,
        "unfrozen_blocks": unfrozen_blocks or 0,
        "trunk_rate": trunk_rate or 0.0,
        "augmentation": augmentation,
        "normalize": normalize,
        "units": units,
        "dropout": dropout,
        "weight_decay": weight_decay or 0.0,
        "label_smoothing": label_smoothing,
        "optimizer": optimizer,
        # SGD with momentum wants about ten times the rate of Adam; on one scale every draw suits its optimizer.
        "learning_rate": learning_rate * 10 if optimizer == "sgd" else learning_rate,
        "schedule": schedule,
        "batch_size": batch_size,
        **(weighting.choices(hp) if weighted else {}),
    }


def work(config: Mapping[str, Any]) -> float:
    """Million multiply-adds of training on one picture; of stored activations, without what is frozen."""
    found = walked(config["backbone"], config["alpha"], config["image_size"])
    frozen = found.below(frozen_blocks(config)) / 1e6
    trained = found.multiply_adds / 1e6 - frozen
    return 3 * trained + (0.0 if stored(config) else frozen)


def parameters(config: Mapping[str, Any], classes: int) -> int:
    """The parameters of a trunk and a head that is trained."""
    trunk = config["backbone"], config["alpha"]
    return PARAMETERS[trunk] + dense(features(*trunk), config["units"], classes)


FAMILY = Family(
    "mobilenet",
    space,
    starts=STARTS,
    work=work,
    parameters=parameters,
    # A head is below a hundredth of the work.
    shape=("backbone", "alpha", "image_size"),
    transfers=True,
    probes=probes,
    leading=leading,
    # Heads that are solved are few, and all of them are tried: the searcher draws the rest alone.
    given={"head": "trained"},
    # Where it is narrowed, `unfrozen_blocks` is a depth from 0, a head alone.
    at_zero={"unfrozen_blocks": ({"fine_tune": False}, {"fine_tune": True, "head": "trained"})},
    # A head on cached features is the cheapest good model there is, and the workers that build its activations together
    # have it within the first minute.
    lead=3,
    # A trunk that was trained already learns in few epochs what it ever will.
    most_epochs=27,
    rather_epochs=9,
    title="MobileNet",
    colour="#0c958a",
    notebook="92 %, overfitted",
    off={"augmentation": "none"},
)
