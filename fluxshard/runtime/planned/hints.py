"""Motion hints: what the features of a level would move by if they moved as the caller says."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fluxshard.geometry import Grid
from fluxshard.motion import CELL_PX, MotionField, cells, centres
from fluxshard.runtime.planned.levels import Level
from fluxshard.runtime.reuse.displacement import sample_points

Mask = NDArray[np.bool_]
Pixels = NDArray[np.int64]  # displacements


def hinted_px(motion: MotionField, level: Level, grid: Grid, size: tuple[int, int]) -> tuple[Pixels, Mask]:
    """The motion that each 8-px cell's features are given, before it is rounded to whole features.

    The cell takes the feature cell that holds its centre; that samples the motion at
    `min(H - 1, floor((i + 1/2) * S))`.

    Args:
      motion: of the image.
      level: whose features move.
      grid: of these features.
      size: (H, W) of the image in pixels.

    Returns:
      `(rows, columns, 2)` pixels (dy, dx), and `(rows, columns)` bool.
    """
    return sampled(motion, *feature_points(level, grid, size))


def feature_points(level: Level, grid: Grid, size: tuple[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The pixel that the features below each 8-px cell look their motion up at, per row and per column of cells.

    Args:
      level, grid, size: as for `hinted_px`.
    """
    rows, columns = (
        sample_points(np.minimum(centres(n_px) * stride.denominator // stride.numerator, n_cells - 1), stride, n_px)
        for stride, n_cells, n_px in zip(level.stride, (grid.height, grid.width), size, strict=True)
    )
    return rows, columns


def level_motion(motion: MotionField | None, level: Level, grid: Grid, size: tuple[int, int]) -> tuple[Pixels, Mask]:
    """Displacement of the features below each 8-px cell, in pixels: `hinted_px`, rounded to whole features.

    Args:
      motion: of the image; None moves nothing.
      level, grid, size: as for `hinted_px`.

    Returns:
      `(rows, columns, 2)` pixels (dy, dx), zero where invalid, and `(rows, columns)` bool.
    """
    if motion is None:
        shape = cells(size[0], CELL_PX), cells(size[1], CELL_PX)
        return np.zeros((*shape, 2), np.int64), np.ones(shape, np.bool_)
    pixels, valid = hinted_px(motion, level, grid, size)
    return np.where(valid[..., None], whole_features(pixels, level), 0), valid


def content_motion(motion: MotionField | None, level: Level, grid: Grid, size: tuple[int, int]) -> tuple[Pixels, Mask]:
    """Displacement of a level's reference at each 8-px cell, in pixels, as the hint has it.

    That of the features, and `hinted_px` where content moves by single pixels (`Level.in_pixels`).

    Args:
      motion, level, grid, size: as for `level_motion`.

    Returns:
      as `level_motion`.
    """
    if motion is None or not level.in_pixels:
        return level_motion(motion, level, grid, size)
    pixels, valid = hinted_px(motion, level, grid, size)
    return np.where(valid[..., None], pixels, 0), valid


def whole_features(pixels: Pixels, level: Level, more: Pixels | int = 0) -> Pixels:
    """Displacements as whole features, in pixels again: `d = round-half-up(m / S) + more`, `round-half-up(d * S)`.

    Args:
      pixels: `(..., 2)` m, (dy, dx).
      level: whose features move.
      more: features to add, of the same shape.
    """
    numerators = np.array([stride.numerator for stride in level.stride], np.int64)
    denominators = np.array([stride.denominator for stride in level.stride], np.int64)
    steps = (2 * pixels * denominators + numerators) // (2 * numerators) + more
    moved: Pixels = (2 * steps * numerators + denominators) // (2 * denominators)
    return moved


def dominant_motion(motion: MotionField) -> Pixels:
    """The most frequent displacement (dy, dx) of the valid cells.

    Of equally frequent ones it is the smallest, by dy, then dx. Zero where no cell is valid.
    """
    moved = motion.displacement[motion.valid].astype(np.int32)
    if not len(moved):
        return np.zeros(2, np.int64)
    keys = np.sort(moved[:, 0] * 65536 + moved[:, 1] + 32768)  # in order of dy, then dx
    starts = np.flatnonzero(np.diff(keys, prepend=keys[0] - 1))  # of equal ones
    key = int(keys[starts[np.argmax(np.diff(starts, append=len(keys)))]])
    return np.array([key >> 16, (key & 65535) - 32768], np.int64)


def sampled(motion: MotionField, rows_px: NDArray[np.int64], columns_px: NDArray[np.int64]) -> tuple[Pixels, Mask]:
    """The motion at pixels of a grid of rows and columns: `(rows, columns, 2)`, and where it is valid."""
    where = np.ix_(rows_px // motion.cell_px, columns_px // motion.cell_px)
    return motion.displacement[where].astype(np.int64), motion.valid[where]
