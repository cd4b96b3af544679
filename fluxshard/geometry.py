"""Exact geometry of CNN layers: windows, grids and receptive fields.

Everything is per axis, (y, x) where both axes appear, in integers and Fractions; no torch and no floats.

A *window* says which input cells an output cell reads. With `base = p * in_step // out_step` and
`phase = p % out_step`, the output cell `p` reads the input cells `base + offset` for every offset of `offsets[phase]`:

* convolution and pooling, stride s: `in_step = s`, `out_step = 1`, offsets `-padding + tap * dilation`;
* transposed convolution, nearest and bilinear upsampling by s: `in_step = 1`, `out_step = s`;
* anything without a period (align_corners, non-integer factors, adaptive pooling): `in_step = 0`, `out_step` = the
  number of output cells, and `offsets[p]` lists absolute input cells.

Offsets are raw: they may point outside the input. `edge` says what is read there.
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
    """One axis of an op: which input cells an output cell reads (see the module's docstring).

    Attributes:
      in_step: input cells that the window moves by `out_step` output cells; 0 for a table of absolute positions.
      out_step: period of the offsets in output cells.
      offsets: for each phase `p % out_step`, the raw positions read, relative to `p * in_step // out_step`.
      edge: what a position outside the input reads: a constant, or another cell.
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
        """True where output cell p reads input cell p and nothing else."""
        return self.in_step == 1 and self.out_step == 1 and self.offsets == ((0,),)

    @property
    def is_periodic(self) -> bool:
        """False for tables of absolute positions, which are reusable only where nothing moves."""
        return self.in_step > 0

    def raw_taps(self, p: int) -> tuple[int, ...]:
        """Positions that output cell `p` reads, those outside the input included."""
        base = p * self.in_step // self.out_step
        return tuple(base + offset for offset in self.offsets[p % self.out_step])

    def tap_table(self, n_out: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Raw taps of all output cells, padded to the same count.

        Returns:
          `(n_out, T)` positions, and `(n_out, T)` flags that are False on the padding of shorter phases.
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

    Returns:
      positions clipped into `[0, n_in)` after the edge rule, and flags that are False where a constant is read instead.
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
    """Window of a convolution or pooling axis; `padding` is what stands before the first cell."""
    return Window(stride, 1, (tuple(tap * dilation - padding for tap in range(kernel)),))


def transposed_window(kernel: int, stride: int, padding: int, dilation: int = 1) -> Window:
    """Window of a transposed convolution axis: `i * stride - padding + tap * dilation = p` solved for i."""
    return Window(
        1, stride, tuple(tuple(i for _, i in phase) for phase in transposed_taps(kernel, stride, padding, dilation))
    )


def transposed_taps(
    kernel: int, stride: int, padding: int, dilation: int = 1
) -> tuple[tuple[tuple[int, int], ...], ...]:
    """For each output phase of a transposed convolution: pairs (kernel tap, input offset from `p // stride`)."""
    return tuple(
        tuple(
            (tap, (phase + padding - tap * dilation) // stride)
            for tap in range(kernel)
            if (phase + padding - tap * dilation) % stride == 0
        )
        for phase in range(stride)
    )


def bilinear_window(factor: int) -> Window:
    """Window of bilinear upsampling by an integer with align_corners=False: two neighbours, borders replicated."""
    offsets = []
    for phase in range(factor):
        low = (2 * phase + 1 - factor) // (2 * factor)  # floor((phase + 1/2) / factor - 1/2)
        offsets.append((low, low + 1))
    return Window(1, factor, tuple(offsets), "replicate")


def nearest_window(factor: int) -> Window:
    """Window of nearest-neighbour upsampling by an integer."""
    return Window(1, factor, ((0,),) * factor)


def table_window(table: Sequence[Sequence[int]], edge: Edge = "constant") -> Window:
    """Window of an op without a period: `table[p]` lists the input cells that output cell p reads."""
    return Window(0, len(table), tuple(tuple(row) for row in table), edge)


@dataclass(frozen=True, slots=True)
class Grid:
    """The lattice of cells that a feature map lives on.

    Attributes:
      height, width: cells.
      stride_y, stride_x: input pixels per cell, from the algebra of the ops (never `H0 / H`: odd sizes differ).
    """

    height: int
    width: int
    stride_y: Fraction = Fraction(1)
    stride_x: Fraction = Fraction(1)

    @property
    def cells(self) -> int:
        """Number of cells."""
        return self.height * self.width

    def through(self, window_y: Window, window_x: Window, height: int, width: int) -> Grid:
        """The grid of `(height, width)` output cells of an op with these windows on this grid."""
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
    """One axis of a receptive field: output cell p reads input pixels `[p*stride + offset, p*stride + offset + size)`.

    For ops whose windows differ by phase it is the hull over the phases.
    """

    size: Fraction = Fraction(1)
    stride: Fraction = Fraction(1)
    offset: Fraction = Fraction(0)

    def through(self, window: Window, n_in: int, n_out: int) -> ReceptiveField:
        """The receptive field after an op with this window."""
        if not window.is_periodic:
            used = [tap for row in window.offsets for tap in row]
            low, high = (min(used), max(used)) if used else (0, 0)
            return ReceptiveField(
                self.size + (high - low) * self.stride, self.stride * Fraction(n_in, n_out), self.offset
            )
        # the position of a tap relative to p * in_step / out_step, over all phases
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
        """The hull of two receptive fields of the same stride."""
        low = min(self.offset, other.offset)
        high = max(self.offset + self.size, other.offset + other.size)
        return ReceptiveField(high - low, self.stride, low)
