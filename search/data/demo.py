"""The demo set: invented breeds of simple dogs, drawn by Pillow from a seed, so that a search needs no download."""

import cmath
import json
import math
import random
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Points = NDArray[np.complex128]  # x + iy, y downwards; a dog looks to the right and is about 2 units long

PARAMETERS = ".demo.json"  # hidden, so that listing the folder passes it over
VERSION = 1  # of the drawing: raised whenever the same seed gives other pictures
JPEG_QUALITY = 92

COATS: dict[str, Colour] = {
    "white": (233, 229, 220),
    "cream": (221, 196, 152),
    "tan": (187, 137, 82),
    "rust": (148, 82, 43),
    "chocolate": (92, 60, 42),
    "grey": (132, 131, 134),
    "slate": (84, 93, 108),
    "black": (43, 40, 41),
}
# Grass, leaves, sky, sea, sand, earth, stone, brick, wood, snow, cloth: some as light, dark or warm as a dog.
SURROUNDINGS: tuple[Colour, ...] = (
    (96, 138, 62), (52, 84, 48), (150, 190, 222), (62, 104, 142), (214, 190, 146), (120, 88, 60),
    (138, 136, 130), (158, 84, 66), (172, 128, 84), (228, 232, 236), (120, 58, 86), (52, 52, 66), (196, 168, 60),
)  # fmt: skip
EARS = ("prick", "drop", "button", "bat", "long")
TAILS = ("curl", "sabre", "flag", "stub", "whip")
PATTERNS = ("plain", "saddle", "patches", "spots", "bicolour", "mask", "brindle", "blaze")
SHAGGY = (0.0, 0.025, 0.045)  # roughness of the outline of breeds that are drawn by chance
POSES = (5, 2, 2, 2)  # how often a dog stands, sits, lies, and looks out of a portrait

PLACES = (
    "Harrow", "Bramley", "Kestrel", "Moorland", "Tarn", "Lindell", "Orford", "Quarry", "Velden", "Saltmarsh",
    "Ashdown", "Corrie", "Dunmere", "Elgar", "Fenwick", "Glen", "Hollin", "Isling", "Juniper", "Kirkby",
)  # fmt: skip
KINDS = ("hound", "terrier", "shepherd", "spitz", "spaniel", "mastiff")


@dataclass(frozen=True)
class Breed:
    """What the dogs of a breed have in common."""

    name: str
    ears: str
    muzzle: float  # length, in heads
    tail: str
    coat: str
    second: str  # colour of the pattern, and the coat of one dog in six
    pattern: str
    legs: float  # length, in bodies
    shaggy: float  # roughness of the outline


TEN_BREEDS = (
    Breed("Harrow hound", "drop", 0.95, "whip", "tan", "black", "saddle", 0.80, 0.0),
    Breed("Bramley hound", "long", 0.85, "sabre", "tan", "black", "mask", 0.62, 0.0),
    Breed("Kestrel terrier", "button", 0.62, "stub", "white", "rust", "patches", 0.58, 0.02),
    Breed("Moorland terrier", "prick", 0.55, "sabre", "grey", "slate", "brindle", 0.42, 0.04),
    Breed("Tarn shepherd", "prick", 0.80, "flag", "black", "tan", "bicolour", 0.76, 0.035),
    Breed("Lindell shepherd", "button", 0.78, "flag", "rust", "white", "blaze", 0.74, 0.035),
    Breed("Orford spitz", "prick", 0.50, "curl", "cream", "rust", "plain", 0.58, 0.05),
    Breed("Quarry spitz", "bat", 0.55, "curl", "grey", "white", "mask", 0.62, 0.035),
    Breed("Velden spaniel", "long", 0.60, "flag", "white", "chocolate", "spots", 0.60, 0.03),
    Breed("Saltmarsh mastiff", "drop", 0.40, "sabre", "chocolate", "cream", "blaze", 0.68, 0.0),
)


def demo_breeds(count: int) -> tuple[Breed, ...]:
    """The first `count` breeds: ten drawn up by hand, the others by chance, the same for every seed."""
    most = len(PLACES) * len(KINDS)
    if not 2 <= count <= most:
        raise ValueError(f"needs 2 <= breeds <= {most}, got {count}")
    taken = {breed.name for breed in TEN_BREEDS}
    names = [name for kind in KINDS for place in PLACES if (name := f"{place} {kind}") not in taken]
    return (*TEN_BREEDS, *map(chance_breed, names))[:count]


