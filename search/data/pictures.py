"""The pictures of a run: folder, split and packed pixels for the driver; arrays for the trials."""

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.data import decode as decoding
from search.data import demo, label_sets, treatment
from search.data.cache import Cache, intact, locked, new_array, sweep
from search.data.duplicates import NEAR, OFF, Likeness, find_duplicates
from search.data.folder import Folder, read_folder, with_notes, without_classes, without_small_classes
from search.data.folds import folds
from search.data.grouped import joined
from search.data.layout import TRAIN, listed
from search.data.library import bring_set, check_set
from search.data.predecessor import Before, Matched, Saved, prints
from search.data.rare import DROP, KEEP, REFUSE, RareClassError, dropped, kept, refused
from search.data.source import check_images, check_source, here
from search.data.split import NEARLY, SAME_GROUP, Split, distinct_pictures, split_pictures
from search.data.stanford_dogs import HOME, fetch_stanford_dogs
from search.data.table import Columns, is_table
from search.narrowing import of_family, sizes
from search.settings import DEMO, STANFORD_DOGS, Settings, is_remote, is_set
from spaces import family_of
from spaces.family import FILTER

Indices = NDArray[np.int64]
Pixels = NDArray[np.uint8]
Shape = tuple[int, str]  # side in pixels, resize filter

MOST_LOST = 0.03  # share of the training pictures that copies may cost without a warning
MOST_NAMED = 8  # pictures of the largest group that the log names
# Of so many pictures the spaces have one filter. A second makes decoding longer, and on the recorded curves
# Lanczos was 2.8 points better on photographs (standard error 1.5) and 2.9 worse on drawn pictures (2.4).
ONE_FILTER = 5_000
# Part of every key below: raise it when the same input would give other arrays.
VERSION = 5


@dataclass(frozen=True)
class File:
    """A file that the head has; a node that lacks it takes it from Ray's object store into its own cache."""

    path: Path
    digest: str
    content: Any = None  # ObjectRef of the bytes, on clusters of more than one node


