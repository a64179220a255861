"""Short rounds of the benchmarks that feed broken files to the readers."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import mutated_pictures


def outcome(main: Any, out: Path, *options: str) -> dict[str, Any]:
    status = main([*options, "--out", str(out)])
    found: dict[str, Any] = json.loads(out.read_text())
    assert found["wrong"] == []
    assert status == 0
    return found


def test_mutated_pictures_are_read_rightly_or_left_out_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = outcome(mutated_pictures.main, tmp_path / "found.json", "--count", "300", "--large", "900", "--seed", "7")
    assert (found["crashes"], found["hangs"]) == (0, 0)
    assert found["pictures"] >= 300
    assert found["growth_mib"] < 16
    assert "formats and modes" in capsys.readouterr().out
