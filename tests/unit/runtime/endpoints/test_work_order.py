"""Orders: what travels of a proposal, and the cells that come of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fluxshard.errors import ShapeError
from fluxshard.motion import MotionField
from fluxshard.options import LevelOptions, PlannedOptions, ReuseOptions
from fluxshard.runtime.endpoints.policies import cloud_policy
from fluxshard.runtime.endpoints.work_order import PlannedOrders, PropagatedOrders, WorkOrder, work_orders
from fluxshard.runtime.stream import Program
from fluxshard.testing import FakeEngine

SIZE = (33, 50)
REUSES = {"planned": ReuseOptions(policy="planned", scene_cut=1.0), "propagated": ReuseOptions(scene_cut=1.0)}


@pytest.fixture
def program() -> Program:
    return Program(FakeEngine(SIZE), lambda leaves: leaves[0])


@pytest.mark.parametrize("name", REUSES)
def test_an_order_asks_for_the_pixels_that_were_proposed(program: Program, name: str) -> None:
    reuse = REUSES[name]
    orders = work_orders(program.engine.plan, reuse)
    policy = cloud_policy(program, reuse, sparse_image=True)
    image = torch.rand(1, 3, *SIZE)
    key = policy.propose(image, None)
    policy.commit(key)
    order = orders.of(key)
    assert order.keyframe and order.masks == () and orders.pixels(order, None).all()
    changed = image.clone()
    changed[..., 9:12, 17:20] = 1.0 - changed[..., 9:12, 17:20]
    for motion in (None, MotionField.uniform(*SIZE, 3, -4)):
        proposal = policy.propose(changed, motion)
        order = orders.of(proposal)
        assert not order.keyframe and tuple(mask.shape for mask in order.masks) == orders.shapes
        moved = proposal.motion or motion  # what travels with the order: that of the levels, where they chose their own
        assert (orders.pixels(order, moved) == proposal.input_mask()).all()
        assert proposal.control.work is not None
        work = orders.work(order, moved)
        assert all((work[grid] == mask).all() for grid, mask in proposal.control.work.items())


def test_shapes(program: Program) -> None:
    plan = program.engine.plan
    assert PropagatedOrders(plan).shapes == ((17, 25),)
    assert PlannedOrders(plan, REUSES["planned"]).shapes == ((5, 7),)
    coarse = ReuseOptions(policy="planned", planned=PlannedOptions(levels={8: LevelOptions(shard_px=16)}))
    assert PlannedOrders(plan, coarse).shapes == ((3, 4),)


@pytest.mark.parametrize("name", REUSES)
def test_orders_of_other_shapes(program: Program, name: str) -> None:
    orders = work_orders(program.engine.plan, REUSES[name])
    for masks in ((), (np.zeros((2, 2), np.bool_),), (np.zeros(orders.shapes[0], np.bool_),) * 2):
        for take in (orders.pixels, orders.work):
            with pytest.raises(ShapeError, match="expected masks of"):
                take(WorkOrder(keyframe=False, masks=masks), None)
    with pytest.raises(ShapeError, match="the order is a keyframe"):
        orders.work(WorkOrder(keyframe=True), None)


def test_work_that_was_given_has_no_order(program: Program) -> None:
    """Planned reuse cannot say in shards what somebody else has asked for: everything is recomputed."""
    policy = cloud_policy(program, REUSES["planned"], sparse_image=True)
    image = torch.rand(1, 3, *SIZE)
    policy.commit(policy.propose(image, None))
    cells = np.zeros((4, 6), np.bool_)
    given = policy.propose_given(image, None, {0: np.zeros(SIZE, np.bool_), 1: cells})
    assert work_orders(program.engine.plan, REUSES["planned"]).of(given).keyframe
