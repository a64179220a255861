"""The searcher: what Optuna is told, and what it suggests."""

from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from search.record.journal import FAILED, FINISHED, INFEASIBLE, STOPPED, Record
from search.settings import Settings
from search.studies.aims import Aims
from search.studies.sampler import BLIND, BLIND_WHEN_STALE
from search.studies.study import Study, studies_of
from search.training.weights import Weights
from spaces import FAMILIES
from spaces.costs import work

WEIGHTS = tuple(Weights(name, 1.0, Path(f"{name}.h5"), name) for name in ("MobileNet", "MobileNetV2"))


def studies(seed: int = 0) -> dict[str, Study]:
    settings = Settings(image_sizes=(32, 64), seed=seed)
    return studies_of(settings, WEIGHTS)


def ended(study: Study, name: str, status: str, values: dict[int, float]) -> None:
    config, point = study.suggest(name)
    study.tell(Record(name, "mobilenet", config, point, values, status=status))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_studys_own_configuration_comes_first(family: str) -> None:
    config, point = studies()[family].suggest("first")
    assert (config["optimizer"], config["learning_rate"], config["schedule"]) == ("adam", 1e-3, "constant")
    assert (config["batch_size"], config["label_smoothing"], config["weight_decay"]) == (32, 0.0, 0.0)
    if family == "mobilenet":
        assert (config["backbone"], config["alpha"], config["unfrozen_blocks"]) == ("MobileNet", 1.0, 1)
        assert config["augmentation"] == "flip"
        assert point["backbone"] == "MobileNet-1.0"
    else:
        assert (config["blocks"], config["filters"], config["units"], config["head"]) == (3, 16, 128, "flatten")


def test_the_point_makes_the_configuration_again() -> None:
    study = studies()["mobilenet"]
    config, point = study.suggest("first")
    assert "weight_decay" not in point
    again = studies()["mobilenet"]
    again.study.enqueue_trial(point)
    assert again.suggest("first")[0] == config


@pytest.mark.parametrize(("share", "drawn"), [(0.0, set()), (1.0, {"3", "4", "5"})])
def test_what_was_drawn_blindly_is_known_and_so_are_given_points(
    monkeypatch: pytest.MonkeyPatch, share: float, drawn: set[str]
) -> None:
    monkeypatch.setattr("search.studies.observed.BLIND", share)
    study = studies()["scratch_keras"]
    for number in range(6):
        study.suggest(str(number))
    # The base and two points come first.
    assert study.blind == {"0", "1", "2"} | drawn


@pytest.mark.parametrize("objective", [("accuracy",), ("accuracy", "size")])
def test_proposals_that_find_nothing_better_for_long_give_way_to_blind_draws(objective: tuple[str, ...]) -> None:
    space = studies()["mobilenet"]._space
    study = Study("mobilenet", space, (), trials=60, seed=0, aims=Aims(objective=objective))
    shares = []

    def tell(accuracy: float, status: str = FINISHED, *, blind: bool = False) -> None:
        config, point = study.suggest("trial")
        cost = {"parameters": 9, "bytes": 36}
        study.tell(Record("trial", "mobilenet", config, point, {1: accuracy}, status=status, blind=blind, cost=cost))
        shares.append(study._observed.sampler.share)

    tell(0.5)
    for _ in range(5):
        tell(0.4)
        tell(0.3, blind=True)  # says nothing of the proposals
        tell(0.0, INFEASIBLE)  # and this one was never tried
    for _ in range(4):
        tell(0.5, STOPPED)
    assert shares == [BLIND] * len(shares)
    tell(0.0, FAILED)
    tell(0.2)
    tell(0.6, blind=True)
    stale = BLIND_WHEN_STALE if len(objective) == 1 else BLIND
    assert shares[-3:] == [stale, stale, BLIND]


def test_the_first_start_is_tried_on_small_pictures_or_on_larger_ones() -> None:
    study = studies()["scratch_keras"]
    sizes = [study.suggest(str(number))[0]["image_size"] for number in range(3)]
    assert sizes[1:2] == [32]
    other = studies_of(Settings(image_sizes=(32, 64, 96)), WEIGHTS)["scratch_keras"]
    asked: list[dict[str, Any]] = []

    def affords(larger: dict[str, Any]) -> bool:
        asked.append(larger)
        return True

    other.affords = affords
    assert other.usual["image_size"] == 32
    base, *starts = (other.suggest(str(number))[0] for number in range(3))
    assert asked == [starts[0]]
    assert [config["image_size"] for config in starts] == [64, 64]
    assert [config["blocks"] for config in (base, *starts)] == [3, 5, 4]
    assert other.usual == starts[0]
    # Sizes of probes are no choice of this kind.
    mobilenet = studies_of(Settings(image_sizes=(32, 64, 96)), WEIGHTS)["mobilenet"]
    mobilenet.affords = other.affords
    for number in range(20):
        mobilenet.suggest(str(number))
    assert len(asked) == 1


def test_of_those_drawn_ahead_the_cheapest_is_tried() -> None:
    study = studies()["mobilenet"]
    for number in range(30):
        study.suggest(str(number))
    while study.draw_ahead():
        pass
    costs = {id(found.config): cost for found, cost in zip(study._drawn, (3.0, 1.0, 2.0), strict=True)}
    cheapest = study._drawn[1].config
    # What was drawn since is dearer than all of them.
    study.cost = lambda config: costs.get(id(config), 9.0)
    assert study.suggest("next")[0] is cheapest


