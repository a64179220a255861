"""The spaces of users' hypermodels, as the driver's studies draw from them.

What parameters a hypermodel has is known only by running its `build`, which needs Keras and may do anything. That runs
in one process of its own for all hypermodels of a run: the driver stays without TensorFlow, answers each parameter
that comes through the pipe with a value of the study's, and outlives whatever a `build` does.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution

from search.data.pictures import one_hot
from search.settings import Settings, own_families
from search.studies.hyperparameters import drawn_hyperparameters
from search.training.own_models import CLASSES, TARGETS, OwnModels, described, foreign_code, preset, snapshot
from search.training.worker import end_with_parent, resident

BATCH_SIZE = "batch_size"
GIVEN = ("x", "y", "validation_data", "epochs", "callbacks", "verbose")  # what a `fit` is called with
USUAL_BATCH = 32  # where nobody says anything, as in `keras.Model.fit`


@dataclass(frozen=True)
class Asked:
    """A parameter that a `build` asks for."""

    name: str
    distribution: BaseDistribution
    default: Any


@dataclass(frozen=True)
class Built:
    """What a `build` came to."""

    values: dict[str, Any] = field(default_factory=dict)  # of the hypermodel's parameters, fixed ones included
    model_parameters: int = 0
    multiply_adds: float = 0.0  # millions, of one picture
    told: str = ""  # what the model is, where it was looked at
    error: str = ""  # why there is none
    unused: str = ""  # what of a `fit` of the hypermodel's own is not honoured, where there is one
    foreign: str = ""  # what of its code a saved model would not bring, where it was looked at


Answer = Callable[[Asked], Any]
NO_ANSWER = ("no answer",)  # no value of a parameter is a tuple


class OwnSpaces:
    """The hypermodels of a run and the process that their `build` runs in; without hypermodels there is none.

    Raises ValueError for a reference that leads to no hypermodel.

    Args:
        shared: whether the trials run on a cluster, whose machines need not have the current folder.
    """

    def __init__(self, settings: Settings, *, shared: bool = False) -> None:
        self.models = OwnModels(own_families(settings.hypermodel), settings.weights == "none", settings.pixel_range)
        self._settings = settings
        self._classes = 0
        self._spaces: dict[str, OwnSpace] = {}
        self._process: Process | None = None
        self._shared = shared
        if self.models.references:
            self._process = Process(self.models, settings.cache, shared=shared)

    def __enter__(self) -> "OwnSpaces":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def check(self, classes: int) -> list[str]:
        """Builds the default model of every hypermodel at the least and the largest image size, and tells what it is.

        Raises ValueError for one that cannot be built, or cannot classify pictures of that size into these classes.
        """
        self._classes = classes
        told = []
        for family, reference in self.models.references.items():
            for size in sorted({min(self._settings.image_sizes), max(self._settings.image_sizes)}):
                built = self.built(family, size, lambda asked: asked.default, check=True)
                if built.error:
                    raise ValueError(
                        f"--hypermodel cannot use `{reference}` with its defaults: {built.error}{advice(built.error)}"
                        f"{in_no_folder(built.error, self._shared)}"
                    )
            told.append(f"{family} is `{reference}`: {built.told}")
            told += [f"{family}: {built.unused}"] if built.unused else []
            if built.foreign:
                told.append(
                    f"{family} can be searched, but its saved model will not load without its code ({built.foreign}): "
                    "`predict` and `export` will refuse it, and only `keras.saving.load_model` beside that code reads "
                    "it; layers and operations of Keras's own need no code"
                )
        if self._process is not None:
            self.models = replace(self.models, code=self._process.code())
        return told

    def spaces(self) -> dict[str, "OwnSpace"]:
        """The space of each family, once all have been checked."""
        for family in self.models.references:
            # One of each, because it remembers what it has built.
            self._spaces.setdefault(family, OwnSpace(self, family, self._settings.image_sizes))
        return self._spaces

    def built(self, family: str, size: int, answer: Answer, *, check: bool = False) -> Built:
        """One `build`, which gets the value of each parameter that it asks for from `answer`."""
        process = self._process = self._process or Process(self.models, self._settings.cache, shared=self._shared)
        try:
            built = process.build((family, size, self._classes, check), answer)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            self._end()
            return Built(error="`build` ended the process that it ran in")
        if resident(process.number) > self._settings.worker_memory * 2**30:
            # TensorFlow never gives back all memory of a model.
            self._end()
        return built

    def _end(self) -> None:
        if self._process is not None:
            self._process.end()
        self._process = None


def advice(error: str) -> str:
    """What to add to the reason why a model cannot be used: of one channel the reason shows only a shape."""
    one_channel = re.search(r"got \(None, \w+, \w+, 1\)", error)
    return (
        "; its one channel is an obstacle: grey pictures too are given in three, so build it for 3"
        if one_channel
        else ""
    )


class OwnSpace:
    """The space of one hypermodel: configurations from an `hp`, like those of `Family.space`, by running its `build`.

    A `build` that fails gives a configuration too: the trial that gets it fails for the same reason, and says so.
    The way of every build is remembered, so that no point costs two.
    """

    def __init__(self, own: OwnSpaces, family: str, sizes: tuple[int, ...]) -> None:
        self._own = own
        self._family = family
        self._sizes = sizes
        # By image size and the values so far: the next parameter, or the end.
        self._steps: dict[tuple[int, tuple[Any, ...]], Asked | Built] = {}
        self._first: dict[str, BaseDistribution] = {}  # by name

    def __call__(self, hp: Any) -> dict[str, Any]:
        middle = sorted(self._sizes)[(len(self._sizes) - 1) // 2]
        only = len(self._sizes) == 1
        size = hp.Fixed("image_size", middle) if only else hp.Choice("image_size", list(self._sizes), default=middle)
        answers: tuple[Any, ...] = ()
        values: dict[str, Any] = {"image_size": size}

        def answer(asked: Asked) -> Any:
            nonlocal answers
            self._steps[size, answers] = asked
            value = values[asked.name] = hp.draw(self._key(asked), asked.distribution, asked.default, asked.name)
            answers += (value,)
            return value

        step = self._steps.get((size, answers))
        while isinstance(step, Asked):
            answer(step)
            step = self._steps.get((size, answers))
        if step is None:
            # From the beginning again: what has been drawn already stays.
            answers = ()
            step = self._own.built(self._family, size, answer)
            self._steps[size, answers] = step
        usual = {} if BATCH_SIZE in step.values else {BATCH_SIZE: USUAL_BATCH}
        derived = {"model_parameters": step.model_parameters, "multiply_adds": step.multiply_adds}
        return {**values, **step.values, **usual, **derived}

    def afresh(self) -> "OwnSpace":
        """The same space for whoever only looks at it: what it meets first changes no name of a study's parameter."""
        other = OwnSpace(self._own, self._family, self._sizes)
        other._steps = self._steps
        return other

    def _key(self, asked: Asked) -> str:
        """What the study calls a parameter: the same name with other values is another parameter to Optuna."""
        if self._first.setdefault(asked.name, asked.distribution) == asked.distribution:
            return asked.name
        match asked.distribution:
            case CategoricalDistribution(choices=choices):
                return f"{asked.name} ({', '.join(map(str, choices))})"
            case distribution:
                low, high = (getattr(distribution, end) for end in ("low", "high"))
                return f"{asked.name} ({low} to {high})"


