"""What configurations cost, known without importing Keras: the driver plans by it."""

from collections.abc import Mapping
from typing import Any

from models.sizes import EPOCH_PICTURES, HEAD, PARAMETERS, dense, features, is_probe, sources
from spaces import family_of


def copies(family: str, config: Mapping[str, Any]) -> int:
    """How many versions of each picture a configuration trains on side by side."""
    if not family_of(family).treated or "transpose" not in config:
        return 1
    return int(1 + config["transpose"] + 2 * (config["rotation"] > 0))


def passes(family: str, config: Mapping[str, Any], pictures: int) -> float:
    """The share of its training set that a configuration sees in an epoch."""
    return 1 / max(1, round(pictures * copies(family, config) / EPOCH_PICTURES))


def work(family: str, config: Mapping[str, Any]) -> float:
    """Roughly how many million multiply-adds one training picture costs; only good for telling cheap from dear."""
    known = family_of(family).work
    if known is None or "multiply_adds" in config:
        # A user's model: counted when it was built.
        return HEAD + 3 * float(config["multiply_adds"])
    return HEAD + (0.0 if is_probe(config) else known(config) * copies(family, config))


def parameters(family: str, config: Mapping[str, Any], classes: int) -> int | None:
    """How many parameters the exported model of a configuration has, as Keras counts them once it is built.

    A family of the user's own is counted when it is built, and its configuration says it; None where it does not.
    """
    if "model_parameters" in config:
        return int(config["model_parameters"])
    if is_probe(config):
        trunks = [(backbone, alpha) for backbone, alpha, _ in sources(config)]
        widths = sum(features(*trunk) for trunk in trunks)
        return sum(PARAMETERS[trunk] for trunk in trunks) + dense(widths, 0, classes)
    known = family_of(family).parameters
    return None if known is None else known(config, classes)


def architecture(family: str, config: Mapping[str, Any]) -> tuple[Any, ...]:
    """What decides the latency of a configuration's model: configurations that agree in it are as fast.

    A family of the user's own may build anything from any value.
    """
    if is_probe(config):
        return family, *sources(config)
    shape = family_of(family).shape
    if shape is None:
        return family, *sorted((name, repr(value)) for name, value in config.items())
    return family, *(config[name] for name in shape)
