"""JPEG streams of one fixed kind: baseline, one scan, 4:2:0, nothing but the picture.

A stream is checked from its first to its last marker before a decoder sees it, so that a stranger chooses the numbers
in it but neither the size of the picture nor how it is coded.
"""

from __future__ import annotations

import io
import struct

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from fluxshard.errors import WireError

MOST_COLUMNS_PX = 65488  # of a picture, in whole blocks of 16 px. Source: JPEG_MAX_DIMENSION of libjpeg is 65500
_START, _END = b"\xff\xd8", b"\xff\xd9"
_JFIF, _TABLES, _FRAME, _SCAN = 0xFFE0, (0xFFDB, 0xFFC4), 0xFFC0, 0xFFDA
_FRAME_HEAD = struct.Struct(">BHHB")  # bits of a sample, height, width, components
# id and sampling factors of each component: Y with twice the samples of Cb and Cr on each axis
_COMPONENTS = ((1, 0x22), (2, 0x11), (3, 0x11))
_WHOLE_SPECTRUM = b"\x00\x3f\x00"  # coefficients 0 to 63 in one scan


def encode_jpeg(picture: NDArray[np.uint8], quality: int) -> bytes:
    """The stream of a picture.

    Args:
      picture: `(H, W, 3)` RGB, contiguous.
      quality: 1 to 100, as libjpeg scales its tables.
    """
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=quality, subsampling="4:2:0")
    return stream.getvalue()


def decode_jpeg(data: bytes, height: int, width: int) -> NDArray[np.uint8]:
    """The picture of a stream, `(H, W, 3)` RGB: the same on every machine with the same libjpeg.

    Pillow decodes with libjpeg-turbo's accurate integer DCT (ISLOW), which does not depend on the processor.

    Args:
      data: from `encode_jpeg`.
      height, width: that it must have, in pixels.

    Raises:
      WireError: damaged, cut off, of another size, or not such a stream.
    """
    check_jpeg(data, height, width)
    try:
        with JpegImageFile(io.BytesIO(data)) as image:
            picture = np.array(image)
    except Exception:  # whatever the parser of a library says to bytes of a stranger
        raise WireError("the frame's JPEG stream is damaged") from None
    if picture.shape != (height, width, 3) or picture.dtype != np.uint8:
        raise WireError("the frame's JPEG stream is not an RGB picture")
    return picture


def check_jpeg(data: bytes, height: int, width: int) -> None:
    """Refuses everything but a whole stream of the fixed kind and of this size; allocates nothing.

    Raises:
      WireError: see there.
    """
    if not data.startswith(_START):
        raise WireError("the frame's pixels are not a JPEG stream")
    at, frames = len(_START), 0
    while True:
        if len(data) < at + 4:
            raise WireError("the frame's JPEG stream is cut off")
        marker, length = struct.unpack_from(">HH", data, at)
        segment = data[at + 4 : at + 2 + length]
        if length < 2 or len(segment) != length - 2:
            raise WireError("the frame's JPEG stream is cut off")
        at += 2 + length
        if marker == _SCAN:
            break
        if marker == _FRAME:
            _check_frame(segment, height, width)
            frames += 1
        elif marker not in _TABLES and not (marker == _JFIF and segment.startswith(b"JFIF\0")):
            raise WireError("the frame's JPEG stream has parts that are not allowed")
    if frames != 1 or len(segment) != 10 or segment[0] != 3 or segment[7:] != _WHOLE_SPECTRUM:
        raise WireError("the frame's JPEG stream is not one baseline scan")
    scan = data[at:]
    # a byte of 255 is followed by a zero where it is a number, and is a marker otherwise: the end, once
    if not scan.endswith(_END) or scan.count(b"\xff") - scan.count(b"\xff\0") != 1:
        raise WireError("the frame's JPEG stream is cut off, or goes on after its picture")


def _check_frame(segment: bytes, height: int, width: int) -> None:
    if len(segment) != _FRAME_HEAD.size + 9 or _FRAME_HEAD.unpack_from(segment) != (8, height, width, 3):
        raise WireError("the frame's JPEG stream declares another size than its mask asks for")
    components = segment[_FRAME_HEAD.size :]
    if tuple(zip(components[0::3], components[1::3], strict=True)) != _COMPONENTS:
        raise WireError("the frame's JPEG stream has other components than YCbCr 4:2:0")
