"""Vectors that a child process may have made up: what no decoder gives is refused, whatever it is."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fluxshard.cloud.decoding.shared_vectors import (
    VECTOR,
    VectorState,
    most_vectors,
    read_vectors,
    shared_bytes,
    vector_bytes,
    write_vectors,
)
from fluxshard.errors import DecoderError
from fluxshard.video.letterbox import Letterbox
from fluxshard.video.motion.codec_vectors import field_from_vectors

SIZE = (48, 64)
GOOD = {"source": -1, "motion_x": -9, "motion_y": 6, "dst_x": 24, "dst_y": 8, "motion_scale": 4, "w": 16, "h": 16}


def memory() -> NDArray[np.uint8]:
    return np.zeros(vector_bytes(SIZE), np.uint8)


def records(*rows: dict[str, int]) -> NDArray[np.void]:
    found = np.zeros(len(rows), VECTOR)
    for index, row in enumerate(rows):
        for name, value in row.items():
            found[name][index] = value
    return found


def test_what_is_written_is_read() -> None:
    shared = memory()
    written = records(GOOD, GOOD | {"w": 8, "h": 8, "dst_x": 4, "dst_y": 44, "source": 1})
    write_vectors(shared, VectorState.KNOWN, written)
    found = read_vectors(shared.tobytes(), 0, SIZE)
    assert found.state is VectorState.KNOWN and (found.vectors == written).all()
    for state in (VectorState.NO_PICTURE, VectorState.UNKNOWN):
        write_vectors(shared, state)
        found = read_vectors(shared.tobytes(), 0, SIZE)
        assert found.state is state and len(found.vectors) == 0


def test_memory_has_room_for_all_vectors_of_a_picture() -> None:
    blocks = records(GOOD)
    assert most_vectors(SIZE) >= 8 * (48 // 16) * (64 // 16)
    shared = memory()
    write_vectors(shared, VectorState.KNOWN, np.repeat(blocks, most_vectors(SIZE)))
    assert len(read_vectors(shared.tobytes(), 0, SIZE).vectors) == most_vectors(SIZE)
    write_vectors(shared, VectorState.KNOWN, np.repeat(blocks, most_vectors(SIZE) + 1))
    assert read_vectors(shared.tobytes(), 0, SIZE).state is VectorState.UNKNOWN
    assert shared_bytes(SIZE, vectors=True) - shared_bytes(SIZE, vectors=False) == vector_bytes(SIZE)


@pytest.mark.parametrize(
    ("state", "count"),
    [(3, 0), (2**32 - 1, 0), (0, 1), (1, 1), (2, most_vectors(SIZE) + 1), (2, 2**32 - 1)],
)
def test_a_head_that_no_decoder_writes(state: int, count: int) -> None:
    shared = memory()
    shared[:8] = np.frombuffer(struct.pack("<II", state, count), np.uint8)
    with pytest.raises(DecoderError, match="no video has"):
        read_vectors(shared.tobytes(), 0, SIZE)


@pytest.mark.parametrize(
    "change",
    [
        {"w": 0}, {"h": 0}, {"w": 4}, {"h": 255}, {"dst_x": 23}, {"dst_y": 9}, {"dst_x": -8}, {"dst_y": 0},
        {"dst_x": 32760}, {"dst_y": -32760}, {"motion_scale": 0}, {"motion_scale": 65535}, {"source": 2},
        {"source": -(2**31)}, {"motion_x": 2**31 - 1}, {"motion_y": -(2**31)},
    ],
)  # fmt: skip
def test_a_vector_that_no_decoder_writes(change: dict[str, int]) -> None:
    shared = memory()
    write_vectors(shared, VectorState.KNOWN, records(GOOD, GOOD | change))
    with pytest.raises(DecoderError, match="no video has"):
        read_vectors(shared.tobytes(), 0, SIZE)


@given(st.binary(min_size=20, max_size=200), st.integers(0, 3), st.integers(0, 12))
def test_any_bytes_are_refused_or_make_a_field(data: bytes, state: int, count: int) -> None:
    shared = memory()
    shared[8 : 8 + len(data)] = np.frombuffer(data, np.uint8)
    shared[:8] = np.frombuffer(struct.pack("<II", state, count), np.uint8)
    try:
        found = read_vectors(shared.tobytes(), 0, SIZE)
    except DecoderError:
        return
    field_from_vectors(found.vectors, Letterbox(SIZE, (40, 64)))


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "source": st.sampled_from([-1, 0, 1]),
                "motion_x": st.integers(-(1 << 16), 1 << 16),
                "motion_y": st.integers(-(1 << 16), 1 << 16),
                "x": st.integers(0, 8),
                "y": st.integers(0, 6),
                "motion_scale": st.integers(1, 4),
                "w": st.sampled_from([8, 16]),
                "h": st.sampled_from([8, 16]),
            }
        ),
        max_size=20,
    )
)
def test_all_that_is_allowed_makes_a_field(rows: list[dict[str, int]]) -> None:
    placed = [
        {**row, "dst_x": 8 * row["x"] + row["w"] // 2, "dst_y": 8 * row["y"] + row["h"] // 2} for row in rows
    ]  # fmt: skip
    for row in placed:
        del row["x"], row["y"]
    shared = memory()
    write_vectors(shared, VectorState.KNOWN, records(*placed))
    found = read_vectors(shared.tobytes(), 0, SIZE)
    assert field_from_vectors(found.vectors, Letterbox(SIZE, (40, 64))).valid.shape == (5, 8)
