"""The client's end: messages, errors in plain words, and nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("grpc", reason="grpcio is not installed: pip install '.[cloud]'")

import grpc

from fluxshard.cloud.network.access import ServerAccess
from fluxshard.cloud.network.grpc_transport import GrpcTransport
from fluxshard.cloud.network.settings import METHOD, SERVICE, STREAM, Keepalive
from fluxshard.cloud.security.tls import channel_credentials
from fluxshard.cloud.wire.messages import MAX_MESSAGE_BYTES
from fluxshard.errors import OptionError, RefusedError, SecurityError, TransportError
from fluxshard.testing.offload.grpc_serving import run, serving, settled
from tests.unit.cloud.network.talk import OPEN, Echo, edge_files, messages, replies, server_files, until


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextlib.asynccontextmanager
async def foreign(handler) -> AsyncIterator[str]:
    """A server of others with gRPC's own settings."""
    server = grpc.aio.server()
    method = grpc.stream_stream_rpc_method_handler(handler)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {STREAM: method}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


async def failure(address: str, **options) -> TransportError:
    transport = GrpcTransport(address, **{"insecure": True, **options})
    with pytest.raises(TransportError) as caught:
        await replies(transport, b"a")
    return caught.value


def test_messages_come_back_in_order_and_the_stream_ends() -> None:
    given = [bytes([index % 256]) * (index % 3000) for index in range(300)]
    with serving(Echo, OPEN) as served:
        found = run(replies(GrpcTransport(served.address, insecure=True), *given))
    assert found == given


def test_the_largest_message_travels_and_a_larger_one_ends_the_stream() -> None:
    with serving(Echo, OPEN) as served:
        transport = GrpcTransport(served.address, insecure=True)
        assert run(replies(transport, b"x" * MAX_MESSAGE_BYTES)) == [b"x" * MAX_MESSAGE_BYTES]
        with pytest.raises(TransportError):
            run(replies(transport, b"x" * (MAX_MESSAGE_BYTES + 1)))
        assert run(replies(transport, b"a")) == [b"a"]


def test_a_name_is_looked_up_and_plaintext_stays_on_loopback() -> None:
    with serving(Echo, OPEN) as served:
        port = served.address.rpartition(":")[2]
        assert run(replies(GrpcTransport(f"localhost:{port}", insecure=True), b"a")) == [b"a"]
    with pytest.raises(SecurityError, match="loopback only"):
        GrpcTransport("192.0.2.1:7788", insecure=True)
    with pytest.raises(SecurityError, match="without TLS"):
        GrpcTransport("127.0.0.1:7788")
    with pytest.raises(OptionError, match="is not an address"):
        GrpcTransport("127.0.0.1", insecure=True)


@pytest.mark.parametrize("token", ["", "a\nb", "a\x00", "ä"])
def test_tokens_that_are_none(token: str, site: Path) -> None:
    with pytest.raises(OptionError, match="damaged"):
        GrpcTransport("127.0.0.1:7788", tls=edge_files(site, mutual=False), token=token)


def test_a_token_never_travels_in_plaintext() -> None:
    with pytest.raises(OptionError, match="over TLS only"):
        GrpcTransport("127.0.0.1:7788", token="abc", insecure=True)


def test_what_cannot_be_reached_is_said_in_plain_words(site: Path) -> None:
    async def check() -> None:
        address = f"127.0.0.1:{free_port()}"
        tls = edge_files(site)
        refused = await failure(address)
        assert str(refused) == f"cannot reach {address}: nothing listens there (connection refused)"
        assert not isinstance(refused, RefusedError)
        unknown = await failure("no-such-host.invalid:1", tls=tls, insecure=False)
        assert str(unknown) == "cannot reach no-such-host.invalid:1: its name cannot be resolved"

    run(check())


