"""What is known of a backbone before it is built, in plain numbers, and which of them a search takes."""

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import h5py
import pytest
from optuna.distributions import IntDistribution
from written_run import write_run

from models.backbones import BACKBONES, called, file_of, known, names, walked
from models.sizes import DEEPEST, PARAMETERS, features, forward, sources, stored
from results.analysis import verdict
from results.analysis.verdict import probe
from results.pages.document import write_report
from search.parsing import options, parser
from search.run import trunks
from search.settings import Settings
from search.studies.hyperparameters import TrialHyperParameters
from search.training.weights import find_weights
from spaces import mobilenet
from spaces.costs import parameters, work

ROOT = Path(__file__).resolve().parent.parent
GUIDE = ROOT / "docs" / "guide" / "trunks.md"

# Without the top, as `keras.applications` gives them.
KERAS = {
    ("MobileNet", 0.25): 218_544, ("MobileNet", 0.5): 829_536, ("MobileNet", 0.75): 1_832_976,
    ("MobileNet", 1.0): 3_228_864, ("MobileNetV2", 0.35): 410_208, ("MobileNetV2", 0.5): 706_224,
    ("MobileNetV2", 0.75): 1_382_064, ("MobileNetV2", 1.0): 2_257_984, ("MobileNetV2", 1.3): 3_766_048,
    ("MobileNetV2", 1.4): 4_363_712, ("MobileNetV3Small", 0.75): 583_160, ("MobileNetV3Small", 1.0): 939_120,
    ("MobileNetV3Large", 0.75): 1_808_736, ("MobileNetV3Large", 1.0): 2_996_352,
    ("EfficientNetV2B0", 1.0): 5_919_312, ("EfficientNetV2B1", 1.0): 6_931_124, ("EfficientNetV2B2", 1.0): 8_769_374,
    ("EfficientNetV2B3", 1.0): 12_930_622, ("EfficientNetV2S", 1.0): 20_331_360, ("ConvNeXtTiny", 1.0): 27_820_128,
    ("ConvNeXtSmall", 1.0): 49_454_688, ("ResNet50", 1.0): 23_587_712, ("ResNet50V2", 1.0): 23_564_800,
    ("ResNet101", 1.0): 42_658_176, ("ResNet101V2", 1.0): 42_626_560, ("DenseNet121", 1.0): 7_037_504,
    ("DenseNet169", 1.0): 12_642_880, ("DenseNet201", 1.0): 18_321_984, ("Xception", 1.0): 20_861_480,
}  # fmt: skip

# Million multiply-adds with the top, and the side at which they were counted: from the papers, those of DenseNets from
# torchvision, that of Xception from the paper on NASNet.
PUBLISHED = {
    "MobileNet": (569, 224), "MobileNetV2": (300, 224), "MobileNetV3Small": (56, 224), "MobileNetV3Large": (219, 224),
    "EfficientNetV2B0": (720, 224), "EfficientNetV2B1": (1200, 240), "EfficientNetV2B2": (1700, 260),
    "EfficientNetV2B3": (3000, 300), "EfficientNetV2S": (8800, 384), "ConvNeXtTiny": (4500, 224),
    "ConvNeXtSmall": (8700, 224), "ResNet50": (3800, 224), "ResNet101": (7600, 224), "DenseNet121": (2830, 224),
    "DenseNet169": (3360, 224), "DenseNet201": (4290, 224), "Xception": (8400, 299),
}  # fmt: skip


def test_the_parameters_are_keras_own() -> None:
    assert PARAMETERS == KERAS


def test_the_work_is_what_was_published() -> None:
    for backbone, (million, size) in PUBLISHED.items():
        assert forward(backbone, 1.0, size) == pytest.approx(million, rel=0.06), backbone


def test_the_work_grows_with_the_area_of_the_picture() -> None:
    for backbone in BACKBONES:
        if backbone != "Xception":  # whose first convolutions have no padding
            assert forward(backbone, 1.0, 224) == pytest.approx(forward(backbone, 1.0, 448) / 4, rel=0.01), backbone
    # A side that no halving divides: maps are as large as Keras makes them.
    assert [block.side for block in walked("MobileNet", 1.0, 75).blocks[::4]] == [38, 9, 4, 2]
    assert [block.side for block in walked("MobileNetV2", 1.0, 75).blocks[::6]] == [38, 10, 5, 3]


