"""A server that is slower than the edge even at its best: nothing goes up, until that may have changed."""

from __future__ import annotations

import time

import pytest

from fluxshard.runtime.offload.dispatch import DispatchOptions
from fluxshard.testing.offload.hooked_engine import hooked
from fluxshard.testing.offload.in_process import InProcessTransport
from tests.offload.streams import MODEL, REUSES, Stream, serving

ON_ITS_OWN = "even at its best it is slower than the edge"


@pytest.mark.parametrize("reuse", REUSES)
def test_it_is_sent_nothing_until_the_edge_becomes_slower(reuse: str) -> None:
    pause_s = 0.0
    with serving(hooked(MODEL, lambda _: time.sleep(0.3))) as server:
        edge = hooked(MODEL, lambda _: time.sleep(pause_s))
        stream = Stream(InProcessTransport(server), edge, REUSES[reuse], dispatch=DispatchOptions(margin_ms=0.0))
        stream.run()
        stream.wait_open()
        stream.run_until(lambda record: record.cloud_open == ON_ITS_OWN, 60)
        n = len(stream.records)
        stream.run(20)
        alone = stream.records[n:]
        assert {record.cloud_open for record in alone} == {ON_ITS_OWN}
        assert all(record.answered_by == "edge" and not record.bytes_sent for record in alone)
        pause_s = 1.0
        stream.run_until(lambda record: record.answered_by == "cloud", 120)
        stream.check()


def test_it_is_tried_again() -> None:
    with serving(hooked(MODEL, lambda _: time.sleep(0.3))) as server:
        options = DispatchOptions(margin_ms=0.0, second_look_s=0.5)
        stream = Stream(InProcessTransport(server), dispatch=options)
        stream.run()
        stream.wait_open()
        stream.run_until(lambda record: record.cloud_open == ON_ITS_OWN, 60)
        stream.run_until(lambda record: record.refreshed and bool(record.bytes_sent), 60)
        stream.run_until(lambda record: record.cloud_open == ON_ITS_OWN, 60)
        stream.check()
