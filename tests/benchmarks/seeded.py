"""search/run.py with the configurations of the scratch families drawn beforehand, by a seed alone.

What TPE suggests depends on the order in which results come, and that on every fault. Here each family has as many
hand-written points as trials, so a search that was disturbed tries what one that was not has tried.

    python -m tests.benchmarks.seeded POINTS SEED [arguments of search/run.py]
"""

import random
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from search import run
from spaces import FAMILIES

SEEDED = ("scratch_keras", "scratch_pillow")


def points(family: str, number: int, seed: int) -> list[dict[str, Any]]:
    """So many different points of a family's space, all of them small networks."""
    chance = random.Random(f"{family} {seed}")
    return [
        {
            "stem_stride": 2,
            "blocks": chance.choice((2, 3)),
            "head": "average",
            "units": chance.choice((0, 64)),
            "batch_norm": chance.random() < 0.7,
            "dropout": chance.choice((0.0, 0.1, 0.2)),
            "learning_rate": 10 ** chance.uniform(-3.0, -2.0),
            "schedule": chance.choice(("constant", "cosine")),
            "batch_size": chance.choice((16, 32)),
        }
        for _ in range(number)
    ]


def main(arguments: Sequence[str]) -> int:
    number, seed, *more = arguments
    for family in SEEDED:
        FAMILIES[family] = replace(FAMILIES[family], starts=tuple(points(family, int(number), int(seed))))
    return run.main(more, called=f"python -m tests.benchmarks.seeded {number} {seed}")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
