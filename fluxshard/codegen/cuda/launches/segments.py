"""Segments that a kernel reads, as its parameters and as its arguments."""

from __future__ import annotations

from collections.abc import Mapping

from fluxshard.codegen.common.arena import round_up
from fluxshard.codegen.common.segments import Segment
from fluxshard.codegen.cuda.launches.kernels import NOTHING, Inputs
from fluxshard.codegen.cuda.launches.launch import Args, i, p
from fluxshard.codegen.cuda.launches.memory import AxisTable
from fluxshard.geometry import Window
from fluxshard.ir.plan import LayerSpec, Plan
from fluxshard.ir.stream_layout import StreamLayout


def inputs_of(layout: StreamLayout, segments: tuple[Segment, ...], *, rows: bool) -> Inputs:
    """The widest loads that segments allow.

    Args:
      layout: where they lie.
      segments: in order.
      rows: channels are counted over all segments, so each has to begin at a whole unit of that count too.
    """
    if not segments:
        return NOTHING
    counts = tuple(s.count for s in segments)
    vec = layout.target.lanes
    while vec > 1:
        starts = Inputs(counts=counts, vec=vec).starts[:-1]
        if all(_fits(layout, s, vec) for s in segments) and not (rows and any(start % vec for start in starts)):
            break
        vec //= 2
    return Inputs(counts=counts, vec=vec)


def _fits(layout: StreamLayout, s: Segment, vec: int) -> bool:
    stride, channels = _row(layout, s)
    # a last unit may reach into the zeros behind the stored channels, never into channels that are not the segment's
    ends = s.count % vec == 0 or (s.start + s.count == channels and s.start + round_up(s.count, vec) <= stride)
    return s.start % vec == 0 and stride % vec == 0 and ends


def _row(layout: StreamLayout, s: Segment) -> tuple[int, int]:
    if s.store < 0:
        return layout.input.stride, layout.input.channels
    store = layout.by_index[s.store]
    return store.stride, store.channels


def segment_args(layout: StreamLayout, segments: tuple[Segment, ...], *, planned: bool) -> Args:
    """Structs Seg in order; with planned work, maps are those of the grids."""
    if not segments:
        return p(None)
    args = Args(())
    itemsize = layout.target.itemsize
    for s in segments:
        if s.store < 0:
            args += p(layout.input.fed + itemsize * s.start, None, None) + i(layout.input.stride, s.uy, s.ux, s.width)
            continue
        store = layout.by_index[s.store]
        maps = layout.maps_of(store, planned)
        args += p(store.pool + itemsize * s.start, *maps) + i(store.stride, s.uy, s.ux, s.width)
    return args


def axis_args(plan: Plan, axes: Mapping[tuple[Window, int, int], AxisTable], layer: LayerSpec) -> Args:
    """Two structs Axis: the window of a layer, vertical first."""
    assert layer.windows is not None
    grid_in, grid_out = plan.grid_of(layer.inputs[0]), plan.grid_of(layer.output)
    sizes = ((grid_in.height, grid_out.height), (grid_in.width, grid_out.width))
    args = Args(())
    for window, (n_in, n_out) in zip(layer.windows, sizes, strict=True):
        axis = axes[window, n_in, n_out]
        args += p(axis.tap, axis.crosses) + i(axis.layout.taps, n_out)
    return args
