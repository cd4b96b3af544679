"""Shapes of the convolution micro-kernel: cells by vectors of output channels held in registers."""

from __future__ import annotations

from dataclasses import dataclass

from fluxshard.ir.kernel import Target

MOST_CELLS = 10  # each has a pointer in a register; x86 has 16 of them, and 14 cells cost 5 to 10% more than ten


def room_for(vectors: int, target: Target) -> int:
    """Most cells whose accumulators fit into registers, beside the weights and one register of the input."""
    return (target.registers - 1 - vectors) // vectors


@dataclass(frozen=True, slots=True, order=True)
class Tile:
    """Register tile of the indirect GEMM: `cells` rows times `vectors` vectors of output channels."""

    cells: int
    vectors: int

    def __str__(self) -> str:
        return f"{self.cells}x{self.vectors}"

    @classmethod
    def of(cls, channels: int, target: Target) -> Tile:
        """The tile for this many output channels: as few padded channels as possible, accumulators that fit."""
        blocks = -(-channels // target.vector_floats)
        vectors = next(n for n in ((4, 2, 3, 5, 7, 1) if target.registers >= 32 else (2, 3, 1)) if blocks % n == 0)
        if blocks > 4 and vectors == 1:
            vectors = 2  # an odd number of blocks: half a block is padding, and cheaper than single vectors
        return cls(min(room_for(vectors, target), MOST_CELLS), vectors)
