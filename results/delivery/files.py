"""Files as their names and first bytes tell them: which may be pictures, and what Pillow cannot read of pictures."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

# Only what is surely no picture: a picture under any other wrong name is still read, by its content.
# fmt: off
OTHER_FILES = frozenset({
    ".txt", ".md", ".rst", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".toml", ".ini", ".cfg",
    ".log", ".html", ".htm", ".css", ".js", ".py", ".pyc", ".ipynb", ".sh", ".bat", ".pdf", ".doc", ".docx", ".xls",
    ".xlsx", ".ppt", ".pptx", ".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".npy", ".npz", ".mat",
    ".h5", ".hdf5", ".pkl", ".pt", ".pth", ".onnx", ".keras", ".parquet", ".db", ".sqlite", ".lnk", ".url", ".mp3",
    ".wav", ".mp4", ".mov", ".avi", ".mkv", ".webm", ".svg", ".eps",
})
# fmt: on

# Control characters, line and paragraph separators, and what turns the direction of a line: in a message or a table
# these would write over what stands beside the name.
UNPRINTABLE = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\u202a-\\u202e\\u2066-\\u2069]")

# Pictures in formats that are not read here: how many bytes come first, and then what.
SIGNATURES: tuple[tuple[str, int, tuple[bytes, ...]], ...] = (
    ("HEIC", 4, (b"ftypheic", b"ftypheix", b"ftyphevc", b"ftyphevx", b"ftypheim", b"ftypheis")),
    ("HEIF", 4, (b"ftypmif1", b"ftypmsf1")),
    ("AVIF", 4, (b"ftypavif", b"ftypavis")),
    ("JPEG XL", 0, (b"\xff\x0a", b"\0\0\0\x0cJXL ")),
    ("Photoshop", 0, (b"8BPS",)),
    ("DICOM", 128, (b"DICM",)),
    ("OpenEXR", 0, (b"\x76\x2f\x31\x01",)),
    ("Canon raw", 4, (b"ftypcrx ",)),
    ("Fujifilm raw", 0, (b"FUJIFILMCCD-RAW",)),
)


def pictures_below(folder: Path) -> Iterator[Path]:
    """The files of a folder and of those below it that may be pictures, sorted: the files that a search would read.

    Hidden names and links to folders are passed over. A folder that cannot be listed comes itself.
    """
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        yield folder
        return
    for name in names:
        path = folder / name
        if name.startswith("."):
            continue
        if not path.is_dir():
            if path.suffix.lower() not in OTHER_FILES:
                yield path
        elif not path.is_symlink():  # It may lead in a circle, or anywhere at all.
            yield from pictures_below(path)


def format_of(path: Path) -> str:
    """The format of a picture that is not read here, by its first bytes; empty for anything else."""
    with path.open("rb") as file:
        begin = file.read(160)
    return next((name for name, skip, starts in SIGNATURES if begin[skip:].startswith(starts)), "")


def printable(name: str) -> str:
    """A name of a file as it can be shown anywhere: what is no text, or no letter, is written as an escape."""
    if name.isascii() and name.isprintable():
        return name
    # A name that is not UTF-8 comes from the system with lone surrogates, which no terminal or JSON reader takes.
    told = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), told)
