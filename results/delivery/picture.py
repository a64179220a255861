"""One picture file, read as training and prediction alike see it; what may be wrong with it, and why."""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from results.delivery.files import format_of

# Raster formats only: Pillow would hand an EPS file to Ghostscript, a program that runs what it is given.
FORMATS = (
    "JPEG", "PNG", "GIF", "BMP", "DIB", "WEBP", "TIFF", "PPM", "AVIF", "JPEG2000", "TGA", "PCX", "SGI", "ICO", "HEIF",
)  # fmt: skip

MAX_PIXELS = 89_478_485  # Pillow's own bound: a quarter of a gibibyte at three bytes a pixel
# A progressive JPEG may pass over all of its pixels as often as it likes: a hundred kilobytes can take minutes. Real
# ones have about ten scans.
MAX_SCANNED = 50 * MAX_PIXELS  # pixels times scans: a second or two
# Bytes that decoding takes for each pixel, measured: Pillow's own buffers, those of its libraries, the layers of what
# is transparent, the numbers of what has more than 8 bits.
BYTES = {"AVIF": 10, "HEIF": 16, "JPEG2000": 20, "WEBP": 16}
PLAIN_BYTES, LAYERED_BYTES, PROGRESSIVE_BYTES = 6, 16, 4
DRAFT_SIDE = 1024  # a larger JPEG is decoded at a half, quarter or eighth while its shorter side stays above this
WHITE = (255, 255, 255, 255)
ORIENTATION = 0x0112  # the EXIF tag
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# The share of a set's pictures whose levels its range leaves out: one hot pixel must not darken all of the others.
BEYOND = 0.01
# A set whose levels lie within this share of the whole range is shown by its own lowest and highest level.
NARROW = 0.25
NO_DATA = 1e30  # floating-point levels beyond this stand for a missing value, as infinity does


