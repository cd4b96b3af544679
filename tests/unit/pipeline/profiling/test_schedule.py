"""Schedules: as many frames as asked for, every stream warm, all gaps and streams in turns."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxshard.errors import OptionError
from fluxshard.options import PlannedOptions, ReuseOptions
from fluxshard.pipeline.profiling.schedule import REPEAT, ProfilingOptions, steps


@given(
    frames=st.integers(1, 80), warm_up=st.integers(0, 5), streams=st.integers(1, 4), block=st.integers(2, 12),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_as_many_frames_count_as_asked_for_and_none_before_its_stream_is_warm(
    frames: int, warm_up: int, streams: int, block: int, seed: int
) -> None:
    options = ProfilingOptions(frames=frames, warm_up=warm_up, block=block, seed=seed)
    ran, counted, last = [0] * streams, 0, None
    for index, step in enumerate(steps(streams, options)):
        if index == 0:
            assert step.gap > 0  # there is no picture yet
        if step.counts:
            assert ran[step.stream] >= warm_up
            assert streams == 1 or last == step.stream
        else:
            assert not step.keyframe
        ran[step.stream] += 1
        counted += step.counts
        last = step.stream
    assert counted == frames
    assert step.counts  # it ends with the last one


def test_what_is_drawn_is_drawn_again() -> None:
    options = ProfilingOptions(frames=100)
    assert list(steps(3, options)) == list(steps(3, options))
    assert list(steps(3, options)) != list(steps(3, ProfilingOptions(frames=100, seed=1)))


def test_streams_gaps_and_keyframes_take_turns() -> None:
    options = ProfilingOptions(frames=300)
    counted = [step for step in steps(3, options) if step.counts]
    assert {step.stream for step in counted[:75]} == {step.stream for step in counted[-75:]} == {0, 1, 2}
    assert {step.gap for step in counted} == set(options.gaps) and REPEAT in options.gaps
    keyframes = [index for index, step in enumerate(counted) if step.keyframe]
    assert 3 <= len(keyframes) <= 40 and keyframes[0] < 100 and keyframes[-1] > 200


def test_thresholds_are_scaled_under_planned_reuse_only() -> None:
    options = ProfilingOptions(scales=(1.0, 0.5))
    propagated = ReuseOptions(tau_input=0.02, tau=0.1)
    assert options.streams(propagated) == (propagated,)
    planned = ReuseOptions(policy="planned", planned=PlannedOptions(tau=0.04, tau_background=None, tau_small=0.02))
    same, half = options.streams(planned)
    assert same == planned
    assert (half.planned.tau, half.planned.tau_background, half.planned.tau_small) == (0.02, None, 0.01)
    assert half.planned.tau_waiting == planned.planned.tau_waiting / 2


@pytest.mark.parametrize(
    ("option", "word"),
    [
        ({"frames": 0}, "frames"), ({"block": 1}, "block"), ({"warm_up": -1}, "warm_up"),
        ({"keyframe_share": 1.5}, "keyframe_share"), ({"gaps": ()}, "gaps"), ({"gaps": (1, -1)}, "gaps"),
        ({"scales": ()}, "scales"), ({"scales": (0.0,)}, "scales"), ({"scales": (float("inf"),)}, "scales"),
    ],
)  # fmt: skip
def test_options_that_are_not_allowed(option: dict[str, Any], word: str) -> None:
    with pytest.raises(OptionError, match=rf"^{word} \(="):
        ProfilingOptions(**option)
