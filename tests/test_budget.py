"""Time as the budget: what is planned, refused and kept back."""

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from models.sizes import forward
from results.rows import NO_TIME
from search.record.journal import FINISHED, STOPPED, Journal, Record
from search.schedule.budget import Budget
from search.schedule.pace import Pace
from search.schedule.plans import EPOCHS, Plans
from search.schedule.turns import Turns
from search.settings import Settings

KERAS = ("scratch_keras",)
TYPICAL = 10.0


class Kept:
    """A budget over a journal that a test fills; one picture of work 10 is the family's own kind."""

    def __init__(self, folder: Path, **values: Any) -> None:
        given = {"families": KERAS, "time_budget": 1010.0, "final_seeds": 1, "refit": "none", **values}
        self.settings = Settings(runs_dir=str(folder), name="run", **given)
        self.settings.folder.mkdir(parents=True)
        self.journal = Journal(self.settings.folder / "trials.jsonl", time.monotonic())
        families = self.settings.families
        self.pace = Pace(self.journal, families, pictures=1000, test=0, growth=1.25, most_views=4)
        self.budget = Budget(self.settings, self.journal, self.pace)
        self.plans = Plans(self.budget, dict.fromkeys(families, TYPICAL).__getitem__)

    def trial(self, number: int, fastest: float, *values: float, family: str = KERAS[0], **more: Any) -> Record:
        name = f"{family}-{number:03d}"
        accuracies = dict(enumerate(values, 1))
        # Of a user's own model the work is what its configuration says.
        config = {"multiply_adds": (TYPICAL - 1) / 3, **more.pop("config", {})}
        record = Record(name, family, config, {}, accuracies, fastest, **{"planned": 27, **more})
        self.journal.records[name] = record
        return record


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Callable[..., Kept]]:
    made: list[Kept] = []

    def make(**values: Any) -> Kept:
        made.append(Kept(tmp_path / str(len(made)), **values))
        return made[-1]

    yield make
    for one in made:
        one.journal.close()


def test_without_time_nothing_is_limited(kept: Callable[..., Kept]) -> None:
    run = kept(time_budget=None, trials=3)
    record = run.trial(1, 1e6, 0.5)
    assert (run.budget.limited, run.plans.epochs(KERAS[0])) == (False, EPOCHS)
    assert run.plans.plan(record) == (9, "")
    assert not run.budget.out_of_time()
    assert not run.plans.closed(KERAS[0])


@pytest.mark.parametrize(
    ("seconds", "epochs"), [(0.1, 240), (1.0, 240), (3.0, 81), (8.0, 27), (20.0, 27), (40.0, 13), (500.0, 3)]
)
def test_a_full_trial_is_as_long_as_the_family_s_share_deserves(
    kept: Callable[..., Kept], seconds: float, epochs: int
) -> None:
    run = kept()
    run.trial(0, seconds, 0.2, status=STOPPED, until=0.0)
    # Its epochs and those of its retraining, a quarter longer, take at most 0.6 of 1,000 s; where that would leave
    # fewer than 27 epochs, the trial alone.
    assert run.plans.epochs(KERAS[0]) == epochs


def test_a_few_batches_say_how_long_trials_are(kept: Callable[..., Kept]) -> None:
    run = kept()
    assert run.plans.unknown(KERAS[0])
    config = {"multiply_adds": (TYPICAL - 1) / 3}
    rate = run.pace.sample(KERAS[0], config, 8.0 / 1000)
    # Validating 250 pictures is a third of the work of training on them.
    assert rate * TYPICAL == pytest.approx(8.0 * (1 + 0.25 / 3))
    assert not run.plans.unknown(KERAS[0])
    assert run.plans.epochs(KERAS[0]) == 27
    # Once and for all, or trials could not be compared.
    run.trial(1, 80.0, 0.2)
    assert run.plans.epochs(KERAS[0]) == 27
    assert not kept(epochs=3).plans.unknown(KERAS[0])
    assert not kept(time_budget=None, trials=3).plans.unknown(KERAS[0])


def test_a_dear_draw_has_fewer_epochs_and_one_that_cannot_be_done_is_refused(kept: Callable[..., Kept]) -> None:
    run = kept()
    run.trial(0, 8.0, 0.2, status=STOPPED, until=0.0)

    def planned(times: float) -> tuple[int, str]:
        return run.plans.plan(run.trial(7, float("inf"), config={"multiply_adds": (times * TYPICAL - 1) / 3}))

    assert planned(0.5) == (27, "")
    # Its own model alone, without a retraining.
    assert planned(2.0) == (27, "")
    assert planned(3.0) == (18, "")
    _, objection = planned(40.0)
    assert objection == NO_TIME + "9 epochs would take about 2880 s, more than the 601 s that there are for it"


