"""The last step of a family: its best configuration, retrained on train and validation, scored on test once."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from search.pictures import FILTER, Pictures
from search.trial import Inputs, Report, predict, score, train


@dataclass(frozen=True)
class Outcome:
    """What a retraining hands back."""

    row: dict[str, Any]  # the `test` row without event, time, trial and family
    probabilities: bytes  # .npz with float32 (test pictures, classes), in the order of split.json
    model: bytes | None  # a .keras file that takes raw uint8 pictures of any size
    parameters: int


def retrain(
    family: str,
    config: Mapping[str, Any],
    pictures: Pictures,
    *,
    seed: int,
    epochs: int,
    planned: int,
    most_views: int,
    threads: int,
    export: bool,
    report: Report,
) -> Outcome:
    """Trains for `epochs` of a budget of `planned`, scores the joined model on the test pictures, and exports it."""
    from models.export import raw_pictures

    seconds = 0.0

    def add(row: dict[str, Any]) -> None:
        nonlocal seconds
        seconds += row["seconds"]
        report(row)

    trained = train(
        family, config, pictures.joined(), seed=seed, epochs=epochs, planned=planned, most_views=most_views,
        threads=threads, report=add,
    )  # fmt: skip
    model = trained.exported()
    resize_filter = str(config.get("resize_filter", FILTER))
    # The figure is that of the model handed over: raw pictures in, no cached activations.
    probabilities = predict(model, Inputs(pictures.pixels(config["image_size"], resize_filter), pictures.test))
    loss, accuracy = score(probabilities, pictures.labels[pictures.test])
    row = {
        "seed": seed,
        "epochs": epochs,
        "accuracy": accuracy,
        "loss": loss,
        "pictures": len(pictures.test),
        "train_accuracy": trained.train_accuracy,
        "seconds": round(seconds, 3),
    }
    packed = BytesIO()
    np.savez_compressed(packed, probabilities=probabilities)
    content = None
    if export:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.keras"
            raw_pictures(model, resize_filter=resize_filter).save(path)
            content = path.read_bytes()
    return Outcome(row, packed.getvalue(), content, model.count_params())
