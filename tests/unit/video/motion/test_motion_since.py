from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fluxshard.motion import MotionField, accumulate
from fluxshard.video.motion.motion_since import MotionSince

SIZE = (40, 56)


def field(seed: int) -> MotionField:
    rng = np.random.default_rng(seed)
    return MotionField(rng.integers(-20, 21, (5, 7, 2)), rng.random((5, 7)) < 0.9)


def same(one: MotionField | None, other: MotionField | None) -> bool:
    if one is None or other is None:
        return one is other
    return bool((one.displacement == other.displacement).all() and (one.valid == other.valid).all())


@given(st.lists(st.none() | st.integers(0, 1000), max_size=6))
def test_motion_is_composed_from_the_first_picture_on(seeds: list[int | None]) -> None:
    fields = [None if seed is None else field(seed) for seed in seeds]
    since = MotionSince(SIZE)
    assert since.motion is None
    for index, added in enumerate(fields):
        since.add(added)
        expected = fields[0]
        for later in fields[1 : index + 1]:
            expected = None if expected is None or later is None else accumulate(expected, later, *SIZE)
        assert same(since.motion, expected)


def test_unknown_motion_is_over_with_the_next_start() -> None:
    since = MotionSince(SIZE)
    since.add(None)
    since.add(field(1))
    assert since.motion is None
    since.restart()
    assert since.motion is None
    since.add(field(2))
    assert same(since.motion, field(2))
