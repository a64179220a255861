"""Ray's dashboard in a browser while a search runs."""

import asyncio
import base64
import contextlib
import importlib.util
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
PATIENCE = 90.0  # seconds for a page to show what it is waited for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium, found no browser to open the dashboard in"),
    pytest.mark.skipif(
        importlib.util.find_spec("aiohttp_cors") is None, reason="needs ray[default] (pip install 'pedigree[cluster]')"
    ),
]


class Browser:
    """A page of a browser without a window, driven over its debugging port."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._asked = 0

    async def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._asked += 1
        await self._channel.send_json({"id": self._asked, "method": method, "params": parameters})
        while True:
            answer = await self._channel.receive_json()
            if answer.get("id") == self._asked:
                assert "error" not in answer, answer
                return dict(answer["result"])

    async def evaluate(self, script: str) -> Any:
        answer = await self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        return answer["result"].get("value")

    async def open(self, address: str, sign: str) -> str:
        """The text of a page once it shows the sign, or after `PATIENCE`."""
        # Only the part behind the # differs between two pages: without leaving, nothing would be loaded.
        await self.ask("Page.navigate", url="about:blank")
        await self.ask("Page.navigate", url=address)
        until = time.monotonic() + PATIENCE
        text = ""
        while sign not in text and time.monotonic() < until:
            await asyncio.sleep(0.5)
            text = await self.evaluate("document.body ? document.body.innerText : ''") or ""
        return text


@contextlib.asynccontextmanager
async def browser(profile: Path) -> AsyncIterator[Browser]:
    import aiohttp

    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage"]
    flags += ["--disable-background-networking", "--window-size=1500,900", "--remote-debugging-port=0"]
    process = subprocess.Popen(
        [str(CHROMIUM), *flags, f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        port = profile / "DevToolsActivePort"
        while not (port.exists() and port.read_text()):
            assert process.poll() is None
            await asyncio.sleep(0.1)
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port.read_text().split()[0]}/json") as answer:
                tabs = await answer.json()
            address = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
            async with session.ws_connect(address, max_msg_size=0) as channel:
                yield Browser(channel)
    finally:
        process.terminate()
        process.wait()


async def look(dashboard: str, token: str, run: str, folder: Path) -> dict[str, str]:
    """What the dashboard says before and after logging in; the pages with the run's name are kept as pictures."""
    async with browser(folder / "profile") as page:
        seen = {"locked": await page.open(dashboard, "token")}
        login = f"fetch('/api/authenticate', {{method: 'POST', headers: {{Authorization: 'Bearer {token}'}}}})"
        assert await page.evaluate(f"{login}.then(answer => answer.status)") == 200
        for name in ("jobs", "actors"):
            seen[name] = await page.open(f"{dashboard}/#/{name}", run)
            picture = await page.ask("Page.captureScreenshot", format="png")
            (folder / f"{name}.png").write_bytes(base64.b64decode(picture["data"]))
        return seen


def test_the_dashboard_shows_a_running_search_by_its_name_to_whoever_has_the_token(drawn: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    options = {
        "--families": "scratch_keras", "--trials": "500", "--image-sizes": "32", "--name": "watched",
        "--dashboard": address, "--runs-dir": str(tmp_path / "runs"), "--cache-dir": str(tmp_path / "cache"),
    }  # fmt: skip
    command = [sys.executable, "search/run.py", str(drawn), *(part for pair in options.items() for part in pair)]
    log = tmp_path / "log"
    with log.open("w") as out:
        search = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT)
    try:
        rows = tmp_path / "runs" / "watched" / "trials.jsonl"
        while not (rows.exists() and '"epoch"' in rows.read_text()):
            assert search.poll() is None, log.read_text()
            time.sleep(0.2)
        assert f"Ray's dashboard: http://{address}" in log.read_text()
        token = subprocess.run(
            [sys.executable, "-m", "ray.scripts.scripts", "get-auth-token"], capture_output=True, text=True, check=True
        ).stdout.split()[-1]
        seen = asyncio.run(look(f"http://{address}", token, "pedigree-watched", tmp_path))
    finally:
        search.send_signal(signal.SIGINT)
        search.wait(timeout=120)
    assert "pedigree-watched" not in seen["locked"]
    assert "token" in seen["locked"]
    assert "pedigree-watched" in seen["jobs"]
    assert "RUNNING" in seen["jobs"]
    assert "pedigree-watched" in seen["actors"]
    assert "ALIVE" in seen["actors"]
    assert (tmp_path / "jobs.png").stat().st_size > 10_000
    assert search.returncode == 130, log.read_text()
    assert json.loads((tmp_path / "runs" / "watched" / "settings.json").read_text())["dashboard"] == address
