"""JPEG XL codestreams: their headers are read here before libjxl sees them."""

from __future__ import annotations

import builtins
import resource
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxshard.errors import OptionError, WireError

pytest.importorskip("zstandard", reason="zstandard is not installed: pip install '.[cloud]'")
pytest.importorskip("imagecodecs", reason="imagecodecs is not installed: pip install '.[jxl]'")

import imagecodecs

from fluxshard.cloud.wire.pixels.jpeg_xl import check_jpeg_xl, decode_jpeg_xl, encode_jpeg_xl, require_jpeg_xl
from tests.unit.cloud.wire.pictures import KINDS, picture

SIZE = (384, 640)
PIXELS = picture(SIZE, "smooth", 0)
GOOD = encode_jpeg_xl(PIXELS)


def with_size(height: int, width: int) -> bytes:
    """A codestream that declares a size, with the rest of another: signature, size, metadata, frame."""
    bits = [
        0,
        1,
        1,
        *((height - 1) >> i & 1 for i in range(30)),
        0,
        0,
        0,
        1,
        1,
        *((width - 1) >> i & 1 for i in range(30)),
    ]
    bits += [0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 1]
    head = np.packbits(bits, bitorder="little").tobytes()
    return GOOD[:2] + head + GOOD[8:]


SIZES_OF_ALL_KINDS = [
    (1, 1), (8, 8), (8, 16), (256, 256), (16, 24), (264, 264), (30, 36), (48, 64), (33, 47), (90, 160), (20, 25),
    (257, 256), (384, 640), (513, 2047), (2048, 300), (9, 2048), (2048, 2048), (720, 1280),
]  # fmt: skip


@pytest.mark.parametrize("size", SIZES_OF_ALL_KINDS)
def test_pictures_of_all_sizes_come_back(size: tuple[int, int]) -> None:
    pixels = picture(size, "smooth", 1)
    assert (decode_jpeg_xl(encode_jpeg_xl(pixels), *size) == pixels).all()


@given(st.tuples(st.integers(1, 300), st.integers(1, 300)), KINDS, st.integers(0, 2**31))
def test_pictures_come_back(size: tuple[int, int], kind: str, seed: int) -> None:
    pixels = picture(size, kind, seed)
    assert (decode_jpeg_xl(encode_jpeg_xl(pixels), *size) == pixels).all()


def test_headers_of_libjxl_are_understood() -> None:
    """Any of them that is refused here would be lost in transport."""
    for height in range(1, 70):
        for width in (height, 2 * height, height * 4 // 3, height * 16 // 9, 640, 1000):
            data = encode_jpeg_xl(np.zeros((height, width, 3), np.uint8))
            check_jpeg_xl(data, height, width)
            with pytest.raises(WireError, match="another size"):
                check_jpeg_xl(data, height + 1, width)
            with pytest.raises(WireError, match="another size"):
                check_jpeg_xl(data, height, width + 1)


def test_a_codestream_that_declares_30000x30000() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(WireError, match="declares another size than its mask asks for"):
        decode_jpeg_xl(with_size(30000, 30000), *SIZE)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1024  # KiB; it would have been 2.7 GB
    check_jpeg_xl(with_size(*SIZE), *SIZE)  # the size is what it was refused for


def test_a_picture_that_is_larger_than_it_should_be() -> None:
    data = encode_jpeg_xl(np.zeros((4000, 4000, 3), np.uint8))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(WireError, match="another size"):
        decode_jpeg_xl(data, *SIZE)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1024


@pytest.mark.parametrize("effort", [1, 3, 7])
def test_other_efforts_are_the_same_kind(effort: int) -> None:
    assert (decode_jpeg_xl(imagecodecs.jpegxl_encode(PIXELS, effort=effort, lossless=True), *SIZE) == PIXELS).all()


def test_pictures_of_other_kinds_are_refused() -> None:
    layers = np.stack([PIXELS, PIXELS])
    alpha = np.dstack([PIXELS, PIXELS[..., 0]])
    for pixels in (np.ascontiguousarray(PIXELS[..., 0]), alpha, PIXELS.astype(np.uint16), layers):
        with pytest.raises(WireError):
            check_jpeg_xl(imagecodecs.jpegxl_encode(pixels, effort=1, lossless=True), *SIZE)
    for data, message in (
        (imagecodecs.jpegxl_encode(alpha, effort=1, lossless=True), "parts that are not allowed"),
        (imagecodecs.jpegxl_encode(PIXELS, effort=3, lossless=False, distance=1.0), "parts that are not allowed"),
        (imagecodecs.jpegxl_encode(PIXELS, effort=1, usecontainer=True), "not a JPEG XL codestream"),
    ):
        with pytest.raises(WireError, match=message):
            check_jpeg_xl(data, *SIZE)


def test_a_picture_that_effort_1_changes() -> None:
    """Symptom elsewhere: cjxl -d 0 -e 1 is lossy (libjxl 4287)."""
    pixels = picture((4, 23), "smooth", 5)
    assert (decode_jpeg_xl(encode_jpeg_xl(pixels), 4, 23) == pixels).all()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a JPEG XL"),
        (GOOD[:2], "cut off"),
        (GOOD[:12], "cut off"),
        (GOOD[:-1], "cut off, or goes on"),
        (GOOD + b"\0", "cut off, or goes on"),
        (GOOD + GOOD, "cut off, or goes on"),
    ],
)
def test_lengths_have_to_add_up(data: bytes, message: str) -> None:
    with pytest.raises(WireError, match=message):
        check_jpeg_xl(data, *SIZE)


def test_every_bit_before_the_pixels_is_checked() -> None:
    """The size, metadata, frame header and table of contents: changing any bit of them is noticed."""
    start = len(GOOD) - sum(_lengths(GOOD))
    for bit in range(8 * start):
        data = bytearray(GOOD)
        data[bit // 8] ^= 1 << bit % 8
        with pytest.raises(WireError):
            check_jpeg_xl(bytes(data), *SIZE)


def _lengths(data: bytes) -> list[int]:
    """Of the parts of GOOD; its header ends after byte 12."""
    value, position, result = int.from_bytes(data[12:60], "little"), 0, []
    for _ in range(9):
        bits, offset = ((10, 0), (14, 1024), (22, 17408), (30, 4211712))[value >> position & 3]
        result.append((value >> position + 2 & (1 << bits) - 1) + offset)
        position += 2 + bits
    return result


def test_a_machine_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    require_jpeg_xl()
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "imagecodecs":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(OptionError, match=r"pip install 'fluxshard\[jxl\]'"):
        require_jpeg_xl()


def test_a_libjxl_that_writes_other_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    real = imagecodecs.jpegxl_encode
    monkeypatch.setattr(imagecodecs, "jpegxl_encode", lambda picture, **_: real(picture, lossless=False))
    with pytest.raises(OptionError, match="writes other headers"):
        require_jpeg_xl()
