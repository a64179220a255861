"""The run that a new one goes on from: what it was, which pictures it has learnt, and the split that follows from it.

A picture that the earlier model has learnt must not be a test picture of the new run, or its score there would be a
lie. So pictures stay on the side where the earlier run had them, and those that it did not have are divided so that
every class has its share on every side.

The earlier model may have learnt its own test pictures as well, once it had been scored on them. These stay test
pictures all the same where the run kept what the model said of them before: there these answers count.
"""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import numpy as np
from numpy.typing import NDArray

from results.analysis.numbers import best_trial, choose_winner
from results.records import read_object, read_probabilities, read_record, split_problem
from results.rows import RUNNING, Rows, read_rows
from search.data.decode import Decoded
from search.data.duplicates import NEAR, find_duplicates
from search.data.folder import Folder
from search.data.grouped import shuffled
from search.data.layout import MOST_NAMED, TEST, TRAIN, VALIDATION, leave_out, listed
from search.data.listing import SIDES
from search.data.rare import RareClassError
from search.data.split import FRACTIONS, NEARLY, SAME_GROUP, Split, split_pictures
from search.settings import Settings, own_families, placed, saved_settings
from spaces import family_of

Indices = NDArray[np.int64]

# What a run is asked for that goes on from another: as that was, where nothing else is given.
SAME = (
    "families", "hypermodel", "pixel_range", "set", "weights", "backbones", "image_sizes", "views", "metric",
    "class_weights", "duplicates",
)  # fmt: skip
PRINT = 16  # hexadecimal digits of a digest that a picture is known by
FEW = 0.5  # of the share of a class's pictures that should be on test, below which they are called few
LARGEST = 1024  # pixels a side of what a model takes
MOST_MOVED = 50  # pictures of another class now that are named

Scan = Callable[[str], Decoded | None]


@dataclass(frozen=True)
class Predecessor:
    """A finished run, as its folder tells it."""

    folder: Path
    settings: Settings
    split: dict[str, Any]
    rows: Rows
    family: str  # that of its winner, whose model is scored
    model: dict[str, Any]  # the last row of that model
    size: int  # pixels a side of what the model takes
    resize_filter: str
    answers: Any | None  # its probabilities (test pictures, classes) before it learnt these pictures as well

    @property
    def name(self) -> str:
        """The name of the run."""
        return self.folder.name

    @property
    def classes(self) -> list[str]:
        """The classes that its model knows, in the order of the probabilities."""
        return list(self.split["classes"])

    @property
    def refitted(self) -> bool:
        """Whether the delivered model has learnt the run's test pictures too."""
        return self.model.get("pictures") is not None

    @property
    def shapes(self) -> list[tuple[int, str]]:
        """The side and the filter of the pictures that its model is scored on."""
        return [(self.size, self.resize_filter)]

    def check(self, folder: Folder, sizes: Sequence[int]) -> list[str]:
        """What of the classes stays, and whether its model takes pictures of another size than all of these, in words.

        Raises ValueError for data that has no class of this run.
        """
        same = [name for name in self.classes if name in folder.classes]
        if not same:
            raise ValueError(
                f"--from needs data with a class of its run, and `{self.folder}` knows {listed(self.classes)}, while "
                f"`{folder.root}` has {listed(folder.classes)}"
            )
        new = [name for name in folder.classes if name not in self.classes]
        gone = [name for name in self.classes if name not in folder.classes]
        told = f"going on from {self.name}: {len(same)} of its {len(self.classes)} classes"
        told += f", new: {listed(new)}" if new else ", no new one"
        lines = [told + (f", gone: {listed(gone)}" if gone else "")]
        if self.size not in sizes:
            lines.append(
                f"the model of {self.name} takes pictures of {self.size} pixels, none of --image-sizes "
                f"{','.join(map(str, sizes))}: it is scored on pictures of its own size"
            )
        return lines

    def match(self, folder: Folder, decoded: Decoded, likeness: str, scan: Scan) -> "Matched":
        """Which of a folder's pictures this run had; `scan` gives what decoding found of a data set, by its digest.

        `likeness` is the rule of `--duplicates`: under `near` pictures are also told from those that the run had and
        the folder has not.
        """
        seen = seen_pictures(self.split)
        was = match_pictures(folder, decoded, seen)
        there = {number for found in was for number in found}
        gone = [number for number in range(len(seen)) if number not in there]
        near: dict[int, list[int]] = {}
        compared = 0
        if gone and likeness == NEAR:
            earlier = scan(str(self.split.get("digest")))
            if earlier is not None:
                near, compared = nearly_the_same(folder, decoded, seen, gone, earlier)
        chosen = [
            min((seen[number] for number in found), key=lambda one: (SIDES.index(one.side), one.label), default=None)
            for found in was
        ]
        learnt = [
            _learnt(one, [seen[number] for number in near.get(row, ())], self.refitted, self.answers is not None)
            for row, one in enumerate(chosen)
        ]
        return Matched(self, seen, was, chosen, learnt, len(gone) - compared if likeness == NEAR else 0)


