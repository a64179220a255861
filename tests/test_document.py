import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from written_run import end_row, epoch_row, start_row, write_rows, write_run

from results import write_report
from results.__main__ import main
from results.markup import embedded
from results.pages.document import OUTPUTS
from results.pages.tables import cell, data_notes

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium, found no browser to open the report in")
ODD = ["<script>alert(1)</script>", "Ünï|cødé \N{DOG FACE}", "\"quoted\" & 'so'"]


def opened(page: Path, profile: Path, script: str = "") -> tuple[str, str]:
    """The document after its scripts ran, and what the browser logged; `script` runs once every figure is drawn."""
    if script:
        probe = page.with_name("probe.html")
        waiting = (
            "<script>const wait = setInterval(async () => { if (!document.documentElement.dataset.drawn) return;"
            f"clearInterval(wait); {script} }}, 50);</script></body>"
        )
        probe.write_text(page.read_text(encoding="utf-8").replace("</body></html>", waiting), encoding="utf-8")
        page = probe
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    flags += ["--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--window-size=1280,900"]
    flags += [f"--user-data-dir={profile}", "--virtual-time-budget=60000", "--enable-logging=stderr", "--v=0"]
    # Any request would have to pass this proxy, and nothing listens there.
    flags += ["--proxy-server=127.0.0.1:9", "--dump-dom"]
    done = subprocess.run(
        [str(CHROMIUM), *flags, page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        encoding="utf-8",
    )
    console = "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)
    return done.stdout, console


@needs_chromium
def test_the_document_draws_every_figure_without_an_error_or_a_request(tmp_path: Path) -> None:
    page = write_report(write_run(tmp_path / "demo"))
    # What the page loads must be in it; a link that a reader follows would be `<a href`, and there is none.
    markup = re.sub(r"<script>.*?</script>", "", page.read_text(encoding="utf-8"), flags=re.S)
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", markup)
    assert "url(" not in markup
    seen, console = opened(page, tmp_path / "profile")
    assert console == ""
    assert 'data-drawn="yes"' in seen
    assert seen.count('class="main-svg"') >= 17
    headings = re.findall(r"<h2[^>]*>([^<]*)</h2>", seen)
    assert headings == ["Verdict", "Search", "What mattered", "Trust", "Mistakes", "Cost", "Trials", "How to repeat it"]
    assert "60 of 60 trials match, 50 shown." in seen


@pytest.mark.slow
@needs_chromium
def test_sorting_filtering_hovering_and_looking_at_a_trial(tmp_path: Path) -> None:
    page = write_report(write_run(tmp_path / "demo"))
    script = """
      const first = () => document.querySelector("#table tbody td").textContent;
      const heads = [...document.querySelectorAll("#table th button")];
      const told = { best: first() };
      heads[0].click(); told.byName = first();
      heads[0].click(); told.byNameDown = first();
      const words = document.getElementById("words");
      words.value = "mobilenet-003"; words.dispatchEvent(new Event("input"));
      told.found = document.getElementById("found").textContent;
      document.querySelector("#table tbody button").click();
      told.dialog = document.getElementById("trial").open;
      told.head = document.getElementById("trial-name").textContent;
      document.getElementById("trial").close();
      const place = document.querySelector('[data-figure="curves-mobilenet"]');
      Plotly.Fx.hover(place, [{ curveNumber: 0, pointNumber: 0 }]);
      told.hover = place.querySelector(".hoverlayer").textContent;
      document.title = JSON.stringify(told);
    """
    seen, console = opened(page, tmp_path / "profile", script)
    assert console == ""
    title = re.search(r"<title>(.*?)</title>", seen)
    assert title is not None
    told = json.loads(title[1])
    best = json.loads((tmp_path / "demo" / "results.json").read_text(encoding="utf-8"))["families"]["mobilenet"]["best"]
    assert told["best"] == best["trial"]
    assert told["byName"] == "mobilenet-000"
    assert told["byNameDown"] == "scratch_pillow-019"
    assert told["found"] == "1 of 60 trials match, 1 shown."
    assert told["dialog"] is True
    assert told["head"] == "mobilenet-003"
    assert "unfrozen blocks" in told["hover"]


@pytest.mark.slow
@needs_chromium
def test_odd_class_names_are_text(tmp_path: Path) -> None:
    page = write_report(write_run(tmp_path / "odd", classes=ODD))
    seen, console = opened(page, tmp_path / "profile", 'document.title = document.body.innerText.includes("<script>");')
    assert console == ""
    assert "<script>alert(1)" not in seen
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in seen
    # In a drawing the name is a text node of the picture, whole.
    assert re.search(r"<text[^>]*>&lt;script&gt;alert\(1\)&lt;/script&gt;</text>", seen)


def test_the_markdown_says_the_same(tmp_path: Path) -> None:
    run = write_run(tmp_path / "demo", classes=ODD)
    write_report(run)
    told = (run / "report.md").read_text(encoding="utf-8")
    summary = json.loads((run / "results.json").read_text(encoding="utf-8"))
    accuracy = summary["families"]["mobilenet"]["test"]["accuracy"]
    assert told.startswith(
        f"# demo\n\n**MobileNet wins: it names {100 * accuracy:.1f} % of 90 test pictures rightly (95 %"
    )
    assert "| MobileNet | 92 %, overfitted |" in told
    assert "Stanford Dogs is part of the ImageNet training set" in told
    assert "- Samoyed/broken.jpg: truncated after 512 bytes" in told
    assert "    python search/run.py dogs --trials 20" in told
    assert "<script>" not in told
    for heading in ("Families", "Pillow from scratch", "Keras from scratch", "MobileNet", "Test", "Data"):
        assert f"\n## {heading}\n" in told


def test_a_run_without_a_finished_trial_says_so(tmp_path: Path) -> None:
    write_rows(
        tmp_path,
        [
            *(start_row("mobilenet-000", dropout=0.2), epoch_row("mobilenet-000", 1, 0.5), start_row("mobilenet-001")),
            *(start_row("scratch_keras-000"), epoch_row("scratch_keras-000", 1, None, None)),
            end_row("scratch_keras-000", "failed", "the loss is not a number"),
        ],
    )
    with (tmp_path / "trials.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"event": "epoch", "tri')
    write_report(tmp_path)
    told = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "**MobileNet leads with 50.0 % validation accuracy; it has not been scored on the test pictures.**" in told
    assert "- MobileNet: no trial ran its full budget; its best is the one that ran longest, 1 epoch." in told
    assert "- MobileNet: 2 trials had not ended when the rows were read." in told
    assert "- Keras from scratch: none of 1 trial gave a usable configuration." in told
    assert "- Keras from scratch: 1 trial failed: the loss is not a number" in told
    assert (
        "- The split was not recorded (`split.json` is missing or broken): nothing can be said about the data." in told
    )
    assert "- 1 line of `trials.jsonl` left out: torn, or not a row of this search." in told


@pytest.mark.parametrize("trials", [0, 1])
@pytest.mark.parametrize("scored", [False, True])
def test_a_small_run_still_gives_a_report(tmp_path: Path, trials: int, scored: bool) -> None:
    if trials:
        run = write_run(tmp_path / "small", trials=1, families=("scratch_keras",), scored=scored)
    else:
        run = tmp_path
        (run / "trials.jsonl").touch()
    told = write_report(run).with_name("report.md").read_text(encoding="utf-8")
    assert ("No family has a trial to choose from yet." in told) is (trials == 0)
    assert ("That is the baseline itself, the only trial." in told) is (trials == 1)
    assert ("**Keras from scratch names " in told) is (trials == 1 and scored)


@pytest.mark.slow
def test_many_trials_are_thinned_in_the_page_and_counted_whole(tmp_path: Path) -> None:
    run = write_run(tmp_path / "many", trials=1500, epochs=3, families=("mobilenet", "scratch_keras"))
    page = write_report(run)
    assert page.stat().st_size < 10_000_000
    told = page.read_text(encoding="utf-8")
    assert "About 2,000 of 3,000 trials" in told
    assert "3,000 trials and" in told


def test_the_command_prints_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "demo", trials=2)
    assert main([str(run)]) == 0
    assert capsys.readouterr().out.split() == [str(run / name) for name in OUTPUTS]
    assert not [path for path in run.iterdir() if path.name.startswith(".")]


def test_the_command_names_a_folder_without_rows(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "results", str(tmp_path)], capture_output=True, text=True, check=False,
        cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == f"needs the rows of a run, got no file at `{tmp_path / 'trials.jsonl'}`\n"


def test_json_cannot_end_its_script_element() -> None:
    assert embedded({"a": "</script>"}) == '{"a":"\\u003c/script>"}'


def test_a_cell_stays_one_cell() -> None:
    assert cell("a|b\nc <i>") == "a\\|b c &lt;i&gt;"


@needs_chromium
def test_the_report_of_a_real_run_shows_its_mistakes_and_costs(trained_run: Path, tmp_path: Path) -> None:
    page = write_report(trained_run)
    copy = tmp_path / "report.html"
    shutil.copy(page, copy)
    script = """
      const images = [...document.querySelectorAll(".mistakes img")];
      const costs = document.querySelector('[data-figure="costs"]');
      Plotly.Fx.hover(costs, [{ curveNumber: 1, pointNumber: 0 }]);
      document.title = JSON.stringify({
        images: images.length, drawn: images.filter((image) => image.naturalWidth > 0).length,
        unnamed: images.filter((image) => !image.alt).length, hover: costs.querySelector(".hoverlayer").textContent,
      });
    """
    seen, console = opened(copy, tmp_path / "profile", script)
    assert console == ""
    title = re.search(r"<title>(.*?)</title>", seen)
    assert title is not None
    told = json.loads(title[1])
    wrong = sum(
        min(12, json.loads((trained_run / "mistakes" / f"{family}.json").read_text())["wrong"])
        for family in ("scratch_keras", "scratch_pillow")
    )
    assert told["images"] >= 2 * wrong > 0
    assert told["drawn"] == told["images"]
    assert told["unnamed"] == 0
    assert "parameters" in told["hover"]
    assert page.stat().st_size < 10_000_000


def test_a_run_that_was_extended_says_how_often_its_test_was_read(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", trials=6, families=("mobilenet",))
    write_report(run)
    summary = json.loads((run / "results.json").read_text())
    best = summary["families"]["mobilenet"]["best"]["trial"]
    scored = summary["families"]["mobilenet"]["test"]["scored"]
    assert scored == ["mobilenet-004"]
    with (run / "trials.jsonl").open("a") as rows:
        row = {"event": "test", "time": 9e3, "trial": best, "family": "mobilenet", "seed": 0, "accuracy": 0.5}
        rows.write(json.dumps(row) + "\n")
    write_report(run)
    test = json.loads((run / "results.json").read_text())["families"]["mobilenet"]["test"]
    assert (test["scored"], test["accuracy"], len(test["seeds"])) == (["mobilenet-004", best], 0.5, 1)
    assert test["gap"] is not None
    assert (
        f"MobileNet: the test pictures were scored for 2 configurations, mobilenet-004, then {best}, because the run "
        "was extended after it had been scored."
    ) in (run / "report.md").read_text()


def test_a_better_configuration_that_was_not_scored_is_told_apart(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", trials=6, families=("mobilenet",))
    (run / "models").mkdir()
    (run / "models/mobilenet.md").write_text("of the one before")
    with (run / "trials.jsonl").open("a") as rows:
        for row in (
            start_row("mobilenet-006"),
            epoch_row("mobilenet-006", 1, 1.0),
            end_row("mobilenet-006", "finished"),
        ):
            rows.write(json.dumps({**row, "family": "mobilenet"}) + "\n")
    write_report(run)
    record = json.loads((run / "results.json").read_text())["families"]["mobilenet"]
    assert record["best"]["trial"] == "mobilenet-006"
    assert record["test"]["gap"] is None
    assert (
        "MobileNet: the best configuration, mobilenet-006, has not been scored on the test pictures yet; the figures "
        "on test and the model are those of mobilenet-004."
    ) in (run / "report.md").read_text()
    assert (run / "models/mobilenet.md").read_text() == "of the one before"


def test_the_report_says_what_a_warm_start_gave(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", trials=3, families=("mobilenet",))
    sources = [{"name": "old", "observed": 12, "test_seen": 0}, {"name": "other", "observed": 0, "test_seen": 5}]
    (run / "warm_start.json").write_text(json.dumps({"sources": sources}))
    write_report(run)
    told = (run / "report.md").read_text()
    assert "The search began with what run old had found, 12 trials of it as observations." in told
    assert (
        "The search began with what run other had found; 5 test pictures of this run helped to choose configurations "
        "there as validation pictures, so the figures on test may be flattered."
    ) in told


def test_what_the_report_says_of_copies() -> None:
    data = {"left_out": [], "notes": [], "likeness": {}, "duplicates": [["a", "b"], ["c", "d", "e"]]}
    assert data_notes(data)[1] == (
        "2 groups of near-duplicates, 5 pictures in all; each group was kept on one side of the split. The largest has "
        "3: c, d, e."
    )
    long = {**data, "likeness": {"rule": "exact"}, "duplicates": [[str(number) for number in range(20)]]}
    assert data_notes(long)[1].endswith(
        "The largest has 20: 0, 1, 2, 3, 4, 5, 6, 7 and others; only the same bytes or pixels were looked for "
        "(--duplicates exact)."
    )
    assert data_notes({**data, "duplicates": []})[1] == "No near-duplicates were found."
    off = {**data, "likeness": {"rule": "off"}, "duplicates": []}
    assert data_notes(off)[1] == "Copies were not looked for (--duplicates off)."
