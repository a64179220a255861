import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search.data.demo import demo_breeds, draw_array, draw_demo
from search.data.folder import read_folder


def test_the_demo_set_is_a_folder_of_class_folders(drawn: Path) -> None:
    folder = read_folder(drawn)
    assert folder.classes == ("Bramley hound", "Harrow hound", "Kestrel terrier", "Moorland terrier")
    assert len(folder.pictures) == 4 * 24
    assert folder.left_out == ()
    assert folder.pictures[0].name == "n90000001-Harrow_hound/n90000001_1.jpg"
    with Image.open(folder.pictures[0].path) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (48, 48))


def test_no_two_pictures_are_alike(drawn: Path) -> None:
    digests = [picture.digest for picture in read_folder(drawn).pictures]
    assert len(set(digests)) == len(digests)


def test_the_seed_decides_and_more_pictures_leave_the_first_as_they_were(tmp_path: Path) -> None:
    def contents(name: str, pictures: int, seed: int) -> dict[str, bytes]:
        directory = draw_demo(tmp_path / name, breeds=2, pictures=pictures, size=16, seed=seed, threads=3)
        return {path.name: path.read_bytes() for path in directory.glob("*/*.jpg")}

    one = contents("one", pictures=2, seed=5)
    assert len(one) == 4
    assert contents("more", pictures=3, seed=5).items() > one.items()
    assert not set(contents("other", pictures=2, seed=6).values()) & set(one.values())


def test_drawing_again_does_nothing(tmp_path: Path) -> None:
    directory = draw_demo(tmp_path / "demo", breeds=2, pictures=2, size=16)
    picture = directory / "n90000001-Harrow_hound" / "n90000001_1.jpg"
    picture.unlink()
    assert draw_demo(directory, breeds=2, pictures=2, size=16) == directory
    assert not picture.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def test_another_set_in_the_way(tmp_path: Path) -> None:
    draw_demo(tmp_path / "demo", breeds=2, pictures=2, size=16)
    with pytest.raises(
        FileExistsError, match=r"needs a new folder for the demo set .*'size': 20.* holds another demo set"
    ):
        draw_demo(tmp_path / "demo", breeds=2, pictures=2, size=20)


def test_something_else_in_the_way(tmp_path: Path) -> None:
    (tmp_path / ".demo.json").write_text(json.dumps([]))
    with pytest.raises(FileExistsError, match=r"needs a new folder for the demo set .* holds something else"):
        draw_demo(tmp_path, breeds=2, pictures=1, size=16)


def test_arrays_hold_the_same_dogs_as_the_files(tmp_path: Path) -> None:
    dogs, labels = draw_array(6, 32, seed=3, breeds=2)
    assert dogs.shape == (6, 32, 32, 3)
    assert dogs.dtype == np.uint8
    assert labels.tolist() == [0, 1, 0, 1, 0, 1]
    directory = draw_demo(tmp_path / "demo", breeds=2, pictures=3, size=32, seed=3)
    with Image.open(directory / "n90000002-Bramley_hound" / "n90000002_3.jpg") as image:
        difference = np.abs(np.asarray(image).astype(int) - dogs[5])
    assert difference.mean() < 6  # what JPEG loses


def test_breeds_are_the_same_for_every_count_and_have_names_of_their_own() -> None:
    most = demo_breeds(120)
    assert demo_breeds(10) == most[:10]
    assert len({breed.name for breed in most}) == 120


def test_breeds_differ_in_more_than_colour() -> None:
    shapes = {(breed.ears, breed.muzzle, breed.tail, breed.pattern) for breed in demo_breeds(10)}
    assert len(shapes) == 10
    coats = [breed.coat for breed in demo_breeds(10)]
    assert len(set(coats)) < 10


@pytest.mark.parametrize("breeds", [1, 121])
def test_breeds_out_of_range(tmp_path: Path, breeds: int) -> None:
    with pytest.raises(ValueError, match=f"needs 2 <= breeds <= 120, got {breeds}"):
        draw_demo(tmp_path / "demo", breeds=breeds)


@pytest.mark.parametrize(("pictures", "size"), [(0, 96), (1, 7)])
def test_pictures_and_size_out_of_range(tmp_path: Path, pictures: int, size: int) -> None:
    with pytest.raises(ValueError, match=f"got pictures = {pictures} and size = {size}"):
        draw_demo(tmp_path / "demo", pictures=pictures, size=size)
