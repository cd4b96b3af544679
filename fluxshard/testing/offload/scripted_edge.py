"""An edge that says what a test tells it, message by message, to a server in the same event loop. Needs `cloud`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from google.protobuf.message import Message

from fluxshard.cloud.edge.payload.sparse import Envelope, PixelEncoder, SparsePayload
from fluxshard.cloud.edge.placement import PlacementRecord
from fluxshard.cloud.edge.session_parts import LocalModel
from fluxshard.cloud.server.limits import Caller
from fluxshard.cloud.server.stream_server import StreamServer
from fluxshard.cloud.wire.answer_codec import OutputsCodec
from fluxshard.cloud.wire.messages import PROTOCOL, Assembly, read_down
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.cloud.wire.raw_payload import RawPayload
from fluxshard.cloud.wire.reuse_codec import encode_reuse
from fluxshard.options import ReuseOptions
from fluxshard.runtime.endpoints.mirror import Mirror
from fluxshard.runtime.endpoints.policies import cloud_policy
from fluxshard.runtime.endpoints.work_order import work_orders
from fluxshard.runtime.offload.dispatch import Decision, DispatchInputs
from fluxshard.testing.offload.two_places import SIZE, Replay
from fluxshard.video.frame import Frame


def hello_of(model: LocalModel, options: ReuseOptions, **changes: Any) -> pb.Hello:
    """The greeting of an edge that has this model; `changes` replace fields."""
    compute = model.compute
    hello = pb.Hello(
        protocol=PROTOCOL,
        stream="test",
        plan=model.program.engine.plan.digest(),
        weights=model.weights,
        reuse=encode_reuse(options),
        payload="raw",
        answer="outputs",
        dtype=compute.dtype,
        backend=compute.backend,
        isa=compute.isa,
        version=compute.version,
    )
    for name, value in changes.items():
        setattr(hello, name, value)
    return hello


class ScriptedFrames:
    """Messages of frames that all run on the server, and what it has to answer.

    Args:
      model: of both sides.
      reuse: of the stream.
      size: (H, W) of the images.
      codec: of pixels; None sends them as they are.
    """

    def __init__(
        self,
        model: LocalModel,
        reuse: ReuseOptions,
        size: tuple[int, int] = SIZE,
        codec: PixelEncoder | None = None,
    ) -> None:
        self._program, self._reuse, self._size = model.program, reuse, size
        self.orders = work_orders(model.program.engine.plan, reuse)
        self._payload = SparsePayload(codec or RawPayload(*size), self.orders, size)
        self._codec = OutputsCodec(model.program.engine.plan)
        self.seq = self.base_seq = 0
        """Of the last frame; of the last one that the server is taken to have run."""
        self.lose()

    def lose(self) -> None:
        """The server has nothing cached: the next frame is a keyframe."""
        self._mirror = Mirror(cloud_policy(self._program, self._reuse, sparse_image=True), self._size)
        self._replay = Replay(self._program, self._reuse, self._size, sparse_image=True)

    def messages(self, frame: Frame, epoch: int, *, answer: bool = True, budget_ms: int = 0) -> list[pb.Up]:
        """The next frame of the video; the server is taken to run it.

        Args:
          frame: of the video.
          epoch: of the connection.
          answer: whether outputs are wanted.
          budget_ms: until there is no use for the answer; 0 where there is no limit.
        """
        self.seq += 1
        self._mirror.advance(frame.motion)
        proposal = self._mirror.propose(frame.image)
        envelope = Envelope(seq=self.seq, base_seq=self.base_seq, epoch=epoch, wants_answer=answer, budget_ms=budget_ms)
        data = self._payload.messages(frame, self.orders.of(proposal), proposal.motion, envelope)
        self._mirror.commit(proposal)
        self.base_seq = self.seq
        return [pb.Up.FromString(message) for message in data]

    def expected(self, frame: Frame, *, keyframe: bool) -> Any:
        """What the model returns for the frame that `messages` was given last."""
        record = PlacementRecord(
            frame=0,
            inputs=DispatchInputs(edge_ms=None, cloud_ms=None),
            decision=Decision(endpoint="cloud", edge_ms=None, cloud_ms=None, reason=""),
            answered_by="cloud",
            cloud_ran=True,
            cloud_keyframe=keyframe,
        )
        return self._replay.run(frame, record)

    def read(self, answer: bytes) -> Any:
        """What the model returned, from the server's answer."""
        return self._program.unflatten(self._codec.decode(answer))


class ScriptedEdge:
    """One stream to a server. What is not received is not taken from the server: an edge that does not read.

    Args:
      server: of this event loop.
      caller: that the server sees.
    """

    def __init__(self, server: StreamServer, caller: Caller | None = None) -> None:
        self._up: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._down = server.exchange(caller or Caller(), self._messages())

    def send(self, *messages: Message | bytes) -> None:
        """Says something."""
        for message in messages:
            self._up.put_nowait(message if isinstance(message, bytes) else message.SerializeToString())

    @property
    def unread(self) -> int:
        """Messages that the server has not taken yet."""
        return self._up.qsize()

    def end(self) -> None:
        """Says nothing any more, as an edge that has closed its side."""
        self._up.put_nowait(None)

    async def open(self, hello: pb.Hello) -> pb.Welcome:
        """Greets the server.

        Raises:
          RefusedError: the stream is not taken.
        """
        self.send(pb.Up(hello=hello))
        first = await self.receive()
        assert first.WhichOneof("kind") == "welcome"
        return first.welcome

    async def receive(self, seconds: float = 20.0) -> pb.Down:
        """The next message.

        Raises:
          RefusedError: the stream has failed.
          StopAsyncIteration: it has ended.
          TimeoutError: nothing came.
        """
        async with asyncio.timeout(seconds):
            return read_down(await anext(self._down))

    async def outcome(self) -> tuple[pb.Down, bytes]:
        """What became of the frame under way, and the answer where there is one."""
        while True:
            message = await self.receive()
            kind = message.WhichOneof("kind")
            if kind == "result":
                answer = Assembly(message.result.answer_bytes, message.result.answer_crc32)
                while not answer.is_complete:
                    answer.add((await self.receive()).chunk)
                return message, answer.payload()
            if kind != "progress":
                return message, b""

    async def close(self) -> None:
        """Is gone: the call is cancelled."""
        await self._down.aclose()  # type: ignore[attr-defined]  # of a generator

    async def _messages(self) -> AsyncIterator[bytes]:
        while (message := await self._up.get()) is not None:
            yield message
