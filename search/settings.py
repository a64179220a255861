"""What a run is asked to do: one flat record, saved with the run."""

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from decimal import Decimal
from importlib import metadata
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

from models.backbones import check_sides, known
from results.analysis.metrics import ACCURACY, METRICS
from search.home import home, own_temporary
from search.narrowing import rules
from spaces import FAMILIES, family_of

GROUP = "pedigree.families"  # of entry points, by which packages add theirs
PRECISIONS = ("auto", "float32", "bfloat16")
OBJECTIVES = ("accuracy", "latency", "size")
REFIT = ("all", "none")
CLASS_WEIGHTS = ("auto", "none")
DEMO = "demo"
STANFORD_DOGS = "stanford-dogs"

PIXEL_RANGES = ("auto", "0..1", "0..255")
LABELS_FROM = ("auto", "top", "parent", "path")
SMALLEST, SMALLEST_TRUNK = 16, 32  # pixels a side: of any picture, and of one that a MobileNet halves five times
TRUNK_RULE = (
    f"sides from {SMALLEST_TRUNK} pixels for mobilenet, to which smaller pictures are enlarged (the other families "
    f"take {SMALLEST} and more: leave it out, as with --families scratch_pillow,scratch_keras)"
)

# The settings that are paths, each with those of its values that are none.
PATHS: dict[str, tuple[str, ...]] = {
    "data": (DEMO, STANFORD_DOGS), "weights": ("imagenet", "demo", "none"), "runs_dir": (), "cache_dir": ("",),
    "images": ("",), "from_run": ("",),
}  # fmt: skip
DUPLICATES = ("near", "exact", "off")
TRACKERS = ("mlflow", "wandb", "tensorboard")
RARE = ("drop", "keep", "refuse")

_REFERENCE = re.compile(r"(?:([A-Za-z][A-Za-z0-9_]{0,49})=)?(\w+(?:\.\w+)*:(?:\w+\.)*(\w+))")
_FILE = re.compile(r"(?:([A-Za-z][A-Za-z0-9_]{0,49})=)?((.+\.py):(?:\w+\.)*(\w+))", re.DOTALL)
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_SET = re.compile(r"(hf|tfds):(?!//)")
_HERE = re.compile(r"(?:hf|tfds):(?=[~./])")  # in front of the path of a set that lies on this machine
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_LATENCY = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*(us|ms|s)")
_LATENCY_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_COUNT = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*([kmg]?)")
_COUNTED = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}
_STORE = re.compile(r"(https?|file|sqlite|(?:postgresql|mysql|mssql)(?:\+\w+)?|databricks(?:-uc)?):.+")
_PROJECT = re.compile(r"(?:[^/\\#?%:]{1,128}/)?[^/\\#?%:]{1,128}")


def default_cache() -> str:
    """The folder of the shared cache: `$PEDIGREE_CACHE`, else below the user's own cache folder.

    Without a home folder that can be written it is one of the user's own among the temporary ones.
    """
    given, base = os.environ.get("PEDIGREE_CACHE"), os.environ.get("XDG_CACHE_HOME")
    if not given and not base:
        own = home()
        if own is None:
            return str(own_temporary())
        base = str(own / ".cache")
    # Absolute, because workers run in another folder.
    return str(Path(os.path.expanduser(given or f"{base}/pedigree")).absolute())


def placed(values: Mapping[str, Any], *folders: Path) -> dict[str, Any]:
    """The values with every path absolute, so that it means the same in whatever folder the run goes on.

    Args:
        folders: from where a relative path may be meant: the first in which it leads to something, else the first. By
            default the current one.
    """
    paths = {name: values[name] for name in PATHS if isinstance(values.get(name), str)}
    own = {"hypermodel": tuple(_reference(text, folders) for text in values.get("hypermodel", ()))}
    own |= {"track": tuple(_target(text, folders) for text in values.get("track", ()))}
    return {
        **values,
        **{name: _placed(text, folders) for name, text in paths.items() if text not in PATHS[name]},
        **{name: found for name, found in own.items() if name in values},
    }


