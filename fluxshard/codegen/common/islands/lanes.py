"""Islands that treat every cell alone, such as the decoding of boxes, run tile by tile: a few cells at a time.

Of such an island every tensor has the same last axis, the cells of all its maps one after another, and every op keeps
them apart: they are lanes. A tile of lanes is read from the rows of features, stays in the first cache of a processor,
or the shared memory of a GPU, through all ops, and is written once; tiles are independent, so they are shared out among
threads or blocks, and those whose cells did not change keep what they have.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from fluxshard.codegen.common.islands.dense_ops import DenseOp, Load, Map, Product, Program, Reduce, Softmax
from fluxshard.codegen.common.islands.simplify import with_views
from fluxshard.codegen.common.islands.tensors import View
from fluxshard.ir.plan import LayerSpec, Plan

TILE = 32  # lanes: whole vectors of a processor, a warp of a GPU
_MOST_FLOATS = 1 << 16  # of all buffers of a tile: they lie on a thread's stack


@dataclass(frozen=True, slots=True)
class Part:
    """Lanes that come from one grid.

    Attributes:
      start: the first lane.
      cells: how many there are.
      loads: what is read for them; `to` is `(C, TILE)` of a tile's buffers.
    """

    start: int
    cells: int
    loads: tuple[Load, ...]


@dataclass(frozen=True, slots=True)
class Lanes:
    """An island in tiles.

    Attributes:
      lanes: how many lanes there are.
      parts: their sources; together all lanes, in order.
      program: what runs for a tile: without loads, with buffers of TILE lanes; `outputs` are `(rows, TILE)`.
    """

    lanes: int
    parts: tuple[Part, ...]
    program: Program

    @property
    def filled(self) -> frozenset[int]:
        """Buffers that are read from features before the first op."""
        return frozenset(load.to.buffer for part in self.parts for load in part.loads)


def may_have_lanes(plan: Plan, layer: LayerSpec) -> bool:
    """Whether an island reads values on grids alone, and gives values off the grids that no layer reads."""
    read = {name for other in plan.layers for name in other.inputs}
    outputs = all(plan.value(name).grid is None and name not in read for name in layer.outputs)
    return outputs and all(plan.value(name).grid is not None for name in layer.inputs)


def in_lanes(program: Program, fewest: int = 8 * TILE) -> Lanes | None:
    """The island in tiles, or None where its ops mix cells.

    Args:
      program: of an island that may have lanes.
      fewest: lanes from which on tiles pay.
    """
    sizes = {view.shape[-1] if view.shape else 1 for _, view in program.outputs}
    if len(sizes) != 1 or (count := sizes.pop()) < fewest:
        return None
    tiler = _Tiler(program, count)
    loads = [op for op in program.ops if isinstance(op, Load)]
    others = [op for op in program.ops if not isinstance(op, Load)]
    parts = tiler.parts(loads)
    if parts is None or not all(map(tiler.keeps_lanes, others)):
        return None
    if sum(floats // count * TILE for floats in tiler.scratch_floats()) > _MOST_FLOATS:
        return None
    outputs = tuple((name, tiler.rows(view)) for name, view in program.outputs)
    ops = tuple(tiler.tiled(op) for op in others)
    return Lanes(count, parts, Program(tuple(tiler.buffers), ops, outputs))


class _Tiler:
    """Checks a program for one number of lanes, and rewrites it."""

    def __init__(self, program: Program, lanes: int) -> None:
        self.lanes = lanes
        self.buffers = [
            replace(buffer, floats=buffer.floats // lanes * TILE) if buffer.kind == "scratch" else buffer
            for buffer in program.buffers
        ]
        self._program = program
        self._shifted: dict[int, int] = {}  # weight -> the same one, read from a tile's first lane on

    def scratch_floats(self) -> list[int]:
        """Sizes of the buffers that a tile has."""
        used = {op.to.buffer for op in self._program.ops}
        return [self._program.buffers[index].floats for index in used]

    def parts(self, loads: list[Load]) -> tuple[Part, ...] | None:
        """The lanes of each grid, or None where they do not make up all lanes."""
        found: dict[tuple[int, int], list[Load]] = {}
        for load in loads:
            start, cells = load.to.offset % self.lanes, load.to.shape[1]
            pitch = load.to.strides[0] if load.to.shape[0] > 1 else self.lanes
            if pitch % self.lanes or self._program.buffers[load.to.buffer].floats % self.lanes:
                return None
            rows = View(
                load.to.buffer, (load.to.shape[0], TILE), (pitch // self.lanes * TILE, 1),
                load.to.offset // self.lanes * TILE,
            )  # fmt: skip
            found.setdefault((start, cells), []).append(replace(load, to=rows))
        next_lane = 0
        for start, cells in sorted(found):
            if start != next_lane:
                return None
            next_lane = start + cells
        return tuple(Part(*at, tuple(found[at])) for at in sorted(found)) if next_lane == self.lanes else None

    def keeps_lanes(self, op: DenseOp) -> bool:
        """Whether lanes do not meet in an op."""
        match op:
            case Map():
                return self._has_lanes(op.to) and all(self._has_lanes(v) or self._is_the_same(v) for v in op.inputs)
            case Softmax():
                return op.axis != len(op.of.shape) - 1 and self._has_lanes(op.to) and self._has_lanes(op.of)
            case Product():
                constant = self._program.buffers[op.left.buffer].kind == "weight"
                return constant and self._has_lanes(op.to) and self._has_lanes(op.right)
            case Reduce():
                return self._has_lanes(op.to) and self._has_lanes(op.of, len(op.to.shape) - 1)
            case _:
                return False

    def _has_lanes(self, view: View, axis: int = -1) -> bool:
        if not view.shape or view.shape[axis] != self.lanes or view.strides[axis] != 1:
            return False
        buffer = self._program.buffers[view.buffer]
        if buffer.kind != "scratch":
            return buffer.kind == "weight" and axis == -1
        others = [step for i, step in enumerate(view.strides) if i != axis % len(view.shape) and view.shape[i] > 1]
        return not any(step % self.lanes for step in (*others, view.offset, buffer.floats))

    def _is_the_same(self, view: View) -> bool:
        """Whether all lanes read one number."""
        return view.strides[-1] == 0 and self._program.buffers[view.buffer].kind == "weight"

    def tiled(self, op: DenseOp) -> DenseOp:
        """The op on a tile."""
        if isinstance(op, Reduce):
            return replace(op, to=self._view(op.to), of=self._view(op.of, len(op.to.shape) - 1))
        if isinstance(op, Product):
            return replace(op, to=self._view(op.to), right=self._view(op.right))
        return with_views(op, self._view)

    def rows(self, view: View) -> View:
        """An output as `(rows, TILE)`."""
        count = self._program.buffers[view.buffer].floats // self.lanes
        return View(view.buffer, (count, TILE), (TILE, 1))

    def _view(self, view: View, axis: int = -1) -> View:
        axis %= len(view.shape)
        shape = (*view.shape[:axis], TILE, *view.shape[axis + 1 :])
        if self.buffers[view.buffer].kind == "weight":
            return replace(view, shape=shape, buffer=self._from_lane(view) if view.strides[axis] else view.buffer)
        steps = [step // self.lanes * TILE for step in view.strides]
        steps[axis] = 1
        return replace(view, shape=shape, strides=tuple(steps), offset=view.offset // self.lanes * TILE)

    def _from_lane(self, view: View) -> int:
        if view.buffer not in self._shifted:
            self._shifted[view.buffer] = len(self.buffers)
            self.buffers.append(replace(self.buffers[view.buffer], kind="lanes"))
        return self._shifted[view.buffer]
