"""Single layers as checks of a place, and that nothing is written beyond what belongs to a block of memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

import fluxshard
from fluxshard.ir.plan import Plan
from fluxshard.options import DType
from fluxshard.runtime.engines.cuda import CudaEngine
from fluxshard.runtime.engines.cuda_input_cache import CudaInputCache
from fluxshard.runtime.engines.engine import StreamState
from fluxshard.runtime.reuse.input_cache import InputOptions
from fluxshard.runtime.session import Session
from fluxshard.runtime.stream import Program
from fluxshard.testing.plan_builder import PlanBuilder
from tests.gpu.place import HostEngine, HostInputCache, Place
from tests.layers.cases import GROUPS, HEIGHT, MASKS, WIDTH, images
from tests.layers.checked import check_group, mask_of, outputs_of

TOLERANCE: dict[DType, float] = {"float32": 2e-5, "float16": 4e-3, "bfloat16": 3e-2}
_MARK = 0xA5


def definitions(place: Place, group: str, dtype: DType) -> None:
    """Every layer of a group is its definition on masks of all kinds."""
    check_group(group, lambda plan, weights: HostEngine(place.engine(plan, weights, dtype)), TOLERANCE[dtype])


def some_in_torch(place: Place, group: str) -> None:
    """The same where every third layer runs in torch, between layers that have kernels."""

    def engine(plan: Plan, weights: dict[str, Tensor]) -> HostEngine:
        sparse = [layer.name for layer in plan.layers if layer.mode == "sparse"]
        return HostEngine(place.engine(plan, weights, "float32", frozenset(sparse[1::3])))

    builder = _plan_of(group)
    plan = builder.finish(*(value.name for value in builder.values[1:]))
    made, expected = engine(plan, builder.weights), place.engine(plan, builder.weights, "float32")
    for one, other in zip(_stream(made, group), _stream(HostEngine(expected), group), strict=True):
        for a, b in zip(one, other, strict=True):
            scale = max(1.0, float(b.abs().max()))
            torch.testing.assert_close(a, b, rtol=0, atol=2e-4 * scale, equal_nan=True)


def writes_stay_inside(place: Place, group: str, dtype: DType, captures: bool = True) -> None:
    """Between the blocks of a stream's memory nothing is ever written."""
    builder = _plan_of(group)
    engine = Marked(place.engine(builder.finish(*outputs_of(builder)), builder.weights, dtype, captures=captures))
    _stream(engine, group)
    assert engine.broken() == []


class Marked(HostEngine):
    """An engine whose streams have marks between the blocks of their memory."""

    def __init__(self, inner: CudaEngine) -> None:
        super().__init__(inner)
        self._states: list[StreamState] = []
        self._caches: list[CudaInputCache] = []

    def new_input_cache(self, options: InputOptions) -> HostInputCache:
        """See `Engine.new_input_cache`."""
        cache = super().new_input_cache(options)
        for _, gap in self._gaps_of_cache(cache.inner):
            gap.fill_(_MARK)
        self._caches.append(cache.inner)
        return cache

    def new_state(self, *, given: bool = False) -> StreamState:
        """See `Engine.new_state`."""
        state = super().new_state(given=given)
        for _, gap in self._gaps(state):
            gap.fill_(_MARK)
        self._states.append(state)
        return state

    def broken(self) -> list[int]:
        """Offsets of blocks, in states and in input caches, behind which something was written."""
        gaps = [gap for state in self._states for gap in self._gaps(state)]
        gaps += [gap for cache in self._caches for gap in self._gaps_of_cache(cache)]
        return [offset for offset, gap in gaps if bool((gap != _MARK).any())]

    def _gaps(self, state: StreamState) -> list[tuple[int, Tensor]]:
        return _gaps_between(state.data.arena, self.inner._program.state_blocks)

    def _gaps_of_cache(self, cache: CudaInputCache) -> list[tuple[int, Tensor]]:
        return _gaps_between(cache.memory.arena, self.inner._program.input_blocks)


def _gaps_between(arena: Tensor, blocks: Sequence[tuple[int, int]]) -> list[tuple[int, Tensor]]:
    """What lies between blocks of memory, with the offset of the block before."""
    ends = [offset for offset, _ in blocks[1:]] + [arena.numel()]
    return [(offset, arena[offset + n_bytes : end]) for (offset, n_bytes), end in zip(blocks, ends, strict=True)]


def _channels(group: str) -> int:
    return 17 if group == "activations" else 5


def _plan_of(group: str) -> PlanBuilder:
    builder = PlanBuilder(_channels(group), HEIGHT, WIDTH)
    GROUPS[group](builder)
    return builder


def _stream(engine: HostEngine, group: str) -> list[list[Tensor]]:
    """Results of frames in both orders of launches, with and without remapping."""
    results, rng = [], np.random.default_rng(5)
    for remap in (True, False):
        reuse = fluxshard.ReuseOptions(rfap="per_layer", remap=remap, scene_cut=1.0)
        with Session(lambda _: Program(engine, lambda leaves: leaves), reuse) as session:
            for kind, image in zip(("first", *MASKS), images(group, _channels(group)), strict=False):
                image = image.nan_to_num(1.0, 2.0, -2.0)
                results.append(session.run(image))
                masks = {i: mask_of(kind, grid, rng) for i, grid in enumerate(engine.plan.grids)}
                results.append(session.run_with_work(image, None, masks))
    return results
