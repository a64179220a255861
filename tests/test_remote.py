"""Data at an address: an object store and a web server on the loopback."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from layouts import csv, drawn, folder, prepared, sides, zipped
from stores import LACKING, MOTO, put, serving, upload

from search.data import remote
from search.data.remote import check_address, fetch
from search.data.source import check_source

needs_moto = pytest.mark.skipif(not MOTO, reason=LACKING)


class Web(BaseHTTPRequestHandler):
    """A web server of files in memory with ETags and ranges, which can break off, and an object store that refuses."""

    files: ClassVar[dict[str, bytes]] = {}
    asked: ClassVar[list[tuple[str, str, str]]] = []  # path, range, ETag
    most = 10**9  # bytes of an answer after which the connection ends

    def do_HEAD(self) -> None:
        self._refused()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.startswith("/closed"):
            self._refused()
            return
        content = self.files.get(path)
        etag = f'"{hash(content)}"'
        self.asked.append((path, self.headers.get("Range", ""), self.headers.get("If-None-Match", "")))
        if content is None:
            self.send_error(404)
            return
        if self.headers.get("If-None-Match") == etag:
            self.send_response(304)
            self.end_headers()
            return
        start = 0
        if self.headers.get("If-Range") == etag:
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", etag)
        self.end_headers()
        self.wfile.write(content[start:][: self.most])
        self.close_connection = True

    def _refused(self) -> None:
        body = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
        self.send_response(403)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def web() -> Iterator[str]:
    Web.files, Web.asked, Web.most = {}, [], 10**9
    server = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    """An object store of one's own."""
    with serving("pets") as (address, _):
        yield address


@needs_moto
def test_an_object_store_gives_what_the_folder_gives(tmp_path: Path, store: str) -> None:
    given = folder(tmp_path)
    address = upload(store, given["data"], "pets/first")
    put(store, "pets/first/README.md", b"no picture")
    expected = prepared(tmp_path / "cache", given)
    found = prepared(tmp_path / "cache", {"data": f"{address}/"})
    assert (found["digest"], found["pixels"], sides(found)) == (
        expected["digest"],
        expected["pixels"],
        sides(expected),
    )
    assert (found["data"], found["title"]) == (f"{address}/", f"{address}/")


@needs_moto
def test_tables_and_archives_of_an_object_store(tmp_path: Path, store: str) -> None:
    table = csv(tmp_path / "a")
    address = upload(store, table["data"].parent, "pets/tables")
    expected = prepared(tmp_path / "cache", table)
    assert prepared(tmp_path / "cache", {"data": f"{address}/pets.csv"})["digest"] == expected["digest"]
    archive = Path(zipped(tmp_path / "b")["data"])
    put(store, "pets/all.zip", archive.read_bytes())
    assert prepared(tmp_path / "cache", {"data": "s3://pets/all.zip"})["pixels"] == expected["pixels"]
    # Pictures there, labels here.
    labels = tmp_path / "labels.tsv"
    labels.write_text("id\tbreed\n" + "".join(f"{name}\t{breed}\n" for name, (_, breed, _) in drawn().items()))
    given = {"data": labels, "images": "s3://pets/all.zip"}
    assert prepared(tmp_path / "cache", given)["pixels"] == expected["pixels"]


