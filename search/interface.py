"""Pedigree from Python: what the command line does, with every setting by the same name, and errors as exceptions."""

import argparse
import base64
import contextlib
import difflib
import hashlib
import importlib.util
import inspect
import textwrap
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from results.pages.comparison import write_comparison
from results.run import Run
from search import parsing, run, starting
from search.narrowing import canonical, written
from search.settings import DEMO, Settings, default_cache, is_remote

__all__ = ["Run", "compare", "explore", "open_run", "search"]


def search(data: str | Path = DEMO, **settings: Any) -> Run:
    """Searches image classifiers and returns the run, as `python search/run.py DATA` does.

    `settings` are the options of the command line: `--time-budget 30m` is `time_budget="30m"` or, in seconds, 1800.
    Options of several values take lists, and `set` also a mapping, as the file of `space` holds it. `hypermodel` may
    also be a class, an instance or a function, several of them, or a mapping of these by the name that the family gets.
    With `resume` or `extend` a run goes on.

    Raises ValueError or OSError with the words of the command line, TypeError for a setting that there is none of, and
    KeyboardInterrupt where it was interrupted; the run can be resumed then.
    """
    given = options({"data": data, **settings} if settings.keys().isdisjoint(("resume", "extend")) else settings)
    folder = _folder(given)
    status = run.carry_out(given, time.monotonic(), ["pedigree.search", *_command(given)])
    if status == run.INTERRUPTED:
        raise KeyboardInterrupt
    return Run(folder)


def explore(data: str | Path, **settings: Any) -> Path:
    """Writes a page about the data and searches nothing; its path. `settings` as of `search`."""
    return run.explore(options({"data": data, **settings}))


def compare(runs: list[Run | str | Path], out: str | Path = "compare.html") -> Path:
    """Writes a page that sets runs side by side; its path."""
    return write_comparison([one.folder if isinstance(one, Run) else _here(one) for one in runs], Path(out))


def open_run(folder: str | Path) -> Run:
    """The run of a folder, or a copy of one from the address of its mirror.

    Raises FileNotFoundError where there is none.
    """
    return Run(_here(folder))


def _here(folder: str | Path) -> Path:
    if not is_remote(str(folder)):
        return Path(folder)
    from search.record.offsite import fetch_run

    return fetch_run(str(folder), Path(default_cache()), print)


def options(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by name, as the command line would have read them.

    Raises TypeError for an unknown name and ValueError for a value that the option would refuse.
    """
    known = {action.dest: action for action in parsing.parser()._actions if action.dest not in ("help", "explore")}
    given = {}
    for name, value in settings.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            raise TypeError(f"there is no setting {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
        if value is not None:
            given[name] = (
                _hypermodels(value, settings.get("runs_dir")) if name == "hypermodel" else _read(known[name], value)
            )
    return given


def _hypermodels(value: Any, runs_dir: str | Path | None) -> tuple[str, ...]:
    """References to the hypermodels that are given as such, as objects or by name."""
    there = Path(runs_dir or Settings.runs_dir)
    # Beside the runs that need them, when they are resumed too.
    folder = (Path(Settings.runs_dir) if is_remote(str(there)) else there) / "hypermodels"
    named = value.items() if isinstance(value, Mapping) else [("", one) for one in _several(value)]
    found: list[str] = []
    for family, one in named:
        texts = parsing.names(one) if isinstance(one, str) else (reference(one, folder),)
        found += [f"{family}={text}" if family else text for text in texts]
    return tuple(found)


def _read(option: argparse.Action, value: Any) -> Any:
    name = option.dest
    if option.nargs == 0:
        if not isinstance(value, bool):
            raise ValueError(f"{name} needs True or False, got {value!r}")
        return value or None
    if name == "set":
        try:
            return (
                written(value) if isinstance(value, Mapping) else tuple(canonical(str(one)) for one in _several(value))
            )
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    kind = option.type if callable(option.type) else str
    if isinstance(value, Run):
        value = value.folder
    if isinstance(value, bool):
        raise ValueError(f"{name} needs a value as on the command line, got {value!r}")
    if kind in (parsing.lasting, parsing.quickness) and isinstance(value, int | float):
        return float(value)
    try:
        if option.nargs == "+":
            return tuple(kind(str(one)) for one in _several(value))
        if isinstance(value, list | tuple):
            value = ",".join(str(one) for one in value)
        return kind(str(value))
    except (argparse.ArgumentTypeError, ValueError) as error:
        raise ValueError(f"{name}: {error}") from None


def _several(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def reference(model: Any, folder: Path) -> str:
    """How a hypermodel, class, instance or function, is named for `--hypermodel`, so that workers can import it.

    What cannot be imported by name, since it was defined in a notebook's cell or within a function, is written into a
    file of `folder` with all that it refers to in its session.

    Raises ValueError for what is no hypermodel, and for what cannot be written.
    """
    name = getattr(model, "__name__", type(model).__name__)
    if not callable(model) and not callable(getattr(model, "build", None)):
        raise ValueError(f"hypermodel needs a class, an instance with a `build` or a function, got {name}")
    if not name.isidentifier():
        raise ValueError(f"hypermodel needs a function with a name, got {name}: give it one by def")
    path = getattr(model, "__qualname__", "")
    if path and "<locals>" not in path:
        if model.__module__ != "__main__" and importlib.util.find_spec(model.__module__) is not None:
            return f"{model.__module__}:{path}"
        with contextlib.suppress(TypeError, OSError):
            file = Path(inspect.getfile(model))
            if file.is_file() and not _of_cell(file):
                return f"{file}:{path}"
    return f"{_written(model, name, folder)}:{name}"


def _of_cell(file: Path) -> bool:
    """Whether a file is the copy that Jupyter keeps of a cell, which is not there for others."""
    return file.parent.name.startswith("ipykernel_")


def _written(model: Any, name: str, folder: Path) -> Path:
    import cloudpickle

    from search.training.own_models import described

    try:
        content = cloudpickle.dumps(model)
    except Exception as error:  # whatever an object of the session does when it is pickled
        raise ValueError(
            f"workers need {name}, and it cannot be taken out of this session ({described(error)}); write it into a "
            "file, for instance with %%writefile models_of_mine.py, and import it from there"
        ) from error
    digest = hashlib.blake2b(content, digest_size=6).hexdigest()
    path = (folder / f"{name}_{digest}.py").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    lines = textwrap.wrap(base64.b64encode(content).decode(), 110)
    path.write_text(
        f'"""`{name}` as it was in the session that began a search with it."""\n\nimport base64\nimport pickle\n\n'
        + f"{name} = pickle.loads(base64.b64decode(\n"
        + "".join(f'    "{line}"\n' for line in lines)
        + "))\n"
    )
    return path


def _folder(given: dict[str, Any]) -> Path:
    """The folder of the run to be; a new one is given its name here."""
    for option in ("resume", "extend"):
        if option in given:
            return starting.place_of_run(given[option], given)
    settings = starting.begun(given)
    given["name"] = settings.name
    return settings.folder


def _command(given: Mapping[str, Any]) -> list[str]:
    """The settings as words, for the record of the run."""
    return [f"{name}={value!r}" for name, value in given.items()]
