"""Operations that take much of a training step, for which a backend may have a faster kernel than Keras's composition.

What stands here works on every backend; `search.training.devices.prepare` puts faster kernels of the same functions in
place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras import ops


def sample(pictures: Any, across: Any, down: Any) -> Any:
    """Each float picture of a batch (n, h, w, c) read at other places, bilinearly.

    Pixel (x, y) of a result is the picture at a0 x + a1 y + a2, b0 x + b1 y + b2, where `across` (n, 3) holds the a's
    and `down` (n, 3) the b's. What leaves the frame comes back mirrored at its edge, as far as another picture reaches.
    """
    number = ops.shape(pictures)[0]
    height, width, channels = pictures.shape[1:]
    left, to_right = _places(across, width, height, width)
    top, to_bottom = _places(down, height, height, width)
    first = ops.reshape(ops.arange(number) * (height * width), (-1, 1, 1))
    corner = ops.cast(top, "int32") * width + ops.cast(left, "int32") + first
    pixels = ops.reshape(pictures, (-1, channels))

    def row(below: int) -> Any:
        one, other = (ops.take(pixels, corner + below + beside, axis=0) for beside in (0, 1))
        return one + (other - one) * to_right

    upper = row(0)
    return upper + (row(width) - upper) * to_bottom


def _places(factors: Any, size: int, height: int, width: int) -> tuple[Any, Any]:
    """The pixel before each place along an axis of so many, (n, h, w), and how far behind it the place lies."""
    x, y = ops.arange(width, dtype="float32"), ops.arange(height, dtype="float32")
    # From the edge of the frame, where the mirror stands, and not from the middle of the first pixel.
    places = ops.expand_dims(factors[:, 1:2] * y + factors[:, 2:3] + 0.5, 2) + ops.expand_dims(factors[:, :1] * x, 1)
    mirrored = size - ops.abs(size - ops.abs(places)) - 0.5
    inside = ops.clip(mirrored, 0.0, size - 1.0)
    pixel = ops.minimum(ops.floor(inside), size - 2.0)
    return pixel, ops.expand_dims(inside - pixel, -1)


# Of float32 pictures.
sampling: Callable[[Any, Any, Any], Any] = sample
# Batch norm in training: of a batch (n, h, w, c), gamma, beta and epsilon what it becomes, its mean and its variance.
# Without one Keras's own layer does it.
normalization: Callable[[Any, Any, Any, float], tuple[Any, Any, Any]] | None = None
# Adam in place: of a variable, its two moments, its gradient, the rate, the two betas, epsilon and the step from 1.
# Without one Keras's own optimizer does it.
adam: Callable[..., None] | None = None
