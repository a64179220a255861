"""Hypermodels of users: what a reference may be, their spaces under Optuna, their training, and a whole search."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
import optuna
import pytest

from models.own_model import adopt, multiply_adds
from results.analysis.numbers import DERIVED
from results.delivery.prediction import predict
from results.rows import read_rows
from search import parsing, starting
from search import run as command
from search.data.pictures import Pictures
from search.settings import Settings, own_families
from search.studies.hyperparameters import TrialHyperParameters, defaults
from search.studies.narrowed import Narrowed, check, lines, rules_of
from search.studies.own_spaces import OwnSpace, OwnSpaces, advice, unused_of_fit
from search.studies.spaces import fits
from search.studies.study import Study
from search.training import trial
from search.training.own_models import Code, OwnModels, foreign_code, random_weights, snapshot

ROOT = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.filterwarnings(
    # Keras 3.15 reads TensorFlow's variables in a way of which NumPy 2 warns.
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)

# In the manner of KerasTuner's guide: a function, and a class with conditions, name scopes and a `fit` of its own.
GUIDE = """
import keras
import keras_tuner
from keras import layers

from blocks import head


def build_model(hp):
    model = keras.Sequential([layers.Flatten()])
    for i in range(hp.Int("num_layers", 1, 3)):
        units = hp.Int(f"units_{i}", 8, 32, step=8)
        model.add(layers.Dense(units, activation=hp.Choice("activation", ["relu", "tanh"])))
    if hp.Boolean("dropout"):
        model.add(layers.Dropout(0.25))
    model.add(head(hp.get("classes")))
    rate = hp.Float("lr", 1e-4, 1e-2, sampling="log", default=1e-3)
    model.compile(keras.optimizers.Adam(rate), "categorical_crossentropy", metrics=["accuracy"])
    return model


class Conditional(keras_tuner.HyperModel):
    def __init__(self, input_shape, num_classes, activation="relu"):
        super().__init__()
        self.input_shape, self.classes, self.activation = input_shape, num_classes, activation

    def build(self, hp):
        with open("activation.txt") as file:
            assert file.read() == self.activation
        kind = hp.Choice("kind", ["mlp", "cnn", "broken"])
        inputs = keras.Input(self.input_shape)
        x = layers.Rescaling(1 / 127.5, offset=-1)(inputs)
        with hp.conditional_scope("kind", ["mlp"]):
            if kind == "mlp":
                x = layers.Dense(hp.Int("units", 8, 32, step=8), activation=self.activation)(layers.Flatten()(x))
        with hp.conditional_scope("kind", ["cnn"]):
            if kind == "cnn":
                with hp.name_scope("stem"):
                    filters = hp.Int("filters", 4, 16, step=2, sampling="log")
                x = layers.Conv2D(filters, 3, strides=2, activation=self.activation)(x)
                x = layers.GlobalAveragePooling2D()(x)
                x = layers.Dense(hp.Int("units", 4, 8))(x)
        if kind == "broken":
            raise RuntimeError("no such kind")
        hp.Fixed("family", "guide")
        model = keras.Model(inputs, layers.Dense(self.classes)(x))
        model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
        return model

    def fit(self, hp, model, *args, **kwargs):
        return model.fit(*args, batch_size=hp.Choice("batch_size", [8, 16]), shuffle=hp.Boolean("shuffle"), **kwargs)


def turned(hp):
    layers_ = [layers.Lambda(lambda x: x[:, ::-1], name="turn"), layers.Flatten(), layers.Dense(4, "softmax")]
    model = keras.Sequential(layers_)
    model.compile("adam", "categorical_crossentropy")
    return model


def needs_more(hp, width):
    return None


