"""The last steps of a family: its best configuration, retrained on train and validation, scored on test once.

What is handed over may then be trained once more on all pictures.
"""

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from results.analysis.doubt import at_temperature, thresholds
from results.analysis.metrics import ACCURACY, SEVERAL, judged, tie_loss
from results.analysis.metrics import score as scored
from results.analysis.multilabel import HALF, decided, exact
from search.data.cache import write_aside
from search.data.pictures import Pictures
from search.record.journal import Journal
from search.training.doubt import find_doubts, held_out, label_thresholds
from search.training.label_mistakes import find_label_mistakes
from search.training.latency import BATCH, latency
from search.training.mistakes import find_mistakes
from search.training.probes import calibrated, features_of, probabilities_of
from search.training.trial import Inputs, Report, Trained, predict, score, train
from spaces import family_of

if TYPE_CHECKING:
    import keras

FOLDS = 5  # of train and validation; the validation side is one of them
# A model that was trained once more should fit its pictures as well as the one that was scored: what falls short by so
# much had bad luck in its training, and no picture is left that would show it.
SHORT_OF_SCORED = 0.05
# Features are stored in half of the bits: by so much a probability from them may differ from the model's own.
LIKE = 0.02
TEST = "test"  # the event of a retraining of a family's best
MEMBER = "member"  # the event of a retraining for the ensemble, and the end of its name
RECIPE = "recipe"  # the same of the recipe of the run that is gone on from


@dataclass(frozen=True)
class Outcome:
    """What a retraining hands back."""

    row: dict[str, Any]  # the `test` row without event, time, trial and family
    probabilities: bytes  # .npz with float32 (test pictures, classes), in the order of split.json
    model: bytes | None  # a .keras file that takes raw uint8 pictures of any size
    parameters: int
    latency: dict[str, Any] = field(default_factory=dict)  # of the exported model, for the `model` row
    mistakes: dict[str, bytes] = field(default_factory=dict)  # files of `mistakes/`, with the exported model
    note: str = ""  # why there is no exported model where there should be one, or what else could not be done
    doubt: dict[str, Any] = field(default_factory=dict)  # temperature and thresholds, for the `model` row
    doubts: dict[str, bytes] = field(default_factory=dict)  # files of `doubts/`, with the exported model

    def keep(self, folder: Path, journal: Journal, family: str, trial: str, *, event: str = TEST) -> None:
        """Writes its files into the run folder, and then the rows that speak of them.

        The `event` tells a retraining for the ensemble, and that of a recipe, from one of the family's best
        configuration.
        """
        seed = self.row["seed"]
        for kind in ("predictions", "mistakes", "models"):
            (folder / kind).mkdir(exist_ok=True)
        name = f"{family}-{seed}" if event == TEST else f"{trial}-{event}"
        write_aside(folder / "predictions" / f"{name}.npz", self.probabilities)
        for name, content in self.mistakes.items():
            write_aside(folder / "mistakes" / name, content)
        for name, content in self.doubts.items():
            (folder / "doubts").mkdir(exist_ok=True)
            write_aside(folder / "doubts" / name, content)
        if self.model is not None:
            write_aside(folder / "models" / f"{family}.keras", self.model)
        journal.write(event, trial, family, **self.row)
        if self.model is not None:
            journal.write(
                "model", trial, family, seed=seed, path=f"models/{family}.keras",
                parameters=self.parameters, bytes=len(self.model), **self.latency, **self.doubt,
            )  # fmt: skip


@dataclass(frozen=True)
class Refitted:
    """What training a family's best once more, on all pictures, hands back."""

    row: dict[str, Any]  # of the `model` row: seed, epochs, pictures, parameters
    model: bytes | None
    train_accuracy: float | None  # None of a probe: what is solved has no bad luck in its training
    note: str = ""  # why there is no model

    def keep(
        self, folder: Path, journal: Journal, family: str, trial: str, scored: float, told: Mapping[str, Any]
    ) -> str:
        """Takes the place of the exported model that was scored; why it does not, where it does not.

        `scored` is the accuracy of that model on its own training pictures, and `told` what its row says that holds for
        the same network once more: its latency, and temperature and thresholds, which no test picture has told.
        """
        if self.model is None:
            return self.note
        if self.train_accuracy is not None and self.train_accuracy < scored - SHORT_OF_SCORED:
            why = f"it names {self.train_accuracy:.3f} of its training pictures, the one that was scored {scored:.3f}"
            # A run that is resumed does not try it again: its seed would lead to the same.
            journal.write("refit", trial, family, **self.row, train_accuracy=self.train_accuracy, reason=why)
            return why
        write_aside(folder / "models" / f"{family}.keras", self.model)
        journal.write("model", trial, family, path=f"models/{family}.keras", bytes=len(self.model), **self.row, **told)
        return ""


