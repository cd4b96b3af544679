"""What gRPC with mutual TLS adds to plain TCP, for payloads as an edge sends them: over loopback, two processes.

    python -m benchmarks.transport --rounds 300

A payload goes up in chunks that the server acknowledges, as those of frames do, and a reply of 64 bytes comes back; the
time is from the first chunk to the reply. Every round measures all contenders at all sizes, one after the other. Below
the table: how long it takes until a stream is refused, with its connection and the handshake.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import os
import socket
import ssl
import struct
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from fluxshard.cloud.network.access import ServerAccess
from fluxshard.cloud.network.grpc_server import GrpcServer
from fluxshard.cloud.network.grpc_transport import GrpcTransport
from fluxshard.cloud.security.site import make_site
from fluxshard.cloud.security.tls import ClientTls, ServerTls
from fluxshard.cloud.server.limits import Caller
from fluxshard.cloud.server.outbox import Outbox
from fluxshard.cloud.server.stream_frames import PROGRESS_S
from fluxshard.cloud.wire.messages import Assembly, checksum, read_down, read_up
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.errors import RefusedError

SIZES = {"26 kB": 26_000, "300 kB": 300_000, "1 MiB": 1 << 20, "3 MiB": 3 << 20}
REPLY = bytes(64)
_LENGTH = struct.Struct("<I")
Send = Callable[[bytes], Awaitable[None]]


class Acknowledging:
    """Streams that take payloads as a server takes those of frames, and do nothing with them."""

    connected = 0

    def drain(self, deadline_s: float, moved_to: str = "") -> None:
        """Nothing to do."""

    async def exchange(self, caller: Caller, up: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Acknowledges every chunk, and answers every payload; "refuse" is refused."""
        outbox = Outbox()
        reader = asyncio.create_task(self._read(up, outbox))
        try:
            async for message in outbox:
                yield message
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _read(self, up: AsyncIterator[bytes], outbox: Outbox) -> None:
        payload, received, told_at = Assembly(0, 0), 0, 0.0
        loop = asyncio.get_running_loop()
        async for data in up:
            message = read_up(data)
            received += len(data)
            if message.WhichOneof("kind") == "hello":
                outbox.fail(RefusedError("full", reason="full", retry_after_s=1.0))
                return
            if message.WhichOneof("kind") == "frame":
                payload = Assembly(message.frame.payload_bytes, message.frame.payload_crc32)
            else:
                payload.add(message.chunk)
            if payload.is_complete or not payload.received or loop.time() - told_at >= PROGRESS_S:
                told_at = loop.time()
                outbox.send(pb.Down(progress=pb.Progress(seq=1, received_bytes=received)))
            if payload.is_complete:
                payload.payload()
                outbox.send(pb.Down(chunk=pb.Chunk(seq=1, data=REPLY)))


def server_tls(site: Path) -> ServerTls:
    """Files of the server."""
    return ServerTls(certificate=site / "server.pem", key=site / "server.key", client_authority=site / "ca.pem")


def client_tls(site: Path) -> ClientTls:
    """Files of the client."""
    return ClientTls(authority=site / "ca.pem", certificate=site / "edge.pem", key=site / "edge.key", server_name=None)


