"""What is proposed is what runs, on the reference and on generated C++."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import fluxshard
from fluxshard.testing.moving_frames import KINDS
from tests.laws import proposals
from tests.laws.nets import RandomNet

pytestmark = pytest.mark.requires_compiler
SEEDS = (100, 102, 104)


@cache
def _compiled(seed: int, backend: str) -> tuple[RandomNet, fluxshard.CompiledModel]:
    net = RandomNet(seed, 9)
    options = fluxshard.CompileOptions(backend=backend)  # type: ignore[arg-type]
    return net, fluxshard.compile(net, torch.zeros(1, 3, *net.size), options=options)


@pytest.mark.parametrize("name", proposals.REUSES)
@pytest.mark.parametrize("backend", ["reference", "cpp"])
@settings(max_examples=12, deadline=None)
@given(net_seed=st.sampled_from(SEEDS), kind=st.sampled_from(KINDS), seed=st.integers(0, 2**31))
def test_proposals_are_what_runs(backend: str, name: str, net_seed: int, kind: str, seed: int) -> None:
    net, model = _compiled(net_seed, backend)
    proposals.check(model.session, name, net.size, kind, seed)


def test_proposals_on_a_canvas() -> None:
    net = RandomNet(SEEDS[0], 9)
    options = fluxshard.CompileOptions(backend="cpp", canvas_px=16)
    model = fluxshard.compile(net, torch.zeros(1, 3, *net.size), options=options)
    reuse = proposals.REUSES["planned"]
    with model.session(reuse) as session, model.session(reuse) as plain:
        for image, motion in proposals.frames("pan", net.size, 6, 3):
            origin = session.origin
            for _ in range(2):
                session.propose(image, motion)
            assert session.origin == origin
            session.run(image, motion)
            plain.run(image, motion)
            assert session.origin == plain.origin
            assert (session.counted.candidates == plain.counted.candidates).all()
