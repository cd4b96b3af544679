"""Peaks of resident memory."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from fluxshard.evaluate.end_to_end.live.memory import forget_peak, peak_mib


def test_what_the_kernel_says(tmp_path: Path) -> None:
    folder = tmp_path / "7"
    folder.mkdir()
    (folder / "status").write_text("Name:\tx\nVmHWM:\t  2048 kB\nVmRSS:\t 1024 kB\n")
    assert peak_mib(7, tmp_path) == 2.0
    forget_peak(7, tmp_path)
    assert (folder / "clear_refs").read_text() == "5"


@pytest.mark.parametrize("text", ["", "VmHWM:\n", "VmHWM:\tmany kB\n"])
def test_nothing_is_known(tmp_path: Path, text: str) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "status").write_text(text)
    assert math.isnan(peak_mib(7, tmp_path)) and math.isnan(peak_mib(8, tmp_path))
    forget_peak(8, tmp_path)  # no error: the process is gone


def test_this_process_has_some() -> None:
    found = peak_mib()
    if math.isnan(found):
        pytest.skip("this kernel does not tell")
    assert 1 < found < 1e6
