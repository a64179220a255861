"""The commands that read a run folder, for `python -m results` and for `pedigree` alike."""

import argparse
import contextlib
import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from results.analysis.doubt import NONE
from results.terminal import at_home, path, run_folder

Command = Callable[[argparse.Namespace], int]
UNREAD = 141  # exit status, as shells give it to what a closed pipe ended

EXAMPLES = {
    "report": "pedigree report runs/dogs",
    "compare": "pedigree compare runs/monday runs/tuesday --out compare.html",
    "predict": "pedigree predict runs/dogs photo.jpg holiday/ 'more/*.jpg' --json",
    "serve": "pedigree serve runs/dogs --coverage 0.95",
    "export": "pedigree export runs/dogs --format onnx",
}
HELP = {
    "report": "write results.json, report.md and report.html again from a run's folder",
    "compare": "set runs side by side on one page",
    "predict": "name what is on pictures with a run's model",
    "serve": "name pictures with a run's model on a page and as JSON, until Ctrl-C",
    "export": "write a run's model as saved_model, onnx, litert or litert-int8, and check its answers",
}


def add_commands(commands: Any) -> None:
    """Adds report, compare, predict, serve and export to a parser's commands; each sets `command`."""
    for name, add in {
        "report": add_report,
        "compare": add_compare,
        "predict": add_predict,
        "serve": add_serve,
        "export": add_export,
    }.items():
        parser = commands.add_parser(
            name,
            help=HELP[name],
            description=HELP[name][0].upper() + HELP[name][1:] + ".",
            epilog=f"example: {EXAMPLES[name]}",
        )
        add(parser)


def add_report(parser: argparse.ArgumentParser) -> None:
    """One run."""
    parser.add_argument(
        "run", type=run_folder, metavar="runs/NAME", help="the folder of the run, which holds trials.jsonl"
    )
    parser.set_defaults(command=report)


def add_compare(parser: argparse.ArgumentParser) -> None:
    """Several runs."""
    parser.add_argument("runs", type=run_folder, nargs="+", metavar="runs/NAME", help="folders of runs, two or more")
    parser.add_argument("--out", type=path, default=Path("compare.html"), metavar="FILE", help="default: compare.html")
    parser.set_defaults(command=compare)


def add_predict(parser: argparse.ArgumentParser) -> None:
    """A run and pictures."""
    parser.add_argument("run", type=run_folder, metavar="runs/NAME", help="the folder of the run")
    parser.add_argument("pictures", type=at_home, nargs="+", metavar="PICTURE", help="files, folders and globs")
    parser.add_argument("--family", metavar="F", help="whose model answers (default: the winner's)")
    parser.add_argument("--top", type=int, default=5, metavar="N", help="classes that are shown (default: 5)")
    parser.add_argument(
        "--coverage", type=float, metavar="SHARE",
        help="answer such a share of pictures of these classes, from 0.5 to 1, and say "
        f"'{NONE}' of what is less sure",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="one line of JSON for each picture")
    parser.set_defaults(command=predict)


def add_serve(parser: argparse.ArgumentParser) -> None:
    """A run, an address and limits."""
    parser.add_argument("run", type=run_folder, metavar="runs/NAME", help="the folder of the run")
    parser.add_argument("--family", metavar="F", help="whose model answers (default: the winner's)")
    parser.add_argument("--host", default="127.0.0.1", metavar="NAME", help="default: 127.0.0.1, this machine alone")
    parser.add_argument("--port", type=int, default=8000, metavar="N", help="default: 8000; 0 takes a free one")
    parser.add_argument(
        "--coverage", type=float, metavar="SHARE",
        help=f"as of predict: say '{NONE}' of what is less sure",
    )  # fmt: skip
    for name, default, help in (
        ("megabytes", 64.0, "of a request"),
        ("pictures", 100, "in a request"),
        ("megapixels", 50.0, "of a picture"),
    ):
        parser.add_argument(
            f"--max-{name}", type=type(default), default=default, metavar="N", help=f"{help} (default: {default:g})"
        )
    parser.set_defaults(command=serve)


def add_export(parser: argparse.ArgumentParser) -> None:
    """A run and a format."""
    from results.delivery.formats import SUFFIXES

    parser.add_argument("run", type=run_folder, metavar="runs/NAME", help="the folder of the run")
    parser.add_argument("--format", required=True, choices=list(SUFFIXES), help="what to write")
    parser.add_argument("--family", metavar="F", help="whose model (default: the winner's)")
    parser.add_argument("--out", type=path, metavar="PATH", help="default: beside the .keras file")
    parser.set_defaults(command=export)


def report(given: argparse.Namespace) -> int:
    """Writes the documents of a run and prints their paths."""
    from results.pages.document import OUTPUTS, write_report

    write_report(given.run)
    for name in OUTPUTS:
        print(given.run / name)
    return 0


def compare(given: argparse.Namespace) -> int:
    """Writes the page of several runs and prints its path."""
    from results.pages.comparison import write_comparison

    print(write_comparison(given.runs, given.out))
    return 0


def predict(given: argparse.Namespace) -> int:
    """Prints what the model says of each picture; 1 where one could not be read."""
    from results.delivery import prediction

    failed = False
    asked = {"family": given.family, "top": given.top, "coverage": given.coverage}
    for answer in prediction.predict(given.run, given.pictures, **asked):
        failed |= "error" in answer
        line = prediction.told(answer, as_json=given.json)
        print(line, file=sys.stdout if given.json or "error" not in answer else sys.stderr)
    return int(failed)


def serve(given: argparse.Namespace) -> int:
    """Serves the model until it is interrupted, which is how it ends."""
    if importlib.util.find_spec("aiohttp") is None:
        raise ValueError("`serve` needs a package that is not here: pip install 'aiohttp>=3.12,<4'")
    from results.delivery import serving

    limits = serving.Limits(given.max_megabytes, given.max_pictures, given.max_megapixels)
    with contextlib.suppress(KeyboardInterrupt):
        serving.serve(
            given.run, family=given.family, host=given.host, port=given.port, coverage=given.coverage, limits=limits,
            say=lambda line: print(line, flush=True), warn=lambda line: print(line, file=sys.stderr, flush=True),
        )  # fmt: skip
    return 0


def export(given: argparse.Namespace) -> int:
    """Writes the model in a format and prints its path and what the check found."""
    from results.delivery.formats import export as write

    path, found = write(given.run, given.format, family=given.family, out=given.out)
    print(f"{path}\n{found}")
    return 0


def follow(given: argparse.Namespace, fetch: Callable[[str], Path] | None = None) -> int:
    """Runs the command that was parsed; 2, with the message alone, for what the user has to change.

    `fetch` brings the run of an address here; without it an address is refused.
    """

    def here(run: Path | str) -> Path:
        if isinstance(run, Path):
            return run
        if fetch is None:
            raise ValueError(
                f"needs the folder of a run on this machine, got the address `{run}`: `python -m pedigree fetch {run}` "
                "brings it here and prints where it lies"
            )
        return fetch(run)

    try:
        if "run" in given:
            given.run = here(given.run)
        if "runs" in given:
            given.runs = [here(run) for run in given.runs]
        status: int = given.command(given)
    except BrokenPipeError:
        raise
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return status


def until_unread(command: Callable[[], int]) -> int:
    """Runs a command whose reader may go away, as `head` does: the command then ends without a word, like others do."""
    try:
        try:
            return command()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # What is still held back would fail once more, and loudly, when Python ends.
        with contextlib.suppress(OSError, ValueError), open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        return UNREAD
