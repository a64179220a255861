import json
import re
from pathlib import Path

from written_run import end_row, epoch_row, start_row

from results.pages.live import live_page, write_live
from results.rows import Rows
from search.record.journal import FINISHED, Journal, Record
from search.record.live import SHARE, LivePage
from search.settings import Settings

SETTINGS = {"families": ["mobilenet", "scratch_keras"], "trials": 3}
ROWS = Rows(
    (
        start_row("mobilenet-000", dropout=0.2),
        epoch_row("mobilenet-000", 1, 0.5),
        epoch_row("mobilenet-000", 2, 0.75),
        end_row("mobilenet-000", "finished", "all 2 epochs"),
        start_row("mobilenet-001"),
        epoch_row("mobilenet-001", 1, 0.7),
    )
)


def test_the_page_tells_the_state_and_looks_again() -> None:
    page = live_page("demo", ROWS, SETTINGS, 130.0, running=True)
    assert '<meta http-equiv="refresh" content="15">' in page
    assert "The search is running." in page
    assert "1 of 6 trials have ended after 2 min 10 s." in page
    assert '<p class="big">75.0&nbsp;%</p><p class="of">best validation accuracy, mobilenet-000</p>' in page
    assert "<dt>running</dt><dd>1</dd><dt>finished</dt><dd>1</dd>" in page
    assert "finished: all 2 epochs" in page
    assert "no epoch yet" in page
    # Light, and with nothing to fetch.
    assert len(page) < 40_000
    assert "<script" not in page
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", page)


def test_a_page_that_nobody_writes_any_more_does_not_reload(tmp_path: Path) -> None:
    page = write_live(tmp_path, ROWS, SETTINGS, 130.0, running=False).read_text(encoding="utf-8")
    assert "refresh" not in page
    assert "The search has stopped; its report has not been written." in page


def test_names_are_text() -> None:
    assert "<script" not in live_page("<script>", Rows(()), {"families": ["<script>"], "trials": 1}, 0.0, running=True)


def test_the_thread_writes_what_the_journal_holds(tmp_path: Path) -> None:
    settings = Settings(families=("mobilenet",), trials=2, name="run", runs_dir=str(tmp_path))
    settings.folder.mkdir()
    journal = Journal(settings.folder / "trials.jsonl")
    with LivePage(settings, journal, every=0.01) as live:
        journal.records["mobilenet-000"] = Record("mobilenet-000", "mobilenet", {}, {})
        journal.start("mobilenet-000")
        row = {key: value for key, value in epoch_row("x-0", 1, 0.625).items() if key not in ("event", "time", "trial")}
        journal.epochs("mobilenet-000", [{key: value for key, value in row.items() if key != "family"}])
        journal.end("mobilenet-000", FINISHED, "all 1 epochs")
    journal.close()
    page = (settings.folder / "report.html").read_text(encoding="utf-8")
    assert "1 of 2 trials have ended" in page
    assert "62.5&nbsp;%" in page
    assert live.written >= 2
    assert SHARE <= 0.01
    assert json.loads((settings.folder / "trials.jsonl").read_text().splitlines()[0])["event"] == "start"
