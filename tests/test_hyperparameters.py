"""KerasTuner's vocabulary over an Optuna trial, beside KerasTuner's own."""

from typing import Any

import keras_tuner
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FixedTrial

from search.studies.hyperparameters import (
    TrialHyperParameters,
    defaults,
    distributions,
    integer,
    optuna_hyperparameters,
    real,
    values_to_point,
)


def net(hp: Any) -> dict[str, Any]:
    """A space that uses the whole vocabulary."""
    kind = hp.Choice("kind", ["mlp", "cnn"])
    hp.Boolean("deep")
    with hp.conditional_scope("kind", ["cnn"]):
        filters = hp.Int("filters", 8, 64, step=2, sampling="log", default=16)
        with hp.name_scope("stem"):
            stride = hp.Int("stride", 1, 3)
    units = hp.Int("units", 10, 35, step=10, parent_name="kind", parent_values=["mlp"])
    rate = hp.Float("rate", 1e-4, 1e-1, sampling="log")
    dropout = hp.Float("dropout", 0.0, 0.5, step=0.1)
    decay = hp.Float("decay", 0.001, 1, step=10, sampling="log")
    momentum = hp.Float("momentum", 0.5, 0.9, sampling="reverse_log", default=0.8)
    loss = hp.Fixed("loss", "crossentropy")
    return {
        "kind": kind,
        "deep": hp.get("deep"),
        "filters": filters,
        "stride": stride,
        "units": units,
        "rate": rate,
        "dropout": dropout,
        "decay": decay,
        "momentum": momentum,
        "loss": loss,
    }


CNN = {
    "kind": "cnn",
    "deep": True,
    "filters": 32,
    "stem/stride": 2,
    "rate": 0.01,
    "dropout": 0.3,
    "decay": 0.1,
    "momentum": 0.6,
}


def test_defaults_are_those_of_keras_tuner() -> None:
    assert net(TrialHyperParameters()) == net(keras_tuner.HyperParameters())
    assert net(TrialHyperParameters()) == {
        "kind": "mlp",
        "deep": False,
        "filters": None,
        "stride": None,
        "units": 10,
        "rate": 1e-4,
        "dropout": 0.0,
        "decay": 0.001,
        "momentum": 0.8,
        "loss": "crossentropy",
    }


def test_a_fixed_trial_gives_what_keras_tuner_gives_for_these_values() -> None:
    theirs = keras_tuner.HyperParameters()
    theirs.values = dict(CNN)
    config = net(TrialHyperParameters(FixedTrial(CNN)))
    assert config == net(theirs)
    assert (config["filters"], config["stride"], config["units"]) == (32, 2, None)


def test_the_true_subclass_draws_the_same() -> None:
    hp = optuna_hyperparameters(FixedTrial(CNN))
    assert isinstance(hp, keras_tuner.HyperParameters)
    assert net(hp) == net(TrialHyperParameters(FixedTrial(CNN)))
    assert hp.values == {**CNN, "loss": "crossentropy"}


def test_both_share_the_distributions() -> None:
    ours, theirs = FixedTrial(CNN), FixedTrial(CNN)
    net(TrialHyperParameters(ours))
    net(optuna_hyperparameters(theirs))
    assert ours.distributions == theirs.distributions
    assert ours.distributions == {
        "kind": CategoricalDistribution(["mlp", "cnn"]),
        "deep": CategoricalDistribution([False, True]),
        "filters": CategoricalDistribution([8, 16, 32, 64]),
        "stem/stride": IntDistribution(1, 3),
        "rate": FloatDistribution(1e-4, 1e-1, log=True),
        "dropout": FloatDistribution(0.0, 0.5, step=0.1),
        "decay": CategoricalDistribution([0.001, 0.01, 0.1, 1.0]),
        "momentum": FloatDistribution(0.5, 0.9),
    }


