"""A machine of its own for the cluster launcher: `python tests/loopback.py HOME COMMAND` inside fresh namespaces.

`ray up` and `ray down` end every Ray process that they see, and use fixed ports: here they see only what they started
themselves. An ssh server on this loopback logs root in with a key of its own, into HOME. What the command starts ends
with the namespace.
"""

import fcntl
import os
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

NAMESPACES = ("unshare", "--pid", "--net", "--fork", "--mount-proc", "--kill-child")

SERVER = """\
Port 22
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
SetEnv HOME={home}
"""


def main(home: Path, command: list[str]) -> int:
    """Runs a command beside an ssh server; the command finds the key in KEY and has HOME for its home as well."""
    folder = home.with_name(f"{home.name}-ssh")
    folder.mkdir()
    for name in ("host_key", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    (folder / "sshd_config").write_text(SERVER.format(folder=folder, home=home))
    # The names of running clusters are kept there, for everybody on the machine.
    Path("/tmp/ray").mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", "/tmp/ray"], check=True)
    Path("/run/sshd").mkdir(exist_ok=True)
    raise_loopback()
    server = subprocess.Popen(
        ["/usr/sbin/sshd", "-D", "-e", "-f", folder / "sshd_config"], stderr=(folder / "log").open("w")
    )
    try:
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", 22)) == 0:
                    break
            if server.poll() is not None:
                print((folder / "log").read_text(), file=sys.stderr)
                return 3
            time.sleep(0.05)
        # A Ray that was started before has left word in the environment that tokens are used; here there is none yet.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
        environment = {**inherited, "HOME": str(home), "KEY": str(folder / "key")}
        running = subprocess.Popen(command, env=environment)
        # The first process of a namespace is the parent of all orphans: unless it asks for them, they stay as zombies.
        while True:
            process, status = os.wait()
            if process == running.pid:
                return os.waitstatus_to_exitcode(status)
    finally:
        server.terminate()


def raise_loopback() -> None:
    """What `ip link set lo up` does."""
    with socket.socket() as control:
        request = struct.pack("16sh", b"lo", 0)
        (flags,) = struct.unpack("16xh", fcntl.ioctl(control, 0x8913, request))  # SIOCGIFFLAGS
        fcntl.ioctl(control, 0x8914, struct.pack("16sh", b"lo", flags | 1))  # SIOCSIFFLAGS, IFF_UP


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), sys.argv[2:]))
