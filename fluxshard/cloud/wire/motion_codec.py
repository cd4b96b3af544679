"""Motion fields as bytes: valid cells as bits, displacements as differences to the left neighbour, both compressed.

Where levels move otherwise than the image, what follows the image's field is how much, which is nothing for most cells.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fluxshard.cloud.wire.compression import compress, decompress
from fluxshard.errors import WireError
from fluxshard.geometry import Grid
from fluxshard.motion import CELL_PX, MotionField, cells
from fluxshard.runtime.level_motion import LevelMotion, Motion
from fluxshard.runtime.planned.hints import level_motion
from fluxshard.runtime.planned.levels import Level, level_of_grids

_HEAD = struct.Struct("<II")  # bytes of both parts
_SIZE = struct.Struct("<I")
_ONE, _LEVELS = b"\x01", b"\x02"  # the first byte: all grids move alike, or levels move on their own
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
        valid, moved = compress(np.packbits(motion.valid).tobytes()), compress(_split(steps.transpose(2, 0, 1)))
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
        moved = decompress(data[_HEAD.size + n_valid :], 4 * count, "the motion's displacements")
        valid = np.unpackbits(np.frombuffer(bits, np.uint8), count=count).astype(np.bool_).reshape(rows, columns)
        steps = np.cumsum(_joined(moved, (2, rows, columns)), axis=2, dtype=np.uint16)
        return MotionField(np.ascontiguousarray(steps.transpose(1, 2, 0)).view(np.int16), valid, self.cell_px)


class LevelMotionCodec:
    """Encodes how the levels of one stream move, in cells of 8 px.

    Args:
      size: (H, W) of the image in pixels.
      levels: of the plan; empty where levels never move on their own.
      grids: of the plan.

    Raises:
      WireError: a size that is not allowed.
    """

    def __init__(self, size: tuple[int, int], levels: Sequence[Level], grids: Sequence[Grid]) -> None:
        self._size, self._levels, self._grids = size, tuple(levels), tuple(grids)
        self._fields = MotionCodec(*size, CELL_PX)
        self._level_of = level_of_grids(self._levels)

    def encode(self, motion: Motion) -> bytes:
        """The bytes of a frame's motion.

        Raises:
          WireError: fields of other cells, or of another number of levels.
        """
        if isinstance(motion, MotionField):
            return _ONE + self._fields.encode(motion)
        if motion.level_of != self._level_of or len(motion.levels) != len(self._levels):
            raise WireError(f"motion of {len(motion.levels)} levels was given; this stream has {len(self._levels)}")
        image = self._fields.encode(motion.image)
        steps, known = [], []
        for level, field in zip(self._levels, motion.levels, strict=True):
            expected, valid = self._expected(motion.image, level)
            steps.append((field.displacement - expected).astype(np.uint16).transpose(2, 0, 1))
            known.append(field.valid ^ valid)
        bits = compress(np.packbits(np.stack(known)).tobytes())
        return b"".join(
            (_LEVELS, _SIZE.pack(len(image)), image, _SIZE.pack(len(bits)), bits, compress(_split(np.stack(steps))))
        )

    def decode(self, data: bytes) -> Motion:
        """The motion of these bytes; see `MotionCodec.decode`.

        Raises:
          WireError: damaged, of another size, or of levels that the stream does not have.
        """
        kind, rest = data[:1], data[1:]
        if kind == _ONE:
            return self._fields.decode(rest)
        if kind != _LEVELS or not self._levels:
            raise WireError("the frame's motion is of a kind that this stream does not have")
        image_bytes, rest = _part(rest)
        bit_bytes, rest = _part(rest)
        image = self._fields.decode(image_bytes)
        shape = len(self._levels), *self._fields.shape
        count = shape[0] * shape[1] * shape[2]
        bits = decompress(bit_bytes, -(-count // 8), "the valid cells of levels")
        unlike = np.unpackbits(np.frombuffer(bits, np.uint8), count=count).astype(np.bool_).reshape(shape)
        steps = _joined(decompress(rest, 4 * count, "the displacements of levels"), (shape[0], 2, *shape[1:]))
        fields = []
        for level, step, other in zip(self._levels, steps, unlike, strict=True):
            expected, valid = self._expected(image, level)
            moved = (expected.astype(np.uint16) + step.transpose(1, 2, 0)).view(np.int16)
            fields.append(MotionField(moved, valid ^ other))
        return LevelMotion(image, tuple(fields), self._level_of)

    def _expected(self, image: MotionField, level: Level) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """What a level would move by if it moved as the image."""
        return level_motion(image, level, self._grids[level.grids[0]], self._size)


def _split(words: NDArray[np.uint16]) -> bytes:
    """Low bytes, then high bytes, which are nearly all the same."""
    planes = np.ascontiguousarray(words).view(np.uint8)
    return np.concatenate([planes[..., 0::2].reshape(-1), planes[..., 1::2].reshape(-1)]).tobytes()


def _joined(split: bytes, shape: tuple[int, ...]) -> NDArray[np.uint16]:
    low, high = np.frombuffer(split, np.uint8).reshape(2, *shape).astype(np.uint16)
    words: NDArray[np.uint16] = low | high << 8
    return words


def _part(data: bytes) -> tuple[bytes, bytes]:
    """The bytes whose number comes first, and what follows.

    Raises:
      WireError: there are fewer.
    """
    if len(data) < _SIZE.size:
        raise WireError("motion is shorter than its head")
    (n_bytes,) = _SIZE.unpack_from(data)
    end = _SIZE.size + n_bytes
    if len(data) < end:
        raise WireError("motion is shorter than its head says")
    return data[_SIZE.size : end], data[end:]
