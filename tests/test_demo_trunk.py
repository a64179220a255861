"""The trunk of the demo: what it is trained on, and that its file is one that a search takes."""

from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest

from models.trunk import Trunk
from search.data.demo import demo_breeds
from search.training import demo_trunk
from search.training.weights import DEMO_TRUNK, find_weights, identify


def test_no_breed_of_the_demo_is_among_those_of_its_trunk() -> None:
    own = {astuple(breed)[1:] for breed in demo_trunk.breeds()}
    assert len(own) == demo_trunk.BREEDS
    assert not own & {astuple(breed)[1:] for breed in demo_breeds(120)}


@pytest.mark.slow
def test_a_trunk_is_trained_and_written_as_a_search_takes_it(tmp_path: Path) -> None:
    out = tmp_path / "small.weights.h5"
    accuracy = demo_trunk.train_trunk(out, count=4, pictures=20, epochs=2)
    assert 0 <= accuracy <= 1
    assert identify(out) == ("MobileNet", 0.25)
    assert Trunk("MobileNet", 0.25, 32, out).blocks == 14


def test_the_trunk_of_the_demo_is_there_and_small() -> None:
    (weights,) = find_weights("demo", seed=0)
    assert (weights.backbone, weights.alpha, weights.path) == ("MobileNet", 0.25, DEMO_TRUNK.resolve())
    assert DEMO_TRUNK.stat().st_size < 2**20
    trunk = Trunk("MobileNet", 0.25, 64, DEMO_TRUNK)
    assert all(np.isfinite(values).all() for values in trunk.model.get_weights())
