"""Trains the trunk that the demo transfers from: a small MobileNet on drawn dogs of breeds that the demo has none of.

    python -m search.training.demo_trunk --out models/demo_trunk.weights.h5

Its weights are in the repository, as float16, so that the demo needs no download and still shows what transfer is. It
takes half an hour on two cores. The breeds are drawn by chance from names of their own. What is learnt is not which
breed a dog is of, but what is drawn of it: its ears, tail, pattern and colours.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from search.data.demo import COATS, EARS, PATTERNS, SHAGGY, TAILS, Breed, chance_breed, draw_dog
from search.training.devices import prepare

if TYPE_CHECKING:
    import keras

BACKBONE, ALPHA = "MobileNet", 0.25
DRAWN, SEEN = 96, 72  # pixels a side: of the pictures, as in the demo, and of the part that is learnt from
BREEDS, PICTURES = 800, 24  # and pictures of each, of which the last are looked at
HELD = 2
EPOCHS, BATCH, RATE, DECAY = 24, 64, 4e-3, 1e-3
THREADS = 2
# What is learnt of a dog, and the values that each may have.
TRAITS: dict[str, tuple[object, ...]] = {
    "ears": EARS, "tail": TAILS, "pattern": PATTERNS, "coat": tuple(COATS), "second": tuple(COATS), "shaggy": SHAGGY,
}  # fmt: skip
# And lengths, told as short, middling or long: where one ends and the next begins.
LENGTHS = {"muzzle": (0.58, 0.77), "legs": (0.53, 0.67)}


def breeds(count: int = BREEDS) -> list[Breed]:
    """Breeds by chance, none of which `search.data.demo` has."""
    return [chance_breed(f"Unnamed dog {number}") for number in range(count)]


def traits_of(kinds: Sequence[Breed]) -> dict[str, NDArray[np.float32]]:
    """The traits of breeds, each one-hot (breeds, values)."""
    places = {name: [values.index(getattr(kind, name)) for kind in kinds] for name, values in TRAITS.items()}
    many = {name: len(values) for name, values in TRAITS.items()}
    for name, ends in LENGTHS.items():
        places[name] = [int(np.searchsorted(ends, getattr(kind, name))) for kind in kinds]
        many[name] = len(ends) + 1
    return {name: np.eye(many[name], dtype=np.float32)[found] for name, found in places.items()}


def drawn(
    count: int, pictures: Sequence[int], threads: int
) -> tuple[NDArray[np.uint8], dict[str, NDArray[np.float32]]]:
    """These pictures of each of so many breeds (n, DRAWN, DRAWN, 3), and each one's traits (n, values), one-hot."""
    kinds = breeds(count)
    places = [(number, picture) for picture in pictures for number in range(count)]
    found = np.empty((len(places), DRAWN, DRAWN, 3), np.uint8)

    def draw(place: int) -> None:
        number, picture = places[place]
        found[place] = np.asarray(draw_dog(kinds[number], DRAWN, f"trunk/{picture}"))

    with ThreadPoolExecutor(threads) as workers:
        for _ in workers.map(draw, range(len(places))):
            pass
    numbers = [number for number, _ in places]
    return found, {name: values[numbers] for name, values in traits_of(kinds).items()}


def cut(pictures: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.float32]:
    """A part of each picture of a batch, mirrored by chance, as a trunk takes it: -1 to 1.

    The dogs stand in the middle: the part is as good as the whole, for half of the work.
    """
    batch = np.empty((len(pictures), SEEN, SEEN, 3), np.float32)
    drawn_by = random.integers(0, (DRAWN - SEEN + 1, DRAWN - SEEN + 1, 2), (len(batch), 3))
    for place, (down, across, turned) in enumerate(drawn_by):
        part = pictures[place, down : down + SEEN, across : across + SEEN]
        batch[place] = part[:, ::-1] if turned else part
    return scaled(batch)


