"""Frames of a session in two places: images as frames, and statistics of what became of them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fluxshard.cloud.edge.two_places import TwoPlacesAnswer
from fluxshard.errors import ShapeError
from fluxshard.motion import MotionField
from fluxshard.runtime.stats import FrameStats
from fluxshard.video.frame import Frame
from fluxshard.video.letterbox import Letterbox, to_image


def frame_of(image: Tensor, motion: MotionField | None, index: int) -> Frame:
    """An image as a frame of a video.

    Raises:
      ShapeError: it is none, or its values are not whole steps of 1/255: they could not be sent as they are.
    """
    types = torch.float32, torch.uint8
    if not isinstance(image, Tensor) or image.dim() != 4 or image.shape[:2] != (1, 3) or image.dtype not in types:
        seen = f"{tuple(image.shape)} {image.dtype}" if isinstance(image, Tensor) else type(image).__name__
        raise ShapeError(f"image is {seen}; expected a frame of a video, or (1, 3, H, W) torch.float32 or torch.uint8")
    if motion is not None:
        motion.check_covers(image.shape[2], image.shape[3])
    pixels = np.ascontiguousarray(image[0].permute(1, 2, 0).cpu().numpy())
    if image.dtype == torch.float32:
        pixels = np.rint(pixels * np.float32(255)).astype(np.uint8)
    if image.dtype == torch.float32 and not torch.equal(to_image(pixels), image.cpu()):
        raise ShapeError("image has values that are not whole steps of 1/255 in 0..1: pass frames of fluxshard.video")
    size = (pixels.shape[0], pixels.shape[1])
    return Frame(motion, index, 0.0, "given", Letterbox(size, size), pixels, pixels)


def checked_frame(frame: object) -> Frame:
    """A frame of a video, where an image alone does not do.

    Raises:
      ShapeError: it is none.
    """
    if not isinstance(frame, Frame):
        raise ShapeError(f"frame is a {type(frame).__name__}; expected a frame of a video: see fluxshard.video.open")
    return frame


def frame_stats(answer: TwoPlacesAnswer, size: tuple[int, int]) -> FrameStats:
    """Statistics of a frame of (H, W) = `size` pixels."""
    record, ran, cloud = answer.record, answer.ran, answer.cloud
    raw_bytes = 3 * size[0] * size[1]
    placement = record.answered_by
    keyframe, recompute, compute, inference, server_pre, layers = False, 0.0, 0.0, 0.0, 0.0, 0
    if ran is not None:
        keyframe, recompute = ran.counts.keyframe, ran.counts.input_cells / (size[0] * size[1])
        compute, inference, layers = ran.compute_ratio, ran.inference_ms, int(ran.counts.executed.sum())
    elif cloud is not None:
        result = cloud.result
        keyframe, recompute, compute = result.keyframe, result.work, result.compute_ratio
        inference, server_pre = result.inference_ms, result.queue_ms + result.decode_ms
    post = ran.post_ms if ran is not None else 0.0 if cloud is None else cloud.result.answer_ms
    rest = max(0.0, record.latency_ms - answer.pre_ms - answer.edge_wait_ms - inference - server_pre - post)
    return FrameStats(
        frame=record.frame,
        keyframe=keyframe,
        recompute_ratio=min(1.0, recompute),
        compute_ratio=compute,
        tx_ratio=record.bytes_sent / raw_bytes,
        latency_ms=record.latency_ms,
        edge_pre_ms=answer.pre_ms + answer.edge_wait_ms,
        server_pre_ms=server_pre,
        transmission_ms=rest if cloud is not None else 0.0,
        inference_ms=inference,
        post_ms=post + (0.0 if cloud is not None else rest),
        overhead_ms=0.0,
        motion_source="given",
        placement=placement,
        bytes_sent=record.bytes_sent,
        layers_executed=layers,
    )
