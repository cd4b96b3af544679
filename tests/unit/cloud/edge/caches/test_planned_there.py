"""A server that plans: what the edge guesses of its work."""

from __future__ import annotations

import pytest
import torch

from fluxshard.cloud.edge.caches.planned_there import PlannedThere
from fluxshard.cloud.edge.caches.server_cache import ServerWork
from fluxshard.cloud.edge.estimates import Estimates
from fluxshard.cloud.wire.proto import offload_pb2 as pb

IMAGE = torch.zeros(1, 3, 8, 8)


def captured(cache: PlannedThere) -> ServerWork:
    cache.advance(None)
    return cache.expect(IMAGE)


def ran(cache: PlannedThere, work: ServerWork, ratio: float, *, keyframe: bool = False) -> tuple[float, ...]:
    cache.commit(work)
    return cache.ran(work, pb.Result(compute_ratio=ratio, keyframe=keyframe))


def test_the_first_frame_is_whole_and_says_nothing_of_the_next() -> None:
    estimates = Estimates()
    cache = PlannedThere(3, estimates)
    first = captured(cache)
    assert first.kinds == (1.0, 1.0, 1.0) and first.share == 1.0 and first.proposal is None
    assert not first.order.keyframe and first.order.masks == () and first.motion is None
    assert ran(cache, first, 1.0, keyframe=True) == (1.0, 1.0, 1.0)
    assert estimates.trend.share is None and captured(cache).share == 1.0


def test_work_follows_what_the_server_said_and_the_age_of_its_cache() -> None:
    cache = PlannedThere(2, Estimates())
    ran(cache, captured(cache), 1.0, keyframe=True)
    assert ran(cache, captured(cache), 0.25) == (0.25, 0.25), "latency is learnt of what was done, not of the guess"
    assert captured(cache).kinds == (pytest.approx(0.25),) * 2
    for _ in range(15):
        work = captured(cache)
    assert work.age == 16 and work.share == pytest.approx(0.5)


def test_what_was_not_run_makes_the_cache_no_younger() -> None:
    """Of a frame under way nothing is assumed: the server knows itself what its cache stands for."""
    cache = PlannedThere(1, Estimates())
    assert cache.plans
    ran(cache, captured(cache), 1.0, keyframe=True)
    captured(cache)  # refused, say
    assert captured(cache).age == 2
    late = captured(cache)
    captured(cache)
    ran(cache, late, 0.5)
    assert captured(cache).age == 2, "captured while the answer was on its way"


def test_scenes_that_are_cut_are_not_learnt_from() -> None:
    estimates = Estimates()
    cache = PlannedThere(1, estimates)
    ran(cache, captured(cache), 1.0, keyframe=True)
    ran(cache, captured(cache), 0.2)
    ran(cache, captured(cache), 1.0, keyframe=True)
    assert captured(cache).share == pytest.approx(0.2)


def test_a_cache_that_was_lost_is_computed_anew() -> None:
    cache = PlannedThere(1, Estimates())
    ran(cache, captured(cache), 1.0, keyframe=True)
    ran(cache, captured(cache), 0.2)
    cache.reset()
    assert captured(cache).share == 1.0 and captured(cache).age is None
    assert cache.glance(IMAGE, None) is None  # type: ignore[func-returns-value]
