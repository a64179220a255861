"""Narrowed spaces: what `--set` and `--space` may say, and that nothing of a search leaves what they leave."""

import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from written_run import end_row, epoch_row, start_row, write_rows, write_run

from models.sizes import HEAD
from results.analysis import verdict
from results.analysis.numbers import importance, summarise
from results.pages.document import summary_of
from results.pages.markdown import markdown
from results.pages.tables import narrowed_cells
from results.records import broken_records
from results.rows import Rows, read_rows
from search import parsing, starting
from search.data.pictures import shapes_needed
from search.interface import options
from search.narrowing import of_family, read_space, rule, with_space
from search.record.journal import FINISHED, Journal, Record
from search.schedule.budget import Budget
from search.schedule.pace import Pace
from search.schedule.plans import Plans
from search.settings import Settings, resumed
from search.studies.hyperparameters import TrialHyperParameters, contains, distributions
from search.studies.narrowed import Narrowed, check, every_point, lines, look, moved, narrow, rules_of
from search.studies.spaces import spaces_of
from search.studies.study import Study, studies_of
from search.studies.warm_start import project
from search.training.weights import Weights
from spaces import FAMILIES
from spaces.costs import work

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = tuple(Weights(name, 1.0, Path(f"{name}.h5"), name) for name in ("MobileNet", "MobileNetV2"))


def checked(*texts: str, **given: Any) -> dict[str, Any]:
    settings = Settings(set=texts, **given)
    found: dict[str, Any] = check(texts, {name: space for name, (space, _) in spaces_of(settings, WEIGHTS).items()})
    return found


def study(*texts: str, family: str = "mobilenet", **given: Any) -> Study:
    return studies_of(Settings(set=texts, families=(family,), **given), WEIGHTS)[family]


def points(found: Study, most: int) -> list[dict[str, Any]]:
    """The points of the next trials, each of which ends with a figure."""
    seen: list[dict[str, Any]] = []
    while found.more and len(seen) < most:
        name = f"trial-{len(seen)}"
        config, point = found.suggest(name)
        seen.append(point)
        found.tell(Record(name, "family", config, point, {1: len(seen) % 7 / 10}, status=FINISHED))
    return seen


# --- words ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optimizer", "needs a form such as .*, got 'optimizer'"),
        ("=adam", "needs a form such as .*, got '=adam'"),
        ("optimizer= ", "needs a form such as .*, got 'optimizer= '"),
        ("units=0,,64", "needs values between its commas, got '0,,64' in `units`"),
        ("units=0,0", "needs each value once, got '0,0' in `units`"),
        ("dropout=0.1..", "needs a range of two numbers, as 1e-4..1e-3, got '0.1..' in `dropout`"),
        ("dropout=1...5", "needs a range of two numbers, as 1e-4..1e-3, got '1...5' in `dropout`"),
        ("dropout=low..high", "needs a range of two numbers, .*, got 'low..high' in `dropout`"),
        ("dropout=0..nan", "needs a range of two numbers, .*, got '0..nan' in `dropout`"),
        ("dropout=0.4..0.1", "needs low <= high, got '0.4..0.1' in `dropout`"),
    ],
)
def test_other_forms_are_refused(text: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match=message):
        rule(text)
    with pytest.raises(ValueError, match=f"`set` {message}"):
        Settings(set=(text,))
    with pytest.raises(SystemExit):
        parsing.options(["--set", text])
    assert re.search(f"argument --set: {message}", capsys.readouterr().err)


def test_a_name_comes_once_and_its_family_is_searched() -> None:
    with pytest.raises(ValueError, match="`set` needs each name once, got 'adam' and 'sgd' in `optimizer`"):
        Settings(set=("optimizer=adam", "optimizer=sgd"))
    with pytest.raises(ValueError, match=r"`set` needs families that are searched \(mobilenet\), got 'scratch_k"):
        Settings(families=("mobilenet",), set=("scratch_keras.b=1",))


def test_what_is_said_of_one_family_goes_before_what_is_said_of_all() -> None:
    texts = ("optimizer=adam", "mobilenet.optimizer=sgd", "conv.filters=8")
    families = ("mobilenet", "own")
    assert {name: one.said for name, one in of_family(texts, "mobilenet", families).items()} == {
        "optimizer": "sgd", "conv.filters": "8",
    }  # fmt: skip
    assert of_family(texts, "own", families)["optimizer"].said == "adam"


