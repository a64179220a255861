"""What is handed on: the sdist, the wheels, and an environment that has one of them and no checkout."""

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

import pedigree

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PIP = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]


@pytest.fixture(scope="module")
def sdist(distributions: Path) -> Path:
    (found,) = distributions.glob("*.tar.gz")
    return found


@pytest.fixture(scope="module")
def wheels(distributions: Path, sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheel of the checkout, and the one that pip makes of the sdist."""
    place = tmp_path_factory.mktemp("from_sdist")
    subprocess.run([*PIP, "wheel", "--no-deps", "--no-index", "--no-build-isolation", "-w", place, sdist], check=True)
    (of_tree,), (of_sdist,) = distributions.glob("*.whl"), place.glob("*.whl")
    return {"wheel": of_tree, "sdist": of_sdist}


@pytest.fixture(scope="module", params=["wheel", "sdist"])
def environment(
    request: pytest.FixtureRequest, wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A virtual environment with Pedigree, and with what is installed here beside it."""
    place = tmp_path_factory.mktemp("environment") / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    (packages,) = place.glob("lib/python*/site-packages")
    # Of folders that are named so Python reads no further .pth: a checkout that is installed here stays out of sight.
    here = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (packages / "here.pth").write_text("\n".join(here))
    install = [*PIP, "--python", str(place / "bin" / "python"), "install", "--no-deps", "--no-index"]
    subprocess.run([*install, "--ignore-installed", str(wheels[request.param])], check=True)
    return place


def run(words: Sequence[str | Path], folder: Path, **more: str) -> "subprocess.CompletedProcess[str]":
    """In an empty folder, which stays so, and without what leads the tests themselves to the checkout."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | more
    done = subprocess.run(words, cwd=folder, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert list(folder.iterdir()) == []
    return done


def test_the_sdist_has_the_sources_and_no_tests(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        members = archive.getmembers()
    assert {member.type for member in members} == {tarfile.DIRTYPE, tarfile.REGTYPE}  # and no links
    files = {member.name.partition("/")[2] for member in members if member.isfile()}
    rooms = {
        f"pedigree/{path.relative_to(ROOT)}"
        for room in pedigree.ROOMS
        for path in (ROOT / room).rglob("*")
        if path.is_file() and path.suffix not in (".pyc", ".png")
    }
    top = {f"pedigree/{name}" for name in ("__init__.py", "__main__.py", "requirements.py", "py.typed")}
    beside = {"pyproject.toml", "README.md", "MANIFEST.in", *(path.name for path in ROOT.glob("LICENSE*"))}
    made = {"PKG-INFO", "setup.cfg"}
    assert {name for name in files if not name.startswith("pedigree.egg-info/")} == rooms | top | beside | made


def test_the_wheel_of_the_sdist_is_that_of_the_checkout(wheels: dict[str, Path]) -> None:
    contents = []
    for path in wheels.values():
        with zipfile.ZipFile(path) as archive:
            contents.append({info.filename: archive.read(info) for info in archive.infolist()})
    of_tree, of_sdist = contents
    assert sorted(of_tree) == sorted(of_sdist)
    assert [name for name in of_tree if of_tree[name] != of_sdist[name]] == []
    licenses = {f"pedigree-{pedigree.__version__}.dist-info/licenses/{path.name}" for path in ROOT.glob("LICENSE*")}
    assert licenses <= set(of_tree)


def test_an_environment_with_the_wheel_alone_searches(environment: Path, tmp_path: Path) -> None:
    told = run([environment / "bin" / "pedigree", "search", "--help"], tmp_path)
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.startswith("usage: pedigree search ")
    told = run([environment / "bin" / "pedigree", "--version"], tmp_path)
    assert (told.returncode, told.stdout, told.stderr) == (0, f"pedigree {pedigree.__version__}\n", "")
    program = "import pedigree; print(pedigree.search.__file__)"
    told = run([environment / "bin" / "python", "-c", program], tmp_path)
    assert (told.returncode, told.stderr) == (0, "")
    assert Path(told.stdout.strip()).is_relative_to(environment)


def listed(environment: Path, folder: Path, *extras: str) -> "subprocess.CompletedProcess[str]":
    """What a Python that finds Pedigree and no other package says of requirements."""
    (packages,) = environment.glob("lib/python*/site-packages")
    return run([sys.executable, "-S", "-m", "pedigree.requirements", *extras], folder, PYTHONPATH=str(packages))


def names(lines: Sequence[str]) -> list[str]:
    return [re.split("[<>=~!]", line)[0] for line in lines]


def test_requirements_are_what_pip_would_take(environment: Path, tmp_path: Path) -> None:
    always, extras = names(PROJECT["dependencies"]), PROJECT["optional-dependencies"]
    assert names(listed(environment, tmp_path).stdout.splitlines()) == always
    told = listed(environment, tmp_path, "jax", "test")
    assert (told.returncode, told.stderr) == (0, "")
    without = [name for name in always if name != "tensorflow"]
    assert names(told.stdout.splitlines()) == [*without, *names(extras["jax"]), *names(extras["test"])]
    assert {"tensorflow", "ray[tune]"} <= set(always)
    assert "jax>=0.10" in told.stdout.splitlines()


def test_an_extra_that_there_is_not(environment: Path, tmp_path: Path) -> None:
    told = listed(environment, tmp_path, "jax", "torch")
    assert (told.returncode, told.stdout) == (2, "")
    offered = ", ".join(PROJECT["optional-dependencies"])
    assert told.stderr == f"pedigree: an extra is one of {offered}, got 'torch'\n"
