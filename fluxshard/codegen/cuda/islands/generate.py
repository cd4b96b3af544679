"""Which islands are generated, and the constants that they read.

Those that treat every cell alone run tile by tile, and keep what they gave where no row that they read is another than
in the last frame. Others run in torch: their matrix products and pools are no better here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fluxshard.codegen.common.islands.builder import Unsupported
from fluxshard.codegen.common.islands.grouping import in_groups
from fluxshard.codegen.common.islands.lanes import TILE, Lanes, in_lanes, may_have_lanes
from fluxshard.codegen.common.islands.lower import lower_island
from fluxshard.codegen.common.islands.placement import Placement, place
from fluxshard.codegen.common.islands.tensors import View
from fluxshard.codegen.common.segments import Segment
from fluxshard.codegen.cuda.islands.emit import emit
from fluxshard.codegen.cuda.launches import kernels as K
from fluxshard.codegen.cuda.launches.memory import Constants, Segments
from fluxshard.codegen.cuda.launches.segments import inputs_of
from fluxshard.ir.kernel import CudaTarget
from fluxshard.ir.params import Island
from fluxshard.ir.plan import LayerSpec, Plan
from fluxshard.ir.stream_layout import Ptr, StreamLayout


@dataclass(frozen=True, slots=True, kw_only=True)
class IslandKernel:
    """An island that is generated.

    Attributes:
      kernel: what runs.
      segments: of each load of the kernel, in order.
      constants: tensors that it reads, in order.
      outputs: names of values, in order.
    """

    kernel: K.Lanes
    segments: tuple[tuple[Segment, ...], ...]
    constants: tuple[Ptr, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TiledIsland:
    """An island in tiles of lanes, and where the buffers of a tile lie."""

    lanes: Lanes
    placement: Placement


def tiled_islands(plan: Plan, target: CudaTarget) -> tuple[dict[str, TiledIsland], dict[str, str]]:
    """Islands that can be generated, and of the others why they cannot; by layer."""
    found: dict[str, TiledIsland] = {}
    reasons: dict[str, str] = {}
    for layer in plan.layers:
        if not isinstance(layer.params, Island):
            continue
        try:
            found[layer.name] = _tiled(plan, layer, target)
        except Unsupported as reason:
            reasons[layer.name] = str(reason)
    return found, reasons


def _tiled(plan: Plan, layer: LayerSpec, target: CudaTarget) -> TiledIsland:
    if not may_have_lanes(plan, layer):
        raise Unsupported("other layers read what it gives, or it reads what others give off the grids")
    if plan.input in layer.inputs:
        raise Unsupported("it reads the image")
    lanes = in_lanes(lower_island(plan, layer, {}), fewest=TILE)
    if lanes is None:
        raise Unsupported("it does not treat every cell alone")
    placement = place(lanes.program, lanes.filled)
    if 4 * placement.floats > target.shared_bytes:
        raise Unsupported("a tile of it does not fit shared memory")
    return TiledIsland(lanes, placement)


def allocate_islands(
    plan: Plan, islands: Mapping[str, TiledIsland], layout: StreamLayout, segments: Segments, constants: Constants
) -> dict[str, IslandKernel]:
    """The kernels of islands, by layer.

    Args:
      plan: the network.
      islands: to be generated.
      layout: of a stream.
      segments: of all values.
      constants: gives memory for what they read besides.
    """
    return {name: _allocated(plan, island, layout, segments, constants) for name, island in islands.items()}


def _allocated(
    plan: Plan, island: TiledIsland, layout: StreamLayout, segments: Segments, constants: Constants
) -> IslandKernel:
    lanes, offsets = island.lanes, island.placement.offsets
    buffers = lanes.program.buffers
    read: dict[Ptr, int] = {}  # constant -> number

    def base(view: View) -> tuple[str, list[str]]:
        buffer = buffers[view.buffer]
        if buffer.kind == "scratch":
            at = offsets[view.buffer] + view.offset
            return "f", ["lane", str(at)] if at else ["lane"]
        meta = () if buffer.repack is None else (buffer.repack[2], *buffer.repack[0], *buffer.repack[1])
        where = constants.weight("strided" if meta else "plain", buffer.name, meta, 4 * buffer.floats)
        number = read.setdefault(where, len(read))
        lane = ["start", "lane"] if buffer.kind == "lanes" else []
        return f"a.constants[{number}]", [*lane, *([str(view.offset)] if view.offset else [])]

    parts, order, first = [], [], 0
    for part in lanes.parts:
        loads = []
        for load in part.loads:
            order.append(segments[load.value])
            loads.append(
                K.LaneLoad(
                    inputs=inputs_of(layout, segments[load.value], rows=True),
                    to=offsets[load.to.buffer] + load.to.offset,
                    pitch=load.to.strides[0],
                )
            )
        width = plan.grid_of(part.loads[0].value).width
        parts.append(K.LanePart(first=first, start=part.start, cells=part.cells, width=width, loads=tuple(loads)))
        first = parts[-1].after
    ops = tuple(emit(op, base) for group in in_groups(lanes.program.ops) for op in group)
    outputs = tuple(
        K.LaneOutput(of=offsets[view.buffer] + view.offset, rows=view.shape[0]) for _, view in lanes.program.outputs
    )
    kernel = K.Lanes(
        dtype=layout.target.dtype, floats=island.placement.floats, lanes=lanes.lanes, constants=len(read),
        parts=tuple(parts), ops=ops, outputs=outputs,
    )  # fmt: skip
    names = tuple(name for name, _ in lanes.program.outputs)
    return IslandKernel(kernel=kernel, segments=tuple(order), constants=tuple(read), outputs=names)
