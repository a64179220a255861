"""Any command line, any name, any row: either it is taken or it is refused in one line."""

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from results.rows import clean, parse_rows
from search import parsing, starting
from search.data.folder import read_folder
from search.settings import Settings
from search.studies.hyperparameters import TrialHyperParameters, values_to_point
from spaces import FAMILIES

QUICK = settings(
    max_examples=40, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)  # fmt: skip
VALUES = st.one_of(
    st.text(max_size=12),
    st.integers(-5, 5000).map(str),
    st.floats().map(str),
    st.sampled_from(["scratch_keras,mobilenet", "auto", "32,64", "90s", "none", "1e400", "-1", "--", "½", "²"]),
)
OPTIONS = [
    "--classes", "--families", "--trials", "--epochs", "--time-budget", "--image-sizes", "--weights", "--views",
    "--reduction", "--first-rung", "--final-seeds", "--ensemble", "--seed", "--concurrency", "--cpus-per-trial",
    "--gpus-per-trial", "--precision", "--worker-memory", "--dashboard", "--name", "--runs-dir", "--cache-dir",
]  # fmt: skip


@QUICK
@given(st.lists(st.tuples(st.sampled_from(OPTIONS), VALUES), max_size=4))
def test_any_command_line_gives_settings_or_one_line(pairs: list[tuple[str, str]]) -> None:
    found, said = None, ""
    try:
        found = starting.begun(parsing.options([f"{option}={value}" for option, value in pairs]))
    except ValueError as error:
        said = str(error)
    except SystemExit as ended:  # argparse has said what is wrong
        said = f"status {ended.code}"
    if found is None:
        assert len(said.splitlines()) == 1
        assert said.startswith("status 2") or not said.startswith("status")
    else:
        assert Settings.from_json(found.to_json()) == found
        assert found.folder.parent == Path(found.runs_dir)


JSON: Any = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=6,
)
FIELDS = ("event", "time", "trial", "family", "epoch", "config", "status", "seed", "accuracy", "validation_accuracy")
EVENTS = ("start", "epoch", "end", "rung", "retry", "test", "member", "model", "refit", "cost")


@QUICK
@given(
    st.lists(st.dictionaries(st.sampled_from(FIELDS), JSON | st.sampled_from(EVENTS), max_size=8) | JSON, max_size=6)
)
def test_any_row_is_usable_or_counted(values: list[Any]) -> None:
    lines = [json.dumps(value) for value in values]
    rows = parse_rows(lines)
    assert len(rows.records) + rows.skipped == len(lines)
    for row in rows.records:
        assert clean(json.loads(json.dumps(row, allow_nan=False))) == row
    assert set(rows.trials) == {row["trial"] for row in rows.records if row["event"] in (*EVENTS[:5], "cost")}


@QUICK
@given(st.dictionaries(st.sampled_from(sorted(Settings.__dataclass_fields__)), JSON, max_size=3))
def test_any_settings_file_is_read_or_refused_in_one_line(values: dict[str, Any]) -> None:
    found, said = None, ""
    try:
        found = Settings.from_json(json.dumps(values))
    except ValueError as error:
        said = str(error)
    if found is None:
        assert len(said.splitlines()) == 1
    else:
        assert json.loads(found.to_json()).keys() >= values.keys()


NAMES = st.one_of(
    st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=20),
    st.sampled_from(["-rf", "...", " ", "a\nb", "<script>", "\u202ea", "..\\b", "$(id)", "%s", "CON", "~"]),
)


@QUICK
@given(st.lists(NAMES, min_size=2, max_size=4, unique=True), st.lists(NAMES, min_size=1, max_size=3, unique=True))
def test_any_names_of_classes_and_files(classes: list[str], files: list[str]) -> None:
    with tempfile.TemporaryDirectory() as place:
        for label, name in enumerate(classes):
            for number, file in enumerate(files):
                path = Path(place) / f"c{name}" / f"f{file}"
                path.parent.mkdir(exist_ok=True)
                Image.new("L", (2, 2), 20 * label + number).save(path, "PNG")
        said = ""
        try:
            found = read_folder(Path(place))
        except ValueError as error:
            said = str(error)
        if said:
            assert "every class needs pictures" in said or "needs at least 2 class folders" in said
            return
        assert len(found.pictures) + len(found.left_out) == len(classes) * len(files)
        assert len(set(found.classes)) == len(found.classes) <= len(classes)
        for picture in found.pictures:
            assert picture.path.is_relative_to(place)
            assert "\n" not in picture.name
            assert "\x1b" not in picture.name


@pytest.mark.parametrize("family", FAMILIES)
def test_any_draw_makes_a_point_that_gives_the_same_configuration(family: str) -> None:
    bound: dict[str, Any] = {"image_sizes": (32, 96, 160)}
    if family == "mobilenet":
        bound["backbones"] = (("MobileNet", 1.0), ("MobileNetV2", 0.35))

    def space(hp: Any) -> dict[str, Any]:
        return FAMILIES[family].space(hp, **bound)

    @QUICK
    @given(st.randoms(use_true_random=False))
    def check(chance: Any) -> None:
        import optuna

        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=chance.randrange(2**31)))
        hp = TrialHyperParameters(study.ask())
        config = space(hp)
        point = {name: hp.values[name] for name in hp.distributions}
        # Through the file that rows are kept in.
        point, kept = json.loads(json.dumps([point, config]))
        assert values_to_point(space, point) == point
        assert json.loads(json.dumps(space(TrialHyperParameters(values=point)))) == kept

    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    check()
