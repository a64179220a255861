"""How large models are, known without importing Keras: the driver reads this."""

import math
from collections.abc import Mapping
from typing import Any

from models.backbones import BACKBONES, walked

# (backbone, alpha) -> parameters without the top, as keras.applications builds them. A weights file is recognised by
# this count, so its name does not matter and a wrong file is refused before it is loaded.
PARAMETERS: dict[tuple[str, float], int] = {
    (backbone.name, alpha): walked(backbone.name, alpha, backbone.side).parameters
    for backbone in BACKBONES.values()
    for alpha in backbone.files
}

# As many features as three blocks of 16, 32 and 64 filters leave of 224 pixels; a larger map would give the dense
# layer hundreds of megabytes of weights.
LARGEST_FLATTENED = 28 * 28 * 64

# Activations larger than this many times the picture (uint8, three channels) are not stored: reading them back would
# take longer than computing them again, so the whole network runs in every epoch.
LARGEST_STORED = 3.0
# The work of a head on cached features, whatever its size.
HEAD = 1.0
# Blocks above the cut of the deepest fine-tuning that the space of transfer has.
DEEPEST = 19
# The value of `head` of a configuration whose head is a linear probe: no epochs, but a convex problem that is solved.
PROBE = "probe"

Source = tuple[str, float, int]  # backbone, alpha, and the side in pixels of the pictures that go in


def is_probe(config: Mapping[str, Any]) -> bool:
    """Whether a configuration is solved in one go, and not trained by epochs."""
    return config.get("head") == PROBE


def sources(config: Mapping[str, Any]) -> tuple[Source, ...]:
    """The trunks whose pooled features a configuration's head sees side by side, its own first."""
    size = int(config["image_size"])
    own = (str(config["backbone"]), float(config["alpha"]), size)
    if config.get("beside", "none") == "none":
        return (own,)
    backbone, _, alpha = str(config["beside"]).partition("-")
    return own, (backbone, float(alpha or 1.0), size)


# Training pictures of an epoch, copies counted: of larger sets an epoch is a part, so that the first comparison of
# configurations does not wait for a pass over all of them.
EPOCH_PICTURES = 2048


def copies(family: str, config: Mapping[str, Any]) -> int:
    """How many versions of each picture a configuration trains on side by side."""
    if family != "scratch_pillow" or "transpose" not in config:
        return 1
    return int(1 + config["transpose"] + 2 * (config["rotation"] > 0))


def passes(family: str, config: Mapping[str, Any], pictures: int) -> float:
    """The share of its training set that a configuration sees in an epoch."""
    return 1 / max(1, round(pictures * copies(family, config) / EPOCH_PICTURES))


def forward(backbone: str, alpha: float, size: int) -> float:
    """Million multiply-adds of one picture through a whole trunk."""
    return walked(backbone, alpha, size).multiply_adds / 1e6


def frozen_blocks(config: Mapping[str, Any]) -> int:
    """The cut of a transfer configuration: how many blocks of its trunk are never trained."""
    found = walked(config["backbone"], config["alpha"], config["image_size"])
    return max(0, len(found.blocks) - int(config["unfrozen_blocks"]))


def stored(config: Mapping[str, Any]) -> bool:
    """Whether a transfer configuration trains on stored activations; fine-tuned so deep, all of the network runs."""
    blocks = walked(config["backbone"], config["alpha"], config["image_size"]).blocks
    cut = frozen_blocks(config)
    if cut in (0, len(blocks)):
        return cut > 0
    return worth_storing((blocks[cut - 1].side,) * 2 + (blocks[cut - 1].channels,), config["image_size"])


def worth_storing(shape: tuple[int, ...], size: int, most: float = LARGEST_STORED) -> bool:
    """Whether activations of this shape, in float16, are at most so many times as large as a picture of some side."""
    return math.prod(shape) * 2 <= most * 3 * size * size


