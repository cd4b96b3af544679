"""Propagated reuse that is told to another endpoint: the same frames are keyframes, and S_0 is whole quads."""

from __future__ import annotations

import numpy as np
import torch

from fluxshard.motion import MotionField
from fluxshard.options import ReuseOptions
from fluxshard.runtime.endpoints.quad_policy import QuadPolicy
from fluxshard.runtime.reuse.propagated import PropagatedPolicy
from fluxshard.testing import FakeEngine

SIZE = (16, 24)


def policies(scene_cut: float = 1.0) -> tuple[PropagatedPolicy, QuadPolicy]:
    engine = FakeEngine(SIZE)
    reuse = ReuseOptions(scene_cut=scene_cut)
    plain, inner = (
        PropagatedPolicy(engine.plan, reuse, (0.0,) * len(engine.plan.layers), engine.new_input_cache) for _ in range(2)
    )
    return plain, QuadPolicy(inner)


def test_one_changed_pixel_is_a_quad() -> None:
    plain, policy = policies()
    image = torch.zeros(1, 3, *SIZE)
    assert policy.is_fresh
    for one in (plain, policy):
        one.commit(one.propose(image, None))
    assert not policy.is_fresh and policy.n_bytes == plain.n_bytes > 0
    image = image.clone()
    image[0, 1, 5, 8] = 1.0
    assert plain.propose(image, None).input_cells == 1
    proposal = policy.propose(image, None)
    expected = np.zeros(SIZE, np.bool_)
    expected[4:6, 8:10] = True
    assert (proposal.input_mask() == expected).all()
    policy.commit(proposal)
    assert policy.propose(image, None).input_cells == 0


def test_what_enters_is_whole_quads_too() -> None:
    _, policy = policies()
    image = torch.rand(1, 3, *SIZE)
    policy.commit(policy.propose(image, None))
    moved = torch.cat([torch.rand(1, 3, SIZE[0], 3), image[..., :-3]], 3)
    mask = policy.propose(moved, MotionField.uniform(*SIZE, 0, 3)).input_mask()
    assert mask[:, :4].all() and not mask[:, 4:].any()


def test_the_scene_cut_and_a_reset_are_keyframes() -> None:
    _, policy = policies(scene_cut=0.5)
    policy.commit(policy.propose(torch.zeros(1, 3, *SIZE), None))
    assert policy.propose(torch.ones(1, 3, *SIZE), None).keyframe
    policy.focus(np.ones((2, 3), np.uint8))  # one threshold everywhere
    given = policy.propose_given(torch.zeros(1, 3, *SIZE), None, {0: np.zeros(SIZE, np.bool_)})
    assert not given.keyframe and given.input_cells == 0
    policy.reset()
    assert policy.is_fresh and policy.propose(torch.zeros(1, 3, *SIZE), None).keyframe
