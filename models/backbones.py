"""What each backbone is made of, in plain numbers, known without importing Keras: the driver reads this.

A backbone is walked through layer by layer as `keras.applications` builds it. That gives its parameters, its
multiply-adds at any picture size, and what lies at each place where it can be cut.
"""

import functools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

# Where Keras publishes ImageNet weights. A file of the 224-pixel model serves every size.
PUBLISHED = "https://storage.googleapis.com/tensorflow/keras-applications/"


class Block(NamedTuple):
    """The end of a block: the map that leaves it, and the multiply-adds of all up to there."""

    side: int
    channels: int
    multiply_adds: int


class Walk:
    """A picture on its way through a backbone.

    A multiply-add is counted for each weight of a convolution at every place where it is applied. Norms, activations
    and pooling are not counted.
    """

    def __init__(self, size: int) -> None:
        self.side, self.channels = size, 3
        self.parameters = 0
        self.multiply_adds = 0
        self.convolutions = 0
        self.blocks: list[Block] = []

    def convolution(
        self,
        filters: int,
        kernel: int = 1,
        stride: int = 1,
        *,
        padding: int | None = None,
        bias: bool = False,
        norm: bool = True,
    ) -> None:
        """A convolution, perhaps with a batch norm. `padding` is that of both sides together; None: Keras's "same"."""
        weights = kernel * kernel * self.channels * filters
        self.channels = filters
        self._apply(weights, kernel, stride, padding, bias, norm)

    def depthwise(
        self, kernel: int, stride: int = 1, *, padding: int | None = None, bias: bool = False, norm: bool = True
    ) -> None:
        """A convolution of each channel by itself."""
        self._apply(kernel * kernel * self.channels, kernel, stride, padding, bias, norm)

    def separable(self, filters: int) -> None:
        """A depthwise convolution and one of single pixels, with one batch norm."""
        self.depthwise(3, norm=False)
        self.convolution(filters)

    def shortcut(self, channels: int, *, bias: bool, norm: bool) -> None:
        """A convolution of single pixels round a block, from so many channels to the map that leaves the block."""
        weights = channels * self.channels
        self.convolutions += 1
        self.parameters += weights + self.channels * (bias + 4 * norm)
        self.multiply_adds += weights * self.side**2

    def squeeze(self, filters: int) -> None:
        """Squeeze and excitation: two dense layers on the pooled map."""
        weights = self.channels * filters
        self.convolutions += 2
        self.parameters += 2 * weights + filters + self.channels
        self.multiply_adds += 2 * weights

    def norm(self, numbers: int = 4) -> None:
        """A norm with so many numbers for each channel: a batch norm has 4, a layer norm 2."""
        self.parameters += numbers * self.channels

    def pool(self, kernel: int, stride: int, padding: int | None) -> None:
        self.side = _shrunk(self.side, kernel, stride, padding)

    def end(self) -> None:
        """Here a block ends."""
        self.blocks.append(Block(self.side, self.channels, self.multiply_adds))

    def _apply(self, weights: int, kernel: int, stride: int, padding: int | None, bias: bool, norm: bool) -> None:
        self.side = _shrunk(self.side, kernel, stride, padding)
        self.convolutions += 1
        self.parameters += weights + self.channels * (bias + 4 * norm)
        self.multiply_adds += weights * self.side**2


