"""Broken, odd and hostile pictures from a seed, fed to the reader in a child process under a memory limit.

Every file must be read rightly or left out by name with a reason: no crash, no picture over the bound of seconds, no
growth of memory.

python -m tests.benchmarks.mutated_pictures --count 2000 --seed 0
"""

import argparse
import faulthandler
import gc
import hashlib
import io
import json
import os
import random
import resource
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from results.delivery.prediction import pixels_of
from search.data.decode import decode, pack_name
from search.data.folder import read_folder
from tests.benchmarks.measuring import ROOT, folder_aside, outlived, resident, show

SIDE = 40  # pixels of the pictures that are mutated
SIZE = 32  # pixels of what the reader is asked for
COLOURS = ((220, 40, 40), (40, 200, 60), (50, 60, 210), (230, 210, 40))  # of the quadrants, row by row
WHITE = (255, 255, 255)
READ, LEFT_OUT, SAME, EITHER = "read", "left out", "read as before, or left out", "read or left out"
# The growth of memory is that from the second to the third: the first also loads Pillow's libraries.
TURNS = ("first", "second", "third")
WATCHED = 12  # times the bound of seconds, by the clock, after which a child is ended
FOLDERS = 4  # class folders that the files are spread over

Colours = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Mutant:
    """A file and what must become of it."""

    kind: str
    name: str
    content: bytes
    rule: str
    colours: Colours | None = None  # of its quadrants, where it must be read
    tolerance: int = 12
    base: str = ""  # name of the file that it was made from


def quadrants(colours: Sequence[Any], mode: str, side: int = SIDE) -> Image.Image:
    """A picture of four squares."""
    image = Image.new(mode, (side, side))
    half = side // 2
    for place, colour in enumerate(colours):
        left, top = place % 2 * half, place // 2 * half
        image.paste(colour, (left, top, left + half, top + half))
    return image


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    target = io.BytesIO()
    image.save(target, form, **options)
    return target.getvalue()