@dataclass(frozen=True)
class Pictures:
    """What a trial may see of the data. `test` is empty in what the search hands to trials."""

    digest: str
    classes: tuple[str, ...]
    labels: Indices  # one per packed row; of several labels a picture 0 and 1 (packed rows, labels)
    train: Indices  # packed rows
    validation: Indices
    test: Indices
    cache: Path
    packs: dict[Shape, File]
    weights: dict[tuple[str, float], File | None] = field(default_factory=dict)  # None: random weights
    seed: int = 0  # of random weights and of the augmented views
    parts: tuple[Indices, ...] = ()  # of train, where it was joined: what is cached of each part is used again
    sample: Indices = field(default_factory=lambda: np.zeros(0, np.int64))  # of train: scales a trunk of random weights
    groups: Indices = field(default_factory=lambda: np.zeros(0, np.int64))  # by packed row: copies share one; may lack

    @property
    def multilabel(self) -> bool:
        """Whether a picture has any number of the labels that `classes` holds then."""
        return self.labels.ndim == 2

    @property
    def filters(self) -> tuple[str, ...]:
        """With what the pictures are resized in every size there is."""
        every = {size for size, _ in self.packs}
        names = dict.fromkeys(name for _, name in self.packs)
        return tuple(name for name in names if all((size, name) in self.packs for size in every))

    def without_test(self) -> "Pictures":
        """What the trials are given."""
        return replace(self, test=self.test[:0])

    def joined(self) -> "Pictures":
        """Train and validation as one training set, for the retraining of a winner."""
        parts = (self.train, self.validation)
        return replace(self, train=np.concatenate(parts), validation=self.validation[:0], parts=parts)

    def whole(self) -> "Pictures":
        """All of them as one training set, for a model that is handed over once its figure has been taken."""
        parts = (self.train, self.validation, self.test)
        none = self.test[:0]
        return replace(self, train=np.concatenate(parts), validation=none, test=none, parts=parts)

    def grouped(self, rows: Indices) -> Indices:
        """The group of copies that each of some packed rows belongs to."""
        return self.groups[rows] if len(self.groups) else rows

    def fold(self, number: int, count: int) -> "Pictures":
        """Train and validation divided anew: fold `number` of `count` is the validation side, the rest is trained on.

        Fold 0 is the validation side as it is; the others are cut from train.
        """
        parts = (self.train, self.validation)
        if number == 0:
            return replace(self, parts=parts)
        rows = np.concatenate(parts)
        own = folds(self.labels[self.train], self.grouped(self.train), count - 1, seed=self.seed) + 1
        fold = np.concatenate([own, np.zeros(len(self.validation), np.int64)])
        return replace(self, train=rows[fold != number], validation=rows[fold == number], parts=parts)

    def pixels(self, size: int, resize_filter: str = FILTER) -> Pixels:
        """All packed pictures (n, size, size, 3), memory-mapped."""
        path = self.local(self.packs[size, resize_filter])
        if not intact(path.parent):
            raise OSError(f"`{path}` in the cache is gone or damaged; the next start, or --resume, decodes anew")
        pack: Pixels = np.load(path, mmap_mode="r", allow_pickle=False)
        return pack

    def treated(self, size: int, resize_filter: str, *, threads: int, **steps: bool) -> Pixels:
        """All packed pictures after Pillow's treatment, from the cache of the node."""
        if not any(steps.values()):
            return self.pixels(size, resize_filter)

        def build(folder: Path) -> None:
            plain = self.pixels(size, resize_filter)
            result = new_array(folder / "pixels.npy", np.uint8, plain.shape)
            for start in range(0, len(plain), 512):
                part = slice(start, start + 512)
                result[part] = treatment.treat(plain[part], **steps, threads=threads)

        key = {"data": self.digest, "size": size, "filter": resize_filter, **steps, "version": VERSION}
        treated: Pixels = np.load(
            Cache(self.cache).once("treated", key, build) / "pixels.npy", mmap_mode="r", allow_pickle=False
        )
        return treated

    def copies(
        self, size: int, resize_filter: str, *, transpose: bool, rotation: float, threads: int, **steps: bool
    ) -> Pixels:
        """The treated training pictures followed by their mirrored and turned copies, from the cache of the node."""

        def build(folder: Path) -> None:
            treated = self.treated(size, resize_filter, threads=threads, **steps)
            copies = treatment.training_copies(
                np.ascontiguousarray(treated[self.train]), transpose=transpose, rotation=rotation, threads=threads
            )
            np.save(folder / "pixels.npy", copies)

        key = {
            "data": subset_digest(self.digest, self.train),
            "size": size,
            "filter": resize_filter,
            "transpose": transpose,
            "rotation": rotation,
            **steps,
            "version": VERSION,
        }
        copies: Pixels = np.load(
            Cache(self.cache).once("copies", key, build) / "pixels.npy", mmap_mode="r", allow_pickle=False
        )
        return copies

    def on_node(self, cache: Path) -> "Pictures":
        """The pictures with a cache folder of this node, and every file at a path of this node."""
        here = replace(self, cache=cache)
        return replace(
            here,
            packs={shape: File(here.local(file), file.digest) for shape, file in self.packs.items()},
            weights={backbone: file and File(here.local(file), file.digest) for backbone, file in self.weights.items()},
        )

    def local(self, file: File) -> Path:
        """A path on this node that holds the file's bytes."""
        if file.path.exists() or file.content is None:
            return file.path

        def fetch(folder: Path) -> None:
            import ray

            (folder / "content").write_bytes(memoryview(ray.get(file.content)))

        return Cache(self.cache).once("files", {"digest": file.digest}, fetch) / "content"


def _mapped(entry: Path) -> Pixels:
    pixels: Pixels = np.load(entry / "pixels.npy", mmap_mode="r", allow_pickle=False)
    return pixels


def subset_digest(digest: str, rows: Indices) -> str:
    """A name for some pictures of a data set in their order."""
    return hashlib.blake2b(digest.encode() + np.asarray(rows, np.int64).tobytes(), digest_size=12).hexdigest()