def play(
    family: str,
    config: Mapping[str, Any],
    pictures: Pictures,
    *,
    fold: int,
    report: Report,
    metric: str = ACCURACY,
    **training: Any,
) -> dict[str, Any]:
    """What a finalist shows on one fold of train and validation after training on the others.

    The content of its `final` row: accuracy and cross-entropy after the last epoch, the latter of probabilities with
    the temperature that suits them best, pictures of the fold, and seconds; with another `metric` than accuracy also
    its score, with the standard error and the loss that tells near scores apart.
    `training` is the rest of what `train` takes.
    """
    rows: list[dict[str, Any]] = []

    def add(row: dict[str, Any]) -> None:
        rows.append(row)
        report(row)

    left_out = pictures.fold(fold, FOLDS)
    trained = train(family, config, left_out, report=add, metric=metric, **training)
    last, loss = rows[-1], rows[-1]["validation_loss"]
    told: dict[str, Any] = {}
    if (held := trained.material.validation) is not None:
        # Compared with others by cross-entropy, it must not lose by the confidence that its training leaves it with.
        probabilities = predict(trained.material.scored or trained.model, held)
        truth = left_out.labels[left_out.validation]
        told = {"held": held_out(probabilities, truth), **judged(metric, probabilities, truth)}
        if not left_out.multilabel:
            temperature, loss = calibrated(np.log(np.clip(probabilities, 1e-7, 1.0)), truth)
        if not left_out.multilabel and told.get("score_loss") is not None:
            told["score_loss"] = tie_loss(metric, at_temperature(probabilities, temperature), truth)
    return {
        "accuracy": last["validation_accuracy"],
        "loss": loss,
        "pictures": len(left_out.validation),
        "seconds": round(sum(row["seconds"] for row in rows), 3),
        **told,
    }


def retrain(
    family: str,
    config: Mapping[str, Any],
    pictures: Pictures,
    *,
    seed: int,
    threads: int,
    export: bool,
    report: Report,
    own: bool = False,
    held: Mapping[str, Any] | None = None,
    probe: Mapping[str, Any] | None = None,
    **training: Any,
) -> Outcome:
    """Trains for `epochs` of a budget of `planned`, scores the joined model on the test pictures, and exports it.

    `training` is the rest of what `train` takes. With `own` nothing is trained, and the model is that of the trial
    itself, which has seen no validation picture.

    Its logits are divided by the temperature of `held` (`results.analysis.doubt.held_of`), or, where pictures are held
    out here, by one that these give. With what is exported the labels are checked, by the out-of-fold probabilities of
    the configuration itself or else of another one of the family, a `probe`.
    """
    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    from models.export import raw_pictures
    from models.temperature import with_temperature

    seconds = 0.0

    def add(row: dict[str, Any]) -> None:
        nonlocal seconds
        seconds += row["seconds"]
        report(row)

    learnt = pictures.without_test() if own else pictures.joined()
    trained = train(family, config, learnt, seed=seed, threads=threads, report=add, own=own, **training)
    doubt = _doubt(trained, learnt, held) or _halves(learnt)
    model = trained.exported()
    if trained.probed is None and "temperature" in doubt:
        model = with_temperature(model, doubt["temperature"])
    resize_filter = family_of(family).filter(config)
    # The figure is that of the model handed over: raw pictures in.
    pixels = pictures.pixels(config["image_size"], resize_filter)
    probabilities = _probabilities(trained, model, pictures, pixels)
    truth = pictures.labels[pictures.test]
    loss, accuracy = score(probabilities, truth)
    cuts = np.array(doubt.get("label_thresholds") or [])
    if len(cuts):
        accuracy = exact(probabilities, truth, cuts)
    row: dict[str, Any] = {
        "seed": seed,
        "epochs": trained.epochs,
        "accuracy": accuracy,
        "loss": loss,
        "pictures": len(pictures.test),
        "train_accuracy": trained.train_accuracy,
        "seconds": round(seconds, 3),
        **{key: doubt[key] for key in ("temperature", "label_thresholds") if key in doubt},
        **(_scores(probabilities, truth, cuts) if len(cuts) else {}),
        **({"own": True} if own else {}),
    }
    packed = BytesIO()
    np.savez_compressed(packed, probabilities=probabilities)
    if not export:
        return Outcome(row, packed.getvalue(), None, model.count_params())
    raw = raw_pictures(model, resize_filter=resize_filter)
    content, note = _saved(raw)
    took = latency(raw, pixels[pictures.test[:BATCH]], threads)
    until = training.get("until")
    if pictures.multilabel:
        mistakes = find_label_mistakes(
            family, trained, model, pictures, pixels, probabilities, cuts, learnt.train, until
        )
        return Outcome(row, packed.getvalue(), content, model.count_params(), took, mistakes, note, doubt)
    mistakes = find_mistakes(family, trained, model, pictures, pixels, probabilities, learnt.train, until)
    doubts: dict[str, bytes] = {}
    try:
        probed = trained.probed
        if probed is None and probe is not None and not _late(training):
            again = {**training, "checkpoint": b"", "keep": None}
            probed = train(
                family, probe, pictures.joined(), seed=seed, threads=threads, report=lambda row: None, **again
            ).probed
        if probed is not None:
            with threadpool_limits(threads):
                doubts, said = find_doubts(
                    family, probed, pictures, int(probed.config["image_size"]), own=trained.probed is not None,
                    seed=seed, until=until,
                )  # fmt: skip
            note = " ".join(filter(None, (note, said)))
    except Exception as error:  # a model that is there must not be lost for what is only said about its data
        note = " ".join(filter(None, (note, f"labels are not checked: {type(error).__name__}: {error}")))
    return Outcome(row, packed.getvalue(), content, model.count_params(), took, mistakes, note, doubt, doubts)


