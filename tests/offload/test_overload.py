"""More streams than a server can take: those beyond its room are told at once, those inside wait for no more than it.

Symptom elsewhere: the backlog of sequences is unbounded, and nobody is refused; triton-inference-server/server 5467,
8449.
"""

from __future__ import annotations

import asyncio
import threading
import time

from fluxshard.cloud.server.limits import ServerLimits
from fluxshard.errors import RefusedError
from fluxshard.testing.offload.hooked_engine import hooked
from fluxshard.testing.offload.scripted_edge import ScriptedEdge, ScriptedFrames, hello_of
from fluxshard.testing.offload.two_places import fake_model, moving_frames, server_of
from tests.offload.streams import PLANNED

ROOM, STREAMS, FRAMES = 6, 50, 8
SERVICE_S = 0.01


def test_the_excess_is_refused_and_the_admitted_wait_their_turn() -> None:
    """Waits are counted in frames that the engine ran meanwhile, so that a busy machine changes nothing."""
    ran: list[int] = []
    held, release = threading.Event(), threading.Event()

    def before(number: int) -> None:
        ran.append(number)
        held.set()
        assert release.wait(20)
        time.sleep(SERVICE_S)

    model = hooked(fake_model(), before)

    async def run() -> None:
        server = server_of(model, limits=ServerLimits(max_streams=ROOM, retry_s=2.0))
        waits: list[int] = []
        depths: list[int] = []

        async def stream(number: int) -> str:
            edge, frames = ScriptedEdge(server), ScriptedFrames(model, PLANNED)
            try:
                welcome = await edge.open(hello_of(model, PLANNED, stream=f"stream{number}"))
            except RefusedError as error:
                assert error.retry_after_s == 2.0
                assert not ran or not release.is_set(), "it is told while the first frame still runs"
                return error.reason
            for frame in moving_frames(FRAMES):
                sent = len(ran)
                edge.send(*frames.messages(frame, welcome.epoch))
                message, _ = await edge.outcome()
                assert message.WhichOneof("kind") == "result"
                waits.append(len(ran) - sent)
                depths.append(server.queue_depth)
            await edge.close()
            return "admitted"

        streams = [asyncio.create_task(stream(number)) for number in range(STREAMS)]
        await asyncio.to_thread(held.wait, 20)
        while sum(one.done() for one in streams) < STREAMS - ROOM:
            await asyncio.sleep(0.001)
        release.set()
        ends = await asyncio.gather(*streams)
        assert ends.count("full") == STREAMS - ROOM and ends.count("admitted") == ROOM
        assert len(ran) == ROOM * FRAMES and max(depths) <= ROOM
        assert sorted(waits)[int(0.95 * len(waits))] <= 2 * ROOM
        server.close()

    asyncio.run(run())


def test_frames_with_a_budget_are_refused_when_the_queue_is_longer() -> None:
    """What would come too late is said before it is computed, and the edges know how long the queue is."""
    model = hooked(fake_model(), lambda _: time.sleep(SERVICE_S))
    refused: list[int] = []

    async def run() -> None:
        server = server_of(model)

        async def stream(number: int) -> int:
            edge, frames, answered = ScriptedEdge(server), ScriptedFrames(model, PLANNED), 0
            welcome = await edge.open(hello_of(model, PLANNED, stream=f"stream{number}"))
            for frame in moving_frames(FRAMES):
                frames.lose()
                edge.send(*frames.messages(frame, welcome.epoch, budget_ms=round(4e3 * SERVICE_S)))
                message, _ = await edge.outcome()
                if message.WhichOneof("kind") == "reject":
                    refused.append(message.reject.wait_ms)
                    await asyncio.sleep(SERVICE_S)
                else:
                    answered += 1
                assert server.queue_depth <= 20
            await edge.close()
            return answered

        answered = await asyncio.gather(*(stream(number) for number in range(20)))
        assert sum(answered) + len(refused) == 20 * FRAMES and sum(answered) > 0
        assert refused and min(refused) > 0
        server.close()

    asyncio.run(run())
