"""Opens the reader that a source needs: a file, a directory, a camera or a stream."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from fluxshard.errors import VideoError
from fluxshard.video.sources.container_reader import ContainerReader, Reading, open_container
from fluxshard.video.sources.failures import reason
from fluxshard.video.sources.image_reader import IMAGE_SUFFIXES, ImageReader, is_image, natural_key
from fluxshard.video.sources.reader import Reader

Transport = Literal["tcp", "udp"]
TIMEOUT_S = 10.0
# pictures come by the sender's clock over these; other streams wait for whoever reads them
_PACED_SCHEMES = frozenset(("rtsp", "rtsps", "rtp", "udp", "srt", "rtmp", "rtmps"))
_ENDLESS_SCHEMES = _PACED_SCHEMES | {"http", "https"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is wanted of a source.

    Attributes:
      fps: frames per second of images.
      strict: whether damage is an error; None: of files, but not of cameras and streams.
      vectors: whether to export motion vectors.
      packets: whether to give pictures the packets that hold them, where these can be sent on.
      timeout_s: longest time without an answer.
      transport: what RTSP comes over.
    """

    fps: float | None = None
    strict: bool | None = None
    vectors: bool = True
    packets: bool = False
    timeout_s: float = TIMEOUT_S
    transport: Transport = "tcp"

    def reading(self, name: str, *, live: bool) -> Reading:
        """How a container is read for that."""
        return Reading(
            name=name,
            strict=not live if self.strict is None else self.strict,
            live=live,
            vectors=self.vectors,
            packets=self.packets,
            timeout_s=self.timeout_s,
        )


def open_reader(source: str | Path | int, wanted: Wanted) -> Reader:
    """Opens a source of pictures.

    Args:
      source: file, directory, camera or URL, as for `fluxshard.video.open`.
      wanted: of it.

    Raises:
      VideoError: the source does not exist, cannot be opened or is not a video.
    """
    text = str(source)
    if not text:
        raise VideoError(
            "the source's name is empty; give a video file, a directory of images, a camera number or a URL"
        )
    scheme = re.match(r"([a-zA-Z][a-zA-Z0-9+.-]*)://", text)
    if scheme:
        return _open_stream(text, scheme[1].lower(), wanted)
    if isinstance(source, int) and text.isdecimal():
        return _open_camera(source, wanted)
    try:
        return _open_path(text, wanted)
    except OSError as error:  # of looking at what there is: its folder may be closed to this user, or its name too long
        raise VideoError(
            f"video {text!r} cannot be read: {reason(error)}; give a video file, a directory of images, a camera "
            "number or a URL"
        ) from error


def _open_path(text: str, wanted: Wanted) -> Reader:
    """Opens what a path leads to, or the camera of a number that none has.

    Raises:
      VideoError: it does not exist, cannot be opened or is not a video.
      OSError: the system does not say what is there.
    """
    path = Path(text)
    if text.isdecimal() and not path.exists():
        return _open_camera(int(text), wanted)
    if path.is_char_device():
        return _open_device(text, "v4l2", f"camera {text!r}", wanted)
    if path.is_dir():
        images = sorted((entry for entry in path.iterdir() if is_image(entry)), key=natural_key)
        if not images:
            raise VideoError(f"directory {text!r} has no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
        return ImageReader(images, text, fps=wanted.fps, strict=wanted.strict is not False)
    if not path.exists():
        raise VideoError(
            f"video {text!r} does not exist; give a video file, a directory of images, a camera number or a URL"
        )
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return ImageReader([path], text, fps=wanted.fps, strict=wanted.strict is not False)
    # with a scheme, a colon in the file name is not taken for one
    container = open_container(f"file:{text}", None, {}, f"video {text!r} cannot be read", wanted.timeout_s)
    return ContainerReader(container, wanted.reading(text, live=False))


def _open_stream(url: str, scheme: str, wanted: Wanted) -> Reader:
    """Opens a URL.

    Raises:
      VideoError: it cannot be opened.
    """
    options: dict[str, str] = {"rtsp_transport": wanted.transport} if scheme in ("rtsp", "rtsps") else {}
    container = open_container(url, None, options, f"video {url!r} cannot be opened", wanted.timeout_s)
    how = replace(wanted.reading(url, live=True), paced=scheme in _PACED_SCHEMES, endless=scheme in _ENDLESS_SCHEMES)
    return ContainerReader(container, how)


def _open_camera(number: int, wanted: Wanted) -> Reader:
    """Opens a camera by its number: V4L2 on Linux, AVFoundation on macOS.

    Raises:
      VideoError: the camera cannot be opened, or the system is another one.
    """
    name = f"camera {number}"
    if sys.platform.startswith("linux"):
        url, format = f"/dev/video{number}", "v4l2"
    elif sys.platform == "darwin":
        url, format = str(number), "avfoundation"
    else:
        raise VideoError(f"{name}: cameras are opened by number on Linux and macOS; give the URL of a stream here")
    return _open_device(url, format, name, wanted)


def _open_device(url: str, format: str, name: str, wanted: Wanted) -> Reader:
    """Opens a camera.

    Raises:
      VideoError: it cannot be opened.
    """
    where = "" if url in name else f" ({url})"
    container = open_container(url, format, {}, f"{name}{where} cannot be opened", wanted.timeout_s)
    return ContainerReader(container, replace(wanted.reading(name, live=True), paced=True, endless=True))