def one_hot(labels: Indices, classes: int) -> NDArray[np.float32]:
    """float32 (n, classes); what is 0 and 1 already, of several labels a picture, stays so."""
    if labels.ndim == 2:
        return labels.astype(np.float32)
    return np.eye(classes, dtype=np.float32)[labels]


def shapes_needed(settings: Settings, pictures: int = 0) -> list[Shape]:
    """Every (size, filter) that the spaces of a run can ask for, of so many pictures."""
    asked: list[str] = []
    for family in settings.families:
        rule = of_family(settings.set, family, settings.families).get("resize_filter")
        known = family_of(family).filters if rule or pictures < ONE_FILTER else (FILTER,)
        asked += [name for name in known if rule is None or name in rule.values]
    filters = list(dict.fromkeys([FILTER, *asked]))
    left = sizes(settings.set, settings.families, settings.image_sizes)
    return [(size, name) for size in left for name in filters]


def check_data(settings: Settings) -> None:
    """Raises FileNotFoundError or NotADirectoryError where the data is not there, before anything is downloaded."""
    if is_set(settings.data):
        check_set(settings)
    elif settings.data not in (DEMO, STANFORD_DOGS):
        check_source(settings.data, alone=bool(settings.images))
    if settings.images:
        check_images(settings.images)


def prepare(
    settings: Settings, threads: int, say: Callable[[str], None], before: Before | None = None
) -> tuple[Pictures, dict[str, Any]]:
    """Lists, decodes and splits the data of a run; returns its pictures and the content of `split.json`.

    Everything that is wrong with the data raises here, before Ray starts. With a run `before`, which this one goes on
    from, pictures stay on the sides where that had them, as `search.data.predecessor` says.
    """
    root, title, classes = locate(settings, threads, say)
    folder = list_folder(settings, root, classes, say)
    if folder.multilabel:
        label_sets.check_settings(settings)
    for line in before.check(folder, settings.image_sizes) if before else ():
        say(line)
    shapes = list(dict.fromkeys([*shapes_needed(settings, len(folder.pictures)), *(before.shapes if before else ())]))
    decoded, packs = decode_folder(folder, shapes, settings.cache, threads, say)
    _check_readable(folder, decoded)
    likeness = likeness_of(folder, decoded, settings.duplicates)
    groups = likeness.groups
    folder = usable_classes(settings, folder, decoded, groups)
    folder = replace(folder, notes=(*folder.notes, *size_notes(settings, decoded)))
    scan = partial(_scan_of, settings.cache)
    matched = before.match(folder, decoded, settings.duplicates, scan) if before else None
    try:
        folder, split = divided(settings, folder, decoded.readable, likeness, matched)
    except ValueError as error:
        raise ValueError(with_notes(str(error), folder.notes)) from None
    labels = labels_of(folder)
    sides = [picture.side for picture in folder.pictures] if folder.presplit else None
    readable = decoded.readable & searched(labels)
    names = [picture.name for picture in folder.pictures]
    same = SAME_GROUP if grouped(folder) else NEARLY
    learnt = f", or {matched.name} has learnt it" if matched else ""
    left_out = [
        *({"name": item.name, "reason": item.reason} for item in folder.left_out),
        *({"name": name, "reason": reason} for name, reason in decoded.reasons.items()),
        *({"name": names[row], "reason": f"{same} is on another side{learnt}"} for row in split.removed),
    ]
    warned = warnings_of(likeness, sides, readable, settings.duplicates)
    warned += _crossing(likeness, split) if settings.duplicates == OFF else []
    duplicates = _duplicates(groups, names, readable)
    if duplicates:
        say(described(duplicates))
    pictures = Pictures(
        folder.digest, folder.classes, labels, split.train, split.validation, split.test, settings.cache, packs,
        seed=settings.seed, sample=_spread(split.train, 64), groups=kept_together(folder, likeness),
    )  # fmt: skip
    sides_of = {"train": split.train.tolist(), "validation": split.validation.tolist(), "test": split.test.tolist()}
    record: dict[str, Any] = {
        "data": settings.data,
        "root": str(folder.root.resolve()),
        "title": title,
        "digest": folder.digest,
        "pixels": pixel_digest(folder, decoded),
        "seed": settings.seed,
        "classes": list(folder.classes),
        **({"multilabel": True} if folder.multilabel else {}),
        "sizes": {"train": len(split.train), "validation": len(split.validation), "test": len(split.test)},
        "notes": [*folder.notes, *level_notes(decoded, names), *split.notes, *warned],
        "levels": {kind: [known.black, known.white] for kind, known in decoded.levels.items()},
        "left_out": sorted(left_out, key=lambda item: item["name"]),
        "duplicates": duplicates,
        "likeness": {"rule": settings.duplicates, "doubted": likeness.doubted},
        **{side: [[names[row], entry_of(labels[row])] for row in rows] for side, rows in sides_of.items()},
        # By what a run that goes on from this one knows its pictures again.
        "prints": {side: prints(folder, decoded.contents, rows) for side, rows in sides_of.items()},
    }
    if grouped(folder):
        record["groups"] = {side: [folder.pictures[row].group for row in rows] for side, rows in sides_of.items()}
    if matched:
        record["from"] = matched.record(folder, split)
    return pictures, record


