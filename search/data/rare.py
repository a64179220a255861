"""Classes with a handful of pictures: which they are, and what becomes of them."""

from collections.abc import Mapping

from search.data.layout import MOST_NAMED, leave_out
from search.settings import RARE

DROP, KEEP, REFUSE = RARE
# Of data that is already split, a class that a side lacks is rare below so many pictures. One of more is no rare class:
# its folder is misplaced or misnamed.
HANDFUL = 10


class RareClassError(ValueError):
    """A refusal of data for classes with too few pictures; `counts` has the pictures of each, by label."""

    def __init__(self, message: str, counts: Mapping[int, int]) -> None:
        super().__init__(message)
        self.counts = dict(counts)


def told(counts: Mapping[str, int]) -> str:
    """Classes by name and count, the first of them where there are many."""
    every = [f"`{name}` ({count})" for name, count in counts.items()]
    return ", ".join(every[:20]) + (f" and {len(every) - 20} more" if len(every) > 20 else "")


def dropped(counts: Mapping[str, int]) -> str:
    """The note that says which classes were left out because not every side can have a picture of them."""
    one = len(counts) == 1
    return (
        f"{'a class' if one else f'{len(counts)} classes'} with too few distinct readable pictures for train, "
        f"validation and test {'is' if one else 'are'} left out: {told(counts)}; add pictures, or put "
        f"{'its' if one else 'their'} pictures into the folder of another class, to have them searched "
        "(--rare refuse stops instead)"
    )


def kept(counts: Mapping[str, int], least: int) -> str:
    """The note that says which classes are kept with fewer pictures than `least`."""
    return (
        f"classes with fewer than {least} pictures are kept by --rare keep, with at least one picture on every side: "
        f"{told(counts)}; a score on so few says little of them"
    )


def refused(counts: Mapping[str, int], least: int) -> str:
    """The refusal of classes with fewer pictures than `least`, and what is possible instead."""
    named = leave_out(counts) if len(counts) <= MOST_NAMED else "--exclude"
    return (
        f"needs at least {least} distinct readable pictures a class with --rare refuse, got {told(counts)}: "
        f"add pictures, put theirs into the folder of another class, leave them out with --rare {DROP} or {named}, "
        f"or keep those of 3 and more with --rare {KEEP}"
    )
