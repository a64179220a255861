"""Each family as a `keras_tuner.HyperModel`, for KerasTuner's own tuners."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
from numpy.typing import NDArray

from models import mobilenet, network
from models.compiling import compile_model
from models.export import raw_pictures
from models.treatment import with_treatment
from models.trunk import Trunk
from search.data.treatment import training_copies
from spaces import FAMILIES


class FamilyHyperModel(keras_tuner.HyperModel):  # type: ignore[misc]
    """Builds, compiles and fits one family on raw uint8 pictures (n, height, width, 3) and one-hot labels (n, classes).

    The models resize to the image size of their configuration, so that one array serves the whole space, and do their
    treatment and augmentation inside. Neither are answers averaged with those for the mirror image, nor pictures mixed.
    Tuners take `objective="val_accuracy"`.

    Args:
        family: a name of `spaces.FAMILIES`.
        classes: how many there are.
        image_sizes: sides in pixels that the space may choose.
        pictures: how many a model will be fitted on, for the learning rate's schedule.
        epochs: of a full training, for the same.
        weights: of a family with a trunk, the file of each (backbone, alpha) to be searched; None for random ones.
        seed: of initial weights, augmentation and dropout.
    """

    def __init__(
        self,
        family: str,
        classes: int,
        image_sizes: tuple[int, ...],
        *,
        pictures: int,
        epochs: int,
        weights: Mapping[tuple[str, float], Path | None] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(name=family)
        if family not in FAMILIES:
            raise ValueError(f"family must be one of {', '.join(FAMILIES)}, got {family!r}")
        self.family = FAMILIES[family]
        if self.family.transfers and not weights:
            raise ValueError(f"{family} needs the backbones to search, got weights={weights!r}")
        self.classes = classes
        self.pictures = pictures
        self.epochs = epochs
        self.weights = dict(weights or {})
        self.seed = seed
        bound = {"backbones": tuple(self.weights)} if self.family.transfers else {}
        self.space = partial(self.family.space, image_sizes=image_sizes, **bound)

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        config = self.space(hp)
        trunk: list[str] = []
        if self.family.transfers:
            key = (config["backbone"], config["alpha"])
            frozen = Trunk(*key, config["image_size"], self.weights[key], seed=self.seed)
            tail = mobilenet.build_tail(config, self.classes, seed=self.seed, trunk=frozen)
            trunk = mobilenet.trunk_variables(tail)
            model = mobilenet.join(tail, config, seed=self.seed, trunk=frozen, augment=True)
        else:
            model = network(self.family.name).build(config, self.classes, seed=self.seed)
            model = with_treatment(model, config) if self.family.treated else model
        model = raw_pictures(model, resize_filter=self.family.filter(config), augmented=True)
        steps = math.ceil(self.pictures / config["batch_size"])
        compile_model(model, config, steps=steps, epochs=self.epochs, trunk=trunk)
        return model

    def fit(
        self,
        hp: keras_tuner.HyperParameters,
        model: keras.Model,
        x: NDArray[np.uint8],
        y: NDArray[np.float32],
        **kwargs: Any,
    ) -> Any:
        """Fits with the batch size of the configuration and, on treated pictures, their mirrored and turned copies."""
        config = self.space(hp)
        if self.family.treated:
            pictures = len(x)
            x = training_copies(x, config["transpose"], config["rotation"], threads=1)
            y = np.tile(y, (len(x) // pictures, 1))
        return model.fit(x, y, **{**kwargs, "batch_size": config["batch_size"]})
