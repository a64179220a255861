"""The simulator of searches on recorded curves: known events at known times, and contestants that keep their rules."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search.data.pictures import Pictures
from tests.benchmarks import record_curves, replay
from tests.benchmarks.recorded import Curve, Forest, Nearest, OneTree, Table, fit, grow, read_table, spaces_of
from tests.benchmarks.replay import Contestant, Hyperband, RandomPromotion, RayAsha, Task, horizon_of, simulate

SLOW = Curve((0.2, 0.4, 0.6), (3.0, 2.0, 2.0))
QUICK = Curve((0.3, 0.5, 0.5), (1.0, 1.0, 1.0))
DIVERGING = Curve((0.9, 0.1, 0.1), (1.0, 1.0, 1.0), fails=2)
CURVES = {"slow": SLOW, "quick": QUICK, "diverging": DIVERGING}


class Scripted(Contestant):
    """Hands out tasks in their order and trains each for three epochs."""

    def __init__(self, *tasks: Task) -> None:
        self.tasks = list(tasks)
        self.heard: list[tuple[str, int, float]] = []

    def next(self) -> Task | None:
        return self.tasks.pop(0) if self.tasks else None

    def told(self, name: str, epoch: int, value: float) -> bool:
        self.heard.append((name, epoch, value))
        return epoch < 3


def answer(family: str, point: Mapping[str, Any]) -> Curve:
    return CURVES[point["curve"]]


def task(curve: str, after: int = 0) -> Task:
    return Task(curve, "any", {"curve": curve}, after)


def test_events_come_in_the_order_of_their_times() -> None:
    contestant = Scripted(task("slow"), task("quick"), task("quick"))
    found = simulate(contestant, answer, 1, horizon=100, enough=1.0)
    assert contestant.heard[:4] == [("slow", 1, 0.2), ("slow", 2, 0.4), ("slow", 3, 0.6), ("quick", 1, 0.3)]
    assert found.improvements == ((3.0, 0.2), (5.0, 0.4), (7.0, 0.6))
    assert (found.epochs, found.ended) == (9, 13.0)


def test_workers_train_side_by_side() -> None:
    contestant = Scripted(task("slow"), task("quick"))
    found = simulate(contestant, answer, 2, horizon=100, enough=1.0)
    assert [event[:2] for event in contestant.heard] == [
        ("quick", 1), ("quick", 2), ("slow", 1), ("quick", 3), ("slow", 2), ("slow", 3),
    ]  # fmt: skip
    assert found.improvements == ((1.0, 0.3), (2.0, 0.5), (7.0, 0.6))
    assert (found.reached(0.5), found.reached(0.7), found.best(1.5), found.best(0.5)) == (2.0, math.inf, 0.3, 0.0)


def test_a_search_ends_where_it_has_enough_or_no_time() -> None:
    assert simulate(Scripted(task("slow")), answer, 1, horizon=100, enough=0.4).ended == 5.0
    found = simulate(Scripted(task("slow")), answer, 1, horizon=6, enough=1.0)
    assert (found.ended, found.best(100)) == (6, 0.4)


def test_a_trial_that_goes_on_is_built_again() -> None:
    assert (SLOW.building, QUICK.building) == (1.0, 0.0)
    found = simulate(Scripted(task("slow", after=1)), answer, 1, horizon=100, enough=1.0)
    assert found.improvements == ((3.0, 0.4), (5.0, 0.6))


def test_who_does_not_look_for_a_loss_that_is_no_number_trains_on() -> None:
    contestant = Scripted(task("diverging"))
    found = simulate(contestant, answer, 1, horizon=100, enough=1.0)
    assert contestant.heard == [("diverging", 1, 0.9), ("diverging", 2, 0.1), ("diverging", 3, 0.1)]
    assert found.improvements == ((1.0, 0.9),)


def test_noise_is_told_and_not_judged() -> None:
    contestant = Scripted(task("slow"))
    found = simulate(contestant, answer, 1, horizon=100, enough=1.0, jitter=0.1, seed=3)
    assert found.improvements == ((3.0, 0.2), (5.0, 0.4), (7.0, 0.6))
    assert all(value != truth for (_, _, value), truth in zip(contestant.heard, SLOW.accuracy, strict=True))


def test_rays_asha_stops_what_is_below_the_best_third() -> None:
    asha = RayAsha(9)
    for name in "abc":
        asha.add(name)
    assert asha.told("a", 1, 0.5)
    assert asha.told("b", 1, 0.6)
    assert not asha.told("c", 1, 0.4)
    assert asha.told("b", 2, 0.1)
    assert not asha.told("a", 9, 0.9)


def spaces() -> dict[str, Any]:
    def space(hp: Any) -> dict[str, Any]:
        return {"rate": hp.Float("rate", 0.0, 1.0, default=0.5)}

    return {"one": space}


def test_hyperband_has_the_brackets_of_keras_tuner() -> None:
    hyperband = Hyperband(spaces(), 9, 0)
    assert [hyperband.size(2, place) for place in range(3)] == [9, 3, 1]
    assert [hyperband.budget(2, place) for place in range(3)] == [1, 3, 9]
    assert [hyperband.size(1, place) for place in range(2)] == [5, 2]
    assert [hyperband.size(0, 0), hyperband.budget(0, 0)] == [3, 9]
    first = [hyperband.next() for _ in range(9)]
    assert [task.name for task in first if task] == [str(number) for number in range(1, 10)]
    # Nine of nine are needed to know a third of them; until then the next bracket is filled.
    assert not any(hyperband.told(str(number), 1, number / 10) for number in range(1, 7))
    other = hyperband.next()
    assert other is not None
    assert (other.name, other.after) == ("10", 0)
    assert not hyperband.told("7", 1, 0.7)
    following = hyperband.next()
    assert following is not None
    assert (following.name, following.after) == ("7", 1)
    assert hyperband.told("7", 2, 0.1)
    assert not hyperband.told("7", 3, 0.1)


def test_promotion_pauses_at_every_rung_and_takes_the_best_third() -> None:
    asha = RandomPromotion(spaces(), 9, 0)
    for number, value in enumerate((0.1, 0.9, 0.5), 1):
        new = asha.next()
        assert new is not None
        assert new.name == str(number)
        assert not asha.told(str(number), 1, value)
    best = asha.next()
    assert best is not None
    assert (best.name, best.after) == ("2", 1)
    new = asha.next()
    assert new is not None
    assert new.name == "4"
    assert asha.told("2", 2, 0.9)
    assert not asha.told("2", 3, 0.9)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of eight configurations of two families whose accuracy depends on the learning rate alone."""
    place = tmp_path_factory.mktemp("table") / "tiny.json.xz"
    header = {"classes": 10, "epochs": 3, "image_sizes": [32, 48], "backbones": [["MobileNet", 0.25]]}
    families = spaces_of(("scratch_keras", "mobilenet"), (32, 48), (("MobileNet", 0.25),))
    rows = []
    for family, number, point in record_curves.planned(families, 16, seed=5, most_work=1000):
        level = 0.2 + 0.1 * math.log10(point["learning_rate"] / 1e-4)
        accuracy = [round(level + 0.05 * epoch, 4) for epoch in range(3)]
        rows.append(
            {
                "family": family,
                "number": number,
                "point": point,
                "accuracy": accuracy[:1] if number == 7 else accuracy,
                "seconds": [2.0, 1.0] if number == 7 else [2.0, 1.0, 1.0],
                "failed": "the training loss became nan in epoch 2" if number == 7 else None,
            }
        )
    record_curves.pack(header, rows, place)
    return place


