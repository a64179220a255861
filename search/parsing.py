"""The options of a search, and what the command line gives of them."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from results.analysis.metrics import METRICS
from results.terminal import at_home
from search.narrowing import canonical
from search.progress import duration
from search.settings import (
    DEMO,
    DUPLICATES,
    LABELS_FROM,
    OBJECTIVES,
    PIXEL_RANGES,
    PRECISIONS,
    RARE,
    STANFORD_DOGS,
    TRACKERS,
    Settings,
    count,
    default_cache,
    is_elsewhere,
    is_remote,
    latency,
    seconds,
    storage,
)
from search.starting import DEMO_BUDGET, DEMO_SETTINGS, USUAL_BUDGET
from spaces import FAMILIES

DESCRIPTION = "Search image classifiers: python search/run.py [DATA] [options]"
Number = TypeVar("Number", int, float)


def options(arguments: Sequence[str] | None) -> dict[str, Any]:
    """What the command line gives, by name."""
    reader = parser()
    for word in sys.argv[1:] if arguments is None else arguments:
        if word.startswith("--") and word.endswith("=--"):
            # argparse takes the end of the options for no value at all.
            reader.error(f"argument {word.removesuffix('=--')}: expected one argument")
    found = {name: value for name, value in vars(reader.parse_args(arguments)).items() if value is not None}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}


def parser() -> argparse.ArgumentParser:
    """The command line of the script."""
    command = argparse.ArgumentParser(
        prog="search/run.py",
        description=DESCRIPTION,
        epilog=f"Without --trials and --time-budget a search takes {duration(USUAL_BUDGET)}, and that of the demo "
        f"{duration(DEMO_BUDGET)} with " + ", ".join(f"{name} {value}" for name, value in DEMO_SETTINGS.items()) + ".",
        argument_default=None,
    )
    add_options(command)
    return command


def add_options(command: argparse.ArgumentParser) -> None:
    """Gives a parser the arguments of a search; every option's default is the field of the same name in `Settings`."""
    default = {field.name: field.default for field in fields(Settings)}

    def add(group: Any, option: str, text: str, kind: Any = str, **more: Any) -> None:
        name = option.lstrip("-").replace("-", "_")
        shown = default[name]
        if isinstance(shown, tuple):
            shown = ",".join(str(item) for item in shown)
        if kind is lasting and shown is not None:
            shown = f"{shown:g}s"
        suffix = "" if shown in (None, "") else f" (default: {shown})"
        group.add_argument(option, type=kind, help=text + suffix, **more)

    command.add_argument(
        "data",
        type=source,
        nargs="?",
        default=None,
        metavar="DATA",
        help=f"a folder with one folder of pictures per class, a table of labels (.csv, .tsv, .parquet, .jsonl), an "
        f"archive (.zip, .tar, .tar.gz) of either, an address (s3://, gs://, https://), a set of a library (hf:NAME, "
        f"tfds:NAME), `{STANFORD_DOGS}`, or `{DEMO}` "
        f"(default: {DEMO})",
    )
    command.add_argument(
        "--explore", action="store_true", default=None, help="search nothing: write a page about the data, data.html"
    )
    what = command.add_argument_group("what is searched")
    add(
        what,
        "--classes",
        "keep the N best-represented classes (default: all; 10 for stanford-dogs)",
        whole,
        metavar="N",
    )
    add(what, "--exclude", "classes that are left out, separated by commas", names, action="extend", metavar="A,B")
    add(what, "--min-pictures", "leave out classes with fewer distinct readable pictures", whole, metavar="N")
    add(
        what,
        "--rare",
        f"classes of fewer pictures than --min-pictures, or too few for every side, from {', '.join(RARE)}: left out "
        "and named, kept with a picture on every side, or the data is refused",
        metavar="R",
    )
    what.add_argument(
        "--resplit",
        action="store_true",
        default=None,
        help="where the data is already split: put its sides together and cut them anew",
    )
    add(
        what,
        "--label-from",
        f"which folders are the classes, from {', '.join(LABELS_FROM)}: top, those directly below DATA; parent, those "
        "that hold the pictures; path, all of them, joined by slashes; auto, top where nothing speaks against it",
        metavar="F",
    )
    add(what, "--label-pattern", "a regular expression whose group finds the class in the name of a file", metavar="R")
    add(what, "--images", "the folder, archive or address that the paths of a table are relative to (default: the "
        "table's folder)", source, metavar="FOLDER")  # fmt: skip
    add(what, "--image-column", "of a table: files of the pictures (default: found by its name)", metavar="NAME")
    add(what, "--label-column", "of a table: classes (default: found by its name)", metavar="NAME")
    add(what, "--label-columns", "of a table of several labels a picture: columns of 0 and 1, one for each label, "
        "separated by commas (default: found by their values)", names, action="extend", metavar="A,B")  # fmt: skip
    add(what, "--label-separator", "of a table of several labels a picture: what stands between them (default: found, "
        "where it is ; or |)", metavar="S")  # fmt: skip
    add(what, "--split-column", "of a table: train, validation or test; none to ignore it (default: found by its name)",
        metavar="NAME")  # fmt: skip
    add(what, "--group-column", "of a table: patients, cameras or the like, none of which is on two sides of the "
        "split; none to ignore it (default: found by its name)", metavar="NAME")  # fmt: skip
    add(what, "--duplicates", f"copies that stay on one side of the split: {', '.join(DUPLICATES)}", metavar="D")
    add(
        what,
        "--families",
        f"families, separated by commas, from {', '.join(FAMILIES)} and those of installed packages",
        names,
        metavar="A,B",
    )
    add(
        what, "--hypermodel", "a family of your own: package.module:Name or path/to/file.py:Name of a keras_tuner."
        "HyperModel or of a function build(hp); alone, or beside those that --families names", names,
        action="extend", metavar="M:N",
    )  # fmt: skip
    add(what, "--pixel-range", f"of the pictures that hypermodels are fed: {', '.join(PIXEL_RANGES)}", metavar="R")
    add(
        what, "--set", "narrow a hyperparameter of all families that have it, or with FAMILY. in front of one: "
        "optimizer=adamw, image_size=96,160, mobilenet.unfrozen_blocks=0..5; may be given often", rule,
        action="append", metavar="NAME=V",
    )  # fmt: skip
    what.add_argument(
        "--space",
        type=at_home,
        metavar="FILE",
        help="narrow hyperparameters as this file of YAML or JSON says, by name or by family and name; --set goes "
        "before it",
    )
    add(what, "--trials", "configurations of each family at most", whole, metavar="N")
    add(what, "--epochs", "of a full trial (default: what the time allows, 9 without a budget)", whole, metavar="E")
    add(
        what, "--class-weights", "of imbalanced data: auto lets the search choose how much rare classes count, and "
        "focal loss; none", metavar="{auto,none}",
    )  # fmt: skip
    add(
        what, "--metric", f"what trials and models are judged by: {', '.join(METRICS)}; of several labels a picture "
        "map, which is the default there, or macro_f1", metavar="M",
    )  # fmt: skip
    add(
        what,
        "--objective",
        f"what the searcher is after, separated by commas, from {', '.join(OBJECTIVES)}",
        names,
        metavar="A,B",
    )
    add(what, "--max-latency", "slower models are not trained: time for one picture, as 20ms", quickness, metavar="T")
    add(what, "--max-parameters", "larger models are not trained: parameters, as 5M or 500k", number, metavar="N")
    add(
        what, "--time-budget", "of the whole command, report included, as 90s, 30m or 1h30m; all of it is used unless "
        f"--trials are done before (default: {USUAL_BUDGET / 60:.0f}m, {DEMO_BUDGET:.0f}s for the demo, none with "
        "--trials)", lasting, metavar="T",
    )  # fmt: skip
    add(what, "--image-sizes", "sides in pixels that may be chosen", sizes, metavar="S,S")
    add(
        what,
        "--weights",
        "imagenet, demo (a small trunk, trained on drawn dogs), none, a weights file, or a folder of them",
        at_home,
        metavar="W",
    )
    add(
        what, "--backbones", "trunks of the family mobilenet, separated by commas, as EfficientNetV2B0,MobileNetV2 "
        "(default: the MobileNets of --weights)", names, metavar="A,B",
    )  # fmt: skip
    add(
        what,
        "--views",
        "augmented versions of the training set that are cached, the plain one included",
        whole,
        metavar="V",
    )
    add(
        what,
        "--reduction",
        "at each rung but the first, which keeps half, the best 1/N of the trials goes on",
        whole,
        metavar="N",
    )
    add(what, "--first-rung", "epochs before trials are first compared", whole, metavar="E")
    add(
        what,
        "--finalists",
        "best configurations of a family that meet in a final, on other folds of train and validation; 1 for none",
        whole,
        metavar="N",
    )
    add(what, "--final-seeds", "retrainings of each family's best configuration", whole, metavar="N")
    add(
        what, "--refit", "all: train the delivered models once more on all pictures, after they were scored; none",
        metavar="{all,none}",
    )  # fmt: skip
    add(what, "--ensemble", "next best configurations of the winner's family to average with it", whole, metavar="K")
    add(
        what,
        "--warm-start",
        "folders of earlier runs: what they found is learnt from, and their best is tried first",
        absolute,
        nargs="+",
        metavar="RUN",
    )
    what.add_argument(
        "--from",
        dest="from_run",
        type=absolute,
        metavar="RUN",
        help="go on from this finished run with the pictures of DATA, new ones or new classes among them: its best "
        "configurations are tried first, its model is scored on the same test pictures, and what is not given is "
        "searched as there",
    )
    add(what, "--seed", "of the split, the spaces, the trials and the retrainings", whole, metavar="N")
    where = command.add_argument_group("where it runs")
    add(where, "--concurrency", "trials at a time (default: as many as the cluster holds)", whole, metavar="N")
    add(where, "--cpus-per-trial", "CPU cores of one trial, and its threads", real, metavar="N")
    add(where, "--gpus-per-trial", "GPU share of one trial, under JAX also several GPUs (default: 1 where there is a "
        "GPU)", real, metavar="X")  # fmt: skip
    add(where, "--precision", f"of convolutions: {', '.join(PRECISIONS)}", metavar="P")
    add(where, "--worker-memory", "GiB past which a worker is replaced between trials", real, metavar="GIB")
    add(where, "--max-failures", "times that a trial whose worker died is tried again", whole, metavar="N")
    add(where, "--trial-timeout", "a trial without a sign of life for so long is ended", lasting, metavar="T")
    add(where, "--address", "an existing Ray cluster (default: Ray is started here)", metavar="A")
    add(where, "--dashboard", "Ray's dashboard: auto (on localhost, where installed), off, or HOST[:PORT]", metavar="D")
    kept = command.add_argument_group("what is kept")
    kept.add_argument(
        "--resume",
        type=source,
        metavar="RUN",
        help="go on with the run of this folder, or of the address of its mirror: finished trials stay, the others go "
        "on from their last rung; of the settings only more --trials, a longer --time-budget, where it runs and where "
        "DATA lies may change",
    )
    kept.add_argument(
        "--extend",
        type=source,
        metavar="RUN",
        help="go on with the run of this folder, finished or not, and add --trials configurations to each family",
    )
    add(
        kept, "--track", f"trackers that are told of the run while it lasts, separated by commas, from "
        f"{', '.join(TRACKERS)}; a target behind `=`, as mlflow=http://HOST:5000 or tensorboard=FOLDER", names,
        action="extend", metavar="A,B",
    )  # fmt: skip
    add(kept, "--name", "of the run and its folder (default: data and time)", metavar="NAME")
    add(kept, "--runs-dir", "where run folders are made; an address (s3://, gs://) has them mirrored there, and they "
        "lie in the cache folder", source, metavar="DIR")  # fmt: skip
    add(
        kept,
        "--cache-dir",
        f"shared cache of pixels and activations (default: {default_cache()})",
        absolute,
        metavar="DIR",
    )
    add(
        kept, "--cache-limit", "what was used longest ago goes from the cache until it has no more than this, at the "
        "start and the end of a run, where no other uses it: 500MB, 20GB (default: no limit)", size, metavar="SIZE",
    )  # fmt: skip


