"""Time and memory to read, check and split a table of many rows: python -m tests.benchmarks.table [--rows N].

The files are there, with a few bytes each: listing them and their digests are told together with the table. Each part
runs once, and is told in seconds of the clock and of the processor, which differ where others work as well. What a
search does with such a table before it decodes pictures is the reading and the split in groups: the exit code is 1
where these take longer than `--within`, or more memory than `--memory`.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from search.data.folder import read_folder
from search.data.grouped import joined
from search.data.split import split_pictures
from search.data.table import match, read_table

READING = "all of the reading: both, the listing of the files and their digests"
SPLITTING = "the split in groups"


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a line for each part, their sum, and the largest memory."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=100_000)
    options.add_argument("--classes", type=int, default=120)
    options.add_argument("--group", type=int, default=7, help="pictures of a group")
    options.add_argument("--within", type=float, default=10.0, help="seconds of the clock")
    options.add_argument("--memory", type=float, default=512.0, help="MiB")
    given = options.parse_args(arguments)
    with tempfile.TemporaryDirectory() as place:
        seconds, memory = measure(Path(place), given.rows, given.classes, given.group)
    took = seconds[READING] + seconds[SPLITTING]
    print(f"before pictures are decoded: {took:.2f} of {given.within:g} s, {memory:.0f} of {given.memory:g} MiB")
    return int(took > given.within or memory > given.memory)


def measure(place: Path, rows: int, classes: int, each: int) -> tuple[dict[str, float], float]:
    """Seconds of each part, and MiB that the parts have taken."""
    for part in range(100):
        (place / "images" / f"{part:02d}").mkdir(parents=True)
    names = [f"images/{number % 100:02d}/{number:06d}.jpg" for number in range(rows)]
    for number, name in enumerate(names):
        (place / name).write_bytes(number.to_bytes(4, "big"))
    chance = np.random.default_rng(0)
    labels, groups = chance.integers(0, classes, rows), chance.permutation(rows) // each
    told = zip(labels.tolist(), groups.tolist(), strict=True)
    lines = [f"{number:06d},breed {label},{group}\n" for number, (label, group) in enumerate(told)]
    (place / "labels.csv").write_text("id,breed,patient\n" + "".join(lines))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = {}

    def timed(part: str, began: tuple[float, float]) -> None:
        clock, processor = (now - then for now, then in zip(_now(), began, strict=True))
        seconds[part] = clock
        print(f"{part}: {clock:.2f} s, processor {processor:.2f} s")

    began = _now()
    table = read_table(place / "labels.csv")
    timed("the table is read", began)
    began = _now()
    match(table, names)
    timed("its rows are matched with the files and checked", began)
    began = _now()
    folder = read_folder(place / "labels.csv")
    timed(READING, began)
    assert len(folder.pictures) == rows
    named = [picture.group for picture in folder.pictures]
    own = np.array([picture.label for picture in folder.pictures])
    began = _now()
    split_pictures(own, np.arange(rows), None, folder.classes)
    timed("the split without groups", began)
    began = _now()
    split = split_pictures(own, joined(np.arange(rows), named), None, folder.classes, grouped=True)
    timed(SPLITTING, began)
    assert len(split.train) + len(split.validation) + len(split.test) == rows
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"memory: {(after - before) / 1024:.0f} MiB beyond the {before / 1024:.0f} MiB that the files took to make")
    return seconds, (after - before) / 1024


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


if __name__ == "__main__":
    raise SystemExit(main())
