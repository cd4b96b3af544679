"""What a stream learns of both endpoints and the link."""

from __future__ import annotations

import math

import pytest

from fluxshard.cloud.edge.estimates import Estimates
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.runtime.offload.latency_model import LatencyModel
from fluxshard.runtime.offload.online_latency import OnlineLatency
from fluxshard.runtime.offload.pacing import CHUNK_BYTES, MOST_CHUNK_BYTES
from fluxshard.runtime.offload.uplink import MIN_SAMPLE_BYTES


def test_nothing_is_known_at_first() -> None:
    estimates = Estimates()
    assert estimates.edge.predict_ms((0.5,)) is None and estimates.cloud_ms((0.5,)) is None
    assert estimates.bytes_per_ms is None and estimates.budget.allows


def test_the_rate_before_a_payload_was_large_enough_to_tell() -> None:
    estimates = Estimates()
    estimates.cloud_ran((0.5,), pb.Result(upload_bytes=100, upload_ms=1.0), 1.0, 0.02)
    assert estimates.uplink.bytes_per_s is None
    assert estimates.bytes_per_ms == pytest.approx(MIN_SAMPLE_BYTES / 10.0)
    estimates.cloud_ran((0.5,), pb.Result(upload_bytes=100_000, upload_ms=50.0), 2.0, None)
    assert estimates.bytes_per_ms == pytest.approx(2000.0) and estimates.uplink.last_sent_s == 2.0


@pytest.mark.parametrize(
    ("bytes_per_ms", "chunk"),
    [(100, CHUNK_BYTES), (4000, CHUNK_BYTES), (8000, 32_000), (15_000, 60_000), (100_000, MOST_CHUNK_BYTES)],
)
def test_chunks_are_what_the_uplink_takes_in_some_milliseconds(bytes_per_ms: float, chunk: int) -> None:
    estimates = Estimates()
    assert estimates.chunk_bytes == CHUNK_BYTES
    estimates.cloud_ran((0.5,), pb.Result(upload_bytes=100 * bytes_per_ms, upload_ms=100.0), 1.0, None)
    assert estimates.chunk_bytes == chunk


def test_both_endpoints_are_learnt_from_what_they_took() -> None:
    estimates = Estimates()
    for index in range(16):
        work = (index / 16,)
        estimates.edge_ran(work, 10 + 20 * work[0], estimates.edge.predict_ms(work))
        result = pb.Result(decode_ms=1.0, inference_ms=2 + 4 * work[0], answer_ms=1.0, queue_ms=500.0)
        estimates.cloud_ran(work, result, 1.0, None)
    assert estimates.edge.predict_ms((0.5,)) == pytest.approx(20.0, rel=0.1)
    assert estimates.cloud_ms((0.5,)) == pytest.approx(6.0, rel=0.1), "a queue is no latency of the server"
    assert estimates.edge.frames == estimates.cloud.frames == 16


def test_quantiles_follow_what_was_expected() -> None:
    estimates = Estimates()
    before = estimates.edge_quantiles.q95
    for _ in range(50):
        estimates.edge_ran((0.5,), 40.0, 10.0)
        estimates.cloud_answered(40.0, 10.0)
    assert estimates.edge_quantiles.q95 > before and estimates.cloud_quantiles.q95 > before
    assert estimates.rest_ms > 20.0
    for _ in range(100):
        estimates.cloud_answered(5.0, 40.0)
    assert estimates.rest_ms == 0.0, "an answer cannot come before it was sent"
    estimates.cloud_answered(5.0, None)


def test_what_the_uplink_learns_is_not_learnt_twice() -> None:
    """A stall of a second: only the 10 ms that the link does not explain are expected of the next frame."""
    estimates = Estimates()
    estimates.cloud_answered(1050.0, 40.0, upload_late_ms=1000.0)
    assert estimates.rest_ms == pytest.approx(0.2 * 10.0)


def test_encoding_is_a_running_mean() -> None:
    estimates = Estimates()
    estimates.encoded(10.0)
    assert estimates.encode_ms == 10.0
    estimates.encoded(20.0)
    assert estimates.encode_ms == pytest.approx(12.0)


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_times_that_say_nothing(value: float) -> None:
    estimates = Estimates()
    estimates.edge_ran((0.5,), value, value)
    estimates.cloud_ran((0.5,), pb.Result(inference_ms=value, upload_bytes=100_000, upload_ms=value), 1.0, value)
    assert estimates.edge.frames == estimates.cloud.frames == 0
    assert estimates.bytes_per_ms is None and math.isfinite(estimates.edge_quantiles.q95)


def test_a_profile_of_other_kinds_of_work_is_dropped() -> None:
    """Symptom: a server that was profiled under another policy made every frame of the edge raise an error."""
    profile = LatencyModel(base_ms=1.0, slopes_ms=(1.0, 2.0), knots=((0.0, 1.0), (1.0, 2.0)), error=0.0, samples=8)
    estimates = Estimates(cloud=OnlineLatency.from_profile(profile))
    assert estimates.cloud_ms((0.5, 0.5)) is not None
    assert estimates.cloud_ms((0.5,)) is None and estimates.cloud.model is None
    estimates.cloud_ran((0.5,), pb.Result(inference_ms=1.0), 1.0, None)
    assert estimates.cloud.frames == 1


def test_a_server_that_may_answer() -> None:
    """Both ends as fast, and 20 ms between them: there is nothing to be had from it, once that is known."""
    knots = ((5.0, 5.0), (60.0, 60.0))
    profile = OnlineLatency.from_profile(
        LatencyModel(base_ms=5.0, slopes_ms=(55.0,), knots=knots, error=0.0, samples=2)
    )
    estimates = Estimates(edge=profile)
    assert estimates.server_may_answer(1, 5.0), "it was not measured"
    estimates.cloud = profile
    estimates.uplink = estimates.uplink.after_round_trip(0.04)
    assert not estimates.server_may_answer(1, 5.0)
    for _ in range(30):
        estimates.edge_ran((0.1,), 105.0, estimates.edge.predict_ms((0.1,)))
    assert estimates.server_may_answer(1, 5.0), "the edge has become ten times slower"
