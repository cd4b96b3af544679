"""The image test of planned reuse against the slow one, frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from hypothesis import event, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fluxshard.motion import MotionField, cells
from fluxshard.options import PlannedOptions
from fluxshard.runtime.planned.image_test import ReferenceImageTest
from fluxshard.runtime.planned.levels import Level
from tests.unit.runtime.planned.slow_image_test import SlowShardTest, grids_of, level, picture

SIZES = ((24, 40), (45, 35), (40, 24))
STRIDES: tuple[Fraction | tuple[Fraction, Fraction], ...] = (
    *(Fraction(px) for px in (2, 4, 8, 8, 12, 16, 32)),
    Fraction(8, 3),
    (Fraction(16), Fraction(8)),
    (Fraction(8), Fraction(5, 2)),
)


@st.composite
def levels(draw: st.DrawFn, grid: int) -> Level:
    low_pass = draw(st.sampled_from((1, 2, 4, 8)))
    tau = draw(st.sampled_from((40, 80, 200)))
    return level(
        draw(st.sampled_from(STRIDES)),
        grid=grid,
        shard_px=draw(st.sampled_from((8, 8, 16, 24))),
        low_pass_px=low_pass,
        dilation=draw(st.sampled_from((0, 0, 0, 1, 2))),
        tau=tau,
        tau_background=draw(st.sampled_from((tau, 2 * tau, 5 * tau))),
        tau_small=draw(st.sampled_from((tau // 2, tau))),
        tau_waiting=draw(st.sampled_from((10, tau, 1 << 20))),
    )


OPTIONS = st.builds(
    PlannedOptions,
    candidates=st.just(False),
    wait_frames=st.integers(0, 3),
    refresh_frames=st.sampled_from((0, 0, 2, 3)),
    hold_frames=st.integers(0, 2),
    margin_px=st.sampled_from((0, 8, 11)),
)


def frames(
    size: tuple[int, int], n: int, rng: np.random.Generator
) -> Iterator[tuple[NDArray[np.int64], MotionField | None]]:
    """A picture that pans, and cells that move otherwise, come and go, or change by about as much as thresholds."""
    height, width = size
    scene = rng.integers(100, 106, (2, height + 64, width + 64))  # so little that wrong motion may go unseen
    y = x = 32
    for _ in range(n):
        dy, dx = rng.choice((0, 0, 0, 0, 1, 2, 8), 2) * rng.choice((-1, 1), 2)
        y, x = int(np.clip(y - dy, 0, 64)), int(np.clip(x - dx, 0, 64))
        cell_px = int(rng.choice((8, 8, 16, 4)))
        shape = cells(height, cell_px), cells(width, cell_px)
        displacement = np.full((*shape, 2), (dy, dx))
        other = rng.random(shape) < rng.choice((0.0, 0.1))
        displacement[other] = rng.integers(-9, 10, (int(other.sum()), 2))
        valid = rng.random(shape) < rng.choice((1.0, 1.0, 0.95))
        image = scene[:, y : y + height, x : x + width].copy()
        for _ in range(rng.integers(0, 6)):
            top, left = rng.integers(0, height), rng.integers(0, width)
            patch = image[:, top : top + 8, left : left + 8]
            amount = int(rng.choice((1, 3, 10, 30)))
            patch += amount if rng.random() < 0.5 else rng.integers(-amount, amount + 1, patch.shape)
        scene[:, y : y + height, x : x + width] = image  # changes stay
        yield image, None if rng.random() < 0.25 else MotionField(displacement, valid, cell_px)


@settings(max_examples=150, deadline=None)
@given(size=st.sampled_from(SIZES), data=st.data(), options=OPTIONS, seed=st.integers(0, 2**31))
def test_decides_as_described(size: tuple[int, int], data: st.DataObject, options: PlannedOptions, seed: int) -> None:
    chosen = [data.draw(levels(grid)) for grid in (1, 2)]
    grids = grids_of(size, chosen, data.draw(st.sampled_from((0, 0, 1, 4))))
    rng = np.random.default_rng(seed)
    fast = ReferenceImageTest(grids[0], chosen, grids, options)
    slow = SlowShardTest(size, chosen, grids, options)
    for number, (pixels, motion) in enumerate(frames(size, 4, rng)):
        if number == 0:
            assert fast.keyframe(picture(pixels))
            slow.keyframe(pixels)
        else:
            fast.propose(picture(255 - pixels), None)  # it is not committed, and changes nothing
            proposal, expected = fast.propose(picture(pixels), motion), slow.decide(pixels, motion)
            assert proposal is not None and len(proposal.shards) == len(expected)
            fast.commit(proposal)
            found = proposal.shards
            for one, other in zip(found, expected, strict=True):
                assert one.dtype == np.bool_ and (one == other).all(), number
                event("some but not all" if 0 < one.mean() < 1 else "all" if one.all() else "none")
        if rng.random() < 0.6:
            shape = cells(size[0], 8), cells(size[1], 8)
            regions = rng.choice(3, shape, p=(0.8, 0.1, 0.1)).astype(np.uint8)
            fast.focus(regions)
            slow.focus(regions)
