"""TensorBoard: a folder of event files for the run, and one in it for every trial."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import hparams, scalar, text

from search.record.tracking.calls import PARENT, Begin, Call, End, Log, Summary, succeeded
from search.record.tracking.sending import Clock


def connect(target: str, folder: Path, own: dict[str, Any], clock: Clock) -> "EventFiles":
    """The event files of a run, in its own folder where no other is named; there they lie below the run's name."""
    place = Path(target) / folder.name if target else folder / "tensorboard"
    return EventFiles(place, own["ids"], clock)


class EventFile:
    """One file of a folder of events, written in order by whoever calls.

    `tensorboardX.SummaryWriter` hands its events to a thread, whose pending ones its `flush` does not write.
    From the step `purge` on TensorBoard forgets what an earlier file says.
    """

    def __init__(self, folder: Path, purge: int | None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # Named after the second: another file of the same second would take the place of the first.
        suffix = f".{len(list(folder.glob('events.*'))):04d}"
        self._events = EventsWriter(str(folder / "events"), suffix)
        if purge is not None:
            self._events.write_event(Event(step=purge, session_log=SessionLog(status=SessionLog.START)))

    def add(self, summary: Any, at: float, step: int = 0) -> None:
        """A summary of tensorboardX, at a time of day and a step."""
        self._events.write_event(Event(wall_time=at, step=step, summary=summary))

    def flush(self) -> None:
        """Everything that was added is in the file when this returns."""
        self._events.flush()

    def close(self) -> None:
        """Flushes and closes it."""
        self._events.close()

    def __del__(self) -> None:
        with contextlib.suppress(ValueError):  # closed already
            self.close()


class EventFiles:
    """Writes events at the times of the rows; `ids` holds the runs that have files already."""

    def __init__(self, place: Path, ids: dict[str, Any], clock: Clock) -> None:
        self.place = f"tensorboard --logdir {place}"
        self._folder, self._ids, self._clock = place, ids, clock
        self._writers: dict[str, EventFile] = {}
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
                    writer.add(scalar(name, value), at, call.step)
            else:
                self._end(call, at)
        for writer in self._writers.values():
            writer.flush()

    def finish(self, status: str, summary: Summary, time: float) -> None:
        """The report as a text, and its figures; TensorBoard keeps no files."""
        at = self._clock.at(time)
        writer = self._writer(PARENT)
        for name, value in summary.figures.items():
            writer.add(scalar(name, value), at)
        tags = "".join(f"- {name}: {value}\n" for name, value in {"status": status, **summary.tags}.items())
        writer.add(text("report", f"{tags}\n{summary.text}"), at)
        for one in self._writers.values():
            one.close()
        self._writers = {}

    def _writer(self, run: str, step: int | None = None) -> EventFile:
        if run not in self._writers:
            self._writers[run] = EventFile(self._folder / run, step if run in self._doubtful else None)
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
        writer.add(begin, at)
        lines = "\n".join(f"| {name} | {value} |" for name, value in config.items())
        writer.add(text("configuration", f"| name | value |\n| --- | --- |\n{lines}"), at)

    def _end(self, call: End, at: float) -> None:
        writer = self._writer(call.run)
        writer.add(text("status", f"{call.status}: {call.reason}"), at)
        if succeeded(call):
            *_, success = hparams({}, {})
            writer.add(success, at)
        # A trial's last figures, of a retraining, open another file.
        self._writers.pop(call.run).close()
        self._ids[call.run] = "ended"
        self._doubtful.discard(call.run)


def _values(config: Mapping[str, Any]) -> dict[str, bool | float | str]:
    """A configuration in the kinds of value that the page HPARAMS takes."""
    return {
        name: value if isinstance(value, bool | int | float | str) else str(value) for name, value in config.items()
    }
