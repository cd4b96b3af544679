"""Orders over a socket: both ends of it, and what happens when one is gone."""

from __future__ import annotations

import asyncio
import socket

import pytest

from fluxshard.cloud.cluster.pool.order_channel import OrderChannel
from fluxshard.cloud.cluster.worker.control_channel import follow_orders
from fluxshard.cloud.cluster.worker.messages import (
    Answer,
    Beat,
    Describe,
    Description,
    Report,
    Request,
    Stop,
)
from fluxshard.errors import TransportError, WireError


def answer(request: Request) -> Answer:
    if isinstance(request, Beat):
        return Report(sent_s=request.lease_s, ended=tuple((f"s{number}", number) for number in range(20_000)))
    return Description(address="a:1", max_streams=1, pid=1)


def pair() -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    return ours, theirs


def test_answers_come_back_to_who_asked_whatever_their_size() -> None:
    async def work() -> None:
        ours, theirs = pair()
        following = asyncio.create_task(follow_orders(theirs, answer))
        channel = OrderChannel(ours, "w1")
        found = await asyncio.gather(channel.ask(Beat(lease_s=1.0)), channel.ask(Describe()), channel.ask(Stop()))
        assert isinstance(found[0], Report) and len(found[0].ended) == 20_000
        assert isinstance(found[1], Description)
        await channel.close()
        async with asyncio.timeout(5):
            await following  # whose supervisor is gone
        with pytest.raises(TransportError, match="worker w1 has ended"):
            await channel.ask(Describe())

    asyncio.run(work())


def test_a_worker_that_goes_is_noticed() -> None:
    async def work() -> None:
        ours, theirs = pair()
        channel = OrderChannel(ours, "w1")
        waiting = asyncio.create_task(channel.ask(Describe()))
        await asyncio.sleep(0.01)
        theirs.close()
        with pytest.raises(TransportError):
            await waiting
        assert channel.ended.is_set()

    asyncio.run(work())


def test_an_order_that_cannot_be_read_ends_the_worker() -> None:
    async def work() -> None:
        ours, theirs = pair()
        following = asyncio.create_task(follow_orders(theirs, answer))
        ours.sendall(b"nothing\n")
        with pytest.raises(WireError):
            await following
        ours.close()

    asyncio.run(work())
