"""Fewer passes over memory: elementwise ops in a row become one, and what is copied is written where it goes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import fields, replace

from fluxshard.codegen.common.islands.dense_ops import DenseOp, Map, Program, Reduce, read_by
from fluxshard.codegen.common.islands.tensors import View, merged

_LONGEST = 400  # characters of an expression: compilers take long for more


def simplified(program: Program) -> Program:
    """The program with elementwise ops joined and copies avoided."""
    return _placed(_joined(program))


def with_views(op: DenseOp, change: Callable[[View], View]) -> DenseOp:
    """The op on other views."""
    changed: dict[str, object] = {}
    for field in fields(op):
        value = getattr(op, field.name)
        if isinstance(value, View):
            changed[field.name] = change(value)
        elif field.name == "inputs":
            changed[field.name] = tuple(change(view) for view in value)
    return replace(op, **changed)  # type: ignore[arg-type]


def _joined(program: Program) -> Program:
    """An elementwise op whose only reader is another one, on the same elements, is computed there."""
    ops = list(program.ops)
    reads = Counter(view.buffer for op in ops for view in read_by(op))
    writes = Counter(op.to.buffer for op in ops)
    kept = {view.buffer for _, view in program.outputs}
    made: dict[int, Map] = {}  # by buffer
    for index, op in enumerate(ops):
        if not isinstance(op, Map):
            continue
        inputs: list[View] = []
        names: list[str] = []
        for view in op.inputs:
            before = made.get(view.buffer)
            if before is None or before.to != view or len(before.expression) + len(op.expression) > _LONGEST:
                names.append(f"{{{len(inputs)}}}")
                inputs.append(view)
                continue
            names.append(before.expression.format(*(f"{{{len(inputs) + i}}}" for i in range(len(before.inputs)))))
            inputs += before.inputs
            ops[ops.index(before)] = _GONE
            del made[view.buffer]
        op = ops[index] = replace(op, inputs=tuple(inputs), expression=op.expression.format(*names))
        if reads[op.to.buffer] == writes[op.to.buffer] == 1 and op.to.buffer not in kept and op.inputs:
            made[op.to.buffer] = op
    return replace(program, ops=tuple(op for op in ops if op is not _GONE))


_GONE = Map(View(-1, (), ()), (), "")


def _placed(program: Program) -> Program:
    """A buffer that is copied as a whole into a part of another is that part."""
    index = 0
    while index < len(program.ops):
        op = program.ops[index]
        moved = _moved(program, op) if isinstance(op, Map) and op.is_copy else None
        program, index = (program, index + 1) if moved is None else (moved, 0)
    return program


def _moved(program: Program, copy: Map) -> Program | None:
    (of,), to = copy.inputs, copy.to
    buffer = program.buffers[of.buffer]
    fixed = {view.buffer for _, view in program.outputs}
    if buffer.kind != "scratch" or of.buffer in fixed or of.buffer == to.buffer:
        return None
    sizes, (of_strides, to_strides) = merged(of.shape, [of.strides, to.strides])
    if of.offset or of.size != buffer.floats or not View(0, sizes, of_strides).is_contiguous:
        return None
    # rows of the buffer, one after another, become rows of another pitch
    if len(sizes) > 2 or to_strides[-1] != 1:
        return None
    pitch = sizes[-1]
    wider = to_strides[0] if len(sizes) == 2 else pitch

    def change(view: View) -> View:
        if view.buffer != of.buffer:
            return view
        row, column = divmod(view.offset, pitch)
        return replace(
            view,
            buffer=to.buffer,
            offset=to.offset + row * wider + column,
            strides=tuple(step // pitch * wider if step % pitch == 0 else step for step in view.strides),
        )

    others = [op for op in program.ops if op is not copy]
    views = [view for op in others for view in (op.to, *read_by(op)) if view.buffer == of.buffer]
    if not all(_stays_in_rows(view, pitch) for view in views):
        return None
    changed = tuple(with_views(op, change) for op in others)
    if any(isinstance(op, Reduce) and not _sums_one_axis(op) for op in changed):
        return None
    return replace(program, ops=changed)


def _sums_one_axis(op: Reduce) -> bool:
    shape, strides = op.of.shape[-op.axes :], op.of.strides[-op.axes :]
    return len(merged(shape, [strides])[0]) == 1


def _stays_in_rows(view: View, pitch: int) -> bool:
    """Whether no axis that runs inside rows leaves the row that it starts in."""
    inside = [(n - 1) * step for n, step in zip(view.shape, view.strides, strict=True) if step % pitch]
    column = view.offset % pitch
    low, high = sum(r for r in inside if r < 0), sum(r for r in inside if r > 0)
    return column + low >= 0 and column + high < pitch
