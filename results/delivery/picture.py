"""One picture file, read as training and prediction alike see it; what may be wrong with it, and why."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from results.delivery.files import format_of

# Raster formats only: Pillow would hand an EPS file to Ghostscript, a program that runs what it is given.
FORMATS = (
    "JPEG", "PNG", "GIF", "BMP", "DIB", "WEBP", "TIFF", "PPM", "AVIF", "JPEG2000", "TGA", "PCX", "SGI", "ICO",
)  # fmt: skip

MAX_PIXELS = 89_478_485  # Pillow's own bound: a quarter of a gibibyte at three bytes a pixel
# A progressive JPEG may pass over all of its pixels as often as it likes: a hundred kilobytes can take minutes. Real
# ones have about ten scans.
MAX_SCANNED = 50 * MAX_PIXELS  # pixels times scans: a second or two
# Bytes that decoding takes for each pixel, measured: Pillow's own buffers, those of its libraries, the layers of what
# is transparent, the numbers of what has more than 8 bits.
BYTES = {"AVIF": 10, "JPEG2000": 20, "WEBP": 16}
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


def read_picture(
    path: Path, draft_side: int = DRAFT_SIDE, hold: Callable[[int], None] = lambda needed: None
) -> tuple[Image.Image, tuple[int, int]]:
    """One file as an upright RGB picture, the first frame of an animation, what is transparent over white.

    A large JPEG or JPEG 2000 comes back at a half, quarter or eighth of its size, its shorter side still at least
    `draft_side` pixels. The second value is the width and height of the file itself, upright. `hold` is called, once
    the header is read, with the bytes of memory that the rest will take, and again where that was not all. Raises
    ValueError, OSError and whatever Pillow's plugins raise for a file that cannot be read.
    """
    try:
        return _read(path, draft_side, hold, smaller=True)
    except _NoSmaller:
        return _read(path, draft_side, hold, smaller=False)


class _NoSmaller(Exception):
    """A JPEG 2000 file that has no smaller versions of its picture, or is damaged: only reading all of it tells."""


def _read(
    path: Path, draft_side: int, hold: Callable[[int], None], *, smaller: bool
) -> tuple[Image.Image, tuple[int, int]]:
    with _opened(path) as image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise Image.DecompressionBombError
        if image.info.get("progressive") and _scans(path) * width * height > MAX_SCANNED:
            raise ValueError(f"more scans than a progressive JPEG of {width} x {height} pixels needs")
        image.draft(None, (draft_side, draft_side))
        halvings = _halvings(image, draft_side) if smaller else 0
        if halvings:
            image.reduce = halvings  # type: ignore[method-assign, assignment]
        hold(_needed(image, width * height) >> 2 * halvings)
        try:
            image.load()
        except OSError:
            if halvings:
                raise _NoSmaller from None
            raise
        turn = TURNS.get(_orientation(image))
        picture = to_rgb(image)
    if turn is None:
        return picture, (width, height)
    # Not ImageOps.exif_transpose: it writes the EXIF block anew, which fails where another of its entries is damaged.
    upright = picture.transpose(turn)
    sideways = upright.size != picture.size or turn in (TURNS[5], TURNS[6], TURNS[7], TURNS[8])
    return upright, (height, width) if sideways else (width, height)


class ForeignFormatError(UnidentifiedImageError):
    """A picture in a format that is not read here."""


def _opened(path: Path) -> Image.Image:
    try:
        return Image.open(path, formats=_formats())
    except UnidentifiedImageError:
        if name := format_of(path):
            raise ForeignFormatError(f"{name} pictures are not read; save it as JPEG or PNG") from None
        raise


def to_rgb(image: Image.Image) -> Image.Image:
    """Any mode as 8-bit RGB: 16 bits scaled to 8, what is transparent laid over white."""
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_eight_bits(image)).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, WHITE), layer).convert("RGB")
    return image.convert("RGB")


def reason_of(error: Exception) -> str:
    """Why a file cannot be read, in one line."""
    match error:
        case Image.DecompressionBombError() | Image.DecompressionBombWarning():
            return f"more than {MAX_PIXELS:,} pixels"
        case ForeignFormatError():
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
    return tuple(name for name in FORMATS if name in Image.OPEN)  # not every build of Pillow has every format


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # A damaged EXIF block says nothing about the pixels; the parser's errors are many.
        return 1
    return value if isinstance(value, int) else 1


def _eight_bits(image: Image.Image) -> NDArray[np.uint8]:
    """Grey levels of more than 8 bits, or of floating point, as 8 bits.

    I;16 spans 0 to 65,535. The modes I and F do not name their range: it is taken as the smallest of 1 (F only), 255
    and 65,535 that holds the brightest pixel, else that pixel itself.
    """
    values = np.asarray(image)
    levels = np.empty(values.shape, np.uint8)
    if image.mode.startswith("I;16"):
        span = 65535.0
    else:
        spans = [1.0, 255.0, 65535.0][image.mode == "I" :]
        peak = max(float(np.nan_to_num(band, posinf=0.0, neginf=0.0).max()) for band in _bands(values))
        span = next((span for span in spans if peak <= span), peak)
    for band, told in zip(_bands(values), _bands(levels), strict=True):
        finite = np.nan_to_num(band.astype(np.float64), posinf=0.0, neginf=0.0)
        told[:] = np.rint(np.clip(finite / span, 0.0, 1.0) * 255.0)
    return levels


def _bands(values: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Some rows after the other: numbers of 8 bytes for all of a large picture would take gigabytes."""
    rows = max(1, 2**20 // max(1, values.shape[1]))
    return (values[start : start + rows] for start in range(0, len(values), rows))