def draw_demo(
    directory: Path, breeds: int = 10, pictures: int = 60, size: int = 96, seed: int = 0, threads: int = 2
) -> Path:
    """Draws `pictures` JPEG files of size x size pixels of each breed into class folders; returns `directory`.

    The folder appears under its name when it is whole; where the same parameters have drawn it before, nothing is done.
    Picture k of a breed depends on size, seed and k alone. Raises FileExistsError where something else is in the way.
    """
    kinds = demo_breeds(breeds)
    if pictures < 1 or size < 8:
        raise ValueError(f"needs pictures >= 1 and size >= 8, got pictures = {pictures} and size = {size}")
    parameters = {"version": VERSION, "breeds": breeds, "pictures": pictures, "size": size, "seed": seed}
    if _drawn(directory, parameters):
        return directory
    directory.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        folders = [
            aside / f"n{90_000_001 + number}-{breed.name.replace(' ', '_')}" for number, breed in enumerate(kinds)
        ]
        for folder in folders:
            folder.mkdir()

        def draw_file(index: int) -> None:
            number, copy = index % breeds, index // breeds
            name = f"{folders[number].name.split('-')[0]}_{copy + 1}.jpg"
            draw_dog(kinds[number], size, f"{seed}/{copy}").save(folders[number] / name, quality=JPEG_QUALITY)

        with ThreadPoolExecutor(threads) as workers:
            for _ in workers.map(draw_file, range(breeds * pictures)):
                pass
        (aside / PARAMETERS).write_text(json.dumps(parameters))
        aside.chmod(0o755)  # mkdtemp keeps others out, and a set may be shared
        try:
            aside.rename(directory)
        except OSError:
            # Another process was quicker: what it drew with the same parameters is the same.
            if not _drawn(directory, parameters):
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return directory


def draw_array(count: int, size: int, seed: int = 0, breeds: int = 10) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """`count` dogs as uint8 (count, size, size, 3) with labels, the breeds in turn: the demo set without its files."""
    kinds = demo_breeds(breeds)
    dogs = np.empty((count, size, size, 3), dtype=np.uint8)
    for index in range(count):
        dogs[index] = np.asarray(draw_dog(kinds[index % breeds], size, f"{seed}/{index // breeds}"))
    return dogs, np.arange(count, dtype=np.int64) % breeds


def draw_dog(breed: Breed, size: int, seed: str) -> Image.Image:
    """One dog of a breed, size x size pixels, in a pose, place and light of its own."""
    chance = random.Random(f"{breed.name}/{seed}")
    fine = 3 if size < 128 else 2  # drawn so many times larger, then averaged, for smooth edges
    image = _background(size * fine, chance)
    paint(image, breed, chance)
    if chance.random() < 0.3:
        _cover(image, chance)
    return _light(image.reduce(fine), chance)


class _Pen:
    """Fills shapes given in units of the dog: turned, scaled, mirrored and placed on an image."""

    def __init__(self, image: Image.Image, turn: complex, origin: complex, mirrored: bool, rough: float) -> None:
        self.image = image
        self.draw = ImageDraw.Draw(image)
        self.turn, self.origin, self.mirrored, self.rough = turn, origin, mirrored, rough

    def on(self, image: Image.Image) -> "_Pen":
        return _Pen(image, self.turn, self.origin, self.mirrored, self.rough)

    def fill(self, points: Points, colour: Colour | int) -> None:
        if self.rough:
            strands = np.arange(len(points)) % 2 - 0.5
            points = points + 2 * self.rough * strands * (points - points.mean()) / abs(points - points.mean()).mean()
        placed = self.origin + self.turn * (-points.conj() if self.mirrored else points)
        self.draw.polygon(placed.view(np.float64).tolist(), fill=colour)


