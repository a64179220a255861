"""Pedigree under one name: `pedigree.search`, `pedigree.spaces`, `pedigree.models` and `pedigree.results`.

    run = pedigree.search("photos", time_budget="30m")   # as `python search/run.py photos --time-budget 30m`
    run = pedigree.open("runs/NAME")
    run.best, run.families, run.trials, run.epochs, run.report, run.predict("photo.jpg"), run.model()
    pedigree.explore("photos"), pedigree.compare([run, "runs/OTHER"])

In the repository these rooms stand side by side and import each other as `search.run` or `models.sizes`. Installed
they must not take such names, to which the user's own `models.py` has a right. So an import of a room that is written
in a file of a room means the room of this package; everybody else's `import models` means what it always did.
"""

import builtins
import importlib
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any

__version__ = "0.1.0"
ROOMS = ("search", "spaces", "models", "results")


def unsupported() -> str:
    """Why Pedigree cannot run on this system, in a sentence; empty where it can."""
    windows = (
        "needs Linux or macOS; on Windows, run it inside WSL: `wsl --install`, then the same commands in its shell"
    )
    return windows if sys.platform == "win32" else ""


def _import(
    name: str,
    globals: Mapping[str, object] | None = None,
    locals: Mapping[str, object] | None = None,
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> ModuleType:
    """What an import statement calls in a file of a room."""
    room = name.partition(".")[0]
    if level or room not in ROOMS:
        return builtins.__import__(name, globals, locals, fromlist or (), level)
    module = builtins.__import__(f"{__name__}.{name}", globals, locals, fromlist or (), level)
    # `import search.run` binds the room.
    return module if fromlist else sys.modules[f"{__name__}.{room}"]


# CPython takes what import statements call from the `__builtins__` of their file. The files stay as they are, and so do
# their compiled forms, which both names share.
_BUILTINS: dict[str, Any] = {**vars(builtins), "__import__": _import}


class _Loader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__builtins__"] = _BUILTINS
        super().exec_module(module)


class _Finder(MetaPathFinder):
    """Finds the modules of the rooms where any would, and has them loaded so."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, name = fullname.partition(".")
        if package != __name__ or name.partition(".")[0] not in ROOMS:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


sys.meta_path.insert(0, _Finder())

# What Python users call, and where it stands; loaded when it is asked for, since a search imports Ray.
_INTERFACE = {"open": "open_run", "explore": "explore", "compare": "compare", "Run": "Run"}


def __getattr__(name: str) -> Any:
    if name in ROOMS:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _INTERFACE:
        if why := unsupported():
            raise ImportError(f"pedigree {why}")
        return getattr(importlib.import_module(f"{__name__}.search.interface"), _INTERFACE[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *ROOMS, *_INTERFACE])
