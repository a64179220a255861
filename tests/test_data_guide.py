"""The commands of the guide on data, on pictures that lie as it says."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search.data.pictures import check_data, prepare
from search.parsing import options
from search.starting import begun

GUIDE = Path(__file__).resolve().parent.parent / "docs" / "guide" / "data.md"
BREEDS = {"corgi": "dog", "pug": "dog", "sphynx": "cat", "manx": "cat"}


def commands(heading: str) -> list[list[str]]:
    """The words of the searches below a heading."""
    part = GUIDE.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for block in re.findall(r"```bash\n(.*?)```", part, re.DOTALL) for line in block.splitlines()]
    return [shlex.split(line)[2:] for line in lines]


@pytest.fixture
def laid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six pictures of each of four breeds in all the places of the guide; the current folder is theirs."""
    rows = []
    for number in range(24):
        breed = list(BREEDS)[number % 4]
        species, side = BREEDS[breed], ("train", "val", "test")[number // 8]
        pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        for place in (
            f"photos/{number:04d}.jpg",
            f"animals/{species}/{breed}/{number}.jpg",
            f"flat/{species}_{breed}_{number}.jpg",
            f"classes/{breed}/{number}.jpg",
        ):
            (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / place)
        rows.append(f"{number:04d},{breed},{side},patient {number // 4}\n")
    (tmp_path / "labels.csv").write_text("id,breed,split,patient\n" + "".join(rows))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def classes(words: list[str], cache: Path) -> tuple[list[str], int]:
    """The classes that a command searches, and how many pictures are in train."""
    more = ["--cache-dir", str(cache), "--image-sizes", "16", "--families", "scratch_keras"]
    settings = begun(options([*words, *more]))
    check_data(settings)
    _, record = prepare(settings, 1, lambda line: None)
    return record["classes"], record["sizes"]["train"]


def test_labels_from_a_table(laid: Path) -> None:
    first, second = commands("Labels from a table")
    assert classes(first, laid / "cache") == (sorted(BREEDS), 8)
    # Of six patients with four pictures each four are in train.
    assert classes(second, laid / "cache") == (sorted(BREEDS), 16)


def test_classes_from_folders_or_names(laid: Path) -> None:
    parent, path, pattern = (classes(words, laid / "cache") for words in commands("Classes from folders or names"))
    assert parent == pattern == (sorted(BREEDS), 16)
    assert path == (["cat/manx", "cat/sphynx", "dog/corgi", "dog/pug"], 16)


def test_archives(laid: Path) -> None:
    archives = [words for words in commands("Archives and addresses") if "://" not in words[0]]
    shutil.make_archive("photos", "zip", laid, "classes")
    assert classes(archives[0], laid / "cache") == (sorted(BREEDS), 16)
    Path("photos.zip").unlink()
    shutil.make_archive("photos", "zip", laid, "photos")
    assert classes(archives[1], laid / "cache") == (sorted(BREEDS), 8)
    assert len(archives) == 2
