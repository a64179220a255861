import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from written_run import write_run

from results.__main__ import main
from results.analysis.numbers import summarise
from results.pages.comparison import cautions, labels, paired, settings_that_differ


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three runs: two on the same pictures, the third on others."""
    place = tmp_path_factory.mktemp("runs")
    found = [write_run(place / name, trials=4, seed=seed) for seed, name in enumerate(("one", "two", "three"))]
    split = json.loads((found[2] / "split.json").read_text())
    (found[2] / "split.json").write_text(json.dumps({**split, "digest": "other"}))
    return found


def test_the_page_sets_runs_side_by_side(runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "both.html"
    assert main([str(runs[0]), str(runs[1]), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    page = out.read_text(encoding="utf-8")
    markup = re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    assert "The same pictures, split in the same way." in markup
    assert '<th scope="row">seed</th><td>0</td><td>1</td>' in markup
    assert "two minus one" in markup
    for summary in map(summarise, runs[:2]):
        assert f"{100 * summary['families']['mobilenet']['best']['validation_accuracy']:.1f}&nbsp;%" in markup
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", markup)
    assert out.stat().st_size < 10_000_000


def test_it_draws_without_an_error(runs: list[Path], tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("needs Chromium, found no browser to open the page in")
    out = tmp_path / "both.html"
    main([str(runs[0]), str(runs[1]), "--out", str(out)])
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000", "--enable-logging=stderr"]
    flags += [f"--user-data-dir={tmp_path / 'profile'}", "--proxy-server=127.0.0.1:9", "--dump-dom"]
    done = subprocess.run([chromium, *flags, out.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in done.stderr
    assert 'data-drawn="yes"' in done.stdout
    assert done.stdout.count('class="main-svg"') >= 3


def test_runs_on_other_pictures_are_not_ranked(runs: list[Path], tmp_path: Path) -> None:
    summaries = [summarise(runs[0]), summarise(runs[2])]
    assert cautions(["one", "three"], summaries)[0] == (
        "The runs did not see the same pictures: their accuracies cannot be compared."
    )
    assert paired(runs[0], runs[2], "mobilenet", "mobilenet") is None
    main([str(runs[0]), str(runs[2]), "--out", str(tmp_path / "page.html")])
    assert "<h1>These runs did not see the same pictures.</h1>" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_paired_difference_by_hand(tmp_path: Path) -> None:
    # Of four pictures of class 0 the first run names three rightly, the second one of those three.
    for name, right in (("a", [1, 1, 1, 0]), ("b", [1, 0, 0, 0])):
        run = tmp_path / name
        (run / "predictions").mkdir(parents=True)
        (run / "split.json").write_text(json.dumps({"digest": "d", "classes": ["x", "y"], "test": [["p", 0]] * 4}))
        row = {"event": "test", "time": 1.0, "trial": "f-000", "family": "f", "seed": 0, "accuracy": sum(right) / 4}
        (run / "trials.jsonl").write_text(json.dumps(row) + "\n")
        np.savez(run / "predictions" / "f-0.npz", probabilities=[[hit, 1 - hit] for hit in right])
    found = paired(tmp_path / "a", tmp_path / "b", "f", "f")
    assert found is not None
    # The differences 0, 1, 1, 0 have mean 0.5 and standard deviation sqrt(1 / 3).
    half = 1.959964 * (1 / 3) ** 0.5 / 2
    assert found["difference"] == 0.5
    assert found["low"] == pytest.approx(0.5 - half)
    assert found["high"] == pytest.approx(0.5 + half)


def test_one_run_is_not_compared(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(runs[0])]) == 2
    assert capsys.readouterr().err == "a comparison needs two runs or more, got 1\n"


def test_names_and_settings() -> None:
    assert labels([{"name": "a"}, {"name": "b"}, {"name": "a"}]) == ["a (1)", "b", "a (3)"]
    one, other = ({"settings": {"trials": trials, "seed": 0, "name": str(trials)}} for trials in (5, 10))
    assert settings_that_differ([one, other]) == [["trials", "5", "10"]]
    assert settings_that_differ([one, one]) == [["none", "", ""]]