def scaled(pictures: NDArray[Any]) -> NDArray[np.float32]:
    return pictures.astype(np.float32) / np.float32(127.5) - np.float32(1)


def train_trunk(
    out: Path, *, count: int = BREEDS, pictures: int = PICTURES, epochs: int = EPOCHS, threads: int = THREADS
) -> float:
    """Trains the trunk, writes its weights, and returns the mean accuracy of traits on pictures it has not seen."""
    import keras

    from models.compiling import RatedAdam
    from models.folding import folded

    keras.utils.set_random_seed(0)
    seen, traits = drawn(count, range(pictures - HELD), threads)
    held, truth = drawn(count, range(pictures - HELD, pictures), threads)
    trunk = getattr(keras.applications, BACKBONE)(
        input_shape=(SEEN, SEEN, 3), alpha=ALPHA, include_top=False, weights=None, pooling="avg"
    )
    heads = [
        keras.layers.Dense(values.shape[1], "softmax", dtype="float32", name=name)(trunk.output)
        for name, values in traits.items()
    ]
    whole = keras.Model(trunk.input, keras.layers.Concatenate()(heads))
    for layer in whole.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            # A short training: the running averages must keep up with it.
            layer.momentum = 0.9
    model = folded(whole)
    steps = len(seen) // BATCH
    optimizer = RatedAdam(
        keras.optimizers.schedules.CosineDecay(
            0.0, decay_steps=max(1, steps * (epochs - 1)), warmup_target=RATE, warmup_steps=steps
        )
    )
    variables = model.trainable_variables
    optimizer.set_rates([one for one in variables if len(one.shape) > 1], [], weight_decay=DECAY, trunk_rate=1.0)
    # The answers of all heads side by side: the sum of their cross-entropies is one over all of them.
    model.compile(optimizer, _entropies, jit_compile=keras.backend.backend() == "jax")
    answers, wanted = np.concatenate(list(traits.values()), axis=1), np.concatenate(list(truth.values()), axis=1)
    ends = np.cumsum([values.shape[1] for values in traits.values()])[:-1]
    middle = slice((DRAWN - SEEN) // 2, (DRAWN + SEEN) // 2)
    random = np.random.default_rng(0)
    began, accuracy = time.monotonic(), 0.0
    for epoch in range(epochs):
        order, loss = random.permutation(len(seen)), 0.0
        for start in range(0, steps * BATCH, BATCH):
            chosen = order[start : start + BATCH]
            loss += float(model.train_on_batch(cut(seen[chosen], random), answers[chosen])) / steps
        told = model.predict(scaled(held[:, middle, middle]), batch_size=256, verbose=0)
        right = [
            float((one.argmax(axis=1) == own.argmax(axis=1)).mean())
            for one, own in zip(np.split(told, ends, axis=1), np.split(wanted, ends, axis=1), strict=True)
        ]
        accuracy, took = float(np.mean(right)), time.monotonic() - began
        by_trait = ", ".join(f"{name} {share:.2f}" for name, share in zip(traits, right, strict=True))
        print(f"epoch {epoch + 1}: loss {loss:.3f}, held out {accuracy:.3f} ({by_trait}), {took:.0f} s", flush=True)
    write(trunk, out)
    return accuracy


def _entropies(truth: Any, answers: Any) -> Any:
    import keras

    return -keras.ops.sum(truth * keras.ops.log(keras.ops.clip(answers, 1e-7, 1.0)), axis=-1)


def write(trunk: "keras.Model", out: Path) -> None:
    """Writes a trunk's weights as Keras does, in half of the bytes."""
    import h5py
    import keras

    plain = getattr(keras.applications, BACKBONE)(
        input_shape=(SEEN, SEEN, 3), alpha=ALPHA, include_top=False, weights=None
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
    prepare(THREADS, "float32")
    print(f"{given.out}: {train_trunk(given.out):.3f} of the traits of pictures that it has not seen")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
