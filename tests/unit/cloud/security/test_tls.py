"""TLS between a real server and real clients on loopback: who gets in, and which versions are spoken."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import warnings
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fluxshard.errors import OptionError, SecurityError

pytest.importorskip("grpc", reason="grpcio is not installed: pip install '.[cloud]'")

import grpc

from fluxshard.cloud.security.peer import peer_identity, require_tls_1_3
from fluxshard.cloud.security.tls import (
    ClientTls,
    ServerTls,
    channel_credentials,
    channel_options,
    server_credentials,
)

METHOD = "/test.Test/Who"
LONG_AGO = datetime.now(UTC) - timedelta(days=29, hours=12)  # certificates that have expired were valid then


async def who(_: bytes, context) -> bytes:
    """Answers with the identity of the client; refuses what is not TLS 1.3."""
    try:
        require_tls_1_3(context.auth_context())
    except SecurityError as error:
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))
    return (peer_identity(context.auth_context()) or "").encode()


@contextlib.asynccontextmanager
async def serving(credentials) -> AsyncIterator[int]:
    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(who)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Test", {"Who": handler}),))
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


async def ask(port: int, client: ClientTls, now: datetime | None = None, host: str = "localhost") -> str:
    """The identity that a server sees; "refused" where there is no connection, or the text of a refusal."""
    options = [("grpc.enable_http_proxy", 0), *channel_options(client)]
    async with grpc.aio.secure_channel(f"{host}:{port}", channel_credentials(client, now), options) as channel:
        try:
            return (await channel.unary_unary(METHOD)(b"", timeout=10)).decode()
        except grpc.aio.AioRpcError as error:
            return "refused" if error.code() == grpc.StatusCode.UNAVAILABLE else error.details()


def server_files(directory: Path, name: str = "server", *, mutual: bool = True) -> ServerTls:
    authority = directory / "ca.pem" if mutual else None
    return ServerTls(certificate=directory / f"{name}.pem", key=directory / f"{name}.key", client_authority=authority)


def client_files(directory: Path, name: str | None, authority: Path, server_name: str | None = None) -> ClientTls:
    return ClientTls(
        authority=authority / "ca.pem",
        certificate=None if name is None else directory / f"{name}.pem",
        key=None if name is None else directory / f"{name}.key",
        server_name=server_name,
    )


def test_a_client_is_who_its_certificate_says(site: Path) -> None:
    async def run() -> None:
        async with serving(server_credentials(server_files(site))) as port:
            assert await ask(port, client_files(site, "edge", site)) == "edge"
            assert await ask(port, client_files(site, "edge", site), host="127.0.0.1") == "edge"
            assert await ask(port, client_files(site, "edge", site, server_name="cloud.example")) == "edge"

    asyncio.run(run())


def test_clients_that_a_server_refuses(site: Path) -> None:
    """No certificate, one of another authority, one that has expired, one that is a server's."""

    async def run() -> None:
        async with serving(server_credentials(server_files(site))) as port:
            assert await ask(port, client_files(site, None, site)) == "refused"
            assert await ask(port, client_files(site / "other", "edge", site)) == "refused"
            assert await ask(port, client_files(site, "expired-edge", site), LONG_AGO) == "refused"
            pair = (site / "server.key").read_bytes(), (site / "server.pem").read_bytes()
            borrowed = grpc.ssl_channel_credentials((site / "ca.pem").read_bytes(), *pair)
            async with grpc.aio.secure_channel(f"localhost:{port}", borrowed) as channel:
                with pytest.raises(grpc.aio.AioRpcError):
                    await channel.unary_unary(METHOD)(b"", timeout=10)
            assert await ask(port, client_files(site, "edge", site)) == "edge"

    asyncio.run(run())


def test_servers_that_a_client_refuses(site: Path) -> None:
    """Of another authority, of another name, one that has expired."""

    async def run() -> None:
        client = client_files(site, "edge", site)
        async with serving(server_credentials(server_files(site / "other"))) as port:
            assert await ask(port, client) == "refused"
        async with serving(server_credentials(server_files(site))) as port:
            assert await ask(port, client_files(site, "edge", site, server_name="elsewhere.example")) == "refused"
        async with serving(server_credentials(server_files(site, "expired-server"), LONG_AGO)) as port:
            assert await ask(port, client) == "refused"

    asyncio.run(run())


def test_without_client_authorities_nobody_has_an_identity(site: Path) -> None:
    async def run() -> None:
        async with serving(server_credentials(server_files(site, mutual=False))) as port:
            assert await ask(port, client_files(site, None, site)) == ""
            assert await ask(port, client_files(site / "other", "edge", site)) == ""

    asyncio.run(run())


