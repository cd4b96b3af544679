"""The laws of reuse on generated CUDA, run by the emulator, and its agreement with the reference backend."""

from __future__ import annotations

import threading
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import fluxshard
from fluxshard.options import DType
from tests.laws.content import KINDS, frames
from tests.laws.helpers import EXACT, assert_same, assert_same_decisions, check_against_dense
from tests.laws.nets import RandomNet

pytestmark = pytest.mark.requires_compiler
SEEDS = tuple(range(300, 308))
INTEGER_SEEDS = tuple(range(400, 406))
REFERENCE = fluxshard.CompileOptions(backend="reference")
STORED: tuple[tuple[DType, str], ...] = (("float16", "sm_80"), ("float16", "sm_75"), ("bfloat16", "sm_80"))


@cache
def _compiled(
    seed: int, integer: bool = False, dtype: DType = "float32", arch: str = "sm_80"
) -> tuple[RandomNet, fluxshard.CompiledModel]:
    """Nets are compiled once a process: the compiler takes longer than all frames."""
    net = RandomNet(seed, 9, integer=integer, islands=not integer)
    options = fluxshard.CompileOptions(backend="emulated", dtype=dtype, arch=arch)
    return net, fluxshard.compile(net, torch.zeros(1, 3, *net.size), options=options, target="cuda")


@settings(max_examples=120, deadline=None)
@given(net_seed=st.sampled_from(SEEDS), kind=st.sampled_from(KINDS), seed=st.integers(0, 2**31))
def test_exact_at_zero_thresholds(net_seed: int, kind: str, seed: int) -> None:
    """Law 1."""
    net, model = _compiled(net_seed)
    with model.session(EXACT) as session:
        list(check_against_dense(net, session, frames(kind, net.size, 4, seed)))


@pytest.mark.parametrize("seed", SEEDS[:4])
@pytest.mark.parametrize(("dtype", "arch"), [("float32", "sm_80"), *STORED])
def test_incremental_bits_are_those_of_all_work(seed: int, dtype: DType, arch: str) -> None:
    """Which cells are computed together does not show in the result: reuse at zero thresholds is bit-exact."""
    net, model = _compiled(seed, dtype=dtype, arch=arch)
    islands = any(layer.mode == "dense" for layer in model.plan.layers)
    tolerance = {"float32": 2e-4, "float16": 2e-2, "bfloat16": 1e-1}[dtype]
    with model.session(EXACT) as session, model.session(EXACT) as whole:
        for image, motion in frames("blocks", net.size, 4, seed):
            out = session.run(image, motion)
            whole.reset()
            expected = whole.run(image)
            for name in out:
                if islands:  # torch's own kernels give no such promise
                    assert_same(out[name], expected[name], tolerance)
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


@pytest.mark.parametrize("seed", INTEGER_SEEDS)
@pytest.mark.parametrize("rfap", ["compact", "per_layer", "off"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_backends_take_the_same_decisions(seed: int, rfap: str, dtype: DType) -> None:
    """Law 4 on nets whose arithmetic is exact: masks, candidates, slot maps and values, bit for bit."""
    net, model = _compiled(seed, integer=True, dtype=dtype)
    reference = fluxshard.compile(net, torch.zeros(1, 3, *net.size), options=REFERENCE)
    for kind, tau, feed, remap in (
        ("blocks", 0.0, "assembled", True), ("garbage", 1.0, "fresh", False), ("cut", 0.0, "fresh", True),
        ("pan", 2.0, "assembled", False), ("cut", 1.0, "assembled", False),
    ):  # fmt: skip
        reuse = fluxshard.ReuseOptions(rfap=rfap, remap=remap, input=feed, tau_input=tau, tau=tau)
        with model.session(reuse) as a, reference.session(reuse) as b:
            for image, motion in frames(kind, net.size, 4, seed, integer=True):
                assert_same(a.run(image, motion), b.run(image, motion), 0)
                assert_same_decisions(a, b, model.plan, True)
                assert a.stats.compute_ratio == b.stats.compute_ratio


@pytest.mark.parametrize("seed", INTEGER_SEEDS[:4])
def test_given_work_is_the_same_work_on_all_backends(seed: int) -> None:
    """Masks for every grid take another order of launches; the decisions are the same, and so are the rows."""
    net, model = _compiled(seed, integer=True)
    reference = fluxshard.compile(net, torch.zeros(1, 3, *net.size), options=REFERENCE)
    rng = np.random.default_rng(seed)
    reuse = fluxshard.ReuseOptions(rfap="off", input="fresh", scene_cut=1.0)
    with model.session(reuse) as a, reference.session(reuse) as b:
        for index, (image, motion) in enumerate(frames("blocks", net.size, 8, seed, integer=True)):
            work = {i: rng.random((g.height, g.width)) < 0.4 for i, g in enumerate(model.plan.grids)}
            if index % 3 == 2:  # grids that are left out follow the values: the other order, on maps of this one
                work = {i: mask for i, mask in work.items() if i == 0}
            for session in (a, b):
                session.run_with_work(image, motion, work)
            assert_same_decisions(a, b, model.plan, True)
            assert a.stats.compute_ratio == b.stats.compute_ratio


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


@pytest.mark.parametrize("order", ["forward", "reverse"])
def test_the_order_of_threads_does_not_show(order: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law 5: threads and blocks that run in another order give the same bits; a missing barrier would not."""
    net, model = _compiled(SEEDS[0])
    sequence = list(frames("blocks", net.size, 4, 5))
    with model.session(EXACT) as session:
        expected = [session.run(image, motion) for image, motion in sequence]
    monkeypatch.setenv("FLUXSHARD_EMULATOR_ORDER", order)
    options = fluxshard.CompileOptions(backend="emulated")
    again = fluxshard.compile(net, torch.zeros(1, 3, *net.size), options=options, target="cuda")
    with again.session(EXACT) as session:
        for (image, motion), before in zip(sequence, expected, strict=True):
            out = session.run(image, motion)
            assert all(torch.equal(out[name], before[name]) for name in out)


def test_deterministic_in_threads_and_isolated() -> None:
    """Laws 5 and 6: two sessions in two threads give the bits that they give alone; outputs alias nothing."""
    net, model = _compiled(SEEDS[1])
    sequences = [list(frames("blocks", net.size, 8, seed)) for seed in (1, 2)]

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
        assert len(one) == len(two) == 8
        for a, b in zip(one, two, strict=True):
            assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("seed", SEEDS[:3])
def test_nan_and_infinity_pass_through_and_leave(seed: int) -> None:
    """A NaN spreads as in the dense net, is recomputed while it is there, and is gone with its pixel."""
    net, model = _compiled(seed)
    (clean, _), *_ = frames("static", net.size, 1, seed)
    broken = clean.clone()
    broken[0, 1, 7, 9] = float("nan")
    broken[0, 0, 12, 3] = float("inf")
    with model.session(EXACT) as session, torch.inference_mode():
        session.run(clean)
        for image in (broken, broken, clean):
            out, dense = session.run(image), net(image)
            for name in out:
                assert (out[name].isfinite() == dense[name].isfinite()).all()
        assert_same(out, dense)
