"""JPEG streams: one kind passes, everything else is refused before a decoder sees it."""

from __future__ import annotations

import io
import struct
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageFile

from fluxshard.errors import WireError

pytest.importorskip("zstandard", reason="zstandard is not installed: pip install '.[cloud]'")

from fluxshard.cloud.wire.pixels.jpeg_stream import check_jpeg, decode_jpeg, encode_jpeg
from tests.unit.cloud.wire.pictures import picture

SIZE = (32, 48)
PIXELS = picture(SIZE, "smooth", 0)
GOOD = encode_jpeg(PIXELS, 90)


def saved(kind: str = "JPEG", mode: str = "RGB", **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(PIXELS).convert(mode).save(stream, kind, **options)  # type: ignore[arg-type]
    return stream.getvalue()


def mpo() -> bytes:
    return saved("MPO", quality=90, subsampling="4:2:0", save_all=True, append_images=[Image.fromarray(PIXELS)])


def of_size(height: int, width: int) -> bytes:
    at = GOOD.index(b"\xff\xc0") + 5
    return GOOD[:at] + struct.pack(">HH", height, width) + GOOD[at + 4 :]


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (16, 16), (33, 47), (16, 65488)])
@pytest.mark.parametrize("quality", [1, 50, 90, 100])
def test_pictures_come_back_about_as_they_were(size: tuple[int, int], quality: int) -> None:
    pixels = picture(size, "smooth", 1)
    data = encode_jpeg(pixels, quality)
    found = decode_jpeg(data, *size)
    assert found.shape == pixels.shape and found.flags["WRITEABLE"]
    assert (found == np.asarray(Image.open(io.BytesIO(data)))).all()
    if quality >= 90:
        assert np.abs(found.astype(int) - pixels).mean() < 4


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: b"", "not a JPEG stream"),
        (lambda: saved("PNG"), "not a JPEG stream"),
        (lambda: saved("WEBP"), "not a JPEG stream"),
        (mpo, "parts that are not allowed"),
        (lambda: saved(quality=90, progressive=True), "parts that are not allowed"),
        (lambda: saved(quality=90, comment=b"hello"), "parts that are not allowed"),
        (lambda: saved(quality=90, exif=b"Exif\0\0abc"), "parts that are not allowed"),
        (lambda: saved(quality=90, icc_profile=b"abc"), "parts that are not allowed"),
        (lambda: saved(quality=90, restart_marker_rows=1), "parts that are not allowed"),
        (lambda: saved(quality=90, subsampling="4:4:4"), "other components"),
        (lambda: saved(mode="L"), "another size"),
        (lambda: saved(mode="CMYK"), "parts that are not allowed"),
        (lambda: GOOD + b"\0", "cut off, or goes on"),
        (lambda: GOOD + GOOD, "cut off, or goes on"),
        (lambda: GOOD[:-2], "cut off, or goes on"),
        (lambda: GOOD[:-30], "cut off, or goes on"),
        (lambda: GOOD[:300], "cut off"),
        (lambda: GOOD[:100], "cut off"),
        (lambda: GOOD[:2], "cut off"),
        (lambda: GOOD[:2] + b"\xff\xe0\0\0" + GOOD[2:], "cut off"),
        (lambda: of_size(32, 49), "another size"),
        (lambda: of_size(0, 48), "another size"),
        (lambda: of_size(65500, 65500), "another size"),
    ],
)
def test_other_streams_are_refused(make: Callable[[], bytes], message: str) -> None:
    with pytest.raises(WireError, match=message):
        decode_jpeg(make(), *SIZE)


def test_two_frames_or_none() -> None:
    at = GOOD.index(b"\xff\xc0")
    frame = GOOD[at : at + 19]
    for data in (GOOD[:at] + frame + GOOD[at:], GOOD[:at] + GOOD[at + 19 :]):
        with pytest.raises(WireError, match="not one baseline scan"):
            check_jpeg(data, *SIZE)


def test_a_size_is_refused_before_anything_is_allocated() -> None:
    data = of_size(65500, 65500)
    tracemalloc.start()
    try:
        with pytest.raises(WireError, match="another size"):
            decode_jpeg(data, *SIZE)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000


def test_tables_that_make_no_sense_are_refused() -> None:
    at = GOOD.index(b"\xff\xc4")
    with pytest.raises(WireError, match="is damaged"):
        decode_jpeg(GOOD[: at + 4] + b"\x00" + b"\xf0" * 16 + GOOD[at + 21 :], *SIZE)


def test_what_other_libraries_set_in_pillow_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(WireError, match="cut off"):
        decode_jpeg(GOOD[:-20], *SIZE)
