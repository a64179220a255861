"""ImageNet weights for the trunks: found on disk or downloaded, and recognised by what is in them."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import models
from models.sizes import PARAMETERS
from results.delivery.framework import import_keras, keras_home

Backbone = tuple[str, float]

# Keras publishes these; a file of the 224-pixel model serves every size. MobileNetV3's files carry other names.
_PUBLISHED = "https://storage.googleapis.com/tensorflow/keras-applications/"
IMAGENET: dict[Backbone, str] = {
    ("MobileNet", 1.0): _PUBLISHED + "mobilenet/mobilenet_1_0_224_tf_no_top.h5",
    ("MobileNetV2", 1.0): _PUBLISHED + "mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
    ("MobileNetV3Large", 1.0): _PUBLISHED + "mobilenet_v3/weights_mobilenet_v3_large_224_1.0_float_no_top_v2.h5",
}
# Trained on drawn dogs, by `search.training.demo_trunk`.
DEMO_TRUNK = Path(models.__file__ or "").parent / "demo_trunk.weights.h5"
# Without weights there is nothing to transfer: the family is then a search over one small untrained network.
UNTRAINED: Backbone = ("MobileNet", 0.25)


@dataclass(frozen=True)
class Weights:
    """The weights of one trunk."""

    backbone: str
    alpha: float
    path: Path | None  # None: random
    digest: str


def find_weights(choice: str, *, seed: int) -> tuple[Weights, ...]:
    """The trunks that `--weights` makes available: imagenet, demo, none, a weights file, or a folder of them.

    Raises ValueError or OSError that names the file, and the ways out where a download fails.
    """
    if choice == "none":
        return (Weights(*UNTRAINED, None, f"random-{seed}"),)
    if choice == "demo":
        return (_weights(DEMO_TRUNK),)
    if choice == "imagenet":
        return tuple(_weights(_download(url)) for url in IMAGENET.values())
    path = Path(choice)
    if not path.exists():
        raise FileNotFoundError(
            f"--weights needs imagenet, demo, none, or a file or folder that exists, got `{choice}`"
        )
    files = [path] if path.is_file() else sorted(path.glob("*.h5"))
    if not files:
        raise ValueError(f"--weights needs a folder with .h5 files in it, and `{choice}` has none")
    found: dict[Backbone, Weights] = {}
    for file in files:
        weights = _weights(file)
        found.setdefault((weights.backbone, weights.alpha), weights)
    # The study's own backbone first, then the largest: the first is what the base configuration uses.
    return tuple(sorted(found.values(), key=lambda weights: (weights.backbone, -weights.alpha)))


def _weights(path: Path) -> Weights:
    backbone, alpha = identify(path)
    return Weights(backbone, alpha, path.resolve(), hashlib.sha256(path.read_bytes()).hexdigest()[:24])


def identify(path: Path) -> Backbone:
    """Which backbone and alpha a weights file belongs to, by the number of its parameters."""
    import h5py

    count = 0

    def add(name: str, item: Any) -> None:
        nonlocal count
        # A file of a whole model also holds the optimizer's variables.
        if isinstance(item, h5py.Dataset) and not name.startswith("optimizer"):
            count += int(item.size)

    try:
        with h5py.File(path, "r") as file:
            file.visititems(add)
    except OSError as error:
        raise ValueError(f"a weights file must be HDF5 (.h5), and `{path}` cannot be read as one: {error}") from error
    for backbone, parameters in PARAMETERS.items():
        if parameters == count:
            return backbone
    known = ", ".join(f"{name} {alpha}" for name, alpha in PARAMETERS)
    raise ValueError(
        f"a weights file must hold a backbone without its top ({known}), "
        f"and `{path}` has {count:,} parameters: none of them"
    )


def _download(url: str) -> Path:
    name = url.rsplit("/", 1)[1]
    stored = keras_home() / "models" / name
    if stored.exists():
        return stored
    keras = import_keras()
    try:
        return Path(keras.utils.get_file(name, url, cache_dir=str(stored.parent.parent), cache_subdir="models"))
    except Exception as error:  # get_file wraps whatever urllib raises
        raise OSError(
            f"ImageNet weights could not be downloaded from {url} ({error}). Three ways out: "
            f"put that file at `{stored}`; "
            "give a file or folder of weights with --weights PATH; or search without them with --weights none"
        ) from error
