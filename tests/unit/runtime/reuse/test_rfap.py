"""The receptive-field rules against cell-by-cell definitions."""

from __future__ import annotations

import numpy as np
import pytest

from fluxshard.geometry import Grid, Window, bilinear_window, conv_window, map_edge, table_window, transposed_window
from fluxshard.motion import MotionField
from fluxshard.runtime.reuse import rfap
from fluxshard.runtime.reuse.displacement import DisplacementField, displacement_field

WINDOWS = {
    "3x3": (conv_window(3, 1, 1), conv_window(3, 1, 1)),
    "even stride 2": (conv_window(4, 2, 1), conv_window(2, 2, 0)),
    "dilated": (conv_window(3, 1, 2, 2), conv_window(3, 1, 3, 3)),
    "reflect": (Window(1, 1, ((-2,),), "reflect"), Window(1, 1, ((-1,),), "reflect")),
    "transposed": (transposed_window(3, 2, 1), transposed_window(4, 2, 1)),
    "bilinear": (bilinear_window(2), bilinear_window(3)),
    "table": (table_window([[0, 1], [1, 2], [2]]), table_window([[i] for i in range(17)])),
}


def _field(rng: np.random.Generator, grid: Grid, calm: bool) -> DisplacementField:
    reach = 1 if calm else 4
    motion = MotionField(rng.integers(-reach, reach + 1, (3, 3, 2)) * 2, rng.random((3, 3)) < 0.9)
    return displacement_field(motion, grid, Grid(24, 24))


@pytest.mark.parametrize("name", WINDOWS)
@pytest.mark.parametrize("calm", [True, False])
def test_window_flags_cell_by_cell(name: str, calm: bool) -> None:
    rng = np.random.default_rng(len(name))
    windows = WINDOWS[name]
    n_in = (12, 17)
    n_out = tuple(
        w.out_step if not w.is_periodic else min(24, n * w.out_step // w.in_step)
        for w, n in zip(windows, n_in, strict=True)
    )
    grid_in = Grid(*n_in)
    grid_out = grid_in.through(*windows, *n_out)
    for _ in range(5):
        field_in, field_out = _field(rng, grid_in, calm), _field(rng, grid_out, calm)
        flags = rfap.window_flags(field_in, field_out, windows)
        for p in np.ndindex(*n_out):
            assert flags[p] == (not _reusable(field_in, field_out, windows, p, n_in)), p


def _reusable(
    field_in: DisplacementField,
    field_out: DisplacementField,
    windows: tuple[Window, Window],
    p: tuple[int, ...],
    n_in: tuple[int, ...],
) -> bool:
    d_out = field_out.displacement[p]
    axes = []
    for axis in (0, 1):
        raw = np.array(windows[axis].raw_taps(p[axis]))
        mapped, inside = map_edge(raw, n_in[axis], windows[axis].edge)
        axes.append(mapped[inside])
    taps = [(y, x) for y in axes[0] for x in axes[1]]
    moves = {tuple(field_in.displacement[tap].tolist()) for tap in taps}
    if len(moves) > 1 or (not moves and d_out.any()):
        return False
    d_in = np.array(moves.pop()) if moves else None
    for axis, window in enumerate(windows):
        if d_in is not None:
            if window.is_periodic and d_in[axis] * window.out_step != d_out[axis] * window.in_step:
                return False
            if not window.is_periodic and (d_in[axis] or d_out[axis]):
                return False
        source = min(max(p[axis] - d_out[axis], 0), field_out.valid.shape[axis] - 1)
        for q in (p[axis], source):
            crosses = any(not 0 <= tap < n_in[axis] for tap in window.raw_taps(q))
            if crosses and (d_out[axis] or (d_in is not None and d_in[axis])):
                return False
    return True


def test_spread_cell_by_cell() -> None:
    rng = np.random.default_rng(3)
    mask = rng.random((12, 17)) < 0.1
    for windows in WINDOWS.values():
        n_out = tuple(w.out_step if not w.is_periodic else min(24, n * w.out_step // w.in_step)
                      for w, n in zip(windows, mask.shape, strict=True))  # fmt: skip
        out = rfap.spread(mask, windows, *n_out)
        for p in np.ndindex(*n_out):
            axes = [
                map_edge(np.array(w.raw_taps(i)), n, w.edge) for w, i, n in zip(windows, p, mask.shape, strict=True)
            ]
            (my, iy), (mx, ix) = axes
            assert out[p] == mask[np.ix_(my[iy], mx[ix])].any()


def test_compact_flags_pixel_by_pixel() -> None:
    rng = np.random.default_rng(4)
    image = Grid(30, 41)
    motion = MotionField(rng.choice([0, 0, 0, 4], (4, 6, 2)), rng.random((4, 6)) < 0.95)
    field = displacement_field(motion, image, image)
    for r_max, s_max in ((7, 4), (12, 2), (1, 8)):
        flags = rfap.compact_flags(field, image, r_max, s_max)
        reach = r_max // 2
        for y in range(30):
            for x in range(41):
                box = (slice(max(0, y - reach), y + reach + 1), slice(max(0, x - reach), x + reach + 1))
                d, valid = field.displacement[box].reshape(-1, 2), field.valid[box]
                uniform = (d == d[0]).all() and (valid.all() or not valid.any())
                divisible = not (field.displacement[y, x] % s_max).any()
                assert flags[y, x] == (not (uniform and divisible))
