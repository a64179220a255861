"""Which pictures does the search take for near-duplicates? Precision and recall, on sets whose copies are known.

Drawn sets whose pictures share their layout and of which none is a copy (digits, one part under a fixed camera, printed
pages, X-rays, cells under a microscope), and the folders of pictures that are given. Into each, copies of some pictures
are planted, changed in one way at a time. `alike` counts the pictures that join another one before any copy is planted:
wrongly in a drawn set, while in photographs they are for somebody to look at (`--sheet`). Recall is the share of the
copies that join their originals; precision the share of those that join anything at all of those that do so rightly,
over all changes.

    python -m tests.benchmarks.likeness --pictures 600
    python -m tests.benchmarks.likeness DATA OTHER --kinds "" --sheet alike.png
"""

import argparse
import io
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from results.delivery.picture import read_picture
from search.data.decode import content_of, thumbnail
from search.data.duplicates import find_duplicates
from search.data.folder import read_folder
from tests.benchmarks.measuring import names_from, show

Random = np.random.Generator
SHOWN = 96  # pixels of a picture on the sheet

# Strokes in a square of side 1.
DIGITS = (
    ((0.5, 0.1), (0.8, 0.3), (0.8, 0.7), (0.5, 0.9), (0.2, 0.7), (0.2, 0.3), (0.5, 0.1)),
    ((0.4, 0.25), (0.55, 0.1), (0.55, 0.9)),
    ((0.2, 0.3), (0.5, 0.1), (0.8, 0.3), (0.2, 0.9), (0.8, 0.9)),
    ((0.2, 0.15), (0.75, 0.2), (0.45, 0.45), (0.8, 0.7), (0.2, 0.85)),
    ((0.6, 0.9), (0.6, 0.1), (0.2, 0.6), (0.85, 0.6)),
    ((0.8, 0.1), (0.3, 0.1), (0.25, 0.45), (0.75, 0.6), (0.6, 0.9), (0.2, 0.85)),
    ((0.7, 0.1), (0.3, 0.5), (0.3, 0.8), (0.6, 0.9), (0.7, 0.65), (0.3, 0.6)),
    ((0.2, 0.1), (0.8, 0.1), (0.4, 0.9)),
    ((0.5, 0.5), (0.25, 0.3), (0.5, 0.1), (0.75, 0.3), (0.25, 0.7), (0.5, 0.9), (0.75, 0.7), (0.5, 0.5)),
    ((0.7, 0.35), (0.4, 0.45), (0.3, 0.25), (0.6, 0.1), (0.7, 0.35), (0.6, 0.9)),
)


def digit(chance: Random, number: int) -> Image.Image:
    """A handwritten digit of 28 pixels, white on black."""
    side = 112
    image = Image.new("L", (side, side))
    strokes = np.array(DIGITS[number % 10])
    slanted = np.array([[1, 0], [chance.normal(0, 0.12), 1]])
    at = (strokes + chance.normal(0, 0.035, strokes.shape) - 0.5) * chance.uniform(0.65, 0.85) @ slanted
    points = [(float(x), float(y)) for x, y in at * side + side / 2 + chance.normal(0, 3, 2)]
    ImageDraw.Draw(image).line(points, fill=255, width=int(chance.integers(8, 15)), joint="curve")
    return image.resize((28, 28), Image.Resampling.BOX).convert("RGB")


