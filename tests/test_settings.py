"""The settings: what is refused, and that the record survives its file."""

import json
from pathlib import Path
from typing import Any

import pytest

from search.settings import Settings, default_cache, placed, resumed, seconds


def test_the_defaults_hold() -> None:
    settings = Settings()
    assert settings.families == ("scratch_pillow", "scratch_keras", "mobilenet")
    assert (settings.trials, settings.epochs, settings.finalists, settings.final_seeds) == (None, None, 3, 3)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"families": ()}, r"`families` needs at least one family, got \(\)"),
        (
            {"families": ("resnet",)},
            "`families` needs names from scratch_pillow, scratch_keras, mobilenet, got 'resnet'",
        ),
        ({"families": ("mobilenet", "mobilenet")}, "`families` needs each family once"),
        ({"classes": 1}, "`classes` needs 2 or more, got 1"),
        ({"duplicates": "all"}, "`duplicates` needs one of near, exact, off, got 'all'"),
        ({"trials": 0}, "`trials` needs 1 or more, got 0"),
        ({"epochs": 0}, "`epochs` needs 1 or more, got 0"),
        ({"views": 0}, "`views` needs 1 or more, got 0"),
        ({"first_rung": 0}, "`first_rung` needs 1 or more, got 0"),
        ({"final_seeds": 0}, "`final_seeds` needs 1 or more, got 0"),
        ({"reduction": 1}, "`reduction` needs 2 or more, got 1"),
        ({"image_sizes": ()}, r"`image_sizes` needs at least one size, got \(\)"),
        ({"image_sizes": (15,)}, "`image_sizes` needs sides from 16 to 1024 pixels, got 15"),
        (
            {"image_sizes": (64, 28)},
            r"`image_sizes` needs sides from 32 pixels for mobilenet, .* take 16 and more: leave it out, .*, got 28",
        ),
        ({"label_from": "middle"}, "`label_from` needs one of auto, top, parent, path, got 'middle'"),
        ({"rare": "fold"}, "`rare` needs one of drop, keep, refuse, got 'fold'"),
        ({"min_pictures": 0}, "`min_pictures` needs 1 or more, got 0"),
        ({"image_sizes": (2048,)}, "`image_sizes` needs sides from 16 to 1024 pixels, got 2048"),
        ({"image_sizes": (64, 64)}, "`image_sizes` needs each size once"),
        ({"objective": ("accuracy", "speed")}, "`objective` needs names from accuracy, latency, size, got 'speed'"),
        ({"objective": ("latency",)}, r"`objective` needs accuracy among its names, got \('latency',\)"),
        ({"objective": ("accuracy", "accuracy")}, "`objective` needs each name once"),
        ({"max_latency": 0.0}, "`max_latency` needs more than 0 seconds, got 0.0"),
        ({"max_latency": float("nan")}, "`max_latency` needs more than 0 seconds, got nan"),
        ({"max_parameters": 0}, "`max_parameters` needs 1 or more, got 0"),
        ({"time_budget": 0.0}, "`time_budget` needs more than 0 seconds, got 0.0"),
        ({"concurrency": 0}, "`concurrency` needs 1 or more, got 0"),
        ({"cpus_per_trial": 0.0}, "`cpus_per_trial` needs more than 0, got 0.0"),
        ({"cpus_per_trial": float("nan")}, "`cpus_per_trial` needs more than 0, got nan"),
        ({"cpus_per_trial": float("inf")}, "`cpus_per_trial` needs more than 0, got inf"),
        ({"gpus_per_trial": -1.0}, "`gpus_per_trial` needs 0 to 1, or a whole number of GPUs, got -1.0"),
        ({"gpus_per_trial": 1.5}, "`gpus_per_trial` needs 0 to 1, or a whole number of GPUs, got 1.5"),
        ({"precision": "int8"}, "`precision` needs one of auto, float32, bfloat16, got 'int8'"),
        ({"worker_memory": 0.0}, "`worker_memory` needs more than 0 GiB, got 0.0"),
        ({"cache_dir": "a\0b"}, r"`cache_dir` needs text without a null byte, got 'a\\x00b'"),
        ({"warm_start": ("runs/a", "\0")}, r"`warm_start` needs text without a null byte, got '\\x00'"),
        ({"seed": -1}, "`seed` needs 0 to 2147483647, got -1"),
        ({"name": "../elsewhere"}, "`name` needs letters, digits, dot, dash and underscore"),
        ({"name": ".."}, "`name` needs letters, digits, dot, dash and underscore"),
        ({"name": "a" * 101}, "`name` needs .*, 100 at most"),
    ],
)
def test_a_setting_out_of_range_names_rule_and_value(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Settings(**values)


def test_the_record_survives_its_file() -> None:
    settings = Settings(families=("mobilenet",), image_sizes=(32, 64), time_budget=90.5, name="a", classes=3)
    assert Settings.from_json(settings.to_json()) == settings
    assert json.loads(settings.to_json())["image_sizes"] == [32, 64]


def test_an_unknown_field_of_the_file_is_named() -> None:
    with pytest.raises(ValueError, match=r"`settings.json` needs fields from address, .*, got 'momentum'"):
        Settings.from_json('{"momentum": 0.9}')


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", r"needs a JSON object of settings, got \[\]"),
        ("[" * 100_000, "nested too deep"),
        ('{"trials": "20"}', "`trials` needs a value of the kind .*int.*, got '20'"),
        ('{"trials": true}', "`trials` needs a value of the kind .*int.*, got True"),
        ('{"trials": 1' + "0" * 30 + "}", "`trials` needs a value of the kind"),
        ('{"families": "mobilenet"}', "`families` needs a value of the kind .*tuple.*, got 'mobilenet'"),
        ('{"image_sizes": [32, "64"]}', "`image_sizes` needs a value of the kind"),
        ('{"time_budget": {}}', "`time_budget` needs a value of the kind float | None, got {}"),
        ('{"time_budget": NaN}', "`time_budget` needs more than 0 seconds, got nan"),
    ],
)
def test_a_file_with_other_values_is_refused(content: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Settings.from_json(content)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90", 90), ("90s", 90), ("30m", 1800), ("1h30m", 5400), ("1.5h", 5400), (" 2 D ", 172800), ("1h 30m", 5400)],
)
def test_durations_as_people_write_them(text: str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "soon", "-5m", "5 minutes", "m", "1e3"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a duration needs a form such as 90s, 30m or 1h30m, got"):
        seconds(text)


def test_a_duration_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="a duration needs more than 0 seconds, got '0m'"):
        seconds("0m")


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    monkeypatch.delenv("PEDIGREE_CACHE", raising=False)
    assert default_cache() == "/elsewhere/pedigree"
    monkeypatch.setenv("PEDIGREE_CACHE", "/mine")
    assert default_cache() == "/mine"
    assert Settings().cache == Path("/mine")
    assert Settings(cache_dir="/given").cache == Path("/given")


