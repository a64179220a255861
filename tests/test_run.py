"""The command itself: a whole run, what it leaves behind, and what it refuses before anything starts."""

import importlib.util
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from PIL import Image

from results.__main__ import main as write_again
from results.rows import read_rows
from search import parsing, starting
from search import run as command
from search.settings import Settings
from spaces import FAMILIES

ROOT = Path(__file__).resolve().parent.parent

# Runs several command lines in one process and says of each what came of it.
REFUSED = """
import contextlib, io, json, sys
from search.run import main
found = []
for arguments in json.loads(sys.argv[1]):
    errors = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
        try:
            status = main(arguments)
        except SystemExit as ended:
            status = ended.code
    found.append([status, errors.getvalue(), sorted({"ray", "tensorflow"} & set(sys.modules))])
print(json.dumps(found))
"""


def run_python(arguments: Sequence[str], folder: Path, **more: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "120", **more},
    )


def written(image: Image.Image, kind: str, **options: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def bomb() -> bytes:
    """A small file that claims to be a picture of 400 million pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


@pytest.fixture(scope="module")
def odd(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drawn folder with a file of every odd or broken kind in its first class."""
    place = tmp_path_factory.mktemp("odd") / "odd dogs"
    shutil.copytree(drawn, place)
    (first, *_) = sorted(path for path in place.iterdir() if path.is_dir())
    pictures = iter(sorted(first.glob("*.jpg")) + sorted(first.glob("*.png")))
    plain = [Image.open(next(pictures)).convert("RGB").rotate(180) for _ in range(7)]
    turned = Image.Exif()
    turned[0x0112] = 6
    files = {
        "read-cmyk.jpg": written(plain[0].convert("CMYK"), "JPEG"),
        "read-grey.png": written(plain[1].convert("L"), "PNG"),
        "read-16-bit.png": written(Image.fromarray(np.asarray(plain[2].convert("L"), np.uint16) * 257), "PNG"),
        "read-palette.png": written(plain[3].convert("P"), "PNG", transparency=0),
        "read-turned.jpg": written(plain[4], "JPEG", exif=turned),
        "read-animated.gif": written(plain[5], "GIF", save_all=True, append_images=[plain[6]]),
        "read-wrong-extension.jpg": written(plain[6], "PNG"),
        "broken-truncated.jpg": written(plain[0].resize((256, 256)), "JPEG")[:-200],
        "broken-empty.jpg": b"",
        "broken-text.jpg": b"<html>404</html>",
        "broken-bomb.png": bomb(),
    }
    for name, content in files.items():
        (first / name).write_bytes(content)
    (first / "broken-notes.txt").write_text("no picture")
    return place


@pytest.fixture(scope="module")
def whole(odd: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole run, as `ray submit` runs it: a copy of run.py alone, from another folder."""
    home = tmp_path_factory.mktemp("home")
    shutil.copy(ROOT / "search" / "run.py", home / "run.py")
    arguments = ["run.py", str(odd), "--weights", "none", "--trials", "2", "--epochs", "2", "--image-sizes", "32"]
    arguments += [
        "--final-seeds",
        "2",
        "--finalists",
        "1",
        "--cache-dir",
        "cache",
        "--name",
        "whole",
        "--dashboard",
        "off",
    ]
    result = run_python(arguments, home)
    assert result.returncode == 0, result.stderr
    assert "4 classes, " in result.stdout
    assert "5 files left out (named in split.json)" in result.stdout
    assert "report: " in result.stdout
    return home / "runs" / "whole"


@pytest.fixture(scope="module")
def rows(whole: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (whole / "trials.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def results(whole: Path) -> dict[str, Any]:
    found = json.loads((whole / "results.json").read_text())
    assert isinstance(found, dict)
    return found


COMMON = {"event", "time", "trial", "family"}
KEYS = {
    "start": {"config", "point", "planned"},
    "epoch": {
        *("epoch", "parameters", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy"),
        *("seconds", "waiting", "building", "training", "validating"),
    },
    "end": {"status", "reason"},
    "rung": {"epoch", "value", "promoted"},
    "test": {"seed", "epochs", "accuracy", "loss", "pictures", "train_accuracy", "seconds"},
    "model": {
        "seed",
        "path",
        "parameters",
        "bytes",
        "latency_one",
        "latency_batch",
        "batch",
        "device",
    },
    "refit": {"seed", "epochs", "pictures", "parameters", "train_accuracy", "reason"},
}

PROBES = ("mobilenet-001", "mobilenet-002")

# Of rows that speak of confidence, which not every one does.
DOUBT = {
    "epoch": {"held"},
    "test": {"temperature"},
    "model": {"temperature", "thresholds", "held_out", "told_by"},
}


def test_every_row_has_its_keys(rows: list[dict[str, Any]]) -> None:
    # Whether a refit is refused is decided by how training goes.
    assert {row["event"] for row in rows} | {"refit"} == set(KEYS)
    for row in rows:
        # Starts of points that were given, and of blind draws, say that no other trial was looked at.
        blind = {"blind"} if row["event"] == "start" and row.get("blind") is True else set()
        probe = {"strength", "temperature", "held_out"} if "strength" in row else set()
        doubt = set(row) & DOUBT.get(row["event"], set())
        # A model that was trained on all pictures says so.
        refit = {"epochs", "pictures"} if row["event"] == "model" and "pictures" in row else set()
        assert set(row) == COMMON | KEYS[row["event"]] | blind | probe | doubt | refit
    # What is handed over knows how far its confidence goes.
    assert all(DOUBT["model"] < set(row) for row in rows if row["event"] == "model")
    # A linear probe without mirror images and one with them, beside the two trials.
    assert sorted(row["trial"] for row in rows if "strength" in row) == list(PROBES)
    firsts = {f"{family}-000" for family in FAMILIES}
    assert firsts <= {row["trial"] for row in rows if "blind" in row}
    assert [row["time"] for row in rows] == sorted(row["time"] for row in rows)


def test_every_trial_starts_once_and_ends_once(rows: list[dict[str, Any]]) -> None:
    names = {f"{family}-{number:03d}" for family in FAMILIES for number in range(2)}
    names |= {"mobilenet-002", "mobilenet-003"}
    for event in ("start", "end"):
        assert Counter(row["trial"] for row in rows if row["event"] == event) == dict.fromkeys(names, 1)
    assert {row["status"] for row in rows if row["event"] == "end"} <= {"finished", "stopped"}
    finished = {row["trial"] for row in rows if row["event"] == "end" and row["status"] == "finished"}
    epochs = Counter(row["trial"] for row in rows if row["event"] == "epoch")
    assert {name: epochs[name] for name in finished} == dict.fromkeys(finished, 2) | dict.fromkeys(PROBES, 1)


def test_optuna_can_look_at_every_trial(whole: Path, rows: list[dict[str, Any]]) -> None:
    storage = JournalStorage(JournalFileBackend(str(whole / "optuna.log")))
    ends = {row["trial"]: row["status"] for row in rows if row["event"] == "end"}
    states: dict[str, str] = {}
    for family in FAMILIES:
        trials = optuna.load_study(study_name=f"whole/{family}", storage=storage).trials
        states |= {trial.user_attrs["trial"]: trial.state.name for trial in trials}
    expected = {"finished": "COMPLETE", "stopped": "PRUNED"}
    assert states == {name: expected[status] for name, status in ends.items()}


def test_each_familys_best_is_retrained_with_every_seed(rows: list[dict[str, Any]]) -> None:
    tests = [(row["family"], row["seed"]) for row in rows if row["event"] == "test"]
    # A probe has one optimum, whatever the seed.
    solved = ("mobilenet", 1) not in tests
    assert sorted(tests) == sorted(
        (family, seed) for family in FAMILIES for seed in (0, 1) if not (solved and (family, seed) == ("mobilenet", 1))
    )
    # A network that has learnt less with all pictures is not handed over, which is said.
    models = [(row["family"], "pictures" in row) for row in rows if row["event"] in ("model", "refit")]
    # First the one that is scored, and then one that has learnt all pictures.
    assert sorted(models) == [(family, refit) for family in sorted(FAMILIES) for refit in (False, True)]
    assert all(models.index((family, False)) < models.index((family, True)) for family in FAMILIES)


def test_the_results_have_their_keys(results: dict[str, Any]) -> None:
    assert {"name", "seconds", "data", "families", "winner"} <= set(results)
    assert results["name"] == "whole"
    assert {"classes", "images", "left_out", "split"} <= set(results["data"])
    assert set(results["data"]["split"]) == {"train", "validation", "test"}
    assert list(results["families"]) == list(FAMILIES)
    for record in results["families"].values():
        assert {"trials", "finished", "stopped", "failed", "epochs", "baseline", "best", "test", "model"} <= set(record)
        for trial in (record["baseline"], record["best"]):
            assert {
                *("trial", "config", "epoch", "validation_accuracy", "validation_loss", "train_accuracy"),
                *("overfit_gap", "loss_trend"),
            } <= set(trial)
            assert trial["overfit_gap"] == trial["train_accuracy"] - trial["validation_accuracy"]
            assert set(trial["loss_trend"]) == {"trend", "slope"}
        assert {"accuracy", "low", "high", "method", "seeds"} <= set(record["test"])
        assert record["test"]["low"] <= record["test"]["accuracy"] <= record["test"]["high"]
        seeds = {0} if record["best"]["config"].get("head") == "probe" else {0, 1}
        assert {seed["seed"] for seed in record["test"]["seeds"]} == seeds


def test_the_results_follow_from_the_rows(results: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    for family, record in results["families"].items():
        own = [row for row in rows if row["family"] == family]
        ends = Counter(row["status"] for row in own if row["event"] == "end")
        assert [record[status] for status in ("finished", "stopped", "failed")] == [
            ends[status] for status in ("finished", "stopped", "failed")
        ]
        assert record["trials"] == (4 if family == "mobilenet" else 2)
        assert record["epochs"] == sum(row["event"] == "epoch" for row in own)
        assert record["baseline"]["trial"] == f"{family}-000"
        finished = {row["trial"] for row in own if row["event"] == "end" and row["status"] == "finished"}
        reached = [row["validation_accuracy"] for row in own if row["event"] == "epoch" and row["trial"] in finished]
        # A linear probe gives way only to what is clearly better.
        best = record["best"]
        assert best["validation_accuracy"] == max(reached) or best["config"].get("head") == "probe"
        accuracies = [row["accuracy"] for row in own if row["event"] == "test"]
        assert record["test"]["accuracy"] == pytest.approx(sum(accuracies) / len(accuracies))
    highest = max(record["best"]["validation_accuracy"] for record in results["families"].values())
    assert results["families"][results["winner"]]["best"]["validation_accuracy"] == highest


def test_odd_pictures_are_read_and_broken_ones_named(whole: Path, results: dict[str, Any]) -> None:
    split = json.loads((whole / "split.json").read_text())
    left_out = {Path(item["name"]).name: item["reason"] for item in split["left_out"]}
    assert sorted(left_out) == [
        *("broken-bomb.png", "broken-empty.jpg", "broken-notes.txt", "broken-text.jpg", "broken-truncated.jpg"),
    ]
    assert left_out["broken-bomb.png"] == "more than 89,478,485 pixels"
    assert left_out["broken-empty.jpg"] == "the file is empty"
    assert results["data"]["left_out"] == split["left_out"]
    used = {Path(name).name for side in ("train", "validation", "test") for name, _ in split[side]}
    assert sum(name.startswith("read-") for name in used) == 7
    assert results["data"]["images"] == len(used) == 96 + 7


def test_the_record_of_the_run(whole: Path) -> None:
    settings = Settings.from_json((whole / "settings.json").read_text())
    assert (settings.trials, settings.epochs, settings.image_sizes, settings.name) == (2, 2, (32,), "whole")
    environment = json.loads((whole / "environment.json").read_text())
    assert set(environment) == {"command", "python", "platform", "versions", "devices", "backend"}
    assert environment["command"].startswith("python run.py ")
    assert {"ray", "optuna", "keras", environment["backend"], "pedigree"} <= set(environment["versions"])
    assert environment["devices"]["nodes"] == 1
    assert "report: " in (whole / "log.txt").read_text()


def test_predictions_are_those_of_the_test_rows(whole: Path, rows: list[dict[str, Any]]) -> None:
    truth = np.array([label for _, label in json.loads((whole / "split.json").read_text())["test"]])
    for row in (row for row in rows if row["event"] == "test"):
        with np.load(whole / "predictions" / f"{row['family']}-{row['seed']}.npz") as file:
            probabilities = file["probabilities"]
        assert probabilities.shape == (len(truth), 4)
        assert row["pictures"] == len(truth)
        assert row["accuracy"] == pytest.approx((probabilities.argmax(axis=1) == truth).mean())


@pytest.mark.parametrize("family", FAMILIES)
def test_models_take_raw_pictures_of_any_size(whole: Path, family: str) -> None:
    model = keras.saving.load_model(whole / "models" / f"{family}.keras", safe_mode=True)
    pictures = np.random.default_rng(0).integers(0, 256, (2, 61, 47, 3), dtype=np.uint8)
    probabilities = model.predict(pictures, verbose=0)
    assert probabilities.shape == (2, 4)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-4)


def test_the_report_is_written_again_from_the_folder_alone(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(whole, tmp_path / "whole")
    before = json.loads((tmp_path / "whole/results.json").read_text())
    for name in ("results.json", "report.md", "report.html"):
        (tmp_path / "whole" / name).unlink()
    assert write_again([str(tmp_path / "whole")]) == 0
    assert json.loads((tmp_path / "whole/results.json").read_text()) == before
    for name in ("report.md", "report.html"):
        assert before["winner"] in (tmp_path / "whole" / name).read_text()
        assert name in capsys.readouterr().out or name == "report.html"


def small(data: Path, folder: Path, **values: Any) -> list[str]:
    options = {
        **{"weights": "none", "trials": "2", "epochs": "2", "image-sizes": "32", "name": "small"},
        **{"runs-dir": folder / "runs", "cache-dir": folder / "cache", "final-seeds": "1"},
    }
    options |= {name.replace("_", "-"): value for name, value in values.items()}
    return [str(data), *(part for name, value in options.items() for part in (f"--{name}", str(value)))]


def folder_of(root: Path, classes: Mapping[str, int]) -> Path:
    for name, count in classes.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            noise = np.random.default_rng([len(name), number]).integers(0, 256, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(noise).save(root / name / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def refused(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str, list[str], Path]]:
    """Status, message and imported packages of every command line that must be refused, by case."""
    place = tmp_path_factory.mktemp("refused")
    (place / "empty").mkdir()
    (place / "file.jpg").touch()
    one = folder_of(place / "one", {"cats": 5})
    few = folder_of(place / "few", {"cats": 9, "dogs": 2})
    for name in ("cats", "dogs"):
        (place / "text" / name).mkdir(parents=True)
        for number in range(5):
            (place / "text" / name / f"{number}.jpg").write_text(f"no picture {number}")
    (place / "wrong.h5").write_text("no weights")
    (place / "exists/runs/small").mkdir(parents=True)
    (place / "exists/runs/small/notes.txt").touch()
    (place / "blocked").touch()
    settled = place / "settled"
    settled.mkdir()
    spent = Settings(data=str(drawn), time_budget=60.0, trials=20, epochs=2, name="settled", runs_dir=str(place))
    (settled / "settings.json").write_text(spent.to_json())
    (settled / "trials.jsonl").write_text('{"event": "epoch", "time": 61, "trial": "a", "family": "a", "epoch": 1}\n')
    lines = {
        "missing": small(place / "nowhere", place),
        "no class": small(place / "empty", place),
        "a file": small(place / "file.jpg", place),
        "one class": small(one, place),
        "too few": small(few, place),
        "unreadable": small(place / "text", place),
        "family": small(drawn, place, families="mobilenet,resnet"),
        "epochs": small(drawn, place, epochs=0),
        "classes": small(drawn, place, classes=5),
        "size": small(drawn, place, image_sizes="8"),
        "trials": small(drawn, place, trials="many"),
        "budget": small(drawn, place, time_budget="soon"),
        "weights": small(drawn, place, weights=place / "wrong.h5"),
        "no weights": small(drawn, place, weights=place / "nowhere.h5"),
        "name": small(drawn, place, name="../up"),
        "exists": small(drawn, place / "exists"),
        "runs": small(drawn, place, runs_dir=place / "blocked"),
        "warm start": [*small(drawn, place), "--warm-start", str(place / "exists/runs/small")],
        "narrowed name": [*small(drawn, place), "--set", "optimiser=adamw"],
        "narrowed value": [*small(drawn, place), "--set", "scratch_keras.blocks=2..9"],
        "narrowed form": [*small(drawn, place), "--set", "optimizer"],
        "narrowed by what": [*small(drawn, place), "--space", str(place / "nowhere.yaml")],
        "extend what": ["--extend", str(place / "nowhere"), "--trials", "2"],
        "extend by what": ["--extend", str(settled)],
        "extend by none": ["--extend", str(settled), "--trials", "0"],
        "extend and resume": ["--extend", str(settled), "--resume", str(settled), "--trials", "2"],
        "extend with": ["--extend", str(settled), "--trials", "2", "--epochs", "9"],
        "extend in no time": ["--extend", str(settled), "--trials", "2"],
    }
    result = run_python(["-c", REFUSED, json.dumps(list(lines.values()))], place)
    assert result.returncode == 0, result.stderr
    return {case: (*found, place) for case, found in zip(lines, json.loads(result.stdout), strict=True)}


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("missing", "the data must be a folder of class folders, and there is nothing at `{place}/nowhere`"),
        ("no class", "needs at least 2 class folders with pictures, got none in `{place}/empty`"),
        ("a file", "or a table of labels (.csv, .tsv, .parquet, .jsonl), and `{place}/file.jpg` is a file"),
        ("one class", "needs at least 2 class folders with pictures, got 1 (`cats`) in `{place}/one`"),
        ("too few", "needs at least 3 distinct readable pictures a class"),
        (
            "unreadable",
            "the data needs readable pictures, and none of the 10 in `{place}/text` is one; the first of them",
        ),
        ("family", "`families` needs names from scratch_pillow, scratch_keras, mobilenet, got 'resnet'"),
        ("epochs", "`epochs` needs 1 or more, got 0"),
        ("classes", "needs classes <= 4, the classes there are, got 5"),
        ("size", "`image_sizes` needs sides from 16 to 1024 pixels, got 8"),
        ("trials", "argument --trials: needs a whole number, got 'many'"),
        ("budget", "a duration needs a form such as 90s, 30m or 1h30m, got 'soon'"),
        ("weights", "a weights file must be HDF5 (.h5), and `{place}/wrong.h5` cannot be read as one"),
        (
            "no weights",
            "--weights needs imagenet, demo, none, or a file or folder that exists, got `{place}/nowhere.h5`",
        ),
        ("name", "`name` needs letters, digits, dot, dash and underscore"),
        ("exists", "a run needs a name of its own, and `{place}/exists/runs/small` exists"),
        ("runs", "--runs-dir needs a folder that can be written, and `{place}/blocked` cannot"),
        ("warm start", "--warm-start needs folders of runs, and there is no `{place}/exists/runs/small/settings.json`"),
        ("narrowed name", "whitening, zoom, got 'optimiser'; did you mean `optimizer`?"),
        ("narrowed value", "`set` needs values from 2 to 5 in `scratch_keras.blocks`, got '2..9'"),
        ("narrowed form", "argument --set: needs a form such as optimizer=adamw"),
        ("narrowed by what", "--space needs a file, and there is none at `{place}/nowhere.yaml`"),
        ("extend what", "--extend needs the folder of a run, and there is no `{place}/nowhere/settings.json`"),
        ("extend by what", "--extend needs --trials, the number of configurations to add to each family"),
        ("extend by none", "--extend needs --trials of 1 or more, the configurations to add to each family, got 0"),
        ("extend and resume", "--extend goes on with its run by itself; give --resume or --extend"),
        ("extend with", "`epochs` needs the value that the run was begun with, 2, got 9"),
        (
            "extend in no time",
            "--extend needs a --time-budget longer than the 61 s that the whole run has taken so far",
        ),
    ],
)
def test_bad_input_ends_before_ray_starts(
    case: str, message: str, refused: dict[str, tuple[int, str, list[str], Path]]
) -> None:
    status, error, imported, place = refused[case]
    assert status == 2
    assert message.format(place=place) in error
    assert "Traceback" not in error
    assert imported == []


def test_bad_input_leaves_no_run(refused: dict[str, tuple[int, str, list[str], Path]]) -> None:
    place = refused["missing"][3]
    assert list((place / "runs").iterdir()) == []
    assert list((place / "exists/runs/small").iterdir()) == [place / "exists/runs/small/notes.txt"]


def test_a_folder_that_a_killed_driver_had_only_made_or_locked_is_free(tmp_path: Path) -> None:
    assert not starting.taken(tmp_path / "run")
    (tmp_path / "run").mkdir()
    assert not starting.taken(tmp_path / "run")
    for name in ("lock", "settings.json.1234.part"):
        (tmp_path / "run" / name).touch()
    assert not starting.taken(tmp_path / "run")
    (tmp_path / "run" / "settings.json").touch()
    assert starting.taken(tmp_path / "run")


def test_help_groups_the_options() -> None:
    result = run_python(["-m", "search.run", "--help"], ROOT)
    assert result.returncode == 0
    groups = [line for line in result.stdout.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert groups[-3:] == ["what is searched:", "where it runs:", "what is kept:"]
    text = " ".join(result.stdout.split())
    assert "--trials N configurations of each family at most " in text
    assert "--image-sizes S,S sides in pixels that may be chosen (default: 96,160,224)" in text
    for option in ("classes", "families", "time-budget", "weights", "concurrency", "gpus-per-trial", "seed", "name"):
        assert f"--{option} " in text


def test_every_path_may_begin_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    given = parsing.options(
        ["~/photos", "--runs-dir=~/runs", "--cache-dir=~/c", "--weights=~/w.h5", "--resume=~/r", "--extend=~/e"]
    )
    assert given == {
        **{"data": "/home/ada/photos", "runs_dir": "/home/ada/runs", "cache_dir": "/home/ada/c"},
        **{"weights": "/home/ada/w.h5", "resume": "/home/ada/r", "extend": "/home/ada/e"},
    }


def test_more_than_the_machine_has(
    ray_cluster: None, drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(small(drawn, tmp_path, cpus_per_trial=64)) == 2
    assert "a trial needs 64 CPU and 0 GPU on one machine, and the cluster has 2 CPU" in capsys.readouterr().err
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.slow
def test_a_time_budget_leaves_room_for_the_retraining(ray_cluster: None, drawn: Path, tmp_path: Path) -> None:
    line = small(drawn, tmp_path, trials=500, epochs=2, time_budget="1h", families="mobilenet")
    settings = starting.begun(parsing.options(line))
    # All but 35 s of the hour are gone: the search ends with what the first workers have done.
    assert command.run(settings, time.monotonic() - 3565, ["test"]) == 0
    rows = read_rows(tmp_path / "runs/small/trials.jsonl")
    trials = rows.of("mobilenet")
    assert 1 <= len(trials) < 500
    assert all(trial.status in ("finished", "stopped") for trial in trials)
    assert {trial.reason for trial in trials if trial.status == "stopped"} <= {
        "the time budget is used up",
        *(trial.reason for trial in trials if "below the rung's" in trial.reason),
    }
    assert len(rows.tests("mobilenet")) == 1
    assert rows.model("mobilenet") is not None
    assert (tmp_path / "runs/small/report.html").is_file()


def contents(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.iterdir() if path.is_file() and path.name != "lock"}


def begun_in(folder: Path, **values: Any) -> Path:
    """The folder of a run of an earlier version, whose settings are as they were given."""
    run = folder / "outputs/runs/old"
    run.mkdir(parents=True)
    settings = Settings(**{"data": "pictures/dogs", "runs_dir": "outputs/runs", "name": "old", "trials": 20, **values})
    (run / "settings.json").write_text(settings.to_json())
    return run


def test_the_paths_of_a_run_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = starting.begun(parsing.options(["dogs/", "--weights", "trunks", "--runs-dir", "out"]))
    assert (settings.data, settings.weights, settings.runs_dir) == tuple(
        f"{tmp_path}/{name}" for name in ("dogs", "trunks", "out")
    )
    assert starting.begun(parsing.options([])).data == "demo"
    assert starting.begun(parsing.options(["stanford-dogs"])).runs_dir == f"{tmp_path}/runs"


def test_relative_paths_of_an_old_run_are_from_where_it_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begun_in(tmp_path / "home")
    (tmp_path / "home/pictures/dogs").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert starting.continued(run, {}).data == f"{tmp_path}/home/pictures/dogs"
    # A run folder that was copied is asked from the current folder.
    copied = shutil.copytree(run, tmp_path / "copied")
    monkeypatch.chdir(tmp_path / "home")
    assert starting.continued(copied, {}).data == f"{tmp_path}/home/pictures/dogs"


def test_data_that_is_gone_may_be_named_where_it_is_now(tmp_path: Path) -> None:
    run = begun_in(tmp_path, data=str(tmp_path / "gone"))
    (tmp_path / "moved").mkdir()
    for option in ("--resume", "--extend"):
        with pytest.raises(FileNotFoundError, match=f"nothing at `{tmp_path}/gone`; .*: {option} {run} DATA"):
            starting.continued(run, {}, option)
    with pytest.raises(ValueError, match=rf"there is no `{run}/split\.json`: `data` needs to be `{tmp_path}/gone`"):
        starting.continued(run, {"data": str(tmp_path / "moved")})
    (run / "split.json").write_text("{}")
    assert starting.continued(run, {"data": str(tmp_path / "moved")}).data == f"{tmp_path}/moved"
    assert starting.extended(run, {"data": str(tmp_path / "moved"), "trials": 2}).trials == 22


def test_a_run_goes_on_with_data_that_was_moved(whole: Path, odd: Path, tmp_path: Path) -> None:
    run = shutil.copytree(whole, tmp_path / "run")
    settings = json.loads((run / "settings.json").read_text())
    (run / "settings.json").write_text(json.dumps(settings | {"data": str(tmp_path / "gone")}))
    moved = shutil.copytree(odd, tmp_path / "moved")
    assert command.main(["--resume", str(run), str(moved)]) == 0
    for name in ("settings.json", "split.json"):
        assert json.loads((run / name).read_text())["data"] == str(moved)
    assert "nothing is left to do in this run" in (run / "log.txt").read_text()


def test_a_run_that_cannot_go_on_stays_as_it_was(
    whole: Path, odd: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(whole, tmp_path / "run")
    before = contents(run)
    other = shutil.copytree(odd, tmp_path / "other")
    (picture, *_) = other.glob("*/read-grey.png")
    Image.open(picture).rotate(90).save(picture)
    assert command.main(["--extend", str(run), str(other), "--trials", "3"]) == 2
    assert f"`digest` of `{run}/split.json` is another in `{other}` now" in capsys.readouterr().err
    assert contents(run) == before


def test_a_run_that_no_machine_can_take_further_keeps_its_settings(
    ray_cluster: None, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(whole, tmp_path / "run")
    before = contents(run)
    assert command.main(["--extend", str(run), "--trials", "3", "--cpus-per-trial", "64"]) == 2
    assert "a trial needs 64 CPU" in capsys.readouterr().err
    assert {name: found for name, found in contents(run).items() if name != "optuna.log"} == {
        name: found for name, found in before.items() if name != "optuna.log"
    }


@pytest.mark.slow
def test_a_run_is_extended_and_another_begins_with_what_it_found(
    ray_cluster: None, whole: Path, odd: Path, tmp_path: Path
) -> None:
    (tmp_path / "runs").mkdir()
    extended = shutil.copytree(whole, tmp_path / "runs/extended")
    settings = {**json.loads((whole / "settings.json").read_text()), "families": ["scratch_keras"], "final_seeds": 1}
    (extended / "settings.json").write_text(json.dumps(settings))
    before = read_rows(extended / "trials.jsonl")
    where = ["--cache-dir", str(tmp_path / "cache"), "--dashboard", "off"]
    assert command.main(["--extend", str(extended), "--trials", "1", *where]) == 0
    after = read_rows(extended / "trials.jsonl")
    assert after.records[: len(before.records)] == before.records
    assert [len(rows.of("scratch_keras")) for rows in (before, after)] == [2, 3]
    assert json.loads((extended / "settings.json").read_text())["trials"] == 3
    best = json.loads((extended / "results.json").read_text())["families"]["scratch_keras"]
    assert best["trials"] == 3
    assert after.scored("scratch_keras")[-1] == best["best"]["trial"]
    options = small(odd, tmp_path, families="scratch_keras", trials=1)
    assert command.main([*options, "--warm-start", str(extended), *where]) == 0
    (source,) = json.loads((tmp_path / "runs/small/warm_start.json").read_text())["sources"]
    # How many heads on stored features the first search tried besides its two trials is the clock's.
    trials = sum(len(after.of(family)) for family in ("scratch_keras", "scratch_pillow", "mobilenet"))
    assert (source["name"], source["trials"], source["observed"], source["apart"]) == ("extended", trials, 3, "")
    assert source["unused"] == {"are of families that are not searched here": trials - 3}
    assert "run extended had found, 3 trials of it as observations" in (tmp_path / "runs/small/report.md").read_text()


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs JAX: pip install 'pedigree[jax]'")
def test_a_whole_run_under_jax(drawn: Path, tmp_path: Path) -> None:
    arguments = small(drawn, tmp_path, trials=1, families="scratch_keras,mobilenet")
    result = run_python(["-m", "search.run", *arguments], tmp_path, KERAS_BACKEND="jax", JAX_PLATFORMS="cpu")
    assert result.returncode == 0, result.stderr
    environment = json.loads((tmp_path / "runs/small/environment.json").read_text())
    assert environment["backend"] == "jax"
    rows = read_rows(tmp_path / "runs/small/trials.jsonl")
    assert [trial.status for family in ("scratch_keras", "mobilenet") for trial in rows.of(family)] == ["finished"] * 2
    assert len(rows.tests("mobilenet")) == len(rows.tests("scratch_keras")) == 1, result.stdout
