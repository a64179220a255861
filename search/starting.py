"""With which settings a run starts: a new one, one that is resumed, one that is extended."""

import re
import shlex
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from search.narrowing import with_space
from search.settings import (
    DEMO,
    PATHS,
    Settings,
    default_cache,
    installed_families,
    is_elsewhere,
    is_remote,
    own_families,
    placed,
    resumed,
    saved_settings,
)
from spaces import FAMILIES

# Enough to see every part of a search at work.
DEMO_SETTINGS: dict[str, Any] = {"image_sizes": (64, 96), "weights": "demo"}
# Seconds of a search that is told neither how long nor how much.
USUAL_BUDGET, DEMO_BUDGET = 1800.0, 90.0


def begun(given: Mapping[str, Any]) -> Settings:
    """The settings of a new run; without a name it is called after its data and the time."""
    given = with_space(given)
    if is_remote(given.get("runs_dir", "")):
        from search.record.offsite import checked, local_folder

        address = checked(given["runs_dir"], "--runs-dir")
        cache = Path(given.get("cache_dir") or default_cache())
        given = {**given, "offsite": address, "runs_dir": str(local_folder(address, cache))}
    if given.get("from_run"):
        from search.data.predecessor import inherited

        given = inherited(given)
    demo = given.get("data", DEMO) == DEMO
    base: dict[str, Any] = {"runs_dir": Settings.runs_dir, **(DEMO_SETTINGS if demo else {})}
    if "trials" not in given and "time_budget" not in given:
        base["time_budget"] = DEMO_BUDGET if demo else USUAL_BUDGET
    settings = Settings(**placed({**base, **searched(given)}))
    if settings.name:
        return settings
    return replace(settings, name=f"{stem_of(settings)}-{time.strftime('%Y%m%d-%H%M%S')}")


def searched(given: Mapping[str, Any]) -> dict[str, Any]:
    """What is given, with the families that it comes to: hypermodels beside those named, and alone where none are.

    A family that an installed package brings is a hypermodel that is called by its name.
    """
    named, references = given.get("families", ()), tuple(given.get("hypermodel", ()))
    own = own_families(references)
    if set(named) - {*FAMILIES, *own}:
        installed = installed_families()
        references += tuple(f"{name}={installed[name]}" for name in named if name in installed and name not in own)
        own = own_families(references)
    if not own:
        return dict(given)
    families = (*named, *(family for family in own if family not in named))
    return {**given, "families": families, "hypermodel": references}


def stem_of(settings: Settings) -> str:
    """What the data is called in the name of a folder."""
    # Of letters, only those of ASCII: any other may mean something else to another file system.
    whole = re.split("[?#]", settings.data)[0] if is_remote(settings.data) else settings.data
    kept = "".join(c if c.isascii() and c.isalnum() else "-" for c in Path(whole).name or "run")
    return kept.strip("-")[:60] or "run"


def taken(folder: Path) -> bool:
    """Whether a run folder is in use; that of a driver killed before it wrote settings is empty or holds its lock."""
    return folder.exists() and not {path.name for path in folder.iterdir() if path.suffix != ".part"} <= {"lock"}


def place_of_run(place: str | Path, given: Mapping[str, Any]) -> Path:
    """The folder here of a run that is named by its folder or by the address of its mirror."""
    if not is_remote(str(place)):
        return Path(place)
    from search.record.offsite import checked, local_folder

    return local_folder(checked(str(place), "--resume"), Path(given.get("cache_dir") or default_cache()))


def going_on(place: str | Path, given: Mapping[str, Any], option: str) -> tuple[Path, dict[str, Any]]:
    """The folder of a run that goes on, fetched where the address of its mirror is given, and what is given beside it.

    Raises OSError for a run that cannot be fetched, and where its folder here has rows that the mirror lacks.
    """
    given = dict(given)
    folder = place_of_run(place, given)
    if is_remote(str(place)):
        from search.record.offsite import bring_back, checked

        address = checked(str(place), option)
        given["offsite"] = address.rpartition("/")[0]
        bring_back(
            address, Path(given.get("cache_dir") or default_cache()), lambda line: print(line, flush=True), option
        )
    elif "runs_dir" in given and is_remote(given["runs_dir"]):
        from search.record.offsite import checked

        given["offsite"] = checked(given.pop("runs_dir"), "--runs-dir")
    elif "runs_dir" in given and Path(given["runs_dir"]).resolve() == folder.resolve().parent:
        given["offsite"] = ""
        del given["runs_dir"]
    return folder, given


