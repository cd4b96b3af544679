"""Weights in the order in which kernels read them. Blocks of output channels are padded with zeros."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fluxshard.codegen.common.arena import round_up
from fluxshard.codegen.common.bfloat16 import bfloat16_bits
from fluxshard.codegen.common.islands.tensors import strided
from fluxshard.codegen.cpp.layout import Layout, PackedWeight

Array = NDArray[np.float32]


def pack_all(layout: Layout, weights: Mapping[str, NDArray[np.generic]]) -> Array:
    """The whole blob, 64-byte aligned."""
    raw = np.zeros(layout.weight_floats + 16, np.float32)
    shift = (-raw.ctypes.data // 4) % 16
    blob = raw[shift : shift + layout.weight_floats]
    for item in layout.packed:
        flat = _pack(item, [np.asarray(weights[name], np.float32) for name in item.names])
        blob[item.offset : item.offset + flat.size] = flat
    return blob


def _pack(item: PackedWeight, arrays: list[Array]) -> Array:
    if item.kind == "vector":
        return arrays[0].reshape(-1) if arrays[0].size > 1 else np.full(item.meta[0], arrays[0].item(), np.float32)
    if item.kind == "plain":
        return arrays[0].reshape(-1)
    if item.kind == "strided":
        return strided(arrays[0], item.meta)
    if item.kind == "gemm":
        return panels(arrays[0], *item.meta)
    if item.kind == "winograd":
        return panels(winograd_taps(arrays[0]), *item.meta)
    if item.kind == "joined":
        return panels(joined_rows(arrays[0]), *item.meta)
    if item.kind == "depthwise":
        (width,) = item.meta
        out = np.zeros((arrays[0].shape[2] * arrays[0].shape[3], width), np.float32)
        out[:, : arrays[0].shape[0]] = arrays[0].reshape(arrays[0].shape[0], -1).T
        return out.reshape(-1)
    if item.kind == "grouped":
        groups, block = item.meta
        parts = np.split(arrays[0], groups)
        return np.concatenate([gemm_panels(part, block) for part in parts])
    assert item.kind == "transposed", item.kind
    end = item.meta.index(-1)
    depths, (groups, block, rows, *taps) = item.meta[end + 1 :], item.meta[:end]
    columns = len(taps) // 2 - rows
    picked_y, picked_x = taps[:rows], taps[2 * rows : 2 * rows + columns]
    present = np.outer(taps[rows : 2 * rows], taps[2 * rows + columns :]).astype(np.float32)
    # (Ci, Co / groups, kh, kw) -> the taps of one output phase as an ordinary convolution (Co, Ci / groups, ty, tx)
    chosen = arrays[0][:, :, picked_y][:, :, :, picked_x] * present
    parts = [part.transpose(1, 0, 2, 3) for part in np.split(chosen, groups)]
    return np.concatenate([panels(part, block, *depths) for part in parts])


def panels(weight: Array, block: int, *depths: int) -> Array:
    """Weights of a matrix product: bfloat16 pairs where the channels of the input's segments are given, or float32."""
    return pair_panels(weight, block, depths) if depths else gemm_panels(weight, block)


def gemm_panels(weight: Array, block: int) -> Array:
    """`(Co, Ci, kh, kw)` to `[Co / block][tap][Ci][block]`, flat."""
    outputs, inputs, height, width = weight.shape
    padded = np.zeros((round_up(outputs, block), inputs, height * width), np.float32)
    padded[:outputs] = weight.reshape(outputs, inputs, -1)
    return padded.reshape(-1, block, inputs, height * width).transpose(0, 3, 2, 1).reshape(-1)


def winograd_taps(weight: Array) -> Array:
    """`(Co, Ci, 3, 3)` to `(Co, Ci, 4, 4)`: GgG' of every pair of channels, for Winograd's F(2x2, 3x3)."""
    g = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
    return np.asarray(g @ weight.astype(np.float64) @ g.T, np.float32)


def joined_rows(weight: Array) -> Array:
    """`(Co, Ci, kh, kw)` as a window of one column, `(Co, kw * Ci, kh, 1)`; channels padded to fours, as in pixels."""
    outputs, inputs, height, width = weight.shape
    padded = np.zeros((outputs, round_up(inputs, 4), height, width), np.float32)
    padded[:, :inputs] = weight
    return padded.transpose(0, 3, 1, 2).reshape(outputs, -1, height, 1)


def pair_panels(weight: Array, block: int, depths: Sequence[int]) -> Array:
    """`(Co, Ci, kh, kw)` to bfloat16 `[Co / block][tap][pair][block][2]`, flat, two numbers in the place of a float.

    Args:
      weight: float32.
      block: output channels of a panel.
      depths: channels of each segment of the input; an odd one ends with half a pair, whose other half is zero.
    """
    outputs, inputs, height, width = weight.shape
    taken = np.concatenate([np.arange(round_up(n, 2)) < n for n in depths])
    padded = np.zeros((round_up(outputs, block), len(taken), height * width), np.float32)
    padded[:outputs, taken] = weight.reshape(outputs, inputs, -1)
    pairs = padded.reshape(-1, block, len(taken) // 2, 2, height * width).transpose(0, 4, 2, 1, 3)
    return bfloat16_bits(pairs).reshape(-1).view(np.float32)