# --- files ----------------------------------------------------------------------------------------------------------


def test_a_file_says_the_same_as_the_command_line(tmp_path: Path) -> None:
    told = {
        "space.yaml": (
            "optimizer: adamw\nimage_size: [96, 160]\nlearning_rate: 1e-4..1e-3\n"
            "mobilenet:\n  normalize: yes\n  trunk_rate: {low: 0.1, high: 1}\n  augmentation: none\n"
        ),
        "space.json": json.dumps(
            {
                "optimizer": "adamw", "image_size": [96, 160], "learning_rate": "1e-4..1e-3",
                "mobilenet": {"normalize": True, "trunk_rate": "0.1..1", "augmentation": ["none"]},
            }
        ),
    }  # fmt: skip
    words = [
        *("optimizer=adamw", "image_size=96,160", "learning_rate=1e-4..1e-3", "mobilenet.normalize=true"),
        *("mobilenet.trunk_rate=0.1..1", "mobilenet.augmentation=none"),
    ]
    for name, content in told.items():
        (tmp_path / name).write_text(content)
        assert list(read_space(tmp_path / name)) == words
        given = parsing.options(["--space", str(tmp_path / name), "--set", "optimizer = adam, sgd"])
        # The command line goes before the file, and the record needs no file.
        kept = starting.begun(given).set
        assert kept == tuple(sorted(["optimizer=adam,sgd", *words[1:]]))
        assert Settings.from_json(starting.begun(given).to_json()).set == kept
    mapping = {"optimizer": "adamw", "image_size": [96, 160], "mobilenet": {"trunk_rate": {"low": 0.1, "high": 1}}}
    assert options({"set": mapping})["set"] == ("optimizer=adamw", "image_size=96,160", "mobilenet.trunk_rate=0.1..1")
    assert options({"set": ["optimizer=adamw", "units=0, 128"]})["set"] == ("optimizer=adamw", "units=0,128")
    assert options({"set": "units=0,128"})["set"] == ("units=0,128",)
    assert with_space({"seed": 1}) == {"seed": 1}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("space.txt", "optimizer: adam", "--space needs a file that ends in .yaml, .yml, .json, got `{path}`"),
        ("absent.yaml", None, "--space needs a file, and there is none at `{path}`"),
        ("space.yaml", "optimizer: [adam", "--space cannot use `{path}`: it is no YAML: .* line 1"),
        ("space.json", "{", "--space cannot use `{path}`: Expecting property name .* line 1"),
        ("space.yaml", "- optimizer", "--space cannot use `{path}`: needs a mapping of names"),
        ("space.yaml", "", "--space cannot use `{path}`: needs a mapping of names.*, got 'None'"),
        ("space.yaml", "mobilenet: {}", "--space cannot use `{path}`: needs at least one name, got none"),
        ("space.yaml", "units: 0\nunits: 128", "--space cannot use `{path}`: needs each name once, got `units` twice"),
        ("space.json", '{"a": {"b": 1, "b": 2}}', "needs each name once, got `b` twice"),
        ("space.yaml", "units:", "needs words and numbers for values, got None in `units`"),
        ("space.yaml", "units: [0, [1]]", r"needs words and numbers for values, got \[1\] in `units`"),
        ("space.yaml", "units: [0..5]", "needs a list of values, without commas or ranges in them, got"),
        ("space.yaml", "mobilenet: {units: {low: 1}}", "needs a value, a list, or a range of low and high, got"),
        (
            "space.yaml",
            "mobilenet: {dropout: {low: 1, high: 0}}",
            "needs low <= high, got '1..0' in `mobilenet.dropout`",
        ),
        ("space.yaml", "yes: 3", "needs names that are words without `=`, got True"),
        ("space.json", "[" * 100_000, "nested too deep"),
    ],
)
def test_a_broken_file_says_what_and_where(name: str, content: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    with pytest.raises((ValueError, OSError), match=message.format(path=path)):
        starting.begun({"space": str(path)})


# --- values ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "text", "after"),
    [
        (CategoricalDistribution(["adam", "adamw", "sgd"]), "sgd,adam", CategoricalDistribution(["adam", "sgd"])),
        (CategoricalDistribution([0, 128, 256, 512]), "100..300", CategoricalDistribution([128, 256])),
        (CategoricalDistribution([1.0, 1.5, 2.0]), "2,1", CategoricalDistribution([1.0, 2.0])),
        (CategoricalDistribution([False, True]), "Yes", CategoricalDistribution([True])),
        (IntDistribution(1, 19, log=True), "2..6", IntDistribution(2, 6, log=True)),
        (IntDistribution(1, 19, log=True), "7", IntDistribution(7, 7, log=True)),
        (IntDistribution(2, 5), "5,2", CategoricalDistribution([2, 5])),
        (IntDistribution(0, 30, step=5), "3..22", IntDistribution(5, 20, step=5)),
        (FloatDistribution(1e-4, 1e-2, log=True), "1e-3..1e-2", FloatDistribution(1e-3, 1e-2, log=True)),
        (FloatDistribution(0.0, 0.5, step=0.1), "0.3..0.5", FloatDistribution(0.3, 0.5, step=0.1)),
        (FloatDistribution(0.0, 0.5, step=0.1), "0.3", FloatDistribution(0.3, 0.3, step=0.1)),
        (FloatDistribution(0.0, 0.5, step=0.1), "0.3,0", CategoricalDistribution([0.0, 0.3])),
    ],
)
def test_a_value_a_list_and_a_range_leave_a_part(before: Any, text: str, after: Any) -> None:
    assert narrow(before, rule(f"name={text}")) == after


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (
            ["optimiser=adam"],
            r"needs names from augmentation, .*, zoom, got 'optimiser'; did you mean `optimizer`",
        ),
        (["mobilenet.blocks=3"], "`set` needs names from augmentation, .* of mobilenet, got 'blocks'"),
        (
            ["mobilnet.units=0"],
            "families from scratch_pillow, scratch_keras, mobilenet in front of a dot, got 'mobiln",
        ),
        (
            ["optimizer=adam,lion"],
            "`set` needs values from adam, adamw, sgd in `scratch_pillow.optimizer`, got 'adam,lion'; for other",
        ),
        (["mobilenet.optimizer=1..3"], "values from adam, adamw, sgd in `mobilenet.optimizer`, got '1..3'$"),
        (
            ["learning_rate=1e-5..1e-3"],
            r"from 0.0001 to 0.01 \(on the scale of Adam: .*\) in `scratch_pillow.lea",
        ),
        (["scratch_keras.blocks=2.5"], "values from 2 to 5 in `scratch_keras.blocks`, got '2.5'"),
        (["mobilenet.dropout=0.31..0.39"], "values from 0 to 0.5 by 0.1 in `mobilenet.dropout`, got '0.31..0.39'"),
        (["mobilenet.units=1..100"], "values from 0, 128, 256, 512 in `mobilenet.units`, got '1..100'"),
        (["mobilenet.normalize=1"], "values from false, true in `mobilenet.normalize`, got '1'"),
        # What is a turn in degrees for one family is none in fractions for another.
        (
            ["rotation=0.1"],
            r"from 0 to 30 by 5 in `scratch_pillow.rotation`, got '0.1'; .* in front: FAMILY.rotation=",
        ),
        (["image_size=128"], r"values from 96, 160, 224 \(--image-sizes\) in `scratch_pillow.image_size`, got '128'"),
        (["mobilenet.unfrozen_blocks=2..25"], "values from 0 to 19 in `mobilenet.unfrozen_blocks`, got '2..25'"),
        (["mobilenet.unfrozen_blocks=-1..5"], "values from 0 to 19 in `mobilenet.unfrozen_blocks`, got '-1..5'"),
        (["weight_decay=9"], "values from 1e-05 to 0.3 in `scratch_pillow.weight_decay`, got '9'"),
        # Known, but asked for nowhere.
        (["optimizer=adam", "weight_decay=1e-3"], "beside optimizer=adam nothing asks for `weight_decay`"),
        (
            ["mobilenet.head=probe", "mobilenet.dropout=0.2"],
            "beside mobilenet.head=probe nothing asks for `mobilene",
        ),
        (["head=probe"], "values from flatten, average in `scratch_pillow.head`, got 'probe'"),
        (
            ["mobilenet.head=probe", "mobilenet.unfrozen_blocks=3"],
            "`set` needs trained in `mobilenet.head` where `unfrozen_blocks` is 3, got 'probe'",
        ),
        (["fine_tune=true", "unfrozen_blocks=0"], "needs false in `mobilenet.fine_tune` where `unfrozen_blocks` is 0"),
    ],
)
def test_names_and_values_that_no_space_has_are_refused_with_those_that_it_has(texts: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        checked(*texts)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_name_under_a_condition_is_known(family: str) -> None:
    bound: dict[str, Any] = {"backbones": (("MobileNet", 1.0), ("MobileNetV2", 1.0)), "probed": True}
    met = look(partial(FAMILIES[family].space, image_sizes=(96, 160), **(bound if family == "mobilenet" else {})), 400)
    assert "weight_decay" in met
    if family == "mobilenet":
        assert {"beside", "unfrozen_blocks", "trunk_rate"} <= set(met)


def deep(hp: Any) -> dict[str, Any]:
    """A space with names that hang on two values at once, on a count, and on a scope."""
    kind = hp.Choice("kind", ["plain", "cnn", "tree"])
    norm = hp.Boolean("norm")
    rate = hp.Float("rate", 0.0, 1.0)
    layers = [hp.Int(f"units_{number}", 4, 64) for number in range(hp.Int("layers", 1, 40))]
    with hp.conditional_scope("kind", ["cnn"]), hp.name_scope("stem"):
        filters = hp.Int("filters", 4, 8)
    momentum = hp.Float("momentum", 0.0, 0.9) if norm and kind == "tree" else None
    return {"kind": kind, "rate": rate, "layers": layers, "filters": filters, "momentum": momentum}


def test_names_are_found_that_hang_on_several_values() -> None:
    assert {"stem/filters", "units_39", "units_0"} <= set(look(deep, 100))
    assert "momentum" in look(deep, 100, ["momentum"])
    assert "moment" not in look(deep, 100, ["moment"])
    own = {"own": Narrowed(deep, rules_of(["own.momentum=0.5..0.9"], "own", ["own"]))}
    assert check(["own.momentum=0.5..0.9"], own, own=["own"])["own"]["narrowed"] == [
        {"name": "momentum", "left": "0.5 to 0.9", "of": "0 to 0.9", "fixed": False, "remark": ""}
    ]
    with pytest.raises(ValueError, match=r"names from kind, layers, momentum, .* of own, got 'momentun'; did you"):
        check(["own.momentun=0.5"], own, own=["own"])


def test_names_of_hypermodels_that_nobody_has_built_yet_may_be_anything() -> None:
    texts = ("own.rate=2", "width=8", "mobilenet.units=0")
    settings = Settings(families=("mobilenet", "own"), hypermodel=("own=nets:build",), set=texts)
    spaces = {family: space for family, (space, _) in spaces_of(settings, WEIGHTS).items()}
    assert list(spaces) == ["mobilenet"]
    assert lines(check(texts, spaces, unread=True)) == ["mobilenet keeps to units 0"]
    # What is wrong whatever they are is said before they are built.
    wrong = replace(settings, set=("units=7",))
    spaces = {family: space for family, (space, _) in spaces_of(wrong, WEIGHTS).items()}
    with pytest.raises(ValueError, match=r"values from 0, 128, 256, 512 in `mobilenet.units`, got '7'"):
        check(wrong.set, spaces, unread=True)


# --- searching ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "texts", "allowed"),
    [
        ("mobilenet", ["optimizer=adamw", "learning_rate=1e-4..5e-4"], {"optimizer": ["adamw", None]}),
        ("mobilenet", ["mobilenet.unfrozen_blocks=2..4"], {"unfrozen_blocks": [2, 3, 4]}),
        ("mobilenet", ["unfrozen_blocks=0,2", "image_size=224"], {"unfrozen_blocks": [0, 2], "image_size": [224]}),
        ("mobilenet", ["mobilenet.head=trained", "backbone=MobileNetV2-1.0"], {"backbone": ["MobileNetV2"]}),
        ("scratch_keras", ["image_size=160..224", "blocks=2"], {"image_size": [160, 224], "blocks": [2]}),
        ("scratch_pillow", ["rotation=0,30", "crop=0.3..1"], {"rotation": [0, 30], "crop": [0.4, 0.65]}),
    ],
)
def test_no_trial_leaves_a_narrowed_space(family: str, texts: list[str], allowed: dict[str, Any]) -> None:
    found = study(*texts, family=family, trials=16)
    space = found._space
    usual = dict(found.usual)
    seen = points(found, 40)
    assert len({repr(point) for point in seen}) == len(seen)
    assert len(seen) >= 16
    for config in [usual, *(space(TrialHyperParameters(values=point)) for point in seen)]:
        for name, values in allowed.items():
            assert config.get(name) in values
    for point in seen:
        for text in texts:
            asked = rule(text.removeprefix(f"{family}."))
            value = point.get(asked.name)
            assert value is None or asked.name == "head" or str(value) in asked.values or asked.admits(value)


