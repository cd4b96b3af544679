"""Motion fields: where the content of each cell of the current frame was in an earlier one.

Motion is in whole pixels of the network's input, `(dy, dx)`, with `source = position - motion` (the paper's m).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fluxshard.errors import ShapeError

CELL_PX = 8  # cells of 8 px resolve every H.264 partition that decoders report

# Where a frame's motion comes from. A video says "codec" (vectors of the stream itself), "encoder" (vectors of an
# encoder that the images are run through), "block_matching" (a search) or "none"; a session, which only sees what it is
# handed, says "given" or "none".
MotionSource = Literal["codec", "encoder", "block_matching", "given", "none"]


@dataclass(frozen=True, slots=True, eq=False)
class MotionField:
    """Block motion of one frame.

    Attributes:
      displacement: `(Hc, Wc, 2)` int16, input pixels, `(dy, dx)`; zero where invalid.
      valid: `(Hc, Wc)` bool; False where nothing is known of the source: such cells are recomputed.
      cell_px: side of a cell in input pixels; `Hc = ceil(H / cell_px)`.

    Raises:
      ShapeError: shapes, dtypes or values outside int16.
    """

    displacement: NDArray[Any]  # any integers in; int16 after construction
    valid: NDArray[np.bool_]
    cell_px: int = CELL_PX

    def __post_init__(self) -> None:
        displacement = np.asarray(self.displacement)
        valid = np.asarray(self.valid)
        if displacement.ndim != 3 or displacement.shape[2] != 2 or valid.shape != displacement.shape[:2]:
            raise ShapeError(
                f"motion: displacement has shape {displacement.shape} and valid {valid.shape}; "
                "expected (Hc, Wc, 2) and (Hc, Wc)"
            )
        if not np.issubdtype(displacement.dtype, np.integer) or valid.dtype != np.bool_:
            raise ShapeError(
                f"motion: displacement is {displacement.dtype} and valid is {valid.dtype}; "
                "expected whole pixels (int16) and bool"
            )
        if self.cell_px < 1:
            raise ShapeError(f"motion: cell_px (={self.cell_px}) must be at least 1")
        # vectors beyond int16 cannot point into any frame that the engine accepts: nothing is known of such a cell
        inside = (np.abs(displacement.astype(np.int64)) <= np.iinfo(np.int16).max).all(-1)
        valid = np.ascontiguousarray(valid & inside)
        displacement = np.where(valid[..., None], displacement, 0).astype(np.int16)
        object.__setattr__(self, "displacement", np.ascontiguousarray(displacement))
        object.__setattr__(self, "valid", valid)

    @classmethod
    def zero(cls, height: int, width: int, cell_px: int = CELL_PX) -> MotionField:
        """Nothing moved on a frame of `(height, width)` pixels."""
        return cls.uniform(height, width, 0, 0, cell_px)

    @classmethod
    def uniform(cls, height: int, width: int, dy: int, dx: int, cell_px: int = CELL_PX) -> MotionField:
        """All content moved by `(dy, dx)` pixels on a frame of `(height, width)` pixels."""
        shape = cells(height, cell_px), cells(width, cell_px)
        displacement = np.empty((*shape, 2), np.int64)
        displacement[...] = (dy, dx)
        return cls(displacement, np.ones(shape, np.bool_), cell_px)

    def check_covers(self, height: int, width: int) -> None:
        """Raises ShapeError unless the field has one entry per cell of a `(height, width)` frame."""
        expected = cells(height, self.cell_px), cells(width, self.cell_px)
        if self.valid.shape != expected:
            raise ShapeError(
                f"motion: {self.valid.shape} cells of {self.cell_px} px do not cover an image of {height}x{width} px; "
                f"expected {expected}"
            )


def cells(length_px: int, cell_px: int) -> int:
    """Number of cells that cover `length_px` pixels."""
    return -(-length_px // cell_px)


def centres(length_px: int, cell_px: int = CELL_PX) -> NDArray[np.int64]:
    """The middle pixel of every cell of one axis; of a cell that the border cuts, the last pixel at most."""
    return np.minimum(np.arange(cells(length_px, cell_px), dtype=np.int64) * cell_px + cell_px // 2, length_px - 1)


def accumulate(earlier: MotionField, later: MotionField, height: int, width: int) -> MotionField:
    """Composes two fields: `m(p) <- earlier(p - later(p)) + later(p)`.

    The source is looked up in the cell that holds it; a source that is invalid or outside the frame makes the cell
    invalid. Source: the paper's Eq. 15.

    Args:
      earlier: motion from an old frame to the previous one.
      later: motion from the previous frame to the current one, on the same cells.
      height, width: the frame in pixels.
    """
    if earlier.valid.shape != later.valid.shape or earlier.cell_px != later.cell_px:
        raise ShapeError(
            f"motion: cannot compose {earlier.valid.shape} cells of {earlier.cell_px} px with "
            f"{later.valid.shape} cells of {later.cell_px} px"
        )
    cell = later.cell_px
    centre_y, centre_x = centres(height, cell)[:, None], centres(width, cell)[None, :]
    motion = later.displacement.astype(np.int64)
    source_y = centre_y - motion[..., 0]
    source_x = centre_x - motion[..., 1]
    inside = (source_y >= 0) & (source_y < height) & (source_x >= 0) & (source_x < width)
    row = np.clip(source_y, 0, height - 1) // cell
    column = np.clip(source_x, 0, width - 1) // cell
    total = earlier.displacement[row, column].astype(np.int64) + motion
    return MotionField(total, later.valid & inside & earlier.valid[row, column], cell)
