"""Weights in the order in which kernels read them. Blocks of output channels are padded with zeros."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fluxshard.codegen.common.arena import round_up
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
        rank = (len(item.meta) - 1) // 2
        shape, strides = item.meta[1 : 1 + rank], [4 * step for step in item.meta[1 + rank :]]
        flat = np.ascontiguousarray(arrays[0]).reshape(-1)
        return np.lib.stride_tricks.as_strided(flat[item.meta[0] :], shape, strides).reshape(-1)
    if item.kind == "gemm":
        return gemm_panels(arrays[0], item.meta[0])
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
    groups, block, rows, *taps = item.meta
    columns = len(taps) // 2 - rows
    picked_y, picked_x = taps[:rows], taps[2 * rows : 2 * rows + columns]
    present = np.outer(taps[rows : 2 * rows], taps[2 * rows + columns :]).astype(np.float32)
    # (Ci, Co / groups, kh, kw) -> the taps of one output phase as an ordinary convolution (Co, Ci / groups, ty, tx)
    chosen = arrays[0][:, :, picked_y][:, :, :, picked_x] * present
    parts = [part.transpose(1, 0, 2, 3) for part in np.split(chosen, groups)]
    return np.concatenate([gemm_panels(part, block) for part in parts])


def gemm_panels(weight: Array, block: int) -> Array:
    """`(Co, Ci, kh, kw)` to `[Co / block][tap][Ci][block]`, flat."""
    outputs, inputs, height, width = weight.shape
    padded = np.zeros((round_up(outputs, block), inputs, height * width), np.float32)
    padded[:outputs] = weight.reshape(outputs, inputs, -1)
    return padded.reshape(-1, block, inputs, height * width).transpose(0, 3, 2, 1).reshape(-1)