@needs_moto
def test_only_what_changed_is_fetched_again(tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        put(store, f"pets/some/cat/{number}.png", bytes([number]) * 10)
    said: list[str] = []
    first = fetch("s3://pets/some", tmp_path, said.append)
    (manifest,) = tmp_path.rglob("manifest.jsonl")
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    assert [line[:2] for line in lines] == [[f"cat/{number}.png", 10] for number in range(5)]
    assert lines[0][3] == '"a63c90cc3684ad8b0a2176a6a8fe9005"'  # MD5 of ten null bytes
    assert fetch("s3://pets/some", tmp_path, said.append) == first
    assert said == ["fetching 5 files (0.0 MB) from s3://pets/some"]
    for name in ("0", "4"):
        remote.open_store("s3", "pets", anonymous=False).delete_file(f"pets/some/cat/{name}.png")
    put(store, "pets/some/cat/0.png", b"another size")
    put(store, "pets/some/dog/9.png", b"new")
    # Half of a file, and the torn line of a driver that was killed.
    (first / "cat" / ".0123.part").write_bytes(b"half")
    with manifest.open("a") as file:
        file.write('["cat/3.png", 1')
    fetch("s3://pets/some", tmp_path, said.append)
    assert said[1] == "fetching 2 files (0.0 MB) from s3://pets/some; 3 are here already"
    names = sorted(path.relative_to(first).as_posix() for path in first.rglob("*") if path.is_file())
    assert names == ["cat/0.png", "cat/1.png", "cat/2.png", "cat/3.png", "dog/9.png"]
    assert (first / "cat" / "0.png").read_bytes() == b"another size"
    # What is here stays where the rest cannot be had.
    put(store, "pets/some/cat/5.png", b"x")
    put(store, "pets/some/cat/6.png", b"x")
    whole = remote._fetch_one

    def broken(store: Any, one: remote.Remote, path: Path) -> str:
        if one.name == "cat/6.png":
            raise OSError("the network is gone")
        return whole(store, one, path)

    monkeypatch.setattr(remote, "_fetch_one", broken)
    with pytest.raises(OSError, match=r"`cat/6.png` of `s3://pets/some` cannot be fetched: the network is gone; "):
        fetch("s3://pets/some", tmp_path, said.append)
    monkeypatch.undo()
    fetch("s3://pets/some", tmp_path, said.append)
    assert said[-1].endswith("; 6 are here already")


@needs_moto
def test_what_an_object_store_has_not(tmp_path: Path, store: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is nothing at `s3://nobody/pets`: .*NO_SUCH_BUCKET"):
        fetch("s3://nobody/pets", tmp_path, print)
    with pytest.raises(FileNotFoundError, match=r"there is nothing at `s3://pets/nothing`"):
        fetch("s3://pets/nothing", tmp_path, print)
    put(store, "pets/odd/a/../../x.png", b"x")
    put(store, "pets/both/a", b"x")
    put(store, "pets/both/a/b.png", b"x")
    with pytest.raises(ValueError, match=r"needs names that are files or folders, and `a` of `s3://pets/both` is both"):
        fetch("s3://pets/both", tmp_path, print)


def test_names_that_lead_out_of_the_folder_are_refused() -> None:
    for name in ("../x.png", "a//x.png", "a/./x.png", "/x.png"):
        with pytest.raises(ValueError, match=r"needs objects whose names are paths below a folder, and `s3://b` has `"):
            remote._chosen([remote.Remote(name, f"b/{name}", 1, 0)], "s3://b")


def test_a_store_that_refuses_or_is_not_there(tmp_path: Path, web: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", web)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with pytest.raises(PermissionError, match=r"`s3://closed/pets` gives no permission; credentials are those of"):
        fetch("s3://closed/pets", tmp_path, print)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(OSError, match=r"`s3://pets/all` cannot be reached: .*NETWORK_CONNECTION"):
        fetch("s3://pets/all", tmp_path, print)


def test_an_archive_and_a_table_of_a_web_server(tmp_path: Path, web: str) -> None:
    given = zipped(tmp_path)
    Web.files["/sets/pets.zip"] = Path(given["data"]).read_bytes()
    expected = prepared(tmp_path / "cache", given)
    found = prepared(tmp_path / "cache", {"data": f"{web}/sets/pets.zip?token=abc"})
    assert (found["digest"], found["title"]) == (expected["digest"], f"{web}/sets/pets.zip")
    rows = "".join(f"{name},{breed}\n" for name, (_, breed, _) in drawn().items())
    Web.files["/labels.csv"] = f"id,breed\n{rows}".encode()
    table = prepared(tmp_path / "cache", {"data": f"{web}/labels.csv", "images": tmp_path / "pets"})
    assert table["pixels"] == expected["pixels"]


def test_a_download_goes_on_and_is_not_repeated(tmp_path: Path, web: str) -> None:
    content = bytes(range(256)) * 20
    Web.files["/a.zip"], Web.most = content, 1000
    for _ in range(2):
        with pytest.raises(OSError, match=r"`http://.*/a.zip` cannot be fetched: .*the same command goes on"):
            fetch(f"{web}/a.zip", tmp_path, print)
    Web.most = 10**9
    path = fetch(f"{web}/a.zip", tmp_path, print)
    assert path.read_bytes() == content
    assert [ranged for _, ranged, _ in Web.asked] == ["", "bytes=1000-", "bytes=2000-"]
    assert fetch(f"{web}/a.zip", tmp_path, print).read_bytes() == content
    assert Web.asked[-1][2] == f'"{hash(content)}"'
    Web.files["/a.zip"] = b"another"
    assert fetch(f"{web}/a.zip", tmp_path, print).read_bytes() == b"another"


def test_a_web_server_that_has_nothing_or_is_not_there(tmp_path: Path, web: str) -> None:
    with pytest.raises(OSError, match=r"`http://.*/b.zip` cannot be fetched: the server says 404 Not Found"):
        fetch(f"{web}/b.zip", tmp_path, print)
    with pytest.raises(PermissionError, match=r"`http://.*/closed.zip` cannot be fetched: the server says 403"):
        fetch(f"{web}/closed.zip?key=secret", tmp_path, print)
    with pytest.raises(OSError, match=r"`http://127.0.0.1:1/b.zip` cannot be fetched: .*refused"):
        fetch("http://127.0.0.1:1/b.zip", tmp_path, print)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (
            "ftp://a/b.zip",
            r"an address needs to begin with one of s3://, gs://, http://, https://, got `ftp://a/b.zip`",
        ),
        ("s3://", r"an address needs a bucket, got `s3://`"),
        ("https:///a.zip", r"an address needs a host, got"),
        ("https://ann:pw@a.org/b.zip", r"needs to be without a password, got one in that of `https://a.org`"),
        ("https://a.org/photos/", r"a web server does not list pictures: an https address needs to end in a table"),
        ("https://a.org/a.csv?x=1", r"a web server does not list pictures: the table `.*` needs --images"),
    ],
)
def test_addresses_that_are_none(address: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_source(address)


def test_addresses_that_are_some() -> None:
    for address in ("s3://bucket", "gs://bucket/a/b", "https://a.org/a.TAR.gz?x=1", "http://a.org/a.parquet"):
        check_address(address)
    check_source("https://a.org/a.csv", alone=True)


def test_a_file_of_another_size_than_was_listed(tmp_path: Path) -> None:
    store = pytest.importorskip("pyarrow.fs").LocalFileSystem()
    (tmp_path / "there").write_bytes(b"half")
    (tmp_path / "here").mkdir()
    with pytest.raises(OSError, match="it has 4 bytes, and 8 were listed"):
        remote._fetch_one(store, remote.Remote("a.png", str(tmp_path / "there"), 8, 0), tmp_path / "here" / "a.png")
    assert not list((tmp_path / "here").iterdir())
