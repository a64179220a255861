import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from results.delivery.picture import Levels, levels_of, read_picture
from search.data.decode import Decoded, content_of, decode, fit_square, thumbnail
from search.data.folder import read_folder

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def halves(left: object = RED, right: object = BLUE, mode: str = "RGB", size: int = 16) -> Image.Image:
    image = Image.new(mode, (size, size), left)  # type: ignore[arg-type]
    image.paste(right, (size // 2, 0, size, size))  # type: ignore[arg-type]
    return image


def bytes_of(image: Image.Image, kind: str, **options: object) -> bytes:
    target = io.BytesIO()
    image.save(target, kind, **options)
    return target.getvalue()


def grey_16() -> bytes:
    return bytes_of(Image.fromarray(np.repeat(np.array([[0, 65535]], np.uint16), 8, axis=1).repeat(16, axis=0)), "PNG")


def floats() -> bytes:
    return bytes_of(Image.fromarray(np.repeat(np.array([[0, 1]], np.float32), 8, axis=1).repeat(16, axis=0)), "TIFF")


def palette_with_transparency() -> bytes:
    image = Image.new("P", (16, 16), 0)
    image.putpalette([0, 0, 0, *BLUE])
    image.paste(1, (8, 0, 16, 16))
    return bytes_of(image, "PNG", transparency=0)


def turned_by_exif() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its left side
    return bytes_of(halves().transpose(Image.Transpose.ROTATE_90), "PNG", exif=exif)


def animated() -> bytes:
    return bytes_of(halves(), "GIF", save_all=True, append_images=[halves(GREEN, GREEN)])


READ_RIGHTLY: dict[str, tuple[Callable[[], bytes], object, object]] = {
    "rgb.png": (lambda: bytes_of(halves(), "PNG"), RED, BLUE),
    "wrong-extension.jpg": (lambda: bytes_of(halves(), "PNG"), RED, BLUE),
    "no-extension": (lambda: bytes_of(halves(), "BMP"), RED, BLUE),
    "cmyk.jpg": (lambda: bytes_of(halves().convert("CMYK"), "JPEG", quality=95, subsampling=0), RED, BLUE),
    "grey.png": (lambda: bytes_of(halves(0, 200, "L"), "PNG"), (0, 0, 0), (200, 200, 200)),
    "one-bit.png": (lambda: bytes_of(halves(0, 1, "1"), "PNG"), (0, 0, 0), WHITE),
    "grey-16.png": (grey_16, (0, 0, 0), WHITE),
    "floats.tif": (floats, (0, 0, 0), WHITE),
    "palette.gif": (lambda: bytes_of(halves().convert("P"), "GIF"), RED, BLUE),
    "palette-transparent.png": (palette_with_transparency, WHITE, BLUE),
    "transparent.png": (lambda: bytes_of(halves((9, 9, 9, 0), (*BLUE, 255), "RGBA"), "PNG"), WHITE, BLUE),
    "half-transparent.png": (lambda: bytes_of(halves((0, 0, 0, 51), (*BLUE, 255), "RGBA"), "PNG"), (204,) * 3, BLUE),
    "grey-transparent.png": (lambda: bytes_of(halves((0, 0), (90, 255), "LA"), "PNG"), WHITE, (90, 90, 90)),
    "one-colour-transparent.png": (lambda: bytes_of(halves(), "PNG", transparency=RED), WHITE, BLUE),
    "turned.png": (turned_by_exif, RED, BLUE),
    "animated.gif": (animated, RED, BLUE),
    "lossless.webp": (lambda: bytes_of(halves(), "WEBP", lossless=True), RED, BLUE),
}


def png_of_size(width: int, height: int) -> bytes:
    """A small file that claims to be a huge picture."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


def many_scans() -> bytes:
    """A progressive JPEG with its last scan again and again."""
    content = bytes_of(halves(size=2000), "JPEG", progressive=True)
    last = content[content.rindex(b"\xff\xda") : -2]
    return content[:-2] + 2000 * last + content[-2:]


LEFT_OUT: dict[str, tuple[Callable[[], bytes], str]] = {
    "truncated.jpg": (lambda: bytes_of(halves(size=256), "JPEG")[:-200], "cannot be decoded: image file is truncated"),
    "truncated.png": (lambda: bytes_of(halves(size=64), "PNG")[:60], "cannot be decoded: "),
    "only-a-header.jpg": (lambda: bytes_of(halves(), "JPEG")[:20], "not a picture in a format"),
    "not-a-picture.jpg": (lambda: b"<html>404</html>", "not a picture in a format that Pillow reads"),
    "zeros.png": (lambda: bytes(100), "not a picture in a format that Pillow reads"),
    "program.jpg": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture in a format"),
    "bomb.png": (lambda: png_of_size(20_000, 20_000), "more than 89,478,485 pixels"),
    "scans.jpg": (many_scans, "cannot be decoded: more scans than a progressive JPEG of 2000 x 2000 pixels needs"),
    "large-bomb.png": (lambda: png_of_size(10_000, 10_000), "more than 89,478,485 pixels"),
}


def written(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in {**files, "other/plain.png": bytes_of(halves(), "PNG")}.items():
        path = root / (name if "/" in name else f"class/{name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def test_every_kind_of_picture_is_read_rightly(tmp_path: Path) -> None:
    folder = read_folder(written(tmp_path / "data", {name: make() for name, (make, _, _) in READ_RIGHTLY.items()}))
    decoded = decode(folder, [(8, "bilinear")], tmp_path, threads=2)
    pack = np.load(tmp_path / "8-bilinear.npy")
    assert decoded.reasons == {}
    assert decoded.readable.all()
    for row, found in enumerate(folder.pictures[:-1]):
        _, left, right = READ_RIGHTLY[found.path.name]
        assert pack[row, 4, 1].tolist() == pytest.approx(left, abs=3), found.name
        assert pack[row, 4, 6].tolist() == pytest.approx(right, abs=3), found.name
    assert (decoded.width == 16).all()
    assert (decoded.height == 16).all()


def test_every_kind_of_broken_file_is_left_out_by_name(tmp_path: Path) -> None:
    files = {name: make() for name, (make, _) in LEFT_OUT.items()} | {"good.png": bytes_of(halves(), "PNG")}
    folder = read_folder(written(tmp_path / "data", files))
    decoded = decode(folder, [(8, "bilinear"), (12, "lanczos")], tmp_path, threads=2)
    assert sorted(decoded.reasons) == sorted(f"class/{name}" for name in LEFT_OUT)
    for name, (_, reason) in LEFT_OUT.items():
        assert decoded.reasons[f"class/{name}"].startswith(reason)
    assert [found.path.name for found, ok in zip(folder.pictures, decoded.readable, strict=True) if ok] == [
        "good.png",
        "plain.png",
    ]
    for pack in (np.load(tmp_path / "8-bilinear.npy"), np.load(tmp_path / "12-lanczos.npy")):
        assert pack.any(axis=(1, 2, 3)).tolist() == decoded.readable.tolist()
    assert not decoded.contents[~decoded.readable].any()
    assert not decoded.thumbnails[~decoded.readable].any()


def test_a_damaged_exif_block_costs_nothing(tmp_path: Path) -> None:
    damaged = bytes_of(halves(), "JPEG", quality=95, subsampling=0, exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12")
    decoded = decode(read_folder(written(tmp_path / "data", {"1.jpg": damaged})), [(8, "bilinear")], tmp_path, 1)
    assert decoded.readable.all()
    assert np.load(tmp_path / "8-bilinear.npy")[0, 4, 1].tolist() == pytest.approx(RED, abs=3)


def test_pictures_wait_for_room_and_all_of_them_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Room for one picture of 16 pixels at a time, and one picture that needs more than all of it.
    monkeypatch.setattr("search.data.decode.ROOM", 2000)
    files = {f"{level}.png": bytes_of(halves((level, 0, 0)), "PNG") for level in range(0, 200, 10)}
    folder = read_folder(written(tmp_path / "data", {**files, "large.png": bytes_of(halves(size=64), "PNG")}))
    decoded = decode(folder, [(8, "bilinear")], tmp_path, threads=4)
    assert decoded.readable.all()
    reds = [int(row[4, 1, 0]) for row in np.load(tmp_path / "8-bilinear.npy")[:20]]
    assert reds == [int(found.path.stem) for found in folder.pictures[:20]]


def test_floating_point_levels_span_the_whole_picture(tmp_path: Path) -> None:
    # Larger than one band of numbers, with the brightest pixel in the last row and what is no number in the first.
    levels = np.full((1100, 1100), 64.0, np.float32)
    levels[0, :], levels[-1, -1] = np.nan, 200.0
    (tmp_path / "1.tif").write_bytes(bytes_of(Image.fromarray(levels), "TIFF"))
    image, _ = read_picture(tmp_path / "1.tif")
    assert [image.getpixel(place) for place in ((0, 0), (5, 500), (5, 1090))] == [(0,) * 3, (64,) * 3, (64,) * 3]
    assert image.getpixel((1099, 1099)) == (200, 200, 200)


def test_shorter_side_to_size_then_centre_crop() -> None:
    wide = Image.new("RGB", (40, 8), RED)
    wide.paste(GREEN, (12, 0, 28, 8))
    square = np.asarray(fit_square(wide, 4, "bilinear"))
    assert square.shape == (4, 4, 3)
    assert (square == GREEN).all()
    assert (np.asarray(fit_square(wide.transpose(Image.Transpose.ROTATE_90), 4, "bilinear")) == GREEN).all()


def test_a_picture_of_the_right_size_keeps_its_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    assert (np.asarray(fit_square(Image.fromarray(pixels), 9, "bilinear")) == pixels).all()


def test_a_thin_picture_is_read() -> None:
    assert (np.asarray(fit_square(Image.new("RGB", (1, 500), BLUE), 4, "bilinear")) == BLUE).all()


def test_sizes_are_those_of_the_upright_file(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.new("RGB", (30, 20), RED).save(tmp_path / "1.jpg", exif=exif)
    image, size = read_picture(tmp_path / "1.jpg")
    assert (image.size, size) == ((20, 30), (20, 30))


def test_a_large_jpeg_is_decoded_smaller_and_keeps_its_size_on_record(tmp_path: Path) -> None:
    halves(size=4096).save(tmp_path / "1.jpg")
    image, size = read_picture(tmp_path / "1.jpg")
    assert (image.size, size) == ((1024, 1024), (4096, 4096))


def test_a_large_jpeg_2000_is_decoded_smaller_where_it_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.data.decode.ROOM", 2**20)  # less than one of them takes
    files = {f"{levels}.jp2": bytes_of(halves(size=2100), "JPEG2000", num_resolutions=levels) for levels in (1, 6)}
    files["broken.jp2"] = files["6.jp2"][: len(files["6.jp2"]) // 2]
    folder = read_folder(written(tmp_path / "data", files))
    decoded = decode(folder, [(8, "bilinear")], tmp_path, threads=2)
    assert decoded.reasons == {"class/broken.jp2": "cannot be decoded: broken data stream when reading image file"}
    assert decoded.width.tolist() == [2100, 2100, 0, 16]
    for row in np.load(tmp_path / "8-bilinear.npy")[:2]:
        assert [row[4, 1].tolist(), row[4, 6].tolist()] == [list(RED), list(BLUE)]
    sizes = [read_picture(tmp_path / "data" / "class" / name)[0].size for name in ("1.jp2", "6.jp2")]
    assert sizes == [(2100, 2100), (1050, 1050)]


def test_rows_do_not_depend_on_other_shapes_or_threads(drawn: Path, tmp_path: Path) -> None:
    folder = read_folder(drawn)
    for name, shapes, threads in (("one", [(24, "bilinear")], 1), ("two", [(24, "bilinear"), (40, "lanczos")], 3)):
        (tmp_path / name).mkdir()
        decode(folder, shapes, tmp_path / name, threads)
    one, two = (np.load(tmp_path / name / "24-bilinear.npy") for name in ("one", "two"))
    assert (one.shape, one.dtype) == ((96, 24, 24, 3), np.uint8)
    assert (one == two).all()


def test_progress_ends_at_the_number_of_pictures(drawn: Path, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    decode(read_folder(drawn), [], tmp_path, 2, lambda done, every: calls.append((done, every)))
    assert calls == [(32, 96), (64, 96), (96, 96)]


def test_what_decoding_found_is_saved_and_loaded(tmp_path: Path) -> None:
    folder = read_folder(written(tmp_path / "data", {"good.png": bytes_of(halves(), "PNG"), "nö.jpg": b"\x01"}))
    saved = decode(folder, [(8, "bilinear")], tmp_path, threads=1)
    saved.save(tmp_path / "scan.npz")
    loaded = Decoded.load(tmp_path / "scan.npz")
    assert loaded.reasons == {"class/nö.jpg": "not a picture in a format that Pillow reads"}
    for name in ("readable", "contents", "thumbnails", "width", "height"):
        assert (getattr(loaded, name) == getattr(saved, name)).all()
        assert getattr(loaded, name).dtype == getattr(saved, name).dtype


def test_a_thumbnail_holds_the_whole_picture() -> None:
    small = thumbnail(halves().resize((200, 50), Image.Resampling.NEAREST))
    assert small.shape == (32, 32, 3)
    assert small.dtype == np.uint8
    assert (small[16, 0].tolist(), small[16, -1].tolist()) == (list(RED), list(BLUE))


def test_content_is_pixels_and_shape() -> None:
    tall, wide = Image.new("RGB", (2, 3)), Image.new("RGB", (3, 2))
    changed = wide.copy()
    changed.putpixel((2, 1), (0, 0, 1))
    contents = [content_of(image).tolist() for image in (tall, wide, changed, wide.copy())]
    assert contents[1] == contents[3]
    assert len({tuple(content) for content in contents}) == 3


def test_content_of_a_large_picture_is_that_of_all_its_bands() -> None:
    plain = Image.new("RGB", (2000, 1200))
    changed = plain.copy()
    changed.putpixel((1999, 1199), (0, 0, 1))
    assert content_of(plain).tolist() != content_of(changed).tolist()


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((8, "nearest"), "a resize filter is one of bilinear, bicubic, lanczos, got `nearest`"),
        ((0, "bilinear"), "needs an image size >= 1 pixel, got 0"),
    ],
)
def test_impossible_shapes(drawn: Path, tmp_path: Path, shape: tuple[int, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode(read_folder(drawn), [shape], tmp_path, threads=1)


def grey(*levels: float, kind: object = np.uint16) -> bytes:
    """A TIFF of columns with these levels, 16 pixels high."""
    row = np.repeat(np.array([levels]), 16 // len(levels), axis=1).repeat(16, axis=0)
    return bytes_of(Image.fromarray(row.astype(kind)), "TIFF")  # type: ignore[call-overload]


def colours_16(left: int, right: int) -> bytes:
    """A PNG with 16 bits a channel, which Pillow reads but does not write: red of two levels, green and blue 0."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    line = b"\0" + b"".join(struct.pack(">HHH", level, 0, 0) for level in [left] * 8 + [right] * 8)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 16, 16, 16, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(16 * line)) + chunk(b"IEND", b"")


def test_the_levels_of_more_than_8_bits_are_those_of_the_whole_set(tmp_path: Path) -> None:
    files = {
        "bright.tif": grey(0, 16_000), "dark.tif": grey(0, 1_000), "signed.tif": grey(1_000, 8_000, kind=np.int32),
        "reals.tif": grey(0.0, 0.75, kind=np.float32), "grey.png": bytes_of(halves(3, 200, "L"), "PNG"),
        "red.png": colours_16(0, 8_192),
    }  # fmt: skip
    folder = read_folder(written(tmp_path / "data", files))
    decoded = decode(folder, [(8, "bilinear")], tmp_path, threads=2)
    pack = np.load(tmp_path / "8-bilinear.npy")
    shown = {
        picture.path.name: (pack[row, 4, 1].tolist(), pack[row, 4, 6].tolist())
        for row, picture in enumerate(folder.pictures)
    }
    assert decoded.levels == {"integer": Levels(0, 16_383), "float": Levels(0, 1)}
    assert shown["bright.tif"] == ([0, 0, 0], [249, 249, 249])
    assert shown["dark.tif"] == ([0, 0, 0], [16, 16, 16])
    assert shown["signed.tif"] == ([16, 16, 16], [125, 125, 125])
    assert shown["reals.tif"] == ([0, 0, 0], [191, 191, 191])
    # Pictures of 8 bits stay as they are, whatever stands beside them.
    assert shown["grey.png"] == ([3, 3, 3], [200, 200, 200])
    # Of 16-bit colours Pillow gives the upper half: 32 of 63.
    assert shown["red.png"] == ([0, 0, 0], [128, 0, 0])
    decoded.save(tmp_path / "scan.npz")
    assert Decoded.load(tmp_path / "scan.npz").levels == decoded.levels


@pytest.mark.parametrize(
    ("extremes", "expected"),
    [
        ([(0, 1023), (5, 400)], Levels(0, 1023)),
        ([(0, 1024)], Levels(0, 2047)),
        ([(0, 65535)], Levels(0, 65535)),
        ([(0, 200)], Levels(0, 255)),
        ([(0, 1)], Levels(0, 1)),
        ([(0, 0)], Levels(0, 1)),
        ([(0.0, 0.2)], Levels(0, 0.25)),
        # Hounsfield units, and pictures scaled around 0.
        ([(-1000, 3000)], Levels(-1024, 4095)),
        ([(-1.0, 0.9)], Levels(-1, 1)),
        ([(-80.0, -3.0)], Levels(-128, 0)),
        # A thermal camera: a narrow range far from 0.
        ([(29_000, 31_000), (29_500, 31_500)], Levels(29_000, 31_500)),
        ([(700, 700)], Levels(0, 1023)),
        # One picture with a hot pixel among a hundred, and among fewer.
        ([(0, 4000)] * 99 + [(0, 65535)], Levels(0, 4095)),
        ([(0, 4000)] * 98 + [(0, 65535)], Levels(0, 65535)),
    ],
)
def test_black_and_white_are_told_from_the_range_in_use(extremes: list[tuple[float, float]], expected: Levels) -> None:
    assert levels_of(extremes) == expected


def test_full_16_bit_colours_are_as_pillow_reads_them(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(colours_16(0, 65_535))
    image, _ = read_picture(tmp_path / "1.png")
    assert [image.getpixel((x, 3)) for x in (2, 12)] == [(0, 0, 0), (255, 0, 0)]


def test_missing_values_are_black_and_no_level(tmp_path: Path) -> None:
    (tmp_path / "1.tif").write_bytes(grey(-3.4e38, np.inf, np.nan, 0.5, kind=np.float32))
    image, _ = read_picture(tmp_path / "1.tif")
    assert [image.getpixel((x, 3)) for x in (1, 5, 9, 13)] == [(0,) * 3, (0,) * 3, (0,) * 3, (255,) * 3]


@pytest.mark.parametrize("suffix", ["heic", "avif"])
def test_pictures_of_telephones(tmp_path: Path, suffix: str) -> None:
    if suffix == "heic":
        pytest.importorskip("pillow_heif", reason="needs pillow-heif: pip install -e '.[heic]'").register_heif_opener()
    image = Image.new("RGB", (48, 32), (200, 40, 40))
    image.paste((20, 30, 220), (24, 0, 48, 32))
    image.save(tmp_path / f"a.{suffix}", quality=95)
    found, size = read_picture(tmp_path / f"a.{suffix}")
    assert size == found.size == (48, 32)
    assert np.abs(np.asarray(found, np.int16) - np.asarray(image, np.int16)).mean() < 8