def test_a_packed_table_is_read_again(table: Path) -> None:
    found = read_table(table)
    assert {family: len(points) for family, points in found.points.items()} == {"scratch_keras": 8, "mobilenet": 8}
    # The base and a hand-written point; learning rates of 1e-3 and 3e-3.
    assert found.curves["scratch_keras"][0] == Curve((0.3, 0.35, 0.4), (2.0, 1.0, 1.0))
    assert found.curves["scratch_keras"][1].accuracy[2] == 0.4477
    failed = found.curves["mobilenet"][7]
    assert (failed.accuracy[1:], failed.seconds, failed.fails) == ((0.1, 0.1), (2.0, 1.0, 1.0), 2)
    assert found.seconds == 16 * 4.0
    assert (horizon_of(found, 2), horizon_of(found, 100)) == (32.0, 8.0)


def test_an_oracle_begins_with_whatever_comes_close_to_the_best_first() -> None:
    curves = [
        Curve((0.5, 0.795, 0.8), (1.0, 1.0, 1.0)),
        Curve((0.3, 0.3, 0.791), (0.5, 0.5, 0.5)),
        Curve((0.78, 0.78, 0.78), (0.1, 0.1, 0.1)),
    ]
    assert replay.oracle_of(Table({}, {"scratch_keras": [{}] * 3}, {"scratch_keras": curves})) == 1.5


@pytest.mark.parametrize("kind", [Forest, OneTree, Nearest])
def test_recorded_points_answer_with_their_own_curves(table: Path, kind: type[Forest] | type[Nearest]) -> None:
    found = read_table(table)
    answer = kind(found)
    for family, points in found.points.items():
        for point, curve in zip(points, found.curves[family], strict=True):
            given = answer(family, point)
            assert given.accuracy == pytest.approx(curve.accuracy)
            assert given.seconds == pytest.approx(curve.seconds)
            assert given.fails == curve.fails


def test_a_forest_answers_by_what_matters() -> None:
    # The second coordinate says nothing, and yet the nearest of the first place is the last.
    places = np.array([[0.0, 0.1], [0.2, 0.9], [0.8, 0.2], [1.0, 0.5]])
    trees = grow(places, np.array([[0.0], [0.1], [1.0], [1.1]]), seed=0)
    assert [np.bincount(trees.rows(place)).argmax() for place in places] == [0, 1, 2, 3]
    rows = trees.rows(np.array([0.05, 0.55]))
    assert np.isin(rows, [0, 1]).mean() > 0.6


