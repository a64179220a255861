"""The command line's side of the system: names in UTF-8 whatever the locale, paths as a shell would give them."""

import argparse
import io
import os
import re
import sys
import warnings
from pathlib import Path

# A control sequence (colours among them), a title, or another escape of two signs.
_CODES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-~])")


def prepare(*, whole: bool) -> None:
    """Makes a command survive a locale of ASCII and warnings that are errors; called at its begin.

    `whole` says that the process is this command's alone: Python reads its locale once, so that one which reads names
    as ASCII is replaced by one that reads them as UTF-8, with the same arguments.
    """
    if whole and sys.getfilesystemencoding() == "ascii" and os.environ.get("PYTHONUTF8") != "1":
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, "PYTHONUTF8": "1"})
    if whole and any(option.startswith("e") for option in sys.warnoptions):
        # Meant for somebody's own tests: the packages that this project stands on do warn, and would fail.
        os.environ.pop("PYTHONWARNINGS", None)
        warnings.filters[:] = [found for found in warnings.filters if found[0] != "error"]  # type: ignore[index]
    for stream in (sys.stdout, sys.stderr):
        # What the terminal's own encoding lacks, and names that are no text at all, are shown as escapes.
        if isinstance(stream, io.TextIOWrapper) and (stream.errors == "strict" or stream.encoding.lower() != "utf-8"):
            stream.reconfigure(errors="backslashreplace")


def at_home(text: str) -> str:
    """A path whose `~` means the home folder, as in `--option=~/x`, which no shell expands."""
    try:
        return str(Path(text).expanduser())
    except RuntimeError:
        raise argparse.ArgumentTypeError(f"needs a home folder for `~`, and there is none, got {text!r}") from None


def path(text: str) -> Path:
    """The same as a path."""
    return Path(at_home(text))


def run_folder(text: str) -> Path | str:
    """The folder of a run as a path, or the address of its mirror as it is: no path has two slashes in a row."""
    return text if "://" in text else path(text)


def plain(words: object) -> str:
    """Words without terminal codes."""
    return _CODES.sub("", str(words))
