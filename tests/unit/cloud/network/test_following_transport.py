"""An edge goes where a front sends it; a server without a front serves it at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

pytest.importorskip("grpc", reason="grpcio is not installed: pip install '.[cloud]'")

from fluxshard.cloud.network.access import ServerAccess
from fluxshard.cloud.network.following_transport import FollowingTransport
from fluxshard.cloud.network.open_transport import open_transport
from fluxshard.cloud.server.limits import Caller
from fluxshard.cloud.wire.messages import read_up
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.errors import RefusedError, SecurityError, TransportError
from fluxshard.testing.offload.grpc_serving import run, serving
from tests.unit.cloud.network.talk import OPEN, edge_files, server_files

HELLO = pb.Up(hello=pb.Hello(stream="cam1")).SerializeToString()
CANCELS = [pb.Up(cancel=pb.Cancel(seq=seq)).SerializeToString() for seq in range(5)]


class Worker:
    """Welcomes with the epoch of the greeting, and reports each cancelled frame as progress."""

    def __init__(self) -> None:
        self.connected, self.heard, self.callers = 0, list[pb.Up](), list[Caller]()

    def drain(self, deadline_s: float, moved_to: str = "") -> None:
        pass

    async def exchange(self, caller: Caller, up: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        self.callers.append(caller)
        async for data in up:
            message = read_up(data)
            self.heard.append(message)
            if message.WhichOneof("kind") == "hello":
                yield pb.Down(welcome=pb.Welcome(epoch=message.hello.epoch)).SerializeToString()
            else:
                yield pb.Down(progress=pb.Progress(seq=message.cancel.seq)).SerializeToString()


class Sends:
    """A front that sends everyone to one address."""

    def __init__(self, address: str, server_name: str = "") -> None:
        self.connected, self._placed = 0, pb.Placed(address=address, server_name=server_name, epoch=7)

    def drain(self, deadline_s: float, moved_to: str = "") -> None:
        pass

    async def exchange(self, caller: Caller, up: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        await anext(up)
        yield pb.Down(placed=self._placed).SerializeToString()


class Refuses(Sends):
    async def exchange(self, caller: Caller, up: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        raise RefusedError("no room", reason="full", retry_after_s=2.0)
        yield b""


class Says:
    """A transport that says the same to everyone, and takes nothing but the greeting."""

    def __init__(self, *said: bytes) -> None:
        self._said = said

    async def exchange(self, up: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for _ in up:
            break
        for message in self._said:
            yield message


async def edge_messages() -> AsyncIterator[bytes]:
    yield HELLO
    for message in CANCELS:
        await asyncio.sleep(0)
        yield message


async def talk(transport: object) -> list[pb.Down]:
    return [pb.Down.FromString(data) async for data in transport.exchange(edge_messages())]  # type: ignore[attr-defined]


def check(found: list[pb.Down], worker: Worker, epoch: int) -> None:
    assert found[0].welcome.epoch == epoch
    assert [message.progress.seq for message in found[1:]] == list(range(5))
    assert [message.WhichOneof("kind") for message in worker.heard] == ["hello", *["cancel"] * 5]
    assert worker.heard[0].hello.stream == "cam1"


def test_a_server_without_a_front_serves_at_once() -> None:
    with serving(Worker, OPEN) as served:
        check(run(talk(open_transport(served.address, tls=None, token=None, insecure=True))), served.streams, 0)


def test_an_edge_goes_where_it_is_sent_with_the_epoch_and_all_it_had_to_say() -> None:
    with serving(Worker, OPEN) as worker, serving(lambda: Sends(worker.address), OPEN) as front:
        transport = open_transport(front.address, tls=None, token=None, insecure=True)
        check(run(talk(transport)), worker.streams, 7)
        worker.streams.heard.clear()
        check(run(talk(transport)), worker.streams, 7)  # it asks again


def test_a_worker_has_to_prove_itself_as_the_front_does(site: Path) -> None:
    access = ServerAccess(tls=server_files(site))
    with serving(Worker, access) as worker:
        with serving(lambda: Sends(worker.address), access) as front:
            transport = open_transport(front.address, tls=edge_files(site), token=None, insecure=False)
            check(run(talk(transport)), worker.streams, 7)
            assert [caller.identity for caller in worker.streams.callers] == ["edge"]
        with serving(lambda: Sends(worker.address, "other.example"), access) as front:
            transport = open_transport(front.address, tls=edge_files(site), token=None, insecure=False)
            with pytest.raises(TransportError, match="another host name"):
                run(talk(transport))
        with serving(lambda: Sends(worker.address, "localhost"), access) as front:
            worker.streams.heard.clear()
            transport = open_transport(front.address, tls=edge_files(site), token=None, insecure=False)
            check(run(talk(transport)), worker.streams, 7)


def test_a_front_cannot_send_plaintext_elsewhere() -> None:
    with serving(lambda: Sends("192.0.2.1:7788"), OPEN) as front:
        transport = open_transport(front.address, tls=None, token=None, insecure=True)
        with pytest.raises(SecurityError, match="loopback only"):
            run(talk(transport))


def test_a_refusal_of_the_front_is_the_edges() -> None:
    with serving(lambda: Refuses(""), OPEN) as front:
        transport = open_transport(front.address, tls=None, token=None, insecure=True)
        with pytest.raises(RefusedError, match="no room") as refused:
            run(talk(transport))
        assert refused.value.reason == "full" and refused.value.retry_after_s == 2.0


def test_fronts_that_send_to_fronts_are_not_followed() -> None:
    placed = pb.Down(placed=pb.Placed(address="elsewhere:1", epoch=1)).SerializeToString()
    transport = FollowingTransport(Says(placed), lambda *_: Says(placed))
    with pytest.raises(TransportError, match="another front"):
        run(talk(transport))


def test_a_server_that_says_nothing_ends_the_stream() -> None:
    assert run(talk(FollowingTransport(Says(), lambda *_: Says()))) == []
    placed = pb.Down(placed=pb.Placed(address="elsewhere:1", epoch=1)).SerializeToString()
    assert run(talk(FollowingTransport(Says(placed), lambda *_: Says()))) == []
