"""Conversion of a decoder's motion vectors to the motion field of the network's image.

Source: FFmpeg's AVMotionVector (libavutil/motion_vector.h).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fluxshard.motion import CELL_PX, MotionField, cells, centres
from fluxshard.video.letterbox import Letterbox


def field_from_vectors(vectors: NDArray[Any], letterbox: Letterbox) -> MotionField:
    """Samples the motion vectors of one frame at the centres of the image's cells.

    A cell takes the vector of the block that covers its centre: `m = -motion / motion_scale`, scaled by the letterbox
    and rounded once, half up, to whole pixels of the image. Cells whose centre no block covers (intra-coded) or whose
    block is predicted from a later frame are invalid. Bars have zero motion.

    Args:
      vectors: structured array of AVMotionVector in pixels of the picture; `dst_x`, `dst_y` are the centres of blocks
        of `w` x `h` px.
      letterbox: placement of the picture in the image.
    """
    (height, width), (rows, columns) = letterbox.picture_size, letterbox.content_size
    picture_y, bar_y = _sample_positions(letterbox.size[0], letterbox.offset[0], rows, height)
    picture_x, bar_x = _sample_positions(letterbox.size[1], letterbox.offset[1], columns, width)
    bar = bar_y[:, None] | bar_x[None, :]

    block = _blocks_at(vectors, picture_y, picture_x, height, width)
    covered = (block >= 0) & ~bar
    displacement = np.zeros((*block.shape, 2), np.int64)
    if covered.any():
        used = block[covered]
        # field by field: gathering whole vectors of 40 bytes takes longer than all the rest
        scale, motion_y, motion_x = (
            vectors[name][used].astype(np.int64) for name in ("motion_scale", "motion_y", "motion_x")
        )
        displacement[covered, 0] = _divide_half_up(-motion_y * rows, scale * height)
        displacement[covered, 1] = _divide_half_up(-motion_x * columns, scale * width)
    return MotionField(displacement, covered | bar, CELL_PX)


def _sample_positions(
    length_px: int, offset_px: int, content_px: int, picture_px: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Picture pixel below the centre of each cell of one axis, and whether the centre is in a bar instead."""
    centre = centres(length_px) - offset_px
    bar = (centre < 0) | (centre >= content_px)
    pixel = (2 * centre + 1) * picture_px // (2 * content_px)  # floor((centre + 1/2) * picture / content)
    return np.clip(pixel, 0, picture_px - 1), bar


def _blocks_at(
    vectors: NDArray[Any], picture_y: NDArray[np.int64], picture_x: NDArray[np.int64], height: int, width: int
) -> NDArray[np.int64]:
    """Index of the vector whose block covers each sampled pixel, `(len(picture_y), len(picture_x))`; -1 without one."""
    usable = np.flatnonzero(vectors["source"] <= 0)
    block_h, block_w = vectors["h"][usable].astype(np.int64), vectors["w"][usable].astype(np.int64)
    top = vectors["dst_y"][usable].astype(np.int64) - block_h // 2
    left = vectors["dst_x"][usable].astype(np.int64) - block_w // 2
    # blocks may stick out, by less than their size: the raster has room for that, and needs no checks
    seen = (top < height) & (top + block_h > 0) & (left < width) & (left + block_w > 0)
    if not seen.all():
        usable, block_h, block_w, top, left = (values[seen] for values in (usable, block_h, block_w, top, left))
    if usable.size == 0:
        return np.full((picture_y.size, picture_x.size), -1, np.int64)
    # decoders report blocks of 16 and 8 px on multiples of 8 px; the raster is finer only for smaller blocks
    unit = int(np.gcd.reduce(np.concatenate((top, left, block_h, block_w, [16]))))
    first_y, first_x = min(int(top.min()), 0), min(int(left.min()), 0)
    bottom, right = max(int((top + block_h).max()), height), max(int((left + block_w).max()), width)
    raster = np.full((cells(bottom - first_y, unit), cells(right - first_x, unit)), -1, np.int64)
    flat, line = raster.reshape(-1), raster.shape[1]
    corner = (top - first_y) // unit * line + (left - first_x) // unit
    shape = block_h << 8 | block_w  # each takes a byte; sorted by height, then by width
    for one in np.unique(shape).tolist():
        group = np.flatnonzero(shape == one)
        where, value = corner[group], usable[group]
        for down in range((one >> 8) // unit):
            for across in range((one & 255) // unit):
                flat[where + (down * line + across)] = value
    return raster[(picture_y - first_y)[:, None] // unit, (picture_x - first_x)[None, :] // unit]


def _divide_half_up(numerator: NDArray[np.int64], denominator: NDArray[np.int64]) -> NDArray[np.int64]:
    """Elementwise quotients rounded to the nearest integer, halves up."""
    return (2 * numerator + denominator) // (2 * denominator)
