"""Everything that launches of a plan point at, allocated before the first launch is described."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fluxshard.codegen.common.arena import round_up
from fluxshard.codegen.cuda.islands.generate import IslandKernel, allocate_islands, tiled_islands
from fluxshard.codegen.cuda.launches import kernels as K
from fluxshard.codegen.cuda.launches.memory import (
    AxisTable,
    ConstantBlocks,
    Constants,
    Segments,
    State,
    StateBlocks,
    lay_out,
)
from fluxshard.codegen.cuda.launches.operands import OperandAllocator, Operands
from fluxshard.geometry import Window
from fluxshard.ir import params as P
from fluxshard.ir.kernel import CudaTarget
from fluxshard.ir.plan import LayerSpec, Plan
from fluxshard.ir.stream_layout import Ptr, StreamLayout

Rule = tuple[object, ...]  # what the per-layer receptive-field check of a layer depends on


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """Memory and kernels of a plan on a target.

    Attributes:
      layout: of the values of a stream.
      segments: where the channels of each value lie.
      state: all of a stream's state: the layout's, and the scratch below.
      inputs: all of a stream's input cache.
      constants: what all streams share.
      axes: tables of each window with its sizes of input and output.
      operands: kernels of each sparse layer that does not run in torch.
      vectors: values off the grids as rows of the width of the layers that read them, with that width.
      partial: sums that are cut into parts; None without a GEMM.
      counters: parts that are done, per tile; None without a GEMM.
      pick: candidates of a transposed convolution, sorted by output phase; None without one.
      flags: result of each receptive-field check, one byte per cell.
      islands: kernels of islands that do not run in torch.
      why_in_torch: of the other islands, why they do.
    """

    layout: StreamLayout
    segments: Segments
    state: StateBlocks
    inputs: StateBlocks
    constants: ConstantBlocks
    axes: Mapping[tuple[Window, int, int], AxisTable]
    operands: Mapping[str, tuple[Operands, ...]]
    vectors: Mapping[str, tuple[Ptr, int]]
    partial: Ptr | None
    counters: Ptr | None
    pick: Ptr | None
    flags: Mapping[Rule, Ptr]
    islands: Mapping[str, IslandKernel]
    why_in_torch: Mapping[str, str]


def allocate(plan: Plan, target: CudaTarget, tiles: Mapping[str, K.GemmTile], dense: frozenset[str]) -> Allocation:
    """Allocates the memory of a plan.

    Args:
      plan: the network.
      target: for which architecture and stored type.
      tiles: tuned tiles by layer; others follow the rule of tiles.py.
      dense: layers that run in torch although they need not.
    """
    state, inputs, constants = State(), State("input"), Constants()
    tiled, why_in_torch = tiled_islands(plan, target)
    tiled = {name: island for name, island in tiled.items() if name not in dense}
    in_torch = frozenset(
        layer.name
        for layer in plan.layers
        if layer.name in dense or (isinstance(layer.params, P.Island) and layer.name not in tiled)
    )
    layout, segments = lay_out(plan, target, in_torch, state, inputs)
    islands = allocate_islands(plan, tiled, layout, segments, constants)
    vectors = _vector_rows(plan, target, state)
    allocator = OperandAllocator(plan, layout, segments, constants, tiles, vectors)
    sparse = [layer for layer in plan.layers if layer.mode == "sparse" and layer.name not in layout.in_torch]
    operands = {layer.name: allocator.of(layer) for layer in sparse}
    cells = {layer.name: plan.grid_of(layer.output).cells for layer in sparse}
    gemms = [(of.kernel, cells[name]) for name, all_of in operands.items() for of in all_of]
    partial = [kernel.partial_bytes(n) for kernel, n in gemms if isinstance(kernel, K.Gemm)]
    counters = [kernel.counter_bytes(n) for kernel, n in gemms if isinstance(kernel, K.Gemm)]
    picks = [
        4 * cells[layer.name] * layer.params.stride[0] * layer.params.stride[1]
        for layer in sparse
        if isinstance(layer.params, P.ConvTranspose2d)
    ]
    scratch = [state.take(max(sizes)) if sizes else None for sizes in (partial, counters, picks)]
    flags: dict[Rule, Ptr] = {}
    for layer in sparse:
        if layer.is_windowed and rule_of(plan, layer) not in flags:
            flags[rule_of(plan, layer)] = state.take(cells[layer.name])
    return Allocation(
        layout=layout, segments=segments, state=StateBlocks(state.size, tuple(state.blocks)),
        inputs=StateBlocks(inputs.size, tuple(inputs.blocks)),
        constants=ConstantBlocks(constants.size, constants.tables, tuple(constants.packed)), axes=constants.axes,
        operands=operands, vectors=vectors, partial=scratch[0], counters=scratch[1], pick=scratch[2], flags=flags,
        islands=islands, why_in_torch=why_in_torch,
    )  # fmt: skip


def rule_of(plan: Plan, layer: LayerSpec) -> Rule:
    """Layers with the same rule share one receptive-field check."""
    return plan.value(layer.inputs[0]).grid, plan.value(layer.output).grid, layer.windows


def _vector_rows(plan: Plan, target: CudaTarget, state: State) -> dict[str, tuple[Ptr, int]]:
    widths: dict[str, int] = {}
    for layer in plan.layers:
        if isinstance(layer.params, P.Binary) and layer.params.operand == "vector":
            width = round_up(plan.value(layer.output).channels, target.lanes)
            widths[layer.inputs[1]] = max(width, widths.get(layer.inputs[1], 0))
    return {name: (state.take(4 * width), width) for name, width in widths.items()}