def test_the_base_and_the_starts_move_next_to_where_they_were_and_no_point_comes_twice() -> None:
    plain, fixed = (
        study(*texts, family="scratch_keras") for texts in ([], ["optimizer=sgd", "learning_rate=1e-3..2e-3"])
    )
    before, after = points(plain, 4), points(fixed, 4)
    assert [point["optimizer"] for point in before[:4]] == ["adam", "adamw", "adamw", "adam"]
    assert [(point["optimizer"], point["learning_rate"]) for point in after] == [
        ("sgd", 1e-3), ("sgd", 2e-3), ("sgd", 2e-3), ("sgd", 2e-3),
    ]  # fmt: skip
    assert [point["blocks"] for point in after] == [point["blocks"] for point in before[:4]] == [3, 5, 5, 4]
    # The first start is the second one on the smallest pictures, which are all there is here.
    single = points(study("image_size=224", family="scratch_keras"), 3)
    assert [point["blocks"] for point in single[:3]] == [3, 5, 4]


def test_a_start_whose_trunk_is_not_there_is_passed_over_and_not_moved() -> None:
    space = spaces_of(Settings(set=("optimizer=sgd",), families=("mobilenet",)), WEIGHTS[:1])["mobilenet"][0]
    assert moved(space, {"backbone": "MobileNetV2-1.0"}) is None
    point = moved(space, {"optimizer": "adamw", "weight_decay": 0.05, "learning_rate": 3e-3})
    assert point is not None
    assert (point["optimizer"], point["weight_decay"], point["learning_rate"]) == ("sgd", 0.05, 3e-3)


