import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search.data import archive
from search.data.archive import MOST_TIMES, unpack
from search.data.folder import read_folder


def picture(number: int) -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(content, "PNG")
    return content.getvalue()


FILES = {f"pets/{name}/{n}.png": picture(10 * ord(name[0]) + n) for name in ("cat", "dog") for n in range(3)}


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in files.items():
            out.writestr(name, content)
    return path


def tarred(path: Path, files: dict[str, bytes], *more: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as out:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            out.addfile(info, io.BytesIO(content))
        for info in more:
            out.addfile(info)
    return path


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    ("name", "pack"), [("a.zip", zipped), ("a.tar", tarred), ("a.tar.gz", tarred), ("a.TGZ", tarred)]
)
def test_archives_are_unpacked_once_by_their_content(
    tmp_path: Path, name: str, pack: Callable[[Path, dict[str, bytes]], Path]
) -> None:
    said: list[str] = []
    extra = {"__MACOSX/pets/cat/._0.png": b"x", "pets/README.txt": b"thanks"}
    first = unpack(pack(tmp_path / name, FILES | extra), tmp_path / "cache", said.append)
    folder = read_folder(first)
    assert folder.classes == ("cat", "dog")
    assert [found.name for found in folder.pictures] == [name.removeprefix("pets/") for name in FILES]
    assert not (first.parent / "__MACOSX").exists()
    (tmp_path / name).rename(tmp_path / f"b{name}")
    assert unpack(tmp_path / f"b{name}", tmp_path / "cache", said.append) == first
    assert said == [f"unpacking {name}"]


def test_a_split_folder_inside_stays_what_it_is(tmp_path: Path) -> None:
    files = {f"Train/{name.removeprefix('pets/')}": content for name, content in FILES.items()}
    folder = read_folder(unpack(zipped(tmp_path / "a.zip", files), tmp_path / "cache", print))
    assert (folder.classes, folder.presplit) == (("cat", "dog"), True)


@pytest.mark.parametrize("name", ["../out.png", "/etc/out.png", "a/../../out.png", "..\\..\\out.png"])
@pytest.mark.parametrize(("suffix", "pack"), [(".zip", zipped), (".tar", tarred)])
def test_members_that_leave_the_folder_are_refused(
    tmp_path: Path, name: str, suffix: str, pack: Callable[[Path, dict[str, bytes]], Path]
) -> None:
    bad = pack(tmp_path / f"a{suffix}", FILES | {name: b"x"})
    with pytest.raises(ValueError, match=r"whose members stay in their folder, and `.*` has `.*out.png`"):
        unpack(bad, tmp_path / "cache", print)
    assert not list(tmp_path.rglob("*.png"))
    assert not list((tmp_path / "cache").rglob("*.part"))


def test_links_out_are_refused_and_links_inside_are_told_every_time(tmp_path: Path) -> None:
    for number, (kind, target) in enumerate([(tarfile.SYMTYPE, "../../../etc/passwd"), (tarfile.LNKTYPE, "../x"),
                                             (tarfile.SYMTYPE, "/etc/passwd")]):  # fmt: skip
        bad = tarred(tmp_path / f"{number}.tar", FILES, special("pets/cat/9.png", kind, target))
        with pytest.raises(ValueError, match=r"and `pets/cat/9.png` of `.*` is a link to `"):
            unpack(bad, tmp_path / "cache", print)
    more = (special("pets/cat/9.png", tarfile.SYMTYPE, "../dog/1.png"), special("pets/pipe", tarfile.FIFOTYPE))
    fair = tarred(tmp_path / "fair.tar", FILES, *more)
    for _ in range(2):
        said: list[str] = []
        folder = read_folder(unpack(fair, tmp_path / "cache", said.append))
        told = "passed over in fair.tar: 2 members that are links or devices, first `pets/cat/9.png`"
        assert said[-1] == told
        assert len(folder.pictures) == 6
    info = zipfile.ZipInfo("pets/cat/9.png")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(zipped(tmp_path / "l.zip", FILES), "a") as out:
        out.writestr(info, "../../../etc/passwd")
    with pytest.raises(ValueError, match=r"is a link to `../../../etc/passwd`"):
        unpack(tmp_path / "l.zip", tmp_path / "cache", print)


def test_bombs_are_refused_before_they_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "ALWAYS", 2**10)
    zeros = {f"pets/cat/{n}.png": bytes(2**20) for n in range(4)}
    for bomb in (zipped(tmp_path / "a.zip", zeros), tarred(tmp_path / "a.tar.gz", zeros)):
        with pytest.raises(ValueError, match=rf"at most {MOST_TIMES} times their size .*, and `.*` \(.* bytes\) holds"):
            unpack(bomb, tmp_path / "cache", print)
    assert not list((tmp_path / "cache").rglob("*.png"))
    monkeypatch.setattr(archive, "MOST_MEMBERS", 5)
    with pytest.raises(ValueError, match=r"needs archives of at most 5 members, got more in `.*b.zip`"):
        unpack(zipped(tmp_path / "b.zip", FILES), tmp_path / "cache", print)


def test_a_header_of_gigabytes_is_not_read(tmp_path: Path) -> None:
    info = special("pets/long", tarfile.GNUTYPE_LONGNAME)
    info.size = 2**33
    with (tmp_path / "a.tar").open("wb") as out:
        out.write(info.tobuf(tarfile.GNU_FORMAT))
    with pytest.raises(ValueError, match=r"a header in it has 8,589,934,592 bytes"):
        unpack(tmp_path / "a.tar", tmp_path / "cache", print)


def test_too_little_room_names_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "SPARE", 2**60)
    with pytest.raises(OSError, match=r"needs 1,152,[0-9,]+ free bytes in `.*`, and there are [0-9,]+; --cache-dir"):
        unpack(zipped(tmp_path / "a.zip", FILES), tmp_path / "cache", print)


def test_damaged_and_encrypted_archives(tmp_path: Path) -> None:
    for path in (zipped(tmp_path / "a.zip", FILES), tarred(tmp_path / "a.tar.gz", FILES)):
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ValueError, match=r"needs an archive that can be unpacked, and `.*` cannot be: "):
            unpack(path, tmp_path / "cache", print)
    locked = bytearray(zipped(tmp_path / "b.zip", FILES).read_bytes())
    for start in [n for n in range(len(locked) - 4) if locked[n : n + 4] == b"PK\x01\x02"]:
        locked[start + 8] |= 1
    (tmp_path / "b.zip").write_bytes(locked)
    with pytest.raises(ValueError, match=r"cannot be: it is encrypted"):
        unpack(tmp_path / "b.zip", tmp_path / "cache", print)


def test_a_name_that_is_a_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`pets/cat/0.png/1.png` of `.*` is both"):
        unpack(zipped(tmp_path / "a.zip", FILES | {"pets/cat/0.png/1.png": b"x"}), tmp_path / "cache", print)
