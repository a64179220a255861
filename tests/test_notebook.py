"""The notebook of the examples: small, sound, and still true."""

import ast
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "examples" / "dog_breeds.ipynb"
LARGEST = 300_000  # bytes, with its pictures
PATIENCE = 900  # seconds for a cell
BUDGET = 'time_budget="3m"'


def cells(notebook: dict[str, Any], kind: str) -> list[str]:
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == kind]


def test_the_notebook_is_small_and_its_code_is_sound() -> None:
    assert NOTEBOOK.stat().st_size < LARGEST
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    for source in cells(notebook, "code"):
        ast.parse(source)
    told = [output for cell in notebook["cells"] for output in cell.get("outputs", ())]
    assert told, "the notebook shows what came out"
    assert not [output for output in told if output["output_type"] == "error"]
    # Nothing of the machine that it was run on.
    assert not any(place in NOTEBOOK.read_text(encoding="utf-8") for place in ("/home/", "/root/", "/tmp/", "/work/"))


@pytest.mark.slow
@pytest.mark.alone
def test_the_notebook_runs_and_names_the_families(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat", reason="needs nbclient: pip install -e '.[notebook]'")
    nbclient = pytest.importorskip("nbclient", reason="needs nbclient: pip install -e '.[notebook]'")
    pytest.importorskip("ipykernel", reason="needs ipykernel: pip install -e '.[notebook]'")
    shutil.copy(NOTEBOOK, tmp_path)
    monkeypatch.setenv("PEDIGREE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}".rstrip(os.pathsep))
    notebook = nbformat.read(tmp_path / NOTEBOOK.name, as_version=4)
    searching = [cell for cell in notebook.cells if BUDGET in cell.source]
    assert len(searching) == 1
    # Every cell runs as it stands, but for how long is searched.
    searching[0].source = searching[0].source.replace(BUDGET, 'time_budget="60s"')
    nbclient.NotebookClient(
        notebook, timeout=PATIENCE, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    (found,) = [cell for cell in notebook.cells if cell.source.startswith("run.families")]
    table = found.outputs[0]["data"]["text/plain"]
    assert all(family in table for family in ("scratch_pillow", "scratch_keras", "mobilenet"))
    assert (tmp_path / "runs" / "study" / "report.html").is_file()
