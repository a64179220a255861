"""Parameters of which a few are tried in the first tier of the tests, and all of them in the second."""

from collections.abc import Iterable
from typing import Any

import pytest


def tiers(values: Iterable[Any], *first: Any) -> list[Any]:
    """The values as parameters: those that are not among the `first` belong to the second tier.

    What differs between them is covered by tests of its own; that each goes through this test is looked at by CI.
    """

    def parameter(value: Any) -> Any:
        several = isinstance(value, tuple)
        return value if value in first else pytest.param(*(value if several else (value,)), marks=pytest.mark.slow)

    return [parameter(value) for value in values]
