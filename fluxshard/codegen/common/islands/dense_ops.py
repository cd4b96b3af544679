"""What an island is made of after lowering: a few kinds of ops on buffers of known sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fluxshard.codegen.common.islands.tensors import Shape, View


@dataclass(frozen=True, slots=True)
class Buffer:
    """Numbers in a row.

    Attributes:
      kind: "scratch" for what the island makes; "weight" for a constant; "lanes" for one that is read from the lane on
        where a tile starts (lanes.py); "value" for an input off the grids.
      floats: how many.
      name: of the weight or the value; empty for scratch.
      repack: (shape, strides, offset) in which the blob is to hold a weight, where that is not as it is.
    """

    kind: Literal["scratch", "weight", "lanes", "value"]
    floats: int
    name: str = ""
    repack: tuple[Shape, Shape, int] | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """Reads an input on a grid: `to` is `(C, cells)`, its cells next to one another."""

    to: View
    value: str


@dataclass(frozen=True, slots=True)
class Map:
    """Elementwise: `expression` with `{0}`, `{1}`, ... for vectors of the inputs, which have the shape of `to`."""

    to: View
    inputs: tuple[View, ...]
    expression: str

    @property
    def is_copy(self) -> bool:
        """Whether it only moves."""
        return self.expression == "{0}"


@dataclass(frozen=True, slots=True)
class Softmax:
    """Along one axis of `of`; `to` has the same shape."""

    to: View
    of: View
    axis: int
    log: bool


@dataclass(frozen=True, slots=True)
class Product:
    """Matrix products: `to (*batch, M, N) = left (*batch, M, K) @ right (*batch, K, N)`; sums run over K in order."""

    to: View
    left: View
    right: View


@dataclass(frozen=True, slots=True)
class Reduce:
    """Sum, maximum or minimum over the last `axes` axes of `of`; sums are multiplied by `scale`."""

    to: View
    of: View
    axes: int
    kind: Literal["sum", "max", "min"]
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Normalise:
    """Zero mean and unit variance over the last axis of `of`, whose elements are neighbours; `to` has its shape."""

    to: View
    of: View
    eps: float


DenseOp = Load | Map | Softmax | Product | Reduce | Normalise


@dataclass(frozen=True, slots=True)
class Program:
    """An island lowered.

    Attributes:
      buffers: by index.
      ops: in order; every element of a buffer is written once, before it is read.
      outputs: the tensor of each output, by name: on a grid `(C, cells)`; off the grids the whole of a scratch buffer.
    """

    buffers: tuple[Buffer, ...]
    ops: tuple[DenseOp, ...]
    outputs: tuple[tuple[str, View], ...]


def read_by(op: DenseOp) -> tuple[View, ...]:
    """What an op reads of buffers."""
    match op:
        case Load():
            return ()
        case Map():
            return op.inputs
        case Product():
            return op.left, op.right
        case _:
            return (op.of,)
