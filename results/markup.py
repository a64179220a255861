"""Markup that every page uses, safe for whatever name a user gives, and the way documents are written."""

import html
import json
import os
import tempfile
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any


def text(words: object) -> str:
    """Words as they are, safe in markup and in attributes."""
    # A line never ends between a number and its sign.
    return html.escape(str(words)).replace(" %", "&nbsp;%")


def beside(name: str) -> str:
    """The content of a file of this package, whatever the package is called where it is installed."""
    return resources.files(__package__).joinpath(name).read_text("utf-8")


def embedded(value: Any) -> str:
    """JSON that may stand inside a script element: no name in it can end the element."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def grid(caption: str, heads: Sequence[str], body: Sequence[Sequence[str]], numeric: Sequence[int] = ()) -> str:
    """A table in markup; the columns numbered in `numeric` are aligned as numbers."""

    def kind(place: int) -> str:
        return ' class="n"' if place in numeric else ""

    head = "".join(f'<th scope="col"{kind(place)}>{text(name)}</th>' for place, name in enumerate(heads))
    lines = "".join(
        f'<tr><th scope="row">{text(first)}</th>'
        + "".join(f"<td{kind(place)}>{text(entry)}</td>" for place, entry in enumerate(rest, 1))
        + "</tr>"
        for first, *rest in body
    )
    return (
        f'<div class="scroll" tabindex="0"><table><caption>{text(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>"
    )


def items(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{text(line)}</li>' for line in lines)}</ul>"


def write_aside(path: Path, content: str | bytes) -> None:
    """Write a document so that no reader ever sees half of it."""
    descriptor, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content.encode("utf-8", "replace") if isinstance(content, str) else content)
        Path(aside).chmod(0o644)
        Path(aside).replace(path)
    except BaseException as error:
        Path(aside).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            # A full disk names no file.
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
