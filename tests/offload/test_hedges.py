"""A late cloud: the edge starts beside it, the first answer counts, and neither cache is confused by the other's."""

from __future__ import annotations

import threading

import pytest

from fluxshard.errors import KernelError
from fluxshard.runtime.offload.dispatch import DispatchOptions
from fluxshard.testing.offload.hooked_engine import hooked
from fluxshard.testing.offload.in_process import Faults, InProcessTransport
from tests.offload.streams import CLOUD_FIRST, MODEL, REUSES, Stream, serving


class Gate:
    """Holds the frames of an engine while it is shut."""

    def __init__(self) -> None:
        self.error: Exception | None = None  # raised by the frames that were held
        self._open = threading.Event()
        self._open.set()
        self.held = 0

    def __call__(self, _: int) -> None:
        if not self._open.is_set():
            self.held += 1
            assert self._open.wait(20)
            if self.error is not None:
                raise self.error

    def shut(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()


@pytest.mark.parametrize("reuse", REUSES)
def test_the_edge_wins_where_the_uplink_has_become_slow(reuse: str) -> None:
    with serving() as server:
        faults = Faults()
        stream = Stream(InProcessTransport(server, faults=faults), reuse=REUSES[reuse])
        stream.warm()
        faults.up_bytes_per_s = 5e3  # half a second for a frame of which half has changed
        late = stream.run()
        assert late.hedged and late.answered_by == "edge" and late.edge_ran and not late.is_settled
        after = stream.run()
        assert after.cloud_open == "a frame is under way" and after.answered_by == "edge"
        faults.up_bytes_per_s = 0.0
        stream.run_until(lambda record: record.answered_by == "cloud" and not record.cloud_keyframe)
        assert late.cloud_ran and late.cloud_outcome == "answered", "the server has both"
        stream.check()


@pytest.mark.parametrize("reuse", REUSES)
def test_the_cloud_wins_where_the_edge_is_later_still(reuse: str) -> None:
    edge, cloud = Gate(), Gate()
    with serving(hooked(MODEL, cloud)) as server:
        stream = Stream(InProcessTransport(server), hooked(MODEL, edge), REUSES[reuse])
        stream.warm()
        edge.shut()
        cloud.shut()
        threading.Thread(target=lambda: (wait_for(edge), cloud.open())).start()
        late = stream.run()
        assert late.hedged and late.answered_by == "cloud" and late.edge_ran
        assert late.edge_ms is None, "it is still at it"
        edge.open()
        stream.run_until(lambda record: late.is_settled)
        assert late.edge_ms is not None
        stream.run_until(lambda record: record.answered_by == "cloud")
        stream.check()


@pytest.mark.parametrize("fails", [False, True], ids=["runs", "fails"])
def test_frames_are_placed_while_the_edge_still_runs_one_that_the_cloud_has_answered(fails: bool) -> None:
    """Symptom: after every hedge that the cloud won, the next frame waited for the edge, wherever it went."""
    edge, cloud = Gate(), Gate()
    with serving(hooked(MODEL, cloud)) as server:
        stream = Stream(InProcessTransport(server), hooked(MODEL, edge), keep_warm=False)
        stream.warm()
        stream.run_until(lambda record: record.answered_by == "cloud" and record.inputs.cloud_ms is not None)
        edge.shut()
        cloud.shut()
        threading.Thread(target=lambda: (wait_for(edge), cloud.open())).start()
        late = stream.run()
        assert late.hedged and late.answered_by == "cloud" and late.edge_ran
        others = [stream.run() for _ in range(5)]
        assert all(record.answered_by == "cloud" and not record.edge_ran for record in others)
        assert late.edge_ms is None and not late.is_settled
        edge.error = KernelError("the engine fails, as the test asks") if fails else None
        edge.open()
        stream.run_until(lambda record: late.is_settled)
        assert late.edge_ran is not fails
        server.close()
        stream.run_until(lambda record: record.edge_ran)
        after = next(record for record in stream.records if record.frame > late.frame and record.edge_ran)
        assert after.edge_keyframe or not fails
        stream.check()


def wait_for(gate: Gate) -> None:
    while not gate.held:
        threading.Event().wait(0.001)


def test_both_may_win_in_turn() -> None:
    """A link that is slow now and then, of a stream that goes on all the time."""
    with serving() as server:
        faults = Faults()
        stream = Stream(InProcessTransport(server, faults=faults))
        stream.warm()
        for number in range(40):
            faults.up_bytes_per_s = 3e4 if number % 20 < 5 else 0.0
            faults.delay_s = 0.004 if number % 30 < 10 else 0.0
            stream.run()
        stream.run_until(lambda record: record.answered_by == "cloud")
        assert any(record.hedged and record.answered_by == "edge" for record in stream.records)
        stream.check()


def test_without_a_budget_only_rescues_are_left() -> None:
    with serving() as server:
        faults = Faults()
        stream = Stream(InProcessTransport(server, faults=faults), hedge_share=0.0)
        stream.warm()
        for _ in range(6):
            faults.up_bytes_per_s = 4e3
            late = stream.run()
            faults.up_bytes_per_s = 0.0
            stream.run_until(lambda record: record.answered_by == "cloud")
        assert late.hedged and late.latency_ms > 200, "four hedges in a row, and no more of them"
        stream.check()


def test_a_deadline_is_a_budget_for_the_server() -> None:
    """A server that is busy says so at once, and the edge answers."""
    cloud = Gate()
    with serving(hooked(MODEL, cloud)) as server:
        dispatch = DispatchOptions(margin_ms=10_000.0, deadline_ms=2000.0)
        busy = Stream(InProcessTransport(server), stream="busy", dispatch=CLOUD_FIRST)
        stream = Stream(InProcessTransport(server), dispatch=dispatch)
        for one in (busy, stream):
            one.warm()
        cloud.shut()
        assert busy.run().answered_by == "edge"
        server._shared.scheduler.service_s = 10.0
        refused = stream.run()
        assert refused.cloud_outcome == "refused" and refused.answered_by == "edge" and not refused.cloud_ran
        cloud.open()
        later = stream.run_until(lambda record: record.cloud_ran)
        assert not later.cloud_keyframe, "what the server has is as it was"
        for one in (busy, stream):
            one.check()