def refit(
    family: str,
    config: Mapping[str, Any],
    pictures: Pictures,
    *,
    seed: int,
    epochs: int,
    threads: int,
    report: Report,
    held: Mapping[str, Any] | None = None,
    **training: Any,
) -> Refitted:
    """Trains for as many `epochs` as the scored model had, on the test pictures too.

    What had to end before is no better than the model that there is, and not handed over. Its logits are divided by
    the temperature that pictures held out gave the model that was scored (`held`).
    """
    from models.export import raw_pictures
    from models.temperature import with_temperature

    whole = pictures.whole()
    trained = train(family, config, whole, seed=seed, epochs=epochs, threads=threads, report=report, **training)
    row: dict[str, Any] = {"seed": seed, "epochs": trained.epochs, "pictures": len(whole.train)}
    if trained.epochs < epochs:
        return Refitted(row, None, trained.train_accuracy, f"there was time for {trained.epochs} of {epochs} epochs")
    model = trained.exported()
    if trained.probed is None and held and "temperature" in held:
        model = with_temperature(model, held["temperature"])
    resize_filter = family_of(family).filter(config)
    content, note = _saved(raw_pictures(model, resize_filter=resize_filter))
    reached = trained.train_accuracy if trained.probed is None else None
    return Refitted({**row, "parameters": model.count_params()}, content, reached, note)


def _probabilities(trained: Trained, model: "keras.Model", pictures: Pictures, pixels: Any) -> Any:
    """The probabilities of the test pictures (n, classes), as the exported model gives them.

    Of a probe they are told from the features of the test pictures, which its refit needs as well and which the workers
    compute together, where the model itself says the same of some of them.
    """
    if trained.probed is not None and not pictures.multilabel and len(pictures.test):
        config, solved = trained.probed.config, trained.probed.solved
        some = predict(model, Inputs(pixels, pictures.test[:BATCH]))
        # Temperature 1: it is in the weights already.
        seen = features_of(config, pictures.whole(), pictures.test)
        found = probabilities_of(seen, solved.weights, solved.bias)
        if float(np.abs(found[: len(some)] - some).max()) <= LIKE:
            return found
    return predict(model, Inputs(pixels, pictures.test))


def _saved(model: "keras.Model") -> tuple[bytes | None, str]:
    """The content of a model's file, or why it cannot be saved."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        try:
            model.save(path)
            return path.read_bytes(), ""
        except (NotImplementedError, TypeError, ValueError) as error:
            # A user's model with layers of its own that say nothing of how to write them down.
            return None, f"its model cannot be saved: {' '.join(str(error).split())[:300]}"


def _doubt(trained: Trained, learnt: Pictures, held: Mapping[str, Any] | None) -> dict[str, Any]:
    """Temperature and thresholds of a model, with how they came about; empty where nothing was held out."""
    if trained.probed is not None:
        solved = trained.probed.solved
        if not len(solved.places):
            return {}
        if learnt.multilabel:
            found = label_thresholds(solved.probabilities, trained.probed.labels[solved.places])
            return {**_of_labels(found), "told_by": "cross-validation"}
        # The probabilities are at that temperature already.
        table = thresholds(solved.probabilities.max(axis=1))
        return {
            "temperature": round(solved.temperature, 6), "thresholds": [[one, round(cut, 6)] for one, cut in table],
            "held_out": len(solved.places), "told_by": "cross-validation",
        }  # fmt: skip
    if trained.material.validation is not None:
        probabilities = predict(trained.material.scored or trained.model, trained.material.validation)
        held = {**held_out(probabilities, learnt.labels[learnt.validation]), "told_by": "the validation pictures"}
    if not held:
        return {}
    if "label_thresholds" in held:
        return {**_of_labels(held), "told_by": held["told_by"]}
    return {**{key: held[key] for key in ("temperature", "thresholds", "told_by")}, "held_out": held["pictures"]}


def _halves(learnt: Pictures) -> dict[str, Any]:
    """The thresholds of several labels a picture where nothing was held out that could tell them."""
    if not learnt.multilabel:
        return {}
    return {"label_thresholds": [HALF] * len(learnt.classes), "held_out": 0, "told_by": "nothing that was held out"}


def _of_labels(held: Mapping[str, Any]) -> dict[str, Any]:
    return {"label_thresholds": held["label_thresholds"], "held_out": held["pictures"]}


def _scores(probabilities: Any, truth: Any, cuts: Any) -> dict[str, float]:
    """What the metrics of several labels a picture say of test pictures, with the thresholds of the model."""
    seen = {"map": probabilities, "macro_f1": decided(probabilities, cuts)}
    return {name: scored(name, seen[name], truth) for name in SEVERAL}


def _late(training: Mapping[str, Any]) -> bool:
    until = training.get("until")
    return until is not None and time.monotonic() >= until
