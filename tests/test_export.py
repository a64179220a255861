"""The exported model: any size in, the same probabilities, and a file that loads without this project."""

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rounding import rounding
from tiers import tiers

from models import scratch_keras, scratch_pillow
from models.export import raw_pictures
from search.studies.hyperparameters import TrialHyperParameters
from search.training.trial import delivered
from spaces import FAMILIES

# Keras 3.15 reads TensorFlow's variables in a way of which NumPy 2 warns.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)


def config(family: str, **values: Any) -> dict[str, Any]:
    drawn = partial(FAMILIES[family].space, image_sizes=(32,))(TrialHyperParameters(values=values))
    assert isinstance(drawn, dict)
    return drawn


PICTURES = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)


def test_pictures_of_the_right_size_pass_unchanged() -> None:
    model = scratch_keras.build(config("scratch_keras", contrast=0.2), 4, seed=0)
    exported = raw_pictures(model)
    shown = exported.predict(PICTURES, verbose=0)
    # Not bit for bit: without the augmentation layers XLA may fuse the scaling otherwise.
    np.testing.assert_allclose(shown, model.predict(PICTURES, verbose=0), atol=rounding(5, 1024))


@pytest.mark.parametrize("resize_filter", ["bilinear", "lanczos"])
def test_larger_pictures_are_resized_and_cropped_as_pillow_does(resize_filter: str) -> None:
    model = scratch_pillow.build(config("scratch_pillow"), 4, seed=0)
    row = np.linspace(0, 200, 96)
    wide = np.stack([np.add.outer(np.linspace(0, 50, 64), row)] * 3, axis=-1).astype(np.uint8)
    pillow = Image.fromarray(wide).crop((16, 0, 80, 64)).resize((32, 32), Image.Resampling[resize_filter.upper()])
    expected = model.predict(np.asarray(pillow)[None], verbose=0)
    shown = raw_pictures(model, resize_filter=resize_filter).predict(wide[None], verbose=0)
    np.testing.assert_allclose(shown, expected, atol=0.01)


def test_an_unknown_filter_names_the_valid_ones() -> None:
    model = scratch_pillow.build(config("scratch_pillow"), 4, seed=0)
    with pytest.raises(ValueError, match="one of bilinear, lanczos, got 'nearest'"):
        raw_pictures(model, resize_filter="nearest")


@pytest.mark.parametrize("family", tiers(("scratch_keras", "scratch_pillow"), "scratch_keras"))
def test_the_file_loads_in_safe_mode_without_this_project(family: str, tmp_path: Path) -> None:
    chosen = config(family, mirror_average=True)
    build = scratch_keras.build if family == "scratch_keras" else scratch_pillow.build
    exported = raw_pictures(delivered(family, build(chosen, 4, seed=0), chosen))
    exported.save(tmp_path / "model.keras")
    np.save(tmp_path / "pictures.npy", PICTURES)
    program = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(['models', 'search', 'spaces', 'results']))  # each now fails to import\n"
        "import keras, numpy\n"
        "model = keras.saving.load_model('model.keras', safe_mode=True)\n"
        "numpy.save('probabilities.npy', model.predict(numpy.load('pictures.npy'), verbose=0))\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, capture_output=True)
    shown = np.load(tmp_path / "probabilities.npy")
    np.testing.assert_allclose(shown, exported.predict(PICTURES, verbose=0), atol=rounding(5, 1024))