def test_depth_0_is_a_head_alone_and_leaves_the_probes() -> None:
    heads = points(study("unfrozen_blocks=0", trials=6), 40)
    assert {point.get("fine_tune", False) for point in heads} == {False}
    assert any(point["head"] == "probe" for point in heads)
    deeper = points(study("unfrozen_blocks=1..3", trials=6), 40)
    assert {(point["head"], point["fine_tune"]) for point in deeper} == {("trained", True)}


def test_a_family_of_heads_alone_is_timed_by_its_trunk() -> None:
    for texts in (["mobilenet.head=probe"], ["unfrozen_blocks=0"]):
        found = study(*texts, "image_size=96", "backbone=MobileNetV2-1.0")
        assert (found.usual["backbone"], found.usual["image_size"], found.usual["unfrozen_blocks"]) == (
            "MobileNetV2", 96, 1,
        )  # fmt: skip
        assert work("mobilenet", found.usual) > HEAD


def test_a_space_of_few_points_is_tried_to_its_end() -> None:
    probes = study("mobilenet.head=probe", image_sizes=(96, 160))
    seen = points(probes, 100)
    # Each trunk at each size, alone, and once with the other, without and with mirror images.
    assert len(seen) == probes.size == 12
    assert {point["head"] for point in seen} == {"probe"}
    fixed = [name for name in points(study(family="scratch_keras"), 1)[0] if name not in ("blocks", "units")]
    base = points(study(family="scratch_keras"), 1)[0]
    texts = [f"{name}={base[name]}" for name in fixed]
    few = study(*texts, family="scratch_keras", trials=50)
    tried = points(few, 100)
    assert sorted((point["blocks"], point["units"]) for point in tried) == [
        (blocks, units) for blocks in (2, 3, 4, 5) for units in (0, 64, 128, 256)
    ]
    # A limit on trials still holds.
    assert len(points(study(*texts, family="scratch_keras", trials=5), 100)) == 5
    assert every_point(few._space, 15) is None


