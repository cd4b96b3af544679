"""Servers that do not take the stream: it is said why, every frame is answered, and the server is not hammered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from fluxshard.cloud.edge.session_parts import LocalModel
from fluxshard.cloud.server.limits import Caller, ServerLimits
from fluxshard.cloud.wire.messages import PROTOCOL, read_up
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.testing.offload.in_process import Faults, InProcessTransport
from fluxshard.testing.offload.two_places import small_model
from tests.offload.streams import MODEL, Stream, serving, until

OTHER_SIZE = small_model((48, 32))


class Counted(InProcessTransport):
    """Counts connections."""

    opened = 0

    def exchange(self, up: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        self.opened += 1
        return super().exchange(up)


def greeting(**changes: object) -> Faults:
    """Changes the edge's greeting on its way."""

    def edit(data: bytes) -> bytes:
        message = read_up(data)
        if message.WhichOneof("kind") != "hello":
            return data
        for name, value in changes.items():
            setattr(message.hello, name, value)
        return message.SerializeToString()

    return Faults(edit=edit)


@pytest.mark.parametrize(
    ("served", "faults", "caller", "reason"),
    [
        (replace(MODEL, weights="other"), Faults(), Caller(), "the model with other weights"),
        (OTHER_SIZE, Faults(), Caller(), "does not run this model at this size"),
        (MODEL, greeting(plan="newer"), Caller(), "does not run this model at this size"),
        (MODEL, greeting(protocol=PROTOCOL + 1), Caller(), f"the server speaks version {PROTOCOL} of the protocol"),
        (MODEL, greeting(payload="newer"), Caller(), "does not take such payloads"),
        (MODEL, greeting(stream="no name"), Caller(), "name is not allowed"),
        (MODEL, Faults(), Caller(identity="a", prefix="a/"), "may not open a stream of this name"),
    ],
)
def test_a_server_that_does_not_fit(served: LocalModel, faults: Faults, caller: Caller, reason: str) -> None:
    with serving(served) as server:
        transport = Counted(server, caller, faults)
        stream = Stream(transport)
        stream.run()
        until(lambda: reason in stream.session.link.reason)
        stream.run(5)
        assert all(record.answered_by == "edge" and not record.bytes_sent for record in stream.records)
        assert reason in stream.records[-1].cloud_open and transport.opened == 1
        stream.check()


def test_another_version_that_computes_other_bits_is_allowed_and_told() -> None:
    with serving(replace(MODEL, compute=replace(MODEL.compute, version="0.0.1 torch 1"))) as server:
        stream = Stream(InProcessTransport(server))
        stream.warm()
        welcome = stream.session.link.welcome
        assert welcome is not None and not welcome.same_compute and welcome.version == "0.0.1 torch 1"
        stream.close()


def test_a_full_server_is_asked_again_when_it_says() -> None:
    with serving(limits=ServerLimits(max_streams=1, retry_s=0.2)) as server:
        first, second = (Stream(InProcessTransport(server), stream=name) for name in ("first", "second"))
        first.warm()
        second.run()
        until(lambda: second.session.link.reason == "the server has no room for a stream")
        second.run(5)
        first.check()
        second.run_until(lambda record: record.answered_by == "cloud")
        second.check()


def test_a_server_that_drains_and_comes_back() -> None:
    """Nothing under way is lost (symptom elsewhere: triton 6286, 6230), and another server is found by itself."""
    with serving() as server, serving() as other:
        transport = InProcessTransport(server)
        stream = Stream(transport)
        stream.warm()

        async def drain() -> None:
            server.drain(20.0)

        before = len(stream.settled)
        asyncio.run_coroutine_threadsafe(drain(), stream.session._link._loop).result(10)  # type: ignore[union-attr]
        transport._server = other
        stream.run_until(lambda record: record.answered_by == "cloud" and record.cloud_keyframe)
        assert "lost" not in {record.cloud_outcome for record in stream.settled[before:]}, "what was sent was answered"
        stream.check()


def test_garbage_instead_of_a_greeting() -> None:
    with serving() as server:
        transport = Counted(server, faults=Faults(edit=lambda data: b"\xff" + data))
        stream = Stream(transport)
        stream.run()
        until(lambda: "cannot be read" in stream.session.link.reason)
        stream.run(5)
        assert transport.opened == 1
        stream.check()
    assert pb.Up().WhichOneof("kind") is None
