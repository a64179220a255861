"""What a run's model says of any picture: Pillow opens it, the exported `.keras` file does the rest."""

import glob
import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from results.analysis.doubt import NONE, threshold_at, usable
from results.analysis.numbers import best_trial, choose_winner
from results.analysis.per_label import thresholds_of
from results.delivery.files import pictures_below, printable
from results.delivery.framework import import_keras
from results.delivery.notes import without_notes
from results.delivery.picture import MAX_PIXELS, Levels, Scale, alone, read_picture, reason_of
from results.records import read_object, read_record, split_problem
from results.rows import Rows, read_rows
from results.terminal import plain

if TYPE_CHECKING:
    import keras

Pixels = NDArray[np.uint8]

NO_LABEL = "no label"  # of a picture, where it may have several and none reaches its threshold


def predict(
    run_dir: Path, wanted: Sequence[str], *, family: str | None = None, top: int = 5, coverage: float | None = None
) -> Iterator[dict[str, Any]]:
    """For each picture its likeliest classes with their probabilities, or the error that kept it from being read.

    Where pictures have several labels, these are all that reach their thresholds, perhaps none.

    `wanted` are files, folders (searched whole) and globs. `family` is the winner's by default. With a `coverage`,
    `threshold` is the probability that this share of pictures of the known classes reaches, and `none` says whether the
    likeliest class stays below it. Raises ValueError or FileNotFoundError for a run without a model, or without
    thresholds where they are needed, and for a name that leads to no picture.
    """
    paths = list(found(wanted))
    if top < 1:
        raise ValueError(f"needs 1 class or more to show, got {top}")
    delivered = deliver(run_dir, family=family, coverage=coverage)
    for path in paths:
        yield delivered.answer(path, str(path), top)


@dataclass(frozen=True)
class Delivered:
    """A family's exported model with all that it needs to name pictures, loaded once."""

    family: str
    model: "keras.Model"
    classes: list[str]
    scale: Scale
    threshold: float | None  # below it a picture shows none of the classes; None: nothing is said of that
    cuts: tuple[float, ...] = ()  # of several labels a picture, the threshold of each; empty where it has one class

    def answer(self, path: Path, name: str, top: int, most_pixels: int = MAX_PIXELS) -> dict[str, Any]:
        """What the model says of a file, or the error that kept it from being read; `name` is what it is called."""
        try:
            picture = pixels_of(path, self.scale, most_pixels)
        except ValueError as error:
            return {"picture": printable(name), "error": str(error)}
        return {"picture": printable(name), **self.said(picture, top)}

    def said(self, picture: Pixels, top: int) -> dict[str, Any]:
        """The likeliest classes of a picture, or all its labels; raises ValueError as `answer_of` does."""
        if self.cuts:
            return {"classes": labels_said(answer_of(self.model, picture, len(self.classes)), self.classes, self.cuts)}
        return doubted(likeliest(self.model, picture, self.classes, top), self.threshold)


def deliver(run_dir: Path, *, family: str | None = None, coverage: float | None = None) -> Delivered:
    """Loads a family's model (the winner's by default); raises ValueError or FileNotFoundError as `predict` does."""
    classes = class_names(run_dir)
    scale = scale_of(run_dir)
    family = family or winner(run_dir)
    cuts = cuts_of(run_dir, family, len(classes))
    if cuts and coverage is not None:
        raise ValueError(
            f"`coverage` needs one class a picture, and pictures of `{run_dir}` have several labels each, whose "
            f"thresholds already say none where none is reached; got {coverage:g}"
        )
    threshold = None if coverage is None else threshold_of(run_dir, family, coverage)
    return Delivered(family, load(run_dir, family), classes, scale, threshold, cuts)


def threshold_of(run_dir: Path, family: str, coverage: float) -> float:
    """The probability below which a family's model names none of its classes, for a wished coverage.

    Raises ValueError for a coverage out of range, and for a model of which no thresholds are known.
    """
    model = read_rows(run_dir / "trials.jsonl").model(family)
    if model is None or not usable(model):
        known = read_rows(run_dir / "trials.jsonl")
        others = [one for one in known.families if usable(known.model(one))]
        raise ValueError(
            f"`coverage` needs a model with thresholds, got {family!r} of `{run_dir}`, of which no held-out pictures "
            f"were kept; models with thresholds: {', '.join(others) or 'none'}"
        )
    return threshold_at(model["thresholds"], coverage)


def cuts_of(run_dir: Path, family: str, labels: int) -> tuple[float, ...]:
    """The threshold of each label of a family's model; empty for a run whose pictures have one class.

    Raises ValueError where they should be there and are not.
    """
    if not read_record(run_dir / "split.json").get("multilabel"):
        return ()
    cuts = thresholds_of(read_rows(run_dir / "trials.jsonl").model(family), labels)
    if cuts is None:
        raise ValueError(
            f"needs a threshold for each of {labels} labels, and the row of the model of {family!r} in "
            f"`{run_dir / 'trials.jsonl'}` has none"
        )
    return tuple(cuts.tolist())


def labels_said(probabilities: Any, classes: Sequence[str], cuts: Sequence[float]) -> list[dict[str, Any]]:
    """The labels whose probability reaches their threshold, the likeliest first; none where none does."""
    said = [
        label for label in np.argsort(-probabilities, kind="stable").tolist() if probabilities[label] >= cuts[label]
    ]
    return [
        {"class": classes[label], "probability": float(probabilities[label]), "threshold": cuts[label]}
        for label in said
    ]


def doubted(classes: list[dict[str, Any]], threshold: float | None) -> dict[str, Any]:
    """The likeliest classes of a picture, and with a threshold whether it shows none of them."""
    if threshold is None:
        return {"classes": classes}
    return {"none": classes[0]["probability"] < threshold, "threshold": threshold, "classes": classes}


