"""What Ray's metrics endpoint says of a run while it lasts; `grafana.json` draws it.

The driver's metrics follow from the rows of the journal, and cost what adding to a counter costs. A worker adds what
its node's cache gave and took. Without Ray's dashboard packages nobody collects them, and nothing else changes.
"""

from collections.abc import Mapping
from typing import Any

from ray.util.metrics import Counter, Gauge

from results.rows import RUNNING

PARTS = ("waiting", "building", "training", "validating")


class RunMetrics:
    """The driver's: trials by state, epochs, accuracies and seconds, by family."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._states: dict[str, str] = {}  # by trial
        self._counts: dict[tuple[str, str], int] = {}  # by family and state
        self._best: dict[str, float] = {}
        by_family = ("run", "family")
        self._trials = Gauge("pedigree_trials", "Trials by state.", (*by_family, "state"))
        self._accuracy = Gauge("pedigree_best_validation_accuracy", "Highest validation accuracy so far.", by_family)
        self._test = Gauge("pedigree_test_accuracy", "Accuracy on test, by seed.", (*by_family, "seed"))
        self._epochs = Counter("pedigree_epochs", "Epochs trained.", by_family)
        self._seconds = Counter(
            "pedigree_epoch_seconds", "Seconds of epochs, by what they went to.", (*by_family, "part")
        )

    def take(self, row: Mapping[str, Any]) -> None:
        """Takes in a row of `trials.jsonl`; rows of other kinds than these change nothing."""
        tags = {"run": self._run, "family": str(row["family"])}
        if row["event"] == "start":
            self._move(row, RUNNING)
        elif row["event"] == "end":
            self._move(row, row["status"])
        elif row["event"] == "epoch":
            self._epochs.inc(1, tags)
            for part in PARTS:
                if row.get(part, 0) > 0:
                    self._seconds.inc(row[part], {**tags, "part": part})
            best = max(self._best.get(row["family"], 0.0), row["validation_accuracy"] or 0.0)
            self._best[row["family"]] = best
            self._accuracy.set(best, tags)
        elif row["event"] == "test":
            self._test.set(row["accuracy"], {**tags, "seed": str(row["seed"])})

    def _move(self, row: Mapping[str, Any], state: str) -> None:
        """The trial leaves the state it was in for another."""
        family, before = row["family"], self._states.get(row["trial"])
        self._states[row["trial"]] = state
        for name, change in ((before, -1), (state, 1)):
            if name is not None:
                count = self._counts.get((family, name), 0) + change
                self._counts[family, name] = count
                self._trials.set(count, {"run": self._run, "family": family, "state": name})


class CacheMetrics:
    """A worker's: what its node's cache gave (`read`) and what was computed for it (`built`)."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._entries = Counter("pedigree_cache_entries", "Cache entries read or built.", ("run", "how"))
        self._bytes = Counter("pedigree_cache_bytes", "Bytes of cache entries read or built.", ("run", "how"))

    def take(self, counts: Mapping[str, tuple[int, int]]) -> None:
        """Adds the entries and bytes of each way since the last time."""
        for how, (entries, size) in counts.items():
            if entries:
                self._entries.inc(entries, {"run": self._run, "how": how})
            if size:
                self._bytes.inc(size, {"run": self._run, "how": how})