def test_tls_that_does_not_fit_is_said_in_plain_words(site: Path) -> None:
    good, none = edge_files(site), edge_files(site, mutual=False)
    other = replace(good, authority=site / "other" / "ca.pem")
    stranger = replace(good, certificate=site / "other" / "edge.pem", key=site / "other" / "edge.key")

    async def check(address: str) -> None:
        for tls, words in (
            (other, "not of the given authority"),
            (replace(good, server_name="elsewhere.example"), "for another host name"),
            (none, "refuses this certificate"),
            (stranger, "refuses this certificate"),
        ):
            error = await failure(address, tls=tls, insecure=False)
            assert str(error).startswith(f"cannot reach {address}: ") and words in str(error)
        assert "only one side has TLS" in str(await failure(address))
        assert await replies(GrpcTransport(address, tls=good), b"a") == [b"a"]

    with serving(Echo, ServerAccess(tls=server_files(site))) as served:
        run(check(served.address))


def test_a_lost_link_is_said_in_plain_words() -> None:
    async def check() -> None:
        transport = GrpcTransport(served.address, insecure=True)
        down = transport.exchange(messages(b"a", then=asyncio.Event()))
        async with aclosing(down):
            assert await anext(down) == b"a"
            await served.server.close()
            with pytest.raises(TransportError, match=f"the link to {served.address} was lost: it has stopped"):
                await anext(down)

    with serving(Echo, OPEN) as served:
        run(check())


def test_statuses_of_others() -> None:
    async def handler(requests, context) -> None:
        await context.abort(*answer)

    async def check() -> None:
        nonlocal answer
        async with foreign(handler) as address:
            answer = (grpc.StatusCode.UNAUTHENTICATED, "who are you")
            refused = await failure(address)
            assert isinstance(refused, RefusedError) and refused.reason == "identity"
            answer = (grpc.StatusCode.RESOURCE_EXHAUSTED, "x" * 3000 + "\x1b[31m\n")
            lost = await failure(address)
            assert not isinstance(lost, RefusedError) and len(str(lost)) < 300
            answer = (grpc.StatusCode.ABORTED, "a\x1b[31mb\nc")
            assert str(await failure(address)).isprintable()
            answer = (grpc.StatusCode.CANCELLED, "no")  # must not look like a cancelled task
            assert str(await failure(address)) == f"cannot reach {address}: no"

    answer = (grpc.StatusCode.OK, "")
    run(check())


def test_the_servers_status_is_found_while_messages_are_still_sent() -> None:
    """gRPC then makes up a status of its own, more often than not."""

    async def handler(requests, context) -> None:
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no room", (("reason", "full"),))

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 1000

    async def check() -> None:
        async with foreign(handler) as address:
            transport = GrpcTransport(address, insecure=True)
            for _ in range(100):
                with pytest.raises(RefusedError, match="no room"):
                    _ = [message async for message in transport.exchange(endless())]

    run(check())


def test_a_server_without_the_method_is_another_version() -> None:
    async def check() -> None:
        server = grpc.aio.server()
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        error = await failure(f"127.0.0.1:{port}")
        assert isinstance(error, RefusedError) and error.reason == "protocol"
        await server.stop(None)

    run(check())


@pytest.mark.parametrize("error", [ValueError("of the caller"), OptionError("of the caller")])
def test_an_error_of_whoever_makes_the_messages_is_raised(error: Exception) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"a"
        raise error

    async def check() -> None:
        before = len(asyncio.all_tasks())
        transport = GrpcTransport(served.address, insecure=True)
        with pytest.raises(type(error), match="of the caller"):
            _ = [message async for message in transport.exchange(broken())]
        assert await settled(before) <= before

    with serving(Echo, OPEN) as served:
        run(check())


def test_messages_are_asked_for_when_the_network_takes_them() -> None:
    asked = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal asked
        while True:
            asked += 1
            yield b"x" * 60_000

    class Deaf(Echo):
        async def exchange(self, caller, up):
            yield b"hello"
            await asyncio.sleep(60)

    async def check() -> None:
        down = GrpcTransport(served.address, insecure=True).exchange(endless())
        async with aclosing(down):
            assert await anext(down) == b"hello"
            await asyncio.sleep(0.5)
            before = asked
            await asyncio.sleep(0.3)
            assert asked == before < 500  # buffers of both sides are full

    with serving(Deaf, OPEN) as served:
        run(check())


