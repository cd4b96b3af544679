"""Streams of a server: who is let in, and what is left of those who are gone."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from fluxshard.cloud.server.limits import Caller
from fluxshard.cloud.server.stream_server import StreamServer
from fluxshard.cloud.wire.messages import MAX_MESSAGE_BYTES, PROTOCOL
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.cloud.wire.reuse_codec import encode_reuse
from fluxshard.errors import RefusedError
from fluxshard.options import LevelOptions, PlannedOptions, ReuseOptions
from fluxshard.testing.offload.scripted_edge import ScriptedEdge, hello_of
from tests.unit.cloud.server.serving import MODEL, REUSE, ended, refused, run_frames, serve

ALICE, BOB = Caller(identity="alice"), Caller(identity="bob")


def test_a_stream_from_greeting_to_end() -> None:
    async def use(server: StreamServer) -> None:
        edge = ScriptedEdge(server)
        welcome = await edge.open(hello_of(MODEL, REUSE, decoder="d1"))
        assert welcome.epoch == 1 and welcome.same_compute and not welcome.same_decoder
        assert (welcome.max_frame_bytes, welcome.lease_ms) == (1 << 20, 7000)
        assert server.connected == 1
        await run_frames(edge, welcome.epoch, 3)
        assert server.cached_bytes > 0
        edge.end()
        with pytest.raises(StopAsyncIteration):
            await edge.receive()
        assert server.connected == 0 and server.cached_bytes == 0

    serve(use, max_frame_bytes=1 << 20, lease_s=7.0)


def test_edges_that_compute_other_bits_are_told() -> None:
    async def use(server: StreamServer) -> None:
        for name, same in (("backend", False), ("dtype", False), ("isa", False), ("version", False), ("stream", True)):
            edge = ScriptedEdge(server)
            assert (await edge.open(hello_of(MODEL, REUSE, **{name: "other"}))).same_compute is same
            await edge.close()

    serve(use)


def changed_reuse(**changes: Any) -> str:
    return json.dumps({**json.loads(encode_reuse(REUSE)), **changes})


@pytest.mark.parametrize(
    ("changes", "reason", "message"),
    [
        ({"protocol": PROTOCOL + 1}, "protocol", f"the server speaks version {PROTOCOL} of the protocol"),
        ({"protocol": 0}, "protocol", "the server speaks version"),
        ({"plan": "secret"}, "model", "does not run this model at this size"),
        ({"weights": "secret"}, "model", "with other weights"),
        ({"stream": ""}, "invalid", "name is not allowed"),
        ({"stream": "a b"}, "invalid", "name is not allowed"),
        ({"stream": "/etc/secret"}, "invalid", "name is not allowed"),
        ({"stream": "a" * 129}, "invalid", "name is not allowed"),
        ({"stream": "secret\n"}, "invalid", "name is not allowed"),
        ({"payload": "secret"}, "invalid", "does not take such payloads"),
        ({"answer": "secret"}, "model", "does not give such answers"),
        ({"answer": "detections"}, "model", "does not give such answers"),
        ({"reuse": "secret"}, "invalid", "options of reuse"),
        ({"reuse": changed_reuse(policy="propagated", tau={"secret": 0.1})}, "invalid", "options of reuse"),
    ],
)
def test_greetings_that_are_refused(changes: dict[str, Any], reason: str, message: str) -> None:
    """Nothing that a caller says is said back, and nothing is said of the server's models."""

    async def use(server: StreamServer) -> None:
        error = await refused(ScriptedEdge(server), hello_of(MODEL, REUSE, **changes))
        assert error.reason == reason and message in str(error)
        assert "secret" not in str(error) and error.retry_after_s is None

    serve(use)


@pytest.mark.parametrize(
    "reuse",
    [
        ReuseOptions(policy="planned", planned=PlannedOptions(levels={8: LevelOptions(shard_px=8 * 10**30)})),
        ReuseOptions(policy="planned", planned=PlannedOptions(levels={8: LevelOptions(dilation=10**30)})),
        ReuseOptions(policy="planned", planned=PlannedOptions(small_px=10**30, margin_px=10**30)),
        ReuseOptions(tau=1e300, tau_input=1e300),
    ],
)
def test_absurd_options_are_run_or_refused(reuse: ReuseOptions) -> None:
    async def use(server: StreamServer) -> None:
        edge = ScriptedEdge(server)
        try:
            welcome = await edge.open(hello_of(MODEL, reuse))
            edge.send(pb.Up(frame=pb.Frame(seq=1, keyframe=True, epoch=welcome.epoch)))
            await edge.outcome()
        except RefusedError as error:
            assert error.reason == "invalid"
        await edge.close()

    serve(use)


