"""Warm start: what of an earlier run a new one learns from, what it tries first, and what it says of both."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from search import run
from search.record.journal import FAILED, FINISHED, STOPPED, Journal, Record
from search.settings import Settings, resumed
from search.studies.spaces import spaces_of
from search.studies.study import Study, studies_of
from search.studies.warm_start import Prior, prior_of, project, read_earlier
from search.training.weights import Weights

TRAINED = (Weights("MobileNet", 1.0, Path("MobileNet.h5"), "trained"),)
SPLIT: dict[str, Any] = {
    "classes": ["a", "b"],
    "digest": "the dogs",
    "train": [["a/1.jpg", 0], ["b/1.jpg", 1]],
    "validation": [["a/2.jpg", 0], ["b/2.jpg", 1]],
    "test": [["a/3.jpg", 0], ["b/3.jpg", 1]],
}
GIVEN: dict[str, Any] = {"families": ("scratch_keras",), "image_sizes": (32, 64), "epochs": 3, "trials": 9}


def write_run(folder: Path, split: dict[str, Any] = SPLIT, **given: Any) -> Path:
    """A run of nine trials of a family: two that finished, one that failed, one cut off, the rest stopped."""
    settings = Settings(**{**GIVEN, "name": folder.name, "runs_dir": str(folder.parent), **given})
    folder.mkdir(parents=True)
    (folder / "settings.json").write_text(settings.to_json())
    (folder / "split.json").write_text(json.dumps(split))
    journal = Journal(folder / "trials.jsonl")
    for family, study in studies_of(settings, TRAINED).items():
        for number in range(9):
            name = f"{family}-{number:03d}"
            journal.records[name] = Record(name, family, *study.suggest(name))
            journal.start(name)
            accuracies = {0: (0.2, 0.3, 0.25), 3: (0.4, 0.5, 0.6), 4: ()}.get(number, (number / 20,))
            for epoch, accuracy in enumerate(accuracies, 1):
                row = {"epoch": epoch, "validation_accuracy": accuracy, "training": 1.0, "validating": 0.0}
                journal.epochs(name, [row])
            if number != 8:
                status = {0: FINISHED, 3: FINISHED, 4: FAILED}.get(number, STOPPED)
                journal.end(name, status, "as it went")
    journal.close()
    return folder


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "old")


def points(folder: Path) -> dict[str, dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]
    return {row["trial"]: row["point"] for row in rows if row["event"] == "start"}


def learn(*folders: Path, split: dict[str, Any] = SPLIT, **given: Any) -> tuple[Prior, list[str], dict[str, Study]]:
    """What runs give, as it comes back from its file, what is said of it, and the studies that begin with it."""
    settings = Settings(**{**GIVEN, **given})
    spaces = {family: space for family, (space, _) in spaces_of(settings, TRAINED).items()}
    found = prior_of([read_earlier(folder) for folder in folders], settings, split, spaces, {})
    again = Prior.from_json(found.to_json())
    assert again == found
    return again, list(again.lines()), studies_of(settings, TRAINED, prior=again)


def test_trials_on_the_same_pictures_are_observations(old: Path) -> None:
    _, lines, studies = learn(old)
    assert lines == [
        "warm start from old: 8 of its 9 trials are observations (1 failed)",
        "tried first after the base: 3 of scratch_keras",
    ]
    seen = [trial for trial in studies["scratch_keras"].study.trials if trial.state != TrialState.WAITING]
    assert [(trial.user_attrs["trial"], trial.state.name) for trial in seen] == [
        ("old/scratch_keras-000", "COMPLETE"),
        ("old/scratch_keras-001", "PRUNED"),
        ("old/scratch_keras-002", "PRUNED"),
        ("old/scratch_keras-003", "COMPLETE"),
        *((f"old/scratch_keras-00{number}", "PRUNED") for number in (5, 6, 7, 8)),
    ]
    assert seen[3].value == 0.6
    assert seen[3].intermediate_values == {1: 0.4, 2: 0.5, 3: 0.6}
    assert seen[3].params == pytest.approx(points(old)["scratch_keras-003"])


def test_the_best_are_tried_right_after_the_base(old: Path) -> None:
    _, _, studies = learn(old)
    before = points(old)
    tried = [studies["scratch_keras"].suggest(str(number))[1] for number in range(5)]
    # The base, the other full trial, the best of those that trained an epoch, and then the hand-written starts.
    assert tried[:4] == [before[f"scratch_keras-00{number}"] for number in (0, 3, 8, 7)]
    assert tried[4] == before["scratch_keras-001"]
    studies["scratch_keras"].close()
    states = [trial.state for trial in studies["scratch_keras"].study.trials]
    assert TrialState.RUNNING not in states


def test_what_does_not_fit_is_no_observation_and_is_tried_at_its_default(old: Path) -> None:
    prior, lines, studies = learn(old, image_sizes=(64,))
    before = points(old)
    small = [name for name, point in before.items() if point["image_size"] == 32 and name != "scratch_keras-004"]
    assert 0 < len(small) < 8
    assert lines[0] == (
        f"warm start from old: {8 - len(small)} of its 9 trials are observations (1 failed, {len(small)} have a "
        "`image_size` that is not in the space)"
    )
    assert [seen.name for seen in prior.observations["scratch_keras"]] == [
        f"old/{name}" for name in before if name not in (*small, "scratch_keras-004")
    ]
    _, second = (studies["scratch_keras"].suggest(name)[1] for name in ("first", "second"))
    assert second == {**before["scratch_keras-003"], "image_size": 64}


def test_a_parameter_that_is_new_takes_its_default(old: Path, tmp_path: Path) -> None:
    shutil.copytree(old, tmp_path / "older")
    rows = [json.loads(line) for line in (old / "trials.jsonl").read_text().splitlines()]
    for row in rows:
        row.get("point", {}).pop("kernel", None)
    (tmp_path / "older/trials.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    prior, lines, _ = learn(tmp_path / "older")
    assert lines[0] == "warm start from older: 8 of its 9 trials are observations (1 failed)"
    assert {seen.point["kernel"] for seen in prior.observations["scratch_keras"]} == {3}


def test_values_that_a_space_lacks_are_named() -> None:
    space, _ = spaces_of(Settings(**GIVEN), TRAINED)["scratch_keras"]
    point, refused = project(space, {"dropout": 0.7, "units": 64, "optimizer": "adam", "weight_decay": 1e-2})
    assert refused == ["dropout", "weight_decay"]
    assert (point["dropout"], point["units"]) == (0.0, 64)
    assert "weight_decay" not in point


@pytest.mark.parametrize(
    ("split", "given", "why"),
    [
        ({"digest": "the cats"}, {}, "it had other pictures"),
        (
            {"validation": [["a/1.jpg", 0]], "test": [["a/2.jpg", 0], ["b/4.jpg", 1]]},
            {},
            "it had its pictures split otherwise; 1 of its validation pictures are test pictures here",
        ),
        ({}, {"epochs": 9}, "its full trials had 3 epochs, not 9"),
    ],
)
def test_figures_that_mean_something_else_are_no_observations(
    split: dict[str, Any], given: dict[str, Any], why: str, old: Path
) -> None:
    prior, lines, studies = learn(old, split={**SPLIT, **split}, **given)
    assert lines == [
        f"warm start from old: 0 of its 9 trials are observations, because {why}",
        "tried first after the base: 3 of scratch_keras",
    ]
    assert prior.observations == {"scratch_keras": []}
    before = points(old)
    tried = [studies["scratch_keras"].suggest(str(number))[1] for number in range(2)]
    assert tried == [before["scratch_keras-000"], before["scratch_keras-003"]]


def test_families_and_trunks_that_are_not_searched(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "both", families=("scratch_keras", "mobilenet"))
    _, lines, _ = learn(folder, families=("mobilenet",), weights="none")
    assert lines == [
        "warm start from both: 0 of its 18 trials are observations (9 are of families that are not searched here, "
        "9 are of mobilenet with trained weights)",
        "tried first after the base: nothing that is not tried anyway",
    ]
    _, lines, _ = learn(folder, families=("mobilenet", "scratch_pillow"))
    assert lines[1] == "tried first after the base: 3 of mobilenet"


def test_several_runs_take_turns(old: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "other", {**SPLIT, "digest": "the cats"}, seed=5)
    prior, lines, _ = learn(other, old)
    assert [line.split(" ", 4)[3] for line in lines[:2]] == ["other:", "old:"]
    one, two = points(other), points(old)
    assert list(prior.first["scratch_keras"]) == [
        *(one["scratch_keras-003"], two["scratch_keras-003"], one["scratch_keras-008"]),
    ]


def test_a_run_that_is_resumed_goes_on_as_it_would_have(old: Path, tmp_path: Path) -> None:
    prior, _, studies = learn(old)
    settings = Settings(**GIVEN)
    tried = [studies["scratch_keras"].suggest(str(number))[1] for number in range(6)]
    journal = Journal(tmp_path / "trials.jsonl")
    for number, point in enumerate(tried[:3]):
        name = f"scratch_keras-{number:03d}"
        journal.records[name] = Record(name, "scratch_keras", {}, point, {1: 0.1}, status=STOPPED)
    again = studies_of(settings, TRAINED, journal, prior=prior)["scratch_keras"]
    journal.close()
    assert [again.suggest(str(number))[1] for number in range(3, 6)] == tried[3:]
    assert sum(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in again.study.trials) == 8 + 3


def test_a_long_history_does_not_crowd_out_what_is_tried_first(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("MOST", 9), ("KEPT", 6), ("BEST", 3)):
        monkeypatch.setattr(f"search.studies.observed.{name}", value)
    before = points(old)
    study = learn(old)[2]["scratch_keras"]
    config, point = study.suggest("first")
    study.tell(Record("first", "scratch_keras", config, point, {1: 0.2}, status=STOPPED))
    assert [study.suggest(str(number))[1] for number in range(2)] == [
        before[f"scratch_keras-00{number}"] for number in (3, 8)
    ]


def test_a_family_of_other_code_is_only_a_place_to_begin(old: Path, tmp_path: Path) -> None:
    settings = Settings(**GIVEN)
    spaces = {family: space for family, (space, _) in spaces_of(settings, TRAINED).items()}
    code = {"families": {"scratch_keras": "mine:Net"}, "files": {"mine.py": "abc"}}
    same = shutil.copytree(old, tmp_path / "same")
    (same / "hypermodels.json").write_text(json.dumps(code))
    found = prior_of([read_earlier(folder) for folder in (old, same)], settings, SPLIT, spaces, code)
    assert [(source.observed, source.unused) for source in found.sources] == [
        (0, {"failed": 1, "are of scratch_keras with other code": 8}),
        (8, {"failed": 1}),
    ]
    assert len(found.first["scratch_keras"]) == 3


def test_limits_and_sizes_hold_for_what_earlier_runs_tried(old: Path) -> None:
    prior, lines, studies = learn(old, objective=("accuracy", "size"), max_parameters=200_000)
    assert lines[0] == "warm start from old: 8 of its 9 trials are observations (1 failed)"
    seen = prior.observations["scratch_keras"]
    assert all(record.cost["parameters"] > 1000 for record in seen)
    large = [record.name for record in seen if record.cost["parameters"] > 200_000]
    assert 0 < len(large) < 8
    trials = [trial for trial in studies["scratch_keras"].study.trials if trial.state != TrialState.WAITING]
    assert [trial.user_attrs["trial"] for trial in trials if trial.constraints["parameters"] > 0] == large
    assert trials[3].values == [0.6, seen[3].cost["parameters"]]
    tried = [studies["scratch_keras"].suggest(str(number))[1] for number in range(3)]
    assert not [record.name for record in seen if record.point in tried[1:] and record.name in large]
    _, lines, _ = learn(old, max_latency=0.1)
    assert lines[0].endswith("because latencies are those of the machine that measured them")


def test_a_resumed_run_no_longer_needs_the_earlier_ones(old: Path, tmp_path: Path) -> None:
    gone = shutil.copytree(old, tmp_path / "gone")
    settings = Settings(**{**GIVEN, "name": "new", "runs_dir": str(tmp_path), "warm_start": (str(gone),)})
    settings.folder.mkdir()
    said: list[str] = []
    runs = run.earlier_runs(settings)
    first = run.learnt(settings, runs, SPLIT, TRAINED, {}, said.append, None, {})
    assert len(said) == 2
    shutil.rmtree(gone)
    assert run.earlier_runs(settings) == []
    assert run.learnt(settings, [], SPLIT, TRAINED, {}, said.append, None, {}) == first
    assert len(first.observations["scratch_keras"]) == 8
    assert len(said) == 2


def broken(folder: Path, name: str, content: str | None) -> None:
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_text(content)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda run: shutil.rmtree(run), "--warm-start needs folders of runs, and there is no `{run}/settings.json`"),
        (lambda run: broken(run, "trials.jsonl", None), "there is no `{run}/trials.jsonl`"),
        (lambda run: broken(run, "trials.jsonl", "\n"), "no trial of `{run}` has trained an epoch"),
        (lambda run: broken(run, "settings.json", "[]"), "`{run}/settings.json` is not of one"),
        (
            lambda run: broken(run, "settings.json", '{"momentum": 0.9}'),
            "--warm-start needs runs of this version of Pedigree or an earlier one, and `{run}/settings.json` is not",
        ),
    ],
)
def test_what_is_no_run_is_refused(spoil: Callable[[Path], None], message: str, old: Path, tmp_path: Path) -> None:
    spoilt = shutil.copytree(old, tmp_path / "spoilt")
    spoil(spoilt)
    with pytest.raises((ValueError, OSError)) as error:
        read_earlier(spoilt)
    assert message.format(run=spoilt) in str(error.value)


def test_a_split_that_cannot_be_read_is_of_other_pictures(old: Path, tmp_path: Path) -> None:
    spoilt = shutil.copytree(old, tmp_path / "old")
    broken(spoilt, "split.json", "{")
    assert learn(spoilt)[1][0].endswith("0 of its 9 trials are observations, because it had other pictures")


@pytest.mark.parametrize("text", ["", "[]", '{"sources": []}', '{"sources": [{}], "first": {}, "observations": {}}'])
def test_a_record_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"`warm_start.json` cannot be read: "):
        Prior.from_json(text)


def test_runs_are_named_once_and_stay_those_of_the_beginning() -> None:
    with pytest.raises(ValueError, match="`warm_start` needs each run once"):
        Settings(warm_start=("a", "a"))
    with pytest.raises(ValueError, match=r"`warm_start` needs the value that the run was begun with, \('a',\)"):
        resumed(Settings(warm_start=("a",)), {"warm_start": ("b",)})
