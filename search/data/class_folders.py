"""Pictures whose class is the folder that they lie in."""

import os
from dataclasses import replace
from pathlib import Path

from results.delivery.files import printable
from search.data.labelled import Labelled
from search.data.layout import (
    CLUTTER,
    TEST,
    TRAIN,
    VALIDATION,
    common_subfolders,
    leave_out,
    listed,
    no_classes,
    purpose_of,
    side_of,
    sides_among,
    subfolders,
)
from search.data.listing import INNER, OUTSIDE, SIDES, File, Listing
from search.data.table import SUFFIXES, is_table
from search.data.walking import LeftOut

BELOW = "files in folders below {count} class folders count as those classes: {names}"
EMPTY = "{count} folders hold no pictures and are no classes: {names}"


class ClassFolders:
    """Fills a listing from class folders, of sides where the data is already split."""

    def __init__(self, listing: Listing) -> None:
        self.listing = listing
        self.root, self.walk, self.name, self.notes = listing.root, listing.walk, listing.name, listing.notes
        self._labelled = Labelled(listing)

    def fill(self) -> None:
        """Lists the pictures of class folders, of sides, or of a table that lies there."""
        if self.listing.columns.any():
            tables = self._labelled.find_tables()
            if not tables:
                raise ValueError(
                    f"a named column needs a table of labels ({', '.join(SUFFIXES)}), and none of `{self.root}` can be "
                    "read"
                )
            self._labelled.list_table(tables)
            return
        sides = self._find_sides()
        for side, folder in sides.items():
            self._list_classes(folder, side)
        if sides:
            self.listing.sides = {side: self.name(folder) for side, folder in sides.items()}
            for path in self.walk.entries(self.root):
                if not path.is_dir():
                    self.listing.left_out.append(LeftOut(self.name(path), OUTSIDE))
        else:
            self._list_classes(self.root, None)
            folders = {file.folder for file in self.listing.files}
            if self.listing.label_from == "auto" and (len(folders) < 2 or no_classes(folders)):
                tables = self._labelled.find_tables()
                if tables:
                    self.listing.files.clear()
                    self.listing.left_out.clear()
                    for kind in (BELOW, EMPTY):
                        self.notes.forget(kind)
                    self._labelled.list_table(tables)
                    return
            self._find_inner_sides()
        self.listing.checked = self.listing.label_from == "auto" and (bool(sides) or not self.listing.sides)
        self.listing.place = sides.get(TRAIN, self.root)
        if self.listing.label_from == "parent":
            self._tell_joined()
        for name in sorted({file.class_folder for file in self.listing.files}):
            if CLUTTER.fullmatch(name):
                self.notes.say(
                    f"`{name}` is clutter by its name and is searched as a class; {leave_out([name])} leaves it out"
                )
        if self.listing.resplit and self.listing.sides:
            self.notes.say(f"--resplit: {', '.join(self.listing.sides.values())} are put together and cut anew")

    def _find_sides(self) -> dict[str, Path]:
        """The folders of a folder that is already split, by side; empty where it is not split."""
        folders = self.walk.folders(self.root)
        by_name = {path.name: path for path in folders}
        found = sides_among(by_name)
        if not found or (len(found) == 1 and len(folders) > 1):
            return {}  # A class may well be called `train`: it stands beside cars and ships, not beside `validation`.
        sides: dict[str, Path] = {}
        flat: list[Path] = []
        for side in SIDES:
            places = [(name, self.walk.unwrapped(by_name[name])) for name in found.get(side, ())]
            with_classes = [(name, place) for name, place in places if self.walk.folders(place)]
            if len(with_classes) > 1:
                both = " and ".join(f"`{name}`" for name, _ in with_classes)
                raise ValueError(f"needs one folder for {side}, got {both} in `{self.root}`: rename or join them")
            if with_classes:
                sides[side] = with_classes[0][1]
            flat += [place for _, place in places if not self.walk.folders(place)]
        if TRAIN not in sides:
            return {}
        classes = {path.name for path in self.walk.folders(sides[TRAIN])}
        for side in (VALIDATION, TEST):
            names = [path.name for path in self.walk.folders(sides[side])] if side in sides else []
            if len(names) == 1 and names[0] not in classes and self.listing.label_from not in INNER:
                self.notes.say(
                    f"`{self.name(sides[side])}/` holds only `{printable(names[0])}`, which is no class of "
                    f"`{self.name(sides[TRAIN])}/`: unlabelled pictures, not used: {self.walk.counted(sides[side])}"
                )
                del sides[side]
        tables = [self.name(path) for path in self.walk.entries(self.root) if is_table(path.name)]
        for folder in flat:
            own = [name for name in tables if side_of(name.rpartition(".")[0]) == side_of(folder.name)]
            unread = f"; {listed(own)} is not read, since the folders of train are the classes" if own else ""
            self.notes.say(
                f"`{self.name(folder)}/` has no class folders and is not used: {self.walk.counted(folder)}{unread}"
            )
        used = {name for names in found.values() for name in names}
        beside = [name for name in by_name if name not in used]
        if beside:
            self.notes.say(
                f"the folder is already split; not used beside it: {', '.join(printable(n) for n in beside)}"
            )
        return sides

    def _find_inner_sides(self) -> None:
        """Takes the folders below the class folders for sides, where all of them are sides and nothing else."""
        below: dict[str, list[str]] = {}
        for file in self.listing.files:
            below.setdefault(file.folder, []).append(file.below)
        if self.listing.label_from in INNER:
            return
        common = common_subfolders(below)
        found = sides_among(common)
        if len(found) < 2 or sum(map(len, found.values())) != len(common) or any(len(n) > 1 for n in found.values()):
            return
        side = {names[0]: of for of, names in found.items()}
        outside = [file for file in self.listing.files if file.below.partition("/")[0] not in side]
        self.listing.left_out += [LeftOut(file.name, "lies on no side of its class") for file in outside]
        self.listing.files = [
            replace(file, side=side[file.below.partition("/")[0]]) for file in self.listing.files if file not in outside
        ]
        self.listing.sides = {of: names[0] for of, names in found.items()}
        self.notes.forget(BELOW)
        self.notes.say(f"every class folder is already split into {', '.join(side)}")

    def _list_classes(self, folder: Path, side: str | None) -> None:
        for path in self.walk.entries(folder):
            if not path.is_dir():
                self.listing.left_out.append(LeftOut(self.name(path), OUTSIDE))
                continue
            if Path(os.path.realpath(self.root)).is_relative_to(os.path.realpath(path)):
                self.notes.say(f"`{self.name(path)}` leads back to the data folder and is not followed")
                continue
            if self.walk.passed_over(path):
                continue
            found = [file for file in self.walk.files(path) if self.listing.may_be_picture(file)]
            kept = self._without_annotations(path, found)
            below = 0
            for file in kept:
                top = printable(path.name)
                inner = printable(file.relative_to(path).as_posix())
                self.listing.files.append(
                    File(self.name(file), file, top, inner, self._class_of(file, folder, top), side)
                )
                below += file.parent != path
            if below and self.listing.label_from not in INNER:
                self.notes.say(
                    f"files in folders below `{self.name(path)}` count as that class: {below}",
                    self.name(path),
                    BELOW,
                )
            if not found:
                self.notes.say(
                    f"`{self.name(path)}` holds no pictures and is not a class",
                    self.name(path),
                    EMPTY,
                )

    def _class_of(self, file: Path, folder: Path, top: str) -> str:
        """The class of a file below the folder of all classes."""
        if self.listing.label_from == "parent":
            return printable(file.parent.name)
        return printable(file.parent.relative_to(folder).as_posix()) if self.listing.label_from == "path" else top

    def _tell_joined(self) -> None:
        """Says where --label-from parent makes one class of folders in different places."""
        places: dict[str, set[str]] = {}
        for file in self.listing.files:
            outer = file.below.rpartition("/")[0].rpartition("/")[0]
            whole = f"{file.folder}/{outer}".rstrip("/") if "/" in file.below else ""
            places.setdefault(file.class_folder, set()).add(whole)
        for name, found in sorted(places.items()):
            if len(found) > 1:
                self.notes.say(
                    f"`{name}` is a folder of {listed(sorted(found), 3)}: one class; --label-from path keeps them "
                    "apart",
                    name,
                    "{count} classes have their pictures in several folders of one name: {names}; --label-from path "
                    "keeps these apart",
                )

    def _without_annotations(self, folder: Path, files: list[Path]) -> list[Path]:
        """The files of a class folder, without the masks that lie in it beside a folder of its pictures."""
        inner = subfolders(file.relative_to(folder).as_posix() for file in files)
        aside = [name for name in inner if purpose_of(name) == "annotations"]
        if not aside or not any(purpose_of(name) == "pictures" for name in inner):
            return files
        for name in aside:
            self.notes.say(
                f"`{self.name(folder / name)}` lies beside the pictures of its class and is not used",
                self.name(folder / name),
                "{count} folders lie beside the pictures of their class and are not used: {names}",
            )
        return [file for file in files if file.relative_to(folder).parts[0] not in aside]
