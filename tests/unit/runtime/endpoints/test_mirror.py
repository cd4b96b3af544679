"""Two endpoints on one stream: each proposal compares with what its endpoint really has."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import fluxshard
from fluxshard.errors import StateError
from fluxshard.motion import MotionField
from fluxshard.runtime.endpoints.mirror import Mirror
from fluxshard.runtime.planned.image_test import ReferenceImageTest
from fluxshard.runtime.planned.policy import PlannedPolicy
from fluxshard.runtime.reuse.policy import WorkPolicy
from fluxshard.runtime.reuse.propagated import PropagatedPolicy
from fluxshard.testing import FakeEngine

SIZE = (32, 48)
POLICIES = ("propagated", "planned")


def mirror_of(policy: str) -> Mirror:
    engine = FakeEngine(SIZE)
    reuse = fluxshard.ReuseOptions(policy=policy, scene_cut=1.0)  # type: ignore[arg-type]
    made: WorkPolicy
    if policy == "planned":
        made = PlannedPolicy(engine.plan, reuse, ReferenceImageTest, engine.new_input_cache)
    else:
        made = PropagatedPolicy(engine.plan, reuse, (0.0,) * len(engine.plan.layers), engine.new_input_cache)
    return Mirror(made, SIZE)


def moving(n: int, dx: int = 8) -> list[tuple[torch.Tensor, MotionField | None]]:
    """A picture that moves right by `dx` px a frame; what enters is new."""
    wide = torch.rand(1, 3, SIZE[0], SIZE[1] + dx * n, generator=torch.Generator().manual_seed(3))
    return [
        (
            wide[..., dx * (n - k) : dx * (n - k) + SIZE[1]].contiguous(),
            MotionField.uniform(*SIZE, 0, dx) if k else None,
        )
        for k in range(n)
    ]


@pytest.mark.parametrize("policy", POLICIES)
def test_an_endpoint_that_runs_every_frame_sees_what_a_session_sees(policy: str) -> None:
    mirror, engine = mirror_of(policy), FakeEngine(SIZE)
    reuse = fluxshard.ReuseOptions(policy=policy, scene_cut=1.0)  # type: ignore[arg-type]
    with engine.session(reuse) as session:
        for image, motion in moving(5):
            mirror.advance(motion)
            proposal = mirror.propose(image)
            expected = session.propose(image, motion)
            assert proposal.keyframe == expected.keyframe
            assert (proposal.input_mask() == expected.input_mask()).all()
            mirror.commit(proposal)
            session.run(image, motion)


@pytest.mark.parametrize("policy", POLICIES)
def test_frames_that_ran_elsewhere_are_followed(policy: str) -> None:
    """After k frames elsewhere, what entered meanwhile is new, and the rest is found along the accumulated motion."""
    mirror = mirror_of(policy)
    frames = moving(5)
    mirror.advance(frames[0][1])
    mirror.commit(mirror.propose(frames[0][0]))
    for age, (image, motion) in enumerate(frames[1:], 1):
        mirror.advance(motion)
        assert mirror.age == age
        mask = mirror.propose(image).input_mask()
        assert mask[:, : 8 * age].all() and not mask[:, 8 * age + 8 :].any()
    mirror.commit(mirror.propose(image))
    assert mirror.age == 0


@pytest.mark.parametrize("policy", POLICIES)
def test_only_the_endpoint_that_ran_commits(policy: str) -> None:
    """A stream that alternates: each endpoint's proposal is that of a stream that saw only its own frames."""
    edge, cloud = mirror_of(policy), mirror_of(policy)
    for number, (image, motion) in enumerate(moving(6)):
        proposals = []
        for mirror in (edge, cloud):
            mirror.advance(motion)
            proposals.append(mirror.propose(image))
        if number >= 2:
            ran, other = (proposals[0], proposals[1]) if number % 2 == 0 else (proposals[1], proposals[0])
            assert ran.input_cells > 0 and ran.input_cells >= other.input_cells
        (edge, cloud)[number % 2].commit(proposals[number % 2])


@pytest.mark.parametrize("policy", POLICIES)
def test_unknown_motion_is_no_motion(policy: str) -> None:
    """Propagated reuse recomputes what has no source; planned reuse looks whether what is cached still fits."""
    mirror = mirror_of(policy)
    image = torch.rand(1, 3, *SIZE)
    mirror.advance(None)
    mirror.commit(mirror.propose(image))
    mirror.advance(None)
    assert not mirror.propose(image).input_mask().any()
    mirror.lose()
    for motion in (None, MotionField.zero(*SIZE)):
        if motion is not None:
            mirror.advance(motion)
        assert mirror.propose(image).input_mask().all() == (policy == "propagated")
        assert mirror.propose(1 - image).input_mask().all()


@pytest.mark.parametrize("policy", POLICIES)
def test_a_lost_cache_begins_with_a_keyframe(policy: str) -> None:
    mirror = mirror_of(policy)
    image = torch.rand(1, 3, *SIZE)
    assert mirror.is_fresh
    mirror.advance(None)
    stale = mirror.propose(image)
    mirror.commit(stale)
    assert not mirror.is_fresh
    mirror.reset()
    assert mirror.is_fresh and mirror.propose(image).keyframe
    if policy == "propagated":
        with pytest.raises(StateError, match="not the last one"):
            mirror.commit(stale)


def test_regions_reach_the_policy() -> None:
    mirror = mirror_of("planned")
    image = torch.rand(1, 3, *SIZE)
    mirror.advance(None)
    mirror.commit(mirror.propose(image))
    moved = image + 0.03
    mirror.advance(None)
    mirror.focus(np.zeros((4, 6), np.uint8))
    far = mirror.propose(moved).predicted_work
    mirror.focus(np.ones((4, 6), np.uint8))
    assert mirror.propose(moved).predicted_work >= far
