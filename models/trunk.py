"""The pretrained backbone without its head, cut into blocks."""

import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras

from models.backbones import BACKBONES


class Trunk:
    """A backbone for one image size, with the tensors at its block boundaries.

    Cut `k` is the boundary above the first `k` blocks: 0 is the picture itself, `blocks` the last feature map.
    The weights are never trained in place: `upper` hands out copies.

    Args:
        backbone: a name in `models.backbones.BACKBONES`.
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
        about = BACKBONES[backbone]
        extra: dict[str, Any] = {"alpha": alpha} if about.mobile else {}
        extra |= {"include_preprocessing": False} if about.preprocesses else {}
        # Its norm follows the pooling, and would else be put on every place of the last map.
        extra |= {"pooling": "avg"} if about.closing_norm else {}
        if weights is None:
            keras.utils.set_random_seed(seed)
        model = getattr(keras.applications, backbone)(
            input_shape=(size, size, 3), include_top=False, weights=None, **extra
        )
        # Whatever scales the pictures is this one layer, and never the model's own.
        scale, offset = (list(one) if isinstance(one, tuple) else one for one in (about.scale, about.offset))
        self._scale = keras.layers.Rescaling(scale, offset=offset)
        if weights is not None:
            model.load_weights(str(weights))
            if about.blue_first:
                turn_colours(model)
        self.model: keras.Model = plain(model)
        # What is frozen drops nothing, though the network that it is a part of is trained.
        drops = [layer for layer in self.model.layers if isinstance(layer, keras.layers.Dropout)]
        self._rates = {layer.name: layer.rate for layer in drops}
        for layer in drops:
            layer.rate = 0.0
        if weights is None and sample is not None and len(sample):
            _measure_norms(self.model, self._scale(sample))
        self.model.trainable = False
        self._output = self.model.output
        last = self._output
        if about.closing_norm:
            pooling = [one for one in self.model.layers if isinstance(one, keras.layers.GlobalAveragePooling2D)]
            last = pooling[-1].input
        self._cuts = [self.model.input, *_boundaries(self.model, re.compile(about.layers)), last]

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
            outputs.append(pooled_features(self._output))
        segment = keras.Model(self._cuts[start], outputs)
        if start == 0:
            pictures = keras.Input(self.shape(0))
            segment = keras.Model(pictures, segment(self._scale(pictures)))
        segment.trainable = False
        return segment

    def upper(self, cut: int, *, seed: int = 0) -> keras.Model:
        """A copy of the part above `cut`, to be trained; its BatchNormalization layers stay in inference mode.

        It gives the last feature map, or the pooled features where the backbone treats these itself. `seed` is that of
        the blocks that are dropped in training, where the backbone drops any.
        """
        part = keras.Model(self._cuts[cut], self._output)
        seeds = itertools.count(seed)

        def copied(layer: Any) -> Any:
            config = layer.get_config()
            if isinstance(layer, keras.layers.Dropout):
                config |= {"rate": self._rates[layer.name], "seed": next(seeds)}
            return layer.__class__.from_config(config)

        copy = keras.models.clone_model(part, clone_function=copied)
        copy.set_weights(part.get_weights())
        for layer in copy.layers:
            layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
        return copy


def pooled_features(found: Any) -> Any:
    """The mean of a feature map over its places; features that are pooled already stay as they are."""
    return keras.layers.GlobalAveragePooling2D()(found) if len(found.shape) == 4 else found


def turn_colours(model: keras.Model) -> None:
    """Turns the first convolution round, so that a model of pictures in blue, green and red takes red, green, blue."""
    first = next(layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D))
    kernel, *rest = first.get_weights()
    first.set_weights([kernel[:, :, ::-1], *rest])


def plain(model: keras.Model) -> keras.Model:
    """The same network, of layers that every part of the project and every runtime takes; the model where it is so.

    A convolution in as many groups as it has channels becomes a depthwise one, which on CPU cores takes a fraction of
    the time. What stands in a row as a model of its own stands among the other layers.
    """

    def grouped(layer: Any) -> bool:
        return type(layer) is keras.layers.Conv2D and layer.groups == layer.filters > 1

    if not any(isinstance(layer, keras.Sequential) or grouped(layer) for layer in model.layers):
        return model

    def fresh(layer: Any) -> Any:
        if not grouped(layer):
            return layer.__class__.from_config(layer.get_config())
        return keras.layers.DepthwiseConv2D(
            layer.kernel_size, strides=layer.strides, padding=layer.padding, use_bias=layer.use_bias,
            name=layer.name, dtype=layer.dtype_policy,
        )  # fmt: skip

    def call(layer: Any, *arguments: Any, **more: Any) -> Any:
        if not isinstance(layer, keras.Sequential):
            return layer(*arguments, **more)
        (x,) = arguments
        for inner in layer.layers:
            x = fresh(inner)(x)
        return x

    copy = keras.models.clone_model(
        model,
        clone_function=lambda layer: layer if isinstance(layer, keras.Sequential) else fresh(layer),
        call_function=call,
    )
    copies = {layer.name: layer for layer in copy.layers}
    for layer in _leaves(model):
        if layer.weights:
            weights = layer.get_weights()
            if grouped(layer):
                weights[0] = weights[0].transpose(0, 1, 3, 2)
            copies[layer.name].set_weights(weights)
    return copy


def _leaves(model: keras.Model) -> Iterator[Any]:
    for layer in model.layers:
        if isinstance(layer, keras.Sequential):
            yield from layer.layers
        else:
            yield layer


def _measure_norms(model: keras.Model, sample: Any) -> None:
    """Sets the mean and variance of every batch norm to those of a sample."""
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    # A block that were dropped for a small sample would leave a variance of 0, which is divided by afterwards.
    drops = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    momenta, rates = [layer.momentum for layer in norms], [layer.rate for layer in drops]
    for layer in norms:
        layer.momentum = 0.0
    for layer in drops:
        layer.rate = 0.0
    model(sample, training=True)
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum
    for layer, rate in zip(drops, rates, strict=True):
        layer.rate = rate


def _boundaries(model: keras.Model, names: re.Pattern[str]) -> list[keras.KerasTensor]:
    """The tensors that enter each block above the stem, from the input side to the output side."""
    entering = []
    current: str | None = None
    for layer in model.layers:
        # The block that the layer opens or belongs to by its name; the stem has none, nor have unnamed layers.
        found = names.match(layer.name)
        block = next(filter(None, found.groups()), None) if found else None
        if block is not None and block != current:
            entering.append(layer.input)
            current = block
    return entering
