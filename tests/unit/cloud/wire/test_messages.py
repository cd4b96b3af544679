"""Messages as bytes, and payloads in chunks: whatever arrives is read, or refused before it is kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxshard.errors import WireError

pytest.importorskip("google.protobuf", reason="protobuf is not installed: pip install '.[cloud]'")

from fluxshard.cloud.wire.messages import (
    MAX_MESSAGE_BYTES,
    MIN_CHUNK_BYTES,
    Assembly,
    budget_ms,
    checksum,
    chunks,
    read_down,
    read_up,
    whole_ms,
)
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.runtime.offload.pacing import CHUNK_BYTES, MOST_CHUNK_BYTES


@pytest.mark.parametrize("n_bytes", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 5 * CHUNK_BYTES + 7])
@pytest.mark.parametrize("size", [CHUNK_BYTES, MOST_CHUNK_BYTES])
def test_a_payload_in_chunks_and_back(n_bytes: int, size: int) -> None:
    payload = bytes(index * 7 % 251 for index in range(n_bytes))
    parts = list(chunks(3, payload, size))
    assert len(parts) == -(-n_bytes // size) and all(part.seq == 3 for part in parts)
    assert all(len(pb.Up(chunk=part).SerializeToString()) <= MAX_MESSAGE_BYTES for part in parts)
    assembly = Assembly(n_bytes, checksum(payload))
    for part in parts:
        assert not assembly.is_complete
        assembly.add(part)
    assert assembly.is_complete and assembly.received == n_bytes and assembly.payload() == payload


@pytest.mark.parametrize("seconds", [-1.0, 0.0, 0.0004, 0.25, 3600.0, 4e6, 5e6, 1e300])
def test_every_time_fits_into_a_field(seconds: float) -> None:
    drain = pb.Drain(deadline_ms=whole_ms(seconds))
    assert drain.deadline_ms == min(2**32 - 1, max(0, round(1e3 * seconds)))


@pytest.mark.parametrize(
    ("deadline_ms", "said"),
    [(None, 0), (-5.0, 1), (0.0, 1), (0.3, 1), (1.6, 2), (200, 200), (4294967295.0, 2**32 - 1), (1e10, 2**32 - 1)],
)
def test_a_budget_is_a_limit_where_there_is_a_deadline(deadline_ms: float | None, said: int) -> None:
    assert pb.Frame(budget_ms=budget_ms(deadline_ms)).budget_ms == said


def chunk(offset: int, n_bytes: int) -> pb.Chunk:
    return pb.Chunk(seq=1, offset=offset, data=bytes(n_bytes))


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (chunk(0, 2048), "out of order"),
        (chunk(3000, 2048), "out of order"),
        (chunk(2048, 9000), "longer than announced"),
        (chunk(2048, MIN_CHUNK_BYTES - 1), "smaller than"),
        (chunk(2048, 0), "smaller than"),
    ],
)
def test_chunks_that_are_refused_change_nothing(part: pb.Chunk, message: str) -> None:
    assembly = Assembly(4096, checksum(bytes(4096)))
    assembly.add(chunk(0, 2048))
    with pytest.raises(WireError, match=message):
        assembly.add(part)
    with pytest.raises(WireError, match="incomplete"):
        assembly.payload()
    assembly.add(chunk(2048, 2048))
    assert assembly.payload() == bytes(4096)


def test_the_last_chunk_may_be_small_and_nothing_follows_it() -> None:
    assembly = Assembly(2049, checksum(bytes(2049)))
    assembly.add(chunk(0, 2048))
    assembly.add(chunk(2048, 1))
    with pytest.raises(WireError, match="longer than announced"):
        assembly.add(chunk(2049, 1))


def test_damage_is_found() -> None:
    assembly = Assembly(4, checksum(b"abcd"))
    assembly.add(pb.Chunk(data=b"abce"))
    with pytest.raises(WireError, match="damaged"):
        assembly.payload()


def test_what_comes_before_is_covered_too() -> None:
    assert checksum(b"ab", b"", b"cd") == checksum(b"abcd")
    for before, whole in ((b"ab", True), (b"aB", False)):
        assembly = Assembly(2, checksum(b"abcd"), (before,))
        assembly.add(pb.Chunk(data=b"cd"))
        if whole:
            assert assembly.payload() == b"cd"
        else:
            with pytest.raises(WireError, match="damaged"):
                assembly.payload()


@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_an_error_of_ours(data: bytes) -> None:
    for read in (read_up, read_down):
        try:
            message = read(data)
        except WireError:
            continue
        assert message.WhichOneof("kind")


def test_messages_that_are_refused() -> None:
    large = pb.Up(chunk=chunk(0, MAX_MESSAGE_BYTES)).SerializeToString()
    for data, message in ((large, "is larger than"), (b"", "no known kind"), (b"\x0a\xff", "cannot be read")):
        with pytest.raises(WireError, match=message):
            read_up(data)
        with pytest.raises(WireError, match=message):
            read_down(data)


def test_unknown_fields_are_ignored() -> None:
    """A newer edge may say more."""
    data = pb.Up(cancel=pb.Cancel(seq=4)).SerializeToString() + b"\xfa\x01\x03abc"
    assert read_up(data).cancel.seq == 4