def intact() -> Iterator[Mutant]:
    """Every format and mode that is read, as Pillow writes them, with the colours that must come out."""
    plain = quadrants(COLOURS, "RGB")
    grey = plain.convert("L")
    levels = [int(np.asarray(grey)[y, x]) for y in (5, 35) for x in (5, 35)]
    greys: Colours = tuple((level, level, level) for level in levels)
    seen = quadrants([(*colour, 255) for colour in COLOURS[:3]] + [(9, 9, 9, 0)], "RGBA")
    over: Colours = (*COLOURS[:3], WHITE)
    grey_seen = quadrants([*((level[0], 255) for level in greys[:3]), (9, 0)], "LA")
    grey_over: Colours = (*greys[:3], WHITE)
    black_white = grey.point(lambda level: 255 * (level > 110)).convert("1")
    two: Colours = tuple(WHITE if level > 110 else (0, 0, 0) for level in levels)
    palette = plain.quantize(8)
    transparent = quadrants([0, 1, 2, 3], "P")
    transparent.putpalette([part for colour in COLOURS for part in colour])
    deep = Image.fromarray(np.asarray(grey, np.uint16) * 257)
    deeper = Image.fromarray(np.asarray(grey, np.int32) * 257)
    real = Image.fromarray(np.asarray(grey, np.float32) / 255)
    inks = plain.convert("CMYK")
    good: dict[str, Any] = {"quality": 95, "subsampling": 0}
    lossless: dict[str, Any] = {"lossless": True}
    table: list[tuple[str, Image.Image, str, dict[str, Any], Colours]] = [
        ("rgb", plain, "JPEG", good, COLOURS),
        ("progressive", plain, "JPEG", {"quality": 95, "progressive": True}, COLOURS),
        ("grey", grey, "JPEG", {"quality": 95}, greys),
        ("cmyk", inks, "JPEG", good, COLOURS),
        ("two-pictures", plain, "MPO", {**good, "save_all": True, "append_images": [plain.rotate(180)]}, COLOURS),
        ("rgb", plain, "PNG", {}, COLOURS),
        ("rgba", seen, "PNG", {}, over),
        ("grey", grey, "PNG", {}, greys),
        ("grey-alpha", grey_seen, "PNG", {}, grey_over),
        ("bits", black_white, "PNG", {}, two),
        ("palette", palette, "PNG", {}, COLOURS),
        ("palette-transparent", transparent, "PNG", {"transparency": 3}, over),
        ("palette-alphas", transparent, "PNG", {"transparency": b"\xff\xff\xff\0"}, over),
        ("one-colour-transparent", plain, "PNG", {"transparency": COLOURS[3]}, over),
        ("grey-16", deep, "PNG", {}, greys),
        ("animated", plain, "PNG", {"save_all": True, "append_images": [plain.rotate(180)]}, COLOURS),
        ("palette", palette, "GIF", {}, COLOURS),
        ("grey", grey, "GIF", {}, greys),
        ("transparent", transparent, "GIF", {"transparency": 3}, over),
        ("animated", plain, "GIF", {"save_all": True, "append_images": [plain.rotate(180)]}, COLOURS),
        ("rgb", plain, "BMP", {}, COLOURS),
        ("grey", grey, "BMP", {}, greys),
        ("palette", palette, "BMP", {}, COLOURS),
        ("bits", black_white, "BMP", {}, two),
        ("rgb", plain, "DIB", {}, COLOURS),
        ("lossless", plain, "WEBP", lossless, COLOURS),
        ("lossy", plain, "WEBP", {"quality": 95}, COLOURS),
        ("rgba", seen, "WEBP", lossless, over),
        ("animated", plain, "WEBP", {**lossless, "save_all": True, "append_images": [plain.rotate(180)]}, COLOURS),
        ("rgb", plain, "TIFF", {}, COLOURS),
        ("lzw", plain, "TIFF", {"compression": "tiff_lzw"}, COLOURS),
        ("deflate", plain, "TIFF", {"compression": "tiff_deflate"}, COLOURS),
        ("packbits", plain, "TIFF", {"compression": "packbits"}, COLOURS),
        ("jpeg", plain, "TIFF", {"compression": "jpeg", "quality": 95}, COLOURS),
        ("big", plain, "TIFF", {"big_tiff": True}, COLOURS),
        ("rgba", seen, "TIFF", {}, over),
        ("grey", grey, "TIFF", {}, greys),
        ("grey-alpha", grey_seen, "TIFF", {}, grey_over),
        ("bits", black_white, "TIFF", {}, two),
        ("fax", black_white, "TIFF", {"compression": "group4"}, two),
        ("palette", palette, "TIFF", {}, COLOURS),
        ("cmyk", inks, "TIFF", {}, COLOURS),
        ("ycbcr", plain.convert("YCbCr"), "TIFF", {}, COLOURS),
        ("grey-16", deep, "TIFF", {}, greys),
        ("grey-32", deeper, "TIFF", {}, greys),
        ("float", real, "TIFF", {}, greys),
        ("pages", plain, "TIFF", {"save_all": True, "append_images": [plain.rotate(180)]}, COLOURS),
        ("rgb", plain, "PPM", {}, COLOURS),
        ("grey", grey, "PPM", {}, greys),
        ("bits", black_white, "PPM", {}, two),
        ("grey-16", deep, "PPM", {}, greys),
        ("rgb", plain, "AVIF", {"quality": 95}, COLOURS),
        ("rgba", seen, "AVIF", {"quality": 95}, over),
        ("rgb", plain, "JPEG2000", {}, COLOURS),
        ("rgba", seen, "JPEG2000", {}, over),
        ("grey", grey, "JPEG2000", {}, greys),
        ("grey-16", deep, "JPEG2000", {}, greys),
        ("rgb", plain, "TGA", {}, COLOURS),
        ("runs", plain, "TGA", {"compression": "tga_rle"}, COLOURS),
        ("rgba", seen, "TGA", {}, over),
        ("grey", grey, "TGA", {}, greys),
        ("grey-alpha", grey_seen, "TGA", {}, grey_over),
        ("palette", palette, "TGA", {}, COLOURS),
        ("rgb", plain, "PCX", {}, COLOURS),
        ("grey", grey, "PCX", {}, greys),
        ("bits", black_white, "PCX", {}, two),
        ("palette", palette, "PCX", {}, COLOURS),
        ("rgb", plain, "SGI", {}, COLOURS),
        ("rgba", seen, "SGI", {}, over),
        ("grey", grey, "SGI", {}, greys),
        ("png-inside", seen, "ICO", {"sizes": [(SIDE, SIDE)]}, over),
        ("bmp-inside", seen, "ICO", {"sizes": [(SIDE, SIDE)], "bitmap_format": "bmp"}, over),
    ]
    for name, image, form, options, colours in table:
        yield Mutant("formats and modes", f"{form.lower()}-{name}", saved(image, form, **options), READ, colours)
    for form, options in {"JPEG": {"quality": 95}, "PNG": {}, "WEBP": lossless, "TIFF": {}, "AVIF": {}}.items():
        for orientation, turn in LYING.items():
            exif = Image.Exif()
            exif[0x0112] = orientation
            content = saved(plain if turn is None else plain.transpose(turn), form, exif=exif, **options)
            yield Mutant("turned by EXIF", f"{form.lower()}-turned-{orientation}", content, READ, COLOURS)


