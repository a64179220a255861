from pathlib import Path
from typing import Any

import pytest
from written_run import BREEDS, end_row, epoch_row, start_row, write_run

from results.analysis import numbers
from results.drawing import figures
from results.drawing.figures import Figure, decades
from results.pages.document import Drawn, page, summary_of
from results.rows import Rows, read_rows


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Figure]:
    """Every figure of a page, by the name under which the page keeps it."""
    kept: dict[str, Figure] = {}
    add = Drawn.add

    def remember(self: Drawn, name: str, figure: Figure | None) -> str:
        if figure is not None:
            kept[name] = figure
        return add(self, name, figure)

    monkeypatch.setattr(Drawn, "add", remember)
    run = write_run(tmp_path / "demo")
    rows = read_rows(run / "trials.jsonl")
    page(run, summary_of(run, rows), rows)
    return kept


def test_every_figure_of_the_report_is_drawn(drawn: dict[str, Figure]) -> None:
    families = ("scratch_pillow", "scratch_keras", "mobilenet")
    assert list(drawn) == [
        *("best-by-time", "best-by-epochs", *(f"curves-{family}" for family in families), "timeline", "rungs", "spent"),
        *(f"{kind}-{family}" for family in families for kind in ("importance", "effects", "switches")),
        *("depth-mobilenet", "seeds", "classes", "confusion", "calibration", "coverage", "costs", "trial-costs"),
    ]


def test_plotly_accepts_every_figure(drawn: dict[str, Figure]) -> None:
    import plotly.graph_objects as objects

    for figure in drawn.values():
        objects.Figure(data=figure.data, layout=figure.layout)


def test_every_figure_can_be_told_without_being_seen(drawn: dict[str, Figure]) -> None:
    assert all(figure.alt and figure.caption.endswith(".") for figure in drawn.values())
    assert "MobileNet, epoch 1: 16 of 19 went on" in drawn["rungs"].alt


def test_names_are_escaped_and_cut() -> None:
    assert figures.label("<script>alert(1)</script>") == "&lt;script&gt;alert(1)&lt;/script&gt;"
    assert figures.label("a" * 50) == "a" * 39 + "\N{HORIZONTAL ELLIPSIS}"


def test_curves_are_cut_where_a_trial_stopped_and_one_trace_holds_many() -> None:
    rows = Rows(
        (
            *(start_row("a-000"), epoch_row("a-000", 1, 0.1), epoch_row("a-000", 2, 0.2), end_row("a-000", "finished")),
            *(start_row("a-001"), epoch_row("a-001", 1, 0.3), end_row("a-001", "stopped")),
            *(start_row("a-002"), epoch_row("a-002", 1, None, None), end_row("a-002", "failed")),
        )
    )
    figure = figures.curves("a", rows.of("a"), 3, "a-000", "a-009", "#0c958a")
    others = next(t for t in figure.data if t["name"] == "other trials" and t["yaxis"] == "y2")
    assert others["x"] == [1, None, 1, None]
    assert others["y"] == [0.3, None, None, None]
    assert others["customdata"] == ["a-001", "a-001", "a-002", "a-002"]


def test_an_exploding_loss_does_not_flatten_the_others() -> None:
    epochs = [epoch_row("a-000", epoch, 0.5, 1.0) for epoch in range(1, 40)] + [epoch_row("a-000", 40, 0.5, 1e6)]
    figure = figures.curves("a", Rows(tuple(epochs)).of("a"), 1, None, "a-000", "#0c958a")
    assert figure.layout["yaxis3"]["range"] == [0, 1.25]
    assert figure.caption == "1 trial, each cut where it stopped. Losses above 1.2 are out of sight."


def test_the_interval_of_two_trials_does_not_squeeze_the_others() -> None:
    levels = [
        {"level": "adam", "trials": 2, "mean": 0.5, "low": -0.8, "high": 1.8},
        {"level": "sgd", "trials": 9, "mean": 0.4, "low": 0.3, "high": 0.55},
    ]
    figure = figures.effects("a", {"optimizer": levels}, ["optimizer"], "#0c958a")
    assert figure.layout["xaxis"]["range"] == pytest.approx([0.285, 0.565])


def test_progress_ends_where_the_family_ended() -> None:
    steps = numbers.best_so_far(Rows((epoch_row("a-000", 6, 0.5),)).of("a"))
    figure = figures.progress({"a": steps, "b": []}, {"a": 120.0, "b": 0.0}, "time")
    (trace,) = figure.data
    assert trace["x"] == [1.0, 2.0]
    assert trace["y"] == [0.5, 0.5]


@pytest.mark.parametrize(
    "figure",
    [figures.rungs({"a": []}), figures.timeline([], ["a"], 0), figures.spent({}), figures.depth([], "#0c958a")],
)
def test_nothing_is_drawn_from_nothing(figure: Figure | None) -> None:
    assert figure is None


def test_many_classes_are_cut_in_the_drawing() -> None:
    names = [f"class {number}" for number in range(120)]
    records: list[dict[str, Any]] = [{"class": name, "accuracy": 0.5} for name in names]
    figure = figures.per_class({"mobilenet": records}, names, {"mobilenet": "#0c958a"})
    assert len(figure.data[0]["x"]) == 40
    assert figure.caption.endswith("The 40 worst of 120 classes.")
    matrix = figures.confusion("mobilenet", [[1] * 120] * 120, names, "#0c958a")
    assert matrix.layout["xaxis"]["showticklabels"] is False


def test_families_without_a_colour_of_their_own_get_different_ones() -> None:
    strange = [*BREEDS[:2], "mobilenet"]
    assert len({figures.colour(family, strange) for family in strange}) == 3


def test_ticks_of_a_logarithmic_axis_say_their_power() -> None:
    found = decades([250_000.0, 3_200_000.0])
    assert found["ticktext"] == ["100k", "200k", "500k", "1M", "2M", "5M", "10M", "20M", "50M"]
    assert found["tickvals"][:3] == [100_000.0, 200_000.0, 500_000.0]
    assert decades([0.2, 900.0])["ticktext"] == ["0.1", "1", "10", "100", "1k"]