def test_one_family_s_retraining_does_not_end_the_search_of_another(kept: Callable[..., Kept]) -> None:
    run = kept(families=("scratch_pillow", "scratch_keras"))
    run.trial(1, 145.0, 0.02, family="scratch_pillow", planned=81)
    # Planned for 81 epochs of 145 s it would want 4 hours: time for the trial's own model is all that is kept back.
    assert run.budget.reserves() == [pytest.approx(9 + 300 * 0.145 / 3), 0.0]
    assert not run.budget.out_of_time()
    run.journal.began -= 980
    assert run.budget.out_of_time()


def test_the_end_is_kept_free_for_retrainings_that_run_side_by_side(kept: Callable[..., Kept]) -> None:
    run = kept(families=("scratch_pillow", "scratch_keras"))
    for family in run.settings.families:
        run.trial(1, 4.0, *[0.4] * 8, family=family, status=FINISHED, until=0.0)
    one = 8 * 4.0 * 1.25 + 9 + 300 / 1000 * 4.0 / 3
    # What is predicted may take a tenth longer.
    assert run.budget.reserve() == pytest.approx(8 + 1.1 * 2 * one)
    run.budget.workers = 2
    assert run.budget.reserve() == pytest.approx(8 + 1.1 * one)
    assert run.budget.fits(100.0, 900.0)
    assert not run.budget.fits(100.0, 1750.0)
    assert not run.budget.fits(915.0, 0.0)


def test_a_worker_that_is_left_alone_is_faster(kept: Callable[..., Kept]) -> None:
    run = kept()
    assert run.budget.together(200.0, 50.0) == 250.0
    run.budget.workers = 2
    assert run.budget.together(200.0, 50.0) == 200.0
    run.budget.alone = 1.5
    # For 50 s both have something to do. What would take 150 s beside others takes 100 s then.
    assert run.budget.together(200.0, 50.0) == 150.0
    assert run.budget.together(200.0, 300.0) == 250.0
    assert run.budget.fits(1300.0, 50.0)
    run.budget.alone = 1.0
    assert not run.budget.fits(1300.0, 50.0)


def test_the_end_is_kept_free_for_the_training_on_all_pictures_too(kept: Callable[..., Kept]) -> None:
    run = kept(refit="all")
    run.trial(1, 1.0, *[0.4] * 8, status=FINISHED, until=0.0)
    one = 8 * 1.0 * 1.25 + 9 + 300 / 1000 / 3
    assert run.budget.reserves() == pytest.approx([one, one])


def test_the_family_that_has_had_the_least_is_next_and_what_runs_counts(kept: Callable[..., Kept]) -> None:
    run = kept(families=("scratch_pillow", "scratch_keras"))
    studies = {family: SimpleNamespace(more=True) for family in run.settings.families}
    turns = Turns(run.settings, studies, run.journal, run.budget, run.plans, SimpleNamespace(given_up=lambda f: False))  # type: ignore[arg-type]
    run.trial(0, 2.0, 0.2, family="scratch_pillow", status=STOPPED, since=0.0, until=10.0)
    run.trial(0, 2.0, 0.2, family="scratch_keras", status=STOPPED, since=0.0, until=20.0)
    assert turns.next() == "scratch_pillow"
    # Half of its 26 epochs are expected.
    run.trial(1, 2.0, 0.2, family="scratch_pillow", since=run.journal.elapsed)
    assert run.plans.ahead("scratch_pillow") == 26.0
    assert turns.next() == "scratch_keras"


def test_where_trials_are_short_their_epochs_come_before_a_retraining(kept: Callable[..., Kept]) -> None:
    run = kept()
    run.trial(1, 20.0, *[0.4] * 9, status=FINISHED, until=0.0)
    assert run.plans.epochs(KERAS[0]) == 27
    # 9 epochs of 20 s, a quarter longer, are more than a fifth of 1,000 s: time for the trial's own model is kept back.
    assert run.budget.reserves() == [pytest.approx(9 + 300 / 1000 * 20.0 / 3)]
    # Of four copies of each picture an epoch is worth four: that is no short training.
    copied = kept(families=("scratch_pillow",))
    turned = {"transpose": True, "rotation": 15}
    copied.trial(1, 20.0, *[0.4] * 9, family="scratch_pillow", config=turned, status=FINISHED, until=0.0)
    assert copied.plans.epochs("scratch_pillow") == 27
    # An epoch has half of the 4,000.
    assert copied.budget.reserves() == [pytest.approx(9 * 20.0 * 1.25 + 9 + 300 / 500 * 20.0 / 3)]
    given = kept(epochs=27)
    given.trial(1, 20.0, *[0.4] * 9, status=FINISHED, until=0.0)
    assert given.budget.reserves() == [pytest.approx(9 * 20.0 * 1.25 + 9 + 300 / 1000 * 20.0 / 3)]