@dataclass(frozen=True)
class Levels:
    """The grey levels that become black and white where pictures have more than 8 bits a channel."""

    black: float
    white: float

    def eight_bits(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """Levels of any type as 0 to 255, what lies outside cut; a missing value is black."""
        told = np.empty(values.shape, np.uint8)
        for band, into in zip(_bands(values), _bands(told), strict=True):
            share = (_known(band, self.black) - self.black) / (self.white - self.black)
            into[:] = np.rint(np.clip(share, 0.0, 1.0) * 255.0)
        return told


def levels_of(extremes: Sequence[tuple[float, float]]) -> Levels:
    """The range that the pictures of a set use, from the lowest and highest level of each; not of an empty set.

    Black is 0, or below it the power of two that holds the lowest level. White is the smallest power of two minus 1
    that holds the highest level (4,095 for 12 bits), below 1 the power of two itself. A set that would fill less than
    a quarter of that, as of a thermal camera, has its own lowest and highest level. Of a hundred pictures and more,
    one in a hundred may lie outside.
    """
    spare = int(BEYOND * len(extremes))
    low = sorted(low for low, _ in extremes)[spare]
    high = sorted(high for _, high in extremes)[len(extremes) - 1 - spare]
    black = -(2.0 ** math.ceil(math.log2(-low))) if low < 0 else 0.0
    if high > 1:
        white = 2.0 ** math.ceil(math.log2(high + 1)) - 1
    elif high > 0:
        white = 2.0 ** math.ceil(math.log2(high))
    else:
        white = 0.0 if black else 1.0
    if 0 < high - low < NARROW * (white - black):
        return Levels(low, high)
    return Levels(black, white)


def alone(kind: str, low: float, high: float) -> Levels:
    """The range of a picture that belongs to no set: what it uses itself."""
    return levels_of([(low, high)])


# What is black and white in a picture, from its kind of levels (a set may hold both) and its lowest and highest one.
Scale = Callable[[str, float, float], Levels]
INTEGER, FLOAT = KINDS = ("integer", "float")


def read_picture(
    path: Path,
    draft_side: int = DRAFT_SIDE,
    hold: Callable[[int], None] = lambda needed: None,
    scale: Scale = alone,
    most_pixels: int = MAX_PIXELS,
) -> tuple[Image.Image, tuple[int, int]]:
    """One file as an upright RGB picture, the first frame of an animation, what is transparent over white.

    A large JPEG or JPEG 2000 comes back at a half, quarter or eighth of its size, its shorter side still at least
    `draft_side` pixels. The second value is the width and height of the file itself, upright. `hold` is called, once
    the header is read, with the bytes of memory that the rest will take, and again where that was not all. `scale` is
    called for a picture of more than 8 bits a channel and says what of it is black and white. A file of more than
    `most_pixels` is not decoded. Raises ValueError, OSError and whatever Pillow's plugins raise for a file that cannot
    be read.
    """
    try:
        return _read(path, draft_side, hold, scale, most_pixels, smaller=True)
    except _NoSmaller:
        return _read(path, draft_side, hold, scale, most_pixels, smaller=False)


class _NoSmaller(Exception):
    """A JPEG 2000 file that has no smaller versions of its picture, or is damaged: only reading all of it tells."""


def _read(
    path: Path, draft_side: int, hold: Callable[[int], None], scale: Scale, most_pixels: int, *, smaller: bool
) -> tuple[Image.Image, tuple[int, int]]:
    with _opened(path) as image:
        width, height = image.size
        if width * height > min(most_pixels, MAX_PIXELS):
            raise TooManyPixelsError(f"more than {min(most_pixels, MAX_PIXELS):,} pixels")
        if image.info.get("progressive") and _scans(path) * width * height > MAX_SCANNED:
            raise ValueError(f"more scans than a progressive JPEG of {width} x {height} pixels needs")
        image.draft(None, (draft_side, draft_side))
        halvings = _halvings(image, draft_side) if smaller else 0
        if halvings:
            image.reduce = halvings  # type: ignore[method-assign, assignment]
        hold(_needed(image, width * height) >> 2 * halvings)
        halved = _halved(image)
        try:
            image.load()
        except OSError:
            if halvings:
                raise _NoSmaller from None
            raise
        turn = TURNS.get(_orientation(image))
        picture = to_rgb(image, scale, halved=halved)
    if turn is None:
        return picture, (width, height)
    # Not ImageOps.exif_transpose: it writes the EXIF block anew, which fails where another of its entries is damaged.
    upright = picture.transpose(turn)
    sideways = upright.size != picture.size or turn in (TURNS[5], TURNS[6], TURNS[7], TURNS[8])
    return upright, (height, width) if sideways else (width, height)


class ForeignFormatError(UnidentifiedImageError):
    """A picture in a format that is not read here."""


class TooManyPixelsError(ValueError):
    """A picture that is larger than is wanted."""


def _opened(path: Path) -> Image.Image:
    try:
        return Image.open(path, formats=_formats())
    except UnidentifiedImageError:
        if name := format_of(path):
            way = " without the package pillow-heif" if name in ("HEIC", "HEIF") else ""
            raise ForeignFormatError(f"{name} pictures are not read{way}; save it as JPEG or PNG") from None
        raise


def to_rgb(image: Image.Image, scale: Scale = alone, *, halved: bool = False) -> Image.Image:
    """Any mode as 8-bit RGB: more bits scaled to 8, what is transparent laid over white.

    Of 16-bit colours Pillow keeps the upper half alone (`halved`): these are scaled by what is left.
    """
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image)
        kind = FLOAT if image.mode == "F" else INTEGER
        return Image.fromarray(scale(kind, *_extremes(values, kind)).eight_bits(values)).convert("RGB")
    if halved:
        image = _stretched(image, scale)
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, WHITE), layer).convert("RGB")
    return image.convert("RGB")


