"""The mirror: a run's studies as an Optuna journal, `runs/NAME/optuna.log`, that optuna-dashboard opens in mid-run.

Nothing reads it but people. Whatever becomes of it, the run goes on without it.
"""

import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.trial import TrialState, create_trial

from results.analysis.metrics import METRICS
from results.rows import FAILED, RUNNING, Row, Rows, judged_by
from search.studies.aims import Aims, Cost
from search.studies.hyperparameters import contains
from search.studies.observed import told
from search.studies.study import Study

INTERRUPTED = "the search ended before the trial; --resume goes on with it"
CHANGED = "tried again with another configuration"
NAMES = {"latency": "seconds for one picture", "size": "parameters"}
CONSTRAINT = "constraints"  # the attributes under which Optuna keeps by how much a trial breaks a limit


def judged_as(metric: str) -> str:
    """What the first objective is called: all studies are after high values, whatever the metric."""
    return f"{'minus ' if METRICS[metric].minimised else ''}validation {METRICS[metric].title}"


class Mirror:
    """Writes what the rows say of each trial, as it happens."""

    def __init__(
        self,
        path: Path,
        run: str,
        studies: Mapping[str, Study],
        rows: Rows,
        elapsed: float,
        say: Callable[[str], None],
    ) -> None:
        """Writes the file anew from the rows so far; `elapsed` are the seconds since the run began."""
        self._path = path
        self._studies = studies
        self._say = say
        self._began = datetime.now() - timedelta(seconds=elapsed)
        self._ids: dict[str, int] = {}  # of the studies, by family
        # Identifier, values and cost of the trials that run.
        self._open: dict[str, tuple[int, dict[int, float], Cost]] = {}
        self._lines: JournalLines | None = None
        aside = path.with_name(f"{path.name}.part")
        try:
            self._begin(aside, run, rows)
        except Exception as error:
            self._lose(error)
            with suppress(OSError):
                aside.unlink(missing_ok=True)

    def take(self, row: Row) -> None:
        """Takes in a row as it is written."""
        if self._lines is None:
            return
        # The file is open to others, and Optuna may raise anything at what they have put in.
        try:
            self._write(row)
        except Exception as error:
            self._lose(error)

    def close(self) -> None:
        """Ends what nobody goes on with, and closes the file."""
        for name in list(self._open):
            family = name.rsplit("-", 1)[0]
            self.take({"event": "end", "trial": name, "family": family, "status": FAILED, "reason": INTERRUPTED})
        if self._lines is not None:
            self._lines.close()
            self._lines = None

    def _begin(self, aside: Path, run: str, rows: Rows) -> None:
        aside.unlink(missing_ok=True)
        self._lines = JournalLines(aside)
        self._storage = JournalStorage(self._lines)
        for family in self._studies:
            name = f"{run}/{family}"
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                aims = self._studies[family].aims
                study = optuna.create_study(storage=self._storage, study_name=name, directions=aims.directions)
                study.set_metric_names([NAMES.get(objective) or judged_as(aims.metric) for objective in aims.objective])
            self._ids[family] = self._storage.get_study_id_from_name(name)
        starts = {row["trial"]: row for row in rows.records if row["event"] == "start"}
        for name, trial in rows.trials.items():
            if name not in starts or trial.family not in self._ids:
                continue
            row = starts[name]
            if trial.changed:
                self._add(row, False, FAILED, {}, {}, CHANGED, (trial.started, row["time"]))
            values = {row["epoch"]: value for row in trial.curve if (value := judged_by(row)) is not None}
            number = self._add(
                row, trial.changed, trial.status, values, trial.cost, trial.reason,
                (row["time"], None if trial.status == RUNNING else trial.last),
            )  # fmt: skip
            if trial.status == RUNNING:
                self._open[name] = (number, values, trial.cost)
        self._lines.move(self._path)

    def _write(self, row: Row) -> None:
        name = row["trial"]
        if row["event"] == "start" and row["family"] in self._ids:
            changed = name in self._open
            cost = self._open[name][2] if changed else {}
            if changed:
                end = {"event": "end", "trial": name, "family": row["family"], "status": FAILED, "reason": CHANGED}
                self._write(end)
            number = self._add(row, changed, RUNNING, {}, cost, "", (row["time"], None))
            self._open[name] = (number, {}, cost)
        elif name in self._open:
            number, values, cost = self._open[name]
            if row["event"] == "epoch":
                value = judged_by(row)
                assert value is not None  # the journal has taken it in
                values[row["epoch"]] = value
                self._storage.set_trial_intermediate_value(number, row["epoch"], value)
            elif row["event"] == "cost":
                self._open[name] = (number, values, row)
            elif row["event"] == "end":
                aims = self._studies[row["family"]].aims
                state, told_values = _told(row["status"], values, aims, cost)
                for limit, share in aims.excess(cost).items():
                    self._storage.set_trial_system_attr(number, f"{CONSTRAINT}:{limit}", share)
                self._storage.set_trial_user_attr(number, "reason", row["reason"])
                self._storage.set_trial_state_values(number, state, told_values)
                del self._open[name]

    def _add(
        self,
        row: Row,
        changed: bool,
        status: str,
        values: Mapping[int, float],
        cost: Cost,
        reason: str,
        times: tuple[float, float | None],
    ) -> int:
        """Adds a trial by the row with which it starts, or starts again with another batch."""
        point: dict[str, Any] = row.get("point", {})
        space = self._studies[row["family"]].distributions(row["trial"], point)
        if changed:
            point = {**point, "batch_size": row["config"]["batch_size"]}
        # Half a batch need not be in the space.
        space = {key: found for key, found in space.items() if key in point and contains(found, point[key])}
        aims = self._studies[row["family"]].aims
        state, told_values = (TrialState.RUNNING, None) if status == RUNNING else _told(status, values, aims, cost)
        trial = create_trial(
            state=state,
            values=told_values,
            params={key: point[key] for key in space},
            distributions=space,
            intermediate_values=dict(values),
            constraints={} if status == RUNNING else aims.excess(cost),
            user_attrs={"trial": row["trial"]} | ({"reason": reason} if reason else {}),
        )
        start, end = (None if seconds is None else self._began + timedelta(seconds=seconds) for seconds in times)
        trial.datetime_start, trial.datetime_complete = start, end
        return self._storage.create_new_trial(self._ids[row["family"]], trial)

    def _lose(self, error: Exception) -> None:
        if self._lines is not None:
            self._lines.close()
            self._lines = None
        self._open.clear()
        reason = str(error) if isinstance(error, OSError) else f"no Optuna journal any more: {type(error).__name__}"
        self._say(f"{self._path} is given up ({reason}); the search goes on without it, and --resume writes it anew")