def size(text: str) -> int:
    """Bytes, or the error that argparse prints with the option's name."""
    return _parsed(storage, text)


def whole(text: str) -> int:
    """A whole number, or the error that argparse prints with the option's name."""
    return _number(int, text, "a whole number")


def real(text: str) -> float:
    """A number, or the error that argparse prints with the option's name."""
    return _number(float, text, "a number")


def lasting(text: str) -> float:
    """Seconds, or the error that argparse prints with the option's name."""
    return _parsed(seconds, text)


def quickness(text: str) -> float:
    """Seconds of one call, or the error that argparse prints with the option's name."""
    return _parsed(latency, text)


def number(text: str) -> int:
    """A count, or the error that argparse prints with the option's name."""
    return _parsed(count, text)


def source(text: str) -> str:
    """A path with the home folder for `~`, or an address or a set of a library as it is."""
    return text if is_elsewhere(text) else at_home(text)


def absolute(text: str) -> str:
    """A path that means the same in a worker, whose current folder is another one."""
    if is_remote(text):
        raise argparse.ArgumentTypeError(
            f"needs a folder of this machine, got the address {text!r}; `pedigree fetch` brings a run here"
        )
    return str(Path(at_home(text)).absolute())


def names(text: str) -> tuple[str, ...]:
    """Names separated by commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def rule(text: str) -> str:
    """What a hyperparameter is narrowed to, or the error that argparse prints with the option's name."""
    try:
        return canonical(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def sizes(text: str) -> tuple[int, ...]:
    """Whole numbers separated by commas."""
    return tuple(whole(part) for part in names(text))


def _parsed(kind: Callable[[str], Number], text: str) -> Number:
    try:
        return kind(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _number(kind: Callable[[str], Number], text: str, rule: str) -> Number:
    try:
        return kind(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"needs {rule}, got {text!r}") from None
