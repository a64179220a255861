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
    """Whether a configuration is a linear probe: solved in one go, with one optimum and no luck in its training."""
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


def dense(inputs: int, units: int, classes: int) -> int:
    """The parameters of a head on so many features, with a hidden layer of so many units where there are any."""
    return (inputs + 1) * units + (units + 1) * classes if units else (inputs + 1) * classes