class Process:
    """The driver's handle on the process that runs `build`: in the current folder, or `shared` in an empty one.

    Raises ValueError where a reference leads to no hypermodel.
    """

    def __init__(self, models: OwnModels, cache: Path, *, shared: bool = False) -> None:
        self._pipe, theirs = Pipe()
        # Without a GPU: nothing is trained there, and a process that holds one takes memory from the trials.
        environment = dict(
            os.environ, PYTHONPATH=os.pathsep.join(path for path in sys.path if path), CUDA_VISIBLE_DEVICES="-1",
            JAX_PLATFORMS="cpu", TF_CPP_MIN_LOG_LEVEL="3",
        )  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", f"from {__name__} import main; main()", str(theirs.fileno())],
            pass_fds=[theirs.fileno()], env=environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        theirs.close()
        self.number = process.pid
        self.end = weakref.finalize(self, _end, process, self._pipe)
        self._pipe.send((models, cache, os.getcwd(), shared))
        try:
            error: str = self._pipe.recv()
        except EOFError:
            error = "--hypermodel needs a process that imports Keras and the module, and it ended without a word"
        if error:
            self.end()
            raise ValueError(f"{error}{in_no_folder(error, shared)}")

    def build(self, request: tuple[str, int, int, bool], answer: Answer) -> Built:
        """One `build` from its first parameter to its end."""
        self._pipe.send(request)
        while not isinstance(said := self._pipe.recv(), Built):
            try:
                value = answer(said)
            except BaseException:
                # A point that the space does not have, or Ctrl-C: the process is to be ready for the next request.
                while not isinstance(said, Built):
                    self._pipe.send(NO_ANSWER)
                    said = self._pipe.recv()
                raise
            self._pipe.send(value)
        return said

    def code(self) -> Any:
        """The `Code` of all that has been imported there."""
        self._pipe.send(None)
        return self._pipe.recv()


