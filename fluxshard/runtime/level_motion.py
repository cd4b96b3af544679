"""Motion of a frame that is not the same for all features: every level moves by what fits its own cache best."""

from __future__ import annotations

from dataclasses import dataclass

from fluxshard.errors import ShapeError
from fluxshard.motion import MotionField


@dataclass(frozen=True, slots=True, eq=False)
class LevelMotion:
    """Motion fields of one frame.

    Attributes:
      image: of the image's pixels.
      levels: of the features of every level, in the cells of the image's field; displacements are whole feature cells.
      level_of: the level of the grids of the plan, in order, up to the last that has one; None where a grid has none:
        it moves as the image.

    Raises:
      ShapeError: a level has other cells than the image, or a grid a level that is not there. Engines read all fields
        alike.
    """

    image: MotionField
    levels: tuple[MotionField, ...]
    level_of: tuple[int | None, ...]

    def __post_init__(self) -> None:
        for number, field in enumerate(self.levels):
            if (field.valid.shape, field.cell_px) != (self.image.valid.shape, self.image.cell_px):
                raise ShapeError(
                    f"motion: level {number} has {field.valid.shape} cells of {field.cell_px} px; "
                    f"expected those of the image, {self.image.valid.shape} of {self.image.cell_px} px"
                )
        unknown = {level for level in self.level_of if level is not None and not 0 <= level < len(self.levels)}
        if unknown:
            raise ShapeError(f"motion: grids have levels {sorted(unknown)}; there are {len(self.levels)}")

    @classmethod
    def trusted(
        cls, image: MotionField, levels: tuple[MotionField, ...], level_of: tuple[int | None, ...]
    ) -> LevelMotion:
        """The motion of fields that are known to be as the attributes say, without looking at them.

        Args:
          image, levels, level_of: as the attributes.
        """
        motion = object.__new__(cls)
        object.__setattr__(motion, "image", image)
        object.__setattr__(motion, "levels", levels)
        object.__setattr__(motion, "level_of", level_of)
        return motion

    def of_grid(self, index: int) -> MotionField:
        """Motion of the cells of one grid of the plan; grid 0 is the image's."""
        level = self.level_of[index] if 0 < index < len(self.level_of) else None
        return self.image if level is None else self.levels[level]


Motion = MotionField | LevelMotion


def motion_of(motion: Motion | None, grid: int) -> MotionField | None:
    """Motion of the cells of one grid of the plan; None for zero displacement."""
    return motion.of_grid(grid) if isinstance(motion, LevelMotion) else motion
