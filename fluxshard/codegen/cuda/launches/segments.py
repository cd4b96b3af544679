"""What a kernel reads, as its parameters and as its arguments."""

from __future__ import annotations

from fluxshard.codegen.common.arena import round_up
from fluxshard.codegen.common.segments import Segment
from fluxshard.codegen.cuda.launches.args import Args, i, p
from fluxshard.codegen.cuda.launches.kernels import NOTHING, Inputs
from fluxshard.codegen.cuda.launches.memory import Memory


def inputs_of(memory: Memory, segments: tuple[Segment, ...], *, rows: bool) -> Inputs:
    """The widest loads that segments allow.

    Args:
      memory: where they lie.
      segments: in order.
      rows: channels are counted over all segments, so each has to begin at a whole unit of that count too.
    """
    if not segments:
        return NOTHING
    counts = tuple(s.count for s in segments)
    vec = memory.target.lanes
    while vec > 1:
        starts = Inputs(counts=counts, vec=vec).starts[:-1]
        if all(_fits(memory, s, vec) for s in segments) and not (rows and any(start % vec for start in starts)):
            break
        vec //= 2
    return Inputs(counts=counts, vec=vec)


def _fits(memory: Memory, s: Segment, vec: int) -> bool:
    stride, channels = _row(memory, s)
    # a last unit may reach into the zeros behind the stored channels, never into channels that are not the segment's
    ends = s.count % vec == 0 or (s.start + s.count == channels and s.start + round_up(s.count, vec) <= stride)
    return s.start % vec == 0 and stride % vec == 0 and ends


def _row(memory: Memory, s: Segment) -> tuple[int, int]:
    if s.store < 0:
        return memory.image_stride, memory.image_channels
    store = memory.by_index[s.store]
    return store.stride, store.channels


def segment_args(memory: Memory, segments: tuple[Segment, ...], *, planned: bool) -> Args:
    """Structs Seg in order; with planned work, maps are those of the grids."""
    if not segments:
        return p(None)
    args = Args(())
    itemsize = memory.target.itemsize
    for s in segments:
        if s.store < 0:
            args += p(memory.fed + itemsize * s.start, None, None) + i(memory.image_stride, s.uy, s.ux, s.width)
            continue
        store = memory.by_index[s.store]
        maps = memory.maps_of(store, planned)
        args += p(store.pool + itemsize * s.start, *maps) + i(store.stride, s.uy, s.ux, s.width)
    return args