def config(backbone: str, unfrozen_blocks: int, size: int = 160, alpha: float = 1.0) -> dict[str, Any]:
    return {
        "backbone": backbone, "alpha": alpha, "image_size": size, "unfrozen_blocks": unfrozen_blocks, "units": 0,
        "head": "trained",
    }  # fmt: skip


def test_deeper_training_costs_more_and_a_head_alone_nothing() -> None:
    for backbone in BACKBONES:
        depths = [config(backbone, depth) for depth in range(20)]
        works = [work("mobilenet", depth) for depth in depths if stored(depth)]
        assert works[0] == 1.0
        assert works == sorted(works), backbone
        whole = 3 * forward(backbone, 1.0, 160)
        assert work("mobilenet", config(backbone, 999)) == pytest.approx(1 + whole)


def test_as_deep_as_activations_are_small_they_are_stored() -> None:
    first = {name: next(depth for depth in range(999) if not stored(config(name, depth, 224))) for name in BACKBONES}
    # 14 x 14 x 1024 of float16 are less than three times the picture, 28 x 28 x 512 are more.
    assert [first[name] for name in ("MobileNet", "MobileNetV2", "ResNet50", "EfficientNetV2B0")] == [10, 18, 9, 22]
    assert not any(stored(config(name, 999, 224)) for name in BACKBONES)


def test_what_a_model_of_a_trunk_has() -> None:
    head = config("EfficientNetV2B0", 3)
    assert features("EfficientNetV2B0", 1.0) == 1280
    assert parameters("mobilenet", head, 10) == 5_919_312 + 1281 * 10
    both = {**head, "head": "probe", "beside": "MobileNetV2-0.5", "unfrozen_blocks": 0}
    assert sources(both) == (("EfficientNetV2B0", 1.0, 160), ("MobileNetV2", 0.5, 160))
    assert sources({**both, "beside": "ResNet50"})[1] == ("ResNet50", 1.0, 160)
    assert parameters("mobilenet", {**both, "beside": "ResNet50"}, 10) == 5_919_312 + 23_587_712 + 3329 * 10


def test_names_of_trunks() -> None:
    assert known("EfficientNetV2B0") == ("EfficientNetV2B0", 1.0)
    assert known("MobileNetV2") == known("MobileNetV2-1.0") == ("MobileNetV2", 1.0)
    assert known("MobileNet-0.25") == ("MobileNet", 0.25)
    assert [known(name) for name in names()] == [known(called(*known(name))) for name in names()]
    assert {known(name) for name in names()} == set(PARAMETERS)
    for backbone, alpha in PARAMETERS:
        assert called(backbone, alpha) == mobilenet.called(backbone, alpha)
    assert file_of("ConvNeXtTiny", 1.0) == "convnext_tiny_notop.h5"


