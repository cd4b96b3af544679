"""Edges that wait for each other."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

import fluxshard.evaluate.end_to_end.live.edge.meeting as meeting_module
from fluxshard.evaluate.end_to_end.live.edge.meeting import ENOUGH, READY, Meeting


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(now=5.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(meeting_module, "time", clock)
    return clock


def test_all_are_told_when_the_last_one_arrived(tmp_path: Path, clock: SimpleNamespace) -> None:
    first, second, third = (Meeting(tmp_path / "made", edge, 3) for edge in range(3))
    second.arrive(READY)
    clock.now = 7.25
    first.arrive(READY)
    assert first.latest(READY) is None and second.latest(READY) is None and third.latest(READY) is None
    clock.now = 6.5
    third.arrive(READY)
    clock.now = 99.0
    first.arrive(READY)  # again: nothing changes
    assert [one.latest(READY) for one in (first, second, third)] == [7.25] * 3
    assert first.latest(ENOUGH) is None


def test_an_edge_alone_meets_nobody(tmp_path: Path, clock: SimpleNamespace) -> None:
    alone = Meeting(tmp_path / "made")
    assert alone.latest(READY) is None
    alone.arrive(READY)
    assert alone.latest(READY) == 5.0 and not (tmp_path / "made").exists()
