"""How large models are, known without importing Keras: the driver reads this."""

from collections.abc import Mapping
from typing import Any

# (backbone, alpha) -> parameters without the top, as keras.applications builds them. A weights file is
# recognised by this count, so its name does not matter and a wrong file is refused before it is loaded.
PARAMETERS: dict[tuple[str, float], int] = {
    ("MobileNet", 0.25): 218_544,
    ("MobileNet", 0.5): 829_536,
    ("MobileNet", 0.75): 1_832_976,
    ("MobileNet", 1.0): 3_228_864,
    ("MobileNetV2", 0.35): 410_208,
    ("MobileNetV2", 0.5): 706_224,
    ("MobileNetV2", 0.75): 1_382_064,
    ("MobileNetV2", 1.0): 2_257_984,
    ("MobileNetV2", 1.3): 3_766_048,
    ("MobileNetV2", 1.4): 4_363_712,
    ("MobileNetV3Small", 0.75): 583_160,
    ("MobileNetV3Small", 1.0): 939_120,
    ("MobileNetV3Large", 0.75): 1_808_736,
    ("MobileNetV3Large", 1.0): 2_996_352,
}

# Multiply-adds of one picture of 224 pixels through a backbone of width 1, in millions, as their papers give them.
FORWARD: dict[str, float] = {"MobileNet": 569, "MobileNetV2": 300, "MobileNetV3Small": 56, "MobileNetV3Large": 219}
BLOCKS: dict[str, int] = {"MobileNet": 14, "MobileNetV2": 19, "MobileNetV3Small": 13, "MobileNetV3Large": 17}
# Blocks above the cut up to which activations are cached; from there down the whole network runs in every epoch.
CACHED = 9
# The work of a head on cached features, whatever its size.
HEAD = 1.0


def work(family: str, config: Mapping[str, Any]) -> float:
    """Roughly how many million multiply-adds one training picture costs; only good for telling cheap from dear."""
    if family == "mobilenet":
        forward: float = FORWARD[config["backbone"]] * config["alpha"] ** 2 * (config["image_size"] / 224) ** 2
        depth = min(config["unfrozen_blocks"], BLOCKS[config["backbone"]])
        trained: float = forward * depth / BLOCKS[config["backbone"]]
        return HEAD + 3 * trained + (0.0 if depth <= CACHED else forward - trained)
    total, side, before = 0.0, float(config["image_size"]), 3.0
    for block in range(config["blocks"]):
        side /= config["stem_stride"] if block == 0 else 1
        filters = config["filters"] * config["growth"] ** block
        total += side**2 * before * filters * config["kernel"] ** 2
        before, side = filters, max(1.0, side / 2)
    copies = 1 + config["transpose"] + 2 * (config["rotation"] > 0) if family == "scratch_pillow" else 1
    return 3 * total / 1e6 * copies