def likeliest(model: "keras.Model", picture: Pixels, classes: Sequence[str], top: int) -> list[dict[str, Any]]:
    """The likeliest classes of a picture with their probabilities; raises ValueError as `answer_of` does."""
    probabilities = answer_of(model, picture, len(classes))
    order = np.argsort(-probabilities, kind="stable")[:top]
    return [{"class": classes[label], "probability": float(probabilities[label])} for label in order]


def answer_of(model: "keras.Model", picture: Pixels, classes: int) -> NDArray[np.float64]:
    """A model's probabilities (classes,) for a picture; raises ValueError where it is no model of these classes."""
    try:
        answer: NDArray[np.float64] = np.asarray(model(picture[None], training=False), dtype=float)
    except Exception as error:  # what a foreign model raises is its own affair
        said = " ".join(plain(error).split())[:300]
        raise ValueError(f"the model takes no pictures: {type(error).__name__}: {said}") from error
    if answer.shape != (1, classes):
        raise ValueError(f"the model needs an answer for each of {classes} classes, and gives {answer.shape}")
    probabilities: NDArray[np.float64] = answer[0]
    return probabilities


def found(wanted: Sequence[str]) -> Iterator[Path]:
    """The picture files that names, folders and globs stand for, each once; folders are read as a search reads them."""
    seen: set[Path] = set()
    for name in wanted:
        # A name that is there is itself, whatever signs of a pattern are in it.
        there = [Path(name)] if Path(name).exists() else [Path(at) for at in sorted(glob.glob(name, recursive=True))]
        paths = [path for one in there for path in (pictures_below(one) if one.is_dir() else (one,))]
        if not paths:
            raise FileNotFoundError(
                f"needs a picture, a folder of pictures or a glob, got nothing at `{printable(name)}`"
            )
        for path in paths:
            if path not in seen:
                seen.add(path)
                yield path


def pixels_of(path: Path, scale: Scale = alone, most_pixels: int = MAX_PIXELS) -> Pixels:
    """A file as uint8 (height, width, 3), read as it was for training; raises ValueError where it cannot be read.

    `scale` is that of the run, and by default each picture's own. A file of more than `most_pixels` is not decoded.
    """
    if path.is_dir():
        raise ValueError("a folder that cannot be listed")
    if path.exists() and not path.is_file():  # Opening a pipe would wait for ever.
        raise ValueError("not a regular file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return np.asarray(read_picture(path, scale=scale, most_pixels=most_pixels)[0])
    except Exception as error:  # A damaged file can raise nearly anything from inside Pillow's plugins.
        raise ValueError(reason_of(error)) from error


def class_names(run_dir: Path) -> list[str]:
    """The classes in the order of the model's probabilities; raises ValueError where the split was not recorded."""
    path = run_dir / "split.json"
    split = read_object(path)
    problem = split_problem(split)
    if problem or not split.get("classes"):
        raise ValueError(f"needs the class names of a run, got none in `{path}`{problem and f': {problem}'}")
    return list(split["classes"])


def scale_of(run_dir: Path) -> Scale:
    """What is black and white in pictures of more than 8 bits a channel, as it was for the pictures of a run.

    A picture of a kind that the run had none of is told from its own levels.
    """
    known = {kind: Levels(*ends) for kind, ends in read_record(run_dir / "split.json").get("levels", {}).items()}
    return lambda kind, low, high: known.get(kind) or alone(kind, low, high)


def winner(run_dir: Path) -> str:
    """The family that the rows choose among those whose model was exported."""
    rows = read_rows(run_dir / "trials.jsonl")
    exported = exported_families(run_dir, rows)
    best = {family: best_trial(rows, family) for family in exported}
    return choose_winner(best) or next(iter(exported))


def exported_families(run_dir: Path, rows: Rows) -> list[str]:
    """The families whose `.keras` file is there; raises FileNotFoundError where none is."""
    exported = [family for family in rows.families if (run_dir / "models" / f"{family}.keras").is_file()]
    if not exported:
        raise FileNotFoundError(f"needs an exported model, got no .keras file in `{run_dir / 'models'}`")
    return exported


def load(run_dir: Path, family: str) -> "keras.Model":
    """The exported model of a family, loaded in safe mode: its file holds no code and needs none of ours.

    Raises ValueError for a file that is damaged or would need code to load, which is not run.
    """
    exported = exported_families(run_dir, read_rows(run_dir / "trials.jsonl"))
    if family not in exported:
        raise ValueError(f"`{run_dir}` has models of {', '.join(exported)}, got {family!r}")
    with without_notes():
        keras = import_keras()
    path = run_dir / "models" / f"{family}.keras"
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # damaged archives, foreign layers and refused code raise nearly anything
        said = " ".join(plain(error).split())[:300]
        raise ValueError(
            f"`{path}` cannot be loaded without running code of its own, or is damaged: {type(error).__name__}: {said}"
        ) from error


def told(answer: dict[str, Any], *, as_json: bool) -> str:
    """An answer as a line of JSON, or as lines for people."""
    if as_json:
        return json.dumps(answer, ensure_ascii=False)
    if "error" in answer:
        return f"{answer['picture']}: {answer['error']}"
    if not answer["classes"]:
        return f"{answer['picture']}\n  {NO_LABEL}"
    if answer.get("none"):
        likely = answer["classes"][0]
        said = f"{100 * likely['probability']:.1f} % {likely['class']}, below {100 * answer['threshold']:.1f} %"
        return f"{answer['picture']}\n  {NONE} ({said})"
    lines = [f"  {100 * likely['probability']:5.1f} %  {likely['class']}" for likely in answer["classes"]]
    return "\n".join([answer["picture"], *lines])