@pytest.mark.parametrize("name", ["VGG16", "efficientnetv2b0", "ResNet50-1.0", "MobileNet-0.3", "MobileNet-", ""])
def test_an_unknown_name_lists_the_valid_ones(name: str) -> None:
    rule = rf"`backbones` needs names from MobileNet, MobileNet-0\.75, .*EfficientNetV2B0, .*Xception, got {name!r}$"
    with pytest.raises(ValueError, match=rule):
        Settings(backbones=(name,))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"backbones": ("MobileNet", "MobileNet-1.0")}, r"`backbones` needs each trunk once, got \('MobileNet', "),
        (
            {"backbones": ("ResNet50",), "families": ("scratch_keras",)},
            "`backbones` needs the family mobilenet, whose trunks they are, among `families`, got",
        ),
        (
            {"backbones": ("MobileNet", "Xception"), "image_sizes": (96, 64)},
            "`image_sizes` needs sides from 71 pixels for the trunk Xception, got 64",
        ),
    ],
)
def test_backbones_that_a_run_has_no_use_for(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Settings(**values)


def test_the_option_and_the_record() -> None:
    given = options(["photos", "--backbones", "EfficientNetV2B0, MobileNetV2", "--weights", "imagenet"])
    assert given["backbones"] == ("EfficientNetV2B0", "MobileNetV2")
    settings = Settings(data="photos", backbones=given["backbones"], name="a")
    assert Settings.from_json(settings.to_json()) == settings
    assert Settings.from_json('{"name": "before"}').backbones == ()
    assert "EfficientNetV2B0,MobileNetV2" in parser().format_help()


def test_a_space_of_other_trunks() -> None:
    backbones = (("EfficientNetV2B0", 1.0), ("MobileNetV2", 0.5))
    hp = TrialHyperParameters()
    found = mobilenet.space(hp, image_sizes=(160,), backbones=backbones, probed=True)
    assert (found["backbone"], found["alpha"], found["unfrozen_blocks"]) == ("EfficientNetV2B0", 1.0, 1)
    assert hp.values["backbone"] == "EfficientNetV2B0"
    depth = hp.distributions["unfrozen_blocks"]
    assert isinstance(depth, IntDistribution)
    assert depth.high == DEEPEST
    chosen = TrialHyperParameters(values={"backbone": "MobileNetV2-0.5"})
    assert mobilenet.space(chosen, image_sizes=(160,), backbones=backbones)["alpha"] == 0.5
    # The wider trunk comes first, with its mirror images.
    assert [point.get("beside") for point in mobilenet.probes((160,), backbones)] == [
        *(None, None), *(None, "EfficientNetV2B0"), *("EfficientNetV2B0", None)
    ]  # fmt: skip
    told = probe({**found, "head": "probe", "beside": "MobileNetV2-0.5"})
    assert "pooled features of EfficientNetV2B0 and MobileNetV2-0.5 at 160 pixels" in told


# --- files of weights -----------------------------------------------------------------------------------------------


def hollow(folder: Path, name: str, count: int) -> Path:
    """A file with so many parameters, none of which takes room: HDF5 allots it when they are written."""
    folder.mkdir(exist_ok=True)
    with h5py.File(folder / name, "w") as file:
        file.create_dataset("kernel", shape=(count,), dtype="float32")
    return folder / name


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A folder such as Keras's own cache: a MobileNet, two other trunks, and a network with its top."""
    for trunk in (("MobileNet", 0.5), ("EfficientNetV2B0", 1.0), ("ResNet50", 1.0)):
        hollow(tmp_path / "models", file_of(*trunk), PARAMETERS[trunk])
    hollow(tmp_path / "models", "vgg16_weights_tf_dim_ordering_tf_kernels.h5", 138_357_544)
    return tmp_path / "models"


def test_named_trunks_are_found_among_others_in_their_order(cache: Path) -> None:
    found = find_weights(str(cache), seed=0, backbones=("ResNet50", "MobileNet-0.5"))
    assert [(item.backbone, item.alpha, item.path) for item in found] == [
        ("ResNet50", 1.0, cache / "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"),
        ("MobileNet", 0.5, cache / "mobilenet_5_0_224_tf_no_top.h5"),
    ]


def test_a_file_under_another_name_is_known_by_its_parameters(tmp_path: Path) -> None:
    path = hollow(tmp_path / "mine", "mine.weights.h5", PARAMETERS["DenseNet121", 1.0])
    with h5py.File(path, "a") as file:
        file["layers/dropout/seed_generator/vars/0"] = [1, 2]
    for place in (path, path.parent):
        (found,) = find_weights(str(place), seed=0)
        assert (found.backbone, found.alpha, found.path) == ("DenseNet121", 1.0, path)


def test_mobilenets_stay_the_default(cache: Path) -> None:
    with pytest.raises(ValueError, match="of them; where --backbones names trunks, other files of a folder are passed"):
        find_weights(str(cache), seed=0)
    (cache / "vgg16_weights_tf_dim_ordering_tf_kernels.h5").unlink()
    said: list[str] = []
    (found,) = find_weights(str(cache), seed=0, say=said.append)
    assert (found.backbone, found.alpha) == ("MobileNet", 0.5)
    (line,) = said
    assert line.startswith(f"`{cache}` also has weights of EfficientNetV2B0, ResNet50, which are searched with where")
    assert [item.backbone for item in find_weights("none", seed=0)] == ["MobileNet"]
    untrained = find_weights("none", seed=0, backbones=("ConvNeXtTiny",))
    assert [(item.backbone, item.path) for item in untrained] == [("ConvNeXtTiny", None)]


def test_a_trunk_without_weights_is_named_with_its_file(cache: Path) -> None:
    settings = Settings(weights=str(cache), backbones=("MobileNet-0.5", "ConvNeXtTiny"))
    with pytest.raises(ValueError, match="`backbones` needs") as refused:
        trunks(settings, print)
    assert str(refused.value) == (
        f"`backbones` needs trunks that `{cache}` has weights of (EfficientNetV2B0, MobileNet-0.5, ResNet50), got "
        "ConvNeXtTiny; Keras calls their file convnext_tiny_notop.h5"
    )
    with pytest.raises(ValueError, match=r"needs trunks that `demo` has weights of \(MobileNet-0.25\), got ResNet50;"):
        find_weights("demo", seed=0, backbones=("ResNet50",))


def test_a_damaged_file_of_a_wanted_trunk_is_refused(cache: Path) -> None:
    path = hollow(cache, file_of("ResNet50", 1.0), 23_000_000)
    with pytest.raises(ValueError, match=r"the 23,587,712 parameters of ResNet50 .*, and `.*` has 23,000,000: it is"):
        find_weights(str(cache), seed=0, backbones=("ResNet50",))
    path.write_text("<html>404</html>")
    with pytest.raises(ValueError, match=r"must be HDF5 \(.h5\), and `.*resnet50.*` cannot be read as one"):
        find_weights(str(cache), seed=0, backbones=("ResNet50",))
    # Nobody asks for it here.
    assert find_weights(str(cache), seed=0, backbones=("EfficientNetV2B0",))[0].alpha == 1.0


def test_a_trunk_of_a_file_that_cannot_take_the_pictures(tmp_path: Path) -> None:
    path = hollow(tmp_path, file_of("Xception", 1.0), PARAMETERS["Xception", 1.0])
    settings = Settings(weights=str(path), image_sizes=(64, 96))
    with pytest.raises(ValueError, match="`image_sizes` needs sides from 71 pixels for the trunk Xception, got 64"):
        trunks(settings, print)
    assert trunks(Settings(weights=str(path), families=("scratch_keras",), image_sizes=(64,)), print) == ()


# --- the page -------------------------------------------------------------------------------------------------------


def test_the_example_of_the_guide_prints_what_the_page_says(capsys: pytest.CaptureFixture[str]) -> None:
    found = dict(re.findall(r"^```(\w+)\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL))
    exec(compile(found["python"], "trunks.md", "exec"), {})
    assert capsys.readouterr().out == found["text"]


def test_the_table_of_the_guide_has_every_trunk() -> None:
    spec = importlib.util.spec_from_file_location("generated", ROOT / "docs" / "generated.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = module.on_page_markdown(GUIDE.read_text(encoding="utf-8"))
    rows = {row.split("`")[1]: row for row in page.splitlines() if row.startswith("| `")}
    assert list(rows) == list(BACKBONES)
    assert rows["ResNet50"].startswith("| `ResNet50` | 23.6 | 3,856 | 17 of 17 | 2,048 | 224 | ")
    assert rows["EfficientNetV2S"].startswith("| `EfficientNetV2S` | 20.3 | ")
    assert "| 19 of 42 | 1,280 | 384 | " in rows["EfficientNetV2S"]
    assert rows["Xception"].endswith("`xception_weights_tf_dim_ordering_tf_kernels_notop.h5` |")


def test_the_report_calls_a_trunk_by_its_name(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", families=("mobilenet",))
    rows = (run / "trials.jsonl").read_text()
    (run / "trials.jsonl").write_text(re.sub(r'"backbone": ?"MobileNet(V2)?"', '"backbone": "EfficientNetV2B0"', rows))
    write_report(run)
    summary = json.loads((run / "results.json").read_text())
    told = (run / "report.md").read_text()
    best = summary["families"]["mobilenet"]
    assert best["best"]["config"]["backbone"] == "EfficientNetV2B0"
    assert verdict.headline(summary).startswith("EfficientNetV2B0 ")
    assert "## EfficientNetV2B0" in told
    assert verdict.model_title("mobilenet", {"best": None}) == "MobileNet"
