"""Which islands are generated, and the memory that they take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fluxshard.codegen.common.islands.builder import Unsupported
from fluxshard.codegen.common.islands.dense_ops import Buffer, Load, Program, read_by
from fluxshard.codegen.common.islands.lanes import Lanes, in_lanes, may_have_lanes
from fluxshard.codegen.common.islands.lower import lower_island
from fluxshard.codegen.common.islands.placement import Placement, place
from fluxshard.codegen.cpp.allocation import Allocator
from fluxshard.ir.params import Island
from fluxshard.ir.plan import LayerSpec, Plan

_SPARE = 64  # floats behind a constant: its last row is read in whole vectors


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedIsland:
    """An island whose ops are generated.

    Attributes:
      program: the ops; of one tile where there are tiles.
      loads: inputs on grids; empty where there are tiles, which have loads of their own.
      lanes: the island in tiles, or None.
      placement: scratch buffers, in the memory that islands use in turn, or on the stack of a tile.
      weights: offset in the blob, in floats, of buffers that are constants.
      at_home: outputs off the grids that are computed where they are kept, by buffer.
    """

    program: Program
    loads: tuple[Load, ...]
    lanes: Lanes | None
    placement: Placement
    weights: Mapping[int, int]
    at_home: Mapping[int, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Islands:
    """All islands of a plan.

    Attributes:
      generated: by layer.
      in_torch: of the others, why; by layer.
    """

    generated: Mapping[str, GeneratedIsland]
    in_torch: Mapping[str, str]


def generate_islands(plan: Plan, allocator: Allocator) -> Islands:
    """Lowers every island that can be, and takes memory for it."""
    generated: dict[str, GeneratedIsland] = {}
    in_torch: dict[str, str] = {}
    from_torch: dict[str, str] = {}  # value -> layer
    read = {name for layer in plan.layers for name in layer.inputs}
    for layer in plan.layers:
        if not isinstance(layer.params, Island):
            continue
        try:
            program = lower_island(plan, layer, from_torch)
        except Unsupported as reason:
            in_torch[layer.name] = str(reason)
            from_torch |= {name: layer.name for name in layer.outputs if plan.value(name).grid is None}
            continue
        generated[layer.name] = _allocated(plan, layer, program, read, allocator)
    most = max((island.placement.floats for island in generated.values() if island.lanes is None), default=0)
    allocator.islands(most)
    return Islands(generated=generated, in_torch=in_torch)


def _allocated(plan: Plan, layer: LayerSpec, program: Program, read: set[str], allocator: Allocator) -> GeneratedIsland:
    off_grid = [name for name in layer.outputs if plan.value(name).grid is None]
    for name in off_grid:
        allocator.value(name)
    kept = {name for name in off_grid if name not in read}  # nobody asks whether they changed
    lanes = in_lanes(program) if may_have_lanes(plan, layer) else None
    loads: tuple[Load, ...] = ()
    at_home = {} if lanes else {view.buffer: name for name, view in program.outputs if name in kept}
    if lanes:
        program = lanes.program
        placement = place(program, lanes.filled)
    else:
        placement = place(program, elsewhere=frozenset(at_home))
        loads = tuple(op for op in program.ops if isinstance(op, Load))
    used = sorted({view.buffer for op in program.ops for view in read_by(op)})
    weights = {
        index: _packed(program.buffers[index], allocator)
        for index in used
        if program.buffers[index].kind in ("weight", "lanes")
    }
    return GeneratedIsland(
        program=program, loads=loads, lanes=lanes, placement=placement, weights=weights, at_home=at_home
    )  # fmt: skip


def _packed(buffer: Buffer, allocator: Allocator) -> int:
    if buffer.repack is None:
        return allocator.pack("plain", (buffer.name,), (), buffer.floats + _SPARE)
    shape, strides, offset = buffer.repack
    return allocator.pack("strided", (buffer.name,), (offset, *shape, *strides), buffer.floats + _SPARE)
