"""Motion fields as bytes: valid cells as bits, displacements as differences to the left neighbour, both compressed."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from fluxshard.cloud.wire.compression import compress, decompress
from fluxshard.errors import WireError
from fluxshard.motion import MotionField, cells

_HEAD = struct.Struct("<II")  # bytes of both parts
MAX_CELL_PX = 64


@dataclass(frozen=True, slots=True)
class MotionCodec:
    """Encodes the motion fields of one stream.

    Attributes:
      height, width: of the image in pixels.
      cell_px: side of a cell in pixels.

    Raises:
      WireError: a size or a cell that is not allowed.
    """

    height: int
    width: int
    cell_px: int

    def __post_init__(self) -> None:
        if not (self.height > 0 and self.width > 0 and 0 < self.cell_px <= MAX_CELL_PX):
            raise WireError(f"motion of {self.height}x{self.width} px in cells of {self.cell_px} px is not allowed")

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of cells."""
        return cells(self.height, self.cell_px), cells(self.width, self.cell_px)

    def encode(self, motion: MotionField) -> bytes:
        """The bytes of a field.

        Raises:
          WireError: a field of other cells.
        """
        if motion.valid.shape != self.shape or motion.cell_px != self.cell_px:
            raise WireError(
                f"a motion field of {motion.valid.shape} cells of {motion.cell_px} px was given; this stream has "
                f"{self.shape} of {self.cell_px} px"
            )
        steps = motion.displacement.astype(np.uint16)  # differences wrap around, and back
        steps[:, 1:] -= steps[:, :-1].copy()
        planes = np.ascontiguousarray(steps.transpose(2, 0, 1)).view(np.uint8)
        # low bytes first, then high bytes, which are nearly all the same
        split = np.concatenate([planes[..., 0::2].reshape(-1), planes[..., 1::2].reshape(-1)])
        valid, moved = compress(np.packbits(motion.valid).tobytes()), compress(split.tobytes())
        return _HEAD.pack(len(valid), len(moved)) + valid + moved

    def decode(self, data: bytes) -> MotionField:
        """The field of these bytes. A displacement that points outside of the image is kept: such cells have no source.

        Raises:
          WireError: damaged, or of another size.
        """
        rows, columns = self.shape
        count = rows * columns
        if len(data) < _HEAD.size:
            raise WireError("motion is shorter than its head")
        n_valid, n_moved = _HEAD.unpack_from(data)
        if len(data) != _HEAD.size + n_valid + n_moved:
            raise WireError("motion has another length than its head says")
        bits = decompress(data[_HEAD.size : _HEAD.size + n_valid], -(-count // 8), "the motion's valid cells")
        split = decompress(data[_HEAD.size + n_valid :], 4 * count, "the motion's displacements")
        valid = np.unpackbits(np.frombuffer(bits, np.uint8), count=count).astype(np.bool_).reshape(rows, columns)
        low, high = np.frombuffer(split, np.uint8).reshape(2, 2, rows, columns).astype(np.uint16)
        steps = np.cumsum(low | high << 8, axis=2, dtype=np.uint16)
        return MotionField(np.ascontiguousarray(steps.transpose(1, 2, 0)).view(np.int16), valid, self.cell_px)
