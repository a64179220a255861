"""Broken, odd and hostile run folders from a seed, given to every command that reads one.

A report counts what it skips and says which records it does not use; any other answer is one line that names the file.
No traceback, no hang, no file outside the run folder.

python -m tests.benchmarks.mutated_runs --count 500 --seed 0
"""

import argparse
import contextlib
import faulthandler
import io
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from results.__main__ import main as results_main
from results.pages.document import write_report
from search import run as command
from search import starting
from search.data import pictures as data
from search.data.demo import draw_demo
from search.record.journal import FINISHED, STOPPED, Journal, Record
from search.schedule.course import Course
from search.settings import Settings
from search.studies.own_spaces import OwnSpaces
from search.studies.study import studies_of
from search.training.weights import find_weights
from tests.benchmarks.measuring import ROOT, Row, folder_aside, outlived, show

FAMILIES = ("scratch_keras", "mobilenet")
# How often each file is mutated, in parts.
TARGETS = {
    "trials.jsonl": 10, "settings.json": 4, "split.json": 5, "environment.json": 2, "results.json": 1,
    "predictions/scratch_keras-0.npz": 2, "models/scratch_keras.keras": 1, "mistakes/scratch_keras.json": 1,
}  # fmt: skip
ODD: tuple[Any, ...] = (
    None, True, -1, 0, 0.5, -5.5, 10**30, 2**63, float("nan"), float("inf"), "", "x" * 10_000, [], {}, [[]], "\x00",
    "../../../outside", "/tmp/outside", "<script>alert(1)</script>", "\ud800", "\u202egnp", "1", "$(touch hacked)",
    {"a": {"b": [None]}}, [1, "a", None], 1e308, -0.0, "\n\n# title\n| a | b |",
)  # fmt: skip


def base_run(folder: Path) -> Path:
    """A run of two families with rows, records, predictions, mistakes and a model, all but the training real."""
    settings = Settings(
        data=str(draw_demo(folder / "drawn", 3, 12, 40)), families=FAMILIES, trials=5, epochs=3, image_sizes=(32,),
        weights="none", final_seeds=1, name="base", runs_dir=str(folder / "runs"), cache_dir=str(folder / "cache"),
    )  # fmt: skip
    pictures, split = data.prepare(settings, 2, lambda line: None)
    run = settings.folder
    for name in ("predictions", "models", "mistakes"):
        (run / name).mkdir(parents=True)
    (run / "settings.json").write_text(settings.to_json())
    (run / "split.json").write_text(json.dumps(split))
    (run / "environment.json").write_text(json.dumps(command.environment(["python", "search/run.py"], {"cpus": 2})))
    journal = Journal(run / "trials.jsonl")
    studies = studies_of(settings, find_weights("none", seed=0), journal)
    chance = random.Random(0)
    parts = dict.fromkeys(("seconds", "waiting", "building", "training", "validating"), 0.25)
    for family in FAMILIES:
        for number in range(4):
            name = f"{family}-{number:03d}"
            journal.records[name] = Record(name, family, *studies[family].suggest(name))
            journal.start(name)
            epochs = 3 if number != 2 else 1
            for epoch in range(1, epochs + 1):
                reached = {
                    "validation_accuracy": chance.random(),
                    "validation_loss": chance.random(),
                    "parameters": 100,
                }
                trained = {"train_accuracy": chance.random(), "train_loss": chance.random()}
                journal.epochs(name, [{"epoch": epoch, **trained, **reached, **parts}])
                if epoch == 1:
                    journal.write("rung", name, family, epoch=1, value=0.5, promoted=number != 2)
            if number < 3:
                journal.end(name, FINISHED if epochs == 3 else STOPPED, "as planned")
    probabilities = np.full((len(pictures.test), 3), 1 / 3, np.float32)
    np.savez(run / "predictions/scratch_keras-0.npz", probabilities=probabilities)
    scored = {"accuracy": 0.5, "loss": 1.0, "pictures": len(pictures.test), "train_accuracy": 0.6, "seconds": 1.0}
    journal.write("test", "scratch_keras-000", "scratch_keras", seed=0, epochs=3, **scored)
    size = {"parameters": 100, "bytes": 1000, "latency_one": 0.01, "latency_batch": 0.1, "batch": 32, "device": "CPU"}
    journal.write("model", "scratch_keras-000", "scratch_keras", seed=0, path="models/scratch_keras.keras", **size)
    journal.close()
    for study in studies.values():
        study.close()
    _mistakes(run, pictures.test.tolist())
    return run


