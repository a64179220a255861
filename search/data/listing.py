"""The files of a folder as they are listed, and what is to be said of them, whatever the layout."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from results.delivery.files import OTHER_FILES
from search.data.layout import TEST, TRAIN, VALIDATION, check_folders
from search.data.table import Columns
from search.data.walking import LeftOut, Notes, Walk

SIDES = (TRAIN, VALIDATION, TEST)
OUTSIDE = "lies outside the class folders"
INNER = ("parent", "path")  # of `label_from`: the classes are not the folders directly below the data


@dataclass(frozen=True)
class File:
    """A file that may be a picture, and its class."""

    name: str
    path: Path
    folder: str  # the folder directly below the data, or below a side of it
    below: str  # path below that
    class_folder: str
    side: str | None
    group: str = ""
    labels: tuple[str, ...] | None = None


class Listing:
    """What `search.data.class_folders` and `search.data.labelled` fill in."""

    def __init__(self, root: Path, own: Sequence[Path], label_from: str, resplit: bool, columns: Columns) -> None:
        self.root = root
        self.files: list[File] = []
        self.left_out: list[LeftOut] = []
        self.sides: dict[str, str] = {}  # how each side is called where the data is already split
        self.from_table = False
        self.resplit = resplit
        self.notes = Notes()
        self.walk = Walk(root, own, self.notes)
        self.name = self.walk.name
        self.label_from = label_from
        self.columns = columns
        self.checked = False  # whether the folders have to look like classes
        self.place = root  # where the class folders lie, of train where there are sides

    def order(self, presplit: bool) -> Callable[[File], tuple[str, str]]:
        """By what files are sorted: their names in class folders, those that they would have there elsewhere."""
        if not self.from_table and self.label_from not in INNER:
            return lambda file: (file.name, "")
        return lambda file: (
            f"{file.side if presplit else ''}/{file.class_folder}/{file.name.rpartition('/')[2]}",
            file.name,
        )

    def check(self, files: Sequence[File]) -> None:
        """Raises ValueError where the folders of these files are rather something else than classes."""
        if not self.checked:
            return
        below: dict[str, list[str]] = {}
        paths: dict[str, list[Path]] = {}
        for file in files:
            if file.side in (None, TRAIN):
                below.setdefault(file.folder, []).append(file.below)
                paths.setdefault(file.folder, []).append(file.path)
        check_folders(self.place, below, paths)

    def may_be_picture(self, file: Path) -> bool:
        """Whether a file can be a picture by the end of its name; one that cannot is left out."""
        if file.suffix.lower() in OTHER_FILES:
            self.left_out.append(LeftOut(self.name(file), f"a {file.suffix.lower()} file is not a picture"))
            return False
        return True
