"""The run's single truth: `trials.jsonl`, written by the driver as things happen, and what it knows of each trial."""

import json
import math
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from results.rows import FAILED, FINISHED, INFEASIBLE, OUT_OF_TIME, RUNNING, STOPPED, Rows, judged_by, smoothed

Row = dict[str, Any]


@dataclass
class Record:
    """What the driver knows of a trial while the run lasts."""

    name: str
    family: str
    config: dict[str, Any]
    point: dict[str, Any]  # the values of the space that the configuration was made from
    values: dict[int, float] = field(default_factory=dict)  # what it is judged by, by epoch (`results.rows.judged_by`)
    fastest: float = math.inf  # seconds of training and validating of its fastest epoch: the first also compiles
    status: str = RUNNING
    reason: str = ""
    started: bool = False
    changed: bool = False  # whether its configuration is another than the study drew
    failures: int = 0  # times that its worker was lost and it was tried again
    cost: dict[str, Any] = field(default_factory=dict)  # of its model, where the run asks for it
    blind: bool = False  # whether it was drawn or given without a look at the others
    planned: int = 0  # epochs of its full budget
    since: float = 0.0  # seconds into the run at which it started
    until: float | None = None  # and at which it was over
    waited: float = 0.0  # seconds that it waited in all for what it trains on, where nobody had computed that yet

    @property
    def full(self) -> bool:
        """Whether it came as far as it could, as `results.rows.Trial` has it."""
        return self.status == FINISHED or (self.status == STOPPED and self.reason == OUT_OF_TIME)

    @property
    def standing(self) -> tuple[bool, int, float]:
        """How it stands among those of its family, as `results.analysis.numbers.best_trial` ranks them."""
        return self.full, 0 if self.full else len(self.values), self.best

    @property
    def best(self) -> float:
        """The highest score so far, smoothed over the epochs; below every score before the first."""
        return max(smoothed([self.values[epoch] for epoch in sorted(self.values)]), default=-math.inf)


class Journal:
    """Appends rows, each flushed whole, and keeps a record per trial."""

    def __init__(
        self,
        path: Path,
        began: float | None = None,
        watch: Callable[[Row], None] = lambda row: None,
        earlier: Rows | None = None,
    ) -> None:
        self.began = time.monotonic() if began is None else began
        self.records: dict[str, Record] = {}
        self.rows: list[Row] = []
        self._families: dict[str, list[Record]] = {}
        self._filed = 0  # records that are in their family's list
        self._filing = threading.Lock()
        self._watching = [watch]
        torn = path.exists() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
        self.failed: OSError | None = None  # what kept a row from being written; it ends the search
        self._file = path.open("ab", buffering=0)
        if torn:
            # A line that a crash cut short stays alone on its line, where readers skip it.
            self._append(b"\n")
        if earlier is not None:
            self._restore(earlier)

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self.began

    def _restore(self, earlier: Rows) -> None:
        self.rows = list(earlier.records)
        self.began -= earlier.seconds
        starts = {row["trial"]: row for row in self.rows if row["event"] == "start"}
        for name, trial in earlier.trials.items():
            self.records[name] = Record(
                name,
                trial.family,
                trial.config,
                starts.get(name, {}).get("point", {}),
                {row["epoch"]: value for row in trial.curve if (value := judged_by(row)) is not None},
                min(((row["training"] or 0.0) + (row["validating"] or 0.0) for row in trial.curve), default=math.inf),
                trial.status,
                trial.reason,
                True,
                trial.changed,
                trial.failures,
                trial.cost,
                starts.get(name, {}).get("blind") is True,
                trial.planned or 0,
                trial.started,
                trial.ended,
                sum(row["waiting"] or 0.0 for row in trial.curve),
            )

    def start(self, name: str) -> None:
        """The trial is on a worker; a trial that goes on after a resume has started already."""
        record = self.records[name]
        if record.started:
            return
        record.started, record.since = True, self.elapsed
        self._write_start(record)
        if record.cost:
            self.write("cost", name, record.family, **record.cost)

    def cost(self, name: str, cost: dict[str, Any]) -> None:
        """What the trial's model costs; of one that has not started the row follows its start."""
        record = self.records[name]
        record.cost = cost
        if record.started:
            self.write("cost", name, record.family, **cost)

    def epochs(self, name: str, rows: list[Row]) -> None:
        """The trial has trained these epochs."""
        record = self.records[name]
        for row in rows:
            value = judged_by(row)
            assert value is not None  # a search has validation pictures
            record.values[row["epoch"]] = value
            record.fastest = min(record.fastest, row["training"] + row["validating"])
            record.waited += row.get("waiting", 0.0)
            self.write("epoch", name, record.family, **row)

    def retry(self, name: str, reason: str, *, counts: bool = True) -> None:
        """The trial is tried again, from its last checkpoint; it `counts` unless the failure was none of its own."""
        record = self.records[name]
        record.failures += counts
        self.write("retry", name, record.family, reason=reason, counts=counts)

    def change(self, name: str, config: dict[str, Any], reason: str) -> None:
        """The trial begins anew with another configuration; what it has shown so far says nothing of that one."""
        record = self.records[name]
        self.retry(name, reason)
        record.config, record.values, record.fastest, record.changed = config, {}, math.inf, True
        self._write_start(record)

    def _write_start(self, record: Record) -> None:
        more: dict[str, Any] = {"blind": True} if record.blind else {}
        more |= {"planned": record.planned} if record.planned else {}
        self.write("start", record.name, record.family, config=record.config, point=record.point, **more)

    def end(self, name: str, status: str, reason: str) -> None:
        """The trial is over; only the first end counts."""
        record = self.records[name]
        if record.status == RUNNING:
            record.status, record.reason, record.until = status, reason, self.elapsed
            self.write("end", name, record.family, status=status, reason=reason)

    def write(self, event: str, trial: str, family: str, **values: Any) -> None:
        """Appends one row."""
        row = {"event": event, "time": round(self.elapsed, 3), "trial": trial, "family": family, **values}
        self.rows.append(row)
        try:
            self._append(json.dumps(row).encode() + b"\n")
        except OSError as error:
            # Kept, because Tune turns what its callbacks raise into an error of its own.
            self.failed = OSError(
                error.errno, f"{error.strerror}: the rows of the run cannot be written", self._file.name
            )
            raise self.failed from error
        for watch in self._watching:
            watch(row)

    def _append(self, line: bytes) -> None:
        """Writes a line whole, or leaves the file as it was."""
        descriptor = self._file.fileno()
        size = os.fstat(descriptor).st_size
        left = line
        try:
            while left:
                left = left[os.write(descriptor, left) :]
        except OSError:
            os.ftruncate(descriptor, size)
            raise

    def also(self, watch: Callable[[Row], None]) -> None:
        """From here on every row is given to this as well, as it is written."""
        self._watching.append(watch)

    def of(self, family: str, *statuses: str) -> list[Record]:
        """The records of a family, of all or of some statuses."""
        with self._filing:
            # Asked at every turn of the search: only records that are new since the last time are looked at.
            for record in islice(self.records.values(), self._filed, None):
                self._families.setdefault(record.family, []).append(record)
                self._filed += 1
            own = list(self._families.get(family, ()))
        return [record for record in own if record.status in statuses] if statuses else own

    def read(self) -> Rows:
        """The rows so far, for the queries of `results`."""
        return Rows(tuple(self.rows))

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


__all__ = ["FAILED", "FINISHED", "INFEASIBLE", "RUNNING", "STOPPED", "Journal", "Record"]