def _mistakes(run: Path, test: Sequence[int]) -> None:
    from PIL import Image

    for name in ("wrong", "nearest"):
        Image.new("RGB", (32, 32)).save(run / f"mistakes/scratch_keras-0-{name}.jpg")
    nearest = {"picture": "scratch_keras-0-nearest.jpg", "side": "train", "place": 0, "label": 1, "similarity": 0.9}
    mistake = {
        **{"place": 0, "true": 0, "predicted": 1, "probability": 0.9, "true_probability": 0.1},
        **{"picture": "scratch_keras-0-wrong.jpg", "nearest": nearest},
    }
    record = {"family": "scratch_keras", "test": len(test), "wrong": 1, "compared": 9, "mistakes": [mistake]}
    (run / "mistakes/scratch_keras.json").write_text(json.dumps(record))


def add_model(run: Path) -> None:
    """A model of three classes that takes raw pictures."""
    import keras

    pictures = keras.Input((None, None, 3), dtype="uint8")
    means = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(pictures))
    keras.Model(pictures, keras.layers.Dense(3, activation="softmax")(means)).save(run / "models/scratch_keras.keras")


def mutate(run: Path, chance: random.Random) -> list[str]:
    """Does one thing each to one or two files of a run folder; says what."""
    targets = chance.choices(list(TARGETS), list(TARGETS.values()), k=chance.choice((1, 1, 2)))
    return [_mutate(run, target, chance) for target in dict.fromkeys(targets)]


def _mutate(run: Path, target: str, chance: random.Random) -> str:
    path = run / target
    ways: list[Callable[[Path, random.Random], None]] = [*ANY_FILE]
    if target.endswith(".json"):
        ways += [_odd_value] * 8 + [_lost_key, _twice_the_key, _nested, _another_kind]
    elif target.endswith(".jsonl"):
        ways += [_odd_row] * 8 + [_foreign_rows, _shuffled, _repeated, _joined, _nested_row, _lost_rows]
    elif target.endswith(".npz"):
        ways += [_other_arrays] * 6
    way = chance.choice(ways)
    way(path, chance)
    return f"{target}: {way.__name__.strip('_').replace('_', ' ')}"


def _flipped(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(chance.choice((1, 8, 64))):
        content[chance.randrange(len(content))] = chance.randrange(256)
    path.write_bytes(content)


def _cut(path: Path, chance: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: chance.randrange(len(content))])


def _replaced(path: Path, chance: random.Random) -> None:
    path.write_bytes(
        chance.choice((b"", b"\n", b"\0" * 4096, b"\xff\xfe{\0}\0", chance.randbytes(2000), b"null", b"[]"))
    )


def _gone(path: Path, chance: random.Random) -> None:
    path.unlink()
    if chance.random() < 0.3:
        path.mkdir()
    elif chance.random() < 0.3:
        path.symlink_to(path)
    elif chance.random() < 0.3:
        os.mkfifo(path)


def _other_ends(path: Path, chance: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(chance.choice((b"\xef\xbb\xbf" + content, content.replace(b"\n", b"\r\n"), content + content)))


ANY_FILE = (_flipped, _flipped, _cut, _replaced, _gone, _other_ends)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value[:3]) if isinstance(value, list) else ()
    return [path, *(found for key, one in inner for found in _places(one, (*path, key)))]


def _put(record: Any, chance: random.Random) -> None:
    place = chance.choice(_places(record)[1:])
    for key in place[:-1]:
        record = record[key]
    record[place[-1]] = chance.choice(ODD)


