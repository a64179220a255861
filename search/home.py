"""The user's home folder, and what stands in for it where there is none that can be written, as in many containers."""

import os
import stat
import tempfile
from collections.abc import MutableMapping
from pathlib import Path

TOKEN = Path(".ray", "auth_token")  # where Ray keeps its token, below a home


def home() -> Path | None:
    """The user's home folder; None where there is none in which programs can keep their files."""
    try:
        found = Path.home()
    except RuntimeError:  # neither HOME nor an entry in the system's list of users
        return None
    # Ray makes a token there if it finds none.
    return found if _writable(found) and (_writable(found / ".ray") or os.access(found / TOKEN, os.R_OK)) else None


def own_temporary() -> Path:
    """A folder of this user's own among the temporary ones; whoever makes it calls `check_private`."""
    try:
        base = tempfile.gettempdir()
    except FileNotFoundError:
        # The attempt to make a folder there says why there is none.
        base = "/tmp"
    return Path(base) / f"pedigree-{os.getuid()}"


def check_private(folder: Path) -> None:
    """Raises OSError where a folder of `own_temporary` is not this user's alone: anybody may have made it before."""
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & stat.S_IWOTH:
        raise PermissionError(0, "it belongs to somebody else, or others can write there", str(folder))


def settle_home(cache: Path, environment: MutableMapping[str, str]) -> str:
    """Gives a process a home below the cache where it has none that can be written; returns a line that says so.

    Ray, Keras and whatever else a process imports keep tokens, settings and downloads in it.
    """
    if home() is not None:
        return ""
    before = environment.get("HOME", "")
    stand_in = cache / "home"
    stand_in.mkdir(mode=0o700, parents=True, exist_ok=True)
    token = Path(before) / TOKEN
    if before and os.access(token, os.R_OK):
        # Of a cluster that is to be joined: a home may be there to be read alone.
        environment.setdefault("RAY_AUTH_TOKEN_PATH", str(token))
    if before and os.access(Path(before) / ".keras" / "models", os.R_OK | os.X_OK):
        environment.setdefault("KERAS_HOME", str(Path(before) / ".keras"))  # weights that an image brings
    environment["HOME"] = str(stand_in)
    # Where no option names the cache, it stays where it was before there was a home.
    environment.setdefault("PEDIGREE_CACHE", str(cache))
    why = f"the home folder `{before}` cannot be written" if before else "there is no home folder"
    return f"{why}: Ray and Keras keep their files in `{stand_in}`"


def _writable(path: Path) -> bool:
    """Whether a folder can be written, or made where it is not there."""
    while not os.path.exists(path) and path != path.parent:
        path = path.parent
    return os.access(path, os.W_OK | os.X_OK)
