"""What is ordered is what would have run: outputs and counts equal those of a stream that decides for itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._pytree import tree_leaves

import fluxshard
from fluxshard.errors import ShapeError, StateError
from fluxshard.motion import MotionField
from fluxshard.options import CompileOptions, PlannedOptions, ReuseOptions
from fluxshard.runtime.endpoints.engine_stream import EngineStream
from fluxshard.runtime.endpoints.mirror import Mirror
from fluxshard.runtime.endpoints.ordered_session import OrderedSession
from fluxshard.runtime.endpoints.quad_policy import QuadPolicy
from fluxshard.runtime.endpoints.work_order import WorkOrder, work_orders
from fluxshard.runtime.planned.policy import PlannedPolicy
from fluxshard.runtime.reuse.policy import WorkPolicy
from fluxshard.runtime.reuse.propagated import PropagatedPolicy
from fluxshard.runtime.reuse.thresholds import tau_per_layer
from fluxshard.runtime.stream import Program
from fluxshard.testing.moving_frames import KINDS, frames
from fluxshard.testing.networks import TwoStrides

SIZE = (32, 48)
PLANNED = PlannedOptions(tau=0.02, tau_background=None, tau_small=None, wait_frames=2)
REUSES = {
    "planned": ReuseOptions(policy="planned", planned=PLANNED, scene_cut=0.9),
    "planned, assembled": ReuseOptions(policy="planned", planned=PLANNED, scene_cut=0.9, input="assembled"),
    "propagated": ReuseOptions(tau_input=0.02, tau=0.05, scene_cut=0.9),
    "propagated, fresh": ReuseOptions(rfap="per_layer", tau_input=0.02, input="fresh", scene_cut=0.9),
}


@pytest.fixture(scope="module")
def program() -> Program:
    torch.manual_seed(0)
    model = fluxshard.compile(TwoStrides().eval(), options=CompileOptions(backend="reference"))
    return model.specialise(torch.zeros(1, 3, *SIZE)).program


def policy_of(program: Program, reuse: ReuseOptions) -> WorkPolicy:
    plan, make_cache = program.engine.plan, program.engine.new_input_cache
    if reuse.policy == "planned":
        return PlannedPolicy(plan, reuse, program.make_test, make_cache)
    return QuadPolicy(PropagatedPolicy(plan, reuse, tau_per_layer(plan, reuse.tau), make_cache))


@pytest.mark.parametrize("name", REUSES)
@given(kind=st.sampled_from(KINDS), seed=st.integers(0, 2**31), skipped=st.sets(st.integers(1, 5), max_size=3))
@settings(deadline=None, max_examples=15)
def test_orders_do_what_was_proposed(program: Program, name: str, kind: str, seed: int, skipped: set[int]) -> None:
    """Some frames run elsewhere; the stream that is ordered only sees the others, and only the pixels of S_0."""
    reuse = REUSES[name]
    sparse = name != "propagated, fresh" and name != "planned"
    orders = work_orders(program.engine.plan, reuse)
    mirror, decides = Mirror(policy_of(program, reuse), SIZE), EngineStream(program)
    ordered = OrderedSession(program, reuse, sparse_image=sparse)
    for index, (image, motion) in enumerate(frames(kind, SIZE, 6, seed)):
        mirror.advance(motion)
        if index in skipped:
            continue
        proposal = mirror.propose(image)
        order, moved = orders.of(proposal), proposal.motion
        pixels = orders.pixels(order, moved)
        assert (pixels == proposal.input_mask()).all()
        mirror.commit(proposal)
        expected = decides.run(proposal.image, proposal.motion, proposal.control)
        sent = torch.where(torch.from_numpy(pixels), image, torch.full_like(image, 7.0)) if sparse else image
        found = ordered.run(sent, moved, order)
        assert all(
            torch.equal(a, b) for a, b in zip(tree_leaves(expected.outputs), tree_leaves(found.outputs), strict=True)
        )
        assert found.counts.keyframe == expected.counts.keyframe == order.keyframe
        assert found.counts.input_cells == expected.counts.input_cells == int(pixels.sum())
        assert (found.counts.candidates == expected.counts.candidates).all()
        assert found.compute_ratio == expected.compute_ratio


def image_of(value: float = 0.5) -> Tensor:
    return torch.full((1, 3, *SIZE), value)


@pytest.mark.parametrize("name", REUSES)
def test_what_cannot_be_run_is_refused_and_loses_nothing(program: Program, name: str) -> None:
    session = OrderedSession(program, REUSES[name], sparse_image=False)
    delta = WorkOrder(keyframe=False, masks=tuple(np.zeros(shape, np.bool_) for shape in session.orders.shapes))
    key = WorkOrder(keyframe=True)
    assert session.needs_key and session.n_bytes > 0
    with pytest.raises(StateError, match="has to be a keyframe"):
        session.run(image_of(), None, delta)
    session.run(image_of(), None, key)
    with pytest.raises(ShapeError, match="masks of"):
        session.run(image_of(), None, WorkOrder(keyframe=False, masks=(np.zeros((3, 3), np.bool_),)))
    with pytest.raises(ShapeError, match="image is"):
        session.run(image_of()[..., :16], None, delta)
    with pytest.raises(ShapeError, match="motion"):
        session.run(image_of(), MotionField.zero(8, 8), delta)
    assert not session.needs_key
    assert session.run(image_of(), MotionField.zero(*SIZE), delta).counts.input_cells == 0
    session.reset()
    with pytest.raises(StateError, match="has to be a keyframe"):
        session.run(image_of(), None, delta)


def test_two_streams_do_not_see_each_other(program: Program) -> None:
    reuse = REUSES["planned, assembled"]
    one, other = (OrderedSession(program, reuse, sparse_image=True) for _ in range(2))
    key, delta = WorkOrder(keyframe=True), None
    one.run(image_of(0.2), None, key)
    other.run(image_of(0.9), None, key)
    delta = WorkOrder(keyframe=False, masks=tuple(np.zeros(shape, np.bool_) for shape in one.orders.shapes))
    for session, value in ((one, 0.2), (other, 0.9)):
        image, *_ = session.run(image_of(0.0), None, delta).outputs
        assert torch.equal(image, image_of(value))
