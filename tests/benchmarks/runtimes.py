"""Would another runtime pass pictures through a frozen trunk faster than TensorFlow does, and as rightly?

Each runtime gets the same trunk, one core and batches of 32 pictures. They take turns in processes of their own,
and the best call of each counts. With DATA the pooled features of its pictures are compared as well: the largest
difference from TensorFlow's in float32, and what a logistic regression on them names rightly, over divisions.

    pip install openvino onnxruntime tf2onnx
    python -m tests.benchmarks.runtimes DATA --weights WEIGHTS --size 160

A runtime that is not installed is left out, and said so.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.backbones import known
from results.analysis.numbers import mean_interval
from search.training.probes import averaged
from tests.benchmarks.heads import divided, labelled_files
from tests.benchmarks.measuring import ROOT, show
from tests.benchmarks.truth import STRENGTH, weights_of

BATCH = 32
PLAIN = "tensorflow float32"
NEEDED = {
    PLAIN: "tensorflow", "tensorflow bfloat16": "tensorflow", "onnxruntime float32": "onnxruntime",
    "openvino float32": "openvino", "openvino bfloat16": "openvino",
}  # fmt: skip
Pass = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def passing(runtime: str, name: str, size: int, weights: Path | None) -> Pass:
    """What turns pictures (n, size, size, 3) into pooled features, on one core."""
    from search.training import devices

    library, _, precision = runtime.partition(" ")
    devices.prepare(1, precision if library == "tensorflow" else "float32")

    from models.trunk import Trunk

    lower = Trunk(*known(name), size, weights).lower(0, [], pooled=True)
    if library == "tensorflow":
        inference = devices.inference(lower)
        return lambda pictures: np.asarray(inference(pictures)[0], np.float32)
    with tempfile.TemporaryDirectory() as folder:
        # They fold batch norms themselves.
        lower(np.zeros((1, size, size, 3), np.float32))
        if library == "onnxruntime":
            import onnxruntime

            path = str(Path(folder) / "trunk.onnx")
            lower.export(path, format="onnx", verbose=False)
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            given = session.get_inputs()[0].name
            return lambda pictures: np.asarray(session.run(None, {given: pictures.astype(np.float32)})[0])
        import openvino

        lower.export(folder, format="tf_saved_model", verbose=False)
        converted = openvino.convert_model(folder)
        hints = {
            "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[precision],
            "INFERENCE_NUM_THREADS": 1,
            "NUM_STREAMS": 1,
        }
        compiled = openvino.compile_model(converted, "CPU", hints)
        return lambda pictures: np.asarray(compiled(pictures.astype(np.float32))[0])


def pixels_of(files: Sequence[Path], size: int) -> NDArray[np.uint8]:
    """The pictures as a search has them."""
    from results.delivery.picture import read_picture
    from search.data.decode import fit_square

    found = np.empty((len(files), size, size, 3), np.uint8)
    for row, file in enumerate(files):
        found[row] = np.asarray(fit_square(read_picture(file)[0], size, "bilinear"))
    return found


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Pictures per second of one runtime; its features of the data go to a file."""
    run = passing(options.one, options.backbone, options.size, options.trunk)
    pictures = np.random.default_rng(0).integers(0, 256, (BATCH, options.size, options.size, 3), dtype=np.uint8)
    best = float("inf")
    for _ in range(options.turns + 1):
        began = time.perf_counter()
        run(pictures)
        best = min(best, time.perf_counter() - began)
    if options.pixels:
        pixels = np.load(options.pixels, mmap_mode="r")
        parts = [run(pixels[start : start + BATCH]) for start in range(0, len(pixels), BATCH)]
        np.save(options.features, np.concatenate(parts))
    return {"runtime": options.one, "pictures": BATCH / best}


