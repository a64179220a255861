"""kill -9 of the driver at random moments of a whole search, and `--resume` after each.

A life is one run, from the first command to the complete report. Half of the kills come at moments drawn evenly from
the seconds that an undisturbed life takes, most of which are the search; the other half within seconds of the begin of
a phase drawn evenly, so that a driver is hit as well that parses its arguments, draws or decodes pictures, starts Ray,
retrains, or writes the report. After each kill nothing that the run has started may go on for long, and the next
command must go on where it was. Every other life begins with an empty cache. The exit code is 1 where anything does
not hold.

    python -m tests.benchmarks.killed --kills 50
"""

import argparse
import contextlib
import os
import random
import shutil
import subprocess
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tests.benchmarks.faults import descendants, epochs_again, outlive, read_lines, violations
from tests.benchmarks.measuring import POLL, folder_aside, show, start

MARK = "PEDIGREE_KILLED"  # in the environment of everything that a life starts
PHASES = ("starting", "drawing", "decoding", "starting Ray", "searching", "retraining", "report")
LINGER = 30.0  # seconds in which everything that a killed driver had started must be gone
# But for what is Ray's own and does nothing then: its agents, which for a minute try to reach the Ray they belonged
# to, and workers that were starting (one that has joined is called "ray::IDLE"), which wait half a minute for it.
RAYS_OWN = ("DashboardAgent", "RuntimeEnvAgent", "dashboard/agent.py", "runtime_env/agent", "default_worker.py")
INTO = 3.0  # most seconds from the begin of a phase to a kill that is meant for it
STILL = 600.0  # seconds after which a driver that is not killed is taken for dead


def options_of(folder: Path, cache: Path, options: argparse.Namespace) -> list[str]:
    """The command of a life after `search/run.py`."""
    values = {
        **{"trials": options.trials, "epochs": options.epochs, "image-sizes": 32, "weights": "none"},
        **{"final-seeds": options.final_seeds, "first-rung": 1, "reduction": 2, "dashboard": "off"},
        **{"name": "killed", "runs-dir": folder / "runs", "cache-dir": cache},
    }
    if options.families:
        values["families"] = options.families
    return [options.data, *(part for name, value in values.items() for part in (f"--{name}", str(value)))]


def phase(run: Path, log: Path, families: int, options: argparse.Namespace) -> str:
    """What a driver is at, as its rows and what it has printed say."""
    rows, _ = read_lines(run / "trials.jsonl")
    events = Counter(row["event"] for row in rows)
    if events["test"] >= families * options.final_seeds:
        return "report"
    if events["end"] >= families * options.trials:
        return "retraining"
    said = log.read_text(errors="replace")
    signs = {
        "searching": "searching ",
        "starting Ray": " test pictures",
        "decoding": "decoding ",
        "drawing": "drawing ",
    }
    return next((name for name, sign in signs.items() if sign in said), "starting")


def wait_for(driver: subprocess.Popen[bytes], phases: Sequence[str], now: Callable[[], str]) -> None:
    """Waits until a driver has come to the first of these phases or to a later one; no longer than it runs."""
    began = time.monotonic()
    while driver.poll() is None and now() not in phases and time.monotonic() - began < STILL:
        time.sleep(POLL)