def list_folder(
    settings: Settings, root: Path, classes: int | None, say: Callable[[str], None] = lambda line: None
) -> Folder:
    """The files of the data, as the settings want them read."""
    return read_folder(
        root,
        classes,
        exclude=settings.exclude,
        min_pictures=settings.min_pictures if settings.rare == DROP else None,
        rare=settings.rare,
        resplit=settings.resplit,
        label_from=settings.label_from,
        label_pattern=settings.label_pattern,
        columns=Columns(
            settings.image_column,
            settings.label_column,
            settings.split_column,
            settings.group_column,
            settings.label_columns,
            settings.label_separator,
        ),
        images=here(settings.images, settings.cache, say) if settings.images else None,
        own=(Path(settings.runs_dir), settings.cache),
    )


def usable_classes(settings: Settings, folder: Folder, decoded: decoding.Decoded, groups: Indices) -> Folder:
    """The folder with those of its classes that have pictures enough.

    Raises ValueError for classes without a readable picture, unless --min-pictures leaves them out.
    """
    if folder.multilabel:
        label_sets.check_shares(labels_of(folder), folder.classes, decoded.readable, folder.root)
        return folder
    labels = np.array([picture.label for picture in folder.pictures], np.int64)
    counts = distinct_pictures(labels, groups, decoded.readable, len(folder.classes))
    least = settings.min_pictures or 1
    if settings.min_pictures and settings.rare == DROP:
        return without_small_classes(folder, counts, settings.min_pictures)
    read = np.bincount(labels[decoded.readable], minlength=len(folder.classes)).tolist()
    none = [name for name, count in zip(folder.classes, read, strict=True) if not count]
    if none:
        first = next(picture.name for picture in folder.pictures if folder.classes[picture.label] == none[0])
        raise ValueError(
            with_notes(
                f"every class needs readable pictures, and {listed(none)} of `{folder.root}` "
                f"{'have' if len(none) > 1 else 'has'} none; the first of them, `{first}`: {decoded.reasons[first]}",
                folder.notes,
            )
        )
    small = {name: count for name, count in zip(folder.classes, counts, strict=True) if count < least}
    if small and settings.rare == REFUSE:
        raise ValueError(with_notes(refused(small, least), folder.notes))
    if small and settings.rare == KEEP:
        return replace(folder, notes=(*folder.notes, kept(small, least)))
    return folder


