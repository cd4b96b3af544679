"""The generated image test of planned reuse against its definition in numpy, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache, partial

import numpy as np
import pytest
import torch
from hypothesis import event, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.codegen.common.toolchain import detect_target
from fluxshard.codegen.cpp.image_test import ImageTestLibrary, build_image_test, image_test_params
from fluxshard.errors import ShapeError, StateError, ToolchainError
from fluxshard.geometry import Grid
from fluxshard.motion import CELL_PX, MotionField, cells
from fluxshard.options import OBJECT, SMALL_OBJECT, PlannedOptions
from fluxshard.runtime.level_motion import LevelMotion
from fluxshard.runtime.planned.cpp_image_test import CppImageTest
from fluxshard.runtime.planned.image_test import Mask, ReferenceImageTest
from fluxshard.runtime.planned.levels import SCALE, Level
from fluxshard.runtime.planned.planner import ImageTest
from fluxshard.runtime.planned.proposal import ShardProposal

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


def run_both(case: Case, options: PlannedOptions, seed: int, isa: str = "native", n: int = 6) -> list[list[Mask]]:
    """Runs a stream through both, compares every frame, and returns the masks."""
    rng = np.random.default_rng(seed)
    defined, tested = case.both(options, isa)
    tests: tuple[ImageTest, ImageTest] = defined, tested
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
        seen.append([mask.copy() for mask in found.shards])
    return seen


OPTIONS = st.builds(
    PlannedOptions,
    tau=st.sampled_from([0.0, 0.01, 0.03, 0.06]),
    tau_background=st.sampled_from([None, 0.02, 0.1]),
    tau_small=st.sampled_from([None, 0.0, 0.015]),
    tau_waiting=st.sampled_from([0.0, 0.01, 0.02]),
    tau_stray=st.sampled_from([0.0, 0.02, 0.1]),
    candidates=st.sampled_from([True, True, False]),
    wait_frames=st.sampled_from([0, 1, 2]),
    refresh_frames=st.sampled_from([0, 0, 2, 5]),
    hold_frames=st.integers(0, 3),
    margin_px=st.sampled_from([0, 8, 20, 300]),
    pixel_range=st.sampled_from([(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0), (-2.118, 2.64)]),
)


@pytest.mark.parametrize("name", CASES)
@given(options=OPTIONS, seed=st.integers(0, 2**32))
@settings(max_examples=20)
def test_masks_are_those_of_the_definition(name: str, options: PlannedOptions, seed: int) -> None:
    run_both(CASES[name], options, seed)


@pytest.mark.parametrize("isa", ["avx512", "avx2", "portable"])
@pytest.mark.parametrize("seed", range(4))
def test_every_instruction_set_gives_the_same_masks(isa: str, seed: int) -> None:
    run_both(CASES["odd"], PlannedOptions(refresh_frames=4, wait_frames=2), seed, isa)


def test_the_streams_of_these_tests_have_masks_of_all_kinds() -> None:
    shares = [
        float(mask.mean())
        for seed in range(12)
        for masks in run_both(CASES["large"], PlannedOptions(tau=0.05), seed)
        for mask in masks
    ]
    assert np.mean([0.02 < share < 0.98 for share in shares]) > 0.3
    assert min(shares) < 0.02 and max(shares) > 0.9


def test_the_number_of_threads_changes_nothing() -> None:
    before, case = torch.get_num_threads(), CASES["large"]
    assert case.size[0] * case.size[1] * case.channels >= 200_000  # smaller images are tested on one thread
    found = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            found.append(run_both(case, PlannedOptions(refresh_frames=6), 1, n=8))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            assert_same(one, two)


def slow_pans(
    case: Case, n: int, rng: np.random.Generator
) -> Iterator[tuple[Tensor, MotionField | None, NDArray[np.uint8]]]:
    """A smooth picture that pans by up to two pixels a frame, a part of it otherwise; some hints are a pixel off."""
    height, width = case.size
    coarse = rng.random((case.channels, height // 8 + 20, width // 8 + 20))
    scene = coarse.repeat(8, 1).repeat(8, 2) + 0.1 * rng.random(
        (case.channels, 8 * coarse.shape[1], 8 * coarse.shape[2])
    )
    shape = cells(height, CELL_PX), cells(width, CELL_PX)
    inner = tuple(slice(int(low), int(low) + size // 2) for low, size in zip(rng.integers(0, 3, 2), shape, strict=True))
    pixels = tuple(slice(part.start * 8, part.stop * 8) for part in inner)
    at, other = np.full(2, 40), np.full(2, 40)
    for _ in range(n):
        steps = rng.integers(-2, 3, (2, 2)) * rng.choice([0, 1, 1], (2, 1))
        at, other = np.clip(at - steps[0], 0, 80), np.clip(other - steps[1], 0, 80)
        image = scene[:, at[0] : at[0] + height, at[1] : at[1] + width].copy()
        image[:, *pixels] = scene[:, other[0] :, other[1] :][:, :height, :width][:, *pixels]
        displacement = np.broadcast_to(steps[0], (*shape, 2)).copy()
        displacement[inner] = steps[1]
        displacement += rng.choice([-1, 0, 0, 0, 0, 0, 1], displacement.shape)
        motion = MotionField(displacement, rng.random(shape) < rng.choice([1, 0.97]))
        regions = np.zeros(shape, np.uint8)
        regions[inner] = rng.choice([0, OBJECT, SMALL_OBJECT])
        yield torch.from_numpy(image.astype(np.float32))[None], None if rng.random() < 0.1 else motion, regions


@given(
    tau=st.sampled_from([0.01, 0.05, 0.2]),
    candidates=st.booleans(),
    focused=st.booleans(),
    refresh=st.sampled_from([0, 5]),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=12)
def test_slow_pans_lag_as_in_the_definition(
    tau: float, candidates: bool, focused: bool, refresh: int, seed: int
) -> None:
    options = PlannedOptions(
        tau=tau, tau_background=2 * tau, tau_small=tau / 2, candidates=candidates, refresh_frames=refresh, wait_frames=4
    )
    case = CASES["lagging"]
    tests = case.both(options)
    told = 0
    for number, (image, motion, regions) in enumerate(slow_pans(case, 14, np.random.default_rng(seed))):
        if number == 0:
            assert [test.keyframe(image) for test in tests] == [True, True]
            continue
        glances = [test.glance(image, motion) for test in tests]
        expected, found = (chosen(test, image, motion) for test in tests)
        assert expected is not None and found is not None
        assert_same(expected.shards, found.shards)
        assert_moves_alike(expected.motion, found.motion)
        for glance in glances:
            assert glance is not None
            assert_same(expected.shards[-1:], [glance])
        told += expected.motion is not None
        if focused:
            for test in tests:
                test.focus(regions)
    event(f"levels moved on their own in {told} of 13 frames")


BLACK = torch.zeros(1, 3, 61, 83)


def picture(*patches: tuple[slice, slice, float]) -> Tensor:
    """A black picture with rectangles of so many 255ths in the second colour."""
    image = BLACK.clone()
    for rows, columns, value in patches:
        image[0, 1, rows, columns] = value / 255
    return image


def picked(scores: int, image: Tensor, motion: MotionField | None = None) -> list[list[tuple[int, int]]]:
    """Shards per level that differ from black by a score larger than `scores`."""
    case = CASES["odd"]
    levels = tuple(replace(level, tau=scores) for level in case.thresholds(PlannedOptions()))
    test = CppImageTest(library(case), levels, PlannedOptions(candidates=False))
    test.keyframe(BLACK)
    masks = decided(test, image, motion)
    assert masks is not None
    return [[(int(y), int(x)) for y, x in np.argwhere(mask)] for mask in masks]


def test_scores_worked_out_by_hand() -> None:
    # one pixel: it is all of its block's difference, or a quarter of that where blocks have 8 px
    assert picked(99, picture((slice(21, 22), slice(34, 35), 100))) == [[(2, 4)], [(1, 2)], [(2, 4)], []]
    assert picked(100, picture((slice(21, 22), slice(34, 35), 100))) == [[], [], [], []]
    assert picked(24, picture((slice(21, 22), slice(34, 35), 100)))[3] == [(0, 1)]
    assert picked(25, picture((slice(21, 22), slice(34, 35), 100)))[3] == []
    # two pixels on both sides of a block's border: the largest block counts, not their sum, but for blocks of 8 px
    across = picture((slice(8, 9), slice(11, 13), 100))
    assert picked(99, across) == [[(1, 1)], [(0, 0)], [(1, 1)], []]
    assert picked(100, across) == [[], [], [], []]
    assert picked(49, across)[3] == [(0, 0)]


def test_low_pass_cancels_what_differs_within_a_square() -> None:
    test = CppImageTest(library(CASES["odd"]), CASES["odd"].thresholds(PlannedOptions(tau=0)), PlannedOptions())
    test.keyframe(torch.full_like(BLACK, 100 / 255))
    y, x = np.ogrid[:60, :80]  # the last cells of the image are cut off in the middle of a square
    image = torch.full_like(BLACK, 100 / 255)
    image[0, 0, :60, :80] += torch.from_numpy(np.where((y + x) % 2, 7, -7).astype(np.float32)) / 255
    masks = decided(test, image, None)
    assert masks is not None
    assert masks[0][:7, :10].all() and not any(mask.any() for mask in masks[1:])


def test_the_border_cuts_cells_off() -> None:
    """Rows from 56 and columns from 80 are cells of 5 rows and 3 columns; what comes from outside is recomputed."""
    corner = picture((slice(60, 61), slice(82, 83), 50))
    assert picked(49, corner)[0] == [(7, 10)]
    assert picked(50, corner)[0] == []
    rows, columns = range(8), range(11)
    sides = {
        (2, 0): [(0, x) for x in columns], (-2, 0): [(7, x) for x in columns],
        (0, 2): [(y, 0) for y in rows], (0, -2): [(y, 10) for y in rows],
    }  # fmt: skip
    for (dy, dx), outside in sides.items():
        assert picked(1 << 20, BLACK, MotionField.uniform(61, 83, dy, dx))[0] == outside


@pytest.mark.parametrize("down", [False, True])
def test_what_leaves_the_image_is_forgotten(down: bool) -> None:
    """A bar that moves out of the picture leaves nothing behind the border that a later frame is compared with."""
    case = CASES["odd"]
    test = CppImageTest(library(case), case.thresholds(PlannedOptions(tau=0)), PlannedOptions())
    rows, columns = (slice(57, 61), slice(None)) if down else (slice(None), slice(79, 83))
    test.keyframe(picture((rows, columns, 200)))
    masks = decided(test, BLACK, MotionField.uniform(61, 83, 4 * down, 4 * (not down)))
    assert masks is not None and not masks[0][1:, 1:].any()
    masks = decided(test, BLACK, None)
    assert masks is not None and not any(mask.any() for mask in masks)


def test_small_changes_add_up_beside_what_is_recomputed() -> None:
    """Nine cells of a row are recomputed; the last two keep what they stand for until it differs by too much."""
    case = CASES["odd"]
    test = CppImageTest(library(case), case.thresholds(PlannedOptions(tau=90 / SCALE)), PlannedOptions())
    test.keyframe(BLACK)
    seen = []
    for left, right in ((200, 4), (0, 8)):  # scores: 16 times the difference, 12 times where the border cuts off
        masks = decided(test, picture((slice(None), slice(0, 72), left), (slice(None), slice(72, 83), right)), None)
        assert masks is not None
        seen.append(masks[0][0].tolist())
    assert seen == [[True] * 9 + [False] * 2, [True] * 11]


def test_ages_stop_at_the_oldest() -> None:
    options = PlannedOptions(tau=0.1, tau_waiting=0.01, wait_frames=250)
    _, test = CASES["tiny"].both(options)
    black = torch.zeros(1, 2, 5, 19)
    test.keyframe(black)
    for _ in range(257):
        assert not any(mask.any() for mask in decided(test, black, None) or ())
    masks = decided(test, black + 0.05, None)
    assert masks is not None and all(mask.all() for mask in masks)


def test_masks_are_new_for_every_frame() -> None:
    _, test = CASES["tiny"].both(PlannedOptions(tau=0))
    black = torch.zeros(1, 2, 5, 19)
    test.keyframe(black)
    first = decided(test, black + 1, None)
    decided(test, black + 1, None)
    assert first is not None and all(mask.all() for mask in first)


def test_only_the_last_proposal_can_be_committed() -> None:
    for test in CASES["tiny"].both(PlannedOptions()):
        black = torch.zeros(1, 2, 5, 19)
        test.keyframe(black)
        first, second = test.propose(black, None), test.propose(black, None)
        assert first is not None and second is not None
        with pytest.raises(StateError, match="not the last one"):
            test.commit(first)
        with pytest.raises(StateError, match="not the last one"):  # it is gone by now
            test.commit(second)
        glance = partial(test.glance, black, None)
        for change in (glance, partial(test.keyframe, black), partial(test.focus, np.zeros((1, 3), np.uint8))):
            late = test.propose(black, None)
            assert late is not None
            change()
            with pytest.raises(StateError, match="not the last one"):
                test.commit(late)


def test_two_streams_share_a_program() -> None:
    case = CASES["tiny"]
    pairs = [case.both(PlannedOptions(tau=0.02)) for _ in range(2)]
    streams = [list(frames(case, PlannedOptions(), 5, np.random.default_rng(seed))) for seed in range(2)]
    for number in range(5):
        for pair, stream in zip(pairs, streams, strict=True):
            image, motion = stream[number]
            if number == 0:
                assert [test.keyframe(image) for test in pair] == [True, True]
            else:
                assert_same(*(decided(test, image, motion) for test in pair))


def test_strided_images_are_read_as_they_are() -> None:
    case = CASES["odd"]
    expected, found = case.both(PlannedOptions(tau=0.02))
    image = torch.rand(1, 61, 83, 3, generator=torch.Generator().manual_seed(0)).permute(0, 3, 1, 2)
    for test in (expected, found):
        test.keyframe(image)
    image = image + 0.05 * torch.rand(1, 61, 83, 3, generator=torch.Generator().manual_seed(1)).permute(0, 3, 1, 2)
    assert not image.is_contiguous()
    assert_same(decided(expected, image, None), decided(found, image, None))


def test_a_plan_without_levels() -> None:
    for test in Case((16, 16), 3, ()).both(PlannedOptions()):
        image = torch.zeros(1, 3, 16, 16)
        assert test.keyframe(image) and decided(test, image, None) == ()
        assert test.propose(image * float("nan"), None) is None
        glance = test.glance(image, None)
        assert glance is not None and glance.shape == (0, 0)
        assert test.glance(image * float("nan"), None) is None


def test_what_does_not_fit_the_program_is_refused() -> None:
    case, other = CASES["odd"], CASES["tiny"]
    _, test = case.both(PlannedOptions())
    with pytest.raises(StateError, match="keyframe"):
        test.propose(BLACK, None)
    for image in (BLACK[:, :2], BLACK[..., :-1], BLACK.double()):
        with pytest.raises(ShapeError, match=r"expected \(1, 3, 61, 83\)"):
            test.keyframe(image)
    test.keyframe(BLACK)
    with pytest.raises(ShapeError, match="do not cover"):
        test.propose(BLACK, MotionField.zero(61, 75))
    with pytest.raises(ValueError, match="masks of"):
        CppImageTest(library(case), other.thresholds(PlannedOptions()), PlannedOptions())
