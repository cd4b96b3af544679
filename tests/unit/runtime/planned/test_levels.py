"""Levels of planned reuse: which there are, and their thresholds."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import fluxshard
from fluxshard.options import LevelOptions, PlannedOptions
from fluxshard.runtime.planned.levels import (
    FORCED,
    default_gain,
    default_low_pass_px,
    default_shard_px,
    levels_of,
    shard_of_cells,
)
from tests.unit.runtime.planned.slow_image_test import level


class Branches(nn.Module):
    """Strides 1, 2 (by two ways that differ in odd sizes) and 32, the last one first."""

    def __init__(self, fine: bool) -> None:
        super().__init__()
        self.coarse, self.pool = nn.Conv2d(3, 2, 32, 32), nn.MaxPool2d(2)
        self.middle = nn.Conv2d(3, 2, 3, 2, 1)
        self.fine = nn.Conv2d(3, 2, 3, 1, 1) if fine else None

    def forward(self, x: Tensor) -> list[Tensor]:
        found = [self.coarse(x), self.middle(x), self.pool(x)]
        return found if self.fine is None else [*found, self.fine(x)]


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def _plan(net: nn.Module, size: tuple[int, int]) -> fluxshard.Plan:
    options = fluxshard.CompileOptions(backend="reference")
    return fluxshard.compile(net.eval(), torch.zeros(1, 3, *size), options=options).plan


def test_one_level_per_stride_by_rising_stride() -> None:
    plan = _plan(Branches(fine=True), (33, 65))
    found = levels_of(plan, PlannedOptions())
    assert [one.stride for one in found] == [(Fraction(px), Fraction(px)) for px in (1, 2, 32)]
    for one in found:
        assert all((plan.grids[i].stride_y, plan.grids[i].stride_x) == one.stride for i in one.grids)
    assert sorted(index for one in found for index in one.grids) == list(range(len(plan.grids)))
    assert len(found[1].grids) == 2  # 17x33 and 16x32


def test_the_image_is_a_level_only_where_something_is_computed_there() -> None:
    assert [one.stride[0] for one in levels_of(_plan(Branches(fine=False), (64, 64)), PlannedOptions())] == [2, 32]
    (only,) = levels_of(_plan(Mean(), (32, 48)), PlannedOptions())  # nothing is computed on any grid
    assert only.stride[0] == only.stride[1] == 1 and only.grids == (0,)


def test_thresholds_by_hand() -> None:
    options = PlannedOptions(tau=0.03, tau_background=0.5, tau_small=0.02, tau_waiting=0.1)
    fine, coarse = levels_of(_plan(Branches(fine=False), (64, 64)), options)
    # 4080 * 0.8 * tau, and 4080 * 1.5 * tau
    assert (fine.tau, fine.tau_background, fine.tau_small, fine.tau_waiting) == (98, 1632, 65, 326)
    assert (coarse.tau, coarse.tau_background, coarse.tau_small, coarse.tau_waiting) == (184, 3060, 122, 612)
    assert (fine.shard_px, fine.low_pass_px, fine.dilation) == (8, 1, 0)
    assert (coarse.shard_px, coarse.low_pass_px, coarse.dilation) == (32, 8, 0)


def test_thresholds_left_out_are_tau() -> None:
    options = PlannedOptions(tau=0.25, tau_background=None, tau_small=None)
    fine, _ = levels_of(_plan(Branches(fine=False), (64, 64)), options)
    assert fine.tau == fine.tau_background == fine.tau_small == 816


def test_options_by_stride() -> None:
    chosen = LevelOptions(gain=2.0, dilation=3, shard_px=24, low_pass_px=2)
    fine, coarse = levels_of(
        _plan(Branches(fine=False), (64, 64)), PlannedOptions(tau=0.01, levels={32: chosen, 5: LevelOptions(gain=9.0)})
    )
    assert (coarse.tau, coarse.dilation, coarse.shard_px, coarse.low_pass_px) == (82, 3, 24, 2)
    assert (fine.tau, fine.dilation, fine.shard_px, fine.low_pass_px) == (33, 0, 8, 1)
    nothing = PlannedOptions(levels={2: LevelOptions(gain=0.0)})
    assert levels_of(_plan(Branches(fine=False), (64, 64)), nothing)[0].tau == 0


def test_dilation_of_all_levels_but_those_that_say_otherwise() -> None:
    options = PlannedOptions(dilation=2, levels={32: LevelOptions(dilation=0), 5: LevelOptions(gain=9.0)})
    fine, coarse = levels_of(_plan(Branches(fine=False), (64, 64)), options)
    assert (fine.dilation, coarse.dilation) == (2, 0)


def test_no_threshold_hides_a_shard_without_source() -> None:
    endless = PlannedOptions(tau=1e300, tau_background=1e300, tau_small=1e300, tau_waiting=1e300)
    for one in levels_of(_plan(Branches(fine=False), (64, 64)), endless):
        assert max(one.tau, one.tau_background, one.tau_small, one.tau_waiting) < FORCED


def test_fractional_strides_take_the_options_of_the_next_whole_one() -> None:
    net = nn.Sequential(nn.Conv2d(3, 2, 3, 3, 1), nn.ConvTranspose2d(2, 2, 2, 2))
    options = PlannedOptions(tau=0.1, levels={2: LevelOptions(gain=1.0), 3: LevelOptions(gain=2.0)})
    found = levels_of(_plan(net, (36, 36)), options)
    assert [(one.stride[0], one.tau) for one in found] == [(Fraction(3, 2), 408), (Fraction(3), 816)]


@pytest.mark.parametrize(
    ("stride", "shard", "gain", "low_pass"),
    [
        (1, 8, 0.8, 1),
        (4, 8, 0.8, 1),
        (7, 8, 0.8, 1),
        (8, 8, 0.8, 2),
        (9, 16, 1.2, 2),
        (16, 16, 1.2, 4),
        (17, 24, 1.5, 4),
        (31, 32, 1.5, 4),
        (32, 32, 1.5, 8),
        (33, 40, 1.5, 8),
        (64, 64, 1.5, 8),
    ],
)
def test_defaults(stride: int, shard: int, gain: float, low_pass: int) -> None:
    assert (default_shard_px(stride), default_gain(stride), default_low_pass_px(stride)) == (shard, gain, low_pass)


@pytest.mark.parametrize(("low_pass", "block"), [(1, 4), (2, 4), (4, 4), (8, 8)])
def test_blocks(low_pass: int, block: int) -> None:
    assert level(32, low_pass_px=low_pass).block_px == block


@given(
    n_cells=st.integers(1, 40),
    stride=st.fractions(Fraction(1, 4), 40, max_denominator=6),
    n_px=st.integers(1, 120),
    shard=st.sampled_from((8, 16, 24, 32)),
)
def test_a_cell_belongs_to_the_shard_of_its_centre(n_cells: int, stride: Fraction, n_px: int, shard: int) -> None:
    centres = [min(n_px - 1, math.floor((i + Fraction(1, 2)) * stride)) for i in range(n_cells)]
    assert shard_of_cells(n_cells, stride, n_px, shard).tolist() == [centre // shard for centre in centres]