def divided(
    settings: Settings,
    folder: Folder,
    readable: NDArray[np.bool_],
    likeness: Likeness,
    matched: Matched | Saved | None = None,
) -> tuple[Folder, Split]:
    """The sides of a folder's pictures, and the folder without the classes that were too rare to be divided.

    `matched` says what an earlier run knows of the pictures, where this one goes on from it.

    Raises ValueError where rare classes are not to be dropped, and where fewer than 2 classes would be left.
    """
    while True:
        labels = labels_of(folder)
        sides = [picture.side for picture in folder.pictures] if folder.presplit else None
        together, usable = kept_together(folder, likeness), readable & searched(labels)
        try:
            if matched is not None:
                seed, by = settings.seed, grouped(folder)
                return folder, matched.divide(folder, labels, together, usable, seed=seed, grouped=by)
            return folder, split_pictures(
                labels, together, sides, folder.classes, seed=settings.seed, readable=usable, grouped=grouped(folder)
            )
        except RareClassError as error:
            left = len(folder.classes) - len(error.counts)
            if settings.rare != DROP:
                raise
            if left < 2:
                message = f"--rare drop leaves {left} of {len(folder.classes)} classes, and 2 are needed: {error}"
                raise ValueError(message.removesuffix(", or leave the classes out with --rare drop")) from None
            note = dropped({folder.classes[label]: count for label, count in error.counts.items()})
            folder = without_classes(folder, error.counts, note)


def labels_of(folder: Folder) -> Indices:
    """The label of each picture (n,), -1 for one that is not searched; of several labels 0 and 1 (n, labels)."""
    if not folder.multilabel:
        return np.array([picture.label for picture in folder.pictures], np.int64)
    found = np.zeros((len(folder.pictures), len(folder.classes)), np.int64)
    for row, picture in enumerate(folder.pictures):
        found[row, list(picture.labels or ())] = 1
    return found


def searched(labels: Indices) -> NDArray[np.bool_]:
    """Which pictures are searched, by `labels_of` (n,): those of classes that were left out are not."""
    return labels >= 0 if labels.ndim == 1 else np.ones(len(labels), np.bool_)


def entry_of(label: Any) -> int | list[int]:
    """What split.json says of a picture beside its name: its label, or the list of all of them."""
    return int(label) if np.ndim(label) == 0 else [int(place) for place in np.flatnonzero(label)]


def size_notes(settings: Settings, decoded: decoding.Decoded) -> list[str]:
    """What is to be said of pictures that are smaller than a search wants them."""
    shorter = np.minimum(decoded.width, decoded.height)[decoded.readable]
    largest = max(settings.image_sizes)
    small = shorter[shorter < largest]
    if not len(small):
        return []
    every = f"all {len(shorter):,}" if len(small) == len(shorter) else f"{len(small):,} of {len(shorter):,}"
    sides = f"{small.min()} to {small.max()}" if small.min() < small.max() else f"{small.min()}"
    return [
        f"{every} pictures are smaller than {largest} pixels, the largest of --image-sizes, and are enlarged there: "
        f"their shorter sides are of {sides} pixels"
    ]


def locate(settings: Settings, threads: int, say: Callable[[str], None]) -> tuple[Path, str, int | None]:
    """The folder of the data, its title, and how many classes are kept (None for all)."""
    if settings.data == DEMO:
        say("drawing the demo set")
        root = settings.cache / f"demo-{demo.VERSION}"
        with _swept(root.with_suffix(".lock"), settings.cache, f".{root.name}-*"):
            return demo.draw_demo(root, threads=threads), "the drawn demo set", settings.classes
    if settings.data == STANFORD_DOGS:
        with _swept(settings.cache / f"{HOME}.lock", settings.cache / HOME, ".unpacking-*"):
            return fetch_stanford_dogs(settings.cache), "Stanford Dogs", settings.classes or 10
    if is_set(settings.data):
        return bring_set(settings, say), settings.data, settings.classes
    if is_remote(settings.data):
        path = here(settings.data, settings.cache, say, alone=bool(settings.images))
        return path, settings.data.partition("?")[0], settings.classes
    whole = Path(settings.data).resolve()
    # A table is hardly ever called after what it labels.
    title = f"{whole.parent.name}/{whole.name}" if whole.is_file() and is_table(whole.name) else whole.name
    return here(settings.data, settings.cache, say), title, settings.classes


