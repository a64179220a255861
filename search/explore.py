"""Looking at data without searching: the numbers and the small pictures of the data page."""

import base64
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from search import machine
from search.data import pictures as data
from search.data import treatment
from search.data.cache import write_aside
from search.data.eviction import using
from search.data.pictures import Pixels
from search.settings import Settings
from spaces.family import FILTER

SIDE = 128  # pixels of the packed pictures that everything but the sizes is told from
SHEET_SIDE = 96  # pixels of a picture on a class's sheet
MOST_SAMPLES = 10  # pictures of a class on its sheet, fewer where there are many classes
MOST_SHEETS = 100  # classes with a sheet
MOST_POINTS = 2000  # sizes that are drawn as points
MOST_GROUPS = 24  # groups of near-duplicates that are shown
TREATED = 3  # pictures on which each treatment is shown
LEVELS = 32  # bins of a histogram of 256 levels

TREATMENTS: dict[str, dict[str, bool]] = {
    "auto contrast": {"auto_contrast": True, "equalize": False, "whitening": False},
    "equalize": {"auto_contrast": False, "equalize": True, "whitening": False},
    "whitening": {"auto_contrast": False, "equalize": False, "whitening": True},
    "all three": {"auto_contrast": True, "equalize": True, "whitening": True},
}


def explore(settings: Settings, say: Callable[[str], None]) -> Path:
    """Writes exploration.json and data.html into the folder of the run, or a folder of its own; the page's path.

    Raises what `prepare` raises for a folder that cannot be searched.
    """
    from results.pages.exploration import write_exploration

    with using(settings.cache):
        record = measure(settings, machine.cores(), say)
    if record["obstacle"]:
        say(f"a search of this data would be refused: {record['obstacle']}")
    for note in record["notes"]:
        say(note)
    settings.folder.mkdir(parents=True, exist_ok=True)
    write_aside(settings.folder / "exploration.json", json.dumps(record))
    return write_exploration(settings.folder)


