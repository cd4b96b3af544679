from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxshard.video.h264.nal_units import (
    MAX_LEADING_UNITS,
    START_CODE,
    ParameterSets,
    has_slice,
    is_referred_to,
    leading_types,
    length_bytes,
    starts_stream,
    units,
)

SPS, OTHER_SPS = b"\x67\x64\x00\x1f\xac", b"\x67\x64\x00\x1f\x5c"  # numbers 0 (code 1) and 1 (code 010)
PPS, OTHER_PPS = b"\x68\xee", b"\x68\x4e"
IDR, SLICE, SEI = b"\x65\x88\x80", b"\x41\x9a\x80", b"\x06\x05\x01\x80"


def annex_b(*parts: bytes, code: bytes = START_CODE) -> bytes:
    return b"".join(code + part for part in parts)


@pytest.mark.parametrize("code", [START_CODE, START_CODE[1:]])
def test_units_are_found_behind_either_start_code(code: bytes) -> None:
    parts = [SPS, PPS, IDR, SLICE]
    assert list(units(annex_b(*parts, code=code))) == parts


def test_types_up_to_the_first_slice() -> None:
    assert leading_types(annex_b(SEI, SPS, PPS, IDR, IDR, SPS)) == [6, 7, 8, 5]
    assert leading_types(annex_b(SEI)) == [6]
    assert leading_types(b"") == leading_types(b"\0\0\1") == leading_types(b"nothing here") == []
    assert has_slice(annex_b(SEI, SLICE)) and not has_slice(annex_b(SPS, PPS)) and not has_slice(b"")


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ((SPS, PPS, IDR), True),
        ((SEI, PPS, SPS, IDR), True),
        ((SPS, IDR), False),
        ((PPS, IDR), False),
        ((SPS, PPS, SLICE), False),
        ((SPS, PPS), False),
        ((SPS, PPS, SLICE, IDR), False),
        ((), False),
    ],
)
def test_a_stream_starts_with_parameter_sets_and_an_idr_picture(parts: tuple[bytes, ...], expected: bool) -> None:
    assert starts_stream(annex_b(*parts)) is expected


def behind_lengths(*parts: bytes, count: int) -> bytes:
    return b"".join(len(part).to_bytes(count, "big") + part for part in parts)


@pytest.mark.parametrize("count", [0, 1, 2, 4])
def test_whether_later_pictures_may_refer_to_one(count: int) -> None:
    def packet(*parts: bytes) -> bytes:
        return behind_lengths(*parts, count=count) if count else annex_b(*parts)

    unused = b"\x01\x9a\x80"
    for parts, expected in (
        ((SLICE,), True),
        ((unused,), False),
        ((SEI, unused), False),  # messages are referred to by nothing, either
        ((SEI, SPS, PPS, IDR), True),
        ((SEI, SLICE, unused), True),
        ((SEI,), True),
        ((), True),
    ):
        assert is_referred_to(packet(*parts), count) is expected


def test_how_a_container_separates_units() -> None:
    assert [length_bytes(b"\x01dabc"[:4] + bytes((252 | n, 225, 0))) for n in (0, 1, 3)] == [1, 2, 4]
    assert length_bytes(b"") == length_bytes(annex_b(SPS, PPS)) == length_bytes(b"\x01dab") == 0


def test_packets_of_very_many_units_are_not_read_to_the_end() -> None:
    data = annex_b(*([b"\x06"] * 300_000), SLICE)
    assert len(leading_types(data)) == MAX_LEADING_UNITS
    assert not has_slice(data)


@given(st.binary(max_size=200))
def test_any_bytes_can_be_read(data: bytes) -> None:
    leading_types(data)
    starts_stream(data)
    for count in (0, length_bytes(data), 2):
        is_referred_to(data, count)
    list(units(data))
    ParameterSets(data).complete(data)
    ParameterSets(START_CODE + data).complete(START_CODE + data)


def test_parameter_sets_go_in_front_of_idr_pictures_that_have_none() -> None:
    sets = ParameterSets(annex_b(SPS, PPS))
    assert sets.complete(annex_b(SLICE)) == annex_b(SLICE)
    assert sets.complete(annex_b(SEI, IDR)) == annex_b(SPS, PPS, SEI, IDR)
    whole = annex_b(SPS, PPS, IDR)
    assert sets.complete(whole) == whole


def test_the_newest_parameter_sets_of_each_number_are_kept() -> None:
    sets = ParameterSets(b"\x01\x64avcC")  # of another form: there are none
    assert sets.complete(annex_b(IDR)) == annex_b(IDR)
    newer = SPS + b"\x11"
    for part in (SPS, PPS, OTHER_SPS, OTHER_PPS, newer):
        sets.complete(annex_b(part))
    assert sets.complete(annex_b(IDR)) == annex_b(newer, OTHER_SPS, PPS, OTHER_PPS, IDR)
