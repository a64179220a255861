"""ASHA, one per family: after each rung only the best share of the trials that reached it goes on.

The stopping kind of asynchronous successive halving (Li et al., 2020, section 3 and Ray's AsyncHyperBand): a trial is
judged when it reaches a rung, against all that reached it before. Families are never compared with each other.
"""

from dataclasses import dataclass, field


def rung_epochs(first: int, reduction: int, budget: int) -> tuple[int, ...]:
    """The epochs after which trials are compared, ascending, all below the budget."""
    epochs = []
    epoch = first
    while epoch < budget:
        epochs.append(epoch)
        epoch *= reduction
    return tuple(epochs)


@dataclass
class Rungs:
    """The rungs of one family.

    Args:
        epochs: where trials are compared.
        reduction: one in so many goes on.
    """

    epochs: tuple[int, ...]
    reduction: int
    reached: dict[int, list[float]] = field(default_factory=dict)  # validation accuracies by rung

    def judge(self, epoch: int, value: float) -> tuple[bool, float] | None:
        """Whether a trial goes on after an epoch, and the value it had to reach; None where the epoch is no rung.

        While fewer than `reduction` trials have reached a rung there is nothing to select from, and all go on.
        """
        if epoch not in self.epochs:
            return None
        values = self.reached.setdefault(epoch, [])
        values.append(value)
        if len(values) < self.reduction:
            return True, min(values)
        kept = max(1, len(values) // self.reduction)
        threshold = sorted(values, reverse=True)[kept - 1]
        return value >= threshold, threshold