def test_optuna_is_told_the_truth() -> None:
    study = studies()["mobilenet"]
    ended(study, "a", FINISHED, {1: 0.5, 2: 0.7, 3: 0.6})
    ended(study, "b", STOPPED, {1: 0.4, 3: 0.3})
    ended(study, "c", FAILED, {1: 0.9})
    ended(study, "d", STOPPED, {})
    study.close()
    first, second, third, fourth, *others = study.study.trials
    assert (first.state, first.value) == (TrialState.COMPLETE, 0.7)
    assert first.intermediate_values == {1: 0.5, 2: 0.7, 3: 0.6}
    assert (second.state, second.intermediate_values) == (TrialState.PRUNED, {1: 0.4, 3: 0.3})
    assert third.state == TrialState.FAIL
    assert fourth.state == TrialState.FAIL
    # Starting points that nobody has asked for.
    assert {trial.state for trial in others} <= {TrialState.WAITING}
    assert study.study.best_trial.number == 0


def suggestions(study: Study, count: int) -> list[dict[str, object]]:
    found = []
    for number in range(count):
        config, point = study.suggest(str(number))
        found.append(config)
        # Any figure will do that depends on the configuration alone.
        accuracy = (hash(config["batch_size"]) % 7) / 10 + config["dropout"] / 10
        study.tell(Record(str(number), "mobilenet", config, point, {1: accuracy}, status=FINISHED))
    return found


def test_the_seed_decides_the_order() -> None:
    one, same, other = (suggestions(studies(seed)["scratch_keras"], 16) for seed in (1, 1, 2))
    assert one == same
    assert one[:3] == other[:3]  # the base and the two hand-written points
    assert one[3:] != other[3:]


def test_families_do_not_draw_the_same_points() -> None:
    drawn = [suggestions(studies()[family], 4)[3] for family in ("scratch_pillow", "scratch_keras")]
    shared = set(drawn[0]) & set(drawn[1]) - {"rotation"}
    assert {name: drawn[0][name] for name in shared} != {name: drawn[1][name] for name in shared}


def test_of_those_drawn_ahead_the_cheapest_comes_first_and_of_the_last_the_dearest() -> None:
    study = Study("scratch_keras", studies()["scratch_keras"]._space, (), trials=9, seed=0)
    first = study.suggest("base")[0]
    assert first == studies()["scratch_keras"].suggest("base")[0]
    pools = []
    for number in range(8):
        while study.draw_ahead():
            pass
        waiting = [work("scratch_keras", drawn.config) for drawn in study._drawn]
        pools.append((len(waiting), sorted(waiting).index(work("scratch_keras", study.suggest(str(number))[0]))))
    # Where nothing is left to draw, six in, those that were put off go the other way round.
    assert pools == [(3, 0)] * 5 + [(3, 2), (2, 1), (1, 0)]
    assert not study.draw_ahead()


def test_trials_that_run_at_the_same_time_differ() -> None:
    study = studies()["mobilenet"]
    configs = [study.suggest(str(number))[0] for number in range(12)]
    assert len({repr(config) for config in configs}) == 12


def test_the_run_bounds_the_spaces() -> None:
    settings = Settings(families=("mobilenet",), image_sizes=(96,))
    study = studies_of(settings, (Weights("MobileNetV2", 0.35, None, "random-0"),))["mobilenet"]
    configs = [study.suggest(str(number))[0] for number in range(10)]
    assert {(config["backbone"], config["alpha"], config["image_size"]) for config in configs} == {
        ("MobileNetV2", 0.35, 96)
    }


def test_a_trunk_without_weights_is_trained_whole() -> None:
    settings = Settings(families=("mobilenet",), image_sizes=(96,))
    study = studies_of(settings, (Weights("MobileNet", 0.25, None, "random-0"),))["mobilenet"]
    config, _ = study.suggest("first")
    assert (config["unfrozen_blocks"], config["trunk_rate"]) == (19, 1.0)


def test_a_long_study_goes_on_from_what_tpe_learns_from(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("MOST", 30), ("KEPT", 12), ("BEST", 3)):
        monkeypatch.setattr(f"search.studies.observed.{name}", value)
    study = Study("mobilenet", studies()["mobilenet"]._space, (), trials=40, seed=0)
    config, point = study.suggest("running")
    ended(study, "failed", FAILED, {})
    for number in range(25):
        ended(study, f"stopped-{number}", STOPPED, {1: number / 100})
    for number in range(4):
        ended(study, f"finished-{number}", FINISHED, {1: 0.5, 2: 0.6 + number / 100})
    kept = study.study.trials
    finished = sorted(trial.value for trial in kept if trial.state == TrialState.COMPLETE and trial.value is not None)
    # The best three, and of the other 26 every third.
    assert finished[-3:] == [0.61, 0.62, 0.63]
    assert len(kept) == 3 + 9
    assert {trial.state for trial in kept} == {TrialState.COMPLETE, TrialState.PRUNED}
    study.tell(Record("running", "mobilenet", config, point, {1: 0.5, 2: 0.9}, status=FINISHED))
    assert study.study.best_value == 0.9
    for number in range(2):
        ended(study, f"later-{number}", STOPPED, {1: 0.1})
    study.close()
    assert [trial.state for trial in study.study.trials].count(TrialState.RUNNING) == 0
