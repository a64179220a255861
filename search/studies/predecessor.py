"""What a search takes from the run that it goes on from: sides, hypermodels, the score of its model, its recipes.

A recipe is the best configuration of a family. It is tried first, before the base.
"""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from results.analysis.metrics import ACCURACY
from results.analysis.numbers import best_trial
from results.analysis.predecessor import compare
from results.pages.predecessor import sentence
from results.rows import Rows
from search import machine
from search.data.pictures import Pictures
from search.data.predecessor import Before, Predecessor, read_predecessor, saved_sides
from search.settings import Settings, own_families
from search.studies.own_spaces import OwnSpaces
from search.studies.warm_start import WARM_START, Prior, Space, project, read_earlier
from search.training.predecessor import FROM, answer
from spaces import family_of


def run_before(settings: Settings) -> Predecessor | None:
    """The run that this one goes on from; None without one, and once all that it gives lies in the run's folder.

    Raises OSError or ValueError, which say what it lacks, for a run that cannot be gone on from.
    """
    there = all((settings.folder / name).exists() for name in (FROM, WARM_START))
    if there or not settings.from_run:
        return None
    before = read_predecessor(Path(settings.from_run))
    for text in settings.hypermodel:
        if text in before.settings.hypermodel and (why := _lost(text)):
            raise ValueError(f"--from needs the code of its run, and {why}; {_of(text, before)}")
    return before


def sides_before(settings: Settings, before: Predecessor | None) -> Before | None:
    """What says on which sides pictures stay: the run's own split where it is resumed, else the run before it."""
    own = saved_sides(settings.folder / "split.json") if settings.from_run else None
    return before if own is None else replace(own, shapes=before.shapes if before else ())


def own_spaces(settings: Settings, before: Predecessor | None, *, shared: bool) -> OwnSpaces:
    """The hypermodels of a run; raises ValueError, which says where a family comes from, for one that is not there."""
    try:
        return OwnSpaces(settings, shared=shared)
    except ValueError as error:
        theirs = [text for text in settings.hypermodel if before and text in before.settings.hypermodel]
        if not before or not theirs:
            raise
        raise ValueError(f"{error}; {_of(theirs[0], before)}") from error


def _lost(reference: str) -> str:
    """Why a hypermodel surely cannot be imported, as far as that is known without an import; else nothing."""
    (target,) = own_families((reference,)).values()
    place = target.rpartition(":")[0]
    if place.endswith(".py"):
        return "" if Path(place).is_file() else f"there is no file `{place}`"
    top = place.partition(".")[0]
    there = PathFinder.find_spec(top, [os.getcwd(), *sys.path]) is not None
    return "" if there else f"there is no module `{top}`"


def _of(reference: str, before: Predecessor) -> str:
    return f"`{reference}` is a family of `{before.folder}`: put its code back, or name other families with --families"


def score(
    before: Predecessor, folder: Path, pictures: Pictures, split: dict[str, Any], say: Callable[[str], None]
) -> None:
    """Has the model of the run before name the test pictures, unless that was done; raises ValueError as `answer`."""
    if (folder / FROM).exists():
        return
    say(f"scoring the model of {before.name} on {len(pictures.test):,} test pictures")
    answer(before, folder, pictures, split["from"]["test"], machine.cores())
    found = compare(folder, Rows(()), split, None, ACCURACY)
    assert found is not None  # it was written just now
    say(sentence(found))


def with_recipes(prior: Prior, run: Predecessor, settings: Settings, spaces: Mapping[str, Space]) -> Prior:
    """What earlier runs gave, and with it the best configuration of each family of the run that is gone on from.

    As far as the spaces have its values: the others are left at their defaults, and `Prior.lines` names them.
    """
    points = {trial.name: trial.point for trial in read_earlier(run.folder, "--from").trials}
    recipes, told = {}, []
    for family, space in spaces.items():
        best = best_trial(run.rows, family)
        if best is None or not points.get(best["trial"]):
            told.append(f"{run.name} has no configuration of {family} to begin with")
            continue
        if family_of(family).transfers and (run.settings.weights == "none") != (settings.weights == "none"):
            told.append(f"{run.name} had mobilenet with other weights: its configuration is not begun with")
            continue
        point, refused = project(space, points[best["trial"]])
        recipes[family] = point
        but = f", with other values of {', '.join(f'`{name}`' for name in refused)}" if refused else ""
        told.append(f"{family} begins with {best['trial']} of {run.name}{but}")
    if run.family not in spaces:
        told.append(f"{run.family}, the winner of {run.name}, is not searched here")
    leader = run.family if run.family in recipes else ""
    # What its name says of a picture, the sides have been told by its content.
    sources = tuple(replace(one, test_seen=0) if one.name == run.name else one for one in prior.sources)
    return replace(prior, sources=sources, recipes=recipes, leader=leader, told=tuple(told))
