"""TensorBoard: a folder of event files for the run, and one in it for every trial."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter
from tensorboardX.summary import hparams

from search.record.tracking.calls import PARENT, Begin, Call, End, Log, Summary, succeeded
from search.record.tracking.sending import Clock


def connect(target: str, folder: Path, own: dict[str, Any], clock: Clock) -> "EventFiles":
    """The event files of a run, in its own folder where no other is named; there they lie below the run's name."""
    place = Path(target) / folder.name if target else folder / "tensorboard"
    return EventFiles(place, own["ids"], clock)


class EventFiles:
    """Writes events at the times of the rows; `ids` holds the runs that have files already."""

    def __init__(self, place: Path, ids: dict[str, Any], clock: Clock) -> None:
        self.place = f"tensorboard --logdir {place}"
        self._folder, self._ids, self._clock = place, ids, clock
        self._writers: dict[str, SummaryWriter] = {}
        # Of these a process that was killed may have written steps of which it did not know any more that it had.
        self._doubtful = {run for run, state in ids.items() if state == "open"}

    def send(self, calls: Sequence[Call]) -> None:
        """Tells it, in order; the files are written out when this returns."""
        for call in calls:
            at = self._clock.at(call.time)
            if isinstance(call, Begin):
                self._begin(call, at)
            elif isinstance(call, Log):
                writer = self._writer(call.run, call.step if call.curve else None)
                for name, value in call.figures.items():
                    writer.add_scalar(name, value, call.step, walltime=at)
            else:
                self._end(call, at)
        for writer in self._writers.values():
            writer.flush()

    def finish(self, status: str, summary: Summary, time: float) -> None:
        """The report as a text, and its figures; TensorBoard keeps no files."""
        at = self._clock.at(time)
        writer = self._writer(PARENT)
        for name, value in summary.figures.items():
            writer.add_scalar(name, value, 0, walltime=at)
        tags = "".join(f"- {name}: {value}\n" for name, value in {"status": status, **summary.tags}.items())
        writer.add_text("report", f"{tags}\n{summary.text}", 0, walltime=at)
        for one in self._writers.values():
            one.close()
        self._writers = {}

    def _writer(self, run: str, step: int | None = None) -> SummaryWriter:
        if run not in self._writers:
            # From this step on TensorBoard forgets what an earlier file says.
            purge = step if run in self._doubtful else None
            path = self._folder / run
            # Named after the second: another file of the same second would take the place of the first.
            suffix = f".{len(list(path.glob('events.*'))):04d}"
            self._writers[run] = SummaryWriter(str(path), purge_step=purge, flush_secs=10**6, filename_suffix=suffix)
        return self._writers[run]

    def _begin(self, call: Begin, at: float) -> None:
        if call.run in self._ids:
            self._ids[call.run] = "open"
            return
        self._ids[call.run] = "open"
        writer = self._writer(call.run)
        config = {"family": call.family, **_values(call.config)}
        # Of the page HPARAMS: without the columns of an experiment it shows those of all families, and all curves.
        _, begin, _ = hparams(config, {})
        writer.file_writer.add_summary(begin, walltime=at)
        lines = "\n".join(f"| {name} | {value} |" for name, value in config.items())
        writer.add_text("configuration", f"| name | value |\n| --- | --- |\n{lines}", 0, walltime=at)

    def _end(self, call: End, at: float) -> None:
        writer = self._writer(call.run)
        writer.add_text("status", f"{call.status}: {call.reason}", 0, walltime=at)
        if succeeded(call):
            *_, success = hparams({}, {})
            writer.file_writer.add_summary(success, walltime=at)
        # A trial's last figures, of a retraining, open another file.
        self._writers.pop(call.run).close()
        self._ids[call.run] = "ended"
        self._doubtful.discard(call.run)


def _values(config: Mapping[str, Any]) -> dict[str, bool | float | str]:
    """A configuration in the kinds of value that the page HPARAMS takes."""
    return {
        name: value if isinstance(value, bool | int | float | str) else str(value) for name, value in config.items()
    }
