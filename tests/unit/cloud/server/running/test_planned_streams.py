"""Streams that a server plans, message by message: memory, misuse and videos that break."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from fluxshard.cloud.decoding.protocol import max_packet_bytes
from fluxshard.cloud.server import picture_images
from fluxshard.cloud.server.metrics import FrameEnd
from fluxshard.cloud.server.stream_server import StreamServer
from fluxshard.cloud.wire.messages import PROTOCOL
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.cloud.wire.reuse_codec import encode_reuse
from fluxshard.options import ReuseOptions
from fluxshard.testing.networks import bright_model
from fluxshard.testing.offload.scripted_edge import ScriptedEdge
from fluxshard.testing.offload.watching import Watched, watched
from tests.unit.cloud.decoding.streams import SIZE, Stream, encoded
from tests.unit.cloud.server.serving import Seen, ended, refused, serve, until

REUSE = ReuseOptions(policy="planned", scene_cut=1.0)


@pytest.fixture(scope="module")
def model() -> Watched:
    return watched(bright_model(), SIZE)


@pytest.fixture(scope="module")
def stream() -> Stream:
    return encoded(8, keyframes=(4,))


def hello(**given: Any) -> pb.Hello:
    made = pb.Hello(
        protocol=PROTOCOL, stream="test", reuse=encode_reuse(REUSE), payload="bitstream", answer="detections",
        server_plans=True, confidence=0.25, iou=0.7, picture_height=SIZE[0], picture_width=SIZE[1],
        image_height=SIZE[0], image_width=SIZE[1],
    )  # fmt: skip
    for name, value in given.items():
        setattr(made, name, value)
    return made


def frame(seq: int, picture: int, **given: Any) -> pb.Up:
    return pb.Up(frame=pb.Frame(seq=seq, picture=picture, wants_answer=True, **given))


def packet(stream: Stream, number: int, data: bytes | None = None) -> pb.Up:
    data = stream.packets[number].data if data is None else data
    keyframe = stream.packets[number].keyframe
    return pb.Up(packet=pb.Packet(number=number, keyframe=keyframe, total_bytes=len(data), data=data))


async def outcome(edge: ScriptedEdge, *messages: pb.Up) -> pb.Down:
    edge.send(*messages)
    return (await edge.outcome())[0]


def test_frames_say_nothing_of_what_they_build_on(model: Watched, stream: Stream) -> None:
    async def use(server: StreamServer) -> None:
        edge = ScriptedEdge(server)
        await edge.open(hello())
        for seq, picture in ((1, 0), (5, 1), (6, 3)):
            packets = [packet(stream, number) for number in ({1: [0], 5: [1], 6: [2, 3]}[seq])]
            result = (await outcome(edge, frame(seq, picture, base_seq=77, epoch=99), *packets)).result
            assert (result.seq, result.keyframe) == (seq, seq == 1)
        await edge.close()

    serve(use, model.served)


def test_a_cache_that_is_gone_needs_no_key(model: Watched, stream: Stream) -> None:
    async def use(server: StreamServer) -> None:
        edge = ScriptedEdge(server)
        await edge.open(hello())
        assert (await outcome(edge, frame(1, 0), packet(stream, 0))).result.keyframe
        await until(lambda: server.cached_bytes == 0)
        assert (await outcome(edge, frame(2, 1), packet(stream, 1))).result.keyframe
        await edge.close()

    serve(use, model.served, lease_s=0.05)


def test_no_memory_is_a_rejection_and_the_video_goes_on(model: Watched, stream: Stream) -> None:
    async def use(server: StreamServer) -> None:
        edge = ScriptedEdge(server)
        await edge.open(hello())
        message = await outcome(edge, frame(1, 0), packet(stream, 0))
        assert message.reject.wait_ms == 3000 and server.cached_bytes == 0
        server._shared.caches._most = 1 << 30
        assert (await outcome(edge, frame(2, 1), packet(stream, 1))).result.keyframe
        await edge.close()

    serve(use, model.served, cache_bytes=10, retry_s=3.0)


def test_damage_restarts_video_and_features(model: Watched, stream: Stream) -> None:
    seen = Seen()

    async def use(server: StreamServer) -> None:
        edge = ScriptedEdge(server)
        await edge.open(hello())
        await outcome(edge, frame(1, 0), packet(stream, 0))
        for seq, number, data in ((2, 1, b"\0\0\0\1\x41\xff"), (3, 2, None)):
            message = await outcome(edge, frame(seq, number), packet(stream, number, data))
            assert (message.need_key.seq, message.need_key.video) == (seq, True)
        result = (await outcome(edge, frame(4, 4), packet(stream, 4))).result
        assert result.keyframe and result.compute_ratio == 1
        assert not (await outcome(edge, frame(5, 5), packet(stream, 5))).result.keyframe
        await edge.close()

    serve(use, model.served, observer=seen)
    assert seen.ends == [FrameEnd.ANSWERED, FrameEnd.NEEDS_KEY, FrameEnd.NEEDS_KEY] + [FrameEnd.ANSWERED] * 2


def test_an_error_of_the_server_costs_the_video_up_to_its_next_keyframe(
    model: Watched, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, error = Seen(), MemoryError()

    def fail(_: object) -> None:
        raise error

    async def use(server: StreamServer) -> None:
        edge = ScriptedEdge(server)
        await edge.open(hello())
        await outcome(edge, frame(1, 0), packet(stream, 0))
        with monkeypatch.context() as patched:
            patched.setattr(picture_images, "to_planes", fail)
            async with asyncio.timeout(30):
                message = await outcome(edge, frame(2, 1), packet(stream, 1))
        assert (message.need_key.seq, message.need_key.video) == (2, True)
        assert (await outcome(edge, frame(3, 2), packet(stream, 2))).need_key.video
        edge.send(packet(stream, 3))
        assert (await outcome(edge, frame(4, 4), packet(stream, 4))).result.keyframe
        await edge.close()

    serve(use, model.served, observer=seen)
    assert seen.errors == [error]


def test_a_packet_is_no_larger_than_its_picture_can_be(model: Watched, stream: Stream) -> None:
    async def use(server: StreamServer) -> None:
        most = max_packet_bytes(SIZE)
        for data, message in (
            (bytes(most), ""),
            (bytes(most + 1), "a packet is larger than allowed"),
        ):
            edge = ScriptedEdge(server)
            await edge.open(hello())
            async with asyncio.timeout(30):
                if message:
                    edge.send(packet(stream, 0, data))
                    assert str(await ended(edge)) == message
                else:
                    assert (await outcome(edge, frame(1, 0), packet(stream, 0, data))).need_key.video
                    await edge.close()

    serve(use, model.served)


def test_packets_before_a_frame_are_only_decoded(model: Watched, stream: Stream) -> None:
    async def use(server: StreamServer) -> None:
        edge = ScriptedEdge(server)
        await edge.open(hello())
        edge.send(*(packet(stream, number) for number in range(3)))
        assert (await outcome(edge, frame(1, 3), packet(stream, 3))).result.keyframe
        late = await outcome(edge, frame(2, 2))
        assert late.need_key.video  # a picture that is over
        await edge.close()

    serve(use, model.served)


@pytest.mark.parametrize(
    ("given", "reason", "message"),
    [
        ({"payload": "raw"}, "invalid", "a server plans streams of videos only"),
        ({"image_height": 32}, "model", "this server runs no such model at this size of image"),
        ({"weights": "other"}, "model", "this server runs no such model at this size of image"),
        ({"plan": "other"}, "model", "this server does not run this model"),
        ({"server_plans": False}, "model", "this server does not run this model"),
        ({"picture_width": 8}, "invalid", "pictures of this size are not allowed"),
        ({"padded": True, "picture_width": 64}, "invalid", "pictures of this size do not make images of the model's"),
        ({"confidence": 2.0}, "invalid", "thresholds of detections must be between 0 and 1"),
    ],
)  # fmt: skip
def test_greetings_that_are_refused(model: Watched, given: dict[str, Any], reason: str, message: str) -> None:
    async def use(server: StreamServer) -> None:
        error = await refused(ScriptedEdge(server), hello(**given))
        assert error.reason == reason and str(error).startswith(message)

    serve(use, model.served)


def test_models_can_be_named(model: Watched, stream: Stream) -> None:
    async def use(server: StreamServer) -> None:
        for given in (
            {"plan": model.served.plan.digest(), "weights": model.served.weights},
            {"weights": model.served.weights},
        ):
            edge = ScriptedEdge(server)
            await edge.open(hello(**given))
            assert (await outcome(edge, frame(1, 0), packet(stream, 0))).result.keyframe
            await edge.close()

    serve(use, model.served)


def test_several_models_of_a_size_have_to_be_named(model: Watched) -> None:
    other = replace(model.served, weights="other")

    async def use(server: StreamServer) -> None:
        error = await refused(ScriptedEdge(server), hello())
        assert (error.reason, str(error)) == (
            "model", "this server runs several models at this size: name one by its digests",
        )  # fmt: skip
        edge = ScriptedEdge(server)
        await edge.open(hello(weights="other"))
        await edge.close()

    serve(use, model.served, other)


@pytest.mark.parametrize(
    ("messages", "error"),
    [
        ([frame(1, 0, masks=b"x")], "a frame says what to compute, and the server plans this stream"),
        ([frame(1, 0, motion=b"x")], "a frame says what to compute, and the server plans this stream"),
        ([frame(1, 0, payload_bytes=10)], "a frame of a video has a payload of its own"),
        ([pb.Up(chunk=pb.Chunk(seq=1, data=b"x" * 2000))], "a chunk belongs to no frame"),
    ],
)
def test_misuse_ends_the_stream(model: Watched, messages: list[pb.Up], error: str) -> None:
    async def use(server: StreamServer) -> None:
        edge = ScriptedEdge(server)
        await edge.open(hello())
        edge.send(*messages)
        assert str(await ended(edge)) == error

    serve(use, model.served)


def test_a_stream_that_ends_under_a_frame_leaves_nothing(model: Watched, stream: Stream) -> None:
    async def use(server: StreamServer) -> None:
        for _ in range(3):
            edge = ScriptedEdge(server)
            await edge.open(hello())
            edge.send(frame(1, 0), packet(stream, 0))
            await asyncio.sleep(0.01)
            await edge.close()

    serve(use, model.served)