def paint(
    image: Image.Image,
    breed: Breed,
    chance: random.Random,
    poses: Sequence[int] = POSES,
    ears: Colour | None = None,
    tail: Colour | None = None,
) -> None:
    """Draws a dog of a breed on an image, large or small, left or right.

    `poses` says how often it takes each; `ears` and `tail` are colours of their own, where they are not the breed's.
    """
    pose = chance.choices(("stand", "sit", "lie", "portrait"), poses)[0]
    coat, second = COATS[breed.coat], COATS[breed.second]
    if chance.random() < 1 / 6:
        coat, second = second, coat  # so that no colour gives a breed away
    coat, second = _vary(coat, chance), _vary(second, chance)
    far, near = _shade(coat, 0.68), _shade(coat, 0.9)
    legs = breed.legs * chance.uniform(0.9, 1.1)

    scale = image.width * (chance.uniform(0.33, 0.44) if pose == "portrait" else chance.uniform(0.20, 0.29))
    turn = cmath.rect(scale, math.radians(chance.gauss(0, 6)))
    mirrored = chance.random() < 0.5
    middle = 0.95 - 0.75j if pose == "portrait" else 0.2 - 0.15j
    place = complex(chance.uniform(0.42, 0.58), chance.uniform(0.45, 0.58)) * image.width
    origin = place - turn * (-middle.conjugate() if mirrored else middle)
    pen = _Pen(image, turn, origin, mirrored, breed.shaggy)

    lift = cmath.rect(1, math.radians({"sit": -36.0, "lie": -4.0}.get(pose, chance.gauss(0, 3))))
    ground = 0.42 if pose == "lie" else 0.3 + legs
    shadow = Image.new("L", image.size, 0)
    _Pen(shadow, turn, origin, mirrored, 0).fill(_oval(0.1 + 1j * ground, 1.2, 0.12), 110)
    image.paste((20, 20, 24), mask=shadow)

    _tail(pen, breed, lift, tail or near, second, chance)
    stocking = second if breed.pattern == "bicolour" else None
    shoulder, hip = 0.62 * lift, -0.68 * lift
    for offset, colour in ((0.14, far), (-0.06, near)):
        if colour is near:
            _body(pen, breed, lift, coat, second, chance)
        stride = chance.gauss(0, 0.12)
        if pose == "lie":
            fore = [shoulder + 0.25j, shoulder + offset + 0.38j, shoulder + 0.75 + offset + 0.40j]
            hind = [hip + 0.2j, hip + offset + 0.36j, hip + 0.45 + offset + 0.40j]
        else:
            foot = shoulder.real + offset + stride + 1j * ground
            fore = [shoulder + offset + 0.1j, (shoulder + foot) / 2 + 0.04, foot, foot + 0.1]
            foot = hip.real + offset - stride + 1j * ground + (0.45 if pose == "sit" else 0)
            knee = (hip + foot) / 2 + (0.3 if pose == "sit" else -0.12)
            hind = [hip + offset + 0.1j, knee, foot, foot + 0.1]
        for leg in (fore, hind):
            pen.fill(_limb(leg, (0.21, 0.12, 0.09, 0.08)), colour)
            if stocking:
                pen.fill(_limb(leg[-2:], (0.10, 0.08)), _shade(stocking, 0.75 if colour is far else 1.0))
    if pose == "sit":
        pen.fill(_oval(hip + 0.22 + 0.25j, 0.40, 0.34), near)
    _head(pen, breed, shoulder, coat, second, chance, ears)