instance = Conditional((32, 32, 3), 4)
number = 3
"""
BLOCKS = "from keras import layers\n\n\ndef head(classes):\n    return layers.Dense(classes, activation='softmax')\n"


@pytest.fixture(scope="module")
def guide(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The current folder is one with the module `own_guide` and what it imports."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "own_guide.py").write_text(GUIDE)
    (folder / "blocks.py").write_text(BLOCKS)
    # Opened by a relative path: where builds are checked, and where trials run.
    (folder / "activation.txt").write_text("relu")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        yield folder


@pytest.fixture(scope="module")
def own(guide: Path, cache_dir: Path) -> Iterator[OwnSpaces]:
    settings = Settings(
        families=("build_model", "Conditional", "instance", "turned"), image_sizes=(32,), cache_dir=str(cache_dir),
        hypermodel=("own_guide:build_model", "own_guide:Conditional", "own_guide:instance", "own_guide:turned"),
    )  # fmt: skip
    with OwnSpaces(settings) as found:
        # The first two are made for as many classes as there are.
        with pytest.raises(ValueError, match=r"`own_guide:instance` with its defaults: needs .* for 5 classes, got"):
            found.check(5)
        fit = "the `fit` of `Conditional` is not run: its batch size counts, its shuffle does not"
        assert found.check(4) == [
            "build_model is `own_guide:build_model`: 24,620 weights, pictures of values 0..1, one-hot labels, "
            "batches of 32",
            *(
                line
                for family in ("Conditional", "instance")
                for line in (
                    f"{family} is `own_guide:{family}`: 24,620 weights, pictures of values 0..255, sparse labels, "
                    "batches of 8",
                    f"{family}: {fit}",
                )
            ),
            "turned is `own_guide:turned`: 12,292 weights, pictures of values 0..255, one-hot labels, batches of 32",
            "turned can be searched, but its saved model will not load without its code (Lambda `turn`): `predict` and "
            "`export` will refuse it, and only `keras.saving.load_model` beside that code reads it; layers and "
            "operations of Keras's own need no code",
        ]
        yield found


class Weighted(keras_tuner.HyperModel):  # type: ignore[misc]
    def build(self, hp: Any) -> Any:
        return None

    def fit(self, hp: Any, model: Any, *args: Any, callbacks: Any = (), **kwargs: Any) -> Any:
        stop = keras.callbacks.EarlyStopping()
        return model.fit(*args, class_weight={0: 1.0, 1: 9.0}, callbacks=[*callbacks, stop], **kwargs)


def test_what_of_a_fit_is_not_honoured_is_named() -> None:
    hp = keras_tuner.HyperParameters()
    assert unused_of_fit(Weighted(), hp, 32, 2) == (
        "the `fit` of `Weighted` is not run: its batch size counts, its class_weight and own callbacks do not"
    )
    assert unused_of_fit(lambda hp: None, hp, 32, 2) == ""


def test_references_name_families() -> None:
    assert own_families(["a.b:Net", "tiny=a:outer.build"]) == {"Net": "a.b:Net", "tiny": "a:outer.build"}
    files = own_families(["my nets/a-b.py:Net", "tiny=../c.py:outer.build"])
    assert files == {"Net": "my nets/a-b.py:Net", "tiny": "../c.py:outer.build"}


@pytest.mark.parametrize(
    ("references", "message"),
    [
        (["a.b.Net"], r"package\.module:Name, path/to/file\.py:Name or family=package\.module:Name, got 'a\.b\.Net'"),
        (["a:_net"], "start with a letter: put `family=` in front of others, got 'a:_net'"),
        (["a:build", "b:Build"], "names of their own: put `family=` in front, `Build` is taken, got 'b:Build'"),
        (["a:mobilenet"], "`mobilenet` is taken"),
    ],
)
def test_references_that_name_no_family_are_refused(references: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        own_families(references)


def test_hypermodels_are_searched_alone_or_beside_what_is_named() -> None:
    alone = starting.begun(parsing.options(["demo", "--hypermodel", "a:One,a:Two", "--hypermodel", "x=b:One"]))
    assert alone.families == ("One", "Two", "x")
    beside = starting.begun(parsing.options(["demo", "--families", "mobilenet", "--hypermodel", "a:One"]))
    assert beside.families == ("mobilenet", "One")
    assert Settings.from_json(beside.to_json()) == beside
    with pytest.raises(ValueError, match="every --hypermodel, so `One` as well"):
        Settings(hypermodel=("a:One",))


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("no_such_module:Net", "there is no `no_such_module` for `no_such_module:Net`"),
        ("own_guide:Missing", "finds no `Missing` in `own_guide:Missing`"),
        ("models:Net", "`models` is a package of Pedigree's own: the module needs another name"),
        ("own_guide:number", r"or a function build\(hp\), and `own_guide:number` is a int"),
        ("keras:Sequential", "`keras:Sequential` is the class Sequential"),
        ("own_guide:needs_more", "fill in input_shape, classes, num_classes, and `own_guide:needs_more` needs `width`"),
    ],
)
def test_what_is_no_hypermodel_is_refused(guide: Path, reference: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OwnModels({"net": reference}).resolve("net")


def test_a_file_of_any_name_is_a_hypermodels_home(guide: Path, tmp_path: Path) -> None:
    # Called as a package that Pedigree has, and beside another file.
    (tmp_path / "my nets").mkdir()
    (tmp_path / "my nets/models.py").write_text("from beside_it import Net\n\nmine = __name__\n")
    (tmp_path / "my nets/beside_it.py").write_text(
        "import keras_tuner\n\n\nclass Net(keras_tuner.HyperModel):\n    pass\n"
    )
    reference = f"{tmp_path}/my nets/models.py:Net"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", list(sys.path))
        found, filled = OwnModels({"net": reference}).resolve("net")
        assert (found.__name__, filled) == ("Net", [])
        assert sys.path[0] == f"{tmp_path}/my nets"
        code = snapshot()
    assert code.origins["models.py"] == f"{tmp_path}/my nets/models.py"
    assert code.origins["beside_it.py"] == f"{tmp_path}/my nets/beside_it.py"
    assert f"{tmp_path}/my nets" in code.places
    with pytest.raises(ValueError, match=f"needs a file that is there, and there is no `{tmp_path}/other.py`"):
        OwnModels({"net": f"{tmp_path}/other.py:Net"}).resolve("net")


def test_a_machine_without_the_file_imports_its_copy(tmp_path: Path) -> None:
    here, content = str(tmp_path / "gone/net.py"), b"def build(hp):\n    return None\n"
    code = Code({"net.py": content}, {"net.py": here}, (str(tmp_path / "gone"),))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", list(sys.path))
        code.importable(tmp_path / "cache")
        build, _ = OwnModels({"net": f"{here}:build"}).resolve("net")
    assert Path(build.__code__.co_filename).is_relative_to(tmp_path / "cache")


def test_a_path_of_a_hypermodel_is_kept_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = starting.begun(parsing.options(["demo", "--hypermodel", "nets/a.py:One,two=b.py:Two,c:Three"]))
    assert settings.hypermodel == (f"{tmp_path}/nets/a.py:One", f"two={tmp_path}/b.py:Two", "c:Three")
    assert settings.families == ("One", "two", "Three")


@keras.saving.register_keras_serializable("mine")
class Halved(keras.layers.Layer):  # type: ignore[misc]
    def call(self, x: Any) -> Any:
        return x / 2


class Widened(keras.layers.Layer):  # type: ignore[misc]
    def __init__(self, table: Any) -> None:
        super().__init__()
        self.table = table

    def call(self, x: Any) -> Any:
        return x + self.table

    def get_config(self) -> dict[str, Any]:
        raise NotImplementedError("of no one's concern")


@pytest.mark.parametrize(
    ("layer", "needed"),
    [
        (keras.layers.Rescaling(0.5), ""),
        (keras.layers.Lambda(lambda x: x / 2, name="half"), "Lambda `half`"),
        (Halved(), "`Halved`"),
    ],
)
def test_code_that_a_saved_model_would_need_is_named(layer: Any, needed: str, tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((4,)), keras.Sequential([layer]), keras.layers.Dense(2)])
    assert foreign_code(model, tmp_path) == needed
    assert list(tmp_path.iterdir()) == []
    assert keras.saving.get_registered_object("mine>Halved") is Halved


def test_a_model_that_cannot_be_saved_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotImplementedError, match="of no one's concern"):
        foreign_code(keras.Sequential([keras.Input((4,)), Widened(3.0)]), tmp_path)


@pytest.mark.slow
def test_on_a_cluster_a_relative_path_is_refused_before_any_trial(guide: Path, cache_dir: Path) -> None:
    settings = Settings(
        families=("Conditional",), hypermodel=("own_guide:Conditional",), image_sizes=(32,), cache_dir=str(cache_dir)
    )
    with (
        OwnSpaces(settings, shared=True) as found,
        pytest.raises(
            ValueError,
            match=r"FileNotFoundError: .*'activation\.txt' \(own_guide\.py, .*; on a cluster .* empty folder",
        ),
    ):
        found.check(4)


def test_a_module_that_fails_says_where(guide: Path) -> None:
    (guide / "failing.py").write_text("import math\n\nmath.sqrt(-1)\n")
    with pytest.raises(ValueError, match=r"cannot import `failing`: ValueError: .*\(failing\.py, line 3\)"):
        OwnModels({"net": "failing:Net"}).resolve("net")


def test_what_a_build_gives_is_checked_before_any_work(own: OwnSpaces) -> None:
    def told(size: int) -> str:
        return own.built("instance", size, lambda asked: asked.default, check=True).error

    assert told(32) == ""
    assert told(48) == (
        "needs models of pictures (n, 48, 48, 3) at that image size, got (None, 32, 32, 3); give --image-sizes 32"
    )


def test_the_space_of_a_function_is_drawn_by_optuna(own: OwnSpaces) -> None:
    space = OwnSpace(own, "build_model", (32, 48))
    assert defaults(space) == {
        "image_size": 32, "num_layers": 1, "units_0": 8, "activation": "relu", "dropout": False, "lr": 1e-3,
    }  # fmt: skip
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(6):
        drawn = study.ask()
        config = space(TrialHyperParameters(drawn))
        assert config == {**drawn.params, "batch_size": 32, **{name: config[name] for name in DERIVED}}
        assert [name for name in config if name.startswith("units")] == [
            f"units_{number}" for number in range(config["num_layers"])
        ]


def test_conditions_scopes_and_the_batch_size_of_a_fit_hold(own: OwnSpaces) -> None:
    space = own.spaces()["Conditional"]
    # An inactive parameter is not there, one of another condition is another parameter, and `shuffle` changes nothing.
    assert space(TrialHyperParameters(values={"kind": "mlp", "units": 24, "batch_size": 16})) == {
        "image_size": 32, "kind": "mlp", "units": 24, "batch_size": 16, "family": "guide", "model_parameters": 73852,
        "multiply_adds": 0.074,
    }  # fmt: skip
    hp = TrialHyperParameters(values={"kind": "cnn", "stem/filters": 8, "units (4 to 8)": 5})
    assert space(hp) == {
        "image_size": 32, "kind": "cnn", "stem/filters": 8, "units": 5, "batch_size": 8, "family": "guide",
        "model_parameters": 293, "multiply_adds": 0.049,
    }  # fmt: skip
    assert list(hp.distributions) == ["kind", "stem/filters", "units (4 to 8)", "batch_size"]


@pytest.mark.slow
def test_a_space_of_the_users_is_narrowed_by_the_names_of_its_build(own: OwnSpaces) -> None:
    whole = own.spaces()["Conditional"]

    def narrowed(*texts: str) -> Narrowed:
        return Narrowed(whole.afresh(), rules_of(texts, "Conditional", ["Conditional"]))

    def told(*texts: str) -> list[str]:
        return lines(check(texts, {"Conditional": narrowed(*texts)}, own=["Conditional"]))

    assert told("kind=mlp,cnn", "batch_size=16") == ["Conditional keeps to kind mlp, cnn, batch_size 16"]
    # Only under a condition, and within a scope.
    assert told("Conditional.stem/filters=8", "kind=cnn") == ["Conditional keeps to kind cnn, stem/filters 8"]
    # A size that is no choice is known all the same.
    assert told("image_size=32") == ["Conditional keeps to image_size 32"]
    with pytest.raises(
        ValueError, match="needs names from batch_size, image_size, kind, stem/filters, units, got 'un'"
    ):
        told("un=3")
    # One name, asked for twice with other values: it is narrowed wherever the values are.
    with pytest.raises(ValueError, match=r"`set` needs values from 4 to 8 in `Conditional.units`, got '24'"):
        told("units=24", "kind=cnn")
    assert told("units=24", "kind=mlp") == ["Conditional keeps to units 24, kind mlp"]
    space = narrowed("kind=cnn", "units=5..6")
    hp = TrialHyperParameters()
    assert (space(hp)["kind"], space(hp)["units"]) == ("cnn", 5)
    assert not fits(space, {"kind": "mlp"})
    study = Study("Conditional", narrowed("kind=cnn", "units=5..6", "stem/filters=4"), (), trials=None, seed=0)
    tried: list[dict[str, Any]] = []
    while study.more:
        tried.append(study.suggest(str(len(tried)))[1])
    assert sorted((point["units"], point["batch_size"]) for point in tried) == [(5, 8), (5, 16), (6, 8), (6, 16)]
    study.close()


def test_a_point_that_the_space_does_not_have_is_refused_and_no_more(own: OwnSpaces) -> None:
    space = own.spaces()["Conditional"]
    assert not fits(space, {"kind": "mlp", "units": 9})
    assert not fits(space, {"kind": "cnn", "units": 16})
    assert fits(space, {"kind": "mlp", "units": 16})


def test_a_build_that_fails_leaves_it_to_its_trial_to_say_so(own: OwnSpaces, pictures: Pictures) -> None:
    config = own.spaces()["Conditional"](TrialHyperParameters(values={"kind": "broken"}))
    assert config == {"image_size": 32, "kind": "broken", "batch_size": 32, "model_parameters": 0, "multiply_adds": 0.0}
    with pytest.raises(RuntimeError, match="no such kind"):
        own.models.materials()["Conditional"](
            config, pictures, seed=0, most_views=1, threads=1, clock=trial.Clock()
        )  # fmt: skip


def test_the_code_is_what_was_imported_of_the_users(own: OwnSpaces, guide: Path, tmp_path: Path) -> None:
    code = own.models.code
    assert sorted(code.files) == ["blocks.py", "own_guide.py"]
    assert code.places == (str(guide),)
    # A node that has other files there, or none, takes the copy.
    moved = replace(code, origins={name: str(tmp_path / name) for name in code.files})
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        moved.importable(tmp_path / "cache")
        assert (Path(sys.path[0]) / "blocks.py").read_text() == BLOCKS
        assert Path(sys.path[0]).is_relative_to(tmp_path / "cache")


def small(outputs: int, activation: str | None, loss: Any, *, rescaled: bool = False) -> keras.Model:
    layers: list[Any] = [keras.layers.Rescaling(1 / 255)] if rescaled else []
    layers += [keras.layers.AveragePooling2D(8), keras.layers.Flatten(), keras.layers.Dense(outputs, activation)]
    model = keras.Sequential(layers)
    model.compile(keras.optimizers.Adam(0.01), loss)
    return model


@pytest.mark.parametrize(
    ("classes", "outputs", "activation", "loss", "labels"),
    [
        (4, 4, "softmax", "categorical_crossentropy", "one-hot"),
        (4, 4, None, keras.losses.SparseCategoricalCrossentropy(from_logits=True), "sparse"),
        (4, 4, "sigmoid", "binary_crossentropy", "one-hot"),
        (2, 1, "sigmoid", "binary_crossentropy", "binary"),
        (2, 1, None, keras.losses.BinaryCrossentropy(from_logits=True), "binary"),
    ],
)
def test_the_users_loss_gets_the_labels_it_wants(
    classes: int, outputs: int, activation: str | None, loss: Any, labels: str
) -> None:
    own = adopt(small(outputs, activation, loss), 32, classes)
    assert (own.labels, own.pixel_range) == (labels, "0..1")
    probabilities = np.asarray(own.probabilities(np.full((3, 32, 32, 3), 200, np.uint8)))
    assert probabilities.shape == (3, classes)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-5)


def test_a_model_that_scales_its_pictures_is_fed_them_as_they_are() -> None:
    assert adopt(small(4, "softmax", "categorical_crossentropy", rescaled=True), 32, 4).pixel_range == "0..255"
    assert adopt(small(4, "softmax", "categorical_crossentropy", rescaled=True), 32, 4, "0..1").pixel_range == "0..1"
    inputs = keras.Input((32, 32, 3))
    outputs = keras.layers.Dense(4, "softmax")(keras.layers.Flatten()(inputs[..., ::-1] - 110.0))
    model = keras.Model(inputs, outputs)
    model.compile("sgd", "categorical_crossentropy")
    assert adopt(model, 32, 4).pixel_range == "0..255"
    # 32 x 32 x 3 x 4 weights, each used once.
    assert multiply_adds(model) == 0.012288


def test_a_model_that_cannot_classify_is_refused() -> None:
    with pytest.raises(ValueError, match="needs models that `build` has compiled with a loss and an optimizer"):
        adopt(keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(4)]), 32, 4)
    with pytest.raises(ValueError, match=r"one output \(n, 5\) for 5 classes, got \(None, 4\)"):
        adopt(small(4, "softmax", "categorical_crossentropy"), 32, 5)


def test_one_channel_is_said_to_be_the_obstacle() -> None:
    grey = small(4, "softmax", "categorical_crossentropy")
    grey.build((None, 28, 28, 1))
    with pytest.raises(ValueError, match=r"got \(None, 28, 28, 1\); give --image-sizes 28$") as refused:
        adopt(grey, 96, 4)
    assert advice(str(refused.value)).startswith("; its one channel is an obstacle")
    colour = small(4, "softmax", "categorical_crossentropy")
    colour.build((None, 28, 28, 3))
    with pytest.raises(ValueError, match="give --image-sizes 28") as refused:
        adopt(colour, 96, 4)
    assert advice(str(refused.value)) == ""


def test_without_weights_nothing_is_downloaded(tmp_path: Path) -> None:
    model = small(4, "softmax", "mse")
    model.build((None, 32, 32, 3))
    model.save_weights(tmp_path / "own.weights.h5")
    with random_weights():
        keras.applications.MobileNet(input_shape=(128, 128, 3), alpha=0.25, include_top=False)
        # The user's own files are read all the same.
        model.layers[-1].bias.assign([1.0, 1.0, 1.0, 1.0])
        model.load_weights(tmp_path / "own.weights.h5")
    assert model.layers[-1].bias.numpy().tolist() == [0.0, 0.0, 0.0, 0.0]


@pytest.fixture(scope="module")
def searched(_ray: None, guide: Path, drawn: Path, cache_dir: Path) -> Path:
    """The folder of a real search of two trials of the guide's class."""
    arguments = [str(drawn), "--hypermodel", "own_guide:Conditional", "--trials", "2", "--epochs", "2"]
    arguments += ["--image-sizes", "32", "--final-seeds", "1", "--seed", "3", "--name", "own", "--weights", "none"]
    assert command.main([*arguments, "--runs-dir", str(guide / "runs"), "--cache-dir", str(cache_dir)]) == 0
    return guide / "runs" / "own"