def serve(site: Path, report: Connection) -> None:
    """The server's process: plain TCP, TLS and gRPC, each on a port."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(site / "server.pem", site / "server.key")
    context.load_verify_locations(site / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    plain, secure = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
    for listener, wrap in ((plain, None), (secure, context)):
        threading.Thread(target=_answer, args=(listener, wrap), daemon=True).start()

    async def main() -> None:
        server = GrpcServer(Acknowledging(), ServerAccess(tls=server_tls(site)))
        address = await server.start("127.0.0.1:0")
        report.send((plain.getsockname()[1], secure.getsockname()[1], address))
        await asyncio.Event().wait()

    asyncio.run(main())


def _answer(listener: socket.socket, context: ssl.SSLContext | None) -> None:
    connection = listener.accept()[0]
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if context is not None:
        connection = context.wrap_socket(connection, server_side=True)
    buffer = bytearray(max(SIZES.values()))
    with contextlib.suppress(OSError):
        while True:
            size = _LENGTH.unpack(_exactly(connection, memoryview(buffer)[: _LENGTH.size]))[0]
            _exactly(connection, memoryview(buffer)[:size])
            connection.sendall(REPLY)


def _exactly(connection: socket.socket, view: memoryview) -> memoryview:
    got = 0
    while got < len(view):
        count = connection.recv_into(view[got:])
        if not count:
            raise OSError("closed")
        got += count
    return view


def over_sockets(port: int, site: Path | None) -> Send:
    """Sends over a plain socket, or with TLS."""
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if site is not None:
        context = ssl.create_default_context(cafile=str(site / "ca.pem"))
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(site / "edge.pem", site / "edge.key")
        connection = context.wrap_socket(connection, server_hostname="localhost")
    reply = memoryview(bytearray(len(REPLY)))

    async def send(payload: bytes) -> None:
        connection.sendall(_LENGTH.pack(len(payload)))
        connection.sendall(payload)
        _exactly(connection, reply)

    return send


def over_grpc(address: str, site: Path, chunk_bytes: int) -> Send:
    """Sends as an edge does, in chunks of so many bytes."""
    waiting: asyncio.Queue[list[bytes]] = asyncio.Queue()

    async def up() -> AsyncIterator[bytes]:
        while True:
            for message in await waiting.get():
                yield message

    down = GrpcTransport(address, tls=client_tls(site)).exchange(up())

    async def send(payload: bytes) -> None:
        waiting.put_nowait(list(_messages(payload, chunk_bytes)))
        while read_down(await anext(down)).WhichOneof("kind") != "chunk":
            pass

    return send


def _messages(payload: bytes, chunk_bytes: int) -> Iterator[bytes]:
    head = pb.Frame(seq=1, payload_bytes=len(payload), payload_crc32=checksum(payload))
    yield pb.Up(frame=head).SerializeToString()
    for offset in range(0, len(payload), chunk_bytes):
        chunk = pb.Chunk(seq=1, offset=offset, data=payload[offset : offset + chunk_bytes])
        yield pb.Up(chunk=chunk).SerializeToString()


async def measure(ports: tuple[int, int, str], site: Path, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Milliseconds of every round, by contender and size."""
    contenders = {
        "TCP": over_sockets(ports[0], None),
        "TLS 1.3": over_sockets(ports[1], site),
        "gRPC, mutual TLS, chunks of 16 KiB": over_grpc(ports[2], site, 16 << 10),
        "gRPC, mutual TLS, chunks of 60 KiB": over_grpc(ports[2], site, 60 << 10),
    }
    payloads = {name: os.urandom(size) for name, size in SIZES.items()}
    found: dict[str, dict[str, list[float]]] = {who: {name: [] for name in SIZES} for who in contenders}
    for number in range(rounds + 3):
        for name, payload in payloads.items():
            for who, send in contenders.items():
                start = time.perf_counter()
                await send(payload)
                if number >= 3:
                    found[who][name].append(1e3 * (time.perf_counter() - start))
    return found


async def refusals(address: str, site: Path, count: int) -> list[float]:
    """Milliseconds from the wish for a stream to its refusal, one after the other."""
    found = []
    hello = pb.Up(hello=pb.Hello()).SerializeToString()

    async def up() -> AsyncIterator[bytes]:
        yield hello
        await asyncio.Event().wait()

    transport = GrpcTransport(address, tls=client_tls(site))
    for _ in range(count):
        start = time.perf_counter()
        with contextlib.suppress(RefusedError):
            async for _ in transport.exchange(up()):
                pass
        found.append(1e3 * (time.perf_counter() - start))
    return found


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--refusals", type=int, default=100)
    options = parser.parse_args()
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as directory:
        site = Path(directory)
        make_site(site)
        mine, theirs = spawn.Pipe()
        process = spawn.Process(target=serve, args=(site, theirs), daemon=True)
        process.start()
        ports = mine.recv()

        async def run() -> tuple[dict[str, dict[str, list[float]]], list[float]]:
            return await measure(ports, site, options.rounds), await refusals(ports[2], site, options.refusals)

        found, refused = asyncio.run(run())
        process.terminate()
        process.join()
    print(f"| over loopback, ms (99th percentile) | {' | '.join(SIZES)} |")
    print("|---|" + "---:|" * len(SIZES))
    for who, times in found.items():
        cells = (f"{np.median(ms):.2f} ({np.percentile(ms, 99):.1f})" for ms in times.values())
        print(f"| {who} | {' | '.join(cells)} |")
    print(f"\na refusal, with connection and handshake: {np.median(refused):.1f} ms ({np.percentile(refused, 99):.1f})")


if __name__ == "__main__":
    main()
