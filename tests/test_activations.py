"""The frozen part, computed once: the same numbers as the joined model gives, whoever computes them."""

import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray
from tiers import tiers

from models import mobilenet
from search.data.pictures import Pictures, one_hot
from search.training.activations import CHUNK, OutOfTime, Source, limited, load_trunk, view_name, view_of, views

TRUNKS = [("MobileNet", 0.25), ("MobileNetV2", 0.35)]

# Reads from a source that lies in a file.
READER = """
import pickle, sys
from pathlib import Path
from search.training import devices
devices.prepare(1, "float32")
source, cut, augmentation, view = pickle.loads(Path(sys.argv[1]).read_bytes())
source.read(cut, augmentation, view)
"""


@pytest.fixture
def fresh(pictures: Pictures, tmp_path: Path) -> Pictures:
    """The same pictures with a cache in which nothing has been computed."""
    return replace(pictures, cache=tmp_path / "cache")


def source_of(pictures: Pictures, backbone: str = "MobileNet", alpha: float = 0.25, size: int = 48) -> Source:
    return Source(pictures, pictures.train, backbone, alpha, size)


def close(shown: Any, expected: Any, tolerance: float = 5e-3) -> None:
    """Equal to a few units of float16's last place, measured against the largest value."""
    shown, expected = np.asarray(shown, np.float32), np.asarray(expected, np.float32)
    np.testing.assert_allclose(shown, expected, rtol=0, atol=tolerance * float(np.abs(expected).max()))


def gradients(model: keras.Model, inputs: Any, labels: Any, variables: list[Any]) -> NDArray[np.float32]:
    """Of the loss by some variables, all in one vector."""

    def loss() -> Any:
        return keras.losses.CategoricalCrossentropy()(labels, model(inputs, training=False))

    values = [variable.value for variable in variables]
    if keras.backend.backend() == "jax":
        import jax

        def loss_at(given: list[Any]) -> Any:
            with keras.StatelessScope(list(zip(variables, given, strict=True))):
                return loss()

        found = jax.jit(jax.grad(loss_at))(values)
    else:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            total = loss()
        found = tape.gradient(total, values)
    return np.concatenate([np.asarray(gradient).ravel() for gradient in found])


@pytest.mark.parametrize(("backbone", "alpha"), tiers(TRUNKS, TRUNKS[0]))
@pytest.mark.parametrize("unfrozen_blocks", [0, 1, 3, 7])
def test_a_tail_on_cached_activations_is_the_joined_model(
    pictures: Pictures, backbone: str, alpha: float, unfrozen_blocks: int
) -> None:
    source = source_of(pictures, backbone, alpha)
    trunk = source.trunk
    config = {
        **{"unfrozen_blocks": unfrozen_blocks, "augmentation": "none"},
        **{"normalize": True, "units": 32, "dropout": 0.0},
    }
    tail = mobilenet.build_tail(config, 4, seed=0, trunk=trunk)
    joined = mobilenet.join(tail, config, seed=0, trunk=trunk, augment=False)
    cut = trunk.frozen_blocks(unfrozen_blocks)
    pooled = cut == trunk.blocks
    cached = source.read(None if pooled else cut, "none", 0)
    assert cached.dtype == np.float16
    assert len(cached) == 60

    pixels = pictures.pixels(48)[pictures.train]
    labels = one_hot(pictures.labels[pictures.train], 4)
    lower = trunk.lower(0, [] if pooled else [cut], pooled=pooled)(pixels.astype(np.float32))
    exact = np.asarray(lower).reshape(cached.shape)
    close(cached, exact, 2e-3)
    close(tail(cached.astype(np.float32), training=False), joined(pixels, training=False))
    variables = tail.trainable_variables
    whole = gradients(joined, pixels, labels, variables)
    # A random trunk has many units close to the kinks of their ReLU, and one that rounding pushes over turns its whole
    # gradient on or off: the vectors are compared by their length and direction.
    for given, off in ((exact, 0.01), (cached.astype(np.float32), 0.05)):
        rounded = gradients(tail, given, labels, variables)
        assert np.linalg.norm(rounded) == pytest.approx(np.linalg.norm(whole), rel=off)
        assert rounded @ whole > (1 - off / 5) * np.linalg.norm(rounded) * np.linalg.norm(whole)


@pytest.mark.parametrize(("backbone", "alpha"), tiers(TRUNKS, TRUNKS[0]))
def test_the_nearest_cut_gives_the_same_as_the_pixels(
    pictures: Pictures, tmp_path: Path, backbone: str, alpha: float
) -> None:
    straight = source_of(replace(pictures, cache=tmp_path / "straight"), backbone, alpha)
    steps = source_of(replace(pictures, cache=tmp_path / "steps"), backbone, alpha)
    high = straight.trunk.stage_ends()[3]
    for cut in (high - 3, high - 1):
        steps.read(cut, "none", 0)
    close(steps.read(high, "none", 0), straight.read(high, "none", 0))
    close(steps.read(None, "none", 0), straight.read(None, "none", 0))


def test_a_cut_on_the_way_is_stored_as_well(fresh: Pictures) -> None:
    source = source_of(fresh)
    source.read(None, "none", 0)
    (place,) = (fresh.cache / "activations").iterdir()
    assert sorted(path.name for path in place.glob("*.npy")) == [
        *("cut-12.npy", "cut-4.npy", "cut-6.npy"),
        "pooled.npy",
    ]
    assert source.missing(12, "none", 0) == 0
    assert source.missing(13, "none", 0) == CHUNK


