"""Video input and output: decoded frames with motion fields, and annotated MP4 files."""

from __future__ import annotations

from fluxshard.video.frame import Frame
from fluxshard.video.letterbox import Letterbox
from fluxshard.video.sources.video_source import VideoSource, open
from fluxshard.video.writer import VideoWriter

__all__ = ["Frame", "Letterbox", "VideoSource", "VideoWriter", "open"]