def _odd_value(path: Path, chance: random.Random) -> None:
    record = json.loads(path.read_text())
    _put(record, chance)
    path.write_text(json.dumps(record))


def _lost_key(path: Path, chance: random.Random) -> None:
    record = json.loads(path.read_text())
    del record[chance.choice(list(record))]
    path.write_text(json.dumps(record))


def _twice_the_key(path: Path, chance: random.Random) -> None:
    record = json.loads(path.read_text())
    key = chance.choice(list(record))
    path.write_text(json.dumps(record)[:-1] + f", {json.dumps(key)}: {json.dumps(chance.choice(ODD))}}}")


def _nested(path: Path, chance: random.Random) -> None:
    path.write_text(chance.choice(("[" * 100_000, '{"a":' * 5000 + "1" + "}" * 5000, '{"a":' * 30 + "1" + "}" * 30)))


def _another_kind(path: Path, chance: random.Random) -> None:
    path.write_text(json.dumps(chance.choice(ODD)))


def _odd_row(path: Path, chance: random.Random) -> None:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for _ in range(chance.choice((1, 1, 5))):
        _put(chance.choice(rows), chance)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _foreign_rows(path: Path, chance: random.Random) -> None:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    other = chance.choice(("resnet", "../../outside", "scratch_pillow", "<b>", "", "mobilenet", "a" * 300))
    foreign = [{**row, "family": other, "trial": row["trial"].replace("scratch_keras", other)} for row in rows]
    path.write_text("".join(json.dumps(row) + "\n" for row in chance.sample(rows + foreign, 2 * len(rows))))


def _lines(path: Path, change: Callable[[list[str]], list[str]], end: str = "\n") -> None:
    path.write_text(end.join(change(path.read_text().splitlines())) + "\n")


def _shuffled(path: Path, chance: random.Random) -> None:
    _lines(path, lambda lines: chance.sample(lines, len(lines)))


def _repeated(path: Path, chance: random.Random) -> None:
    _lines(path, lambda lines: chance.choices(lines, k=2 * len(lines)))


def _joined(path: Path, chance: random.Random) -> None:
    _lines(path, lambda lines: lines, chance.choice(("", " ", ",", "\0")))


def _nested_row(path: Path, chance: random.Random) -> None:
    _lines(path, lambda lines: [*lines[:9], chance.choice(("[" * 100_000, '{"event":' * 3000)), *lines[9:]])


def _lost_rows(path: Path, chance: random.Random) -> None:
    _lines(path, lambda lines: chance.sample(lines, chance.randrange(len(lines))))


def _other_arrays(path: Path, chance: random.Random) -> None:
    with np.load(path) as saved:
        found = saved["probabilities"]
    other = chance.choice((found[:, :2], found[:3], found * np.nan, found * 1e30, -found, found.astype(str), found[0],
        found > 0.5, found + 1j, np.zeros((2000, 2000)), np.array({"a": 1}, dtype=object)))  # fmt: skip
    arrays: dict[str, Any] = {chance.choice(("probabilities", "probabilities", "other")): other}
    (np.savez_compressed if chance.random() < 0.5 else np.savez)(path, **arrays)


def answer(folder: Path, base: Path, number: int, run: Callable[[], int]) -> dict[str, Any]:
    """Status and last words of a command."""
    errors = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
        try:
            status = run()
        except SystemExit as ended:
            status = int(ended.code or 0)
        except Exception as error:
            return {"status": None, "said": f"{type(error).__name__}: {str(error)[:300]}"}
    return {"status": status, "said": errors.getvalue()}


