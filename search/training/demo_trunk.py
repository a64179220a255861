"""Trains the trunk that the demo transfers from: a small MobileNet on drawn dogs of breeds that the demo has none of.

    python -m search.training.demo_trunk --out models/demo_trunk.weights.h5

Its weights are in the repository, as float16, so that the demo needs no download and still shows what transfer is. It
takes ten minutes on two cores. The breeds are drawn by chance from names of their own. What is learnt is not which
breed a dog is of, but what is drawn of it: its ears, tail, pattern and colours.
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

from search.data.demo import COATS, EARS, PATTERNS, TAILS, Breed, chance_breed, draw_dog

if TYPE_CHECKING:
    import keras

BACKBONE, ALPHA, SIDE = "MobileNet", 0.25, 64
BREEDS, PICTURES = 400, 20  # and pictures of each, of which the last are looked at
HELD = 2
EPOCHS, BATCH, RATE = 20, 64, 4e-3
# What is learnt of a dog, and the values that each may have.
TRAITS: dict[str, tuple[str, ...]] = {
    "ears": EARS, "tail": TAILS, "pattern": PATTERNS, "coat": tuple(COATS), "second": tuple(COATS),
}  # fmt: skip
SHIFT = 6  # pixels, at most, that a picture is moved


def breeds(count: int = BREEDS) -> list[Breed]:
    """Breeds by chance, none of which `search.data.demo` has."""
    return [chance_breed(f"Unnamed dog {number}") for number in range(count)]


def drawn(count: int, pictures: Sequence[int], threads: int) -> tuple[NDArray[np.uint8], list[NDArray[np.float32]]]:
    """These pictures of each of so many breeds (n, SIDE, SIDE, 3), and each one's traits (n, values), one-hot."""
    kinds = breeds(count)
    places = [(number, picture) for picture in pictures for number in range(count)]

    def draw(place: tuple[int, int]) -> NDArray[np.uint8]:
        return np.asarray(draw_dog(kinds[place[0]], SIDE, f"trunk/{place[1]}"))

    with ThreadPoolExecutor(threads) as workers:
        found = np.stack(list(workers.map(draw, places)))
    traits = [
        np.eye(len(values), dtype=np.float32)[[values.index(getattr(kinds[number], name)) for number, _ in places]]
        for name, values in TRAITS.items()
    ]
    return found, traits


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
    """Trains the trunk, writes its weights, and returns the mean accuracy of traits on pictures it has not seen."""
    import keras

    keras.utils.set_random_seed(0)
    seen, traits = drawn(count, range(pictures - HELD), threads)
    held, truth = drawn(count, range(pictures - HELD, pictures), threads)
    trunk = getattr(keras.applications, BACKBONE)(
        input_shape=(SIDE, SIDE, 3), alpha=ALPHA, include_top=False, weights=None, pooling="avg"
    )
    outputs = [
        keras.layers.Dense(len(values), "softmax", dtype="float32", name=name)(trunk.output)
        for name, values in TRAITS.items()
    ]
    model = keras.Model(trunk.input, outputs)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            # A short training: the running averages must keep up with it.
            layer.momentum = 0.9
    steps = len(seen) // BATCH
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, decay_steps=max(1, steps * (epochs - 1)), warmup_target=RATE, warmup_steps=steps
    )
    model.compile(
        keras.optimizers.AdamW(rate, weight_decay=1e-3),
        ["categorical_crossentropy"] * len(TRAITS),
        jit_compile=keras.backend.backend() == "jax",
    )
    random = np.random.default_rng(0)
    began, accuracy = time.monotonic(), 0.0
    for epoch in range(epochs):
        order, loss = random.permutation(len(seen)), 0.0
        for start in range(0, steps * BATCH, BATCH):
            chosen = order[start : start + BATCH]
            logs = model.train_on_batch(
                moved(seen[chosen], random), [trait[chosen] for trait in traits], return_dict=True
            )
            loss += float(logs["loss"]) / steps
        told = model.predict(held.astype(np.float32) / np.float32(127.5) - np.float32(1), batch_size=256, verbose=0)
        right = [(one.argmax(axis=1) == own.argmax(axis=1)).mean() for one, own in zip(told, truth, strict=True)]
        accuracy, took = float(np.mean(right)), time.monotonic() - began
        print(f"epoch {epoch + 1}: loss {loss:.3f}, traits held out {accuracy:.3f}, {took:.0f} s", flush=True)
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
    print(f"{given.out}: {train_trunk(given.out):.3f} of the traits of pictures that it has not seen")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
