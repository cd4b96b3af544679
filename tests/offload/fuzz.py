"""Mutated streams against one server, beside a stream that is in order: `python -m tests.offload.fuzz --count 100000`.

Whatever comes, the server refuses it or runs it; the other stream's outputs stay those of a replay, and memory stays
what it was.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import gc
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import torch
from google.protobuf.message import DecodeError

from fluxshard.cloud.server.limits import Caller, ServerLimits
from fluxshard.cloud.server.metrics import SilentObserver
from fluxshard.cloud.server.stream_server import StreamServer
from fluxshard.cloud.wire.messages import read_down
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.errors import MissingKernelError, RefusedError, ToolchainError
from fluxshard.options import PlannedOptions, ReuseOptions
from fluxshard.testing.offload.hooked_engine import hooked
from fluxshard.testing.offload.scripted_edge import ScriptedEdge, ScriptedFrames, hello_of
from fluxshard.testing.offload.two_places import fake_model, moving_frames, server_of, small_model
from tests.offload.mutations import Messages, mutated, recorded
from tests.offload.streams import STATM, resident_bytes

REASONS = {
    "invalid",
    "model",
    "protocol",
    "identity",
    "taken",
}  # what a server may say of a stream that is not in order
LIMITS = ServerLimits(hello_s=5.0, upload_s=5.0, idle_s=5.0, max_frame_bytes=1 << 20, cache_bytes=64 << 20)
AT_ONCE = 10  # mutated streams
WITNESS_EVERY = 50
OUTCOMES = {"result", "need_key", "reject"}


class Strict(SilentObserver):
    """Nothing of all this may be a failure of the server."""

    def failed(self, error: Exception) -> None:
        raise AssertionError(f"the server failed: {type(error).__name__}: {error}") from error


@dataclass(slots=True)
class Found:
    """What became of the streams.

    Attributes:
      ends: how many ended how.
      outcomes: of frames, of streams that were welcomed.
      frames: of the stream in order.
      grown_bytes: resident memory, since a tenth of the streams; None where it cannot be read.
      seconds: that it took.
    """

    ends: collections.Counter[str] = field(default_factory=collections.Counter)
    outcomes: collections.Counter[str] = field(default_factory=collections.Counter)
    frames: int = 0
    grown_bytes: int | None = None
    seconds: float = 0.0


class Fuzz:
    """A server, what is said to it, and a stream that is in order. For one event loop.

    Args:
      seed: of all streams; each has a random generator of its own, so that one can be looked at alone.
    """

    def __init__(self, seed: int) -> None:
        self._seed, self._found = seed, Found()
        fake, self._model = fake_model(), small_model()
        served = hooked(fake, lambda _: fake.program.engine.calls.clear())  # type: ignore[attr-defined]  # it remembers
        planned = ReuseOptions(policy="planned", scene_cut=1.0)
        levels = ReuseOptions(policy="planned", planned=PlannedOptions(tau_small=None, tau=0.1), input="assembled")
        self.corpus = [
            recorded(served, planned, 3),
            recorded(served, ReuseOptions(scene_cut=1.0, tau=0.1), 3),
            recorded(served, levels, 2, budget_ms=50),
            recorded(self._model, ReuseOptions(tau={"first": 0.1}, scene_cut=1.0), 2),
            recorded(served, planned, 2, payload="jpeg"),
        ]
        with contextlib.suppress(ToolchainError, MissingKernelError):  # where there is a compiler
            self.corpus.append(recorded(served, planned, 2, payload="packed"))
        self.server: StreamServer = server_of(served, self._model, limits=LIMITS, observer=Strict())
        self._reuse = planned
        self._witness, self._frames = (
            ScriptedEdge(self.server, Caller(identity="witness")),
            ScriptedFrames(self._model, planned),
        )
        self._epoch = 0

    async def run(self, count: int, first: int = 0) -> Found:
        """Runs mutated streams, those of numbers from `first` on."""
        began, video = time.monotonic(), moving_frames(count // WITNESS_EVERY + 2)
        self._epoch = (await self._witness.open(hello_of(self._model, self._reuse, stream="witness"))).epoch
        start = None
        for number in range(first, first + count, AT_ONCE):
            together = [self._mutant(one) for one in range(number, min(number + AT_ONCE, first + count))]
            if (number - first) % WITNESS_EVERY == 0:
                together.append(self._look(next(video)))
            await asyncio.gather(*together)
            assert self.server.connected == 1 and len(self.server._claims) == 1
            if start is None and number - first >= count // 10:
                start = settled_bytes()
        await self._look(next(video))
        self._found.grown_bytes = None if start is None else settled_bytes() - start
        await self._witness.close()
        self._found.seconds = time.monotonic() - began
        return self._found

    async def _look(self, frame: Any) -> None:
        """Runs a frame of the stream that is in order, beside what is going on."""
        messages = self._frames.messages(frame, self._epoch)
        self._witness.send(*messages)
        message, answer = await self._witness.outcome()
        assert message.WhichOneof("kind") == "result", message
        expected = self._frames.expected(frame, keyframe=messages[0].frame.keyframe)
        found = self._frames.read(answer)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
        self._found.frames += 1

    async def _mutant(self, number: int) -> None:
        rng = random.Random(f"{self._seed}:{number}")
        try:
            await self._one(mutated(rng, self.corpus), rng, f"mutant{number % AT_ONCE}")
        except BaseException:
            print(f"stream {number} of seed {self._seed}")
            raise

    async def _one(self, messages: Messages, rng: random.Random, name: str) -> None:
        heard = asyncio.Event()  # the welcome, or what became of a frame
        epoch, patient = 0, rng.random() < 0.9

        async def up() -> AsyncIterator[bytes]:
            for index, message in enumerate(messages):
                if index and patient and is_frame(message):
                    await wait(heard)
                if rng.random() < 0.2:
                    await asyncio.sleep(0)
                yield of_connection(message, name, epoch)
            if patient:  # or the edge is gone before its last frame has run
                await wait(heard)

        try:
            async for data in self.server.exchange(Caller(identity=name), up()):
                said = read_down(data)
                kind = said.WhichOneof("kind")
                if kind == "welcome":
                    epoch = said.welcome.epoch
                    heard.set()
                elif kind in OUTCOMES:
                    self._found.outcomes[kind] += 1
                    heard.set()
            self._found.ends["ended"] += 1
        except RefusedError as error:
            assert error.reason in REASONS, error
            self._found.ends[error.reason] += 1
        finally:
            heard.set()


async def wait(heard: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.05):
            await heard.wait()
    heard.clear()


def is_frame(data: bytes) -> bool:
    return data[:1] == b"\x12"  # the tag of `Up.frame`


def of_connection(data: bytes, name: str, epoch: int) -> bytes:
    """A message with the stream's own name and epoch, where those of the record have not been changed."""
    message = pb.Up()
    try:
        message.ParseFromString(data)
    except DecodeError:
        return data
    if message.SerializeToString() != data:
        return data
    if message.frame.epoch == 1:
        message.frame.epoch = epoch
    if message.hello.stream == "test":
        message.hello.stream = name
    return message.SerializeToString()


def settled_bytes() -> int:
    gc.collect()
    return resident_bytes() if STATM.exists() else 0


def fuzz(count: int, seed: int = 0, first: int = 0) -> Found:
    """Runs `count` mutated streams against one server.

    Raises:
      AssertionError: the server failed, said what it should not, or disturbed the stream that is in order.
    """

    async def run() -> Found:
        one = Fuzz(seed)
        try:
            found = await one.run(count, first)
            async with asyncio.timeout(30):
                while one.server.queue_depth or one.server.connected:
                    await asyncio.sleep(0.001)
            assert one.server.cached_bytes == 0 and len(asyncio.all_tasks()) == 1
            return found
        finally:
            one.server.close()

    return asyncio.run(run())


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000, help="mutated streams")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first stream, to look at one alone")
    given = parser.parse_args()
    found = fuzz(given.count, given.seed, given.first)
    grown = "n/a" if found.grown_bytes is None else f"{found.grown_bytes / 2**20:.1f} MiB"
    print(f"{given.count} streams in {found.seconds:.0f} s; {dict(found.ends)}; frames: {dict(found.outcomes)}")
    print(f"{found.frames} frames of the stream in order were right; memory grew by {grown}")


if __name__ == "__main__":
    main()
