"""The family that CONTRIBUTING.md adds, in a copy of the project."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("search", "spaces", "models", "results", "pedigree")
FILES = ("spaces/separable.py", "models/separable.py")

BUILD = """
from models import network
from search.studies.hyperparameters import TrialHyperParameters
from spaces import FAMILIES
from spaces.costs import architecture, parameters, work

assert list(FAMILIES)[-1] == "separable"
config = FAMILIES["separable"].space(TrialHyperParameters(), image_sizes=(32,))
model = network("separable").build(config, 4, seed=0)
assert model.output_shape == (None, 4)
assert work("separable", config) > 0
assert parameters("separable", config, 4) is None
assert architecture("separable", config) != architecture("separable", {**config, "blocks": 2})
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the rooms with the two files and the line of the guide."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    part = text.split("## Add a family\n")[1].split("\n## ")[0]
    *files, line = re.findall(r"```python\n(.*?)```", part, re.DOTALL)
    copy = tmp_path_factory.mktemp("project")
    for room in ROOMS:
        shutil.copytree(ROOT / room, copy / room, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name, content in zip(FILES, files, strict=True):
        assert f"`{name}`" in part
        (copy / name).write_text(content)
    register = copy / "spaces" / "__init__.py"
    before = register.read_text()
    after = re.sub(r"^NAMES = .*\n", line, before, flags=re.MULTILINE)
    assert after != before
    register.write_text(after)
    return copy


def test_a_family_is_two_files_and_a_line(project: Path) -> None:
    told = subprocess.run([sys.executable, "-c", BUILD], cwd=project, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr


def test_the_files_of_the_guide_are_written_as_ours_are(project: Path) -> None:
    for check in (["check"], ["format", "--check"]):
        told = subprocess.run(
            [sys.executable, "-m", "ruff", *check, "--config", ROOT / "pyproject.toml", *FILES],
            cwd=project, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert told.returncode == 0, told.stdout


@pytest.mark.slow
@pytest.mark.alone
def test_the_new_family_is_searched_reported_and_exported(project: Path, drawn: Path, tmp_path: Path) -> None:
    told = subprocess.run(
        [
            *(sys.executable, "search/run.py", drawn, "--families", "separable", "--image-sizes", "32"),
            *("--trials", "2", "--epochs", "1", "--final-seeds", "1", "--name", "new", "--dashboard", "off"),
            *("--runs-dir", tmp_path / "runs", "--cache-dir", tmp_path / "cache"),
        ],
        cwd=project, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stdout + told.stderr
    run = tmp_path / "runs" / "new"
    assert (run / "models" / "separable.keras").is_file()
    assert "Separable from scratch" in (run / "report.html").read_text(encoding="utf-8")
