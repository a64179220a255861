"""A search of many short trials on a test cluster while everything it stands on is killed, from a seed.

Faults hit workers' children, Tune's actors, raylets, whole nodes, the driver, and once the whole cluster with it, at
random moments of the search; new nodes come up, the driver is resumed until it is done. What must then be true of the
rows is checked, and that they tell what an undisturbed search tells: its configurations are drawn by the seed alone.
The exit code is 1 where anything does not hold.

    python -m tests.benchmarks.chaos --seed 3
"""

import argparse
import contextlib
import gc
import json
import os
import random
import shutil
import subprocess
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ray.cluster_utils import Cluster as LocalCluster

from results.analysis.numbers import best_trial
from results.rows import read_rows
from search.data.demo import draw_demo
from tests.benchmarks import seeded
from tests.benchmarks.faults import CHILD, Process, configurations, curves, descendants, read_lines, violations
from tests.benchmarks.measuring import POLL, folder_aside, show, start
from tests.benchmarks.sleeping import HEALTH

# What the first so many faults of a run are, before the seed puts them in an order.
KINDS = (
    "child", "driver", "actor", "raylet", "child", "node", "actor", "driver", "child", "cluster", "actor", "child",
    "raylet", "driver", "actor", "child", "node", "actor", "driver", "child",
)  # fmt: skip
PAUSE = 2.0  # most seconds from the row that a fault waits for to the fault
PATIENCE = 60.0  # seconds that a fault waits for something to hit
STILL = 300.0  # seconds without a row after which a search is taken for dead
SELF_ENDED = 8  # drivers in a row that end by themselves without a row before the harness gives up


@dataclass(frozen=True)
class Fault:
    """What is killed, and when: so many seconds after so many rows."""

    kind: str
    rows: int
    pause: float


def plan(seed: int, faults: int, rows: int) -> list[Fault]:
    """The faults of a search that writes so many rows, in their order."""
    chance = random.Random(seed)
    kinds = [KINDS[number % len(KINDS)] for number in range(faults)]
    chance.shuffle(kinds)
    moments = sorted(chance.randrange(rows) for _ in kinds)
    return [Fault(kind, moment, chance.uniform(0, PAUSE)) for kind, moment in zip(kinds, moments, strict=True)]


