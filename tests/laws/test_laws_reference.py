"""The laws of reuse on the reference backend, over random nets, content and motion."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import fluxshard
from fluxshard.motion import MotionField
from fluxshard.testing.comparisons import assert_same
from fluxshard.testing.moving_frames import KINDS, frames
from fluxshard.testing.session_checks import EXACT, check_against_dense
from tests.laws.nets import RandomNet

OPTIONS = fluxshard.CompileOptions(backend="reference")
SEEDS = range(96)  # of nets


@cache
def _compiled(seed: int) -> tuple[RandomNet, fluxshard.CompiledModel]:
    """Nets are compiled once a process: that takes longer than a few frames."""
    net = RandomNet(seed)
    return net, fluxshard.compile(net, torch.zeros(1, 3, *net.size), options=OPTIONS)


@settings(max_examples=200, deadline=None)
@given(
    net_seed=st.sampled_from(SEEDS),
    seed=st.integers(0, 2**31),
    kinds=st.lists(st.sampled_from(KINDS), min_size=2, max_size=2, unique=True),
)
def test_exact_at_zero_thresholds(net_seed: int, seed: int, kinds: list[str]) -> None:
    """Law 1: tau 0 and the per-layer rule give the dense output for any content and any motion."""
    net, model = _compiled(net_seed)
    for kind in kinds:
        with model.session(EXACT) as session:
            for stats in check_against_dense(net, session, frames(kind, net.size, 4, seed)):
                assert stats.compute_ratio <= 1.0


@pytest.mark.parametrize("kind", ["blocks", "garbage", "pan"])
def test_exact_over_long_sequences(kind: str) -> None:
    """Law 1 over 40 frames: nothing accumulates."""
    net = RandomNet(11, 9)
    model = fluxshard.compile(net, torch.zeros(1, 3, *net.size), options=OPTIONS)
    with model.session(EXACT) as session:
        ran = list(check_against_dense(net, session, frames(kind, net.size, 40, 5)))
    assert len(ran) == 40 and not any(stats.keyframe for stats in ran[1:])


@settings(max_examples=30, deadline=None)
@given(
    net_seed=st.sampled_from(SEEDS),
    seed=st.integers(0, 2**31),
    remap=st.booleans(),
    rfap=st.sampled_from(["compact", "per_layer", "off"]),
)
def test_all_work_is_dense(net_seed: int, seed: int, remap: bool, rfap: str) -> None:
    """Law 2: everything marked for recomputation gives the dense output, whatever the other options say."""
    net, model = _compiled(net_seed)
    reuse = fluxshard.ReuseOptions(rfap=rfap, remap=remap, tau_input=0.5, tau=0.5, scene_cut=1.0)
    work = {i: np.ones((g.height, g.width), np.bool_) for i, g in enumerate(model.plan.grids)}
    with model.session(reuse) as session, torch.inference_mode():
        for image, motion in frames("blocks", net.size, 3, seed):
            # islands compare with tau: what they return stands in for the dense value within it
            out = session.run_with_work(image, motion, work)
            if not any(layer.mode == "dense" for layer in model.plan.layers):
                assert_same(out, net(image))
                assert session.stats.compute_ratio == pytest.approx(1.0)


@settings(max_examples=40, deadline=None)
@given(
    net_seed=st.sampled_from(SEEDS), seed=st.integers(0, 2**31), rfap=st.sampled_from(["compact", "per_layer", "off"])
)
def test_nothing_to_do(net_seed: int, seed: int, rfap: str) -> None:
    """Law 3: the same frame at zero motion gives the same bits and executes no layer."""
    net, model = _compiled(net_seed)
    with model.session(fluxshard.ReuseOptions(rfap=rfap)) as session:
        sequence = list(frames("garbage", net.size, 3, seed))
        for image, motion in sequence:
            before = session.run(image, motion)
        for motion in (None, MotionField.zero(*net.size)):
            after = session.run(sequence[-1][0], motion)
            assert all(torch.equal(before[name], after[name]) for name in before)
            assert session.stats.layers_executed == 0 and session.stats.compute_ratio == 0
            assert session.stats.recompute_ratio == 0


def test_deterministic() -> None:
    """Law 5: the same inputs give the same bits."""
    net = RandomNet(3, 9)
    model = fluxshard.compile(net, torch.zeros(1, 3, *net.size), options=OPTIONS)
    runs = []
    for _ in range(2):
        with model.session(EXACT) as session:
            runs.append([session.run(*frame) for frame in frames("blocks", net.size, 5, 1)])
    for one, two in zip(*runs, strict=True):
        assert all(torch.equal(one[name], two[name]) for name in one)


def test_outputs_never_alias_state() -> None:
    """Law 6: writing into outputs or into the image changes nothing later; two sessions do not see each other."""
    net = RandomNet(21, 9)
    model = fluxshard.compile(net, torch.zeros(1, 3, *net.size), options=OPTIONS)
    sequences = [list(frames("blocks", net.size, 5, seed)) for seed in (1, 2)]
    alone = []
    for sequence in sequences:
        with model.session(EXACT) as session:
            alone.append([session.run(*frame) for frame in sequence])
    with model.session(EXACT) as a, model.session(EXACT) as b:
        for index in range(5):
            for session, sequence, expected in ((a, sequences[0], alone[0]), (b, sequences[1], alone[1])):
                image = sequence[index][0].clone()
                out = session.run(image, sequence[index][1])
                assert all(torch.equal(out[name], expected[index][name]) for name in out)
                image.fill_(-7)
                for tensor in out.values():
                    tensor.fill_(9)


def test_without_remap_is_exact_too() -> None:
    """The cache in old coordinates serves the same values, only fewer of them."""
    net = RandomNet(8, 7)
    model = fluxshard.compile(net, torch.zeros(1, 3, *net.size), options=OPTIONS)
    reuse = fluxshard.ReuseOptions(rfap="per_layer", input="fresh", remap=False, scene_cut=1.0)
    with model.session(reuse) as session:
        for kind in ("static", "unknown"):
            session.reset()
            list(check_against_dense(net, session, frames(kind, net.size, 6, 4)))
