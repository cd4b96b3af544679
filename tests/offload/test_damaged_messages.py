"""Messages that are corrupt, cut, too large, out of order or said twice: refused, and nothing else happens.

Symptom elsewhere: dropped or damaged packets show as garbage, silently (Savant, PyAV 185, 1597); a decoder allocates
what a stranger declares; Triton CVE-2025-33201, CVE-2025-23310.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxshard.cloud.wire.messages import read_up
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.errors import RefusedError
from fluxshard.testing.offload.in_process import Faults, InProcessTransport
from fluxshard.testing.offload.scripted_edge import ScriptedEdge, hello_of
from fluxshard.testing.offload.two_places import fake_model, server_of
from tests.offload.fuzz import REASONS, STATM, Found, Strict, fuzz
from tests.offload.mutations import flip, lengthen, mutated, recorded, scramble, shorten, swell
from tests.offload.streams import PLANNED, REUSES, Stream, serving

FAKE = fake_model()


def looks_right(found: Found, count: int) -> None:
    assert sum(found.ends.values()) == count
    assert found.ends["invalid"] > count // 3 and found.ends["ended"] > 0 and found.outcomes["result"] > count // 20
    assert found.frames >= count // 50
    if STATM.exists():
        assert found.grown_bytes is not None and found.grown_bytes < 16 << 20


def test_mutated_streams_disturb_nobody() -> None:
    looks_right(fuzz(2000), 2000)


@pytest.mark.slow
def test_many_mutated_streams_disturb_nobody() -> None:
    """`python -m tests.offload.fuzz --count 100000` takes longer."""
    looks_right(fuzz(20_000, seed=7), 20_000)


# --- any sequence of messages -----------------------------------------------------------------------------------------

SEQS = st.integers(0, 4)
U32, U64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
FRAMES = st.builds(
    pb.Frame,
    seq=SEQS | U64,
    epoch=st.just(1) | U64,
    base_seq=SEQS | U64,
    keyframe=st.booleans(),
    wants_answer=st.booleans(),
    picture=U64,
    motion=st.binary(max_size=30),
    masks=st.binary(max_size=30),
    payload_bytes=st.sampled_from([0, 1, 4608]) | U32,
    payload_crc32=U32,
    budget_ms=U32,
)
CHUNKS = st.builds(pb.Chunk, seq=SEQS, offset=st.just(0) | U32, data=st.sampled_from([b"", bytes(4608), bytes(1024)]))
PACKETS = st.builds(pb.Packet, number=U64, keyframe=st.booleans(), total_bytes=U32, offset=U32, data=st.binary())
UPS = st.one_of(
    FRAMES.map(lambda frame: pb.Up(frame=frame)),
    CHUNKS.map(lambda chunk: pb.Up(chunk=chunk)),
    SEQS.map(lambda seq: pb.Up(cancel=pb.Cancel(seq=seq))),
    PACKETS.map(lambda packet: pb.Up(packet=packet)),
).map(lambda message: message.SerializeToString()) | st.binary(max_size=50)


@given(st.lists(UPS, max_size=8))
@settings(deadline=None, max_examples=100)
def test_any_messages_are_run_or_refused(messages: list[bytes]) -> None:
    async def run() -> None:
        server = server_of(FAKE, observer=Strict())
        edge = ScriptedEdge(server)
        await edge.open(hello_of(FAKE, PLANNED))
        edge.send(*messages)
        edge.end()
        try:
            while True:
                await edge.receive()
        except StopAsyncIteration:
            pass
        except RefusedError as error:
            assert error.reason in REASONS
        await edge.close()
        assert server.connected == 0 and server.cached_bytes == 0 and server.queue_depth <= 1
        server.close()

    asyncio.run(run())


@given(st.integers(0, 2**32))
@settings(deadline=None, max_examples=50)
def test_mutations_are_the_same_for_one_seed(seed: int) -> None:
    corpus = [recorded(FAKE, PLANNED, 1)]
    assert mutated(random.Random(seed), corpus) == mutated(random.Random(seed), corpus)


# --- a session whose link damages what it carries ---------------------------------------------------------------------

Way = Callable[[random.Random, list[bytes], list[list[bytes]]], None]


def damaging(way: Way, every: int, seed: int = 0) -> Faults:
    rng, count = random.Random(seed), 0

    def edit(data: bytes) -> bytes:
        nonlocal count
        count += 1
        if count % every:
            return data
        one = [data]
        way(rng, one, [])
        return one[0]

    return Faults(edit=edit)


@pytest.mark.parametrize("way", [flip, shorten, lengthen, swell, scramble])
@pytest.mark.parametrize("reuse", REUSES)
def test_a_link_that_damages_messages_gives_no_wrong_answer(way: Way, reuse: str) -> None:
    with serving() as server:
        stream = Stream(InProcessTransport(server, faults=damaging(way, 7)), reuse=REUSES[reuse])
        stream.run()
        stream.wait_open()
        stream.run(25)
        assert all(record is not None for record in stream.records)
        stream.check()
        assert any(record.cloud_outcome == "lost" for record in stream.settled)


@pytest.mark.parametrize("every", [3, 8])
def test_a_link_that_loses_messages_gives_no_wrong_answer(every: int) -> None:
    """What is lost is missed: a chunk by its offset, a head by its chunks, all of it by silence."""
    with serving() as server:
        faults = Faults()
        stream = Stream(InProcessTransport(server, faults=faults))
        stream.warm()
        count = 0

        def edit(data: bytes) -> bytes | None:
            nonlocal count
            if read_up(data).WhichOneof("kind") != "frame":
                return data
            count += 1
            return None if count % every == 0 else data

        faults.edit = edit
        stream.run(25)
        stream.run_until(lambda _: any("belongs to no frame" in record.cloud_reason for record in stream.settled))
        faults.edit = None
        stream.run_until(lambda record: record.answered_by == "cloud")
        stream.check()
        assert any("belongs to no frame" in record.cloud_reason for record in stream.settled)
