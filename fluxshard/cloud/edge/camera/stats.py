"""Statistics of a frame that only a server can have run."""

from __future__ import annotations

import math

from fluxshard.cloud.edge.connection.upload import Answered
from fluxshard.cloud.edge.placement import PlacementRecord
from fluxshard.runtime.stats import FrameStats


def camera_stats(
    record: PlacementRecord, answered: Answered | None, size: tuple[int, int], *, pre_ms: float
) -> FrameStats:
    """Statistics of a frame; NaN for what is not known of one that was not answered.

    Args:
      record: what became of it.
      answered: the server's answer, where there is one.
      size: (H, W) of the image.
      pre_ms: until it was handed to the link.
    """
    result = None if answered is None else answered.result
    inference_ms = server_ms = answer_ms = 0.0
    if result is not None:
        inference_ms, server_ms, answer_ms = result.inference_ms, result.queue_ms + result.decode_ms, result.answer_ms
    return FrameStats(
        frame=record.frame,
        keyframe=result is not None and result.keyframe,
        recompute_ratio=math.nan if result is None else min(1.0, result.work),
        compute_ratio=math.nan if result is None else result.compute_ratio,
        tx_ratio=record.bytes_sent / (3 * size[0] * size[1]),
        latency_ms=record.latency_ms,
        edge_pre_ms=pre_ms,
        server_pre_ms=server_ms,
        transmission_ms=max(0.0, record.latency_ms - pre_ms - inference_ms - server_ms - answer_ms),
        inference_ms=inference_ms,
        post_ms=answer_ms,
        overhead_ms=0.0,
        motion_source="none",
        placement=record.answered_by,
        bytes_sent=record.bytes_sent,
        layers_executed=0,
    )
