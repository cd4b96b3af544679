"""Displacement fields: the motion of a frame, resampled once to every grid that features live on.

Generated kernels compute the same integers; this is their definition.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from fluxshard.geometry import Grid
from fluxshard.motion import MotionField


@dataclass(frozen=True, slots=True, eq=False)
class DisplacementField:
    """Displacement of every cell of one grid.

    Attributes:
      displacement: `(H, W, 2)` int64, cells, `(dy, dx)`; zero where invalid.
      valid: `(H, W)` bool; the motion is known and the source lies on the grid.
      source: `(H, W)` int64, flat index of the source cell; 0 where invalid.
      still: nothing moves and everything is valid, so remapping is the identity.
    """

    displacement: NDArray[np.int64]
    valid: NDArray[np.bool_]
    source: NDArray[np.int64]
    still: bool


def displacement_field(motion: MotionField | None, grid: Grid, image: Grid) -> DisplacementField:
    """Resamples `motion` to `grid`.

    The cell (i, j) takes the motion m at pixel `min(H0 - 1, floor((i + 1/2) * S))` and moves by m / S cells, rounded
    half up, in exact integers. Where the motion is invalid or its source lies outside the grid, the cell is invalid.

    Args:
      motion: in input pixels; None compares at zero displacement.
      grid: the lattice of the features.
      image: the lattice of the image, one cell a pixel.
    """
    rows, columns = np.arange(grid.height)[:, None], np.arange(grid.width)[None, :]
    if motion is None:
        displacement = np.zeros((grid.height, grid.width, 2), np.int64)
        known = np.ones((grid.height, grid.width), np.bool_)
    else:
        y = sample_points(rows.ravel(), grid.stride_y, image.height) // motion.cell_px
        x = sample_points(columns.ravel(), grid.stride_x, image.width) // motion.cell_px
        pixels = motion.displacement[np.ix_(y, x)].astype(np.int64)
        known = motion.valid[np.ix_(y, x)]
        displacement = np.stack(
            [whole_cells(pixels[..., 0], grid.stride_y), whole_cells(pixels[..., 1], grid.stride_x)], axis=-1
        )
    source_y, source_x = rows - displacement[..., 0], columns - displacement[..., 1]
    inside = (source_y >= 0) & (source_y < grid.height) & (source_x >= 0) & (source_x < grid.width)
    valid = known & inside
    displacement = np.where(valid[..., None], displacement, 0)
    source = np.where(valid, source_y * grid.width + source_x, 0)
    still = bool(valid.all() and not displacement.any())
    return DisplacementField(displacement, valid, source, still)


def sample_points(features: NDArray[np.int64], stride: Fraction, n_px: int) -> NDArray[np.int64]:
    """The pixel that the feature cells of one axis look their motion up at: `min(n_px - 1, floor((i + 1/2) * S))`."""
    return np.minimum((2 * features + 1) * stride.numerator // (2 * stride.denominator), n_px - 1)


def whole_cells(pixels: NDArray[np.int64], stride: Fraction) -> NDArray[np.int64]:
    """Pixels as feature cells, rounded half up: `floor(m / S + 1/2)`."""
    return (2 * pixels * stride.denominator + stride.numerator) // (2 * stride.numerator)
