"""A session in two places as its user sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from fluxshard.cloud.edge.connection.loop_thread import LINKS
from fluxshard.cloud.edge.offloaded_session import OffloadedSession
from fluxshard.cloud.edge.options import OffloadOptions
from fluxshard.cloud.edge.session_parts import LocalModel
from fluxshard.cloud.wire.messages import read_up
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.errors import OptionError, ShapeError, StateError
from fluxshard.motion import MotionField, accumulate
from fluxshard.options import ReuseOptions
from fluxshard.runtime.offload.dispatch import DispatchOptions
from fluxshard.testing.offload.in_process import Faults, InProcessTransport
from fluxshard.testing.offload.scripted_edge import hello_of
from fluxshard.testing.offload.two_places import SIZE, fake_model, moving_frames, server_of, session_of

RAW = OffloadOptions(payload="raw", stream="test")
REUSE = ReuseOptions(policy="planned", scene_cut=1.0)


@pytest.fixture
def transport() -> InProcessTransport:
    """Nobody is there."""
    server = server_of(fake_model())
    server.close()
    return InProcessTransport(server, faults=Faults(refuse=True))


def test_without_a_server_it_is_a_session_in_one_place(transport: InProcessTransport) -> None:
    model = fake_model()
    with session_of(model, transport, REUSE, RAW) as session, model.program.engine.session(REUSE) as alone:  # type: ignore[attr-defined]  # of a fake
        for frame in moving_frames(6):
            assert torch.equal(session.run(frame), alone.run(frame.image, frame.motion))
            assert session.stats.placement == "edge" and session.stats.bytes_sent == 0
            assert session.stats.recompute_ratio == alone.stats.recompute_ratio
            assert session.stats.frame == alone.stats.frame and session.origin == (0, 0)
            assert session.planned is not None and alone.planned is not None
            assert session.planned.work_ratio == alone.planned.work_ratio
            assert (session.work_map() == alone.work_map()).all()
            assert not session.record.cloud_ran and session.record.cloud_open
            regions = np.zeros((4, 6), np.uint8)
            session.focus(regions)
            alone.focus(regions)
        assert session.state_bytes > 0 and not session.link.is_open and session.reuse is REUSE


def test_before_the_first_frame_and_after_the_end(transport: InProcessTransport) -> None:
    session = session_of(fake_model(), transport, REUSE, RAW)
    assert session.state_bytes == 0 and not session.link.is_open
    for use in (lambda: session.record, lambda: session.planned, lambda: session.work_map()):
        with pytest.raises(StateError, match="no frame yet"):
            use()
    session.close()
    session.close()
    with pytest.raises(StateError, match="session is closed"):
        session.run(next(moving_frames(1)))


def test_what_is_known_of_the_last_frame_outlives_its_stream(transport: InProcessTransport) -> None:
    """Symptom: an assertion without a text, where a session in one place has figures."""
    session = session_of(fake_model(), transport, REUSE, RAW)
    session.run(next(moving_frames(1)))
    stats, record, planned = session.stats, session.record, session.planned
    session.close()
    assert session.stats == stats and session.record is record and session.planned is planned
    for use in (lambda: session.focus(np.zeros((4, 6), np.uint8)), lambda: session.work_map()):
        with pytest.raises(StateError, match="session is closed"):
            use()


def test_a_size_that_cannot_start_leaves_the_figures_of_the_last_frame(transport: InProcessTransport) -> None:
    def model_for(size: tuple[int, int]) -> LocalModel:
        if size != SIZE:
            raise OptionError("no model of this size")
        return fake_model(size)

    with OffloadedSession(model_for, REUSE, transport, RAW) as session:
        session.run(next(moving_frames(1)))
        stats = session.stats
        with pytest.raises(OptionError, match="no model of this size"):
            session.run(next(moving_frames(1, (48, 32))))
        assert session.stats == stats
        for use in (lambda: session.focus(np.zeros((4, 6), np.uint8)), lambda: session.work_map()):
            with pytest.raises(StateError, match="run a frame first"):
                use()
        session.run(next(moving_frames(1)))
        session.focus(np.zeros((4, 6), np.uint8))
        assert session.work_map().shape == (4, 6)


def test_a_frame_that_is_skipped_is_motion_for_the_next(transport: InProcessTransport) -> None:
    model, frames = fake_model(), list(moving_frames(6))
    with session_of(model, transport, REUSE, RAW) as session, model.program.engine.session(REUSE) as alone:  # type: ignore[attr-defined]  # of a fake
        with pytest.raises(StateError, match="no frame yet"):
            session.skip(frames[0])
        assert session.glance(frames[0].image) is None
        session.run(frames[0])
        alone.run(frames[0].image)
        for skipped, frame in (frames[1:3], frames[3:5]):
            seen = session.glance(skipped.planes, skipped.motion)
            expected = alone.glance(skipped.image, skipped.motion)
            assert seen is not None and expected is not None and (seen == expected).all()
            session.skip(skipped)
            assert skipped.motion is not None and frame.motion is not None
            both = accumulate(skipped.motion, frame.motion, *SIZE)
            assert torch.equal(session.run(frame), alone.run(frame.image, both))
            assert session.stats.recompute_ratio == alone.stats.recompute_ratio
        assert session.record.frame == 4 and session.stats.frame == 4
        with pytest.raises(ShapeError, match="frame is a Tensor; expected a frame of a video"):
            session.skip(frames[5].image)  # type: ignore[arg-type]
        with pytest.raises(StateError, match=r"a frame of 48x32 px has to be run, not skipped"):
            session.skip(next(moving_frames(1, (48, 32))))
        assert session.glance(torch.zeros(1, 3, 48, 32)) is None


def test_another_size_and_a_reset_start_anew(transport: InProcessTransport) -> None:
    sizes: list[tuple[int, int]] = []

    def model_for(size: tuple[int, int]) -> LocalModel:
        sizes.append(size)
        return fake_model(size)

    with OffloadedSession(model_for, REUSE, transport, RAW) as session:
        for frame in moving_frames(2):
            session.run(frame)
        assert not session.stats.keyframe
        session.run(next(moving_frames(1, (48, 32))))
        assert session.stats.keyframe and session.stats.frame == 0
        session.reset()
        session.run(next(moving_frames(1, (48, 32))))
        assert session.stats.keyframe
    assert sizes == [SIZE, (48, 32), (48, 32)]


def test_images_are_frames_too(transport: InProcessTransport) -> None:
    with session_of(fake_model(), transport, REUSE, RAW) as session:
        frame = next(moving_frames(1))
        assert torch.equal(session.run(frame.image), session.run(frame.image, MotionField.zero(*SIZE)))
        assert not session.stats.keyframe
        with pytest.raises(ShapeError, match="whole steps"):
            session.run(frame.image + 0.001)
        for regions in (np.zeros((4, 5), np.uint8), np.zeros((4, 6))):
            with pytest.raises(ShapeError, match="regions are"):
                session.focus(regions)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("reuse", "options", "message"),
    [
        (ReuseOptions(remap=False), RAW, "remap=False"),
        (ReuseOptions(execution="dense"), RAW, "remap=False and execution='dense'"),
        (REUSE, replace(RAW, answer="detections"), "whose head is known"),
        (REUSE, replace(RAW, payload="bitstream"), "packets=True"),
    ],
)
def test_options_that_do_not_go_together(
    transport: InProcessTransport, reuse: ReuseOptions, options: OffloadOptions, message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        session_of(fake_model(), transport, reuse, options)


def with_canvas(model: LocalModel) -> LocalModel:
    return replace(model, program=replace(model.program, canvas_px=32))


@pytest.mark.parametrize(
    ("model", "reuse"), [(with_canvas(fake_model()), REUSE), (fake_model(), ReuseOptions(tau={"nothing": 0.1}))]
)
def test_a_session_that_cannot_start_leaves_no_link(
    transport: InProcessTransport, model: LocalModel, reuse: ReuseOptions
) -> None:
    """Symptom: the link of a session whose first frame was refused went on connecting for ever."""
    session = session_of(model, transport, reuse, RAW)
    with pytest.raises(OptionError):
        session.run(next(moving_frames(1)))
    session.close()
    asyncio.run_coroutine_threadsafe(nothing_left(), LINKS.loop).result(10)


async def nothing_left() -> None:
    while len(asyncio.all_tasks()) > 1:
        await asyncio.sleep(0.001)


def greeting(model: LocalModel, options: OffloadOptions) -> pb.Hello:
    """What a session says first, whose frame the edge answers."""
    seen = list[bytes]()

    def edit(data: bytes) -> bytes | None:
        seen.append(data)
        return None

    server = server_of(model)
    try:
        with session_of(model, InProcessTransport(server, faults=Faults(edit=edit)), REUSE, options) as session:
            session.run(next(moving_frames(1)))
            asyncio.run_coroutine_threadsafe(until(lambda: bool(seen)), LINKS.loop).result(10)
    finally:
        server.close()
    return read_up(seen[0]).hello


def test_the_greeting_says_all_that_the_server_needs() -> None:
    model = fake_model()
    assert greeting(model, RAW) == hello_of(model, REUSE)


@pytest.mark.parametrize(("deadline_ms", "said"), [(None, 0), (0.2, 1), (70.4, 70), (1e10, 2**32 - 1)])
def test_a_deadline_is_said_as_far_as_a_message_can(deadline_ms: float | None, said: int) -> None:
    options = replace(RAW, dispatch=DispatchOptions(deadline_ms=deadline_ms))
    assert greeting(fake_model(), options).budget_ms == said


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)
