"""Where an island's buffers lie in scratch memory: those that are not needed at the same time share it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fluxshard.codegen.common.arena import round_up
from fluxshard.codegen.common.islands.dense_ops import Program, read_by
from fluxshard.codegen.common.islands.grouping import in_groups

_ALIGN = 16  # floats: a cache line
_BEYOND = 64  # floats after the last buffer: whole vectors are read, the last of a row too


@dataclass(frozen=True, slots=True)
class Placement:
    """Offsets of scratch buffers in floats, by index, and how many floats there are in all."""

    offsets: Mapping[int, int]
    floats: int


def place(program: Program, filled: frozenset[int] = frozenset(), elsewhere: frozenset[int] = frozenset()) -> Placement:
    """Places the scratch buffers of a program.

    Args:
      program: whose outputs are needed until after its end.
      filled: buffers that are written, in part at least, before its first op.
      elsewhere: buffers that lie somewhere else.
    """
    first = dict.fromkeys(filled, 0)
    last = {view.buffer: len(program.ops) for _, view in program.outputs}
    times = [(number, op) for number, group in enumerate(in_groups(program.ops)) for op in group]
    for number, op in times:
        first.setdefault(op.to.buffer, number)
        for view in (op.to, *read_by(op)):
            last[view.buffer] = max(last.get(view.buffer, 0), number)
    offsets: dict[int, int] = {}
    end = 0
    wanted = [i for i in sorted(first) if program.buffers[i].kind == "scratch" and i not in elsewhere]
    for index in sorted(wanted, key=lambda i: (-program.buffers[i].floats, i)):
        size = round_up(program.buffers[index].floats, _ALIGN)
        others = sorted(
            (offsets[other], round_up(program.buffers[other].floats, _ALIGN))
            for other in offsets
            if first[other] <= last[index] and first[index] <= last[other]
        )
        at = 0
        for start, floats in others:
            if at + size <= start:
                break
            at = max(at, start + floats)
        offsets[index] = at
        end = max(end, at + size)
    return Placement(offsets, end + _BEYOND)
