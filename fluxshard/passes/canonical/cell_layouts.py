"""Follows maps through reshapes and permutations: what works on the channels of a cell stays on the map."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import cast

import torch
from torch import Tensor, fx

from fluxshard.ops.reference import REFERENCE
from fluxshard.ops.table import op_info
from fluxshard.options import CompileOptions
from fluxshard.passes.annotate_receptive_field import annotate_receptive_field
from fluxshard.passes.support.graph_edit import add_constant, argument, constant, insert, overload, swap
from fluxshard.passes.support.layout import Dims, Piece, after, before, of_map
from fluxshard.passes.support.meta import forget, info, is_map, shape
from fluxshard.passes.support.params_of import activation
from fluxshard.passes.support.shuffles import picked, rearranged
from fluxshard.passes.support.tokens import map_of_tokens, tokens_of_map, value_as_map

aten = torch.ops.aten
_ARITHMETIC = frozenset({"aten.add.Tensor", "aten.sub.Tensor", "aten.mul.Tensor", "aten.div.Tensor"})


@dataclass(frozen=True, slots=True)
class _Place:
    """A tensor as the elements of a map; `moved`: the map is computed by products that were moved there."""

    source: fx.Node
    dims: Dims
    moved: bool = False


def follow_layouts(graph_module: fx.GraphModule, options: CompileOptions) -> fx.GraphModule:
    """Computes linear layers, layer norms and what is between them on maps, and lets tokens become maps again.

    Given:
        f (1, 16, 1600) = flatten(x, 2)                         # x (1, 16, 40, 40)
        t (1, 1600, 16) = transpose(f, 1, 2)
        l (1, 1600, 32) = linear(t, w)                          # w (32, 16)
        n (1, 1600, 32) = layer_norm(l, [32], gamma, beta, 1e-05)
        p (1, 32, 1600) = transpose(n, 1, 2)
        y (1, 32, 40, 40) = reshape(p, [1, 32, 40, 40])
        v (1, 2, 16, 40, 40) = view(y, [1, 2, 16, 40, 40])
        z (1, 32, 40, 40) = reshape(transpose(v, 1, 2), [1, 32, 40, 40])
    Result:
        l (1, 32, 40, 40) = conv2d(x, w_1x1)                    # w_1x1 (32, 16, 1, 1)
        y (1, 32, 40, 40) = channel_norm(l, gamma, beta)
        z (1, 32, 40, 40) = conv2d(y, z_order)                  # z_order (32, 32, 1, 1) holds ones: permuted channels

    A sum of tokens with the result of attention tells what layout the latter has: the linear layers before the sum are
    moved, too. Where others read the tokens, they are made from the map.

    Leaves alone: what mixes positions, tensors whose axes hold parts of rows, maps without a grid.
    """
    return _Follower(annotate_receptive_field(graph_module, options)).run()


class _Follower:
    def __init__(self, root: fx.GraphModule) -> None:
        self.root = root
        self.places: dict[fx.Node, _Place] = {}
        self.now: dict[fx.Node, fx.Node] = {}  # what a call that is gone became

    def run(self) -> fx.GraphModule:
        for node in list(self.root.graph.nodes):
            if not node._erased:
                self.visit(node)
        self.root.graph.eliminate_dead_code()
        for node in self.root.graph.nodes:
            forget(node)
        return self.root

    def place(self, argument: object) -> _Place | None:
        """Where a tensor lies; a map on a grid lies in itself."""
        if not isinstance(argument, fx.Node):
            return None
        if argument not in self.places and is_map(argument) and self.on_grid(argument):
            return _Place(argument, of_map(shape(argument)))
        return self.places.get(argument)

    def on_grid(self, node: fx.Node) -> bool:
        """Whether a map has a grid, or will have one since what it is made from does."""
        if info(node).grid is not None or node in self.places:
            return True
        return op_info(overload(node)).op is not None and any(
            is_map(source) and self.on_grid(source) for source in node.all_input_nodes[:1]
        )

    def visit(self, node: fx.Node) -> None:
        if node.op != "call_function" or not node.args:
            return
        movements = (self.layout, self.part, self.joined, self.roll)
        for rule in (*movements, self.linear, self.norm, self.pointwise, self.arithmetic):
            if rule(node):
                return

    # what only moves elements

    def layout(self, node: fx.Node) -> bool:
        """Reshapes and permutations; a map that comes out of them is one again."""
        given = self.place(node.args[0])
        dims = None if given is None else after(node, given.dims)
        if given is None or dims is None:
            return False
        self.arrive(node, _Place(given.source, dims, given.moved))
        return True

    def arrive(self, node: fx.Node, place: _Place) -> None:
        if is_map(node):
            if place.dims == of_map(shape(place.source)) and shape(node) == shape(place.source):
                self.now[node] = place.source
                swap(node, place.source)
                return
            map_ = rearranged(self.root, node, place.source, place.dims) if min(shape(node)[2:]) > 1 else None
            if map_ is not None:
                self.places[map_] = _Place(map_, of_map(shape(map_)), place.moved)
                self.now[node] = map_
                swap(node, map_)
                return
        self.places[node] = place

    def part(self, node: fx.Node) -> bool:
        """A slice of, or one index along, an axis of channels."""
        name = overload(node)
        if name not in ("aten.slice.Tensor", "aten.select.int"):
            return False
        given = self.place(node.args[0])
        if given is None or given.source is node.args[0]:
            return False
        size = shape(cast(fx.Node, node.args[0]))
        axis = int(argument(node, 1, "dim", 0)) % len(size)
        if name == "aten.select.int":
            start = int(cast(int, node.args[2])) % size[axis]
            stop = start + 1
        else:
            start, stop, _ = slice(argument(node, 2, "start"), argument(node, 3, "end")).indices(size[axis])
            if argument(node, 4, "step", 1) != 1:
                return False
        cut = self.cut(node, given, axis, start, stop)
        if cut is None:
            return False
        if name == "aten.select.int":
            cut = _Place(cut.source, cut.dims[:axis] + cut.dims[axis + 1 :], cut.moved)
        if given.moved or is_map(node):
            self.arrive(node, cut)
        else:
            self.places[node] = cut
        return True

    def cut(self, at: fx.Node, given: _Place, axis: int, start: int, stop: int) -> _Place | None:
        pieces = given.dims[axis]
        if len(pieces) != 1 or pieces[0].axis != "c" or stop <= start:
            return None
        piece, kept = pieces[0], stop - start
        count = shape(given.source)[1]
        block = piece.size * piece.stride
        if count % block or count // block > 32:
            return None
        index = torch.arange(count).reshape(count // block, piece.size, piece.stride)[:, start:stop].reshape(-1)
        source = picked(self.root, at, given.source, index)
        self.places[source] = _Place(source, of_map(shape(source)), given.moved)

        def fewer(one: Piece) -> Piece:
            coarser = one.axis == "c" and one.stride >= block
            return Piece("c", one.size, one.stride // piece.size * kept) if coarser else one

        dims = [tuple(map(fewer, dim)) for dim in given.dims]
        dims[axis] = (Piece("c", kept, piece.stride),) if kept > 1 else ()
        return _Place(source, tuple(dims), given.moved)

    def joined(self, node: fx.Node) -> bool:
        """A linear layer, norm, activation or product with a constant of joined tokens joins those of the parts."""
        name = overload(node)
        cellwise = name in ("aten.linear.default", "aten.layer_norm.default") or name in _ARITHMETIC
        if not _is_float(node) or not (cellwise or not isinstance(activation(node), str)):
            return False
        joins = [source for source in node.all_input_nodes if overload(source) == "aten.cat.default"]
        if len(joins) != 1 or shape(joins[0])[:-1] != shape(node)[:-1] or self.only_value(node) is not joins[0]:
            return False
        (join,) = joins
        parts, axis = cast(list[fx.Node], join.args[0]), int(argument(join, 1, "dim", 0)) % len(shape(join))
        if axis == len(shape(join)) - 1 or not all(self.place(part) for part in parts):
            return False
        if all(is_map(part) and self.place(part) == _Place(part, of_map(shape(part))) for part in parts):
            return False  # maps whose rows are joined
        fresh, start = [], 0
        for part in parts:
            stop = start + shape(part)[axis]
            args = [part if each is join else self.cut_constant(node, each, axis, start, stop) for each in node.args]
            size = (*shape(part)[:-1], shape(node)[-1])
            fresh.append(insert(node, node.target, args, dict(node.kwargs), like=node, shape=size))  # type: ignore[arg-type]
            start = stop
        whole = insert(node, aten.cat.default, (list(fresh), axis), like=node)
        self.now[node] = whole
        swap(node, whole)
        for one in fresh:
            self.visit(one)
        return True

    def cut_constant(self, node: fx.Node, value: object, axis: int, start: int, stop: int) -> object:
        """Of a constant operand of arithmetic, what belongs to a part."""
        given = constant(self.root, value) if overload(node) in _ARITHMETIC else None
        if given is None or given.dim() != len(shape(node)) or given.shape[axis] == 1:
            return value
        own = given.narrow(axis, start, stop - start).clone()
        return add_constant(self.root, node, f"{cast(fx.Node, value).target}_part", own)

    # what works on the channels of a cell

    def linear(self, node: fx.Node) -> bool:
        """A linear layer as a convolution of one cell."""
        if overload(node) != "aten.linear.default":
            return False
        given = self.place(node.args[0])
        weight, bias = constant(self.root, node.args[1]), argument(node, 2, "bias")
        if given is None or weight is None or not _ends_in_channels(given):
            return False
        if bias is not None and constant(self.root, bias) is None:
            return False
        kernel = add_constant(self.root, node, f"{cast(fx.Node, node.args[1]).target}_1x1", weight[:, :, None, None])
        size = (1, weight.shape[0], *shape(given.source)[2:])
        conv = insert(node, aten.conv2d.default, (given.source, kernel, bias), like=node, shape=size)
        self.become(node, conv, _with_channels(given.dims, weight.shape[0]))
        return True

    def norm(self, node: fx.Node) -> bool:
        """A layer norm over the channels of a cell."""
        if overload(node) != "aten.layer_norm.default":
            return False
        given = self.place(node.args[0])
        _, sizes, gamma, beta, eps = node.args
        constants = all(part is None or constant(self.root, part) is not None for part in (gamma, beta))
        if given is None or not constants or not _ends_in_channels(given):
            return False
        if list(cast(list[int], sizes)) != [shape(given.source)[1]]:
            return False
        map_ = insert(
            node, REFERENCE["channel_norm"], (given.source, gamma, beta), {"eps": cast(float, eps)}, like=node,
            shape=shape(given.source),
        )  # fmt: skip
        self.become(node, map_, given.dims)
        return True

    def pointwise(self, node: fx.Node) -> bool:
        """Activations."""
        if isinstance(activation(node), str) or overload(node) == "aten.prelu.default":
            return False
        given = self.place(node.args[0])
        if given is None or given.source is node.args[0]:
            return False
        rest, kwargs = node.args[1:], dict(node.kwargs)
        map_ = insert(
            node, cast(torch._ops.OpOverload, node.target), (given.source, *rest), kwargs, like=node,
            shape=shape(given.source),
        )  # fmt: skip
        self.become(node, map_, given.dims, moved=given.moved)
        return True

    def arithmetic(self, node: fx.Node) -> bool:
        """Sums and products of tokens with tokens, numbers and constants."""
        if overload(node) not in _ARITHMETIC or len(node.args) != 2 or node.kwargs:
            return False
        a, b = node.args
        one, two = self.place(a), self.place(b)
        known = one or two
        if known is None or known.source in (a, b):
            return False
        if isinstance(a, fx.Node) and isinstance(b, fx.Node) and shape(a) == shape(b) == shape(node):
            if one is None and constant(self.root, a) is None:
                one = self.enter(a, known.dims)
            if two is None and constant(self.root, b) is None:
                two = self.enter(b, known.dims)
        sides = [self.side(node, each, place, known) for each, place in ((a, one), (b, two))]
        if None in sides:
            return False
        map_ = insert(
            node, cast(torch._ops.OpOverload, node.target), cast(list[fx.Node], sides), like=node,
            shape=shape(known.source),
        )  # fmt: skip
        self.become(node, map_, known.dims, moved=any(place is not None and place.moved for place in (one, two)))
        return True

    def side(self, node: fx.Node, value: object, place: _Place | None, known: _Place) -> fx.Node | float | None:
        """An operand as a map like the known one, as a constant or as a number."""
        if isinstance(value, (int, float)):
            return value
        if place is not None and isinstance(value, fx.Node):
            fits = shape(value) == shape(node) and place.dims == known.dims
            return place.source if fits and shape(place.source) == shape(known.source) else None
        given = constant(self.root, value)
        if given is None or not _is_float(node) or prod(shape(node)) != prod(shape(known.source)):
            return None
        if given.numel() == 1:
            return float(given)
        lies = value_as_map(given.float().expand(shape(node)), known.dims, shape(known.source))
        uneven = bool((lies != lies[:, :, :1, :1]).any())
        lies = lies if uneven else lies[:, :, :1, :1]
        return add_constant(self.root, node, f"{cast(fx.Node, value).target}_map", lies.contiguous().clone())

    def enter(self, value: fx.Node, dims: Dims) -> _Place | None:
        """Tokens of which a sum tells the layout: their linear layers are moved to a map that is made before them."""
        path: list[fx.Node] = []
        node, heavy = value, False
        while True:
            earlier = self.only_value(node)
            if node.op != "call_function" or not isinstance(earlier, fx.Node) or node in self.places:
                break
            inner = before(node, dims)
            if inner is None and overload(node) == "aten.linear.default" and dims[-1][:1] and len(dims[-1]) == 1:
                weight = constant(self.root, node.args[1])
                if weight is None or dims[-1][0] != Piece("c", weight.shape[0]):
                    break
                inner, heavy = _with_channels(dims, weight.shape[1]), True
            elif inner is None and self.keeps_layout(node, earlier):
                inner = dims
            if inner is None:
                break
            path.append(node)
            node, dims = earlier, inner
        if not heavy or self.place(node) is not None:
            return None
        self.places[node] = _Place(map_of_tokens(node, dims), dims, moved=True)
        for each in reversed(path):
            self.visit(each)
        return self.places.get(self.now.get(value, value))

    def keeps_layout(self, node: fx.Node, source: fx.Node) -> bool:
        """Whether the result of a call lies as its only input does."""
        name = overload(node)
        if name in _ARITHMETIC:
            return shape(source) == shape(node)
        return name in ("aten.layer_norm.default", "aten.roll.default") or not isinstance(activation(node), str)

    def only_value(self, node: fx.Node) -> fx.Node | None:
        """The only input of a call that is no constant."""
        values = [source for source in node.all_input_nodes if constant(self.root, source) is None]
        return values[0] if len(values) == 1 else None

    def roll(self, node: fx.Node) -> bool:
        """Rolled rows and columns."""
        if overload(node) != "aten.roll.default" or len(node.args) < 3:
            return False
        given = self.place(node.args[0])
        if given is None or given.source is node.args[0]:
            return False
        axes = []
        height, width = shape(given.source)[2:]
        for axis in cast(list[int], node.args[2]):
            dim = given.dims[int(axis) % len(given.dims)]
            if dim not in ((Piece("y", height),), (Piece("x", width),)):
                return False
            axes.append(2 if dim[0].axis == "y" else 3)
        map_ = insert(node, aten.roll.default, (given.source, node.args[1], axes), like=node, shape=shape(given.source))
        self.become(node, map_, given.dims)
        return True

    # between tokens and maps

    def become(self, node: fx.Node, map_: fx.Node, dims: Dims, *, moved: bool = True) -> None:
        """A call is computed as a map; others read tokens that are made from it, lest it is computed twice."""
        self.places[map_] = _Place(map_, of_map(shape(map_)), moved)
        place = _Place(map_, dims, moved)
        if not moved:
            self.places[node] = place
            return
        tokens = tokens_of_map(node, map_, dims)
        self.places[tokens] = place
        self.now[node] = tokens
        swap(node, tokens)


def _is_float(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.dtype == torch.float32


def _ends_in_channels(place: _Place) -> bool:
    """Whether the last axis is that of all channels."""
    channels = shape(place.source)[1]
    return bool(place.dims) and place.dims[-1] == ((Piece("c", channels),) if channels > 1 else ())


def _with_channels(dims: Dims, channels: int) -> Dims:
    return (*dims[:-1], (Piece("c", channels),) if channels > 1 else ())