@pytest.mark.parametrize(("seconds", "planned"), [(1.0, 9), (30.0, 5), (50.0, 3)])
def test_the_base_has_a_part_of_its_family_s_share(kept: Callable[..., Kept], seconds: float, planned: int) -> None:
    run = kept()
    run.trial(1, seconds, 0.2, status=STOPPED, until=0.0)
    # 150 s of 1,000.
    assert run.plans.plan(run.trial(0, math.inf, planned=0)) == (planned, "")


def test_a_base_that_is_too_slow_is_not_tried(kept: Callable[..., Kept]) -> None:
    run = kept()
    run.trial(1, 60.0, 0.2, status=STOPPED, until=0.0)
    _, objection = run.plans.plan(run.trial(0, math.inf, planned=0))
    assert objection == NO_TIME + "3 epochs would take about 180 s, more than the 150 s that there are for it"


def test_a_probe_and_a_head_on_stored_features_are_never_too_dear(kept: Callable[..., Kept]) -> None:
    run = kept(families=("mobilenet",))
    base = {"backbone": "MobileNet", "alpha": 1.0, "image_size": 160, "unfrozen_blocks": 0, "augmentation": "flip"}
    run.trial(0, 400.0, 0.2, family="mobilenet", config={**base, "unfrozen_blocks": 1})
    run.journal.began -= 900

    def plain(**more: Any) -> Record:
        record = run.trial(5, float("inf"), family="mobilenet")
        record.config = {**base, **more}
        return record

    assert run.plans.plan(plain(head="probe", beside="none")) == (1, "")
    assert run.plans.plan(plain(head="trained")) == (9, "")


def test_where_a_trained_head_leads_the_largest_probe_is_reckoned_with(kept: Callable[..., Kept]) -> None:
    run = kept(families=("mobilenet",))
    base = {"backbone": "MobileNet", "alpha": 1.0, "image_size": 160, "unfrozen_blocks": 0, "augmentation": "none"}
    base["multiply_adds"] = 0.0
    over: dict[str, Any] = {"family": "mobilenet", "planned": 1, "status": FINISHED, "until": 0.0}
    run.trial(1, 1.0, 0.92, config={**base, "head": "probe"}, **over)
    assert run.pace.heir("mobilenet") is run.pace.leader("mobilenet")
    pair = {"head": "probe", "beside": "MobileNetV2-1.0", "mirrored": True}
    large = run.trial(2, 4.0, 0.91, config={**base, **pair}, **over)
    head = run.trial(3, 0.1, 0.95, config={**base, "head": "trained"}, **over)
    assert run.pace.leader("mobilenet") is head
    assert run.pace.heir("mobilenet") is large
    assert run.pace.retraining("mobilenet", 1) == pytest.approx(4.0 * 1.25 + run.pace.overhead("mobilenet"))
    # What is fine-tuned and leads is retrained itself.
    deep = run.trial(
        4, 30.0, 0.99, config={**base, "head": "trained", "unfrozen_blocks": 3, "multiply_adds": 9.0}, **over
    )
    assert run.pace.heir("mobilenet") is deep


def test_models_of_deep_trunks_take_longer_to_be_built(kept: Callable[..., Kept]) -> None:
    run = kept(families=("mobilenet",))
    probe = {"backbone": "MobileNet", "alpha": 1.0, "image_size": 160, "head": "probe", "beside": "MobileNetV2-1.0"}
    run.trial(1, 1.0, 0.9, family="mobilenet", config={**probe, "unfrozen_blocks": 0})
    assert run.pace.overhead("mobilenet") == 14.0
    deep = {"backbone": "DenseNet201", "beside": "DenseNet169", "unfrozen_blocks": 0}
    run.trial(2, 1.0, 0.8, family="mobilenet", config={**probe, **deep})
    # 200 and 168 convolutions.
    assert run.pace.overhead("mobilenet") == pytest.approx(9.0 * 368 / 120 + 5)


def test_time_is_kept_for_what_may_come_to_lead(kept: Callable[..., Kept]) -> None:
    run = kept(families=("mobilenet",))
    probe = {"backbone": "MobileNet", "alpha": 1.0, "image_size": 224, "head": "probe", "beside": "none"}
    probe |= {"unfrozen_blocks": 0}
    first = run.trial(1, 4.0, 0.9, family="mobilenet", config=probe, status=FINISHED, until=0.0)
    first.waited = 100.0
    # A picture takes 100 s of 1,250 of them; 300 are looked at.
    alone = run.pace.overhead("mobilenet")
    assert alone == pytest.approx(9 + 5 + 300 * 100 / 1250)
    other = run.trial(2, math.inf, family="mobilenet", config={**probe, "backbone": "MobileNetV2"})
    assert run.pace.overhead("mobilenet") == alone
    other.started = True
    # Once it is under way, it may lead by itself or beside the first.
    both = 1 + 2 * forward("MobileNetV2", 1.0, 224) / forward("MobileNet", 1.0, 224)
    assert run.pace.overhead("mobilenet") == pytest.approx(9 + 5 + 300 * both * 100 / 1250)


