"""Metrics of traces, against values worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxshard.errors import EvaluationError
from fluxshard.evaluate.data.masks import encode
from fluxshard.evaluate.metrics.average_precision import average_precision
from fluxshard.evaluate.metrics.discovery import discovery_frames
from fluxshard.evaluate.metrics.score import score
from fluxshard.evaluate.traces.trace import FoundObject, Trace, TracedFrame

SIZE = (40, 60)


def found(
    x: int, y: int = 4, side: int = 10, *, score: float = 0.9, category: int = 0, masked: bool = True
) -> FoundObject:
    """A square object; its mask is the square."""
    mask = np.zeros(SIZE, np.uint8)
    mask[y : y + side, x : x + side] = 1
    box = (float(x), float(y), float(x + side), float(y + side))
    return FoundObject(category=category, score=score, box=box, mask=encode(mask) if masked else None)


def trace(*frames: tuple[FoundObject, ...], method: str = "m", **fields: float) -> Trace:
    body = {"keyframe": False, "compute_ratio": 0.5, "recompute_ratio": 0.25, "latency_ms": 8.0} | fields
    return Trace(
        clip="c",
        method=method,
        picture_size=SIZE,
        frames=tuple(TracedFrame(objects=objects, **body) for objects in frames),  # type: ignore[arg-type]
    )


def square(x: int, side: int = 10) -> str:
    return str(found(x, side=side).mask)


def test_j_is_the_best_overlap_of_a_confident_object_of_any_class() -> None:
    frames = ((), (found(0), found(5, category=3), found(7, score=0.2)), ())
    scores = score(trace(*frames), None, [None, square(7), square(7)])
    # squares of 10 px at x = 5 and x = 7 share 8 columns of 12; the one right on it is not confident
    assert scores.frames[1].jaccard == pytest.approx(8 / 12)
    assert scores.frames[0].jaccard is None and scores.frames[2].jaccard == 0
    assert scores.jaccard == pytest.approx(4 / 12)
    assert scores.miou is None and scores.ap is None and scores.discovery_frames == ()


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


def test_poses_of_which_the_dense_network_sees_nothing_do_not_count() -> None:
    unseen = FoundObject(category=0, score=0.9, box=(5.0, 5.0, 35.0, 35.0), keypoints=(9.0, 9.0, 0.4) * 17)
    dense = trace((), (unseen,))
    assert average_precision(dense, dense, 0.25) is None
    assert average_precision(trace((), ()), dense, 0.25) is None


def test_average_precision_of_poses_follows_the_similarity() -> None:
    """All keypoints off by as much as makes an OKS of 0.72: right at the 5 thresholds 0.50, 0.55 ... 0.70 of 10."""
    points = 4  # not COCO's 17: all sigmas are 1 / 4
    area = 30 * 30 * 0.53
    off = float(np.sqrt(-np.log(0.72) * 2 * area * (2 / points) ** 2))
    poses = [
        FoundObject(
            category=0, score=0.9, box=(5.0, 5.0, 35.0, 35.0), keypoints=tuple([10 + x, 12.0, 0.9] * points)
        )
        for x in (0, off)
    ]  # fmt: skip
    dense, mine = (trace((), (pose,)) for pose in poses)
    assert average_precision(mine, dense, 0.25) == pytest.approx(5 / 10)
    oks = score(mine, dense, None).oks
    assert oks == pytest.approx(0.72, abs=1e-4)


@pytest.mark.parametrize("masked", [True, False])
def test_average_precision_leaves_out_the_first_frame(masked: bool) -> None:
    one = found(0, masked=masked)
    assert average_precision(trace((), (one,)), trace((one,), (one,)), 0.25) == pytest.approx(1)
    assert average_precision(trace((one,), (one,)), trace((), (one,)), 0.25) == pytest.approx(1)
    assert average_precision(trace((one,), (one,)), trace((one,), ()), 0.25) is None


def test_keypoints_that_the_dense_network_does_not_see_are_not_compared() -> None:
    def pose(last: float) -> FoundObject:
        points = (10.0, 12.0, 0.9) * 3 + (last, 12.0, 0.4)
        return FoundObject(category=0, score=0.9, box=(5.0, 5.0, 35.0, 35.0), keypoints=points)

    assert average_precision(trace((), (pose(500),)), trace((), (pose(10),)), 0.25) == pytest.approx(1)


@pytest.mark.parametrize("masked", [True, False])
def test_average_precision_follows_the_overlap(masked: bool) -> None:
    """8 columns of 12: an IoU of 2/3 is right at the thresholds 0.50, 0.55, 0.60 and 0.65 of 10."""
    dense, mine = (trace((), (found(x, masked=masked),)) for x in (0, 2))
    assert average_precision(mine, dense, 0.25) == pytest.approx(4 / 10)


def test_all_objects_are_predictions_and_only_confident_ones_are_the_truth() -> None:
    unsure, sure = (trace((), (found(0, score=value),)) for value in (0.1, 0.9))
    assert average_precision(unsure, sure, 0.25) == pytest.approx(1)
    assert average_precision(sure, unsure, 0.25) is None
    assert score(unsure, sure, None).miou == 0  # which only confident ones count for


def test_the_evaluation_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    one = trace((), (found(0),))
    assert average_precision(one, one, 0.25) == pytest.approx(1)
    assert capsys.readouterr() == ("", "")


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


def test_what_is_missed_lowers_the_average_precision() -> None:
    dense = trace((), *[(found(0), found(30))] * 4)
    half = trace((), *[(found(0),)] * 4)
    assert average_precision(dense, dense, 0.25) == pytest.approx(1)
    # one of two objects, always right: precision 1 up to a recall of 0.5, and 0 behind; 51 of COCO's 101 points
    assert average_precision(half, dense, 0.25) == pytest.approx(51 / 101)
    assert average_precision(trace((), (), (), (), ()), dense, 0.25) == 0
    assert average_precision(dense, trace((), (), (), (), ()), 0.25) is None


def test_an_object_that_is_found_three_frames_late() -> None:
    life = [(), (), *[(found(k),) for k in range(8)]]
    late = [(), (), (), (), (), *life[5:]]
    assert discovery_frames(trace(*late), trace(*life), 0.25) == (3,)
    assert discovery_frames(trace(*life), trace(*life), 0.25) == (0,)
    assert discovery_frames(trace(*[()] * 10), trace(*life), 0.25) == (8,)  # never: its whole life


def test_objects_of_the_first_frame_and_short_lives_are_not_discovered() -> None:
    from_start = [(found(0),)] * 10
    flash = [(), (), *[(found(0),)] * 4, (), (), (), ()]
    assert discovery_frames(trace(*[()] * 10), trace(*from_start), 0.25) == ()
    assert discovery_frames(trace(*[()] * 10), trace(*flash), 0.25) == ()


def test_an_object_may_be_lost_for_two_frames() -> None:
    gap = [(), (found(0),), (found(0),), (), (), (found(1),), (found(1),), (found(1),)]
    assert discovery_frames(trace(*[()] * 8), trace(*gap), 0.25) == (7,)


def test_an_object_that_is_lost_for_three_frames_begins_again() -> None:
    seen = (found(0),)
    longer = [(), *[seen] * 5, (), (), (), *[seen] * 6]
    assert discovery_frames(trace(*[()] * 15), trace(*longer), 0.25) == (5, 6)


def test_discovery_needs_the_class_the_place_and_the_confidence() -> None:
    life = [(), *[(found(0),)] * 6]
    others = [(found(0, category=1),), (found(4),), (found(0, score=0.2),)]  # 6 of 14 columns: below one half
    late = [(), *others, (found(3),), *[()] * 2]  # 7 of 13 columns
    assert discovery_frames(trace(*late), trace(*life), 0.25) == (3,)


def test_objects_are_followed_where_they_overlap_most() -> None:
    """Two of one class side by side, and one of another on top: three lives, of which the method finds one late."""
    life = [(), *[(found(k), found(k + 6), found(k, category=1)) for k in range(6)]]
    mine = [(), *[(found(k), found(k + 6)) for k in range(2)], *life[3:]]
    assert discovery_frames(trace(*mine), trace(*life), 0.25) == (0, 0, 2)


def test_an_object_that_changes_its_class_is_another_one() -> None:
    life = [(), *[(found(0),)] * 3, *[(found(0, category=1),)] * 3]
    assert discovery_frames(trace(*life), trace(*life), 0.25) == ()  # two lives of 3 frames: too short


@pytest.mark.parametrize(("step", "expected"), [(5, (0,)), (6, ())])  # IoU 5/15 and 4/16; 0.3 is followed
def test_how_fast_an_object_is_followed(step: int, expected: tuple[int, ...]) -> None:
    life = [(), *[(found(step * k),) for k in range(6)]]
    assert discovery_frames(trace(*life), trace(*life), 0.25) == expected
