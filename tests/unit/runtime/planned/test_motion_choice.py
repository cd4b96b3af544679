"""Displacements that shards choose: the motion that is given is a hint, which never costs work."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.motion import MotionField, cells
from fluxshard.options import OBJECT, PlannedOptions
from fluxshard.runtime.level_motion import motion_of
from fluxshard.runtime.planned.image_test import ReferenceImageTest
from fluxshard.runtime.planned.levels import Level
from fluxshard.runtime.planned.proposal import ShardProposal
from tests.unit.runtime.planned.slow_image_test import grids_of, level, picture

SIZE = (48, 64)
SCENE = np.random.default_rng(0).integers(0, 256, (1, SIZE[0] + 64, SIZE[1] + 64))


def seen(dy: int = 0, dx: int = 0) -> Tensor:
    """The scene after it has moved down by dy and right by dx."""
    top, left = 32 - dy, 32 - dx
    return picture(SCENE[:, top : top + SIZE[0], left : left + SIZE[1]])


def a_test(*levels: Level, **options: Any) -> ReferenceImageTest:
    nothing = PlannedOptions(wait_frames=0, refresh_frames=0, margin_px=0)
    grids = grids_of(SIZE, levels)
    test = ReferenceImageTest(grids[0], levels, grids, replace(nothing, **options))
    test.keyframe(seen())
    return test


def proposed(test: ReferenceImageTest, image: Tensor, motion: MotionField | None) -> ShardProposal:
    proposal = test.propose(image, motion)
    assert proposal is not None
    return proposal


def moved(proposal: ShardProposal, grid: int = 1) -> NDArray[np.int16]:
    field = motion_of(proposal.motion, grid)
    assert field is not None
    return field.displacement


def with_hole(motion: MotionField, row: int, column: int) -> MotionField:
    valid = motion.valid.copy()
    valid[row, column] = False
    return MotionField(motion.displacement, valid)


FINE = level(4, tau=100)


def test_a_wrong_vector_on_a_still_picture_costs_nothing() -> None:
    test, motion = a_test(FINE), MotionField.uniform(*SIZE, 0, 4)
    proposal = proposed(test, seen(), motion)
    assert not proposal.shards[0].any() and not moved(proposal).any()
    assert proposed(a_test(FINE, candidates=False), seen(), motion).shards[0].any()


def test_a_cell_without_a_vector_moves_as_most_do() -> None:
    motion = with_hole(MotionField.uniform(*SIZE, 0, 4), 2, 3)
    proposal = proposed(a_test(FINE), seen(0, 4), motion)
    assert proposal.shards[0].tolist() == [[True] + 7 * [False]] * 6, "only what comes into the picture is new"
    assert moved(proposal)[2, 3].tolist() == [0, 4] == moved(proposal, 0)[2, 3].tolist()
    assert motion_of(proposal.motion, 1).valid[2, 3]  # type: ignore[union-attr]


def test_a_cell_moves_as_its_neighbour() -> None:
    """Most of the picture stands still; a part moves, and one of its cells has no vector."""
    displacement = np.zeros((6, 8, 2), np.int64)
    displacement[1:4, 2:5] = (4, 0)
    image = seen()
    image[0, :, 8:32, 16:40] = seen(4, 0)[0, :, 8:32, 16:40]
    motion = with_hole(MotionField(displacement, np.ones((6, 8), np.bool_)), 2, 3)
    proposal = proposed(a_test(FINE), image, motion)
    assert not proposal.shards[0].any() and moved(proposal)[2, 3].tolist() == [4, 0]


def test_slow_motion_adds_up_to_a_feature() -> None:
    """Three pixels a frame are less than half a feature of 8 px; after two frames six pixels are more."""
    coarse = level(8, tau=800, low_pass_px=8)
    smooth = np.repeat(np.arange(0, 8 * (SIZE[1] + 64), 8), 1)[None, None, :].repeat(SIZE[0], 1) % 200
    tests = [a_test(coarse, candidates=candidates) for candidates in (True, False)]
    for test in tests:
        test.keyframe(picture(smooth[:, :, 32 : 32 + SIZE[1]]))
    found = []
    for step in (3, 6):
        image = picture(smooth[:, :, 32 - step : 32 - step + SIZE[1]])
        for test in tests:
            proposal = proposed(test, image, MotionField.uniform(*SIZE, 0, 3))
            test.commit(proposal)
            found.append(float(proposal.shards[0].mean()))
    assert found[2] < found[3], found


def test_near_objects_what_has_no_vector_is_recomputed() -> None:
    """Symptom: an object that was uncovered went unseen, since what covered it looked alike."""
    motion = with_hole(with_hole(MotionField.zero(*SIZE), 1, 1), 4, 6)
    test = a_test(FINE)
    regions = np.zeros((6, 8), np.uint8)
    regions[1, 1] = OBJECT
    test.focus(regions)
    mask = proposed(test, seen(), motion).shards[0]
    assert np.argwhere(mask).tolist() == [[1, 1]]


def test_what_strays_has_a_limit_of_its_own() -> None:
    motion = MotionField(np.full((6, 8, 2), 4), np.zeros((6, 8), np.bool_))
    for tau_stray, share in ((400, 0.0), (300, 1.0)):
        test = a_test(replace(FINE, tau=1000, tau_stray=tau_stray))
        test.keyframe(seen().clamp(0, 200 / 255))
        brighter = seen().clamp(0, 200 / 255) + 20 / 255  # a score of 320
        assert proposed(test, brighter, motion).shards[0].mean() == share


def test_a_still_field_is_no_reason_to_search() -> None:
    proposal = proposed(a_test(FINE), seen(0, 1), MotionField.zero(*SIZE))
    assert proposal.motion is None and proposal.shards[0].all()


STRIDES = (Fraction(2), Fraction(4), Fraction(8), Fraction(16), Fraction(8, 3))


@st.composite
def levels(draw: st.DrawFn, grid: int) -> Level:
    tau = draw(st.sampled_from((40, 200, 800)))
    return level(
        draw(st.sampled_from(STRIDES)), grid=grid, shard_px=draw(st.sampled_from((8, 16, 24))), tau=tau,
        low_pass_px=draw(st.sampled_from((1, 4))), dilation=draw(st.sampled_from((0, 1))),
        tau_waiting=draw(st.sampled_from((10, tau, 1 << 20))),
    )  # fmt: skip


@given(data=st.data(), seed=st.integers(0, 2**32), wait=st.integers(0, 3), refresh=st.sampled_from((0, 3)))
@settings(max_examples=60)
def test_no_motion_costs_more_than_none(data: st.DataObject, seed: int, wait: int, refresh: int) -> None:
    """From equal state and without regions: shards for any motion are among those without motion, per level."""
    rng = np.random.default_rng(seed)
    chosen = (data.draw(levels(1)), data.draw(levels(2)))
    tests = [a_test(*chosen, wait_frames=wait, refresh_frames=refresh) for _ in range(2)]
    shape = cells(SIZE[0], 8), cells(SIZE[1], 8)
    y = x = 0
    for _ in range(4):
        step = rng.integers(-5, 6, 2)
        y, x = int(np.clip(y + step[0], -30, 30)), int(np.clip(x + step[1], -30, 30))
        noise = torch.from_numpy(rng.choice([0, 0.002]) * rng.normal(size=(1, 1, *SIZE)))
        image = (seen(y, x) + noise).float()
        displacement = np.full((*shape, 2), step)
        wrong = rng.random(shape) < rng.choice([0, 0.3, 1])
        displacement[wrong] = rng.integers(-20, 21, (int(wrong.sum()), 2))
        motion = MotionField(displacement, rng.random(shape) < rng.choice([1, 0.8, 0]))
        still = proposed(tests[0], image, None)
        moving = proposed(tests[1], image, motion)
        for with_motion, without in zip(moving.shards, still.shards, strict=True):
            assert not (with_motion & ~without).any()
        moving = proposed(tests[0], image, motion)  # both go on alike
        tests[0].commit(moving)
        tests[1].commit(proposed(tests[1], image, motion))