def test_cuts_much_larger_than_the_picture_are_not_stored(pictures: Pictures) -> None:
    # At 48 pixels a picture has 6,912 bytes; 24 x 24 x 32 activations of float16 have 36,864.
    wide = replace(pictures, weights={("MobileNet", 0.5): None})
    source = source_of(wide, "MobileNet", 0.5)
    assert [source.trunk.shape(cut) for cut in (1, 2, 3)] == [(24, 24, 16), (24, 24, 32), (12, 12, 64)]
    assert [cut for cut in range(15) if not source.stored(cut)] == [0, 2]


def test_what_is_complete_is_read_only_and_mapped(pictures: Pictures) -> None:
    found = source_of(pictures).read(None, "none", 0)
    assert isinstance(found, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 0


def test_every_augmentation_has_the_same_plain_view(fresh: Pictures) -> None:
    source = source_of(fresh)
    plain = source.read(None, "none", 0)
    strong = source.read(None, "strong", 0)
    assert isinstance(plain, np.memmap)
    assert isinstance(strong, np.memmap)
    assert plain.filename == strong.filename
    assert [view_name(kind, 0) for kind in ("none", "flip", "light")] == ["plain"] * 3
    assert (view_name("flip", 1), view_name("light", 2)) == ("mirrored", "light-2")


@pytest.mark.parametrize(
    ("augmentation", "most", "expected"), [("none", 4, 1), ("flip", 4, 2), ("flip", 1, 1), ("light", 4, 4)]
)
def test_how_many_views_there_are(augmentation: str, most: int, expected: int) -> None:
    assert views(augmentation, most) == expected


def test_the_mirrored_view_is_the_mirror(fresh: Pictures) -> None:
    pixels = fresh.pixels(48)[:3]
    np.testing.assert_array_equal(view_of(pixels, "flip", 1, seed=0), pixels[:, :, ::-1])
    source = source_of(fresh)
    (expected,) = [source.trunk.lower(0, [], pooled=True)(fresh.pixels(48)[fresh.train][:, :, ::-1].astype(np.float32))]
    close(source.read(None, "flip", 1), expected)


@pytest.mark.parametrize("augmentation", ["light", "strong"])
def test_drawn_views_come_from_their_seed(pictures: Pictures, augmentation: str) -> None:
    pixels = pictures.pixels(48)[:4]
    one, same, other = (view_of(pixels, augmentation, 1, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - pixels).max() > 1
    assert np.abs(one - other).max() > 1
    assert one.min() >= 0
    assert one.max() <= 255


def test_views_are_the_same_in_every_cache(pictures: Pictures, tmp_path: Path) -> None:
    one, same = (source_of(replace(pictures, cache=tmp_path / name)).read(None, "light", 1) for name in ("a", "b"))
    np.testing.assert_array_equal(one, same)
    third = source_of(replace(pictures, cache=tmp_path / "a")).read(None, "light", 2)
    assert (third != one).any()


def many(pictures: Pictures, times: int = 6) -> Source:
    """A source of several chunks: the training pictures over and over."""
    return Source(pictures, np.tile(pictures.train, times), "MobileNet", 0.25, 48)


def reader(source: Source, folder: Path) -> "subprocess.Popen[bytes]":
    (folder / "task").write_bytes(pickle.dumps((source, None, "light", 1)))
    return subprocess.Popen(
        [sys.executable, "-c", READER, str(folder / "task")],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )


@pytest.mark.slow
def test_two_processes_give_what_one_gives(fresh: Pictures, pictures: Pictures, tmp_path: Path) -> None:
    source = many(fresh)
    with reader(source, tmp_path) as one, reader(source, tmp_path) as two:
        assert one.wait() == 0
        assert two.wait() == 0
    together = source.read(None, "light", 1)
    assert together.shape == (360, 256)
    alone = many(replace(pictures, cache=tmp_path / "alone")).read(None, "light", 1)
    close(together, alone)


def test_the_chunk_of_a_killed_process_is_taken_over(fresh: Pictures, pictures: Pictures, tmp_path: Path) -> None:
    source = many(fresh, 20)
    first = source._rows("pooled", "light", 1)
    with reader(source, tmp_path) as other:
        while not first.done(0):
            assert other.poll() is None
            time.sleep(0.01)
        os.kill(other.pid, signal.SIGKILL)
    left = source.missing(None, "light", 1)
    assert left > 0
    found = source.read(None, "light", 1)
    assert source.missing(None, "light", 1) == 0
    close(found, many(replace(pictures, cache=tmp_path / "alone"), 20).read(None, "light", 1))


def test_what_would_come_too_late_is_not_computed_and_what_is_there_is_read(fresh: Pictures) -> None:
    source = many(fresh)
    with limited(time.monotonic() - 1), pytest.raises(OutOfTime):
        source.read(None, "none", 0)
    assert source.missing(None, "none", 0) == 384
    whole = source.read(None, "none", 0)
    with limited(time.monotonic() - 1):
        np.testing.assert_array_equal(source.read(None, "none", 0), whole)


def test_a_trunk_is_loaded_once_per_process(pictures: Pictures) -> None:
    assert load_trunk(pictures, "MobileNet", 0.25, 48) is load_trunk(pictures.joined(), "MobileNet", 0.25, 48)
    assert load_trunk(pictures, "MobileNet", 0.25, 48) is not load_trunk(pictures, "MobileNet", 0.25, 32)
