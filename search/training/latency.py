"""How long a model takes for one picture and for a batch, on the device that trains it."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from models import network
from models.sizes import is_probe
from search.data.pictures import Pictures, Pixels
from search.training.trial import delivered
from spaces import FAMILIES, family_of

if TYPE_CHECKING:
    import keras

BATCH = 32  # pictures of the batch
# Calls of one picture and of a batch: at least, at most, and seconds of them. Of calls that take longer one is enough.
ONE, MANY = (5, 30, 0.3), (2, 5, 0.5)


def measure(family: str, config: Mapping[str, Any], pictures: Pictures, threads: int) -> dict[str, Any]:
    """Parameters, bytes and latency of the model that a configuration would export, before it is trained.

    Its weights are new ones and the trunk's, since their values decide nothing.
    """
    from models.export import raw_pictures

    model = MODELS[family](config, pictures)
    resize_filter = family_of(family).filter(config)
    raw = raw_pictures(model, resize_filter=resize_filter)
    some = pictures.pixels(config["image_size"], resize_filter)[pictures.train[:BATCH]]
    return {
        "parameters": raw.count_params(),
        "bytes": sum(int(np.prod(weight.shape)) * np.dtype(weight.dtype).itemsize for weight in raw.weights),
        **latency(raw, some, threads),
    }


def latency(model: "keras.Model", some: Pixels, threads: int) -> dict[str, Any]:
    """Seconds that a model of raw pictures takes for one of them and for a batch, compiled, in this process.

    The fastest of repeated calls: whatever else the machine does only ever adds to a call. On a CPU whose every core is
    wanted by somebody no call runs through, and the processor time that a call took stands for its seconds where it is
    less; with several threads it never is.
    """
    import keras

    run = _compiled(model, some.shape[1:])
    device = next(iter(keras.distribution.list_devices()), "cpu").split(":")[0]

    def fastest(batch: Pixels, least: int, most: int, seconds: float) -> float:
        began = time.perf_counter()
        run(batch)
        least = 1 if time.perf_counter() - began > seconds else least
        took: list[float] = []
        began = time.perf_counter()
        while len(took) < least or (len(took) < most and time.perf_counter() - began < seconds):
            start, worked = time.perf_counter(), time.process_time()
            run(batch)
            wall, processor = time.perf_counter() - start, time.process_time() - worked
            took.append(min(wall, processor) if device == "cpu" else wall)
        return round(min(took), 6)

    batch = np.resize(some, (BATCH, *some.shape[1:]))
    return {
        "latency_one": fastest(batch[:1], *ONE),
        "latency_batch": fastest(batch, *MANY),
        "batch": BATCH,
        "device": f"{threads} CPU thread{'s' * (threads != 1)}" if device == "cpu" else device.upper(),
    }


def _compiled(model: "keras.Model", shape: tuple[int, ...]) -> Callable[[Pixels], Any]:
    import keras

    if keras.backend.backend() != "tensorflow":
        return lambda batch: np.asarray(model.predict_on_batch(batch))
    import tensorflow as tf

    # Keras would trace the model once for each of the two shapes, which takes longer than all the calls together.
    @tf.function(input_signature=[tf.TensorSpec((None, *shape), tf.uint8)])  # type: ignore[untyped-decorator]
    def forward(batch: Any) -> Any:
        return model(batch, training=False)

    return lambda batch: forward(tf.constant(batch)).numpy()


def _network(family: str, config: Mapping[str, Any], pictures: Pictures) -> "keras.Model":
    return delivered(family, network(family).build(config, len(pictures.classes), seed=0), config)


def _transfer(config: Mapping[str, Any], pictures: Pictures) -> "keras.Model":
    from models import mobilenet
    from search.training.activations import load_trunk
    from search.training.probes import probe_model

    if is_probe(config):
        return probe_model(config, pictures)
    trunk = load_trunk(pictures, config["backbone"], config["alpha"], config["image_size"])
    # The cut decides what is trained and nothing of how fast it answers.
    whole = {**config, "unfrozen_blocks": 0}
    return mobilenet.build(whole, len(pictures.classes), seed=0, trunk=trunk, augment=False)


MODELS: dict[str, Callable[[Mapping[str, Any], Pictures], "keras.Model"]] = {
    name: _transfer if family.transfers else partial(_network, name) for name, family in FAMILIES.items()
}
