"""What videos, streams and cameras this machine can read."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from fluxshard.diagnostics.check import Check

# what people call it -> decoders of FFmpeg, of which one is enough
_DECODERS = {
    "H.265": ("hevc",),
    "AV1": ("libdav1d", "libaom-av1", "av1"),
    "VP9": ("vp9", "libvpx-vp9"),
    "VP8": ("vp8",),
    "MJPEG": ("mjpeg",),
    "MPEG-4": ("mpeg4",),
    "MPEG-2": ("mpeg2video",),
    "GIF": ("gif",),
}
_FORMATS = {"RTSP": "rtsp", "HLS": "hls", "MPEG-TS": "mpegts"}
_WHEELS = "pip install --force-reinstall --only-binary av av, whose wheels bring them"


def check_codecs() -> Check:
    """Which codecs besides H.264 can be decoded."""
    import av

    lacking = [name for name, codecs in _DECODERS.items() if not any(_has_decoder(av, codec) for codec in codecs)]
    there = ", ".join(name for name in _DECODERS if name not in lacking)
    if lacking:
        seen = f"{there or 'none'}; not {', '.join(lacking)}"
        return Check(name="other decoders", status="warn", seen=seen, advice=_WHEELS)
    return Check(name="other decoders", status="ok", seen=f"{there}; their motion is searched, H.264 brings its own")


def check_streams() -> Check:
    """Which kinds of network streams can be opened."""
    import av

    lacking = [name for name, demuxer in _FORMATS.items() if demuxer not in av.format.formats_available]
    there = ", ".join(name for name in _FORMATS if name not in lacking)
    if lacking:
        seen = f"{there or 'none'}; not {', '.join(lacking)}"
        return Check(name="network streams", status="warn", seen=seen, advice=_WHEELS)
    return Check(name="network streams", status="ok", seen=there)


def check_cameras(root: Path) -> Iterator[Check]:
    """The cameras that `fluxshard.video.open(N)` opens, each with its name and whether this user may read it.

    Args:
      root: where dev/ and sys/ are.
    """
    import av

    found = sorted((root / "dev").glob("video[0-9]*"), key=lambda path: int(re.sub(r"\D", "", path.name) or 0))
    if not found:
        seen = "there is no /dev/video0: no camera, or its driver (uvcvideo) or the container does not show it"
        yield Check(name="cameras", status="missing", seen=seen)
        return
    if "video4linux2,v4l2" not in av.format.formats_available:
        seen = f"{len(found)} in /dev, and this FFmpeg has no v4l2"
        yield Check(name="cameras", status="warn", seen=seen, advice=_WHEELS)
        return
    for path in found:
        number = re.sub(r"\D", "", path.name)
        title = _title(root / "sys/class/video4linux" / path.name / "name")
        seen = f"/dev/{path.name}{f', {title}' if title else ''}"
        if os.access(path, os.R_OK | os.W_OK):
            yield Check(name=f"camera {number}", status="ok", seen=seen)
        else:
            advice = "this user may not open it: usermod -aG video USER, and log in again"
            yield Check(name=f"camera {number}", status="warn", seen=seen, advice=advice)


def _has_decoder(av: object, codec: str) -> bool:
    try:
        av.Codec(codec, "r")  # type: ignore[attr-defined]
    except ValueError:
        return False
    return True


def _title(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""
