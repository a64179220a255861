"""The searcher: one Optuna study per family, told the truth about every trial."""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import TrialState

from models.sizes import HEAD, is_probe
from search.record.journal import INFEASIBLE, RUNNING, Journal, Record
from search.settings import Settings
from search.studies.aims import Aims
from search.studies.hyperparameters import TrialHyperParameters, distributions, values_to_point
from search.studies.narrowed import Narrowed, every_point, moved, whole
from search.studies.observed import Observed
from search.studies.spaces import Space, backbones_of, fits, spaces_of
from search.studies.warm_start import Prior
from search.training.weights import Weights
from spaces import FAMILIES, family_of
from spaces.costs import work

# Configurations drawn ahead, of which the cheapest is tried next: dear ones wait while cheap ones still tell something,
# and the study has learnt from those when it draws again. More would try what the study no longer believes in.
AHEAD = 3

# Points up to which a narrowed space is known by all of them: none is tried twice, and once all are tried that is all.
MOST_POINTS = 500

ACCURACY = Aims()


class Study:
    """What is tried of one family next: its hand-written points, then what the Optuna study proposes."""

    def __init__(
        self,
        family: str,
        space: Space,
        starts: Sequence[Mapping[str, Any]],
        *,
        trials: int | None,
        seed: int,
        earlier: Sequence[Record] = (),
        observations: Sequence[Record] = (),
        aims: Aims = ACCURACY,
        probes: Sequence[Mapping[str, Any]] = (),
        given: Mapping[str, Any] | None = None,
        recipe: Mapping[str, Any] | None = None,
    ) -> None:
        """`trials` are those to be drawn, None for no end; `probes` are points beyond them, tried beside the starts.

        No draw departs from the values that are `given`. A `recipe` is a point that is tried before all others.
        """
        self._family = family
        self._space = space
        self.aims = aims
        self.ahead = AHEAD
        self.cost: Callable[[Mapping[str, Any]], float] = partial(work, family)  # by which the cheapest is told
        # Whether a start is rather tried on larger pictures, by its configuration there.
        self.affords: Callable[[dict[str, Any]], bool] = lambda larger: False
        # To be drawn; whoever turns out infeasible gives its place back.
        self._left = math.inf if trials is None else trials - sum(not is_probe(record.config) for record in earlier)
        self._observed = Observed(space, aims, seed, given)
        self._trials: dict[str, optuna.trial.Trial] = {}
        self._drawn: list[Drawn] = []
        self._chance = random.Random(seed)
        self.size: int | None = None  # points of a narrowed space, where it has few
        self.blind: set[str] = set()  # names of the trials that were drawn or given without a look at the others
        self._given: list[dict[str, Any]] = []  # points that the next draws take as they are
        self._sizes: tuple[dict[str, Any], dict[str, Any]] | None = None  # a start on small pictures and on larger ones
        for record in observations:
            self._observed.learn(record)
        for record in earlier:
            self._recall(record)
        # The defaults of the space are the study's own configuration: it always comes first. Behind it stand the
        # probes of the widest trunks, and behind the starts the others.
        probes = [values for values in probes if fits(space, values)]
        leading = family_of(family).leading
        early = leading(probes) if leading else []
        points: list[dict[str, Any]] = []
        for values in ({}, *early, *starts, *probes):
            if (point := moved(space, values)) is not None and point not in points:
                points.append(point)
        first_of_all = moved(space, recipe) if recipe else None
        self.recipe = first_of_all is not None  # whether its first trial is another than the base
        usual = points
        if first_of_all is not None:
            points = [first_of_all, *(point for point in points if point != first_of_all)]
        self._untried = self._all_but(earlier, points)
        tried = [record.point for record in earlier]
        waiting = [point for point in points if point not in tried]
        # The same start on small and on larger pictures: which of them is tried hangs on what an epoch takes.
        pairs = () if family_of(family).transfers else pairwise(points)
        self._sizes = next(((one, two) for one, two in pairs if _larger(one, two)), None)
        if self._sizes and self._sizes[1] in tried:
            waiting = [point for point in waiting if point != self._sizes[0]]
        own = [point for point in waiting if not is_probe(point)]
        beyond = own[int(min(self._left, len(own))) :]
        waiting = [point for point in waiting if point not in beyond]
        self._given += waiting
        self._starts = len(waiting)
        # What most configurations are like: the first of the starts that is trained by epochs, or the base.
        trained = [point for point in usual[1:] if not is_probe(point) and self._work(point) > HEAD]
        self.usual = self._space(TrialHyperParameters(values=[*trained, usual[0]][0]))
        if isinstance(space, Narrowed) and "backbone" in usual[0] and work(family, self.usual) <= HEAD:
            # A space that was narrowed to heads alone: what a trunk takes is told by the base that it had before.
            kept: dict[str, Any] = {name: usual[0][name] for name in ("backbone", "image_size")}
            self.usual = whole(space)(TrialHyperParameters(values=kept))
        self._left += sum(is_probe(point) for point in waiting)

    def _work(self, point: Mapping[str, Any]) -> float:
        return work(self._family, self._space(TrialHyperParameters(values=point)))

    def _all_but(
        self, earlier: Sequence[Record], points: Sequence[Mapping[str, Any]]
    ) -> dict[str, dict[str, Any]] | None:
        """The points of a narrowed space that were not tried yet; None where it has too many to know them all.

        Probes are given, not drawn: of two trunks side by side there are two points, and one of them is.
        """
        every = every_point(self._space, MOST_POINTS) if isinstance(self._space, Narrowed) else None
        if every is None:
            return None
        given = {_key(point) for point in points}
        tried = {_key(record.point) for record in earlier if record.point}
        found = {_key(point): point for point in every if not is_probe(point) or _key(point) in given}
        self.size = len(found)
        return {key: point for key, point in found.items() if key not in tried}

    @property
    def study(self) -> optuna.Study:
        """The Optuna study, which is another one once it was renewed."""
        return self._observed.study

    @property
    def _room(self) -> float:
        """How many configurations are still to be drawn."""
        return self._left if self._untried is None else min(self._left, len(self._untried))

    @property
    def more(self) -> bool:
        """Whether there are configurations left to try."""
        return bool(self._drawn) or self._room > 0

    def suggest(self, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """The configuration of the next trial, and the point of the space that it was made from.

        It is the cheapest of those drawn ahead; of the last ones it is the dearest, so that none runs on alone.
        """
        while self.draw_ahead():
            pass
        self._starts = max(0, self._starts - 1)
        choose = min if self._room > 0 else max
        drawn = choose(self._drawn, key=lambda found: self.cost(found.config))
        self._drawn.remove(drawn)
        self._trials[name] = drawn.trial
        if drawn.blind:
            self.blind.add(name)
        return drawn.config, drawn.point

    def draw_ahead(self) -> bool:
        """Draws a configuration if fewer wait than `suggest` chooses from; returns whether one was drawn.

        Asked while workers are busy, it spares the next free one the wait for the sampler.
        """
        if self._room <= 0 or len(self._drawn) >= (1 if self._starts else self.ahead):
            return False
        drawn = self._draw()
        if self._untried is not None and self._untried.pop(_key(drawn.point), None) is None:
            # Of few points a draw often finds one that was tried: another one is tried instead, by the seed.
            drawn.trial.study.tell(drawn.trial, state=TrialState.FAIL)
            self._given.append(self._untried.pop(self._chance.choice(list(self._untried))))
            drawn = self._draw()
        self._drawn.append(drawn)
        self._left -= 1
        return True

    def distributions(self, name: str, point: Mapping[str, Any]) -> dict[str, BaseDistribution]:
        """The distribution of every parameter of a trial, which may be over."""
        trial = self._trials.get(name)
        return trial.distributions if trial else distributions(self._space, point)

    def close(self) -> None:
        """Ends what was drawn and never tried, and what an interrupted search leaves open: nothing stays running."""
        for trial in [*(drawn.trial for drawn in self._drawn), *self._trials.values()]:
            trial.study.tell(trial, state=TrialState.FAIL)
        self._drawn.clear()
        self._trials.clear()

    @property
    def larger(self) -> dict[str, Any] | None:
        """The configuration of a start on larger pictures, while it and the same on small ones are to come."""
        if self._sizes is None or any(point not in self._given for point in self._sizes):
            return None
        return self._space(TrialHyperParameters(values=self._sizes[1]))

    def _size(self) -> None:
        """Where a start is next, on small pictures and then on larger ones: goes on to those if they pay."""
        larger = self.larger
        if larger is not None and self._sizes and self._given[0] == self._sizes[0] and self.affords(larger):
            self._given.pop(0)
            self._starts -= 1
            self.usual = larger

    def _draw(self) -> "Drawn":
        self._size()
        point = self._given.pop(0) if self._given else None
        if point is not None:
            self.study.enqueue_trial(point)
        trial = self.study.ask()
        hp = TrialHyperParameters(trial)
        config = self._space(hp)
        # Known only now: Optuna asks the sampler for a trial's first parameter, and also where a point is given.
        blind = point is not None or self._observed.sampler.blind
        return Drawn(trial, config, {key: hp.values[key] for key in hp.distributions}, blind)

    def tell(self, record: Record) -> None:
        """How the trial of this name ended."""
        self._observed.tell(self._trials.pop(record.name), record)
        self._left += record.status == INFEASIBLE and not is_probe(record.config)

    def holds(self, point: Any, config: Mapping[str, Any]) -> bool:
        """Whether a row can be of a trial of this study: a point of its space, and a configuration of its form.

        A row of an earlier version lacks what the family has got `later`.
        """
        try:
            made = self._space(TrialHyperParameters(values=values_to_point(self._space, point)))
            work(self._family, config)
        except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError):
            return False
        missing = made.keys() - config.keys()
        if missing & set(point) or not missing <= set(family_of(self._family).later):
            return False
        return {key: _kind(value) for key, value in config.items()} == {
            key: _kind(made[key]) for key in made if key not in missing
        }

    def _recall(self, record: Record) -> None:
        """Takes in a trial of the run that is resumed; one that had not ended is open again."""
        if not record.point:
            return  # It failed without a trace of what it was.
        # What an earlier version did not have is not drawn now.
        new = any(name not in record.point for name in family_of(self._family).later)
        self._given.append(values_to_point(self._space, record.point) if new else dict(record.point))
        self._trials[record.name] = self._draw().trial
        if record.status != RUNNING:
            self.tell(record)


