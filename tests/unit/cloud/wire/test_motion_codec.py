"""Motion over the wire: exact, small, and never more than its stream allows."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxshard.errors import WireError
from fluxshard.motion import MotionField, cells

pytest.importorskip("zstandard", reason="zstandard is not installed: pip install '.[cloud]'")

from fluxshard.cloud.wire.compression import compress
from fluxshard.cloud.wire.motion_codec import MotionCodec


def field_of(height: int, width: int, cell_px: int, seed: int, span: int = 32767) -> MotionField:
    rng = np.random.default_rng(seed)
    shape = cells(height, cell_px), cells(width, cell_px)
    return MotionField(rng.integers(-span, span + 1, (*shape, 2)), rng.random(shape) < 0.8, cell_px)


@given(
    height=st.integers(1, 90), width=st.integers(1, 90), cell_px=st.sampled_from([4, 8, 16]),
    seed=st.integers(0, 2**31), span=st.sampled_from([0, 3, 200, 32767]),
)  # fmt: skip
def test_fields_come_back(height: int, width: int, cell_px: int, seed: int, span: int) -> None:
    codec, motion = MotionCodec(height, width, cell_px), field_of(height, width, cell_px, seed, span)
    found = codec.decode(codec.encode(motion))
    assert found.cell_px == cell_px and (found.valid == motion.valid).all()
    assert (found.displacement == motion.displacement).all() and found.displacement.dtype == np.int16


def test_a_pan_takes_few_bytes() -> None:
    codec = MotionCodec(640, 640, 8)
    assert len(codec.encode(MotionField.uniform(640, 640, -3, 17))) < 150


@given(st.binary(max_size=120))
def test_noise_is_an_error_of_ours(data: bytes) -> None:
    with pytest.raises(WireError):
        MotionCodec(16, 24, 8).decode(data)


@given(seed=st.integers(0, 2**31), position=st.integers(0, 10**6), flip=st.integers(1, 255))
def test_damage_never_gives_another_shape(seed: int, position: int, flip: int) -> None:
    codec = MotionCodec(48, 64, 8)
    data = bytearray(codec.encode(field_of(48, 64, 8, seed, 20)))
    data[position % len(data)] ^= flip
    try:
        found = codec.decode(bytes(data))
    except WireError:
        return
    assert found.valid.shape == (6, 8) and found.displacement.shape == (6, 8, 2)


def test_parts_of_other_sizes() -> None:
    codec = MotionCodec(16, 24, 8)  # 2 x 3 cells: 1 byte of bits, 24 of displacements
    good, short = compress(bytes(1)), compress(bytes(20))
    for valid, moved, message in (
        (good, short, "displacements declares another size"),
        (compress(bytes(2)), compress(bytes(24)), "valid cells declares another size"),
    ):
        with pytest.raises(WireError, match=message):
            codec.decode(struct.pack("<II", len(valid), len(moved)) + valid + moved)
    with pytest.raises(WireError, match="another length than its head"):
        codec.decode(struct.pack("<II", 2**31, 2**31) + good)


def test_fields_of_other_streams_and_sizes_that_are_not_allowed() -> None:
    with pytest.raises(WireError, match=r"of \(2, 3\) cells of 8 px was given; this stream has \(4, 6\) of 4 px"):
        MotionCodec(16, 24, 4).encode(MotionField.zero(16, 24))
    for height, width, cell_px in ((0, 8, 8), (8, 8, 0), (8, 8, 65)):
        with pytest.raises(WireError, match="is not allowed"):
            MotionCodec(height, width, cell_px)
