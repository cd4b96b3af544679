"""Streams that are packed away and come back, on generated C++."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from torch.utils._pytree import tree_leaves

import fluxshard
from fluxshard.errors import StateError
from fluxshard.ir.kernel import CpuDType
from fluxshard.motion import MotionField
from fluxshard.runtime.endpoints.ordered_session import OrderedSession
from fluxshard.runtime.endpoints.work_order import WorkOrder
from fluxshard.runtime.engines.engine import StepControl
from fluxshard.runtime.session import Session
from fluxshard.runtime.stream import Program
from fluxshard.testing.moving_frames import frames
from tests.host.test_memory import Net

SIZE = 96, 128
REUSES = {
    "planned": fluxshard.ReuseOptions(policy="planned"),
    "planned, assembled": fluxshard.ReuseOptions(policy="planned", input="assembled"),
    "compared": fluxshard.ReuseOptions(tau_input=0.02, tau=0.05),
    "not moved": fluxshard.ReuseOptions(remap=False, tau=0.05),
}


@pytest.fixture(scope="module")
def model() -> fluxshard.CompiledModel:
    return compiled("float32")


def compiled(dtype: CpuDType) -> fluxshard.CompiledModel:
    torch.manual_seed(0)
    options = fluxshard.CompileOptions(backend="cpp", dtype=dtype)
    return fluxshard.compile(Net().eval(), torch.zeros(1, 3, *SIZE), options=options)


def run(session: Session, image: torch.Tensor, motion: MotionField | None) -> list[torch.Tensor]:
    return tree_leaves(session.run(image, motion))


@pytest.mark.parametrize("name", REUSES)
def test_a_parked_stream_goes_on_as_if_it_had_not_been(model: fluxshard.CompiledModel, name: str) -> None:
    with model.session(REUSES[name]) as parks, model.session(REUSES[name]) as stays:
        for number, (image, motion) in enumerate(frames("blocks", SIZE, 8, 3)):
            one, two = run(parks, image, motion), run(stays, image, motion)
            assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
            assert parks.stats.compute_ratio == stays.stats.compute_ratio and parks.state_bytes == stays.state_bytes
            if number % 2:
                parks.park()
                assert parks.parked and 0 < parks.state_bytes == parks.parked_bytes < stays.state_bytes
                assert parks.counted.candidates.tolist() == stays.counted.candidates.tolist()
                if number == 3:
                    parks.unpark()
                    assert not parks.parked and parks.parked_bytes == 0


def test_bfloat16_parks_too() -> None:
    narrow = compiled("bfloat16")
    with narrow.session(REUSES["planned"]) as parks, narrow.session(REUSES["planned"]) as stays:
        for image, motion in frames("pan", SIZE, 4, 5):
            one, two = run(parks, image, motion), run(stays, image, motion)
            assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
            parks.park()


def test_whatever_asks_for_the_stream_brings_it_back(model: fluxshard.CompiledModel) -> None:
    image = torch.rand(1, 3, *SIZE)
    with model.session(REUSES["planned"]) as session:
        session.run(image)
        first = model.plan.layers[0].name
        before = session.inspect().candidates(first), session.recompute_mask(), session.work_map()
        for index, ask in enumerate(
            (lambda: session.inspect().candidates(first), session.recompute_mask, session.work_map)
        ):
            session.park()
            assert (ask() == before[index]).all() and not session.parked
        assert before[0] is not None and before[0].all()
        session.park()
        assert session.propose(image).input_cells == 0 and not session.parked
        session.park()
        shards = session.glance(image)
        assert shards is not None and not shards.any() and not session.parked
        session.park()
        session.reset()
        assert not session.parked
        session.run(image)
        assert session.stats.keyframe


@pytest.mark.parametrize("sparse", [True, False], ids=["pixels of S_0", "whole images"])
def test_a_stream_that_is_told_its_work_parks_too(model: fluxshard.CompiledModel, *, sparse: bool) -> None:
    program = model.specialise(torch.zeros(1, 3, *SIZE)).program
    parks, stays = (OrderedSession(program, REUSES["planned"], sparse_image=sparse) for _ in range(2))
    assert not parks.can_park
    with pytest.raises(StateError, match="run a keyframe first"):
        parks.park()
    moved, rng = MotionField.uniform(*SIZE, 0, 8), np.random.default_rng(0)
    for number, (image, _) in enumerate(frames("blocks", SIZE, 5, 3)):
        order = WorkOrder(keyframe=number == 0)
        if number:
            masks = tuple(rng.random(shape) < 0.3 for shape in parks.orders.shapes)
            order = WorkOrder(keyframe=False, masks=masks)
        one, two = (session.run(image, moved if number else None, order) for session in (parks, stays))
        assert all(map(torch.equal, tree_leaves(one.outputs), tree_leaves(two.outputs)))
        assert one.counts.candidates.tolist() == two.counts.candidates.tolist() and parks.n_bytes == stays.n_bytes
        parks.park(threads=1)
        assert parks.parked and not parks.can_park and 0 < parks.n_bytes == parks.parked_bytes < stays.n_bytes
    parks.reset()
    assert not parks.parked and parks.needs_key


def test_misuse(model: fluxshard.CompiledModel) -> None:
    session = model.session(REUSES["planned"])
    with pytest.raises(StateError, match="no frame"):
        session.park()
    session.run(torch.rand(1, 3, *SIZE))
    session.park()
    with pytest.raises(StateError, match="parked already"):
        session.park()
    session.close()
    assert session.state_bytes == 0 and not session.parked
    with pytest.raises(StateError, match="closed"):
        session.park()


def test_another_size_starts_anew_from_a_parked_stream(model: fluxshard.CompiledModel) -> None:
    with model.session(REUSES["planned"]) as session:
        session.run(torch.rand(1, 3, *SIZE))
        session.park()
        session.run(torch.rand(1, 3, 64, 64))
        assert session.stats.keyframe and not session.parked


def test_a_stream_is_not_parked_while_it_runs_a_frame(model: fluxshard.CompiledModel) -> None:
    inside, go = threading.Event(), threading.Event()

    def slow(image: torch.Tensor) -> Program:
        inside.set()
        assert go.wait(20)
        return model.specialise(image).program

    with Session(slow, REUSES["planned"]) as session:
        thread = threading.Thread(target=session.run, args=(torch.rand(1, 3, *SIZE),))
        thread.start()
        assert inside.wait(20)
        with pytest.raises(StateError, match="another thread"):
            session.park()
        go.set()
        thread.join()
        session.park()
        assert session.parked


def test_a_stream_that_keeps_little_refuses_what_it_cannot_run(model: fluxshard.CompiledModel) -> None:
    """At the engine: sessions of planned reuse give the work of every grid."""
    engine = model.specialise(torch.zeros(1, 3, *SIZE)).program.engine
    state, image = engine.new_state(given=True), torch.rand(1, 3, *SIZE)

    def control(*, keyframe: bool, remap: bool = True) -> StepControl:
        return StepControl(keyframe=keyframe, rfap="off", remap=remap, tau=(0.0,) * len(model.plan.layers))

    engine.step(state, image, None, control(keyframe=True))
    with pytest.raises(StateError, match="no work is given for grids"):
        engine.step(state, image, None, control(keyframe=False))
    with pytest.raises(StateError, match="run a keyframe with remap=False"):
        engine.step(state, image, None, control(keyframe=False, remap=False))
    small = state.n_bytes
    engine.step(state, image, None, control(keyframe=True, remap=False))
    assert state.n_bytes > small