def part(chance: Random, number: int) -> Image.Image:
    """One part, always in the same place, every other one with a scratch."""
    still = np.random.default_rng(0).integers(60, 200, (9, 9), dtype=np.uint8)
    image = Image.fromarray(still).resize((128, 128), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(image)
    pen.ellipse((30, 30, 98, 98), outline=230, width=4)
    pen.ellipse((55, 55, 73, 73), fill=30)
    if number % 2:
        x, y = chance.integers(15, 110, 2).tolist()
        pen.line((x, y, x + 9, y + 5), fill=250, width=2)
    return _taken(np.asarray(image) + chance.normal(0, 3), chance, 4)


def page(chance: Random, number: int) -> Image.Image:
    """A printed page under one letterhead, every other one with a stamp."""
    image = Image.new("L", (340, 480), 245)
    pen = ImageDraw.Draw(image)
    pen.rectangle((30, 20, 110, 50), fill=60)
    pen.line((30, 70, 310, 70), fill=20, width=2)
    y = 90 + int(chance.integers(-2, 3))
    while y < 430:
        x, end = 30, 310 if chance.random() < 0.8 else int(chance.integers(80, 310))
        while x < end - 8:
            width = int(chance.integers(8, 40))
            pen.rectangle((x, y, min(x + width, end), y + 6), fill=int(chance.integers(20, 70)))
            x += width + 6
        y += 14 if chance.random() < 0.9 else 26
    if number % 2:
        pen.rectangle((200, 440, 310, 465), outline=0, width=2)
    return _taken(np.asarray(image), chance, 3)


def xray(chance: Random, number: int) -> Image.Image:
    """A chest, every other one with a spot."""
    side = 128
    y, x = np.mgrid[:side, :side] / side
    levels = 40 + 150 * np.exp(-(((x - 0.5 - chance.normal(0, 0.01)) / (0.42 + chance.normal(0, 0.02))) ** 4))
    for middle in (0.32, 0.68):
        across = (x - middle - chance.normal(0, 0.012)) / (0.12 + chance.normal(0, 0.008))
        down = (y - 0.45 - chance.normal(0, 0.015)) / (0.26 + chance.normal(0, 0.015))
        levels -= (95 + chance.normal(0, 8)) * np.exp(-((across**2 + down**2) ** 2))
    levels += 25 * np.exp(-(((x - 0.56 - chance.normal(0, 0.01)) / 0.12) ** 2 + ((y - 0.6) / 0.14) ** 2))
    ribs = np.sin((y * 9 + 2 * (x - 0.5) ** 2) * 2 * np.pi + chance.normal(0, 0.3))
    levels += 8 * ribs * np.exp(-(((x - 0.5) / 0.35) ** 4))
    if number % 2:
        across, down = x - chance.uniform(0.25, 0.75), y - chance.uniform(0.3, 0.65)
        levels += 25 * np.exp(-(across**2 + down**2) / 0.0012)
    tissue = Image.fromarray(chance.normal(0, 8, (24, 24)).astype(np.float32))
    return _taken(levels + np.asarray(tissue.resize((side, side), Image.Resampling.BICUBIC)), chance, 3)


def cells(chance: Random, number: int) -> Image.Image:
    """Some fifty cells anywhere in an evenly lit field, every other one with more of them."""
    side = 160
    image = Image.new("L", (side, side), 150)
    pen = ImageDraw.Draw(image)
    for _ in range(int(chance.integers(40, 60)) + 15 * (number % 2)):
        (x, y), radius = chance.uniform(0, side, 2), chance.uniform(3, 6)
        box = (x - radius, y - radius, x + radius, y + radius)
        pen.ellipse(box, fill=int(chance.integers(90, 130)), outline=80)
    y, x = np.mgrid[:side, :side] / side - 0.5
    lit = np.asarray(image.filter(ImageFilter.GaussianBlur(0.8))) * (1.1 - 0.9 * (x * x + y * y))
    return _taken(lit, chance, 3)


def _taken(levels: NDArray[Any], chance: Random, noise: float) -> Image.Image:
    """Grey levels as a camera gives them."""
    noisy = levels + chance.normal(0, noise, levels.shape)
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).convert("RGB")


KINDS: dict[str, Callable[[Random, int], Image.Image]] = {
    "digits": digit,
    "part": part,
    "pages": page,
    "xrays": xray,
    "cells": cells,
}


def drawn_set(kind: str, pictures: int, seed: int) -> list[Image.Image]:
    """So many different pictures of one kind."""
    return [KINDS[kind](np.random.default_rng([seed, number]), number) for number in range(pictures)]


def recompressed(image: Image.Image) -> Image.Image:
    target = io.BytesIO()
    image.save(target, "JPEG", quality=40)
    return Image.open(target).convert("RGB")


def halved(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC)


def cropped(image: Image.Image) -> Image.Image:
    """A twentieth cut off, alike on all sides."""
    width, height = image.size
    return image.crop((round(width * 0.025), round(height * 0.025), round(width * 0.975), round(height * 0.975)))


def cornered(image: Image.Image) -> Image.Image:
    """A twentieth cut off at the right and below."""
    return image.crop((0, 0, round(image.width * 0.95), round(image.height * 0.95)))


def brightened(image: Image.Image) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(1.3)


def mirrored_and_cropped(image: Image.Image) -> Image.Image:
    return ImageOps.mirror(cropped(image))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "jpeg 40": recompressed,
    "half size": halved,
    "crop 5 %": cropped,
    "corner 5 %": cornered,
    "bright 1.3": brightened,
    "mirrored": ImageOps.mirror,
    "mirr. crop": mirrored_and_cropped,
}


