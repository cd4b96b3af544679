"""A few bytes that ask for a terabyte: refused, for nothing, and nobody else notices.

Symptom elsewhere: a zstandard frame of 13 bytes makes its receiver allocate 1.1 TB, whatever it allowed;
indygreg/python-zstandard 332.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable

import pytest
import torch

from fluxshard.cloud.server.stream_server import StreamServer
from fluxshard.cloud.wire.messages import checksum
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.errors import RefusedError
from fluxshard.options import ReuseOptions
from fluxshard.testing.offload.scripted_edge import ScriptedEdge, ScriptedFrames, hello_of
from fluxshard.testing.offload.two_places import fake_model, moving_frames, server_of
from tests.offload.streams import MODEL, PLANNED, STATM, peak_growth

BOMB = bytes.fromhex("28b52ffde06c06060663636363")
FAKE = fake_model()
WHOLE = ReuseOptions(policy="planned", scene_cut=1.0)
Damage = Callable[[pb.Frame], bytes]  # changes a frame's head, and gives its payload


def as_mask(head: pb.Frame) -> bytes:
    head.masks = BOMB
    return b""


def as_valid_cells(head: pb.Frame) -> bytes:
    head.motion = struct.pack("<II", len(BOMB), len(BOMB)) + BOMB + BOMB
    return b""


def as_displacements(head: pb.Frame) -> bytes:
    (n_valid, _) = struct.unpack_from("<II", head.motion)
    head.motion = struct.pack("<II", n_valid, len(BOMB)) + head.motion[8 : 8 + n_valid] + BOMB
    return b""


def as_pixels(head: pb.Frame) -> bytes:
    return BOMB


@pytest.mark.skipif(not STATM.exists(), reason="resident memory is read from /proc/self/statm")
@pytest.mark.parametrize(
    ("damage", "payload"),
    [
        (as_mask, "raw"),
        (as_valid_cells, "raw"),
        (as_displacements, "raw"),
        (as_pixels, "raw"),
        (as_pixels, "packed"),
        (as_pixels, "jpeg"),
    ],
)
def test_a_bomb_costs_its_stream_and_nothing_else(damage: Damage, payload: str) -> None:
    async def throw(server: StreamServer) -> None:
        edge, frames = ScriptedEdge(server), ScriptedFrames(FAKE, WHOLE)
        welcome = await edge.open(hello_of(FAKE, WHOLE, stream="bomb", payload=payload))
        for frame in moving_frames(2):
            (head, *_) = frames.messages(frame, welcome.epoch)
        pixels = damage(head.frame)
        head.frame.payload_bytes = len(pixels)
        if damage is as_pixels:
            head.frame.keyframe = True
        head.frame.payload_crc32 = checksum(head.frame.motion, head.frame.masks, pixels)
        edge.send(head)
        if pixels:
            edge.send(pb.Up(chunk=pb.Chunk(seq=head.frame.seq, data=pixels)))
        with pytest.raises(RefusedError) as refused:
            while True:
                await edge.receive()
        assert refused.value.reason == "invalid"

    async def run() -> None:
        server = server_of(MODEL, FAKE)
        other, frames = ScriptedEdge(server), ScriptedFrames(MODEL, PLANNED)
        welcome = await other.open(hello_of(MODEL, PLANNED))
        await throw(server)  # what is allocated once
        loop, growths = asyncio.get_running_loop(), list[int]()

        def bombs() -> None:
            for _ in range(3):
                asyncio.run_coroutine_threadsafe(throw(server), loop).result(20)

        for frame in moving_frames(3):
            messages = frames.messages(frame, welcome.epoch)
            other.send(*messages)
            await asyncio.to_thread(bombs)
            message, answer = await other.outcome()
            expected = frames.expected(frame, keyframe=messages[0].frame.keyframe)
            assert message.result.seq == frames.seq
            assert all(torch.equal(a, b) for a, b in zip(frames.read(answer), expected, strict=True))
            # between frames, whose own memory comes and goes
            growths.append(await asyncio.to_thread(peak_growth, bombs))
        assert max(growths[1:]) < 1 << 20, growths  # the first ones take what all need
        await other.close()
        assert server.connected == 0 and server.cached_bytes == 0
        server.close()

    asyncio.run(run())