@dataclass(frozen=True)
class Saved:
    """The sides of a run that goes on from another and is resumed, as its own `split.json` has them."""

    split: dict[str, Any]
    shapes: Sequence[tuple[int, str]] = ()

    @property
    def name(self) -> str:
        """The name of the run before."""
        return str(self.split["from"]["name"])

    def check(self, folder: Folder, sizes: Sequence[int]) -> list[str]:
        """Nothing: the run was begun with these classes."""
        return []

    def match(self, folder: Folder, decoded: Decoded, likeness: str, scan: Scan) -> "Saved":
        """The same: names say it, since the digest of the data has to be the same."""
        return self

    def divide(
        self,
        folder: Folder,
        labels: NDArray[np.integer],
        groups: NDArray[np.integer],
        usable: NDArray[np.bool_],
        *,
        seed: int,
        grouped: bool,
    ) -> Split:
        """The sides as they were; raises RareClassError for the classes that were too rare then."""
        gone = [label for label, name in enumerate(folder.classes) if name not in self.split["classes"]]
        if gone:
            own = {label: groups[usable & (labels == label)] for label in gone}
            raise RareClassError(
                f"needs the classes that the run was begun with, got {listed(folder.classes[label] for label in gone)}",
                {label: len(np.unique(found)) for label, found in own.items()},
            )
        rows = {picture.name: row for row, picture in enumerate(folder.pictures)}
        sides = [
            np.array(sorted(rows[name] for name, _ in self.split.get(side) or () if name in rows), np.int64)
            for side in SIDES
        ]
        left = {str(file.get("name")) for file in self.split.get("left_out") or () if _copied(file.get("reason"))}
        removed = np.array(sorted(rows[name] for name in left if name in rows), np.int64)
        train, validation, test = sides
        return Split(train, validation, test, tuple(self.split["from"]["notes"]), removed)

    def record(self, folder: Folder, split: Split) -> dict[str, Any]:
        """What `split.json` says of the run before."""
        found: dict[str, Any] = self.split["from"]
        return found


def saved_sides(path: Path) -> Saved | None:
    """The sides that the `split.json` of a run has which goes on from another; None where there is no such record."""
    split = read_record(path)
    told = split.get("from")
    if not isinstance(told, dict) or not isinstance(told.get("notes"), list) or not all(map(split.get, SIDES)):
        return None
    return Saved(split)


def _copied(reason: Any) -> bool:
    return isinstance(reason, str) and any(reason.startswith(kind) for kind in (NEARLY, SAME_GROUP))


@dataclass(frozen=True)
class Seen:
    """A picture that the earlier run had on a side of its split."""

    name: str
    side: str
    place: int  # on that side
    label: str
    bytes: str  # digest of the file; empty where it is not known
    pixels: str  # digest of the decoded picture; empty where it is not known
    group: str = ""  # what a table said that it belongs to