def _target(text: str, folders: Sequence[Path]) -> str:
    """A tracker and its target, with the whole path where that is a folder."""
    name, _, target = text.partition("=")
    folder = name == "tensorboard" or (name == "mlflow" and ":" not in target and not target.startswith("databricks"))
    return f"{name}={_placed(target, folders)}" if target and folder else text


def _reference(text: str, folders: Sequence[Path]) -> str:
    """A hypermodel's reference, with the whole path of the file where it names one."""
    found = _FILE.fullmatch(text)
    return f"{text[: found.start(3)]}{_placed(found[3], folders)}{text[found.end(3) :]}" if found else text


def is_remote(text: str) -> bool:
    """Whether a source of data is an address and no path."""
    return _ADDRESS.match(text) is not None


def is_set(text: str) -> bool:
    """Whether a source of data names a set of one of the libraries of sets, as `hf:NAME`."""
    return _SET.match(text) is not None


def is_elsewhere(text: str) -> bool:
    """Whether a source of data is no path of this machine: an address, or a set of a library."""
    return is_remote(text) or is_set(text)


def _placed(text: str, folders: Sequence[Path]) -> str:
    if is_remote(text):
        return text
    if is_set(text):
        found = _HERE.match(text)
        return f"{found[0]}{_placed(text[found.end() :], folders)}" if found else text
    path = Path(os.path.expanduser(text))
    if path.is_absolute():
        return str(path)
    places = [folder / path for folder in folders or (Path.cwd(),)]
    return str(next((place for place in places if place.exists()), places[0]))


