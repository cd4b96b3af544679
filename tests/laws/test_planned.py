"""Planned reuse on the reference and on generated C++."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import fluxshard
from fluxshard.testing.moving_frames import KINDS
from tests.laws import level_motions, planned
from tests.laws.nets import RandomNet

pytestmark = pytest.mark.requires_compiler
SEEDS = tuple(range(100, 106))
INTEGER_SEEDS = tuple(range(200, 204))


@cache
def _compiled(seed: int, backend: str, integer: bool = False) -> tuple[RandomNet, fluxshard.CompiledModel]:
    net = RandomNet(seed, 9, integer=integer, islands=not integer)
    options = fluxshard.CompileOptions(backend=backend)  # type: ignore[arg-type]
    return net, fluxshard.compile(net, torch.zeros(1, 3, *net.size), options=options)


@pytest.mark.parametrize("backend", ["reference", "cpp"])
@settings(max_examples=60, deadline=None)
@given(
    net_seed=st.sampled_from(SEEDS),
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 2**31),
    which=st.integers(0, len(planned.SETTINGS) - 1),
)
def test_predicted_work_is_executed_work(backend: str, net_seed: int, kind: str, seed: int, which: int) -> None:
    net, model = _compiled(net_seed, backend)
    planned.check_predictions(model, model.session, net.size, kind, seed, which)


@pytest.mark.parametrize("backend", ["reference", "cpp"])
@pytest.mark.parametrize("net_seed", SEEDS)
def test_static_cuts_and_nan(backend: str, net_seed: int) -> None:
    net, model = _compiled(net_seed, backend)
    planned.check_no_work(model.session, net.size, net_seed)
    planned.check_cuts_are_whole(net, model.session, net.size, net_seed)
    planned.check_not_finite(net, model.session, net.size, net_seed)


@settings(max_examples=40, deadline=None)
@given(net_seed=st.sampled_from(INTEGER_SEEDS), kind=st.sampled_from(KINDS), seed=st.integers(0, 2**31))
def test_backends_agree(net_seed: int, kind: str, seed: int) -> None:
    """Law 4: masks, slot maps and, on nets of integers, values."""
    _, reference = _compiled(net_seed, "reference", integer=True)
    _, cpp = _compiled(net_seed, "cpp", integer=True)
    planned.check_decisions(cpp.session, reference.session, reference.plan, kind, seed, which=1)


@pytest.mark.parametrize("net_seed", INTEGER_SEEDS)
@pytest.mark.parametrize("work", level_motions.WORK)
def test_levels_move_as_in_the_reference(net_seed: int, work: level_motions.Work) -> None:
    net, reference = _compiled(net_seed, "reference", integer=True)
    _, cpp = _compiled(net_seed, "cpp", integer=True)
    one, two = (model.specialise(torch.zeros(1, 3, *net.size)).program.engine for model in (cpp, reference))
    level_motions.check(one, two, net_seed, work)
