"""Motion of a frame that is not the same for all features: every level moves by what fits its own cache best."""

from __future__ import annotations

from dataclasses import dataclass

from fluxshard.motion import MotionField


@dataclass(frozen=True, slots=True, eq=False)
class LevelMotion:
    """Motion fields of one frame.

    Attributes:
      image: of the image's pixels.
      levels: of the features of every level, in cells of 8 px; displacements are whole feature cells.
      level_of: the level of the grids of the plan, in order, up to the last that has one; None where a grid has none:
        it moves as the image.
    """

    image: MotionField
    levels: tuple[MotionField, ...]
    level_of: tuple[int | None, ...]

    def of_grid(self, index: int) -> MotionField:
        """Motion of the cells of one grid of the plan; grid 0 is the image's."""
        level = self.level_of[index] if 0 < index < len(self.level_of) else None
        return self.image if level is None else self.levels[level]


Motion = MotionField | LevelMotion


def motion_of(motion: Motion | None, grid: int) -> MotionField | None:
    """Motion of the cells of one grid of the plan; None for zero displacement."""
    return motion.of_grid(grid) if isinstance(motion, LevelMotion) else motion
