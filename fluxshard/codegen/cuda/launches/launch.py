"""One launch: a kernel, its struct of arguments written field by field, and its blocks.

Addresses in the arguments are offsets; they become addresses when a stream is made.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from fluxshard.codegen.cuda.launches.kernels import Kernel
from fluxshard.ir.stream_layout import GridMemory, Ptr, Region, TorchCall
from fluxshard.options import Rfap

Field = tuple[str, Ptr | None | int | float]
_SIZES = {"Q": 8, "q": 8, "i": 4, "f": 4}


@dataclass(frozen=True, slots=True)
class Args:
    """The fields of a struct in order, nested structs flattened. The C side pads nothing: `size` asserts it."""

    fields: tuple[Field, ...]

    def __add__(self, other: Args) -> Args:
        return Args(self.fields + other.fields)

    @property
    def size(self) -> int:
        """Bytes of the struct."""
        at = 0
        for code, _ in self.fields:
            assert at % _SIZES[code] == 0, f"field at {at} of {self.fields} is not aligned"
            at += _SIZES[code]
        assert at % 8 == 0, f"struct of {at} bytes ends with padding"
        return at

    def encode(self, bases: Mapping[Region, int]) -> bytes:
        """The struct's bytes, for regions that begin at `bases`."""
        values = [
            bases[value.region] + value.offset if isinstance(value, Ptr) else 0 if value is None else value
            for _, value in self.fields
        ]
        return struct.pack("<" + "".join(code for code, _ in self.fields), *values)


def p(*addresses: Ptr | None) -> Args:
    """Pointers; None is null."""
    return Args(tuple(("Q", address) for address in addresses))


def i(*numbers: int) -> Args:
    """int32 numbers."""
    return Args(tuple(("i", number) for number in numbers))


def field_args(grid: GridMemory) -> Args:
    """Struct Field: the displacement field of a grid."""
    return p(grid.dy, grid.dx, grid.valid, grid.src, grid.still)


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """One kernel launch.

    Attributes:
      kernel: what runs.
      args: its struct.
      blocks: as many as all work can keep busy.
      persistent: fewer blocks do as well; False where blocks are numbered by their work.
      layer: whose work it is; empty for the frame's own.
      alone: begins when all before it have ended; others may begin earlier, and wait where they have to.
    """

    kernel: Kernel
    args: Args
    blocks: int
    persistent: bool = True
    layer: str = ""
    alone: bool = False


Step = Launch | TorchCall


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Kind of a frame, which decides its launches.

    Attributes:
      planned: the work of every grid is given.
      rfap: as in `ReuseOptions`; no check is made where work is given.
      remap: the cache follows the motion.
      takes_image: the frame begins with the image: no input cache has assembled what the network reads.
    """

    planned: bool
    rfap: Rfap
    remap: bool
    takes_image: bool = False
