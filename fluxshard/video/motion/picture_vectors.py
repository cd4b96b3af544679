"""Motion vectors of decoded pictures. Without torch, since a process that decodes untrusted video imports it."""

from __future__ import annotations

from typing import Any

import av
from av.sidedata.motionvectors import MotionVectors
from av.video.frame import PictureType
from numpy.typing import NDArray


def vectors_of(frame: av.VideoFrame) -> NDArray[Any] | None:
    """Structured array of AVMotionVector that a decoded frame carries; None without vectors."""
    side_data = frame.side_data.get("MOTION_VECTORS")
    return side_data.to_ndarray() if isinstance(side_data, MotionVectors) else None


def refers_to_last(frame: av.VideoFrame) -> bool:
    """Whether the vectors of this picture type refer to the previous picture: progressive I and P."""
    return PictureType(frame.pict_type) in (PictureType.I, PictureType.P) and not frame.interlaced_frame
