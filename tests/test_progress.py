"""What a person sees while the search runs."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from search.progress import Progress, duration, fail
from search.record.journal import FINISHED, Journal, Record
from search.settings import Settings


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.4, "0 s"), (59.4, "59 s"), (60, "1 min 0 s"), (3599, "59 min 59 s"), (3600, "1 h 0 min"), (9000, "2 h 30 min")],
)
def test_durations_as_people_say_them(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


def test_lines_go_to_the_console_and_the_log(tmp_path: Path) -> None:
    progress = Progress(Settings(name="a"), Console(file=io.StringIO(), width=200))
    progress.say("before the log")
    progress.log_to(tmp_path / "log.txt")
    progress.say("mobilenet-003 failed: [red] is no colour here")
    progress.note("for the log alone")
    shown = progress.console.file
    assert isinstance(shown, io.StringIO)
    assert shown.getvalue() == "before the log\nmobilenet-003 failed: [red] is no colour here\n"
    before, first, second = (tmp_path / "log.txt").read_text().splitlines()
    assert before.endswith(" before the log")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d mobilenet-003 failed: \[red\] is no colour here", first)
    assert second.endswith(" for the log alone")


def test_a_line_is_never_folded_nor_changed() -> None:
    line = f"report: /srv/{'shared photographs/' * 9}runs/:dog:[bold]/report.html"
    progress = Progress(Settings(name="a"), Console(file=io.StringIO(), width=80))
    progress.say(line)
    shown = progress.console.file
    assert isinstance(shown, io.StringIO)
    assert shown.getvalue() == f"{line}\n"


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    journal = Journal(tmp_path / "trials.jsonl")
    for name in ("mobilenet-000", "mobilenet-001"):
        journal.records[name] = Record(name, "mobilenet", {}, {}, {1: 0.5, 2: 0.75})
    journal.end("mobilenet-000", FINISHED, "all 2 epochs")
    journal.close()
    return journal


def test_a_terminal_shows_the_block(journal: Journal) -> None:
    settings = Settings(name="a", families=("mobilenet", "scratch_keras"), trials=4, time_budget=7200)
    progress = Progress(settings, Console(file=io.StringIO(), width=120, force_terminal=True, no_color=True))
    with progress.live(journal):
        pass
    shown = progress.console.file
    assert isinstance(shown, io.StringIO)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.getvalue())
    assert re.search(r"a: 0 s, [12] h \d+ min left", text)
    assert re.search(r"mobilenet\W+1\W+1\W+0\W+0\W+4\W+0\.750", text)
    assert re.search(r"scratch_keras\W+0\W+0\W+0\W+0\W+4\W", text)


def test_without_a_terminal_nothing_is_drawn(journal: Journal) -> None:
    progress = Progress(Settings(name="a"), Console(file=io.StringIO(), force_terminal=False))
    with progress.live(journal):
        progress.say("a line")
    shown = progress.console.file
    assert isinstance(shown, io.StringIO)
    assert shown.getvalue() == "a line\n"


def test_an_error_is_one_message_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert fail("`epochs` needs 1 or more, got 0") == 2
    assert capsys.readouterr().err == "pedigree: `epochs` needs 1 or more, got 0\n"