def _shrunk(side: int, kernel: int, stride: int, padding: int | None) -> int:
    return -(-side // stride) if padding is None else (side + padding - kernel) // stride + 1


@dataclass(frozen=True)
class Backbone:
    """One network of `keras.applications` without its top."""

    name: str
    walk: Callable[[Walk, float], None]  # by its width
    # What names of layers begin with, from the first block above the stem on; groups tell blocks apart.
    layers: str
    files: Mapping[float, str]  # by width, the file of the ImageNet weights below `PUBLISHED`
    scale: float | tuple[float, ...]  # by which levels from 0 to 255 are multiplied, of all or of each channel
    offset: float | tuple[float, ...]  # and what is added then
    blue_first: bool = False  # whether the weights are of pictures whose first channel is blue
    preprocesses: bool = False  # whether Keras would put the scaling into the model
    closing_norm: bool = False  # whether a layer norm follows the pooling
    side: int = 224  # of the pictures that it was trained on, in pixels
    smallest: int = 32  # that Keras builds it for

    @property
    def mobile(self) -> bool:
        """Whether it is one of the MobileNets, which are searched unless others are named."""
        return is_mobile(self.name)


def is_mobile(backbone: str) -> bool:
    """Whether a backbone is one of the MobileNets: they alone come in several widths, and are called by theirs."""
    return backbone.startswith("MobileNet")


def multiple(value: float) -> int:
    """The multiple of 8 next to a number of channels."""
    return max(8, int(value + 4) // 8 * 8)


def divisible(value: float) -> int:
    """The same, but never a tenth below the number."""
    found = multiple(value)
    return found + 8 if found < 0.9 * value else found


# --- how each family is built ---------------------------------------------------------------------------------------


def _mobilenet(walk: Walk, alpha: float) -> None:
    walk.convolution(int(32 * alpha), 3, 2)
    walk.end()
    rows = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
    for filters, stride in rows:
        walk.depthwise(3, stride, padding=None if stride == 1 else 1)
        walk.convolution(int(filters * alpha))
        walk.end()


def _mobilenet_v2(walk: Walk, alpha: float) -> None:
    walk.convolution(divisible(32 * alpha), 3, 2)
    walk.end()
    stages = [(16, 1, 1), (24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1)]
    for stage, (filters, repeats, stride) in enumerate(stages):
        for number in range(repeats):
            if stage:
                walk.convolution(6 * walk.channels)
            walk.depthwise(3, 1 if number else stride)
            walk.convolution(divisible(int(filters * alpha)))
            walk.end()
    # This one is only ever widened.
    walk.convolution(divisible(1280 * alpha) if alpha > 1 else 1280)
    walk.end()


Row = tuple[float, int, int, int, bool]  # expansion, filters, kernel, stride, whether squeezed


def _mobilenet_v3(rows: Iterable[Row]) -> Callable[[Walk, float], None]:
    def walk_through(walk: Walk, alpha: float) -> None:
        walk.convolution(16, 3, 2)
        walk.end()
        for number, (expansion, filters, kernel, stride, squeezed) in enumerate(rows):
            expanded = divisible(walk.channels * expansion)
            if number:
                walk.convolution(expanded)
            walk.depthwise(kernel, stride)
            if squeezed:
                walk.squeeze(divisible(expanded * 0.25))
            walk.convolution(divisible(filters * alpha))
            walk.end()
        walk.convolution(divisible(6 * walk.channels))
        walk.end()

    return walk_through


_V3_SMALL: tuple[Row, ...] = (
    (1, 16, 3, 2, True), (72 / 16, 24, 3, 2, False), (88 / 24, 24, 3, 1, False), (4, 40, 5, 2, True),
    (6, 40, 5, 1, True), (6, 40, 5, 1, True), (3, 48, 5, 1, True), (3, 48, 5, 1, True), (6, 96, 5, 2, True),
    (6, 96, 5, 1, True), (6, 96, 5, 1, True),
)  # fmt: skip
_V3_LARGE: tuple[Row, ...] = (
    (1, 16, 3, 1, False), (4, 24, 3, 2, False), (3, 24, 3, 1, False), (3, 40, 5, 2, True), (3, 40, 5, 1, True),
    (3, 40, 5, 1, True), (6, 80, 3, 2, False), (2.5, 80, 3, 1, False), (2.3, 80, 3, 1, False),
    (2.3, 80, 3, 1, False), (6, 112, 3, 1, True), (6, 112, 3, 1, True), (6, 160, 5, 2, True), (6, 160, 5, 1, True),
    (6, 160, 5, 1, True),
)  # fmt: skip

# Of EfficientNetV2, by stage: whether its blocks are fused (one convolution in place of two, and not squeezed),
# repeats, filters, expansion and stride.
Stage = tuple[bool, int, int, int, int]
_B: tuple[Stage, ...] = (
    (True, 1, 16, 1, 1), (True, 2, 32, 4, 2), (True, 2, 48, 4, 2), (False, 3, 96, 4, 2), (False, 5, 112, 6, 1),
    (False, 8, 192, 6, 2),
)  # fmt: skip
_S: tuple[Stage, ...] = (
    (True, 2, 24, 1, 1), (True, 4, 48, 4, 2), (True, 4, 64, 4, 2), (False, 6, 128, 4, 2), (False, 9, 160, 6, 1),
    (False, 15, 256, 6, 2),
)  # fmt: skip


def _efficientnet_v2(
    stages: tuple[Stage, ...], stem: int, width: float = 1.0, depth: float = 1.0
) -> Callable[[Walk, float], None]:
    def walk_through(walk: Walk, alpha: float) -> None:
        walk.convolution(multiple(stem * width), 3, 2)
        walk.end()
        for fused, repeats, filters, expansion, first in stages:
            for number in range(math.ceil(depth * repeats)):
                before, stride = walk.channels, 1 if number else first
                if fused and expansion == 1:
                    walk.convolution(multiple(filters * width), 3, stride)
                else:
                    if fused:
                        walk.convolution(before * expansion, 3, stride)
                    else:
                        walk.convolution(before * expansion)
                        walk.depthwise(3, stride)
                        walk.squeeze(max(1, before // 4))
                    walk.convolution(multiple(filters * width))
                walk.end()
        walk.convolution(multiple(1280 * width))
        walk.end()

    return walk_through


def _convnext(*depths: int) -> Callable[[Walk, float], None]:
    def walk_through(walk: Walk, alpha: float) -> None:
        walk.convolution(96, 4, 4, padding=0, bias=True, norm=False)
        walk.norm(2)
        walk.end()
        for stage, depth in enumerate(depths):
            if stage:
                walk.norm(2)
                walk.convolution(2 * walk.channels, 2, 2, padding=0, bias=True, norm=False)
                walk.end()
            for _ in range(depth):
                filters = walk.channels
                walk.depthwise(7, bias=True, norm=False)
                walk.norm(2)
                walk.convolution(4 * filters, bias=True, norm=False)
                walk.convolution(filters, bias=True, norm=False)
                # The block's own scale.
                walk.norm(1)
                walk.end()
        walk.norm(2)

    return walk_through


def _resnet(*depths: int) -> Callable[[Walk, float], None]:
    def walk_through(walk: Walk, alpha: float) -> None:
        walk.convolution(64, 7, 2, padding=6, bias=True)
        walk.pool(3, 2, padding=2)
        walk.end()
        for stage, depth in enumerate(depths):
            filters = 64 * 2**stage
            for number in range(depth):
                before = walk.channels
                walk.convolution(filters, 1, 2 if stage and not number else 1, bias=True)
                walk.convolution(filters, 3, bias=True)
                walk.convolution(4 * filters, bias=True)
                if not number:
                    walk.shortcut(before, bias=True, norm=True)
                walk.end()

    return walk_through


def _resnet_v2(*depths: int) -> Callable[[Walk, float], None]:
    def walk_through(walk: Walk, alpha: float) -> None:
        walk.convolution(64, 7, 2, padding=6, bias=True, norm=False)
        walk.pool(3, 2, padding=2)
        walk.end()
        for stage, depth in enumerate(depths):
            filters = 64 * 2**stage
            for number in range(depth):
                before, wide = walk.channels, walk.side
                walk.norm()
                walk.convolution(filters)
                # Here it is the last block of a stage that halves the map.
                walk.convolution(filters, 3, 2 if number == depth - 1 and stage < 3 else 1, padding=2)
                walk.convolution(4 * filters, bias=True, norm=False)
                if not number:
                    assert walk.side == wide
                    walk.shortcut(before, bias=True, norm=False)
                walk.end()
        walk.norm()

    return walk_through


def _densenet(*depths: int) -> Callable[[Walk, float], None]:
    def walk_through(walk: Walk, alpha: float) -> None:
        walk.convolution(64, 7, 2, padding=6)
        walk.pool(3, 2, padding=2)
        walk.end()
        for stage, depth in enumerate(depths):
            if stage:
                walk.norm()
                walk.convolution(walk.channels // 2, norm=False)
                walk.pool(2, 2, padding=0)
                walk.end()
            for _ in range(depth):
                before = walk.channels
                walk.norm()
                walk.convolution(128)
                walk.convolution(32, 3, norm=False)
                walk.channels += before
                walk.end()
        walk.norm()

    return walk_through


def _xception(walk: Walk, alpha: float) -> None:
    walk.convolution(32, 3, 2, padding=0)
    walk.convolution(64, 3, padding=0)
    walk.end()
    for pair in ((128, 128), (256, 256), (728, 728), None, (728, 1024)):
        if pair is None:
            for _ in range(8):
                for _ in range(3):
                    walk.separable(728)
                walk.end()
            continue
        before = walk.channels
        for filters in pair:
            walk.separable(filters)
        walk.pool(3, 2, padding=None)
        walk.shortcut(before, bias=False, norm=True)
        walk.end()
    walk.separable(1536)
    walk.separable(2048)
    walk.end()


# --- which there are ------------------------------------------------------------------------------------------------

# By the mean and the deviation of each channel of ImageNet's pictures; the other way is to -1..1.
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SCALE = tuple(1 / (255 * deviation) for deviation in _DEVIATION)
_OFFSET = tuple(-mean / deviation for mean, deviation in zip(_MEAN, _DEVIATION, strict=True))
_STAGES = r"conv([2-5]_block\d+)_|pool([2-4])_"
_KERNELS = "weights_tf_dim_ordering_tf_kernels"


def _mobile(name: str, walk: Callable[[Walk, float], None], layers: str, files: Mapping[float, str]) -> Backbone:
    return Backbone(
        name, walk, layers, files, scale=1 / 127.5, offset=-1.0, preprocesses=name.startswith("MobileNetV3")
    )


def _efficient(letter: str, side: int, walk: Callable[[Walk, float], None]) -> Backbone:
    small = letter.startswith("B")
    return Backbone(
        f"EfficientNetV2{letter}", walk, r"block(\d+[a-z])_|(top_conv)",
        {1.0: f"efficientnet_v2/efficientnetv2-{letter.lower()}_notop.h5"},
        scale=_SCALE if small else 1 / 128, offset=_OFFSET if small else -1.0, preprocesses=True, side=side,
    )  # fmt: skip


def _next(name: str, *depths: int) -> Backbone:
    return Backbone(
        f"ConvNeXt{name}", _convnext(*depths), r"convnext_\w+?_(?:stage_(\d_block_\d+)|downsampling_[a-z]+_(\d))",
        {1.0: f"convnext/convnext_{name.lower()}_notop.h5"},
        scale=_SCALE, offset=_OFFSET, preprocesses=True, closing_norm=True,
    )  # fmt: skip


def _residual(layers: int, *depths: int) -> tuple[Backbone, Backbone]:
    first = Backbone(
        f"ResNet{layers}", _resnet(*depths), _STAGES, {1.0: f"resnet/resnet{layers}_{_KERNELS}_notop.h5"},
        scale=1.0, offset=(-123.68, -116.779, -103.939), blue_first=True,
    )  # fmt: skip
    second = Backbone(
        f"ResNet{layers}V2", _resnet_v2(*depths), _STAGES, {1.0: f"resnet/resnet{layers}v2_{_KERNELS}_notop.h5"},
        scale=1 / 127.5, offset=-1.0,
    )  # fmt: skip
    return first, second


def _dense(layers: int, *depths: int) -> Backbone:
    return Backbone(
        f"DenseNet{layers}", _densenet(*depths), _STAGES, {1.0: f"densenet/densenet{layers}_{_KERNELS}_notop.h5"},
        scale=_SCALE, offset=_OFFSET,
    )  # fmt: skip


_V3 = r"expanded_conv_(\d+)_|(expanded_conv)_|(conv_1)$"
BACKBONES: dict[str, Backbone] = {
    one.name: one
    for one in (
        _mobile(
            "MobileNet", _mobilenet, r"conv_(?:pad|dw|pw)_(\d+)(?:_|$)",
            {width: f"mobilenet/mobilenet_{written}_224_tf_no_top.h5"
             for width, written in ((0.25, "2_5"), (0.5, "5_0"), (0.75, "7_5"), (1.0, "1_0"))},
        ),
        _mobile(
            "MobileNetV2", _mobilenet_v2, r"block_(\d+)_|(expanded_conv)_|(Conv_1)$",
            {width: f"mobilenet_v2/mobilenet_v2_{_KERNELS}_{width}_224_no_top.h5"
             for width in (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)},
        ),
        *(
            _mobile(
                f"MobileNetV3{kind}", _mobilenet_v3(rows), _V3,
                {width: f"mobilenet_v3/weights_mobilenet_v3_{kind.lower()}_224_{width}_float_no_top_v2.h5"
                 for width in (0.75, 1.0)},
            )
            for kind, rows in (("Small", _V3_SMALL), ("Large", _V3_LARGE))
        ),
        _efficient("B0", 224, _efficientnet_v2(_B, 32)),
        _efficient("B1", 240, _efficientnet_v2(_B, 32, depth=1.1)),
        _efficient("B2", 260, _efficientnet_v2(_B, 32, width=1.1, depth=1.2)),
        _efficient("B3", 300, _efficientnet_v2(_B, 32, width=1.2, depth=1.4)),
        _efficient("S", 384, _efficientnet_v2(_S, 24)),
        _next("Tiny", 3, 3, 9, 3),
        _next("Small", 3, 3, 27, 3),
        *_residual(50, 3, 4, 6, 3),
        *_residual(101, 3, 4, 23, 3),
        _dense(121, 6, 12, 24, 16),
        _dense(169, 6, 12, 32, 32),
        _dense(201, 6, 12, 48, 32),
        Backbone(
            "Xception", _xception, r"block([2-9]|1[0-4])_", {1.0: f"xception/xception_{_KERNELS}_notop.h5"},
            scale=1 / 127.5, offset=-1.0, side=299, smallest=71,
        ),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Walked:
    """What a walk through a backbone has found."""

    parameters: int
    convolutions: int
    blocks: tuple[Block, ...]

    @property
    def multiply_adds(self) -> int:
        """Of one picture through all of it."""
        return self.blocks[-1].multiply_adds

    def below(self, cut: int) -> int:
        """The multiply-adds of the first `cut` blocks."""
        return self.blocks[cut - 1].multiply_adds if cut else 0


@functools.lru_cache(maxsize=1024)
def walked(backbone: str, alpha: float, size: int) -> Walked:
    """The numbers of a backbone of some width for pictures of some side, in pixels."""
    walk = Walk(size)
    BACKBONES[backbone].walk(walk, alpha)
    return Walked(walk.parameters, walk.convolutions, tuple(walk.blocks))


def called(backbone: str, alpha: float) -> str:
    """What a trunk is called where its width must be told: `MobileNet-0.25`, `ResNet50`."""
    return f"{backbone}-{alpha}" if BACKBONES[backbone].mobile else backbone


def known(name: str) -> tuple[str, float]:
    """Backbone and width of a trunk by its name, where `MobileNet` means `MobileNet-1.0`.

    Raises ValueError that lists the valid names.
    """
    backbone, dash, _ = name.partition("-")
    if backbone in BACKBONES:
        for alpha in BACKBONES[backbone].files:
            if name == called(backbone, alpha) or (not dash and alpha == 1.0):
                return backbone, alpha
    raise ValueError(f"names from {', '.join(names())}, got {name!r}")


def names() -> list[str]:
    """The names that `known` takes."""
    return [
        backbone.name if alpha == 1.0 else called(backbone.name, alpha)
        for backbone in BACKBONES.values()
        for alpha in sorted(backbone.files, reverse=True)
    ]


def file_of(backbone: str, alpha: float) -> str:
    """The name of the file of a trunk's ImageNet weights, as Keras publishes it and keeps it in its cache."""
    return BACKBONES[backbone].files[alpha].rpartition("/")[2]


def check_sides(trunks: Iterable[tuple[str, float]], sides: Iterable[int]) -> None:
    """Raises ValueError for pictures of a side in pixels that is smaller than Keras builds one of the trunks for."""
    sides = tuple(sides)
    for backbone, alpha in trunks:
        least = BACKBONES[backbone].smallest
        for side in sides:
            if side < least:
                raise ValueError(
                    f"`image_sizes` needs sides from {least} pixels for the trunk {called(backbone, alpha)}, got {side}"
                )
