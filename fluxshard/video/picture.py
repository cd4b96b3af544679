"""RGB pictures of decoded frames. Without torch, since a process that decodes untrusted video imports it."""

from __future__ import annotations

import av
import numpy as np
from av.video.reformatter import Colorspace, VideoReformatter
from numpy.typing import NDArray

from fluxshard.errors import VideoError
from fluxshard.video.orientation import orientation_of


def to_picture(frame: av.VideoFrame, reformatter: VideoReformatter) -> NDArray[np.uint8]:
    """Converts a decoded frame to `(h, w, 3)` uint8 RGB, turned and mirrored as the display matrix says.

    Args:
      frame, reformatter: as for `to_pixels`.

    Raises:
      VideoError: as `to_pixels`.
    """
    return np.ascontiguousarray(orientation_of(frame).apply(to_pixels(frame, reformatter)))


def to_pixels(frame: av.VideoFrame, reformatter: VideoReformatter) -> NDArray[np.uint8]:
    """Converts a decoded frame to `(h, w, 3)` uint8 RGB, as it is stored.

    Args:
      frame: decoded frame.
      reformatter: reused between frames by the caller, since it is slow to create.

    Raises:
      VideoError: libswscale cannot convert it: its colours are of a kind that is reserved, for one.
    """
    # RGB has no matrix: naming one makes older PyAV look at the frame's
    colours = {"src_color_range": frame.color_range, "dst_colorspace": Colorspace.DEFAULT}
    try:
        try:
            # one thread: a picture takes less than a millisecond, and a sandbox may forbid others
            rgb = reformatter.reformat(frame, format="rgb24", threads=1, **colours)
        except TypeError:  # older PyAV always takes one
            rgb = reformatter.reformat(frame, format="rgb24", **colours)
    except av.FFmpegError as error:
        raise VideoError(
            f"a picture in {frame.format.name} cannot be converted to RGB: its colour space has the number "
            f"{frame.colorspace} and its range {frame.color_range}; encode the video with BT.709 or BT.601"
        ) from error
    return np.asarray(rgb.to_ndarray(), np.uint8)
