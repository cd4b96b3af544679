"""Exact geometry of CNN layers: windows, grids and receptive fields.

Everything is per axis, in integers and Fractions; where both axes appear the order is (y, x). No torch, no floats.

A *window* lists the input cells that an output cell reads. With `base = p * in_step // out_step` and
`phase = p % out_step`, the output cell `p` reads the input cells `base + offset` for every offset of `offsets[phase]`:

* convolution and pooling, stride s: `in_step = s`, `out_step = 1`, offsets `-padding + tap * dilation`;
* transposed convolution, nearest and bilinear upsampling by s: `in_step = 1`, `out_step = s`;
* ops without a period (align_corners, non-integer factors, adaptive pooling): `in_step = 0`, `out_step` is the number
  of output cells, and `offsets[p]` lists absolute input cells.

Offsets are raw: they may point outside the input, where `edge` decides what is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Edge = Literal["constant", "replicate", "reflect", "circular"]


@dataclass(frozen=True, slots=True)
class Window:
    """Input cells that an output cell reads along one axis of an op (see the module's docstring).

    Attributes:
      in_step: input cells by which the window moves every `out_step` output cells; 0 for a table of absolute positions.
      out_step: period of the offsets in output cells.
      offsets: raw positions that each phase `p % out_step` reads, relative to `p * in_step // out_step`.
      edge: what is read outside the input: a constant, or the cell of this padding mode.

    Raises:
      ValueError: a negative `in_step`, an `out_step` below 1, or not one tuple of offsets per phase.
    """

    in_step: int = 1
    out_step: int = 1
    offsets: tuple[tuple[int, ...], ...] = ((0,),)
    edge: Edge = "constant"

    def __post_init__(self) -> None:
        if self.in_step < 0 or self.out_step < 1:
            raise ValueError(f"in_step (={self.in_step}) must be >= 0 and out_step (={self.out_step}) >= 1")
        if len(self.offsets) != self.out_step:
            raise ValueError(f"offsets has {len(self.offsets)} phases; out_step asks for {self.out_step}")

    @property
    def is_pointwise(self) -> bool:
        """True where output cell p reads input cell p only."""
        return self.in_step == 1 and self.out_step == 1 and self.offsets == ((0,),)

    @property
    def is_periodic(self) -> bool:
        """False for tables of absolute positions, whose features can be reused at zero displacement only."""
        return self.in_step > 0

    def raw_taps(self, p: int) -> tuple[int, ...]:
        """Positions that output cell `p` reads, including those outside the input."""
        base = p * self.in_step // self.out_step
        return tuple(base + offset for offset in self.offsets[p % self.out_step])

    def tap_table(self, n_out: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Raw taps of all output cells, padded to the largest count.

        Returns:
          `(n_out, T)` int64 positions, and `(n_out, T)` bool flags that are False on padding.
        """
        width = max(len(offsets) for offsets in self.offsets)
        taps = np.zeros((n_out, width), np.int64)
        used = np.zeros((n_out, width), np.bool_)
        for p in range(n_out):
            raw = self.raw_taps(p)
            taps[p, : len(raw)] = raw
            used[p, : len(raw)] = True
        return taps, used


def map_edge(taps: NDArray[np.int64], n_in: int, edge: Edge) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Maps raw positions to cells of the input.

    Args:
      taps: raw positions, of any shape.
      n_in: input cells.
      edge: what is read outside `[0, n_in)`.

    Returns:
      positions in `[0, n_in)`, and flags that are False where a constant is read instead; both of the shape of `taps`.
    """
    inside = (taps >= 0) & (taps < n_in)
    if edge == "constant":
        return np.clip(taps, 0, n_in - 1), inside
    if edge == "replicate":
        return np.clip(taps, 0, n_in - 1), np.ones_like(inside)
    if edge == "circular":
        return taps % n_in, np.ones_like(inside)
    period = max(2 * (n_in - 1), 1)
    folded = np.abs(taps) % period
    return np.where(folded < n_in, folded, period - folded), np.ones_like(inside)


def conv_window(kernel: int, stride: int, padding: int, dilation: int = 1) -> Window:
    """Window of a convolution or pooling along one axis.

    Args:
      kernel: taps.
      stride: input cells per output cell.
      padding: cells before the first cell.
      dilation: input cells between neighbouring taps.
    """
    return Window(stride, 1, (tuple(tap * dilation - padding for tap in range(kernel)),))


def transposed_window(kernel: int, stride: int, padding: int, dilation: int = 1) -> Window:
    """Window of a transposed convolution along one axis: `i * stride - padding + tap * dilation = p` solved for i.

    Args:
      kernel: taps.
      stride: output cells per input cell.
      padding: output cells that are cut off before the first.
      dilation: output cells between neighbouring taps.
    """
    return Window(
        1, stride, tuple(tuple(i for _, i in phase) for phase in transposed_taps(kernel, stride, padding, dilation))
    )


def transposed_taps(
    kernel: int, stride: int, padding: int, dilation: int = 1
) -> tuple[tuple[tuple[int, int], ...], ...]:
    """Taps of each output phase of a transposed convolution along one axis; arguments as for `transposed_window`.

    Returns:
      for each phase `p % stride`, pairs (kernel tap, input offset from `p // stride`).
    """
    return tuple(
        tuple(
            (tap, (phase + padding - tap * dilation) // stride)
            for tap in range(kernel)
            if (phase + padding - tap * dilation) % stride == 0
        )
        for phase in range(stride)
    )


def bilinear_window(factor: int) -> Window:
    """Window of bilinear upsampling by a whole factor with align_corners=False: two neighbours, borders replicated."""
    offsets = []
    for phase in range(factor):
        low = (2 * phase + 1 - factor) // (2 * factor)  # floor((phase + 1/2) / factor - 1/2)
        offsets.append((low, low + 1))
    return Window(1, factor, tuple(offsets), "replicate")


def nearest_window(factor: int) -> Window:
    """Window of nearest upsampling by a whole factor."""
    return Window(1, factor, ((0,),) * factor)


def table_window(table: Sequence[Sequence[int]], edge: Edge = "constant") -> Window:
    """Window of an op without a period; `table[p]` lists the input cells that output cell p reads."""
    return Window(0, len(table), tuple(tuple(row) for row in table), edge)


@dataclass(frozen=True, slots=True)
class Grid:
    """The lattice of cells of a feature map.

    Attributes:
      height, width: number of cells along each axis.
      stride_y, stride_x: cumulative stride in image pixels per cell. It is the product of the strides of the ops, not
        `H0 / H`, which differs for odd sizes.
    """

    height: int
    width: int
    stride_y: Fraction = Fraction(1)
    stride_x: Fraction = Fraction(1)

    @property
    def cells(self) -> int:
        """Number of cells."""
        return self.height * self.width

    def has_whole_cells(self, image: Grid, square_px: int) -> bool:
        """Whether cells are whole pixels, fill the image, and divide or consist of squares of it.

        Args:
          image: the image's grid.
          square_px: side of the squares.
        """
        sizes = ((self.stride_y, self.height, image.height), (self.stride_x, self.width, image.width))
        return all(
            stride.denominator == 1
            and (square_px % stride == 0 or stride % square_px == 0)
            and n_cells * stride == n_px
            for stride, n_cells, n_px in sizes
        )

    def through(self, window_y: Window, window_x: Window, height: int, width: int) -> Grid:
        """The grid of the output of an op on this grid.

        Args:
          window_y: window along y.
          window_x: window along x.
          height: output cells along y.
          width: output cells along x.
        """
        return Grid(
            height,
            width,
            self.stride_y * _step(window_y, self.height, height),
            self.stride_x * _step(window_x, self.width, width),
        )


def _step(window: Window, n_in: int, n_out: int) -> Fraction:
    return Fraction(window.in_step, window.out_step) if window.is_periodic else Fraction(n_in, n_out)


@dataclass(frozen=True, slots=True)
class ReceptiveField:
    """A receptive field along one axis: cell p sees image pixels `[p * stride + offset, p * stride + offset + size)`.

    Where windows differ by phase, it is the hull over the phases.

    Attributes:
      size: in pixels.
      stride: pixels between neighbouring cells.
      offset: first pixel that cell 0 sees; negative in the padding.
    """

    size: Fraction = Fraction(1)
    stride: Fraction = Fraction(1)
    offset: Fraction = Fraction(0)

    def through(self, window: Window, n_in: int, n_out: int) -> ReceptiveField:
        """The receptive field of the output of an op with this window, from `n_in` to `n_out` cells."""
        if not window.is_periodic:
            used = [tap for row in window.offsets for tap in row]
            low, high = (min(used), max(used)) if used else (0, 0)
            return ReceptiveField(
                self.size + (high - low) * self.stride, self.stride * Fraction(n_in, n_out), self.offset
            )
        # positions of taps relative to p * in_step / out_step, over all phases
        shifts = [
            offset - Fraction(phase * window.in_step % window.out_step, window.out_step)
            for phase, row in enumerate(window.offsets)
            for offset in row
        ] or [Fraction(0)]
        low_shift, high_shift = min(shifts), max(shifts)
        return ReceptiveField(
            self.size + (high_shift - low_shift) * self.stride,
            self.stride * Fraction(window.in_step, window.out_step),
            self.offset + low_shift * self.stride,
        )

    def union(self, other: ReceptiveField) -> ReceptiveField:
        """The hull of two receptive fields of one stride."""
        low = min(self.offset, other.offset)
        high = max(self.offset + self.size, other.offset + other.size)
        return ReceptiveField(high - low, self.stride, low)
