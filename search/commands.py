"""`pedigree`: one command line for everything, the same code as the scripts.

Shell completion comes from shtab, which reads the parser below: `pedigree --print-completion bash`.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from results.commands import EXAMPLES, add_commands, follow, until_unread
from results.terminal import path, prepare, run_folder
from search import parsing, run
from search.progress import shown_size
from search.settings import TRACKERS, default_cache

SEARCH_EXAMPLES = {
    "search": "pedigree search photos --trials 20 --time-budget 30m",
    "explore": "pedigree explore photos",
}
TRACK, TRACK_EXAMPLE = (
    "tell trackers of a run that is over",
    "pedigree track runs/dogs --track mlflow=http://localhost:5000",
)
FETCH, FETCH_EXAMPLE = "bring a run here from the address of its mirror", "pedigree fetch s3://my-bucket/runs/dogs"

CACHE, CACHE_EXAMPLE = "show what the cache folder holds, or make it smaller", "pedigree cache --limit 20GB"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; 2 for what the user has to change."""
    prepare(whole=arguments is None)
    return until_unread(lambda: _run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given[:1] in (["search"], ["explore"]) and not {"-h", "--help"} & set(given):
        # Parsed by the script's own parser, so that both say and do the same.
        explore = ["--explore"] if given[0] == "explore" else []
        return run.main([*explore, *given[1:]], called=f"pedigree {given[0]}")
    parser = command_line()
    if not given:
        parser.print_help()
        return 2
    return follow(parser.parse_args(given), fetched)


def command_line() -> argparse.ArgumentParser:
    """The whole command line, for its help and for completion."""
    examples = "\n".join(
        f"  {line}"
        for line in [*SEARCH_EXAMPLES.values(), *EXAMPLES.values(), TRACK_EXAMPLE, FETCH_EXAMPLE, CACHE_EXAMPLE]
    )
    parser = argparse.ArgumentParser(
        prog="pedigree",
        description="Searches image classifiers, and works with what a search found.",
        epilog=f"examples:\n{examples}\n\nshell completion: pedigree --print-completion bash > FILE",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"pedigree {version()}")
    import shtab

    shells = ", ".join(shtab.SUPPORTED_SHELLS)
    shtab.add_argument_to(parser, "--print-completion", help=f"print a completion script for one of {shells}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    parsing.add_options(commands.add_parser("search", help="search image classifiers (python search/run.py)"))
    parsing.add_options(commands.add_parser("explore", help="look at data without searching: data.html"))
    add_commands(commands)
    add_track(commands)
    add_fetch(commands)
    add_cache(commands)
    return parser


def _added(commands: Any, name: str, told: str, more: str, example: str) -> Any:
    """A new command's parser: what it does, in the list of commands, and with `more` of it in its own help."""
    description = f"{told[0].upper()}{told[1:]}{more}"
    return commands.add_parser(name, help=told, description=description, epilog=f"example: {example}")


def add_track(commands: Any) -> None:
    """Adds `track` to a parser's commands; what was told already is not told twice."""
    parser = _added(commands, "track", TRACK, ". What has arrived before is not sent twice.", TRACK_EXAMPLE)
    parser.add_argument(
        "run", type=own_folder, metavar="runs/NAME", help="the folder of the run, which holds trials.jsonl"
    )
    parser.add_argument(
        "--track",
        type=parsing.names,
        action="extend",
        metavar="A,B",
        help=f"names from {', '.join(TRACKERS)}, or NAME=TARGET (default: those that the search was given)",
    )
    parser.set_defaults(command=track)


def track(given: argparse.Namespace) -> int:
    """Sends a run to trackers and prints where it is; 2 where one could not be told."""
    from search.record.tracking.trackers import send_run

    return 2 if send_run(given.run, given.track, lambda line: print(line, flush=True)) else 0


def own_folder(text: str) -> Path:
    """A path, or the error that argparse prints with the option's name for the address of a mirror."""
    if "://" in text:
        raise argparse.ArgumentTypeError(f"needs the run's own folder, which keeps what was told, got {text!r}")
    return path(text)


def add_fetch(commands: Any) -> None:
    """Adds `fetch` to a parser's commands; what is here already is not fetched again."""
    more = ", into the cache folder, and print where it lies. Only what changed is fetched again."
    parser = _added(commands, "fetch", FETCH, more, FETCH_EXAMPLE)
    parser.add_argument("run", type=run_folder, metavar="ADDRESS", help="s3://BUCKET/FOLDER/NAME or gs://...")
    parser.set_defaults(command=fetch)


def fetch(given: argparse.Namespace) -> int:
    """Prints where the run lies that has been fetched by then."""
    print(given.run)
    return 0


def add_cache(commands: Any) -> None:
    """Adds `cache` to a parser's commands; nothing is taken from a cache that a search uses."""
    more = ". With --limit, what was used longest ago is removed first; it is computed again where a search wants it."
    parser = _added(commands, "cache", CACHE, more, CACHE_EXAMPLE)
    parser.add_argument(
        "--cache-dir", type=parsing.absolute, default=default_cache(), metavar="DIR", help="(default: %(default)s)"
    )
    parser.add_argument("--limit", type=parsing.size, metavar="SIZE", help="remove until it has no more: 500MB, 20GB")
    parser.set_defaults(command=cache)


def cache(given: argparse.Namespace) -> int:
    """Prints what the cache holds, once it has been brought to a limit; 2 where a search keeps it from that."""
    from search.data.cache import size_of
    from search.data.eviction import KINDS, entries, trim

    root = Path(given.cache_dir)
    if not root.is_dir():
        print(f"nothing is at `{root}`")
        return 0
    gone = 0 if given.limit is None else trim(root, given.limit)
    if gone:
        print(f"{shown_size(gone)} that were used longest ago are removed")
    found = entries(root)
    print(f"{root}:")
    for kind in KINDS:
        own = [entry for entry in found if entry.kind == kind]
        if own:
            last = time.strftime("%Y-%m-%d", time.localtime(max(entry.used for entry in own)))
            many = f"{len(own):,} {'entry' if len(own) == 1 else 'entries'}"
            print(f"  {kind:<12} {shown_size(sum(entry.size for entry in own)):>8}  {many}, last used {last}")
    for other in sorted(root.iterdir()):
        if other.is_dir() and other.name not in (*KINDS, "users"):
            print(f"  {other.name:<12} {shown_size(size_of(other)):>8}  no limit takes this away")
    if gone is None:
        print(f"--limit needs a cache that nobody uses, and a search is at work with `{root}`", file=sys.stderr)
        return 2
    return 0


def fetched(address: str) -> Path:
    """A copy of the run that is mirrored to an address, as its mirror has it now."""
    from search.record.offsite import fetch_run

    return fetch_run(address, Path(default_cache()), lambda line: print(line, file=sys.stderr, flush=True))


def version() -> str:
    """The version of the code that runs, which need not be the one that is installed."""
    from pedigree import __version__

    return __version__


if __name__ == "__main__":
    sys.exit(main())
