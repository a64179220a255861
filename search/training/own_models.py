"""Models of users: any `keras_tuner.HyperModel`, class, instance or build function, trained as a family of its own.

What counts of it: its parameters, its model, and the optimizer, loss and `run_eagerly` that this was compiled with.
Epochs, metrics and validation are ours, as of every family. Of a `fit` of its own the batch size counts and nothing
else: no callbacks, class weights, data of its own making, or parameters that only it asks for.
"""

import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
import sysconfig
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from results.analysis.numbers import DERIVED
from results.terminal import plain
from search.data.cache import Cache
from search.data.pictures import Indices, Pictures, one_hot
from search.training.trial import Array, Clock, Inputs, Material

if TYPE_CHECKING:
    import keras
    import keras_tuner

    from models.own_model import OwnModel

ROOMS = ("models", "results", "search", "spaces")
# What the project's own packages are called, and no module of a user's: one name, where these are imported by it.
OURS = ("pedigree",) if __name__.startswith("pedigree.") else ROOMS
CLASSES = "classes"  # what a build function may ask its `hp` for, beside `image_size`
FILLED = ("input_shape", CLASSES, "num_classes")  # arguments that a class or a build function may have


@dataclass(frozen=True)
class Code:
    """The user's Python files that the hypermodels consist of, as they were when the run began.

    Args:
        files: by the path below the folder that they are imported from.
        origins: where each was found.
        places: those folders, in the order in which Python looks into them.
    """

    files: Mapping[str, bytes] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)
    places: tuple[str, ...] = ()

    def digests(self) -> dict[str, str]:
        """What tells each file from any other."""
        return {name: hashlib.blake2b(content, digest_size=12).hexdigest() for name, content in self.files.items()}

    def importable(self, cache: Path) -> None:
        """Puts the files in front of Python's path: where they were found if nothing has changed there, else a copy."""

        def write(folder: Path) -> None:
            for name, content in self.files.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(content)

        places = list(self.places)
        if any(_content(Path(self.origins[name])) != content for name, content in self.files.items()):
            copy = Cache(cache).once("code", self.digests(), write)
            places = [str(copy)]
            _copies.update({self.origins[name]: copy / name for name in self.files})
        sys.path[:] = [*places, *(place for place in sys.path if place not in places)]


