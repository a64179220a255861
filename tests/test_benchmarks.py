import importlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from results.delivery.framework import backend
from tests.benchmarks import fixed_list, heads, scaling, table, time_to_accuracy, views
from tests.benchmarks.listed import standard_list
from tests.benchmarks.measuring import ROOT, follow, parse, show

COMMANDS = (
    "cost_per_trial", "fixed_list", "heads", "likeness", "limit", "memory", "mutated_pictures", "mutated_runs",
    "plain_ray_tune", "replay", "runtimes", "scaling", "scratch_epoch", "stacked_heads", "time_to_accuracy", "trunks",
    "truth", "views", "warm_start",
)  # fmt: skip

needs_tensorflow = pytest.mark.skipif(backend() != "tensorflow", reason="compares with plain TensorFlow")


def test_heads_are_judged_on_pictures_that_they_have_not_seen() -> None:
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), (20, 30, 10))
    learnt, rest, outer = heads.divided(labels, 4)
    assert sorted([*rest, *outer]) == list(range(60))
    assert set(learnt) < set(rest)
    assert [np.bincount(labels[places]).tolist() for places in (learnt, rest, outer)] == [
        [11, 17, 6], [14, 21, 7], [6, 9, 3],
    ]  # fmt: skip
    means = random.normal(size=(3, 8))
    clear, useless = (
        np.stack([shift * means[labels] + random.normal(size=(60, 8)) / 20 for _ in range(2)]).astype(np.float32)
        for shift in (1, 0)
    )
    found = heads.one_division({"MobileNet": useless, "MobileNetV2": clear}, labels, 4)
    assert found["both, mirrored, averaged, all"] == found["both"] == found["MobileNetV2, mirrored"] == 1.0
    assert found[heads.PLAIN] == found["MobileNet, mirrored"] < 0.7


