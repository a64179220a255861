"""What the pages take from the code when they are built: a hook of mkdocs (`hooks` in mkdocs.yml)."""

import argparse
import ast
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

CACHE = "~/.cache/pedigree"  # the default of whoever reads, not that of the machine where the pages are built
WIDTH = "100"  # columns of a command's help
TITLES = {"positional arguments": "Data", "options": "Instead of a search"}  # argparse's names of groups, and ours


def on_page_markdown(markdown: str, **_: Any) -> str:
    """A page with its places filled in."""
    for line in markdown.splitlines():
        if line == "<!-- settings -->":
            markdown = markdown.replace(line, f"{options()}\n\n## The record\n\n{record()}")
        elif line == "<!-- commands -->":
            markdown = markdown.replace(line, commands())
        elif line == "<!-- trunks -->":
            markdown = markdown.replace(line, trunks())
        elif line.startswith("<!-- include "):
            # All of it: the link beside it is for those who read the folder and not the pages.
            markdown = included(line.split()[2])
    return markdown


def included(name: str) -> str:
    """A page of the top level, whose links begin at its own place."""
    return (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")


def options() -> str:
    """The options of `search/run.py` as tables, one for each of the parser's groups."""
    from search.parsing import parser
    from search.settings import default_cache

    tables = []
    for group in parser()._action_groups:
        rows = []
        for action in group._group_actions:
            names = " ".join([*action.option_strings[-1:], *([str(action.metavar)] if action.metavar else [])])
            text = str(action.help).replace(default_cache(), CACHE)
            meaning, default = text, ""
            if text.endswith(")") and " (default: " in text:
                meaning, _, default = text[:-1].rpartition(" (default: ")
            rows.append((f"`{names}`", cell(meaning), cell(default)))
        title = TITLES.get(str(group.title), str(group.title).capitalize())
        tables.append(f"## {title}\n\n{table(('option', 'meaning', 'default'), rows)}")
    return "\n\n".join(tables)


def record() -> str:
    """The fields of `Settings` with their types, defaults and remarks, as `settings.json` holds them."""
    rows = [(f"`{name}`", f"`{kind}`", f"`{default}`", cell(remark)) for name, kind, default, remark in settings()]
    head = "`settings.json` in a run folder is this record.\n\n"
    return head + table(("field", "type", "default", "remark"), rows)


def settings() -> Iterator[tuple[str, str, str, str]]:
    """Name, type, default and remark of each field: the comment on its line, or the one above it."""
    from search.settings import Settings

    source = (ROOT / "search" / "settings.py").read_text(encoding="utf-8")
    lines = source.splitlines()
    found = next(node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == "Settings")
    for node in found.body:
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            beside = lines[node.lineno - 1][node.end_col_offset or 0 :] or lines[node.lineno - 2]
            name, kind = ast.unparse(node.target), ast.unparse(node.annotation)
            yield name, kind, repr(Settings.__dataclass_fields__[name].default), beside.strip(" #")


def commands() -> str:
    """The help of each command that reads a run folder."""
    from results.commands import add_commands
    from search.commands import add_fetch, add_track

    parser = argparse.ArgumentParser(prog="pedigree")
    parsers = parser.add_subparsers()
    add_commands(parsers)
    add_track(parsers)
    add_fetch(parsers)
    with mock.patch.dict(os.environ, COLUMNS=WIDTH):
        helps = [f"### {name}\n\n```text\n{one.format_help().strip()}\n```" for name, one in parsers.choices.items()]
    return "\n\n".join(helps)


def trunks() -> str:
    """The trunks of `--backbones`, of width 1, with what follows from their layers."""
    from models.backbones import BACKBONES, file_of, walked
    from models.sizes import DEEPEST

    rows = []
    for backbone in BACKBONES.values():
        found = walked(backbone.name, 1.0, 224)
        blocks = len(found.blocks)
        numbers = [f"{found.parameters / 1e6:.1f}", f"{found.multiply_adds / 1e6:,.0f}"]
        numbers += [f"{min(DEEPEST, blocks)} of {blocks}", f"{found.blocks[-1].channels:,}", str(backbone.side)]
        rows.append((f"`{backbone.name}`", *numbers, f"`{file_of(backbone.name, 1.0)}`"))
    heads = ("trunk", "parameters", "multiply-adds", "trainable", "features", "side", "file of its weights")
    return table(heads, rows)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = [" | ".join(row) for row in (heads, tuple("---" for _ in heads), *rows)]
    return "\n".join(f"| {line} |" for line in lines)


def cell(text: str) -> str:
    """Words for a cell of a table."""
    return text.replace("|", "\\|")
