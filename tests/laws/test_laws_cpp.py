"""The laws of reuse on generated C++, and its agreement with the reference backend."""

from __future__ import annotations

import threading
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import fluxshard
from fluxshard.runtime.reuse import slot_map
from fluxshard.runtime.reuse.displacement import displacement_field
from fluxshard.testing.comparisons import assert_same
from fluxshard.testing.moving_frames import KINDS, frames
from fluxshard.testing.session_checks import EXACT, assert_same_decisions, check_against_dense
from tests.laws.nets import RandomNet
from tests.laws.not_finite import check_nan_and_infinity

pytestmark = pytest.mark.requires_compiler
SEEDS = tuple(range(100, 112))
INTEGER_SEEDS = tuple(range(200, 208))
CPP = fluxshard.CompileOptions(backend="cpp")
REFERENCE = fluxshard.CompileOptions(backend="reference")


@cache
def _compiled(seed: int, integer: bool = False) -> tuple[RandomNet, fluxshard.CompiledModel]:
    """Nets are compiled once a process: the compiler takes longer than all frames."""
    net = RandomNet(seed, 9, integer=integer, islands=not integer)
    return net, fluxshard.compile(net, torch.zeros(1, 3, *net.size), options=CPP)


@settings(max_examples=200, deadline=None)
@given(net_seed=st.sampled_from(SEEDS), kind=st.sampled_from(KINDS), seed=st.integers(0, 2**31))
def test_exact_at_zero_thresholds(net_seed: int, kind: str, seed: int) -> None:
    """Law 1."""
    net, model = _compiled(net_seed)
    with model.session(EXACT) as session:
        list(check_against_dense(net, session, frames(kind, net.size, 4, seed)))


@pytest.mark.parametrize("seed", SEEDS[:4])
def test_exact_over_long_sequences(seed: int) -> None:
    """Law 1 over 60 frames of all kinds of motion in one stream."""
    net, model = _compiled(seed)
    with model.session(EXACT) as session:
        for kind in ("blocks", "garbage", "cut"):
            list(check_against_dense(net, session, frames(kind, net.size, 20, seed)))


@pytest.mark.parametrize("seed", SEEDS)
def test_incremental_bits_are_those_of_all_work(seed: int) -> None:
    """Which cells are computed together does not show in the result: reuse at zero thresholds is bit-exact."""
    net, model = _compiled(seed)
    islands = any(layer.mode == "dense" for layer in model.plan.layers)
    with model.session(EXACT) as session, model.session(EXACT) as whole:
        for image, motion in frames("blocks", net.size, 4, seed):
            out = session.run(image, motion)
            whole.reset()
            expected = whole.run(image)
            for name in out:
                if islands:  # torch's own kernels give no such promise
                    assert_same(out[name], expected[name])
                else:
                    assert torch.equal(out[name], expected[name])


@pytest.mark.parametrize("seed", SEEDS)
def test_all_work_and_no_work(seed: int) -> None:
    """Laws 2 and 3."""
    net, model = _compiled(seed)
    work = {i: np.ones((g.height, g.width), np.bool_) for i, g in enumerate(model.plan.grids)}
    with model.session(EXACT) as session, torch.inference_mode():
        for image, motion in frames("blocks", net.size, 3, seed):
            assert_same(session.run_with_work(image, motion, work), net(image))
        before = session.run(image)
        after = session.run(image)
        assert all(torch.equal(before[name], after[name]) for name in before)
        assert session.stats.layers_executed == 0 and session.stats.compute_ratio == 0


@cache
def _reference(seed: int) -> fluxshard.CompiledModel:
    net, _ = _compiled(seed, integer=True)
    return fluxshard.compile(net, torch.zeros(1, 3, *net.size), options=REFERENCE)


@pytest.mark.parametrize("seed", INTEGER_SEEDS)
@pytest.mark.parametrize(
    ("rfap", "remap"),
    [("compact", True), ("compact", False), ("per_layer", True), ("off", False),
     *(pytest.param(*pair, marks=pytest.mark.slow) for pair in (("per_layer", False), ("off", True)))],
)  # fmt: skip
def test_backends_take_the_same_decisions(seed: int, rfap: str, remap: bool) -> None:
    """Law 4 on nets whose arithmetic is exact: masks, candidates, slot maps and values, bit for bit."""
    net, model = _compiled(seed, integer=True)
    reference = _reference(seed)
    for kind, tau in (("blocks", 0.0), ("garbage", 1.0), ("cut", 0.0), ("pan", 2.0)):
        for feed in ("assembled", "fresh"):
            reuse = fluxshard.ReuseOptions(rfap=rfap, remap=remap, input=feed, tau_input=tau, tau=tau)
            with model.session(reuse) as a, reference.session(reuse) as b:
                for image, motion in frames(kind, net.size, 5, seed, integer=True):
                    assert_same(a.run(image, motion), b.run(image, motion), 0)
                    assert_same_decisions(a, b, model.plan, True)


