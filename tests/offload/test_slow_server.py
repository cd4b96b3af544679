"""A source that is faster than the server: what waits does not grow, nor does the time that a frame takes.

Symptom elsewhere: lag grows with a slow consumer; open-edge-platform/geti-instant-learn 300, roboflow/inference 460,
ultralytics/yolov5 8160.
"""

from __future__ import annotations

import time

from fluxshard.testing.offload.hooked_engine import hooked
from fluxshard.testing.offload.in_process import Faults, InProcessTransport
from tests.offload.streams import CLOUD_FIRST, EDGE_FIRST, MODEL, Stream, serving

SERVICE_S = 0.1  # of the server; the edge takes a tenth, and the source gives as much as is taken


def test_nothing_waits_but_the_frame_under_way() -> None:
    depths: list[int] = []
    with serving(hooked(MODEL, lambda _: time.sleep(SERVICE_S))) as server:
        stream = Stream(InProcessTransport(server))
        stream.run()
        stream.wait_open()
        end, unsettled = time.monotonic() + 1.5, list[int]()
        while time.monotonic() < end:
            stream.run()
            depths.append(server.queue_depth)
            unsettled.append(len(stream.outputs) - len(stream.settled))
        assert max(depths) <= 1
        assert max(unsettled[len(unsettled) // 2 :]) <= 3 * max(unsettled[: len(unsettled) // 2]) + 10
        latencies = [record.latency_ms for record in stream.records[10:]]
        half = len(latencies) // 2
        assert sorted(latencies[half:])[half // 2] <= 2 * sorted(latencies[:half])[half // 2] + 20, "no slope"
        assert {record.answered_by for record in stream.records} >= {"edge"}
        stream.check()


def test_nothing_waits_on_a_slow_uplink() -> None:
    """A frame takes 100 ms or more: refreshes do not queue up behind each other."""
    with serving() as server:
        stream = Stream(InProcessTransport(server, faults=Faults(up_bytes_per_s=3e4)), dispatch=EDGE_FIRST)
        stream.run()
        stream.wait_open()
        end, most = time.monotonic() + 1.2, 0
        while time.monotonic() < end:
            record = stream.run()
            link = stream.session._link
            assert link is not None
            most = max(most, link.backlog_bytes)
            assert record.latency_ms < 2000
        assert most < 2 * 5000, "one frame"
        stream.check()
        assert sum(record.cloud_ran for record in stream.settled) >= 2


def test_the_newest_frame_refreshes_the_server() -> None:
    """While one refresh is under way no other is made; the next one is of the newest frame, not of the oldest."""
    with serving(hooked(MODEL, lambda _: time.sleep(SERVICE_S))) as server:
        stream = Stream(InProcessTransport(server), dispatch=EDGE_FIRST)
        stream.run()
        stream.wait_open()
        stream.run(40)
        sent = [record.frame for record in stream.records if record.refreshed]
        later = [record for record in stream.records if sent and record.frame > sent[0]]
        assert later and all(record.cloud_open == "a frame is under way" or record.bytes_sent for record in later)
        assert sum(record.bytes_sent > 0 for record in later) < len(later)
        stream.check()


def test_the_paper_waits_for_a_slow_server_and_not_for_ever() -> None:
    with serving(hooked(MODEL, lambda _: time.sleep(SERVICE_S))) as server:
        dispatch = type(CLOUD_FIRST)(policy="paper", margin_ms=10_000.0)
        stream = Stream(InProcessTransport(server), dispatch=dispatch)
        stream.warm()
        stream.run(5)
        assert all(record.latency_ms < 2000 + 5000 for record in stream.records)
        assert not any(record.hedged for record in stream.records[1:])
        stream.check()
