"""A server that names pictures with a run's delivered model: one page for people, the same answers as JSON."""

import asyncio
import errno
import ipaddress
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from aiohttp import BodyPartReader, ClientError, web

from results.delivery.prediction import Delivered, deliver
from results.markup import beside, embedded, text

TOP = 5  # classes that an answer names, unless the request says otherwise
BLOCK = 2**16  # bytes that are read at a time
NAME_LENGTH = 200
UPLOAD_SECONDS = 60.0  # a request that has not arrived by then is given up
MOST_WAITING = 32  # requests; each may hold its pictures on the disk while others are answered
SHUTDOWN_SECONDS = 5.0
UNNAMED = "picture"  # what a picture is called that came without a name
# The page holds all that it shows, and asks nobody but this server.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src blob: data:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)

Handler = Callable[[Any], Awaitable[Any]]


@dataclass(frozen=True)
class Limits:
    """What a request may bring; raises ValueError for a limit that would let nothing through."""

    megabytes: float = 64.0  # of a whole request
    pictures: int = 100  # in a request
    megapixels: float = 50.0  # of one picture, before it is decoded

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 < value < 1e9:
                raise ValueError(f"needs 0 < limit < 1e9, got {value:g} in `max_{name}`")

    @property
    def bytes(self) -> int:
        return int(self.megabytes * 1e6)

    @property
    def pixels(self) -> int:
        return int(self.megapixels * 1e6)


def serve(
    run_dir: Path,
    *,
    family: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    coverage: float | None = None,
    limits: Limits | None = None,
    say: Callable[[str], None] = print,
    warn: Callable[[str], None] = print,
) -> None:
    """Serves a family's model (the winner's by default) until Ctrl-C or SIGTERM; port 0 takes a free one.

    Raises ValueError or OSError, before the model is loaded, for an address that cannot be had, and as `predict` does
    for a run without a model or thresholds.
    """
    limits = limits or Limits()
    with bound(host, port) as listening:
        loopback = is_loopback(listening.getsockname()[0])
        delivered = deliver(run_dir, family=family, coverage=coverage)
        # A model that answers no picture must not wait for the first client to say so.
        delivered.said(np.zeros((32, 32, 3), np.uint8), 1)
        app = application(delivered, run_dir.resolve().name, limits, only_loopback=loopback)
        listening.listen(128)
        if not loopback:
            warn(
                f"WARNING: {host} can be reached from other machines, and this server asks nobody who they are and "
                "encrypts nothing: put a proxy that does both in front of it, or leave --host out"
            )
        say(f"the model of {delivered.family} of `{run_dir}` at {address(listening)} (Ctrl-C ends it)")
        web.run_app(app, sock=listening, print=None, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)


