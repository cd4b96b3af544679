"""Planned reuse on the reference and on generated C++."""

from __future__ import annotations

from functools import cache, partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._pytree import tree_leaves

import fluxshard
from fluxshard.ir.retention import read_at_once
from fluxshard.testing.moving_frames import KINDS, frames
from fluxshard.testing.session_checks import assert_same_decisions
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
    keeps = partial(cpp.session, keep_all=True)
    planned.check_decisions(keeps, reference.session, reference.plan, kind, seed, which=1)


@settings(max_examples=40, deadline=None)
@given(
    net_seed=st.sampled_from(SEEDS),
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 2**31),
    which=st.integers(0, len(planned.SETTINGS) - 1),
)
def test_what_is_not_kept_is_not_read(net_seed: int, kind: str, seed: int, which: int) -> None:
    """A stream that keeps what later frames read gives the bits of one that keeps all, and others run in between."""
    net, model = _compiled(net_seed, "cpp")
    reuse = planned.options(planned.SETTINGS[which])
    with model.session(reuse) as few, model.session(reuse, keep_all=True) as all_, model.session(reuse) as other:
        for number, (image, motion) in enumerate(frames(kind, net.size, 6, seed)):
            other.run(image.flip(3) * 5)  # writes into the same scratch
            one, two = (tree_leaves(session.run(image, motion)) for session in (few, all_))
            assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
            assert_same_decisions(few, all_, model.plan, True)
            if number == 3:
                few.park()
        assert few.state_bytes < all_.state_bytes


def test_some_values_are_not_kept() -> None:
    kept = read = 0
    for seed in SEEDS:
        net, model = _compiled(seed, "cpp")
        with model.session(planned.options(planned.SETTINGS[0])) as session:
            session.run(torch.rand(1, 3, *net.size))
            passing = read_at_once(model.plan)
            for layer in model.plan.layers:
                for name in layer.outputs if layer.mode != "view" else ():
                    value = session.inspect().value(name)
                    if model.plan.value(name).grid is None:
                        continue
                    assert (value is None) == (name in passing), name
                    kept, read = kept + (value is not None), read + (value is None)
    assert kept > 10 and read > 5


@pytest.mark.parametrize("net_seed", INTEGER_SEEDS)
@pytest.mark.parametrize("work", level_motions.WORK)
def test_levels_move_as_in_the_reference(net_seed: int, work: level_motions.Work) -> None:
    net, reference = _compiled(net_seed, "reference", integer=True)
    _, cpp = _compiled(net_seed, "cpp", integer=True)
    one, two = (model.specialise(torch.zeros(1, 3, *net.size)).program.engine for model in (cpp, reference))
    level_motions.check(one, two, net_seed, work)
