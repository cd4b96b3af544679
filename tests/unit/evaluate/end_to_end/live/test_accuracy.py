"""Answers are compared with their own frames, in the order in which these were shown."""

from __future__ import annotations

import numpy as np
import pytest

from fluxshard.evaluate.end_to_end.live.accuracy import Reference
from fluxshard.evaluate.traces.trace import Trace, TracedFrame
from fluxshard.testing.evaluation import found
from tests.unit.evaluate.end_to_end.live.small_runs import answers, row


def dense_trace() -> Trace:
    """An object where all answers see it, one elsewhere, and a frame without any."""
    seen = ((found(0.9),), (found(0.9, (20, 20, 28, 28)),), ())
    frames = tuple(TracedFrame(keyframe=True, compute_ratio=1.0, recompute_ratio=1.0, objects=one) for one in seen)
    return Trace(clip="clip", method="dense", picture_size=(32, 48), frames=frames)


def test_each_answer_has_its_own_frame() -> None:
    reference = Reference(dense=dense_trace(), annotations=None)
    given = answers(*(row(index, picture=picture) for index, picture in enumerate((1, 0, 0, 2, 1))))
    own, dense = reference.accuracy(given, "miou")
    np.testing.assert_array_equal(own, [0, 1, 1, np.nan, 0])
    np.testing.assert_array_equal(dense, [1, 1, 1, np.nan, 1])


def test_frames_without_an_answer_count_nowhere() -> None:
    own, _ = Reference(dense=dense_trace(), annotations=None).accuracy(answers(row(0), row(1, answered=0)), "miou")
    assert own[0] == pytest.approx(1) and np.isnan(own[1])