def bound(host: str, port: int) -> socket.socket:
    """A socket that has the address, and does not listen yet; raises ValueError or OSError that say what to change."""
    if not 0 <= port <= 65535:
        raise ValueError(f"needs 0 <= port <= 65535, got {port} in `port`")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError):
        raise ValueError(f"needs a name or an address of this machine, got {host!r} in `host`") from None
    kind, _, _, _, place = found[0]
    listening = socket.socket(kind, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(place)
    except OSError as error:
        listening.close()
        reasons = {
            errno.EADDRINUSE: "it is taken; choose another with --port, or --port 0 for one that is free",
            errno.EADDRNOTAVAIL: "this machine has no such address",
            errno.EACCES: "ports below 1024 need rights that you do not have; choose another with --port",
        }
        said = reasons.get(error.errno or 0, error.strerror)
        raise OSError(f"port {port} of {host} cannot be had: {said}") from error
    return listening


def address(listening: socket.socket) -> str:
    """Where a browser on this machine finds a socket."""
    host, port = listening.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether a name or an address of a host means this machine and can mean no other."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def application(delivered: Delivered, run: str, limits: Limits, *, only_loopback: bool = True) -> Any:
    """The server as an application of aiohttp: `/`, `/predict` and `/health`.

    With `only_loopback` a request for any other host is refused: a page of the web whose name leads to this machine
    (DNS rebinding) could else read the answers.
    """
    serving = _Serving(delivered, run, limits)
    checks = [web.middleware(_told)]
    if only_loopback:
        checks.append(web.middleware(_of_this_machine))
    app = web.Application(middlewares=checks)
    app.router.add_get("/", serving.page)
    app.router.add_get("/health", serving.health)
    app.router.add_post("/predict", serving.predict)
    app.on_cleanup.append(serving.close)
    return app


def page(delivered: Delivered, run: str, limits: Limits) -> str:
    """The page, which needs no other file."""
    about = {"threshold": delivered.threshold, "megabytes": limits.megabytes, "family": delivered.family}
    about |= {"several": True} if delivered.cuts else {}
    words = {"RUN": text(run), "FAMILY": text(delivered.family), "CLASSES": text(len(delivered.classes))}
    content = beside("serve.html")
    for name, value in {**words, "ABOUT": embedded(about)}.items():
        content = content.replace(f"{{{{{name}}}}}", value)
    return content


class _Refused(Exception):
    """A request that gets no answer: its HTTP status, and why."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class _Serving:
    """The model behind the requests: one thread answers picture after picture, in the order in which they come.

    A request hands over one picture at a time, so that a large one keeps nobody waiting. The model uses all cores for
    a picture, and no more than one is decoded in memory.
    """

    def __init__(self, delivered: Delivered, run: str, limits: Limits) -> None:
        self._delivered = delivered
        self._run = run
        self._limits = limits
        self._page = page(delivered, run, limits)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._waiting = 0

    async def close(self, app: Any) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def page(self, request: Any) -> Any:
        return web.Response(text=self._page, content_type="text/html", headers={"Content-Security-Policy": POLICY})

    async def health(self, request: Any) -> Any:
        told: dict[str, Any] = {"status": "ok", "run": self._run, "family": self._delivered.family}
        told |= {"thresholds": list(self._delivered.cuts)} if self._delivered.cuts else {}
        return web.json_response({**told, "classes": self._delivered.classes, "threshold": self._delivered.threshold})

    async def predict(self, request: Any) -> Any:
        top = self._top(request)
        if self._waiting >= MOST_WAITING:
            raise _Refused(503, f"{MOST_WAITING} requests are waiting already; try again in a second")
        self._waiting += 1
        try:
            with tempfile.TemporaryDirectory(prefix="pedigree-serve-") as folder:
                try:
                    async with asyncio.timeout(UPLOAD_SECONDS):
                        pictures = await self._received(request, Path(folder))
                except TimeoutError:
                    raise _Refused(408, f"the request did not arrive within {UPLOAD_SECONDS:g} seconds") from None
                except (ValueError, AssertionError, ClientError, ConnectionError) as error:
                    # What aiohttp raises for a form that is none, and for a client that goes away.
                    said = " ".join(str(error).split())[:200]
                    raise _Refused(400, f"the request cannot be read: {said}") from error
                answers = [await self._answer(path, name, top) for path, name in pictures]
        finally:
            self._waiting -= 1
        unread = [f"{answer['picture']}: {answer['error']}" for answer in answers if "error" in answer]
        why = {"error": "; ".join(unread)} if unread else {}
        return _json({**why, "pictures": answers}, status=400 if unread else 200)

    async def _answer(self, path: Path, name: str, top: int) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        pixels = self._limits.pixels
        return await loop.run_in_executor(self._thread, self._delivered.answer, path, name, top, pixels)

    def _top(self, request: Any) -> int:
        wanted = request.query.get("top", str(TOP))
        if not (wanted.isascii() and wanted.isdigit() and int(wanted[:9]) >= 1):
            raise _Refused(400, f"needs 1 class or more to show, got {wanted[:80]!r} in `top`")
        return int(wanted[:9])

    async def _received(self, request: Any, folder: Path) -> list[tuple[Path, str]]:
        """The files of a request, on the disk, with the names that the client gave them."""
        if (request.content_length or 0) > self._limits.bytes:
            raise self._too_large()
        left = self._limits.bytes
        pictures: list[tuple[Path, str]] = []
        async for name, blocks in _files(request):
            if len(pictures) == self._limits.pictures:
                raise _Refused(413, f"a request may bring {self._limits.pictures:,} pictures, and this one has more")
            # Under a name of ours: the client's is only shown.
            path = folder / str(len(pictures))
            with path.open("wb") as file:
                async for block in blocks:
                    left -= len(block)
                    if left < 0:
                        raise self._too_large()
                    file.write(block)
            pictures.append((path, name[-NAME_LENGTH:]))
        if not pictures:
            raise _Refused(400, "needs a picture, as a file of multipart/form-data or as the whole body, got none")
        return pictures

    def _too_large(self) -> _Refused:
        return _Refused(413, f"a request may have {self._limits.megabytes:g} MB, and this one is larger")


async def _files(request: Any) -> AsyncIterator[tuple[str, AsyncIterator[bytes]]]:
    """The names and contents of a request's files: those of a form, or its whole body."""
    if not request.content_type.startswith("multipart/"):
        if request.can_read_body:
            yield request.query.get("name") or UNNAMED, request.content.iter_chunked(BLOCK)
        return
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader):
            raise _Refused(400, "needs a form with files, got a form within a form")
        if part.filename is None:
            raise _Refused(400, f"needs files only, got the field {(part.name or '')[:80]!r} without a file name")
        yield part.filename or UNNAMED, _blocks(part)


async def _blocks(part: Any) -> AsyncIterator[bytes]:
    while block := await part.read_chunk(BLOCK):
        yield bytes(block)


async def _told(request: Any, handler: Handler) -> Any:
    """Every answer with its headers, and every refusal as JSON."""
    try:
        response = await handler(request)
    except _Refused as refused:
        response = _json({"error": str(refused)}, status=refused.status)
        if refused.status == 503:
            response.headers["Retry-After"] = "1"
    except web.HTTPException as refused:
        known = "GET /, GET /health and POST /predict"
        said = f"there are {known}, got {request.method} {request.path[:80]}"
        response = _json({"error": said}, status=refused.status)
        if "Allow" in refused.headers:
            response.headers["Allow"] = refused.headers["Allow"]
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cache-Control"] = "no-store"
    return response


async def _of_this_machine(request: Any, handler: Handler) -> Any:
    host = request.host.rpartition(":")[0] if request.host.rpartition(":")[2].isdigit() else request.host
    if not is_loopback(host):
        raise _Refused(403, f"needs a request for localhost or a loopback address, got one for {host[:80]!r}")
    return await handler(request)


def _json(told: dict[str, Any], status: int) -> Any:
    return web.json_response(told, status=status)
