"""Offsets of blocks in one piece of memory."""

from __future__ import annotations

from dataclasses import dataclass

ALIGN = 64


def round_up(n: int, multiple: int) -> int:
    """The next multiple."""
    return -(-n // multiple) * multiple


@dataclass(slots=True)
class Arena:
    """Hands out aligned offsets."""

    size: int = 0

    def take(self, n_bytes: int) -> int:
        """The offset of a new block."""
        offset = self.size
        self.size = round_up(self.size + max(n_bytes, 1), ALIGN)
        return offset