def resume(folder: Path) -> int:
    """What `--resume` does with a folder before it starts Ray, and the first jobs that it would give out."""
    try:
        settings = starting.continued(folder, {})
        pictures, split = data.prepare(settings, 2, lambda line: None)
        command.check_same_data(folder / "split.json", split)
        rows = folder / "trials.jsonl"
        weights = find_weights(settings.weights, seed=settings.seed)
        with OwnSpaces(settings) as own:
            earlier = command.rows_before(rows, settings, weights, own, {}) if rows.exists() else None
        journal = Journal(rows, time.monotonic(), earlier=earlier)
        studies = studies_of(settings, weights, journal)
        course = Course(settings, studies, journal, 1, pictures, lambda line: None)
        try:
            names = [found[0] for found in (course.next() for _ in range(4)) if found is not None]
            if len(set(names)) < len(names) or any("/" in name for name in names):
                raise AssertionError(f"gives out {names}")
            course.nothing_left()
            course.over()
        finally:
            journal.close()
            for study in studies.values():
                study.close()
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def feed(place: Path, options: argparse.Namespace) -> None:
    """The child: mutates copies of the base run in turn, and gives each to every command."""
    base, work = place / "runs" / "base", place / "work"
    known = {line for line in (base / "trials.jsonl").read_text().splitlines()}
    picture = str(next((place / "drawn").rglob("*.*g")))
    for number in range(options.start, options.count):
        chance = random.Random(options.seed * 1_000_003 + number)
        shutil.rmtree(work, ignore_errors=True)
        run = work / "inner" / "runs" / "mutated"
        shutil.copytree(base, run)
        how = mutate(run, chance) if number else ["nothing: intact"]
        print(json.dumps({"begins": f"{number}: {', '.join(how)}"}), flush=True)
        faulthandler.dump_traceback_later(options.seconds, exit=True)
        began = time.perf_counter()
        rows = run / "trials.jsonl"
        lines: list[str] = []
        if rows.is_file():
            with rows.open(encoding="utf-8", errors="replace") as file:
                lines = [line.rstrip("\n") for line in file]
        commands: dict[str, Callable[[], int]] = {"report": lambda run=run: results_main([str(run)])}  # type: ignore[misc]
        if number % 5 == 0:
            out = str(work / "compared.html")
            commands["compare"] = lambda run=run, out=out: results_main([str(run), str(base), "--out", out])  # type: ignore[misc]
        if options.models and (number % 3 == 0 or "keras" in how[0]):
            commands["predict"] = lambda run=run: results_main(["predict", str(run), picture])  # type: ignore[misc]
        if options.models and number % 25 == 0:
            commands["export"] = lambda run=run: results_main(["export", str(run), "--format", "saved_model"])  # type: ignore[misc]
        commands["resume"] = lambda run=run: resume(run)  # type: ignore[misc]
        answers = {name: answer(run, base, number, one) for name, one in commands.items()}
        if answers["report"]["status"] == 0:
            answers["report"] |= _reported(run, lines, known)
        faulthandler.cancel_dump_traceback_later()
        strange = sorted(path.name for path in work.rglob("*") if "outside" in path.name or "hacked" in path.name)
        outside = sorted(
            path.name for path in (work, work / "inner", work / "inner" / "runs") for path in path.iterdir()
        )
        took = time.perf_counter() - began
        print(json.dumps({
            "ends": f"{number}: {', '.join(how)}", "how": how, "answers": answers, "seconds": took, "strange": strange,
            "outside": outside, "folder": str(run),
        }), flush=True)  # fmt: skip


def _reported(run: Path, lines: Sequence[str], known: set[str]) -> dict[str, Any]:
    def refuse(constant: str) -> float:
        raise ValueError(constant)

    found = json.loads((run / "results.json").read_text(encoding="utf-8"), parse_constant=refuse)
    page = (run / "report.html").read_text(encoding="utf-8")
    return {
        "skipped": found["skipped_rows"],
        "lines": sum(bool(line.strip()) for line in lines),
        "intact": sum(line in known for line in lines),
        "script": "<script>alert" in page or "<script>alert" in (run / "report.md").read_text(encoding="utf-8"),
        "broken": found["broken"],
    }


