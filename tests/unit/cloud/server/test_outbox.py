"""Messages to one edge: in order, until the stream is over, and never more than can be kept."""

from __future__ import annotations

import asyncio

import pytest

from fluxshard.cloud.server.outbox import Outbox
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
