"""Where data lies: a path, an archive or an address, each as a folder or a table on this machine."""

from collections.abc import Callable
from pathlib import Path

from search.data.archive import is_archive, unpack
from search.data.folder import check_root
from search.data.table import is_table
from search.settings import is_remote


def check_source(source: str, *, alone: bool = False) -> None:
    """Raises FileNotFoundError, NotADirectoryError or ValueError for what can be no data, without fetching any."""
    if is_remote(source):
        from search.data.remote import check_address

        check_address(source)
        if not alone and source.lower().startswith("http") and is_table(source.partition("?")[0]):
            raise ValueError(
                f"a web server does not list pictures: the table `{source}` needs --images, a folder, an archive or an "
                "address of its pictures"
            )
    elif not (is_archive(source) and Path(source).is_file()):
        check_root(Path(source))


def check_images(source: str) -> None:
    """The same for what the paths of a table are relative to."""
    if is_remote(source):
        check_source(source)
    elif not Path(source).exists():
        raise FileNotFoundError(
            f"--images needs a folder of pictures or an archive of one, and there is nothing at `{source}`"
        )


def here(source: str, cache: Path, say: Callable[[str], None], *, alone: bool = False) -> Path:
    """The folder or the table of a source: fetched, and unpacked, into the cache where it has to be.

    `alone` says of a table that its pictures lie elsewhere.
    """
    if is_remote(source):
        from search.data.remote import fetch

        path = fetch(source, cache, say, alone=alone)
    else:
        path = Path(source)
    return unpack(path, cache, say) if path.is_file() and is_archive(path.name) else path
