"""The server of a run's model: real requests over loopback, and its page in a browser."""

import asyncio
import http.client
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image
from written_run import end_row, epoch_row, start_row, write_rows

from results.__main__ import main
from results.analysis.doubt import COVERAGES

pytest.importorskip("aiohttp", reason="needs aiohttp: pip install '.[serve]'")

from aiohttp import web

from results.delivery import serving
from results.delivery.prediction import Delivered, deliver, predict
from results.delivery.serving import Limits, application, bound, is_loopback

CLASSES = ["red", "green", "blue", "white"]
CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose model tells colours by their mean, with a threshold of 0.6 at every coverage below 1."""
    run = tmp_path_factory.mktemp("colours")
    inputs = keras.Input((None, None, 3), dtype="uint8")
    dense = keras.layers.Dense(4, activation="softmax")
    outputs = dense(keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(inputs)))
    dense.set_weights([np.concatenate([12 * np.eye(3), np.full((3, 1), 6.0)], axis=1), np.zeros(4)])
    (run / "models").mkdir()
    keras.Model(inputs, outputs).save(run / "models" / "scratch_keras.keras")
    trial = "scratch_keras-000"
    table = [[coverage, 0.0 if coverage == 1 else 0.6] for coverage in COVERAGES]
    model = {"event": "model", "time": 101.0, "trial": trial, "family": "scratch_keras", "seed": 0}
    model |= {"path": "models/scratch_keras.keras", "parameters": 16, "bytes": 1, "temperature": 1.0}
    model |= {"thresholds": table, "held_out": 20, "told_by": "the validation pictures"}
    write_rows(run, [start_row(trial), epoch_row(trial, 1, 0.5), end_row(trial, "finished"), model])
    (run / "split.json").write_text(json.dumps({"classes": CLASSES, "levels": {"integer": [0, 4095]}}))
    return run


@pytest.fixture(scope="module")
def delivered(colours: Path) -> Delivered:
    return deliver(colours, coverage=0.95)


@contextmanager
def running(app: Any) -> Iterator[int]:
    """The port on which an application answers."""
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(app, access_log=None)
    listening = bound("127.0.0.1", 0)

    async def start() -> None:
        await runner.setup()
        await web.SockSite(runner, listening).start()

    loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield int(listening.getsockname()[1])
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        loop.close()


@pytest.fixture(scope="module")
def port(delivered: Delivered) -> Iterator[int]:
    with running(application(delivered, "colours", Limits())) as found:
        yield found


def ask(
    port: int, path: str, body: bytes | None = None, kind: str = "", method: str = "POST", **headers: str
) -> tuple[int, Any, Any]:
    """Status, what the JSON (or else the text) says, and headers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, {**({"Content-Type": kind} if kind else {}), **headers})
        answer = connection.getresponse()
        text = answer.read().decode()
        return (
            answer.status,
            json.loads(text) if answer.headers["Content-Type"].startswith("application/json") else (text),
            answer.headers,
        )
    finally:
        connection.close()


def post(port: int, files: list[tuple[str, bytes]], path: str = "/predict") -> tuple[int, Any]:
    """Files as a browser sends them."""
    parts = [
        f'--edge\r\nContent-Disposition: form-data; name="picture"; filename="{name}"\r\n'
        f"Content-Type: image/png\r\n\r\n".encode()
        + content
        + b"\r\n"
        for name, content in files
    ]
    status, told, _ = ask(port, path, b"".join([*parts, b"--edge--\r\n"]), "multipart/form-data; boundary=edge")
    return status, told


def drawn_in(colour: str | tuple[int, int, int], size: tuple[int, int] = (40, 30)) -> bytes:
    content = BytesIO()
    Image.new("RGB", size, colour).save(content, "PNG")
    return content.getvalue()


def test_the_answers_are_those_of_predict(port: int, colours: Path, tmp_path: Path) -> None:
    files = [("r.png", drawn_in("red")), ("g.png", drawn_in((0, 255, 0))), ("night.png", drawn_in("black"))]
    for name, content in files:
        (tmp_path / name).write_bytes(content)
    status, told = post(port, files, "/predict?top=2")
    assert status == 200
    expected = list(predict(colours, [str(tmp_path / name) for name, _ in files], top=2, coverage=0.95))
    assert told == {"pictures": [{**answer, "picture": Path(answer["picture"]).name} for answer in expected]}
    assert [answer["classes"][0]["class"] for answer in told["pictures"]][:2] == ["red", "green"]
    assert [answer["none"] for answer in told["pictures"]] == [False, False, True]
    assert told["pictures"][0]["threshold"] == 0.6