@dataclass(frozen=True)
class Matched:
    """The pictures of a folder beside those of the earlier run; lists have one entry a picture of the folder."""

    run: Predecessor
    seen: list[Seen]
    was: list[list[int]]  # the pictures that it is, places in `seen`
    chosen: list[Seen | None]  # of these the one by whose side it goes
    learnt: list[str]  # train or validation: learnt; test: not learnt, or answered before; empty: never seen
    uncompared: int  # pictures that are gone, from which only the same bytes or pixels were told

    @property
    def name(self) -> str:
        """The name of the run before."""
        return self.run.name

    def divide(
        self,
        folder: Folder,
        labels: NDArray[np.integer],
        groups: NDArray[np.integer],
        usable: NDArray[np.bool_],
        *,
        seed: int,
        grouped: bool,
    ) -> Split:
        """The sides: what was learnt stays off test, every class of the rest is divided as `split_pictures` does.

        Where the data is already split, its own sides count, but for test pictures that the earlier model has learnt.
        Raises RareClassError for a class that train or validation would lack, ValueError where test would be empty.
        """
        kept, copies = self._kept(folder, groups, usable)
        random = np.random.default_rng(seed)
        own = [picture.side for picture in folder.pictures] if folder.presplit else None
        rows = np.flatnonzero(usable)
        if own is None:
            rows = rows[~np.isin(rows, copies)]
            train, validation, test = _divided(rows, kept, labels, groups, folder.classes, SIDES, random)
            split = Split(train, validation, test, (), copies)
        else:
            split = self._of_sides(own, kept, copies, rows, labels, groups, folder, seed, grouped)
        if not len(split.test):
            raise ValueError(
                f"--from needs pictures that its run has not learnt, as test pictures of both models, and "
                f"`{self.run.folder}` has learnt all {len(rows):,} of `{folder.root}`: add pictures"
            )
        left_out = len(np.intersect1d(split.removed, copies))
        return replace(split, notes=(*self._notes(folder, split, labels, left_out), *split.notes))

    def _of_sides(
        self,
        own: Sequence[str | None],
        kept: Sequence[str],
        copies: Indices,
        rows: Indices,
        labels: NDArray[np.integer],
        groups: NDArray[np.integer],
        folder: Folder,
        seed: int,
        grouped: bool,
    ) -> Split:
        """The data's own sides, without test pictures that were learnt; a side that it lacks is cut from train."""
        maybe = (TEST,) if TEST in own else (TRAIN,)
        out = {row for row in copies.tolist() if own[row] in maybe}
        sides: list[str | None] = [None if row in out else side for row, side in enumerate(own)]
        learnt = [row for row in rows.tolist() if sides[row] == TEST and kept[row] in (TRAIN, VALIDATION)]
        for row in learnt:
            sides[row] = None
        if TEST in own and TEST not in {sides[row] for row in rows.tolist()}:
            raise ValueError(
                f"--from needs test pictures that its run has not learnt, and `{self.run.folder}` has learnt all "
                f"{len(learnt):,} of the data's own test side: cut the sides anew with --resplit"
            )
        lacking = tuple(side for side in SIDES if side == TRAIN or side not in own)
        if len(lacking) > 1:
            pictures = np.array([row for row in rows.tolist() if sides[row] == TRAIN], np.int64)
            here = [side if side in lacking else TRAIN if side else "" for side in kept]
            random = np.random.default_rng(seed)
            parts = _divided(pictures, here, labels, groups, folder.classes, lacking, random)
            for side, part in zip(lacking, parts, strict=True):
                for row in part.tolist():
                    sides[row] = side
        usable = np.zeros(len(labels), np.bool_)
        usable[rows] = True
        split = split_pictures(labels, groups, sides, folder.classes, seed=seed, readable=usable, grouped=grouped)
        notes = [
            f"{_pictures(len(learnt))} of the data's own test side {_is(len(learnt))} left out, because "
            f"{self.run.name} has learnt {'it' if len(learnt) == 1 else 'them'}; --resplit cuts the sides anew"
        ]
        removed = np.unique(np.array([*split.removed.tolist(), *learnt, *out], np.int64))
        return replace(split, notes=(*split.notes, *notes[: len(learnt)]), removed=removed)

    def _kept(
        self, folder: Folder, groups: NDArray[np.integer], usable: NDArray[np.bool_]
    ) -> tuple[list[str], Indices]:
        """The side of each picture as its whole group has to have it, and the pictures that can be on none.

        On none are pictures of a group that is a test picture of the earlier run, where its delivered model has learnt
        that one as well: for the picture itself there is the answer from before, for others like it there is none.
        """
        told: dict[str, set[str]] = defaultdict(set)
        for one in self.seen:
            if one.group:
                told[one.group].add(_learnt(one, (), self.run.refitted, self.run.answers is not None))
        members: dict[int, list[int]] = defaultdict(list)
        for row in np.flatnonzero(usable).tolist():
            members[int(groups[row])].append(row)
        kept = [""] * len(folder.pictures)
        copies = []
        for rows in members.values():
            found = {self.learnt[row] for row in rows}
            # A patient of whom the earlier run had other pictures is known to it.
            found |= {side for row in rows for side in told.get(folder.pictures[row].group, ())}
            side = next((side for side in SIDES if side in found), "")
            for row in rows:
                kept[row] = side
                if side == TEST and self.run.refitted and self.learnt[row] != TEST:
                    copies.append(row)
        return kept, np.array(sorted(copies), np.int64)

    def _notes(self, folder: Folder, split: Split, labels: NDArray[np.integer], copies: int) -> list[str]:
        name = self.run.name
        used = np.concatenate([split.train, split.validation, split.test]).tolist()
        same = sum(self.chosen[row] is not None for row in used)
        said = [
            f"--from {name}: {same:,} of {_pictures(len(used))} are among the {len(self.seen):,} that it had, and what "
            "it has learnt of them is not on test"
        ]
        if self.run.refitted:
            before = sum(self._place(row) is not None for row in split.test.tolist())
            how = (
                f"{_pictures(before)} of test were test pictures there: its answers from before it learnt them count"
                if self.run.answers is not None
                else "its answers from before that are not there, so that its test pictures count as learnt"
            )
            said.append(f"the delivered model of {name} has learnt all of its pictures; {how}")
        if copies:
            said.append(
                f"{_pictures(copies)} {_is(copies)} left out: nearly the same picture, or one of the same group, was "
                f"a test picture of {name}, which its delivered model has learnt"
            )
        few = self.few(folder, split, labels)
        if few:
            every = [f"`{which}` ({has} of about {wanted})" for which, (has, wanted) in few.items()]
            more = f" and {len(every) - MOST_NAMED} more" if len(every) > MOST_NAMED else ""
            said.append(
                f"WARNING: few test pictures that {name} has not learnt: {', '.join(every[:MOST_NAMED])}{more}; scores "
                "say little of these classes, and nothing of one that has none"
            )
        unnamed = sum(not one.bytes for one in self.seen)
        if unnamed:
            said.append(
                f"{name} kept no digests of its pictures, and {_pictures(unnamed)} of it "
                f"{_is(unnamed)} no longer where {'it was' if unnamed == 1 else 'they were'}: told by name alone"
            )
        if self.uncompared:
            said.append(
                f"{_pictures(self.uncompared)} of {name} {_is(self.uncompared)} neither in the data nor in the cache: "
                "told from the data by the same bytes or pixels alone"
            )
        if self.run.split.get("levels"):
            said.append(f"{name} had pictures of more than 8 bits a channel; its model is fed those of the new data")
        return said

    def few(self, folder: Folder, split: Split, labels: NDArray[np.integer]) -> dict[str, tuple[int, int]]:
        """Classes with few test pictures: how many they have, and how many their share would be."""
        count = len(folder.classes)
        used = np.concatenate([split.train, split.validation, split.test])
        all_of, test = (np.bincount(labels[rows], minlength=count).tolist() for rows in (used, split.test))
        wanted = [round(FRACTIONS[2] * total) for total in all_of]
        return {
            name: (has, share)
            for name, has, share in zip(folder.classes, test, wanted, strict=True)
            if has == 0 or has < FEW * share
        }

    def _place(self, row: int) -> int | None:
        """The place of a picture among the test pictures of the earlier run."""
        one = self.chosen[row]
        return one.place if one is not None and one.side == TEST else None

    def record(self, folder: Folder, split: Split) -> dict[str, Any]:
        """What `split.json` says of the run before: places among its test pictures, and what changed in the data."""
        used = np.concatenate([split.train, split.validation, split.test]).tolist()
        here = {row: folder.classes[folder.pictures[row].label] for row in used}
        moved = [
            (folder.pictures[row].name, one.label, here[row])
            for row in used
            if (one := self.chosen[row]) is not None
            and here[row] not in {self.seen[number].label for number in self.was[row]}
        ]
        there = {number for row in used for number in self.was[row]}
        removed = Counter(one.label for number, one in enumerate(self.seen) if number not in there)
        added = Counter(here[row] for row in used if self.chosen[row] is None)
        before, now = Counter(one.label for one in self.seen), Counter(here.values())
        out, into = Counter(was for _, was, _ in moved), Counter(is_now for _, _, is_now in moved)
        known = set(self.run.classes)
        return {
            "name": self.run.name,
            "pictures": len(self.seen),
            "same": sum(self.chosen[row] is not None for row in used),
            "added": sum(added.values()),
            "removed": sum(removed.values()),
            "moved": len(moved),
            "moved_pictures": [list(one) for one in moved[:MOST_MOVED]],
            "changes": [
                {
                    **{"class": name, "new": name not in known, "gone": name not in folder.classes},
                    **{"before": before[name], "now": now[name], "added": added[name], "removed": removed[name]},
                    **{"moved_in": into[name], "moved_out": out[name]},
                }
                for name in sorted({*folder.classes, *known})
            ],
            "test": [self._place(row) for row in split.test.tolist()],
            "notes": list(split.notes),
        }


