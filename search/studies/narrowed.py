"""Spaces narrowed by `--set`: what is left of each hyperparameter, wherever a value of it is drawn or given."""

import difflib
import math
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from search.narrowing import Rule, number, of_family, rules
from search.studies.hyperparameters import TrialHyperParameters, contains, defaults, nearest, values_to_point
from spaces import REMARKS, family_of

Space = Callable[[Any], dict[str, Any]]
Met = dict[str, list[BaseDistribution]]  # by name what a space asks for; under conditions it may ask for several things

WORDS = {True: ("true", "yes", "on"), False: ("false", "no", "off")}
# Configurations that are looked at for names. Each one of a hypermodel is a `build`, which may take a second.
MOST_LOOKED_AT = 400
MOST_BUILT = 60
FEW = 8  # values of a whole number up to which each is looked at, and not its ends alone


@dataclass(frozen=True)
class Narrowed:
    """A space whose hyperparameters keep to rules."""

    space: Space
    rules: Mapping[str, Rule]

    def __call__(self, hp: Any) -> dict[str, Any]:
        hp.within = self.within
        return self.space(hp)

    def within(self, name: str, distribution: BaseDistribution) -> BaseDistribution:
        """What is left of a parameter."""
        if name not in self.rules:
            return distribution
        try:
            return narrow(distribution, self.rules[name])
        except ValueError:
            # A `build` asks under some condition for values that it did not ask for when it was looked at.
            return distribution


def whole(space: Space) -> Space:
    """A space before it was narrowed."""
    return space.space if isinstance(space, Narrowed) else space


def narrow(distribution: BaseDistribution, asked: Rule) -> BaseDistribution:
    """The part of a distribution that a rule leaves; raises ValueError that says what the distribution allows."""
    refusal = ValueError(f"values from {words(distribution)}")
    match distribution:
        case CategoricalDistribution(choices=choices):
            if asked.ranged:
                left = [one for one in choices if _inside(one, asked)]
            else:
                found = [next((one for one in choices if _means(text, one)), None) for text in asked.values]
                if None in found:
                    raise refusal
                left = [one for one in choices if one in found]
            if not left:
                raise refusal
            return CategoricalDistribution(left)
        case IntDistribution() | FloatDistribution():
            if not asked.ranged:
                return _of_values(distribution, asked.values, refusal)
            # A stepped range has no value between two steps.
            low, high = asked.low, asked.high
            if not distribution.low <= low or not high <= distribution.high:
                raise refusal
            if distribution.step is not None:
                first = math.ceil((low - distribution.low) / distribution.step - 1e-9)
                last = math.floor((high - distribution.low) / distribution.step + 1e-9)
                if first > last:
                    raise refusal
                low, high = (distribution.low + place * distribution.step for place in (first, last))
            return _between(distribution, low, high)
    raise AssertionError(f"no such distribution: {distribution}")


def _of_values(
    distribution: IntDistribution | FloatDistribution, texts: Sequence[str], refusal: ValueError
) -> BaseDistribution:
    values = [number(text) for text in texts]
    inside = [value for value in values if value is not None and contains(distribution, value)]
    if len(inside) < len(texts):
        raise refusal
    if len(inside) == 1:
        return _between(distribution, inside[0], inside[0])
    return CategoricalDistribution(sorted({nearest(distribution, _kind(distribution)(value)) for value in inside}))


def _between(distribution: IntDistribution | FloatDistribution, low: float, high: float) -> BaseDistribution:
    if isinstance(distribution, IntDistribution):
        return IntDistribution(round(low), round(high), log=distribution.log, step=distribution.step)
    low, high = (round(end, 10) if distribution.step is not None else end for end in (low, high))
    return FloatDistribution(low, high, log=distribution.log, step=distribution.step)


def _kind(distribution: BaseDistribution) -> type:
    return int if isinstance(distribution, IntDistribution) else float


