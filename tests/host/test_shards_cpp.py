"""The generated image test of planned reuse against its definition in numpy, bit for bit."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fluxshard.errors import ShapeError, StateError
from fluxshard.motion import MotionField
from fluxshard.options import PlannedOptions
from fluxshard.runtime.planned.cpp_image_test import CppImageTest
from fluxshard.runtime.planned.levels import SCALE
from tests.host.shard_streams import (
    CASES,
    Case,
    assert_same,
    decided,
    frames,
    library,
    run_both,
)

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


@pytest.mark.parametrize("low_high", [(0.0, 1.0), (-2.118, 2.64)])
@pytest.mark.parametrize("name", CASES)
def test_images_that_come_as_bytes_give_the_same_masks(
    name: str, low_high: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an image on a GPU goes through; torch's processor stands in for it."""
    monkeypatch.setattr(CppImageTest, "_is_elsewhere", staticmethod(lambda image: True))
    for seed in range(4):
        run_both(CASES[name], PlannedOptions(refresh_frames=4, pixel_range=low_high), seed)


def test_an_image_as_bytes_says_whether_it_is_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES["odd"]
    reference, generated = case.both(PlannedOptions())
    monkeypatch.setattr(CppImageTest, "_is_elsewhere", staticmethod(lambda image: True))
    image = torch.rand(1, case.channels, *case.size, generator=torch.Generator().manual_seed(1))
    broken = image.clone()
    broken[0, 1, 7, 9] = float("nan")
    assert not generated.keyframe(broken) and not reference.keyframe(broken)
    assert generated.keyframe(image)
    for odd in (float("inf"), float("-inf"), float("nan")):
        broken[0, 1, 7, 9] = odd
        assert generated.propose(broken, None) is None and generated.glance(broken, None) is None
    assert generated.propose(image, None) is not None


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
