import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from search.data.decode import decode, difference_hash
from search.data.demo import demo_breeds, draw_dog
from search.data.duplicates import near_duplicates
from search.data.folder import read_folder

PHOTOGRAPHS = Path(__file__).parents[2] / "shared" / "data" / "dogs10"


def groups_of(images: list[Image.Image]) -> list[int]:
    hashes = np.stack([difference_hash(image) for image in images])
    return list(near_duplicates([str(number) for number in range(len(images))], hashes))


def saved_again(image: Image.Image, quality: int) -> Image.Image:
    target = io.BytesIO()
    image.save(target, "JPEG", quality=quality)
    return Image.open(target).convert("RGB")


def dogs(count: int, size: int = 96) -> list[Image.Image]:
    breeds = demo_breeds(10)
    return [draw_dog(breeds[number % 10], size, f"duplicates/{number}") for number in range(count)]


def test_copies_join_their_original_and_others_stay_apart() -> None:
    first, second, third = dogs(3)
    copies = [saved_again(second, 40), second.resize((50, 50), Image.Resampling.LANCZOS), second.resize((150, 100))]
    assert groups_of([first, second, third, *copies, second.convert("L").convert("RGB")]) == [0, 1, 2, 1, 1, 1, 1]


def test_different_drawn_dogs_stay_apart() -> None:
    assert groups_of(dogs(300, size=64)) == list(range(300))


def test_plain_pictures_do_not_all_collapse() -> None:
    shaded = Image.linear_gradient("L").convert("RGB")
    red_to_blue = Image.merge(
        "RGB", (Image.new("L", (256, 256)), Image.new("L", (256, 256)), Image.linear_gradient("L"))
    )
    plain = [Image.new("RGB", (64, 64), (level,) * 3) for level in (0, 128, 255)]
    assert groups_of([*plain, shaded, red_to_blue]) == [0, 1, 2, 3, 4]


def test_the_same_file_is_one_group_whatever_its_hash() -> None:
    hashes = np.zeros((5, 2), np.uint64)
    assert near_duplicates(["a", "b", "a", "c", "b"], hashes).tolist() == [0, 1, 0, 3, 1]


def bits(*flipped: int) -> NDArray[np.uint64]:
    half = 0x0F0F_0F0F_0F0F_0F0F
    rows = half ^ sum(1 << bit for bit in flipped if bit < 64)
    columns = half ^ sum(1 << (bit - 64) for bit in flipped if bit >= 64)
    return np.array([rows, columns], np.uint64)


def test_the_distance_counts_and_chains_join() -> None:
    names = ["a", "b", "c", "d"]
    hashes = np.stack([bits(), bits(0, 64), bits(0, 64, 1, 65), bits(0, 64, 1, 65, 2, 66, 3)])
    assert near_duplicates(names, hashes, distance=2).tolist() == [0, 0, 0, 3]
    assert near_duplicates(names, hashes, distance=1).tolist() == [0, 1, 2, 3]


def test_every_pair_is_compared_across_blocks() -> None:
    hashes = np.random.default_rng(0).integers(0, 2**64, (2000, 2), dtype=np.uint64)
    hashes[1999] = hashes[3] ^ np.uint64(1)
    hashes[700] = hashes[1100]
    groups = near_duplicates([str(number) for number in range(2000)], hashes)
    expected = np.arange(2000)
    expected[1999], expected[1100] = 3, 700
    assert (groups == expected).all()


@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason="the photographs (dogs10) are not on this machine")
def test_scenes_taken_twice_are_found_among_the_photographs(tmp_path: Path) -> None:
    folder = read_folder(PHOTOGRAPHS)
    decoded = decode(folder, [], tmp_path, threads=2)
    groups = near_duplicates([picture.digest for picture in folder.pictures], decoded.hashes)
    names = [picture.path.stem for picture in folder.pictures]
    pairs = [(names[group], names[row]) for row, group in enumerate(groups.tolist()) if group != row]
    assert pairs == [
        ("n02107683_2881", "n02107683_570"),
        ("n02111129_1503", "n02111129_3499"),
        ("n02111129_1546", "n02111129_4435"),
        ("n02111129_3388", "n02111129_4792"),
        ("n02111129_4017", "n02111129_571"),
        ("n02092002_1767", "n02092002_4745"),
        ("n02092002_5504", "n02092002_5557"),
        ("n02092002_2448", "n02092002_6503"),
    ]
