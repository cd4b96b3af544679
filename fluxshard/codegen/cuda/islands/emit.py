"""From dense ops on a tile of lanes to statements that a thread runs for one lane and one index of all other axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

from fluxshard.codegen.common.islands.dense_ops import DenseOp, Map, Product, Reduce, Softmax
from fluxshard.codegen.common.islands.tensors import View, merged
from fluxshard.codegen.common.literals import literal
from fluxshard.codegen.cuda.launches.kernels import LaneOp

Base = Callable[[View], tuple[str, list[str]]]  # an array, and the terms of the index of a tensor's first element


def emit(op: DenseOp, base: Base) -> LaneOp:
    """The statement of an op; functions that it calls are in lanes.cuh.

    Args:
      op: on a tile, lanes along the last axis of its result.
      base: where a tensor begins for `lane`.
    """
    match op:
        case Map():
            views = (op.to, *op.inputs)
            rows, (to, *inputs) = _elements(base, views, op.to.shape[:-1], [view.strides[:-1] for view in views])
            return LaneOp(rows=rows, statement=f"{to} = {op.expression.format(*inputs)};")
        case Softmax():
            sizes = op.to.shape[: op.axis] + op.to.shape[op.axis + 1 : -1]
            strides = [v.strides[: op.axis] + v.strides[op.axis + 1 : -1] for v in (op.to, op.of)]
            rows, (to, of) = _elements(base, (op.to, op.of), sizes, strides)
            steps = _joined(op.to.shape[op.axis], op.to.strides[op.axis], op.of.strides[op.axis])
            return LaneOp(rows=rows, statement=f"softmax<{steps}, {str(op.log).lower()}>(&{to}, &{of});")
        case Product():
            *batch, n, _ = op.to.shape
            strides = [op.to.strides[:-1], op.left.strides[:-1], (*op.right.strides[:-2], 0)]
            rows, (to, left, right) = _elements(base, (op.to, op.left, op.right), (*batch, n), strides)
            steps = _joined(op.left.shape[-1], op.left.strides[-1], op.right.strides[-2])
            return LaneOp(rows=rows, statement=f"{to} = dot<{steps}>(&{left}, &{right});")
        case Reduce():
            kept = len(op.to.shape) - 1
            (count,), ((step,),) = merged(op.of.shape[kept + 1 :], [op.of.strides[kept + 1 :]])
            strides = [op.to.strides[:-1], op.of.strides[:kept]]
            rows, (to, of) = _elements(base, (op.to, op.of), op.to.shape[:-1], strides)
            scaled = f" * {literal(op.scale)}" if op.kind == "sum" else ""
            statement = f"{to} = reduce<{op.kind.upper()}, {_joined(count, step)}>(&{of}){scaled};"
            return LaneOp(rows=rows, statement=statement)
    raise AssertionError(f"{op} mixes lanes")


def _joined(*numbers: int) -> str:
    return ", ".join(map(str, numbers))


def _elements(
    base: Base, views: Sequence[View], sizes: Sequence[int], strides: Sequence[tuple[int, ...]]
) -> tuple[int, list[str]]:
    """Tensors that are walked over together.

    Args:
      base: see `emit`.
      views: the tensors.
      sizes: of the axes.
      strides: along these axes, of each tensor.

    Returns:
      the product of all sizes, and of each tensor its r-th element.
    """
    shape, steps = merged(tuple(sizes), strides)
    found = []
    for view, step in zip(views, steps, strict=True):
        array, terms = base(view)
        for axis, (n, stride) in enumerate(zip(shape, step, strict=True)):
            inside = prod(shape[axis + 1 :])
            index = "r" if inside == 1 else f"r / {inside}"
            index = index if axis == 0 else f"{index} % {n}"
            if stride and n > 1:
                terms.append(index if stride == 1 else f"{index} * {stride}")
        found.append(f"{array}[{' + '.join(terms) or '0'}]")
    return prod(shape), found
