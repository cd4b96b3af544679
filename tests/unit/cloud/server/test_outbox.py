"""Messages to one edge: in order, until the stream is over, and never more than can be kept."""

from __future__ import annotations

import asyncio

import pytest

from fluxshard.cloud.server.outbox import MOST_UNREAD_BYTES, Outbox
from fluxshard.cloud.wire.messages import read_down
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.errors import RefusedError


def reject(seq: int) -> pb.Down:
    return pb.Down(reject=pb.Reject(seq=seq))


async def seqs(outbox: Outbox) -> list[int]:
    return [read_down(data).reject.seq async for data in outbox]


def test_in_order_and_to_the_end() -> None:
    async def run() -> None:
        outbox = Outbox()
        outbox.send(reject(1))
        reader = asyncio.ensure_future(seqs(outbox))
        await asyncio.sleep(0)
        outbox.send(reject(2))
        outbox.close()
        outbox.send(reject(3))
        outbox.fail(ValueError())
        assert await reader == [1, 2]

    asyncio.run(run())


def test_an_error_comes_after_what_was_sent_and_the_first_one_counts() -> None:
    async def run() -> None:
        outbox, found = Outbox(), []
        outbox.send(reject(1))
        outbox.fail(RefusedError("first", reason="taken"))
        outbox.fail(RefusedError("second", reason="invalid"))
        outbox.close()
        with pytest.raises(RefusedError, match="first"):
            async for data in outbox:
                found.append(read_down(data).reject.seq)
        assert found == [1]

    asyncio.run(run())


def test_whoever_holds_something_for_the_stream_is_told_once() -> None:
    over: list[int] = []
    outbox = Outbox(lambda: over.append(1))
    outbox.send(reject(1))
    assert over == []
    outbox.close()
    outbox.fail(ValueError())
    assert over == [1]


def test_what_is_not_read_is_counted_and_progress_is_left_out_then() -> None:
    async def run() -> None:
        outbox = Outbox()
        part = pb.Down(chunk=pb.Chunk(data=bytes(16 << 10)))
        for _ in range(MOST_UNREAD_BYTES // (16 << 10)):
            outbox.send(part)
        assert outbox.is_full
        outbox.send(pb.Down(progress=pb.Progress(seq=1)))
        outbox.send(reject(2))  # of a frame: it is said, however much waits
        outbox.close()
        kinds = [read_down(data).WhichOneof("kind") async for data in outbox]
        assert kinds == ["chunk"] * (MOST_UNREAD_BYTES // (16 << 10)) + ["reject"]
        assert not outbox.is_full

    asyncio.run(run())


def test_many_small_messages_are_a_lot_too() -> None:
    outbox = Outbox()
    for _ in range(10_000):
        outbox.send(pb.Down(progress=pb.Progress()))
    assert outbox.is_full
