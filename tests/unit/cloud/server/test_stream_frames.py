"""The frames of one stream: what is run, what is refused, and what ends the stream."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import numpy as np
import pytest
import torch

from fluxshard.cloud.server.metrics import FrameEnd
from fluxshard.cloud.server.stream_server import StreamServer
from fluxshard.cloud.wire.mask_codec import MaskCodec
from fluxshard.cloud.wire.messages import checksum
from fluxshard.cloud.wire.motion.motion_codec import LevelMotionCodec
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.errors import KernelError
from fluxshard.motion import MotionField
from fluxshard.testing.offload.hooked_engine import hooked
from fluxshard.testing.offload.scripted_edge import ScriptedEdge, ScriptedFrames, hello_of
from fluxshard.testing.offload.two_places import SIZE, moving_frames, small_model
from tests.unit.cloud.server.serving import MODEL, REUSE, Seen, ended, run_frames, serve, until

PIXELS = bytes(3 * SIZE[0] * SIZE[1])
SHAPES = ScriptedFrames(MODEL, REUSE).orders.shapes


def masks(value: bool = False) -> bytes:
    return MaskCodec(SHAPES).encode(tuple(np.full(shape, value) for shape in SHAPES))


def key(seq: int, **fields: Any) -> pb.Up:
    given = {"payload_bytes": len(PIXELS), "payload_crc32": checksum(PIXELS), "wants_answer": True, **fields}
    return pb.Up(frame=pb.Frame(seq=seq, keyframe=True, **given))


def delta(seq: int, epoch: int, **fields: Any) -> pb.Up:
    given = {"base_seq": seq - 1, "masks": masks(), "wants_answer": True, **fields}
    given.setdefault("payload_crc32", checksum(given.get("motion", b""), given["masks"]))
    return pb.Up(frame=pb.Frame(seq=seq, epoch=epoch, **given))


def chunk(seq: int, offset: int = 0, data: bytes = PIXELS) -> pb.Up:
    return pb.Up(chunk=pb.Chunk(seq=seq, offset=offset, data=data))


def test_frames_are_run_as_ordered_and_answered_bit_for_bit() -> None:
    model = small_model()

    async def use(server: StreamServer) -> None:
        edge, frames = ScriptedEdge(server), ScriptedFrames(model, REUSE)
        welcome = await edge.open(hello_of(model, REUSE))
        for index, frame in enumerate(moving_frames(6)):
            messages = frames.messages(frame, welcome.epoch)
            edge.send(*messages)
            message, answer = await edge.outcome()
            result, head = message.result, messages[0].frame
            assert (result.seq, result.epoch, result.keyframe) == (index + 1, welcome.epoch, index == 0)
            assert 0 < result.work <= 1 and 0 < result.compute_ratio <= 1
            assert result.upload_bytes == sum(len(part.SerializeToString()) for part in messages[1:])
            assert result.server_ms >= result.inference_ms > 0 and head.payload_bytes > 0
            assert result.credit_bytes == 16 << 20
            for found, expected in zip(
                frames.read(answer), frames.expected(frame, keyframe=head.keyframe), strict=True
            ):
                assert torch.equal(found, expected)
        await edge.close()

    serve(use, model)


def test_a_refresh_is_run_and_not_answered() -> None:
    seen = Seen()

    async def use(server: StreamServer) -> None:
        edge, frames = ScriptedEdge(server), ScriptedFrames(MODEL, REUSE)
        welcome = await edge.open(hello_of(MODEL, REUSE))
        for frame in moving_frames(2):
            edge.send(*frames.messages(frame, welcome.epoch, answer=False))
            message, answer = await edge.outcome()
            assert message.result.answer_bytes == 0 and answer == b"" and message.result.inference_ms > 0
        await edge.close()

    serve(use, observer=seen)
    assert seen.ends == [FrameEnd.REFRESHED] * 2


# --- what a frame builds on -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"base_seq": 7}, "another frame is cached"),
        ({"base_seq": 0}, "another frame is cached"),
        ({"epoch": 7}, "another frame is cached"),
        ({}, ""),
    ],
)
def test_a_frame_on_another_base_needs_a_key(change: dict[str, int], reason: str) -> None:
    seen = Seen()

    async def use(server: StreamServer) -> None:
        edge = ScriptedEdge(server)
        welcome = await edge.open(hello_of(MODEL, REUSE))
        edge.send(delta(1, welcome.epoch))
        message, _ = await edge.outcome()
        assert (message.need_key.seq, message.need_key.reason) == (1, "nothing is cached")
        edge.send(key(2), chunk(2))
        assert (await edge.outcome())[0].result.keyframe
        changed = delta(3, welcome.epoch)
        for name, value in change.items():
            setattr(changed.frame, name, value)
        edge.send(changed)
        message, _ = await edge.outcome()
        assert message.need_key.reason == reason
        # the cache is as before: a frame that builds on it is run
        edge.send(delta(4, welcome.epoch, base_seq=2 if reason else 3))
        message, _ = await edge.outcome()
        assert message.WhichOneof("kind") == "result" and not message.result.keyframe
        await edge.close()

    serve(use, observer=seen)
    assert seen.ends.count(FrameEnd.NEEDS_KEY) == 1 + bool(reason) and not seen.errors


def test_pixels_of_a_frame_that_was_refused_are_on_the_way_and_ignored() -> None:
    async def use(server: StreamServer) -> None:
        edge = ScriptedEdge(server)
        welcome = await edge.open(hello_of(MODEL, REUSE))
        edge.send(delta(1, welcome.epoch, payload_bytes=40_000), chunk(1, 0, bytes(20_000)), chunk(1, 20_000, b"x"))
        edge.send(key(2), chunk(2))
        assert (await edge.outcome())[0].WhichOneof("kind") == "need_key"
        assert (await edge.outcome())[0].result.seq == 2
        await edge.close()

    serve(use)


def test_a_cache_that_is_evicted_while_a_frame_arrives() -> None:
    """Symptom: the frame counted as a failure of the server, and other streams were evicted for it in vain."""
    seen = Seen()

    async def use(server: StreamServer) -> None:
        one, other = ScriptedEdge(server), ScriptedEdge(server)
        welcome = await one.open(hello_of(MODEL, REUSE, stream="one"))
        later = await other.open(hello_of(MODEL, REUSE, stream="other"))
        frames = await run_frames(one, welcome.epoch)
        limit = server.cached_bytes
        server._shared.caches._most = limit
        head, *rest = frames.messages(list(moving_frames(2))[1], welcome.epoch)
        one.send(head)
        assert (await one.receive()).progress.received_bytes > 0
        others = await run_frames(other, later.epoch)
        one.send(*rest)
        message, _ = await one.outcome()
        assert message.need_key.reason == "nothing is cached"
        assert server.cached_bytes == limit
        other.send(*others.messages(list(moving_frames(2))[1], later.epoch))
        assert not (await other.outcome())[0].result.keyframe
        for edge in (one, other):
            await edge.close()

    serve(use, observer=seen)
    assert not seen.errors


def test_no_memory_for_a_stream_is_a_rejection_that_says_when_to_ask_again() -> None:
    seen = Seen()

    async def use(server: StreamServer) -> None:
        edge = ScriptedEdge(server)
        await edge.open(hello_of(MODEL, REUSE))
        edge.send(key(1), chunk(1))
        message, _ = await edge.outcome()
        assert (message.reject.seq, message.reject.wait_ms) == (1, 3000) and server.cached_bytes == 0
        await edge.close()

    serve(use, observer=seen, cache_bytes=10, retry_s=3.0)
    assert seen.ends == [FrameEnd.REJECTED] and not seen.errors


# --- what ends the stream ---------------------------------------------------------------------------------------------


def damaged(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


MOTION = LevelMotionCodec(SIZE, (), ()).encode(MotionField.zero(*SIZE))
MISUSES = [
    ([key(1), key(1)], "while another is under way"),
    ([key(1), key(2)], "while another is under way"),
    ([key(1), chunk(1, 0, PIXELS[:2000]), chunk(1, 0, PIXELS[2000:])], "out of order"),
    ([key(1), chunk(1, 100)], "out of order"),
    ([key(1), chunk(1, 0, PIXELS + b"x")], "longer than announced"),
    ([key(1), chunk(1, 0, b"x")], "smaller than"),
    ([key(1), chunk(1, 0, b"")], "smaller than"),
    ([key(1), chunk(2)], "belongs to no frame"),
    ([chunk(1)], "belongs to no frame"),
    ([key(1), chunk(1, 0, damaged(PIXELS))], "a payload is damaged"),
    ([key(1, payload_bytes=(1 << 20) + 1)], "larger than allowed"),
    ([key(1, payload_bytes=2**32 - 1)], "larger than allowed"),
    ([key(1, payload_bytes=1, payload_crc32=checksum(b"x")), chunk(1, 0, b"x")], "its mask asks for"),
    ([key(1, payload_bytes=0, payload_crc32=0)], "its mask asks for"),
    ([key(0)], "a frame came twice, or too late"),
    ([delta(1, 1, masks=b"")], "the mask is not a zstandard frame"),
    ([delta(1, 1, masks=masks()[:-1])], "the mask is a damaged zstandard frame"),
    ([delta(1, 1, masks=MaskCodec(((9, 9),)).encode((np.zeros((9, 9), np.bool_),)))], "the mask declares another size"),
    ([delta(1, 1, motion=b"\x01x")], "motion is shorter"),
    ([delta(1, 1, motion=b"x")], "of a kind that this stream does not have"),
    ([delta(1, 1, motion=MOTION + b"x")], "motion has another length"),
    ([delta(1, 1, motion=MOTION[:13] + b"x" + MOTION[14:])], "the motion's cells is not a zstandard frame"),
    ([pb.Up(packet=pb.Packet(number=1))], "a part of a video came"),
    ([pb.Up(hello=pb.Hello())], "a second greeting"),
    ([b"\xff\xff"], "cannot be read"),
    ([b""], "no known kind"),
]


@pytest.mark.parametrize(("messages", "text"), MISUSES)
def test_misuse_ends_the_stream_and_no_other(messages: list[Any], text: str) -> None:
    async def use(server: StreamServer) -> None:
        edge, other = ScriptedEdge(server), ScriptedEdge(server)
        await edge.open(hello_of(MODEL, REUSE, stream="misused"))
        welcome = await other.open(hello_of(MODEL, REUSE))
        edge.send(*messages)
        error = await ended(edge)
        assert error.reason == "invalid" and text in str(error) and error.retry_after_s is None
        await run_frames(other, welcome.epoch, 2)
        await other.close()

    serve(use, max_frame_bytes=1 << 20)


@pytest.mark.parametrize("damage", [{"masks": masks(True)}, {"motion": MOTION}])
def test_damage_that_makes_another_order(damage: dict[str, bytes]) -> None:
    """Symptom: a bit of a mask that was changed on the way gave a wrong answer, and nobody knew."""

    async def use(server: StreamServer) -> None:
        edge = ScriptedEdge(server)
        welcome = await edge.open(hello_of(MODEL, REUSE))
        edge.send(key(1), chunk(1))
        await edge.outcome()
        edge.send(delta(2, welcome.epoch, payload_crc32=checksum(masks()), **damage))
        assert "a payload is damaged" in str(await ended(edge))

    serve(use)


def test_a_frame_comes_while_one_is_computed() -> None:
    release = threading.Event()
    model = hooked(MODEL, lambda _: release.wait(20))

    async def use(server: StreamServer) -> None:
        edge = ScriptedEdge(server)
        welcome = await edge.open(hello_of(MODEL, REUSE))
        edge.send(key(1), chunk(1))
        await until(lambda: server.queue_depth == 1)
        edge.send(delta(2, welcome.epoch))
        error = await ended(edge)
        assert "while another is under way" in str(error) and server.cached_bytes == 0
        release.set()

    serve(use, model)


def test_a_frame_that_was_answered_comes_again() -> None:
    async def use(server: StreamServer) -> None:
        edge = ScriptedEdge(server)
        await edge.open(hello_of(MODEL, REUSE))
        edge.send(key(5), chunk(5))
        await edge.outcome()
        edge.send(key(5), chunk(5))
        assert "a frame came twice, or too late" in str(await ended(edge))

    serve(use)


# --- cancelling and refusing ------------------------------------------------------------------------------------------


def test_a_cancelled_frame_is_dropped_and_its_cache_stays() -> None:
    async def use(server: StreamServer) -> None:
        edge = ScriptedEdge(server)
        welcome = await edge.open(hello_of(MODEL, REUSE))
        edge.send(key(1), chunk(1))
        await edge.outcome()
        edge.send(key(2), chunk(2, 0, PIXELS[:2000]), pb.Up(cancel=pb.Cancel(seq=1)), chunk(2, 2000, PIXELS[2000:]))
        assert (await edge.outcome())[0].result.seq == 2, "that was another frame"
        edge.send(key(3), chunk(3, 0, PIXELS[:2000]), pb.Up(cancel=pb.Cancel(seq=3)), chunk(3, 2000, PIXELS[2000:]))
        edge.send(pb.Up(cancel=pb.Cancel(seq=3)), delta(4, welcome.epoch, base_seq=2))
        message, _ = await edge.outcome()
        assert message.result.seq == 4 and not message.result.keyframe
        await edge.close()

    serve(use)


def test_a_cancelled_frame_is_not_late() -> None:
    async def use(server: StreamServer) -> None:
        edge = ScriptedEdge(server)
        welcome = await edge.open(hello_of(MODEL, REUSE))
        edge.send(key(1), pb.Up(cancel=pb.Cancel(seq=1)))
        await asyncio.sleep(0.1)
        await run_frames(edge, welcome.epoch, 0)
        edge.send(key(2), chunk(2))
        assert (await edge.outcome())[0].result.seq == 2
        await edge.close()

    serve(use, upload_s=0.05)


def test_a_frame_that_would_come_too_late_is_refused_before_its_pixels() -> None:
    release = threading.Event()
    model = hooked(MODEL, lambda number: number < 1 or release.wait(20))
    seen = Seen()

    async def use(server: StreamServer) -> None:
        busy, edge = ScriptedEdge(server), ScriptedEdge(server)
        welcome = await busy.open(hello_of(MODEL, REUSE, stream="busy"))
        await edge.open(hello_of(MODEL, REUSE))
        await run_frames(busy, welcome.epoch)
        frames = ScriptedFrames(MODEL, REUSE)
        frames.seq = 1
        busy.send(*frames.messages(next(moving_frames(1)), welcome.epoch))
        await until(lambda: server.queue_depth == 1)
        server._shared.scheduler.service_s = 60.0
        edge.send(key(1, budget_ms=40_000))
        message, _ = await edge.outcome()
        assert message.reject.seq == 1 and 50_000 < message.reject.wait_ms <= 60_000
        edge.send(key(2, budget_ms=200_000), chunk(2))
        await until(lambda: server.queue_depth == 2)
        release.set()
        assert (await edge.outcome())[0].result.seq == 2
        for one in (busy, edge):
            await one.close()

    serve(use, model, observer=seen)
    assert seen.ends == [FrameEnd.ANSWERED, FrameEnd.REJECTED, FrameEnd.ANSWERED, FrameEnd.ANSWERED]


def test_an_idle_server_takes_any_budget() -> None:
    async def use(server: StreamServer) -> None:
        edge = ScriptedEdge(server)
        await edge.open(hello_of(MODEL, REUSE))
        server._shared.scheduler.service_s = 60.0
        edge.send(key(1, budget_ms=1), chunk(1))
        assert (await edge.outcome())[0].result.seq == 1
        await edge.close()

    serve(use)


def test_frames_without_a_budget_are_not_put_off_for_ever() -> None:
    """Symptom: a stream without deadlines waited as long as there were frames of others that had one."""
    order: list[int] = []
    begun, release = threading.Event(), threading.Event()

    def before(number: int) -> None:
        order.append(number)
        begun.set()
        assert number or release.wait(20)

    async def use(server: StreamServer) -> None:
        names = ("first", "patient", "late", "urgent")
        edges = {name: ScriptedEdge(server) for name in names}
        for depth, (name, budget_ms) in enumerate(zip(names, (0, 0, 300_000, 50), strict=True)):
            await edges[name].open(hello_of(MODEL, REUSE, stream=name))
            edges[name].send(key(1, budget_ms=budget_ms), chunk(1))
            await until(lambda depth=depth: server.queue_depth == depth + 1)
        done: list[str] = []

        async def finish(name: str) -> None:
            await edges[name].outcome()
            done.append(name)

        release.set()
        await asyncio.gather(*map(finish, names))
        assert done == ["first", "urgent", "patient", "late"]
        for edge in edges.values():
            await edge.close()

    serve(use, hooked(MODEL, before))


# --- failures ---------------------------------------------------------------------------------------------------------


def test_a_frame_that_fails_costs_its_stream_the_cache() -> None:
    def before(number: int) -> None:
        if number == 1:
            raise KernelError("secret of the server")

    seen = Seen()

    async def use(server: StreamServer) -> None:
        edge = ScriptedEdge(server)
        welcome = await edge.open(hello_of(MODEL, REUSE))
        edge.send(key(1), chunk(1))
        await edge.outcome()
        edge.send(delta(2, welcome.epoch))
        message, _ = await edge.outcome()
        assert (message.need_key.seq, message.need_key.reason) == (2, "the frame failed")
        assert server.cached_bytes == 0
        edge.send(delta(3, welcome.epoch))
        assert (await edge.outcome())[0].need_key.reason == "nothing is cached"
        edge.send(key(4), chunk(4))
        assert (await edge.outcome())[0].result.keyframe
        await edge.close()

    serve(use, hooked(MODEL, before), observer=seen)
    assert [str(error) for error in seen.errors] == ["secret of the server"]
    assert seen.ends == [FrameEnd.ANSWERED, FrameEnd.NEEDS_KEY, FrameEnd.NEEDS_KEY, FrameEnd.ANSWERED]


def test_a_long_frame_gives_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr("fluxshard.cloud.server.stream_frames._HEARTBEAT_S", 0.01)

    async def use(server: StreamServer) -> None:
        edge = ScriptedEdge(server)
        await edge.open(hello_of(MODEL, REUSE))
        edge.send(key(1), chunk(1))
        received = [(await edge.receive()).progress for _ in range(6)]
        assert all(one.seq == 1 for one in received)
        assert received[-1].received_bytes == received[-2].received_bytes > len(PIXELS)
        assert received[-1].since_first_us > received[2].since_first_us
        release.set()
        assert (await edge.outcome())[0].result.seq == 1
        await edge.close()

    serve(use, hooked(MODEL, lambda _: release.wait(20)))
