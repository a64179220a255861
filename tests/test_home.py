"""Users without a home folder that can be written: containers of `docker --user`, service accounts."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from search.home import check_private, home, own_temporary, settle_home

ROOT = Path(__file__).resolve().parent.parent
NOBODY = 23456  # of no list of users

# Becomes a user of no name and says what its home, its cache and the command's help are.
STRANGER = """
import contextlib, io, json, os, sys
from pathlib import Path
from search import commands, run
from search.data.cache import check_folder
from search.home import home, settle_home
from search.settings import Settings, default_cache

def helped():
    said = io.StringIO()
    for main in (run.main, commands.main):
        with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
            main(["--help"])
    return said.getvalue().count("usage: ")

helped()  # what it imports, this user may be unable to
os.setgid({nobody})
os.setuid({nobody})
before = [str(home()), default_cache()]
with contextlib.suppress(OSError):
    check_folder(Settings().cache, "--cache-dir")
line = settle_home(Settings().cache, os.environ)
print(json.dumps([*before, line, str(Path.home()), default_cache(), helped()]))
"""
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="needs the right to become another user")


def as_stranger(tmp_path: Path, **variables: str) -> list[Any]:
    tmp_path.chmod(0o777)
    # pytest keeps the folders above for their owner alone, however many there are.
    for folder in tmp_path.parents:
        if folder.stat().st_uid == os.getuid() and "pytest" in str(folder):
            folder.chmod(folder.stat().st_mode | 0o011)
    kept = {name: value for name, value in os.environ.items() if name not in ("HOME", "XDG_CACHE_HOME")}
    done = subprocess.run(
        [sys.executable, "-c", STRANGER.format(nobody=NOBODY)],
        capture_output=True,
        text=True,
        env={**kept, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path), **variables},
    )
    assert done.returncode == 0, done.stderr
    found: list[Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@needs_root
def test_a_home_that_cannot_be_written_is_replaced(tmp_path: Path) -> None:
    for parent in tmp_path.parents[:2]:
        parent.chmod(0o755)
    cache = f"{tmp_path}/pedigree-{NOBODY}"
    assert as_stranger(tmp_path, HOME="/usr") == [
        "None",
        cache,
        f"the home folder `/usr` cannot be written: Ray and Keras keep their files in `{cache}/home`",
        f"{cache}/home",
        cache,
        2,
    ]
    assert Path(cache).stat().st_mode & 0o777 == 0o700


@needs_root
def test_a_user_of_no_list_has_no_home_at_all(tmp_path: Path) -> None:
    for parent in tmp_path.parents[:2]:
        parent.chmod(0o755)
    found = as_stranger(tmp_path, PEDIGREE_CACHE=f"{tmp_path}/mine")
    line = f"there is no home folder: Ray and Keras keep their files in `{tmp_path}/mine/home`"
    assert found == ["None", f"{tmp_path}/mine", line, f"{tmp_path}/mine/home", f"{tmp_path}/mine", 2]


def test_a_home_that_can_be_written_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "not" / "there yet"))
    environment: dict[str, str] = {}
    assert home() == tmp_path / "not" / "there yet"
    assert settle_home(tmp_path / "cache", environment) == ""
    assert environment == {}


def test_a_token_and_weights_in_a_home_to_be_read_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.home.home", lambda: None)
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("secret")
    (tmp_path / ".keras" / "models").mkdir(parents=True)
    environment = {"HOME": str(tmp_path)}
    settle_home(tmp_path / "cache", environment)
    assert environment == {
        "HOME": f"{tmp_path}/cache/home",
        "PEDIGREE_CACHE": f"{tmp_path}/cache",
        "RAY_AUTH_TOKEN_PATH": f"{tmp_path}/.ray/auth_token",
        "KERAS_HOME": f"{tmp_path}/.keras",
    }


def test_a_temporary_folder_that_somebody_else_made_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    place = own_temporary()
    place.mkdir(mode=0o700)
    check_private(place)
    place.chmod(0o777)
    with pytest.raises(PermissionError, match="it belongs to somebody else, or others can write there"):
        check_private(place)
    place.rmdir()
    place.symlink_to(tmp_path)
    with pytest.raises(PermissionError, match="it belongs to somebody else"):
        check_private(place)
