"""Which policy decides for which endpoint."""

from __future__ import annotations

import pytest
import torch

from fluxshard.errors import OptionError
from fluxshard.options import ReuseOptions
from fluxshard.runtime.endpoints.policies import cloud_policy, edge_policy
from fluxshard.runtime.endpoints.quad_policy import QuadPolicy
from fluxshard.runtime.planned.policy import PlannedPolicy
from fluxshard.runtime.reuse.propagated import PropagatedPolicy
from fluxshard.runtime.stream import Program
from fluxshard.testing import FakeEngine

SIZE = (32, 48)


@pytest.fixture
def program() -> Program:
    return Program(FakeEngine(SIZE), lambda leaves: leaves[0])


def test_the_edge_decides_as_a_session_in_one_place(program: Program) -> None:
    assert isinstance(edge_policy(program, ReuseOptions(policy="planned")), PlannedPolicy)
    assert type(edge_policy(program, ReuseOptions())) is PropagatedPolicy


def test_the_server_is_told_quads_or_shards(program: Program) -> None:
    assert isinstance(cloud_policy(program, ReuseOptions(), sparse_image=True), QuadPolicy)
    assert isinstance(cloud_policy(program, ReuseOptions(policy="planned"), sparse_image=True), PlannedPolicy)


@pytest.mark.parametrize("sparse", [True, False])
def test_planned_work_for_the_server_keeps_no_image(program: Program, sparse: bool) -> None:
    """The test compares with what the shards were computed from, however the server assembles its input."""
    policy = cloud_policy(program, ReuseOptions(policy="planned", input="assembled"), sparse_image=sparse)
    assert policy.n_bytes == 0


def test_a_server_that_has_some_pixels_assembles_the_rest(program: Program) -> None:
    """Under "fresh" the input cache feeds the whole frame; of a frame that was sent in part there is none."""
    reuse = ReuseOptions(tau_input=0.5, input="fresh")
    image = torch.zeros(1, 3, *SIZE)
    for sparse, expected in ((True, 0.0), (False, 0.25)):
        policy = cloud_policy(program, reuse, sparse_image=sparse)
        policy.commit(policy.propose(image, None))
        given = policy.propose(image + 0.25, None).control.input
        assert given is not None and given.pixels == 0
        assert float(given.fed.max()) == expected  # type: ignore[attr-defined]  # of the reference cache


@pytest.mark.parametrize("make", [edge_policy, lambda program, reuse: cloud_policy(program, reuse, sparse_image=True)])
def test_thresholds_of_layers_that_are_not_there(program: Program, make: object) -> None:
    with pytest.raises(OptionError, match="tau names nothing"):
        make(program, ReuseOptions(tau={"nothing": 0.1}))  # type: ignore[operator]
