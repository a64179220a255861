"""KerasTuner's vocabulary spoken to Optuna: a space written for `keras_tuner.HyperParameters` draws from a trial."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import BaseTrial

if TYPE_CHECKING:
    import keras_tuner

Space = Callable[[Any], Any]
# What a narrowed space leaves of a parameter, by its name.
Within = Callable[[str, BaseDistribution], BaseDistribution]


class TrialHyperParameters:
    """Stands in for `keras_tuner.HyperParameters` where importing KerasTuner, and TensorFlow with it, costs seconds.

    Values come from `values` where they are given there, else from `trial`, else from the defaults.
    Signatures, conditions and name scopes behave as in KerasTuner 1.4.8: outside its condition a parameter is None.
    """

    def __init__(self, trial: BaseTrial | None = None, values: Mapping[str, Any] | None = None) -> None:
        self.trial = trial
        self.values: dict[str, Any] = {}
        # Of the parameters that are active and not fixed: what a point of the space consists of.
        self.distributions: dict[str, BaseDistribution] = {}
        self.within: Within | None = None  # set by a narrowed space
        self._given = dict(values or {})
        self._known: set[str] = set()
        self._name_scopes: list[str] = []
        self._conditions: list[bool] = []

    def Choice(
        self,
        name: str,
        values: Sequence[Any],
        ordered: bool | None = None,
        default: Any = None,
        parent_name: str | None = None,
        parent_values: Any = None,
    ) -> Any:
        distribution = choice(name, values)
        first = distribution.choices[0] if default is None else default
        return self._active_value(name, distribution, first, parent_name, parent_values)

    def Int(
        self,
        name: str,
        min_value: int,
        max_value: int,
        step: int | None = None,
        sampling: str = "linear",
        default: int | None = None,
        parent_name: str | None = None,
        parent_values: Any = None,
    ) -> Any:
        first = min_value if default is None else default
        distribution = integer(name, min_value, max_value, step, sampling)
        return self._active_value(name, distribution, first, parent_name, parent_values)

    def Float(
        self,
        name: str,
        min_value: float,
        max_value: float,
        step: float | None = None,
        sampling: str = "linear",
        default: float | None = None,
        parent_name: str | None = None,
        parent_values: Any = None,
    ) -> Any:
        first = float(min_value) if default is None else default
        distribution = real(name, min_value, max_value, step, sampling)
        return self._active_value(name, distribution, first, parent_name, parent_values)

    def Boolean(
        self, name: str, default: bool = False, parent_name: str | None = None, parent_values: Any = None
    ) -> Any:
        return self._active_value(name, choice(name, [False, True]), default, parent_name, parent_values)

    def Fixed(self, name: str, value: Any, parent_name: str | None = None, parent_values: Any = None) -> Any:
        return self._active_value(name, None, value, parent_name, parent_values)

    def draw(self, name: str, distribution: BaseDistribution, default: Any, called: str | None = None) -> Any:
        """The value of a parameter by its full name, for a space that knows itself what is active in it.

        `called` is what its users call it, where that is another name.
        """
        return self._active_value(name, distribution, nearest(distribution, default), None, None, called)

    @contextmanager
    def conditional_scope(self, parent_name: str, parent_values: Any) -> Iterator[None]:
        parent = self._scoped(parent_name)
        if parent not in self._known:
            raise ValueError(f"a conditional scope needs a parameter drawn before it, got `{parent}`")
        allowed = parent_values if isinstance(parent_values, list | tuple) else [parent_values]
        self._conditions.append(parent in self.values and self.values[parent] in allowed)
        try:
            yield
        finally:
            self._conditions.pop()

    @contextmanager
    def name_scope(self, name: str) -> Iterator[None]:
        self._name_scopes.append(name)
        try:
            yield
        finally:
            self._name_scopes.pop()

    def get(self, name: str) -> Any:
        name = self._scoped(name)
        if name in self.values:
            return self.values[name]
        if name in self._known:
            raise ValueError(f"{name} is currently inactive.")
        raise KeyError(f"{name} does not exist.")

    def __getitem__(self, name: str) -> Any:
        return self.get(name)

    def __contains__(self, name: str) -> bool:
        return self._scoped(name) in self.values

    def _scoped(self, name: str) -> str:
        return "/".join([*self._name_scopes, name])

    def _active_value(
        self,
        name: str,
        distribution: BaseDistribution | None,
        default: Any,
        parent_name: str | None,
        parents: Any,
        called: str | None = None,
    ) -> Any:
        if parent_name is not None:
            with self.conditional_scope(parent_name, parents):
                return self._active_value(name, distribution, default, None, None)
        name = self._scoped(name)
        self._known.add(name)
        if not all(self._conditions):
            return None
        if name not in self.values:
            if distribution is not None:
                distribution = self.distributions[name] = self._left_of(called or name, distribution)
                default = nearest(distribution, default) if self.within else default
            self.values[name] = default if distribution is None else self._value(name, distribution, default)
        return self.values[name]

    def _left_of(self, called: str, distribution: BaseDistribution) -> BaseDistribution:
        return self.within(called, distribution) if self.within else distribution

    def _value(self, name: str, distribution: BaseDistribution, default: Any) -> Any:
        if name in self._given:
            value = self._given[name]
            if not contains(distribution, value):
                raise ValueError(f"a point needs values from the space, got {value!r} in `{name}`: {distribution}")
            return value
        return default if self.trial is None else suggest(self.trial, name, distribution)


def defaults(space: Space) -> dict[str, Any]:
    """The base configuration of a space as a point: the default of every parameter that is active there."""
    return values_to_point(space, {})


def values_to_point(space: Space, values: Mapping[str, Any]) -> dict[str, Any]:
    """Completes some named values with the defaults of the rest, ready for `study.enqueue_trial`.

    Raises ValueError for a name that the space does not have or that is inactive at this point, and for a value
    outside its range.
    """
    hp = TrialHyperParameters(values=values)
    space(hp)
    unknown = sorted(set(values) - set(hp.distributions))
    if unknown:
        active = ", ".join(hp.distributions)
        raise ValueError(f"a point needs names that are active in the space, got `{unknown[0]}`; active: {active}")
    return {name: hp.values[name] for name in hp.distributions}


def distributions(space: Space, values: Mapping[str, Any]) -> dict[str, BaseDistribution]:
    """The distribution of every parameter that is active at a point, for `optuna.trial.create_trial`."""
    hp = TrialHyperParameters(values=values)
    space(hp)
    return hp.distributions


def choice(name: str, values: Sequence[Any]) -> CategoricalDistribution:
    """One of some values of one type."""
    if not values:
        raise ValueError(f"a choice needs at least one value, got none in `{name}`")
    return CategoricalDistribution(list(values))


def integer(name: str, low: int, high: int, step: int | None, sampling: str | None) -> BaseDistribution:
    """Whole numbers from `low` to `high` inclusive; with log sampling `step` multiplies, as in KerasTuner."""
    log = _log_scale(name, low, high, step, sampling)
    if log and step is not None:
        return CategoricalDistribution([round(low * step**i) for i in range(_multiples(low, high, step))])
    return IntDistribution(low, low + (high - low) // (step or 1) * (step or 1), log=log, step=step or 1)


def real(name: str, low: float, high: float, step: float | None, sampling: str | None) -> BaseDistribution:
    """Numbers from `low` to `high` inclusive; with log sampling `step` multiplies, as in KerasTuner."""
    log = _log_scale(name, low, high, step, sampling)
    if log and step is not None:
        return CategoricalDistribution([low * step**i for i in range(_multiples(low, high, step))])
    if step is not None:
        # Decimals, because 0.3 // 0.1 is 2 in binary and the last value would be lost.
        whole = (Decimal(str(high)) - Decimal(str(low))) // Decimal(str(step))
        high = float(Decimal(str(low)) + whole * Decimal(str(step)))
    return FloatDistribution(low, high, log=log, step=step)


def contains(distribution: BaseDistribution, value: Any) -> bool:
    """Whether a value can come from a distribution."""
    match distribution:
        case CategoricalDistribution(choices=choices):
            return value in choices
        case IntDistribution(low=low, high=high, step=step) | FloatDistribution(low=low, high=high, step=step):
            if not isinstance(value, int | float) or not low <= value <= high:
                return False
            return step is None or math.isclose((value - low) / step, round((value - low) / step), abs_tol=1e-8)
    raise AssertionError(f"no such distribution: {distribution}")


def nearest(distribution: BaseDistribution, value: Any) -> Any:
    """The value itself where it can come from a distribution, else the nearest one that can."""
    if contains(distribution, value):
        return value
    match distribution:
        case CategoricalDistribution(choices=choices):
            numbers = all(isinstance(found, int | float) for found in (*choices, value))
            return min(choices, key=lambda found: abs(found - value)) if numbers else choices[0]
        case IntDistribution(low=low, high=high, step=step) | FloatDistribution(low=low, high=high, step=step):
            inside = min(max(value, low), high)
            if isinstance(distribution, IntDistribution):
                return low + round((inside - low) / step) * step
            return inside if step is None else round(low + round((inside - low) / step) * step, 10)
    raise AssertionError(f"no such distribution: {distribution}")


def suggest(trial: BaseTrial, name: str, distribution: BaseDistribution) -> Any:
    """Draws one value from a trial."""
    match distribution:
        case CategoricalDistribution(choices=choices):
            return trial.suggest_categorical(name, choices)
        case IntDistribution(low=low, high=high, step=step, log=log):
            return trial.suggest_int(name, low, high, step=step, log=log)
        case FloatDistribution(low=low, high=high, step=step, log=log):
            value = trial.suggest_float(name, low, high, step=step, log=log)
            # A stepped value is a decimal fraction: 0.3, not the sum 0.30000000000000004.
            return value if step is None else round(value, 10)
    raise AssertionError(f"no such distribution: {distribution}")


def optuna_hyperparameters(trial: BaseTrial) -> keras_tuner.HyperParameters:
    """A true `keras_tuner.HyperParameters` whose new active values come from a trial, for hypermodels of users."""

    def draw(name: str, distribution: BaseDistribution, default: Any) -> Any:
        return suggest(trial, name, distribution)

    return drawn_hyperparameters(draw)


def drawn_hyperparameters(draw: Callable[[str, BaseDistribution, Any], Any]) -> keras_tuner.HyperParameters:
    """A true `keras_tuner.HyperParameters` whose new active values come from `draw(name, distribution, default)`.

    Importing KerasTuner imports TensorFlow, hence here and not above.
    """
    import keras_tuner

    class DrawnHyperParameters(keras_tuner.HyperParameters):  # type: ignore[misc]
        def _retrieve(self, hp: Any) -> Any:
            if self.is_active(hp) and hp.name not in self.values:
                kind = type(hp).__name__
                if kind == "Choice":
                    self.values[hp.name] = draw(hp.name, choice(hp.name, hp.values), hp.default)
                elif kind == "Boolean":
                    self.values[hp.name] = draw(hp.name, choice(hp.name, [False, True]), hp.default)
                elif kind in ("Int", "Float"):
                    numbers = integer if kind == "Int" else real
                    distribution = numbers(hp.name, hp.min_value, hp.max_value, hp.step, hp.sampling)
                    self.values[hp.name] = draw(hp.name, distribution, hp.default)
            return super()._retrieve(hp)

    return DrawnHyperParameters()


def _log_scale(name: str, low: float, high: float, step: float | None, sampling: str | None) -> bool:
    # Optuna has no reversed log scale: such a range keeps its values and is sampled evenly.
    if sampling not in (None, "linear", "log", "reverse_log"):
        raise ValueError(f"sampling must be one of linear, log, reverse_log, got {sampling!r} in `{name}`")
    if low > high:
        raise ValueError(f"a range needs low <= high, got {low} > {high} in `{name}`")
    log = sampling == "log"
    if log and low <= 0:
        raise ValueError(f"log sampling needs low > 0, got {low} in `{name}`")
    if step is not None and step <= (1 if log else 0):
        raise ValueError(f"{sampling} sampling needs a step > {1 if log else 0}, got {step} in `{name}`")
    return log


def _multiples(low: float, high: float, step: float) -> int:
    return int(math.log(high / low, step) + 1e-8) + 1