Before = Predecessor | Saved


def read_settings(folder: Path) -> Settings:
    """The settings of the run that `--from` names; raises OSError or ValueError where it is none."""
    path = folder / "settings.json"
    if not path.is_file():
        raise FileNotFoundError(f"--from needs the folder of a run, and there is no `{path}`")
    try:
        settings = saved_settings(path.read_text(encoding="utf-8"))
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(
            f"--from needs a run of this version of Pedigree or an earlier one, and `{path}` is not of one: {error}"
        ) from error
    return settings


def inherited(given: Mapping[str, Any]) -> dict[str, Any]:
    """What is given, and what the run that `--from` names was asked for, as far as nothing else is given.

    Where other families are given, those of that run are left out, and with them what its spaces were narrowed to.
    """
    if not given.get("from_run"):
        return dict(given)
    folder = Path(given["from_run"]).resolve()
    if "data" not in given:
        raise ValueError(f"--from needs DATA, the pictures to go on with, got none beside `{folder}`")
    old = read_settings(folder)
    found = {name: getattr(old, name) for name in SAME}
    if "families" in given or "hypermodel" in given:
        references = found.pop("hypermodel")
        del found["families"], found["set"]
        named = given.get("families", ())
        own = tuple(text for text in references if next(iter(own_families((text,)))) in named)
        found |= {"hypermodel": own} if own else {}
    # Runs of earlier versions kept paths relative to the folder where the search was started.
    return {**placed(found, folder.parent.parent, Path.cwd()), **given}