@contextmanager
def _swept(lock: Path, folder: Path, pattern: str) -> Iterator[None]:
    """Holds a lock, once what others who held it and were killed have left half made is removed."""
    with locked(lock):
        for left in folder.glob(pattern):
            shutil.rmtree(left, ignore_errors=True)
        yield


def decode_folder(
    folder: Folder, shapes: Sequence[Shape], root: Path, threads: int, say: Callable[[str], None]
) -> tuple[decoding.Decoded, dict[Shape, File]]:
    """What decoding found out about a folder's pictures, and their packed pixels, from the cache where it has them."""
    cache = Cache(root)
    scan_key = {"data": folder.digest, "version": VERSION}
    keys = {shape: {**scan_key, "size": shape[0], "filter": shape[1]} for shape in shapes}
    scan_place = cache.place("scans", scan_key)
    with locked(scan_place.with_suffix(".decode.lock")):
        missing = [shape for shape in shapes if not cache.holds("pixels", keys[shape])]
        if missing or not cache.holds("scans", scan_key):
            say(f"decoding {len(folder.pictures):,} pictures")
            sweep(scan_place, "decoding-*")
            with tempfile.TemporaryDirectory(prefix=f"{scan_place.name}.decoding-", dir=scan_place.parent) as aside:
                decoded = decoding.decode(folder, missing, Path(aside), threads)

                for shape in missing:
                    packed = Path(aside) / decoding.pack_name(*shape)
                    cache.once("pixels", keys[shape], partial(_move, packed))
            cache.once("scans", scan_key, partial(_save, decoded))
    packs = {
        shape: File(cache.place("pixels", key) / "pixels.npy", cache.place("pixels", key).name)
        for shape, key in keys.items()
    }
    return decoding.Decoded.load(scan_place / "scan.npz"), packs


def level_notes(decoded: decoding.Decoded, names: Sequence[str]) -> list[str]:
    """What is black and white in pictures of more than 8 bits a channel, in a sentence for each kind of levels."""
    said = []
    for kind, known in decoded.levels.items():
        rows = decoded.deep(kind)
        low, high = decoded.low[rows], decoded.high[rows]
        outside = rows[(low < known.black) | (high > known.white)]
        cut = (
            f"; {len(outside)} of them go beyond and are cut there, first `{names[outside[0]]}`" if len(outside) else ""
        )
        used = f"{kind} levels, {low.min():,.10g} to {high.max():,.10g}"
        said.append(
            f"{len(rows):,} picture{'s have' if len(rows) > 1 else ' has'} more than 8 bits a channel ({used}): "
            f"in all of them {known.black:,.10g} is black and {known.white:,.10g} is white{cut}"
        )
    return said


def _scan_of(root: Path, digest: str) -> decoding.Decoded | None:
    """What decoding found of a data set, where the cache still has it."""
    key = {"data": digest, "version": VERSION}
    cache = Cache(root)
    return decoding.Decoded.load(cache.place("scans", key) / "scan.npz") if cache.holds("scans", key) else None


def _move(packed: Path, place: Path) -> None:
    shutil.move(packed, place / "pixels.npy")


def _save(decoded: decoding.Decoded, place: Path) -> None:
    decoded.save(place / "scan.npz")


def _spread(rows: Indices, most: int) -> Indices:
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(np.int64))]


def _check_readable(folder: Folder, decoded: decoding.Decoded) -> None:
    if not decoded.readable.any():
        first = folder.pictures[0].name
        raise ValueError(
            with_notes(
                f"the data needs readable pictures, and none of the {len(folder.pictures)} in `{folder.root}` is one; "
                f"the first of them, `{first}`: {decoded.reasons[first]}",
                folder.notes,
            )
        )


def likeness_of(folder: Folder, decoded: decoding.Decoded, rule: str) -> Likeness:
    """The groups of pictures that are one picture, under a rule of `--duplicates`."""
    digests = [picture.digest for picture in folder.pictures]
    return find_duplicates(digests, decoded.contents, decoded.thumbnails, rule)


