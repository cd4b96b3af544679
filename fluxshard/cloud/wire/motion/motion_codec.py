"""Motion fields as compressed bytes; see `displacements`.

Where levels move otherwise than the image, what follows the image's field is how much, which is nothing for most
cells. What a level moves by is a matter of its shards, in steps of its stride: where that is so, shards are counted.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fluxshard.cloud.wire.compression import compress, decompress
from fluxshard.cloud.wire.motion.displacements import (
    Patches,
    Strays,
    differences_of,
    field_of,
    joined,
    patches,
    split,
    strays,
)
from fluxshard.errors import WireError
from fluxshard.geometry import Grid
from fluxshard.motion import CELL_PX, MotionField, cells
from fluxshard.runtime.level_motion import LevelMotion, Motion
from fluxshard.runtime.planned.hints import level_motion
from fluxshard.runtime.planned.levels import Level, level_of_grids

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
        found = patches(motion.displacement)
        first = _packed(motion.valid, found.before)
        return _parts(compress(first), compress(_packed(found.above)), compress(split(found.steps)))

    def decode(self, data: bytes) -> MotionField:
        """The field of these bytes. A displacement that points outside of the image is kept: such cells have no source.

        Raises:
          WireError: damaged, or of another size.
        """
        rows, columns = self.shape
        firsts, aboves, steps = _split_parts(data, 3)
        bits = _bits(firsts, 2 * rows * columns, "the motion's cells").reshape(2, rows, columns)
        valid, before = bits[0].copy(), bits[1]
        above = _bits(aboves, int(np.count_nonzero(~before)), "the motion's cells that are as those above them")
        count = int(np.count_nonzero(~above))
        words = joined(decompress(steps, 4 * count, "the motion's displacements")).reshape(2, count)
        return MotionField(field_of(Patches(before, above, words)), valid, self.cell_px)


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
        bits, steps, scales = [], [], bytearray()
        for level, field in zip(self._levels, motion.levels, strict=True):
            expected, valid = self._expected(motion.image, level)
            found, scaled = self._differences(level, field.displacement - expected.astype(np.int16))
            scales.append(scaled)
            bits += [field.valid ^ valid, found.some]
            steps.append(found.steps)
        return b"".join(
            (
                _LEVELS,
                bytes(scales),
                _parts(
                    self._fields.encode(motion.image),
                    compress(_packed(*bits)),
                    compress(split(np.concatenate(steps))),
                ),
            )
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
        scales, n = rest[: len(self._levels)], len(self._levels)
        if len(scales) < n or max(scales) > 1:
            raise WireError("the levels of the frame's motion are counted in no known way")
        image_bytes, bit_bytes, step_bytes = _split_parts(rest[n:], 3)
        image = self._fields.decode(image_bytes)
        rows, columns = self._fields.shape
        shapes = [
            self._lattice(level) if scaled else (rows, columns)
            for level, scaled in zip(self._levels, scales, strict=True)
        ]
        counts = [rows * columns + 2 * shape[0] * shape[1] for shape in shapes]
        bits = np.split(_bits(bit_bytes, sum(counts), "the cells of levels"), np.cumsum(counts)[:-1])
        somes = [each[rows * columns :].reshape(2, *shape) for each, shape in zip(bits, shapes, strict=True)]
        numbers = [int(np.count_nonzero(some)) for some in somes]
        words = joined(decompress(step_bytes, 2 * sum(numbers), "the displacements of levels"))
        fields = []
        for level, scaled, each, some, steps in zip(
            self._levels, scales, bits, somes, np.split(words, np.cumsum(numbers)[:-1]), strict=True
        ):
            expected, valid = self._expected(image, level)
            apart = differences_of(Strays(some, steps))
            if scaled:
                apart = self._spread(level, apart * np.int16(_stride(level)))
            unlike = each[: rows * columns].reshape(rows, columns)
            fields.append(MotionField(expected.astype(np.int16) + apart, valid ^ unlike))
        return LevelMotion(image, tuple(fields), self._level_of)

    def _differences(self, level: Level, apart: NDArray[np.int16]) -> tuple[Strays, bool]:
        """What a level has of its own, and whether that is counted in shards and strides."""
        side, stride = _side(level), _stride(level)
        shards = apart[::side, ::side]
        steps, rest = np.divmod(shards, np.int16(stride))
        if not rest.any() and (self._spread(level, shards) == apart).all():
            return strays(steps), True
        return strays(apart), False

    def _lattice(self, level: Level) -> tuple[int, int]:
        """(rows, columns) of a level's shards."""
        rows, columns = self._fields.shape
        return -(-rows // _side(level)), -(-columns // _side(level))

    def _spread(self, level: Level, shards: NDArray[np.int16]) -> NDArray[np.int16]:
        """Values of shards for all their cells."""
        rows, columns = self._fields.shape
        side = _side(level)
        return shards.repeat(side, axis=0).repeat(side, axis=1)[:rows, :columns]

    def _expected(self, image: MotionField, level: Level) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """What a level would move by if it moved as the image."""
        return level_motion(image, level, self._grids[level.grids[0]], self._size)


def _side(level: Level) -> int:
    """Cells along a shard."""
    return max(1, level.shard_px // CELL_PX)


def _stride(level: Level) -> int:
    """Whole pixels between cells of a level's features."""
    return max(1, int(level.stride[0])) if level.stride[0] == level.stride[1] else 1


def _packed(*masks: NDArray[np.bool_]) -> bytes:
    """Bits of masks, one after the other."""
    return np.packbits(np.concatenate([mask.reshape(-1) for mask in masks])).tobytes()


def _bits(data: bytes, count: int, what: str) -> NDArray[np.bool_]:
    """So many bits, as they were compressed; see `decompress`."""
    content = np.frombuffer(decompress(data, -(-count // 8), what), np.uint8)
    return np.unpackbits(content, count=count).astype(np.bool_)


def _parts(*parts: bytes) -> bytes:
    """Parts and their sizes."""
    return b"".join([*(_SIZE.pack(len(part)) for part in parts), *parts])


def _split_parts(data: bytes, count: int) -> list[bytes]:
    """What `_parts` was given.

    Raises:
      WireError: there are more bytes, or fewer.
    """
    start = count * _SIZE.size
    if len(data) < start:
        raise WireError("motion is shorter than its head")
    sizes = [_SIZE.unpack_from(data, number * _SIZE.size)[0] for number in range(count)]
    if len(data) != start + sum(sizes):
        raise WireError("motion has another length than its head says")
    parts = []
    for size in sizes:
        parts.append(data[start : start + size])
        start += size
    return parts
