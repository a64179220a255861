"""What of the GPU's side can be checked where there is none."""

import io

import pytest
from rich.console import Console

from search.progress import Progress
from search.settings import Settings
from search.training import devices
from search.training.devices import proposed_share, share_limit
from search.training.worker import describe

GIB = 2**30


def test_a_share_is_its_part_of_the_memory_without_what_the_driver_holds() -> None:
    assert share_limit(16 * GIB, 0.25) == 4 * GIB - 600 * 2**20
    assert share_limit(16 * GIB, 1.0) == 16 * GIB - 600 * 2**20
    assert share_limit(2 * GIB, 0.25) == 0


@pytest.mark.parametrize(
    ("peak", "expected"),
    [
        (1 * GIB, 0.125),
        (2 * GIB, 0.2),
        (2.5 * GIB, 0.25),
        (5 * GIB, 0.5),
        (6 * GIB, 1.0),
        (10 * GIB, 1.0),
        (20 * GIB, 1.0),
        (1, 0.0625),
    ],
)
def test_the_proposed_share_leaves_a_trial_a_quarter_to_spare(peak: float, expected: float) -> None:
    assert proposed_share(int(peak), 16 * GIB) == expected


@pytest.mark.skipif(devices.gpu_memory() > 0, reason="there is a GPU here")
def test_without_a_gpu_there_is_no_memory_and_no_peak() -> None:
    assert devices.gpu_memory() == 0
    assert devices.gpu_peak() == 0


def said(rows: list[dict[str, object]], share: float) -> str:
    console = Console(file=io.StringIO(), width=200)
    Progress(Settings(name="packed"), console).say_about_packing(rows, share)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_smaller_share_is_proposed_where_it_would_do() -> None:
    rows: list[dict[str, object]] = [
        {"event": "epoch", "gpu_peak": GIB, "gpu_total": 16 * GIB},
        {"event": "epoch", "gpu_peak": 2 * GIB, "gpu_total": 16 * GIB},
        {"event": "end"},
    ]
    told = "trials held at most 2.00 GiB of a GPU's 16.0"
    assert said(rows, 1.0) == f"{told}: with --gpus-per-trial 0.2 each GPU runs 5 at a time\n"
    assert said(rows, 0.2) == f"{told}\n"
    assert said([{"event": "epoch"}], 1.0) == ""


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("RESOURCE_EXHAUSTED: Failed to allocate 8 bytes"), "out of memory: RESOURCE_EXHAUSTED: "),
        (RuntimeError("CUDA out of memory"), "out of memory: CUDA"),
        (ValueError("a bad shape"), "ValueError: a bad shape"),
    ],
)
def test_lack_of_memory_is_told_apart(error: Exception, expected: str) -> None:
    assert describe(error).startswith(expected)