def test_a_run_of_few_points_is_resumed_with_those_that_are_left(tmp_path: Path) -> None:
    settings = Settings(set=("mobilenet.head=probe",), families=("mobilenet",), image_sizes=(96, 160))
    first = studies_of(settings, WEIGHTS)["mobilenet"]
    journal = Journal(tmp_path / "trials.jsonl")
    for number in range(4):
        name = f"mobilenet-{number:03d}"
        journal.records[name] = Record(name, "mobilenet", *first.suggest(name))
        journal.start(name)
    again = studies_of(settings, WEIGHTS, journal)["mobilenet"]
    assert len(points(again, 100)) == 8
    assert first.holds(*(journal.records["mobilenet-003"].point, journal.records["mobilenet-003"].config))
    journal.close()


def test_the_only_configuration_is_no_mere_comparison(tmp_path: Path) -> None:
    base = points(study(family="scratch_keras"), 1)[0]
    texts = tuple(f"{name}={value}" for name, value in base.items())
    settings = Settings(set=texts, families=("scratch_keras",), time_budget=100.0)
    only = studies_of(settings, ())["scratch_keras"]
    assert only.size == 1
    record = Record("scratch_keras-000", "scratch_keras", *only.suggest("scratch_keras-000"))
    journal = Journal(tmp_path / "trials.jsonl")
    pace = Pace(journal, settings.families, pictures=100, test=10, growth=1.2, most_views=1)
    pace.sampled["scratch_keras"] = 6.0 / pace.epoch_work("scratch_keras", record.config)
    plans = Plans(Budget(settings, journal, pace), lambda family: pace.epoch_work(family, record.config))
    # Of the study's own configuration 3 epochs of 6 s are more than 15 % of the time.
    assert plans.plan(record)[1].endswith("3 epochs would take about 18 s, more than the 14 s that there are for it")
    plans.alone = {"scratch_keras"}
    assert plans.plan(record)[1] == ""
    journal.close()


