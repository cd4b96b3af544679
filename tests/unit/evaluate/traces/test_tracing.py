"""Traces of a detector whose results are known by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fluxshard.evaluate.methods.compiled_network import CompiledNetwork
from fluxshard.evaluate.methods.method import Skip, SkipMoved, dense_method, dense_on_canvas
from fluxshard.evaluate.traces.tracing import MOST_OBJECTS, trace_clip
from fluxshard.motion import MotionField
from fluxshard.testing.evaluation import SIZE, bright_network, clip_of
from fluxshard.testing.networks import square


@pytest.fixture(scope="module")
def network() -> CompiledNetwork:
    return bright_network()


def test_objects_are_in_pixels_of_the_picture(network: CompiledNetwork) -> None:
    """Pictures of 16x16 px lie at twice their size between bars of 8 px left and right."""
    clip = clip_of([square(8, 16), square(8, 32)], picture=(16, 16), name="bear")
    trace = trace_clip(dense_method(), network, clip)
    assert (trace.clip, trace.method, trace.picture_size) == ("bear", "dense", (16, 16))
    assert [[one.box for one in frame.objects] for frame in trace.frames] == [[(4, 4, 8, 8)], [(12, 4, 16, 8)]]
    (found,) = trace.frames[0].objects
    assert (found.category, found.mask, found.keypoints) == (0, None, None) and found.score == pytest.approx(
        1, abs=1e-5
    )


def test_objects_on_a_canvas_lie_where_they_lie_without(network: CompiledNetwork) -> None:
    images = [square(8 + 2 * index, 16 - 3 * index) for index in range(4)]
    trace = trace_clip(dense_on_canvas(8), network, clip_of(images, motion=(2, -3)))
    for index, frame in enumerate(trace.frames):
        (found,) = frame.objects
        assert found.box == (16 - 3 * index, 8 + 2 * index, 24 - 3 * index, 16 + 2 * index)


def test_frames_keep_what_the_method_says(network: CompiledNetwork) -> None:
    done: list[int] = []
    trace = trace_clip(Skip(every=2), network, clip_of([square(8, 8)] * 5), done.append)
    assert [frame.keyframe for frame in trace.frames] == [True, False] * 2 + [True]
    assert [frame.compute_ratio for frame in trace.frames] == [1, 0, 1, 0, 1]
    assert [frame.latency_ms > 0 for frame in trace.frames] == [True, False] * 2 + [True]
    assert all(np.isnan(frame.tx_ratio) for frame in trace.frames) and done == [1] * 5
    assert trace.facts["family"] == "skip" and trace.facts["every"] == 2
    assert trace.facts["network"] == "BrightCells" and trace.facts["task"] == "detect"
    assert trace.facts["shape"] == list(SIZE) and trace.facts["threads"] == torch.get_num_threads()


def test_moved_objects_are_in_pixels_of_the_picture(network: CompiledNetwork) -> None:
    """Pictures of 16x16 px lie at twice their size between bars of 8 px left and right."""
    images = [square(8, 16 + 4 * index) for index in range(4)]
    trace = trace_clip(SkipMoved(every=4), network, clip_of(images, picture=(16, 16), motion=(0, 4)))
    assert [[one.box for one in frame.objects] for frame in trace.frames] == [
        [(4 + 2 * index, 4, 8 + 2 * index, 8)] for index in range(4)
    ]
    assert [frame.compute_ratio for frame in trace.frames] == [1, 0, 0, 0]
    assert trace.facts["family"] == "skip-moved" and trace.facts["every"] == 4


def test_equal_runs_are_equal_but_for_latency(network: CompiledNetwork) -> None:
    clip = clip_of([square(8, 8 * index) for index in range(4)], motion=(0, 8))
    traces = [trace_clip(dense_on_canvas(8), network, clip) for _ in range(2)]
    first, second = (
        repr([replace(frame, latency_ms=0.0) for frame in trace.frames]) + repr(trace.facts) for trace in traces
    )
    assert first == second


def test_spread_of_the_motion(network: CompiledNetwork) -> None:
    """Half of the valid cells moved by 4 px on both axes, the others stand still: the deviation is 2 per axis."""
    values = np.zeros((4, 6, 2), np.int64)
    values[:2] = 4
    values[:, 5] = 100
    valid = np.ones((4, 6), np.bool_)
    valid[:, 5] = False
    clip = clip_of([square(8, 8)] * 3)
    clip = replace(clip, motion=(None, MotionField(values, valid), MotionField(values, np.zeros_like(valid))))
    assert [frame.motion_px for frame in trace_clip(dense_method(), network, clip).frames] == [
        0,
        pytest.approx(8**0.5),
        0,
    ]


def test_the_best_objects_are_kept(network: CompiledNetwork) -> None:
    """24 cells, the brighter the further on, of which 20 are kept, best first."""
    image = torch.zeros(1, 3, *SIZE)
    for cell in range(24):
        row, column = divmod(cell, 6)
        image[..., 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = (140 + 4 * cell) / 255  # scores 0.10 to 0.82
    trace = trace_clip(dense_method(), network, clip_of([image]))
    scores = [one.score for one in trace.frames[0].objects]
    expected = [2 * (140 + 4 * cell) / 255 - 1 for cell in range(23, 3, -1)]
    assert MOST_OBJECTS == 20 and scores == pytest.approx(expected, abs=1e-5)
