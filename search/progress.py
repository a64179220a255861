"""What a person sees while the search runs: one live block on a terminal, plain lines elsewhere and in the log."""

import contextlib
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from results.analysis.metrics import METRICS, shown
from search.record.journal import FAILED, FINISHED, INFEASIBLE, RUNNING, STOPPED, Journal
from search.settings import Settings


class Progress:
    """Says lines, and draws the state of a run."""

    def __init__(self, settings: Settings, console: Console | None = None) -> None:
        self.settings = settings
        self.console = console or Console()
        self.journal: Journal | None = None
        self._log: Path | None = None
        self._unlogged = ""  # lines from before there was a log

    def log_to(self, path: Path) -> None:
        """Every line so far, and every other from here on, also goes to this file, with the time of day."""
        self._log = path
        self._append(self._unlogged)
        self._unlogged = ""

    def say(self, line: str) -> None:
        """One line for people: above the live block, and to the log."""
        # Whole, so that a path can be taken from it: a terminal folds by itself, and a file has no edge.
        self.console.print(line, highlight=False, markup=False, emoji=False, soft_wrap=True)
        self.note(line)

    def say_about_packing(self, rows: Sequence[Mapping[str, Any]], share: float) -> None:
        """Which share of a GPU would have been enough, where rows tell what trials held of one."""
        peaks = [(row["gpu_peak"], row["gpu_total"]) for row in rows if row.get("gpu_peak") and row.get("gpu_total")]
        if not peaks:
            return
        from search.training.devices import proposed_share

        peak, total = max(peaks)
        enough = proposed_share(peak, total)
        line = f"trials held at most {peak / 2**30:.2f} GiB of a GPU's {total / 2**30:.1f}"
        if enough < share:
            line += f": with --gpus-per-trial {enough:g} each GPU runs {int(1 / enough)} at a time"
        self.say(line)

    def note(self, line: str) -> None:
        """One line for the log alone."""
        timed = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n"
        if self._log is None:
            self._unlogged += timed
        else:
            self._append(timed)

    def _append(self, lines: str) -> None:
        assert self._log is not None
        # A full disk ends the search through its rows, which matter, and not through this line.
        with contextlib.suppress(OSError), self._log.open("a", encoding="utf-8") as log:
            log.write(lines)

    @contextmanager
    def live(self, journal: Journal) -> Iterator[None]:
        """Draws the block while the search runs; where there is no terminal, nothing is drawn."""
        self.journal = journal
        if not self.console.is_terminal:
            yield
            return
        with Live(get_renderable=self.block, console=self.console, refresh_per_second=2, redirect_stdout=False):
            yield

    def block(self) -> Table:
        """Trials by family and state, the best by the run's metric, and the time."""
        assert self.journal is not None
        settings, journal = self.settings, self.journal
        remaining = ""
        if settings.time_budget is not None:
            remaining = f", {duration(max(0.0, settings.time_budget - journal.elapsed))} left"
        table = Table(title=f"{settings.name}: {duration(journal.elapsed)}{remaining}", title_justify="left")
        table.add_column("family")
        states = [FINISHED, RUNNING, STOPPED, FAILED]
        states += [INFEASIBLE] if settings.max_latency or settings.max_parameters else []
        for column in (*states, "of", f"best validation {METRICS[settings.metric].title}"):
            table.add_column(column, justify="right")
        for family in settings.families:
            counts = [str(len(list(journal.of(family, state)))) for state in states]
            best = max((record.best for record in list(journal.of(family))), default=-math.inf)
            of = "-" if settings.trials is None else str(settings.trials)
            table.add_row(family, *counts, of, f"{shown(settings.metric, best):.3f}" if best > -math.inf else "")
        return table


def shown_size(size: float) -> str:
    """Bytes as people read them: `20 GB`, `1.5 MB`."""
    for unit, step in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("KB", 10**3)):
        if size >= step:
            return f"{size / step:.3g} {unit}" if size < 1000 * step else f"{size / step:,.0f} {unit}"
    return f"{size:.0f} B"


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"


def fail(message: str) -> int:
    """Prints what the user has to change, and gives the exit status for it."""
    print(f"pedigree: {message}", file=sys.stderr)
    return 2