def test_what_an_earlier_run_found_is_taken_as_far_as_it_is_left() -> None:
    space = spaces_of(Settings(set=("optimizer=sgd", "dropout=0..0.2"), families=("scratch_keras",)), ())
    point, refused = project(space["scratch_keras"][0], {"optimizer": "adam", "dropout": 0.1, "units": 64})
    assert refused == ["optimizer"]
    assert (point["optimizer"], point["dropout"], point["units"]) == ("sgd", 0.1, 64)
    for name, distribution in distributions(space["scratch_keras"][0], point).items():
        assert contains(distribution, point[name])


def test_only_sizes_that_are_left_are_decoded() -> None:
    assert shapes_needed(Settings(families=("mobilenet",), set=("image_size=96",))) == [(96, "bilinear")]
    both = Settings(
        families=("mobilenet", "scratch_keras"), set=("mobilenet.image_size=200..300", "scratch_keras.image_size=96")
    )
    assert shapes_needed(both) == [(96, "bilinear"), (224, "bilinear")]
    one = Settings(families=("mobilenet", "scratch_keras"), set=("mobilenet.image_size=96",))
    assert [size for size, _ in shapes_needed(one)] == [96, 160, 224]


def test_only_filters_that_are_left_are_decoded_and_one_of_many_pictures() -> None:
    pillow = Settings(families=("scratch_pillow",), image_sizes=(32,))
    assert shapes_needed(pillow, 4_999) == [(32, "bilinear"), (32, "lanczos")]
    assert shapes_needed(pillow, 5_000) == [(32, "bilinear")]
    for said, expected in (("lanczos", ["bilinear", "lanczos"]), ("bilinear", ["bilinear"])):
        asked = replace(pillow, set=(f"scratch_pillow.resize_filter={said}",))
        assert [name for _, name in shapes_needed(asked, 9_999)] == expected
    studies = studies_of(pillow, (), filters=("bilinear",))
    assert {studies["scratch_pillow"].suggest(str(number))[0]["resize_filter"] for number in range(20)} == {"bilinear"}