@pytest.mark.slow
def test_a_search_trains_exports_and_reports_a_hypermodel(searched: Path, drawn: Path) -> None:
    rows = read_rows(searched / "trials.jsonl")
    assert sorted(rows.trials) == ["Conditional-000", "Conditional-001"]
    first = rows.trials["Conditional-000"]
    assert (first.status, [row["epoch"] for row in first.curve]) == ("finished", [1, 2])
    assert first.config == {
        "image_size": 32, "kind": "mlp", "units": 8, "batch_size": 8, "family": "guide", "model_parameters": 24620,
        "multiply_adds": 0.025,
    }  # fmt: skip
    assert [row["pictures"] for row in rows.tests("Conditional")] == [20]
    assert "Conditional" in (searched / "report.md").read_text()
    found = next(predict(searched, [str(drawn)]))
    assert sum(entry["probability"] for entry in found["classes"]) == pytest.approx(1.0)
    # Without the optimizer's state: 4 bytes for each parameter, and the file's own structure.
    model = rows.model("Conditional")
    assert model is not None
    assert model["bytes"] < 4 * model["parameters"] + 50_000
    assert list(json.loads((searched / "hypermodels.json").read_text())["files"]) == ["blocks.py", "own_guide.py"]


def test_a_run_goes_on_with_the_code_it_was_begun_with(tmp_path: Path) -> None:
    def models(content: bytes) -> OwnModels:
        return OwnModels({"net": "module:Net"}, code=Code({"module.py": content}))

    told = command.check_same_code(tmp_path / "hypermodels.json", models(b"one"))
    (tmp_path / "hypermodels.json").write_text(told)
    assert command.check_same_code(tmp_path / "hypermodels.json", models(b"one")) == told
    with pytest.raises(ValueError, match=r"--resume needs the code that the run was begun with, and `module\.py` is"):
        command.check_same_code(tmp_path / "hypermodels.json", models(b"other"))