def test_ranges_end_where_their_steps_do() -> None:
    assert integer("units", 10, 35, 10, "linear") == IntDistribution(10, 30, step=10)
    assert real("dropout", 0.0, 0.3, 0.1, "linear") == FloatDistribution(0.0, 0.3, step=0.1)
    assert real("dropout", 0.0, 0.35, 0.1, "linear") == FloatDistribution(0.0, 0.3, step=0.1)
    assert integer("blocks", 1, 19, None, "log") == IntDistribution(1, 19, log=True)


def test_stepped_values_are_decimal_fractions() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = {TrialHyperParameters(study.ask()).Float("dropout", 0.0, 0.5, step=0.1) for _ in range(60)}
    assert drawn == {0.0, 0.1, 0.2, 0.3, 0.4, 0.5}


def test_get_tells_inactive_from_unknown() -> None:
    hp = TrialHyperParameters()
    net(hp)
    assert hp["kind"] == "mlp"
    assert "units" in hp
    assert "filters" not in hp
    with pytest.raises(ValueError, match="filters is currently inactive"):
        hp.get("filters")
    with pytest.raises(KeyError, match="colour does not exist"):
        hp.get("colour")


def test_a_condition_needs_its_parent_first() -> None:
    with (
        pytest.raises(ValueError, match="a parameter drawn before it, got `kind`"),
        TrialHyperParameters().conditional_scope("kind", ["cnn"]),
    ):
        pass


def test_the_base_is_a_point_without_inactive_and_fixed_names() -> None:
    assert defaults(net) == {
        "kind": "mlp",
        "deep": False,
        "units": 10,
        "rate": 1e-4,
        "dropout": 0.0,
        "decay": 0.001,
        "momentum": 0.8,
    }


def test_an_enqueued_point_is_drawn_exactly() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    point = values_to_point(net, {"kind": "cnn", "rate": 0.02})
    study.enqueue_trial(point)
    trial = study.ask()
    config = net(TrialHyperParameters(trial))
    assert trial.params == point
    assert (config["filters"], config["rate"]) == (16, 0.02)
    assert trial.distributions == distributions(net, point)


def test_a_point_with_an_inactive_name_is_refused() -> None:
    with pytest.raises(
        ValueError, match="names that are active in the space, got `filters`; active: kind, deep, units"
    ):
        values_to_point(net, {"filters": 16})


def test_a_point_outside_a_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"values from the space, got 0\.5 in `rate`"):
        values_to_point(net, {"rate": 0.5})
    with pytest.raises(ValueError, match="values from the space, got 'tree' in `kind`"):
        values_to_point(net, {"kind": "tree"})
    with pytest.raises(ValueError, match="values from the space, got 'big' in `rate`"):
        values_to_point(net, {"rate": "big"})
    with pytest.raises(ValueError, match=r"values from the space, got 0\.25 in `dropout`"):
        values_to_point(net, {"dropout": 0.25})
    with pytest.raises(ValueError, match=r"values from the space, got 10\.5 in `units`"):
        values_to_point(net, {"units": 10.5})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3, 2, None, "linear"), "low <= high, got 3 > 2 in `units`"),
        ((0, 2, None, "log"), "log sampling needs low > 0, got 0 in `units`"),
        ((1, 8, 1, "log"), "log sampling needs a step > 1, got 1 in `units`"),
        ((1, 8, 0, "linear"), "linear sampling needs a step > 0, got 0 in `units`"),
        ((1, 8, None, "cubic"), "one of linear, log, reverse_log, got 'cubic' in `units`"),
    ],
)
def test_an_impossible_range_is_refused(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        integer("units", *arguments)


def test_a_choice_needs_values() -> None:
    with pytest.raises(ValueError, match="at least one value, got none in `kind`"):
        TrialHyperParameters().Choice("kind", [])


def test_a_hypermodel_of_the_user_runs_under_a_study() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(20):
        trial = study.ask()
        config = net(optuna_hyperparameters(trial))
        assert (config["filters"] is None) == (config["kind"] == "mlp")
        assert ("filters" in trial.params) == (config["kind"] == "cnn")
        study.tell(trial, 0.0)