def _told(status: str, values: Mapping[int, float], aims: Aims, cost: Cost) -> tuple[TrialState, list[float] | None]:
    """The state and the values that Optuna's study has of the trial: of a pruned one with one objective the last."""
    state, told_values = told(status, values, aims, cost)
    if state == TrialState.PRUNED and values and len(aims.objective) == 1:
        return state, [values[max(values)]]
    return state, told_values


class JournalLines(BaseJournalBackend):
    """The file of Optuna's `JournalFileBackend`, held open by its one steady writer.

    Optuna's own waits for a lock and for the disk at every line, which would be time of the driver. What others append,
    such as the notes of a user of optuna-dashboard, is read with the rest.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("ab+")
        self._read = 0  # bytes

    def move(self, path: Path) -> None:
        """Gives the file another name, and goes on writing to it."""
        self._path = self._path.replace(path)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Raises OSError where the file is not the one that was written so far."""
        there = self._path.stat()
        if there.st_ino != os.fstat(self._file.fileno()).st_ino or there.st_size < self._read:
            raise OSError("another file has taken its place")
        self._file.write("".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode())
        self._file.flush()

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """The lines since the last call: its one reader asks for them in order."""
        self._file.seek(self._read)
        found = self._file.read()
        whole = found[: found.rfind(b"\n") + 1]
        self._read += len(whole)
        return map(json.loads, whole.splitlines())

    def close(self) -> None:
        """Closes the file; what a full disk has not taken is lost."""
        with suppress(OSError):
            self._file.close()
