"""The worked example of the guide on several labels a picture, and a whole search of it."""

import json
import re
import shlex
from pathlib import Path

import pytest

from search.data.drawn_labels import main as draw
from search.data.table import match, read_table
from search.parsing import options
from search.run import main
from search.starting import begun

GUIDE = Path(__file__).resolve().parent.parent / "docs" / "guide" / "labels.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)


def test_the_search_says_what_the_guide_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    drawing, _, search, _ = (shlex.split(line) for line in blocks("bash")[0].splitlines())
    # As many as in the guide; how large they are decides nothing of their labels.
    assert draw([*drawing[3:], "--size", "8"]) == 0
    settings = begun(options(search[2:]))
    table = Path(settings.data)
    names = [f"images/{number:04d}.jpg" for number in range(400)]
    (understood,) = [line for line in blocks("text")[0].splitlines() if line]
    assert match(read_table(table), names).notes[0] == understood


def test_the_tables_of_the_guide_are_read(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(blocks("text")[1])
    found = match(read_table(tmp_path / "t.csv"), ["0001.jpg", "0002.jpg", "0003.jpg"])
    assert "3 pictures with 0 to 2 of 2 labels (column `labels`, split at `;`)" in found.notes[0]
    for line in blocks("bash")[1].splitlines():
        settings = begun(options([*shlex.split(line)[2:], "--name", "a"]))
        assert settings.label_separator == "," or settings.label_columns == ("ears", "coat", "tail")


@pytest.mark.slow
def test_a_search_of_several_labels_ranks_them_better_than_chance(tmp_path: Path) -> None:
    assert draw([str(tmp_path / "dogs"), "--pictures", "240", "--size", "64"]) == 0
    given = [str(tmp_path / "dogs" / "labels.csv"), "--weights", "demo", "--image-sizes", "64", "--time-budget", "60s",
             "--name", "run", "--runs-dir", str(tmp_path), "--cache-dir", str(tmp_path / "cache")]  # fmt: skip
    assert main(given) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert json.loads((tmp_path / "run" / "settings.json").read_text())["metric"] == "map"
    winner = results["families"][results["winner"]]
    # A dark coat alone, told by the mean colour, is worth more than that.
    assert winner["test"]["metric"]["value"] > winner["test"]["labels"]["chance"] + 0.1
    assert set(results["families"]) == {"scratch_pillow", "scratch_keras", "mobilenet"}
    assert len(winner["model"]["label_thresholds"]) == 3
    assert (tmp_path / "run" / "models" / f"{results['winner']}.labels.csv").is_file()
