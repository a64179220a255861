import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# From the ground up: a file imports what stands on its own floor and on those before it, and nothing else of ours.
# fmt: off
FLOORS = (
    "models", "spaces",
    "results.terminal", "results.rows", "results.records", "results.markup", "results.analysis", "results.drawing",
    "results.delivery", "results.pages", "results.run", "results.commands", "results.__main__", "results.__init__",
    "search.home", "search.narrowing", "search.settings", "search.machine", "search.data", "search.record",
    "search.training", "search.studies", "search.cluster", "search.schedule", "search.progress", "search.explore",
    "search.starting", "search.parsing", "search.run", "search.commands", "search.interface",
)
# fmt: on


def floor(module: str) -> int:
    """The number of the floor that a module stands on; the empty `__init__` of a room stands with its room."""
    whole = f"{module}.__init__" if module in ("results", "search") else module
    return next((n for n, room in enumerate(FLOORS) if f"{whole}.".startswith(f"{room}.")), -1)


def imported(path: Path) -> list[str]:
    """The modules that a file names in its imports, those inside functions too; type checkers' alone are left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        if id(node) in typing:
            continue
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written whole"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


@pytest.mark.parametrize("room", ["results", "models", "spaces", "search"])
def test_imports_go_down_floors_only(room: str) -> None:
    climbing = []
    for path in sorted((ROOT / room).rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        here = floor(module)
        if module == "search":
            # It hands on to its interface when it is called.
            continue
        assert here >= 0, f"{module} stands on no floor"
        climbing += [f"{module} -> {other}" for other in imported(path) if floor(other) > here]
    assert climbing == []
