"""Messages to one edge: in order, until the stream is over, and never more than can be kept."""

from __future__ import annotations

import asyncio

import pytest

from fluxshard.cloud.server.outbox import MOST_WAITING, Outbox
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


def test_progress_that_is_old_when_it_is_read_is_not_sent() -> None:
    async def run() -> None:
        outbox = Outbox()
        for seq in range(10_000):
            outbox.send(pb.Down(progress=pb.Progress(seq=seq)))
        outbox.send(reject(2))
        outbox.send(pb.Down(progress=pb.Progress(seq=3)))
        outbox.close()
        found = [read_down(data) async for data in outbox]
        assert [message.WhichOneof("kind") for message in found] == ["progress", "reject", "progress"]
        assert found[0].progress.seq == 9_999

    asyncio.run(run())


def test_there_is_no_room_until_what_was_sent_has_left() -> None:
    async def run() -> None:
        outbox = Outbox()
        for seq in range(MOST_WAITING):
            await asyncio.wait_for(outbox.room(), 1)
            outbox.send(reject(seq))
        waiting = asyncio.ensure_future(outbox.room())
        await asyncio.sleep(0)
        assert not waiting.done()
        assert read_down(await anext(aiter(outbox))).reject.seq == 0
        await asyncio.wait_for(waiting, 1)

    asyncio.run(run())