def read_predecessor(folder: Path) -> Predecessor:
    """The run that `--from` names; raises OSError or ValueError, which say what it lacks, where it cannot be one."""
    settings = read_settings(folder)
    again = f"go on with it first, --resume {folder}, with a longer --time-budget where it had one"
    if not (folder / "trials.jsonl").is_file():
        raise FileNotFoundError(f"--from needs the folder of a run, and there is no `{folder / 'trials.jsonl'}`")
    try:
        split = read_object(folder / "split.json")
        lacking = [f"no `{part}`" for part in ("classes", *SIDES) if not split.get(part)]
        problem = split_problem(split) or "".join(lacking[:1])
    except (OSError, ValueError) as error:
        split, problem = {}, " ".join(str(error).split())
    if problem:
        raise ValueError(
            f"--from needs a run that says which pictures it has learnt, and `{folder / 'split.json'}` cannot be used: "
            f"{problem}"
        )
    if split.get("multilabel"):
        raise ValueError(f"--from needs a run of one label a picture, and those of `{folder}` have several")
    rows = read_rows(folder / "trials.jsonl")
    open_ones = [trial.name for trial in rows.trials.values() if trial.status == RUNNING]
    if open_ones:
        raise ValueError(
            f"--from needs a run that is finished, and {_trials(len(open_ones))} of `{folder}` "
            f"{'has' if len(open_ones) == 1 else 'have'} not ended, the first of them `{open_ones[0]}`: {again}"
        )
    family = choose_winner({family: best_trial(rows, family) for family in settings.families})
    if family is None:
        raise ValueError(f"--from needs a run with a delivered model, and no trial of `{folder}` came to a result")
    model = rows.model(family)
    path = folder / "models" / f"{family}.keras"
    if model is None or not path.is_file():
        raise FileNotFoundError(f"--from needs a run with a delivered model, and there is no `{path}`: {again}")
    if not is_zipfile(path):
        raise ValueError(f"--from needs a model that can be loaded, and `{path}` is damaged")
    trial = rows.trials.get(str(model.get("trial")))
    size = trial.config.get("image_size") if trial else None
    if trial is None or not isinstance(size, int) or not 1 <= size <= LARGEST:
        raise ValueError(f"--from needs the configuration of the delivered model, and no row of `{folder}` has it")
    resize_filter = family_of(family).filter(trial.config)
    answers = _answers(folder, split, rows, family, model)
    return Predecessor(folder.resolve(), settings, split, rows, family, model, size, resize_filter, answers)


