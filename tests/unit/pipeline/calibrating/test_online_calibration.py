"""Which frames are computed twice, and what they do to the thresholds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from fluxshard.models.detections.detections import Detections
from fluxshard.pipeline.calibrating.online_calibration import OnlineCalibration
from fluxshard.pipeline.calibrating.options import CalibrationOptions
from fluxshard.runtime.engines.engine import StepCounts
from fluxshard.runtime.planned.planner import PlannedFrame
from fluxshard.testing.fake_session import FakeSession

COUNTS = StepCounts(keyframe=False, input_cells=0, candidates=np.zeros(1, np.int64), executed=np.zeros(1, np.bool_))
PLANNED = PlannedFrame(work={}, counts=COUNTS, work_ratio=0.2)
WHOLE = PlannedFrame(work=None, counts=COUNTS, work_ratio=1.0)
OPTIONS = CalibrationOptions(alpha=0.9, first=3, every=34)


def found(x: float, score: float = 0.9) -> Detections:
    return Detections(
        np.array([[x, 20.0, x + 20, 40.0]], np.float32), np.array([score], np.float32), np.zeros(1, np.int64), (64, 96)
    )


def due_frames(calibration: OnlineCalibration, n: int, off: Callable[[int], float]) -> list[int]:
    """The frames that are due where the planned result is off by a share of the object's side."""
    frames = []
    for index in range(n):
        calibration.count()
        if calibration.is_due(PLANNED):
            calibration.take(found(10), found(10 + 20 * off(len(frames))))
            frames.append(index)
    return frames


def test_frames_are_looked_at_soon_and_then_now_and_then() -> None:
    frames = due_frames(OnlineCalibration(OPTIONS, FakeSession(), 0.25), 60, lambda n: 0.5)
    assert frames == [2, 36]


def test_they_are_rarer_while_the_thresholds_fit_and_not_after_a_surprise() -> None:
    # off by a twentieth of the side: 1 - 19 / 21, about the budget of 0.1
    frames = due_frames(OnlineCalibration(OPTIONS, FakeSession(), 0.25), 700, lambda n: 0.9 if n == 4 else 0.05)
    assert frames[:6] == [2, 2 + 68, 2 + 68 + 136, 2 + 68 + 2 * 136, 2 + 68 + 3 * 136, 2 + 68 + 3 * 136 + 34]


@pytest.mark.parametrize("planned", [None, WHOLE])
def test_a_frame_that_was_whole_tells_nothing_and_the_next_one_is_taken(planned: PlannedFrame | None) -> None:
    calibration = OnlineCalibration(OPTIONS, FakeSession(), 0.25)
    for _ in range(5):
        calibration.count()
        assert not calibration.is_due(planned)
    assert calibration.is_due(PLANNED)


def test_the_session_has_the_scale_from_the_start_and_after_every_look() -> None:
    session = FakeSession()
    calibration = OnlineCalibration(OPTIONS, session, 0.25)
    assert session.scales == [1.0]
    taken = calibration.take(found(15), found(10))  # 15 of 25 px in common
    assert taken.scale == 1.0 and taken.error == pytest.approx(1 - 15 / 25)
    assert session.scales == [1.0, calibration.scale] and calibration.scale < 0.5


def test_what_is_hardly_found_does_not_count() -> None:
    calibration = OnlineCalibration(OPTIONS, FakeSession(), 0.25)
    assert calibration.take(found(10, 0.2), found(60, 0.2)).error == 0
