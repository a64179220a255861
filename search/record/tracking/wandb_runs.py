"""Weights & Biases: a group with a run for the search and one for every trial."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import wandb

from results.records import read_object
from search.record.tracking.calls import PARENT, Begin, Call, End, Log, Summary, succeeded
from search.record.tracking.sending import FINISHED, Clock

PROJECT = "pedigree"
WITHIN = 60.0  # seconds in which a run has to begin


def connect(target: str, folder: Path, own: dict[str, Any], clock: Clock) -> "WandbRuns":
    """The runs of a search in a project; without a target that of the environment, or one called pedigree."""
    # Runs of an earlier connection, which failed.
    wandb.teardown()
    entity, _, project = target.rpartition("/")
    return WandbRuns(entity or None, project or os.environ.get("WANDB_PROJECT") or PROJECT, folder, own, clock)


class WandbRuns:
    """Writes runs at the times of the rows; their ids follow from the run's token and the trial's name.

    A figure that comes when its run is over, of a retraining, stands in the summary of the group's first run.
    """

    def __init__(self, entity: str | None, project: str, folder: Path, own: dict[str, Any], clock: Clock) -> None:
        self._common = {"entity": entity, "project": project, "group": folder.name}
        self._folder, self._token, self._ids, self._clock = folder, own["token"], own["ids"], clock
        self._runs: dict[str, Any] = {}
        settings = folder / "settings.json"
        config = read_object(settings) if settings.is_file() else {}
        self._parent = self._init(PARENT, folder.name, "search", config)
        # Seeds, folds and counts of trials are no steps that only grow.
        self._parent.define_metric("*", step_metric="step")
        self.place = self._parent.url or f"offline, sent by wandb sync {Path(self._parent.dir).parent}"

    def _init(self, run: str, name: str, kind: str, config: dict[str, Any]) -> Any:
        begun = wandb.init(
            **self._common, id=f"{self._token}-{run or 'search'}", name=name, job_type=kind, config=config,
            resume="allow", reinit="create_new", save_code=False,
            settings=wandb.Settings(
                console="off", silent=True, init_timeout=WITHIN, x_disable_stats=True, x_disable_meta=True,
            ),
        )  # fmt: skip
        self._ids[run] = begun.id
        return begun

    def send(self, calls: Sequence[Call]) -> None:
        """Tells it, in order."""
        for call in calls:
            if isinstance(call, Begin):
                if call.run not in self._runs:
                    config = {"family": call.family, **call.config}
                    self._runs[call.run] = self._init(call.run, call.run, "trial", config)
            elif isinstance(call, Log):
                self._log(call)
            elif call.run in self._runs:
                self._end(call)

    def _log(self, call: Log) -> None:
        at = self._clock.at(call.time)
        run = self._runs.get(call.run)
        if call.run == PARENT:
            self._parent.log({**call.figures, "step": call.step, "_timestamp": at})
        elif run is not None and call.curve:
            run.log({**call.figures, "_timestamp": at}, step=call.step)
        elif run is not None:
            run.summary.update(dict(call.figures))
        else:
            self._parent.summary.update({f"{call.run}/{key}": value for key, value in call.figures.items()})

    def _end(self, call: End) -> None:
        run = self._runs.pop(call.run)
        run.summary.update({"status": call.status, "reason": call.reason})
        run.finish(exit_code=0 if succeeded(call) or call.status == "stopped" else 1)

    def finish(self, status: str, summary: Summary, time: float) -> None:
        """The report's figures, the files as artifacts, and the end of the run."""
        self._parent.summary.update({**summary.figures, **summary.tags, "status": status})
        for kind, name in (("", "report"), ("models", "models")):
            files = [path for path, folder in summary.files if folder == kind]
            if files:
                artifact = wandb.Artifact(f"{self._folder.name}-{name}", type=name.removesuffix("s"))
                for path in files:
                    artifact.add_file(path)
                self._parent.log_artifact(artifact)
        self._parent.finish(exit_code=0 if status == FINISHED else 1)