def test_a_body_alone_is_a_picture(port: int) -> None:
    # As `curl --data-binary @FILE` sends it.
    status, told, _ = ask(port, "/predict?name=sea.png", drawn_in("blue"), "application/x-www-form-urlencoded")
    assert (status, told["pictures"][0]["picture"], len(told["pictures"][0]["classes"])) == (200, "sea.png", 4)
    status, told, _ = ask(port, "/predict", drawn_in("blue"), "image/png")
    assert told["pictures"][0]["classes"][0]["class"] == "blue"


def test_deep_pictures_are_read_by_the_range_of_the_run(port: int) -> None:
    told = []
    for level in (4095, 100):
        content = BytesIO()
        Image.fromarray(np.full((20, 20), level, np.uint16)).save(content, "PNG")
        told += post(port, [("scan.png", content.getvalue())])[1]["pictures"]
    assert [(answer["classes"][0]["class"], answer["none"]) for answer in told] == [("white", False), ("white", True)]


def test_a_broken_picture_is_named_and_the_others_are_answered(port: int) -> None:
    status, told = post(port, [("a.png", drawn_in("red")), ("b.png", b"no picture"), ("c.png", drawn_in("red")[:-30])])
    assert status == 400
    assert told["error"].startswith("b.png: not a picture in a format that Pillow reads; c.png: ")
    assert ["error" in answer for answer in told["pictures"]] == [False, True, True]


@pytest.mark.parametrize(
    ("body", "kind", "query", "message"),
    [
        (b"", "", "", "needs a picture, as a file of multipart/form-data or as the whole body, got none"),
        (b"--edge--\r\n", "multipart/form-data; boundary=edge", "", "needs a picture, as a file of multipart"),
        (b"x", "multipart/form-data", "", "the request cannot be read: boundary missed"),
        (b"no form", "multipart/form-data; boundary=edge", "", "the request cannot be read: Could not find starting"),
        (
            b'--edge\r\nContent-Disposition: form-data; name="top"\r\n\r\n3\r\n--edge--\r\n',
            "multipart/form-data; boundary=edge",
            "",
            "needs files only, got the field 'top' without a file name",
        ),
        (b"x", "image/png", "?top=0", "needs 1 class or more to show, got '0' in `top`"),
        (b"x", "image/png", "?top=many", "needs 1 class or more to show, got 'many' in `top`"),
    ],
)
def test_what_cannot_be_asked(port: int, body: bytes, kind: str, query: str, message: str) -> None:
    status, told, _ = ask(port, f"/predict{query}", body, kind)
    assert status == 400
    assert told["error"].startswith(message)


def test_limits_are_kept_and_named(delivered: Delivered) -> None:
    limits = Limits(megabytes=0.002, pictures=2, megapixels=0.01)
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    large = BytesIO()
    Image.fromarray(noise).save(large, "PNG")
    with running(application(delivered, "colours", limits)) as port:
        message = "a request may have 0.002 MB, and this one is larger"
        assert post(port, [("a.png", large.getvalue())]) == (413, {"error": message})
        # Without a length in front only counting tells.
        chunks = iter([large.getvalue()])
        assert ask(port, "/predict", chunks, "image/png")[:2] == (413, {"error": message})  # type: ignore[arg-type]
        small = drawn_in("red", (8, 8))
        assert post(port, 2 * [("a.png", small)])[0] == 200
        message = "a request may bring 2 pictures, and this one has more"
        assert post(port, 3 * [("a.png", small)]) == (413, {"error": message})
        status, told = post(port, [("wide.png", drawn_in("red", (101, 100)))])
        assert (status, told["error"]) == (400, "wide.png: more than 10,000 pixels")
        assert post(port, [("a.png", drawn_in("red", (100, 100)))])[0] == 200


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_a_limit_that_limits_nothing_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match=r"^needs 0 < limit < 1e9, got .* in `max_megabytes`$"):
        Limits(megabytes=value)


