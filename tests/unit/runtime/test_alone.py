"""Sessions that several threads use: one call at a time has the stream, and any other is refused at once."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fluxshard.errors import StateError
from fluxshard.options import ReuseOptions
from fluxshard.runtime.endpoints.ordered_session import OrderedSession
from fluxshard.runtime.endpoints.work_order import WorkOrder
from fluxshard.runtime.session import Session
from fluxshard.runtime.stream import Program
from fluxshard.testing.fake_engine import FakeEngine

SIZE = 16, 24
PLANNED = ReuseOptions(policy="planned")
DEADLINE_S = 20

CALLS: dict[str, Callable[[Session], Any]] = {
    "run": lambda session: session.run(_image()),
    "run_whole": lambda session: session.run_whole(_image()),
    "propose": lambda session: session.propose(_image()),
    "propose another size": lambda session: session.propose(torch.zeros(1, 3, 32, 32)),
    "glance": lambda session: session.glance(_image()),
    "reset": Session.reset,
    "prepare": lambda session: session.prepare(_image()),
    "focus": lambda session: session.focus(np.ones((2, 3), np.uint8)),
    "scale_thresholds": lambda session: session.scale_thresholds(2.0),
    "inspect": Session.inspect,
    "recompute_mask": Session.recompute_mask,
    "work_map": Session.work_map,
    "park": Session.park,
    "unpark": Session.unpark,
}


class Held:
    """Answers of an engine, the second of which waits."""

    def __init__(self) -> None:
        self.inside, self.go = threading.Event(), threading.Event()
        self.frames = 0

    def __call__(self, image: Tensor) -> Tensor:
        self.frames += 1
        if self.frames == 2:
            self.inside.set()
            assert self.go.wait(DEADLINE_S)
        return image.clone()


def _image() -> Tensor:
    return torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(0))


@contextlib.contextmanager
def busy() -> Iterator[tuple[Session, Held, Future[Any]]]:
    """A session that is inside its second frame, in another thread."""
    held = Held()
    session = FakeEngine(SIZE, answer=held).session(PLANNED)
    with ThreadPoolExecutor(1) as other:
        session.run(_image())
        second = other.submit(session.run, _image())
        try:
            assert held.inside.wait(DEADLINE_S)
            yield session, held, second
        finally:
            held.go.set()


@pytest.mark.parametrize("name", CALLS)
def test_whatever_uses_the_stream_is_refused_while_a_frame_runs(name: str) -> None:
    with busy() as (session, held, second):
        with pytest.raises(StateError, match="in use, such as by a frame in another thread"):
            CALLS[name](session)
        held.go.set()
        assert torch.equal(second.result(DEADLINE_S), _image())
    assert session.stats.frame == 1 and not session.stats.keyframe
    if name != "park":  # which this backend cannot
        CALLS[name](session)


def test_a_session_is_closed_after_the_frame_that_runs() -> None:
    with busy() as (session, held, second):
        closing = threading.Thread(target=session.close)
        closing.start()
        closing.join(0.2)
        assert closing.is_alive() and "closed" not in repr(session)
        held.go.set()
        assert torch.equal(second.result(DEADLINE_S), _image())
        closing.join(DEADLINE_S)
    assert repr(session) == "Session(planned, closed)" and session.stats.frame == 1
    with pytest.raises(StateError, match="closed"):
        session.run(_image())


def test_what_a_frame_calls_may_close_its_session_and_nothing_else() -> None:
    """As the handler of a signal may, which runs in the thread of the frame."""
    refused = []

    def answer(image: Tensor) -> Tensor:
        try:
            session.propose(image)
        except StateError as error:
            refused.append(error)
        session.close()
        return image.clone()

    session = FakeEngine(SIZE, answer=answer).session(PLANNED)
    assert torch.equal(session.run(_image()), _image())
    assert len(refused) == 1
    with pytest.raises(StateError, match="closed"):
        session.run(_image())


def test_a_call_that_fails_leaves_the_session_to_others() -> None:
    with FakeEngine(SIZE).session(PLANNED) as session, ThreadPoolExecutor(1) as other:
        with pytest.raises(StateError, match="run no frame"):
            session.inspect()
        other.submit(session.run, _image()).result(DEADLINE_S)
        assert session.inspect().input_mask().all()


def test_a_stream_that_is_told_its_work_is_not_forgotten_while_it_runs() -> None:
    held = Held()
    engine = FakeEngine(SIZE, answer=held)
    session = OrderedSession(Program(engine, lambda leaves: leaves[0]), PLANNED, sparse_image=False)
    keyframe = WorkOrder(keyframe=True, masks=())
    session.run(_image(), None, keyframe)
    with ThreadPoolExecutor(1) as other:
        second = other.submit(session.run, _image(), None, keyframe)
        try:
            assert held.inside.wait(DEADLINE_S)
            for call in (session.reset, session.unpark, lambda: session.run(_image(), None, keyframe)):
                with pytest.raises(StateError, match="in use"):
                    call()
        finally:
            held.go.set()
        second.result(DEADLINE_S)
    assert not session.needs_key
    session.reset()
    assert session.needs_key
