import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from written_run import write_run

from results.pages.document import write_report
from results.records import broken_records, read_object, read_probabilities, read_record, split_problem
from results.rows import clean, plain

GOOD: dict[str, Any] = {
    "data": "dogs", "title": "Dogs", "digest": "d", "seed": 0, "classes": ["a", "b"], "notes": ["one"],
    "sizes": {"train": 1, "validation": 1, "test": 1}, "left_out": [{"name": "x", "reason": "y"}],
    "duplicates": [["x", "y"]], "train": [["1", 0]], "validation": [["2", 1]], "test": [["3", 1]],
}  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not the JSON that a search wrote: Expecting value"),
        ("[1]", "needs an object, got list"),
        ('{"a": ' * 30 + "1" + "}" * 30, "nested more than 20 deep"),
        ("[" * 100_000, "is not the JSON that a search wrote"),
        ('{"a": 1' + "0" * 30 + "}", "a number beyond 64 bits"),
    ],
)
def test_what_is_no_record_is_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "split.json").write_text(content)
    with pytest.raises(ValueError, match=f"split.json`.*{message}"):
        read_object(tmp_path / "split.json")
    assert read_record(tmp_path / "split.json") == {}


def test_numbers_and_letters_that_no_document_takes() -> None:
    assert plain([float("nan"), float("-inf"), 1.5, "\ud800", True, {"é": None}]) == [
        None,
        None,
        1.5,
        "?",
        True,
        {"é": None},
    ]


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({}, ""),
        ({"classes": ["a", 1]}, "`classes` needs names"),
        ({"test": [["3", 2]]}, "`test` needs labels below 2, the number of classes, got 2"),
        ({"train": [["1", -1]]}, "`train` needs pairs of a name and a label, got ['1', -1]"),
        ({"train": [["1", True]]}, "`train` needs pairs of a name and a label, got ['1', True]"),
        ({"train": "all"}, "`train` is of another kind"),
        ({"sizes": [1]}, "`sizes` needs a number for each side"),
        ({"sizes": {"test": 7}}, "`sizes` says 7 for test, and there are 1"),
        ({"likeness": ["near"]}, "`likeness` needs a rule"),
        ({"likeness": {"rule": 3}}, "`likeness` needs a rule"),
        ({"left_out": [["x"]]}, "`left_out` needs names and reasons"),
        ({"duplicates": ["x"]}, "`duplicates` needs lists of names"),
        ({"notes": 5}, "`notes` is of another kind"),
        ({"title": ["Dogs"]}, "`title` is of another kind"),
        ({"seed": "0"}, "`seed` is of another kind"),
    ],
)
def test_a_split_is_used_whole_or_not_at_all(values: dict[str, Any], problem: str) -> None:
    assert split_problem({**GOOD, **values}) == problem


def test_the_report_says_what_is_broken(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", trials=2, epochs=2, families=("mobilenet",), pictures=3)
    (run / "settings.json").write_text('{"families": "mobilenet"}')
    (run / "environment.json").write_text('{"command": 7}')
    (run / "predictions" / "mobilenet-1.npz").write_bytes(b"PK")
    assert broken_records(run) == [
        "`settings.json` is broken and not used: `families` needs names",
        "`environment.json` is broken and not used: `command` is of another kind",
    ]
    write_report(run)
    results = json.loads((run / "results.json").read_text())
    assert results["broken"][2:] == ["`predictions/mobilenet-1.npz` is broken or of another split, and not used."]
    assert results["families"]["mobilenet"]["test"]["predictions"]["seeds"] == [0, 2]
    assert "- `settings.json` is broken and not used: `families` needs names" in (run / "report.md").read_text()


def test_predictions_are_probabilities_of_the_split(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    good = np.array([[0.25, 0.75], [1.0, 0.0]], np.float32)
    for array, usable in (
        (good, True), (good[:1], False), (good * np.nan, False), (good * 2, False), (-good, False),
        (good.astype(str), False), (good + 1j, False), (np.array([{}, {}]), False), (np.zeros((900, 900)), False),
    ):  # fmt: skip
        np.savez(path, probabilities=array)
        assert (read_probabilities(path, (2, 2)) is not None) == usable
    # A few bytes that say they are gigabytes are not unpacked.
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("probabilities.npy", bytes(10**7))
    assert path.stat().st_size < 20_000
    assert read_probabilities(path, (2, 2)) is None


@pytest.mark.parametrize(
    "values",
    [
        {"family": "../../outside"}, {"trial": "a/b"}, {"family": ""}, {"trial": "<b>"}, {"time": -1}, {"time": 10**12},
        {"epoch": 0}, {"epoch": 2**70}, {"validation_accuracy": 1.5}, {"seconds": -1.0}, {"config": {"a": 2**70}},
    ],
)  # fmt: skip
def test_rows_that_no_search_writes_are_skipped(values: dict[str, Any]) -> None:
    row = {"event": "epoch", "time": 1.0, "trial": "a-000", "family": "a", "epoch": 1, "validation_accuracy": 0.5}
    assert clean(row) is not None
    assert clean({**row, **values}) is None
