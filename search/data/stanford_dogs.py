"""The Stanford Dogs pictures, fetched once from their home: 20,580 photographs of 120 breeds (Khosla et al., 2011)."""

import shutil
import socket
import tempfile
from pathlib import Path
from urllib.error import HTTPError

from results.delivery.files import printable
from search.data.archive import OTHER, REGULAR, below, members, write

URL = "http://vision.stanford.edu/aditya86/ImageNetDogs/images.tar"
# As TensorFlow Datasets gives it (url_checksums/stanford_dogs.txt), for an archive of 793,579,520 bytes.
SHA256 = "a443fc2f9a851aa1a7b8e4fa4af94b8459fce2c9f5a2f4dd4669cf9673a4ec58"
HOME = "stanford-dogs"  # the folder in the cache
ARCHIVE = "images.tar"
IMAGES = "Images"  # the one folder of the archive
SILENCE = 20  # seconds without a byte after which the server counts as out of reach


def fetch_stanford_dogs(cache_dir: Path, url: str = URL, checksum: str = SHA256) -> Path:
    """The folder of class folders below `cache_dir`, downloaded with a progress bar and unpacked on the first call.

    An archive that already lies there with the right checksum (SHA-256) is not downloaded. Raises OSError, with what to
    do, where the archive cannot be had or cannot be unpacked.
    """
    home = cache_dir / HOME
    images = home / IMAGES
    if images.is_dir():
        return images
    home.mkdir(parents=True, exist_ok=True)
    archive = _download(home, url, checksum)

    aside = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=home))
    try:
        _unpack(archive, aside)
        if not (aside / IMAGES).is_dir():
            raise OSError(f"needs a folder `{IMAGES}` in the archive, and `{archive}` from {url} has none")
        try:
            (aside / IMAGES).rename(images)
        except OSError:
            # Another process was quicker with the same archive.
            if not images.is_dir():
                raise
    except ValueError as error:
        raise OSError(f"`{archive}` from {url} cannot be unpacked: {error}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return images


def _unpack(archive: Path, into: Path) -> None:
    """Writes the files of the archive below a folder; raises ValueError for a member that leaves it or is no file.

    `tarfile` refuses such members itself from Python 3.11.4 on alone.
    """
    with members(archive) as found:
        for member in found:
            path = below(member.name.lstrip("/"))
            if path is None or member.kind == OTHER:
                raise ValueError(f"needs files that stay in their folder, got `{printable(member.name)}`")
            if member.kind == REGULAR:
                write(member, into / path)


def _download(home: Path, url: str, checksum: str) -> Path:
    from keras.utils import get_file  # takes seconds to import, and most runs need no download

    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SILENCE)
    try:
        return Path(
            get_file(ARCHIVE, url, cache_dir=home, cache_subdir="", file_hash=checksum, hash_algorithm="sha256")
        )
    except Exception as error:  # get_file raises bare Exception for what urllib could not reach
        if isinstance(error.__context__, HTTPError):
            error.__context__.close()  # it holds the server's answer, and get_file leaves it open
        raise OSError(
            f"Stanford Dogs could not be downloaded from {url}: {error}\n"
            f"Download that file (757 MiB) where there is a network, put it at `{home / ARCHIVE}` and run the same"
            f" command again. Its SHA-256 must be {checksum}."
        ) from error
    finally:
        socket.setdefaulttimeout(patience)