def test_a_run_goes_on_with_the_space_that_it_was_begun_with() -> None:
    saved = Settings(set=("optimizer=adamw", "units=0"))
    assert resumed(saved, with_space({"set": ("units=0", "optimizer=adamw")})) == saved
    with pytest.raises(ValueError, match=r"`set` needs the value that the run was begun with, .*'optimizer=adamw'"):
        resumed(saved, with_space({"set": ("optimizer=sgd",)}))


# --- the report and the page ----------------------------------------------------------------------------------------


def test_the_report_says_what_was_narrowed_and_ranks_no_fixed_name(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", families=("mobilenet",), scored=False)
    record = checked("mobilenet.learning_rate=1e-3", "mobilenet.optimizer=adamw,sgd", "mobilenet.unfrozen_blocks=0..9")
    before = summarise(folder)["families"]["mobilenet"]
    assert before["narrowed"] == []
    assert "learning_rate" in before["effects"]
    (folder / "space.json").write_text(json.dumps(record))
    found = summary_of(folder, read_rows(folder / "trials.jsonl"))
    mobilenet = found["families"]["mobilenet"]
    assert "learning_rate" not in mobilenet["effects"]
    assert "learning_rate" not in mobilenet["importance"]
    assert "optimizer" in mobilenet["effects"]
    scale = "learning rate, on the scale of Adam: sgd trains with ten times as much"
    assert narrowed_cells(mobilenet) == [
        [scale, "0.001, fixed", "0.0001 to 0.01"],
        ["optimizer", "adamw, sgd", "adam, adamw, sgd"],
        ["unfrozen blocks", "0 to 9", "0 to 19"],
    ]
    assert verdict.narrowed(mobilenet).endswith("The baseline keeps to it: optimizer adamw and not adam.")
    assert any("the baseline is not the study's own configuration" in line for line in verdict.caveats(found))
    said = markdown(found, read_rows(folder / "trials.jsonl"), [])
    assert "| unfrozen blocks | 0 to 9 | 0 to 19 |" in said
    assert broken_records(folder) == []


def test_a_broken_record_of_the_space_is_named_and_not_used(tmp_path: Path) -> None:
    write_rows(tmp_path, [start_row("mobilenet-000")])
    for content in (
        '{"mobilenet": {"narrowed": [{"name": 3}]}}',
        '{"mobilenet": {"narrowed": "all"}}',
        '{"mobilenet": 1}',
    ):
        (tmp_path / "space.json").write_text(content)
        assert summarise(tmp_path)["families"]["mobilenet"]["narrowed"] == []
        assert broken_records(tmp_path)[0].startswith("`space.json` is broken and not used: `mobilenet` needs ")


def test_a_fixed_rate_that_sgd_multiplies_does_not_matter() -> None:
    rows: list[dict[str, Any]] = []
    for number in range(12):
        name, optimizer = f"a-{number:03d}", ("adam", "sgd")[number % 2]
        rows.append(start_row(name, optimizer=optimizer, learning_rate=1e-3 * (10 if optimizer == "sgd" else 1)))
        rows += [epoch_row(name, 1, 0.5 + number % 2 / 10 + number / 100), end_row(name, "finished")]
    trials = Rows(tuple(rows)).of("a")
    assert set(importance(trials) or {}) == {"optimizer", "learning_rate"}
    assert set(importance(trials, ["learning_rate"]) or {}) == {"optimizer"}


def test_the_example_of_the_guide_is_what_happens(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "guide" / "families.md").read_text(encoding="utf-8")
    section = page.partition("## Narrow a space")[2].partition("\n## ")[0]
    yaml, told = (re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)[0] for language in ("yaml", "text"))
    (tmp_path / "space.yaml").write_text(yaml)
    commands = [line.split()[2:] for line in re.findall(r"```bash\n(.*?)```", section, re.DOTALL)[0].splitlines()]
    by_words, by_file = (
        starting.begun(parsing.options([word.replace("space.yaml", str(tmp_path / "space.yaml")) for word in words]))
        for words in commands[:2]
    )
    assert by_words.set == by_file.set
    assert lines(checked(*by_file.set)) == told.splitlines()