@pytest.mark.parametrize(
    ("first", "message"),
    [
        (b"\xff\xff", "cannot be read"),
        (b"", "no known kind"),
        (bytes(MAX_MESSAGE_BYTES + 1), "is larger than"),
        (pb.Up(frame=pb.Frame(seq=1)), "is not a greeting"),
        (None, "ended before its greeting"),
    ],
)
def test_first_messages_that_are_no_greeting(first: Any, message: str) -> None:
    async def use(server: StreamServer) -> None:
        edge = ScriptedEdge(server)
        if first is None:
            edge.end()
        else:
            edge.send(first)
        error = await ended(edge)
        assert error.reason == "invalid" and message in str(error)

    serve(use)


def test_a_caller_that_does_not_greet_is_sent_away() -> None:
    async def use(server: StreamServer) -> None:
        error = await ended(ScriptedEdge(server))
        assert error.reason == "invalid" and "no greeting came in time" in str(error)

    serve(use, hello_s=0.05)


def test_a_prefix_binds_a_caller_to_its_streams() -> None:
    async def use(server: StreamServer) -> None:
        caller = Caller(identity="alice", prefix="alice/")
        error = await refused(ScriptedEdge(server, caller), hello_of(MODEL, REUSE, stream="bob/door"))
        assert error.reason == "identity" and "bob" not in str(error) and "alice" not in str(error)
        edge = ScriptedEdge(server, caller)
        await edge.open(hello_of(MODEL, REUSE, stream="alice/door"))
        await edge.close()

    serve(use)


# --- admission --------------------------------------------------------------------------------------------------------


def test_a_full_server_refuses_at_once_and_says_when_to_ask_again() -> None:
    async def use(server: StreamServer) -> None:
        inside = [ScriptedEdge(server) for _ in range(2)]
        for number, edge in enumerate(inside):
            await edge.open(hello_of(MODEL, REUSE, stream=f"s{number}"))
        error = await refused(ScriptedEdge(server), hello_of(MODEL, REUSE, stream="s2"))
        assert (error.reason, error.retry_after_s) == ("full", 3.0) and server.connected == 2
        await inside[0].close()
        edge = ScriptedEdge(server)
        await edge.open(hello_of(MODEL, REUSE, stream="s2"))
        for one in (edge, inside[1]):
            await one.close()

    serve(use, max_streams=2, retry_s=3.0)


def test_a_caller_has_a_share_of_its_own() -> None:
    async def use(server: StreamServer) -> None:
        edges = [ScriptedEdge(server, ALICE) for _ in range(2)]
        for number, edge in enumerate(edges):
            await edge.open(hello_of(MODEL, REUSE, stream=f"alice{number}"))
        error = await refused(ScriptedEdge(server, ALICE), hello_of(MODEL, REUSE, stream="alice2"))
        assert error.reason == "full"
        edges += [ScriptedEdge(server, BOB), ScriptedEdge(server, ALICE)]
        await edges[2].open(hello_of(MODEL, REUSE, stream="bob"))
        await edges[3].open(hello_of(MODEL, REUSE, stream="alice0"))  # takes over its own
        for edge in edges:
            await edge.close()

    serve(use, max_streams_per_identity=2)


def test_connections_that_say_nothing_are_counted_too() -> None:
    async def use(server: StreamServer) -> None:
        silent = [asyncio.ensure_future(ended(ScriptedEdge(server))) for _ in range(4)]
        await asyncio.sleep(0.01)
        assert server.connected == 4
        error = await refused(ScriptedEdge(server), hello_of(MODEL, REUSE))
        assert error.reason == "full"
        await asyncio.gather(*silent)
        edge = ScriptedEdge(server)
        await edge.open(hello_of(MODEL, REUSE))
        await edge.close()

    serve(use, max_streams=2, hello_s=0.1)
