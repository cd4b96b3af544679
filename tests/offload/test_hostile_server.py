"""A server that cannot be trusted: whatever it says, every frame is answered, and answered right."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from fluxshard.cloud.wire.messages import checksum, read_up
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from tests.offload.streams import PATIENT, Stream, resident_bytes

Reply = Callable[[pb.Frame], list[pb.Down | bytes]]
LINK = replace(PATIENT, silence_s=0.3, frame_s=0.6)


class HostileServer:
    """Welcomes, acknowledges what arrives, and says of each frame what a test wants."""

    def __init__(self, reply: Reply, welcome: pb.Welcome | None = None) -> None:
        self._reply, self._welcome = reply, welcome or pb.Welcome(max_frame_bytes=1 << 20)
        self.opened = 0

    async def exchange(self, up: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        self.opened += 1
        await anext(up)
        yield pb.Down(welcome=self._welcome).SerializeToString()
        received = 0
        async for data in up:
            received += len(data)
            yield pb.Down(progress=pb.Progress(received_bytes=received)).SerializeToString()
            message = read_up(data)
            if message.WhichOneof("kind") == "frame":
                for said in self._reply(message.frame):
                    yield said if isinstance(said, bytes) else said.SerializeToString()


def answer(data: bytes, **figures: float) -> Reply:
    def reply(frame: pb.Frame) -> list[pb.Down | bytes]:
        result = pb.Result(
            seq=frame.seq, answer_bytes=len(data), answer_crc32=checksum(data), credit_bytes=1 << 20, **figures
        )
        chunks = [
            pb.Down(chunk=pb.Chunk(seq=frame.seq, offset=at, data=data[at : at + 16384]))
            for at in range(0, len(data), 16384)
        ]
        return [pb.Down(result=result), *chunks]

    return reply


REPLIES: dict[str, Reply] = {
    "says nothing": lambda frame: [],
    "refuses": lambda frame: [pb.Down(reject=pb.Reject(seq=frame.seq, wait_ms=2**32 - 1))],
    "needs a key": lambda frame: [pb.Down(need_key=pb.NeedKey(seq=frame.seq, reason="\x00\n" * 5000, video=True))],
    "drains": lambda frame: [pb.Down(drain=pb.Drain(moved_to="evil:1", deadline_ms=1))],
    "garbage": lambda frame: [b"\xff\xfe\xfd"],
    "answers nothing": answer(b""),
    "answers garbage": answer(bytes(100)),
    "answers too much": answer(bytes(400_000)),
    "announces 4 GB": lambda frame: [pb.Down(result=pb.Result(seq=frame.seq, answer_bytes=2**32 - 1))],
    "announces and waits": lambda frame: [pb.Down(result=pb.Result(seq=frame.seq, answer_bytes=60 << 20))],
    "answers NaN ms": answer(b"", inference_ms=math.nan, wait_ms=math.nan),
    "answers -1 ms": answer(b"", inference_ms=-1.0),
    "answers 1e30 ms": answer(b"", inference_ms=1e30, decode_ms=1e30, wait_ms=1e30),
    "answers others": lambda frame: answer(b"x")(pb.Frame(seq=frame.seq + 1)),
    "answers twice": lambda frame: answer(b"")(frame) * 2,
    "acknowledges all": lambda frame: [pb.Down(progress=pb.Progress(received_bytes=2**64 - 1))],
    "takes nothing": lambda frame: [pb.Down(result=pb.Result(seq=frame.seq, credit_bytes=0))],
}


@pytest.mark.parametrize("name", REPLIES)
def test_every_frame_is_answered_by_the_edge(name: str) -> None:
    server = HostileServer(REPLIES[name])
    stream = Stream(server, link=LINK)
    stream.run()
    stream.wait_open()
    stream.run(12)
    assert all(record is not None and record.answered_by == "edge" for record in stream.records)
    assert all(record.latency_ms < 3000 for record in stream.records)
    stream.close()
    for record in stream.settled:
        record.cloud_ran = False  # whatever it says
        figures = (record.inputs.server_wait_ms, record.inputs.cloud_pre_ms, record.inputs.cloud_q95)
        assert all(map(math.isfinite, figures))
    stream.check()


@pytest.mark.parametrize(
    "welcome",
    [
        pb.Welcome(epoch=2**64 - 1, max_frame_bytes=2**32 - 1, lease_ms=2**32 - 1),
        pb.Welcome(max_frame_bytes=0),
        pb.Welcome(max_frame_bytes=1 << 20, latency_model=b"[" * 60_000),
        pb.Welcome(max_frame_bytes=1 << 20, device="\x00" * 1000, version="v" * 10_000),
    ],
)
def test_welcomes_that_make_no_sense(welcome: pb.Welcome) -> None:
    stream = Stream(HostileServer(REPLIES["answers garbage"], welcome), link=LINK)
    stream.run()
    stream.wait_open()
    stream.run(5)
    assert all(record is not None and record.answered_by == "edge" for record in stream.records)
    stream.close()


def test_a_server_that_floods_costs_a_connection_and_no_memory() -> None:
    flood = pb.Down(progress=pb.Progress(received_bytes=1)).SerializeToString()

    class Flooding(HostileServer):
        async def exchange(self, up: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
            await anext(up)
            yield pb.Down(welcome=self._welcome).SerializeToString()
            for number in range(10**6):
                yield flood
                if number % 100 == 0:
                    await asyncio.sleep(0)

    stream = Stream(Flooding(REPLIES["says nothing"]), link=LINK)
    stream.run()
    stream.wait_open()
    stream.run(5)
    before = resident_bytes()
    stream.run(25)
    assert resident_bytes() - before < 32 << 20
    assert all(record is not None and record.answered_by == "edge" for record in stream.records)
    stream.close()