@pytest.fixture(scope="module")
def sides(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two drawn breeds, 9 pictures each for training and 3 for validation."""
    root = tmp_path_factory.mktemp("sides")
    for breed in sorted(path for path in drawn.iterdir() if path.is_dir())[:2]:
        for number, picture in enumerate(sorted(breed.iterdir())[:12]):
            folder = root / ("validation" if number % 4 == 0 else "train") / breed.name
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(picture, folder)
    return root


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """Runs a command in this process, which is not set up again: what it writes."""
    monkeypatch.setattr("search.training.devices.prepare", lambda threads, precision: "float32")

    def called(name: str, *options: str, out: Path) -> dict[str, Any]:
        assert importlib.import_module(f"tests.benchmarks.{name}").main([*options, "--out", str(out)]) == 0
        result: dict[str, Any] = json.loads(out.read_text())
        assert json.loads(capsys.readouterr().out.splitlines()[-1]) == result
        return result

    return called


def run(name: str, *options: str, out: Path) -> dict[str, Any]:
    """Runs a command as it is run: what it writes."""
    command = [sys.executable, "-m", f"tests.benchmarks.{name}", *options, "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    result: dict[str, Any] = json.loads(out.read_text())
    assert json.loads(done.stdout.splitlines()[-1]) == result
    return result


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str) -> None:
    text = importlib.import_module(f"tests.benchmarks.{name}").parser().format_help()
    assert f"python -m tests.benchmarks.{name}" in text
    assert "--out" in text


def test_the_fixed_list_has_six_configurations_of_each_kind() -> None:
    items = standard_list(160, [("MobileNet", 1.0), ("MobileNetV2", 1.0)])
    kinds = [fixed_list.kind(item) for item in items]
    assert {name: kinds.count(name) for name in kinds} == {"head only": 6, "mid-depth": 6, "deep": 6, "scratch": 6}
    assert {item["config"]["image_size"] for item in items} == {160}
    assert [item["config"]["backbone"] for item in items[:3]] == ["MobileNet", "MobileNetV2", "MobileNet"]
    assert len({json.dumps(item) for item in items}) == 24


def test_a_followed_command_is_stopped_at_the_row_that_is_enough(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    program = tmp_path / "program.py"
    program.write_text(
        "import json, time\n"
        f"with open({str(rows)!r}, 'w') as file:\n"
        "    for number in range(3):\n"
        "        file.write(json.dumps({'number': number}) + '\\n')\n"
        "    file.flush()\n"
        "time.sleep(600)\n"
    )
    seen, _ = follow([str(program)], rows, tmp_path / "log", lambda row: row["number"] == 2)
    assert [row["number"] for row in seen] == [0, 1, 2]
    assert seen[0]["arrived"] <= seen[2]["arrived"]


def test_a_followed_command_that_fails_says_why(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("raise SystemExit('no such breed')")
    with pytest.raises(RuntimeError, match=r"ended with exit code 1:\nno such breed"):
        follow([str(program)], tmp_path / "rows", tmp_path / "log")


def test_options_after_two_dashes_are_passed_on() -> None:
    options = parse(time_to_accuracy.parser(), ["dogs", "--size", "96", "--", "--trials", "4"])
    assert (options.size, options.more) == (96, ["--trials", "4"])


def test_ratios_compare_the_first_rows_that_reach_a_level() -> None:
    own: list[dict[str, Any]] = [
        {"event": "start", "trial": "a", "arrived": 1.0},
        {"event": "epoch", "trial": "a", "validation_accuracy": 0.5, "arrived": 2.0},
        {"event": "epoch", "trial": "a", "validation_accuracy": 0.9, "arrived": 4.0},
        {"event": "epoch", "trial": "b", "validation_accuracy": None, "arrived": 5.0},
    ]
    other: list[dict[str, Any]] = [
        {"trial": "x", "val_accuracy": 0.6, "arrived": 10.0},
        {"trial": "y", "val_accuracy": 0.8, "arrived": 100.0},
    ]
    found = time_to_accuracy.compare(own, other, (0.5, 0.95))
    assert found["ends"] == {
        "pedigree": {"accuracy": 0.9, "epochs": 2, "trials": 2},
        "peer": {"accuracy": 0.8, "epochs": 2, "trials": 2},
    }
    assert found["levels"] == [
        {"accuracy": 0.5, "pedigree": 2.0, "peer": 10.0, "ratio": 5.0},
        {"accuracy": 0.8, "pedigree": 4.0, "peer": 100.0, "ratio": 25.0},
        {"accuracy": 0.95, "pedigree": None, "peer": None, "ratio": None},
    ]


def test_the_last_epoch_of_both_sides_is_compared() -> None:
    items = standard_list(96, [("MobileNet", 0.25)])[:2]
    own: list[dict[str, Any]] = [
        {"event": "epoch", "trial": "mobilenet-000", "epoch": 1, "validation_accuracy": 0.9},
        {"event": "epoch", "trial": "mobilenet-000", "epoch": 2, "validation_accuracy": 0.8},
    ]
    other = [{"trial": "f00", "number": 0, "epoch": 2, "val_accuracy": 0.6}]
    found = fixed_list.compare(items, own, other)
    assert found["configurations"][0] == {"number": 0, "kind": "head only", "pedigree": 0.8, "plain": 0.6}
    assert found["configurations"][1] == {"number": 1, "kind": "head only", "pedigree": None, "plain": None}
    assert found["compared"] == 1
    assert found["mean_difference"] == pytest.approx(0.2)


def test_the_interval_of_a_difference_is_students() -> None:
    assert views.interval([0.01, 0.02, 0.03]) == pytest.approx((0.02, -0.004843, 0.044843), abs=1e-6)


def test_a_table_of_labels_is_timed_in_its_parts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seconds, memory = table.measure(tmp_path, 300, 3, 7)
    assert len(seconds) == 5
    assert {table.READING, table.SPLITTING} < set(seconds)
    assert memory >= 0
    # Whoever is too slow is told so.
    assert table.main(["--rows", "50", "--classes", "2", "--within", "0"]) == 1
    assert " of 0 s, " in capsys.readouterr().out


def test_a_table_shows_every_value_and_the_json_follows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show({"a": 1}, ["what", "value"], [["pictures", 20000], ["seconds", 0.5], ["none", None]], tmp_path / "out.json")
    assert capsys.readouterr().out.splitlines() == [
        "what       value",
        "pictures  20,000",
        "seconds    0.500",
        "none           -",
        '{"a": 1}',
    ]
    assert json.loads((tmp_path / "out.json").read_text()) == {"a": 1}


def test_made_up_trials_go_through_studies_rungs_journal_and_report(tmp_path: Path) -> None:
    found = scaling.trials(12, ("scratch_keras", "mobilenet"), tmp_path, epochs=3)
    assert found["trials"] == 12
    rows = (tmp_path / "trials-12" / "trials.jsonl").read_text().splitlines()
    events = [json.loads(row)["event"] for row in rows]
    assert found["rows"] == len(rows)
    assert (events.count("start"), events.count("end")) == (12, 12)
    assert (tmp_path / "trials-12" / "report.html").exists()


@pytest.mark.slow
@needs_tensorflow
def test_both_programs_train_a_fixed_list(sides: Path, tmp_path: Path) -> None:
    found = run(
        "fixed_list", str(sides), "--size", "32", "--epochs", "1", "--subset", "18", "--concurrency", "1",
        out=tmp_path / "out.json",
    )  # fmt: skip
    assert found["compared"] == 2
    assert found["pedigree_seconds"] > 0
    assert found["ratio"] == pytest.approx(found["plain_seconds"] / found["pedigree_seconds"])


@pytest.mark.slow
def test_time_to_accuracy_times_a_peer_and_the_limit(sides: Path, tmp_path: Path) -> None:
    peer = tmp_path / "peer.py"
    peer.write_text(
        "import json, sys\n"
        "with open(sys.argv[sys.argv.index('--out') + 1], 'w') as file:\n"
        "    file.write(json.dumps({'t': 0.1, 'trial': 'a', 'epoch': 1, 'val_accuracy': 0.001}) + '\\n')\n"
    )
    found = run(
        "time_to_accuracy", str(sides), "--size", "32", "--epochs", "1", "--trials", "1", "--families", "mobilenet",
        "--pedigree-seconds", "60", "--peer", str(peer), "--limit", out=tmp_path / "out.json",
    )  # fmt: skip
    assert found["ends"]["peer"] == {"accuracy": 0.001, "epochs": 1, "trials": 1}
    # The base, and the probes that come beside the --trials.
    assert found["ends"]["pedigree"]["trials"] > 1
    assert set(found["limit"]["parts"]) == {"import", "decode", "trunk", "head"}
    assert found["limit"]["pictures"] == 24


@pytest.mark.slow
def test_a_warm_start_is_timed_against_a_cold_one(sides: Path, tmp_path: Path) -> None:
    found = run("warm_start", str(sides), "--size", "32", "--families", "scratch_keras", out=tmp_path / "out.json")
    assert found["cold"]["trial"] == found["warm"]["trial"] == "scratch_keras-000"
    assert found["warm"]["arrived"] > 0


@pytest.mark.slow
def test_the_cost_of_a_trial_is_measured_against_bare_keras(
    sides: Path, tmp_path: Path, call: Callable[..., dict[str, Any]]
) -> None:
    found = call(
        "cost_per_trial", str(sides), "--size", "32", "--epochs", "2", "--repeat", "1", "--depths", "head only",
        out=tmp_path / "out.json",
    )  # fmt: skip
    (head,) = found["depths"]
    assert head["seconds"]["pedigree"] - head["seconds"]["bare"] == pytest.approx(head["trial_overhead_seconds"])


@pytest.mark.slow
@needs_tensorflow
def test_an_epoch_from_scratch_is_measured_against_plain_keras(sides: Path, tmp_path: Path) -> None:
    found = run(
        "scratch_epoch", str(sides), "--size", "32", "--epochs", "1", "--repeat", "1", "--networks", "stride 2",
        "--sides", "fit on tf.data,tf.function", out=tmp_path / "out.json",
    )  # fmt: skip
    (network,) = found["networks"]
    seconds = network["seconds"]
    assert set(seconds) == {"pedigree, auto", "fit on tf.data, float32", "tf.function, float32"}
    assert seconds[network["best"]] == min(seconds[side] for side in seconds if not side.startswith("pedigree"))
    assert network["ratio"] == pytest.approx(seconds["pedigree, auto"] / seconds[network["best"]])


def test_heads_are_stacked_and_their_share_of_a_run_is_counted(
    sides: Path, trained_run: Path, tmp_path: Path, call: Callable[..., dict[str, Any]]
) -> None:
    found = call(
        "stacked_heads", str(sides), "--size", "32", "--epochs", "1", "--heads", "3", "--run", str(trained_run),
        out=tmp_path / "out.json",
    )  # fmt: skip
    (three,) = found["heads"]
    assert three["heads"] == 3
    assert min(three["one_by_one"], three["stacked"]) > 0
    # That run has no transfer family.
    assert found["share_of_heads"] == 0


@pytest.mark.slow
def test_the_memory_of_a_worker_is_followed(tmp_path: Path) -> None:
    found = run(
        "memory", "--trials", "2", "--pictures", "24", "--size", "32", "--bound", "9", out=tmp_path / "out.json"
    )
    assert [len(found[side]["mib"]) for side in ("off", "on")] == [2, 2]
    assert found["off"]["failed"] == 0
    assert found["on"]["children"] == 1


@pytest.mark.slow
def test_the_memory_of_a_search_is_followed(tmp_path: Path) -> None:
    found = run("memory", "--search", "4", out=tmp_path / "out.json")["search"]
    assert found["looks"][-1]["trials"] == 4
    assert found["driver_mib"][-1] > 50
    assert found["most_mib_of_a_child"] > 50
    assert found["children"] <= 2


@pytest.mark.slow
def test_fixed_views_are_paired_with_fresh_augmentation(
    sides: Path, tmp_path: Path, call: Callable[..., dict[str, Any]]
) -> None:
    found = call(
        "views", str(sides), "--size", "32", "--epochs", "1", "--seeds", "2", "--augmentations", "light",
        "--depths", "0", out=tmp_path / "out.json",
    )  # fmt: skip
    assert [pair["seed"] for pair in found["pairs"]] == [0, 1]
    assert found["differences"]["light"]["pairs"] == 2


def test_copies_of_made_up_thumbnails_are_found() -> None:
    found = scaling.copies(200)
    assert (found["found"], found["others"], found["cells"]) == (1.0, 0, False)


def test_pictures_are_drawn_decoded_and_compared(tmp_path: Path, call: Callable[..., dict[str, Any]]) -> None:
    found = call("scaling", "--pictures", "30", out=tmp_path / "out.json")
    (thirty,) = found["pictures"]
    assert thirty["pictures"] == 30
    assert list(thirty["seconds"]) == [
        "drawing", "listing", "decoding", "duplicates", "splitting", "importing", "activations",
    ]  # fmt: skip
    assert thirty["packed_mib"] == pytest.approx(30 * 160 * 160 * 3 / 2**20, rel=0.01)
