"""Detections as bytes: a few kilobytes where the network's outputs are megabytes."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from fluxshard.cloud.wire.compression import compress, decompress
from fluxshard.errors import WireError
from fluxshard.models.detections.detections import Detections
from fluxshard.models.detections.mask_windows import MaskWindow, MaskWindows, windowed

MAX_OBJECTS = 10_000
MAX_BYTES = 16 << 20
_SIZE = struct.Struct("<I")  # of what is compressed
_HEAD = struct.Struct("<HHHHHHBB")  # objects, image, prototypes, keypoints, values of each, masks or not
_PLACE = struct.Struct("<4d")  # scale and offset of masks
_WINDOW = struct.Struct("<HHHH")


def encode_detections(found: Detections) -> bytes:
    """The bytes of detections; masks are sent as windows, see `windowed`.

    Raises:
      WireError: more objects than are allowed, or masks that were moved: their receiver moves what the network gave.
    """
    if len(found) > MAX_OBJECTS:
        raise WireError(f"there are {len(found)} objects; {MAX_OBJECTS} are allowed")
    found = windowed(found)
    masks = found.masks
    assert masks is None or isinstance(masks, MaskWindows)
    if masks is not None and masks.moves:
        raise WireError("the masks were moved; send the detections that they were moved from, and move them there")
    points = found.keypoints
    count, values = (0, 0) if points is None else points.shape[1:]
    cells = (0, 0) if masks is None else masks.cells
    parts = [
        _HEAD.pack(len(found), *found.shape, *cells, count, values, int(masks is not None) + 2 * (points is not None)),
        found.boxes.astype("<f4").tobytes(),
        found.scores.astype("<f4").tobytes(),
        found.classes.astype("<i4").tobytes(),
        b"" if points is None else points.astype("<f4").tobytes(),
    ]
    if masks is not None:
        parts.append(_PLACE.pack(*masks.scale, *masks.offset))
        parts += [_WINDOW.pack(one.top, one.left, *one.logits.shape) for one in masks.windows]
        parts += [one.logits.astype("<f2").tobytes() for one in masks.windows]
    content = b"".join(parts)
    return _SIZE.pack(len(content)) + compress(content)


def decode_detections(data: bytes) -> Detections:
    """The detections of these bytes.

    Raises:
      WireError: damaged.
    """
    if len(data) < _SIZE.size:
        raise WireError("the detections are damaged")
    (size,) = _SIZE.unpack_from(data)
    if size > MAX_BYTES:
        raise WireError(f"detections take more than {MAX_BYTES} bytes")
    reader = _Reader(decompress(data[_SIZE.size :], size, "the detections"))
    n, height, width, cells_y, cells_x, count, values, flags = reader.unpack(_HEAD)
    if n > MAX_OBJECTS or flags > 3 or not height or not width:
        raise WireError("the detections are damaged")
    boxes, scores = reader.floats(4 * n).reshape(n, 4), reader.floats(n)
    classes = reader.array(n, "<i4").astype(np.int64)
    points = reader.floats(n * count * values).reshape(n, count, values) if flags & 2 else None
    masks = _masks(reader, n, (cells_y, cells_x)) if flags & 1 else None
    reader.end()
    return Detections(boxes, scores, classes, (height, width), masks, points)


class _Reader:
    """Takes what is expected from bytes; anything else is damage."""

    def __init__(self, content: bytes) -> None:
        self._content, self._at = content, 0

    def unpack(self, layout: struct.Struct) -> tuple[int, ...]:
        return layout.unpack(self._take(layout.size))

    def array(self, count: int, kind: str) -> NDArray[np.generic]:
        return np.frombuffer(self._take(count * np.dtype(kind).itemsize), kind)

    def floats(self, count: int) -> NDArray[np.float32]:
        found = self.array(count, "<f4").astype(np.float32)
        if not np.isfinite(found).all():
            raise WireError("the detections are damaged")
        return found

    def end(self) -> None:
        if self._at != len(self._content):
            raise WireError("the detections are damaged")

    def _take(self, size: int) -> bytes:
        if self._at + size > len(self._content):
            raise WireError("the detections are damaged")
        self._at += size
        return self._content[self._at - size : self._at]


def _masks(reader: _Reader, n: int, cells: tuple[int, int]) -> MaskWindows:
    scale_y, scale_x, offset_y, offset_x = (float(value) for value in reader.unpack(_PLACE))
    if not np.isfinite((scale_y, scale_x, offset_y, offset_x)).all() or not (scale_y > 0 and scale_x > 0):
        raise WireError("the detections are damaged")
    places = [reader.unpack(_WINDOW) for _ in range(n)]
    if any(top + rows > cells[0] or left + columns > cells[1] for top, left, rows, columns in places):
        raise WireError("the detections are damaged")
    windows = []
    for top, left, rows, columns in places:
        logits = reader.array(rows * columns, "<f2").astype(np.float16).reshape(rows, columns)
        windows.append(MaskWindow(top, left, logits))
    return MaskWindows(tuple(windows), cells, (scale_y, scale_x), (offset_y, offset_x))
