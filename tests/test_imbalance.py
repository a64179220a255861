"""The share of the commonest class stands beside every accuracy, and a model that is no better is called so."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from written_run import end_row, epoch_row, start_row, write_rows

from results.analysis.numbers import commonest, uneven
from results.pages.document import write_report
from results.pages.exploration import remarks
from search.progress import Progress
from search.run import report
from search.settings import Settings


def run_of(folder: Path, test: tuple[int, int], right: tuple[int, int], *, scored: bool = True) -> dict[str, Any]:
    """The results of a run whose test pictures are so many cats and dogs, so many of them named rightly."""
    folder.mkdir()
    (folder / "models").mkdir()
    (folder / "predictions").mkdir()
    sides = {side: [[f"{side}/{label}-{n}.png", label] for label in (0, 1) for n in range(test[label])] for side in (
        "train", "validation", "test"
    )}  # fmt: skip
    split = {"title": "pets", "data": "pets", "digest": "1", "seed": 0, "classes": ["cat", "dog"], **sides}
    (folder / "split.json").write_text(json.dumps(split))
    accuracy = sum(right) / sum(test)
    name = "scratch_keras-000"
    rows = [start_row(name), epoch_row(name, 1, accuracy), end_row(name, "finished")]
    if scored:
        said = [int(n >= right[0]) for n in range(test[0])] + [int(n < right[1]) for n in range(test[1])]
        np.savez(folder / "predictions" / "scratch_keras-0.npz", probabilities=np.eye(2)[said])
        same = {"time": 200.0, "trial": name, "family": "scratch_keras", "seed": 0}
        rows.append({"event": "test", **same, "accuracy": accuracy, "pictures": sum(test), "epochs": 1, "loss": 0.1})
        rows.append({"event": "model", **same, "path": "models/scratch_keras.keras", "parameters": 9, "bytes": 36})
    write_rows(folder, rows)
    write_report(folder)
    found = json.loads((folder / "results.json").read_text())
    assert isinstance(found, dict)
    return found


def documents(folder: Path) -> list[str]:
    return [(folder / name).read_text().replace("&nbsp;", " ") for name in ("report.html", "report.md")]


def test_a_model_that_always_names_one_class_is_not_praised(tmp_path: Path) -> None:
    results = run_of(tmp_path / "run", (78, 2), (78, 0))
    record = results["families"]["scratch_keras"]
    assert results["data"]["commonest"]["test"] == {"class": "cat", "share": 0.975, "pictures": 80}
    assert (record["test"]["accuracy"], record["test"]["commonest"], record["above_commonest"]) == (0.975, 0.975, False)
    assert record["test"]["predictions"]["balanced_accuracy"] == 0.5
    card = (tmp_path / "run" / "models" / "scratch_keras.md").read_text()
    doubt = "That is not shown to be better than always naming the commonest class, cat: 97.5 %."
    uneven = "The classes are uneven: cat has 234 of 240 pictures, dog 6."
    for told in (*documents(tmp_path / "run"), card):
        assert doubt in told
        assert uneven in told
    caveat = (
        "Keras from scratch: 97.5 % (91.3 to 99.3) on test is not shown to be better than always naming one class; its "
        "balanced accuracy is 50.0 %."
    )
    assert all(caveat in told for told in documents(tmp_path / "run"))
    assert "- Balanced test accuracy, the mean over the classes: 50.0 %." in card


def test_a_model_that_tells_the_classes_apart_is_believed(tmp_path: Path) -> None:
    results = run_of(tmp_path / "run", (60, 20), (59, 18))
    record = results["families"]["scratch_keras"]
    assert (record["above_commonest"], record["commonest"]) == (True, {"validation": 0.75, "test": 0.75})
    assert record["test"]["predictions"]["balanced_accuracy"] == pytest.approx((59 / 60 + 0.9) / 2)
    for told in documents(tmp_path / "run"):
        assert "not shown to be better" not in told
        assert "uneven" not in told
        assert "For comparison, always naming the commonest class, cat: 75.0 %." in told
        assert "94.2 %" in told


def test_before_the_test_the_validation_pictures_tell(tmp_path: Path) -> None:
    results = run_of(tmp_path / "run", (78, 2), (78, 0), scored=False)
    assert results["families"]["scratch_keras"]["above_commonest"] is False
    assert (
        "Keras from scratch leads with 97.5 % validation accuracy; it has not been scored on the test pictures. That "
        "is not shown to be better than always naming the commonest class, cat: 97.5 %."
    ) in documents(tmp_path / "run")[1]


def test_the_last_lines_of_a_search_say_it_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_of(tmp_path / "run", (78, 2), (78, 0))
    settings = Settings(name="run", runs_dir=str(tmp_path), families=("scratch_keras",))
    assert report(settings, Progress(settings)) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "validation 0.975 [commonest class alone 0.975], test 0.975 (0.913 to 0.993) [balanced 0.500, " in told
    assert "That is not shown to be better than always naming the commonest class, cat: 97.5 %." in told
    assert "The classes are uneven: cat has 234 of 240 pictures, dog 6." in told


def test_the_data_page_names_the_share() -> None:
    record: dict[str, Any] = {
        **{"notes": [], "pictures": 505, "small": 0, "largest_size": 64, "left_out": []},
        "classes": [{"class": "ok", "pictures": 500}, {"class": "scratched", "pictures": 5}],
        "duplicates": {"groups": 0, "shown": []},
    }
    share, few = remarks(record)
    assert share.startswith("Always naming ok would be right for 99.0 % of the pictures")
    assert few.startswith("Uneven classes: scratched has less than a third")


def test_the_commonest_class_by_hand() -> None:
    counts = [
        {"class": "a", "train": 6, "validation": 2, "test": 2},
        {"class": "b", "train": 2, "validation": 2, "test": 0},
        {"class": "c", "train": 1, "validation": 0, "test": 0},
    ]
    found = commonest(counts)
    assert found["train"] == {"class": "a", "share": pytest.approx(6 / 9), "pictures": 9}
    assert found["validation"] == {"class": None, "share": 0.5, "pictures": 4}
    assert found["test"]["share"] == 1.0
    assert found["all"]["share"] == pytest.approx(10 / 15)
    assert commonest([]) == {}
    assert [uneven(pictures) for pictures in ([], [3, 9], [2, 9], [5])] == [False, False, True, False]
