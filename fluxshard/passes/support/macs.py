"""Multiply-accumulates of dense calls."""

from __future__ import annotations

import math
from typing import cast

from torch import fx

from fluxshard.geometry import transposed_taps
from fluxshard.ir.params import Conv2d, ConvTranspose2d, Params
from fluxshard.ops.table import op_info
from fluxshard.passes.support.graph_edit import overload
from fluxshard.passes.support.meta import shape


def layer_macs(node: fx.Node, params: Params) -> int:
    """Multiply-accumulates of a reference call on all cells; zero for all but convolutions.

    Taps on padding count. A transposed convolution counts, for each output cell, the taps of its phase.
    """
    if not isinstance(params, (Conv2d, ConvTranspose2d)):
        return 0
    weight = shape(cast(fx.Node, node.args[1]))
    if isinstance(params, Conv2d):
        return math.prod(shape(node)) * math.prod(weight[1:])
    # separable: the taps of an output cell are the product of those of its phase along y and along x
    return weight[0] * weight[1] * _reached(node, params, weight, 0) * _reached(node, params, weight, 1)


def _reached(node: fx.Node, params: ConvTranspose2d, weight: tuple[int, ...], axis: int) -> int:
    """Number of taps, over all output cells of one axis."""
    phases = transposed_taps(weight[2 + axis], params.stride[axis], params.padding[axis], params.dilation[axis])
    return sum(len(phases[p % params.stride[axis]]) for p in range(shape(node)[2 + axis]))


def aten_macs(node: fx.Node) -> int:
    """Multiply-accumulates of an ATen call inside an island; zero where `ops/table.py` says that it does not count."""
    if not op_info(overload(node)).counts:
        return 0
    name = overload(node).split(".")[1]
    shapes = [shape(source) for source in node.args if isinstance(source, fx.Node)]
    size = math.prod(shape(node))
    if name in ("conv1d", "conv2d"):
        return size * math.prod(shapes[1][1:])
    if name == "conv_transpose2d":
        return math.prod(shapes[0]) * math.prod(shapes[1][1:])
    if name in ("addmm", "baddbmm"):
        return size * shapes[1][-1]
    if name == "einsum":
        return _einsum(node)
    if name == "scaled_dot_product_attention":
        query, key, value = shapes[:3]
        return math.prod(query) * key[-2] + math.prod(query[:-1]) * key[-2] * value[-1]
    return size * shapes[0][-1]  # matmul, bmm, mm, linear


def _einsum(node: fx.Node) -> int:
    """Product of the sizes of all indices: the cost of contracting two operands."""
    equation = str(node.args[0]).replace(" ", "").split("->")[0].split(",")
    operands = cast(list[fx.Node], node.args[1])
    sizes: dict[str, int] = {}
    for letters, operand in zip(equation, operands, strict=True):
        if "..." in letters:
            return math.prod(shape(node)) * shape(operand)[-1]
        sizes.update(zip(letters, shape(operand), strict=True))
    return math.prod(sizes.values())