def test_who_does_not_send_and_who_comes_too_many_is_told_so(
    delivered: Delivered, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(application(delivered, "colours", Limits())) as port:
        monkeypatch.setattr(serving, "UPLOAD_SECONDS", 0.05)
        with socket.create_connection(("127.0.0.1", port), timeout=20) as slow:
            slow.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nsome")
            assert slow.recv(4096).startswith(b"HTTP/1.1 408 ")
        monkeypatch.setattr(serving, "MOST_WAITING", 0)
        status, told, headers = ask(port, "/predict", b"x", "image/png")
        assert (status, headers["Retry-After"]) == (503, "1")
        assert told == {"error": "0 requests are waiting already; try again in a second"}


def test_several_clients_get_their_own_answers(port: int) -> None:
    wanted: list[tuple[str, tuple[int, int, int]]] = [
        *(("red", (255, 0, 0)), ("green", (0, 255, 0)), ("blue", (0, 0, 255)), ("white", (255, 255, 255)))
    ] * 4

    def one(place: int) -> list[str]:
        name, colour = wanted[place]
        answers = post(port, 3 * [(f"{place}.png", drawn_in(colour, (20 + place, 30)))])[1]["pictures"]
        assert {answer["picture"] for answer in answers} == {f"{place}.png"}
        return [answer["classes"][0]["class"] for answer in answers] + [name]

    with ThreadPoolExecutor(8) as clients:
        told = list(clients.map(one, range(len(wanted))))
    assert told == [4 * [name] for name, _ in wanted]


def test_health_and_what_is_not_there(port: int) -> None:
    status, told, headers = ask(port, "/health", method="GET")
    assert status == 200
    assert told == {
        **{"status": "ok", "run": "colours", "family": "scratch_keras", "classes": CLASSES, "threshold": 0.6}
    }
    assert headers["X-Content-Type-Options"] == "nosniff"
    known = "there are GET /, GET /health and POST /predict, got"
    assert ask(port, "/secret", method="GET")[:2] == (404, {"error": f"{known} GET /secret"})
    assert ask(port, "/predict", method="GET")[:2] == (405, {"error": f"{known} GET /predict"})


def test_a_page_of_the_web_cannot_ask_under_its_own_name(port: int, delivered: Delivered) -> None:
    status, told, _ = ask(port, "/health", method="GET", Host=f"evil.example:{port}")
    assert status == 403
    assert told == {"error": "needs a request for localhost or a loopback address, got one for 'evil.example'"}
    for host in ("localhost", f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}"):
        assert ask(port, "/health", method="GET", Host=host)[0] == 200
    with running(application(delivered, "colours", Limits(), only_loopback=False)) as open_port:
        assert ask(open_port, "/health", method="GET", Host="evil.example")[0] == 200


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        *(("127.0.0.1", True), ("127.8.0.1", True), ("::1", True), ("[::1]", True), ("localhost", True)),
        *(("0.0.0.0", False), ("::", False), ("192.168.1.5", False), ("localhost.example", False), ("", False)),
    ],
)
def test_what_is_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_an_address_that_cannot_be_had(colours: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = str(taken.getsockname()[1])
        assert main(["serve", str(colours), "--port", number]) == 2
        assert capsys.readouterr().err == (
            f"port {number} of 127.0.0.1 cannot be had: it is taken; choose another with --port, or --port 0 for one "
            "that is free\n"
        )
    for words, message in (
        (["--port", "70000"], "needs 0 <= port <= 65535, got 70000 in `port`\n"),
        (["--host", "no such host"], "needs a name or an address of this machine, got 'no such host' in `host`\n"),
        (["--port", "0", "--coverage", "0.2"], "needs 0.5 <= coverage <= 1, got 0.2 in `coverage`\n"),
        (["--port", "0", "--max-pictures", "0"], "needs 0 < limit < 1e9, got 0 in `max_pictures`\n"),
        (["--port", "0", "--family", "mobilenet"], f"`{colours}` has models of scratch_keras, got 'mobilenet'\n"),
    ):
        assert main(["serve", str(colours), *words]) == 2
        assert capsys.readouterr().err == message


def test_the_command_serves_until_ctrl_c_and_ends_without_a_word(
    colours: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    told: list[tuple[int, Any]] = []

    def client() -> None:
        try:
            for _ in range(400):
                try:
                    told.append(post(port, [("a.png", drawn_in("red"))]))
                    return
                except ConnectionError:
                    threading.Event().wait(0.05)
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=client)
    thread.start()
    assert main(["serve", str(colours), "--port", str(port)]) == 0
    thread.join()
    assert told[0][0] == 200
    assert "none" not in told[0][1]["pictures"][0]
    said = capsys.readouterr()
    assert said.out == f"the model of scratch_keras of `{colours}` at http://127.0.0.1:{port} (Ctrl-C ends it)\n"
    assert said.err == ""


def test_other_machines_are_warned_of(colours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What is served is closed at once: nobody else shall reach it.
    monkeypatch.setattr(web, "run_app", lambda app, *, sock, **_: sock.close())
    said: list[str] = []
    serving.serve(colours, host="0.0.0.0", port=0, say=said.append, warn=said.append)
    assert said[0].startswith("WARNING: 0.0.0.0 can be reached from other machines, and this server asks nobody who")
    assert re.search(r" at http://127\.0\.0\.1:\d+ \(Ctrl-C ends it\)$", said[1])
    said.clear()
    serving.serve(colours, port=0, say=said.append, warn=said.append)
    assert len(said) == 1


def test_a_model_of_other_classes_is_refused_before_it_is_served(colours: Path, tmp_path: Path) -> None:
    shutil.copytree(colours, tmp_path / "run")
    (tmp_path / "run" / "split.json").write_text('{"classes": ["red", "green"]}')
    with pytest.raises(ValueError, match=r"^the model needs an answer for each of 2 classes, and gives \(1, 4\)$"):
        serving.serve(tmp_path / "run", port=0)


def test_a_missing_package_is_named(
    colours: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["serve", str(colours)]) == 2
    assert capsys.readouterr().err == ("`serve` needs a package that is not here: pip install 'aiohttp>=3.12,<4'\n")


def test_the_lines_of_the_guide_ask_the_server(
    port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    guide = Path(__file__).resolve().parent.parent / "docs" / "guide" / "export.md"
    (lines,) = (
        code
        for code in re.findall(r"^```python\n(.*?)^```$", guide.read_text(), re.MULTILINE | re.DOTALL)
        if "/predict" in code
    )
    assert "127.0.0.1:8000" in lines
    monkeypatch.chdir(tmp_path)
    for colour in ((0, 255, 0), (0, 0, 0)):
        (tmp_path / "dog.jpg").write_bytes(drawn_in(colour))
        exec(lines.replace(":8000", f":{port}"), {})
    assert capsys.readouterr().out == "green\nnone of these classes\n"


PROBE = """
<script>
  const drawn = (colour, name) => new Promise((done) => {
    const canvas = document.createElement("canvas"); canvas.width = 40; canvas.height = 30;
    const pen = canvas.getContext("2d"); pen.fillStyle = colour; pen.fillRect(0, 0, 40, 30);
    canvas.toBlob((blob) => done(new File([blob], name, { type: "image/png" })));
  });
  (async () => {
    const odd = '<img src=x onerror="document.title=1">.png';
    const list = new DataTransfer();
    for (const file of [await drawn("rgb(0,255,0)", "leaf.png"), await drawn("black", odd), new File(["x"], "b.jpg")])
      list.items.add(file);
    files.files = list.files; files.dispatchEvent(new Event("change"));
    const drop = new DataTransfer(); drop.items.add(await drawn("blue", "sea.png"));
    dispatchEvent(new DragEvent("drop", { dataTransfer: drop }));
    const wait = setInterval(() => {
      if (document.documentElement.dataset.open !== "0") return;
      clearInterval(wait);
      document.title = JSON.stringify([...named.children].map((entry) => [
        entry.className, entry.querySelector("small").textContent, entry.querySelector("strong").textContent,
        entry.querySelector("dd")?.textContent ?? "", entry.querySelector("img").naturalWidth,
      ]));
    }, 50);
  })();
</script></body>"""


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium, found no browser to open the page in")
def test_the_page_names_pictures_that_are_chosen_and_dropped(delivered: Delivered, tmp_path: Path) -> None:
    app = application(delivered, "<b>colours</b>", Limits())

    async def probe(request: Any) -> Any:
        page = serving.page(delivered, "<b>colours</b>", Limits()).replace("</body>", PROBE)
        return web.Response(text=page, content_type="text/html", headers={"Content-Security-Policy": serving.POLICY})

    app.router.add_get("/probe", probe)
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    flags += ["--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--dump-dom"]
    # Whatever is not on loopback would have to pass a proxy, and nothing listens there.
    flags += [f"--user-data-dir={tmp_path}", "--virtual-time-budget=60000", "--enable-logging=stderr"]
    with running(app) as port:
        done = subprocess.run(
            [str(CHROMIUM), *flags, "--proxy-server=127.0.0.1:9", f"http://127.0.0.1:{port}/probe"],
            capture_output=True, timeout=120, check=True, encoding="utf-8",
        )  # fmt: skip
    # The answer to a file that is no picture has the status 400, which a browser notes.
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line and "400 (Bad Request)" not in line]
    assert console == []
    title = re.search(r"<title>(\[.*?\])</title>", done.stdout)
    assert title is not None, done.stdout[-2000:]
    told = json.loads(title[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    assert [entry[:3] for entry in told] == [
        ["named", "sea.png", "blue"],
        ["error", "b.jpg", "not a picture in a format that Pillow reads"],
        ["none", '<img src=x onerror="document.title=1">.png', "none of these classes"],
        ["named", "leaf.png", "green"],
    ]
    # Confidences, and how wide the thumbnails' pictures are.
    assert [entry[3:] for entry in told] == [["99.8 %", 40], ["", 0], ["25.0 %", 40], ["99.8 %", 40]]
    assert "<h1>&lt;b&gt;colours&lt;/b&gt;</h1>" in done.stdout
