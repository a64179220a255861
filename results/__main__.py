"""Write the report of a run again from its folder: `python -m results runs/NAME`."""

import argparse
import sys
from pathlib import Path

from results.document import OUTPUTS, write_report


def main(arguments: list[str] | None = None) -> int:
    """Write results.json, report.md and report.html beside the rows and print their paths; 2 where that fails."""
    parser = argparse.ArgumentParser(
        prog="python -m results", description="Write the report of a run from its folder alone."
    )
    parser.add_argument("run", type=Path, metavar="runs/NAME", help="the folder of the run, which holds trials.jsonl")
    run_dir = parser.parse_args(arguments).run
    try:
        write_report(run_dir)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    for name in OUTPUTS:
        print(run_dir / name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
