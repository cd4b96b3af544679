"""Figures of a whole run."""

from __future__ import annotations

import pytest

from fluxshard.pipeline.summary import summarise
from fluxshard.testing.fake_session import FakeSession
from tests.unit.pipeline.frame_loop import run_loop


def test_figures_leave_out_the_first_frame(tmp_path):
    records = list(run_loop(tmp_path, FakeSession()))
    summary = summarise(records, {})
    assert summary["frames"] == 5 and summary["frames_counted"] == 4
    assert summary["compute_ratio"]["mean"] == pytest.approx(0.2)
    assert summary["recompute_ratio"]["max"] == pytest.approx(0.1)
    assert summary["keyframes_counted"] == 0 and summary["latency_ms"]["dense"] is None
    assert summary["motion_sources"] == {"codec": 4}
