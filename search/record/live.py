"""The live page: a thread of the driver that now and then writes what the journal holds."""

import contextlib
import threading
import time
from dataclasses import asdict
from types import TracebackType

from search.record.journal import Journal
from search.settings import Settings

EVERY = 15.0  # seconds between two writings, at least
SHARE = 0.01  # of the run's time that writing may take: a longer writing is followed by a longer pause


class LivePage:
    """Keeps runs/NAME/report.html at the state of the run while the search goes on."""

    def __init__(self, settings: Settings, journal: Journal, every: float = EVERY) -> None:
        self.settings = settings
        self.journal = journal
        self.every = every
        self.written = 0  # times
        self.spent = 0.0  # seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="live-page", daemon=True)

    def __enter__(self) -> "LivePage":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _keep(self) -> None:
        from results.pages.live import write_live
        from results.rows import Row, Rows, clean

        settings = asdict(self.settings)
        rows: list[Row] = []
        seen = 0
        while True:
            over = self._over.is_set()
            began = time.perf_counter()
            # The driver only ever appends, so this slice is whole; only what is new is looked at.
            new = self.journal.rows[seen:]
            seen += len(new)
            rows += [row for row in map(clean, new) if row is not None]
            # A full disk ends the search through its rows, which matter, and not through this page.
            with contextlib.suppress(OSError):
                write_live(self.settings.folder, Rows(tuple(rows)), settings, self.journal.elapsed, running=not over)
            took = time.perf_counter() - began
            self.written += 1
            self.spent += took
            if over:
                return
            self._over.wait(max(self.every, took / SHARE))
