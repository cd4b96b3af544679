"""Weights in the order in which CUDA kernels read them, in the stored type; what is missing is padded with zeros."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fluxshard.codegen.common.arena import round_up
from fluxshard.codegen.common.bfloat16 import bfloat16_bits
from fluxshard.codegen.common.islands.tensors import strided
from fluxshard.codegen.cuda.launches.kernels import Gemm
from fluxshard.codegen.cuda.launches.memory import ConstantBlocks, Packed
from fluxshard.options import DType

Array = NDArray[np.float32]
_FLOAT32 = ("vector", "plain", "strided")  # what is no factor of a matrix product


def pack_all(constants: ConstantBlocks, weights: Mapping[str, NDArray[np.generic]], dtype: DType) -> NDArray[np.uint8]:
    """The bytes that all streams share: tables and packed weights."""
    blob = np.zeros(constants.size, np.uint8)
    for content, offset in constants.tables.items():
        blob[offset : offset + len(content)] = np.frombuffer(content, np.uint8)
    for item in constants.packed:
        packed = _pack(item, np.asarray(weights[item.weight], np.float32))
        stored = packed.astype(np.float32) if item.kind in _FLOAT32 else to_stored(packed, dtype)
        flat = np.ascontiguousarray(stored).reshape(-1).view(np.uint8)
        assert flat.size == item.n_bytes, (item, flat.size)
        blob[item.offset : item.offset + flat.size] = flat
    return blob


def to_stored(array: Array, dtype: DType) -> NDArray[np.generic]:
    """Rounded to the nearest number of the stored type, ties to even; bfloat16 as its bits."""
    if dtype == "float32":
        return array.astype(np.float32)
    if dtype == "float16":
        with np.errstate(over="ignore"):  # what float16 cannot hold is infinite, as it is in a float16 tensor
            return array.astype(np.float16)
    return bfloat16_bits(array)


def _pack(item: Packed, array: Array) -> Array:
    if item.kind == "vector":
        channels, width = item.meta
        assert isinstance(channels, int) and isinstance(width, int)
        row = np.zeros(width, np.float32)
        row[:channels] = array.reshape(-1)  # one number stands for all channels
        return row
    if item.kind == "plain":
        return array
    if item.kind == "strided":
        return strided(array, item.meta)  # type: ignore[arg-type]
    if item.kind == "gemm":
        (gemm,) = item.meta
        assert isinstance(gemm, Gemm)
        return gemm_tiles(array, gemm)
    if item.kind == "depthwise":
        (stride,) = item.meta
        assert isinstance(stride, int)
        rows = np.zeros((array.shape[2] * array.shape[3], stride), np.float32)
        rows[:, : array.shape[0]] = array.reshape(array.shape[0], -1).T
        return rows
    if item.kind == "grouped":
        (stride,) = item.meta
        assert isinstance(stride, int)
        outputs, inputs, height, width = array.shape
        grouped = np.zeros((height * width, inputs, stride), np.float32)
        grouped[:, :, :outputs] = array.reshape(outputs, inputs, -1).transpose(2, 1, 0)
        return grouped
    assert item.kind == "transposed", item.kind
    inner, groups, taps_y, taps_x = item.meta
    assert isinstance(inner, Gemm | int) and isinstance(groups, int)
    chosen = phase_weight(array, groups, taps_y, taps_x)  # type: ignore[arg-type]
    if isinstance(inner, Gemm):
        return gemm_tiles(chosen, inner)
    return _pack(Packed(kind="grouped", weight="", meta=(inner,), offset=0, n_bytes=0), chosen)


def phase_weight(array: Array, groups: int, taps_y: tuple[int | None, ...], taps_x: tuple[int | None, ...]) -> Array:
    """`(Ci, Co / groups, kh, kw)` to the ordinary convolution `(Co, Ci / groups, ty, tx)` of one output phase.

    Args:
      array: the transposed convolution's weight.
      groups: of it.
      taps_y, taps_x: the kernel's taps that reach this phase; None where there are fewer.
    """
    y, x = np.array([tap or 0 for tap in taps_y]), np.array([tap or 0 for tap in taps_x])
    present = np.outer([tap is not None for tap in taps_y], [tap is not None for tap in taps_x])
    chosen = np.where(present, array[:, :, y][:, :, :, x], np.float32(0))
    return np.concatenate([part.transpose(1, 0, 2, 3) for part in np.split(chosen, groups)])


def gemm_tiles(weight: Array, gemm: Gemm) -> Array:
    """`(Co, Ci, kh, kw)` to `[Co / BN][step][BN][BK]`, segments of the input padded to whole units."""
    outputs, inputs, height, width = weight.shape
    tile = gemm.tile
    k = np.zeros((round_up(outputs, tile.bn), height * width, gemm.inputs.unit_starts[-1]), np.float32)
    taps = weight.reshape(outputs, inputs, -1).transpose(0, 2, 1)
    for count, start, to in zip(gemm.inputs.counts, gemm.inputs.starts[:-1], gemm.inputs.unit_starts[:-1], strict=True):
        k[:outputs, :, to : to + count] = taps[:, :, start : start + count]
    padded = np.zeros((k.shape[0], gemm.steps * tile.bk), np.float32)
    padded[:, : gemm.depth] = k.reshape(k.shape[0], -1)
    return padded.reshape(-1, tile.bn, gemm.steps, tile.bk).transpose(0, 2, 1, 3)
