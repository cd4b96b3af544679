"""RGB pictures of decoded frames. Without torch, since a process that decodes untrusted video imports it."""

from __future__ import annotations

import av
import numpy as np
from av.video.reformatter import Colorspace, VideoReformatter
from numpy.typing import NDArray


def to_picture(frame: av.VideoFrame, reformatter: VideoReformatter) -> NDArray[np.uint8]:
    """Converts a decoded frame to `(h, w, 3)` uint8 RGB, rotated by the container's display matrix.

    Args:
      frame: decoded frame.
      reformatter: reused between frames by the caller, since it is slow to create.
    """
    # RGB has no matrix: naming one makes older PyAV look at the frame's
    colours = {"src_color_range": frame.color_range, "dst_colorspace": Colorspace.DEFAULT}
    try:
        # one thread: a picture takes less than a millisecond, and a sandbox may forbid others
        rgb = reformatter.reformat(frame, format="rgb24", threads=1, **colours)
    except TypeError:  # older PyAV always takes one
        rgb = reformatter.reformat(frame, format="rgb24", **colours)
    picture = np.asarray(rgb.to_ndarray(), np.uint8)
    return np.ascontiguousarray(np.rot90(picture, quarter_turns(frame)))


def quarter_turns(frame: av.VideoFrame) -> int:
    """Number of counterclockwise quarter turns that make the frame upright."""
    return round(frame.rotation / 90) % 4
