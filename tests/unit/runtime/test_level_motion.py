"""Motion that is not the same for all features: which field a grid takes, and fields that do not belong together."""

from __future__ import annotations

import pytest

from fluxshard.errors import ShapeError
from fluxshard.motion import MotionField
from fluxshard.runtime.level_motion import LevelMotion, motion_of

IMAGE, FINE, COARSE = (MotionField.uniform(24, 40, 0, dx) for dx in (0, 4, 8))


def test_every_grid_takes_the_field_of_its_level() -> None:
    motion = LevelMotion(IMAGE, (FINE, COARSE), (1, None, 0, 1))
    expected = [IMAGE, IMAGE, FINE, COARSE, IMAGE]  # the image's grid has no level, and the last one is not named
    assert [motion_of(motion, grid) for grid in range(5)] == expected
    assert motion_of(IMAGE, 3) is IMAGE and motion_of(None, 0) is None


@pytest.mark.parametrize("level", [MotionField.zero(24, 32), MotionField.zero(24, 40, 4)])
def test_a_level_of_other_cells(level: MotionField) -> None:
    with pytest.raises(ShapeError, match=r"level 1 has .* expected those of the image, \(3, 5\) of 8 px"):
        LevelMotion(IMAGE, (FINE, level), (None, 0))


@pytest.mark.parametrize("level", [-1, 2])
def test_a_grid_of_a_level_that_is_not_there(level: int) -> None:
    with pytest.raises(ShapeError, match=rf"levels \[{level}\]; there are 2"):
        LevelMotion(IMAGE, (FINE, COARSE), (None, 0, level))
