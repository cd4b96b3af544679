"""Planned work: counts by hand, and on grids of all kinds the very work that is then done."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

import fluxshard
from fluxshard.errors import StateError
from fluxshard.motion import MotionField, cells
from fluxshard.options import LevelOptions, PlannedOptions
from fluxshard.runtime.planned.image_test import ReferenceImageTest
from fluxshard.runtime.planned.planner import PlannedFrame, Planner

SIZE = (32, 48)


class Chain(nn.Module):
    """Strides 2 and 4, and the mean of all, which is an island."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 4, 3, 2, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.second(self.first(x))
        return y, y.flatten(2).softmax(-1).mean(1)


class PaddedBack(nn.Module):
    """Two grids of stride 2, the first of which ends long before the image does."""

    def __init__(self) -> None:
        super().__init__()
        self.valid, self.pad, self.last = nn.Conv2d(3, 4, 11, 2), nn.ZeroPad2d((3, 2, 3, 2)), nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(self.pad(self.valid(x)))
        return y


class TwoIslands(nn.Module):
    """The first island reads stride 4 and 8 and fills stride 4; a view of that is read by the second."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three = (nn.Conv2d(c, 4, 3, 2, 1) for c in (3, 4, 4))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y = self.one(x)
        z = self.two(y)
        mean = self.three(z).flatten(2).cumsum(2).mean(-1, keepdim=True)
        a = (z.flatten(2) + mean).view_as(z)
        half = a[:, :2]
        return y, half.flatten(2).softmax(-1).view_as(half), F.relu(a)


class UpAgain(nn.Module):
    """Strides 3, 6 and 3 / 2, and an island on both sides of an upsampling."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 3, 3, 1), nn.Conv2d(4, 4, 3, 2, 1)
        self.up = nn.ConvTranspose2d(4, 3, 2, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.one(x)
        z = self.two(y)
        a = F.interpolate(z.flatten(2).softmax(-1).view_as(z), scale_factor=2, mode="nearest")
        return self.up(y), a.flatten(2).softmax(-1).view_as(a)


class Branches(nn.Module):
    """In odd sizes one stride has several grids; 32 is larger than some images are after it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool, self.valid = nn.Conv2d(3, 4, 3, 2, 1), nn.MaxPool2d(2), nn.Conv2d(3, 4, 7, 2)
        self.coarse = nn.Conv2d(4, 4, 16, 16)

    def forward(self, x: Tensor) -> list[Tensor]:
        y = self.conv(x)
        return [y, self.pool(x), self.valid(x), self.coarse(y)]


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


NETS = {
    "stride 2": lambda: nn.Conv2d(3, 4, 3, 2, 1),
    "stride 3": lambda: nn.Sequential(nn.Conv2d(3, 4, 3, 3), nn.ReLU(), nn.Conv2d(4, 4, 3, 3, 1)),
    "stride 8": lambda: nn.Conv2d(3, 4, 8, 8),
    "padded back": PaddedBack,
    "two islands": TwoIslands,
    "up again": UpAgain,
    "branches": Branches,
    "mean": Mean,
}


@cache
def _compiled(name: str) -> fluxshard.CompiledModel:
    torch.manual_seed(0)
    return fluxshard.compile(NETS[name]().eval(), options=fluxshard.CompileOptions(backend="reference"))


def _plan(net: nn.Module) -> fluxshard.Plan:
    options = fluxshard.CompileOptions(backend="reference")
    return fluxshard.compile(net.eval(), torch.zeros(1, 3, *SIZE), options=options).plan


def _planner(net: nn.Module, options: PlannedOptions | None = None, scene_cut: float = 0.85) -> Planner:
    return Planner(_plan(net), options or PlannedOptions(tau=0.03, candidates=False), scene_cut, ReferenceImageTest)


def _flat() -> Tensor:
    return torch.full((1, 3, *SIZE), 0.5)


def _counted(planned: PlannedFrame | None) -> tuple[int, list[int], list[bool]]:
    assert planned is not None and not planned.counts.keyframe
    return planned.counts.input_cells, planned.counts.candidates.tolist(), planned.counts.executed.tolist()


def test_counts_by_hand() -> None:
    planner = _planner(Chain())
    whole = planner.whole()
    assert planner.commit(whole, _flat())
    assert whole.work is None and whole.shards == () and whole.counts.keyframe
    assert whole.counts.input_cells == 32 * 48 and whole.counts.executed.all() and whole.work_ratio == 1
    assert whole.counts.candidates.tolist() == [16 * 24, 8 * 12, 1]
    still = planner.plan(_flat(), None)
    assert still is not None and _counted(still) == (0, [0, 0, 0], [False] * 3)
    assert planner.commit(still, _flat())
    changed = _flat()
    changed[..., 10, 20] = 1.0  # in the 8-px shard at rows 8 to 16 and columns 16 to 24
    planned = planner.plan(changed, None)
    assert _counted(planned) == (64, [16, 4, 1], [True] * 3)
    assert planned is not None and planned.work is not None and [mask.shape for mask in planned.shards] == [(4, 6)] * 2
    assert planned.work_ratio == pytest.approx(1 / 24)
    assert planner.commit(planned, changed)
    for grid, side in ((0, 8), (1, 4), (2, 2)):
        expected = np.zeros_like(planned.work[grid])
        expected[side : 2 * side, 2 * side : 3 * side] = True
        assert (planned.work[grid] == expected).all()
    # everything that stands still is kept; a pan by one cell of stride 4 has a new column of shards and moves the rest
    moved = planner.plan(changed.roll(4, 3), MotionField.uniform(*SIZE, 0, 4))
    assert _counted(moved) == (32 * 8, [16 * 4, 8 * 2, 1], [True] * 3)


def test_levels_are_tested_on_their_own() -> None:
    blind = LevelOptions(gain=100.0)
    changed = _flat()
    changed[..., 8:16, 16:24] = 1.0
    for levels, counts in (
        ({2: blind}, (64, [0, 4, 1], [False, True, True])),
        ({4: blind}, (64, [16, 0, 0], [True, False, False])),
        ({2: blind, 4: blind}, (0, [0, 0, 0], [False] * 3)),
        ({4: LevelOptions(shard_px=16)}, (256, [16, 16, 1], [True] * 3)),
        ({2: LevelOptions(dilation=1), 4: blind}, (9 * 64, [9 * 16, 0, 0], [True, False, False])),
    ):
        planner = _planner(Chain(), PlannedOptions(levels=levels))
        planner.commit(planner.whole(), _flat())
        assert _counted(planner.plan(changed, None)) == counts


def test_islands_run_where_something_moves() -> None:
    planner = _planner(Chain(), PlannedOptions(tau=1.0))
    planner.commit(planner.whole(), _flat())
    inner = MotionField(np.zeros((4, 6, 2), np.int64), np.ones((4, 6), np.bool_))
    inner.displacement[2, 3] = (0, 4)  # a cell of stride 4, from inside the image: nothing is recomputed
    assert _counted(planner.plan(_flat(), inner)) == (0, [0, 0, 1], [False, False, True])


def test_an_island_that_fills_a_grid_wakes_the_islands_behind_it() -> None:
    blind = LevelOptions(gain=100.0)
    planner = _planner(TwoIslands(), PlannedOptions(levels={2: blind, 4: blind}))
    planner.commit(planner.whole(), _flat())
    changed = _flat()
    changed[..., 8:16, 16:24] = 1.0
    _, candidates, _ = _counted(planner.plan(changed, None))
    modes = [layer.mode for layer in _plan(TwoIslands()).layers]
    assert [n for n, mode in zip(candidates, modes, strict=True) if mode == "dense"] == [8 * 12] * 2  # both whole
    assert [n for n, mode in zip(candidates, modes, strict=True) if n and mode == "sparse"] == [1]  # a cell of stride 8


def test_what_reads_the_image_only_is_recomputed_too() -> None:
    with _compiled("mean").session(fluxshard.ReuseOptions(policy="planned")) as session:
        session.run(torch.zeros(1, 3, *SIZE))
        assert session.run(torch.ones(1, 3, *SIZE)).tolist() == [[1, 1, 1]]


def test_nothing_is_planned_for_what_is_not_finite() -> None:
    planner = _planner(Chain())
    broken = _flat()
    broken[0, 2, 31, 47] = float("inf")
    assert planner.commit(planner.whole(), _flat())
    assert planner.plan(broken, None) is None
    assert not planner.commit(planner.whole(), broken)


def test_planning_changes_nothing() -> None:
    planner = _planner(Chain())
    planner.commit(planner.whole(), _flat())
    for _ in range(3):
        planned = planner.plan(_flat() + 0.5, MotionField.uniform(*SIZE, 0, 4))
        assert planned is not None and planned.counts.executed.all()
    assert _counted(planner.plan(_flat(), None)) == (0, [0, 0, 0], [False] * 3)


def test_only_the_last_plan_can_be_committed() -> None:
    planner = _planner(Chain())
    planner.commit(planner.whole(), _flat())
    first, second = (planner.plan(_flat(), None) for _ in range(2))
    assert first is not None and second is not None
    with pytest.raises(StateError, match="propose the frame again"):
        planner.commit(first, _flat())
    planner.plan(_flat(), None)
    planner.focus(np.zeros((4, 6), np.uint8))
    with pytest.raises(StateError, match="propose the frame again"):
        planner.commit(second, _flat())


def test_is_cut() -> None:
    planner = _planner(Chain(), scene_cut=0.5)
    assert [planner.is_cut(share) for share in (0.0, 0.5, 0.5001, 2.0)] == [False, False, True, True]
    assert not _planner(Chain(), scene_cut=1.0).is_cut(1.0)


def test_less_work_is_a_cut_where_most_motion_is_unknown() -> None:
    half = np.array([[True, False], [True, False]])
    known, unknown = (MotionField(np.zeros((2, 2, 2), np.int16), valid) for valid in (half, half & half.T))
    planner = _planner(Chain(), scene_cut=0.8)
    assert [planner.is_cut(share, known) for share in (0.5, 0.81)] == [False, True]
    assert [planner.is_cut(share, unknown) for share in (0.4, 0.41)] == [False, True]
    assert not planner.is_cut(0.41), "nobody looked for motion"
    assert not _planner(Chain(), scene_cut=1.0).is_cut(1.0, unknown)


def test_focus_reaches_the_test() -> None:
    planner = _planner(Chain(), PlannedOptions(tau=0.01, tau_background=0.9, wait_frames=0, margin_px=0))
    planner.commit(planner.whole(), _flat())
    regions = np.zeros((4, 6), np.uint8)
    regions[3, 5] = 1
    planner.focus(regions)
    assert _counted(planner.plan(_flat() + 0.1, None)) == (64, [16, 4, 1], [True] * 3)


def _frames(size: tuple[int, int], cell_px: int, rng: np.random.Generator) -> Iterator[tuple[Tensor, MotionField]]:
    """A smooth picture that moves less than thresholds see, so that what has no source stands out."""
    shape = cells(size[0], cell_px), cells(size[1], cell_px)
    image: NDArray[np.float32] = np.full((1, 3, *size), 0.5, np.float32)
    for _ in range(5):
        step = rng.integers(-3, 4, 2) * rng.choice((0, 1, 1, 4))
        displacement = np.broadcast_to(step, (*shape, 2)).copy()
        other = rng.random(shape) < rng.choice((0.0, 0.1))
        displacement[other] = rng.integers(-60, 61, (int(other.sum()), 2))
        if rng.random() < 0.5:
            top, left = rng.integers(0, size[0]), rng.integers(0, size[1])
            image = image.copy()
            image[..., top : top + 5, left : left + 5] = rng.random()
        yield torch.from_numpy(image), MotionField(displacement, rng.random(shape) < rng.choice((1, 0.97)), cell_px)


@pytest.mark.parametrize("name", NETS)
@settings(max_examples=16, deadline=None)
@given(
    size=st.sampled_from((SIZE, (37, 53))),
    cell_px=st.sampled_from((4, 8, 16, 3)),
    blind=st.sampled_from((0, 2, 3, 6)),
    seed=st.integers(0, 2**31),
)
def test_planned_is_counted(name: str, size: tuple[int, int], cell_px: int, blind: int, seed: int) -> None:
    """What is planned before a frame is what the engine then does, on irregular grids as well."""
    levels = {4: LevelOptions(dilation=1), blind: LevelOptions(gain=100.0)}
    options = PlannedOptions(tau=0.05, wait_frames=2, levels=levels)
    reuse = fluxshard.ReuseOptions(policy="planned", planned=options, scene_cut=1.0)
    model = _compiled(name)
    with model.session(reuse) as session:
        for image, motion in _frames(size, cell_px, np.random.default_rng(seed)):
            session.run(image, motion)
            planned, found = session.planned, session.counted
            assert planned is not None and planned.counts.keyframe == found.keyframe
            assert planned.counts.input_cells == found.input_cells
            assert planned.counts.candidates.tolist() == found.candidates.tolist()
            assert planned.counts.executed.tolist() == found.executed.tolist()
            if planned.work is not None:
                assert (session.recompute_mask() == planned.work[0]).all()


def test_a_glance_is_the_coarsest_level_of_the_plan_and_changes_nothing() -> None:
    planner = _planner(Chain(), PlannedOptions(tau=0.01, wait_frames=0))
    planner.commit(planner.whole(), _flat())
    image = _flat()
    image[..., 8:16, 16:40] += 0.5
    motion = MotionField.uniform(*SIZE, 0, 4)
    for glanced in (image, _flat() + 0.001, _flat()):
        found, planned = planner.glance(glanced, motion), planner.plan(glanced, motion)
        assert found is not None and planned is not None
        assert np.array_equal(found, planned.shards[-1])
    assert _counted(planner.plan(_flat(), None)) == (0, [0, 0, 0], [False] * 3)


def test_a_glance_at_a_cut_or_at_what_is_not_finite_sees_a_whole_frame() -> None:
    planner = _planner(Chain(), scene_cut=0.9)
    planner.commit(planner.whole(), _flat())
    assert planner.glance(_flat() + 0.5, None) is None
    assert planner.glance(_flat() * float("nan"), None) is None
    assert planner.glance(_flat(), None) is not None
