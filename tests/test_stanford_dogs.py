import hashlib
import io
import shutil
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from search.data.folder import read_folder
from search.data.stanford_dogs import SHA256, URL, fetch_stanford_dogs


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """An empty folder and the address at which it is served."""
    site = tmp_path / "site"
    site.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield site, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def archive_of(drawn: Path, path: Path) -> str:
    """A small archive in the layout of the original; returns its checksum."""
    with tarfile.open(path, "w") as tar:
        for number, folder in enumerate(sorted(drawn.glob("n*"))[:2]):
            for picture in sorted(folder.glob("*.jpg"))[:3]:
                tar.add(picture, f"Images/n0208593{number}-{folder.name.split('-')[1]}/{picture.name}")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_archive_is_fetched_unpacked_and_not_fetched_again(
    drawn: Path, served: tuple[Path, str], tmp_path: Path
) -> None:
    site, address = served
    checksum = archive_of(drawn, site / "images.tar")
    images = fetch_stanford_dogs(tmp_path / "cache", f"{address}/images.tar", checksum)
    assert images == tmp_path / "cache" / "stanford-dogs" / "Images"
    folder = read_folder(images)
    assert folder.classes == ("Bramley hound", "Harrow hound")
    assert len(folder.pictures) == 6
    (site / "images.tar").unlink()
    assert fetch_stanford_dogs(tmp_path / "cache", f"{address}/images.tar", checksum) == images
    shutil.rmtree(images)
    assert fetch_stanford_dogs(tmp_path / "cache", f"{address}/images.tar", checksum) == images
    assert sorted(path.name for path in images.parent.iterdir()) == ["Images", "images.tar"]


def test_an_archive_put_there_by_hand_is_used(drawn: Path, served: tuple[Path, str], tmp_path: Path) -> None:
    (tmp_path / "cache" / "stanford-dogs").mkdir(parents=True)
    checksum = archive_of(drawn, tmp_path / "cache" / "stanford-dogs" / "images.tar")
    assert fetch_stanford_dogs(tmp_path / "cache", f"{served[1]}/images.tar", checksum).is_dir()


def test_out_of_reach_the_message_says_what_to_do(served: tuple[Path, str], tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"could not be downloaded from http://127\.0\.0\.1") as raised:
        fetch_stanford_dogs(tmp_path / "cache", f"{served[1]}/images.tar")
    message = str(raised.value)
    assert (
        f"put it at `{tmp_path / 'cache' / 'stanford-dogs' / 'images.tar'}` and run the same command again" in message
    )
    assert SHA256 in message


def test_a_damaged_archive_is_refused(drawn: Path, served: tuple[Path, str], tmp_path: Path) -> None:
    site, address = served
    archive_of(drawn, site / "images.tar")
    with pytest.raises(OSError, match=f"Its SHA-256 must be {SHA256}"):
        fetch_stanford_dogs(tmp_path / "cache", f"{address}/images.tar")
    assert not (tmp_path / "cache" / "stanford-dogs" / "Images").exists()


def entry(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname, found.size = kind, target, 4 if kind == tarfile.REGTYPE else 0
    return found


@pytest.mark.parametrize(
    "entries",
    [
        [entry("../../outside.txt")],
        [entry("Images/../../../outside.txt")],
        [entry("Images/link", tarfile.SYMTYPE, "/tmp"), entry("Images/link/outside.txt")],
        [entry("Images/link", tarfile.SYMTYPE, "../.."), entry("Images/link/outside.txt")],
        [entry("Images/hard", tarfile.LNKTYPE, "../../outside.txt")],
        [entry("Images/device", tarfile.CHRTYPE)],
    ],
)
def test_an_archive_that_leaves_its_folder_is_refused(
    entries: list[tarfile.TarInfo], served: tuple[Path, str], tmp_path: Path
) -> None:
    site, address = served
    with tarfile.open(site / "images.tar", "w") as tar:
        for found in entries:
            tar.addfile(found, io.BytesIO(b"evil"))
    checksum = hashlib.sha256((site / "images.tar").read_bytes()).hexdigest()
    with pytest.raises(OSError, match="cannot be unpacked: "):
        fetch_stanford_dogs(tmp_path / "cache", f"{address}/images.tar", checksum)
    assert not list(tmp_path.rglob("outside.txt"))
    assert not (tmp_path / "cache" / "stanford-dogs" / "Images").exists()


def test_an_absolute_name_in_an_archive_stays_inside(served: tuple[Path, str], tmp_path: Path) -> None:
    site, address = served
    outside = tmp_path / "outside.txt"
    with tarfile.open(site / "images.tar", "w") as tar:
        tar.addfile(entry("Images/a/1.jpg"), io.BytesIO(b"good"))
        tar.addfile(entry(str(outside)), io.BytesIO(b"evil"))
    checksum = hashlib.sha256((site / "images.tar").read_bytes()).hexdigest()
    images = fetch_stanford_dogs(tmp_path / "cache", f"{address}/images.tar", checksum)
    assert not outside.exists()
    assert [path.name for path in images.rglob("*.*")] == ["1.jpg"]


def test_an_archive_without_images(served: tuple[Path, str], tmp_path: Path) -> None:
    site, address = served
    with tarfile.open(site / "images.tar", "w") as tar:
        tar.add(__file__, "Annotation/n1")
    checksum = hashlib.sha256((site / "images.tar").read_bytes()).hexdigest()
    with pytest.raises(OSError, match="needs a folder `Images` in the archive"):
        fetch_stanford_dogs(tmp_path / "cache", f"{address}/images.tar", checksum)


def test_the_address_is_the_data_sets_home() -> None:
    assert URL == "http://vision.stanford.edu/aditya86/ImageNetDogs/images.tar"
