"""Video input and output: decoded frames with motion fields, and annotated MP4 files."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fluxshard.video.frame import Frame as Frame
    from fluxshard.video.letterbox import Letterbox as Letterbox
    from fluxshard.video.live.live_source import LiveSource as LiveSource
    from fluxshard.video.live.live_source import open_live as open_live
    from fluxshard.video.live.options import LiveOptions as LiveOptions
    from fluxshard.video.live.stats import LiveStats as LiveStats
    from fluxshard.video.packet import Packet as Packet
    from fluxshard.video.packet import PacketStream as PacketStream
    from fluxshard.video.sources.video_source import VideoSource as VideoSource
    from fluxshard.video.sources.video_source import open as open
    from fluxshard.video.writer import VideoWriter as VideoWriter

# public name -> where it lives; loaded on first use, since a process that decodes untrusted video imports parts of this
# package and must not load torch
_HOMES = {
    "Frame": "frame",
    "Letterbox": "letterbox",
    "LiveOptions": "live.options",
    "LiveSource": "live.live_source",
    "LiveStats": "live.stats",
    "Packet": "packet",
    "PacketStream": "packet",
    "VideoSource": "sources.video_source",
    "VideoWriter": "writer",
    "open": "sources.video_source",
    "open_live": "live.live_source",
}

__all__ = [
    "Frame",
    "Letterbox",
    "LiveOptions",
    "LiveSource",
    "LiveStats",
    "Packet",
    "PacketStream",
    "VideoSource",
    "VideoWriter",
    "open",
    "open_live",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
