"""The laws of reuse on generated C++ that stores bfloat16: exact for what is stored, near the float32 network."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import fluxshard
from fluxshard.options import Isa
from fluxshard.testing.comparisons import assert_same
from fluxshard.testing.moving_frames import KINDS, frames
from fluxshard.testing.session_checks import EXACT, assert_same_decisions, check_against_dense
from tests.laws import planned
from tests.laws.nets import RandomNet
from tests.laws.not_finite import check_nan_and_infinity

pytestmark = pytest.mark.requires_compiler
SEEDS = tuple(range(100, 108))
INTEGER_SEEDS = tuple(range(200, 206))
ISAS: tuple[Isa, ...] = ("native", "avx2")  # sums in pairs where the processor has them, and in plain code
NEAR = 0.06  # of the largest value, after nine layers that round to 2^-9 each


def _cases(seeds: tuple[int, ...], quick: int) -> list[object]:
    """Pairs of a seed and an instruction set; in plain code only the first seeds are quick."""
    return [
        pytest.param(seed, isa, marks=pytest.mark.slow if isa == "avx2" and seed not in seeds[:quick] else ())
        for seed in seeds
        for isa in ISAS
    ]


@cache
def _compiled(seed: int, isa: Isa, integer: bool = False) -> tuple[RandomNet, fluxshard.CompiledModel]:
    net = RandomNet(seed, 9, integer=integer, islands=not integer)
    options = fluxshard.CompileOptions(backend="cpp", dtype="bfloat16", isa=isa)
    return net, fluxshard.compile(net, torch.zeros(1, 3, *net.size), options=options)


@cache
def _float32(seed: int, backend: str, integer: bool = False) -> fluxshard.CompiledModel:
    net, _ = _compiled(seed, "native", integer)
    options = fluxshard.CompileOptions(backend=backend)  # type: ignore[arg-type]
    return fluxshard.compile(net, torch.zeros(1, 3, *net.size), options=options)


def _check_near(isa: Isa, net_seed: int, kind: str, seed: int) -> None:
    """Law 1, within the type's rounding."""
    net, model = _compiled(net_seed, isa)
    with model.session(EXACT) as session:
        list(check_against_dense(net, session, frames(kind, net.size, 4, seed), tolerance=NEAR))


@settings(max_examples=60, deadline=None)
@given(net_seed=st.sampled_from(SEEDS), kind=st.sampled_from(KINDS), seed=st.integers(0, 2**31))
def test_near_the_network_at_zero_thresholds(net_seed: int, kind: str, seed: int) -> None:
    _check_near("native", net_seed, kind, seed)


@settings(max_examples=30, deadline=None)
@given(net_seed=st.sampled_from(SEEDS[:4]), kind=st.sampled_from(KINDS), seed=st.integers(0, 2**31))
def test_near_the_network_at_zero_thresholds_in_plain_code(net_seed: int, kind: str, seed: int) -> None:
    _check_near("avx2", net_seed, kind, seed)


@pytest.mark.parametrize(("seed", "isa"), _cases(SEEDS, 4))
def test_incremental_bits_are_those_of_all_work(seed: int, isa: Isa) -> None:
    """Which cells are computed together does not show, nor which were kept: stored numbers are compared."""
    net, model = _compiled(seed, isa)
    if any(layer.mode == "dense" for layer in model.plan.layers):
        pytest.skip("torch's own kernels give no such promise")
    with model.session(EXACT) as session, model.session(EXACT) as whole:
        for image, motion in frames("blocks", net.size, 4, seed):
            out = session.run(image, motion)
            whole.reset()
            expected = whole.run(image)
            assert all(torch.equal(out[name], expected[name]) for name in out)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("seed", SEEDS[:4])
def test_all_work_and_no_work(seed: int, isa: Isa) -> None:
    """Laws 2 and 3."""
    net, model = _compiled(seed, isa)
    work = {i: np.ones((g.height, g.width), np.bool_) for i, g in enumerate(model.plan.grids)}
    with model.session(EXACT) as session, torch.inference_mode():
        for image, motion in frames("blocks", net.size, 3, seed):
            assert_same(session.run_with_work(image, motion, work), net(image), NEAR)
        before = session.run(image)
        after = session.run(image)
        assert all(torch.equal(before[name], after[name]) for name in before)
        assert session.stats.layers_executed == 0 and session.stats.compute_ratio == 0


@pytest.mark.parametrize(("seed", "isa"), _cases(INTEGER_SEEDS, 3))
@pytest.mark.parametrize("feed", ["assembled", "fresh"])
def test_decisions_are_those_of_the_reference(seed: int, isa: Isa, feed: str) -> None:
    """Law 4 on nets of small integers, which bfloat16 holds exactly: masks, slot maps and values, bit for bit."""
    net, model = _compiled(seed, isa, integer=True)
    reference = _float32(seed, "reference", integer=True)
    for kind, tau in (("blocks", 0.0), ("garbage", 1.0), ("cut", 0.0), ("pan", 2.0)):
        reuse = fluxshard.ReuseOptions(rfap="per_layer", input=feed, tau_input=tau, tau=tau)  # type: ignore[arg-type]
        with model.session(reuse) as a, reference.session(reuse) as b:
            for image, motion in frames(kind, net.size, 5, seed, integer=True):
                assert_same(a.run(image, motion), b.run(image, motion), 0)
                assert_same_decisions(a, b, model.plan, True)


@settings(max_examples=40, deadline=None)
@given(net_seed=st.sampled_from(SEEDS), kind=st.sampled_from(KINDS), seed=st.integers(0, 2**31))
def test_planned_work_is_that_of_float32(net_seed: int, kind: str, seed: int) -> None:
    """Planned reuse decides from the image, which is compared in float32 whatever features are stored as."""
    net, model = _compiled(net_seed, "native")
    expected = _float32(net_seed, "cpp")
    reuse = planned.options(planned.SETTINGS[1])
    with model.session(reuse) as a, expected.session(reuse) as b:
        for image, motion in frames(kind, net.size, 5, seed):
            assert_same(a.run(image, motion), b.run(image, motion), NEAR)
            assert_same_decisions(a, b, model.plan, False)
            one, other = a.planned, b.planned
            assert one is not None and other is not None and one.work_ratio == other.work_ratio
            assert (a.counted.candidates == b.counted.candidates).all()


@settings(max_examples=30, deadline=None)
@given(
    net_seed=st.sampled_from(SEEDS[:4]),
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 2**31),
    which=st.integers(0, len(planned.SETTINGS) - 1),
)
def test_predicted_work_is_executed_work(net_seed: int, kind: str, seed: int, which: int) -> None:
    net, model = _compiled(net_seed, "native")
    planned.check_predictions(model, model.session, net.size, kind, seed, which)


def test_nan_and_infinity_pass_through_and_leave() -> None:
    check_nan_and_infinity(*_compiled(SEEDS[0], "native"), SEEDS[0], NEAR)


def test_a_stream_holds_half_as_much() -> None:
    """Rows of features take half; maps, masks and islands' buffers stay."""
    _, model = _compiled(SEEDS[0], "native")
    expected = _float32(SEEDS[0], "cpp")
    sizes = []
    for made in (model, expected):
        with made.session(EXACT) as session:
            session.run(torch.zeros(1, 3, *_compiled(SEEDS[0], "native")[0].size))
            sizes.append(session.state_bytes)
    assert sizes[0] < 0.8 * sizes[1]
