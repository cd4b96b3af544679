"""From dense ops to loops and pointers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod

from fluxshard.codegen.common.islands.dense_ops import DenseOp, Map, Normalise, Product, Reduce, Softmax
from fluxshard.codegen.common.islands.grouping import in_groups, is_by_rows
from fluxshard.codegen.common.islands.tensors import View, merged
from fluxshard.codegen.common.literals import literal
from fluxshard.codegen.cpp.islands import code

Base = Callable[[int], str]  # of a buffer: a C++ pointer to float

_ROWS = 24  # of a product that are computed together: whole tiles of 6 and of 4
_CHUNK = 4096  # elements of a long row that a thread takes at once
_WORTH = 100_000  # elementwise operations, about, from which on threads pay
_TURN = 8  # elementwise operations that an element takes whose rows become columns


def emit(ops: Sequence[DenseOp], base: Base, *, threads: bool) -> tuple[code.Nest, ...]:
    """Loops for ops other than loads.

    Args:
      ops: in order.
      base: where a buffer lies.
      threads: whether large ops may run in parallel.
    """
    emitter = _Emitter(base, threads)
    return tuple(emitter.rows(group) if is_by_rows(group[0]) else emitter.one(group[0]) for group in in_groups(ops))


def _with_long_rows(op: Product) -> Product:
    """The product with as few batches as possible: where the left side is one for all, batches are longer rows."""
    found = op
    while len(op.to.shape) > 2:
        axis, n = len(op.to.shape) - 3, op.to.shape[-1]
        batches = op.to.shape[axis]
        sides = [op.to, op.right]
        if batches > 1:
            if op.left.strides[axis] or any(v.strides[axis] != n * v.strides[-1] for v in sides):
                break
            sides = [replace(v, shape=(*v.shape[:-1], n * batches)) for v in sides]
        to, right = (view.picked(axis, 0) for view in sides)
        op = replace(op, to=to, left=op.left.picked(axis, 0), right=right)
        found = op if batches > 1 else found
    return found


class _Emitter:
    """See `emit`."""

    def __init__(self, base: Base, threads: bool) -> None:
        self._base = base
        self._threads = threads

    def one(self, op: DenseOp) -> code.Nest:
        """The loops of an op that stands alone."""
        match op:
            case Map():
                return self._map(op)
            case Softmax():
                return self._softmax(op)
            case Reduce():
                return self._reduce(op)
            case Normalise():
                loops, (to, of) = self._around((op.to, op.of), op.to.shape[:-1])
                body = code.NormaliseRow(to=to, of=of, count=op.to.shape[-1], eps=literal(op.eps))
                return self._nest(loops, 4 * op.to.size, body)
        raise AssertionError(op)

    def rows(self, group: Sequence[DenseOp]) -> code.Nest:
        """Ops by rows, together."""
        if len(group) == 1 and isinstance(group[0], Product):
            group = [_with_long_rows(group[0])]
        *batch, rows = group[0].to.shape[:-1]
        loops = [code.Loop(name=f"i{axis}", limit=n) for axis, n in enumerate(batch)]
        loops.append(code.Loop(name="r", limit=rows, step=_ROWS))
        work = sum(op.to.size * (op.left.shape[-1] if isinstance(op, Product) else 8) for op in group) // 4
        bodies = [self._row_body(op, rows) for op in group]
        return self._nest(loops, work, *bodies)

    def _row_body(self, op: DenseOp, rows: int) -> code.Body:
        some = f"part_of(r, {rows}, {_ROWS})"
        if isinstance(op, Softmax):
            return code.SoftmaxRows(
                to=self._at(op.to, rows=True), to_step=op.to.strides[-2], of=self._at(op.of, rows=True),
                of_step=op.of.strides[-2], rows=some, count=op.to.shape[-1], log=op.log,
            )  # fmt: skip
        assert isinstance(op, Product)
        return code.ProductRows(
            to=self._at(op.to, rows=True), to_step=op.to.strides[-2], left=self._at(op.left, rows=True),
            left_row=op.left.strides[-2], left_depth=op.left.strides[-1], right=self._at(op.right, rows=False),
            right_step=op.right.strides[-2], rows=some, columns=op.to.shape[-1], depth=op.left.shape[-1],
        )  # fmt: skip

    def _at(self, view: View, *, rows: bool) -> str:
        names = [*(f"i{axis}" for axis in range(len(view.shape) - 2)), *(["r"] if rows else [])]
        return self._pointer(view, list(zip(names, view.strides, strict=False)))

    def _map(self, op: Map) -> code.Nest:
        views = (op.to, *op.inputs)
        sizes, strides = merged(op.to.shape, [view.strides for view in views])
        axes = sorted(zip(sizes, zip(*strides, strict=True), strict=True), key=lambda axis: -abs(axis[1][0]))
        inner = next((axis for axis in axes if axis[1][0] == 1), axes[-1])
        axes.remove(inner)
        if op.is_copy and inner[1][0] == 1 and inner[1][1] not in (0, 1):
            beside = next((axis for axis in axes if axis[1][1] == 1 and axis[0] >= 4), None)
            if beside is not None:
                axes.remove(beside)
                loops, (to, of) = self._loops(axes, views)
                turned = code.Turned(
                    to=to, to_step=beside[1][0], of=of, of_step=inner[1][1], rows=beside[0], columns=inner[0]
                )
                return self._nest(loops, _TURN * op.to.size, turned)
        count = str(inner[0])
        loops, pointers = self._loops(axes, views)
        if not axes and inner[0] > 2 * _CHUNK:
            loops, count = [code.Loop(name="i0", limit=inner[0], step=_CHUNK)], f"part_of(i0, {inner[0]}, {_CHUNK})"
            pointers = [self._pointer(v, [("i0", step)]) for v, step in zip(views, inner[1], strict=True)]
        inputs = tuple(
            code.Input(at=at, is_same=step == 0, step=step) for at, step in zip(pointers[1:], inner[1][1:], strict=True)
        )
        names = [
            f"v{i}" if x.is_same else f"load(p{i} + i)" if x.step == 1 else f"load_apart(p{i}, i, {x.step}, {count})"
            for i, x in enumerate(inputs)
        ]
        expression = op.expression.format(*names)
        row = code.MapRow(to=pointers[0], step=inner[1][0], count=count, inputs=inputs, expression=expression)
        heavy = 1 + sum(expression.count(name) for name in ("activate", "exp_v", "sin_v", "cos_v", "sqrt_v", " / ")) * 8
        return self._nest(loops, op.to.size * heavy, row)

    def _softmax(self, op: Softmax) -> code.Nest:
        axis = op.axis
        if all(n == 1 for i, n in enumerate(op.to.shape) if i != axis):
            rows = code.SoftmaxRows(
                to=self._pointer(op.to, []), to_step=0, of=self._pointer(op.of, []), of_step=0, rows="1",
                count=op.to.shape[axis], log=op.log,
            )  # fmt: skip
            return self._nest([], op.to.size, rows)
        if axis == max(i for i, n in enumerate(op.to.shape) if n > 1):  # before axes of 1
            kept = range(axis + 1)
            return self.rows([replace(op, to=op.to.permuted(kept), of=op.of.permuted(kept))])
        last = max(i for i, n in enumerate(op.to.shape) if n > 1)
        others = [i for i in range(len(op.to.shape)) if i not in (axis, last)]
        order = [*others, axis, last]
        loops, (to, of) = self._around((op.to.permuted(order), op.of.permuted(order)), [op.to.shape[i] for i in others])
        columns = code.SoftmaxColumns(
            to=to, to_step=op.to.strides[axis], of=of, of_step=op.of.strides[axis], count=op.to.shape[axis],
            columns=op.to.shape[last], log=op.log,
        )  # fmt: skip
        return self._nest(loops, 10 * op.to.size, columns)

    def _reduce(self, op: Reduce) -> code.Nest:
        kept = len(op.of.shape) - op.axes
        (count,), ((step,),) = merged(op.of.shape[kept:], [op.of.strides[kept:]])
        scale = literal(op.scale)
        if step == 1 or count == 1:
            loops, (to, of) = self._around((op.to, op.of), op.to.shape)
            return self._nest(
                loops, op.of.size, code.ReduceRow(to=to, of=of, count=count, how=op.kind.upper(), scale=scale)
            )
        last = max(i for i, n in enumerate(op.to.shape) if n > 1)
        loops, (to, of) = self._around((op.to, op.of), [1 if i == last else n for i, n in enumerate(op.to.shape)])
        body = code.ReduceColumns(
            to=to, of=of, of_step=step, count=count, columns=op.to.shape[last], how=op.kind.upper(), scale=scale
        )
        return self._nest(loops, op.of.size, body)

    def _around(self, views: Sequence[View], shape: Sequence[int]) -> tuple[list[code.Loop], list[str]]:
        """Loops over the first axes of views, whose sizes are `shape`."""
        sizes, strides = merged(tuple(shape), [view.strides[: len(shape)] for view in views])
        return self._loops(list(zip(sizes, zip(*strides, strict=True), strict=True)), views)

    def _loops(
        self, axes: Sequence[tuple[int, tuple[int, ...]]], views: Sequence[View]
    ) -> tuple[list[code.Loop], list[str]]:  # fmt: skip
        loops: list[code.Loop] = []
        steps: list[tuple[str, tuple[int, ...]]] = []
        for n, strides in axes:
            if n > 1:
                steps.append((f"i{len(loops)}", strides))
                loops.append(code.Loop(name=f"i{len(loops)}", limit=n))
        pointers = [
            self._pointer(view, [(name, strides[k]) for name, strides in steps]) for k, view in enumerate(views)
        ]
        return loops, pointers

    def _pointer(self, view: View, steps: Sequence[tuple[str, int]]) -> str:
        terms = [self._base(view.buffer)]
        if view.offset:
            terms.append(str(view.offset))
        terms += [name if step == 1 else f"{name} * {step}" for name, step in steps if step]
        return " + ".join(terms)

    def _nest(self, loops: Sequence[code.Loop], work: int, *bodies: code.Body) -> code.Nest:
        turns = prod(-(-loop.limit // loop.step) for loop in loops)
        return code.Nest(
            loops=tuple(loops), parallel=self._threads and work > _WORTH and turns > 1, bodies=bodies
        )  # fmt: skip
