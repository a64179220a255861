"""Short rounds of the benchmarks that feed broken files to the readers."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import mutated_pictures, mutated_runs


def outcome(main: Any, out: Path, *options: str) -> dict[str, Any]:
    status = main([*options, "--out", str(out)])
    found: dict[str, Any] = json.loads(out.read_text())
    assert found["wrong"] == []
    assert status == 0
    return found


@pytest.mark.slow
def test_mutated_pictures_are_read_rightly_or_left_out_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = outcome(mutated_pictures.main, tmp_path / "found.json", "--count", "300", "--large", "900", "--seed", "7")
    assert (found["crashes"], found["hangs"]) == (0, 0)
    assert found["pictures"] >= 300
    assert "formats and modes" in capsys.readouterr().out


@pytest.mark.slow
def test_mutated_runs_are_reported_truly_or_refused_in_one_line(tmp_path: Path) -> None:
    found = outcome(mutated_runs.main, tmp_path / "found.json", "--count", "24", "--seed", "3", "--no-models")
    assert (found["crashes"], found["hangs"], found["folders"]) == (0, 0, 24)
