import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from search.data import duplicates
from search.data.decode import content_of, decode, thumbnail
from search.data.demo import demo_breeds, draw_dog
from search.data.duplicates import Likeness, find_duplicates, stars
from search.data.folder import read_folder
from tests.benchmarks.likeness import KINDS, drawn_set

PHOTOGRAPHS = Path(__file__).parents[2] / "shared" / "data" / "dogs10"


def likeness(images: list[Image.Image], rule: str = "near") -> Likeness:
    contents = np.stack([content_of(image) for image in images])
    thumbnails = np.stack([thumbnail(image) for image in images])
    return find_duplicates([str(number) for number in range(len(images))], contents, thumbnails, rule)


def groups_of(images: list[Image.Image], rule: str = "near") -> list[int]:
    return list(likeness(images, rule).groups)


def saved_again(image: Image.Image, quality: int) -> Image.Image:
    target = io.BytesIO()
    image.save(target, "JPEG", quality=quality)
    return Image.open(target).convert("RGB")


def dogs(count: int, size: int = 96) -> list[Image.Image]:
    breeds = demo_breeds(10)
    return [draw_dog(breeds[number % 10], size, f"duplicates/{number}") for number in range(count)]


def cut(image: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    width, height = image.size
    return image.crop((int(width * left), int(height * top), int(width * (1 - right)), int(height * (1 - bottom))))


def test_copies_join_their_original_and_others_stay_apart() -> None:
    first, second, third = dogs(3)
    copies = [saved_again(second, 40), second.resize((50, 50), Image.Resampling.LANCZOS), second.resize((150, 100))]
    assert groups_of([first, second, third, *copies, second.convert("L").convert("RGB")]) == [0, 1, 2, 1, 1, 1, 1]


def test_different_drawn_dogs_stay_apart() -> None:
    assert groups_of(dogs(150, size=64)) == list(range(150))


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_that_share_their_layout_stay_apart(kind: str) -> None:
    assert groups_of(drawn_set(kind, 80, seed=7)) == list(range(80))


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_is_found_among_pictures_that_share_their_layout(kind: str) -> None:
    images = drawn_set(kind, 80, seed=8)
    assert groups_of([*images, ImageOps.mirror(images[5])]) == [*range(80), 5]


@pytest.mark.parametrize(
    "change",
    [
        lambda image: cut(image, 0.025, 0.025, 0.025, 0.025),
        lambda image: cut(image, 0.0, 0.0, 0.05, 0.05),
        lambda image: cut(image, 0.1, 0.0, 0.0, 0.05),
        lambda image: ImageEnhance.Brightness(image).enhance(1.3),
        lambda image: ImageEnhance.Contrast(image).enhance(0.7),
        ImageOps.mirror,
        lambda image: ImageOps.mirror(cut(image, 0.03, 0.02, 0.0, 0.03)),
    ],
)
def test_what_is_done_to_a_copy(change: Callable[[Image.Image], Image.Image]) -> None:
    images = dogs(60, size=128)
    expected = [*range(60), 11, 40]
    assert groups_of([*images, change(images[11]), change(images[40])]) == expected


def test_many_copies_of_one_picture_are_one_group() -> None:
    images = dogs(60)
    copies = [saved_again(images[7].resize((side, side)), 80) for side in range(60, 120, 5)]
    assert groups_of([*images, *copies]) == [*range(60), *[7] * 12]


def test_groups_do_not_chain() -> None:
    # 1 is like most others; 3 is like 2 and 4 alone, and 2 is gone by then.
    pairs = [(0, 1), (1, 2), (1, 5), (2, 3), (3, 4)]
    assert stars(7, pairs).tolist() == [0, 0, 0, 3, 3, 0, 6]


def test_a_camera_that_pans_makes_several_groups() -> None:
    wide = Image.fromarray(np.random.default_rng(3).integers(0, 256, (9, 17, 3), dtype=np.uint8))
    wide = wide.resize((340, 180), Image.Resampling.BICUBIC)
    frames = [wide.crop((left, 0, left + 180, 180)) for left in range(0, 160, 12)]
    groups = groups_of([*dogs(60), *frames])[60:]
    assert 2 <= len(set(groups)) < len(frames)


def test_the_same_shape_in_another_colour_is_another_picture() -> None:
    def with_ball(colour: tuple[int, int, int]) -> Image.Image:
        image = Image.new("RGB", (64, 64), (120, 120, 120))
        image.paste(colour, (10, 20, 40, 50))
        return image

    # Red and green of the same brightness.
    assert groups_of([*dogs(3), with_ball((220, 40, 40)), with_ball((30, 135, 30))]) == [0, 1, 2, 3, 4]


def test_plain_pictures_do_not_all_collapse() -> None:
    shaded = Image.linear_gradient("L").convert("RGB")
    red_to_blue = Image.merge(
        "RGB", (Image.new("L", (256, 256)), Image.new("L", (256, 256)), Image.linear_gradient("L"))
    )
    plain = [Image.new("RGB", (64, 64), (level,) * 3) for level in (0, 128, 255)]
    assert groups_of([*plain, shaded, red_to_blue]) == [0, 1, 2, 3, 4]


def test_the_same_bytes_or_pixels_are_one_group_under_every_rule_but_off() -> None:
    thumbnails = np.zeros((6, 32, 32, 3), np.uint8)
    # The last two could not be read: no pixels, which are not the same.
    contents = np.array([[1, 1], [2, 2], [1, 1], [3, 3], [0, 0], [0, 0]], np.uint64)
    names = ["a", "b", "c", "b", "d", "e"]
    assert find_duplicates(names, contents, thumbnails).groups.tolist() == [0, 1, 0, 1, 4, 5]
    assert find_duplicates(names, contents, thumbnails, "exact").groups.tolist() == [0, 1, 0, 1, 4, 5]
    off = find_duplicates(names, contents, thumbnails, "off")
    assert off.groups.tolist() == [0, 1, 2, 3, 4, 5]
    assert off.identical.tolist() == [0, 1, 0, 1, 4, 5]


def test_exact_leaves_near_copies_apart() -> None:
    first, second = dogs(2)
    assert groups_of([first, second, saved_again(first, 60), second.copy()], "exact") == [0, 1, 2, 1]


def test_likeness_of_most_of_a_set_is_doubted() -> None:
    images = dogs(20)
    copies = [saved_again(image, quality) for image in images for quality in (40, 70)]
    found = likeness([*images, *copies, images[0].copy()])
    assert found.doubted == 40
    assert found.groups.tolist() == [*range(60), 0]
    # One copy of each is what people add to a set on purpose.
    mirrored = likeness([*images, *(ImageOps.mirror(image) for image in images)])
    assert mirrored.doubted == 0
    assert mirrored.groups.tolist() == [*range(20), *range(20)]


def test_no_picture_and_one_picture() -> None:
    nothing = np.zeros((0, 32, 32, 3), np.uint8)
    assert find_duplicates([], np.zeros((0, 2), np.uint64), nothing).groups.tolist() == []
    assert groups_of(dogs(1)) == [0]


def test_every_pair_is_found_across_blocks() -> None:
    chance = np.random.default_rng(0)
    thumbnails = chance.integers(0, 256, (700, 8, 8, 3), dtype=np.uint8).repeat(4, axis=1).repeat(4, axis=2)
    thumbnails[699] = thumbnails[3] // 2 + 60
    thumbnails[500] = thumbnails[400, :, ::-1]
    contents = np.arange(1, 1401, dtype=np.uint64).reshape(700, 2)
    expected = np.arange(700)
    expected[699], expected[500] = 3, 400
    found = find_duplicates([str(number) for number in range(700)], contents, thumbnails)
    assert found.groups.tolist() == expected.tolist()


@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason="the photographs (dogs10) are not on this machine")
def test_scenes_taken_twice_are_found_among_the_photographs(tmp_path: Path) -> None:
    folder = read_folder(PHOTOGRAPHS)
    decoded = decode(folder, [], tmp_path, threads=2)
    found = find_duplicates([picture.digest for picture in folder.pictures], decoded.contents, decoded.thumbnails)
    names = [picture.path.stem for picture in folder.pictures]
    pairs = [(names[group], names[row]) for row, group in enumerate(found.groups.tolist()) if group != row]
    # One dog in one place each, looked at.
    assert pairs == [
        ("n02088094_1410", "n02088094_1459"),
        ("n02088094_13502", "n02088094_3080"),
        ("n02107683_2881", "n02107683_570"),
        ("n02111129_1503", "n02111129_3499"),
        ("n02111129_1546", "n02111129_4435"),
        ("n02111129_3388", "n02111129_4792"),
        ("n02111129_4017", "n02111129_571"),
        ("n02111129_1178", "n02111129_593"),
        ("n02111129_4017", "n02111129_976"),
        ("n02112018_4373", "n02112018_877"),
        ("n02092002_1767", "n02092002_4745"),
        ("n02092002_5504", "n02092002_5557"),
        ("n02092002_2448", "n02092002_6503"),
    ]


def test_of_many_pictures_those_around_are_compared_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    images = dogs(400, size=64)
    copies = [
        ImageOps.mirror(image) if place % 2 else saved_again(image, 40) for place, image in enumerate(images[:60])
    ]
    every = likeness([*images, *copies])
    asked: list[int] = []
    nearest = duplicates.Cells.nearest

    def seen(cells: duplicates.Cells, wanted: Any, most: int) -> Any:
        asked.append(most)
        return nearest(cells, wanted, most)

    monkeypatch.setattr(duplicates.Cells, "nearest", seen)
    for name, value in (("MANY", 100), ("CELL", 16), ("AROUND", 8)):
        monkeypatch.setattr(duplicates, name, value)
    assert likeness([*images, *copies]).groups.tolist() == every.groups.tolist()
    assert asked == [24, 2]
    assert every.groups[400:].tolist() == list(range(60))


def test_cells_of_next_to_nothing_are_made_up_by_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("CELL", 2), ("AROUND", 1)):
        monkeypatch.setattr(duplicates, name, value)
    vectors = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    near = duplicates.Cells(vectors).nearest(vectors, 24)
    assert [len(set(row)) for row in near.tolist()] == [24] * 40
    assert not (near == np.arange(40)[:, None]).any()
