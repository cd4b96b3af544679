"""The input cache on a device against its definition: S_0, the assembled input and what it keeps; and its misuse."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fluxshard.codegen.cuda.emulate.loader import EmulatedLoader
from fluxshard.codegen.cuda.program import CudaProgram
from fluxshard.errors import ShapeError, StateError
from fluxshard.ir.kernel import CudaTarget
from fluxshard.runtime.engines.cuda import CudaEngine
from fluxshard.runtime.engines.cuda_device import EmulatedDevice
from fluxshard.runtime.engines.cuda_input_cache import CudaInputCache
from fluxshard.runtime.engines.cuda_inspection import view
from fluxshard.runtime.engines.engine import StepControl
from fluxshard.runtime.reuse.input_cache import InputOptions, ReferenceInputCache
from fluxshard.testing.plan_builder import PlanBuilder
from tests.laws import input_caches

pytestmark = pytest.mark.requires_compiler
SHAPES = ((3, 24, 40), (3, 13, 19), (5, 16, 7))
OPTIONS = InputOptions(tau=0.05, scene_cut=0.9, mode="assembled", remap=True)


@cache
def _engine(shape: tuple[int, int, int]) -> CudaEngine:
    b = PlanBuilder(*shape)
    b.conv("image", 4, (3, 3), padding=((1, 1), (1, 1)))
    plan = b.finish()
    program = CudaProgram(plan, CudaTarget(arch="sm_80"), EmulatedLoader())
    return CudaEngine(plan, program, b.weights, EmulatedDevice())


def _fed(made: CudaInputCache, shape: tuple[int, int, int]) -> Tensor:
    layout = made.program.layout.input
    channels, height, width = shape
    rows = view(made.memory.arena, layout.fed.offset, torch.float32, (height, width, layout.stride))
    return rows[..., :channels].permute(2, 0, 1)[None]


@settings(max_examples=60, deadline=None)
@given(shape=st.sampled_from(SHAPES), options=input_caches.OPTIONS, seed=st.integers(0, 2**31))
def test_agrees_with_the_definition(shape: input_caches.Shape, options: InputOptions, seed: int) -> None:
    made = _engine(shape).new_input_cache(options)
    input_caches.check(made, lambda _: _fed(made, shape), shape, options, seed)


def test_a_proposal_is_good_until_the_next() -> None:
    engine = _engine(SHAPES[0])
    made = engine.new_input_cache(OPTIONS)
    image = torch.rand(1, *SHAPES[0])
    first = made.propose(image, None, keyframe=True, given=None)
    second = made.propose(image, None, keyframe=True, given=None)
    for read in (lambda: first.keyframe, lambda: first.pixels, first.mask, lambda: made.commit(first)):
        with pytest.raises(StateError, match="not the last one"):
            read()
    assert second.keyframe and second.mask().all()


def test_a_step_takes_the_last_proposal_of_its_own_engine() -> None:
    engine, state = _engine(SHAPES[0]), _engine(SHAPES[0]).new_state()
    made, image = engine.new_input_cache(OPTIONS), torch.rand(1, *SHAPES[0])
    stale = made.propose(image, None, keyframe=True, given=None)
    last = made.propose(image, None, keyframe=True, given=None)
    foreign = ReferenceInputCache(engine.plan.grids[0], 3, OPTIONS).propose(image, None, keyframe=True, given=None)
    tau = (0.0,) * len(engine.plan.layers)
    for given_, message in ((stale, "not the last one"), (foreign, r"another engine \(ReferenceInput\)")):
        with pytest.raises(StateError, match=message):
            engine.step(state, image, None, StepControl(keyframe=True, rfap="off", remap=True, tau=tau, input=given_))
    with pytest.raises(StateError, match="without an input cache needs its pixels"):
        engine.step(state, image, None, StepControl(keyframe=False, rfap="off", remap=True, tau=tau))
    engine.step(state, image, None, StepControl(keyframe=True, rfap="off", remap=True, tau=tau, input=last))


def test_what_a_frame_did_outlives_the_next_proposal() -> None:
    engine, state = _engine(SHAPES[0]), _engine(SHAPES[0]).new_state()
    made, image = engine.new_input_cache(OPTIONS), torch.rand(1, *SHAPES[0])
    tau = (0.0,) * len(engine.plan.layers)
    for keyframe in (True, False):
        image = image.clone()
        image[0, 0, 3, 5] += 1
        offered = made.propose(image, None, keyframe=keyframe, given=None)
        made.commit(offered)
        control = StepControl(keyframe=keyframe, rfap="off", remap=True, tau=tau, input=offered)
        result = engine.step(state, image, None, control)
    made.propose(torch.rand_like(image), None, keyframe=True, given=None)
    counts, mask = result.counts(), engine.inspect(state).input_mask()
    assert (counts.keyframe, counts.input_cells, int(mask.sum())) == (False, 1, 1) and mask[3, 5]


@pytest.mark.parametrize("image", [torch.zeros(1, 3, 24, 39), torch.zeros(1, 3, 24, 40, dtype=torch.float64)])
def test_an_image_of_another_kind(image: Tensor) -> None:
    made = _engine(SHAPES[0]).new_input_cache(OPTIONS)
    with pytest.raises(ShapeError, match=r"expected \(1, 3, 24, 40\) torch.float32"):
        made.propose(image, None, keyframe=True, given=None)
