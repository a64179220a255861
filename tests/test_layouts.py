"""One set of pictures in every layout: the same model with the same score on the test pictures."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from layouts import LAYOUTS, SPELLINGS, csv, folder, settings_of, sides, spelled, zipped
from stores import LACKING, MOTO, serving, upload

from search import run as command
from search.data.pictures import prepare
from search.training.retraining import retrain

needs_moto = pytest.mark.skipif(not MOTO, reason=LACKING)

Layout = Callable[[Path], dict[str, Any]]


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    with serving("pets") as (address, _):
        yield address


def trained(place: Path, given: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """What a short retraining makes of a layout: classes, pixels, test pictures, accuracy and probabilities."""
    pictures, record = prepare(settings_of(place / "cache", given), 1, lambda line: None)
    outcome = retrain(
        "scratch_keras", config, pictures, seed=5, threads=1, export=False, report=lambda row: None, epochs=2,
        planned=2, most_views=1,
    )  # fmt: skip
    keras.backend.clear_session()
    (place / "probabilities.npz").write_bytes(outcome.probabilities)
    with np.load(place / "probabilities.npz") as file:
        probabilities = file["probabilities"]
    return {
        "data": (record["classes"], record["pixels"], sides(record)), "accuracy": outcome.row["accuracy"],
        "test": [Path(name).stem for name, _ in record["test"]], "probabilities": probabilities,
    }  # fmt: skip


@pytest.fixture(scope="module")
def tiny(config: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    plain = {"rotation": 0.0, "zoom": 0.0, "blocks": 2, "filters": 8, "batch_norm": True, "head": "average"}
    return config("scratch_keras", image_size=16, batch_size=8, learning_rate=3e-3, **plain)


@pytest.fixture(scope="module")
def expected(tiny: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    place = tmp_path_factory.mktemp("pets")
    found: dict[str, Any] = trained(place, folder(place), tiny)
    assert found["probabilities"].std() > 0.01
    return found


def check_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found["data"] == expected["data"]
    assert found["accuracy"] == expected["accuracy"]
    order = [found["test"].index(name) for name in expected["test"]]
    np.testing.assert_allclose(found["probabilities"][order], expected["probabilities"], atol=1e-4)


# That all give the same pictures on the same sides is for `test_sources` to say: training on one takes seconds.
TRAINED = [
    pytest.param(layout, id=layout.__name__, marks=() if layout in (csv, zipped) else pytest.mark.slow)
    for layout in LAYOUTS
    if layout is not folder
]


@pytest.mark.parametrize("layout", TRAINED)
def test_a_layout_gives_the_same_model(
    tmp_path: Path, layout: Layout, tiny: dict[str, Any], expected: dict[str, Any]
) -> None:
    check_same(trained(tmp_path, layout(tmp_path), tiny), expected)


@pytest.mark.slow
@needs_moto
def test_an_object_store_gives_the_same_model(
    tmp_path: Path, store: str, tiny: dict[str, Any], expected: dict[str, Any]
) -> None:
    address = upload(store, folder(tmp_path)["data"], "pets/all")
    check_same(trained(tmp_path, {"data": address}, tiny), expected)


@pytest.mark.slow
def test_split_folders_give_the_same_model_however_they_are_spelled(tmp_path: Path, tiny: dict[str, Any]) -> None:
    places = [tmp_path / spelling[0] for spelling in SPELLINGS]
    first, *others = [
        trained(place, spelled(spelling)(place), tiny) for place, spelling in zip(places, SPELLINGS, strict=True)
    ]
    for found in others:
        check_same(found, first)


@pytest.mark.slow
def test_a_whole_search_of_two_layouts_ends_with_the_same_score(ray_cluster: None, tmp_path: Path) -> None:
    scores = []
    for layout in (csv, zipped):
        place = tmp_path / layout.__name__
        place.mkdir()
        options = {
            "families": "scratch_keras", "trials": 2, "epochs": 2, "image-sizes": 32, "final-seeds": 1, "seed": 3,
            "refit": "none", "finalists": 1, "concurrency": 1, "name": "run", "runs-dir": place / "runs",
            "cache-dir": place / "cache",
        }  # fmt: skip
        words = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
        assert command.main([str(layout(place)["data"]), *words]) == 0
        folder = place / "runs" / "run"
        results = json.loads((folder / "results.json").read_text())
        split = json.loads((folder / "split.json").read_text())
        record = results["families"]["scratch_keras"]
        scores.append(
            (split["classes"], split["pixels"], sides(split), record["best"]["config"], record["test"]["accuracy"])
        )
    assert scores[0] == scores[1]
