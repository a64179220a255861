"""Augmentation as Keras layers, on pictures of the range 0 to 255."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from models import kernels

FLIPS = ("none", "horizontal", "both")

# What `mobilenet` calls by name.
AUGMENTATIONS: dict[str, dict[str, Any]] = {
    "none": {"flip": "none", "rotation": 0.0, "zoom": 0.0, "translation": 0.0, "contrast": 0.0},
    "flip": {"flip": "horizontal", "rotation": 0.0, "zoom": 0.0, "translation": 0.0, "contrast": 0.0},
    "light": {"flip": "horizontal", "rotation": 0.05, "zoom": 0.1, "translation": 0.05, "contrast": 0.1},
    "strong": {"flip": "horizontal", "rotation": 0.1, "zoom": 0.2, "translation": 0.1, "contrast": 0.3},
}


def augmentation_layers(
    flip: str,
    rotation: float,
    zoom: float,
    translation: float,
    contrast: float,
    crop: float = 0.0,
    colour: float = 0.0,
    *,
    seed: int,
) -> list[keras.layers.Layer]:
    """The random layers that training applies before the scaling; strengths of 0 give no layer.

    `flip` is none, horizontal or both; `rotation` in fractions of a turn either way, `zoom` and `translation` in
    fractions of the picture either way, `contrast` the most by which it is raised or lowered. `crop` is the share of
    the area that a random crop may lose, `colour` the most by which brightness and saturation are raised or lowered.
    Pictures go in with values from 0 to 255: after the scaling to -1..1 the contrast layer would cut off half of them.
    """
    if flip not in FLIPS:
        raise ValueError(f"flip must be one of {', '.join(FLIPS)}, got {flip!r}")
    layers: list[keras.layers.Layer] = []
    if rotation or zoom or translation or crop:
        layers.append(RandomAffine(flip, rotation, zoom, translation, crop, seed=seed))
    else:
        # Mirroring alone needs no sampling. Keras's own mode for both axes draws once for the two, which only ever
        # turns a picture by 180 degrees: each axis has its layer.
        if flip != "none":
            layers.append(keras.layers.RandomFlip("horizontal", seed=seed, dtype="float32"))
        if flip == "both":
            layers.append(keras.layers.RandomFlip("vertical", seed=seed + 1, dtype="float32"))
    if contrast:
        if not layers:
            # Of the three kinds, Keras's contrast alone does not take uint8 pictures.
            layers.append(keras.layers.Rescaling(1.0, dtype="float32"))
        layers.append(keras.layers.RandomContrast(contrast, value_range=(0, 255), seed=seed + 2, dtype="float32"))
    if colour:
        layers.append(RandomColour(colour, seed=seed + 3))
    return layers


def without_augmentation(model: keras.Model) -> keras.Model:
    """The part of a model behind its augmentation layers, on float32 pictures; a model that has none stays as it is."""
    kinds = (RandomAffine, RandomColour, keras.layers.RandomFlip, keras.layers.RandomContrast)
    random = [layer for layer in model.layers if isinstance(layer, kinds)]
    return keras.Model(random[-1].output, model.output) if random else model


class RandomAffine(keras.layers.Layer):  # type: ignore[misc]
    """Mirrors, turns, zooms and shifts every picture of a batch (n, h, w, c) at once, in training only.

    One bilinear sampling instead of Keras's four layers in a row: it takes a fraction of their time, and the picture is
    blurred once. What leaves the frame comes back mirrored at its edge.
    """

    def __init__(
        self, flip: str, rotation: float, zoom: float, translation: float, crop: float = 0.0, *, seed: int
    ) -> None:
        super().__init__(dtype="float32")
        self.flip = flip
        self.rotation = rotation
        self.zoom = zoom
        self.translation = translation
        self.crop = crop
        self.seeds = keras.random.SeedGenerator(seed)

    def call(self, pictures: Any, training: bool = False) -> Any:
        pictures = ops.cast(pictures, "float32")
        if not training:
            return pictures
        height, width = pictures.shape[1:3]
        number = ops.shape(pictures)[0]
        angle = self._draw(number, 2 * math.pi * self.rotation)
        scale = 1 + self._draw(number, self.zoom)
        wide, high = self._crop(number) if self.crop else (1.0, 1.0)
        across = scale * self._sign(number) if self.flip != "none" else scale
        down = scale * self._sign(number) if self.flip == "both" else scale
        across, down = across * wide, down * high
        # A pixel (x, y) of the result is the picture at a0 x + a1 y + a2, b0 x + b1 y + b2.
        a0, a1 = across * ops.cos(angle), -down * ops.sin(angle)
        b0, b1 = across * ops.sin(angle), down * ops.cos(angle)
        x, y = (width - 1) / 2, (height - 1) / 2
        a2 = x - a0 * x - a1 * y + width * self._draw(number, self.translation)
        b2 = y - b0 * x - b1 * y + height * self._draw(number, self.translation)
        if self.crop:
            # Anywhere in the frame.
            a2 = a2 + width * (1 - wide) * self._draw(number, 0.5)
            b2 = b2 + height * (1 - high) * self._draw(number, 0.5)
        return kernels.sampling(pictures, ops.stack([a0, a1, a2], axis=1), ops.stack([b0, b1, b2], axis=1))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def _crop(self, number: Any) -> tuple[Any, Any]:
        """The sides of random crops in shares of the picture's: first an area is drawn, then a shape."""
        area = 1 - self.crop / 2 + self._draw(number, self.crop / 2)
        shape = ops.exp(self._draw(number, math.log(4 / 3) / 2))
        side = ops.sqrt(area)
        return ops.minimum(side * shape, 1.0), ops.minimum(side / shape, 1.0)

    def _draw(self, number: Any, bound: float) -> Any:
        return keras.random.uniform((number,), -bound, bound, seed=self.seeds)

    def _sign(self, number: Any) -> Any:
        return ops.sign(self._draw(number, 1.0))


class RandomColour(keras.layers.Layer):  # type: ignore[misc]
    """Raises or lowers the brightness and the saturation of every picture of a batch, in training only.

    Keras's own saturation goes through another colour space, which takes ten times as long; here a pixel is moved
    along the line between its colour and its grey, which is the same up to the weights of the channels.
    """

    def __init__(self, strength: float, *, seed: int) -> None:
        super().__init__(dtype="float32")
        self.strength = strength
        self.seeds = keras.random.SeedGenerator(seed)

    def call(self, pictures: Any, training: bool = False) -> Any:
        pictures = ops.cast(pictures, "float32")
        if not training:
            return pictures
        shape = (ops.shape(pictures)[0], 1, 1, 1)
        brightness, saturation = (
            1 + keras.random.uniform(shape, -self.strength, self.strength, seed=self.seeds) for _ in range(2)
        )
        grey = ops.mean(pictures, axis=3, keepdims=True)
        return ops.clip((grey + (pictures - grey) * saturation) * brightness, 0.0, 255.0)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape
