"""One trial: arrays from the cache, a model of what changes, epochs, one flat row for each."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from models import network
from models.mixing import mixed
from models.sizes import EPOCH_PICTURES, is_probe
from models.weighting import of_pictures
from results.analysis import multilabel
from results.analysis.metrics import ACCURACY, judged
from search.data.pictures import Indices, Pictures, one_hot
from search.training import devices
from search.training.activations import Source, check_time, views
from search.training.checkpoint import pack, restore
from spaces import FAMILIES, family_of

if TYPE_CHECKING:
    import keras

    from search.training.probes import Probed

Array = NDArray[Any]
Row = dict[str, Any]
Report = Callable[[Row], None]
Keep = Callable[[bytes], None]

PARTS = ("waiting", "building", "training", "validating")  # where the seconds of an epoch go
SCORING_BATCH = 64
KEPT_SECONDS = 10.0  # between two checkpoints: what is lost with a machine, which tells nobody before it goes
TIMED_BATCHES, TIMED_EPOCHS = 3, 6
SEEN = 512  # training pictures by which a model is judged that is not trained on


class Diverged(Exception):
    """Training gave a loss that is not a number; nothing that follows could be compared."""


@dataclass
class Clock:
    """Seconds by part since they were last taken."""

    spent: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.spent[part] += time.perf_counter() - start

    def take(self) -> dict[str, float]:
        """The seconds of each part and their sum, and starts again from zero."""
        spent = {part: round(seconds, 4) for part, seconds in self.spent.items()}
        self.spent = dict.fromkeys(PARTS, 0.0)
        return {"seconds": round(sum(spent.values()), 4), **spent}


@dataclass(frozen=True)
class Inputs:
    """Model inputs: some rows of an array, or the whole of it, and then perhaps of another, in order."""

    array: Array
    rows: Indices | None = None
    then: "Inputs | None" = None
    scale: float | None = None  # float32 times this is what the model takes; None: the values as they are stored

    def __len__(self) -> int:
        own = len(self.array) if self.rows is None else len(self.rows)
        return own + (0 if self.then is None else len(self.then))

    def take(self, places: Indices) -> Array:
        """A batch in memory, as the model takes it."""
        if self.then is not None:
            own = len(self) - len(self.then)
            first = places < own
            batch = np.empty((len(places), *self.array.shape[1:]), self.array.dtype)
            batch[first] = self.array[places[first] if self.rows is None else self.rows[places[first]]]
            batch[~first] = self.then.take(places[~first] - own)
        else:
            batch = self.array[places if self.rows is None else self.rows[places]]
        if self.scale is not None:
            return batch.astype(np.float32) * np.float32(self.scale)
        # Stored activations as they are: the model's own cast of float16 takes a tenth of NumPy's time.
        return np.asarray(batch)


@dataclass(frozen=True)
class Material:
    """What a family trains on, and what it makes of it."""

    model: "keras.Model"
    training: Callable[[int], Inputs]  # by epoch, counted from 0
    labels: Indices  # of the training inputs
    validation: Inputs | None
    exported: Callable[[], "keras.Model"]  # takes raw uint8 pictures of the configured size
    parameters: int  # of the exported model
    slow: tuple[str, ...] = ()  # paths of the variables that train at the trunk's rate
    compiled: bool = False  # by its user; else as the configuration says
    targets: Callable[[Indices, int], Array] = one_hot  # what the loss takes for labels
    scored: "keras.Model | None" = None  # gives the probabilities of stored pictures where `model` itself does not


@dataclass(frozen=True)
class Trained:
    """A model after its last epoch."""

    model: "keras.Model"
    exported: Callable[[], "keras.Model"]
    train_accuracy: float
    material: Material
    epochs: int = 1
    probed: "Probed | None" = None  # of a linear probe


@devices.over_all()
def train(
    family: str,
    config: Mapping[str, Any],
    pictures: Pictures,
    *,
    seed: int,
    epochs: int,
    planned: int,
    most_views: int,
    threads: int,
    report: Report,
    rungs: Sequence[int] = (),
    keep: Keep | None = None,
    checkpoint: bytes = b"",
    last: bool = False,
    until: float | None = None,
    own: bool = False,
    metric: str = ACCURACY,
) -> Trained:
    """Trains one configuration and reports one row per epoch.

    `planned` is the budget of a full trial: schedules are laid out over it, `epochs` of it are run. A row has `epoch`
    (from 1), cross-entropy and accuracy on train (running averages, under augmentation and dropout) and validation
    (after the epoch; absent where there are no validation pictures), there also what another `metric` than accuracy
    says (`results.analysis.metrics.judged`), and the seconds of each of `PARTS`. In the last
    one, and now and then before, `held` says how far the confidence on validation can be trusted (`held_out`).
    After each of the `rungs`, and whenever `KEPT_SECONDS` have gone by, `keep` is given a checkpoint once the epoch's
    row is reported; with one of this same training in `checkpoint`, training goes on after it. With `last` there is one
    of the last epoch too, and those between rungs come before their rows: the model may be handed over as it is when
    the time is up.
    No epoch but the first begins after `until`, in seconds of `time.monotonic`. `own` trains none at all: the model is
    the checkpoint's.
    Raises `Diverged` where the loss is not finite, and `activations.OutOfTime` where the process has a limit.
    """
    import keras

    from models.compiling import compile_model
    from search.training.doubt import held_out
    from search.training.probes import train_probe

    clock = Clock()
    if is_probe(config):
        return train_probe(config, pictures, seed=seed, threads=threads, report=report, clock=clock, metric=metric)
    keras.utils.set_random_seed(seed)
    material = MATERIALS[family](config, pictures, seed=seed, most_views=most_views, threads=threads, clock=clock)
    with clock("building"):
        batch = devices.shared_out(int(config["batch_size"]), len(material.labels))
        passed = Passes(len(material.labels), batch, seed)
        steps = passed.steps
        if not material.compiled:
            compile_model(
                material.model, config, steps=steps, epochs=planned, trunk=material.slow, several=pictures.multilabel
            )
    labels = material.targets(material.labels, len(pictures.classes))
    truth = pictures.labels[pictures.validation]
    # A model that its user has compiled is trained as its user says.
    power = None if material.compiled else config.get("class_weight_power")
    weights = of_pictures(material.labels, len(pictures.classes), power)
    mixup = 0.0 if material.compiled else float(config.get("mixup", 0.0))
    training = {
        "family": family, "config": dict(config), "seed": seed, "epochs": epochs, "planned": planned,
        "pictures": len(labels), "digest": pictures.digest,
    }  # fmt: skip
    with clock("building"):
        done = restore(material.model, training, checkpoint) if checkpoint else 0
    if own and not done:
        raise ValueError("the model of the trial is lost with its checkpoint")
    epoch = done - 1
    row: Row = {}
    due = told = time.monotonic() + KEPT_SECONDS
    for epoch in range(done, done if own else epochs):
        if until is not None and epoch > done and time.monotonic() >= until:
            epoch -= 1
            break
        with clock("waiting"):
            inputs = material.training(passed.number(epoch))
        with clock("training"):
            totals = np.zeros(2)
            # By epoch: a training that goes on from a checkpoint mixes as it would have.
            random = np.random.default_rng((seed, epoch))
            for chosen in passed.batches(epoch):
                check_time()
                seen, wanted = inputs.take(chosen), labels[chosen]
                weight = None if weights is None else weights[chosen]
                if mixup:
                    seen, wanted, weight = mixed(seen, wanted, weight, mixup, random)
                logs = material.model.train_on_batch(seen, wanted, sample_weight=weight, return_dict=True)
                if not math.isfinite(logs["loss"]):
                    raise Diverged(f"the training loss became {float(logs['loss'])} in epoch {epoch + 1}")
                totals += logs["crossentropy"], logs["accuracy"]
        loss, accuracy = (totals / steps).tolist()
        row = {"epoch": epoch + 1, "parameters": material.parameters, "train_loss": loss, "train_accuracy": accuracy}
        if material.validation is not None:
            with clock("validating"):
                probabilities = predict(material.scored or material.model, material.validation)
                if not np.isfinite(probabilities).all():
                    raise Diverged(f"the predictions on validation are not numbers after epoch {epoch + 1}")
                row["validation_loss"], row["validation_accuracy"] = score(probabilities, truth)
                row |= judged(metric, probabilities, truth, "validation_")
                if epoch + 1 == epochs or time.monotonic() >= told:
                    row["held"] = held_out(probabilities, truth)
                    told = time.monotonic() + KEPT_SECONDS
        if keep is not None and last and (epoch + 1 == epochs or time.monotonic() >= due):
            with clock("building"):
                keep(pack(material.model, training, epoch + 1))
            due = time.monotonic() + KEPT_SECONDS
        report({**row, **clock.take()})
        overdue = not last and time.monotonic() >= due
        if keep is not None and epoch + 1 < epochs and (overdue or epoch + 1 in rungs):
            with clock("building"):
                keep(pack(material.model, training, epoch + 1))
            due = time.monotonic() + KEPT_SECONDS
    if not row:
        seen = np.arange(min(len(labels), SEEN))
        fitted = predict(material.scored or material.model, Inputs(material.training(0).take(seen)))
        row["train_accuracy"] = score(fitted, material.labels[seen])[1]
    return Trained(material.model, material.exported, row["train_accuracy"], material, epoch + 1)


def seconds_a_picture(
    family: str, config: Mapping[str, Any], pictures: Pictures, *, seed: int, most_views: int, threads: int
) -> float:
    """Seconds that training on one picture takes, by a few batches of them."""
    count = TIMED_BATCHES * int(config.get("batch_size", 32))
    some = np.unique(np.linspace(0, len(pictures.train) - 1, min(count, len(pictures.train))).astype(np.int64))
    few = replace(pictures, train=pictures.train[some], validation=pictures.validation[:0])
    rows: list[Row] = []
    # The first epoch also compiles.
    train(
        family, config, few, seed=seed, epochs=TIMED_EPOCHS, planned=TIMED_EPOCHS, most_views=most_views,
        threads=threads, report=rows.append,
    )  # fmt: skip
    return float(min(row["training"] for row in rows)) / len(some)


class Passes:
    """In what order an epoch goes through its training pictures.

    An epoch of a large set is a part of a pass, of about `EPOCH_PICTURES`. Full batches only, of one shape; what is
    left over is another handful of pictures in every pass.
    """

    def __init__(self, pictures: int, batch: int, seed: int) -> None:
        self._pictures = pictures
        self._batch = batch
        self._parts = max(1, round(pictures / EPOCH_PICTURES))
        self.steps = max(1, pictures // self._parts // batch)
        self._order = np.random.default_rng(seed)
        self._drawn = 0  # passes
        self._places: Indices = np.zeros(0, np.int64)

    def number(self, epoch: int) -> int:
        """The pass that an epoch, counted from 0, belongs to."""
        return epoch // self._parts

    def batches(self, epoch: int) -> Iterator[Indices]:
        """The places of each batch of an epoch; epochs are asked for in their order, though not from the first."""
        while self._drawn <= self.number(epoch):
            self._places = self._order.permutation(self._pictures).astype(np.int64)
            self._drawn += 1
        first = epoch % self._parts * self.steps * self._batch
        for start in range(first, first + self.steps * self._batch, self._batch):
            yield self._places[start : start + self._batch]


def predict(model: "keras.Model", inputs: Inputs) -> NDArray[np.float32]:
    """Class probabilities (n, classes)."""
    parts = []
    size = devices.shared_out(SCORING_BATCH, SCORING_BATCH)
    for start in range(0, len(inputs), size):
        places = np.arange(start, min(start + size, len(inputs)))
        # Padded to one shape: a compiler that specialises on shapes would start again for the last batch.
        padded = np.concatenate([places, np.repeat(places[-1:], size - len(places))])
        parts.append(np.asarray(model.predict_on_batch(inputs.take(padded)), np.float32)[: len(places)])
    return np.concatenate(parts)


def score(probabilities: Array, truth: Indices) -> tuple[float, float]:
    """Mean cross-entropy and accuracy of probabilities (n, classes) against labels (n,).

    Of several labels a picture, 0 and 1 (n, labels), a picture is right where all its labels are, at a half.
    """
    if truth.ndim == 2:
        return float(multilabel.entropies(probabilities, truth).mean()), multilabel.exact(probabilities, truth)
    likely = probabilities[np.arange(len(truth)), truth].astype(np.float64)
    return float(-np.log(np.clip(likely, 1e-7, 1.0)).mean()), float((probabilities.argmax(axis=1) == truth).mean())


def headed(model: "keras.Model", pictures: Pictures) -> "keras.Model":
    """The model with a sigmoid for each label in place of its softmax, where pictures have several."""
    from models.multilabel import with_sigmoid

    return with_sigmoid(model) if pictures.multilabel else model


def _network(
    family: str,
    config: Mapping[str, Any],
    pictures: Pictures,
    *,
    seed: int,
    most_views: int,
    threads: int,
    clock: Clock,
) -> Material:
    """A network that is trained whole, on pictures as they are stored or on treated ones and their copies."""
    from models.folding import folded
    from models.mirroring import with_mirror

    known, size, labels = family_of(family), config["image_size"], pictures.labels[pictures.train]
    resize_filter = known.filter(config)
    with clock("waiting"):
        if known.treated:
            steps = {name: bool(config[name]) for name in ("whitening", "auto_contrast", "equalize")}
            pixels = pictures.treated(size, resize_filter, threads=threads, **steps)
            turned = {"transpose": config["transpose"], "rotation": config["rotation"]}
            seen = Inputs(pictures.copies(size, resize_filter, **turned, threads=threads, **steps))
            labels = np.concatenate([labels] * (len(seen) // len(labels)))
        else:
            pixels = pictures.pixels(size, resize_filter)
            seen = Inputs(pixels, pictures.train)
    with clock("building"):
        model = headed(network(family).build(config, len(pictures.classes), seed=seed), pictures)
        trained = folded(model)
    return Material(
        trained,
        lambda epoch: seen,
        labels,
        Inputs(pixels, pictures.validation) if len(pictures.validation) else None,
        lambda: delivered(family, model, config),
        model.count_params(),
        scored=with_mirror(trained) if config.get("mirror_average") else None,
    )


def delivered(family: str, model: "keras.Model", config: Mapping[str, Any]) -> "keras.Model":
    """A network as it is handed over: without its augmentation, and on raw pictures."""
    from models.augmentation import without_augmentation
    from models.mirroring import with_mirror
    from models.treatment import with_treatment

    plain = without_augmentation(model)
    plain = with_mirror(plain) if config.get("mirror_average") else plain
    return with_treatment(plain, config) if family_of(family).treated else plain


def _transfer(
    config: Mapping[str, Any], pictures: Pictures, *, seed: int, most_views: int, threads: int, clock: Clock
) -> Material:
    """A pretrained trunk below a cut, its activations stored where that is worth it, under what is trained."""
    from models import mobilenet
    from models.folding import folded

    size, augmentation = config["image_size"], config["augmentation"]

    def source(rows: Indices) -> Source:
        return Source(pictures, rows, config["backbone"], config["alpha"], size)

    # What is cached of a part serves every division of its pictures.
    known = pictures.parts or (pictures.train, pictures.validation)
    parts = [source(rows) for rows in known if len(rows)]
    with clock("building"):
        trunk = parts[0].trunk
        tail = headed(mobilenet.build_tail(config, len(pictures.classes), seed=seed, trunk=trunk), pictures)
    slow = tuple(mobilenet.trunk_variables(tail))
    parameters = mobilenet.parameters(tail, trunk)
    labels = pictures.labels[pictures.train]

    def exported() -> "keras.Model":
        return mobilenet.join(tail, config, seed=seed, trunk=trunk, augment=False)

    frozen = trunk.frozen_blocks(config["unfrozen_blocks"])
    cut = None if frozen == trunk.blocks else frozen
    if cut is not None and not parts[0].stored(cut):
        # So deep that little is saved: the whole network runs, on fresh augmentation.
        pixels = pictures.pixels(size)
        with clock("building"):
            model = folded(mobilenet.join(tail, config, seed=seed, trunk=trunk, augment=True))
            paths = {variable.path for variable in model.trainable_variables}
        return Material(
            model,
            lambda epoch: Inputs(pixels, pictures.train),
            labels,
            Inputs(pixels, pictures.validation) if len(pictures.validation) else None,
            exported,
            parameters,
            tuple(path for path in slow if path in paths),
        )
    versions = views(augmentation, most_views)
    validation = None

    def stored(rows: Indices, view: int) -> Inputs:
        """The activations of some packed rows, in their order."""
        inputs: Inputs | None = None
        for part in reversed(parts):
            places = np.flatnonzero(np.isin(part.rows, rows))
            if len(places):
                array = part.read(cut, augmentation, view)
                inputs = Inputs(array, None if len(places) == len(part.rows) else places, then=inputs)
        assert inputs is not None
        return inputs

    with clock("waiting"):
        stored(pictures.train, 0)
        if len(pictures.validation):
            validation = stored(pictures.validation, 0)
            if validation.then is None and validation.rows is None:
                validation = Inputs(_in_memory(validation.array))
    with clock("building"):
        model = folded(tail)
    return Material(
        model,
        lambda epoch: stored(pictures.train, epoch % versions),
        labels,
        validation,
        exported,
        parameters,
        slow,
    )


def _in_memory(array: Array, most: int = 2**28) -> Array:
    return np.asarray(array).copy() if array.nbytes <= most else array


MATERIALS: dict[str, Callable[..., Material]] = {
    name: _transfer if family.transfers else partial(_network, name) for name, family in FAMILIES.items()
}