def reason_of(error: Exception) -> str:
    """Why a file cannot be read, in one line."""
    match error:
        case Image.DecompressionBombError() | Image.DecompressionBombWarning():
            return f"more than {MAX_PIXELS:,} pixels"
        case ForeignFormatError() | TooManyPixelsError():
            return str(error)
        case UnidentifiedImageError():
            return "not a picture in a format that Pillow reads"
        case OSError(strerror=str() as problem):
            return f"the file cannot be opened: {problem}"
        case MemoryError():
            return "too large for this machine's memory"
        case _:
            return " ".join(f"cannot be decoded: {error}".split())


def _needed(image: Image.Image, pixels: int) -> int:
    """Bytes that decoding an opened picture will take; `pixels` are those of the file, before any draft."""
    plain = image.mode in ("RGB", "L", "P", "1", "CMYK", "YCbCr") and not image.has_transparency_data
    each = max(PLAIN_BYTES if plain else LAYERED_BYTES, BYTES.get(str(image.format), 0))
    # Of a progressive JPEG all coefficients are kept, whatever the size of the draft.
    coefficients = PROGRESSIVE_BYTES * pixels if image.info.get("progressive") else 0
    return each * image.size[0] * image.size[1] + coefficients


def _halvings(image: Image.Image, draft_side: int) -> int:
    """How often a JPEG 2000 picture can be halved: decoding all of a large one takes seconds and gigabytes."""
    if image.format != "JPEG2000":
        return 0
    return max(0, min(3, (min(image.size) // draft_side).bit_length() - 1))


def _scans(path: Path) -> int:
    # Inside the data of a scan 0xff is followed by 0, so this counts markers, and perhaps those of a thumbnail.
    return path.read_bytes().count(b"\xff\xda")


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    # What telephones write, and Pillow alone does not read.
    with contextlib.suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()
    return tuple(name for name in FORMATS if name in Image.OPEN)  # not every build of Pillow has every format


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # A damaged EXIF block says nothing about the pixels; the parser's errors are many.
        return 1
    return value if isinstance(value, int) else 1


def _halved(image: Image.Image) -> bool:
    """Whether an opened file has 16-bit colours, of which Pillow's modes hold 8 bits."""
    tiles: Any = getattr(image, "tile", None)
    arguments = tiles[0][3] if tiles else ""
    raw = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return isinstance(raw, str) and ";16" in raw and image.mode in ("L", "LA", "RGB", "RGBA", "RGBX")


def _stretched(image: Image.Image, scale: Scale) -> Image.Image:
    """The upper halves of 16-bit levels, scaled as the whole ones would be; transparency stays."""
    opaque = image.getbands()[-1] not in ("A", "X")
    extremes = [image.getextrema()] if len(image.getbands()) == 1 else list(image.getextrema())
    colours: Any = extremes if opaque else extremes[:-1]
    low, high = (257.0 * pick(end) for pick, end in zip((min, max), zip(*colours, strict=True), strict=True))
    table = scale(INTEGER, low, high).eight_bits(257.0 * np.arange(256)[None])[0].tolist()
    return image.point(table * len(colours) + ([] if opaque else list(range(256))))


def _extremes(values: NDArray[Any], kind: str) -> tuple[float, float]:
    """The lowest and highest level; 0 and 0 where every value is missing."""
    ends = [
        (float(known.min()), float(known.max()))
        for band in _bands(values)
        if len(known := band[np.abs(band) < NO_DATA] if kind == FLOAT else band.ravel())
    ]
    return (min(low for low, _ in ends), max(high for _, high in ends)) if ends else (0.0, 0.0)


def _known(band: NDArray[Any], missing: float) -> NDArray[np.float64]:
    numbers = band.astype(np.float64)
    return np.where(np.abs(numbers) < NO_DATA, numbers, missing)  # What is not a number is not below anything.


def _bands(values: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Some rows after the other: numbers of 8 bytes for all of a large picture would take gigabytes."""
    rows = max(1, 2**20 // max(1, values.shape[1]))
    return (values[start : start + rows] for start in range(0, len(values), rows))
