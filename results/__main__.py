"""`python -m results runs/NAME` writes a run's report again; with several runs, one page that compares them.

`predict` and `export` as the first word do what `pedigree predict` and `pedigree export` do.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pedigree import unsupported
from results.commands import HELP, add_commands, compare, follow, report, until_unread
from results.terminal import path, prepare, run_folder


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; 2 where it cannot."""
    if why := unsupported():
        print(f"pedigree: {why}", file=sys.stderr)
        return 2
    prepare(whole=arguments is None)
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if arguments and arguments[0] in HELP:
        parser = argparse.ArgumentParser(prog="python -m results")
        add_commands(parser.add_subparsers(required=True))
        return follow(parser.parse_args(arguments))
    parser = argparse.ArgumentParser(
        prog="python -m results",
        description="Write the report of a run from its folder alone, or one page that compares several runs.",
        epilog=f"The first word may also be one of {', '.join(HELP)}: python -m results predict --help",
    )
    parser.add_argument(
        "runs", type=run_folder, nargs="+", metavar="runs/NAME", help="folders of runs, with trials.jsonl"
    )
    parser.add_argument(
        "--out", type=path, default=Path("compare.html"), metavar="FILE", help="where a comparison goes"
    )
    given = parser.parse_args(arguments)
    if len(given.runs) == 1:
        given.run, given.command = given.runs[0], report
    else:
        given.command = compare
    return follow(given)


if __name__ == "__main__":
    sys.exit(until_unread(main))
