"""Workers that die, freeze, leave and are too busy: streams go on elsewhere, and every output is that of a replay.

Symptoms elsewhere: a dead actor's callers hang (ray 26772), a busy replica is killed as unhealthy (ray 54070), a second
publisher hijacks a name or the own reconnection is refused (bluenviron/mediamtx 911, arut/nginx-rtmp-module 1152), two
owners after a rehash (envoyproxy/envoy 2819).
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest

from fluxshard.cloud.cluster.placement.scaling import ScaleOptions
from fluxshard.cloud.cluster.worker.messages import Grant, Stop
from fluxshard.cloud.edge.connection.link import LinkOptions
from fluxshard.cloud.server.limits import Caller
from fluxshard.testing.offload.hooked_engine import HookedEngine
from tests.offload.streams import CLOUD_FIRST, MODEL, REUSES, Stream, until
from tests.unit.cloud.cluster.hosted import QUICK, Hosted, hosted

ALICE, BOB = Caller(identity="alice"), Caller(identity="bob")
LINK = LinkOptions(connect_s=5.0, silence_s=1.0, backoff_s=(0.01, 0.05))


def stream_on(cluster: Hosted, name: str = "test", caller: Caller = ALICE, **options) -> Stream:
    stream = Stream(cluster.transport(caller), stream=name, link=LINK, dispatch=CLOUD_FIRST, **options)
    stream.warm()
    return stream


def keyframes_after(stream: Stream, number: int) -> int:
    """Keyframes that the cloud has run since a number of frames."""
    return sum(record.cloud_ran and bool(record.cloud_keyframe) for record in stream.settled[number:])


@pytest.mark.parametrize("reuse", REUSES)
def test_a_worker_that_dies_costs_one_keyframe(reuse: str) -> None:
    with hosted(MODEL) as cluster:
        stream = stream_on(cluster, reuse=REUSES[reuse])
        before, frames, epoch = cluster.owner("test"), len(stream.outputs), stream.session.link.epoch
        cluster.call(before.die)
        stream.run_until(lambda record: record.epoch > epoch and record.answered_by == "cloud")
        stream.run(5)
        assert cluster.owner("test") is not before and stream.session.link.epoch > epoch
        stream.check()
        assert keyframes_after(stream, frames) == 1
        until(lambda: len(cluster.supervisor.workers) == 3)


def test_a_worker_that_freezes_is_fenced() -> None:
    with hosted(MODEL) as cluster:
        stream = stream_on(cluster)
        before, frames, epoch = cluster.owner("test"), len(stream.outputs), stream.session.link.epoch
        cluster.call(before.freeze)
        late = stream.run()
        stream.run_until(lambda record: record.epoch > epoch and record.answered_by == "cloud")
        assert cluster.owner("test") is not before and late.answered_by == "edge" and not late.cloud_ran
        cluster.call(before.thaw)
        until(lambda: before.open_streams == {})
        stream.run(5)
        assert stream.session.link.is_open and stream.session.link.epoch == cluster.owner("test").open_streams["test"]
        until(lambda: before.name in cluster.supervisor.workers)
        stream.check()
        assert keyframes_after(stream, frames) == 1 and before.kills == 0
        assert [facts["why"] for facts in cluster.events.of("worker_lost")] == ["frozen"]
        assert len(cluster.events.of("worker_back")) == 1 and len(cluster.supervisor.workers) == 3


def test_a_worker_that_stays_frozen_is_killed_and_replaced() -> None:
    with hosted(MODEL) as cluster:
        frozen = cluster.pool.made[0]
        cluster.call(frozen.freeze)
        until(lambda: frozen.kills > 0)
        until(lambda: sorted(cluster.supervisor.workers) == ["w2", "w3", "w4"])


def test_a_frame_that_takes_long_is_no_frozen_worker() -> None:
    """Three leases long."""
    slow = [0.0]

    def on_the_server(_: object) -> None:
        if threading.current_thread().name.startswith("inference"):
            time.sleep(slow[0])

    engine = HookedEngine(MODEL.program.engine, on_the_server)
    model = replace(MODEL, program=replace(MODEL.program, engine=engine))
    with hosted(model) as cluster:
        stream = stream_on(cluster)
        epoch = stream.session.link.epoch
        slow[0] = 3 * QUICK.lease_s
        record = stream.run()
        stream.run_until(lambda _: record.is_settled)
        assert record.cloud_outcome == "answered" and record.cloud_ms > 1e3 * QUICK.lease_s
        slow[0] = 0.0
        stream.run(3)
        assert stream.session.link.epoch == epoch and cluster.events.of("worker_lost") == []
        stream.check()


def test_a_worker_that_leaves_sends_its_streams_elsewhere() -> None:
    with hosted(MODEL) as cluster:
        stream = stream_on(cluster)
        before, frames, epoch = cluster.owner("test"), len(stream.outputs), stream.session.link.epoch
        cluster.call(lambda: before.worker.answer(Stop()))
        stream.run_until(lambda record: record.epoch > epoch and record.answered_by == "cloud")
        assert cluster.owner("test") is not before
        until(lambda: len(cluster.supervisor.workers) == 3 and before.name not in cluster.supervisor.workers)
        stream.check()
        assert keyframes_after(stream, frames) == 1
        assert cluster.events.of("worker_lost") == [] and len(cluster.events.of("worker_stopped")) == 1
        lost = [record.cloud_reason for record in stream.settled[frames:] if record.cloud_outcome == "lost"]
        assert lost == [], "the frame under way was answered"


def test_a_frozen_edge_comes_back_under_its_own_name() -> None:
    with hosted(MODEL) as cluster:
        first = stream_on(cluster)
        epoch = first.session.link.epoch
        for worker in cluster.pool.made:  # all links of this edge are half open
            worker.faults.silent = True
        late = first.run()
        assert late.answered_by == "edge"
        for worker in cluster.pool.made:
            worker.faults.silent = False
        second = stream_on(cluster)
        assert second.session.link.epoch > epoch
        stranger = Stream(cluster.transport(BOB), stream="test", link=LINK)
        stranger.run()
        until(lambda: "belongs to another caller" in stranger.session.link.reason)
        serving = [worker.name for worker in cluster.pool.made if "test" in worker.open_streams]
        assert serving == [cluster.owner("test").name]
        second.run(5)
        assert second.session.link.is_open
        for stream in (first, second, stranger):
            stream.check()


def test_a_worker_whose_answers_are_lost_delays_a_stream_and_nothing_else() -> None:
    """A grant without an answer: nobody knows whether the worker has taken it, so it has to end it first."""
    with hosted(MODEL) as cluster:
        for worker in cluster.pool.made[:2]:
            worker.drop_answers_to = Grant
        stream = stream_on(cluster)
        assert cluster.owner("test") is cluster.pool.made[2]
        assert [worker.open_streams for worker in cluster.pool.made[:2]] == [{}, {}]
        stream.check()


def test_streams_move_to_a_worker_that_is_new() -> None:
    options = replace(QUICK, scale=ScaleOptions(least=1, most=2, high=0.5, low=0.2, out_s=0.1), pin_s=10.0)
    with hosted(MODEL, options=options, max_streams=4) as cluster:
        streams = [stream_on(cluster, f"s{number}") for number in range(3)]
        until(lambda: len(cluster.supervisor.workers) == 2)
        moved = time.monotonic() + 20
        while not cluster.pool.made[1].open_streams:
            for stream in streams:
                stream.run()
            assert time.monotonic() < moved
        for stream in streams:
            stream.run(3)
            stream.check()
        assert len(cluster.events.of("stream_moved")) >= 1


def test_a_worker_that_is_not_needed_goes() -> None:
    options = replace(QUICK, scale=ScaleOptions(least=1, most=3, low=0.6, in_s=0.3, out_s=0.0))
    with hosted(MODEL, options=options, max_streams=2) as cluster:
        streams = [stream_on(cluster, f"s{number}") for number in range(2)]
        until(lambda: len(cluster.supervisor.workers) == 2)
        streams.pop().close()
        until(lambda: len(cluster.supervisor.workers) == 1)
        assert cluster.events.of("worker_lost") == []
        streams[0].run_until(lambda record: record.answered_by == "cloud")
        streams[0].check()


def test_a_worker_that_cannot_be_replaced_at_once_is_replaced_later() -> None:
    with hosted(MODEL) as cluster:
        cluster.pool.failures = 1
        cluster.call(cluster.pool.made[0].die)
        until(lambda: len(cluster.supervisor.workers) == 2)
        until(lambda: len(cluster.supervisor.workers) == 3)
        assert [str(error) for error in cluster.events.failures] == ["there is no room for a worker"]
