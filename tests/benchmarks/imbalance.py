"""What does a search that is judged by macro-F1 and weighs rare classes gain on imbalanced data over a plain one?

For each seed the classes of a folder are cut to 20, 35, 50, 65 ... pictures, which class to which number by the seed.
Both searches get the same pictures, split, time and seed; the winner of each is judged by macro-F1 on the same test
pictures, from the probabilities that its run has stored.

    python -m tests.benchmarks.imbalance DATA --budget 2m --seeds 0,1,2,3,4

The difference is paired by seed, with the 95 % interval of its mean by Student's t over the seeds.
"""

import argparse
import json
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from results.analysis.numbers import judge_test, mean_interval
from results.delivery.files import pictures_below
from tests.benchmarks.measuring import folder_aside, parse, parser_over_seeds, show, start

FEWEST, STEP = 20, 15
METRIC = "macro_f1"
SEARCHES: dict[str, tuple[str, ...]] = {
    "plain": ("--class-weights", "none"),
    "weighed": ("--metric", METRIC, "--class-weights", "auto"),
}


def cut(data: Path, seed: int, aside: Path, fewest: int = FEWEST, step: int = STEP) -> dict[str, int]:
    """Fills a folder with some pictures of each class: `fewest` of one, `step` more of another, and so on.

    Returns how many each class has. Raises ValueError for a class that has fewer than it should be cut to.
    """
    random = np.random.default_rng(seed)
    folders = sorted(path for path in data.iterdir() if path.is_dir())
    if len(folders) < 2:
        raise ValueError(f"needs a folder with two class folders or more, got {len(folders)} in `{data}`")
    counts: dict[str, int] = {}
    for place, folder in zip(random.permutation(len(folders)).tolist(), folders, strict=True):
        files = sorted(pictures_below(folder))
        wanted = fewest + step * place
        lacking = wanted - len(files)
        if lacking > 0 and (lacking >= step or place == 0):
            raise ValueError(
                f"needs {wanted} pictures of a class that is cut to so many, got {len(files)} in `{folder}`"
            )
        wanted = min(wanted, len(files))
        (aside / folder.name).mkdir(parents=True)
        for chosen in sorted(random.permutation(len(files))[:wanted].tolist()):
            shutil.copy(files[chosen], aside / folder.name / files[chosen].name)
        counts[folder.name] = wanted
    return counts


def reached(run: Path) -> dict[str, Any]:
    """Macro-F1 and accuracy of a run's winner on its test pictures; raises ValueError where it was not scored."""
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    split = json.loads((run / "split.json").read_text(encoding="utf-8"))
    winner = results["winner"]
    test = results["families"][winner]["test"] if winner else None
    found = judge_test(run, winner, split, [seed["seed"] for seed in test["seeds"]], METRIC) if test else None
    if test is None or found is None:
        raise ValueError(f"needs a run whose winner was scored on test, with its probabilities, got `{run}`")
    config = results["families"][winner]["best"]["config"]
    return {
        **{"winner": winner, "trial": results["families"][winner]["best"]["trial"], METRIC: found["value"]},
        **{"accuracy": test["accuracy"], "pictures": test["pictures"]},
        **{name: config.get(name) for name in ("class_weight_power", "loss")},
    }


def one_seed(options: argparse.Namespace, seed: int, folder: Path) -> dict[str, Any]:
    """Both searches on one cut."""
    counts = cut(options.data, seed, folder / "cut")
    found: dict[str, Any] = {"seed": seed, "pictures": sum(counts.values())}
    for name, own in SEARCHES.items():
        command = [
            *("search/run.py", str(folder / "cut"), "--weights", options.weights),
            *("--time-budget", f"{options.budget:g}s", "--seed", str(seed), "--name", name),
            # Neither finds what the other has cached.
            *("--runs-dir", str(folder / "runs"), "--cache-dir", str(folder / f"cache-{name}"), "--dashboard", "off"),
            *(*own, *options.more),
        ]
        began = time.monotonic()
        code = start(command, folder / "log.txt").wait()
        if code:
            said = (folder / "log.txt").read_text()[-2000:]
            raise RuntimeError(f"`{' '.join(command)}` ended with exit code {code}:\n{said}")
        found[name] = {**reached(folder / "runs" / name), "seconds": time.monotonic() - began}
    return found


def differences(found: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Weighed minus plain, the mean over the seeds with its interval, of macro-F1 and of accuracy."""
    return {
        name: mean_interval([one["weighed"][name] - one["plain"][name] for one in found])
        for name in (METRIC, "accuracy")
    }


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(parser(), arguments)
    found = []
    for seed in options.seeds:
        with folder_aside() as folder:
            found.append(one_seed(options, seed, folder))
        print(json.dumps(found[-1]), flush=True)
    summary = differences(found)
    body = [
        [one["seed"], name, *(one[name][key] for key in (METRIC, "accuracy", "class_weight_power", "loss"))]
        for one in found
        for name in SEARCHES
    ]
    result = {"budget": options.budget, "cores": os.cpu_count(), "seeds": found, "weighed_minus_plain": summary}
    for name, value in summary.items():
        print(f"{name}, weighed minus plain: {value}")
    show(result, ["seed", "search", "macro-F1", "accuracy", "power", "loss"], body, options.out)
    return 0


def parser() -> argparse.ArgumentParser:
    return parser_over_seeds("imbalance", __doc__, weights=" (default: imagenet)", budget=(120.0, "2m"), each="cut")


if __name__ == "__main__":
    raise SystemExit(main())
