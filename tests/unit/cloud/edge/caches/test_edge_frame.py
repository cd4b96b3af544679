"""The edge's own image test is run once at most, and says what it took."""

from __future__ import annotations

import pytest
from torch import Tensor

from fluxshard.cloud.edge.caches.edge_frame import EdgeFrame
from fluxshard.cloud.edge.estimates import Estimates
from fluxshard.options import ReuseOptions
from fluxshard.runtime.endpoints.mirror import Mirror
from fluxshard.runtime.endpoints.policies import edge_policy
from fluxshard.runtime.endpoints.work_order import work_orders
from fluxshard.runtime.offload.latency_model import LatencyModel
from fluxshard.runtime.offload.online_latency import OnlineLatency
from fluxshard.runtime.offload.work_features import work_features
from fluxshard.runtime.reuse.policy import Proposal
from fluxshard.testing.offload.two_places import SIZE, fake_model, moving_frames
from fluxshard.video.frame import Frame

REUSE = ReuseOptions(policy="planned", scene_cut=1.0)


class CountingMirror(Mirror):
    """Counts its proposals."""

    proposed = 0

    def propose(self, image: Tensor) -> Proposal:
        self.proposed += 1
        return super().propose(image)


class Bench:
    """An edge that takes 100 ms for no work, and 200 ms more for all of it."""

    def __init__(self) -> None:
        program = fake_model().program
        self.kinds = 1 + len(work_orders(program.engine.plan, REUSE).levels)
        self.mirror = CountingMirror(edge_policy(program, REUSE), SIZE)
        slopes = (200.0,) + (0.0,) * (self.kinds - 1)
        model = LatencyModel(
            base_ms=100.0, slopes_ms=slopes, knots=((100.0, 100.0), (300.0, 300.0)), error=0.0, samples=8
        )
        self.estimates = Estimates(edge=OnlineLatency.from_profile(model))
        self.frames = iter(moving_frames(20))

    def next(self) -> EdgeFrame:
        frame: Frame = next(self.frames)
        self.mirror.advance(frame.motion)
        return EdgeFrame(self.mirror, frame.image, self.estimates, work_features, self.kinds)


def test_a_frame_is_tested_once() -> None:
    bench = Bench()
    frame = bench.next()
    assert frame.proposal is None and bench.mirror.proposed == 0
    proposal = frame.tested()
    assert frame.tested() is proposal is frame.proposal and frame.commit() is proposal
    assert bench.mirror.proposed == 1 and bench.estimates.test_ms > 0


def test_what_was_not_tested_is_guessed_by_the_age_of_the_cache() -> None:
    bench = Bench()
    first = bench.next()
    assert first.expected_ms() == first.least_ms() == 300, "nothing is cached: everything is computed"
    bench = Bench()
    bench.next().commit()
    bench.estimates.test_ms = 0.0
    assert bench.next().least_ms() == 100, "nothing is known of the video: it may stand still"
    bench.estimates.trend = bench.estimates.trend.after(1, 0.25)
    bench.estimates.test_ms = 10.0
    frame = bench.next()  # a cache of two frames
    likely_ms = 200 * 0.25 * 2**0.25
    assert frame.least_ms() == pytest.approx(110 + likely_ms / 2)
    assert frame.expected_ms() == pytest.approx(110 + likely_ms)
    for _ in range(14):
        frame = bench.next()
    assert frame.expected_ms() == pytest.approx(210), "16 frames: twice the work"
    proposal = frame.tested()
    assert frame.expected_ms() == pytest.approx(100 + 200 * proposal.predicted_work), "the test is over"


def test_what_tests_find_is_learnt_but_not_of_keyframes() -> None:
    bench = Bench()
    bench.next().commit()
    assert bench.estimates.trend.share is None
    proposal = bench.next().commit()
    assert bench.estimates.trend.share == proposal.predicted_work


def test_a_cache_that_was_lost_is_tested_anew() -> None:
    bench = Bench()
    bench.next().commit()
    frame = bench.next()
    assert not frame.tested().keyframe
    frame.lose()
    assert frame.commit().keyframe and bench.mirror.proposed == 3


def test_nothing_is_expected_of_an_edge_that_was_not_measured() -> None:
    bench = Bench()
    bench.estimates.edge = OnlineLatency()
    frame = bench.next()
    assert frame.least_ms() is None and frame.expected_ms() is None