def _inside(value: Any, asked: Rule) -> bool:
    return _is_number(value) and asked.admits(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _means(text: str, value: Any) -> bool:
    """Whether a word names a value."""
    if isinstance(value, bool):
        return text.lower() in WORDS[value]
    return number(text) == value if _is_number(value) else text == str(value)


def words(distribution: BaseDistribution) -> str:
    """What a distribution allows: "adam, sgd", "1 to 19", "0 to 0.5 by 0.1"."""
    match distribution:
        case CategoricalDistribution(choices=choices):
            return ", ".join(map(word, choices))
        case IntDistribution(low=low, high=high, step=step) | FloatDistribution(low=low, high=high, step=step):
            if low == high:
                return word(low)
            by = (
                "" if step is None or (isinstance(distribution, IntDistribution) and step == 1) else f" by {word(step)}"
            )
            return f"{word(low)} to {word(high)}{by}"
    raise AssertionError(f"no such distribution: {distribution}")


def word(value: Any) -> str:
    """A value as `--set` takes it."""
    if isinstance(value, bool):
        return WORDS[value][0]
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def rules_of(texts: Sequence[str], family: str, families: Sequence[str]) -> dict[str, Rule]:
    """The rules that a family's space keeps, with what follows from them; raises ValueError where two contradict."""
    found = of_family(texts, family, families)
    for name, (at_zero, above) in family_of(family).at_zero.items():
        if name not in found:
            continue
        asked = found.pop(name)
        rest = asked.above_zero()
        if rest is not None:
            found[name] = rest
        follows = at_zero if rest is None else {} if asked.admits(0) else above
        for other, value in follows.items():
            if other in found and not any(_means(text, value) for text in found[other].values):
                raise ValueError(
                    f"`set` needs {word(value)} in `{family}.{other}` where `{name}` is {asked.said}, got "
                    f"{found[other].said!r}"
                )
            found[other] = Rule(other, word(value), (word(value),))
    return found


def moved(space: Space, values: Mapping[str, Any]) -> dict[str, Any] | None:
    """The point of a space next to some values; None where it had not had them before it was narrowed either."""
    # What a hypermodel is asked first gives its parameters their names: the whole of it is left alone for the base.
    if values or not isinstance(space, Narrowed):
        try:
            point = values_to_point(whole(space), values)
        except ValueError:
            return None
        if not isinstance(space, Narrowed):
            return point
    hp = _Moved(values)
    space(hp)
    return {name: hp.values[name] for name in hp.distributions}


class _Moved(TrialHyperParameters):
    """Takes of some values those that are left, the nearest number instead of another, and else the default."""

    def __init__(self, offered: Mapping[str, Any]) -> None:
        super().__init__()
        self.offered = offered

    def _value(self, name: str, distribution: BaseDistribution, default: Any) -> Any:
        value = self.offered.get(name, default)
        return nearest(distribution, value) if contains(distribution, value) or _is_number(value) else default


# --- looking at spaces ----------------------------------------------------------------------------------------------


class _Looking(TrialHyperParameters):
    """Goes one way through a space, and takes down what it is asked for."""

    def __init__(self, chosen: Mapping[str, Any], chance: random.Random | None = None) -> None:
        super().__init__()
        self.chosen = chosen
        self.chance = chance
        self.met: Met = {}

    def Fixed(self, name: str, value: Any, parent_name: str | None = None, parent_values: Any = None) -> Any:
        self.met.setdefault(name, []).append(CategoricalDistribution([value]))
        return super().Fixed(name, value, parent_name, parent_values)

    def _left_of(self, called: str, distribution: BaseDistribution) -> BaseDistribution:
        self.met.setdefault(called, []).append(distribution)
        return super()._left_of(called, distribution)

    def _value(self, name: str, distribution: BaseDistribution, default: Any) -> Any:
        if self.chance is not None:
            return self.chance.choice(_examples(distribution))
        value = self.chosen.get(name, default)
        return value if contains(distribution, value) else default


def look(space: Space, most: int, wanted: Collection[str] | None = None) -> Met:
    """What a space asks for, by name, also under its conditions: every value of every parameter is tried by itself.

    It ends where all that is wanted has been met. What hangs on two values at once may be met in draws by chance, with
    which it goes on then, as far as `most` configurations.
    """
    met: Met = {}
    waiting: list[dict[str, Any]] = [{}]
    known: set[str] = set()
    chance = random.Random(0)
    for _ in range(most):
        if wanted is not None and all(name in met for name in wanted):
            break
        if not waiting and wanted is None:
            break
        chosen = waiting.pop(0) if waiting else {}
        hp = _Looking(chosen, None if chosen or not known else chance)
        space(hp)
        for name, found in hp.met.items():
            met[name] = [*(before := met.get(name, [])), *(one for one in found if one not in before)]
        for name, distribution in hp.distributions.items():
            if name not in known:
                known.add(name)
                others = [value for value in _examples(distribution) if value != hp.values[name]]
                waiting += [{**chosen, name: value} for value in others]
    return met


def _examples(distribution: BaseDistribution) -> list[Any]:
    values = _all(distribution, FEW)
    if values is None:
        assert isinstance(distribution, IntDistribution | FloatDistribution)
        return [distribution.low, distribution.high]
    return values


def _all(distribution: BaseDistribution, most: int) -> list[Any] | None:
    """Every value of a distribution; None where there are more, or no end of them."""
    match distribution:
        case CategoricalDistribution(choices=choices):
            return list(choices)
        case IntDistribution(low=low, high=high, step=step):
            return list(range(low, high + 1, step)) if (high - low) // step < most else None
        case FloatDistribution(low=low, high=high, step=step):
            if low == high:
                return [low]
            steps = math.inf if step is None else round((high - low) / step)
            return None if steps >= most else [round(low + place * (step or 0), 10) for place in range(int(steps) + 1)]
    raise AssertionError(f"no such distribution: {distribution}")


class _Counting(TrialHyperParameters):
    """Takes the values whose places are given, then the first of each further parameter."""

    def __init__(self, places: Sequence[int], most: int) -> None:
        super().__init__()
        self.places = list(places)
        self.most = most
        self.counts: list[int] = []

    def _value(self, name: str, distribution: BaseDistribution, default: Any) -> Any:
        values = _all(distribution, self.most)
        if values is None or math.prod([*self.counts, len(values)]) > self.most:
            raise _TooMany
        self.places += [0] * (len(self.counts) == len(self.places))
        self.counts.append(len(values))
        return values[self.places[len(self.counts) - 1]]


class _TooMany(Exception):
    pass


def every_point(space: Space, most: int) -> list[dict[str, Any]] | None:
    """All points of a space; None where there are more than `most`, or no end of them."""
    points: list[dict[str, Any]] = []
    places: list[int] = []
    while True:
        hp = _Counting(places, most)
        try:
            space(hp)
        except _TooMany:
            return None
        points.append({name: hp.values[name] for name in hp.distributions})
        if len(points) > most:
            return None
        places = hp.places
        while places and places[-1] + 1 == hp.counts[len(places) - 1]:
            places.pop()
        if not places:
            return points
        places[-1] += 1


# --- what a run is told ---------------------------------------------------------------------------------------------


def check(texts: Sequence[str], spaces: Mapping[str, Space], own: Collection[str] = (), unread: bool = False) -> Any:
    """What the rules of `--set` leave of each family's space, as `space.json` holds it.

    Raises ValueError for a name that no family has, for values that the space does not have, for two rules of which
    one contradicts the other, and for a name that is never asked for where the others hold.

    Args:
        spaces: by family, narrowed.
        own: the families of hypermodels, of which names are looked for no longer than they are needed.
        unread: whether there are families beside these, whose names nobody knows yet.
    """
    asked = rules(texts)
    names = {name: _placed(name, spaces) for name in asked}
    known: dict[str, Met] = {}
    for family in sorted(spaces, key=lambda family: family in own):
        elsewhere = {name for met in known.values() for name in met}
        wanted = {short for at, short in names.values() if at == family or (at is None and short not in elsewhere)}
        looked = (MOST_BUILT, wanted) if family in own else (MOST_LOOKED_AT, None)
        known[family] = look(_apart(whole(spaces[family])), *looked)
    for name, (at, short) in names.items():
        having = {short for family in spaces for short in known[family] if at in (family, None)}
        if short not in having and not (unread and at is None):
            if at is None and "." in name:
                families = ", ".join(spaces)
                raise ValueError(f"`set` needs families from {families} in front of a dot, got {name!r}")
            of = f" of {at}" if at else ""
            near = difflib.get_close_matches(short, having, 1)
            meant = f"; did you mean `{near[0]}`?" if near else ""
            raise ValueError(f"`set` needs names from {', '.join(sorted(having))}{of}, got {short!r}{meant}")
    record: dict[str, Any] = {}
    idle = dict.fromkeys(asked, 0)
    for family, space in spaces.items():
        if not isinstance(space, Narrowed):
            continue
        looked = (MOST_BUILT, set(space.rules) & set(known[family])) if family in own else (MOST_LOOKED_AT, None)
        met = look(Narrowed(_apart(space.space), space.rules), *looked)
        for name, said in space.rules.items():
            written = next((one for one in (f"{family}.{name}", name) if one in asked), "")
            for distribution in met.get(name) or known[family].get(name, []):
                try:
                    narrow(distribution, said)
                except ValueError as error:
                    raise ValueError(_refused(family, name, asked.get(written, said), str(error), spaces)) from None
            idle[written] = idle.get(written, 0) + (name in met)
        # Depth 0 is a depth also where nothing is fine-tuned.
        for name in family_of(family).at_zero:
            for written in (f"{family}.{name}", name):
                idle[written] = idle.get(written, 0) + (written in asked and asked[written].admits(0))
        left = _narrowed(family, space, met, of_family(texts, family, list(spaces)))
        if left:
            record[family] = {"narrowed": left, "base": _base(_apart(space.space), space.rules)}
    lost = [name for name in asked if not idle[name] and not (unread and names[name][0] is None)]
    if lost:
        rest = ", ".join(f"{name}={found.said}" for name, found in asked.items() if name != lost[0])
        raise ValueError(f"`set` needs names that are still asked for, and beside {rest} nothing asks for `{lost[0]}`")
    return record


def lines(record: Mapping[str, Any]) -> list[str]:
    """What is left of each narrowed space, for people."""
    found = []
    for family, said in record.items():
        left = ", ".join(
            f"{one['name']} {one['left']}" + (f" ({one['remark']})" if one["remark"] else "")
            for one in said["narrowed"]
        )
        found.append(f"{family} keeps to {left}")
    return found


def _placed(name: str, families: Collection[str]) -> tuple[str | None, str]:
    family, dot, short = name.partition(".")
    return (family, short) if dot and family in families else (None, name)


def _apart(space: Space) -> Space:
    """The same space for whoever only looks at it."""
    found: Space = getattr(space, "afresh", lambda: space)()
    return found


def _refused(family: str, name: str, asked: Rule, allowed: str, spaces: Collection[str]) -> str:
    if name in family_of(family).at_zero:
        allowed = allowed.replace("values from 1 to", "values from 0 to")
    if name == "image_size":
        allowed += " (--image-sizes)"
    elif name in REMARKS:
        allowed += f" ({REMARKS[name]})"
    bare = asked.name == name and len(spaces) > 1
    way = f"; for other families alone, write them in front: FAMILY.{name}=" if bare else ""
    return f"`set` needs {allowed} in `{family}.{name}`, got {asked.said!r}{way}"


def _narrowed(family: str, space: Narrowed, met: Met, asked: Mapping[str, Rule]) -> list[dict[str, Any]]:
    """Each parameter that the rules name or that follows from them, what is left of it, and of what."""
    found = []
    for name in dict.fromkeys((*asked, *space.rules)):
        if name in family_of(family).at_zero and name in asked:
            deepest = [one.high for one in met.get(name, []) if isinstance(one, IntDistribution)]
            said, fixed = asked[name].said.replace("..", " to ").replace(",", ", "), len(set(asked[name].values)) == 1
            of = f"0 to {max(deepest)}" if deepest else ""
        elif name in met:
            left = [narrow(one, space.rules[name]) for one in met[name]]
            said, of = (" or ".join(dict.fromkeys(map(words, some))) for some in (left, met[name]))
            fixed = len({words(one) for one in left}) == 1 and left[0].single()
        else:
            continue
        found.append({"name": name, "left": said, "of": of, "fixed": fixed, "remark": REMARKS.get(name, "")})
    return found


def _base(space: Space, rules: Mapping[str, Rule]) -> list[dict[str, Any]]:
    """Where the base of a narrowed space is another than that of the whole one."""
    before, after = defaults(space), defaults(Narrowed(space, rules))
    return [
        {"name": name, "was": word(before[name]), "is": word(after[name])}
        for name in before
        if name in after and before[name] != after[name]
    ]
