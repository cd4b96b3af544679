"""Rearrangements of a map that stay maps, as layers: permuted channels, space to depth, depth to space."""

from __future__ import annotations

from itertools import pairwise
from math import prod

import torch
from torch import Tensor, fx

from fluxshard.passes.support.graph_edit import add_constant, insert
from fluxshard.passes.support.layout import Dims, Piece, map_order
from fluxshard.passes.support.meta import shape

aten = torch.ops.aten
_MOST_RUNS = 16  # slices of channels that are joined; more are picked by a convolution with ones


def rearranged(root: fx.GraphModule, at: fx.Node, source: fx.Node, dims: Dims) -> fx.Node | None:
    """A map that holds the elements of another one in the order of `dims`.

    Args:
      root: owner of constants.
      at: the call whose result it is: gives position and meta.
      source: the map `(1, C, H, W)`.
      dims: of the result, `(1, C', H', W')`.

    Returns:
      the map; None where rows and columns are not kept, split or made of channels as the axes of an image are.
    """
    channels, rows, columns = dims[1:]
    (height, width), (out_height, out_width) = shape(source)[2:], shape(at)[2:]
    if dims[0] or len(shape(at)) != 4:
        return None
    if rows == _whole("y", height) and columns == _whole("x", width):
        return _permuted(root, at, source, channels)
    if all(piece.axis == "c" for piece in channels):
        fine_y, fine_x = _tail(rows, "y", height), _tail(columns, "x", width)
        if fine_y is None or fine_x is None:
            return None
        order = (*channels, *fine_y, *fine_x)
        factor = prod(piece.size for piece in fine_y), prod(piece.size for piece in fine_x)
        return _spread(root, at, _permuted(root, at, source, order), factor)
    step_y, step_x = _coarse(rows, "y", height), _coarse(columns, "x", width)
    if step_y is None or step_x is None or (out_height * step_y, out_width * step_x) != (height, width):
        return None
    return _gathered(root, at, source, channels, (step_y, step_x))


def _whole(axis: str, n: int) -> tuple[Piece, ...]:
    return (Piece(axis, n),) if n > 1 else ()


def _tail(pieces: tuple[Piece, ...], axis: str, n: int) -> tuple[Piece, ...] | None:
    """Pieces of channels behind a whole axis."""
    head = _whole(axis, n)
    rest = pieces[len(head) :]
    return rest if pieces[: len(head)] == head and all(piece.axis == "c" for piece in rest) else None


def _coarse(pieces: tuple[Piece, ...], axis: str, n: int) -> int | None:
    """The stride of an axis of which every so many-th cell is left."""
    if not pieces:
        return n
    return pieces[0].stride if len(pieces) == 1 and pieces[0].axis == axis else None


def _permuted(root: fx.GraphModule, at: fx.Node, source: fx.Node, pieces: tuple[Piece, ...]) -> fx.Node:
    count = shape(source)[1]
    order = map_order(pieces)
    index = torch.arange(count).reshape([pieces[i].size for i in order] or [1])
    index = index.permute([order.index(i) for i in range(len(pieces))] or [0]).reshape(-1)
    return picked(root, at, source, index)


def picked(root: fx.GraphModule, at: fx.Node, source: fx.Node, index: Tensor) -> fx.Node:
    """The channels `index` of a map: slices that are joined, or a convolution with ones where there are many."""
    batch, count, height, width = shape(source)
    if torch.equal(index, torch.arange(count)):
        return source
    after = (batch, index.numel(), height, width)
    breaks = [0, *(torch.nonzero(index.diff() != 1).flatten() + 1).tolist(), index.numel()]
    runs = [(int(index[a]), int(index[b - 1]) + 1) for a, b in pairwise(breaks)]
    if len(runs) <= _MOST_RUNS:
        parts = [
            insert(at, aten.slice.Tensor, (source, 1, a, b), like=source, shape=(batch, b - a, height, width))
            for a, b in runs
        ]
        return parts[0] if len(parts) == 1 else insert(at, aten.cat.default, (parts, 1), like=source, shape=after)
    weight = torch.zeros(index.numel(), count, 1, 1)
    weight[torch.arange(index.numel()), index] = 1
    kernel = add_constant(root, at, f"{at.name}_order", weight)
    return insert(at, aten.conv2d.default, (source, kernel, None), like=source, shape=after)


def _spread(root: fx.GraphModule, at: fx.Node, source: fx.Node, factor: tuple[int, int]) -> fx.Node:
    """Depth to space: every so many channels become a block of cells."""
    (r, s), (batch, count, height, width) = factor, shape(source)
    weight = torch.eye(r * s).repeat(count // (r * s), 1).reshape(count, 1, r, s)
    kernel = add_constant(root, at, f"{at.name}_places", weight)
    groups = count // (r * s)
    return insert(
        at,
        aten.conv_transpose2d.input,
        (source, kernel, None, [r, s], [0, 0], [0, 0], groups),
        like=source,
        shape=(batch, groups, height * r, width * s),
    )


def _gathered(
    root: fx.GraphModule, at: fx.Node, source: fx.Node, pieces: tuple[Piece, ...], step: tuple[int, int]
) -> fx.Node | None:
    """Space to depth: the cells of a block become channels, in the order of the pieces."""
    (r, s), (batch, count, height, width) = step, shape(source)
    fine = [piece for piece in pieces if piece.axis != "c"]
    wanted = [Piece(axis, n) for axis, n in zip("yx", step, strict=True) if n > 1]
    if sorted(fine, key=lambda piece: piece.axis) != sorted(wanted, key=lambda piece: piece.axis):
        return None
    after = (batch, count * r * s, height // r, width // s)
    if pieces[: len(fine)] == tuple(fine):  # blocks first: their parts are joined as they are
        parts = [strided(at, source, (y, x), step) for y in range(r) for x in range(s)]
        if fine and fine[0].axis == "x":
            parts = [parts[y * s + x] for x in range(s) for y in range(r)]
        joined = insert(at, aten.cat.default, (parts, 1), like=source, shape=after)
        return _permuted(root, at, joined, (Piece("c", r * s, count), *pieces[len(fine) :])) if fine else joined
    weight = torch.eye(r * s).reshape(r * s, 1, r, s).repeat(count, 1, 1, 1)
    kernel = add_constant(root, at, f"{at.name}_places", weight)
    blocks = insert(
        at, aten.conv2d.default, (source, kernel, None, [r, s], [0, 0], [1, 1], count), like=source, shape=after
    )
    # channels are now (c, y, x): what is left is an order of channels
    inner = {"y": s, "x": 1}
    order = tuple(
        Piece("c", piece.size, piece.stride * r * s if piece.axis == "c" else inner[piece.axis]) for piece in pieces
    )
    return _permuted(root, at, blocks, order)


def strided(at: fx.Node, source: fx.Node, start: tuple[int, int], step: tuple[int, int]) -> fx.Node:
    """Every so many-th cell of a map from a first one on: a crop, and a maximum over windows of one cell."""
    batch, count, height, width = shape(source)
    height, width = height - start[0], width - start[1]
    if any(start):
        amounts = [-start[1], 0, -start[0], 0]
        source = insert(
            at,
            aten.pad.default,
            (source, amounts, "constant", 0.0),
            like=source,
            shape=(batch, count, height, width),
        )
    size = (batch, count, -(-height // step[0]), -(-width // step[1]))
    return insert(at, aten.max_pool2d.default, (source, [1, 1], list(step)), like=source, shape=size)
