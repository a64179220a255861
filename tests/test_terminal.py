"""Names and lines on their way to a terminal, a file or another program."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

from results.terminal import at_home, path, plain

ROOT = Path(__file__).resolve().parent.parent
LISTED = """
import os, sys
from results.terminal import prepare
prepare(whole=True)
print(sys.getfilesystemencoding(), sorted(os.listdir(sys.argv[1])))
"""


def test_an_ascii_locale_reads_names_as_what_they_are(tmp_path: Path) -> None:
    for name in ("Löwchen", "柴犬"):
        (tmp_path / name).mkdir()
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", LISTED, str(tmp_path)], capture_output=True, text=True, env={**os.environ, **locale}
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "utf-8 ['L\\xf6wchen', '\\u67f4\\u72ac']\n"


def test_warnings_that_are_errors_are_warnings_again() -> None:
    script = "import os, warnings; from results.terminal import prepare; prepare(whole=True); warnings.warn('old')"
    done = subprocess.run(
        [sys.executable, "-c", f"{script}; print(os.environ.get('PYTHONWARNINGS'))"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": "error", "PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stdout) == (0, "None\n"), done.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("\x1b[1mExpected shape\x1b[0m \x1b[38;5;34m(None, 3)\x1b[0m", "Expected shape (None, 3)"),
        ("\x1b]0;title\x07loss is \x1b[31;1mnan\x1b[m", "loss is nan"),
        ("[1m no code", "[1m no code"),
    ],
)
def test_terminal_codes_are_left_out(words: str, expected: str) -> None:
    assert plain(words) == expected


def test_a_path_that_no_shell_has_expanded_goes_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert at_home("~/photos") == "/home/ada/photos"
    assert path("~/a/~b") == Path("/home/ada/a/~b")
    assert at_home("photos/~") == "photos/~"
    with pytest.raises(argparse.ArgumentTypeError, match="needs a home folder for `~`, and there is none, got '~nobo"):
        at_home("~nobody-of-this-name/x")
