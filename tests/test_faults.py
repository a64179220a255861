"""What the benchmarks that kill take for right and wrong, and each of them in short."""

import contextlib
import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search.settings import Settings
from tests.benchmarks import chaos, seeded
from tests.benchmarks.faults import descendants, epochs_again, marked, outlive, violations
from tests.benchmarks.measuring import ROOT

# Starts a process of its own, says so, and waits.
PARENT = """
import subprocess, sys, time
code = "import time; print(flush=True); time.sleep(30)"
child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
child.stdout.readline()  # before it runs /proc may show no environment of it yet
print(child.pid, flush=True)
time.sleep(30)
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run of one family that went well: one trial in full, one stopped at its rung."""
    folder = tmp_path / "run"
    (folder / "models").mkdir(parents=True)
    settings = Settings(families=("scratch_keras",), trials=2, epochs=3, first_rung=1, final_seeds=1, name="run")
    (folder / "settings.json").write_text(settings.to_json())
    for name in ("report.html", "report.md", "results.json", "models/scratch_keras.keras"):
        (folder / name).touch()
    write(folder, rows())
    return folder


def rows() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []

    def add(event: str, number: int, **values: Any) -> None:
        trial = f"scratch_keras-{number:03d}"
        found.append({"event": event, "time": len(found), "trial": trial, "family": "scratch_keras", **values})

    add("start", 0, config={"units": 8})
    add("start", 1, config={"units": 9})
    add("epoch", 0, epoch=1, validation_accuracy=0.3)
    add("rung", 0, epoch=1, value=0.3, promoted=True)
    add("epoch", 1, epoch=1, validation_accuracy=0.2)
    add("rung", 1, epoch=1, value=0.2, promoted=False)
    add("end", 1, status="stopped", reason="epoch 1: 0.200 below the rung's 0.300")
    add("epoch", 0, epoch=2, validation_accuracy=0.4)
    add("epoch", 0, epoch=3, validation_accuracy=0.5)
    add("end", 0, status="finished", reason="all 3 epochs")
    add("test", 0, seed=0, accuracy=0.5)
    add("model", 0, seed=0, path="models/scratch_keras.keras")
    return found


def write(folder: Path, found: list[dict[str, Any]], more: str = "") -> None:
    (folder / "trials.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found) + more)


def test_a_run_that_went_well_has_nothing_wrong(run: Path) -> None:
    assert violations(run, kills=0) == []


@pytest.mark.parametrize(
    ("doubled", "message"),
    [
        (2, "scratch_keras-000: epoch 1 stands 2 times"),
        (3, "scratch_keras-000: judged 2 times at rung 1"),
        (9, "scratch_keras-000: 2 end rows"),
    ],
)
def test_nothing_may_stand_twice(run: Path, doubled: int, message: str) -> None:
    found = rows()
    write(run, [*found[: doubled + 1], *found[doubled:]])
    assert violations(run, kills=0) == [message]


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        (0, "scratch_keras-000: 0 start rows with 0 configurations"),
        (7, "scratch_keras-000: its epochs have gaps: [1, 3]"),
        (8, "scratch_keras-000: finished after 2 of 3 epochs"),
        (9, "scratch_keras-000: 0 end rows"),
        (5, "scratch_keras-001: stopped without a rung that says so: epoch 1: 0.200 below the rung's 0.300"),
        (10, "scratch_keras: tested with seeds []"),
        (11, "scratch_keras: 0 models"),
    ],
)
def test_nothing_may_be_lost(run: Path, lost: int, message: str) -> None:
    write(run, [row for number, row in enumerate(rows()) if number != lost])
    assert message in violations(run, kills=0)


def test_trials_are_those_that_were_planned(run: Path) -> None:
    found = rows()
    write(run, [{**row, "trial": row["trial"].replace("001", "002")} for row in found])
    assert violations(run, kills=0) == ["scratch_keras-001 is missing", "scratch_keras-002 was never planned"]


def test_a_death_may_cut_one_line_short(run: Path) -> None:
    write(run, rows(), '{"event": "ep')
    assert violations(run, kills=1) == []
    assert violations(run, kills=0) == ["1 torn lines after 0 kills of the driver"]


def test_failures_and_what_is_left_behind_are_told(run: Path) -> None:
    found = rows()
    found[9] |= {"status": "failed", "reason": "the worker was lost"}
    write(run, found)
    (run / "split.json.1234.part").touch()
    (run / "report.md").unlink()
    assert violations(run, kills=0) == [
        "scratch_keras-000: failed: the worker was lost",
        "no `report.md`",
        "left behind: `split.json.1234.part`",
    ]