def _body(pen: _Pen, breed: Breed, lift: complex, coat: Colour, second: Colour, chance: random.Random) -> None:
    deep = chance.uniform(0.92, 1.1)
    parts = [
        lift * _oval(0, 0.95, 0.36 * deep),
        lift * _oval(0.58 + 0.02j, 0.42, 0.45 * deep),
        lift * _oval(-0.62 - 0.03j, 0.40, 0.38 * deep),
    ]
    # The coat is painted freely on a layer of its own and laid on through the shape of the body.
    mask, layer = Image.new("L", pen.image.size, 0), Image.new("RGB", pen.image.size, coat)
    shape, paint = pen.on(mask), pen.on(layer)
    for part in parts:
        shape.fill(part, 255)
    paint.rough = 0
    if breed.pattern == "saddle":
        paint.fill(lift * _oval(-0.15 - 0.35j, 0.95, chance.uniform(0.36, 0.5)), second)
    elif breed.pattern == "patches":
        for _ in range(chance.randint(3, 4)):
            centre = complex(chance.uniform(-0.9, 0.8), chance.uniform(-0.4, 0.1))
            paint.fill(lift * _oval(centre, chance.uniform(0.2, 0.36), chance.uniform(0.16, 0.3)), second)
    elif breed.pattern == "spots":
        for _ in range(chance.randint(26, 40)):
            centre = complex(chance.uniform(-1, 1), chance.uniform(-0.45, 0.45))
            paint.fill(lift * _oval(centre, radius := chance.uniform(0.04, 0.09), radius), second)
    elif breed.pattern == "brindle":
        for step in range(13):
            x = -1 + step / 6 + chance.gauss(0, 0.03)
            paint.fill(lift * _limb([x - 0.5j, x + 0.08, x + 0.02 + 0.5j], (0.02, 0.05, 0.02)), second)
    elif breed.pattern == "bicolour":
        paint.fill(lift * _oval(0.85 + 0.25j, 0.42, 0.5), second)
    elif breed.pattern == "blaze":
        paint.fill(lift * _oval(0.95 + 0.05j, 0.25, 0.35), second)
    belly = Image.new("L", pen.image.size, 0)
    pen.on(belly).fill(lift * _oval(-0.05 + 0.42j, 0.95, 0.2), 60)
    layer.paste((0, 0, 0), mask=belly)
    pen.image.paste(layer, mask=mask)


def _tail(pen: _Pen, breed: Breed, lift: complex, colour: Colour, second: Colour, chance: random.Random) -> None:
    root = -0.92 - 0.15j
    wag = cmath.rect(1, math.radians(chance.gauss(0, 14)))
    along = {
        "curl": [0, -0.2 - 0.3j, -0.12 - 0.62j, 0.16 - 0.74j, 0.36 - 0.52j, 0.2 - 0.36j],
        "sabre": [0, -0.3 + 0.12j, -0.5 + 0.4j, -0.78 + 0.5j],
        "flag": [0, -0.3 - 0.18j, -0.62 - 0.2j, -0.95 - 0.32j],
        "stub": [0, -0.12 - 0.12j, -0.18 - 0.2j],
        "whip": [0, -0.34 - 0.3j, -0.6 - 0.68j, -0.72 - 1.0j],
    }[breed.tail]
    thick = {
        "curl": (0.11, 0.12, 0.12, 0.11, 0.09, 0.05),
        "sabre": (0.12, 0.10, 0.08, 0.04),
        "flag": (0.09, 0.16, 0.17, 0.03),
        "stub": (0.11, 0.11, 0.09),
        "whip": (0.08, 0.06, 0.05, 0.03),
    }[breed.tail]
    points = [lift * (root + wag * point) for point in along]
    # Piece by piece: the outline of a whole curl would cross itself.
    for step in range(len(points) - 1):
        pen.fill(_limb(points[step : step + 2], thick[step : step + 2]), colour)
    if breed.pattern in ("bicolour", "blaze") and breed.tail != "stub":
        pen.fill(_limb(points[-2:], thick[-2:]), second)