def grouped(folder: Folder) -> bool:
    """Whether a table says which pictures belong together."""
    return any(picture.group for picture in folder.pictures)


def kept_together(folder: Folder, likeness: Likeness) -> Indices:
    """The group of each picture that no side of the split and no fold may divide: copies, and what a table groups."""
    if not grouped(folder):
        return np.asarray(likeness.groups, np.int64)
    return joined(likeness.groups, [picture.group for picture in folder.pictures])


def pixel_digest(folder: Folder, decoded: decoding.Decoded) -> str:
    """A name for the readable pictures and their classes, whatever their files are called and wherever they lie."""
    lines = sorted(
        f"{folder.of(picture)}\0{first:016x}{second:016x}"
        for picture, (first, second), readable in zip(
            folder.pictures, decoded.contents.tolist(), decoded.readable.tolist(), strict=True
        )
        if readable and picture.label >= 0
    )
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()


def warnings_of(
    likeness: Likeness, sides: Sequence[str | None] | None, readable: NDArray[np.bool_], rule: str
) -> list[str]:
    """What nobody should overlook: likeness that is not believed, and a training set that shrinks by copies."""
    said = []
    if likeness.doubted:
        said.append(
            f"WARNING: {_plural(likeness.doubted, 'picture')} of {int(readable.sum()):,} look like copies of others, "
            "too many to be believed: only those of the same bytes or pixels are kept on one side of the split. Where "
            "they are copies, such as frames of a film, divide them into train/, validation/ and test/; where they "
            "are not, --duplicates exact says so"
        )
    if sides is not None:
        train = np.array([side == TRAIN for side in sides]) & readable
        others = readable & ~train
        lost = train & np.isin(likeness.groups, likeness.groups[others])
        if lost.sum() > MOST_LOST * train.sum():
            kept = int((lost & ~np.isin(likeness.identical, likeness.identical[others])).sum())
            ways = [f"--duplicates exact keeps {kept:,} of them"] if kept and rule == NEAR else []
            same = "the same or nearly the same" if rule == NEAR else "the same"
            said.append(
                f"WARNING: {int(lost.sum()):,} of {int(train.sum()):,} training pictures "
                f"{'is' if lost.sum() == 1 else 'are'} left out, because {same} picture is in validation or test; "
                f"{', '.join([*ways, '--duplicates off keeps all'])}"
            )
    return said


def _crossing(likeness: Likeness, split: Split) -> list[str]:
    """The line that says how many pictures lie on several sides, where copies may (`--duplicates off`)."""
    used = np.concatenate([split.train, split.validation, split.test])
    side = np.repeat([0, 1, 2], [len(split.train), len(split.validation), len(split.test)])
    identical = likeness.identical[used]
    spread = np.unique(np.stack([identical, side]), axis=1).shape[1] - len(np.unique(identical))
    if not spread:
        return []
    return [
        f"WARNING: {_plural(spread, 'picture')} of one side of the split {'is' if spread == 1 else 'are'} on another "
        "as well (--duplicates off), which flatters the results"
    ]


def described(duplicates: Sequence[Sequence[str]]) -> str:
    """Groups of copies in one line, with the largest."""
    largest = max(duplicates, key=len)
    names = ", ".join(largest[:MOST_NAMED]) + (" and others" if len(largest) > MOST_NAMED else "")
    return (
        f"duplicates: {_plural(len(duplicates), 'group')} of {_plural(sum(map(len, duplicates)), 'picture')} in all, "
        f"each kept on one side of the split, the largest of {len(largest):,}: {names}"
    )


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _duplicates(groups: Indices, names: Sequence[str], readable: NDArray[np.bool_]) -> list[list[str]]:
    members: dict[int, list[str]] = {}
    for group, name, usable in zip(groups.tolist(), names, readable.tolist(), strict=True):
        if usable:
            members.setdefault(group, []).append(name)
    return [found for found in members.values() if len(found) > 1]
