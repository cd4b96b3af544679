"""Figures of streams, computed by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fluxshard.evaluate.end_to_end.entrants import H264, OFFLOAD, PLANNED, entrant
from fluxshard.evaluate.end_to_end.figures import anytime_figures, as_values, clip_frames, method_figures
from fluxshard.evaluate.end_to_end.records import PARTS, StreamRecord
from fluxshard.evaluate.end_to_end.replays import PERIOD_MS
from tests.unit.evaluate.end_to_end.materials import material, options


def record(**changes: object) -> StreamRecord:
    """Three frames, 100 ms each: the cloud's, the edge's, and one that both ran."""
    parts = np.zeros((3, len(PARTS)))
    parts[:, PARTS.index("pre_ms")] = 8
    parts[[0, 2], PARTS.index("server_ms")] = 20
    parts[1, PARTS.index("edge_ms")] = 92
    values: dict[str, object] = {
        "frame": np.array([0.0, 3.0, 6.0]), "start_ms": np.array([0.0, 3.0, 6.0]) * PERIOD_MS,
        "latency_ms": np.full(3, 3 * PERIOD_MS), "cloud": np.array([1.0, 0.0, 1.0]),
        "hedged": np.array([0.0, 0.0, 1.0]), "repeated": np.zeros(3), "work": np.array([0.2, 0.4, 0.6]),
        "busy_ms": np.array([0.0, 92.0, 46.0]), "parts": parts, "totals": np.array([288.0, 72.0]),
    }  # fmt: skip
    return StreamRecord(**(values | changes))  # type: ignore[arg-type]


def test_a_stream_by_hand() -> None:
    one = method_figures([(record(), material())], entrant(PLANNED), options())
    assert (one.frames, one.mean_ms, one.p95_ms) == (3, pytest.approx(100), pytest.approx(100))
    assert one.fps == pytest.approx(15)  # from the first answer to the last, two periods of three frames
    assert one.tx == pytest.approx(288 / (3 * 192)) and one.kb == pytest.approx(0.096)
    assert one.compute == pytest.approx(0.4)
    assert (one.cloud, one.hedged, one.repeated) == (pytest.approx(2 / 3), pytest.approx(1 / 3), 0)
    assert one.spare == pytest.approx(0.25)
    energy = options().workload.energy
    assert one.energy_j == pytest.approx((energy.wait_w * 100 + energy.busy_w * (46 + 8)) / 1e3)
    assert one.spare_j == pytest.approx(energy.busy_w * 46 / 3 / 1e3)
    assert one.age_ms == pytest.approx(150)
    assert one.edge.share == pytest.approx(1 / 3) and one.edge.compute_ms == 92 and one.edge.work == 0.4
    assert one.cloud_path.compute_ms == 20 and one.cloud_path.work == pytest.approx(0.4)
    assert one.loss == pytest.approx(0.02)
    assert json.dumps(as_values(one))


def test_who_only_sends_spends_nothing_on_planning() -> None:
    sends, plans = (
        method_figures([(record(busy_ms=np.zeros(3)), material())], entrant(name), options())
        for name in (OFFLOAD, PLANNED)
    )
    energy = options().workload.energy
    assert sends.energy_j == pytest.approx(energy.wait_w * 0.1)
    assert plans.energy_j - sends.energy_j == pytest.approx(energy.busy_w * 0.008)


def test_accuracy_is_that_of_the_frames_that_were_answered() -> None:
    """Frames 0, 3 and 6 of a stream are 4, 7 and, as the clip starts over, 4 again."""
    clip = material()
    assert clip_frames(record(), clip).tolist() == [4, 7, 4]
    clip.answers["dense"].accuracy[:] = [*range(10)]
    clip.answers["dense"].accuracy[7] = np.nan
    one = method_figures([(record(), clip)], entrant(H264), options())
    assert one.accuracy == one.dense_accuracy == 4 and one.loss == 0


def test_streams_count_by_their_frames() -> None:
    slow = record(latency_ms=np.full(3, 200.0))
    both = method_figures([(record(), material()), (slow, material())], entrant(PLANNED), options())
    assert both.mean_ms == pytest.approx(150) and both.frames == 6


def test_answers_at_any_time_are_moved() -> None:
    """Answers are there at frames 3, 6 and 9; with 10 ms to answer, those of 3 to 5 show frame 0, moved."""
    found = anytime_figures([(record(), material(accuracy=1.0))], 10.0)
    assert found.frames == 6  # of frames 3 to 8
    assert found.age == pytest.approx((3 + 4 + 5) / 3)
    # 10% are lost per frame of age; measured are 1, 2 and 4, of which 5 is as 4
    assert found.accuracy == pytest.approx(((1 - 0.3) + (1 - 0.4) + (1 - 0.4)) / 3)
    assert found.loss == pytest.approx(1 - found.accuracy)
