"""The families that are searched, each in a file of its own, with its space in KerasTuner's vocabulary."""

from importlib import import_module
from typing import Any

from spaces.family import Family

# A family is a file of this folder, which says what is searched, and one of `models`, which builds it.
NAMES = ("scratch_pillow", "scratch_keras", "mobilenet")
FAMILIES: dict[str, Family] = {name: import_module(f"{__name__}.{name}").FAMILY for name in NAMES}

# What people who narrow a space should know of a hyperparameter beyond its name.
REMARKS = {"learning_rate": "on the scale of Adam: sgd trains with ten times as much"}


def family_of(name: str) -> Family:
    """What is known of a family; of a user's own that is its name alone."""
    return FAMILIES.get(name) or Family(name, _brought)


def _brought(*_: object, **__: object) -> dict[str, Any]:
    raise NotImplementedError("the space of a user's own family is its hypermodel's")