def measure(settings: Settings, threads: int, say: Callable[[str], None]) -> dict[str, Any]:
    """The content of exploration.json: plain numbers, names, and pictures as base64 JPEG."""
    began = time.monotonic()
    root, title, classes = data.locate(settings, threads, say)
    folder = data.list_folder(settings, root, classes, say)
    shapes = [(SIDE, FILTER), (SIDE, "lanczos")]
    decoded, packs = data.decode_folder(folder, shapes, settings.cache, threads, say)
    pixels: Pixels = np.load(packs[SIDE, FILTER].path, mmap_mode="r", allow_pickle=False)
    names = [picture.name for picture in folder.pictures]
    likeness = data.likeness_of(folder, decoded, settings.duplicates)
    groups = likeness.groups
    folder = data.usable_classes(settings, folder, decoded, groups)
    obstacle = ""
    try:
        folder, split = data.divided(settings, folder, decoded.readable, likeness)
        folder = replace(folder, notes=(*folder.notes, *split.notes))
    except ValueError as error:
        obstacle = str(error)
    labels = data.labels_of(folder)
    readable = decoded.readable & data.searched(labels)
    # What tells pictures of different classes, or sets of labels, apart.
    kinds = np.unique(labels, axis=0, return_inverse=True)[1].reshape(-1)
    sides = [picture.side for picture in folder.pictures] if folder.presplit else None
    chance = np.random.default_rng(settings.seed)
    samples = max(4, min(MOST_SAMPLES, 400 // len(folder.classes)))
    with_sheet = set(_spread(len(folder.classes), MOST_SHEETS))
    said = []
    for label, name in enumerate(folder.classes):
        rows = np.flatnonzero(_of(labels, label) & readable)
        shown = np.sort(chance.permutation(rows)[:samples])
        means, deviations = colours(pixels, rows)
        said.append(
            {
                "class": name,
                "pictures": len(rows),
                "unreadable": int(_of(labels, label).sum() - len(rows)),
                "mean": means.mean(axis=0).round(1).tolist(),
                "brightness": round(float(means.mean()), 1),
                "contrast": round(float(deviations.mean()), 1),
                "width": _quartiles(decoded.width[rows]),
                "height": _quartiles(decoded.height[rows]),
                "sheet": sheet(pixels[shown]) if label in with_sheet else None,
                "sampled": [names[row] for row in shown],
            }
        )
    usable = np.flatnonzero(readable)
    drawn = np.sort(chance.permutation(usable)[:MOST_POINTS])
    members: dict[int, list[int]] = {}
    for row in usable.tolist():
        members.setdefault(int(groups[row]), []).append(row)
    alike = [rows for rows in members.values() if len(rows) > 1]
    largest = max(map(len, alike), default=0)
    # The largest first, then those that mix classes.
    alike.sort(key=lambda rows: (len(rows) < largest, len(set(kinds[rows].tolist())) == 1, -len(rows)))
    warned = data.warnings_of(likeness, sides, readable, settings.duplicates)
    reasons = {file.name: file.reason for file in folder.left_out} | decoded.reasons
    examples = [
        int(chance.choice(np.flatnonzero(_of(labels, said) & readable))) for said in _spread(len(folder.classes))
    ]
    said_of = [*folder.notes, *data.level_notes(decoded, names)]
    return {
        **{"title": title, "source": settings.data, "digest": folder.digest, "notes": [*said_of, *warned]},
        "obstacle": obstacle,
        **({"multilabel": True} if folder.multilabel else {}),
        **{"files": len(folder.pictures) + len(folder.left_out), "pictures": len(usable), "classes": said},
        "levels": histograms(pixels[np.sort(chance.permutation(usable)[:500])]),
        "sizes": np.stack([decoded.width[drawn], decoded.height[drawn]], axis=1).tolist(),
        "small": int((np.minimum(decoded.width[usable], decoded.height[usable]) < max(settings.image_sizes)).sum()),
        "largest_size": max(settings.image_sizes),
        "duplicates": {
            "rule": settings.duplicates,
            "groups": len(alike),
            "identical": sum(len(set(likeness.identical[rows].tolist())) == 1 for rows in alike),
            "largest": largest,
            "mixed": sum(len(set(kinds[rows].tolist())) > 1 for rows in alike),
            "pictures": sum(map(len, alike)),
            "shown": [
                {
                    "names": [names[row] for row in rows[:8]],
                    "classes": sorted({folder.of(folder.pictures[row]) for row in rows}),
                    "pictures": len(rows),
                    "identical": len(set(likeness.identical[rows].tolist())) == 1,
                    "sheet": sheet(pixels[rows[:8]], side=72),
                }
                for rows in alike[:MOST_GROUPS]
            ],
        },
        "left_out": [{"name": name, "reason": reasons[name]} for name in sorted(reasons)],
        "treated": [
            {
                "name": names[row],
                "class": folder.of(folder.pictures[row]),
                "versions": versions(pixels[row], packs, row),
            }
            for row in examples
        ],
        "seconds": round(time.monotonic() - began, 2),
    }


def _of(labels: NDArray[Any], label: int) -> NDArray[np.bool_]:
    """Which pictures are of a class, or have a label."""
    found: NDArray[np.bool_] = labels == label if labels.ndim == 1 else labels[:, label] > 0
    return found


def colours(pixels: Pixels, rows: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of each picture's red, green and blue (pictures, 3), on the 0 to 255 scale."""
    parts = [pixels[rows[start : start + 256]].reshape(-1, SIDE * SIDE, 3) for start in range(0, len(rows), 256)]
    means = [part.mean(axis=1, dtype=np.float64) for part in parts]
    return np.concatenate(means), np.concatenate([part.std(axis=1, dtype=np.float64) for part in parts])


def histograms(pictures: Pixels) -> list[list[float]]:
    """The share of red, green and blue levels in each of 32 bins."""
    binned = pictures.reshape(-1, 3) // (256 // LEVELS)
    return [(np.bincount(binned[:, channel], minlength=LEVELS) / len(binned)).round(5).tolist() for channel in range(3)]


def versions(picture: Pixels, packs: dict[data.Shape, data.File], row: int) -> list[dict[str, Any]]:
    """One picture before and after each of Pillow's treatments, each with its histogram."""
    made = {"as it is": picture}
    for name, steps in TREATMENTS.items():
        made[name] = treatment.treat(picture[None], **steps, threads=1)[0]
    made["mirrored (transpose)"] = treatment.mirror(picture[None])[0]
    made["turned by 15 degrees"] = treatment.turn(picture, 15.0)
    made["resized by Lanczos"] = np.load(packs[SIDE, "lanczos"].path, mmap_mode="r", allow_pickle=False)[row]
    return [
        {
            "name": name,
            "picture": encoded(Image.fromarray(np.ascontiguousarray(found))),
            "levels": histograms(found[None]),
        }
        for name, found in made.items()
    ]


def sheet(pictures: Pixels, side: int = SHEET_SIDE) -> dict[str, Any]:
    """Pictures side by side in one JPEG: fewer bytes than one file for each."""
    canvas = Image.new("RGB", (side * len(pictures), side))
    for place, picture in enumerate(pictures):
        canvas.paste(Image.fromarray(picture).resize((side, side), Image.Resampling.LANCZOS), (place * side, 0))
    return {"picture": encoded(canvas), "count": len(pictures), "side": side}


def encoded(image: Image.Image) -> str:
    """A JPEG in base64."""
    content = BytesIO()
    image.save(content, "JPEG", quality=80)
    return base64.b64encode(content.getvalue()).decode()


def _quartiles(values: NDArray[Any]) -> list[int]:
    return [int(value) for value in np.quantile(values, (0.0, 0.25, 0.5, 0.75, 1.0))]


def _spread(classes: int, most: int = TREATED) -> Sequence[int]:
    return [int(place) for place in np.linspace(0, classes - 1, min(most, classes))]
