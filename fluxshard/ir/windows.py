"""Windows of the ops of a Plan: the input cells that an output cell reads."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from fluxshard.geometry import Window, bilinear_window, conv_window, nearest_window, table_window, transposed_window
from fluxshard.ir.params import (
    AvgPool2d,
    Conv2d,
    ConvTranspose2d,
    MaxPool2d,
    Pad,
    Pair,
    Params,
    Resize,
    UpsampleNearest,
)


def windows_of(params: Params, size_in: Pair, size_out: Pair, kernel: Pair | None = None) -> tuple[Window, Window]:
    """(y, x) windows of an op.

    Args:
      params: the op.
      size_in: (H, W) of its first input in cells.
      size_out: (H, W) of its output in cells.
      kernel: (kh, kw); required for convolutions.
    """
    y, x = (_window(params, axis, size_in[axis], size_out[axis], kernel) for axis in (0, 1))
    return y, x


def _window(params: Params, axis: int, n_in: int, n_out: int, kernel: Pair | None) -> Window:
    match params:
        case Conv2d():
            assert kernel is not None
            return conv_window(kernel[axis], params.stride[axis], params.padding[axis][0], params.dilation[axis])
        case ConvTranspose2d():
            assert kernel is not None
            return transposed_window(kernel[axis], params.stride[axis], params.padding[axis], params.dilation[axis])
        case MaxPool2d():
            return conv_window(params.kernel[axis], params.stride[axis], params.padding[axis], params.dilation[axis])
        case AvgPool2d():
            return conv_window(params.kernel[axis], params.stride[axis], params.padding[axis])
        case Pad():
            return Window(1, 1, ((-params.pads[axis][0],),), params.mode)
        case UpsampleNearest():
            return nearest_window(params.factor[axis])
        case Resize():
            scale = None if params.scale is None else params.scale[axis]
            if params.mode == "nearest":
                return table_window([[cell] for cell in nearest_sources(n_in, n_out, scale)])
            factor = n_out // n_in
            if not params.align_corners and n_out == factor * n_in and scale in (None, float(factor)):
                return bilinear_window(factor)
            return table_window(_bilinear_sources(n_in, n_out, scale, params.align_corners))
        case _:
            return Window()


def whole_factors(params: Resize, size_in: Pair) -> Pair | None:
    """(y, x) factors of a nearest resampling that repeats every cell equally often; otherwise None."""
    factors = params.size[0] // size_in[0], params.size[1] // size_in[1]
    for axis in (0, 1):
        scale = None if params.scale is None else params.scale[axis]
        repeated = [p // max(factors[axis], 1) for p in range(params.size[axis])]
        if (
            params.size[axis] != factors[axis] * size_in[axis]
            or nearest_sources(size_in[axis], params.size[axis], scale) != repeated
        ):
            return None
    return factors


def nearest_sources(n_in: int, n_out: int, scale: float | None) -> list[int]:
    """Input cell of each output cell of nearest resampling, in the float32 arithmetic of torch.

    Source: aten/src/ATen/native/UpSample.h, nearest_neighbor_compute_source_index.
    """
    step = np.float32(1.0 / scale) if scale else np.float32(n_in) / np.float32(n_out)
    positions = np.floor(np.arange(n_out, dtype=np.float32) * step).astype(np.int64)
    return [int(cell) for cell in np.minimum(positions, n_in - 1)]


def _bilinear_sources(n_in: int, n_out: int, scale: float | None, align_corners: bool) -> list[list[int]]:
    # positions are exact here and float32 in torch, which may round to either side of a whole number
    near = Fraction(1, 1000)
    table = []
    for p in range(n_out):
        if align_corners:
            position = Fraction(p * (n_in - 1), max(n_out - 1, 1))
        else:
            step = 1 / Fraction(scale) if scale else Fraction(n_in, n_out)
            position = (p + Fraction(1, 2)) * step - Fraction(1, 2)
        position = max(position, Fraction(0))
        cells = range((position - near).__floor__(), (position + near).__floor__() + 2)
        table.append(sorted({min(max(cell, 0), n_in - 1) for cell in cells}))
    return table
