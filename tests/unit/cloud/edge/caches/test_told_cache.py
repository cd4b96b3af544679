"""A server that is told its work: the mirror decides, and what it finds is known for other caches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fluxshard.cloud.edge.caches.told_cache import ToldCache
from fluxshard.cloud.edge.estimates import Estimates
from fluxshard.cloud.edge.payload.sparse import Received
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.options import ReuseOptions
from fluxshard.runtime.endpoints.mirror import Mirror
from fluxshard.runtime.endpoints.policies import cloud_policy
from fluxshard.runtime.endpoints.work_order import work_orders
from fluxshard.runtime.offload.work_features import work_features
from fluxshard.testing.offload.two_places import SIZE, moving_frames, small_model

MODEL = small_model()


def made(policy: Any = "planned") -> tuple[ToldCache, Mirror, Estimates]:
    reuse, estimates = ReuseOptions(policy=policy, scene_cut=1.0), Estimates()
    mirror = Mirror(cloud_policy(MODEL.program, reuse, sparse_image=True), SIZE)
    orders = work_orders(MODEL.program.engine.plan, reuse)
    return ToldCache(mirror, orders, work_features, estimates), mirror, estimates


def test_orders_are_those_of_the_mirror() -> None:
    cache, mirror, estimates = made()
    frames = moving_frames(3)
    cache.advance(next(frames).motion)
    first = cache.expect(next(moving_frames(1)).image)
    assert first.order.keyframe and first.share == 1.0 and not cache.plans and estimates.trend.share is None
    cache.commit(first)
    assert not mirror.is_fresh
    frame = next(frames)
    cache.advance(frame.motion)
    work = cache.expect(frame.image)
    proposal = work.proposal
    assert proposal is not None and work.kinds == work_features(proposal) and work.share == proposal.predicted_work
    assert work.order.masks and work.motion is proposal.motion and work.pixels == proposal.input_cells
    assert estimates.trend.share == work.share
    assert cache.ran(work, pb.Result(compute_ratio=0.9)) == work.kinds, "latency is learnt of what was proposed"
    cache.reset()
    assert mirror.is_fresh


@pytest.mark.parametrize("policy", ["planned", "propagated"])
def test_a_lossy_payload_changes_pixels_and_not_the_order(policy: str) -> None:
    cache, _, _ = made(policy)
    frame = next(moving_frames(1))
    cache.advance(None)
    work = cache.expect(frame.image)
    assert cache.sent(work, None) is work
    seen = cache.sent(work, Received(pixels=np.zeros((*SIZE, 3), np.uint8), digest=1))
    assert seen.order is work.order and seen.kinds == work.kinds
    cache.commit(seen)