def accuracies(features: NDArray[np.float32], labels: NDArray[np.int64], seeds: int) -> list[float]:
    """What a logistic regression on the features names rightly of the outer test of each division."""
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-9)
    found = []
    for seed in range(seeds):
        _, rest, outer = divided(labels, seed)
        weights, bias = averaged(unit[rest], labels[rest], int(labels.max()) + 1, (STRENGTH,), (1.0,))
        found.append(float(((unit[outer] @ weights + bias).argmax(axis=1) == labels[outer]).mean()))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    if options.one:
        print(json.dumps(measure(options)))
        return 0
    there = [one for one, module in NEEDED.items() if importlib.util.find_spec(module)]
    for one in sorted(set(NEEDED) - set(there)):
        print(f"{one}: not installed")
    command = [sys.executable, "-m", "tests.benchmarks.runtimes", "--size", str(options.size)]
    command += ["--backbone", options.backbone, "--turns", str(options.turns)]
    labels: NDArray[np.int64] = np.empty(0, np.int64)
    with tempfile.TemporaryDirectory() as folder:
        pixels = Path(folder) / "pixels.npy"
        if options.data:
            files, labels = labelled_files(options.data)
            np.save(pixels, pixels_of(files, options.size))
            command += ["--trunk", str(weights_of(options.weights, options.backbone)), "--pixels", str(pixels)]
        best: dict[str, float] = dict.fromkeys(there, 0.0)
        for _ in range(options.rounds):
            for one in there:
                # Of the data once is enough.
                more = ["--features", str(Path(folder) / f"{one}.npy")] if options.data else []
                said = subprocess.run(
                    [*command, *more, "--one", one], cwd=ROOT, check=True, capture_output=True, text=True
                ).stdout
                best[one] = max(best[one], json.loads(said.splitlines()[-1])["pictures"])
        rows: list[dict[str, Any]] = []
        plain = np.load(Path(folder) / f"{PLAIN}.npy") if options.data else None
        own = accuracies(plain, labels, options.seeds) if plain is not None else []
        for one in there:
            row: dict[str, Any] = {"runtime": one, "pictures": best[one], "speed": best[one] / best[PLAIN]}
            if plain is not None:
                features = np.load(Path(folder) / f"{one}.npy")
                found = accuracies(features, labels, options.seeds)
                row["difference"] = float(np.abs(features - plain).max())
                row["accuracy"] = float(np.mean(found))
                row["points"] = mean_interval([100 * (a - b) for a, b in zip(found, own, strict=True)])
            rows.append(row)
    body = [
        (row["runtime"], row["pictures"], row["speed"], row.get("difference"), row.get("accuracy"),
         (row.get("points") or {}).get("mean"))
        for row in rows
    ]  # fmt: skip
    heads = ("runtime", "pictures/s", "of TensorFlow's", "largest difference", "accuracy", "points")
    show({"size": options.size, "backbone": options.backbone, "cores": os.cpu_count(), "rows": rows}, heads, body,
         options.out)  # fmt: skip
    return 0


def parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.runtimes", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    command.add_argument("data", nargs="?", type=lambda text: Path(text).absolute(), metavar="DATA")
    command.add_argument("--weights", default="imagenet", help="as of search/run.py (default: imagenet)")
    command.add_argument("--backbone", default="MobileNet", help="(default: MobileNet)")
    command.add_argument("--size", type=int, default=160, help="side of the pictures in pixels (default: 160)")
    command.add_argument("--turns", type=int, default=5, help="calls of which the best counts (default: 5)")
    command.add_argument("--rounds", type=int, default=2, help="processes of each runtime (default: 2)")
    command.add_argument("--seeds", type=int, default=12, help="divisions of DATA (default: 12)")
    command.add_argument("--one", metavar="RUNTIME", help="measure this one in this process and print it as JSON")
    command.add_argument("--trunk", type=Path, help="with --one: the file of its weights")
    command.add_argument("--pixels", type=Path, help="with --one: packed pictures to pass")
    command.add_argument("--features", type=Path, help="with --one: where their features go")
    command.add_argument("--out", type=Path, metavar="FILE", help="where the result goes as JSON")
    return command


if __name__ == "__main__":
    sys.exit(main())
