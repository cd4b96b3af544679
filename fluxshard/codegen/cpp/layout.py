"""Where everything of a stream's state lies in one block of memory, and where every weight lies in the packed blob.

All offsets are known before a line is generated (allocation.py): the step allocates nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fluxshard.codegen.common.axes import AxisLayout
from fluxshard.codegen.common.segments import Segment
from fluxshard.ir.step_layout import StateLayout


@dataclass(frozen=True, slots=True)
class Flags:
    """The window rule of one (grid in, grid out, windows), shared by all its layers; offset in bytes."""

    grid_in: int
    grid_out: int
    axis_y: int
    axis_x: int
    offset: int


@dataclass(frozen=True, slots=True)
class FieldLayout:
    """The displacement field of a grid; offsets in bytes."""

    dy: int
    dx: int
    valid: int
    source: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScratchLayout:
    """What layers use in turn; offsets in bytes.

    Attributes:
      list, rows, pick: int32 per cell of the largest grid, and room for 16 more.
      used: a byte per row of the largest grid.
    """

    list: int
    rows: int
    pick: int
    used: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedWeight:
    """A weight in the blob: `kind` and `meta` say how (pack.py); offset in floats."""

    kind: str
    names: tuple[str, ...]
    meta: tuple[int, ...]
    offset: int
    floats: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout(StateLayout):
    """The memory of one plan on one target.

    Attributes:
      size: bytes of a stream's state.
      segments: what each value reads, by name.
      view_masks: offset of the mask of views that have one of their own, by name.
      axes: axes of windows.
      flags: window rules.
      fields: per grid of the plan.
      scratch: what layers use in turn.
      islands, island_bytes: memory that generated islands use in turn, and its size.
      bases: offset of which map the cache is, int32 per store.
      packed: weights, in order.
      weight_floats: size of the blob.
    """

    size: int
    segments: Mapping[str, tuple[Segment, ...]]
    view_masks: Mapping[str, int]
    axes: tuple[AxisLayout, ...]
    flags: tuple[Flags, ...]
    fields: tuple[FieldLayout, ...]
    scratch: ScratchLayout
    islands: int
    island_bytes: int
    bases: int
    packed: tuple[PackedWeight, ...]
    weight_floats: int
