import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

import pedigree
from search.data.demo import draw_demo
from search.data.pictures import Pictures, prepare
from search.settings import Settings
from search.studies.hyperparameters import TrialHyperParameters
from spaces import FAMILIES

ROOT = Path(__file__).resolve().parent.parent
PROCESSES = 4  # for the whole suite, at most: each imports Keras
# Benchmarks are imported under the name by which they are run from the root: `python -m tests.benchmarks.NAME`.
sys.path.append(str(ROOT))
# As `results.delivery.framework.import_keras` has it: some tests import Keras themselves, and before it.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """The whole suite runs in as many processes as there are cores; files that are named run in this one."""
    named = config.args_source is pytest.Config.ArgsSource.ARGS
    return 0 if named else min(PROCESSES, os.cpu_count() or 1)


# Files whose tests of the second tier start searches, clusters or programs that are timed.
ALONE = {
    "aims", "benchmarks", "bring_your_own", "cluster", "dashboard", "demo_trunk", "deploy", "faults", "interface",
    "label_guide", "layouts", "metrics", "names", "nodes", "offsite", "predecessor", "run", "slurm", "storage",
    "submit", "trackers", "tuning",
}  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What the two runs of the second tier are told apart by."""
    for item in items:
        if item.path.stem.removeprefix("test_") in ALONE:
            item.add_marker(pytest.mark.alone)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all processes of one pytest, for what is dear and that no test changes."""
    own = tmp_path_factory.getbasetemp()
    found = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared"
    found.mkdir(exist_ok=True)
    return found


def once(place: Path, make: Callable[[Path], object]) -> Path:
    """A folder that the first process which asks for it makes, while the others wait."""
    with FileLock(place.with_suffix(".lock")):
        done = place / "done"
        if not done.exists():
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            make(place)
            done.touch()
    return place


@pytest.fixture(scope="session")
def drawn(shared: Path) -> Path:
    """A folder of 4 drawn breeds with 24 pictures of 48 pixels each."""
    return once(shared / "drawn", lambda place: draw_demo(place / "dogs", breeds=4, pictures=24, size=48)) / "dogs"


@pytest.fixture(scope="session")
def cache_dir(shared: Path) -> Path:
    """A cache that all tests share which do not look into it."""
    found = shared / "cache"
    found.mkdir(exist_ok=True)
    return found


@pytest.fixture(scope="session")
def pictures(drawn: Path, cache_dir: Path) -> Pictures:
    """The drawn folder, decoded at 32 and 48 pixels: 60 training, 16 validation and 20 test pictures."""
    settings = Settings(data=str(drawn), image_sizes=(32, 48), cache_dir=str(cache_dir))
    found, _ = prepare(settings, 2, lambda line: None)
    return replace(found, weights={("MobileNet", 0.25): None, ("MobileNetV2", 0.35): None})


@pytest.fixture(scope="session")
def config() -> Callable[..., dict[str, Any]]:
    """The base configuration of a family at 32 pixels, with some of its values replaced."""

    def base(family: str, **values: Any) -> dict[str, Any]:
        bound: dict[str, Any] = {"backbones": (("MobileNet", 0.25),)} if family == "mobilenet" else {}
        return {**FAMILIES[family].space(TrialHyperParameters(), image_sizes=(32,), **bound), **values}

    return base


@pytest.fixture(scope="session")
def trained_run(drawn: Path, cache_dir: Path, config: Callable[..., dict[str, Any]], shared: Path) -> Path:
    """The folder of a run of two trials of each of two families, every file of it from real training, without Ray."""
    return once(shared / "runs", lambda place: train_run(place, drawn, cache_dir, config)) / "trained"


def train_run(place: Path, drawn: Path, cache_dir: Path, config: Callable[..., dict[str, Any]]) -> None:
    """Makes the run `trained` in a folder."""
    import keras

    from search.record.journal import FINISHED, Journal, Record
    from search.training.retraining import retrain
    from search.training.trial import train

    settings = Settings(
        data=str(drawn), families=("scratch_keras", "scratch_pillow"), trials=2, epochs=4, image_sizes=(32, 48),
        weights="none", ensemble=1, name="trained", runs_dir=str(place), cache_dir=str(cache_dir),
    )  # fmt: skip
    pictures, split = prepare(settings, 2, lambda line: None)
    settings.folder.mkdir()
    (settings.folder / "settings.json").write_text(settings.to_json())
    (settings.folder / "split.json").write_text(json.dumps(split))
    journal = Journal(settings.folder / "trials.jsonl")
    common: dict[str, Any] = {"epochs": 4, "planned": 4, "most_views": 1, "threads": 2}
    for family in settings.families:
        for number in range(2):
            name = f"{family}-{number:03d}"
            chosen = config(family, batch_norm=True, head="average", learning_rate=3e-3, filters=(16, 24)[number])
            journal.records[name] = Record(name, family, chosen, {})
            journal.start(name)
            told: list[dict[str, Any]] = []
            train(family, chosen, pictures.without_test(), seed=number, report=told.append, **common)
            journal.epochs(name, told)
            journal.end(name, FINISHED, "all 4 epochs")
            keras.backend.clear_session()
        for seed in (0, 1):
            outcome = retrain(family, chosen, pictures, seed=seed, export=seed == 0, report=told.append, **common)
            outcome.keep(settings.folder, journal, family, f"{family}-001")
            keras.backend.clear_session()
    other = journal.records["scratch_keras-000"].config
    outcome = retrain("scratch_keras", other, pictures, seed=0, export=False, report=told.append, **common)
    outcome.keep(settings.folder, journal, "scratch_keras", "scratch_keras-000", event="member")
    journal.close()


@pytest.fixture(scope="session")
def _ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    import ray

    # "local", or it would join whatever cluster somebody has started on this machine.
    ray.init("local", num_cpus=2, num_gpus=0, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.fixture
def ray_cluster(_ray: None) -> Iterator[None]:
    """One Ray for all tests, with the global random state kept, which Ray Tune draws names from."""
    state = random.getstate()
    yield
    random.setstate(state)


@pytest.fixture(scope="session")
def distributions(shared: Path) -> Path:
    """A folder with the sdist and the wheel that setuptools makes of this checkout; nothing is downloaded for them."""
    return once(shared / "distributions", distribute)


def distribute(place: Path) -> None:
    source = place / "source"
    # What lies about beside these, an environment or data, is none of theirs.
    for name in ("pedigree", *pedigree.ROOMS, "tests"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.iterdir():
        if path.is_file() and not path.name.startswith("."):
            shutil.copy(path, source)
    program = "from setuptools import build_meta as b; b.build_sdist('..'); b.build_wheel('..')"
    done = subprocess.run([sys.executable, "-c", program], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
