import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from search.hyperparameters import TrialHyperParameters
from search.images.demo import draw_demo
from search.pictures import Pictures, prepare
from search.settings import Settings
from spaces import SPACES


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 4 drawn breeds with 24 pictures of 48 pixels each."""
    return draw_demo(tmp_path_factory.mktemp("drawn") / "dogs", breeds=4, pictures=24, size=48)


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that all tests share which do not look into it."""
    return tmp_path_factory.mktemp("cache")


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
        return {**SPACES[family](TrialHyperParameters(), image_sizes=(32,), **bound), **values}

    return base


@pytest.fixture(scope="session")
def _ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    import ray

    ray.init(num_cpus=2, num_gpus=0, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.fixture
def ray_cluster(_ray: None) -> Iterator[None]:
    """One Ray for all tests, with the global random state kept, which Ray Tune draws names from."""
    state = random.getstate()
    yield
    random.setstate(state)
