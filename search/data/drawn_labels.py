"""A drawn set of several labels a picture: dogs with a dark coat, red ears and a golden tail, some with none of these.

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

from search.data.demo import EARS, JPEG_QUALITY, TAILS, Breed, paint

LABELS = ("dark coat", "golden tail", "red ears")
SHARES = (0.5, 0.4, 0.6)  # how often a dog has each
DARK, LIGHT = ("black", "slate"), ("white", "cream", "grey")
GOLD, RED = (236, 176, 40), (196, 52, 40)
GROUNDS = ((150, 190, 222), (96, 138, 62), (62, 104, 142), (138, 136, 130), (52, 84, 48))
WHOLE = (5, 2, 2, 0)  # of the poses of the demo: no portraits, which show no tail
FINE = 2  # drawn so many times larger, for smooth edges
SEPARATOR = ";"


def draw(pictures: int, size: int, seed: int = 0) -> Iterator[tuple[Image.Image, tuple[str, ...]]]:
    """So many dogs of size x size pixels, each with those of `LABELS` that it has; the same for one seed always.

    They are simpler than the demo's, so that a few hundred show what a label is: on a ground of one colour, and told
    by the colours of their parts.
    """
    for number in range(pictures):
        chance = random.Random(f"several labels {seed} {number}")
        dark, golden, red = has = [chance.random() < share for share in SHARES]
        # A dog in six has its second colour for its coat.
        coat, second = chance.sample(DARK if dark else LIGHT, 2)
        muzzle, legs = round(chance.uniform(0.4, 0.95), 2), round(chance.uniform(0.4, 0.8), 2)
        breed = Breed("Some dog", chance.choice(EARS), muzzle, chance.choice(TAILS), coat, second, "plain", legs, 0.0)
        image = Image.new("RGB", (size * FINE, size * FINE), chance.choice(GROUNDS))
        paint(image, breed, chance, WHOLE, RED if red else None, GOLD if golden else None)
        yield image.reduce(FINE), tuple(label for label, there in zip(LABELS, has, strict=True) if there)


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
