"""Slow pans, whose features lag: the generated image test against its definition in numpy, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from hypothesis import event, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.motion import CELL_PX, MotionField, cells
from fluxshard.options import OBJECT, SMALL_OBJECT, PlannedOptions
from tests.host.shard_streams import (
    CASES,
    Case,
    assert_moves_alike,
    assert_same,
    chosen,
)


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