def test_a_training_on_all_pictures_takes_longer_than_a_retraining(kept: Callable[..., Kept]) -> None:
    run = kept()
    run.pace.whole = 1.2
    run.trial(1, 5.0, *[0.4] * 40, planned=40, status=FINISHED, until=0.0)
    assert run.budget.refit(KERAS[0]) == pytest.approx(1.2 * (250 + 9 + 300 / 1000 * 5 / 3))


def test_the_base_says_nothing_of_what_was_timed(kept: Callable[..., Kept]) -> None:
    run = kept()
    run.trial(0, 30.0, 0.2, 0.3)
    assert run.pace.rate(KERAS[0]) == 3.0
    run.pace.sampled[KERAS[0]] = 2.0
    assert run.pace.rate(KERAS[0]) == 2.0
    run.trial(1, 40.0, 0.2)
    assert run.pace.rate(KERAS[0]) == 4.0


def test_features_that_nobody_has_computed_take_time(kept: Callable[..., Kept]) -> None:
    run = kept(families=("mobilenet",))
    probe = {"backbone": "MobileNet", "alpha": 1.0, "image_size": 224, "head": "probe", "beside": "none"}
    probe |= {"unfrozen_blocks": 0}

    def record(**more: Any) -> Record:
        one = run.trial(len(run.journal.records) + 1, math.inf, family="mobilenet")
        one.config = {**probe, **more}
        return one

    # Nobody knows what they take yet.
    assert run.plans.plan(record()) == (1, "")
    first = record()
    first.values[1], first.waited, first.fastest, first.status, first.until = 0.9, 100.0, 4.0, FINISHED, 0.0
    assert run.pace.passing.features("mobilenet", probe) == 0.0
    assert run.pace.passing.features("mobilenet", {**probe, "image_size": 448}) == pytest.approx(400.0)
    other = {"backbone": "MobileNetV2", "image_size": 224}
    unlike = pytest.approx(2 * 100.0 * forward("MobileNetV2", 1.0, 224) / forward("MobileNet", 1.0, 224))
    assert run.pace.passing.features("mobilenet", {**probe, **other}) == unlike
    assert run.pace.passing.features("mobilenet", {**probe, "beside": "MobileNetV2-1.0"}) == unlike
    # Draws are compared by what is still to be computed.
    assert run.pace.passing.operations("mobilenet", probe) == 0.0
    assert run.pace.passing.operations("mobilenet", {**probe, "image_size": 448}) == forward("MobileNet", 1.0, 448)
    assert run.pace.passing.solving({**probe, "beside": "MobileNetV2-1.0"}) == pytest.approx(8.0)
    assert run.plans.plan(record(image_size=448)) == (1, "")
    _, objection = run.plans.plan(record(image_size=896))
    assert objection == NO_TIME + "its features would take about 1604 s, more than the 601 s left"


def test_a_family_is_closed_where_its_trials_would_end_too_late(kept: Callable[..., Kept]) -> None:
    run = kept()
    run.budget.workers = 4
    run.trial(0, 20.0, *[0.5] * 3, status=FINISHED, until=0.0)
    run.budget.lengths[KERAS[0]] = 27
    # A trial has nine epochs of 20 seconds at least, and retraining it is shorter than that.
    for elapsed, closed in ((300.0, False), (750.0, True)):
        run.journal.began = time.monotonic() - elapsed
        assert run.plans.free() > 200
        assert run.plans.closed(KERAS[0]) is closed


def test_a_retraining_takes_as_long_as_the_one_before_it(kept: Callable[..., Kept]) -> None:
    run = kept()
    run.trial(0, 8.0, *[0.5] * 10, status=FINISHED, until=0.0)
    overhead = run.pace.overhead(KERAS[0])
    assert run.budget.retraining(KERAS[0]) == pytest.approx(8 * 10 * 1.25 + overhead)
    for name, seconds in (("scratch_keras-000", 40.0), ("scratch_keras-001", 90.0)):
        run.journal.write("test", name, KERAS[0], seed=0, accuracy=0.5, seconds=seconds)
    assert run.budget.retraining(KERAS[0]) == pytest.approx(40 + overhead)
    # Of a trial's own model nothing was trained.
    other = kept()
    other.trial(0, 8.0, *[0.5] * 10, status=FINISHED, until=0.0)
    other.journal.write("test", "scratch_keras-000", KERAS[0], seed=0, accuracy=0.5, seconds=0.0)
    assert other.budget.retraining(KERAS[0]) == pytest.approx(8 * 10 * 1.25 + overhead)
