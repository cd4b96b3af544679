"""A transport whose server is a script, for tests of links."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

from fluxshard.cloud.edge.connection.link import CloudLink, LinkOptions, LinkState
from fluxshard.cloud.edge.connection.upload import Outcome, Upload
from fluxshard.cloud.wire.messages import checksum, read_up
from fluxshard.cloud.wire.proto import offload_pb2 as pb

Script = Callable[[AsyncIterator[bytes]], AsyncIterator[bytes]]

FAST = LinkOptions(connect_s=5.0, silence_s=5.0, backoff_s=(0.001, 0.01), slow_s=0.05)


class FakeServer:
    """See `Transport`: every connection follows a script, the last one again and again.

    Attributes:
      times: when connections were opened, on the monotonic clock.
    """

    def __init__(self, *scripts: Script) -> None:
        self._scripts = scripts
        self.times: list[float] = []

    def exchange(self, up: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        self.times.append(time.monotonic())
        return self._scripts[min(len(self.times), len(self._scripts)) - 1](up)


def failing(error: Exception) -> Script:
    async def script(up: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        raise error
        yield b""

    return script


def saying(*messages: pb.Down | bytes, welcome: bool = True, epoch: int = 1, then: Exception | None = None) -> Script:
    """Welcomes, says the rest when a frame's head comes, and then fails or listens."""

    async def script(up: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        await anext(up)
        if welcome:
            yield pb.Down(welcome=pb.Welcome(epoch=epoch, max_frame_bytes=1000)).SerializeToString()
            if messages or then:
                await anext(up)
        for message in messages:
            yield message if isinstance(message, bytes) else message.SerializeToString()
        if then is not None:
            raise then
        await asyncio.Event().wait()

    return script


async def answering(up: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Welcomes, and answers every frame with its number."""
    await anext(up)
    yield pb.Down(welcome=pb.Welcome(epoch=7, max_frame_bytes=1000)).SerializeToString()
    async for data in up:
        for message in answer_to(read_up(data)):
            yield message.SerializeToString()


def answer_to(message: pb.Up) -> list[pb.Down]:
    if message.WhichOneof("kind") != "frame":
        return []
    seq, answer = message.frame.seq, str(message.frame.seq).encode()
    result = pb.Result(seq=seq, answer_bytes=len(answer), answer_crc32=checksum(answer), wait_ms=12.0, credit_bytes=500)
    return [pb.Down(result=result), pb.Down(chunk=pb.Chunk(seq=seq, data=answer))]


@contextmanager
def link_to(
    server: FakeServer, options: LinkOptions = FAST, notify: Callable[[LinkState], None] = lambda _: None
) -> Iterator[CloudLink]:
    link = CloudLink(server, pb.Hello(stream="test"), options, notify)
    try:
        yield link
    finally:
        link.close()


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "that did not happen"
        time.sleep(0.001)


def frame(seq: int, n_bytes: int = 0) -> Upload:
    head = pb.Up(frame=pb.Frame(seq=seq)).SerializeToString()
    rest = [pb.Up(chunk=pb.Chunk(seq=seq, data=bytes(n_bytes))).SerializeToString()] if n_bytes else []
    return Upload(seq, [head, *rest], lambda: None)


def outcome_of(link: CloudLink, upload: Upload) -> Outcome:
    """What becomes of a frame; waits for the link to open before."""
    until(lambda: link.state.is_open)
    link.submit(upload)
    until(lambda: upload.outcome is not None)
    assert upload.outcome is not None
    return upload.outcome
