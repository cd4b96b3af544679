"""Shapes of the convolution micro-kernel: cells by vectors of output channels held in registers."""

from __future__ import annotations

from dataclasses import dataclass

from fluxshard.ir.kernel import Target


@dataclass(frozen=True, slots=True, order=True)
class Tile:
    """Register tile of the indirect GEMM: `cells` rows times `vectors` vectors of output channels."""

    cells: int
    vectors: int

    @classmethod
    def of(cls, channels: int, target: Target) -> Tile:
        """The tile for this many output channels: as few padded channels as possible, accumulators that fit."""
        blocks = -(-channels // target.vector_floats)
        vectors = next(n for n in ((4, 2, 3, 5, 7, 1) if target.registers >= 32 else (2, 3, 1)) if blocks % n == 0)
        if blocks > 4 and vectors == 1:
            vectors = 2  # an odd number of blocks: half a block is padding, and cheaper than single vectors
        room = (target.registers - 1 - vectors) // vectors
        return cls(min(room, 14), vectors)
