"""ImageNet weights for the trunks: found on disk or downloaded, and recognised by what is in them."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import models
from models.backbones import BACKBONES, PUBLISHED, called, check_sides, file_of, known
from models.sizes import PARAMETERS
from results.delivery.framework import import_keras, keras_home

Backbone = tuple[str, float]

# What is searched with unless `--backbones` names others.
IMAGENET: dict[Backbone, str] = {
    (backbone, 1.0): PUBLISHED + BACKBONES[backbone].files[1.0]
    for backbone in ("MobileNet", "MobileNetV2", "MobileNetV3Large")
}
# By the name of its file, as Keras publishes it and keeps it in its cache.
BY_NAME: dict[str, Backbone] = {
    file_of(backbone.name, alpha): (backbone.name, alpha) for backbone in BACKBONES.values() for alpha in backbone.files
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


def find_weights(
    choice: str,
    *,
    seed: int,
    backbones: Sequence[str] = (),
    sides: Sequence[int] = (),
    say: Callable[[str], None] = lambda line: None,
) -> tuple[Weights, ...]:
    """The trunks that `--weights` makes available: imagenet, demo, none, a weights file, or a folder of them.

    Of those only the `backbones` that are named, in their order, or else the MobileNets; where there are none, all. The
    first is what the base configuration uses. Raises ValueError or OSError that names the file, and the ways out where
    a download fails; and for a trunk that cannot take pictures of one of these `sides`, in pixels.
    """
    wanted = tuple(known(name) for name in backbones)
    if choice == "none":
        found = tuple(Weights(*one, None, f"random-{seed}") for one in wanted or (UNTRAINED,))
    elif choice == "imagenet":
        check_sides(wanted, sides)  # before a download
        addresses = {one: PUBLISHED + BACKBONES[one[0]].files[one[1]] for one in wanted} or IMAGENET
        found = tuple(_weights(_download(address)) for address in addresses.values())
    else:
        files = {identify(DEMO_TRUNK): DEMO_TRUNK} if choice == "demo" else _files(Path(choice), wanted)
        found = tuple(_weights(files[one]) for one in _chosen(files, wanted, choice, say))
    check_sides([(item.backbone, item.alpha) for item in found], sides)
    return found


def _files(path: Path, wanted: Sequence[Backbone]) -> dict[Backbone, Path]:
    """The weights files at a place by what they are for."""
    if not path.exists():
        raise FileNotFoundError(f"--weights needs imagenet, demo, none, or a file or folder that exists, got `{path}`")
    files = [path] if path.is_file() else sorted(path.glob("*.h5"))
    if not files:
        raise ValueError(f"--weights needs a folder with .h5 files in it, and `{path}` has none")
    found: dict[Backbone, Path] = {}
    for file in files:
        try:
            trunk = identify(file)
        except ValueError as error:
            if path.is_file() or BY_NAME.get(file.name) in wanted:
                raise
            if not wanted:
                way_out = "where --backbones names trunks, other files of a folder are passed over"
                raise ValueError(f"{error}; {way_out}") from None
            # A folder such as Keras's own cache also holds what nobody asks for.
            continue
        found.setdefault(trunk, file)
    return found


def _chosen(
    files: Mapping[Backbone, Path], wanted: Sequence[Backbone], choice: str, say: Callable[[str], None]
) -> Sequence[Backbone]:
    """Those of the trunks with weights that are searched with."""
    for trunk in wanted:
        if trunk not in files:
            there = ", ".join(called(*one) for one in files) or "none that is known"
            raise ValueError(
                f"`backbones` needs trunks that `{choice}` has weights of ({there}), got {called(*trunk)}; Keras calls "
                f"their file {file_of(*trunk)}"
            )
    if wanted:
        return wanted
    # The study's own backbone first, then the largest: the first is what the base configuration uses.
    every = sorted(files, key=lambda trunk: (trunk[0], -trunk[1]))
    mobile = [trunk for trunk in every if BACKBONES[trunk[0]].mobile]
    rest = [called(*trunk) for trunk in every if trunk not in mobile]
    if mobile and rest:
        say(f"`{choice}` also has weights of {', '.join(rest)}, which are searched with where --backbones names them")
    return mobile or every


def _weights(path: Path) -> Weights:
    backbone, alpha = identify(path)
    return Weights(backbone, alpha, path.resolve(), hashlib.sha256(path.read_bytes()).hexdigest()[:24])


def identify(path: Path) -> Backbone:
    """Which backbone and alpha a weights file belongs to, by the number of its parameters.

    A file that is called as Keras calls that of a trunk must be of this one.
    """
    import h5py

    count = 0

    def add(name: str, item: Any) -> None:
        nonlocal count
        # A file of a whole model also holds the optimizer's variables, one of layers that draw the state of each.
        if isinstance(item, h5py.Dataset) and not name.startswith("optimizer") and "seed_generator" not in name:
            count += int(item.size)

    try:
        with h5py.File(path, "r") as file:
            file.visititems(add)
    except OSError as error:
        raise ValueError(f"a weights file must be HDF5 (.h5), and `{path}` cannot be read as one: {error}") from error
    if (named := BY_NAME.get(path.name)) and PARAMETERS[named] != count:
        raise ValueError(
            f"a weights file of this name must hold the {PARAMETERS[named]:,} parameters of {called(*named)} without "
            f"its top, and `{path}` has {count:,}: it is damaged, or of another network"
        )
    for backbone, parameters in PARAMETERS.items():
        if parameters == count:
            return backbone
    listed = ", ".join(f"{name} {alpha}" for name, alpha in PARAMETERS)
    raise ValueError(
        f"a weights file must hold a backbone without its top ({listed}), "
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
