"""A drawn set of several labels a picture: dogs with pricked ears, a dark coat and a curled tail, some with none.

    python -m search.data.drawn_labels FOLDER

The folder gets `images/` and, with a semicolon between the labels of a picture, `labels.csv`.
"""

import argparse
import csv
import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from search.data.demo import EARS, JPEG_QUALITY, PATTERNS, TAILS, Breed, draw_dog

LABELS = ("curled tail", "dark coat", "pricked ears")
SHARES = (0.4, 0.5, 0.6)  # how often a dog has each
PRICKED = ("prick", "bat")
DARK, LIGHT = ("black", "chocolate", "slate"), ("white", "cream", "tan")
WHOLE = (5, 2, 2, 0)  # no portraits, which show no tail
SEPARATOR = ";"


def draw(pictures: int, size: int, seed: int = 0) -> Iterator[tuple[Image.Image, tuple[str, ...]]]:
    """So many dogs of size x size pixels, each with those of `LABELS` that it has; the same for one seed always."""
    for number in range(pictures):
        chance = random.Random(f"several labels {seed} {number}")
        curled, dark, pricked = has = [chance.random() < share for share in SHARES]
        coats = DARK if dark else LIGHT
        breed = Breed(
            "Some dog",
            chance.choice(PRICKED if pricked else [ears for ears in EARS if ears not in PRICKED]),
            round(chance.uniform(0.4, 0.95), 2),
            "curl" if curled else chance.choice([tail for tail in TAILS if tail != "curl"]),
            # A dog in six has its second colour for its coat.
            *chance.sample(coats, 2),
            chance.choice(PATTERNS),
            round(chance.uniform(0.4, 0.8), 2),
            chance.choice((0.0, 0.025, 0.045)),
        )
        image = draw_dog(breed, size, f"{seed}/{number}", WHOLE)
        yield image, tuple(label for label, there in zip(LABELS, has, strict=True) if there)


def write(folder: Path, pictures: int = 400, size: int = 96, seed: int = 0, *, columns: bool = False) -> Path:
    """Writes the pictures and their table, whose path is returned; with `columns` one of 0 and 1 for each label.

    Raises FileExistsError for a folder that is there and not empty.
    """
    if pictures < 1 or size < 8:
        raise ValueError(f"needs pictures >= 1 and size >= 8, got pictures = {pictures} and size = {size}")
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"needs a new folder for a drawn set, and `{folder}` holds something")
    (folder / "images").mkdir(parents=True)
    table = folder / "labels.csv"
    with table.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(["image", *LABELS] if columns else ["image", "labels"])
        for number, (image, labels) in enumerate(draw(pictures, size, seed)):
            name = f"images/{number:04d}.jpg"
            image.save(folder / name, quality=JPEG_QUALITY)
            own = [int(label in labels) for label in LABELS] if columns else [SEPARATOR.join(labels)]
            lines.writerow([name, *own])
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """Draws the set and prints the path of its table; 2 where it cannot be written."""
    parser = argparse.ArgumentParser(
        prog="python -m search.data.drawn_labels", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--pictures", type=int, default=400, metavar="N", help="default: 400")
    parser.add_argument("--size", type=int, default=96, metavar="S", help="pixels a side (default: 96)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")
    parser.add_argument("--columns", action="store_true", help="a column of 0 and 1 for each label")
    given = parser.parse_args(arguments)
    try:
        print(write(given.folder, given.pictures, given.size, given.seed, columns=given.columns))
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