@dataclass(frozen=True)
class OwnModels:
    """The hypermodels of a run, as a worker gets them."""

    references: Mapping[str, str] = field(default_factory=dict)  # by family, `package.module:Name` or `file.py:Name`
    random_weights: bool = False  # of `keras.applications`, whatever they would download
    pixel_range: str = "auto"
    code: Code = field(default_factory=Code)

    def materials(self) -> dict[str, Callable[..., Material]]:
        """What each of the families trains on, for `search.training.trial.MATERIALS`."""
        return {family: partial(self._material, family) for family in self.references}

    def _material(
        self,
        family: str,
        config: Mapping[str, Any],
        pictures: Pictures,
        *,
        seed: int,
        most_views: int,
        threads: int,
        clock: Clock,
    ) -> Material:
        with clock("building"):
            own = self._adopted(family, config, pictures)
        with clock("waiting"):
            pixels = pictures.pixels(config["image_size"])
        return Material(
            own.model,
            lambda epoch: Inputs(pixels, pictures.train, scale=own.scale),
            pictures.labels[pictures.train],
            Inputs(pixels, pictures.validation) if len(pictures.validation) else None,
            own.exported,
            own.model.count_params(),
            compiled=True,
            targets=TARGETS[own.labels],
            scored=own.probabilities,
        )

    def exported(self) -> dict[str, Callable[[Mapping[str, Any], Pictures], "keras.Model"]]:
        """What each of the families would export, untrained, for `search.training.latency.MODELS`."""
        return {family: partial(self._exported, family) for family in self.references}

    def _exported(self, family: str, config: Mapping[str, Any], pictures: Pictures) -> "keras.Model":
        return self._adopted(family, config, pictures).exported()

    def _adopted(self, family: str, config: Mapping[str, Any], pictures: Pictures) -> "OwnModel":
        import keras_tuner

        from models.own_model import adopt

        size, classes = config["image_size"], len(pictures.classes)
        self.code.importable(pictures.cache)
        hp = keras_tuner.HyperParameters()
        hp.values = {name: value for name, value in config.items() if name not in DERIVED}
        preset(hp, size, classes)
        built = self.build(self.hypermodel(family, size, classes), hp)
        return adopt(built, size, classes, self.pixel_range)

    def hypermodel(self, family: str, size: int, classes: int) -> Any:
        """The hypermodel, or build function, of a family for pictures of a size and so many classes."""
        target, wanted = self.resolve(family)
        given = {"input_shape": (size, size, 3), CLASSES: classes, "num_classes": classes}
        arguments = {name: given[name] for name in wanted}
        return target(**arguments) if isinstance(target, type) else partial(target, **arguments) if wanted else target

    def resolve(self, family: str) -> tuple[Any, list[str]]:
        """What a reference leads to, and those of its arguments that are filled in for it.

        Raises ValueError for a reference that leads to nothing, or to something else than a hypermodel.
        """
        import keras_tuner

        reference = self.references[family]
        target = find(reference)
        if isinstance(target, keras_tuner.HyperModel):
            return target, []
        is_class = isinstance(target, type)
        if not callable(target) or (is_class and not issubclass(target, keras_tuner.HyperModel)):
            kind = f"the class {target.__name__}" if is_class else f"a {type(target).__name__}"
            raise ValueError(
                "--hypermodel needs a keras_tuner.HyperModel, class or instance, or a function build(hp), "
                f"and `{reference}` is {kind}"
            )
        # A function's first argument is hp.
        parameters = list(inspect.signature(target).parameters.values())[not is_class :]
        wanted = [item for item in parameters if item.kind not in (item.VAR_POSITIONAL, item.VAR_KEYWORD)]
        unknown = [item.name for item in wanted if item.name not in FILLED and item.default is item.empty]
        if unknown:
            raise ValueError(
                f"--hypermodel can fill in {', '.join(FILLED)}, and `{reference}` needs `{unknown[0]}` as well; name "
                "an instance, or a function of hp alone"
            )
        return target, [item.name for item in wanted if item.name in FILLED]

    def build(self, hypermodel: Any, hp: "keras_tuner.HyperParameters") -> Any:
        """The model that a hypermodel or build function makes of these hyperparameters."""
        run = hypermodel.build if hasattr(hypermodel, "build") else hypermodel
        if not self.random_weights:
            return run(hp)
        with random_weights():
            return run(hp)


def preset(hp: "keras_tuner.HyperParameters", size: int, classes: int) -> None:
    """Lets a build function ask `hp` what it cannot know: `hp.get("image_size")` and `hp.get("classes")`."""
    hp.Fixed("image_size", size)
    hp.Fixed(CLASSES, classes)


def find(reference: str) -> Any:
    """The object that `package.module:Name` or `path/to/file.py:Name` leads to.

    Raises ValueError that says where the way ends.
    """
    module_name, _, path = reference.rpartition(":")
    for package in OURS:
        importlib.import_module(package)
    try:
        target: Any = _of_file(module_name) if module_name.endswith(".py") else importlib.import_module(module_name)
    except Exception as error:  # whatever a user's module does when it is imported
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing is not None and (module_name == missing or module_name.startswith(f"{missing}.")):
            raise ValueError(
                f"--hypermodel needs a module that Python finds in the current folder or on its path, and there is no "
                f"`{missing}` for `{reference}`{_taken(module_name)}"
            ) from None
        if isinstance(error, FileNotFoundError) and error.filename == module_name:
            raise ValueError(f"--hypermodel needs a file that is there, and there is no `{module_name}`") from None
        raise ValueError(f"--hypermodel cannot import `{module_name}`: {described(error)}") from error
    for name in path.split("."):
        if not hasattr(target, name):
            raise ValueError(f"--hypermodel finds no `{name}` in `{reference}`{_taken(module_name)}")
        target = getattr(target, name)
    return target


