"""Which frames of a video are run: all of them, or the newest whenever there is time for one."""

from __future__ import annotations

from typing import Literal

from fluxshard.video import VideoSource
from fluxshard.video.live.background import NewestFrames
from fluxshard.video.live.paced import PacedFrames

Frames = Literal["auto", "every", "newest"]


def supply(source: VideoSource, frames: Frames, *, pace: bool) -> NewestFrames | PacedFrames:
    """The frames to run; a context manager.

    Args:
      source: of the frames, open.
      frames: "every" or "newest"; "auto" takes the newest of what is live.
      pace: a file's frames come at their own times, as a camera's do.
    """
    newest = frames == "newest" or (frames == "auto" and (source.is_live or pace))
    paced = PacedFrames(source, at_times=pace and not source.is_live)
    return NewestFrames(paced) if newest else paced
