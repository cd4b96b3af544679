"""Load of other programs, from the kernel's counters."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from fluxshard.pipeline.profiling.other_load import OtherLoad


def ticks(root: Path, *counters: int) -> Path:
    """user, nice, system, idle, iowait, irq, softirq, steal, guest, guest_nice."""
    path = root / "proc/stat"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"cpu  {' '.join(map(str, counters))}\ncpu0 1 2 3\n")
    return path


def test_what_others_took_is_what_was_busy_but_for_our_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [5.0]
    monkeypatch.setattr(time, "process_time", lambda: now[0])
    ticks(tmp_path, 100, 0, 50, 1000, 20, 0, 0, 0, 77, 0)
    load = OtherLoad(tmp_path, ticks_per_s=100)
    assert load.share() is None  # no time has passed
    ticks(tmp_path, 160, 10, 60, 1100, 30, 0, 0, 10, 99, 0)  # 90 of 200 busy
    now[0] += 0.5  # 50 of them ours
    assert load.share() == pytest.approx(0.2)
    now[0] += 10
    assert load.share() == 0


@pytest.mark.parametrize("text", ["", "cpu 1 2 3\n", "cpu a b c d e f g h\n", "intr 1 2 3 4 5 6 7 8\n"])
def test_systems_that_do_not_tell(tmp_path: Path, text: str) -> None:
    assert OtherLoad(tmp_path).share() is None
    ticks(tmp_path).write_text(text)
    assert OtherLoad(tmp_path).share() is None