def test_a_lost_machine_may_not_count_as_a_failure(run: Path) -> None:
    retry = {
        "event": "retry",
        "time": 2,
        "trial": "scratch_keras-001",
        "family": "scratch_keras",
        "reason": "",
        "counts": True,
    }
    found = rows()
    write(run, [*found[:3], retry, {**retry, "counts": False}, *found[3:]])
    assert violations(run, kills=0, blamed=1) == []
    assert violations(run, kills=0) == ["1 failures counted for 0 workers killed"]


def test_a_trial_repeats_no_more_than_a_rung(run: Path) -> None:
    write(run, rows()[:4])
    assert epochs_again(run) == ({"scratch_keras-000": 1, "scratch_keras-001": 0}, [])
    write(run, rows()[:8])
    assert epochs_again(run) == (
        {"scratch_keras-000": 2},
        ["scratch_keras-000 was at epoch 2, and its checkpoint is that of epoch 0"],
    )
    (run / "checkpoints").mkdir()
    about = np.frombuffer(json.dumps({"of": {}, "epoch": 1}).encode(), np.uint8)
    np.savez(run / "checkpoints" / "scratch_keras-000.npz", about=about)
    assert epochs_again(run) == ({"scratch_keras-000": 1}, [])


def test_a_search_is_compared_with_the_undisturbed_one() -> None:
    undisturbed: dict[str, Any] = {
        "configurations": {"a-000": {"units": 8}, "a-001": {"units": 9}},
        "curves": {"a-000": {"1": 0.5, "2": 0.6}, "a-001": {"1": 0.4}},
        "best": {"a": ["a-000", 2]},
        "winner": "a",
    }
    assert chaos.compare(undisturbed, undisturbed, asha=False) == ([], 0)
    other = {
        "configurations": {"a-000": {"units": 8}, "a-001": {"units": 7}},
        "curves": {"a-000": {"1": 0.5, "2": 0.3}},
        "best": {"a": ["a-000", 1]},
        "winner": "a",
    }
    assert chaos.compare(other, undisturbed, asha=False) == (
        ["a-001 has another configuration than undisturbed", "a: best is ['a-000', 1], undisturbed ['a-000', 2]"],
        2,
    )
    assert chaos.compare(other, undisturbed, asha=True) == (["a-001 has another configuration than undisturbed"], 2)


def test_the_seed_gives_the_faults_and_the_points() -> None:
    assert chaos.plan(3, 20, 280) == chaos.plan(3, 20, 280) != chaos.plan(4, 20, 280)
    assert {fault.kind for fault in chaos.plan(3, 20, 280)} == {"child", "actor", "raylet", "node", "driver", "cluster"}
    points = seeded.points("scratch_keras", 20, 0)
    assert points == seeded.points("scratch_keras", 20, 0)
    assert points != seeded.points("scratch_pillow", 20, 0)
    assert len({json.dumps(point) for point in points}) == 20


def test_processes_are_found_and_killed() -> None:
    mark = f"PEDIGREE_TEST={uuid.uuid4().hex}"
    environment = {**os.environ, "PEDIGREE_TEST": mark.partition("=")[2]}
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, env=environment)
    with parent, contextlib.ExitStack() as stack:
        stack.callback(parent.kill)
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        (below,) = descendants(parent.pid)
        stack.callback(below.kill)
        assert below.number == child
        assert {process.number for process in marked(mark)} == {parent.pid, child}
        parent.kill()
        parent.wait()
        assert outlive([below], mark, 0.2)[0] == [below]
        below.kill()
        assert outlive([below], mark, 10)[0] == []


def run_benchmark(name: str, *options: str) -> dict[str, Any]:
    command = [sys.executable, "-m", f"tests.benchmarks.{name}", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
def test_a_search_survives_chaos(tmp_path: Path) -> None:
    found = run_benchmark(
        "chaos", "--faults", "3", "--trials", "2", "--epochs", "3", "--nodes", "1", "--alone", "--folder", str(tmp_path)
    )
    assert sorted(fault["kind"] for fault in found["faults"]) == ["actor", "child", "driver"]
    assert found["violations"] == []


@pytest.mark.slow
def test_a_driver_is_killed_and_resumed(drawn: Path, tmp_path: Path) -> None:
    found = run_benchmark(
        "killed", str(drawn), "--kills", "2", "--seconds", "12", "--families", "scratch_keras", "--trials", "2",
        "--epochs", "2", "--folder", str(tmp_path),
    )  # fmt: skip
    assert found["kills"] == 2
    assert found["violations"] == []
