"""One set of drawn pictures in every layout, and what a search makes of each."""

import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from search.data.pictures import check_data, prepare
from search.settings import Settings

BREEDS = {"cat": ("siamese", "sphynx"), "dog": ("corgi", "pug")}
EACH = 6
SIDES = ("train", "validation", "test")
# Sides as people spell them.
SPELLINGS = [("train", "val", "test"), ("Training", "VALIDATION", "Testing"), ("train_set", "dev", "Test images")]


def drawn() -> dict[str, tuple[str, str, Image.Image]]:
    """Name, species, breed and picture of all; names sort by species, then by breed."""
    found = {}
    for species, breeds in BREEDS.items():
        for breed in breeds:
            for number in range(EACH):
                chance = np.random.default_rng([ord(breed[1]), ord(breed[0]), number])
                pixels = chance.integers(0, 256, (16, 16, 3), dtype=np.uint8)
                found[f"{species}_{breed}_{number}"] = (species, breed, Image.fromarray(pixels))
    return found


def side_of(name: str) -> int:
    return min(2, int(name[-1]) // 2)


def laid(root: Path, place: Callable[[str, str, str], str]) -> Path:
    """The pictures at the paths that their name, species and breed get."""
    for name, (species, breed, image) in drawn().items():
        path = root / f"{place(name, species, breed)}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    return root


def folder(root: Path) -> dict[str, Any]:
    return {"data": laid(root / "pets", lambda name, _, breed: f"{breed}/{name}")}


def spelled(spelling: tuple[str, ...]) -> Callable[[Path], dict[str, Any]]:
    """A folder that is split already, with its sides spelled like this."""

    def split(root: Path) -> dict[str, Any]:
        return {"data": laid(root / "pets", lambda name, _, breed: f"{spelling[side_of(name)]}/{breed}/{name}")}

    split.__name__ = spelling[0]
    return split


def nested(root: Path) -> dict[str, Any]:
    laid(root / "pets", lambda name, species, breed: f"{species}/{breed}/{name}")
    return {"data": root / "pets", "label_from": "parent"}


def csv(root: Path) -> dict[str, Any]:
    laid(root / "pets", lambda name, *_: f"pictures/{name}")
    rows = "".join(f"pictures/{name}.png,{breed}\n" for name, (_, breed, _) in drawn().items())
    (root / "pets" / "pets.csv").write_text(f"file,breed\n{rows}")
    return {"data": root / "pets" / "pets.csv"}


def parquet(root: Path) -> dict[str, Any]:
    pyarrow, writing = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    laid(root / "photos", lambda name, *_: name)
    columns = {"n": list(range(24)), "where": [*drawn()], "what": [breed for _, breed, _ in drawn().values()]}
    writing.write_table(pyarrow.table(columns), root / "pets.parquet")
    named = {"image_column": "where", "label_column": "What"}
    return {"data": root / "pets.parquet", "images": root / "photos", **named}


def kaggle(root: Path) -> dict[str, Any]:
    laid(root / "pets", lambda name, *_: f"train/{name}")
    (root / "pets" / "test").mkdir()
    Image.new("RGB", (16, 16)).save(root / "pets" / "test" / "unknown.png")
    rows = "".join(f"{name},{breed}\n" for name, (_, breed, _) in reversed(drawn().items()))
    (root / "pets" / "labels.csv").write_text(f"id,breed\n{rows}")
    (root / "pets" / "sample_submission.csv").write_text("id,corgi,pug,siamese,sphynx\nunknown,0.25,0.25,0.25,0.25\n")
    return {"data": root / "pets"}


def zipped(root: Path) -> dict[str, Any]:
    folder(root)
    return {"data": shutil.make_archive(str(root / "pets"), "zip", root, "pets")}


def tarred(root: Path) -> dict[str, Any]:
    laid(root / "pets", lambda name, *_: name)
    with tarfile.open(root / "photos.tar.gz", "w:gz") as out:
        out.add(root / "pets", "pets")
    rows = [json.dumps({"filename": f"{name}.png", "category": breed}) for name, (_, breed, _) in drawn().items()]
    (root / "pets.jsonl").write_text("\n".join(rows))
    return {"data": root / "pets.jsonl", "images": root / "photos.tar.gz"}


def pattern(root: Path) -> dict[str, Any]:
    return {"data": laid(root / "pets", lambda name, *_: name), "label_pattern": r"^[a-z]+_([a-z]+)_\d"}


LAYOUTS = (folder, nested, csv, parquet, kaggle, zipped, tarred, pattern)


def settings_of(cache_dir: Path, given: dict[str, Any]) -> Settings:
    """The settings under which every layout is read."""
    texts: dict[str, Any] = {name: str(value) for name, value in given.items()}
    return Settings(**texts, image_sizes=(16,), families=("scratch_keras",), cache_dir=str(cache_dir), seed=3)


def prepared(cache_dir: Path, given: dict[str, Any]) -> dict[str, Any]:
    settings = settings_of(cache_dir, given)
    check_data(settings)
    _, record = prepare(settings, 1, lambda line: None)
    return record


def sides(record: dict[str, Any]) -> list[list[tuple[str, str]]]:
    """For each side the names of its pictures, without folders, and their classes."""
    named = [[(Path(name).stem, record["classes"][label]) for name, label in record[side]] for side in SIDES]
    return [sorted(side) for side in named]