def _head(
    pen: _Pen,
    breed: Breed,
    shoulder: complex,
    coat: Colour,
    second: Colour,
    chance: random.Random,
    ears: Colour | None = None,
) -> None:
    nod = cmath.rect(1, math.radians(chance.gauss(4, 13)))
    centre = shoulder + 0.42 - 0.86j + complex(chance.gauss(0, 0.05), chance.gauss(0, 0.06))
    length = breed.muzzle * chance.uniform(0.88, 1.12)
    face = second if breed.pattern in ("mask", "bicolour") else coat
    ear = ears or _shade(second if breed.pattern in ("saddle", "mask", "spots", "patches") else coat, 0.82)
    light = _shade(coat, 1.06)

    def at(points: Points) -> Points:
        return centre + nod * points

    pen.fill(_limb([shoulder - 0.1 - 0.05j, centre - 0.1 + 0.1j], (0.42, 0.27)), _shade(coat, 0.96))
    if breed.pattern in ("bicolour", "blaze"):
        pen.fill(_limb([shoulder + 0.22 + 0.05j, centre + 0.12 + 0.3j], (0.16, 0.08)), second)
    far_ear, near_ear = _ears(breed.ears)
    pen.fill(at(far_ear), _shade(ear, 0.75))
    pen.fill(at(_limb([0.1 + 0.1j, 0.3 + length * 0.8 + 0.14j], (0.22, 0.13))), face)
    pen.fill(at(_oval(0, 0.36, 0.33)), light)
    if breed.pattern == "blaze":
        pen.fill(at(_limb([0.08 - 0.28j, 0.3 - 0.06j, 0.3 + length * 0.7 + 0.05j], (0.05, 0.08, 0.09))), second)
    if breed.pattern == "mask":
        pen.fill(at(_oval(0.2 + 0.05j, 0.2, 0.22)), face)
    smooth = pen.on(pen.image)
    smooth.rough = 0
    smooth.fill(at(_oval(0.3 + length * 0.8 + 0.06j, 0.1, 0.08)), (24, 20, 22))
    mouth = [0.3 + length * 0.75 + 0.2j, 0.25 + 0.24j]
    smooth.fill(at(_limb(mouth, (0.02, 0.02))), _shade(face, 0.45))
    if chance.random() < 0.3:
        smooth.fill(at(_oval(0.22 + length * 0.6 + 0.34j, 0.07, 0.13)), (203, 98, 105))
    smooth.fill(at(_oval(0.17 - 0.09j, 0.06, 0.06)), (22, 17, 15))
    smooth.fill(at(_oval(0.19 - 0.11j, 0.02, 0.02)), (240, 240, 240))
    pen.fill(at(near_ear), ear)


def _ears(kind: str) -> tuple[Points, Points]:
    """Outlines of the far and the near ear, seen from the middle of the head."""
    if kind == "prick":
        return np.array([-0.02 - 0.26j, 0.12 - 0.66j, 0.22 - 0.2j]), np.array([-0.3 - 0.14j, -0.2 - 0.7j, 0.06 - 0.27j])
    if kind == "bat":
        return _oval(0.14 - 0.48j, 0.13, 0.28), _oval(-0.17 - 0.5j, 0.16, 0.32)
    if kind == "button":
        far = np.array([-0.02 - 0.24j, 0.06 - 0.46j, 0.32 - 0.3j, 0.24 - 0.16j])
        return far, np.array([-0.32 - 0.12j, -0.2 - 0.42j, 0.1 - 0.3j, 0.04 - 0.04j, -0.1 - 0.2j])
    drop = 0.66 if kind == "long" else 0.36
    return _oval(0.2 - 0.16j, 0.08, 0.12), _limb([-0.12 - 0.2j, -0.24 + 0.05j, -0.2 + 1j * drop], (0.1, 0.15, 0.12))


