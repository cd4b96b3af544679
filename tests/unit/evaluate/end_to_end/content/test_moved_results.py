"""Results that are moved to later frames, and how good they are then."""

from __future__ import annotations

import numpy as np

from fluxshard.evaluate.data.clips import PreparedClip
from fluxshard.evaluate.end_to_end.content.moved_results import moved_accuracy, moved_traces
from fluxshard.evaluate.methods.method import dense_method
from fluxshard.evaluate.traces.tracing import trace_clip
from fluxshard.testing.evaluation import bright_network, clip_of
from fluxshard.testing.networks import square

FRAMES = 5


def clip(motion: tuple[int, int]) -> PreparedClip:
    """A square that moves by 8 px a frame, with vectors that say so, or do not."""
    return clip_of([square(8, 8 * number) for number in range(FRAMES)], motion)


def test_moved_results_are_where_the_square_is() -> None:
    prepared, network = clip((0, 8)), bright_network()
    dense = trace_clip(dense_method(), network, prepared)
    told: list[tuple[int, int]] = []
    traces = moved_traces(dense_method(), network, prepared, (1, 2), lambda one, count: told.append((one, count)))
    assert told == [(number + 1, FRAMES) for number in range(FRAMES)] and set(traces) == {1, 2}
    for age, trace in traces.items():
        assert not any(frame.objects for frame in trace.frames[:age])
        for frame, now in zip(trace.frames[age:], dense.frames[age:], strict=True):
            assert [one.box for one in frame.objects] == [one.box for one in now.objects]
    for age, values in moved_accuracy(traces, dense, prepared, "miou").items():
        assert np.isnan(values[:age]).all() and values[age:].tolist() == [1.0] * (FRAMES - age)


def test_results_that_stay_behind_lose() -> None:
    prepared, network = clip((0, 0)), bright_network()
    dense = trace_clip(dense_method(), network, prepared)
    found = moved_accuracy(moved_traces(dense_method(), network, prepared, (1, 4)), dense, prepared, "miou")
    assert found[1][1:].tolist() == [0.0] * (FRAMES - 1) and found[4][4:].tolist() == [0.0]
