"""Weights files: recognised by what is in them, refused before anything starts."""

import socket
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from models.sizes import PARAMETERS
from search.training import weights
from search.training.weights import find_weights, identify


def saved(folder: Path, name: str, backbone: str, alpha: float) -> Path:
    model = getattr(keras.applications, backbone)(input_shape=(32, 32, 3), alpha=alpha, include_top=False, weights=None)
    folder.mkdir(exist_ok=True)
    model.save_weights(folder / name)
    return folder / name


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two weights files whose names say nothing."""
    place = tmp_path_factory.mktemp("weights") / "files"
    saved(place, "a.weights.h5", "MobileNetV2", 0.35)
    saved(place, "b.weights.h5", "MobileNet", 0.25)
    return place


def test_a_folder_gives_a_trunk_for_each_file(folder: Path) -> None:
    found = find_weights(str(folder), seed=0)
    assert [(item.backbone, item.alpha, item.path) for item in found] == [
        ("MobileNet", 0.25, folder / "b.weights.h5"),
        ("MobileNetV2", 0.35, folder / "a.weights.h5"),
    ]
    assert len({item.digest for item in found}) == 2


def test_one_file_gives_one_trunk(folder: Path) -> None:
    (found,) = find_weights(str(folder / "b.weights.h5"), seed=0)
    assert (found.backbone, found.alpha) == ("MobileNet", 0.25)


def test_none_is_a_small_trunk_of_random_weights() -> None:
    (found,) = find_weights("none", seed=3)
    assert (found.backbone, found.alpha, found.path) == ("MobileNet", 0.25, None)
    assert found.digest != find_weights("none", seed=4)[0].digest


def test_the_known_sizes_are_keras_own() -> None:
    for backbone, alpha in (("MobileNet", 0.5), ("MobileNetV2", 0.5), ("MobileNetV3Small", 1.0)):
        model = getattr(keras.applications, backbone)(
            input_shape=(32, 32, 3), alpha=alpha, include_top=False, weights=None
        )
        assert model.count_params() == PARAMETERS[backbone, alpha]


def test_nothing_at_the_place() -> None:
    with pytest.raises(
        FileNotFoundError,
        match=r"--weights needs imagenet, demo, none, or a file or folder that exists, got `nowhere\.h5`",
    ):
        find_weights("nowhere.h5", seed=0)


def test_a_folder_without_weights(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--weights needs a folder with .h5 files in it, and `.*` has none"):
        find_weights(str(tmp_path), seed=0)


def test_a_file_that_is_no_hdf5(tmp_path: Path) -> None:
    (tmp_path / "page.h5").write_text("<html>404</html>")
    with pytest.raises(ValueError, match=r"a weights file must be HDF5 \(.h5\), and `.*page.h5` cannot be read as one"):
        find_weights(str(tmp_path), seed=0)


def test_a_file_of_another_network(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["dense/kernel"] = np.zeros((1000, 7))
    with pytest.raises(
        ValueError,
        match=r"must hold a backbone without its top \(MobileNet 0.25, .*\), and `.*other.h5` has 7,000 parameters",
    ):
        identify(tmp_path / "other.h5")


def test_the_optimizer_is_not_counted(tmp_path: Path, folder: Path) -> None:
    with h5py.File(folder / "b.weights.h5") as file, h5py.File(tmp_path / "whole.h5", "w") as whole:
        for name in file:
            file.copy(name, whole)
        whole["optimizer/vars/0"] = np.zeros(99)
    assert identify(tmp_path / "whole.h5") == ("MobileNet", 0.25)


def test_a_failed_download_names_three_ways_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/mobilenet_1_0_224_tf_no_top.h5"
    monkeypatch.setattr(weights, "IMAGENET", {("MobileNet", 1.0): url})
    with pytest.raises(OSError, match=r"could not be downloaded from http://127.*refused") as raised:
        find_weights("imagenet", seed=0)
    place = tmp_path / ".keras/models/mobilenet_1_0_224_tf_no_top.h5"
    assert f"put that file at `{place}`" in str(raised.value)
    assert "--weights PATH" in str(raised.value)
    assert "--weights none" in str(raised.value)


def test_a_file_put_there_by_hand_is_used(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(weights, "IMAGENET", {("MobileNet", 0.25): "http://127.0.0.1:9/small.h5"})
    place = tmp_path / ".keras/models/small.h5"
    place.parent.mkdir(parents=True)
    place.write_bytes((folder / "b.weights.h5").read_bytes())
    (found,) = find_weights("imagenet", seed=0)
    assert (found.backbone, found.alpha, found.path) == ("MobileNet", 0.25, place)
