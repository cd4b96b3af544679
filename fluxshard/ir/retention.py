"""Which values of a plan no later frame reads, where the work of every frame is given.

Given: all sparse layers of a grid evaluate the same cells in every frame, and nothing is compared with a cache. What is
read of a value is then known: a pointwise layer reads the cells that the frame has just computed; windows, islands,
upsampling and outputs read others, too, which earlier frames have left.

Result: values that only pointwise layers on their own grid read. A stream keeps none of their rows between frames.
"""

from __future__ import annotations

from dataclasses import dataclass

from fluxshard.ir.params import Cat, ChannelSlice, Resize
from fluxshard.ir.plan import LayerSpec, Plan


@dataclass(frozen=True, slots=True)
class Span:
    """Layers between which a value is needed in a frame: indices of the one that makes it and of its last reader."""

    first: int
    last: int

    def meets(self, other: Span) -> bool:
        """Whether both are needed at some layer."""
        return self.first <= other.last and other.first <= self.last


def read_at_once(plan: Plan) -> dict[str, Span]:
    """Values of sparse layers that are read in the frame that computes them, at cells that it computes, and only there.

    Args:
      plan: the network.

    Returns:
      when a frame needs each of them, by name, in order.
    """
    readers: dict[str, list[int]] = {}
    for index, layer in enumerate(plan.layers):
        for name in layer.inputs:
            readers.setdefault(name, []).append(index)
    outputs = {leaf.value for leaf in plan.outputs}

    def last_read(name: str) -> int | None:
        """The last layer that reads a value, through views; None where some cell may be read later, or nobody reads."""
        if name in outputs or name not in readers:
            return None
        last = -1
        for index in readers[name]:
            found = _read_by(plan, index, name)
            if found is None:
                found = last_read(plan.layers[index].output) if _is_view_in_place(plan.layers[index]) else None
            if found is None:
                return None
            last = max(last, found)
        return last

    spans = {}
    for index, layer in enumerate(plan.layers):
        if layer.mode != "sparse" or plan.value(layer.output).grid is None:
            continue
        last = last_read(layer.output)
        if last is not None:
            spans[layer.output] = Span(index, last)
    return spans


def _is_view_in_place(layer: LayerSpec) -> bool:
    """Whether a cell of a view is the same cell of what it shows."""
    return layer.mode == "view" and isinstance(layer.params, Cat | ChannelSlice)


def _read_by(plan: Plan, index: int, name: str) -> int | None:
    """The index of a layer that reads only cells that it computes itself, else None."""
    layer = plan.layers[index]
    if layer.mode != "sparse" or plan.value(layer.output).grid != plan.value(name).grid:
        return None
    if isinstance(layer.params, Resize):
        return None  # a neighbour whose share is zero is read all the same
    return None if layer.is_windowed and name == layer.inputs[0] else index