class Collection:
    """What likeness is told from, of many pictures."""

    def __init__(self, images: Sequence[Image.Image]) -> None:
        self.contents = np.stack([content_of(image) for image in images])
        self.thumbnails = np.stack([thumbnail(image) for image in images])

    def groups(self, *more: "Collection") -> NDArray[np.int64]:
        contents = np.concatenate([found.contents for found in (self, *more)])
        thumbnails = np.concatenate([found.thumbnails for found in (self, *more)])
        return find_duplicates([str(number) for number in range(len(contents))], contents, thumbnails).groups


def measure(images: Sequence[Image.Image], copies: int, seed: int, *, distinct: bool) -> dict[str, Any]:
    """Precision, and recall by change, in a set of pictures that are `distinct`, or else taken for so as they stand."""
    originals = Collection(images)
    began = time.perf_counter()
    own = originals.groups()
    seconds = time.perf_counter() - began
    alike = int((own != np.arange(len(own))).sum())
    truth = np.arange(len(own)) if distinct else own
    picked = np.random.default_rng(seed).permutation(len(images))[:copies]
    recall, right, wrong = {}, 0, 0
    for name, change in CHANGES.items():
        groups = originals.groups(Collection([change(images[number]) for number in picked]))
        planted = groups[len(images) :]
        joined = planted == groups[picked]
        recall[name] = float(joined.mean())
        right += int(joined.sum())
        # Wrong is what joins pictures that are not one: a copy with others, or two that were apart.
        strayed = ~joined & (planted < len(images))
        merged = groups[: len(images)] != np.arange(len(images))
        wrong += int(strayed.sum()) + int((merged & (truth[groups[: len(images)]] != truth)).sum())
    return {
        "pictures": len(images),
        "alike": alike,
        "precision": right / (right + wrong) if right + wrong else None,
        "recall": recall,
        "seconds": seconds,
        "pairs": [[int(group), row] for row, group in enumerate(own.tolist()) if group != row],
    }


def sheet(images: Sequence[Image.Image], pairs: Sequence[Sequence[int]]) -> Image.Image:
    """Pairs of pictures beside each other, six in a row."""
    canvas = Image.new("RGB", (6 * (2 * SHOWN + 8), max(1, -(-len(pairs) // 6)) * (SHOWN + 8)), "white")
    for place, pair in enumerate(pairs):
        for side, number in enumerate(pair):
            at = (place % 6 * (2 * SHOWN + 8) + side * SHOWN, place // 6 * (SHOWN + 8))
            canvas.paste(images[number].resize((SHOWN, SHOWN)), at)
    return canvas


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    found: dict[str, dict[str, Any]] = {}
    for kind in options.kinds:
        images = drawn_set(kind, options.pictures, options.seed)
        found[kind] = measure(images, options.copies, options.seed, distinct=True)
    for data in options.data:
        images = [read_picture(picture.path)[0] for picture in read_folder(data).pictures]
        found[data.name] = measure(images, options.copies, options.seed, distinct=False)
        if options.sheet:
            sheet(images, found[data.name]["pairs"]).save(options.sheet)
    heads = ["set", "pictures", "alike", "precision", *CHANGES, "seconds"]
    body = [
        [name, *(row[head] for head in ("pictures", "alike", "precision")), *row["recall"].values(), row["seconds"]]
        for name, row in found.items()
    ]
    show({"sets": found}, heads, body, options.out)
    return 0


def parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.likeness", description=(__doc__ or "").split("\n\n", 1)[0]
    )
    command.add_argument("data", nargs="*", type=Path, metavar="DATA", help="folders with one folder per class")
    command.add_argument(
        "--kinds", type=names_from(KINDS), default=tuple(KINDS), metavar="A,B",
        help=f"of drawn sets, from {', '.join(KINDS)} (default: all)",
    )  # fmt: skip
    command.add_argument("--pictures", type=int, default=600, help="of a drawn set (default: %(default)s)")
    command.add_argument("--copies", type=int, default=200, help="planted for each change (default: %(default)s)")
    command.add_argument("--seed", type=int, default=0, help="of drawing and planting (default: %(default)s)")
    command.add_argument("--sheet", type=Path, metavar="PNG", help="draw the pairs found in the last DATA there")
    command.add_argument("--out", type=Path, help="also write the JSON there")
    return command


if __name__ == "__main__":
    raise SystemExit(main())
