"""The documentation: its links, its code, its commands, and that it builds."""

import argparse
import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest

from results.__main__ import main as results_main
from search import parsing
from search.commands import command_line
from search.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")), *ROOT.glob("docs/**/*.md")]
)
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


@cache
def generated() -> ModuleType:
    """The hook by which mkdocs fills in what follows from the code."""
    spec = importlib.util.spec_from_file_location("generated", ROOT / "docs" / "generated.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def whole(page: Path) -> str:
    text: str = generated().on_page_markdown(page.read_text(encoding="utf-8"))
    return text


def blocks(language: str) -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for number, (found, content) in enumerate(FENCE.findall(page.read_text(encoding="utf-8"))):
            if found == language:
                yield f"{page.relative_to(ROOT)}:{number}", content


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every command of the pages, in words, without variables in front and without a way into `ray submit`."""
    for place, content in blocks("bash"):
        for line in content.splitlines():
            for command in line.split(" && "):
                words = shlex.split(command, comments=True)
                while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
                    del words[0]
                if words[:2] == ["ray", "submit"]:
                    words = ["python", words[3], *words[5:]]
                elif words[:3] == ["ray", "job", "submit"]:
                    words = words[words.index("--") + 1 :]
                if words:
                    yield place, words


def test_every_option_stands_in_the_reference() -> None:
    page = whole(ROOT / "docs" / "reference" / "settings.md")
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", parsing.parser().format_usage()))
    assert len(options) > 30
    assert [option for option in sorted(options) if f"| `{option}" not in page] == []


def test_every_field_of_the_settings_has_its_remark() -> None:
    found = {name: remark for name, _, _, remark in generated().settings()}
    assert list(found) == list(Settings.__dataclass_fields__)
    assert [name for name, remark in found.items() if not remark] == []
    assert found["hypermodel"].startswith("Families of the user's own")
    assert found["trials"] == "configurations of each family at most; None: as many as the time budget allows"


def test_no_path_of_this_machine_stands_in_the_reference() -> None:
    page = whole(ROOT / "docs" / "reference" / "settings.md")
    assert str(Path.home()) + "/" not in page
    assert "~/.cache/pedigree" in page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_to_files(page: Path) -> None:
    lost = []
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        target = (page.parent / path).resolve() if path else page
        if not target.is_file() or (anchor and anchor not in anchors(target)):
            lost.append(link)
    assert lost == []


def anchors(page: Path) -> set[str]:
    """The headings of a page, as Markdown names them."""
    heads = re.findall(r"^#+ (.*)$", whole(page), re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", head).strip().lower()) for head in heads}


@pytest.mark.parametrize(("place", "content"), list(blocks("python")), ids=[place for place, _ in blocks("python")])
def test_python_compiles(place: str, content: str) -> None:
    compile(content, place, "exec")


def test_commands_parse(capsys: pytest.CaptureFixture[str]) -> None:
    seen: dict[str, int] = {}
    for place, words in commands():
        kind, rest = reader(words)
        seen[kind] = seen.get(kind, 0) + 1
        try:
            if kind == "search":
                parsing.options(rest)
            elif kind == "pedigree":
                command_line().parse_args(rest)
            elif kind == "results":
                _parse_results(rest)
            elif kind == "benchmark":
                assert (ROOT / "tests" / "benchmarks" / f"{rest[0]}.py").is_file(), place
        except SystemExit as ended:
            # `--version` ends so as well.
            if ended.code:
                pytest.fail(f"{place}: {shlex.join(words)}: {capsys.readouterr().err}")
    # None of them is passed over because it is written in another way.
    assert seen["search"] >= 20
    assert seen["results"] >= 5
    assert seen["pedigree"] >= 2
    assert seen["benchmark"] >= 15


def reader(words: list[str]) -> tuple[str, list[str]]:
    """Who parses a command, and the words for it; a program that is not ours is nobody's."""
    if words[:2] == ["python", "search/run.py"]:
        return "search", words[2:]
    if words[:3] == ["python", "-m", "results"]:
        return "results", words[3:]
    if words[0] == "pedigree":
        return "pedigree", words[1:]
    if words[:2] == ["python", "-m"] and words[2].startswith("tests.benchmarks."):
        return "benchmark", [words[2].removeprefix("tests.benchmarks."), *words[3:]]
    if words[:2] == ["python", "-m"]:
        assert find_spec(f"pedigree.{words[2].removeprefix('pedigree.')}") is not None, words
        return "other", words
    ours = ("pip", "pytest", "mkdocs", "ruff", "mypy", "bash", ".ci/numbers", ".ci/steady", ".ci/mutants")
    assert words[0] in (*ours, "ray", "aws", "docker", "kubectl", "sbatch", "optuna-dashboard", "tensorboard"), words
    return "other", words


def _parse_results(words: list[str]) -> None:
    """Parses words for `python -m results`, whose runs are not there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("results.__main__.follow", lambda given: 0 if isinstance(given, argparse.Namespace) else 1)
        assert results_main(words) == 0


def test_the_two_commands_of_the_readme() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert "pip install -e . && python search/run.py" in lines
    assert "pip install -e '.[test]' && pytest" in lines
    assert len(lines) <= 90


@pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason="needs mkdocs: pip install -e '.[docs]'")
def test_the_documentation_builds_without_a_warning(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "site" / "reference" / "settings.html").read_text(encoding="utf-8")
    assert "--time-budget T" in page


def test_the_example_of_the_metrics_prints_what_the_page_says(capsys: pytest.CaptureFixture[str]) -> None:
    found = dict(FENCE.findall((ROOT / "docs" / "guide" / "aims.md").read_text(encoding="utf-8")))
    exec(compile(found["python"], "aims.md", "exec"), {})
    assert capsys.readouterr().out == found["text"]
