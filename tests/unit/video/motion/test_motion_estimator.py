from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fluxshard
from fluxshard.errors import ShapeError


def test_streams_do_not_see_each_other() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3)).astype(np.uint8)
    one, other = (fluxshard.MotionEstimator((64, 96), threads=threads) for threads in (1, 2))
    assert one(pictures[0]) is None and other(pictures[1]) is None
    still, changed = one(pictures[0]), other(pictures[0])
    assert still is not None and still.valid.all() and not still.displacement.any()
    assert changed is not None and not changed.valid.any()


def test_after_a_reset_comes_a_first_picture() -> None:
    picture = np.zeros((40, 56, 3), np.uint8)
    estimator = fluxshard.MotionEstimator((40, 56))
    assert estimator(picture) is None
    motion = estimator(picture[:, ::-1])
    assert motion is not None and motion.valid.shape == (5, 7)
    motion.check_covers(40, 56)
    estimator.reset()
    assert estimator(picture) is None


@pytest.mark.parametrize("size", [(0, 8), (8,), (8.0, 8), (True, 8), (1 << 15, 8)])
def test_sizes_that_pictures_cannot_have(size: Any) -> None:
    with pytest.raises(ShapeError, match=r"size \(=.*must be \(height, width\)"):
        fluxshard.MotionEstimator(size)


@pytest.mark.parametrize("picture", [np.zeros((8, 8, 3), np.uint8), np.zeros((16, 8, 3)), np.zeros((16, 8), np.uint8)])
def test_pictures_of_another_kind(picture: Any) -> None:
    with pytest.raises(ShapeError, match="expected"):
        fluxshard.MotionEstimator((16, 8))(picture)
