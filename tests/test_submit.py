"""`ray up`, `ray submit`, `ray job submit` and `ray down`, to the letter, on a machine of their own."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from results.delivery.framework import backend
from tests.loopback import NAMESPACES

ROOT = Path(__file__).resolve().parent.parent
SMALL = "--families scratch_keras --trials 1 --epochs 1 --image-sizes 32 --final-seeds 1"


def missing() -> str:
    """What this machine lacks for these tests, by name."""
    programs = [name for name in ("unshare", "ssh", "ssh-keygen", "rsync", "mount") if shutil.which(name) is None]
    if not Path("/usr/sbin/sshd").exists():
        programs.append("sshd (openssh-server)")
    if importlib.util.find_spec("aiohttp_cors") is None:
        programs.append("ray[default] (pip install 'pedigree[cluster]')")
    if os.geteuid():
        programs.append("root")
    elif not programs and subprocess.run([*NAMESPACES, "true"], capture_output=True).returncode:
        programs.append("the right to make namespaces")
    return ", ".join(programs)


pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=f"needs {missing()}")]


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory, drawn: Path) -> Path:
    """The folder with what each command said (`NAME.out`), its exit code (`NAME.code`), and the user's home."""
    place = tmp_path_factory.mktemp("submit")
    home = place / "home"
    home.mkdir()
    # The environment that `setup_commands` would make: they find it there and install nothing.
    (home / "pedigree-env").symlink_to(sys.prefix)
    # sshd starts in the home that the system knows, whatever HOME says, and hands no variables on.
    (home / ".bashrc").write_text(f"export KERAS_BACKEND={backend()}\ncd\n")
    text = (ROOT / "cluster.local.yaml").read_text()
    described = text.replace("# ssh_private_key: ~/.ssh/id_ed25519", f"ssh_private_key: {place}/home-ssh/key")
    assert described != text
    (place / "cluster.local.yaml").write_text(described)
    job = "ray job submit --address http://127.0.0.1:8265 --working-dir . -- python search/run.py"
    commands = {
        "up": f"ray up -y {place}/cluster.local.yaml",
        "submit": f"ray submit {place}/cluster.local.yaml search/run.py -- {drawn} {SMALL} --name submitted",
        "job": f"{job} {drawn} {SMALL} --name job --runs-dir {home}/runs",
        "failing": f"{job} {home}/nowhere --runs-dir {home}/runs",
        "down": f"ray down -y {place}/cluster.local.yaml",
        "left": "ps -eo args",
    }
    lines = [
        f"({command}) > {place}/{name}.out 2>&1; echo $? > {place}/{name}.code" for name, command in commands.items()
    ]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    finished = subprocess.run(
        [*NAMESPACES, sys.executable, ROOT / "tests" / "loopback.py", home, "bash", "-c", "\n".join(lines)],
        cwd=ROOT, env={**os.environ, "PATH": path, "PEDIGREE_CACHE": f"{place}/cache"}, capture_output=True, text=True,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    return place


def outcome(place: Path, name: str) -> tuple[int, str]:
    return int((place / f"{name}.code").read_text()), (place / f"{name}.out").read_text()


def test_up_starts_a_head_that_runs_from_the_copied_project(said: Path) -> None:
    code, text = outcome(said, "up")
    assert code == 0, text
    assert (said / "home" / "pedigree" / "search" / "run.py").exists()
    assert not (said / "home" / "pedigree" / ".git").exists()


def test_submit_runs_a_search_on_the_cluster_to_its_report(said: Path) -> None:
    code, text = outcome(said, "submit")
    assert code == 0, text
    folder = said / "home" / "runs" / "submitted"
    assert (folder / "report.html").exists()
    assert json.loads((folder / "results.json").read_text())["winner"] == "scratch_keras"
    assert "Ray's dashboard: http://127.0.0.1:8265" in text


def test_job_gives_its_log_and_exit_code_zero(said: Path) -> None:
    code, text = outcome(said, "job")
    assert code == 0, text
    assert "4 classes, 60 train, 16 validation, 20 test pictures" in text
    assert "succeeded" in text
    assert (said / "home" / "runs" / "job" / "report.html").exists()


def test_job_of_a_search_that_cannot_start_says_why_and_fails(said: Path) -> None:
    code, text = outcome(said, "failing")
    assert code == 1
    assert f"{said}/home/nowhere" in text
    assert "exit code 2" in text


def test_down_leaves_nothing_running(said: Path) -> None:
    code, text = outcome(said, "down")
    assert code == 0, text
    # The shell that this list was written by holds every command's text, and so does its parent.
    others = [
        line for line in outcome(said, "left")[1].splitlines() if "loopback.py" not in line and "(ray up" not in line
    ]
    signs = ("raylet", "gcs_server", "ray::", "dashboard", "run.py", "search.training.worker")
    assert [line for line in others if any(sign in line for sign in signs)] == []
