"""Systems other than Linux: what macOS lacks is taken away here, and Windows is told where to go."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import pedigree
from pedigree import __main__ as pedigree_main
from results import __main__ as results_main
from search import cluster

ROOT = Path(__file__).resolve().parent.parent
WINDOWS = "needs Linux or macOS; on Windows, run it inside WSL: `wsl --install`, then the same commands in its shell"

# Takes away what only Linux has, before anything is imported. Nothing can be read below /proc, by whatever call.
LESS = """
import importlib, json, os, sys
from pathlib import Path

del os.sched_getaffinity, os.posix_fallocate

def without_proc(event, given):
    if event == "open" and isinstance(given[0], (str, bytes)) and os.fsdecode(given[0]).startswith("/proc/"):
        raise FileNotFoundError(2, "No such file or directory", given[0])

sys.addaudithook(without_proc)
try:
    Path("/proc/self/cgroup").read_text()
except FileNotFoundError:
    pass
else:
    sys.exit("/proc is still there")
"""

# `fcntl` is missing too, which macOS has. Says what could not be imported, and what the rest comes to.
IMPORTS = """
sys.modules["fcntl"] = None
failed = []
for path in sorted(Path("search").rglob("*.py")):
    module = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
    # What KerasTuner needs of a system, TensorFlow included, is its own affair, and takes seconds.
    if module == "search.studies.hypermodel":
        continue
    try:
        importlib.import_module(module)
    except Exception as error:
        # Extras that need not be installed.
        if getattr(error, "name", "") not in ("mlflow", "wandb"):
            failed.append(f"{module}: {error!r}")
from search import machine
from search.data.cache import _boot, check_folder
from search.training.worker import resident

try:
    check_folder(Path(sys.argv[1]), "--cache-dir")
    refused = ""
except OSError as error:
    refused = str(error)
said = {"failed": failed, "cores": machine.cores(), "memory": machine.memory() > 2**28, "refused": refused}
print(json.dumps({**said, "boot": _boot(), "resident": resident(os.getpid())}))
"""

# A whole look at a folder: pictures are found, split, decoded into arrays under locks, and drawn.
EXPLORES = """
from search.run import main
sys.exit(main([sys.argv[1], "--explore", "--image-sizes", "32", "--runs-dir", sys.argv[2], "--cache-dir", sys.argv[3]]))
"""


def run(program: str, *arguments: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", LESS + program, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_the_search_is_imported_where_there_is_nothing_of_linux(tmp_path: Path) -> None:
    done = run(IMPORTS, tmp_path / "cache")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["failed"] == []
    assert told["cores"] == os.cpu_count()
    assert told["memory"]
    # psutil reads /proc itself on Linux.
    assert (told["boot"], told["resident"]) == ("boot", 0)
    place = tmp_path / "cache"
    rule = f"--cache-dir needs a folder on a file system with file locks, and `{place}` is on one without: "
    assert told["refused"].startswith(rule)


def test_pictures_are_decoded_where_there_is_nothing_of_linux(drawn: Path, tmp_path: Path) -> None:
    done = run(EXPLORES, drawn, tmp_path / "runs", tmp_path / "cache")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "runs").rglob("data.html")] == ["data.html"]
    assert list((tmp_path / "cache").rglob("pixels.npy")) != []


def test_sockets_have_less_room_on_macos(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {}
    for system in ("linux", "darwin"):
        monkeypatch.setattr(sys, "platform", system)
        limits[system] = runpy.run_path(cluster.__file__)["MOST_OF_A_SOCKET"]
    assert limits == {"linux": 107, "darwin": 103}


def test_windows_is_told_to_use_wsl(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert pedigree.unsupported() == ""
    monkeypatch.setattr(sys, "platform", "win32")
    assert pedigree_main.main() == 2
    assert results_main.main(["runs/dogs"]) == 2
    # At once, whatever else is wrong with the command.
    monkeypatch.setattr(sys, "argv", ["search/run.py", "nowhere", "--no-such-option"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "search" / "run.py"), run_name="__main__")
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert said.err.splitlines() == [f"pedigree: {WINDOWS}"] * 3
    assert said.out == ""
    with pytest.raises(ImportError, match=r"^pedigree needs Linux or macOS; on Windows, run it inside WSL"):
        pedigree.open("runs/dogs")
