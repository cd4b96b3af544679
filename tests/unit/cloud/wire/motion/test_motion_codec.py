"""Motion over the wire: exact, small, and never more than its stream allows."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxshard.errors import WireError
from fluxshard.motion import MotionField, cells
from fluxshard.runtime.level_motion import LevelMotion, Motion
from fluxshard.runtime.planned.hints import level_motion
from fluxshard.runtime.planned.levels import level_of_grids
from tests.unit.runtime.planned.slow_image_test import grids_of, level

pytest.importorskip("zstandard", reason="zstandard is not installed: pip install '.[cloud]'")

from fluxshard.cloud.wire.compression import compress
from fluxshard.cloud.wire.motion.motion_codec import LevelMotionCodec, MotionCodec


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
    codec = MotionCodec(16, 24, 8)  # 2 x 3 cells: 12 bits, of which the last 6 say that all are 0
    whole, none = compress(b"\x03\xf0"), compress(b"")
    assert (codec.decode(parts(whole, none, none)).displacement == 0).all()
    for first, second, third, message in (
        (compress(bytes(3)), none, none, "the motion's cells declares another size than the 2 bytes"),
        (compress(bytes(2)), none, none, "those above them declares another size than the 1 bytes"),
        (compress(bytes(2)), compress(bytes(1)), compress(bytes(8)), "displacements declares another size than the 24"),
    ):
        with pytest.raises(WireError, match=message):
            codec.decode(parts(first, second, third))
    with pytest.raises(WireError, match="another length than its head"):
        codec.decode(struct.pack("<III", 2**31, 2**31, 2**31) + whole)


def parts(*each: bytes) -> bytes:
    return struct.pack("<III", *map(len, each)) + b"".join(each)


def test_fields_of_other_streams_and_sizes_that_are_not_allowed() -> None:
    with pytest.raises(WireError, match=r"of \(2, 3\) cells of 8 px was given; this stream has \(4, 6\) of 4 px"):
        MotionCodec(16, 24, 4).encode(MotionField.zero(16, 24))
    for height, width, cell_px in ((0, 8, 8), (8, 8, 0), (8, 8, 65)):
        with pytest.raises(WireError, match="is not allowed"):
            MotionCodec(height, width, cell_px)


SIZE = (45, 70)
LEVELS = (level(2, grid=1), level(8, grid=2), level(16, grid=4, shard_px=16))
GRIDS = grids_of(SIZE, (*LEVELS[:2], level(4), LEVELS[2]))


def level_codec() -> LevelMotionCodec:
    return LevelMotionCodec(SIZE, LEVELS, GRIDS)


def moves(seed: int, stray: float = 0.1) -> LevelMotion:
    """Levels that mostly move as the image does."""
    rng = np.random.default_rng(seed)
    image = field_of(*SIZE, 8, seed, 30)
    fields = []
    for one in LEVELS:
        shift, valid = level_motion(image, one, GRIDS[one.grids[0]], SIZE)
        other = rng.random(valid.shape) < stray
        shift[other] = rng.integers(-32768, 32768, (int(other.sum()), 2))
        fields.append(MotionField(shift, valid ^ (rng.random(valid.shape) < stray)))
    return LevelMotion(image, tuple(fields), level_of_grids(LEVELS))


def assert_equal(one: Motion, other: Motion) -> None:
    assert type(one) is type(other)
    if isinstance(one, MotionField):
        assert isinstance(other, MotionField) and one.cell_px == other.cell_px
        assert (one.valid == other.valid).all() and (one.displacement == other.displacement).all()
        return
    assert isinstance(other, LevelMotion) and one.level_of == other.level_of
    for a, b in zip((one.image, *one.levels), (other.image, *other.levels), strict=True):
        assert_equal(a, b)


def by_shards(seed: int) -> LevelMotion:
    """Levels whose shards have moves of their own, in whole strides."""
    rng = np.random.default_rng(seed)
    image = field_of(*SIZE, 8, seed, 30)
    fields = []
    for one in LEVELS:
        shift, _ = level_motion(image, one, GRIDS[one.grids[0]], SIZE)
        side = max(1, one.shard_px // 8)
        own = rng.integers(-2, 3, (*shift[::side, ::side].shape[:2], 2)) * int(one.stride[0])
        own = own.repeat(side, axis=0).repeat(side, axis=1)[: shift.shape[0], : shift.shape[1]]
        fields.append(MotionField(shift + own, np.ones(shift.shape[:2], np.bool_)))
    return LevelMotion(image, tuple(fields), level_of_grids(LEVELS))


@given(seed=st.integers(0, 2**31))
def test_moves_of_shards_come_back_for_less(seed: int) -> None:
    motion = by_shards(seed)
    data = level_codec().encode(motion)
    assert_equal(level_codec().decode(data), motion)
    assert data[1 : 1 + len(LEVELS)] == bytes([1, 1, 1])
    odd = motion.levels[2].displacement.copy()
    odd[0, 1] += 1  # one cell of a shard
    other = LevelMotion(motion.image, (*motion.levels[:2], MotionField(odd, motion.levels[2].valid)), motion.level_of)
    cells = level_codec().encode(other)
    assert_equal(level_codec().decode(cells), other)
    assert cells[1 : 1 + len(LEVELS)] == bytes([1, 1, 0]) and len(cells) > len(data)


@given(seed=st.integers(0, 2**31), stray=st.sampled_from([0.0, 0.1, 1.0]))
def test_levels_come_back(seed: int, stray: float) -> None:
    motion = moves(seed, stray)
    assert_equal(level_codec().decode(level_codec().encode(motion)), motion)
    assert_equal(level_codec().decode(level_codec().encode(motion.image)), motion.image)


def test_levels_that_move_as_the_image_take_few_bytes() -> None:
    motion = moves(3, 0.0)
    assert len(level_codec().encode(motion)) < len(level_codec().encode(motion.image)) + 80


@given(data=st.binary(max_size=200), kind=st.sampled_from([b"", b"\x01", b"\x02", b"\x02\x01\x00\x01"]))
def test_noise_for_levels_is_an_error_of_ours(data: bytes, kind: bytes) -> None:
    with pytest.raises(WireError):
        level_codec().decode(kind + data)


@given(seed=st.integers(0, 2**31), position=st.integers(0, 10**6), flip=st.integers(1, 255), cut=st.booleans())
def test_damaged_levels_never_have_another_shape(seed: int, position: int, flip: int, cut: bool) -> None:
    data = bytearray(level_codec().encode(moves(seed)))
    data[position % len(data)] ^= flip
    try:
        found = level_codec().decode(bytes(data[: position % len(data)] if cut else data))
    except WireError:
        return
    fields = (found.image, *found.levels) if isinstance(found, LevelMotion) else (found,)
    assert all(field.valid.shape == (6, 9) for field in fields)


def test_a_stream_without_levels_takes_none() -> None:
    plain = LevelMotionCodec(SIZE, (), GRIDS)
    motion = moves(1)
    with pytest.raises(WireError, match="this stream has 0"):
        plain.encode(motion)
    with pytest.raises(WireError, match="of a kind that this stream does not have"):
        plain.decode(level_codec().encode(motion))
    assert_equal(plain.decode(plain.encode(motion.image)), motion.image)
