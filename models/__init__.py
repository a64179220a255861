"""The Keras models, one file per family, each with one `build`."""

from importlib import import_module
from types import ModuleType


def network(family: str) -> ModuleType:
    """The file that builds the models of a family of Pedigree's own, by whose name it goes; imports Keras."""
    return import_module(f"{__name__}.{family}")
