"""Pedigree from Python: settings by the names of the command line, and a run as an object."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from results.run import Run
from search import interface, parsing, starting
from search.interface import options
from search.training.own_models import find

ROOT = Path(__file__).resolve().parent.parent


def test_settings_mean_what_they_mean_on_the_command_line(tmp_path: Path) -> None:
    words = [
        *(str(tmp_path), "--time-budget", "30m", "--families", "mobilenet,scratch_keras", "--image-sizes", "96,160"),
        *("--max-latency", "20ms", "--max-parameters", "5M", "--resplit", "--warm-start", "a", "b", "--seed", "3"),
    ]
    given = options(
        {
            **{"data": tmp_path, "time_budget": "30m", "families": ["mobilenet", "scratch_keras"], "seed": 3},
            **{"image_sizes": (96, 160), "max_latency": 0.02, "max_parameters": "5M", "resplit": True},
            **{"warm_start": ["a", "b"], "classes": None},
        }
    )
    assert given == parsing.options(words)
    assert starting.begun({**given, "name": "x"}) == starting.begun({**parsing.options(words), "name": "x"})
    assert options({"time_budget": 90})["time_budget"] == 90.0
    assert options({"resplit": False})["resplit"] is None


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({"trails": 3}, TypeError, "there is no setting 'trails'; did you mean 'trials'?"),
        ({"nonsense": 3}, TypeError, "there is no setting 'nonsense'"),
        ({"trials": "many"}, ValueError, "trials: needs a whole number, got 'many'"),
        ({"time_budget": "soon"}, ValueError, "time_budget: "),
        ({"resplit": 1}, ValueError, "resplit needs True or False, got 1"),
        ({"trials": True}, ValueError, "trials needs a value as on the command line, got True"),
        ({"hypermodel": 3}, ValueError, "hypermodel needs a class, an instance with a `build` or a function, got int"),
    ],
)
def test_what_the_command_line_would_refuse_is_refused_in_its_words(
    settings: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind) as refused:
        options(settings)
    assert message in str(refused.value)


def test_data_that_is_not_there_is_an_exception(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        interface.search(tmp_path / "nowhere", runs_dir=tmp_path / "runs", weights="none")
    with pytest.raises(FileNotFoundError, match=r"trials\.jsonl"):
        interface.open_run(tmp_path)


def test_a_hypermodel_is_named_by_where_it_can_be_imported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert interface.reference(Run, tmp_path) == "results.run:Run"
    assert interface.reference(Run.export, tmp_path) == "results.run:Run.export"
    monkeypatch.setattr(test_data_that_is_not_there_is_an_exception, "__module__", "__main__")
    named = interface.reference(test_data_that_is_not_there_is_an_exception, tmp_path)
    assert named == f"{Path(__file__)}:test_data_that_is_not_there_is_an_exception"
    assert list(tmp_path.iterdir()) == []
    given = options({"hypermodel": {"mine": Run, "theirs": "a.b:C"}})
    assert given["hypermodel"] == ("mine=results.run:Run", "theirs=a.b:C")
    assert given["hypermodel"] == parsing.options(["--hypermodel", "mine=results.run:Run,theirs=a.b:C"])["hypermodel"]
    assert options({"hypermodel": "a:B,c:D"}) == options({"hypermodel": ["a:B", "c:D"]})


def test_a_hypermodel_of_a_session_is_written_into_a_file(tmp_path: Path) -> None:
    session: dict[str, Any] = {"__name__": "__main__"}
    exec("width = 3\ndef double(x): return 2 * x\ndef build(hp): return double(width) + hp", session)
    named = interface.reference(session["build"], tmp_path / "runs")
    assert re.fullmatch(re.escape(f"{tmp_path}/runs/build_") + "[0-9a-f]{12}[.]py:build", named)
    # In a process that has nothing of the session.
    program = f"from search.training.own_models import find; print(find({named!r})(1))"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True).stdout == "7\n"

    class Local:
        def __init__(self, base: int) -> None:
            self.base = base

        def build(self, hp: Any) -> Any:
            return self.base * hp

    given = options({"hypermodel": [Local, Local(5)], "runs_dir": tmp_path / "mine"})["hypermodel"]
    assert [find(text)(2).build(3) if number == 0 else find(text).build(3) for number, text in enumerate(given)] == [
        *(6, 15)
    ]
    assert len(list((tmp_path / "mine" / "hypermodels").glob("*.py"))) == 2
    session["double"] = (one for one in "generators cannot be pickled")
    with pytest.raises(ValueError, match=r"it cannot be taken out of this session .*write it into a file"):
        interface.reference(session["build"], tmp_path)
    with pytest.raises(ValueError, match="needs a function with a name, got <lambda>"):
        interface.reference(lambda hp: hp, tmp_path)


def test_a_run_is_frames_a_report_and_a_model(trained_run: Path, drawn: Path) -> None:
    found = interface.open_run(trained_run)
    assert found.winner in ("scratch_keras", "scratch_pillow")
    assert found.best is not None
    assert found.best["trial"] == found.families.loc[found.winner, "trial"]
    assert found.best["test"]["accuracy"] == found.families.loc[found.winner, "test_accuracy"]
    trials = found.trials.set_index("trial_id")
    assert len(trials) == 4
    assert trials.loc["scratch_keras-001", ["status", "training_iteration", "config/filters"]].tolist() == [
        *("finished", 4, 24)
    ]
    epochs = found.epochs
    assert len(epochs) == 16
    last = epochs[(epochs["trial_id"] == "scratch_keras-001") & (epochs["training_iteration"] == 4)].iloc[0]
    assert last["validation_accuracy"] == trials.loc["scratch_keras-001", "validation_accuracy"]
    assert "# " in str(found.report)
    assert found.report._repr_html_().startswith("<iframe srcdoc=")
    assert repr(found) == f"pedigree.open({str(trained_run)!r})"


def test_a_run_names_files_folders_and_arrays(trained_run: Path, drawn: Path, tmp_path: Path) -> None:
    found = interface.open_run(trained_run)
    files = sorted(next(path for path in sorted(drawn.iterdir()) if path.is_dir()).glob("*"))[:2]
    of_files = found.predict(files, top=2)
    assert of_files["picture"].tolist() == [str(files[0])] * 2 + [str(files[1])] * 2
    assert of_files["rank"].tolist() == [1, 2, 1, 2]
    assert set(of_files["class"]) <= set(found.classes)
    arrays = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    of_arrays = found.predict(arrays)
    assert of_arrays["class"].tolist() == of_files[of_files["rank"] == 1]["class"].tolist()
    assert found.predict(arrays[0])["picture"].tolist() == [0]
    assert found.predict(str(files[0]))["class"].tolist() == of_arrays["class"].tolist()[:1]
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    assert found.predict(broken)["error"].notna().all()
    with pytest.raises(ValueError, match=r"uint8 array \(height, width, 3\), got float64 \(4, 4\) at 0"):
        found.predict([np.zeros((4, 4))])


@pytest.mark.slow
def test_a_search_is_called_from_python(drawn: Path, tmp_path: Path) -> None:
    program = (
        "import pedigree\n"
        "assert 'ray' not in __import__('sys').modules\n"
        "def build(hp, classes):\n"
        "    import keras\n"
        "    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(classes, 'softmax')])\n"
        "    model.compile(keras.optimizers.Adam(hp.Float('rate', 1e-4, 1e-2)), 'categorical_crossentropy')\n"
        "    return model\n"
        f"run = pedigree.search({str(drawn)!r}, families='mobilenet', weights='none', image_sizes=[32], trials=2,\n"
        "    epochs=1, final_seeds=1, dashboard='off', name='called', hypermodel={'flat': build})\n"
        "print(run, run.winner, len(run.trials))\n"
        "print(pedigree.open('runs/called').best['trial'])\n"
        "print('flat' in run.families.index, run.families.loc['flat', 'trial'])\n"
        "try:\n"
        "    pedigree.search('nowhere', weights='none')\n"
        "except FileNotFoundError as error:\n"
        "    print('refused:', error)\n"
    )
    told = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout + told.stderr
    assert "pedigree.open('runs/called')" in told.stdout or "runs/called" in told.stdout
    assert "mobilenet-0" in told.stdout
    assert "True flat-0" in told.stdout
    assert "refused: " in told.stdout
