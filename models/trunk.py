"""The pretrained backbone without its head, cut into blocks."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

_BLOCK = re.compile(r"(?:conv_(?:pad|dw|pw)_|block_|expanded_conv_)(\d+)(?:_|$)|(expanded_conv)_|(Conv_1|conv_1)$")


def _block_name(layer: str) -> str | None:
    """The block that the layer opens or belongs to by its name; None for the stem and for unnamed layers."""
    found = _BLOCK.match(layer)
    if not found:
        return None
    return found[1] or found[2] or found[3]


class Trunk:
    """A backbone for one image size, with the tensors at its block boundaries.

    Cut `k` is the boundary above the first `k` blocks: 0 is the picture itself, `blocks` the last feature map.
    The weights are never trained in place: `upper` hands out copies.

    Args:
        backbone: a name in `models.sizes.PARAMETERS`.
        alpha: the width multiplier.
        size: the side of the square pictures, in pixels.
        weights: a weights file of this backbone and alpha, or None for random weights drawn from `seed`.
        sample: for random weights, some pictures (n, size, size, 3) of values 0 to 255. Batch norms that never train
            must know the scale of what passes through them, or nothing is left of it after a few blocks.
    """

    def __init__(
        self,
        backbone: str,
        alpha: float,
        size: int,
        weights: Path | None,
        *,
        seed: int = 0,
        sample: Any = None,
    ) -> None:
        extra = {"include_preprocessing": False} if backbone.startswith("MobileNetV3") else {}
        if weights is None:
            keras.utils.set_random_seed(seed)
        self.model: keras.Model = getattr(keras.applications, backbone)(
            input_shape=(size, size, 3), alpha=alpha, include_top=False, weights=None, **extra
        )
        self._scale = keras.layers.Rescaling(1 / 127.5, offset=-1.0)
        if weights is not None:
            self.model.load_weights(str(weights))
        elif sample is not None and len(sample):
            _measure_norms(self.model, self._scale(sample))
        self.model.trainable = False
        self._cuts = [self.model.input, *_boundaries(self.model), self.model.output]

    @property
    def blocks(self) -> int:
        """How many blocks there are, the stem and (where there is one) the closing convolution counted."""
        return len(self._cuts) - 1

    def frozen_blocks(self, unfrozen_blocks: int) -> int:
        """The cut that leaves `unfrozen_blocks` above it; more than there are means all."""
        return max(0, self.blocks - unfrozen_blocks)

    def shape(self, cut: int) -> tuple[int, ...]:
        """The shape of one picture's activations at `cut`."""
        return tuple(self._cuts[cut].shape[1:])

    @property
    def width(self) -> int:
        """The length of the pooled features."""
        return int(self._cuts[-1].shape[-1])

    def stage_ends(self) -> list[int]:
        """The cuts just below a halving of the resolution, and the last one."""
        sides = [self.shape(cut)[0] for cut in range(self.blocks + 1)]
        ends = [cut for cut in range(1, self.blocks) if sides[cut + 1] < sides[cut]]
        return [*ends, self.blocks]

    def lower(self, start: int, cuts: Sequence[int], *, pooled: bool = False) -> keras.Model:
        """The frozen part from `start` to each of `cuts`, then (if asked) to the pooled features.

        From cut 0 it takes pictures of values 0 to 255 and scales them itself; from any other, activations.
        """
        outputs = [self._cuts[cut] for cut in cuts]
        if pooled:
            outputs.append(keras.layers.GlobalAveragePooling2D()(self._cuts[-1]))
        segment = keras.Model(self._cuts[start], outputs)
        if start == 0:
            pictures = keras.Input(self.shape(0))
            segment = keras.Model(pictures, segment(self._scale(pictures)))
        segment.trainable = False
        return segment

    def upper(self, cut: int) -> keras.Model:
        """A copy of the part above `cut`, to be trained; its BatchNormalization layers stay in inference mode."""
        part = keras.Model(self._cuts[cut], self._cuts[-1])
        copy = keras.models.clone_model(part)
        copy.set_weights(part.get_weights())
        for layer in copy.layers:
            layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
        return copy


def _measure_norms(model: keras.Model, sample: Any) -> None:
    """Sets the mean and variance of every batch norm to those of a sample."""
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    usual = [layer.momentum for layer in norms]
    for layer in norms:
        layer.momentum = 0.0
    model(sample, training=True)
    for layer, momentum in zip(norms, usual, strict=True):
        layer.momentum = momentum


def _boundaries(model: keras.Model) -> list[keras.KerasTensor]:
    """The tensors that enter each block above the stem, from the input side to the output side."""
    entering = []
    current: str | None = None
    for layer in model.layers:
        block = _block_name(layer.name)
        if block is not None and block != current:
            entering.append(layer.input)
            current = block
    return entering
