"""How streams end: taken over, silent, slow, unread, drained, or because the server failed."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from fluxshard.cloud.server.limits import Caller
from fluxshard.cloud.server.metrics import FrameEnd
from fluxshard.cloud.server.stream_server import StreamServer
from fluxshard.cloud.wire.mask_codec import MaskCodec
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.testing.offload.hooked_engine import hooked
from fluxshard.testing.offload.scripted_edge import ScriptedEdge, ScriptedFrames, hello_of
from fluxshard.testing.offload.two_places import moving_frames
from tests.unit.cloud.server.serving import MODEL, REUSE, Seen, ended, refused, run_frames, serve, until

ALICE, BOB = Caller(identity="alice"), Caller(identity="bob")


def test_the_same_caller_takes_its_stream_over() -> None:
    async def use(server: StreamServer) -> None:
        old, new = ScriptedEdge(server, ALICE), ScriptedEdge(server, ALICE)
        before = await old.open(hello_of(MODEL, REUSE))
        await run_frames(old, before.epoch)
        error = await refused(ScriptedEdge(server, BOB), hello_of(MODEL, REUSE))
        assert error.reason == "taken" and "another caller" in str(error)
        old.send(pb.Up(frame=pb.Frame(seq=2, epoch=before.epoch, base_seq=1)))
        after = await new.open(hello_of(MODEL, REUSE))
        assert after.epoch > before.epoch
        error = await ended(old)
        assert error.reason == "taken" and "the same caller" in str(error)
        await run_frames(new, after.epoch)
        await new.close()

    serve(use)


def test_a_stream_that_was_taken_over_holds_nothing_though_its_edge_reads_no_more() -> None:
    """Symptom: an edge that froze kept a slot and its cache, and what it still sent was run."""
    ran: list[int] = []
    model = hooked(MODEL, ran.append)

    async def use(server: StreamServer) -> None:
        old, new = ScriptedEdge(server, ALICE), ScriptedEdge(server, ALICE)
        before = await old.open(hello_of(MODEL, REUSE))
        await run_frames(old, before.epoch)
        held = server.cached_bytes
        after = await new.open(hello_of(MODEL, REUSE))
        late = ScriptedFrames(MODEL, REUSE)
        late.seq = 10
        old.send(*late.messages(next(moving_frames(1)), before.epoch))
        await run_frames(new, after.epoch, 2)
        assert len(ran) == 3 and server.cached_bytes == held
        await new.close()
        await until(lambda: server.cached_bytes == 0)
        await old.close()

    serve(use, model)


def test_an_edge_that_reads_nothing_is_sent_away_before_it_fills_the_memory() -> None:
    """Symptom: answers waited without bound for an edge that sent frames and never read."""

    async def use(server: StreamServer) -> None:
        edge = ScriptedEdge(server)
        welcome = await edge.open(hello_of(MODEL, REUSE))
        head = pb.Frame(epoch=welcome.epoch, masks=masks_of_nothing())
        for seq in range(1, 20_000):
            head.seq = seq
            edge.send(pb.Up(frame=head))
        await asyncio.sleep(1.0)  # longer than a stream may be silent
        assert edge.unread > 15_000  # the server has read no further than it could answer
        error = await ended(edge)
        assert error.reason == "invalid" and "silent for too long" in str(error)

    def masks_of_nothing() -> bytes:
        shapes = ScriptedFrames(MODEL, REUSE).orders.shapes
        return MaskCodec(shapes).encode(tuple(np.zeros(shape, np.bool_) for shape in shapes))

    serve(use, idle_s=0.5)


def test_an_idle_cache_is_freed_and_the_stream_goes_on_with_a_keyframe() -> None:
    async def use(server: StreamServer) -> None:
        edge = ScriptedEdge(server)
        welcome = await edge.open(hello_of(MODEL, REUSE))
        frames = await run_frames(edge, welcome.epoch, 2)
        assert server.cached_bytes > 0
        await until(lambda: server.cached_bytes == 0)
        edge.send(*frames.messages(list(moving_frames(3))[2], welcome.epoch))
        message, _ = await edge.outcome()
        assert message.need_key.reason == "nothing is cached"
        frames.lose()
        edge.send(*frames.messages(list(moving_frames(4))[3], welcome.epoch))
        message, _ = await edge.outcome()
        assert message.result.keyframe
        await edge.close()

    serve(use, lease_s=0.05)


def test_a_silent_stream_is_ended() -> None:
    async def use(server: StreamServer) -> None:
        edge = ScriptedEdge(server)
        welcome = await edge.open(hello_of(MODEL, REUSE))
        await run_frames(edge, welcome.epoch)
        error = await ended(edge)
        assert error.reason == "invalid" and "silent for too long" in str(error)

    serve(use, idle_s=0.2)


def test_a_silent_stream_is_freed_though_its_edge_reads_nothing() -> None:
    """Symptom: the name and the room of an edge that had vanished were taken until the transport noticed."""

    async def use(server: StreamServer) -> None:
        edge, other = ScriptedEdge(server, ALICE), ScriptedEdge(server, BOB)
        welcome = await edge.open(hello_of(MODEL, REUSE))
        await run_frames(edge, welcome.epoch)
        assert server.cached_bytes > 0
        await until(lambda: server.cached_bytes == 0)
        await other.open(hello_of(MODEL, REUSE))
        for one in (edge, other):
            await one.close()

    serve(use, idle_s=0.2, max_streams=1)


def test_a_frame_that_trickles_is_given_up() -> None:
    """A slow loris: a chunk now and then keeps the stream from being idle, and the frame from being complete."""

    async def use(server: StreamServer) -> None:
        edge = ScriptedEdge(server)
        welcome = await edge.open(hello_of(MODEL, REUSE))
        edge.send(pb.Up(frame=pb.Frame(seq=1, epoch=welcome.epoch, keyframe=True, payload_bytes=1 << 20)))

        async def trickle() -> None:
            for part in range(200):
                edge.send(pb.Up(chunk=pb.Chunk(seq=1, offset=part << 10, data=bytes(1 << 10))))
                await asyncio.sleep(0.02)

        task = asyncio.create_task(trickle())
        error = await ended(edge)
        assert error.reason == "invalid" and "too long to arrive" in str(error)
        task.cancel()

    serve(use, upload_s=0.15)


# --- draining ---------------------------------------------------------------------------------------------------------


def test_a_server_that_drains_answers_what_is_under_way_and_takes_nothing_new() -> None:
    async def use(server: StreamServer) -> None:
        edge = ScriptedEdge(server)
        welcome = await edge.open(hello_of(MODEL, REUSE))
        frames = ScriptedFrames(MODEL, REUSE)
        edge.send(*frames.messages(next(moving_frames(1)), welcome.epoch))
        server.drain(20.0, "other:1")
        kinds = set()
        while "result" not in kinds:
            message = await edge.receive()
            kinds.add(message.WhichOneof("kind"))
            if message.WhichOneof("kind") == "drain":
                assert (message.drain.moved_to, message.drain.deadline_ms) == ("other:1", 20_000)
        assert "drain" in kinds
        error = await refused(ScriptedEdge(server), hello_of(MODEL, REUSE, stream="new"))
        assert (error.reason, error.retry_after_s) == ("draining", 2.0)
        await edge.close()

    serve(use, retry_s=2.0)


def test_what_is_still_open_at_the_deadline_is_ended() -> None:
    """Symptom: an edge that ignores the drain kept the server from stopping."""

    async def use(server: StreamServer) -> None:
        edge = ScriptedEdge(server)
        await edge.open(hello_of(MODEL, REUSE))
        server.drain(0.05)
        error = await ended(edge)
        assert error.reason == "draining" and error.retry_after_s is not None

    serve(use)


def test_a_stream_that_greets_while_the_server_drains_is_told() -> None:
    """Symptom: it was welcomed and heard nothing of the drain, since it was no stream yet when that was said."""

    async def use(server: StreamServer) -> None:
        edge = ScriptedEdge(server)
        opening = asyncio.ensure_future(edge.receive())
        await asyncio.sleep(0.01)
        server.drain(20.0)
        edge.send(pb.Up(hello=hello_of(MODEL, REUSE)))
        with pytest.raises(Exception, match="about to stop") as error:
            await opening
        assert error.value.reason == "draining"

    serve(use)


# --- failures of the server -------------------------------------------------------------------------------------------


def test_an_error_that_nobody_expected_ends_one_stream_and_says_nothing() -> None:
    def before(frame: int) -> None:
        if frame == 1:
            raise RuntimeError("secret of the server")

    seen = Seen()

    async def use(server: StreamServer) -> None:
        edge, other = ScriptedEdge(server), ScriptedEdge(server)
        welcome = await edge.open(hello_of(MODEL, REUSE))
        later = await other.open(hello_of(MODEL, REUSE, stream="other"))
        await run_frames(edge, welcome.epoch)
        frames = ScriptedFrames(MODEL, REUSE)
        frames.seq = 1
        edge.send(*frames.messages(next(moving_frames(1)), welcome.epoch))
        error = await ended(edge)
        assert (error.reason, str(error)) == ("failed", "the server failed") and error.retry_after_s is not None
        assert [str(one) for one in seen.errors] == ["secret of the server"]
        await run_frames(other, later.epoch)
        await other.close()

    serve(use, hooked(MODEL, before), observer=seen)
    assert seen.ends == [FrameEnd.ANSWERED, FrameEnd.ANSWERED]
    assert [name for name, _ in seen.events] == ["stream_opened"] * 2 + ["stream_closed"] * 2