def _key(point: Mapping[str, Any]) -> str:
    """What is the same for points that are: a float that was computed in another way may differ in its last digits."""
    plain = {name: f"{value:.9g}" if isinstance(value, float) else str(value) for name, value in point.items()}
    return repr(sorted(plain.items()))


def _larger(one: Mapping[str, Any], two: Mapping[str, Any]) -> bool:
    """Whether the second of two points is the first on larger pictures."""
    size = "image_size"
    return {**one, size: None} == {**two, size: None} and size in one and one[size] < two[size]


def _kind(value: Any) -> type:
    # JSON does not keep a whole float apart from an int.
    return float if isinstance(value, int) and not isinstance(value, bool) else type(value)


@dataclass(frozen=True, eq=False)
class Drawn:
    """A configuration that the study has suggested and nobody has tried yet."""

    trial: optuna.trial.Trial
    config: dict[str, Any]
    point: dict[str, Any]
    blind: bool


def studies_of(
    settings: Settings,
    weights: Sequence[Weights],
    journal: Journal | None = None,
    own: Mapping[str, Space] | None = None,
    prior: Prior | None = None,
    *,
    probed: bool = True,
    weighted: bool = False,
    filters: Sequence[str] | None = None,
) -> dict[str, Study]:
    """A study for each family of a run, over the spaces that its settings and weights allow.

    `own` are the spaces of the user's hypermodels. Each study is fresh but for what earlier runs have found, or knows
    every trial that the journal of a resumed run holds. Unless `probed`, no linear probes are tried.
    `weighted` and `filters` are those of `spaces_of`.
    """
    studies = {}
    order = list(dict.fromkeys((*FAMILIES, *settings.families)))
    for family, (space, starts) in spaces_of(settings, weights, own, weighted=weighted, filters=filters).items():
        earlier = journal.of(family) if journal else []
        observations = prior.observations.get(family, ()) if prior else ()
        first = prior.first.get(family, ()) if prior else ()
        # Seeds of their own, or families that share a space would draw the same points; and not the seed of a run that
        # is resumed or learnt from either, which would draw again what has been tried.
        seed = settings.seed + 1000 * order.index(family) + 10_000 * (len(earlier) + len(observations))
        known = family_of(family)
        aims = Aims.of(settings)
        trunks = backbones_of(weights)
        points = known.probes(settings.image_sizes, trunks, weighted=weighted) if known.probes else ()
        studies[family] = Study(
            family, space, (*first, *starts), trials=settings.trials, seed=seed,
            earlier=earlier, observations=observations, aims=aims, probes=points if probed else (),
            given=known.given, recipe=prior.recipes.get(family) if prior else None,
        )  # fmt: skip
    return studies
