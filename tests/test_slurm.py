"""`deploy/slurm.sh` to the letter on two hosts of this machine, each with its own network, processes and Ray folder."""

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
SMALL = "--families scratch_pillow --trials 4 --epochs 1 --image-sizes 32 --final-seeds 1 --name slurm"

# Makes the hosts 10.77.0.1 and 10.77.0.2 and runs a command on the first, as `sbatch` does.
SBATCH = """
set -eu
mount -t tmpfs none /run
mkdir /run/netns
ip link add near type veth peer name far
number=1
for end in near far; do
    ip netns add "host$number"
    ip link set "$end" netns "host$number"
    ip -n "host$number" addr add "10.77.0.$number/24" dev "$end"
    ip -n "host$number" link set "$end" up
    ip -n "host$number" link set lo up
    number=$((number + 1))
done
exec ip netns exec host1 bash "$@"
"""

# What Slurm's two programs do that the script calls: the names of the hosts, and the same command on each of them. A
# host ends with its command, as a step of Slurm does.
SCONTROL = "#!/bin/sh\nprintf '10.77.0.1\\n10.77.0.2\\n'\n"
SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do shift; done
steps=()
for number in 1 2; do
    ip netns exec "host$number" unshare --pid --mount --fork --mount-proc --kill-child bash -c '
        mkdir -p /tmp/ray && mount -t tmpfs none /tmp/ray && mount --bind "$0" "$PEDIGREE_CACHE" && "$@" & wait $!
    ' "$STEPS/disk$number" "$@" >"$STEPS/$number.out" 2>&1 &
    steps+=($!)
done
code=0
for step in "${steps[@]}"; do wait "$step" || code=$?; done
exit $code
"""


def missing() -> str:
    """What this machine lacks for this test, by name."""
    programs = [name for name in ("unshare", "ip", "mount") if shutil.which(name) is None]
    if os.geteuid():
        programs.append("root")
    tried = [*NAMESPACES, "bash", "-c", SBATCH, "sbatch", "-c", "true"]
    if not programs and subprocess.run(tried, capture_output=True).returncode:
        programs.append("the right to make hosts in namespaces")
    return ", ".join(programs)


@pytest.mark.slow
@pytest.mark.skipif(bool(missing()), reason=f"needs {missing()}")
def test_a_slurm_job_searches_on_all_of_its_nodes(drawn: Path, tmp_path: Path) -> None:
    home, programs, steps = tmp_path / "home", tmp_path / "bin", tmp_path / "steps"
    for folder in (home, programs, steps, steps / "disk1", steps / "disk2", tmp_path / "cache"):
        folder.mkdir()
    # What `deploy/install.sh` would make.
    (home / "pedigree-env").symlink_to(sys.prefix)
    for name, text in {"scontrol": SCONTROL, "srun": SRUN}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment = {
        **inherited, "HOME": str(home), "PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT),
        "KERAS_BACKEND": backend(), "PEDIGREE_CACHE": f"{tmp_path}/cache", "STEPS": str(steps), "SLURM_JOB_ID": "4711",
        "SLURM_JOB_NODELIST": "host[1-2]", "SLURM_JOB_NUM_NODES": "2", "SLURM_CPUS_PER_TASK": "1",
    }  # fmt: skip
    job = [str(ROOT / "deploy" / "slurm.sh"), str(drawn), *SMALL.split(), "--runs-dir", str(tmp_path / "runs")]
    done = subprocess.run(
        [*NAMESPACES, "bash", "-c", SBATCH, "sbatch", *job], env=environment, capture_output=True, text=True
    )
    said = [(steps / f"{number}.out").read_text() for number in (1, 2)]
    assert done.returncode == 0, f"{done.stderr}\n{said}"
    assert "On head node" in said[0]
    assert "On worker node" in said[1]
    folder = tmp_path / "runs" / "slurm"
    assert json.loads((folder / "environment.json").read_text())["devices"] == {"cpus": 2, "gpus": 0, "nodes": 2}
    assert json.loads((folder / "results.json").read_text())["families"]["scratch_pillow"]["finished"] == 4
    assert (folder / "report.html").exists()
    # Every trial of this family needs pictures that are treated on its own node.
    assert (steps / "disk1" / "treated").exists()
    assert (steps / "disk2" / "treated").exists()
    assert (home / ".ray" / "auth_token").exists()
