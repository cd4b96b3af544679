"""Where everything lies: a stream's state in one block of memory, a step's scratch in another, weights in a blob.

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
    """The window rule of one (grid in, grid out, windows), shared by all its layers; offset in scratch, in bytes."""

    grid_in: int
    grid_out: int
    axis_y: int
    axis_x: int
    offset: int


@dataclass(frozen=True, slots=True)
class FieldLayout:
    """The displacement field of a grid; offsets in scratch, in bytes."""

    dy: int
    dx: int
    valid: int
    source: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScratchLayout:
    """What layers use in turn; offsets in scratch, in bytes.

    Attributes:
      list, rows, pick, old, tiles: int32 per cell of the largest grid, and room for 16 more.
      used: two bytes per cell of the largest grid, and one more.
      fresh: rows of one layer, before they are compared with what is cached.
    """

    list: int
    rows: int
    pick: int
    old: int
    tiles: int
    used: int
    fresh: int


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
      segments: what each value reads, by name.
      view_masks: offset in scratch of the mask of views that have one of their own, by name.
      axes: axes of windows.
      flags: window rules.
      fields: per grid of the plan.
      scratch: what layers use in turn.
      islands, island_bytes: scratch that generated islands use in turn, and its size.
      packed: weights, in order.
      weight_floats: size of the blob.
    """

    segments: Mapping[str, tuple[Segment, ...]]
    view_masks: Mapping[str, int]
    axes: tuple[AxisLayout, ...]
    flags: tuple[Flags, ...]
    fields: tuple[FieldLayout, ...]
    scratch: ScratchLayout
    islands: int
    island_bytes: int
    packed: tuple[PackedWeight, ...]
    weight_floats: int
