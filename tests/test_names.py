"""Names that collide: the installed wheel beside modules of the user's that are called as Pedigree's rooms are."""

import importlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from written_run import write_run

import pedigree

ROOT = Path(__file__).resolve().parent.parent
# Not compiled: the search builds it, and then says by name what it lacks.
MODELS = """
import keras
from search import width
import results


def build(hp):
    return keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(hp.get("classes") * width // results.halves)])


def trained(hp):
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(hp.get("classes"), "softmax")])
    model.compile("adam", "categorical_crossentropy")
    return model
"""


@pytest.fixture(scope="module")
def site(distributions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the wheel is installed, and nothing else."""
    (wheel,) = distributions.glob("*.whl")
    place = tmp_path_factory.mktemp("installed") / "site"
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", place, wheel], check=True)
    return place


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the user's with a module `models`, and packages `results`, `search` and `spaces`."""
    folder = tmp_path_factory.mktemp("theirs")
    for name, content in (("results", "halves = 2\n"), ("search", "width = 2\n"), ("spaces", "raise RuntimeError\n")):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(content)
    (folder / "models.py").write_text(MODELS)
    return folder


def run(words: Sequence[str | Path], folder: Path, path: Path) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": str(path), "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )


def small(data: Path, cache: Path, function: str) -> list[str]:
    options = {"trials": 1, "epochs": 1, "image-sizes": 32, "final-seeds": 1, "weights": "none", "dashboard": "off"}
    options |= {"name": "theirs", "cache-dir": cache, "hypermodel": f"models:{function}"}
    return [str(data), *(part for name, value in options.items() for part in (f"--{name}", str(value)))]


def test_the_wheel_takes_one_name(site: Path) -> None:
    assert sorted(path.name for path in site.iterdir()) == [
        "bin",
        "pedigree",
        f"pedigree-{pedigree.__version__}.dist-info",
    ]
    assert {path.name for path in (site / "pedigree").iterdir() if path.name != "__pycache__"} == {
        "__init__.py", "__main__.py", "requirements.py", "py.typed", *pedigree.ROOMS,
    }  # fmt: skip
    for name in ("results/report.css", "results/report.js", "search/record/grafana.json"):
        assert (site / "pedigree" / name).read_bytes() == (ROOT / name).read_bytes()


def test_the_version_is_printed(site: Path, theirs: Path) -> None:
    told = run([site / "bin" / "pedigree", "--version"], theirs, site)
    assert (told.returncode, told.stdout, told.stderr) == (0, f"pedigree {pedigree.__version__}\n", "")


def test_a_report_is_written_beside_a_package_called_results(site: Path, theirs: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "run", trials=3, epochs=2)
    told = run(["-m", "pedigree", "report", tmp_path / "run"], theirs, site)
    assert (told.returncode, told.stderr) == (0, "")
    assert "<style>:root" in (tmp_path / "run/report.html").read_text().replace("\n", "")


def test_the_checkout_is_run_from_a_folder_with_such_names(theirs: Path, tmp_path: Path) -> None:
    told = run([ROOT / "search" / "run.py", "--trials", "0"], theirs, tmp_path)
    assert (told.returncode, told.stderr) == (2, "pedigree: `trials` needs 1 or more, got 0\n")
    write_run(tmp_path / "run", trials=3, epochs=2)
    told = run(["-m", "results", tmp_path / "run"], ROOT, tmp_path)
    assert (told.returncode, told.stderr) == (0, "")


@pytest.mark.slow
def test_a_module_called_models_is_the_users(site: Path, theirs: Path, drawn: Path, cache_dir: Path) -> None:
    told = run(["-m", "pedigree", "search", *small(drawn, cache_dir, "build")], theirs, site)
    assert told.returncode == 2
    assert "`models:build` with its defaults: needs models that `build` has compiled with a loss" in told.stderr


@pytest.mark.slow
def test_a_module_called_models_is_searched(site: Path, theirs: Path, drawn: Path, cache_dir: Path) -> None:
    told = run([site / "bin" / "pedigree", "search", *small(drawn, cache_dir, "trained")], theirs, site)
    assert told.returncode == 0, told.stdout + told.stderr
    assert (theirs / "runs/theirs/models/trained.keras").is_file()


def test_files_of_a_room_import_rooms_and_nobody_else_does() -> None:
    importlib.import_module("pedigree.search.settings")
    imported = importlib.import_module("pedigree.search.studies.aims")
    assert imported.Settings.__module__ == "pedigree.search.settings"
    assert imported.Settings is not importlib.import_module("search.settings").Settings
    assert importlib.import_module("search").__name__ == "search"
