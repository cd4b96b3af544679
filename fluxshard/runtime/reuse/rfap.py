"""The Receptive Field Alignment Principle: where a cached output may stand for a fresh one, by geometry alone.

`window_flags` is the rule of one layer, exact at zero thresholds. `compact_flags` is the paper's single pass over the
input motion; it is cheaper and not exact (docs/exactness.md). Source: the paper's Eq. 9 and 10, with padding coherence
added.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fluxshard.geometry import Grid, Window, map_edge
from fluxshard.runtime.reuse.displacement import DisplacementField

Mask = NDArray[np.bool_]


def spread(mask: Mask, windows: tuple[Window, Window], height: int, width: int) -> Mask:
    """Output cells of which at least one tap that lies inside the input (after the edge rule) is in `mask`.

    Args:
      mask: `(H, W)` of the input.
      windows: (y, x).
      height, width: of the output.
    """
    for axis, (window, n_out) in enumerate(zip(windows, (height, width), strict=True)):
        taps, used = window.tap_table(n_out)
        mapped, inside = map_edge(taps, mask.shape[axis], window.edge)
        taken = np.take(mask, mapped, axis=axis)  # (n_out, T, W) or (H, n_out, T)
        weight = (inside & used)[..., None] if axis == 0 else (inside & used)[None]
        mask = np.asarray((taken & weight).any(axis=axis + 1))
    return mask


def window_flags(field_in: DisplacementField, field_out: DisplacementField, windows: tuple[Window, Window]) -> Mask:
    """Cells of a windowed layer whose cached output cannot be reused although no tap changed.

    A cell p with displacement d_out may be reused only if

    1. all taps inside the input have one displacement d_in;
    2. `d_in * out_step == d_out * in_step` on both axes (nothing moves at all for tables of positions);
    3. on every axis where a raw tap of p, or of its source, lies outside the input, nothing moves: padding and clipped
       windows are tied to the border, not to the content.

    Returns:
      `(H, W)` of the output, True where a condition fails.
    """
    height, width = field_out.valid.shape
    sizes = field_in.valid.shape
    tables = [window.tap_table(n) for window, n in zip(windows, (height, width), strict=True)]
    mapped = [map_edge(taps, n, window.edge) for (taps, _), n, window in zip(tables, sizes, windows, strict=True)]
    d_in = np.zeros((height, width, 2), np.int64)
    found = np.zeros((height, width), np.bool_)
    uniform = np.ones((height, width), np.bool_)
    for ty in range(tables[0][0].shape[1]):
        for tx in range(tables[1][0].shape[1]):
            inside_y = mapped[0][1][:, ty] & tables[0][1][:, ty]
            inside_x = mapped[1][1][:, tx] & tables[1][1][:, tx]
            inside = inside_y[:, None] & inside_x[None, :]
            d_tap = field_in.displacement[np.ix_(mapped[0][0][:, ty], mapped[1][0][:, tx])]
            uniform &= ~(inside & found) | (d_tap == d_in).all(-1)
            d_in = np.where((inside & ~found)[..., None], d_tap, d_in)
            found |= inside
    d_out = field_out.displacement
    fits = uniform
    still = (d_out == 0).all(-1)
    for axis, (window, n_in) in enumerate(zip(windows, sizes, strict=True)):
        if window.is_periodic:
            fits &= ~found | (d_in[..., axis] * window.out_step == d_out[..., axis] * window.in_step)
        else:
            fits &= ~found | ((d_in[..., axis] == 0) & (d_out[..., axis] == 0))
        taps, used = tables[axis]
        crosses = (((taps < 0) | (taps >= n_in)) & used).any(1)
        here = np.arange((height, width)[axis])[(slice(None), None) if axis == 0 else (None, slice(None))]
        source = np.clip(here - d_out[..., axis], 0, (height, width)[axis] - 1)
        at_border = crosses[here] | crosses[source]
        fits &= ~at_border | ((d_out[..., axis] == 0) & (~found | (d_in[..., axis] == 0)))
    fits &= found | still
    return ~fits


def compact_flags(field: DisplacementField, image: Grid, r_max: int, s_max: int) -> Mask:
    """Input pixels whose neighbourhood does not move as one, or whose motion the largest stride does not divide.

    Args:
      field: displacement on the image's grid.
      image: the image's grid.
      r_max, s_max: `Plan.r_max` and `Plan.s_max`, pixels; the neighbourhood is `[p - r_max // 2, p + r_max // 2]`,
        clipped to the frame.

    Returns:
      `(H, W)` of the image, True where flagged.
    """
    height, width = image.height, image.width
    state = np.concatenate([field.displacement, field.valid[..., None].astype(np.int64)], axis=-1)
    reach = r_max // 2
    y0, y1 = np.clip(np.arange(height) - reach, 0, None), np.clip(np.arange(height) + reach, None, height - 1)
    x0, x1 = np.clip(np.arange(width) - reach, 0, None), np.clip(np.arange(width) + reach, None, width - 1)
    down = _integral((state[1:] != state[:-1]).any(-1))
    right = _integral((state[:, 1:] != state[:, :-1]).any(-1))
    changes = _box(down, y0, y1, x0, x1 + 1) + _box(right, y0, y1 + 1, x0, x1)
    indivisible = (field.displacement % s_max != 0).any(-1)
    flags: Mask = (changes > 0) | indivisible
    return flags


def _integral(changed: Mask) -> NDArray[np.int64]:
    total = np.zeros((changed.shape[0] + 1, changed.shape[1] + 1), np.int64)
    total[1:, 1:] = changed.cumsum(0, dtype=np.int64).cumsum(1)
    return total


def _box(
    total: NDArray[np.int64], y0: NDArray[np.int64], y1: NDArray[np.int64], x0: NDArray[np.int64], x1: NDArray[np.int64]
) -> NDArray[np.int64]:
    return total[np.ix_(y1, x1)] - total[np.ix_(y0, x1)] - total[np.ix_(y1, x0)] + total[np.ix_(y0, x0)]