def extended(folder: Path, given: Mapping[str, Any]) -> Settings:
    """The settings of a run that is resumed with more trials than it had: `trials` are those to add to each family."""
    from results.rows import read_rows

    moved = {name: given[name] for name in ("data",) if name in given}
    saved = continued(folder, moved, "--extend")
    more = given.get("trials")
    if saved.trials is None:
        raise ValueError(
            f"--extend adds --trials to a run that was given --trials, and `{folder}` was given time: go on with "
            f"--resume {folder} and a --time-budget longer than its {saved.time_budget or 0:.0f} s"
        )
    if more is None:
        raise ValueError("--extend needs --trials, the number of configurations to add to each family")
    if more < 1:
        raise ValueError(f"--extend needs --trials of 1 or more, the configurations to add to each family, got {more}")
    settings = continued(folder, {**given, "trials": saved.trials + more}, "--extend")
    rows = folder / "trials.jsonl"
    spent = read_rows(rows).seconds if rows.exists() else 0.0
    if settings.time_budget is not None and spent >= settings.time_budget:
        raise ValueError(
            f"--extend needs a --time-budget longer than the {spent:.0f} s that the whole run has taken so far, got "
            f"{settings.time_budget:.0f} s"
        )
    return settings


def continued(folder: Path, given: Mapping[str, Any], option: str = "--resume") -> Settings:
    """The settings of a run that is resumed: those it was begun with, and what may change of them.

    Raises ValueError or OSError that names the way out for a run whose data is not where it was.
    """
    given = with_space(given)
    path = folder / "settings.json"
    if not path.is_file():
        raise FileNotFoundError(f"{option} needs the folder of a run, and there is no `{path}`")
    try:
        saved = saved_settings(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"`{path}` is not what a search wrote: {error}") from error
    here = folder.resolve()
    # Runs of earlier versions kept paths as they were given, relative to the folder where the search was started.
    paths = placed({name: getattr(saved, name) for name in PATHS}, *started_in(here, saved.runs_dir), Path.cwd())
    saved = replace(saved, **{**paths, "runs_dir": str(here.parent), "name": here.name})
    named = placed(given).get("from_run", saved.from_run)
    if named != saved.from_run:
        was = f"goes on from `{saved.from_run}`" if saved.from_run else "goes on from no run"
        raise ValueError(f"{option} takes no --from but that of its run, which {was}, got `{named}`")
    settings = resumed(saved, placed(searched(given) if "hypermodel" in given else given))
    if settings.data not in PATHS["data"] and not is_elsewhere(settings.data) and not Path(settings.data).exists():
        raise FileNotFoundError(
            f"{option} needs the data that the run was begun with, and there is nothing at `{settings.data}`; if it "
            f"lies elsewhere now, say where: {option} {shlex.quote(str(folder))} DATA"
        )
    if settings.data != saved.data and not (folder / "split.json").exists():
        raise ValueError(
            f"{option} knows data that was moved by what `split.json` says of it, and there is no "
            f"`{folder / 'split.json'}`: `data` needs to be `{saved.data}`, got `{settings.data}`"
        )
    return settings


def started_in(run: Path, runs_dir: str) -> list[Path]:
    """The folder in which the search of a run was started, if its relative `runs_dir` still leads from there to it."""
    below = Path(runs_dir).parts
    if Path(runs_dir).is_absolute() or ".." in below or run.parent.parts[len(run.parent.parts) - len(below) :] != below:
        return []
    return [Path(*run.parent.parts[: len(run.parent.parts) - len(below)])]
