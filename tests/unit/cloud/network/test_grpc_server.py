"""The server's end over real sockets: who gets in, what refusals say, floods, slow readers, drains and health."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from itertools import islice
from pathlib import Path

import pytest

pytest.importorskip("grpc", reason="grpcio is not installed: pip install '.[cloud]'")

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fluxshard.cloud.edge.connection.loop_thread import LINKS
from fluxshard.cloud.edge.options import OffloadOptions
from fluxshard.cloud.edge.session_parts import LocalModel
from fluxshard.cloud.monitoring.prometheus import PrometheusObserver
from fluxshard.cloud.network import grpc_server as grpc_server_module
from fluxshard.cloud.network.access import NO_TOKEN, ServerAccess
from fluxshard.cloud.network.grpc_transport import GrpcTransport
from fluxshard.cloud.network.settings import METHOD
from fluxshard.cloud.security.tls import channel_credentials, channel_options
from fluxshard.cloud.security.tokens import BAD_TOKEN, EXPIRED_TOKEN, SECRET_BYTES, issue_token
from fluxshard.cloud.server.limits import Caller, ServerLimits
from fluxshard.cloud.wire.messages import read_down
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.errors import RefusedError, SecurityError, TransportError
from fluxshard.testing.offload.grpc_serving import Served, run, serving
from fluxshard.testing.offload.two_places import moving_frames, server_of, session_of, small_model
from tests.unit.cloud.network.talk import (
    OPEN,
    Echo,
    edge_files,
    hello,
    messages,
    replies,
    server_files,
    until,
    welcome,
)

SECRET = bytes(range(SECRET_BYTES))
HEALTHY, DOWN = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture(scope="module")
def model() -> LocalModel:
    return small_model()


def greeting(model: LocalModel, stream: str = "test", **changes: object) -> bytes:
    return pb.Up(hello=hello(model, stream, **changes)).SerializeToString()


async def refusal(transport: GrpcTransport, *given: bytes) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        await replies(transport, *given)
    return caught.value


# --- who gets in


def test_the_caller_is_who_the_certificate_says(site: Path) -> None:
    with serving(Echo, ServerAccess(tls=server_files(site))) as served:
        assert run(replies(GrpcTransport(served.address, tls=edge_files(site)), b"a")) == [b"a"]
        (caller,) = served.streams.callers
    assert caller.identity == "edge" and caller.prefix == "" and caller.address.startswith("ipv4:127.0.0.1:")


def token(prefix: str = "cam", expires_in_s: float = 60.0, secret: bytes = SECRET) -> str:
    return issue_token(secret, identity="cam1", prefix=prefix, expires=time.time() + expires_in_s)


def test_tokens_that_are_refused(site: Path, model: LocalModel) -> None:
    good = token()
    bad = {
        None: NO_TOKEN,
        "x": BAD_TOKEN,
        good[:-1] + ("A" if good[-1] != "A" else "B"): BAD_TOKEN,
        token(secret=bytes(SECRET_BYTES)): BAD_TOKEN,
        token(expires_in_s=-1.0): EXPIRED_TOKEN,
    }

    async def check(address: str) -> None:
        for text, words in bad.items():
            transport = GrpcTransport(address, tls=edge_files(site, mutual=False), token=text)
            error = await refusal(transport, greeting(model))
            assert (error.reason, str(error), error.retry_after_s) == ("identity", words, None)

    with serving(lambda: server_of(model), token_access(site)) as served:
        run(check(served.address))


def token_access(site: Path) -> ServerAccess:
    return ServerAccess(tls=server_files(site, mutual=False), secret=SECRET)


@pytest.mark.parametrize(
    ("stream", "allowed"), [("cam1", True), ("cam1/left", True), ("cam10", False), ("cam2", False), ("x/cam1", False)]
)
def test_a_token_opens_its_own_streams_only(stream: str, allowed: bool, site: Path, model: LocalModel) -> None:
    async def check(address: str) -> None:
        transport = GrpcTransport(address, tls=edge_files(site, mutual=False), token=token("cam1"))
        if allowed:
            assert (await welcome(transport, hello(model, stream))).epoch == 1
        else:
            error = await refusal(transport, greeting(model, stream))
            assert (error.reason, str(error)) == ("identity", "the caller may not open a stream of this name")

    with serving(lambda: server_of(model), token_access(site)) as served:
        run(check(served.address))


def test_two_authorisations_are_none(site: Path) -> None:
    async def check(address: str) -> None:
        tls = edge_files(site, mutual=False)
        metadata = [("authorization", f"Bearer {token()}")] * 2
        async with grpc.aio.secure_channel(address, channel_credentials(tls), channel_options(tls)) as channel:
            call = channel.stream_stream(METHOD)(metadata=metadata)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
            assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED

    with serving(Echo, token_access(site)) as served:
        run(check(served.address))
        assert not served.streams.callers


def test_a_bad_certificate_is_an_error_before_anything_listens(site: Path) -> None:
    files = server_files(site)
    wrong = ServerAccess(tls=type(files)(certificate=files.certificate, key=site / "edge.key", client_authority=None),
                         secret=SECRET)  # fmt: skip
    with pytest.raises(SecurityError, match="is not the key of"), serving(Echo, wrong):
        pass


def test_a_port_that_is_taken_is_an_error() -> None:
    with serving(Echo, OPEN) as served:
        with pytest.raises(TransportError, match="another program has the port"), serving(Echo, OPEN, served.address):
            pass
        with socket.create_server(("127.0.0.1", 0)) as other:
            address = f"127.0.0.1:{other.getsockname()[1]}"
            with pytest.raises(TransportError, match=f"cannot listen on {address}"), serving(Echo, OPEN, address):
                pass
        assert run(replies(GrpcTransport(served.address, insecure=True), b"a")) == [b"a"]


# --- refusals


@pytest.mark.parametrize("reason", ["full", "draining", "model", "protocol", "identity", "taken", "invalid", "failed"])
def test_a_refusal_arrives_as_it_was_raised(reason: str) -> None:
    errors = {
        b"never": RefusedError("what is wrong", reason=reason),
        b"later": RefusedError("what is wrong", reason=reason, retry_after_s=2.5),
    }
    figures = PrometheusObserver()
    with serving(lambda: Echo(errors), OPEN, observer=figures) as served:
        transport = GrpcTransport(served.address, insecure=True)
        never, later = (run(refusal(transport, b"a", name)) for name in errors)
    for error in (never, later):
        assert (error.reason, str(error)) == (reason, "what is wrong")
    assert (never.retry_after_s, later.retry_after_s) == (None, 2.5)
    assert figures.registry.get_sample_value("fluxshard_refusals_total", {"reason": reason}) == 2


def test_what_goes_wrong_on_the_server_is_not_told() -> None:
    errors = {b"x": ValueError("/secret/path of somebody")}
    with serving(lambda: Echo(errors), OPEN) as served:
        error = run(refusal(GrpcTransport(served.address, insecure=True), b"x"))
        assert (error.reason, str(error), error.retry_after_s) == ("failed", "the server failed", 1.0)
        assert served.ask(lambda: served.streams.connected) == 0


def test_streams_that_the_server_does_not_take(model: LocalModel) -> None:
    cases = {
        "model": greeting(model, plan="other"),
        "protocol": greeting(model, protocol=99),
        "invalid": b"\xff\xff",
    }

    async def check(address: str) -> None:
        transport = GrpcTransport(address, insecure=True)
        for reason, first in cases.items():
            assert (await refusal(transport, first)).reason == reason
        assert (await refusal(transport)).reason == "invalid"  # nothing at all
        assert (await refusal(transport, greeting(model), greeting(model))).reason == "invalid"
        assert (await refusal(transport, greeting(model, stream="../x y"))).reason == "invalid"

    with serving(lambda: server_of(model), OPEN) as served:
        run(check(served.address))
        until(served, lambda: served.streams.connected == 0)


def test_the_same_caller_takes_its_stream_over(model: LocalModel, site: Path) -> None:
    async def check(address: str) -> None:
        transport = GrpcTransport(address, tls=edge_files(site))
        before = transport.exchange(messages(greeting(model), then=asyncio.Event()))
        async with aclosing(before):
            assert read_down(await anext(before)).welcome.epoch == 1
            assert (await welcome(transport, hello(model))).epoch == 2
            with pytest.raises(RefusedError) as caught:
                await anext(before)
            assert caught.value.reason == "taken" and (caught.value.retry_after_s or 0) >= 5

    with serving(lambda: server_of(model), ServerAccess(tls=server_files(site))) as served:
        run(check(served.address))


# --- a crowd


def test_a_crowd_is_refused_at_once_and_does_not_disturb_a_stream(model: LocalModel) -> None:
    """200 connections at a server with 72 streams, one of which runs frames meanwhile."""
    slots, callers = 72, 200

    async def one(address: str, index: int, over: asyncio.Event) -> tuple[str, float]:
        started = time.perf_counter()
        down = GrpcTransport(address, insecure=True).exchange(messages(greeting(model, f"s{index}"), then=over))
        async with aclosing(down):
            try:
                assert read_down(await anext(down)).WhichOneof("kind") == "welcome"
            except RefusedError as error:
                assert error.reason == "full" and error.retry_after_s == 1.0
                return "full", time.perf_counter() - started
            took = time.perf_counter() - started
            await over.wait()
            return "taken", took

    async def crowd(address: str) -> list[tuple[str, float]]:
        over = asyncio.Event()
        tasks = [asyncio.ensure_future(one(address, index, over)) for index in range(callers)]
        while sum(task.done() for task in tasks) < callers - slots:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        over.set()
        return await asyncio.gather(*tasks)

    limits = ServerLimits(max_streams=slots + 1)
    with serving(lambda: server_of(model, limits=limits), OPEN) as served:
        options = OffloadOptions(payload="raw", stream="running")
        session = session_of(model, GrpcTransport(served.address, insecure=True), options=options)
        frames = moving_frames(60)
        session.run(next(frames))
        end = time.monotonic() + 10
        while not session.link.is_open:
            assert time.monotonic() < end
            time.sleep(0.01)
        alone = [(session.run(frame), session.record.latency_ms)[1] for frame in islice(frames, 20)]
        rushed = LINKS.run(crowd(served.address))
        beside = [(session.run(frame), session.record.latency_ms)[1] for frame in frames]
        found = rushed.result(60)
        epoch = session.link.epoch
        assert session.link.is_open and epoch == 1
        session.close()
        until(served, lambda: served.streams.connected == 0)
    refused = sorted(took for kind, took in found if kind == "full")
    assert len(refused) == callers - slots
    print(
        f"{len(refused)} refused in {1e3 * refused[len(refused) // 2]:.0f} ms (median), {1e3 * refused[-1]:.0f} ms "
        f"(largest); a frame took {sorted(alone)[10]:.1f} ms alone, {sorted(beside)[len(beside) // 2]:.1f} beside them"
    )
    assert len(beside) == 39 and max(beside) < 5e3  # on a machine with other things to do


def test_a_caller_that_does_not_read_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    class Loud(Echo):
        async def exchange(self, caller: Caller, up: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
            self.connected += 1
            try:
                while True:
                    yield b"x" * 60_000
            finally:
                self.connected -= 1

    async def check(address: str) -> None:
        async with grpc.aio.insecure_channel(address) as channel:
            call = channel.stream_stream(METHOD)()
            await call.write(b"a")
            await asyncio.sleep(0.1)
            assert served.streams.connected == 1
            await asyncio.to_thread(until, served, lambda: served.streams.connected == 0)
            call.cancel()

    monkeypatch.setattr(grpc_server_module, "_STALL_S", 0.5)
    monkeypatch.setattr(grpc_server_module, "_STATUS_S", 0.5)
    with serving(Loud, OPEN) as served:
        run(check(served.address))


# --- drains


def test_a_drain_lets_streams_go_and_refuses_new_ones(model: LocalModel) -> None:
    async def check(served: Served) -> None:
        transport, leave = GrpcTransport(served.address, insecure=True), asyncio.Event()
        down = transport.exchange(messages(greeting(model), then=leave))
        async with aclosing(down):
            await anext(down)
            draining = asyncio.ensure_future(served.server.drain(20.0, "other:1"))
            told = read_down(await anext(down)).drain
            assert (told.moved_to, told.deadline_ms) == ("other:1", 20_000)
            error = await refusal(transport, greeting(model, "another"))
            assert (error.reason, error.retry_after_s) == ("draining", 1.0)
            assert not draining.done()
            leave.set()
            with pytest.raises(StopAsyncIteration):
                await anext(down)
            await draining

    with serving(lambda: server_of(model), OPEN) as served:
        run(check(served))


def test_a_drain_does_not_wait_for_ever(model: LocalModel) -> None:
    async def check(served: Served) -> None:
        down = GrpcTransport(served.address, insecure=True).exchange(messages(greeting(model), then=asyncio.Event()))
        async with aclosing(down):
            await anext(down)
            await served.server.drain(0.2)
            await served.server.close()
            with pytest.raises(TransportError):
                while True:
                    await anext(down)

    with serving(lambda: server_of(model), OPEN) as served:
        run(check(served))
        assert served.ask(lambda: served.streams.connected) == 0


# --- health


def test_health_of_the_server_and_of_each_model(site: Path) -> None:
    async def check(served: Served) -> None:
        tls = edge_files(site)
        async with grpc.aio.secure_channel(served.address, channel_credentials(tls), channel_options(tls)) as channel:
            stub = health_pb2_grpc.HealthStub(channel)

            async def status(name: str) -> int:
                return (await stub.Check(health_pb2.HealthCheckRequest(service=name))).status

            for name in ("", "net@32x48"):
                assert await status(name) == HEALTHY
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await status("other")
            assert caught.value.code() == grpc.StatusCode.NOT_FOUND
            watch = stub.Watch(health_pb2.HealthCheckRequest(service=""))
            assert (await watch.read()).status == HEALTHY
            await served.server.drain(1.0)
            assert (await watch.read()).status == DOWN and await status("net@32x48") == DOWN
            watch.cancel()

    with serving(Echo, ServerAccess(tls=server_files(site)), models=["net@32x48"]) as served:
        run(check(served))


def test_watchers_of_health_are_counted() -> None:
    async def check(address: str) -> None:
        async with grpc.aio.insecure_channel(address) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            watches = [stub.Watch(health_pb2.HealthCheckRequest(service=f"s{index}")) for index in range(64)]
            for watch in watches:
                await watch.read()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Watch(health_pb2.HealthCheckRequest(service="")).read()
            assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            for watch in watches:
                watch.cancel()

    with serving(Echo, OPEN) as served:
        run(check(served.address))
