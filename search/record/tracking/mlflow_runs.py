"""MLflow: a run for the search, and nested in it one for every trial."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Before MLflow reads them: its own values have a call wait for many minutes.
for _name, _value in {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_ALLOW_FILE_STORE": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}.items():  # fmt: skip
    os.environ.setdefault(_name, _value)

from mlflow import MlflowClient  # noqa: E402
from mlflow.entities import Metric, Param, RunTag  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402

from results.records import read_object  # noqa: E402
from search.record.tracking.calls import PARENT, Begin, Call, End, Log, Summary, succeeded  # noqa: E402
from search.record.tracking.sending import FINISHED, Clock  # noqa: E402

EXPERIMENT = "pedigree"
TOKEN, TRIAL = "pedigree.token", "pedigree.trial"
MOST = {"metrics": 1000, "params": 100, "tags": 100}  # in a batch, as MLflow's interface has it
LONGEST = 500  # characters of a parameter that every server takes


def connect(target: str, folder: Path, own: dict[str, Any], clock: Clock) -> "MlflowRuns":
    """The run of a search at a server or in a store; a folder holds a store of its own."""
    if ":" in target or target.startswith("databricks"):
        uri, artifacts = target, None
    else:
        Path(target).mkdir(parents=True, exist_ok=True)
        uri, artifacts = f"sqlite:///{Path(target) / 'mlflow.db'}", (Path(target) / "mlruns").as_uri()
    return MlflowRuns(MlflowClient(uri), uri, artifacts, folder, own, clock)


@dataclass
class _Batch:
    """What goes to one run at once."""

    metrics: list[Metric] = field(default_factory=list)
    params: list[Param] = field(default_factory=list)
    tags: list[RunTag] = field(default_factory=list)
    end: End | None = None


class MlflowRuns:
    """Writes runs at the times of the rows; `own["ids"]` holds the id of each."""

    def __init__(
        self, client: MlflowClient, uri: str, artifacts: str | None, folder: Path, own: dict[str, Any], clock: Clock
    ) -> None:
        self._client, self._folder, self._token, self._clock = client, folder, own["token"], clock
        self._ids: dict[str, str] = own["ids"]
        self._known = PARENT in self._ids  # whether it may have more than was kept of it
        self._steps: dict[str, set[tuple[str, int]]] = {}  # by run, of those that may have more than was kept
        # A run that goes on stays where it is, whatever the environment names now.
        self._experiment = (
            str(client.get_run(self._ids[PARENT]).info.experiment_id)
            if self._known
            else self._find_experiment(artifacts)
        )
        if PARENT not in self._ids:
            # A process that was killed may have made it without keeping its id.
            found = self._search(f"tags.`{TOKEN}` = '{self._token}'")
            self._known = bool(found)
            self._ids[PARENT] = found[0].info.run_id if found else self._create_parent()
        if self._known:
            self._client.update_run(self._ids[PARENT], status="RUNNING")
        parent = self._ids[PARENT]
        for run in self._search(f"tags.`mlflow.parentRunId` = '{parent}'") if self._known else []:
            if TRIAL in run.data.tags:
                self._ids.setdefault(run.data.tags[TRIAL], run.info.run_id)
        self._doubtful = set(self._ids) if self._known else set()
        page = f"{uri.rstrip('/')}/#/experiments/{self._experiment}/runs/{parent}"
        local = f"run {parent}, shown by mlflow server --backend-store-uri {uri}"
        self.place = page if uri.startswith("http") else local

    def _find_experiment(self, artifacts: str | None) -> str:
        given = os.environ.get("MLFLOW_EXPERIMENT_ID")
        if given:
            return given
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(self._client.create_experiment(name, artifact_location=artifacts))
            except MlflowException:
                # Another search has just made it.
                found = self._client.get_experiment_by_name(name)
                if found is None:
                    raise
        return str(found.experiment_id)

    def _search(self, query: str) -> list[Any]:
        found: list[Any] = []
        token: str | None = None
        while True:
            page = self._client.search_runs([self._experiment], query, max_results=1000, page_token=token)
            found += page
            token = page.token
            if not token:
                return found

    def _create_parent(self) -> str:
        run = self._client.create_run(
            self._experiment,
            start_time=self._time(0.0),
            run_name=self._folder.name,
            tags={TOKEN: self._token, "pedigree.run": self._folder.name, **_records(self._folder)},
        )
        batch = _Batch(params=_params(_read(self._folder / "settings.json")))
        self._write(run.info.run_id, batch)
        return str(run.info.run_id)

    def _time(self, seconds: float) -> int:
        return round(1000 * self._clock.at(seconds))

    def send(self, calls: Sequence[Call]) -> None:
        """Tells it, in order; a run's figures go in one batch."""
        batches: dict[str, _Batch] = {}
        for call in calls:
            if isinstance(call, Begin):
                self._put(batches, call.run)
                batches[call.run] = self._begin(call)
                continue
            batch = batches.setdefault(call.run, _Batch())
            if isinstance(call, Log):
                at = self._time(call.time)
                batch.metrics += [Metric(name, value, at, call.step) for name, value in call.figures.items()]
            else:
                batch.end = call
        for run in list(batches):
            self._put(batches, run)

    def _begin(self, call: Begin) -> _Batch:
        if call.run in self._ids:
            self._client.update_run(self._ids[call.run], status="RUNNING")
        else:
            tags = {
                "mlflow.parentRunId": self._ids[PARENT], TRIAL: call.run, "pedigree.family": call.family,
            }  # fmt: skip
            run = self._client.create_run(
                self._experiment, start_time=self._time(call.time), run_name=call.run, tags=tags
            )
            self._ids[call.run] = run.info.run_id
        return _Batch(params=_params(call.config))

    def _put(self, batches: dict[str, _Batch], run: str) -> None:
        batch = batches.pop(run, None)
        if batch is None:
            return
        if run in self._doubtful and batch.metrics:
            there = self._there(run, {metric.key for metric in batch.metrics})
            batch.metrics = [metric for metric in batch.metrics if (metric.key, metric.step) not in there]
        if batch.end is not None:
            for name, value in (("status", batch.end.status), ("reason", batch.end.reason)):
                batch.tags.append(RunTag(f"pedigree.{name}", value))
        self._write(self._ids[run], batch)
        if batch.end is not None:
            status = "FINISHED" if succeeded(batch.end) else "FAILED" if batch.end.status == "failed" else "KILLED"
            self._client.set_terminated(self._ids[run], status, self._time(batch.end.time))

    def _there(self, run: str, keys: set[str]) -> set[tuple[str, int]]:
        """The steps of these figures that a run has already."""
        known = self._steps.setdefault(run, set())
        for key in keys - {key for key, _ in known}:
            known |= {(key, point.step) for point in self._client.get_metric_history(self._ids[run], key)}
        return known

    def _write(self, run_id: str, batch: _Batch) -> None:
        for kind, most in MOST.items():
            entries = getattr(batch, kind)
            for first in range(0, len(entries), most):
                self._client.log_batch(run_id, **{kind: entries[first : first + most]})

    def finish(self, status: str, summary: Summary, time: float) -> None:
        """The report's figures and text, the files, and the end of the run."""
        parent, at = self._ids[PARENT], self._time(time)
        tags = [RunTag(f"pedigree.{name}", value) for name, value in {"status": status, **summary.tags}.items()]
        if summary.text:
            tags.append(RunTag("mlflow.note.content", summary.text[:5000]))
        figures = [Metric(name, value, at, 0) for name, value in summary.figures.items()]
        if self._known:
            last = self._client.get_run(parent).data.metrics
            figures = [figure for figure in figures if last.get(figure.key) != figure.value]
        self._write(parent, _Batch(metrics=figures, tags=tags))
        for path, folder in summary.files:
            self._client.log_artifact(parent, path, folder or None)
        self._client.set_terminated(parent, "FINISHED" if status == FINISHED else "KILLED", at)


def _params(values: Mapping[str, Any], prefix: str = "") -> list[Param]:
    """Values as parameters; lists as JSON, and a long one shortened."""
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}
    return [Param(f"{prefix}{name}", text[:LONGEST]) for name, text in texts.items()]


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_object(path)
    except (OSError, ValueError):
        return {}


def _records(folder: Path) -> dict[str, str]:
    """Tags from what stands beside the rows: the data and the versions."""
    split, made = _read(folder / "split.json"), _read(folder / "environment.json")
    versions = made.get("versions") or {}
    tags = {
        "pedigree.data": split.get("title"), "pedigree.digest": split.get("digest"),
        "pedigree.classes": str(len(split.get("classes") or [])), "pedigree.version": versions.get("pedigree"),
        "pedigree.command": made.get("command"),
    }  # fmt: skip
    return {name: str(value)[:LONGEST] for name, value in tags.items() if value}