@pytest.mark.parametrize("remap", [True, False])
@settings(max_examples=25, deadline=None)
@given(net_seed=st.sampled_from(INTEGER_SEEDS), kind=st.sampled_from(("blocks", "pan")), seed=st.integers(0, 2**31))
def test_given_and_found_work_in_turns(remap: bool, net_seed: int, kind: str, seed: int) -> None:
    """Stores of a grid share their maps while all work is given; they part and meet without a trace."""
    net, model = _compiled(net_seed, integer=True)
    reference = _reference(net_seed)
    rng = np.random.default_rng(seed)
    reuse = fluxshard.ReuseOptions(input="fresh", remap=remap, scene_cut=0.9)
    with model.session(reuse) as a, reference.session(reuse) as b:
        for image, motion in frames(kind, net.size, 7, seed, integer=True):
            if rng.random() < 0.15:
                a.reset()
                b.reset()
            share = rng.choice((0.0, 0.0, 0.1, 0.5))
            work = {
                index: rng.random((grid.height, grid.width)) < share
                for index, grid in enumerate(model.plan.grids)
                if rng.random() < 0.9
            }
            for session in (a, b):
                if share:
                    session.run_with_work(image, motion, work)
                else:
                    session.run(image, motion)
            assert_same_decisions(a, b, model.plan, True)


@pytest.mark.parametrize("seed", INTEGER_SEEDS[:4])
@pytest.mark.parametrize("kind", ["blocks", "pan", "cut"])
def test_rows_are_placed_as_defined(seed: int, kind: str) -> None:
    """`slot_map.place` says where fresh rows go, from the map before, how cells moved, and which of them changed."""
    net, model = _compiled(seed, integer=True)
    plan, grids = model.plan, model.plan.grids
    before: dict[str, np.ndarray] = {}
    moved = 0
    with model.session(fluxshard.ReuseOptions(rfap="per_layer", tau_input=0.5, tau=0.5, scene_cut=1.0)) as session:
        for image, motion in frames(kind, net.size, 6, seed, integer=True):
            session.run(image, motion)
            seen = session.inspect()
            for name in [name for layer in plan.layers for name in layer.outputs if seen.slots(name) is not None]:
                grid = plan.value(name).grid
                assert grid is not None
                slots, mask = seen.slots(name), seen.mask(name)
                assert slots is not None and mask is not None and slots.max() < slots.size
                expected = slot_map.identity(slots.size)
                if not session.stats.keyframe:
                    field = displacement_field(motion, grids[grid], grids[0])
                    expected = slot_map.place(slot_map.remap(before[name].ravel(), field), mask.ravel())
                    moved += (expected != slot_map.identity(slots.size)).any()
                assert (slots.ravel() == expected).all(), name
                before[name] = slots
    assert moved or kind == "cut"  # where nothing moves, rows stay in place


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("rfap", ["compact", "off"])
def test_backends_agree_within_tolerance(seed: int, rfap: str) -> None:
    """Law 4 on float nets: equal input sets; values within tolerance at zero thresholds."""
    net, model = _compiled(seed)
    reference = fluxshard.compile(net, torch.zeros(1, 3, *net.size), options=REFERENCE)
    reuse = fluxshard.ReuseOptions(rfap=rfap, scene_cut=1.0)
    with model.session(reuse) as a, reference.session(reuse) as b:
        for image, motion in frames("blocks", net.size, 4, seed):
            assert_same(a.run(image, motion), b.run(image, motion))
            assert_same_decisions(a, b, model.plan, False)


def test_deterministic_in_threads_and_isolated() -> None:
    """Laws 5 and 6: two sessions in two threads give the bits that they give alone; outputs alias nothing."""
    net, model = _compiled(SEEDS[0])
    sequences = [list(frames("blocks", net.size, 25, seed)) for seed in (1, 2)]

    def stream(sequence: list, out: list) -> None:
        with model.session(EXACT) as session:
            for image, motion in sequence:
                image = image.clone()
                result = session.run(image, motion)
                out.append({name: tensor.clone() for name, tensor in result.items()})
                image.fill_(3)
                for tensor in result.values():
                    tensor.fill_(5)

    alone: list[list] = [[], []]
    for sequence, out in zip(sequences, alone, strict=True):
        stream(sequence, out)
    together: list[list] = [[], []]
    threads = [threading.Thread(target=stream, args=pair) for pair in zip(sequences, together, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, two in zip(alone, together, strict=True):
        assert len(one) == len(two) == 25
        for a, b in zip(one, two, strict=True):
            assert all(torch.equal(a[name], b[name]) for name in a)


def test_nan_and_infinity_pass_through_and_leave() -> None:
    for seed in SEEDS[:3]:
        check_nan_and_infinity(*_compiled(seed), seed)