def _background(canvas: int, chance: random.Random) -> Image.Image:
    tones = [_vary(chance.choice(SURROUNDINGS), chance) for _ in range(4)]
    # A few random pixels, blown up, are soft clouds, meadows and curtains.
    cells = chance.choice((2, 3, 5, 8))
    soft = Image.new("RGB", (cells, cells))
    soft.putdata([_vary(chance.choice(SURROUNDINGS), chance) for _ in range(cells * cells)])
    image = Image.blend(
        Image.new("RGB", (canvas, canvas), tones[0]),
        soft.resize((canvas, canvas), Image.Resampling.BICUBIC),
        chance.uniform(0.15, 0.75),
    )
    pen = ImageDraw.Draw(image)
    horizon = canvas * chance.uniform(0.45, 0.85)
    tilt = canvas * chance.gauss(0, 0.04)
    if chance.random() < 0.75:
        pen.polygon([0, horizon, canvas, horizon + tilt, canvas, canvas, 0, canvas], fill=tones[1])
    for _ in range(chance.randint(2, 9)):
        colour = _vary(chance.choice(tones), chance)
        x, y = chance.uniform(-0.1, 1) * canvas, chance.uniform(-0.1, 1) * canvas
        wide, high = chance.uniform(0.03, 0.35) * canvas, chance.uniform(0.03, 0.45) * canvas
        match chance.randrange(4):
            case 0:
                pen.rectangle([x, y, x + wide, y + high], fill=colour)
            case 1:
                pen.ellipse([x, y, x + wide, y + high], fill=colour)
            case 2:
                pen.polygon([x, y + high, x + wide / 2, y, x + wide, y + high], fill=colour)
            case _:
                end = (x + chance.uniform(-0.5, 0.5) * canvas, y + chance.uniform(-0.5, 0.5) * canvas)
                pen.line([(x, y), end], fill=colour, width=max(1, canvas // 40))
    return image


def _cover(image: Image.Image, chance: random.Random) -> None:
    """Something that stands in front of the dog: a post, a bush or a ball."""
    pen = ImageDraw.Draw(image)
    colour = _vary(chance.choice(SURROUNDINGS), chance)
    canvas = image.width
    x = chance.uniform(0.1, 0.9) * canvas
    match chance.randrange(3):
        case 0:
            pen.rectangle([x, 0, x + canvas * chance.uniform(0.02, 0.07), canvas], fill=colour)
        case 1:
            for _ in range(14):
                left, top = x + chance.gauss(0, 0.09) * canvas, canvas * chance.uniform(0.8, 1)
                pen.ellipse([left, top, left + canvas * 0.09, top + canvas * 0.07], fill=_vary(colour, chance))
        case _:
            top, wide = canvas * chance.uniform(0.55, 0.85), canvas * chance.uniform(0.08, 0.16)
            pen.ellipse([x, top, x + wide, top + wide], fill=colour)


def _light(image: Image.Image, chance: random.Random) -> Image.Image:
    """Light from one side, a colour cast, a wrong exposure and the noise of the film."""
    size = image.width
    noise = np.random.default_rng(chance.getrandbits(64))
    across = np.linspace(-1, 1, size, dtype=np.float32)
    angle = chance.uniform(0, 2 * math.pi)
    slope = chance.uniform(0, 0.3) * (math.cos(angle) * across[None, :] + math.sin(angle) * across[:, None])
    cast = np.array([chance.gauss(1, 0.07) for _ in range(3)], dtype=np.float32) * chance.uniform(0.65, 1.2)
    grain = noise.standard_normal((size, size, 1), dtype=np.float32) * chance.uniform(2, 9)
    lit = np.asarray(image) * ((1 + slope)[:, :, None] * cast) + grain
    return Image.fromarray(np.clip(lit, 0, 255).astype(np.uint8))


def _oval(centre: complex, wide: float, high: float) -> Points:
    angles = np.linspace(0, 2 * math.pi, 32, endpoint=False)
    return centre + wide * np.cos(angles) + 1j * high * np.sin(angles)


def _limb(along: Sequence[complex], thick: Sequence[float]) -> Points:
    """The outline of a leg, tail, neck or muzzle: half-widths `thick` about a line, round at its end."""
    line = np.array(along, dtype=np.complex128)
    half = np.array(thick[: len(line)])
    step = np.gradient(line)
    aside = 1j * step / abs(step) * half
    end = line[-1] + aside[-1] * np.exp(-1j * np.linspace(0.2, math.pi - 0.2, 6))
    return np.concatenate([line + aside, end, (line - aside)[::-1]])


def _vary(colour: Sequence[int], chance: random.Random) -> Colour:
    light = chance.gauss(1, 0.1)
    red, green, blue = (min(255, max(0, round(level * light * chance.gauss(1, 0.03)))) for level in colour)
    return red, green, blue


def _shade(colour: Colour, light: float) -> Colour:
    red, green, blue = (min(255, round(level * light)) for level in colour)
    return red, green, blue


def chance_breed(name: str) -> Breed:
    """A breed drawn by chance, the same for one name always."""
    chance = random.Random(name)
    coat, second = chance.sample(list(COATS), 2)
    return Breed(
        name,
        chance.choice(EARS),
        round(chance.uniform(0.4, 0.95), 2),
        chance.choice(TAILS),
        coat,
        second,
        chance.choice(PATTERNS),
        round(chance.uniform(0.4, 0.8), 2),
        chance.choice(SHAGGY),
    )


def _drawn(directory: Path, parameters: dict[str, int]) -> bool:
    """Whether the folder is the demo set of these parameters; anything else in its place is an error."""
    if not directory.exists() or (directory.is_dir() and not any(directory.iterdir())):
        return False
    try:
        found = json.loads((directory / PARAMETERS).read_text())
    except (OSError, ValueError):
        found = None
    if found == parameters:
        return True
    holds = f"another demo set, {found}" if found else "something else"
    raise FileExistsError(f"needs a new folder for the demo set {parameters}, and `{directory}` holds {holds}")
