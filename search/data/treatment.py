"""Pillow's part in a trial: deterministic treatment of packed pictures, and the copies that enlarge a training set.

Treatments are applied in the order auto contrast, equalize, whitening: the two others would undo most of what whitening
does, and each of the three maps every channel of every picture by a table of 256 levels.
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

Pixels = NDArray[np.uint8]

SIGMAS = 3.0  # whitened levels from -3 to 3 standard deviations become 0 to 255
BLOCK = 32  # pictures a thread takes at once


def whiten(image: Image.Image) -> Image.Image:
    """Each channel at zero mean and unit variance, then from -3..3 to 0..255; a flat channel becomes 128 everywhere.

    With n pixels, and sums over the levels x of one channel, which float64 holds exactly in any order:
    mean = sum(x) / n; deviation = max(1, sqrt(sum(x * x) / n - mean * mean)); gain = 42.5 / deviation;
    result = clip(round_half_even(x * gain + (127.5 - mean * gain)), 0, 255).
    """
    levels = np.arange(256, dtype=np.float64)
    counts = np.array(image.histogram(), dtype=np.float64).reshape(-1, 256)
    mean = counts @ levels / counts[0].sum()
    variance = counts @ (levels * levels) / counts[0].sum() - mean * mean
    # Less than one level of deviation is the noise of saving, which must not be blown up to a picture.
    gain = 255 / (2 * SIGMAS) / np.maximum(1.0, np.sqrt(np.maximum(variance, 0.0)))
    table = np.clip(np.rint(levels * gain[:, None] + (127.5 - mean * gain)[:, None]), 0, 255)
    return image.point(table.astype(np.uint8).ravel().tolist())


def treat(pictures: Pixels, whitening: bool, auto_contrast: bool, equalize: bool, threads: int) -> Pixels:
    """The treated pictures (n, h, w, 3), a new array; the given array itself where there is nothing to do.

    Auto contrast stretches each channel so that its darkest level becomes 0 and its brightest 255 (254 where Pillow's
    truncation says so); equalize spreads the levels of each channel so that all are about equally common.
    """
    steps: list[Callable[[Image.Image], Image.Image]] = []
    if auto_contrast:
        steps.append(ImageOps.autocontrast)
    if equalize:
        steps.append(ImageOps.equalize)
    if whitening:
        steps.append(whiten)
    if not steps:
        return pictures
    treated = np.empty_like(pictures)

    def treat_one(row: int) -> None:
        image = Image.fromarray(pictures[row])
        for step in steps:
            image = step(image)
        treated[row] = np.asarray(image)

    _for_each(treat_one, len(pictures), threads)
    return treated


def mirror(pictures: Pixels) -> Pixels:
    """Left and right exchanged, as a view of the same memory."""
    return pictures[:, :, ::-1]


def turn(picture: Pixels, degrees: float) -> Pixels:
    """One picture (h, w, 3) turned about its centre, counter-clockwise, at its size and scale, bilinear.

    What lies beyond its edges is its own reflection, so that no corner is black and nothing is zoomed.
    """
    height, width = picture.shape[:2]
    diagonal = math.hypot(height, width)
    above, left = (math.ceil((diagonal - side) / 2) + 1 for side in (height, width))
    padded = np.pad(picture, ((above, above), (left, left), (0, 0)), mode="symmetric")
    angle = math.radians(degrees)
    cos, sin = math.cos(angle), math.sin(angle)
    x, y = width / 2, height / 2
    centre_x, centre_y = x + left, y + above
    turned = Image.fromarray(padded).transform(
        (width, height),
        Image.Transform.AFFINE,
        (cos, -sin, centre_x - cos * x + sin * y, sin, cos, centre_y - sin * x - cos * y),
        Image.Resampling.BILINEAR,
    )
    return np.asarray(turned)


def training_copies(pictures: Pixels, transpose: bool, rotation: float, threads: int) -> Pixels:
    """The training pictures (n, h, w, 3) followed by their copies, (k * n, h, w, 3), k from 1 to 4.

    Blocks of n, in the same order each: the pictures; mirrored, if `transpose`; turned counter-clockwise by `rotation`
    degrees and then clockwise, if it is not 0. Mirrored pictures are not turned.
    """
    if rotation < 0:
        raise ValueError(f"needs a rotation >= 0 degrees, got {rotation}")
    if not transpose and rotation == 0:
        return pictures
    count = len(pictures)
    copies = np.empty(((1 + transpose + 2 * (rotation > 0)) * count, *pictures.shape[1:]), dtype=np.uint8)
    copies[:count] = pictures
    if transpose:
        copies[count : 2 * count] = mirror(pictures)
    if rotation > 0:
        plus = copies[-2 * count : -count]
        minus = copies[-count:]

        def turn_one(row: int) -> None:
            plus[row] = turn(pictures[row], rotation)
            minus[row] = turn(pictures[row], -rotation)

        _for_each(turn_one, count, threads)
    return copies


def _for_each(work: Callable[[int], None], count: int, threads: int) -> None:
    def work_block(start: int) -> None:
        for row in range(start, min(start + BLOCK, count)):
            work(row)

    with ThreadPoolExecutor(threads) as workers:
        for _ in workers.map(work_block, range(0, count, BLOCK)):
            pass
