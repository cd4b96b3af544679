"""Answers within a time: whose they are, where they have moved to, what they count, and what failures do."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from fluxshard.errors import FluxShardError, OptionError, StateError
from fluxshard.models.detections.advance import advance
from fluxshard.motion import MotionField
from fluxshard.options import PlannedOptions
from fluxshard.pipeline.anytime.timely_loop import TimelyLoop
from fluxshard.pipeline.detection_head import DetectionHead
from fluxshard.pipeline.stream_loop import StreamLoop
from fluxshard.testing.fake_session import YOLO_LIKE, FakeSession
from tests.unit.pipeline.frame_loop import IMAGE, frames

SOON, EVER = 1.0, 60_000.0  # milliseconds: less than a session that waits takes, and more than any takes
RIGHT = MotionField(
    np.broadcast_to(np.array([0, 4], np.int16), (8, 12, 2)).copy(), np.ones((8, 12), np.bool_), 8
)  # 4 px


@dataclass
class Gated(FakeSession):
    """Runs a frame when it is let."""

    gate: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    begun: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def run(self, image, motion=None):
        self.begun.release()
        assert self.gate.acquire(timeout=20)
        return super().run(image, motion)


def loop_over(session, **changes):
    return StreamLoop(
        session=session, detect=DetectionHead(YOLO_LIKE.layout, IMAGE, confidence=0.1), objects=PlannedOptions(),
        **changes,
    )  # fmt: skip


def moving(n):
    return [replace(frame, motion=RIGHT) for frame in frames(n)]


def step(loop, frame):
    return loop.step(frame.planes, frame.motion, frame)


def left(answer):
    return float(answer.found.boxes[0, 0])


def test_a_result_that_is_there_in_time_is_the_frames_own():
    session = FakeSession(drift=4.0)
    with TimelyLoop(loop_over(session), EVER) as loop:
        answers = [step(loop, frame) for frame in moving(4)]
    expected = FakeSession(drift=4.0)
    alone = loop_over(expected)
    for frame, answer in zip(moving(4), answers, strict=True):
        other = step(alone, frame)
        assert answer.carried == 0 and np.array_equal(answer.found.boxes, other.found.boxes)
        assert answer.stats == other.stats and answer.outputs is not None
    assert all(np.array_equal(a, b) for a, b in zip(session.regions, expected.regions, strict=True))
    assert [seen is RIGHT for seen in session.seen] == [True] * 4


def test_a_late_frame_has_the_newest_result_moved_along_the_motion_of_every_frame_since():
    session = Gated()
    session.gate.release()
    with TimelyLoop(loop_over(session), SOON) as loop:
        first, *late = moving(5)
        own = step(loop, first)
        answers = [step(loop, frame) for frame in late]
        session.gate.release(10)
    assert [answer.carried for answer in (own, *answers)] == [0, 1, 2, 3, 4]
    expected = own.found
    for answer in answers:
        expected = advance(expected, RIGHT)
        assert np.array_equal(answer.found.boxes, expected.boxes)
        assert answer.outputs is None and answer.regions is None
        assert answer.stats.compute_ratio == 0 and answer.stats.bytes_sent == 0 and not answer.stats.keyframe
    assert left(answers[-1]) == left(own) + 16


def test_the_next_run_is_of_the_newest_frame_with_the_motion_of_all():
    session = Gated()
    session.gate.release()
    with TimelyLoop(loop_over(session), SOON) as loop:
        first, second, third, fourth, fifth = moving(5)
        step(loop, first)
        assert session.begun.acquire(timeout=20)
        step(loop, second)
        assert session.begun.acquire(timeout=20)  # it runs; the next two wait, and one of them in vain
        step(loop, third)
        step(loop, fourth)
        session.gate.release(2)
        assert session.begun.acquire(timeout=20)
        loop.close()
        with pytest.raises(StateError, match="closed"):
            step(loop, fifth)
    assert len(session.seen) == 3
    assert session.seen[1] is RIGHT and set(session.seen[2].displacement[..., 1].ravel()) == {8}


def test_a_result_that_comes_later_is_moved_from_its_own_frame_on_and_counts_once():
    session = Gated(drift=4.0)
    session.gate.release()
    with TimelyLoop(loop_over(session), SOON) as loop:
        first, second, third, fourth, fifth = moving(5)
        own = step(loop, first)
        assert session.begun.acquire(timeout=20)
        step(loop, second)
        assert session.begun.acquire(timeout=20)
        assert step(loop, third).carried == 2
        session.gate.release()
        assert session.begun.acquire(timeout=20)  # the second frame is done, and the third runs
        late = step(loop, fourth)
        after = step(loop, fifth)
        session.gate.release(10)
    assert late.carried == 2 and left(late) == left(own) + 4 + 8  # where the second frame saw it, and two moves
    assert late.stats.compute_ratio == 0.2 and late.placement is None
    assert after.carried == 3 and after.stats.compute_ratio == 0


def test_a_frame_that_starts_anew_waits_for_itself():
    session = Gated()
    session.gate.release(20)
    with TimelyLoop(loop_over(session), SOON) as loop:
        step(loop, next(frames(1)))
        anew = replace(next(frames(1)), starts_anew=True, motion=None)
        answer = step(loop, anew)
    assert answer.carried == 0 and session.seen[-1] is None


def test_a_failure_is_raised_where_the_next_answer_is_asked_for():
    with TimelyLoop(loop_over(FakeSession(fail_at=2)), EVER) as loop:
        first, second, third, fourth = moving(4)
        step(loop, first)
        step(loop, second)
        for frame in (third, fourth):
            with pytest.raises(FluxShardError, match="stumbled at frame 2"):
                step(loop, frame)


def test_what_cannot_answer_in_time_is_refused():
    with pytest.raises(OptionError, match=r"within_ms \(=0\) must be a finite number above 0"):
        TimelyLoop(loop_over(FakeSession()), 0)
    with pytest.raises(OptionError, match="need detections"):
        TimelyLoop(StreamLoop(session=FakeSession()), 10)
    with TimelyLoop(loop_over(FakeSession()), 10) as loop, pytest.raises(StateError, match="frames of a video"):
        loop.step(next(frames(1)).planes)
