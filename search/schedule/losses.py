"""What happens when a worker is lost: who is tried again, and who is to blame."""

from collections import Counter

UNREACHED = "its node could not be reached"
# Ray's words for an actor whose machine is gone, or is not answering and not yet given up, and ours.
NODE_LOST = {"node has died": "its node has died", " is unavailable: ": UNREACHED}
# Times that a trial is excused for the latter: Ray says so now and then of an actor that died alone, and a trial that
# kills its actors must come to an end.
MOST_UNREACHED = 3


class Losses:
    """Trials and retrainings whose worker was lost, by name."""

    def __init__(self, most: int) -> None:
        self.most = most  # failures after which a trial is not tried again
        self.reasons: dict[str, str] = {}  # until Tune is done with them
        self._unreached = Counter[str]()
        self._failures = Counter[str]()  # of retrainings: those of trials are in their records

    def reason(self, name: str, otherwise: str) -> tuple[str, bool]:
        """How it was lost, empty where it was not, and whether it is to blame: not for the loss of its machine."""
        reason = self.reasons.pop(name, otherwise)
        self._unreached[name] += reason == UNREACHED
        excused = reason != UNREACHED or self._unreached[name] <= MOST_UNREACHED
        return reason, not (reason in NODE_LOST.values() and excused)

    def again(self, name: str, *, blamed: bool) -> bool:
        """Whether a retraining that was lost is tried once more."""
        self._failures[name] += blamed
        return self._failures[name] <= self.most
