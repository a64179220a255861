"""What `pip install` has to bring for Pedigree with some of its extras, one package a line; with `jax`, no TensorFlow.

    pip install --no-deps -e . && python -m pedigree.requirements jax | pip install -r /dev/stdin

An extra can only add to what a package always asks for, and that is TensorFlow. So Pedigree is installed alone, and
then what its own metadata asks for, without TensorFlow where `jax` is among the extras: there is no second list. Only
Python itself is imported here, since nothing else need be installed yet.
"""

import re
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution


def main(extras: Sequence[str]) -> int:
    """Prints the lines; 2 for what the user has to change."""
    try:
        print("\n".join(requirements(extras)))
    except PackageNotFoundError:
        print("pedigree: needs to be installed: pip install --no-deps -e .", file=sys.stderr)
        return 2
    except ValueError as error:
        print(f"pedigree: {error}", file=sys.stderr)
        return 2
    return 0


def requirements(extras: Sequence[str]) -> list[str]:
    """What the installed Pedigree asks for with these extras; raises ValueError for one that there is not."""
    installed = distribution("pedigree")
    offered = installed.metadata.get_all("Provides-Extra") or []
    for extra in extras:
        if extra not in offered:
            raise ValueError(f"an extra is one of {', '.join(offered)}, got {extra!r}")
    found = []
    for line in installed.requires or []:
        asked, _, extra = line.partition("; extra == ")
        if extra.strip("\"'") not in ("", *extras):
            continue
        if "jax" in extras and re.match(r"tensorflow\b", asked):
            continue
        found.append(asked)
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
