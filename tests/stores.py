"""An object store on the loopback, and what tests put there."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest

MOTO = shutil.which("moto_server") is not None
LACKING = "needs the object store moto: pip install 'moto[server]'"


@contextmanager
def serving(bucket: str) -> Iterator[tuple[str, int]]:
    """The address of an object store of one's own with a bucket, and its process; the environment leads to it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}.items():
            patch.setenv(name, value)
        with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as probe:
            port = probe.server_port
        server = subprocess.Popen(
            ["moto_server", "-H", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        address = f"http://127.0.0.1:{port}"
        patch.setenv("AWS_ENDPOINT_URL", address)
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        try:
            for _ in range(600):
                try:
                    put(address, bucket, b"")
                    break
                except URLError:
                    assert server.poll() is None
                    time.sleep(0.1)
            yield address, server.pid
        finally:
            server.terminate()
            server.wait()


def put(store: str, name: str, content: bytes) -> None:
    headers = {"Content-Type": "application/octet-stream"}
    with urlopen(Request(f"{store}/{name}", data=content, method="PUT", headers=headers)) as answer:
        answer.read()


def upload(store: str, root: Path, place: str) -> str:
    """Puts the files of a folder below BUCKET/PREFIX; the address."""
    for path in sorted(root.rglob("*")):
        if path.is_file():
            put(store, f"{place}/{path.relative_to(root).as_posix()}", path.read_bytes())
    return f"s3://{place}"