def _answers(folder: Path, split: Mapping[str, Any], rows: Rows, family: str, model: Mapping[str, Any]) -> Any | None:
    """What the delivered model said of the run's test pictures when it was scored; None where that is not there."""
    seed, trial = model.get("seed"), model.get("trial")
    if not any(row["seed"] == seed and row.get("trial") == trial for row in rows.tests(family)):
        return None
    shape = (len(split["test"]), len(split["classes"]))
    return read_probabilities(folder / "predictions" / f"{family}-{seed}.npz", shape)


def _learnt(one: Seen | None, near: Sequence[Seen], refitted: bool, answered: bool) -> str:
    """The side that a picture has to stay on by what the earlier run knows of it; empty where it may be on any."""
    if one is not None:
        return one.side if one.side != TEST or answered or not refitted else TRAIN
    sides = {other.side for other in near}
    if TEST in sides and refitted:
        return TRAIN
    return next((side for side in (TRAIN, VALIDATION) if side in sides), "")


# --- which pictures are the same -------------------------------------------------------------------------------------


def prints(folder: Folder, contents: NDArray[np.uint64], rows: Sequence[int]) -> list[str]:
    """By what some pictures are known again: digits of the digest of the file, and of that of the decoded picture."""
    return [f"{folder.pictures[row].digest[:PRINT]}{int(contents[row, 0]):016x}" for row in rows]


