"""Slot maps: which row of a pool holds the features of a cell.

Moving a cache along motion vectors is a gather on the slot map, never on the features. Where fresh rows go is a
backend's own choice, of two:

* `allocate`: a row is free iff the old map does not refer to it (the remapped map refers to a subset of the same rows).
  Fresh rows and those that they are compared with are there at the same time; `2 * cells` rows are always enough.
* `place`: a row is free iff no cell that keeps its value reads it. Fresh rows that are to be compared wait elsewhere
  until it is known which of them are kept; a row a cell is enough.

Which cells share a row is the same with both.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fluxshard.runtime.reuse.displacement import DisplacementField

Slots = NDArray[np.int32]
Mask = NDArray[np.bool_]
Scalar = TypeVar("Scalar", bound=np.generic)


def identity(cells: int) -> Slots:
    """Every cell reads the row of its own number: what a keyframe leaves."""
    return np.arange(cells, dtype=np.int32)


def remap(old: Slots, field: DisplacementField) -> Slots:
    """`new[p] = old[p - d(p)]`, flat; cells that are invalid keep row 0 and must be recomputed. Source: Eq. 13."""
    return old[field.source.ravel()]


def allocate(old: Slots, candidates: NDArray[np.int64], capacity: int) -> Slots:
    """Rows for the candidates: the k-th candidate in raster order gets the k-th smallest row that `old` leaves free."""
    free = np.ones(capacity, np.bool_)
    free[old] = False
    return np.flatnonzero(free)[: len(candidates)].astype(np.int32)


def place(moved: Slots, changed: Mask) -> Slots:
    """The map of a frame: the k-th changed cell in raster order gets the k-th smallest row that no other cell reads.

    Args:
      moved: the remapped map, flat.
      changed: cells with fresh values, flat.
    """
    free = np.ones(len(moved), np.bool_)
    free[moved[~changed]] = False
    result = moved.copy()
    result[changed] = np.flatnonzero(free)[: changed.sum()]
    return result


def scatter_back(
    base: NDArray[Scalar], fresh: NDArray[Scalar], changed: Mask, field: DisplacementField
) -> NDArray[Scalar]:
    """Writes what changed to where it came from, in raster order, the last one winning: the cache without remapping.

    Args:
      base: `(cells, ...)` in the coordinates of the last keyframe.
      fresh: `(cells, ...)` in those of the current frame.
      changed: `(H, W)`.
      field: displacement since the last keyframe.
    """
    result = base.copy()
    cells = np.flatnonzero(changed & field.valid)
    result[field.source.ravel()[cells]] = fresh[cells]  # numpy assigns in order: the last of equal targets stays
    return result
