"""The laws of reuse on generated CUDA, run by the emulator, and its agreement with the reference backend."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import fluxshard
from fluxshard.options import DType, Rfap
from fluxshard.testing.comparisons import assert_same
from fluxshard.testing.moving_frames import KINDS, frames
from fluxshard.testing.session_checks import EXACT, assert_same_decisions
from tests.gpu import laws
from tests.gpu.place import EMULATED
from tests.laws import level_motions, proposals
from tests.laws.planned import SETTINGS, check_decisions

pytestmark = pytest.mark.requires_compiler
SEEDS = tuple(range(300, 308))
INTEGER_SEEDS = tuple(range(400, 406))
# what is stored, for which architecture, and the seeds that the quick tests take
STORED: tuple[tuple[DType, str, tuple[int, ...]], ...] = (
    ("float32", "sm_80", SEEDS[:4]), ("float16", "sm_80", SEEDS[:4]), ("float16", "sm_75", SEEDS[:2]),
    ("bfloat16", "sm_80", SEEDS[2:4]),
)  # fmt: skip
DECIDED: tuple[tuple[DType, tuple[int, ...]], ...] = (("float32", INTEGER_SEEDS), ("float16", INTEGER_SEEDS[:3]))


def quick_if(quick: bool) -> tuple[pytest.MarkDecorator, ...]:
    """Marks of a test: every seed of a type has kernels of its own, which take longer to compile than its frames."""
    return () if quick else (pytest.mark.slow,)


@settings(max_examples=120, deadline=None)
@given(seed=st.sampled_from(SEEDS), kind=st.sampled_from(KINDS), content=st.integers(0, 2**31))
def test_exact_at_zero_thresholds(seed: int, kind: str, content: int) -> None:
    laws.exact(EMULATED, seed, kind, content)


@pytest.mark.parametrize(
    ("dtype", "arch", "seed"),
    [
        pytest.param(dtype, arch, seed, marks=quick_if(seed in quick))
        for dtype, arch, quick in STORED
        for seed in SEEDS[:4]
    ],
)
def test_incremental_bits_are_those_of_all_work(seed: int, dtype: DType, arch: str) -> None:
    laws.incremental_bits(replace(EMULATED, arch=arch), seed, dtype)


@pytest.mark.parametrize("seed", SEEDS)
def test_all_work_and_no_work(seed: int) -> None:
    laws.all_work(EMULATED, seed, "float32", rfap="compact", remap=True)
    laws.no_work(EMULATED, seed, "float32", "per_layer")


@pytest.mark.parametrize("rfap", ["compact", "per_layer", "off"])
@pytest.mark.parametrize(
    ("dtype", "seed"),
    [pytest.param(dtype, seed, marks=quick_if(seed in quick)) for dtype, quick in DECIDED for seed in INTEGER_SEEDS],
)
def test_backends_take_the_same_decisions(seed: int, rfap: Rfap, dtype: DType) -> None:
    laws.same_decisions(EMULATED, seed, rfap, dtype)


@pytest.mark.parametrize("seed", INTEGER_SEEDS[:4])
def test_given_work_is_the_same_work_on_all_backends(seed: int) -> None:
    laws.same_given_work(EMULATED, seed, "float32")


@settings(max_examples=20, deadline=None)
@given(
    seed=st.sampled_from(SEEDS[:4]),
    kind=st.sampled_from(KINDS),
    content=st.integers(0, 2**31),
    which=st.integers(0, len(SETTINGS) - 1),
)
def test_planned_work_is_executed_work(seed: int, kind: str, content: int, which: int) -> None:
    laws.planned_reuse(EMULATED, seed, kind, content, which)


@pytest.mark.parametrize("name", proposals.REUSES)
@settings(max_examples=6, deadline=None)
@given(seed=st.sampled_from(SEEDS[:3]), kind=st.sampled_from(KINDS), content=st.integers(0, 2**31))
def test_proposals_are_what_runs(name: str, seed: int, kind: str, content: int) -> None:
    laws.proposals_are_what_runs(EMULATED, seed, name, kind, content)


@pytest.mark.parametrize("seed", SEEDS[:4])
def test_planned_edges(seed: int) -> None:
    laws.planned_edges(EMULATED, seed)


@pytest.mark.parametrize("seed", INTEGER_SEEDS[:4])
@pytest.mark.parametrize(("kind", "which"), [("blocks", 1), ("blocks", 2), ("blocks", 3), ("pan", 1)])
def test_planned_decisions_are_the_same(seed: int, kind: str, which: int) -> None:
    laws.planned_decisions(EMULATED, seed, kind, which)


def test_planned_decisions_are_the_same_with_a_generated_image_test() -> None:
    seed = INTEGER_SEEDS[2]
    _, model = laws.compiled(EMULATED, seed, "float32", integer=True)
    for which in range(len(SETTINGS)):
        check_decisions(model.session, laws.reference(seed).session, model.plan, "blocks", seed, which)


@pytest.mark.parametrize("seed", INTEGER_SEEDS)
@pytest.mark.parametrize("work", level_motions.WORK)
def test_levels_move_as_in_the_reference(seed: int, work: level_motions.Work) -> None:
    laws.level_motion(EMULATED, seed, work)


@pytest.mark.parametrize("work", level_motions.WORK)
def test_levels_move_as_in_the_reference_in_halves(work: level_motions.Work) -> None:
    laws.level_motion(EMULATED, INTEGER_SEEDS[2], work, "float16")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("rfap", ["compact", "off"])
def test_backends_agree_within_tolerance(seed: int, rfap: Rfap) -> None:
    """Law 4 on float nets: equal input sets; values within tolerance at zero thresholds."""
    net, model = laws.compiled(EMULATED, seed)
    reference = fluxshard.compile(net, torch.zeros(1, 3, *net.size), options=laws.REFERENCE)
    reuse = fluxshard.ReuseOptions(rfap=rfap, scene_cut=1.0)
    with model.session(reuse) as a, reference.session(reuse) as b:
        for image, motion in frames("blocks", net.size, 4, seed):
            assert_same(a.run(image, motion), b.run(image, motion))
            assert_same_decisions(a, b, model.plan, False)


@pytest.mark.parametrize("order", ["forward", "reverse"])
def test_the_order_of_threads_does_not_show(order: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law 5: threads and blocks that run in another order give the same bits; a missing barrier would not."""
    net, model = laws.compiled(EMULATED, SEEDS[0])
    sequence = list(frames("blocks", net.size, 4, 5))
    with model.session(EXACT) as session:
        expected = [session.run(image, motion) for image, motion in sequence]
    monkeypatch.setenv("FLUXSHARD_EMULATOR_ORDER", order)
    with EMULATED.compile(net, net.size).session(EXACT) as session:
        for (image, motion), before in zip(sequence, expected, strict=True):
            out = session.run(image, motion)
            assert all(torch.equal(out[name], before[name]) for name in out)


def test_deterministic_and_isolated() -> None:
    laws.deterministic(EMULATED, SEEDS[1], "float32")
    laws.isolated(EMULATED, SEEDS[1], 8)
    laws.outputs_alias_nothing(EMULATED, SEEDS[1])


@pytest.mark.parametrize("seed", SEEDS[:3])
def test_nan_and_infinity_pass_through_and_leave(seed: int) -> None:
    laws.not_a_number_leaves(EMULATED, seed)
