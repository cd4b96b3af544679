"""Fields of an H.264 unit. Without torch, since a process that decodes untrusted video imports it.

Source: ITU-T H.264, sections 7.2 and 9.1.
"""

from __future__ import annotations

_MOST_ZEROS = 32


class BitReader:
    """Reads fields of a unit one after another.

    Raises:
      EOFError: from every method, where the unit ends before.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def fixed(self, count: int) -> int:
        """An unsigned number of so many bits."""
        value = 0
        for _ in range(count):
            if self._at >= 8 * len(self._data):
                raise EOFError
            value = 2 * value + (self._data[self._at // 8] >> (7 - self._at % 8) & 1)
            self._at += 1
        return value

    def unsigned(self) -> int:
        """An unsigned Exponential-Golomb code."""
        zeros = 0
        while not self.fixed(1):
            zeros += 1
            if zeros > _MOST_ZEROS:
                raise EOFError
        return (1 << zeros) - 1 + self.fixed(zeros)

    def signed(self) -> int:
        """A signed Exponential-Golomb code."""
        code = self.unsigned()
        return (code + 1) // 2 if code % 2 else -code // 2
