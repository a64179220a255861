"""Every picture decoded once, by Pillow, into packed uint8 arrays; what cannot be read is named with its reason."""

import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from .folder import Folder

FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

# Raster formats only: Pillow would hand an EPS file to Ghostscript, a program that runs what it is given.
FORMATS = (
    "JPEG", "PNG", "GIF", "BMP", "DIB", "WEBP", "TIFF", "PPM", "AVIF", "JPEG2000", "TGA", "PCX", "SGI", "ICO",
)  # fmt: skip

MAX_PIXELS = 89_478_485  # Pillow's own bound: a quarter of a gibibyte at three bytes a pixel
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
PROGRESS_STEP = 32  # pictures between two calls of `progress`


@dataclass(frozen=True)
class Decoded:
    """What decoding found out about the pictures of a folder, one row a picture, in the folder's order."""

    readable: NDArray[np.bool_]
    reasons: dict[str, str]  # by picture name, for those that are not readable
    hashes: NDArray[np.uint64]  # difference hashes (pictures, 2), 0 where not readable
    width: NDArray[np.int32]  # pixels of the file, after its EXIF turn
    height: NDArray[np.int32]

    def save(self, path: Path) -> None:
        """Writes all of it to one .npz file."""
        np.savez(
            path,
            readable=self.readable,
            names=np.array(list(self.reasons), dtype=np.str_),
            reasons=np.array(list(self.reasons.values()), dtype=np.str_),
            hashes=self.hashes,
            width=self.width,
            height=self.height,
        )

    @classmethod
    def load(cls, path: Path) -> "Decoded":
        """Reads what `save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            return cls(
                readable=file["readable"],
                reasons=dict(zip(file["names"].tolist(), file["reasons"].tolist(), strict=True)),
                hashes=file["hashes"],
                width=file["width"],
                height=file["height"],
            )


def pack_name(size: int, resize_filter: str) -> str:
    """The file name of the pixels of one shape."""
    return f"{size}-{resize_filter}.npy"


def decode(
    folder: Folder,
    shapes: Sequence[tuple[int, str]],
    directory: Path,
    threads: int,
    progress: Callable[[int, int], None] | None = None,
) -> Decoded:
    """Decodes every picture once and writes one uint8 array (pictures, size, size, 3) per (size, filter).

    Row i is `folder.pictures[i]`; the rows of unreadable pictures are zeros. A row does not depend on the other shapes
    asked for, up to a size of 1,024. `progress` is called with the pictures done and their number. Raises ValueError
    for an unknown filter and where no picture of a class can be read.
    """
    for size, name in shapes:
        if name not in FILTERS:
            raise ValueError(f"a resize filter is one of {', '.join(FILTERS)}, got `{name}`")
        if size < 1:
            raise ValueError(f"needs an image size >= 1 pixel, got {size}")
    count = len(folder.pictures)
    packs = {
        shape: open_memmap(directory / pack_name(*shape), "w+", dtype=np.uint8, shape=(count, shape[0], shape[0], 3))
        for shape in shapes
    }
    draft_side = max([DRAFT_SIDE, *(size for size, _ in shapes)])
    readable = np.zeros(count, np.bool_)
    hashes = np.zeros((count, 2), np.uint64)
    width = np.zeros(count, np.int32)
    height = np.zeros(count, np.int32)

    def decode_one(row: int) -> str | None:
        # A damaged file can raise nearly anything from inside Pillow's plugins; none of it may stop the search.
        try:
            image, (width[row], height[row]) = read_picture(folder.pictures[row].path, draft_side)
            for (size, name), pack in packs.items():
                pack[row] = np.asarray(fit_square(image, size, name))
            hashes[row] = difference_hash(image)
        except Exception as error:
            for pack in packs.values():
                pack[row] = 0
            width[row] = height[row] = 0
            return _reason(error)
        readable[row] = True
        return None

    reasons: dict[str, str] = {}
    # Filters belong to the whole process, so they are set here, around all threads, and not in each of them.
    with warnings.catch_warnings(), ThreadPoolExecutor(threads) as workers:
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for row, reason in enumerate(workers.map(decode_one, range(count))):
            if reason is not None:
                reasons[folder.pictures[row].name] = reason
            if progress is not None and ((row + 1) % PROGRESS_STEP == 0 or row + 1 == count):
                progress(row + 1, count)
    for pack in packs.values():
        pack.flush()

    labels = np.array([picture.label for picture in folder.pictures])
    for label, name in enumerate(folder.classes):
        if not readable[labels == label].any():
            first = next(picture.name for picture in folder.pictures if picture.label == label)
            raise ValueError(
                f"every class needs readable pictures, and `{name}` of `{folder.root}` has none;"
                f" the first of them, `{first}`: {reasons[first]}"
            )
    return Decoded(readable, reasons, hashes, width, height)


def read_picture(path: Path, draft_side: int = DRAFT_SIDE) -> tuple[Image.Image, tuple[int, int]]:
    """One file as an upright RGB picture, the first frame of an animation, what is transparent over white.

    A large JPEG comes back at a half, quarter or eighth of its size, its shorter side still at least `draft_side`
    pixels. The second value is the width and height of the file itself, upright. Raises ValueError, OSError and
    whatever Pillow's plugins raise for a file that cannot be read.
    """
    with Image.open(path, formats=_formats()) as image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise Image.DecompressionBombError
        image.draft(None, (draft_side, draft_side))
        image.load()
        turn = TURNS.get(_orientation(image))
        picture = to_rgb(image)
    if turn is None:
        return picture, (width, height)
    # Not ImageOps.exif_transpose: it writes the EXIF block anew, which fails where another of its entries is damaged.
    upright = picture.transpose(turn)
    sideways = upright.size != picture.size or turn in (TURNS[5], TURNS[6], TURNS[7], TURNS[8])
    return upright, (height, width) if sideways else (width, height)


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


def fit_square(image: Image.Image, size: int, resize_filter: str) -> Image.Image:
    """The picture's centred square, resized to `size` pixels a side: shorter side to size, then centre crop.

    Crop and resize are one step with the same result. Pictures more than six times too large are first averaged over
    whole pixels, for speed, to no less than three times the size.
    """
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    box = (left, top, left + side, top + side)
    return image.resize((size, size), FILTERS[resize_filter], box=box, reducing_gap=3.0)


def difference_hash(image: Image.Image) -> NDArray[np.uint64]:
    """128 bits as two numbers: which of two neighbours in a row, and in a column, of a coarse grey grid is brighter.

    After N. Krawetz, "Kind of Like That" (2013), who compares rows alone: with the columns, copies and different
    pictures lie much further apart.
    """
    grid = image.resize((9, 9), Image.Resampling.HAMMING, reducing_gap=3.0).convert("L")
    grey = np.asarray(grid)
    brighter = np.stack([grey[:8, 1:] > grey[:8, :8], grey[1:, :8] > grey[:8, :8]])
    return np.packbits(brighter.reshape(2, 64), axis=1).view(">u8")[:, 0].astype(np.uint64)


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
    values: NDArray[Any] = np.nan_to_num(np.asarray(image).astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    peak = float(values.max())
    spans = [65535.0] if image.mode.startswith("I;16") else [1.0, 255.0, 65535.0][image.mode == "I" :]
    span = next((span for span in spans if peak <= span), peak)
    return np.rint(np.clip(values / span, 0.0, 1.0) * 255.0).astype(np.uint8)


def _reason(error: Exception) -> str:
    match error:
        case Image.DecompressionBombError() | Image.DecompressionBombWarning():
            return f"more than {MAX_PIXELS:,} pixels"
        case UnidentifiedImageError():
            return "not a picture in a format that Pillow reads"
        case OSError(strerror=str() as problem):
            return f"the file cannot be opened: {problem}"
        case MemoryError():
            return "too large for this machine's memory"
        case _:
            return " ".join(f"cannot be decoded: {error}".split())