@dataclass(frozen=True)
class Settings:
    """Everything that decides what a run does; `settings.json` is this record."""

    # A folder of class folders, an archive, a table, an address, a set (hf:NAME, tfds:NAME), `stanford-dogs` or `demo`.
    data: str = DEMO
    images: str = ""  # what the paths of a table are relative to; by default its own folder
    image_column: str = ""  # of a table: the pictures' files; by default found by its name
    label_column: str = ""  # of a table: the classes; by default found by its name
    # Of a table of several labels a picture: columns of 0 and 1, one for each label; by default found by their values.
    label_columns: tuple[str, ...] = ()
    label_separator: str = ""  # between the labels of a picture in a table; by default found where it is ; or |
    split_column: str = ""  # of a table: train, validation or test; by default found by its name; none: not used
    group_column: str = ""  # of a table: what never crosses the split; by default found by its name; none: not used
    duplicates: str = "near"  # kept on one side of the split: near, exact (the same bytes or pixels), or off
    classes: int | None = None  # keep the N best-represented; None keeps all (10 for stanford-dogs)
    exclude: tuple[str, ...] = ()  # classes that are left out, by the names of their folders
    min_pictures: int | None = None  # classes with fewer distinct readable pictures are left out; None keeps all
    rare: str = "drop"  # classes of too few pictures: drop, keep (one picture a side at least), or refuse the data
    resplit: bool = False  # cut the sides anew where the data is already split
    # Folders that are classes: top: those directly below the data; parent: those that hold the pictures; path: all.
    label_from: str = "auto"
    label_pattern: str = ""  # a regular expression whose group finds the class in the name of a file
    families: tuple[str, ...] = tuple(FAMILIES)  # which kinds of model are searched
    # Families of the user's own: `package.module:Name` or `path/to/file.py:Name`, with `FAMILY=` in front or not.
    hypermodel: tuple[str, ...] = ()
    pixel_range: str = "auto"  # of the pictures that these are fed: 0..1, 0..255, or auto: as their first layers want
    set: tuple[str, ...] = ()  # what hyperparameters are narrowed to: `NAME=VALUE`, a list or a range, FAMILY. in front
    trials: int | None = None  # configurations of each family at most; None: as many as the time budget allows
    epochs: int | None = None  # of a full trial; None: as many as the time budget allows, 9 without one
    # auto: where the training pictures are imbalanced, the spaces choose how much rare classes count, and the loss.
    class_weights: str = "auto"
    metric: str = ACCURACY  # what trials, finals and families are judged by
    # What the searcher is after: accuracy, or the metric in its place, and perhaps latency and size.
    objective: tuple[str, ...] = ("accuracy",)
    max_latency: float | None = None  # seconds that a model may take for one picture
    max_parameters: int | None = None  # that a model may have
    time_budget: float | None = None  # seconds for the whole command, retraining and report included
    image_sizes: tuple[int, ...] = (96, 160, 224)  # sides in pixels that the spaces may choose
    weights: str = "imagenet"  # `imagenet`, `demo`, `none`, a weights file, or a folder of them
    backbones: tuple[str, ...] = ()  # trunks of mobilenet, by name; by default the MobileNets that `weights` has
    views: int = 4  # augmented versions of the training set whose activations are cached, the plain one included
    concurrency: int | None = None  # trials at a time; None fills the cluster
    cpus_per_trial: float = 1.0  # CPU cores of one trial, and its threads
    gpus_per_trial: float | None = None  # GPUs of one trial, or a share of one; None is one where there is one
    precision: str = "auto"  # of convolutions: float32, bfloat16, or auto: bfloat16 where it is measured faster
    reduction: int = 3  # ASHA keeps the best 1/reduction at each rung but the first
    first_rung: int = 1  # epochs before the first comparison
    finalists: int = 3  # best configurations of a family that meet in a final, on other folds; 1 for none
    final_seeds: int = 3  # retrainings of each family's best configuration; more where time is left
    refit: str = "all"  # all: the delivered models are trained once more, on the test pictures too; none: as scored
    ensemble: int = 0  # next best configurations of the winning family that are retrained and averaged beside it
    warm_start: tuple[str, ...] = ()  # folders of earlier runs, from which the studies learn
    from_run: str = ""  # folder of the run that this one goes on from, with other data; --from on the command line
    seed: int = 0  # of the split, the spaces, the trials and the retrainings
    name: str = ""  # of the run and its folder; by default data and time
    runs_dir: str = "runs"  # where run folders are made
    offsite: str = ""  # the address to which the run is mirrored, where --runs-dir is one; its folder lies in the cache
    cache_dir: str = ""  # pixels and activations, shared by all runs and by the trials of a node
    cache_limit: int | None = (
        None  # bytes to which the cache is brought at the start and the end of a run; None: as it is
    )
    address: str | None = None  # an existing Ray cluster; None starts Ray here
    dashboard: str = "auto"  # of a Ray started here: auto is on localhost where it is installed; off; or HOST[:PORT]
    worker_memory: float = 6.0  # GiB past which a worker is replaced between trials
    max_failures: int = 2  # times that a trial whose worker died is tried again; a lost machine does not count
    trial_timeout: float | None = 3600.0  # seconds without a sign of life after which a trial is ended
    track: tuple[str, ...] = ()  # trackers that are told of the run: mlflow, wandb, tensorboard, or NAME=TARGET

    def __post_init__(self) -> None:
        for field in fields(self):
            texts = getattr(self, field.name)
            for text in texts if isinstance(texts, tuple) else (texts,):
                # No path holds one, and the system's own message would not say where it stands.
                _check(not isinstance(text, str) or "\0" not in text, field.name, "text without a null byte", text)
        _check(self.families != (), "families", "at least one family", self.families)
        own = own_families(self.hypermodel)
        for family in self.families:
            _check(
                family in FAMILIES or family in own, "families", f"names from {', '.join((*FAMILIES, *own))}", family
            )
        for family in own:
            _check(family in self.families, "families", f"every --hypermodel, so `{family}` as well", self.families)
        try:
            narrowed = rules(self.set)
        except ValueError as error:
            raise ValueError(f"`set` {error}") from None
        for name in narrowed:
            apart = name.partition(".")[0] in {*FAMILIES} - {*self.families}
            _check(not apart, "set", f"families that are searched ({', '.join(self.families)})", name)
        _check(self.pixel_range in PIXEL_RANGES, "pixel_range", f"one of {', '.join(PIXEL_RANGES)}", self.pixel_range)
        _check(len(set(self.families)) == len(self.families), "families", "each family once", self.families)
        _check(self.duplicates in DUPLICATES, "duplicates", f"one of {', '.join(DUPLICATES)}", self.duplicates)
        _check(self.rare in RARE, "rare", f"one of {', '.join(RARE)}", self.rare)
        _check(self.classes is None or self.classes >= 2, "classes", "2 or more", self.classes)
        for name in ("trials", "epochs", "views", "first_rung", "final_seeds", "finalists"):
            value = getattr(self, name)
            _check(value is None or value >= 1, name, "1 or more", value)
        _check(self.cache_limit is None or self.cache_limit >= 0, "cache_limit", "0 bytes or more", self.cache_limit)
        _check(self.refit in REFIT, "refit", f"one of {', '.join(REFIT)}", self.refit)
        _check(self.ensemble >= 0, "ensemble", "0 or more", self.ensemble)
        _check(self.reduction >= 2, "reduction", "2 or more", self.reduction)
        _check(self.image_sizes != (), "image_sizes", "at least one size", self.image_sizes)
        for size in self.image_sizes:
            _check(SMALLEST <= size <= 1024, "image_sizes", f"sides from {SMALLEST} to 1024 pixels", size)
            _check(not self.transfers or size >= SMALLEST_TRUNK, "image_sizes", TRUNK_RULE, size)
        self._check_backbones()
        _check(self.label_from in LABELS_FROM, "label_from", f"one of {', '.join(LABELS_FROM)}", self.label_from)
        _check_pattern(self.label_pattern)
        named = [name for name in ("image_column", "label_column", "label_columns", "label_separator", "split_column",
                                   "group_column", "images") if getattr(self, name)]  # fmt: skip
        tabled = "no table beside it, whose labels are not in the names of files"
        _check(not (self.label_pattern and named), "label_pattern", tabled, ", ".join(named))
        _check_label_columns(self.label_columns, self.label_column, self.label_separator)
        _check(
            not self.label_pattern or self.label_from == "auto",
            "label_pattern", "no label_from beside it", self.label_from,
        )  # fmt: skip
        _check(self.min_pictures is None or self.min_pictures >= 1, "min_pictures", "1 or more", self.min_pictures)
        _check(len(set(self.image_sizes)) == len(self.image_sizes), "image_sizes", "each size once", self.image_sizes)
        weights = f"one of {', '.join(CLASS_WEIGHTS)}"
        _check(self.class_weights in CLASS_WEIGHTS, "class_weights", weights, self.class_weights)
        _check(self.metric in METRICS, "metric", f"one of {', '.join(METRICS)}", self.metric)
        for objective in self.objective:
            _check(objective in OBJECTIVES, "objective", f"names from {', '.join(OBJECTIVES)}", objective)
        _check(len(set(self.objective)) == len(self.objective), "objective", "each name once", self.objective)
        _check("accuracy" in self.objective, "objective", "accuracy among its names", self.objective)
        _check(
            self.max_latency is None or 0 < self.max_latency < math.inf,
            "max_latency",
            "more than 0 seconds",
            self.max_latency,
        )
        _check(
            self.max_parameters is None or self.max_parameters >= 1, "max_parameters", "1 or more", self.max_parameters
        )
        _check(self.time_budget is None or self.time_budget > 0, "time_budget", "more than 0 seconds", self.time_budget)
        _check(self.concurrency is None or self.concurrency >= 1, "concurrency", "1 or more", self.concurrency)
        _check(0 < self.cpus_per_trial < math.inf, "cpus_per_trial", "more than 0", self.cpus_per_trial)
        _check(
            self.gpus_per_trial is None
            or 0 <= self.gpus_per_trial <= 1
            or (1 < self.gpus_per_trial < math.inf and self.gpus_per_trial == int(self.gpus_per_trial)),
            "gpus_per_trial",
            "0 to 1, or a whole number of GPUs",
            self.gpus_per_trial,
        )
        _check(self.precision in PRECISIONS, "precision", f"one of {', '.join(PRECISIONS)}", self.precision)
        _check(
            re.fullmatch(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?", self.dashboard) is not None,
            "dashboard",
            "auto, off, or HOST or HOST:PORT",
            self.dashboard,
        )
        _check(self.max_failures >= 0, "max_failures", "0 or more", self.max_failures)
        _check(self.trial_timeout is None or self.trial_timeout > 0, "trial_timeout", "more than 0", self.trial_timeout)
        _check(len(set(self.warm_start)) == len(self.warm_start), "warm_start", "each run once", self.warm_start)
        learnt = "other runs than that of --from, which is learnt from already"
        _check(not self.from_run or self.from_run not in self.warm_start, "warm_start", learnt, self.from_run)
        _check(self.worker_memory > 0, "worker_memory", "more than 0 GiB", self.worker_memory)
        trackers(self.track)
        _check(not is_remote(self.runs_dir), "runs_dir", "a folder of this machine", self.runs_dir)
        _check(
            not self.offsite or re.match(r"(s3|gs)://[^/@]+(/|$)", self.offsite) is not None,
            "offsite", "an address s3://BUCKET/FOLDER or gs://BUCKET/FOLDER", self.offsite,
        )  # fmt: skip
        _check(0 <= self.seed < 2**31, "seed", "0 to 2147483647", self.seed)
        _check(
            not self.name or re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", self.name) is not None,
            "name",
            "letters, digits, dot, dash and underscore, starting with a letter or digit, 100 at most",
            self.name,
        )

    def _check_backbones(self) -> None:
        try:
            trunks = [known(name) for name in self.backbones]
        except ValueError as error:
            raise ValueError(f"`backbones` needs {error}") from None
        _check(len(set(trunks)) == len(trunks), "backbones", "each trunk once", self.backbones)
        whose = " or ".join(name for name, family in FAMILIES.items() if family.transfers)
        among = f"the family {whose}, whose trunks they are, among `families`"
        _check(not trunks or self.transfers, "backbones", among, self.families)
        check_sides(trunks, self.image_sizes)

    @property
    def transfers(self) -> bool:
        """Whether any of the families has a pretrained trunk."""
        return any(family_of(family).transfers for family in self.families)

    @property
    def timed(self) -> bool:
        """Whether full trials are as long as the time allows."""
        return self.time_budget is not None and self.epochs is None

    @property
    def folder(self) -> Path:
        """The run folder."""
        return Path(self.runs_dir) / self.name

    @property
    def cache(self) -> Path:
        """The cache folder."""
        return Path(self.cache_dir or default_cache())

    def to_json(self) -> str:
        """The record as `settings.json` holds it."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Settings":
        """Reads `settings.json`; raises ValueError for an unknown field or a bad value."""
        try:
            values: dict[str, Any] = json.loads(text)
        except RecursionError:
            raise ValueError("needs a JSON object of settings, got one nested too deep to read") from None
        if not isinstance(values, dict):
            raise ValueError(f"needs a JSON object of settings, got {str(values)[:80]}")
        kinds = get_type_hints(cls)
        for name, value in values.items():
            _check(name in kinds, "settings.json", f"fields from {', '.join(sorted(kinds))}", name)
            _check(
                _is(value, kinds[name]),
                name,
                f"a value of the kind {getattr(kinds[name], '__name__', kinds[name])}",
                value,
            )
        lists: dict[str, Any] = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        return cls(**{**values, **lists})


def own_families(references: Sequence[str]) -> dict[str, str]:
    """The families that hypermodels make, by name, each with its `package.module:Name` or `path/to/file.py:Name`.

    Raises ValueError for a reference of another form and for names that are taken or cannot name a file.
    """
    own: dict[str, str] = {}
    for reference in references:
        found = _REFERENCE.fullmatch(reference) or _FILE.fullmatch(reference)
        if found is None:
            forms = "a form such as package.module:Name, path/to/file.py:Name or family=package.module:Name"
            _check(False, "hypermodel", forms, reference)
            continue
        family = found[1] or found[found.re.groups]
        named = "names of letters, digits and underscores that start with a letter: put `family=` in front of others"
        _check(re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,49}", family) is not None, "hypermodel", named, reference)
        # On some file systems `Net.keras` and `net.keras` are one file.
        taken = [name for name in (*FAMILIES, *own) if name.lower() == family.lower()]
        _check(not taken, "hypermodel", f"names of their own: put `family=` in front, `{family}` is taken", reference)
        own[family] = found[2]
    return own


def installed_families() -> dict[str, str]:
    """The families that installed packages bring, by name, each with its `package.module:Name`.

    A package names a `keras_tuner.HyperModel`, or a function `build(hp)`, as an entry point of the group `GROUP`.
    """
    return {point.name: point.value for point in metadata.entry_points(group=GROUP) if point.name not in FAMILIES}


def trackers(track: Sequence[str]) -> dict[str, str]:
    """The trackers by name, each with its target, which is empty where the tracker's own default is meant.

    Raises ValueError for an unknown name and for a target that the tracker cannot have.
    """
    found: dict[str, str] = {}
    for text in track:
        name, has, target = text.partition("=")
        _check(name in TRACKERS, "track", f"names from {', '.join(TRACKERS)}, as NAME or NAME=TARGET", text)
        _check(name not in found, "track", "each tracker once", text)
        _check(not has or target != "", "track", "a target behind `=`, or the name alone", text)
        if name == "mlflow" and target:
            _check_store(target, text)
        if name == "wandb" and target:
            _check(_PROJECT.fullmatch(target) is not None, "track", "wandb=PROJECT or wandb=ENTITY/PROJECT", text)
        found[name] = target
    return found


def _check_store(target: str, text: str) -> None:
    known = _STORE.fullmatch(target) is not None or ":" not in target
    _check(known, "track", "mlflow=http://HOST:PORT, mlflow=sqlite:///FILE, mlflow=databricks or mlflow=FOLDER", text)
    try:
        parts = urlsplit(target)
        password, whole = parts.password, parts.scheme not in ("http", "https") or (parts.hostname and parts.port != 0)
    except ValueError:
        password, whole = None, False
    # It would stand in settings.json and in whatever is said of this tracker.
    safe = "an address without a password: MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD take it"
    if password is not None:
        raise ValueError(f"`track` needs {safe}; got one in the address of mlflow")
    _check(bool(whole), "track", "mlflow=http://HOST:PORT with a host, and a port from 1 to 65535", text)


def _is(value: Any, kind: Any) -> bool:
    """Whether a value from JSON is what a field holds: a list for a tuple, a whole number also where others go."""
    if get_origin(kind) is UnionType:
        return any(_is(value, one) for one in get_args(kind))
    if get_origin(kind) is tuple:
        return isinstance(value, list) and all(_is(one, get_args(kind)[0]) for one in value)
    if kind in (int, float):
        # JSON's whole numbers have no end, and nothing here counts beyond 64 bits; a bool is no number.
        whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
        return whole or (kind is float and isinstance(value, float))
    return isinstance(value, kind)


def storage(text: str) -> int:
    """Bytes from `20GB`, `500 MB` or a plain number; raises ValueError for anything else."""
    units = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
    plain = text.strip().upper()
    number = plain.rstrip("BKMGT").strip()
    unit = plain[len(number) :].strip()
    try:
        value = float(number) * units[unit]
    except (KeyError, ValueError):
        raise ValueError(f"needs a size such as 500MB or 20GB, got {text!r}") from None
    if not 0 <= value < float("inf"):
        raise ValueError(f"needs a size of 0 or more, got {text!r}")
    return int(value)


def seconds(text: str) -> float:
    """A duration such as `90`, `90s`, `30m`, `1h30m` or `2d`, in seconds; raises ValueError for anything else."""
    compact = text.strip().lower()
    parts = _DURATION.findall(compact)
    if not parts or "".join(number + unit for number, unit in parts) != compact.replace(" ", ""):
        raise ValueError(f"a duration needs a form such as 90s, 30m or 1h30m, got {text!r}")
    total = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if not math.isfinite(total) or total <= 0:
        raise ValueError(f"a duration needs more than 0 seconds, got {text!r}")
    return total


def latency(text: str) -> float:
    """A latency such as `20ms`, `0.02s` or `800us`, in seconds; raises ValueError for anything else.

    A bare number is refused: nobody could tell milliseconds from seconds.
    """
    found = _LATENCY.fullmatch(text.strip().lower())
    if found is None:
        raise ValueError(f"a latency needs a number and its unit, as 20ms or 0.02s, got {text!r}")
    total = float(found[1]) * _LATENCY_SECONDS[found[2]]
    if not 0 < total < math.inf:
        raise ValueError(f"a latency needs more than 0 seconds, got {text!r}")
    return total


def count(text: str) -> int:
    """A count such as `5M`, `500k` or `1200000`; raises ValueError for anything else."""
    found = _COUNT.fullmatch(text.strip().lower())
    if found is None:
        raise ValueError(f"a count needs a form such as 500k, 5M or 1200000, got {text!r}")
    total = Decimal(found[1]) * _COUNTED[found[2]]
    if total < 1 or total != int(total):
        raise ValueError(f"a count needs a whole number of at least 1, got {text!r}")
    return int(total)


def _check_pattern(pattern: str) -> None:
    """Raises ValueError for a regular expression that cannot find a class."""
    if not pattern:
        return
    try:
        groups = re.compile(pattern).groups
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"`label_pattern` needs a regular expression, got {pattern!r}: {error}") from None
    rule = "a regular expression with a group that is the class, such as ([a-z]+)_[0-9]+"
    _check(groups >= 1, "label_pattern", rule, pattern)


def _check_label_columns(columns: Sequence[str], column: str, separator: str) -> None:
    """Raises ValueError for columns of several labels a picture that leave it open where its labels stand."""
    beside = column or separator
    rule = "two columns of 0 and 1 or more, one for each label"
    _check(len(columns) != 1, "label_columns", rule, columns)
    _check(len(set(columns)) == len(columns), "label_columns", "each column once", columns)
    _check(not (columns and beside), "label_columns", "no label_column and no label_separator beside it", beside)


def _check(holds: bool, field: str, rule: str, value: object) -> None:
    if not holds:
        raise ValueError(f"`{field}` needs {rule}, got {value!r}")


# What may change when a run is resumed: how much is done, which may only grow, where and how it is done, and where its
# data lies, of which the digest then shows that it is the same.
GROWING = ("trials", "time_budget", "ensemble")
FREE = (
    "data", "images", "concurrency", "cpus_per_trial", "gpus_per_trial", "cache_dir", "cache_limit", "address",
    "worker_memory", "dashboard", "max_failures", "trial_timeout", "refit", "track", "offsite",
)  # fmt: skip


def resumed(saved: Settings, given: Mapping[str, Any]) -> Settings:
    """The settings of a resumed run: the saved ones and what may change of them.

    Raises ValueError for a setting that would make its trials impossible to compare.
    """
    for name, value in given.items():
        before = getattr(saved, name)
        if value == before or name in FREE:
            continue
        _check(name in GROWING, name, f"the value that the run was begun with, {before!r}", value)
        # None is without end.
        grows = value is None or (before is not None and value >= before) or (name == "time_budget" and before is None)
        _check(grows, name, f"at least what the run was begun with, {before!r}", value)
    return replace(saved, **given)


def saved_settings(text: str) -> Settings:
    """The settings that a run has kept; raises ValueError as `Settings.from_json` does."""
    settings = Settings.from_json(text)
    # The spaces of runs from before there was a choice had nothing to weigh.
    return settings if "class_weights" in json.loads(text) else replace(settings, class_weights="none")
