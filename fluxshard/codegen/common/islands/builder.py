"""Appends dense ops to an island while it is lowered, and copies where an op cannot read strides as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from fluxshard.codegen.common.islands.dense_ops import (
    Buffer,
    DenseOp,
    Load,
    Map,
    Normalise,
    Product,
    Reduce,
    Softmax,
)
from fluxshard.codegen.common.islands.tensors import Shape, View, broadcast, contiguous_strides, merged, resolved
from fluxshard.codegen.common.literals import literal

Operand = View | float | int


class Unsupported(Exception):
    """The island runs in torch; the message says because of what."""


class Builder:
    """See the module's docstring."""

    def __init__(self) -> None:
        self.buffers: list[Buffer] = []
        self.ops: list[DenseOp] = []

    def buffer(self, made: Buffer, shape: Shape) -> View:
        """The whole of a new buffer."""
        self.buffers.append(made)
        return View(len(self.buffers) - 1, shape, contiguous_strides(shape))

    def new(self, shape: Shape) -> View:
        """A new tensor, to be written."""
        if not prod(shape):
            raise Unsupported("a tensor without elements")
        return self.buffer(Buffer("scratch", prod(shape)), shape)

    def load(self, value: str, shape: Shape) -> View:
        """An input `(1, C, H, W)` on a grid."""
        whole = self.new(shape)
        rows = whole.reshaped((shape[1], shape[2] * shape[3]))
        assert rows is not None
        self.ops.append(Load(rows, value))
        return whole

    def is_weight(self, view: View) -> bool:
        """Whether it is a constant, which can lie in the blob in any order."""
        return self.buffers[view.buffer].kind == "weight"

    def map(self, expression: str, *inputs: Operand) -> View:
        """Elementwise with broadcasting; numbers become literals."""
        views = [x for x in inputs if isinstance(x, View)]
        names = iter(range(len(views)))
        texts = [f"{{{next(names)}}}" if isinstance(x, View) else literal(float(x)) for x in inputs]
        shape = broadcast([view.shape for view in views])
        to = self.new(shape)
        self.ops.append(Map(to, tuple(view.expanded(shape) for view in views), expression.format(*texts)))
        return to

    def copied(self, view: View) -> View:
        """The elements in order, in a buffer of their own."""
        whole = self.buffers[view.buffer]
        if whole.kind == "weight" and whole.repack is None:
            made = Buffer("weight", view.size, whole.name, (view.shape, view.strides, view.offset))
            return self.buffer(made, view.shape)
        return self.map("{0}", view)

    def contiguous(self, view: View) -> View:
        """The elements in order."""
        return view if view.is_contiguous else self.copied(view)

    def reshape(self, view: View, shape: Sequence[int]) -> View:
        """Another shape; copies where it has to."""
        wanted = resolved(shape, view.size)
        found = view.reshaped(wanted)
        if found is None:
            found = self.copied(view).reshaped(wanted)
        assert found is not None
        return found

    def cat(self, views: Sequence[View], axis: int) -> View:
        """Concatenation; what can be written into its place at once is (simplify.py)."""
        axis = views[0].axis(axis)
        lengths = [view.shape[axis] for view in views]
        to = self.new((*views[0].shape[:axis], sum(lengths), *views[0].shape[axis + 1 :]))
        start = 0
        for view, length in zip(views, lengths, strict=True):
            self.ops.append(Map(to.cut(axis, start, start + length), (view,), "{0}"))
            start += length
        return to

    def padded(self, view: View, pads: Sequence[tuple[int, int]], value: float) -> View:
        """Each axis with (before, after) more elements, or fewer where negative."""
        for axis, (before, after) in enumerate(pads):
            n = view.shape[axis]
            view = view.cut(axis, max(0, -before), n - max(0, -after))
        pads = [(max(0, before), max(0, after)) for before, after in pads]
        if not any(map(any, pads)):
            return view
        whole = inner = self.new(tuple(n + sum(pad) for n, pad in zip(view.shape, pads, strict=True)))
        for axis, (before, after) in enumerate(pads):
            n = inner.shape[axis]
            for start, stop in ((0, before), (n - after, n)):
                if start < stop:
                    self.ops.append(Map(inner.cut(axis, start, stop), (), f"splat({literal(value)})"))
            inner = inner.cut(axis, before, n - after)
        self.ops.append(Map(inner, (view,), "{0}"))
        return whole

    def softmax(self, of: View, axis: int, log: bool = False) -> View:
        """Softmax along an axis, or its logarithm."""
        if not of.has_neighbours:
            of = self.copied(of)
        to = self.new(of.shape)
        self.ops.append(Softmax(to, of, of.axis(axis), log))
        return to

    def product(self, left: View, right: View) -> View:
        """Matrix products; the axes before the last two broadcast."""
        (rows, depth), columns = left.shape[-2:], right.shape[-1]
        if columns == 1 and rows > 1:  # vectors run along columns
            return self.product(right.transposed(-2, -1), left.transposed(-2, -1)).transposed(-2, -1)
        if self._cost(right) > self._cost(left.transposed(-2, -1)) + prod(left.shape[:-1]) * columns:
            swapped = self._product(right.transposed(-2, -1), left.transposed(-2, -1))
            return swapped.transposed(-2, -1)
        assert depth == right.shape[-2]
        return self._product(left, right)

    def _cost(self, right: View) -> int:
        """Elements to copy before a tensor can be the right side of a product."""
        return 0 if right.strides[-1] == 1 or right.shape[-1] == 1 or self.is_weight(right) else right.size

    def _product(self, left: View, right: View) -> View:
        batch = broadcast([left.shape[:-2], right.shape[:-2]])
        to = self.new((*batch, left.shape[-2], right.shape[-1]))
        self.product_into(to, left, right)
        return to

    def product_into(self, to: View, left: View, right: View) -> None:
        """Matrix products into `to`, whose last axis and batch axes are in order."""
        if right.strides[-1] != 1:
            right = self.copied(right)
        sides = [side.expanded((*to.shape[:-2], *side.shape[-2:])) for side in (left, right)]
        self.ops.append(Product(to, *sides))

    def reduce(self, of: View, axes: Sequence[int], kind: str, keep: bool) -> View:
        """Sum, mean, max or min over axes; all of them where none is given."""
        gone = sorted({of.axis(axis) for axis in axes} or range(len(of.shape)))
        kept = [axis for axis in range(len(of.shape)) if axis not in gone]
        sorted_axes = of.permuted([*kept, *gone])
        sizes, (strides,) = merged(sorted_axes.shape[len(kept) :], [sorted_axes.strides[len(kept) :]])
        outer = View(0, sorted_axes.shape[: len(kept)], sorted_axes.strides[: len(kept)])
        if len(sizes) > 1 or not (strides[0] == 1 or outer.has_neighbours):
            sorted_axes = self.copied(sorted_axes)
        to = self.new(tuple(of.shape[axis] for axis in kept))
        how = {"sum": ("sum", 1.0), "mean": ("sum", 1.0 / prod(of.shape[axis] for axis in gone))}
        name, scale = how.get(kind, (kind, 1.0))
        assert name in ("sum", "max", "min")
        self.ops.append(Reduce(to, sorted_axes, len(gone), name, scale))  # type: ignore[arg-type]
        for axis in gone if keep else ():
            to = to.with_axis(axis)
        return to

    def normalise(self, of: View, axes: int, eps: float) -> View:
        """Zero mean and unit variance over the last `axes` axes."""
        rows = self.reshape(of, (*of.shape[: len(of.shape) - axes], prod(of.shape[len(of.shape) - axes :])))
        if rows.strides[-1] != 1:
            rows = self.copied(rows)
        to = self.new(rows.shape)
        self.ops.append(Normalise(to, rows, eps))
        return replace(to, shape=of.shape, strides=contiguous_strides(of.shape))
