"""A report stays small whatever the number of classes: pairs that are confused instead of the whole matrix."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from written_run import write_run

from results.analysis.numbers import MOST_CLASSES, confused, per_class, tally
from results.drawing import figures
from results.pages.document import write_report
from results.pages.exploration import data_page, listed


def test_two_thousand_classes_make_a_small_report(tmp_path: Path) -> None:
    names = [f"person {number}" for number in range(2000)]
    run = write_run(tmp_path / "run", trials=1, epochs=2, families=("mobilenet",), classes=names, pictures=1)
    page = write_report(run)
    assert page.stat().st_size < 6_000_000
    assert (run / "results.json").stat().st_size < 2_000_000
    assert (run / "report.md").stat().st_size < 100_000
    judged = json.loads((run / "results.json").read_text())["families"]["mobilenet"]["test"]["predictions"]
    assert judged["confusion"] is None
    assert (len(judged["confused"]), len(judged["classes"])) == (60, 2000)
    told = page.read_text()
    assert "Most often taken for each other" in told
    assert "The 200 of 2,000 classes with the fewest pictures in each part of the split." in told
    assert "by class, the worst first, the first 200 of 2,000." in told
    assert "The 200 of 2,000 classes with the fewest pictures." in (run / "report.md").read_text()


@pytest.mark.parametrize(("classes", "whole"), [(MOST_CLASSES, True), (MOST_CLASSES + 1, False)])
def test_the_matrix_is_whole_up_to_forty_classes(tmp_path: Path, classes: int, whole: bool) -> None:
    names = [f"breed {number}" for number in range(classes)]
    run = write_run(tmp_path / "run", trials=1, epochs=1, families=("scratch_keras",), classes=names, pictures=2)
    told = write_report(run).read_text()
    judged = json.loads((run / "results.json").read_text())["families"]["scratch_keras"]["test"]["predictions"]
    assert (judged["confusion"] is not None) is whole
    assert ("<h3>Confusion</h3>" in told) is whole
    assert ("<h3>Most often taken for each other</h3>" in told) is not whole
    assert "What Keras from scratch confuses, all seeds together:" in (run / "report.md").read_text()


def test_pairs_are_counted_in_both_directions() -> None:
    truth = np.array([0, 0, 0, 1, 1, 2, 2])
    counts = tally(np.array([1, 1, 0, 0, 1, 2, 1]), truth)
    assert confused(counts, ["cat", "dog", "fox"]) == [
        {"classes": ["cat", "dog"], "there": 2, "back": 1, "share": 0.6},
        {"classes": ["dog", "fox"], "there": 0, "back": 1, "share": 0.25},
    ]
    assert [record["taken_for"] for record in per_class(counts, ["cat", "dog", "fox"])] == ["dog", "cat", "dog"]


def test_the_data_page_lists_the_commonest_and_the_rarest_of_many_classes() -> None:
    sheet = {"picture": "", "count": 1, "side": 96}
    classes: list[dict[str, Any]] = [
        {
            **{"class": f"id {number}", "pictures": 1 + number % 500, "unreadable": 0, "mean": [1, 2, 3]},
            **{"brightness": 1.0, "contrast": 1.0, "width": [9] * 5, "height": [9] * 5, "sampled": ["a"]},
            "sheet": sheet if number % 20 == 0 else None,
        }
        for number in range(1500)
    ]
    assert sorted(entry["pictures"] for entry in listed(classes))[99:101] == [34, 467]
    record: dict[str, Any] = {
        **{"title": "ids", "source": "ids", "digest": "1", "seconds": 1.0, "notes": [], "pictures": 9, "small": 0},
        **{"largest_size": 64, "left_out": [], "classes": classes, "sizes": [[9, 9], [8, 9]], "treated": []},
        **{"levels": [[1.0]] * 3, "duplicates": {"groups": 0, "pictures": 0, "shown": []}},
    }
    page = data_page(record)
    assert page.count("id 0</th>") == 3
    assert page.count("; the 100 commonest and the 100 rarest of 1,500 classes") == 3
    assert "<p>75 of 1,500 classes.</p>" in page


def test_margins_have_room_for_labels_and_titles() -> None:
    wide: dict[str, Any] = {"l": 8, "r": 20, "t": 12, "b": 8}
    bars = [{"type": "bar", "y": ["short", "ten letter"], "x": [1, 2]}]
    layout: dict[str, Any] = {"margin": wide, "xaxis": {"title": {"text": "trials"}}, "yaxis": {}}
    assert figures.margins(bars, layout) == {"l": 74, "r": 20, "t": 12, "b": 54}
    # An escaped letter is one letter, one of East Asia is wider, and what is not shown takes no room.
    layout["yaxis"] = {"ticktext": ["&amp;&lt;", "\N{CJK UNIFIED IDEOGRAPH-72AC}" * 5]}
    assert figures.margins(bars, layout)["l"] == 82
    layout["yaxis"] = {"ticktext": ["common"]}
    assert figures.margins(bars, layout)["l"] == 69
    layout["yaxis"] = {"showticklabels": False}
    layout["xaxis"] = {"ticktext": ["ten letter"], "tickangle": -45}
    assert figures.margins(bars, layout) == {"l": 12, "r": 20, "t": 12, "b": 74}
    # Panels on the right and above have their room between the panels.
    layout = {"margin": wide, "xaxis": {"domain": [0.5, 1]}, "yaxis": {"anchor": "x", "ticktext": ["ten letter"]}}
    assert figures.margins([], layout)["l"] == 8
