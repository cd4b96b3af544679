"""Compressed parts: what comes back, and that nobody allocates what a stranger declares."""

from __future__ import annotations

import resource

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxshard.errors import WireError

pytest.importorskip("zstandard", reason="zstandard is not installed: pip install '.[cloud]'")

from fluxshard.cloud.wire.compression import MAX_BYTES, compress, compress_noise, decompress

BOMB = bytes.fromhex("28b52ffde06c06060663636363")


@given(st.binary(max_size=5000))
def test_what_goes_in_comes_out(content: bytes) -> None:
    for frame in (compress(content), compress_noise(content)):
        assert decompress(frame, len(content), "a part") == content


def test_noise_is_coded_and_not_searched() -> None:
    residuals = np.random.default_rng(0).laplace(0, 3, 300_000).astype(np.int8).tobytes()
    frame = compress_noise(residuals)
    assert len(frame) < 0.95 * len(compress(residuals)) and decompress(frame, 300_000, "a part") == residuals
    assert len(compress_noise(bytes(300_000))) < 200  # runs are found all the same


def test_a_frame_that_declares_a_terabyte() -> None:
    """Symptom elsewhere: 13 bytes make the receiver ask for 1.1 TB, though it allowed less (python-zstandard 332)."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for expected in (0, 100, MAX_BYTES):
        with pytest.raises(WireError, match="the mask declares another size"):
            decompress(BOMB, expected, "the mask")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1024  # KiB


@given(st.binary(max_size=200), st.integers(0, 1000))
def test_anything_else_is_an_error_of_ours(data: bytes, n_bytes: int) -> None:
    try:
        content = decompress(data, n_bytes, "a part")
    except WireError:
        return
    assert len(content) == n_bytes


@given(st.binary(min_size=50, max_size=500), st.data())
def test_damage_is_said(content: bytes, data: st.DataObject) -> None:
    frame = bytearray(compress(content))
    position = data.draw(st.integers(0, len(frame) - 1))
    frame[position] ^= data.draw(st.integers(1, 255))
    try:
        found = decompress(bytes(frame), len(content), "a part")
    except WireError:
        return
    assert len(found) == len(content)  # damage inside of literals is not seen here: messages have a checksum


@pytest.mark.parametrize(
    ("data", "n_bytes", "message"),
    [
        (compress(b"abc") + b"x", 3, "is a damaged"),
        (compress(b"abc")[:-1], 3, "is a damaged"),
        (compress(b"abc"), 4, "declares another size"),
        (b"", 0, "is not a zstandard frame"),
        (compress(b"abc"), MAX_BYTES + 1, "bytes; 67108864 are allowed"),
    ],
)
def test_frames_that_are_refused(data: bytes, n_bytes: int, message: str) -> None:
    with pytest.raises(WireError, match=message):
        decompress(data, n_bytes, "a part")
