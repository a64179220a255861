"""What the model of an earlier run says of the test pictures of one that goes on from it.

It is loaded in a process of its own, on the processor: the driver stays without TensorFlow, and without a GPU's memory.
"""

import json
import os
import subprocess
import sys
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.data.cache import write_aside
from search.data.pictures import Indices, Pictures
from search.data.predecessor import Predecessor
from search.home import settle_home

FROM = "from.json"  # what a run folder says of the run that it goes on from; written once its answers are there
ANSWERS = "from.npz"  # below `predictions`


def answer(run: Predecessor, folder: Path, pictures: Pictures, places: list[int | None], threads: int) -> None:
    """Writes what the model of an earlier run says of the test pictures into the folder of the new run.

    `places` has for each test picture its place among those of the earlier run, None where it was none. Where the model
    has learnt these in the meantime, what it said of them before counts. Raises ValueError for a model that cannot be
    loaded, or gives no answers for its classes.
    """
    stored = np.array([run.refitted and run.answers is not None and place is not None for place in places], np.bool_)
    probabilities = np.zeros((len(places), len(run.classes)), np.float32)
    if stored.any():
        assert run.answers is not None
        probabilities[stored] = run.answers[[place for place in places if place is not None]]
    rows = pictures.test[~stored]
    if len(rows):
        probabilities[~stored] = _predicted(run, pictures, rows, threads)
    (folder / "predictions").mkdir(exist_ok=True)
    packed = BytesIO()
    np.savez_compressed(packed, probabilities=probabilities, stored=stored)
    write_aside(folder / "predictions" / ANSWERS, packed.getvalue())
    record = {
        **{"name": run.name, "folder": str(run.folder), "family": run.family, "trial": run.model.get("trial")},
        **{"classes": run.classes, "refitted": run.refitted, "stored": int(stored.sum()), "answered": len(rows)},
    }
    write_aside(folder / FROM, json.dumps(record, indent=2) + "\n")


def _predicted(run: Predecessor, pictures: Pictures, rows: Indices, threads: int) -> NDArray[np.float32]:
    """Probabilities (rows, classes of the run) for packed pictures of the size that the model was made for."""
    pack = pictures.local(pictures.packs[run.size, run.resize_filter])
    with tempfile.TemporaryDirectory() as aside:
        asked, said = Path(aside) / "rows.npy", Path(aside) / "said.npy"
        np.save(asked, rows)
        environment = dict(
            os.environ, PYTHONPATH=os.pathsep.join(path for path in sys.path if path), CUDA_VISIBLE_DEVICES="-1",
            JAX_PLATFORMS="cpu", TF_CPP_MIN_LOG_LEVEL="3",
        )  # fmt: skip
        settle_home(pictures.cache, environment)
        words = [str(run.folder), run.family, str(pack), str(asked), str(said), str(threads)]
        done = subprocess.run(
            [sys.executable, "-P", "-c", f"from {__name__} import main; main()", *words],
            env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False,
        )  # fmt: skip
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            why = lines[-1].removeprefix("ValueError: ") if lines else f"it ended with exit code {done.returncode}"
            raise ValueError(f"--from cannot score the model of `{run.folder}`: {why[:400]}")
        found: NDArray[np.float32] = np.load(said)
    if found.shape != (len(rows), len(run.classes)):
        raise ValueError(
            f"--from needs a model with an answer for each of the {len(run.classes)} classes of its run, and "
            f"`{run.folder / 'models' / f'{run.family}.keras'}` gives {found.shape[1:]} a picture"
        )
    return found


def main() -> None:
    """The process's whole life: a model and some rows of a pack in, a file of probabilities out."""
    folder, family, pack, asked, said, threads = sys.argv[1:]
    from results.delivery.prediction import load
    from search.training import devices
    from search.training.trial import Inputs, predict

    devices.prepare(int(threads), "float32")
    model: Any = load(Path(folder), family)
    pixels = np.load(pack, mmap_mode="r", allow_pickle=False)
    np.save(said, predict(model, Inputs(pixels, np.load(asked))))