class Search:
    """A search on a cluster of its own, both of them started again whenever they have been killed."""

    def __init__(self, folder: Path, options: argparse.Namespace, chance: random.Random) -> None:
        self.folder = folder
        self.run = folder / "runs" / "chaos"
        self.options = options
        self.chance = chance
        self.notes: list[str] = []  # what was out of the ordinary, in words
        self.drivers = 0
        self.kills = 0  # of the driver
        self.nodes = 0
        self.cluster = self._cluster()
        self.driver: subprocess.Popen[bytes] | None = None
        self.began = time.monotonic()

    def go_on(self) -> None:
        """Starts the driver, with `--resume` where there is a run to go on with."""
        options, families = self.options, ",".join(seeded.SEEDED)
        if (self.run / "settings.json").exists():
            command = ["--resume", str(self.run)]
        else:
            if self.run.exists():
                self.notes.append("a run folder without settings: neither --resume nor the same command goes on")
                shutil.rmtree(self.run)
            command = [
                str(self.folder.parent / "dogs"), "--families", families, "--trials", str(options.trials // 2),
                "--epochs", str(options.epochs), "--image-sizes", "32", "--weights", "none", "--final-seeds", "1",
                "--first-rung", "2", "--reduction", str(options.reduction), "--name", "chaos", "--dashboard", "off",
                "--runs-dir", str(self.run.parent), "--max-failures", "99",
            ]  # fmt: skip
        # The cache of the driver is that of the head; every other node has one of its own.
        environment = ["--address", str(self.cluster.address), "--cache-dir", str(self.folder / "cache")]
        self.drivers += 1
        seed, trials = str(options.search_seed), str(options.trials // 2)
        self.driver = start(
            ["-m", "tests.benchmarks.seeded", trials, seed, *command, *environment],
            self.folder / f"driver-{self.drivers:02d}.log",
        )

    def rows(self) -> int:
        """Lines of the run so far."""
        path = self.run / "trials.jsonl"
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def has_rows(self, number: int) -> bool:
        """Whether the run has so many rows."""
        return self.rows() >= number

    def wait(self, until: Callable[[], Any], seconds: float = float("inf")) -> Any:
        """Waits for something to be true and returns it, with the driver kept alive meanwhile.

        None after so many seconds, and where the search is done. Raises RuntimeError where it does not go on.
        """
        began = still = time.monotonic()
        known, ended = self.rows(), 0
        while time.monotonic() - began < seconds:
            if self.driver is None:
                self.go_on()
            assert self.driver is not None
            code = self.driver.poll()
            if code == 0:
                return None
            if found := until():
                return found
            if self.rows() != known:
                known, still, ended = self.rows(), time.monotonic(), 0
            if time.monotonic() - still > STILL:
                raise RuntimeError(f"no row for {STILL:g} s, see driver-{self.drivers:02d}.log")
            if code is not None:
                self.notes.append(f"driver {self.drivers} ended by itself with {code}: {self._last_words()}")
                self.driver = None
                ended += 1
                if ended == SELF_ENDED:
                    raise RuntimeError(f"{SELF_ENDED} drivers ended by themselves without a row")
                time.sleep(1.0)
            time.sleep(POLL)
        return None

    def hit(self, kind: str) -> bool:
        """Kills something of a kind; False where there is nothing of it."""
        return bool(getattr(self, f"_{kind}_fault")())

    def close(self) -> None:
        """Ends what is left of it."""
        if self.driver is not None and self.driver.poll() is None:
            self.driver.kill()
            self.driver.wait()
        self._end_cluster()

    def _children(self) -> list[Process]:
        return [process for process in descendants(os.getpid()) if CHILD in process.command]

    def _child_fault(self) -> bool:
        found = self._children()
        if found:
            self.chance.choice(found).kill()
        return bool(found)

    def _actor_fault(self) -> bool:
        parents = {process.parent for process in self._children()}
        found = [process for process in descendants(os.getpid()) if process.number in parents]
        if found:
            self.chance.choice(found).kill()
        return bool(found)

    def _raylet_fault(self) -> bool:
        node = self.chance.choice(sorted(self.cluster.worker_nodes, key=id))
        raylet = node.all_processes["raylet"][0].process
        raylet.kill()
        raylet.wait()
        time.sleep(self.chance.uniform(0, PAUSE))
        return self._replace(node)

    def _node_fault(self) -> bool:
        return self._replace(self.chance.choice(sorted(self.cluster.worker_nodes, key=id)))

    def _replace(self, node: Any) -> bool:
        self.cluster.remove_node(node, allow_graceful=False)
        time.sleep(self.chance.uniform(0, PAUSE))
        self._add_node()
        return True

    def _driver_fault(self) -> bool:
        if self.driver is None or self.driver.poll() is not None:
            return False
        self.driver.kill()
        self.driver.wait()
        self.driver = None
        self.kills += 1
        return True

    def _cluster_fault(self) -> bool:
        # As after a reboot: the cluster that the driver is resumed on is another one.
        if not self._driver_fault():
            return False
        self._end_cluster()
        self.cluster = self._cluster()
        return True

    def _cluster(self) -> LocalCluster:
        head = {
            "num_cpus": 0,
            "include_dashboard": False,
            "_system_config": HEALTH,
            "env_vars": {"PEDIGREE_CACHE": str(self.folder / "cache")},
        }
        self.cluster = self._patiently(lambda: LocalCluster(initialize_head=True, head_node_args=head))
        for _ in range(self.options.nodes):
            self._add_node()
        return self.cluster

    def _add_node(self) -> None:
        self.nodes += 1
        cache = str(self.folder / f"cache-{self.nodes}")
        self._patiently(lambda: self.cluster.add_node(num_cpus=1, env_vars={"PEDIGREE_CACHE": cache}))

    def _patiently(self, start_node: Callable[[], Any]) -> Any:
        """Ray gives a node half a minute to start, which on a machine with other work is now and then too little."""
        for attempt in range(5):
            try:
                return start_node()
            except Exception as error:  # Ray raises nothing more precise
                self.notes.append(f"attempt {attempt + 1} to start a node: {str(error)[:100]}")
        raise RuntimeError("no node of the cluster could be started")

    def _end_cluster(self) -> None:
        for node in [*self.cluster.worker_nodes, self.cluster.head_node]:
            with contextlib.suppress(AssertionError):
                self.cluster.remove_node(node, allow_graceful=False)
        self.cluster.shutdown()

    def _last_words(self) -> str:
        lines = (self.folder / f"driver-{self.drivers:02d}.log").read_text(errors="replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), "nothing")[:300]


def disturb(folder: Path, options: argparse.Namespace, faults: Sequence[Fault]) -> dict[str, Any]:
    """Runs a search to its end under these faults; returns what was done and what is wrong with it."""
    folder.mkdir(parents=True)
    search = Search(folder, options, random.Random(options.seed))
    made: list[dict[str, Any]] = []
    wrong: list[str] = []
    try:
        for fault in faults:
            if search.wait(partial(search.has_rows, fault.rows)) is None:
                break
            time.sleep(fault.pause)
            kind = fault.kind
            # Near the end nothing may be left of a kind: the driver is always there.
            if not search.wait(partial(search.hit, kind), PATIENCE):
                kind = "driver"
                if not search.wait(partial(search.hit, kind)):
                    break
            made.append({"kind": kind, "row": search.rows(), "at": round(time.monotonic() - search.began, 1)})
        search.wait(lambda: False)
    except RuntimeError as error:
        wrong.append(str(error))
    finally:
        search.close()
    seconds = time.monotonic() - search.began
    blamed = sum(fault["kind"] in ("child", "actor") for fault in made)
    wrong += violations(search.run, search.kills, blamed) if (search.run / "settings.json").exists() else ["no run"]
    return {
        "faults": made,
        "drivers": search.drivers,
        "seconds": round(seconds, 1),
        "notes": search.notes,
        "violations": wrong,
    }


def summary(run: Path, families: Sequence[str]) -> dict[str, Any]:
    """What a search found: configurations, curves, and the best trial and epoch of each family."""
    lines, _ = read_lines(run / "trials.jsonl")
    rows = read_rows(run / "trials.jsonl")
    best = {family: best_trial(rows, family) for family in families}
    return {
        "configurations": configurations(lines),
        "curves": {
            name: {str(epoch): value for epoch, value in curve.items()} for name, curve in curves(lines).items()
        },
        "best": {family: found and [found["trial"], found["epoch"]] for family, found in best.items()},
        "winner": json.loads((run / "results.json").read_text())["winner"],
    }


def compare(found: dict[str, Any], undisturbed: dict[str, Any], *, asha: bool) -> tuple[list[str], int]:
    """What differs from the undisturbed search, and how many epochs have another value than there.

    With ASHA, which trial is stopped depends on the order in which they come, so only the configurations are compared.
    """
    wrong = []
    for name in sorted({*found["configurations"], *undisturbed["configurations"]}):
        if found["configurations"].get(name) != undisturbed["configurations"].get(name):
            wrong.append(f"{name} has another configuration than undisturbed")
    differing = sum(
        found["curves"].get(name, {}).get(epoch) != value
        for name, curve in undisturbed["curves"].items()
        for epoch, value in curve.items()
    )
    if asha:
        return wrong, differing
    for family, best in undisturbed["best"].items():
        if found["best"][family] != best:
            wrong.append(f"{family}: best is {found['best'][family]}, undisturbed {best}")
    if found["winner"] != undisturbed["winner"]:
        wrong.append(f"{found['winner']} wins, undisturbed {undisturbed['winner']}")
    return wrong, differing


def measure(place: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The undisturbed search, unless an earlier seed has left it in this folder, and the disturbed one.

    With `alone` nothing is compared: what is wrong in itself is wrong all the same.
    """
    draw_demo(place / "dogs", breeds=4, pictures=24, size=48)
    undisturbed: dict[str, Any] | None = None if options.alone else _undisturbed(place, options)
    # A start and an end of each trial, its epochs and its rung.
    rows = options.trials * (2 + options.epochs + 1)
    folder = place / f"seed-{options.seed}"
    shutil.rmtree(folder, ignore_errors=True)
    result = disturb(folder, options, plan(options.seed, options.faults, rows))
    if undisturbed and (folder / "runs/chaos/results.json").exists():
        asha = options.reduction <= options.trials
        wrong, differing = compare(summary(folder / "runs/chaos", seeded.SEEDED), undisturbed, asha=asha)
        result["violations"] += wrong
        result["epochs_with_another_value"] = differing
    if len(result["faults"]) < options.faults:
        result["violations"].append(f"only {len(result['faults'])} of {options.faults} faults came to be")
    if not result["violations"] and not options.keep:
        shutil.rmtree(folder, ignore_errors=True)
    result["undisturbed_seconds"] = undisturbed and undisturbed["seconds"]
    return result


def _undisturbed(place: Path, options: argparse.Namespace) -> dict[str, Any]:
    kept = place / f"undisturbed-{options.trials}-{options.epochs}-{options.reduction}-{options.search_seed}.json"
    if not kept.exists():
        aside = place / f"undisturbed-{os.getpid()}"
        begun = disturb(aside, options, ())
        if begun["violations"]:
            raise RuntimeError(f"the undisturbed search is wrong already: {'; '.join(begun['violations'])}")
        kept.write_text(json.dumps({**summary(aside / "runs/chaos", seeded.SEEDED), "seconds": begun["seconds"]}))
    found: dict[str, Any] = json.loads(kept.read_text())
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    with contextlib.ExitStack() as stack:
        place = (options.folder or stack.enter_context(folder_aside())).resolve()
        found = measure(place, options)
        with warnings.catch_warnings():
            # Ray looks for free ports with sockets that it leaves to the garbage collector.
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
    kinds = Counter(fault["kind"] for fault in found["faults"])
    body: list[list[Any]] = [[f"faults: {kind}", kinds[kind]] for kind in dict.fromkeys(KINDS) if kinds[kind]]
    body += [["drivers", found["drivers"]], ["seconds", found["seconds"]]]
    body += [["seconds undisturbed", found["undisturbed_seconds"]]]
    body += [["epochs with another value than undisturbed", found.get("epochs_with_another_value")]]
    body += [["violations", len(found["violations"])]]
    body += [["note", note] for note in found["notes"]] + [["violation", wrong] for wrong in found["violations"]]
    result = {"benchmark": "chaos", "seed": options.seed, "trials": options.trials, **found}
    show(result, ["what", "value"], body, options.out)
    return 1 if found["violations"] else 0


def parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.chaos", description=(__doc__ or "").split("\n\n", 1)[0]
    )
    command.add_argument("--seed", type=int, default=0, help="of the faults (default: %(default)s)")
    command.add_argument("--faults", type=int, default=20, help="default: %(default)s")
    command.add_argument("--trials", type=int, default=40, help="of both families together (default: %(default)s)")
    command.add_argument("--epochs", type=int, default=4, help="of each (default: %(default)s)")
    command.add_argument(
        "--reduction",
        type=int,
        default=1000,
        help="ASHA's; with more than there are trials none is stopped, and the seed decides the winner "
        "(default: %(default)s)",
    )
    command.add_argument("--search-seed", type=int, default=0, help="of the configurations (default: %(default)s)")
    command.add_argument("--nodes", type=int, default=2, help="beside the head, a trial at a time on each (default: 2)")
    command.add_argument("--folder", type=Path, help="where the undisturbed search stays, and what went wrong")
    command.add_argument("--alone", action="store_true", help="run no undisturbed search to compare with")
    command.add_argument("--keep", action="store_true", help="keep the disturbed run as well where nothing is wrong")
    command.add_argument("--out", type=Path, help="also write the JSON there")
    return command


if __name__ == "__main__":
    raise SystemExit(main())
