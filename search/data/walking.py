"""What lies in a folder: files and folders in their order, without what is hidden, linked, or written by searches."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from results.delivery.files import OTHER_FILES, printable
from search.data.layout import is_system, listed, purpose_of, side_of

PICTURE_FILES = frozenset(
    {".jpg", ".jpeg", ".jfif", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".avif", ".ppm", ".heic"}
)
# Hidden folders in which programs keep what is theirs; any other hidden folder with pictures is told.
# fmt: off
HIDDEN_FOLDERS = frozenset({
    ".appledb", ".appledesktop", ".appledouble", ".cache", ".comments", ".dvc", ".fseventsd", ".git", ".hg", ".idea",
    ".ipynb_checkpoints", ".picasaoriginals", ".pytest_cache", ".spotlight-v100", ".svn", ".temporaryitems",
    ".thumbnails", ".trash", ".trashes", ".venv", ".vscode", ".xvpics",
})
# fmt: on
RUN_FIELDS = ("families", "image_sizes", "trials")  # of the settings.json that a search writes
MOST_ALIKE = 5  # notes that differ in a name alone


@dataclass(frozen=True)
class LeftOut:
    """One file that is not used."""

    name: str
    reason: str


class Notes:
    """What is to be said of a folder, each line once and in the order in which it was found out."""

    def __init__(self) -> None:
        # By kind: what is said of one, and what is said of many with the names that it is said of.
        self._said: dict[str, tuple[str, dict[str, None]]] = {}

    def say(self, line: str, of: str = "", many: str = "") -> None:
        """Says a line once; where `many` lines of a kind differ in a name alone, they become one."""
        kind = many or line
        self._said.setdefault(kind, (many, {}))[1].setdefault(line if not many else f"{line}\0{of}")

    def forget(self, kind: str) -> None:
        """Takes back all that was said of a kind, which is its line of many."""
        self._said.pop(kind, None)

    def told(self) -> list[str]:
        """All notes in their order."""
        lines = []
        for many, found in self._said.values():
            if many and len(found) > MOST_ALIKE:
                lines.append(many.format(count=len(found), names=listed([line.split("\0")[1] for line in found], 3)))
            else:
                lines += [line.split("\0")[0] for line in found]
        return lines


class Walk:
    """The way through a folder.

    Args:
        own: folders where searches write, which are passed over.
    """

    def __init__(self, root: Path, own: Sequence[Path], notes: Notes) -> None:
        self.root = root
        self.notes = notes
        self.hidden: dict[str, LeftOut] = {}  # pictures, by their names
        self._own = {os.path.realpath(path) for path in own}

    def files(self, folder: Path) -> Iterator[Path]:
        """Every file below a folder, by name; links to folders are told and not followed."""
        # Links to folders among them. The listing says so without another look at each file.
        try:
            with os.scandir(folder) as found:
                folders = {entry.name for entry in found if entry.is_dir()}
        except OSError:  # As is told below.
            folders = set()
        for path in self.entries(folder):
            if path.name not in folders:
                yield path
            elif path.is_symlink():  # It may lead in a circle, or anywhere at all.
                self.notes.say(f"`{self.name(path)}` is a link to a folder and is not followed")
            elif not self.passed_over(path):
                yield from self.files(path)

    def entries(self, folder: Path) -> list[Path]:
        """What lies in a folder, sorted, without hidden names; what hides pictures, or cannot be listed, is told."""
        try:
            names = sorted(os.listdir(folder))
        except OSError as error:
            if folder == self.root:
                raise
            self.notes.say(f"`{self.name(folder)}` cannot be listed: {error.strerror}")
            return []
        for name in names:
            if name.startswith(".") and not name.startswith("._"):
                self._tell_hidden(folder / name)
        return [folder / name for name in names if not name.startswith(".")]

    def _tell_hidden(self, path: Path) -> None:
        if path.name.casefold() in HIDDEN_FOLDERS or path.name.casefold().startswith(".trash-"):
            return
        if not path.is_dir():
            if path.suffix.lower() in PICTURE_FILES:
                self.hidden[self.name(path)] = LeftOut(self.name(path), "hidden: its name begins with a dot")
            return
        inside = [file for _, _, files in os.walk(path) for file in files]
        count = sum(os.path.splitext(file)[1].lower() in PICTURE_FILES for file in inside)
        if count:
            self.notes.say(
                f"`{self.name(path)}` is hidden, since its name begins with a dot: not used, {counted(count)}; under "
                "another name it counts"
            )

    def folders(self, folder: Path) -> list[Path]:
        """The folders directly in a folder that may hold data."""
        return [path for path in self.entries(folder) if path.is_dir() and not self.passed_over(path)]

    def unwrapped(self, folder: Path) -> Path:
        """The folder inside, where archives have doubled it: `train/train`, or `train/images` with the classes."""
        inner = self.folders(folder)
        files = [path for path in self.entries(folder) if not path.is_dir() and path.suffix.lower() not in OTHER_FILES]
        if len(inner) != 1 or files:
            return folder
        name = inner[0].name
        if name != folder.name and not side_of(name) and purpose_of(name) != "pictures":
            return folder
        return self.unwrapped(inner[0])

    def passed_over(self, folder: Path) -> bool:
        """Whether a folder is what a search or the system has written; the former is told."""
        if is_system(folder.name):
            return True
        if os.path.realpath(folder) in self._own:
            self.notes.say(f"`{self.name(folder)}` is where searches write, and is not read")
            return True
        if _is_run(folder):
            self.notes.say(
                f"`{self.name(folder)}` was written by a search, and is not read",
                self.name(folder),
                "{count} folders were written by searches, and are not read: {names}",
            )
            return True
        return False

    def counted(self, folder: Path) -> str:
        """How many files below a folder may be pictures, in words."""
        return counted(sum(path.suffix.lower() not in OTHER_FILES for path in self.files(folder)))

    def name(self, path: Path) -> str:
        """The path below the root, with forward slashes, always printable."""
        return name_below(path, self.root)


def _is_run(folder: Path) -> bool:
    """Whether a search wrote this folder: that of a run, or of an exploration."""
    if (folder / "exploration.json").is_file() and (folder / "data.html").is_file():
        return True
    try:
        settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(settings, dict) and all(name in settings for name in RUN_FIELDS)


def name_below(path: Path, root: Path) -> str:
    """The path below a root, with forward slashes, always printable."""
    whole, above = os.fspath(path), os.fspath(root) + os.sep
    # What `relative_to` gives, for a tenth of its time.
    return printable(whole.removeprefix(above) if whole.startswith(above) else path.relative_to(root).as_posix())


def counted(count: int) -> str:
    """So many files, in words."""
    return "1 file" if count == 1 else f"{count:,} files"
