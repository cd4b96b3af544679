"""Tokens and other tensors from the maps that they are, and back."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, fx

from fluxshard.passes.support.graph_edit import insert
from fluxshard.passes.support.layout import Dims, map_order, pieces_of
from fluxshard.passes.support.meta import shape

aten = torch.ops.aten


def tokens_of_map(at: fx.Node, map_: fx.Node, dims: Dims) -> fx.Node:
    """A tensor like the result of `at` that holds the elements of a map in the order of `dims`."""
    pieces = pieces_of(dims)
    order = map_order(pieces)
    sizes = [pieces[i].size for i in order]
    split = insert(at, aten.reshape.default, (map_, sizes), like=at, shape=sizes)
    turn = [order.index(i) for i in range(len(pieces))]
    turned = insert(at, aten.permute.default, (split, turn), like=at, shape=[piece.size for piece in pieces])
    return insert(at, aten.reshape.default, (turned, list(shape(at))), like=at)


def map_of_tokens(tokens: fx.Node, dims: Dims) -> fx.Node:
    """The map that a tensor is, made from it behind it."""
    following = tokens.next
    pieces = pieces_of(dims)
    order = map_order(pieces)
    sizes = [piece.size for piece in pieces]
    split = insert(following, aten.reshape.default, (tokens, sizes), like=tokens, shape=sizes)
    turned = insert(following, aten.permute.default, (split, order), like=tokens, shape=[sizes[i] for i in order])
    size = (1, *(prod(piece.size for piece in pieces if piece.axis == axis) for axis in "cyx"))
    return insert(following, aten.reshape.default, (turned, list(size)), like=tokens, shape=size)


def value_as_map(value: Tensor, dims: Dims, size: tuple[int, ...]) -> Tensor:
    """A constant in the order of `dims` as a map of this size."""
    pieces = pieces_of(dims)
    return value.reshape([piece.size for piece in pieces]).permute(map_order(pieces)).reshape(size)
