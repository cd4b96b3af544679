"""Arguments of kernels: C structs written field by field, with addresses that are known only when a stream is made."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Region = Literal["state", "constants"]


@dataclass(frozen=True, slots=True)
class Ptr:
    """An address: an offset in bytes into a stream's state, or into what all streams share."""

    region: Region
    offset: int

    def __add__(self, n_bytes: int) -> Ptr:
        return Ptr(self.region, self.offset + n_bytes)


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
