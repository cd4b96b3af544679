"""Lossless JPEG XL through imagecodecs (extra `jxl`).

A codestream says itself how large it is, and libjxl allocates what it says. So everything up to the pixels is read here
first, bit by bit, and has to be what this encoder writes: a bare codestream of one frame of 8-bit sRGB, of the expected
size, whose parts add up to the length of the data.

Effort 1, the fastest, is not used: there, libjxl up to 0.11.2 changes a pixel of some pictures (libjxl issues 4026 and
4287; the tests have one).

Source: ISO/IEC 18181-1: size header, image metadata, frame header and table of contents.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fluxshard.errors import OptionError, WireError

MOST_JPEG_XL_PX = 2048  # libjxl writes larger pictures in an order of their own
_EFFORT = 2
_SIGNATURE = b"\xff\x0a"
_ASPECT_RATIOS = ((1, 1), (6, 5), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))  # width to height, by number from 1
_SIZES = ((9, 1), (13, 1), (18, 1), (30, 1))  # bits of a length, and what is added to it, by selector
_PART_SIZES = ((10, 0), (14, 1024), (22, 17408), (30, 4211712))
# lowest bit first: not all default; no extra fields; 8-bit integers; buffers of 16 bits are enough; no extra channels;
# no XYB; colours all default (sRGB); no extensions; default transform
_METADATA = (0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 1)
# not all default; regular frame; modular; no flags (2 bits); no YCbCr; no upsampling
_FRAME_START = (0, 0, 0, 1, 0, 0, 0, 0, 0)
# one pass; the image's own size; replaces what was there; last frame; no name; no filters of any kind; no extensions,
# twice; a table of contents in order
_FRAME_END = (0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)


def encode_jpeg_xl(picture: NDArray[np.uint8]) -> bytes:
    """The codestream of a picture.

    Args:
      picture: `(H, W, 3)` RGB, contiguous, sides at most `MOST_JPEG_XL_PX`.
    """
    import imagecodecs

    return bytes(imagecodecs.jpegxl_encode(picture, effort=_EFFORT, lossless=True, usecontainer=False, numthreads=1))


def decode_jpeg_xl(data: bytes, height: int, width: int) -> NDArray[np.uint8]:
    """The picture of a codestream, `(H, W, 3)` RGB.

    Args:
      data: from `encode_jpeg_xl`.
      height, width: that it must have, in pixels.

    Raises:
      WireError: damaged, cut off, of another size, or not such a codestream.
    """
    import imagecodecs

    check_jpeg_xl(data, height, width)
    picture = np.empty((height, width, 3), np.uint8)
    try:
        imagecodecs.jpegxl_decode(data, index=0, numthreads=1, out=picture)
    except Exception:  # whatever a library says to bytes of a stranger
        raise WireError("the frame's JPEG XL codestream is damaged") from None
    return picture


def require_jpeg_xl() -> None:
    """Refuses machines that cannot code JPEG XL so that others read it.

    Raises:
      OptionError: imagecodecs is missing, was built without libjxl, or its libjxl writes other headers.
    """
    sample = np.zeros((8, 8, 3), np.uint8)
    try:
        check_jpeg_xl(encode_jpeg_xl(sample), 8, 8)
    except WireError:
        raise OptionError("this libjxl writes other headers than are allowed here: use coding='median'") from None
    except ImportError:  # imagecodecs raises it for parts that it was built without, too
        raise OptionError(
            "coding 'jpeg_xl' needs imagecodecs with libjxl: pip install 'fluxshard[jxl]', or use coding='median'"
        ) from None


def check_jpeg_xl(data: bytes, height: int, width: int) -> None:
    """Refuses everything but a whole codestream of the fixed kind and of this size; allocates nothing.

    Raises:
      WireError: see there.
    """
    if not data.startswith(_SIGNATURE):
        raise WireError("the frame's pixels are not a JPEG XL codestream")
    bits = _Bits(data, len(_SIGNATURE))
    if _size(bits) != (height, width):
        raise WireError("the frame's JPEG XL codestream declares another size than its mask asks for")
    bits.expect(_METADATA)
    bits.align()
    bits.expect(_FRAME_START)
    group_px = 128 << bits.take(2)
    bits.expect(_FRAME_END)
    bits.align()
    lengths = [bits.choose(_PART_SIZES) for _ in range(_parts(height, width, group_px))]
    bits.align()
    if bits.position // 8 + sum(lengths) != len(data):
        raise WireError("the frame's JPEG XL codestream is cut off, or goes on after its picture")


class _Bits:
    """Reads bits, the lowest of a byte first."""

    def __init__(self, data: bytes, start: int) -> None:
        self._data = data
        self.position = 8 * start

    def take(self, count: int) -> int:
        """The next bits, at most 32.

        Raises:
          WireError: there are no more.
        """
        first, end = self.position // 8, self.position + count
        if end > 8 * len(self._data):
            raise WireError("the frame's JPEG XL codestream is cut off")
        value = int.from_bytes(self._data[first : first + 5], "little") >> self.position % 8
        self.position = end
        return value & ((1 << count) - 1)

    def choose(self, table: tuple[tuple[int, int], ...]) -> int:
        """A number that says in two bits how many it has."""
        count, offset = table[self.take(2)]
        return self.take(count) + offset

    def expect(self, bits: tuple[int, ...]) -> None:
        """Takes bits that have to be these.

        Raises:
          WireError: they are others, or there are no more.
        """
        if any(self.take(1) != bit for bit in bits):
            raise WireError("the frame's JPEG XL codestream has parts that are not allowed")

    def align(self) -> None:
        """Goes on to a whole byte; the bits in between have to be zero."""
        self.expect((0,) * (-self.position % 8))


def _size(bits: _Bits) -> tuple[int, int]:
    """(H, W) that a size header declares."""
    small = bits.take(1)  # in multiples of 8, up to 256

    def length() -> int:
        return 8 * (bits.take(5) + 1) if small else bits.choose(_SIZES)

    height, ratio = length(), bits.take(3)
    if not ratio:
        return height, length()
    across, down = _ASPECT_RATIOS[ratio - 1]
    return height, height * across // down


def _parts(height: int, width: int, group_px: int) -> int:
    """Entries of the table of contents: one, or what all groups share, coarse groups, one more, and groups.

    Args:
      height, width: of the picture in pixels.
      group_px: side of a group; coarse groups are eight times as large.
    """
    groups = _count(height, group_px) * _count(width, group_px)
    return 1 if groups == 1 else groups + _count(height, 8 * group_px) * _count(width, 8 * group_px) + 2


def _count(length_px: int, side_px: int) -> int:
    return -(-length_px // side_px)