def test_paths_are_kept_absolute_and_words_are_no_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/her")
    given = {"data": "pictures/dogs", "weights": "./w.h5", "runs_dir": "~/runs", "cache_dir": "/cache", "name": "runs"}
    assert placed(given) == {
        "data": f"{tmp_path}/pictures/dogs", "weights": f"{tmp_path}/w.h5", "runs_dir": "/home/her/runs",
        "cache_dir": "/cache", "name": "runs",
    }  # fmt: skip
    words = {"data": "stanford-dogs", "weights": "none", "cache_dir": ""}
    assert placed(words) == words


def test_a_relative_path_is_meant_from_where_it_leads_to_something(tmp_path: Path) -> None:
    (tmp_path / "second/dogs").mkdir(parents=True)
    folders = (tmp_path / "first", tmp_path / "second")
    assert placed({"data": "dogs"}, *folders) == {"data": f"{tmp_path}/second/dogs"}
    assert placed({"data": "cats"}, *folders) == {"data": f"{tmp_path}/first/cats"}


def test_a_resumed_run_may_have_its_data_elsewhere_and_no_other_seed() -> None:
    saved = Settings(data="/old/dogs", seed=1)
    assert resumed(saved, {"data": "/new/dogs"}) == Settings(data="/new/dogs", seed=1)
    with pytest.raises(ValueError, match="`seed` needs the value that the run was begun with, 1, got 2"):
        resumed(saved, {"seed": 2})
