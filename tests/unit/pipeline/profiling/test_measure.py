"""Measuring: what a frame took belongs to its own work, whatever ran in between."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

import fluxshard
from fluxshard.errors import FluxShardError, StateError, VideoError
from fluxshard.models.detections.detections import Detections
from fluxshard.motion import MotionField
from fluxshard.options import Policy
from fluxshard.pipeline.profiling.measure import Clip, MeasuredFrame, measure_frames
from fluxshard.pipeline.profiling.schedule import ProfilingOptions
from tests.unit.pipeline.profiling.timed_model import BASE_MS, CELLS, SIZE, WORK_MS, FakeMeter, TimedModel, clip

PLANNED = fluxshard.ReuseOptions(policy="planned")


def measured(model: TimedModel, frames: int = 40, opened: Clip = clip, **more: object) -> list[MeasuredFrame]:
    return list(measure_frames(model, opened, PLANNED, ProfilingOptions(frames=frames), **more))  # type: ignore[arg-type]


def test_planned_frames_take_what_their_work_says() -> None:
    model = TimedModel()
    frames = measured(model, 60)
    assert len(frames) == 60 and {frame.stream for frame in frames} == {0, 1, 2} and len(model.sessions) == 3
    for frame in frames:
        assert frame.ms == pytest.approx(BASE_MS + WORK_MS * frame.work[0], abs=50)  # and assembling
        assert len(frame.work) == 2 and frame.keyframe == (frame.work == (1.0, 1.0)) and frame.energy_mj is None
    shares = [frame.work[0] for frame in frames]
    assert min(shares) < 0.1 and max(shares) == 1.0 and sum(0.1 < share < 0.9 for share in shares) > 10


def test_propagated_reuse_has_one_stream_and_counts_pixels() -> None:
    model = TimedModel()
    reuse = fluxshard.ReuseOptions(tau_input=0.02)
    frames = list(measure_frames(model, clip, reuse, ProfilingOptions(frames=30)))
    assert model.reuse == [reuse] and {len(frame.work) for frame in frames} == {1}
    assert any(0 < frame.work[0] < 0.9 for frame in frames)


@pytest.mark.parametrize("policy", ["propagated", "planned"])
def test_frames_that_a_stream_does_not_run_are_followed(policy: Policy) -> None:
    """A pan of 8 px a frame: what entered since the stream's last frame is new, and the rest is found again."""
    random = torch.Generator().manual_seed(3)
    wide = torch.rand(1, 3, SIZE[0], SIZE[1] + 8 * 40, generator=random)

    def pan() -> Iterator[tuple[torch.Tensor, MotionField | None]]:
        for k in range(40):
            left = 8 * (40 - k)
            yield wide[..., left : left + SIZE[1]].contiguous(), MotionField.uniform(*SIZE, 0, 8) if k else None

    for gap in (0, 1, 2):
        options = ProfilingOptions(frames=8, gaps=(gap,), scales=(1.0,), keyframe_share=0.0)
        reuse = fluxshard.ReuseOptions(policy=policy, scene_cut=1.0)
        frames = list(measure_frames(TimedModel(), pan, reuse, options))
        assert {frame.work[0] for frame in frames} == {gap * 8 / SIZE[1]}


def test_a_clip_starts_again_with_nothing_known() -> None:
    opened: list[int] = []

    def short() -> Iterator[tuple[torch.Tensor, MotionField | None]]:
        opened.append(0)
        yield from clip("static", 5)

    options = ProfilingOptions(frames=20, gaps=(1,), scales=(1.0,), keyframe_share=0.0, warm_up=0)
    frames = list(measure_frames(TimedModel(), short, PLANNED, options))
    assert len(opened) == 4
    assert [index for index, frame in enumerate(frames) if frame.keyframe] == [0, 5, 10, 15]


def test_a_clip_is_closed_and_so_are_sessions_when_nobody_wants_more() -> None:
    closed = []

    def opened() -> Iterator[tuple[torch.Tensor, MotionField | None]]:
        try:
            yield from clip()
        finally:
            closed.append(True)

    model = TimedModel()
    running = measure_frames(model, opened, PLANNED, ProfilingOptions())
    next(running)
    running.close()  # type: ignore[attr-defined]
    assert closed == [True]
    with pytest.raises(StateError):
        model.sessions[0].run(torch.zeros(1, 3, *SIZE))


def test_a_clip_without_pictures() -> None:
    with pytest.raises(VideoError, match="no pictures"):
        measured(TimedModel(), opened=lambda: iter(()))


def test_a_failing_session_ends_it() -> None:
    model = TimedModel()
    model.engine._fail_at = 5
    with pytest.raises(FluxShardError, match="fails at call 5"):
        measured(model)


def test_planned_reuse_is_focused_on_what_is_found() -> None:
    """Nothing is found: all is background, whose threshold is higher."""
    none = Detections(
        boxes=np.zeros((0, 4), np.float32),
        scores=np.zeros(0, np.float32),
        classes=np.zeros(0, np.int64),
        shape=SIZE,
    )
    alike = measured(TimedModel(), 40)
    background = measured(TimedModel(), 40, detect=lambda outputs: none)
    assert sum(frame.work[0] for frame in background) < sum(frame.work[0] for frame in alike)


def test_energy_is_that_of_the_frame() -> None:
    model = TimedModel()
    meter = FakeMeter(model.engine, fails=(14, 17))
    frames = measured(model, 40, meter=meter)
    assert sum(frame.energy_mj is None for frame in frames) == 2
    for frame in frames:
        if frame.energy_mj is not None:
            assert frame.energy_mj == pytest.approx(BASE_MS + WORK_MS * round(frame.work[0] * CELLS) / CELLS)