def seen_pictures(split: Mapping[str, Any]) -> list[Seen]:
    """The pictures on the sides of a split; of a run that kept no digests, those of the files that are still there."""
    seen = []
    kept, told = (found if isinstance(found := split.get(key), dict) else {} for key in ("prints", "groups"))
    root = Path(str(split.get("root", "")))
    for side in SIDES:
        entries = split[side]
        marks, groups = (part.get(side) for part in (kept, told))
        if not isinstance(marks, list) or len(marks) != len(entries):
            marks = [_digest(root / name) for name, _ in entries]
        if not isinstance(groups, list) or len(groups) != len(entries):
            groups = [""] * len(entries)
        for place, (name, label) in enumerate(entries):
            mark, group = str(marks[place]), str(groups[place])
            own = mark[:PRINT]
            seen.append(Seen(name, side, place, split["classes"][label], own, mark[PRINT:], group))
    return seen


def _digest(path: Path) -> str:
    try:
        if not path.is_file():  # Opening a pipe would wait for ever.
            return ""
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()[:PRINT]
    except (OSError, ValueError):
        return ""


def match_pictures(folder: Folder, decoded: Decoded, seen: Sequence[Seen]) -> list[list[int]]:
    """For each picture of a folder the seen ones of the same bytes or pixels; of those without digests, of the name."""
    known: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number, one in enumerate(seen):
        for key in (("bytes", one.bytes), ("pixels", one.pixels)) if one.bytes else (("name", one.name),):
            if key[1]:
                known[key].append(number)
    found = []
    for row, picture in enumerate(folder.pictures):
        pixels = f"{int(decoded.contents[row, 0]):016x}" if decoded.readable[row] else ""
        keys = (("bytes", picture.digest[:PRINT]), ("pixels", pixels), ("name", picture.name))
        found.append(sorted({number for key in keys for number in known.get(key, ())}))
    return found


def nearly_the_same(
    folder: Folder, decoded: Decoded, seen: Sequence[Seen], gone: Sequence[int], earlier: Decoded
) -> tuple[dict[int, list[int]], int]:
    """For pictures of a folder those of the `gone` ones that they are nearly, and with how many of these they were
    compared; `earlier` is what decoding found of the data that held these.
    """
    rows = {f"{first:016x}": row for row, (first, _) in enumerate(earlier.contents.tolist()) if first}
    old = [(number, rows[seen[number].pixels]) for number in gone if seen[number].pixels in rows]
    if not old:
        return {}, 0
    places = [row for _, row in old]
    likeness = find_duplicates(
        [*(picture.digest for picture in folder.pictures), *(f"gone {number}" for number, _ in old)],
        np.concatenate([decoded.contents, earlier.contents[places]]),
        np.concatenate([decoded.thumbnails, earlier.thumbnails[places]]),
        NEAR,
    )
    count = len(folder.pictures)
    holding: dict[int, list[int]] = defaultdict(list)
    for (number, _), group in zip(old, likeness.groups[count:].tolist(), strict=True):
        holding[group].append(number)
    near = {row: holding[group] for row, group in enumerate(likeness.groups[:count].tolist()) if group in holding}
    return near, len(old)


# --- the sides -------------------------------------------------------------------------------------------------------