def _of_file(name: str) -> ModuleType:
    """The module of a Python file, whatever it is called; its folder is on Python's path, as that of a script is."""
    if name in _modules:
        return _modules[name]
    path = _copies.get(name, Path(name))
    path.open().close()
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    # A name that no import has: the file may be called as a package that it imports itself.
    title = f"_hypermodel_{len(_modules)}_{re.sub(r'[^A-Za-z0-9_]', '_', path.stem)}"
    spec = importlib.util.spec_from_file_location(title, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[title] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[title]
        raise
    _modules[name] = module
    return module


# By the path that a reference names: the modules of files, and the copies of files that this node does not have.
_modules: dict[str, ModuleType] = {}
_copies: dict[str, Path] = {}


def foreign_code(model: "keras.Model", folder: Path) -> str:
    """Why a saved model would not load without its user's code, as Keras's safe mode loads it; empty where it would.

    Raises what Keras raises where it cannot even be saved. `folder` is where it is saved for the moment.
    """
    import keras

    with tempfile.TemporaryDirectory(prefix="saving-", dir=folder) as aside:
        path = Path(aside) / "model.keras"
        model.save(path)
        # What the module registered is not there when somebody else loads the file.
        registered = keras.saving.get_custom_objects()
        kept = dict(registered)
        registered.clear()
        try:
            keras.saving.load_model(path, compile=False, safe_mode=True)
        except Exception as error:  # refused code, unknown classes, weights that find no layer
            own = sorted(set(_own_layers(model)))
            return ", ".join(own) if own else " ".join(f"{type(error).__name__}: {error}".split())[:200]
        finally:
            registered.update(kept)
    return ""


def _own_layers(layer: Any) -> Iterator[str]:
    """The layers of a model that are code of its user's: Lambda, and classes that are not Keras's."""
    import keras

    for inner in layer._flatten_layers():
        if isinstance(inner, keras.layers.Lambda):
            yield f"Lambda `{inner.name}`"
        elif type(inner).__module__.split(".")[0] != "keras":
            yield f"`{type(inner).__name__}`"


def described(error: BaseException) -> str:
    """An error in one line, with the place in the user's code that it comes from."""
    text = " ".join(plain(error).split())[:500]
    told = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if isinstance(error, SyntaxError) and error.filename:
        return told
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_own(frame.filename)]
    return f"{told} ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else told


def snapshot() -> Code:
    """The files of everything that is imported in this process and neither installed nor this project's."""
    files: dict[str, bytes] = {}
    origins: dict[str, str] = {}
    places = []
    for name, module in sorted(sys.modules.items()):
        path = getattr(module, "__file__", None)
        if name.startswith("__") or name.split(".")[0] in OURS or not path or not _is_own(path):
            continue
        below = name.replace(".", "/") + ("/__init__.py" if hasattr(module, "__path__") else ".py")
        if path.endswith(f"/{below}"):
            files[below] = Path(path).read_bytes()
            origins[below] = path
            places.append(path.removesuffix(f"/{below}"))
    for path, module in sorted(_modules.items()):
        below = Path(path).name
        while origins.get(below, path) != path:
            below = f"another/{below}"
        files[below] = Path(str(module.__file__)).read_bytes()
        origins[below] = path
        places.append(str(Path(path).parent))
    return Code(files, origins, tuple(sorted(set(places), key=_rank)))


@contextmanager
def random_weights() -> Iterator[None]:
    """Keeps the random weights of models that would download others: Keras has no switch for it.

    `keras_tuner.applications.HyperEfficientNet` has no argument for it either.
    """
    import keras
    from keras.src.utils import file_utils

    fetch, load = file_utils.get_file, keras.Model.load_weights

    def no_file(*arguments: Any, **more: Any) -> None:
        return None

    def keep(model: "keras.Model", filepath: Any, *arguments: Any, **more: Any) -> None:
        if filepath is not None:
            load(model, filepath, *arguments, **more)

    file_utils.get_file, keras.Model.load_weights = no_file, keep
    try:
        yield
    finally:
        file_utils.get_file, keras.Model.load_weights = fetch, load


def _sparse(labels: Indices, classes: int) -> Array:
    return labels


def _binary(labels: Indices, classes: int) -> Array:
    return labels[:, None].astype(np.float32)


TARGETS: dict[str, Callable[[Indices, int], Array]] = {"one-hot": one_hot, "sparse": _sparse, "binary": _binary}


def _taken(module: str) -> str:
    top = module.split(".")[0]
    return f" (`{top}` is a package of Pedigree's own: the module needs another name)" if top in OURS else ""


def _is_own(path: str) -> bool:
    folders = [*sysconfig.get_paths().values(), *(str(Path(__file__).parents[2] / room) for room in ROOMS)]
    inside = any(path.startswith(f"{folder}/") for folder in folders)
    installed = "/site-packages/" in path or "/dist-packages/" in path or path.startswith("<")
    return not inside and not installed


def _rank(place: str) -> int:
    return sys.path.index(place) if place in sys.path else len(sys.path)


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