def in_no_folder(error: str, shared: bool) -> str:
    """What to do where a file was not found because trials on a cluster have no folder of their user's."""
    if not shared or "FileNotFoundError" not in error:
        return ""
    return "; on a cluster a hypermodel runs in an empty folder: give files that every machine has by their whole path"


def _end(process: "subprocess.Popen[bytes]", pipe: Connection) -> None:
    pipe.close()
    process.kill()
    process.wait()


def serve(pipe: Connection) -> None:
    """The process's whole life: builds until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    models, cache, folder, shared = pipe.recv()
    # As `python -m` would; whoever was started with `python FILE` has that file's folder there instead.
    sys.path.insert(0, folder)
    from search.training import devices

    devices.prepare(1, "float32")
    with tempfile.TemporaryDirectory() if shared else contextlib.nullcontext(folder) as here:
        os.chdir(here)
        _serve(pipe, models, cache)


def _serve(pipe: Connection, models: OwnModels, cache: Path) -> None:
    from search.training import devices

    try:
        models.code.importable(cache)
        for family in models.references:
            models.resolve(family)
    except ValueError as error:
        pipe.send(str(error))
        return
    pipe.send("")
    while True:
        try:
            request = pipe.recv()
        except (EOFError, ConnectionResetError):
            return
        pipe.send(snapshot() if request is None else _built(pipe, models, cache, *request))
        devices.forget_models()


def _built(
    pipe: Connection, models: OwnModels, cache: Path, family: str, size: int, classes: int, check: bool
) -> Built:
    import keras

    from models.own_model import adopt, multiply_adds

    building = True

    def draw(name: str, distribution: BaseDistribution, default: Any) -> Any:
        # What a `fit` of the user's own asks for beyond its batch size would change nothing here.
        if not building and name != BATCH_SIZE:
            return default
        pipe.send(Asked(name, distribution, default))
        value = pipe.recv()
        if value == NO_ANSWER:
            raise LookupError("the driver has no value for it")
        return value

    hp = drawn_hyperparameters(draw)
    preset(hp, size, classes)
    try:
        hypermodel = models.hypermodel(family, size, classes)
        model = models.build(hypermodel, hp)
        if isinstance(model, keras.Model) and not model.built:
            model(keras.Input((size, size, 3)))
        building = False
        values = {name: value for name, value in hp.values.items() if name != CLASSES}
        batch = _batch_size(hypermodel, hp, size, classes)
        if batch is not None:
            values[BATCH_SIZE] = batch
        told = foreign = ""
        if check:
            try:
                own = adopt(model, size, classes, models.pixel_range)
            except ValueError as error:
                return Built(error=str(error))
            # Once through its loss: a loss of the user's own may want other labels than it seems to.
            pictures = np.zeros((2, size, size, 3), np.float32)
            labels = TARGETS[own.labels](np.arange(2), classes)
            own.model.compute_loss(x=pictures, y=labels, y_pred=own.model(pictures, training=False))
            told = (
                f"{own.model.count_params():,} weights, pictures of values {own.pixel_range}, {own.labels} labels, "
                f"batches of {values.get(BATCH_SIZE, USUAL_BATCH)}"
            )
            try:
                foreign = foreign_code(own.exported(), cache)
            except Exception as error:  # of layers that do not say how they are saved
                return Built(error=f"its model cannot be saved: {described(error)}")
        unused = unused_of_fit(hypermodel, hp, size, classes) if check else ""
        return Built(values, model.count_params(), round(multiply_adds(model), 3), told, unused=unused, foreign=foreign)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        raise
    except Exception as error:  # whatever a `build` does
        return Built(error=described(error))


class _Fitted(Exception):
    """A `fit` has come to where it would train."""


class _Recorder:
    """Stands where a `fit` of the user's own expects the model, and takes down what it would train it with."""

    def __init__(self) -> None:
        self.named: dict[str, Any] = {}

    def fit(self, *arguments: Any, **named: Any) -> None:
        self.named = named
        raise _Fitted

    def __getattr__(self, name: str) -> Any:
        raise _Fitted


