"""What code is generated for, and the shapes that a convolution kernel may take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A processor and the compiler for it.

    Attributes:
      isa: "avx512", "avx2" or "portable".
      vector_floats: float32 lanes of a vector.
      registers: vector registers, which bound the tile of a convolution kernel.
      compiler: command, found or from the environment variable CXX.
      compiler_id: first line that the compiler prints of its version; part of the cache key.
      flags: what it is called with.
    """

    isa: str
    vector_floats: int
    registers: int
    compiler: str
    compiler_id: str
    flags: tuple[str, ...]


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
