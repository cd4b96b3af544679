"""Placing by a supervisor whose workers are slow, silent and gone: one worker at most has a stream."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from fluxshard.cloud.cluster.placement.placements import Place
from fluxshard.errors import RefusedError, TransportError
from fluxshard.testing.offload.two_places import fake_model
from tests.offload.streams import in_links, until
from tests.unit.cloud.cluster.hosted import QUICK, Hosted, hosted

MODEL = fake_model()


def place(cluster: Hosted, stream: str, identity: str = "alice") -> Place:
    return in_links(cluster.supervisor.place(stream, identity))[0]


def granted(cluster: Hosted, stream: str) -> list[str]:
    """Workers that would open a stream."""
    return [worker.name for worker in cluster.pool.made if stream in worker.claims._granted]


def test_a_stream_that_is_placed_anew_is_granted_to_one_worker_only() -> None:
    with hosted(MODEL) as cluster:
        for _ in range(10):
            found = place(cluster, "door")
            assert granted(cluster, "door") == [found.worker]


def test_callers_of_one_name_at_once_get_one_place() -> None:
    async def all_at_once(cluster: Hosted) -> list[object]:
        asks = (cluster.supervisor.place("door", "alice") for _ in range(10))
        return await asyncio.gather(*asks, return_exceptions=True)

    with hosted(MODEL) as cluster:
        found = in_links(all_at_once(cluster))
        places = [one[0] for one in found if isinstance(one, tuple)]
        refused = [one for one in found if isinstance(one, RefusedError)]
        assert len(places) + len(refused) == 10 and all(error.reason == "taken" for error in refused)
        newest = max(places, key=lambda one: one.epoch)
        assert cluster.supervisor.placements.place_of("door") == newest
        until(lambda: granted(cluster, "door") == [newest.worker])


def test_a_stream_of_a_silent_worker_waits_until_its_lease_is_over() -> None:
    options = replace(QUICK, place_s=5.0)
    with hosted(MODEL, options=options) as cluster:
        first = place(cluster, "door")
        worker = cluster.worker(first.worker)
        cluster.call(worker.freeze)
        second = place(cluster, "door")
        assert second.worker != first.worker and first.worker not in cluster.supervisor.workers
        assert cluster.supervisor.placements.may_grant(second)
        cluster.call(worker.thaw)
        until(lambda: granted(cluster, "door") == [second.worker])
        until(lambda: len(cluster.supervisor.workers) == 3)


def test_a_worker_that_is_stuck_in_a_frame_is_replaced() -> None:
    with hosted(MODEL, options=replace(QUICK, stuck_s=0.5)) as cluster:
        worker = cluster.pool.made[0]
        cluster.call(lambda: setattr(worker.streams._shared.scheduler, "_running", object()))
        until(lambda: worker.kills > 0)
        until(lambda: len(cluster.supervisor.workers) == 3 and worker.name not in cluster.supervisor.workers)
        assert [facts["why"] for facts in cluster.events.of("worker_lost")] == ["stuck"]
        cluster.call(lambda: setattr(worker.streams._shared.scheduler, "_running", None))


def test_draining_a_worker_replaces_it_without_a_loss() -> None:
    with hosted(MODEL) as cluster:
        in_links(cluster.supervisor.drain("w1"))
        until(lambda: sorted(cluster.supervisor.workers) == ["w2", "w3", "w4"])
        assert cluster.events.of("worker_lost") == [] and cluster.events.failures == []


def test_a_cluster_that_cannot_start_says_why() -> None:
    with hosted(MODEL) as cluster:
        cluster.pool.failures = 1
        with pytest.raises(TransportError, match="no room for a worker"):
            in_links(cluster.supervisor.start())
