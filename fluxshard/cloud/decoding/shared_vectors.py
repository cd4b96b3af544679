"""Motion vectors in the memory that a decoder's child process shares with the server. Without torch.

The child may be in the hands of whoever sent the video, so what the server reads is copied first and then checked: it
is what libavcodec gives for H.264, or it is not used.

Source: FFmpeg's AVMotionVector (libavutil/motion_vector.h), and add_mb and ff_print_debug_info2 in
libavcodec/mpegutils.c.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fluxshard.cloud.decoding.protocol import MARGIN_PX, picture_bytes
from fluxshard.errors import DecoderError

# the members of AVMotionVector that say where a block was
VECTOR = np.dtype(
    [
        ("source", "<i4"),
        ("motion_x", "<i4"),
        ("motion_y", "<i4"),
        ("dst_x", "<i2"),
        ("dst_y", "<i2"),
        ("motion_scale", "<u2"),
        ("w", "u1"),
        ("h", "u1"),
    ]
)
_HEAD = struct.Struct("<II")  # VectorState; number of vectors
_MACROBLOCK_PX, _BLOCK_PX = 16, 8
_PER_MACROBLOCK = 8  # four blocks of 8x8, each from a picture before and one after
_MOST_SCALE, _MOST_MOTION = 4, 1 << 16  # quarters of a pixel; int16 in libavcodec, doubled for fields


class VectorState(IntEnum):
    """What is known of a packet's motion.

    Attributes:
      NO_PICTURE: the packet held none.
      UNKNOWN: its picture has no vectors, as keyframes, or such as do not refer to the picture before.
      KNOWN: where blocks were in the picture before.
    """

    NO_PICTURE = 0
    UNKNOWN = 1
    KNOWN = 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PacketVectors:
    """Motion of one packet.

    Attributes:
      state: what is known.
      vectors: structured array with the members of `VECTOR`, in pixels of the picture; empty unless known.
    """

    state: VectorState
    vectors: NDArray[Any]


def most_vectors(picture_size: tuple[int, int]) -> int:
    """Most vectors of a picture of (h, w)."""
    rows, columns = (-(-(side + MARGIN_PX) // _MACROBLOCK_PX) for side in picture_size)
    return _PER_MACROBLOCK * rows * columns


def vector_bytes(picture_size: tuple[int, int]) -> int:
    """Bytes of memory for the vectors of a picture of (h, w)."""
    return _HEAD.size + VECTOR.itemsize * most_vectors(picture_size)


def shared_bytes(picture_size: tuple[int, int], *, vectors: bool) -> int:
    """Bytes of the memory that a child process shares with the server: a picture and, where wanted, its vectors."""
    return picture_bytes(picture_size) + (vector_bytes(picture_size) if vectors else 0)


def write_vectors(memory: NDArray[np.uint8], state: VectorState, vectors: NDArray[Any] | None = None) -> None:
    """Writes what is known of a packet's motion; in the child.

    Args:
      memory: of `vector_bytes`.
      state: what is known. More vectors than there is room for are not.
      vectors: structured array that has at least the members of `VECTOR`.
    """
    records = memory[_HEAD.size :].view(VECTOR)
    count = 0 if vectors is None else len(vectors)
    if count > len(records):
        state, count = VectorState.UNKNOWN, 0
    if vectors is not None and count:
        for name in VECTOR.names or ():
            records[name][:count] = vectors[name]
    memory[: _HEAD.size] = np.frombuffer(_HEAD.pack(state, count), np.uint8)


def read_vectors(memory: mmap.mmap | bytes, start: int, picture_size: tuple[int, int]) -> PacketVectors:
    """Reads what the child has written; in the server.

    Args:
      memory: that is shared.
      start: of the `vector_bytes` in it.
      picture_size: (h, w) of the pictures.

    Raises:
      DecoderError: it is nothing that a decoder writes.
    """
    number, count = _HEAD.unpack(memory[start : start + _HEAD.size])
    try:
        state = VectorState(number)
    except ValueError:
        raise _impossible() from None
    if count > (most_vectors(picture_size) if state is VectorState.KNOWN else 0):
        raise _impossible()
    start += _HEAD.size
    # bytes are a copy: the child could change what is shared after the checks
    vectors = np.frombuffer(memory[start : start + VECTOR.itemsize * count], VECTOR)
    if not _is_possible(vectors, picture_size):
        raise _impossible()
    return PacketVectors(state=state, vectors=vectors)


def _is_possible(vectors: NDArray[Any], picture_size: tuple[int, int]) -> bool:
    """Whether these are blocks of 8 or 16 px inside of macroblocks, with vectors that H.264 has."""
    good = (np.abs(vectors["source"].astype(np.int64)) <= 1) & _within(vectors["motion_scale"], 1, _MOST_SCALE)
    for side, centre, motion, length in zip(
        ("h", "w"), ("dst_y", "dst_x"), ("motion_y", "motion_x"), picture_size, strict=True
    ):
        block = vectors[side].astype(np.int64)
        first = vectors[centre].astype(np.int64) - block // 2
        good &= (block == _BLOCK_PX) | (block == _MACROBLOCK_PX)
        good &= (first % _BLOCK_PX == 0) & _within(first, 0, length + MARGIN_PX - _BLOCK_PX)
        good &= _within(vectors[motion], -_MOST_MOTION, _MOST_MOTION)
    return bool(good.all())


def _within(values: NDArray[Any], least: int, most: int) -> NDArray[np.bool_]:
    return np.asarray((values >= least) & (values <= most), np.bool_)


def _impossible() -> DecoderError:
    return DecoderError("the decoder's process gave vectors that no video has; the next keyframe starts another")
