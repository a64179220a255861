"""Trunks other than MobileNets through every way that a search has."""

import json
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras.src.legacy.saving import legacy_h5_format
from networks import HEAD, SMALLEST, alive, as_keras_builds_it

from models.backbones import file_of
from results.rows import read_rows
from search import run as command
from search.data.pictures import Pictures
from search.training.activations import Source
from search.training.latency import measure
from search.training.retraining import refit, retrain
from search.training.trial import train
from spaces.costs import parameters

RANDOM = np.random.default_rng(0)
TRAINING: dict[str, Any] = {"seed": 0, "epochs": 1, "planned": 1, "most_views": 2, "threads": 1}


def with_trunk(pictures: Pictures, name: str) -> Pictures:
    return replace(pictures, weights={(name, 1.0): None, ("MobileNet", 0.25): None})


# One of each kind of network.
KINDS = ("MobileNetV3Small", "EfficientNetV2B0", "ConvNeXtTiny", "ResNet50", "ResNet50V2", "DenseNet121")


# What a probe takes of a trunk are its pooled features, which `test_trunks.py` compares with Keras's for every trunk,
# and its export, which the next test makes for every kind: the first kind and one without batch norms will do.
@pytest.mark.slow
@pytest.mark.parametrize("name", ["MobileNetV3Small", "ConvNeXtTiny"])
def test_two_trunks_side_by_side_are_a_probe_like_any_other(name: str, pictures: Pictures) -> None:
    config = {
        "backbone": name, "alpha": 1.0, "image_size": 32, "head": "probe", "beside": "MobileNet-0.25",
        "mirrored": True, "unfrozen_blocks": 0,
    }  # fmt: skip
    some = with_trunk(pictures, name)
    outcome = retrain("mobilenet", config, some, export=True, report=lambda row: None, **TRAINING)
    assert outcome.model is not None
    assert outcome.parameters == parameters("mobilenet", config, 4)
    assert measure("mobilenet", config, some, 1)["parameters"] == outcome.parameters


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_fine_tuning_on_stored_activations_is_handed_over(name: str, pictures: Pictures, tmp_path: Path) -> None:
    some, rows = with_trunk(pictures, name), list[dict[str, Any]]()
    config = {**HEAD, "backbone": name, "unfrozen_blocks": 2, "augmentation": "flip"}
    for more in ({}, {"unfrozen_blocks": 0}):
        train("mobilenet", {**config, **more}, some.without_test(), report=rows.append, **TRAINING)
    source = Source(some, some.train, name, 1.0, 32)
    cut = source.trunk.frozen_blocks(2)
    assert (source.missing(cut, "flip", 0), source.missing(None, "flip", 0)) == (0, 0)
    outcome = retrain("mobilenet", config, some, export=True, report=rows.append, **TRAINING)
    again = refit("mobilenet", config, some, report=rows.append, **TRAINING)
    for content in (outcome.model, again.model):
        assert content is not None
        (tmp_path / "model.keras").write_bytes(content)
        model = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
        assert model.count_params() == parameters("mobilenet", config, 4)
    with np.load(BytesIO(outcome.probabilities)) as file:
        np.testing.assert_allclose(file["probabilities"].sum(axis=1), 1, atol=1e-4)


@pytest.mark.slow
def test_a_network_that_is_trained_whole(pictures: Pictures) -> None:
    rows: list[dict[str, Any]] = []
    config = {**HEAD, "backbone": "ConvNeXtTiny", "unfrozen_blocks": 19, "batch_size": 8}
    some = with_trunk(pictures, "ConvNeXtTiny")
    train("mobilenet", config, replace(some, train=some.train[:16]).without_test(), report=rows.append, **TRAINING)
    assert 0 <= rows[0]["validation_accuracy"] <= 1


@pytest.mark.alone
@pytest.mark.slow
def test_a_whole_search_with_trunks_of_a_folder(ray_cluster: None, drawn: Path, tmp_path: Path) -> None:
    for name in SMALLEST:
        model, preprocess = as_keras_builds_it(name, 32)
        alive(model, np.array(preprocess(RANDOM.integers(0, 256, (8, 32, 32, 3)).astype(np.float32))))
        (tmp_path / "weights").mkdir(exist_ok=True)
        with h5py.File(tmp_path / "weights" / file_of(name, 1.0), "w") as file:
            legacy_h5_format.save_weights_to_hdf5_group(file, model)
    line = [
        *(str(drawn), "--families", "mobilenet", "--weights", str(tmp_path / "weights"), "--image-sizes", "32"),
        *("--backbones", ",".join(SMALLEST), "--trials", "2", "--epochs", "1", "--final-seeds", "1", "--name", "two"),
        *("--runs-dir", str(tmp_path / "runs"), "--cache-dir", str(tmp_path / "cache"), "--max-parameters", "8M"),
        *("--dashboard", "off"),
    ]
    assert command.main(line) == 0
    rows = read_rows(tmp_path / "runs/two/trials.jsonl")
    tried = [trial.config for trial in rows.of("mobilenet")]
    assert {one["backbone"] for one in tried} == set(SMALLEST)
    assert {one.get("beside") for one in tried} >= {"none", "MobileNetV3Small-1.0"}
    assert rows.model("mobilenet") is not None
    settings = json.loads((tmp_path / "runs/two/settings.json").read_text())
    assert settings["backbones"] == list(SMALLEST)
