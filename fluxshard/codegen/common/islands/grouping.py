"""Ops that run row by row, together: attention takes some rows of queries through both products and the softmax.

One group is one loop, and one region of threads. What a group reads and writes is in use for all of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from fluxshard.codegen.common.islands.dense_ops import DenseOp, Map, Product, Softmax, read_by


def in_groups(ops: Sequence[DenseOp]) -> list[list[DenseOp]]:
    """All ops, in order; those of one group are computed together."""
    groups, rest = [], _copies_first(ops)
    while rest:
        group = _rows_in_a_row(rest) if is_by_rows(rest[0]) else rest[:1]
        groups.append(group)
        rest = rest[len(group) :]
    return groups


def is_by_rows(op: DenseOp) -> bool:
    """Whether it takes rows, all axes but the last, one by one."""
    if isinstance(op, Softmax):
        return len(op.to.shape) > 1 and op.axis == len(op.to.shape) - 1 and 1 == op.to.strides[-1] == op.of.strides[-1]
    return isinstance(op, Product)


def _rows_in_a_row(ops: Sequence[DenseOp]) -> list[DenseOp]:
    """As many of the first ops as take the same rows, each from the one before."""
    group = [ops[0]]
    for op in ops[1:]:
        before = group[-1].to
        written = {member.to.buffer for member in group}
        if not is_by_rows(op) or read_by(op)[0] != before or op.to.shape[:-1] != before.shape[:-1]:
            break
        if any(view.buffer in written for view in read_by(op)[1:]):
            break
        group.append(op)
    return group


def _copies_first(ops: Sequence[DenseOp]) -> list[DenseOp]:
    """A copy for a product goes before ops by rows that it does not depend on, and so does not part them."""
    order: list[DenseOp] = []
    for op in ops:
        at = len(order)
        while isinstance(op, Map) and op.is_copy and at and is_by_rows(order[at - 1]):
            if order[at - 1].to.buffer in {view.buffer for view in op.inputs}:
                break
            at -= 1
        order.insert(at, op)
    return order