def _divided(
    pictures: Indices,
    kept: Sequence[str],
    labels: NDArray[np.integer],
    groups: NDArray[np.integer],
    classes: Sequence[str],
    sides: Sequence[str],
    random: np.random.Generator,
) -> tuple[Indices, ...]:
    """Divides pictures in whole groups: to the side that they are kept on, and where there is none, so that every class
    comes nearest to its share of each side.

    Of a class that has learnt pictures at most half of the others go to test, for there is something new to learn too.
    """
    whole = sum(FRACTIONS[SIDES.index(side)] for side in sides)
    shares = [FRACTIONS[SIDES.index(side)] / whole for side in sides]
    total = np.bincount(labels[pictures], minlength=len(classes))
    lacking = np.outer(total, shares)
    own = labels.tolist()
    placed_groups: list[list[tuple[int, list[int]]]] = [[] for _ in sides]
    holds = np.zeros((len(classes), len(sides)), np.int64)
    free: list[tuple[int, list[int]]] = []

    def put(side: int, main: int, group: list[int]) -> None:
        placed_groups[side].append((main, group))
        holds[main, side] += 1
        for row in group:
            lacking[own[row], side] -= 1

    for group in shuffled(pictures, groups, random):
        main = int(np.bincount([own[row] for row in group]).argmax())
        if kept[group[0]]:
            put(sides.index(kept[group[0]]), main, group)
        else:
            free.append((main, group))
    free.sort(key=lambda entry: len(entry[1]), reverse=True)
    waiting = np.bincount([main for main, _ in free], minlength=len(classes))
    spare = np.bincount([own[row] for _, group in free for row in group], minlength=len(classes))
    old = holds.sum(axis=1) > 0
    _check_new(waiting, old, classes, sides)
    room = [math.ceil(int(count) / 2) if known else math.inf for count, known in zip(spare, old, strict=True)]
    last = sides.index(TEST) if TEST in sides else -1
    for main, group in free:
        empty = [side for side in range(len(sides)) if not holds[main, side]]
        must = empty if 0 < waiting[main] <= len(empty) else list(range(len(sides)))
        if last in empty and waiting[main] == 1:
            must = [last]  # train and validation can give each other what was learnt
        elif last in must and last not in empty and room[main] < len(group):
            must.remove(last)
        side = max(must, key=lacking[main].__getitem__)
        room[main] -= len(group) if side == last else 0
        waiting[main] -= 1
        put(side, main, group)
    _fill(placed_groups, holds, classes, sides)
    return tuple(np.array(sorted(row for _, group in part for row in group), np.int64) for part in placed_groups)


def _check_new(
    waiting: NDArray[np.integer], old: NDArray[np.bool_], classes: Sequence[str], sides: Sequence[str]
) -> None:
    few = {label: int(count) for label, count in enumerate(waiting) if not old[label] and count < len(sides)}
    if few:
        told = ", ".join(f"{count} in `{classes[label]}`" for label, count in list(few.items())[:MOST_NAMED])
        raise RareClassError(
            f"needs at least {len(sides)} distinct readable pictures of a new class, one for each of "
            f"{', '.join(sides)}, got {told}: add pictures, or leave the class{'es' * (len(few) > 1)} out with "
            f"{leave_out([classes[label] for label in list(few)[:MOST_NAMED]])}",
            few,
        )


def _fill(
    parts: list[list[tuple[int, list[int]]]], holds: Indices, classes: Sequence[str], sides: Sequence[str]
) -> None:
    """Gives train or validation, where it lacks a class, a group of the other: the earlier run has learnt both."""
    learning = [place for place, side in enumerate(sides) if side != TEST]
    few: dict[int, int] = {}
    for label in range(len(classes)):
        for place in learning:
            if holds[label, place]:
                continue
            donors = [other for other in learning if holds[label, other] > 1]
            if not donors:
                few[label] = int(holds[label].sum())
                continue
            giver = parts[donors[0]]
            entry = min((entry for entry in giver if entry[0] == label), key=lambda entry: len(entry[1]))
            giver.remove(entry)
            parts[place].append(entry)
            holds[label, donors[0]] -= 1
            holds[label, place] += 1
    if few:
        told = ", ".join(f"`{classes[label]}` ({count})" for label, count in list(few.items())[:MOST_NAMED])
        raise RareClassError(
            f"needs a distinct readable picture of every class for each of {', '.join(sides)}, and these have too few "
            f"beside what is kept on test: {told}: add pictures, or leave the class{'es' * (len(few) > 1)} out with "
            f"{leave_out([classes[label] for label in list(few)[:MOST_NAMED]])}",
            few,
        )


def _pictures(count: int) -> str:
    return "1 picture" if count == 1 else f"{count:,} pictures"


def _trials(count: int) -> str:
    return "1 trial" if count == 1 else f"{count:,} trials"


def _is(count: int) -> str:
    return "is" if count == 1 else "are"
