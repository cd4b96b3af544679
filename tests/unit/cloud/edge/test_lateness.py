"""When the edge starts beside the cloud."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from fluxshard.cloud.edge.estimates import Estimates
from fluxshard.cloud.edge.lateness import Lateness
from fluxshard.cloud.edge.placement import PlacementRecord
from fluxshard.runtime.offload.dispatch import Decision, DispatchInputs, DispatchOptions
from fluxshard.runtime.offload.hedge import HedgeBudget
from fluxshard.runtime.offload.uplink import Uplink


class Sent:
    """An upload of 100 kB whose progress a test sets; it began at 0."""

    began, n_bytes = 0.0, 100_000

    def __init__(self) -> None:
        self.acked_bytes, self.ahead_bytes = 0, 0
        self.heard_at, self.complete_at = 0.0, None

    def left_to_arrive(self, waited_bytes: int) -> int:
        return self.ahead_bytes + self.n_bytes - self.acked_bytes

    def silent_s(self, now: float) -> float:
        return now - self.heard_at

    def waiting_s(self, now: float) -> float:
        return 0.0 if self.complete_at is None else now - self.complete_at


def watched(
    sent: Sent, *, budget: HedgeBudget | None = None, edge_ms: float | None = 20.0, cloud_ms: float = 10.0,
    options: DispatchOptions | None = None, reason: str = "",
) -> Lateness:  # fmt: skip
    """10 000 bytes per ms... of an uplink of 10 MB/s with 5 ms one way: the upload takes 10 ms."""
    inputs = DispatchInputs(edge_ms=edge_ms, cloud_ms=cloud_ms, propagation_ms=5.0)
    decision = Decision(endpoint="cloud", edge_ms=edge_ms, cloud_ms=30.0, reason=reason)
    record = PlacementRecord(frame=0, inputs=inputs, decision=decision)
    estimates = Estimates(
        uplink=Uplink(bytes_per_s=1e7, propagation_s=0.005), budget=HedgeBudget() if budget is None else budget
    )
    flight: Any = SimpleNamespace(upload=sent)
    return Lateness(flight, record, estimates, options or DispatchOptions(margin_ms=5.0), edge_ms)


def test_an_upload_as_expected_is_waited_for() -> None:
    sent = Sent()
    late = watched(sent)
    for ms, acked in ((0, 0), (5, 0), (12, 20_000), (16, 60_000), (20, 100_000)):
        sent.acked_bytes, sent.heard_at = acked, ms / 1e3
        if acked == sent.n_bytes:
            sent.complete_at = ms / 1e3
        assert not late.calls_for_the_edge(ms / 1e3), ms


def test_an_upload_that_stalls_is_not() -> None:
    sent = Sent()
    late = watched(sent)
    sent.acked_bytes, sent.heard_at = 90_000, 0.019
    assert not late.calls_for_the_edge(0.020)
    assert not late.calls_for_the_edge(0.025)
    assert late.calls_for_the_edge(0.050), "most bytes have arrived, and nothing comes any more"


def test_a_slow_upload_is_seen_before_it_is_late() -> None:
    sent = Sent()
    late = watched(sent)
    sent.acked_bytes, sent.heard_at = 16_000, 0.029
    assert late.calls_for_the_edge(0.030), "100 kB will take 100 ms"


def test_a_link_that_becomes_slow_is_seen_by_its_latest_chunks() -> None:
    """60 of 100 kB have come at 10 kB per ms; then 16 kB take 20 ms: the rest takes 9, and the server 10."""
    sent = Sent()
    late = watched(sent, edge_ms=12.0)
    for ms, acked in ((16, 60_000), (36, 76_000)):
        sent.acked_bytes, sent.heard_at = acked, ms / 1e3
        assert late.calls_for_the_edge(ms / 1e3) == (acked == 76_000), ms


def test_a_server_that_is_late_is_late_by_as_much_again() -> None:
    sent = Sent()
    late = watched(sent)
    sent.acked_bytes, sent.complete_at = sent.n_bytes, 0.020
    assert not late.calls_for_the_edge(0.040)
    assert late.calls_for_the_edge(0.060)


def test_without_a_token_only_rescues_are_left() -> None:
    sent = Sent()
    late = watched(sent, budget=replace(HedgeBudget(), tokens=0.0))
    assert not late.calls_for_the_edge(0.240)
    assert late.calls_for_the_edge(0.260)


def test_a_slow_edge_is_called_after_three_quarters_of_its_time() -> None:
    """A chunk is awaited from 10 ms on; without a token, the edge of 400 ms starts after 300."""
    late = watched(Sent(), budget=replace(HedgeBudget(), tokens=0.0), edge_ms=400.0)
    assert not late.calls_for_the_edge(0.295)
    assert late.calls_for_the_edge(0.305)
    assert watched(Sent(), edge_ms=400.0).calls_for_the_edge(0.130), "four times 110 ms"


@pytest.mark.parametrize("cloud_ms", [10.0, 1e9])
def test_a_deadline_does_not_wait_for_a_token(cloud_ms: float) -> None:
    """The edge needs 20 ms, and in 19 of 20 cases at most 27: it has to start at 33 of 60 ms."""
    sent = Sent()
    options = DispatchOptions(margin_ms=1e6, deadline_ms=60.0)
    late = watched(sent, budget=replace(HedgeBudget(), tokens=0.0), cloud_ms=cloud_ms, options=options)
    assert not late.calls_for_the_edge(0.032)
    assert late.calls_for_the_edge(0.034)


def test_the_paper_hedges_nothing_and_answers_all_the_same() -> None:
    late = watched(Sent(), options=DispatchOptions(policy="paper"))
    assert not late.calls_for_the_edge(1.9)
    assert late.calls_for_the_edge(2.1)


def test_a_margin_is_for_choosing_and_not_for_waiting() -> None:
    late = watched(Sent(), options=DispatchOptions(margin_ms=1e9))
    assert late.calls_for_the_edge(0.3)


def test_an_edge_that_was_never_measured() -> None:
    late = watched(Sent(), edge_ms=None, cloud_ms=0.0)
    assert late.calls_for_the_edge(0.3)


def test_a_cloud_that_was_chosen_for_its_energy_is_given_the_time_that_was_expected() -> None:
    sent = Sent()
    assert watched(sent, edge_ms=8.0).calls_for_the_edge(0.0), "30 ms are expected, and the edge takes 8"
    patient = watched(sent, edge_ms=8.0, reason="less energy")
    assert not patient.calls_for_the_edge(0.0)
    assert patient.calls_for_the_edge(0.06), "nothing was heard for 50 ms"


def test_what_waits_before_a_frame_makes_it_late() -> None:
    """Symptom: seconds behind packets of frames that were skipped, of which every one that went was a sign of life."""
    sent = Sent()
    sent.ahead_bytes = 2_000_000
    late = watched(sent)
    found = []
    for ms in range(0, 60, 5):
        sent.heard_at = ms / 1e3
        found.append(late.calls_for_the_edge(ms / 1e3))
        sent.ahead_bytes -= 5_000  # as fast as a slow link takes them
    assert any(found)