def judged(ends: Sequence[Row]) -> list[tuple[str, str]]:
    """What is wrong: pairs of a folder and what should not be so."""
    wrong = []
    for end in ends:
        for name, told in end["answers"].items():
            said = told["said"]
            if told["status"] is None:
                wrong.append((end["ends"], f"{name} crashes: {said}"))
            elif told["status"] == 0 and name == "report":
                if told["script"]:
                    wrong.append((end["ends"], "the report runs a script of the data"))
                if told["lines"] - told["skipped"] < told["intact"]:
                    wrong.append((end["ends"], f"the report skips good rows: {told}"))
            elif told["status"] != 0:
                if len(said.splitlines()) != 1 or "Traceback" in said:
                    wrong.append((end["ends"], f"{name} says {said!r}"))
                elif end["folder"] not in said and ".json" not in said and "--" not in said:
                    wrong.append((end["ends"], f"{name} names no file: {said!r}"))
        if end["how"] == ["nothing: intact"] and any(told["status"] for told in end["answers"].values()):
            wrong.append((end["ends"], f"an intact run is refused: {end['answers']}"))
        if end["strange"] or set(end["outside"]) - {"inner", "runs", "mutated", "compared.html"}:
            wrong.append((end["ends"], f"writes elsewhere: {end['strange'] or end['outside']}"))
    return wrong


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    if options.child:
        feed(options.child, options)
        return 0
    # A mutated path may lead to where the command was given.
    with folder_aside() as place, folder_aside() as here:
        run = base_run(place)
        if options.models:
            add_model(run)
        else:
            (run / "models/scratch_keras.keras").write_bytes(b"no model")
        write_report(run)
        line = [sys.executable, "-m", "tests.benchmarks.mutated_runs", "--child", str(place)]
        line += [f"--{name}={getattr(options, name)}" for name in ("count", "seed", "seconds")]
        line += [] if options.models else ["--no-models"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
        rows, died = outlived(
            lambda start: subprocess.run(
                [*line, f"--start={start}"], cwd=here, env=environment, capture_output=True, text=True
            )
        )
    ends = [row for row in rows if "ends" in row]
    wrong = [*died.items(), *judged(ends)]
    body: list[list[Any]] = []
    for target in TARGETS:
        about = [end for end in ends if any(how.startswith(target) for how in end["how"])]
        told = [end["answers"]["report"] for end in about]
        again = [end["answers"]["resume"]["status"] == 0 for end in about]
        slowest = max((end["seconds"] for end in about), default=0.0)
        reported = sum(one["status"] == 0 for one in told)
        body.append([target, len(about), reported, sum(bool(one.get("broken") or one.get("skipped")) for one in told),
            sum(again), slowest])  # fmt: skip
    keys = ("file", "folders", "reported", "with_what_was_skipped", "resumable", "slowest_seconds")
    result = {
        "benchmark": "mutated_runs", "seed": options.seed, "folders": len(ends) + len(died),
        "commands": sum(len(end["answers"]) for end in ends),
        "crashes": sum(told["status"] is None for end in ends for told in end["answers"].values())
        + sum(how != "hang" for how in died.values()),
        "hangs": sum(how == "hang" for how in died.values()), "wrong": wrong,
        "slowest_seconds": max((end["seconds"] for end in ends), default=0.0),
        "files": [dict(zip(keys, row, strict=True)) for row in body],
    }  # fmt: skip
    show(result, ["file", "folders", "reported", "says what it skipped", "can go on", "slowest, s"], body, options.out)
    return 1 if wrong else 0


def parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.mutated_runs", description=(__doc__ or "").split("\n\n", 1)[0]
    )
    command.add_argument("--count", type=int, default=500, help="run folders (default: %(default)s)")
    command.add_argument("--seed", type=int, default=0, help="of the mutations (default: %(default)s)")
    command.add_argument("--seconds", type=float, default=300.0, help="that a folder may take (default: %(default)s)")
    command.add_argument("--no-models", dest="models", action="store_false", help="leave out predict and export")
    command.add_argument("--out", type=Path, help="also write the JSON there")
    command.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    command.add_argument("--start", type=int, default=0, help=argparse.SUPPRESS)
    return command


if __name__ == "__main__":
    raise SystemExit(main())
