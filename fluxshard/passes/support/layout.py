"""Where the elements of a map lie in a tensor that was made from it by reshapes and permutations only.

Every axis of such a tensor runs over pieces of the axes of the map: `(1, 1600, 16)` tokens of a map `(1, 16, 40, 40)`
have the dims `((), (y 40, x 40), (c 16))`. Reshapes split and join pieces, permutations exchange axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from torch import fx

from fluxshard.passes.support.graph_edit import argument, overload
from fluxshard.passes.support.meta import is_tensor, shape


@dataclass(frozen=True, slots=True)
class Piece:
    """`size` steps of `stride` along the axis "c", "y" or "x" of a map."""

    axis: str
    size: int
    stride: int = 1


Dims = tuple[tuple[Piece, ...], ...]

_RESHAPES = frozenset({
    "aten.view.default", "aten.reshape.default", "aten._unsafe_view.default", "aten.flatten.using_ints",
    "aten.unflatten.int", "aten.squeeze.dim", "aten.squeeze.dims", "aten.squeeze.default", "aten.unsqueeze.default",
    "aten.contiguous.default", "aten.clone.default", "aten.view_as.default", "aten.reshape_as.default",
})  # fmt: skip
_SHUFFLES = frozenset({
    "aten.pixel_shuffle.default", "aten.pixel_unshuffle.default", "aten.channel_shuffle.default",
    "aten.native_channel_shuffle.default",
})  # fmt: skip


def of_map(size: Sequence[int]) -> Dims:
    """The dims of a map `(1, C, H, W)` itself."""
    return ((), *((Piece(axis, n),) if n > 1 else () for axis, n in zip("cyx", size[1:], strict=True)))


def reshaped(dims: Dims, size: Sequence[int]) -> Dims | None:
    """The dims of the same elements under another shape; None where an axis would have parts of a piece only."""
    left = [piece for dim in dims for piece in dim]
    result: list[tuple[Piece, ...]] = []
    for n in reversed(size):
        taken: list[Piece] = []
        while n > 1:
            if not left:
                return None
            piece = left.pop()
            if n % piece.size == 0:
                n //= piece.size
            elif piece.size % n == 0:
                left.append(Piece(piece.axis, piece.size // n, piece.stride * n))
                piece, n = Piece(piece.axis, n, piece.stride), 1
            else:
                return None
            taken.append(piece)
        result.append(_joined(taken[::-1]))
    return None if left else tuple(result[::-1])


def _joined(pieces: Sequence[Piece]) -> tuple[Piece, ...]:
    result: list[Piece] = []
    for piece in pieces:
        last = result[-1] if result else None
        if last is not None and last.axis == piece.axis and last.stride == piece.size * piece.stride:
            result[-1] = Piece(piece.axis, last.size * piece.size, piece.stride)
        else:
            result.append(piece)
    return tuple(result)


def after(node: fx.Node, dims: Dims) -> Dims | None:
    """The dims of a call's result from those of its first argument; None for calls that do more than move elements."""
    if not is_tensor(node):
        return None
    name = overload(node)
    if name in _RESHAPES:
        return reshaped(dims, shape(node))
    if name in _SHUFFLES:
        return _shuffled(node, dims, name)
    order = _order(node)
    return None if order is None else tuple(dims[axis] for axis in order)


def before(node: fx.Node, dims: Dims) -> Dims | None:
    """The dims of a call's first argument from those of its result; None as for `after`."""
    source = node.args[0] if node.args else None
    if not isinstance(source, fx.Node) or not is_tensor(source):
        return None
    if overload(node) in _RESHAPES:
        return reshaped(dims, shape(source))
    order = _order(node)
    return None if order is None else tuple(dims[order.index(axis)] for axis in range(len(order)))


def _order(node: fx.Node) -> list[int] | None:
    """For each axis of the result, which axis of the input it is."""
    source = node.args[0] if node.args else None
    if not isinstance(source, fx.Node):
        return None
    rank, name = len(shape(source)), overload(node)
    order = list(range(rank))
    if name == "aten.permute.default":
        return [int(axis) % rank for axis in cast(list[int], node.args[1])]
    if name == "aten.transpose.int":
        one, two = (int(cast(int, axis)) % rank for axis in node.args[1:3])
    elif name in ("aten.mT.default", "aten.t.default") and rank >= 2:
        one, two = rank - 2, rank - 1
    elif name == "aten.movedim.int":
        start, stop = (int(cast(int, axis)) % rank for axis in node.args[1:3])
        order.insert(stop, order.pop(start))
        return order
    else:
        return None
    order[one], order[two] = order[two], order[one]
    return order


def _shuffled(node: fx.Node, dims: Dims, name: str) -> Dims | None:
    source = cast(fx.Node, node.args[0])
    if len(shape(source)) != 4:
        return None
    n, c, h, w = shape(source)
    r = int(cast(int, argument(node, 1, "upscale_factor") or 1))
    if name == "aten.pixel_shuffle.default":
        split, order = (n, c // r**2, r, r, h, w), (0, 1, 4, 2, 5, 3)
    elif name == "aten.pixel_unshuffle.default":
        split, order = (n, c, h // r, r, w // r, r), (0, 1, 3, 5, 2, 4)
    else:
        split, order = (n, r, c // r, h, w), (0, 2, 1, 3, 4)  # type: ignore[assignment]
    inner = reshaped(dims, split)
    return None if inner is None else reshaped(tuple(inner[axis] for axis in order), shape(node))


def pieces_of(dims: Dims) -> list[Piece]:
    """All pieces of a tensor, in its order of elements."""
    return [piece for dim in dims for piece in dim]


def map_order(pieces: Sequence[Piece]) -> list[int]:
    """Numbers of the pieces in the map's own order of elements: channels, rows, columns; the coarse steps first."""
    return sorted(range(len(pieces)), key=lambda i: ("cyx".index(pieces[i].axis), -pieces[i].stride))
