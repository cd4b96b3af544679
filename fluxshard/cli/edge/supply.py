"""Which frames of a video are run: all of them, or the newest whenever there is time for one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from fluxshard import video
from fluxshard.video import LiveOptions, LiveSource, VideoSource
from fluxshard.video.live.background import NewestFrames
from fluxshard.video.live.paced import PacedFrames
from fluxshard.video.motion.motion_tracker import Vectors

Frames = Literal["auto", "every", "newest"]


def opened(
    source: str,
    frames: Frames,
    *,
    live: bool,
    size: tuple[int, int],
    max_frames: int | None,
    packets: bool,
    vectors: Vectors = "auto",
    stopped: Callable[[], bool],
) -> VideoSource | LiveSource:
    """Opens a video; a live one is opened again whenever it breaks off.

    Args:
      source, size, max_frames, packets, vectors: as for `fluxshard.video.open`.
      frames: as for `supply`.
      live: whether it is live.
      stopped: whether somebody wants an end.

    Raises:
      VideoError: it cannot be opened.
    """
    if not live:
        return video.open(source, size=size, max_frames=max_frames, packets=packets, vectors=vectors)
    options = LiveOptions(frames="newest" if frames == "auto" else frames)
    return video.open_live(
        source, live=options, size=size, max_frames=max_frames, packets=packets, vectors=vectors, stopped=stopped
    )


def supply(source: VideoSource | LiveSource, frames: Frames, *, pace: bool) -> NewestFrames | PacedFrames | LiveSource:
    """The frames to run; a context manager.

    Args:
      source: of the frames, open.
      frames: "every" or "newest"; "auto" takes the newest of what is live.
      pace: a file's frames come at their own times, as a camera's do.
    """
    if isinstance(source, LiveSource):
        return source  # it reads by itself
    newest = frames == "newest" or (frames == "auto" and (source.is_live or pace))
    paced = PacedFrames(source, at_times=pace and not source.is_live)
    return NewestFrames(paced) if newest else paced
