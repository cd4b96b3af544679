"""Pixels without a source, against the definition; shapes of shards. Cells of shards are tested with the planner."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import fluxshard
from fluxshard.geometry import Grid
from fluxshard.motion import MotionField, cells
from fluxshard.options import CompileOptions, PlannedOptions
from fluxshard.runtime.planned.levels import levels_of
from fluxshard.runtime.planned.shard_work import ShardWork, add_unknown
from fluxshard.runtime.reuse.displacement import displacement_field


def test_shapes_are_those_of_the_levels_shards() -> None:
    import torch

    net = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 8, 1)).eval()
    plan = fluxshard.compile(net, torch.zeros(1, 3, 40, 72), options=CompileOptions(backend="reference")).plan
    levels = levels_of(plan, PlannedOptions())
    work = ShardWork(plan, levels)
    assert work.shapes == tuple((-(-40 // level.shard_px), -(-72 // level.shard_px)) for level in levels)
    every = work([np.ones(shape, np.bool_) for shape in work.shapes], None)
    assert all(mask.all() for mask in every.values())
    assert {index: mask.shape for index, mask in every.items()} == {
        index: (plan.grids[index].height, plan.grids[index].width) for index in every
    }


@given(
    size=st.sampled_from(((24, 40), (37, 53), (3, 70))),
    cell_px=st.sampled_from((1, 3, 4, 8, 16, 64)),
    spread=st.sampled_from((0, 3, 40, 32_767)),
    seed=st.integers(0, 2**31),
)
def test_pixels_without_source(size: tuple[int, int], cell_px: int, spread: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = cells(size[0], cell_px), cells(size[1], cell_px)
    motion = MotionField(rng.integers(-spread, spread + 1, (*shape, 2)), rng.random(shape) < 0.95, cell_px)
    given = rng.random(size) < 0.3
    found = given.copy()
    add_unknown(found, motion)
    image = Grid(*size)
    assert (found == given | ~displacement_field(motion, image, image).valid).all()
    kept = given.copy()
    add_unknown(given, None)
    assert (given == kept).all()
