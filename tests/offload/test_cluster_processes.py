"""`fluxshard serve --workers 3` as users start it: a worker that is killed or stopped costs a keyframe, and no more.

Symptoms elsewhere: a dead actor's callers hang (ray 26772), restarts that fail (ray 53727).
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, aclosing

import pytest

from fluxshard.cloud.network.following_transport import FollowingTransport
from fluxshard.cloud.wire.messages import read_down
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.errors import RefusedError
from fluxshard.runtime.offload.transport import Transport
from tests.offload.clusters import WORKERS, Cluster, check_one_keyframe, opened, play, resumed, running
from tests.offload.streams import MODEL, in_links, until
from tests.unit.cloud.network.talk import hello, messages, replies


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("cluster")) as found:
        yield found


def test_a_worker_that_is_killed_costs_its_streams_one_keyframe(cluster: Cluster) -> None:
    streams = opened(cluster, [f"killed{number}" for number in range(4)])
    victim = cluster.owner("killed0")
    hit = [stream for number, stream in enumerate(streams) if cluster.owner(f"killed{number}") == victim]
    since, epochs = [len(stream.outputs) for stream in hit], {stream: stream.session.link.epoch for stream in hit}
    os.kill(cluster.pid(victim), signal.SIGKILL)
    play(streams, lambda: all(s.session.link.epoch > epochs[s] and s.session.link.is_open for s in hit))
    play(streams, lambda: all(map(resumed, hit)))
    check_one_keyframe(hit, since)
    for stream in streams:
        if stream not in hit:
            stream.check()
    assert cluster.events("worker_lost", worker=victim)[0]["why"] == "ended"
    cluster.wait_whole()


def test_a_worker_that_is_stopped_is_fenced_and_what_it_wakes_up_with_counts_for_nothing(cluster: Cluster) -> None:
    (stream,) = streams = opened(cluster, ["frozen"])
    before, epoch, since = cluster.owner("frozen"), stream.session.link.epoch, len(stream.outputs)
    pid = cluster.pid(before)
    os.kill(pid, signal.SIGSTOP)
    stopped = time.monotonic()
    try:
        play(streams, lambda: stream.session.link.epoch > epoch and stream.session.link.is_open)
        play(streams, lambda: time.monotonic() - stopped > 5.0)
        moved = stream.session.link.epoch
    finally:
        os.kill(pid, signal.SIGCONT)
    address = cluster.events("worker_ready", worker=before)[-1]["address"]
    with pytest.raises(RefusedError, match="not placed on this server"):
        in_links(replies(cluster.direct(address), pb.Up(hello=hello(MODEL, "frozen", epoch=epoch)).SerializeToString()))
    play(streams, lambda: resumed(stream))
    assert stream.session.link.epoch == moved and cluster.owner("frozen") != before
    assert cluster.events("worker_lost", worker=before)[0]["why"] == "frozen"
    check_one_keyframe(streams, [since])
    cluster.wait_whole()


def test_a_worker_that_is_told_to_end_loses_no_frame(cluster: Cluster) -> None:
    (stream,) = streams = opened(cluster, ["leaving"])
    before, epoch, since = cluster.owner("leaving"), stream.session.link.epoch, len(stream.outputs)
    os.kill(cluster.pid(before), signal.SIGTERM)
    play(streams, lambda: stream.session.link.epoch > epoch and resumed(stream))
    check_one_keyframe(streams, [since])
    assert [record.cloud_reason for record in stream.settled[since:] if record.cloud_outcome == "lost"] == []
    until(lambda: bool(cluster.events("worker_stopped", worker=before)))
    cluster.wait_whole()


def test_two_hundred_streams_are_spread_within_ten_percent(cluster: Cluster) -> None:
    cluster.wait_whole()

    addresses: list[str] = []

    def follow(address: str, _: str) -> Transport:
        addresses.append(address)
        return cluster.direct(address)

    async def stay() -> None:
        over = asyncio.Event()
        async with AsyncExitStack() as held:
            for number in range(200):
                greeting = pb.Up(hello=hello(MODEL, f"many{number}")).SerializeToString()
                transport = FollowingTransport(cluster.direct(cluster.server.address), follow)
                down = transport.exchange(messages(greeting, then=over))
                await held.enter_async_context(aclosing(down))  # type: ignore[type-var]  # a generator
                assert read_down(await anext(down)).WhichOneof("kind") == "welcome"

    in_links(stay())
    counts = Counter(addresses)
    assert sum(counts.values()) == 200 and len(counts) == WORKERS
    assert all(abs(count - 200 / 3) <= 0.1 * 200 / 3 for count in counts.values()), counts


def test_another_caller_is_refused_and_nobody_goes_around_the_front(cluster: Cluster) -> None:
    (stream,) = opened(cluster, ["door"])
    greeting = pb.Up(hello=hello(MODEL, "door")).SerializeToString()
    with pytest.raises(RefusedError, match="belongs to another caller") as refused:
        in_links(replies(cluster.transport("stranger"), greeting))
    assert refused.value.reason == "taken"
    address = cluster.events("worker_ready", worker=cluster.owner("door"))[-1]["address"]
    for epoch in (0, stream.session.link.epoch, stream.session.link.epoch + 1):
        around = pb.Up(hello=hello(MODEL, "door", epoch=epoch)).SerializeToString()
        with pytest.raises(RefusedError, match="not placed on this server"):
            in_links(replies(cluster.direct(address), around))
    stream.run(3)
    assert stream.session.link.is_open
    stream.check()