def _batch_size(hypermodel: Any, hp: Any, size: int, classes: int) -> int | None:
    """The batch size that a hypermodel trains with, by its own `fit`, or else by its parameter of that name.

    Nothing is trained: its `fit` is followed, on two black pictures, as far as the call of the model's `fit`.
    """
    found = _asked_of_fit(hypermodel, hp, size, classes).get(BATCH_SIZE, hp.values.get(BATCH_SIZE))
    return found if isinstance(found, int) and not isinstance(found, bool) and found > 0 else None


def unused_of_fit(hypermodel: Any, hp: Any, size: int, classes: int) -> str:
    """What a `fit` of the hypermodel's own wants beside its batch size, which is not done; empty without one."""
    if not _own_fit(hypermodel):
        return ""
    asked = _asked_of_fit(hypermodel, hp, size, classes)
    names = [name for name in asked if name not in GIVEN and name != BATCH_SIZE]
    names += ["own callbacks"] * bool(asked.get("callbacks"))
    wanted = f"its {' and '.join(names)}" if names else "what else it does"
    verb = "do" if len(names) > 1 else "does"
    return f"the `fit` of `{type(hypermodel).__name__}` is not run: its batch size counts, {wanted} {verb} not"


def _own_fit(hypermodel: Any) -> bool:
    import keras_tuner

    return getattr(type(hypermodel), "fit", keras_tuner.HyperModel.fit) is not keras_tuner.HyperModel.fit


def _asked_of_fit(hypermodel: Any, hp: Any, size: int, classes: int) -> dict[str, Any]:
    """The named arguments with which a `fit` of the hypermodel's own would train; empty without one."""
    recorder = _Recorder()
    if _own_fit(hypermodel):
        x, y = np.zeros((2, size, size, 3), np.float32), one_hot(np.zeros(2, np.int64), classes)
        # `_Fitted`, or what a `fit` makes of being called so.
        with contextlib.suppress(Exception):
            hypermodel.fit(hp, recorder, x, y, validation_data=(x, y), epochs=1, callbacks=[], verbose=0)
    return recorder.named


def main() -> None:
    """The process's beginning: its end of the pipe is the file whose number it is given."""
    serve(Connection(int(sys.argv[1])))