def work(family: str, config: Mapping[str, Any]) -> float:
    """Roughly how many million multiply-adds one training picture costs; only good for telling cheap from dear."""
    if "multiply_adds" in config:
        # A user's model: counted when it was built.
        return HEAD + 3 * float(config["multiply_adds"])
    if is_probe(config):
        return HEAD
    if family == "mobilenet":
        found = walked(config["backbone"], config["alpha"], config["image_size"])
        frozen = found.below(frozen_blocks(config)) / 1e6
        trained = found.multiply_adds / 1e6 - frozen
        return HEAD + 3 * trained + (0.0 if stored(config) else frozen)
    total, side, before = 0.0, float(config["image_size"]), 3.0
    for block in range(config["blocks"]):
        side /= config["stem_stride"] if block == 0 else 1
        filters = config["filters"] * config["growth"] ** block
        total += side**2 * before * filters * config["kernel"] ** 2
        before, side = filters, max(1.0, side / 2)
    return 3 * total / 1e6 * copies(family, config)


def parameters(family: str, config: Mapping[str, Any], classes: int) -> int | None:
    """How many parameters the exported model of a configuration has, as Keras counts them once it is built.

    A family of the user's own is counted when it is built, and its configuration says it; None where it does not.
    """
    if "model_parameters" in config:
        return int(config["model_parameters"])
    if is_probe(config):
        widths = sum(features(backbone, alpha) for backbone, alpha, _ in sources(config))
        return sum(PARAMETERS[backbone, alpha] for backbone, alpha, _ in sources(config)) + _dense(widths, 0, classes)
    if family == "mobilenet":
        return PARAMETERS[config["backbone"], config["alpha"]] + _dense(
            features(config["backbone"], config["alpha"]), config["units"], classes
        )
    if family not in ("scratch_keras", "scratch_pillow"):
        return None
    total, side, before = 0, int(config["image_size"]), 3
    for block in range(config["blocks"]):
        filters = channels(config["filters"] * config["growth"] ** block)
        # A batch norm has four numbers for each channel, and takes the place of the bias.
        total += config["kernel"] ** 2 * before * filters + filters * (4 if config["batch_norm"] else 1)
        side = -(-side // (config["stem_stride"] if block == 0 else 1))
        side, before = max(1, side // 2), filters
    if config["head"] == "flatten":
        before *= (side // shrunk(side, before)) ** 2
    return total + _dense(before, config["units"], classes)


def convolutions(config: Mapping[str, Any]) -> int:
    """How many convolutions the trunks of a configuration have, by which models take their time to be built."""
    return sum(walked(*source).convolutions for source in sources(config))


def features(backbone: str, alpha: float) -> int:
    """The length of the pooled features of a backbone."""
    return walked(backbone, alpha, BACKBONES[backbone].side).blocks[-1].channels


def channels(filters: float) -> int:
    """The channels of a convolution meant to have so many: multiples of 8, which vector units and tensor cores fill."""
    return max(8, round(filters / 8) * 8)


def shrunk(side: int, depth: int) -> int:
    """By which factor a map (side, side, depth) is averaged before it is flattened."""
    factor = 1
    while (side // factor) ** 2 * depth > LARGEST_FLATTENED:
        factor += 1
    return factor


def architecture(family: str, config: Mapping[str, Any]) -> tuple[Any, ...]:
    """What decides the latency of a configuration's model: configurations that agree in it are as fast.

    Of a transfer model that is the trunk alone, whose head is below a hundredth of the work. A family of the user's own
    may build anything from any value.
    """
    if is_probe(config):
        return family, *sources(config)
    if family == "mobilenet":
        return family, config["backbone"], config["alpha"], config["image_size"]
    if family not in ("scratch_keras", "scratch_pillow"):
        return family, *sorted((name, repr(value)) for name, value in config.items())
    names = ["image_size", "blocks", "filters", "growth", "kernel", "stem_stride", "batch_norm", "head", "units"]
    # The exported model treats its pictures itself.
    names += ["whitening", "auto_contrast", "equalize"] if family == "scratch_pillow" else []
    return family, *(config[name] for name in names)


def _dense(inputs: int, units: int, classes: int) -> int:
    return (inputs + 1) * units + (units + 1) * classes if units else (inputs + 1) * classes
