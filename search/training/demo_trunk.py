"""Trains the trunk that the demo transfers from: a small MobileNet on drawn dogs of breeds that the demo has none of.

    python -m search.training.demo_trunk --out models/demo_trunk.weights.h5

Its weights are in the repository, as float16, so that the demo needs no download and still shows what transfer is. It
takes ten minutes on two cores. The breeds are drawn by chance from names of their own.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from search.data.demo import Breed, chance_breed, draw_dog

if TYPE_CHECKING:
    import keras

BACKBONE, ALPHA, SIDE = "MobileNet", 0.25, 64
BREEDS, PICTURES = 200, 40  # and pictures of each, of which the last are looked at
HELD = 4
EPOCHS, BATCH, RATE = 20, 64, 4e-3
SHIFT = 6  # pixels, at most, that a picture is moved


def breeds(count: int = BREEDS) -> list[Breed]:
    """Breeds by chance, none of which `search.data.demo` has."""
    return [chance_breed(f"Unnamed dog {number}") for number in range(count)]


def drawn(count: int, pictures: Sequence[int], threads: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """These pictures of each of so many breeds (n, SIDE, SIDE, 3), and the number of each one's breed."""
    kinds = breeds(count)
    places = [(number, picture) for picture in pictures for number in range(count)]

    def draw(place: tuple[int, int]) -> NDArray[np.uint8]:
        return np.asarray(draw_dog(kinds[place[0]], SIDE, f"trunk/{place[1]}"))

    with ThreadPoolExecutor(threads) as workers:
        found = np.stack(list(workers.map(draw, places)))
    return found, np.array([number for number, _ in places], np.int64)


def moved(pictures: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.float32]:
    """Each picture of a batch mirrored by chance and moved by a few pixels, as a trunk takes it: -1 to 1."""
    padded = np.pad(pictures, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)), mode="reflect")
    batch = np.empty(pictures.shape, np.float32)
    drawn_by = random.integers(0, (2 * SHIFT + 1, 2 * SHIFT + 1, 2), (len(batch), 3))
    for place, (down, across, turned) in enumerate(drawn_by):
        cut = padded[place, down : down + SIDE, across : across + SIDE]
        batch[place] = cut[:, ::-1] if turned else cut
    return batch / np.float32(127.5) - np.float32(1)


def train_trunk(
    out: Path, *, count: int = BREEDS, pictures: int = PICTURES, epochs: int = EPOCHS, threads: int = 2
) -> float:
    """Trains the trunk, writes its weights, and returns the accuracy on pictures that it has not seen."""
    import keras

    keras.utils.set_random_seed(0)
    seen, labels = drawn(count, range(pictures - HELD), threads)
    held, truth = drawn(count, range(pictures - HELD, pictures), threads)
    trunk = getattr(keras.applications, BACKBONE)(
        input_shape=(SIDE, SIDE, 3), alpha=ALPHA, include_top=False, weights=None, pooling="avg"
    )
    outputs = keras.layers.Dense(count, "softmax", dtype="float32")(keras.layers.Dropout(0.1)(trunk.output))
    model = keras.Model(trunk.input, outputs)
    steps = len(seen) // BATCH
    warm_up = steps
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, decay_steps=max(1, steps * epochs - warm_up), warmup_target=RATE, warmup_steps=warm_up
    )
    model.compile(
        keras.optimizers.AdamW(rate, weight_decay=1e-2),
        keras.losses.CategoricalCrossentropy(label_smoothing=0.1),
        metrics=["accuracy"],
        jit_compile=False,
    )
    random = np.random.default_rng(0)
    targets = np.eye(count, dtype=np.float32)
    began, accuracy = time.monotonic(), 0.0
    for epoch in range(epochs):
        order = random.permutation(len(seen))
        for start in range(0, steps * BATCH, BATCH):
            chosen = order[start : start + BATCH]
            logs = model.train_on_batch(moved(seen[chosen], random), targets[labels[chosen]], return_dict=True)
        told = model.predict(held.astype(np.float32) / np.float32(127.5) - np.float32(1), batch_size=256, verbose=0)
        accuracy = float((told.argmax(axis=1) == truth).mean())
        print(
            f"epoch {epoch + 1}: loss {logs['loss']:.3f}, held out {accuracy:.3f}, {time.monotonic() - began:.0f} s",
            flush=True,
        )
    write(trunk, out)
    return accuracy


def write(trunk: "keras.Model", out: Path) -> None:
    """Writes a trunk's weights as Keras does, in half of the bytes."""
    import h5py
    import keras

    plain = getattr(keras.applications, BACKBONE)(
        input_shape=(SIDE, SIDE, 3), alpha=ALPHA, include_top=False, weights=None
    )
    plain.set_weights(trunk.get_weights())
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole.weights.h5"
        plain.save_weights(whole)
        with h5py.File(whole) as given, h5py.File(out, "w", libver="latest") as made:

            def copy(name: str, item: object) -> None:
                if isinstance(item, h5py.Dataset):
                    made.create_dataset(name, data=item[()].astype(np.float16))
                else:
                    made.require_group(name)
                made[name].attrs.update(given[name].attrs)

            given.visititems(copy)
            made.attrs.update(given.attrs)


def main() -> int:
    command = argparse.ArgumentParser(
        prog="python -m search.training.demo_trunk", description=(__doc__ or "").split("\n")[0]
    )
    command.add_argument("--out", type=Path, required=True, metavar="FILE", help="ends with .weights.h5")
    given = command.parse_args()
    print(f"{given.out}: {train_trunk(given.out):.3f} of pictures that it has not seen")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