def live(folder: Path, cache: Path, seconds: float, most: int, options: argparse.Namespace) -> dict[str, Any]:
    """One run to its end, its driver killed at most so often; returns the kills and what is wrong."""
    folder.mkdir(parents=True)
    run = folder / "runs" / "killed"
    chance = random.Random(f"{options.seed} {folder.name}")
    mark = f"{MARK}={uuid.uuid4().hex}"
    os.environ[MARK] = mark.partition("=")[2]
    begin = ["search/run.py", *options_of(folder, cache, options)]
    families = 3 if not options.families else len(options.families.split(","))
    kills: list[dict[str, Any]] = []
    wrong: list[str] = []
    command, drivers, took = begin, 0, 0.0
    while True:
        drivers += 1
        log = folder / f"driver-{drivers:02d}.log"
        began = time.monotonic()
        driver = start(command, log)
        doomed = len(kills) < most
        at_phase = partial(phase, run, log, families, options)
        patience = chance.uniform(0, seconds) if doomed else STILL
        if doomed and len(kills) % 2:
            wait_for(driver, PHASES[chance.randrange(len(PHASES)) :], at_phase)
            patience = chance.uniform(0, INTO)
        try:
            code = driver.wait(patience)
        except subprocess.TimeoutExpired:
            at, before = at_phase(), descendants(driver.pid)
            driver.kill()
            driver.wait()
            if not doomed:
                wrong.append(f"driver {drivers} was not done after {STILL:g} s, in the phase: {at}")
            left, waited = outlive(before, mark, LINGER, RAYS_OWN)
            wrong += [f"outlives its driver by {LINGER:g} s: {process.command[-200:]}" for process in left]
            for process in left:
                process.kill()
            after = time.monotonic() - began - waited
            again, too_many = epochs_again(run)
            wrong += too_many
            kills.append({"phase": at, "after": round(after, 2), "gone": round(waited, 2), "again": again})
            if not doomed:
                break
            command = ["search/run.py", "--resume", str(run)] if run.exists() else begin
            continue
        took = time.monotonic() - began
        if code == 0:
            break
        words = log.read_text(errors="replace").strip().split("\n")[-1]
        wrong.append(f"driver {drivers} ended with {code}: {words}")
        if command is begin:
            break
        # What cannot be resumed is begun anew, so that the other moments of this life are tried as well.
        shutil.rmtree(run)
        command = begin
    if (run / "settings.json").exists():
        wrong += violations(run, len(kills))
    else:
        wrong.append("no run")
    return {"kills": kills, "drivers": drivers, "violations": wrong, "last_driver_seconds": took}


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    lives: list[dict[str, Any]] = []
    with contextlib.ExitStack() as stack:
        place = (options.folder or stack.enter_context(folder_aside())).resolve()
        spans = {"cold": options.seconds, "warm": options.seconds}
        if options.seconds is None:
            for name in spans:
                shutil.rmtree(place / f"undisturbed-{name}", ignore_errors=True)
                found = live(place / f"undisturbed-{name}", place / "cache-warm", 0.0, 0, options)
                if found["violations"]:
                    raise RuntimeError(f"the undisturbed run is wrong already: {'; '.join(found['violations'])}")
                spans[name] = found["last_driver_seconds"]
        done = 0
        while done < options.kills:
            folder = place / f"life-{len(lives):03d}"
            shutil.rmtree(folder, ignore_errors=True)
            cold = len(lives) % 2 == 0
            found = live(
                folder,
                folder / "cache" if cold else place / "cache-warm",
                spans["cold" if cold else "warm"],
                min(options.most, options.kills - done),
                options,
            )
            lives.append({"cache": "cold" if cold else "warm", **found})
            done += len(found["kills"])
            if not found["violations"]:
                shutil.rmtree(folder, ignore_errors=True)
            print(f"{folder.name}: {len(found['kills'])} kills, {len(found['violations'])} violations", flush=True)
    kills = [kill for life in lives for kill in life["kills"]]
    wrong = [f"life {number}: {trouble}" for number, life in enumerate(lives) for trouble in life["violations"]]
    by_phase = Counter(kill["phase"] for kill in kills)
    result = {
        "benchmark": "killed",
        "seed": options.seed,
        "undisturbed_seconds": spans,
        "kills": len(kills),
        "phases": {name: by_phase[name] for name in PHASES},
        "epochs_again": max((epochs for kill in kills for epochs in kill["again"].values()), default=0),
        "gone_seconds": max((kill["gone"] for kill in kills), default=0.0),
        "lives": lives,
        "violations": wrong,
    }
    body: list[list[Any]] = [[f"kills: {name}", by_phase[name]] for name in PHASES]
    body += [["kills", len(kills)], ["lives", len(lives)], ["seconds undisturbed, cold cache", spans["cold"]]]
    body += [["most epochs of a running trial to train again", result["epochs_again"]]]
    body += [["longest wait for the run's processes to end, seconds", result["gone_seconds"]]]
    body += [["violations", len(wrong)]] + [["violation", trouble] for trouble in wrong]
    show(result, ["what", "value"], body, options.out)
    return 1 if wrong else 0


def parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.killed", description=(__doc__ or "").split("\n\n", 1)[0]
    )
    command.add_argument("data", nargs="?", default="demo", metavar="DATA", help="default: demo")
    command.add_argument("--kills", type=int, default=50, help="default: %(default)s")
    command.add_argument("--most", type=int, default=5, help="kills of one run (default: %(default)s)")
    command.add_argument("--seed", type=int, default=0, help="of the moments (default: %(default)s)")
    command.add_argument("--seconds", type=float, help="in which a driver is killed (default: those of a whole life)")
    command.add_argument("--families", help="default: all")
    command.add_argument("--trials", type=int, default=3, help="of each family (default: %(default)s)")
    command.add_argument("--epochs", type=int, default=4, help="of each (default: %(default)s)")
    command.add_argument("--final-seeds", type=int, default=1, help="default: %(default)s")
    command.add_argument("--folder", type=Path, help="where the runs are, and those stay with which anything is wrong")
    command.add_argument("--out", type=Path, help="also write the JSON there")
    return command


if __name__ == "__main__":
    raise SystemExit(main())
