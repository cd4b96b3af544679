"""Records of frames."""

from __future__ import annotations

from fluxshard.pipeline.frame_record import FrameRecord


def test_record_ratio_of_stats_without_it():
    record = FrameRecord(frame=0, time_s=None, stats={}, incremental_ms=1.0)
    assert record.ratio("compute_ratio") != record.ratio("compute_ratio")
