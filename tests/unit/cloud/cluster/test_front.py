"""The front: greetings are answered with a place or refused, and nothing else passes through it."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace

import pytest

from fluxshard.cloud.server.limits import Caller
from fluxshard.cloud.wire.messages import read_down
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.errors import RefusedError
from fluxshard.testing.offload.two_places import fake_model
from tests.offload.streams import in_links
from tests.unit.cloud.cluster.hosted import QUICK, Hosted, hosted
from tests.unit.cloud.network.talk import hello, messages

MODEL = fake_model()
PATIENT = replace(QUICK, lease_s=30.0, ask_s=20.0, place_s=30.0, open_s=60.0)  # a busy machine changes nothing
ALICE = Caller(identity="alice", prefix="cam/")


async def ask(cluster: Hosted, *given: bytes, caller: Caller = ALICE) -> list[pb.Down]:
    async with aclosing(cluster.front.exchange(caller, messages(*given))) as down:  # type: ignore[type-var]
        return [read_down(data) async for data in down]


def greeting(stream: str = "cam/1", **changes: object) -> bytes:
    return pb.Up(hello=hello(MODEL, stream, **changes)).SerializeToString()


def refused(cluster: Hosted, *given: bytes, caller: Caller = ALICE) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        in_links(ask(cluster, *given, caller=caller))
    return caught.value


def test_a_greeting_is_answered_with_a_place() -> None:
    with hosted(MODEL) as cluster:
        (answer,) = in_links(ask(cluster, greeting()))
        place = cluster.supervisor.placements.place_of("cam/1")
        assert place is not None and answer.WhichOneof("kind") == "placed"
        placed = answer.placed
        assert (placed.address, placed.epoch, placed.open_ms) == (place.worker, place.epoch, 2000)
        (again,) = in_links(ask(cluster, greeting()))
        assert again.placed.epoch > placed.epoch
        assert [facts["stream"] for facts in cluster.events.of("stream_placed")] == ["cam/1", "cam/1"]
        assert cluster.front.connected == 0


def test_who_may_not_is_refused() -> None:
    with hosted(MODEL, options=PATIENT, quota=2) as cluster:
        assert refused(cluster, greeting("door")).reason == "identity"
        assert refused(cluster, greeting("cam/ !")).reason == "invalid"
        assert refused(cluster, greeting(protocol=1)).reason == "protocol"
        assert refused(cluster).reason == "invalid"
        in_links(ask(cluster, greeting()))
        assert refused(cluster, greeting(), caller=Caller(identity="bob")).reason == "taken"
        in_links(ask(cluster, greeting("cam/2")))
        full = refused(cluster, greeting("cam/3"))
        assert full.reason == "full" and full.retry_after_s is not None
        cluster.call(lambda: cluster.front.drain(1.0))
        assert refused(cluster, greeting("cam/4")).reason == "draining"


def test_a_place_that_nobody_takes_is_free_again() -> None:
    with hosted(MODEL, max_streams=1) as cluster:
        for number in range(3):
            in_links(ask(cluster, greeting(f"cam/{number}")))
        assert refused(cluster, greeting("cam/3")).reason == "full"

        async def later() -> list[pb.Down]:
            for _ in range(200):
                try:
                    return await ask(cluster, greeting("cam/3"))
                except RefusedError:
                    await asyncio.sleep(0.05)
            raise AssertionError("places are not given back")

        assert in_links(later())[0].placed.epoch == 4


def test_without_a_worker_that_answers_an_edge_is_told_to_come_back() -> None:
    with hosted(MODEL) as cluster:

        def freeze() -> None:
            for worker in cluster.pool.made:
                worker.freeze()

        cluster.call(freeze)
        error = refused(cluster, greeting())
        assert error.reason == "full" and error.retry_after_s is not None
