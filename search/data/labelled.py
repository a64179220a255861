"""Pictures whose class is told by tables, by names of files, or by the library that they come from."""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from results.delivery.files import OTHER_FILES, printable
from search.data import label_sets
from search.data.layout import TRAIN, listed, sides_among
from search.data.library import read_set
from search.data.listing import SIDES, File, Listing
from search.data.table import Labels, Table, is_table, match, read_table
from search.data.walking import LeftOut, counted


class Labelled:
    """Fills a listing from what is said of the pictures elsewhere than in their folders."""

    def __init__(self, listing: Listing) -> None:
        self.listing = listing
        self.root, self.walk, self.name, self.notes = listing.root, listing.walk, listing.name, listing.notes
        self._matched: dict[Path, Labels] = {}  # what a table that lies there says of the pictures

    def find_tables(self) -> dict[str | None, Table]:
        """The table of labels that lies beside pictures, or one for each side; empty where none can be read."""
        places = [self.root, *self.walk.folders(self.root)]
        paths = [
            path for place in places for path in self.walk.entries(place) if is_table(path.name) and path.is_file()
        ]
        if not paths:
            return {}
        names = sorted(self.name(path) for path in self.walk.files(self.root) if path.suffix.lower() not in OTHER_FILES)
        found: dict[Path, Table] = {}
        unread = []
        for path in paths:
            shown = self.name(path)
            try:
                if "submission" in path.name.casefold():
                    raise ValueError("by its name it is a form to fill in")
                table = read_table(path, self.listing.columns)
                self._matched[path] = match(table, names, root=self.root)
                found[path] = table
            except (ValueError, OSError) as error:
                unread.append(printable(f"`{shown}` is not read: {error}"))
        if not found:
            for line in unread:
                self.notes.say(line)
            return {}
        by_side: dict[str | None, Table] = {}
        for side, stems in sides_among(path.stem for path in found).items():
            by_side[side] = next(table for path, table in found.items() if path.stem == stems[0])
        if len(by_side) == len(found) > 1:
            return by_side
        if len(found) > 1:
            several = listed(self.name(path) for path in found)
            raise ValueError(
                f"needs one table of labels, and {several} of `{self.root}` could each be it: give one of them as the "
                f"data, for instance `{next(iter(found))}`"
            )
        return dict.fromkeys([None], next(iter(found.values())))

    def list_table(self, tables: Mapping[str | None, Table]) -> None:
        """Lists the pictures that one table names, or several, one for each side."""
        self.listing.from_table = True
        there = {}
        for path in self.walk.files(self.root):
            name = self.name(path)
            if path.suffix.lower() not in OTHER_FILES:
                there[name] = path
            elif path not in [table.path for table in tables.values()]:
                self.listing.left_out.append(LeftOut(name, f"a {path.suffix.lower()} file is not a picture"))
        labelled: dict[str, tuple[str, str | None]] = {}
        groups: dict[str, str] = {}
        names = sorted(there)
        for side, table in tables.items():
            before = self._matched.get(table.path) if side is None else None
            found = before or match(table, names, root=self.root, side=side)
            groups |= found.groups
            for line in found.notes:
                self.notes.say(printable(line))
            self.listing.left_out += [LeftOut(name, printable(reason)) for name, reason in found.left_out.items()]
            for name, label in found.classes.items():
                of = found.sides.get(name)
                if name in labelled and labelled[name] != (label, of):
                    raise ValueError(
                        f"needs tables that agree, and `{name}` is in several of them: {listed(map(str, tables))}"
                    )
                labelled[name] = (label, of)
        if len({bool(table.sets) for table in tables.values()}) > 1:
            several = listed(table.path.name for table in tables.values())
            raise ValueError(
                f"needs tables that agree, and some of {several} give a picture several labels and some one class: "
                "--label-separator says that all of them may have several"
            )
        told = {side for _, side in labelled.values() if side}
        if told and TRAIN not in told:
            raise ValueError(f"needs pictures of train, and the table has only {' and '.join(sorted(told))}")
        self.listing.sides = {side: side for side in SIDES if side in told}
        self.listing.files = [
            _labelled(name, there[name], label, side, groups.get(name, "")) for name, (label, side) in labelled.items()
        ]
        gone = {item.name for item in self.listing.left_out}
        rest = [name for name in sorted(there) if name not in labelled and name not in gone]
        known = {name.rpartition("/")[0] for name in labelled}
        aside = Counter(name.partition("/")[0] for name in rest if name.rpartition("/")[0] not in known)
        for folder, count in sorted(aside.items()):
            self.notes.say(
                f"no picture in `{folder}` has a row in the table, and they are not used: {counted(count)}",
                folder,
                "pictures in {count} folders have no row in the table and are not used: {names}",
            )
        lacking = [name for name in rest if name.rpartition("/")[0] in known]
        self.listing.left_out += [LeftOut(name, "no row of the table names it") for name in lacking]
        if lacking:
            self.notes.say(f"no row of the table names {counted(len(lacking))}, first `{lacking[0]}`")
        if self.listing.resplit and told:
            self.notes.say(f"--resplit: {', '.join(self.listing.sides)} of the table are put together and cut anew")

    def list_set(self) -> None:
        """Lists the pictures of a set that a library has, of which a file tells classes and sides."""
        self.listing.from_table = True
        notes, told = read_set(self.root)
        for line in notes:
            self.notes.say(printable(line))
        self.listing.files = [
            File(name, self.root / name, printable(label), "", printable(label), side, group)
            for name, label, side, group in told
        ]
        sides = {file.side for file in self.listing.files}
        self.listing.sides = {side: side for side in SIDES if side in sides}
        if self.listing.resplit and self.listing.sides:
            self.notes.say(f"--resplit: {', '.join(self.listing.sides)} of the set are put together and cut anew")

    def list_by_pattern(self, pattern: str) -> None:
        """Lists the pictures whose names tell their class; folders tell sides alone."""
        expression = re.compile(pattern)
        group: int | str = "label" if "label" in expression.groupindex else 1
        found: list[tuple[Path, str, str]] = []
        unmatched = []
        for path in self.walk.files(self.root):
            if not self.listing.may_be_picture(path):
                continue
            name = self.name(path)
            hit = expression.search(name if "/" in pattern else path.name)
            label = (hit[group] or "").strip() if hit else ""
            if label:
                found.append((path, name, printable(label)))
            else:
                unmatched.append(name)
        if not found:
            first = f"first `{unmatched[0]}`" if unmatched else "none of which is a picture"
            raise ValueError(
                f"--label-pattern needs to find the class in names of files, and `{pattern}` finds none in those of "
                f"`{self.root}`, {first}"
            )
        if unmatched:
            self.listing.left_out += [LeftOut(name, "--label-pattern finds no class in its name") for name in unmatched]
            self.notes.say(
                f"not used: {counted(len(unmatched))} in whose name --label-pattern finds no class, first "
                f"`{unmatched[0]}`"
            )
        tops = {name.partition("/")[0] for _, name, _ in found if "/" in name}
        side_of_top = {top: side for side, names in sides_among(tops).items() for top in names}
        split = set(side_of_top) == tops and len(set(side_of_top.values())) > 1 and all("/" in n for _, n, _ in found)
        self.listing.sides = {side: side for side in SIDES if side in side_of_top.values()} if split else {}
        self.listing.from_table = True  # the digest needs the classes, which folders do not tell
        for path, name, label in found:
            side = side_of_top[name.partition("/")[0]] if split else None
            self.listing.files.append(File(name, path, label, "", label, side))


def _labelled(name: str, path: Path, label: str, side: str | None, group: str) -> File:
    """A file and what a table says of it."""
    told, labels = printable(label_sets.read(label)), label_sets.unpacked(label)
    return File(name, path, told, "", told, side, group, None if labels is None else tuple(map(printable, labels)))
