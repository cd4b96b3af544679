"""Windows, grids and receptive fields against torch."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from fluxshard.geometry import (
    Grid,
    ReceptiveField,
    Window,
    bilinear_window,
    conv_window,
    map_edge,
    nearest_window,
    table_window,
    transposed_window,
)


def _reads(op: object, n_in: int) -> list[set[int]]:
    """Which input cells every output cell of a 1-D op depends on, by an impulse."""
    reads: list[set[int]] = []
    for i in range(n_in):
        x = torch.zeros(1, 1, n_in, dtype=torch.float64)
        x[0, 0, i] = 1
        out = op(x)[0, 0]  # type: ignore[operator]
        reads = reads or [set() for _ in range(len(out))]
        for p in torch.nonzero(out).flatten().tolist():
            reads[p].add(i)
    return reads


def _inside(window: Window, n_in: int, n_out: int) -> list[set[int]]:
    taps, used = window.tap_table(n_out)
    mapped, inside = map_edge(taps, n_in, window.edge)
    return [set(mapped[p][inside[p] & used[p]].tolist()) for p in range(n_out)]


@given(st.integers(1, 5), st.integers(1, 3), st.integers(0, 4), st.integers(1, 3), st.integers(12, 20))
def test_conv_window_reads_what_torch_reads(kernel: int, stride: int, padding: int, dilation: int, n: int) -> None:
    weight = torch.ones(1, 1, kernel, dtype=torch.float64)
    expected = _reads(lambda x: F.conv1d(x, weight, None, stride, padding, dilation), n)
    assert _inside(conv_window(kernel, stride, padding, dilation), n, len(expected)) == expected


@given(st.integers(1, 5), st.integers(1, 3), st.integers(0, 1), st.integers(1, 2), st.integers(5, 9))
def test_transposed_window_reads_what_torch_reads(
    kernel: int, stride: int, padding: int, dilation: int, n: int
) -> None:
    weight = torch.ones(1, 1, kernel, dtype=torch.float64)
    if (n - 1) * stride - 2 * padding + dilation * (kernel - 1) + 1 < 1:
        return
    expected = _reads(lambda x: F.conv_transpose1d(x, weight, None, stride, padding, 0, 1, dilation), n)
    assert _inside(transposed_window(kernel, stride, padding, dilation), n, len(expected)) == expected


@pytest.mark.parametrize("factor", [2, 3, 4, 5])
def test_bilinear_window_covers_what_torch_reads(factor: int) -> None:
    expected = _reads(
        lambda x: F.interpolate(x[..., None, :], scale_factor=(1, factor), mode="bilinear", align_corners=False)[
            ..., 0, :
        ],
        7,
    )
    window = _inside(bilinear_window(factor), 7, 7 * factor)
    assert all(reads <= taps for reads, taps in zip(expected, window, strict=True))
    assert all(max(taps) - min(taps) <= 1 for taps in window)


def test_nearest_window() -> None:
    assert _inside(nearest_window(3), 2, 6) == [{0}, {0}, {0}, {1}, {1}, {1}]


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_edges_are_those_of_torch(mode: str) -> None:
    x = torch.arange(6.0)[None, None]
    expected = F.pad(x, (4, 3), mode)[0, 0].long().numpy()
    mapped, inside = map_edge(np.arange(-4, 9), 6, mode)  # type: ignore[arg-type]
    assert inside.all() and (mapped == expected).all()


def test_grids_keep_exact_strides() -> None:
    grid = Grid(45, 60)
    half = grid.through(conv_window(3, 2, 1), conv_window(3, 2, 1), 23, 30)
    assert (half.stride_y, half.stride_x) == (2, 2)  # not 45 / 23
    back = half.through(nearest_window(2), nearest_window(2), 46, 60)
    assert (back.stride_y, back.stride_x) == (1, 1)
    odd = grid.through(table_window([[0, 1]] * 30), table_window([[0]] * 60), 30, 60)
    assert odd.stride_y == Fraction(3, 2)


def test_receptive_field_of_a_stack() -> None:
    field = ReceptiveField()
    for kernel, stride, padding in ((3, 2, 1), (3, 2, 1), (5, 1, 2)):
        field = field.through(conv_window(kernel, stride, padding), 64, 32)
    assert (field.size, field.stride, field.offset) == (7 + 4 * 4, 4, -1 - 2 - 8)
    up = field.through(bilinear_window(2), 16, 32)
    assert up.stride == 2 and up.size == field.size + Fraction(3, 2) * 4


def test_window_refuses_nonsense() -> None:
    with pytest.raises(ValueError, match="phases"):
        Window(1, 2, ((0,),))
