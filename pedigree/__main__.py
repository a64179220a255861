"""`python -m pedigree` is `pedigree`, and both begin here."""

import sys

from pedigree import unsupported


def main() -> int:
    """Runs one command; 2 for what the user has to change."""
    if why := unsupported():
        print(f"pedigree: {why}", file=sys.stderr)
        return 2
    # Not before: a checkout on Windows may lack the links that the rooms are found by.
    from pedigree.search.commands import main

    return main()


if __name__ == "__main__":
    sys.exit(main())