# How a picture is stored that its EXIF orientation turns upright.
LYING = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def segment(marker: int, content: bytes) -> bytes:
    """A segment of a JPEG file."""
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, content: bytes, *chunks: bytes) -> bytes:
    """A grey PNG file that claims to be of this size."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


def scans(side: int, count: int) -> bytes:
    """A small progressive JPEG that passes over all blocks of a large picture once for each of its scans."""
    blocks = (-(-side // 8)) ** 2
    # The one code of its table: the next 16,384 to 32,767 blocks are empty.
    bits = f"0{32767 - 16384:014b}" * (-(-blocks // 32767))
    bits += "1" * (-len(bits) % 8)
    data = bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)).replace(b"\xff", b"\xff\0")
    frame = struct.pack(">BHHB", 8, side, side, 1) + b"\x01\x11\x00"
    tables = (
        segment(0xDB, b"\0" + b"\x10" * 64) + segment(0xC2, frame) + segment(0xC4, b"\x10\x01" + bytes(15) + b"\xe0")
    )
    return b"\xff\xd8" + tables + (segment(0xDA, b"\x01\x01\x10\x01\x3f\x00") + data) * count + b"\xff\xd9"


def bombs(side: int) -> Iterator[Mutant]:
    """Small files of large pictures: real ones of `side` pixels, and headers that claim more than is allowed."""
    plain = Image.new("RGB", (side, side), COLOURS[0])
    seen = Image.new("RGBA", (side, side), (*COLOURS[0], 255))
    one: Colours = (COLOURS[0],) * 4
    yield Mutant("large", "png-large", saved(plain, "PNG", compress_level=1), READ, one)
    yield Mutant("large", "png-large-alpha", saved(seen, "PNG", compress_level=1), READ, one)
    deep = Image.fromarray(np.full((side, side), 65535, np.uint16))
    yield Mutant("large", "png-large-16", saved(deep, "PNG", compress_level=1), READ, (WHITE,) * 4)
    del deep
    real = Image.fromarray(np.ones((side, side), np.float32))
    yield Mutant("large", "tiff-large-float", saved(real, "TIFF", compression="tiff_deflate"), READ, (WHITE,) * 4)
    del real
    yield Mutant("large", "jpeg-large", saved(plain, "JPEG", quality=95), READ, one)
    yield Mutant("large", "jpeg-large-progressive", saved(plain, "JPEG", quality=95, progressive=True), READ, one)
    yield Mutant("large", "webp-large", saved(plain, "WEBP", lossless=True, method=0), READ, one)
    indexed = Image.new("P", (side, side))
    indexed.putpalette(list(COLOURS[0]))
    yield Mutant("large", "gif-large", saved(indexed, "GIF"), READ, one)
    yield Mutant("large", "jpeg2000-large", saved(plain, "JPEG2000"), READ, one)
    yield Mutant("large", "avif-large", saved(plain, "AVIF", speed=10, quality=95), READ, one)
    yield Mutant("bombs", "jpeg-scans", scans(9400, 3000), LEFT_OUT)
    yield Mutant("bombs", "jpeg-few-scans", scans(64, 12), READ, ((128, 128, 128),) * 4)
    empty = zlib.compress(bytes(1000))
    for width, height in ((20_000, 20_000), (10_000, 10_000), (2**31 - 1, 1), (1, 2**31 - 1), (2**31 - 1, 2**31 - 1)):
        yield Mutant("bombs", f"png-of-{width}-by-{height}", png(width, height, empty), LEFT_OUT)
    for name in (b"zTXt", b"iCCP"):
        text = chunk(name, b"a\0\0" + zlib.compress(bytes(10**8)))
        yield Mutant("bombs", f"png-{name.decode()}", png(8, 8, zlib.compress(bytes(72)), text), EITHER)
    wide = bytearray(saved(quadrants(COLOURS, "RGB"), "JPEG"))
    at = wide.index(b"\xff\xc0")
    wide[at + 5 : at + 9] = b"\xff\xdc\xff\xdc"
    yield Mutant("bombs", "jpeg-of-65500", bytes(wide), LEFT_OUT)
    for form, offset, code in (
        ("GIF", 6, "<H"),
        ("BMP", 18, "<i"),
        ("PCX", 8, "<H"),
        ("TGA", 12, "<H"),
        ("SGI", 6, ">H"),
    ):
        huge = bytearray(saved(quadrants(COLOURS, "RGB"), form))
        size = struct.calcsize(code)
        huge[offset : offset + 2 * size] = struct.pack(code, 2 ** (8 * size - 1) - 1) * 2
        yield Mutant("bombs", f"{form.lower()}-huge", bytes(huge), LEFT_OUT)
    yield Mutant("bombs", "ppm-huge", b"P6 999999 999999 255\n" + bytes(100), LEFT_OUT)
    # The directory of an icon says 16 by 16, and the picture inside says otherwise.
    inner = png(20_000, 20_000, empty)
    icon = struct.pack("<HHH", 0, 1, 1) + struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(inner), 22) + inner
    yield Mutant("bombs", "ico-png-bomb", icon, LEFT_OUT)


def others() -> Iterator[Mutant]:
    """Files that are no pictures, or in formats that are not read."""
    plain = quadrants(COLOURS, "RGB")
    for form in ("EPS", "PDF", "QOI", "DDS", "ICNS", "SPIDER", "BLP", "MSP", "XBM"):
        mode = {"SPIDER": "F", "BLP": "P", "MSP": "1", "XBM": "1"}.get(form, "RGB")
        yield Mutant("other files", f"other-{form.lower()}", saved(plain.convert(mode), form), LEFT_OUT)
    contents = {
        "empty": b"",
        "one-byte": b"\xff",
        "text": b"no picture\n",
        "page": b"<html><script>alert(1)</script>404</html>",
        "zeros": bytes(5000),
        "shell": b"#!/bin/sh\ntouch hacked\n",
        "pickle": b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x05touch\x94\x85\x94R\x94.",
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(r) file\n",
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        "elf": Path(sys.executable).resolve().read_bytes()[:20_000],
        "jpeg-signature": b"\xff\xd8\xff\xe0" + bytes(100),
        "png-signature": b"\x89PNG\r\n\x1a\n",
    }
    for name, content in contents.items():
        yield Mutant("other files", f"no-{name}", content, LEFT_OUT)


ODD_NAMES = (
    *("犬 🐕", "a\nb", "a\rb\tc", "-rf", "--help", "<script>alert(1)</script>", "'; rm -rf ~; '", "$(touch hacked)"),
    *("`id`", '"', "a b  ", "%s%n{0}{x}", "a..jpg", "CON", "a\\b", "e\u0301", "\u202egnp", "\x1b[31mred", "\u2028line"),
    *("a" * 240, "\U0001f415" * 55, "|&;<>*?[]!~#", "\x7f", "nul\u200bzero", "ﬃ", "not UTF-8 \udcff"),
)


def odd_names() -> Iterator[Mutant]:
    """Good pictures under odd names."""
    for number, name in enumerate(ODD_NAMES):
        told: Colours = tuple(
            ((red + 7 * number) % 256, (green + 7 * number) % 256, (blue + 7 * number) % 256)
            for red, green, blue in COLOURS
        )
        yield Mutant("odd names", name + ".png", saved(quadrants(told, "RGB"), "PNG"), READ, told)


def mutants(count: int, seed: int, large: int) -> list[Mutant]:
    """At least `count` files; `large` is the side of the largest real pictures."""
    chance = random.Random(seed)
    bases = list(intact())
    found = [*bases, *bombs(large), *others(), *odd_names()]
    for number in range(max(0, count - len(found))):
        base = bases[number % len(bases)]
        found.append(_mutated(base, bases, number, chance))
    return found


def _mutated(base: Mutant, bases: Sequence[Mutant], number: int, chance: random.Random) -> Mutant:
    content = bytearray(base.content)
    size = len(content)
    made, rule = number // len(bases) % len(MUTATIONS), EITHER
    kind = MUTATIONS[made]
    if kind == "truncated":
        # Half of them near the end, where little is missing.
        kept = chance.randrange(size) if chance.random() < 0.5 else size - 1 - chance.randrange(min(200, size - 1))
        content, rule = content[:kept], SAME
    elif kind == "flipped bytes":
        for _ in range(chance.choice((1, 1, 2, 8, 64))):
            content[chance.randrange(size)] = chance.randrange(256)
    elif kind == "flipped in the head":
        for _ in range(chance.choice((1, 2, 4))):
            content[chance.randrange(min(64, size))] ^= 1 << chance.randrange(8)
    elif kind == "extreme numbers":
        at = chance.randrange(min(160, size - 4))
        content[at : at + 4] = chance.choice(
            (b"\xff" * 4, b"\x7f\xff\xff\xff", bytes(4), b"\0\0\0\x80", b"\xff\xff\0\0")
        )
    elif kind == "a piece moved":
        start, length, to = chance.randrange(size), chance.randrange(1, 200), chance.randrange(size)
        piece = content[start : start + length]
        if chance.random() < 0.5:
            del content[start : start + length]
        content[to:to] = piece * chance.choice((1, 1, 50))
    elif kind == "another head":
        other = chance.choice(bases).content
        at = chance.choice((4, 8, 16, 64))
        content = bytearray(other[:at]) + content[at:]
    else:
        content += chance.randbytes(chance.randrange(1, 2000))
        rule = SAME
    if base.name == "pcx-palette":
        rule = EITHER  # Its palette is counted from the end of the file: with another end the file is whole, and grey.
    return Mutant(kind, f"{base.name}-{number}", bytes(content), rule, base=base.name)


MUTATIONS = (
    "truncated", "flipped bytes", "flipped in the head", "extreme numbers", "a piece moved", "another head", "a tail",
)  # fmt: skip


def write(found: Sequence[Mutant], root: Path) -> dict[str, Mutant]:
    """Writes the files as class folders; by path below `root`."""
    written = {}
    for number, mutant in enumerate(found):
        path = root / f"class {number % FOLDERS}" / mutant.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(mutant.content)
        written[path.relative_to(root).as_posix()] = mutant
    return written


def write_special(root: Path) -> list[str]:
    """What is no regular file, or cannot be opened; the names that must be left out."""
    folder = root / "class 0"
    (folder / "loop.jpg").symlink_to(folder / "loop.jpg")
    (folder / "one.jpg").symlink_to(folder / "two.jpg")
    (folder / "two.jpg").symlink_to(folder / "one.jpg")
    (folder / "gone.jpg").symlink_to(root / "nowhere.jpg")
    (folder / "device.jpg").symlink_to("/dev/zero")
    (folder / "endless.jpg").symlink_to("/dev/random")
    (folder / "memory.jpg").symlink_to("/proc/self/mem")
    os.mkfifo(folder / "pipe.jpg")
    names = ["loop.jpg", "one.jpg", "two.jpg", "gone.jpg", "device.jpg", "endless.jpg", "memory.jpg", "pipe.jpg"]
    here = Path.cwd()
    os.chdir(folder)  # the address of a socket may be no longer than 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as unused:
            unused.bind("socket.jpg")
    finally:
        os.chdir(here)
    names.append("socket.jpg")
    (folder / "up").symlink_to(root)
    (folder / "folder.jpg").mkdir()
    if os.geteuid() != 0:  # root may open everything
        closed = folder / "closed.jpg"
        closed.write_bytes(saved(quadrants(COLOURS, "RGB"), "JPEG"))
        closed.chmod(0)
        names.append("closed.jpg")
    return [f"class 0/{name}" for name in names]


def feed(root: Path, options: argparse.Namespace) -> None:
    """The child: reads every picture alone and says what came of it, then all again for the growth of memory."""
    limit = int(options.memory * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    folder = read_folder(root)
    told = {item.name: item.reason for item in folder.left_out}
    _say({"left_out": told, "listed": {p.name: p.path.relative_to(root).as_posix() for p in folder.pictures}})
    alone = replace(folder, classes=())  # without classes, decoding does not mind that all of them are unreadable
    with tempfile.TemporaryDirectory() as aside:
        for turn in TURNS:
            for picture in folder.pictures[options.start if turn == TURNS[0] else 0 :]:
                if turn == TURNS[0]:
                    _say({"begins": picture.name})
                # On a busy machine seconds of the clock say little: those of the processor are judged.
                faulthandler.dump_traceback_later(WATCHED * options.seconds, exit=True)
                began = time.process_time()
                decoded = decode(replace(alone, pictures=(picture,)), [(SIZE, "bilinear")], Path(aside), 1)
                took = time.process_time() - began
                faulthandler.cancel_dump_traceback_later()
                if turn == TURNS[0]:
                    pack = np.load(Path(aside) / pack_name(SIZE, "bilinear"))[0]
                    found = _found(pack, decoded.reasons.get(picture.name))
                    _say({"ends": picture.name, "seconds": took, "peak_mib": _peak(), **found})
            gc.collect()
            _say({"turn": turn, "mib": resident(os.getpid())})
    _say({"peak_mib": _peak()})


def _peak() -> float:
    """The most MiB that this process ever held; what `getrusage` says is also that of the process before `exec`."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def _found(pack: Any, reason: str | None) -> dict[str, Any]:
    quarter = SIZE // 4
    places = [(y, x) for y in (quarter, 3 * quarter) for x in (quarter, 3 * quarter)]
    return {
        "reason": reason,
        "colours": [pack[place].tolist() for place in places],
        "digest": hashlib.blake2b(pack.tobytes(), digest_size=8).hexdigest(),
    }