def test_bad_files_are_errors_before_anything_listens(site: Path) -> None:
    with pytest.raises(SecurityError, match="expired"):
        server_credentials(server_files(site, "expired-server"))
    with pytest.raises(SecurityError, match="is not the key of"):
        server_credentials(
            ServerTls(certificate=site / "server.pem", key=site / "edge.key", client_authority=site / "ca.pem")
        )
    with pytest.raises(SecurityError, match="no certificate of an authority"):
        server_credentials(
            ServerTls(certificate=site / "server.pem", key=site / "server.key", client_authority=site / "edge.pem")
        )
    with pytest.raises(SecurityError, match="expired"):
        channel_credentials(client_files(site, "expired-edge", site))
    with pytest.raises(SecurityError, match="go together"):
        ClientTls(authority=site / "ca.pem", certificate=site / "edge.pem", key=None, server_name=None)


def test_files_may_be_text_and_need_no_more_than_an_authority(site: Path) -> None:
    async def run() -> None:
        pair = {"certificate": str(site / "edge.pem"), "key": str(site / "edge.key")}
        async with serving(server_credentials(server_files(site))) as port:
            assert await ask(port, ClientTls(authority=str(site / "ca.pem"), **pair)) == "edge"
        async with serving(server_credentials(server_files(site, mutual=False))) as port:
            assert await ask(port, ClientTls(authority=str(site / "ca.pem"))) == ""

    asyncio.run(run())
    with pytest.raises(SecurityError, match=r"nothing\.pem cannot be read"):
        channel_credentials(ClientTls(authority="nothing.pem"))


@pytest.mark.parametrize("given", [{"authority": None}, {"authority": 3}, {"authority": "ca.pem", "key": b"key"}])
def test_files_that_are_none(given: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=f"{list(given)[-1]}"):
        ClientTls(**given)


def test_plaintext_never_takes_a_proxy() -> None:
    assert ("grpc.enable_http_proxy", 0) in channel_options(None)


# --- versions: what gRPC accepts, and what this package serves


def handshake(port: int, site: Path, version: ssl.TLSVersion) -> str:
    """Version and cipher that a server agrees on with a client that speaks one version only."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(site / "ca.pem")
    context.load_cert_chain(site / "edge.pem", site / "edge.key")
    context.set_alpn_protocols(["h2"])
    context.set_ciphers("ALL:@SECLEVEL=0")  # or OpenSSL itself would refuse to speak 1.1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    try:
        with (
            socket.create_connection(("127.0.0.1", port), 10) as connection,
            context.wrap_socket(connection, server_hostname="localhost") as wrapped,
        ):
            cipher = wrapped.cipher()
            return f"{wrapped.version()} {cipher[0] if cipher else ''}"
    except (ssl.SSLError, ConnectionError):
        return "refused"


def test_versions_that_grpc_accepts(site: Path) -> None:
    """1.1 is refused in the handshake. 1.2 is not: Python's gRPC sets no least version, so handlers refuse it."""

    async def run() -> None:
        async with serving(server_credentials(server_files(site))) as port:
            found = {
                version.name: await asyncio.to_thread(handshake, port, site, version)
                for version in (ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
            }
        assert found["TLSv1_1"] == "refused"
        assert found["TLSv1_2"].startswith("TLSv1.2 ECDHE-ECDSA-") and "GCM" in found["TLSv1_2"]
        assert found["TLSv1_3"].startswith("TLSv1.3 TLS_AES_")

    asyncio.run(run())


@contextlib.asynccontextmanager
async def downgrading(port: int, site: Path) -> AsyncIterator[int]:
    """A proxy that ends TLS 1.3 or 1.2 of its clients, and speaks TLS 1.2 only to a server."""
    inside = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    inside.load_cert_chain(site / "server.pem", site / "server.key")
    outside = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    outside.load_verify_locations(site / "ca.pem")
    outside.load_cert_chain(site / "edge.pem", site / "edge.key")
    outside.maximum_version = ssl.TLSVersion.TLSv1_2
    for context in (inside, outside):
        context.set_alpn_protocols(["h2"])

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        sink.close()

    async def relay(near_in: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        far_in, far_out = await asyncio.open_connection("127.0.0.1", port, ssl=outside, server_hostname="localhost")
        await asyncio.gather(pump(near_in, far_out), pump(far_in, near_out))

    async with await asyncio.start_server(relay, "127.0.0.1", 0, ssl=inside) as proxy:
        yield proxy.sockets[0].getsockname()[1]


def test_a_call_over_tls_1_2_is_refused(site: Path) -> None:
    async def run() -> None:
        async with serving(server_credentials(server_files(site))) as port, downgrading(port, site) as proxy:
            answer = await ask(proxy, client_files(site, None, site))
        assert answer == "this connection is not TLS 1.3, which this server requires"

    asyncio.run(run())
