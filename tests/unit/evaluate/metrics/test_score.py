"""Scores of traces against values worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxshard.errors import EvaluationError
from fluxshard.evaluate.data.masks import encode
from fluxshard.evaluate.metrics.score import score
from fluxshard.evaluate.traces.trace import FoundObject
from tests.unit.evaluate.metrics.squares import found, square, trace


def test_j_is_the_best_overlap_of_a_confident_object_of_any_class() -> None:
    frames = ((), (found(0), found(5, category=3), found(7, score=0.2)), ())
    scores = score(trace(*frames), None, [None, square(7), square(7)])
    # squares of 10 px at x = 5 and x = 7 share 8 columns of 12; the one right on it is not confident
    assert scores.frames[1].jaccard == pytest.approx(8 / 12)
    assert scores.frames[0].jaccard is None and scores.frames[2].jaccard == 0
    assert scores.jaccard == pytest.approx(4 / 12)
    assert scores.miou is None and scores.ap is None and scores.discovery_frames == ()


def test_a_teacher_is_another_reference() -> None:
    mine, teacher = trace((), (found(0),), (found(5, score=0.2),)), trace((), (found(0),), (found(5),))
    scores = score(mine, mine, None, teacher=teacher)
    assert [frame.teacher for frame in scores.frames] == [None, 1.0, 0.0]  # the last is not confident
    assert scores.teacher == pytest.approx(0.5) and scores.miou == 1
    with pytest.raises(EvaluationError, match="same frames"):
        score(mine, mine, None, teacher=trace((), ()))


def test_j_needs_masks() -> None:
    assert score(trace((), (found(0, masked=False),)), None, [None, square(0)]).jaccard is None


def test_a_frame_without_objects_does_not_make_a_model_one_with_masks() -> None:
    """A detector has no J at all; a segmenter that finds nothing has one of 0."""
    boxes = trace((), (found(0, masked=False),), ())
    annotations = [square(0)] * 3
    assert [frame.jaccard for frame in score(boxes, None, annotations).frames] == [None] * 3
    assert score(boxes, None, annotations).jaccard is None
    assert score(trace((), (), ()), boxes, annotations).jaccard is None
    assert score(trace((), (), ()), trace((), (found(0),), ()), annotations).jaccard == 0


def test_agreement_with_the_dense_network() -> None:
    dense = trace((), (found(0), found(30)), (found(0),), ())
    mine = trace((), (found(2), found(30, category=1)), (), (found(5),))
    scores = score(mine, dense, None)
    one, two, three = scores.frames[1:]
    # 8 of 12 columns; the other object is of another class
    assert one.miou == pytest.approx((8 / 12 + 0) / 2) and one.f1 == pytest.approx(2 * 1 / 4)
    assert two.miou == 0 and two.f1 == 0
    assert three.miou is None and three.f1 == 0  # found where there is nothing
    assert scores.miou == pytest.approx(1 / 6) and scores.f1 == pytest.approx((0.5 + 0 + 0) / 3)


def test_overlap_is_a_mean_over_the_objects_of_the_dense_network() -> None:
    """What the method finds besides costs f1 only."""
    one, two = trace((), (found(0),)), trace((), (found(2), found(30)))
    assert score(two, one, None).miou == pytest.approx(8 / 12)
    assert score(two, one, None).f1 == pytest.approx(2 / 3)
    assert score(one, two, None).miou == pytest.approx((8 / 12 + 0) / 2)


def test_latency_is_a_median() -> None:
    clip = trace((), (), (), ())
    frames = tuple(replace(frame, latency_ms=ms) for frame, ms in zip(clip.frames, (99.0, 4.0, 30.0, 5.0), strict=True))
    assert score(replace(clip, frames=frames), None, None).latency_ms == 5


def test_means_leave_out_the_first_frame() -> None:
    frames = trace((), (), ())
    frames = replace(frames, frames=(replace(frames.frames[0], compute_ratio=1.0, latency_ms=99.0), *frames.frames[1:]))
    scores = score(frames, None, None)
    assert scores.compute_ratio == 0.5 and scores.latency_ms == 8.0 and scores.recompute_ratio == 0.25
    assert scores.frames[0].compute_ratio == 1.0


def test_drift_is_the_slope_per_hundred_frames() -> None:
    dense = trace(*[(found(0),)] * 11)
    # every fourth frame one column further away: IoU (10 - k) / (10 + k)
    moved = trace((found(0),), *[(found(k // 4),) for k in range(10)])
    values = [(10 - k // 4) / (10 + k // 4) for k in range(10)]
    expected = 100 * np.polyfit(np.arange(10), values, 1)[0]
    assert score(moved, dense, None).drift == pytest.approx(expected)
    for count, expected in ((9, None), (10, 0)):
        still = trace(*[(found(0),)] * count)
        assert score(still, still, None).drift == expected


def test_frames_without_a_value_stretch_the_slope() -> None:
    """IoU of 1 in frame 1 and of 8/12 in frame 9, nothing in between: 8 frames for a third."""
    dense = trace((), (found(0),), *[()] * 7, (found(0),))
    mine = trace((), (found(0),), *[()] * 7, (found(2),))
    assert score(mine, dense, None).drift == pytest.approx(-100 / 24)


def test_poses_are_compared_by_keypoints() -> None:
    def person(dx: float) -> FoundObject:
        points = tuple(value for k in range(17) for value in (10.0 + k + dx, 12.0, 0.9))
        return FoundObject(category=0, score=0.9, box=(5.0, 5.0, 35.0, 35.0), keypoints=points)

    dense = trace((), (person(0),), (person(0),))
    near = score(trace((), (person(1),), ()), dense, None)
    assert near.frames[1].oks is not None and 0.3 < near.frames[1].oks < 1 and near.frames[2].oks == 0
    same = score(dense, dense, None)
    assert same.oks == pytest.approx(1) and same.ap == pytest.approx(1) and near.ap is not None and near.ap < 1


def test_traces_of_other_frames_are_refused() -> None:
    with pytest.raises(EvaluationError, match="same frames"):
        score(trace(()), trace((), ()), None)
    with pytest.raises(EvaluationError, match="1 annotations"):
        score(trace((), ()), None, [None])
    for changes in ({"clip": "d"}, {"picture_size": (60, 40)}):
        with pytest.raises(EvaluationError, match="evaluate both again"):
            score(trace(()), replace(trace(()), **changes), None)


def test_masks_of_another_size_are_refused() -> None:
    small = encode(np.ones((20, 30), np.bool_))
    one = trace((), (found(0),))
    with pytest.raises(EvaluationError, match=r"cover 600 pixels and the picture \(40, 60\)"):
        score(one, None, [None, small])
    odd = trace((), (replace(found(0, score=0.1), mask=small),))  # not confident: only the precision sees it
    with pytest.raises(EvaluationError, match="cover 600 pixels"):
        score(odd, one, None)


objects = st.lists(
    st.builds(
        found, st.integers(0, 45), st.integers(0, 25), st.integers(3, 12), score=st.floats(0.3, 1),
        category=st.integers(0, 2),
    ),
    max_size=3, unique_by=lambda one: one.box,
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.lists(objects, min_size=2, max_size=7))
def test_a_trace_agrees_with_itself(frames: list[list[FoundObject]]) -> None:
    one = trace(*map(tuple, frames))
    scores = score(one, one, None)
    for frame in scores.frames:
        assert frame.miou in (None, pytest.approx(1)) and frame.f1 in (None, 1)
    assert scores.ap is None or scores.ap == pytest.approx(1, abs=1e-6)
    assert not any(scores.discovery_frames)
