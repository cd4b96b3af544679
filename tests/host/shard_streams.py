"""Streams for tests of the image test, and both of its implementations on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from fluxshard.codegen.common.toolchain import detect_target
from fluxshard.codegen.cpp.image_test import ImageTestLibrary, build_image_test, image_test_params
from fluxshard.errors import ToolchainError
from fluxshard.geometry import Grid
from fluxshard.motion import CELL_PX, MotionField, cells
from fluxshard.options import OBJECT, SMALL_OBJECT, PlannedOptions
from fluxshard.runtime.level_motion import LevelMotion
from fluxshard.runtime.planned.cpp_image_test import CppImageTest
from fluxshard.runtime.planned.image_test import Mask, ReferenceImageTest
from fluxshard.runtime.planned.levels import SCALE, Level
from fluxshard.runtime.planned.planner import ImageTest
from fluxshard.runtime.planned.proposal import ShardProposal
from fluxshard.runtime.planned.shard_work import ShardWork

# per level: stride (y, x), shard, low pass, dilation
Levels = tuple[tuple[Fraction | int, Fraction | int, int, int, int], ...]


@dataclass(frozen=True)
class Case:
    """An image and the levels that it is tested for."""

    size: tuple[int, int]
    channels: int
    levels: Levels

    @property
    def grids(self) -> list[Grid]:
        height, width = self.size
        grids = [Grid(height, width)]
        for y, x, *_ in self.levels:
            y, x = Fraction(y), Fraction(x)
            grids.append(Grid(max(int(height / y), 1), max(int(width / x), 1), y, x))
        return grids

    def thresholds(self, options: PlannedOptions) -> tuple[Level, ...]:
        background, small = (options.tau if tau is None else tau for tau in (options.tau_background, options.tau_small))
        taus = {
            "tau": options.tau,
            "tau_background": background,
            "tau_small": small,
            "tau_waiting": options.tau_waiting,
            "tau_stray": options.tau_stray,
        }
        return tuple(
            Level(
                stride=(Fraction(y), Fraction(x)), grids=(index + 1,), shard_px=shard, low_pass_px=low_pass,
                dilation=dilation, **{name: round(SCALE * tau) for name, tau in taus.items()},
            )
            for index, (y, x, shard, low_pass, dilation) in enumerate(self.levels)
        )  # fmt: skip

    def both(self, options: PlannedOptions, isa: str = "native") -> tuple[ReferenceImageTest, CppImageTest]:
        """The definition, and what is tested against it."""
        levels = self.thresholds(options)
        return ReferenceImageTest(self.grids[0], levels, self.grids, options), CppImageTest(
            library(self, isa), levels, options
        )


CASES = {
    "odd": Case((61, 83), 3, ((2, 2, 8, 1, 0), (4, 4, 16, 2, 0), (8, 8, 8, 4, 0), (16, 16, 24, 8, 0))),
    "fractions": Case((64, 96), 1, ((1, 1, 8, 1, 3), (Fraction(8, 3), Fraction(5, 2), 16, 4, 2),
                                    (Fraction(64, 7), Fraction(32, 3), 8, 8, 0), (150, 200, 104, 2, 0))),
    "tiny": Case((5, 19), 2, ((2, 3, 8, 2, 0), (4, 4, 16, 4, 1))),
    "lagging": Case((60, 92), 3, ((8, 8, 8, 2, 0), (16, 16, 16, 4, 0), (16, 8, 8, 1, 1), (12, 9, 24, 8, 0),
                                  (15, 8, 16, 1, 0))),
    "squares": Case((64, 96), 3, ((4, 4, 8, 1, 0), (24, 32, 32, 8, 0), (32, 24, 24, 8, 1))),
    "large": Case((184, 280), 4, ((2, 2, 8, 1, 0), (4, 4, 8, 1, 1), (8, 8, 8, 2, 0), (32, 32, 32, 8, 0))),
}  # fmt: skip


@cache
def library(case: Case, isa: str = "native") -> ImageTestLibrary:
    try:
        target = detect_target(isa)  # type: ignore[arg-type]
    except ToolchainError as error:
        pytest.skip(str(error))
    levels = case.thresholds(PlannedOptions())
    return build_image_test(image_test_params(case.grids[0], case.channels, levels, case.grids), target)


def frames(
    case: Case, options: PlannedOptions, n: int, rng: np.random.Generator
) -> Iterator[tuple[Tensor, MotionField | None]]:
    """Pictures that follow their motion or do not, and differ by about as much as thresholds allow."""
    height, width = case.size
    low, high = options.pixel_range
    scene = rng.random((case.channels, height + 80, width + 80))
    y = x = 40
    noise = np.zeros((1, height, width))
    for _ in range(n):
        kind = rng.choice(["none", "pan", "blocks", "garbage", "huge"], p=[0.2, 0.35, 0.25, 0.15, 0.05])
        cell_px = int(rng.choice([8, 8, 8, 16, 5, 1, 64]))
        shape = cells(height, cell_px), cells(width, cell_px)
        ny, nx = np.clip(np.add((y, x), rng.integers(-9, 10, 2)), 0, 80) if kind in ("pan", "blocks") else (y, x)
        displacement = np.full((*shape, 2), (y - ny, x - nx))
        spread = {"garbage": 20, "huge": 32_767}.get(kind, 3)
        if kind in ("blocks", "garbage", "huge"):
            moved = rng.random(shape) < 0.3
            displacement[moved] = rng.integers(-spread, spread + 1, (int(moved.sum()), 2))
        valid = rng.random(shape) < rng.choice([1, 1, 0.9])
        y, x = int(ny), int(nx)
        amounts = rng.choice(
            [0, 0.005, 0.02, 0.05, 0.4], (cells(height, 16), cells(width, 16)), p=[0.4, 0.2, 0.2, 0.1, 0.1]
        )
        amount = amounts.repeat(16, 0).repeat(16, 1)[:height, :width]
        noise = (
            rng.choice([noise, amount * rng.normal(0.3, 1, (case.channels, height, width))])
            if noise.any()
            else (amount * rng.normal(0.3, 1, (case.channels, height, width)))
        )
        picture = scene[:, y : y + height, x : x + width] + noise
        if rng.random() < 0.2:
            picture = np.floor(picture * 255) / 255 + 0.5 / 255  # halves, which round to even
        if rng.random() < 0.1:
            picture[:, : height // 2] *= 1e35
        image = torch.from_numpy((low + (high - low) * picture).astype(np.float32))[None]
        yield image, None if kind == "none" else MotionField(displacement, valid, cell_px)


def spoilt(image: Tensor, rng: np.random.Generator) -> Tensor:
    broken = image.clone()
    at = tuple(int(rng.integers(0, n)) for n in image.shape)
    broken[at] = float(rng.choice([np.nan, np.inf, -np.inf]))
    return broken


def proposed(test: ImageTest, image: Tensor, motion: MotionField | None) -> Sequence[Mask] | None:
    proposal = test.propose(image, motion)
    return None if proposal is None else proposal.shards


def chosen(test: ImageTest, image: Tensor, motion: MotionField | None) -> ShardProposal | None:
    proposal = test.propose(image, motion)
    if proposal is not None:
        test.commit(proposal)
    return proposal


def decided(test: ImageTest, image: Tensor, motion: MotionField | None) -> Sequence[Mask] | None:
    proposal = chosen(test, image, motion)
    return None if proposal is None else proposal.shards


def assert_moves_alike(one: LevelMotion | None, two: LevelMotion | None) -> None:
    assert (one is None) == (two is None)
    if one is None or two is None:
        return
    assert one.level_of == two.level_of
    for number, (a, b) in enumerate(zip((*one.levels, one.image), (*two.levels, two.image), strict=True)):
        assert a.cell_px == b.cell_px and (a.valid == b.valid).all(), number
        assert (a.displacement == b.displacement).all(), (
            f"{number}: {np.argwhere((a.displacement != b.displacement).any(-1)).tolist()[:5]}"
        )


def assert_same(expected: Sequence[Mask] | None, found: Sequence[Mask] | None) -> None:
    assert expected is not None and found is not None
    for number, (one, two) in enumerate(zip(expected, found, strict=True)):
        assert one.shape == two.shape and one.dtype == two.dtype == np.bool_
        assert (one == two).all(), f"level {number} differs in {np.argwhere(one != two).tolist()[:5]}"


def assert_plans_alike(
    case: Case, options: PlannedOptions, proposal: ShardProposal, motion: MotionField | None
) -> None:
    """The cells of a proposal are those that follow from its shards, in the program as in numpy."""
    plan = SimpleNamespace(grids=case.grids, image_size=case.size)
    moved, found = proposal.motion or motion, proposal.work
    expected = ShardWork(plan, case.thresholds(options)).planned(proposal.shards, moved)  # type: ignore[arg-type]
    if found is None:  # a level moves by more than motion fields hold
        assert isinstance(moved, LevelMotion) and not all(field.valid.all() for field in (moved.image, *moved.levels))
        return
    assert found.masks.keys() == expected.masks.keys()
    for grid, mask in expected.masks.items():
        assert np.array_equal(mask, found.masks[grid]), f"grid {grid}"
        assert found.moves(grid) == expected.moves(grid), f"grid {grid}"
    assert found.evaluated.tolist() == expected.evaluated.tolist()


def run_both(case: Case, options: PlannedOptions, seed: int, isa: str = "native", n: int = 6) -> list[list[Mask]]:
    """Runs a stream through both, compares every frame, and returns the masks."""
    return run_alike(case, options, seed, case.both(options, isa), n)


def run_alike(
    case: Case, options: PlannedOptions, seed: int, tests: tuple[ImageTest, ImageTest], n: int = 6
) -> list[list[Mask]]:
    """Runs a stream through the definition and what is tested against it; see `run_both`."""
    rng = np.random.default_rng(seed)
    shape = cells(case.size[0], CELL_PX), cells(case.size[1], CELL_PX)
    seen = []
    for number, (image, motion) in enumerate(frames(case, options, n, rng)):
        if number == 0 or rng.random() < 0.1:
            assert [test.keyframe(image) for test in tests] == [True, True]
            continue
        event = rng.random()
        if event < 0.15:
            broken = spoilt(image, rng)
            assert [test.propose(broken, motion) for test in tests] == [None, None]
            assert [test.glance(broken, motion) for test in tests] == [None, None]
            if event < 0.05:
                assert [test.keyframe(broken) for test in tests] == [False, False]
        elif event < 0.5:
            regions = rng.choice([0, OBJECT, SMALL_OBJECT], shape, p=[0.93, 0.05, 0.02]).astype(np.uint8)
            for test in tests:
                test.focus(regions)
        if rng.random() < 0.2:  # other thresholds, and sometimes a dilation
            more = int(rng.integers(0, 3))
            levels = [replace(one, dilation=one.dilation + more) for one in case.thresholds(options.scaled(1.5))]
            for test in tests:
                test.set_levels(levels)
        if rng.random() < 0.3:  # what is proposed and not committed changes nothing
            other = image + 0.1 * float(rng.random())
            assert_same(*(proposed(test, other, None) for test in tests))
        glances = [test.glance(image, motion) for test in tests]
        expected, found = (chosen(test, image, motion) for test in tests)
        assert expected is not None and found is not None
        assert_same(expected.shards, found.shards)
        for glance in glances:
            assert glance is not None
            assert_same(expected.shards[-1:], [glance])
        assert_moves_alike(expected.motion, found.motion)
        assert_plans_alike(case, options, found, motion)
        seen.append([mask.copy() for mask in found.shards])
    return seen