def feed_together(root: Path, options: argparse.Namespace) -> None:
    """The child that reads the whole folder at once, as a search does, and then each picture as a prediction does."""
    limit = int(options.memory * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    folder = read_folder(root)
    with tempfile.TemporaryDirectory() as aside:
        began = time.perf_counter()
        decoded = decode(folder, [(SIZE, "bilinear")], Path(aside), options.threads)
        took = time.perf_counter() - began
        pack = np.load(Path(aside) / pack_name(SIZE, "bilinear"))
        digests = {
            picture.name: hashlib.blake2b(pack[row].tobytes(), digest_size=8).hexdigest()
            for row, picture in enumerate(folder.pictures)
        }
    told = {picture.name: _told(picture.path) for picture in folder.pictures}
    peak = _peak()
    _say({
        "seconds": took, "reasons": decoded.reasons, "digests": digests, "peak_mib": peak,
        "predicted": {name: reason for name, reason in told.items() if reason is not None},
    })  # fmt: skip


def _told(path: Path) -> str | None:
    try:
        pixels_of(path)
    except ValueError as error:
        return str(error)
    return None


def _say(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)


def fed(root: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Feeds the folder to children until every picture had its turn; what they said, and which of them died where."""
    rows, died = outlived(lambda start: _child(root, options, "alone", start))
    said: dict[str, Any] = {"ends": {}, "died": died, "mib": {}}
    for row in rows:
        if "ends" in row:
            said["ends"][row["ends"]] = row
        elif "turn" in row:
            said["mib"][row["turn"]] = row["mib"]
        elif "begins" not in row:
            said |= row
    return said


def _child(root: Path, options: argparse.Namespace, how: str, start: int = 0) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "tests.benchmarks.mutated_pictures", "--child", how, "--folder", str(root)]
    for name in ("memory", "seconds", "threads"):
        command += [f"--{name}", str(getattr(options, name))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MALLOC_ARENA_MAX": "2"}
    return subprocess.run([*command, "--start", str(start)], cwd=ROOT, env=environment, capture_output=True, text=True)


def judged(
    said: dict[str, Any], written: dict[str, Mutant], special: Sequence[str], seconds: float
) -> list[tuple[str, str]]:
    """What is wrong: pairs of a name and what should not be so."""
    wrong = list(said["died"].items())
    paths = {path: name for name, path in said["listed"].items()}
    digests = {
        mutant.name: said["ends"][paths[path]]["digest"]
        for path, mutant in written.items()
        if path in paths and paths[path] in said["ends"] and not mutant.base
    }
    for path, mutant in written.items():
        name = paths.get(path)
        if name is None:
            # Left out before decoding: by its name, or because it is empty.
            if mutant.rule == READ or mutant.content or path not in said["left_out"]:
                wrong.append((path, "is neither read nor left out"))
            continue
        end = said["ends"].get(name)
        if end is None:
            continue  # told in `died`
        if any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in name):
            wrong.append((name, "is no name that can be printed"))
        reason = end["reason"]
        if reason is not None and (not reason or "\n" in reason):
            wrong.append((name, f"is left out with the reason {reason!r}"))
        if mutant.rule == READ and reason is not None:
            wrong.append((name, f"should be read and is left out: {reason}"))
        elif mutant.rule == LEFT_OUT and reason is None:
            wrong.append((name, "should be left out and is read"))
        elif mutant.rule == SAME and reason is None and end["digest"] != digests[mutant.base]:
            wrong.append((name, f"({mutant.kind}) is read as another picture than {mutant.base}"))
        elif mutant.rule == READ and mutant.colours is not None:
            apart = np.abs(np.array(end["colours"]) - np.array(mutant.colours)).max()
            if apart > mutant.tolerance:
                wrong.append((name, f"is read with the colours {end['colours']}, not {mutant.colours}"))
    wrong += [(name, f"takes {end['seconds']:.1f} s") for name, end in said["ends"].items() if end["seconds"] > seconds]
    return wrong + [(name, "should be left out by name") for name in special if name not in said["left_out"]]


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    if options.child:
        {"alone": feed, "together": feed_together}[options.child](options.folder, options)
        return 0
    with folder_aside() as folder:
        root = folder / "pictures"
        found = mutants(options.count, options.seed, options.large)
        written = write(found, root)
        special = write_special(root)
        said = fed(root, options)
        wrong = judged(said, written, special, options.seconds)
        done = _child(root, options, "together")
        if done.returncode:
            raise RuntimeError(f"the whole folder ended with exit code {done.returncode}:\n{done.stderr[-2000:]}")
        together = json.loads(done.stdout)
    alone = {name: end["reason"] for name, end in said["ends"].items() if end["reason"] is not None}
    if together["reasons"] != alone:
        differing = sorted(set(alone.items()) ^ set(together["reasons"].items()))
        wrong += [(name, f"is read otherwise among others: {reason}") for name, reason in differing]
    if together["predicted"] != alone:
        differing = sorted(set(alone.items()) ^ set(together["predicted"].items()))
        wrong += [(name, f"is read otherwise for a prediction: {reason}") for name, reason in differing]
    wrong += [
        (name, "has other pixels among others")
        for name, end in said["ends"].items()
        if end["digest"] != together["digests"][name]
    ]
    growth = said["mib"][TURNS[2]] - said["mib"][TURNS[1]]
    paths = {path: name for name, path in said["listed"].items()}
    body = []
    for kind in dict.fromkeys(mutant.kind for mutant in found):
        ends = [said["ends"].get(paths.get(path, "")) for path, mutant in written.items() if mutant.kind == kind]
        read = sum(end is not None and end["reason"] is None for end in ends)
        slowest = max((end["seconds"] for end in ends if end is not None), default=0.0)
        body.append([kind, len(ends), read, len(ends) - read, slowest])
    largest = max(said["ends"].values(), key=lambda end: float(end["peak_mib"]))
    keys = ("kind", "files", "read", "left_out", "slowest_seconds")
    slowest = max(said["ends"].values(), key=lambda end: float(end["seconds"]))
    result = {
        "benchmark": "mutated_pictures", "seed": options.seed, "pictures": len(found), "special": len(special),
        "crashes": sum(how != "hang" for how in said["died"].values()),
        "hangs": sum(how == "hang" for how in said["died"].values()),
        "wrong": wrong, "slowest": slowest["ends"], "slowest_seconds": slowest["seconds"],
        "memory_limit_gib": options.memory, "peak_mib": said["peak_mib"], "largest": largest["ends"],
        "growth_mib": growth,
        "together_seconds": together["seconds"], "together_peak_mib": together["peak_mib"],
        "kinds": [dict(zip(keys, line, strict=True)) for line in body],
    }  # fmt: skip
    show(result, ["kind", "files", "read", "left out", "slowest, s"], body, options.out)
    return 1 if wrong or growth > options.growth else 0


def parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.mutated_pictures", description=(__doc__ or "").split("\n\n", 1)[0]
    )
    command.add_argument("--count", type=int, default=2000, help="files, at least (default: %(default)s)")
    command.add_argument("--seed", type=int, default=0, help="of the mutations (default: %(default)s)")
    command.add_argument("--large", type=int, default=9400, help="side of the largest pictures (default: %(default)s)")
    command.add_argument("--memory", type=float, default=4.0, help="GiB of address space (default: %(default)s)")
    command.add_argument(
        "--seconds", type=float, default=5.0, help="of the processor for one picture (default: %(default)s)"
    )
    command.add_argument("--threads", type=int, default=4, help="that decode the whole folder (default: %(default)s)")
    command.add_argument("--growth", type=float, default=32.0, help="MiB that may be kept (default: %(default)s)")
    command.add_argument("--out", type=Path, help="also write the JSON there")
    command.add_argument("--child", choices=("alone", "together"), help=argparse.SUPPRESS)
    command.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    command.add_argument("--start", type=int, default=0, help=argparse.SUPPRESS)
    return command


if __name__ == "__main__":
    raise SystemExit(main())
