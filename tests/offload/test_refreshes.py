"""While the edge answers, the server is sent what changed: its cache stays warm, and nobody waits for it."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from fluxshard.cloud.edge.placement import PlacementRecord
from fluxshard.cloud.server.limits import ServerLimits
from fluxshard.runtime.offload.dispatch import DispatchOptions
from fluxshard.testing.offload.hooked_engine import hooked
from fluxshard.testing.offload.in_process import Faults, InProcessTransport
from tests.offload.streams import CLOUD_FIRST, EDGE_FIRST, MODEL, REUSES, Stream, serving


def is_warm(record: PlacementRecord) -> bool:
    return record.refreshed and record.cloud_ran and not record.cloud_keyframe


@pytest.mark.parametrize("reuse", REUSES)
def test_a_warm_server_needs_no_keyframe(reuse: str) -> None:
    """The server is too slow for answers, and has what changed all the same: what goes up is small."""
    with serving(hooked(MODEL, lambda _: time.sleep(0.05))) as server:
        reuse_options = replace(REUSES[reuse], scene_cut=1.0)
        stream = Stream(InProcessTransport(server), reuse=reuse_options, dispatch=EDGE_FIRST)
        stream.run()
        stream.wait_open()
        end = time.monotonic() + 20
        while sum(map(is_warm, stream.settled)) < 5:
            stream.run()
            time.sleep(0.02)  # a camera
            assert time.monotonic() < end
        refreshed = [record for record in stream.settled if record.refreshed]
        assert all(record.answered_by == "edge" and not record.hedged for record in refreshed)
        assert sum(record.cloud_keyframe for record in stream.settled) == 1
        stream.check()


def test_without_them_the_link_is_only_probed() -> None:
    with serving(hooked(MODEL, lambda _: time.sleep(0.05))) as server:
        warm, cold = (
            Stream(
                InProcessTransport(server),
                stream=name,
                dispatch=EDGE_FIRST,
                keep_warm=keep,
            )
            for name, keep in (("warm", True), ("cold", False))
        )
        for stream in (warm, cold):
            stream.run()
            stream.wait_open()
            stream.run_until(lambda record: record.decision.reason == "faster")  # both have been measured
            n = len(stream.outputs)
            stream.run(60)
            stream.close()
            stream.settled = stream.settled[n:]
        sent = [sum(record.bytes_sent > 0 for record in stream.settled) for stream in (warm, cold)]
        assert sent[0] > sent[1], "an estimate of the uplink is good for two seconds"


@pytest.mark.parametrize("reuse", REUSES)
@pytest.mark.parametrize("dispatch", [CLOUD_FIRST, EDGE_FIRST], ids=["cloud first", "edge first"])
def test_a_frame_that_is_refused_after_others_were_built_on_it(reuse: str, dispatch: DispatchOptions) -> None:
    """The edge has assumed that the server runs it; now it knows better, and begins with a keyframe again."""
    with serving(limits=ServerLimits(cache_bytes=1000, retry_s=0.001)) as server:
        faults = Faults(delay_s=0.02)
        stream = Stream(InProcessTransport(server, faults=faults), reuse=REUSES[reuse], dispatch=dispatch)
        stream.run()
        stream.wait_open()
        stream.run_until(lambda _: sum(record.cloud_outcome == "refused" for record in stream.settled) >= 3)
        assert all(record.cloud_keyframe for record in stream.settled if record.cloud_outcome == "refused")
        assert all(record.answered_by == "edge" for record in stream.records) and server.cached_bytes == 0
        server._shared.caches._most = 1 << 30
        faults.delay_s = 0.0
        stream.run_until(lambda _: any(record.cloud_ran and not record.cloud_keyframe for record in stream.settled))
        resumed = next(record for record in stream.settled if record.cloud_ran)
        assert resumed.cloud_keyframe
        stream.check()