def test_an_unchanged_place_is_imported_from(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text("value = 1\n")
    code = Code({"module.py": b"value = 1\n"}, {"module.py": str(tmp_path / "module.py")}, (str(tmp_path),))
    before = list(sys.path)
    try:
        code.importable(tmp_path / "cache")
        assert sys.path == [str(tmp_path), *before]
    finally:
        sys.path[:] = before


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages that holds one which brings the family `tiny`, as pip would write it."""
    site = tmp_path / "site"
    (site / "tiny_networks-1.0.dist-info").mkdir(parents=True)
    (site / "tiny_networks-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: tiny-networks\nVersion: 1.0\n"
    )
    (site / "tiny_networks-1.0.dist-info" / "entry_points.txt").write_text(
        "[pedigree.families]\ntiny = tiny_networks:build\nmobilenet = tiny_networks:build\n"
    )
    (site / "tiny_networks.py").write_text(
        "import keras\n\n\n"
        "def build(hp):\n"
        "    size, classes = hp.get('image_size'), hp.get('classes')\n"
        "    layers = [keras.Input((size, size, 3)), keras.layers.Conv2D(hp.Choice('filters', [4, 8]), 3, strides=4),\n"
        "              keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(classes, 'softmax')]\n"
        "    model = keras.Sequential(layers)\n"
        "    model.compile('adam', 'categorical_crossentropy')\n"
        "    return model\n"
    )
    monkeypatch.syspath_prepend(str(site))
    return site


def test_a_family_of_an_installed_package_is_called_by_its_name(installed: Path) -> None:
    settings = starting.begun(parsing.options(["demo", "--families", "tiny,scratch_keras"]))
    assert settings.families == ("tiny", "scratch_keras")
    assert settings.hypermodel == ("tiny=tiny_networks:build",)
    # None takes the place of Pedigree's own.
    assert starting.begun(parsing.options(["demo", "--families", "mobilenet"])).hypermodel == ()
    with pytest.raises(ValueError, match="got 'tinier'"):
        starting.begun(parsing.options(["demo", "--families", "tinier"]))


@pytest.mark.slow
def test_a_family_of_an_installed_package_is_searched(installed: Path, drawn: Path, tmp_path: Path) -> None:
    told = subprocess.run(
        [
            *(sys.executable, ROOT / "search" / "run.py", drawn, "--families", "tiny", "--image-sizes", "32"),
            *("--trials", "2", "--epochs", "1", "--final-seeds", "1", "--name", "tiny", "--dashboard", "off"),
            *("--runs-dir", tmp_path / "runs", "--cache-dir", tmp_path / "cache"),
        ],
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    assert (tmp_path / "runs" / "tiny" / "models" / "tiny.keras").is_file()
