"""What do linear heads reach over many divisions of one folder, beside a plain logistic regression?

`truth` judges a whole command, ten minutes for each division. A handful of divisions cannot tell a gain of half a
point. Here the features of both MobileNets are computed once, and each division takes seconds. 30 % of each class are
the outer test. 80 % of the rest are what the plain regression (C = 30, MobileNet at 224 pixels, picture and mirror
image) and the heads learn from. `all` learns the whole rest, as the delivered model does.

    python -m tests.benchmarks.heads DATA --weights WEIGHTS --seeds 40

Each head is fitted with C = 30, but for the one whose strengths are chosen by cross-validation, as in a search.
`averaged` adds the answers for the mirror image. Figures are outer accuracies minus that of the plain regression, in
points, with the 95 % interval of their mean over the divisions.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from results.analysis.numbers import mean_interval
from results.delivery.files import pictures_below
from search.training.probes import averaged, solve
from tests.benchmarks.measuring import show
from tests.benchmarks.truth import OUTER, STRENGTH, pooled, weights_of

Array = NDArray[np.float32]
LEARNT = 0.8  # of the pictures that are not outer test
TRUNKS = ("MobileNet", "MobileNetV2")
PLAIN = "logistic regression"
CHOSEN = "both, mirrored, all, strengths by cross-validation"


def labelled_files(data: Path) -> tuple[list[Path], NDArray[np.int64]]:
    """The pictures of a folder of class folders, class by class, and their labels."""
    folders = [path for path in sorted(data.iterdir()) if path.is_dir()]
    files = [sorted(pictures_below(folder)) for folder in folders]
    labels = np.repeat(np.arange(len(files)), [len(found) for found in files])
    return [file for found in files for file in found], labels


def divided(labels: NDArray[np.int64], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Places of the pictures to learn from, of all that are not outer test, and of the outer test."""
    random = np.random.default_rng(seed)
    learnt, rest, outer = [], [], []
    for label in range(labels.max() + 1):
        own = random.permutation(np.flatnonzero(labels == label))
        cut = round(OUTER * len(own))
        outer.append(own[:cut])
        rest.append(own[cut:])
        learnt.append(own[cut:][: round(LEARNT * (len(own) - cut))])
    return np.concatenate(learnt), np.concatenate(rest), np.concatenate(outer)


def one_division(features: Mapping[str, Array], labels: NDArray[np.int64], seed: int) -> dict[str, float]:
    """The outer accuracy of each head on one division."""
    learnt, rest, outer = divided(labels, seed)
    classes = int(labels.max()) + 1

    def accuracies(views: Array, places: NDArray[np.int64], mirrored: bool) -> tuple[float, float]:
        taught = views[: 1 + mirrored, places].reshape(-1, views.shape[2])
        weights, bias = averaged(taught, np.tile(labels[places], 1 + mirrored), classes, (STRENGTH,), (1.0,))
        logits = views[:, outer] @ weights + bias
        alone, both = (said.argmax(axis=1) == labels[outer] for said in (logits[0], logits.sum(axis=0)))
        return float(alone.mean()), float(both.mean())

    pair = np.concatenate([features[name] for name in TRUNKS], axis=2)
    found = {PLAIN: accuracies(features[TRUNKS[0]], learnt, True)[0]}
    for name, views in ((TRUNKS[0], features[TRUNKS[0]]), (TRUNKS[1], features[TRUNKS[1]]), ("both", pair)):
        found[name] = accuracies(views, learnt, False)[0]
        for more, places in (("", learnt), (", all", rest)):
            found[f"{name}, mirrored{more}"], found[f"{name}, mirrored, averaged{more}"] = accuracies(
                views, places, True
            )
    solved = solve(pair[0, rest], labels[rest], rest, classes, seed=seed, mirrored=pair[1, rest])
    said = (pair[0, outer] @ solved.weights + solved.bias).argmax(axis=1)
    found[CHOSEN] = float((said == labels[outer]).mean())
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    # What is loaded within the limits is not limited.
    import sklearn.linear_model  # noqa: F401
    from threadpoolctl import threadpool_limits

    options = parser().parse_args(arguments)
    every, labels = labelled_files(options.data)
    paths = [weights_of(options.weights, name) for name in TRUNKS]
    features = {name: pooled(every, path, name) for name, path in zip(TRUNKS, paths, strict=True)}
    # Threads of one small product wait for each other.
    with threadpool_limits(1):
        divisions = [one_division(features, labels, seed) for seed in range(options.seeds)]
    summary = {
        name: mean_interval([100 * (found[name] - found[PLAIN]) for found in divisions]) for name in divisions[0]
    }
    plain = float(np.mean([found[PLAIN] for found in divisions]))
    print(f"{PLAIN}: {100 * plain:.2f} % over {len(divisions)} divisions")
    body: list[list[Any]] = [
        [name, value["mean"], value["low"], value["high"]] for name, value in summary.items() if name != PLAIN
    ]
    result = {"pictures": len(labels), "cores": os.cpu_count(), "divisions": divisions, "minus_plain": summary}
    show(result, ["head", "points above", "from", "to"], body, options.out)
    return 0


def parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.heads", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    command.add_argument(
        "data", type=lambda text: Path(text).absolute(), metavar="DATA", help="a folder of class folders"
    )
    command.add_argument("--weights", default="imagenet", help="as of search/run.py (default: imagenet)")
    command.add_argument("--seeds", type=int, default=40, metavar="N", help="divisions (default: 40)")
    command.add_argument("--out", type=Path, metavar="FILE", help="where the result goes as JSON")
    return command


if __name__ == "__main__":
    raise SystemExit(main())
