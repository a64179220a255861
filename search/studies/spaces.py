"""The spaces of a run's families, as far as its settings and weights allow."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from search.settings import Settings
from search.studies.hyperparameters import values_to_point
from search.studies.narrowed import Narrowed, rules_of
from search.training.weights import Weights
from spaces import FAMILIES, family_of

Space = Callable[[Any], dict[str, Any]]


def fits(space: Space, values: Mapping[str, Any]) -> bool:
    """Whether a space has all these names and values; a run may allow fewer backbones than were thought of."""
    try:
        values_to_point(space, values)
    except ValueError:
        return False
    return True


def spaces_of(
    settings: Settings,
    weights: Sequence[Weights],
    own: Mapping[str, Space] | None = None,
    *,
    weighted: bool = False,
    filters: Sequence[str] | None = None,
) -> dict[str, tuple[Space, Sequence[Mapping[str, Any]]]]:
    """The space of each family of a run, as far as its settings and weights allow, and the points to start from.

    `own` are the spaces of the user's hypermodels; without them their families are left out. Where `weighted`, because
    the data is imbalanced, rare classes may count more in all but these. `filters` are those with which the pictures of
    the data were resized; None for all that a family knows.
    """
    spaces: dict[str, tuple[Space, Sequence[Mapping[str, Any]]]] = {}
    for family in settings.families:
        known = family_of(family)
        if family not in FAMILIES and family not in (own or {}):
            continue
        bound: dict[str, Any] = {"image_sizes": settings.image_sizes}
        bound |= {"weighted": True} if weighted else {}
        if filters is not None and len(known.filters) > 1:
            bound["filters"] = tuple(name for name in known.filters if name in filters)
        starts: Sequence[Mapping[str, Any]] = known.starts
        if known.transfers:
            bound["backbones"] = backbones_of(weights)
            bound["pretrained"] = all(item.path for item in weights)
            # What is known to be good of a trained trunk says nothing of a random one.
            starts = starts if bound["pretrained"] else ()
            bound["probed"] = True
        elif starts:
            # First on the smallest pictures, where as much time makes the most epochs: where there is plenty of it, the
            # study goes on to the next.
            starts = ({**starts[0], "image_size": min(settings.image_sizes)}, *starts)
        space: Space = own[family] if own and family in own else partial(known.space, **bound)
        rules = rules_of(settings.set, family, settings.families)
        spaces[family] = Narrowed(space, rules) if rules else space, starts
    return spaces


def backbones_of(weights: Sequence[Weights]) -> tuple[tuple[str, float], ...]:
    """Name and alpha of each trunk of a run, the base's first."""
    return tuple((item.backbone, item.alpha) for item in weights)