def test_one_tree_answers_a_point_always_alike_and_points_of_a_region_apart(table: Path) -> None:
    found = read_table(table)
    base = found.points["scratch_keras"][0]
    points = [{**base, "learning_rate": 1e-4 * 10 ** (place / 25)} for place in range(50)]
    one_tree, again, forest = OneTree(found), OneTree(found), Forest(found)
    given = [one_tree("scratch_keras", point) for point in points]
    assert given == [again("scratch_keras", point) for point in points]
    regions = {forest("scratch_keras", point).accuracy for point in points}
    assert len({curve.accuracy for curve in given}) > len(regions)


def test_all_ways_are_tried_on_points_left_out(table: Path) -> None:
    found = fit(read_table(table), folds=4)
    assert set(found) == {"nearest", "forest", "tree"}
    assert set(found["forest"]) == {"scratch_keras", "mobilenet", "all"}
    assert all(-1 <= value <= 1 for values in found.values() for value in values.values())


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json.xz").write_bytes(b"no")
    with pytest.raises(ValueError, match=r"a table needs what record_curves packs, and `.*x.json.xz` is not"):
        read_table(tmp_path / "x.json.xz")
    with pytest.raises(ValueError, match="a table needs a path or one of drawn, photographs, got 'cats'"):
        replay.table_path("cats")


@pytest.mark.parametrize("name", ["drawn", "photographs"])
def test_the_recorded_tables_are_whole(name: str) -> None:
    found: Table = read_table(replay.table_path(name))
    assert {family: len(points) for family, points in found.points.items()} == {
        "scratch_pillow": 100, "scratch_keras": 100, "mobilenet": 100,
    }  # fmt: skip
    assert found.epochs == 9
    assert all(len(curve.accuracy) == len(curve.seconds) == 9 for curves in found.curves.values() for curve in curves)
    assert found.header["command"].startswith("python -m tests.benchmarks.record_curves ")
    assert replay.table_path(name).stat().st_size < 200_000


@pytest.mark.slow
def test_the_command_compares_all_contestants(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, plot = tmp_path / "out.json", tmp_path / "plot.html"
    replay.main(
        [str(table), "--workers", "2", "--seeds", "1", "--processes", "1", "--fit", "--out", str(out),
         "--plot", str(plot)]
    )  # fmt: skip
    result = json.loads(out.read_text())
    printed = capsys.readouterr().out.splitlines()
    assert json.loads(printed[-1]) == result
    assert result["tables"][str(table)]["oracle"] > 0
    found = result["tables"][str(table)]["workers"]["2"]
    assert set(found) == set(replay.CONTESTANTS)
    assert all(one["searches"] == 1 and one["trials"] >= 2 for one in found.values())
    assert "tiny.json.xz, 2 workers" in plot.read_text()


def test_contestants_repeat_themselves_with_their_seed(table: Path) -> None:
    for contestant in ("random+asha", "optuna+asha", "pedigree"):
        # So small a table has few curves, and the searches of seeds 1 and 2 come out alike by chance.
        first, again, other = (replay.one_search(table, "forest", contestant, 2, seed) for seed in (1, 1, 3))
        assert first == again
        assert first != other


@pytest.mark.slow
def test_a_configuration_is_trained_and_recorded(
    pictures: Pictures, config: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_curves, "_pictures", pictures)
    row = record_curves.record("scratch_keras", 0, config("scratch_keras"), 2, 1)
    assert (len(row["accuracy"]), len(row["seconds"]), row["failed"]) == (2, 2, None)
    assert all(seconds > 0 for seconds in row["seconds"])
    row = record_curves.record("scratch_keras", 0, config("scratch_keras", learning_rate=1e30), 2, 1)
    assert (row["accuracy"], len(row["seconds"])) == ([], 1)
    assert row["failed"].endswith("epoch 1")


def test_a_recording_goes_on_where_it_was_left(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"family": "mobilenet", "number": 0}\n{"family": "mobilenet", "nu')
    assert record_curves.read(rows) == [{"family": "mobilenet", "number": 0}]
    assert record_curves.read(tmp_path / "none") == []


def test_draws_that_cost_too_much_are_drawn_again() -> None:
    families = spaces_of(("scratch_keras",), (32,), ())
    with pytest.raises(ValueError, match=r"--most-work needs to leave something, and 0.1 leaves nothing"):
        next(record_curves.points("scratch_keras", families["scratch_keras"], seed=0, most_work=0.1))
    drawn = list(record_curves.planned(families, 5, seed=0, most_work=1000))
    assert [number for _, number, _ in drawn] == [0, 1, 2, 3, 4]
    assert drawn[1][2]["blocks"] == 5
