"""What the search and the report know of a family before Keras is there: one record, in the family's own file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Config = Mapping[str, Any]
Points = tuple[dict[str, Any], ...]

FILTER = "bilinear"  # what Keras's Resizing does, so that the exported model sees what training saw


@dataclass(frozen=True)
class Family:
    """A kind of model that is searched. What is left out is what holds for a family that nobody knows more of.

    Its networks are built by the file of `models` that has its name. That of a trunk under a head is `mobilenet`'s;
    any other has one function `build(config, classes, *, seed)`, from uint8 pictures (n, size, size, 3) to
    probabilities (n, classes), augmentation inside.
    """

    name: str
    # (hp, *, image_sizes, weighted) -> configuration; with a trunk it also takes `backbones`, `pretrained`, `probed`.
    space: Callable[..., dict[str, Any]]
    # Hand-written points that are tried right after the base configuration, in this order.
    starts: Points = ()

    # Hyperparameters that it got after its first release, of names that its models need not be given: a run from before
    # has neither points nor configurations with them, and goes on.
    later: tuple[str, ...] = ()

    # What its models cost, told from a configuration: million multiply-adds of training on one picture, beside those of
    # a head, and parameters of the exported model of so many classes. A family of Pedigree's own needs the first; a
    # user's is counted when it is built.
    work: Callable[[Config], float] | None = None
    parameters: Callable[[Config, int], int] | None = None
    # The hyperparameters that decide how fast a model answers; None: any of them may.
    shape: tuple[str, ...] | None = None

    # Whether it trains on pictures that Pillow has treated. Its configuration says how, with all of `whitening`,
    # `auto_contrast`, `equalize`, `transpose` and `rotation` (in degrees).
    treated: bool = False
    filters: tuple[str, ...] = (FILTER,)  # from which a configuration chooses its `resize_filter`

    # Whether it has a pretrained trunk and trains on its stored features.
    transfers: bool = False
    # The points of all linear probes, by (image_sizes, backbones, weighted); those of them that come before all that is
    # trained; and what the searcher takes for given when it draws, since all probes are tried.
    probes: Callable[..., Points] | None = None
    leading: Callable[[Sequence[Config]], list[Config]] | None = None
    given: Mapping[str, Any] | None = None
    # Where its space is narrowed: by hyperparameter what else is so where it is 0, and what where it is more.
    at_zero: Mapping[str, tuple[dict[str, Any], dict[str, Any]]] = field(default_factory=dict)

    # Trials that it may be ahead of the other families at the start.
    lead: int = 0
    # Epochs after which a trial has learnt what it ever will; None: as many as there is time for.
    most_epochs: int | None = None
    # Up to so many epochs more of them are worth more than a retraining that has the validation pictures too: where
    # time is short, the trial's own model is handed over. Of copies of a picture each counts.
    rather_epochs: int = 27

    # In print: its name and the colour of its curves (where empty, the report finds them), what the notebook study
    # found in validation accuracy on the ten best-represented Stanford Dogs breeds, and with what value each of its
    # treatments and augmentations is switched off.
    title: str = ""
    colour: str = ""
    notebook: str = ""
    off: Mapping[str, Any] = field(default_factory=dict)

    def filter(self, config: Config) -> str:
        """What a configuration's pictures are resized with. Of a user's family that value may be anything."""
        return str(config.get("resize_filter", FILTER)) if len(self.filters) > 1 else self.filters[0]