def test_closing_and_cancelling_leave_nothing_behind() -> None:
    closed = 0

    async def source() -> AsyncIterator[bytes]:
        nonlocal closed
        try:
            while True:
                yield b"a"
                await asyncio.sleep(0.001)
        finally:
            closed += 1

    async def check() -> None:
        before = len(asyncio.all_tasks())
        transport = GrpcTransport(served.address, insecure=True)
        for _ in range(3):
            async with aclosing(transport.exchange(source())) as down:
                assert await anext(down) == b"a"
        down = transport.exchange(messages(then=asyncio.Event()))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await anext(down)
        await down.aclose()
        assert await settled(before) <= before

    with serving(Echo, OPEN) as served:
        run(check())
        assert closed == 3
        until(served, lambda: served.streams.connected == 0)


def test_several_streams_of_one_transport_do_not_wait_for_each_other() -> None:
    async def check() -> None:
        transport = GrpcTransport(served.address, insecure=True)
        async with aclosing(transport.exchange(messages(then=asyncio.Event()))) as silent:
            waiting = asyncio.ensure_future(anext(silent))
            assert await replies(transport, b"a", b"b") == [b"a", b"b"]
            assert not waiting.done()
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)

    with serving(Echo, OPEN) as served:
        run(check())


def test_a_paused_stream_survives_its_keepalive_pings(site: Path) -> None:
    """Four periods and more, without a message."""

    async def check() -> None:
        keepalive = Keepalive(every_s=1.0, patience_s=2.0)  # gRPC takes nothing below a second
        resume = asyncio.Event()

        async def paused() -> AsyncIterator[bytes]:
            yield b"a"
            await resume.wait()
            yield b"b"

        down = GrpcTransport(served.address, tls=edge_files(site), keepalive=keepalive).exchange(paused())
        async with aclosing(down):
            assert await anext(down) == b"a"
            await asyncio.sleep(4.5)
            resume.set()
            assert await anext(down) == b"b"

    with serving(Echo, ServerAccess(tls=server_files(site))) as served:
        run(check())


@pytest.mark.slow
def test_a_server_that_allows_few_pings_loses_one_stream_at_most() -> None:
    async def handler(requests, context) -> None:
        async for message in requests:
            await context.write(message)

    async def check() -> None:
        async with foreign(handler) as address:
            transport = GrpcTransport(address, insecure=True, keepalive=Keepalive(every_s=1.0, patience_s=2.0))
            down = transport.exchange(messages(b"a", then=asyncio.Event()))
            async with aclosing(down):
                assert await anext(down) == b"a"
                with pytest.raises(TransportError, match="does not allow keepalive pings this often"):
                    async with asyncio.timeout(20):
                        await anext(down)
            down = transport.exchange(messages(b"b", then=asyncio.Event()))
            async with aclosing(down):
                assert await anext(down) == b"b"
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(8):  # longer than it took before
                        await anext(down)

    run(check())


def test_credentials_are_read_once(site: Path, tmp_path: Path) -> None:
    for name in ("ca.pem", "edge.pem", "edge.key"):
        (tmp_path / name).write_bytes((site / name).read_bytes())
    (tmp_path / "edge.key").chmod(0o600)
    with serving(Echo, ServerAccess(tls=server_files(site))) as served:
        transport = GrpcTransport(served.address, tls=edge_files(tmp_path))
        (tmp_path / "edge.key").unlink()
        assert run(replies(transport, b"a")) == [b"a"]
        with pytest.raises(SecurityError, match="cannot be read"):
            GrpcTransport(served.address, tls=edge_files(tmp_path))
        assert channel_credentials(edge_files(site)) is not None and METHOD.endswith(STREAM)
