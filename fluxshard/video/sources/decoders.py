"""Decoders of video files, network streams, cameras and directories of images, as sequences of pictures."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from PIL import ExifTags, Image

from fluxshard.errors import VideoError
from fluxshard.video.h264.sequence_parameters import most_references
from fluxshard.video.h264.source_packets import PicturePackets, SourcePackets, may_be_sent
from fluxshard.video.orientation import orientation_of_exif
from fluxshard.video.picture import to_pixels
from fluxshard.video.sources.reader import DecodedPicture, Reader

IMAGE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"))
IMAGES_FPS = 30.0  # assumed rate of images, which have no time stamps
_CODECS_WITH_VECTORS = frozenset(("h264", "mpeg4"))
_OPEN_TIMEOUT_S, _READ_TIMEOUT_S = 10.0, 10.0


class ContainerReader:
    """Reader of a video file, network stream or camera.

    Args:
      container: container opened for reading.
      name: name of the source in messages.
      strict: whether damage after the first picture is an error.
      live: whether pictures must be decoded without delay.
      vectors: whether to export motion vectors.
      packets: whether to give pictures their packets, if a receiver of the packets can decode the same pictures.

    Raises:
      VideoError: the container has no video stream.
    """

    def __init__(
        self, container: InputContainer, name: str, *, strict: bool, live: bool, vectors: bool, packets: bool
    ) -> None:
        self.name, self.live = name, live
        self._container, self._strict = container, strict
        self._stream = self._pick_stream()
        codec = self._stream.codec_context
        # B-frames, several references: vectors need not refer to the previous picture in presentation order. Where
        # packets are sent on, the receiver finds the motion in them, and has to find the same
        several = not packets and codec.name == "h264" and (most_references(codec.extradata or b"") or 1) > 1
        self.has_vectors = codec.name in _CODECS_WITH_VECTORS and not codec.has_b_frames and not several
        self._vectors = vectors and self.has_vectors
        if self._vectors:
            codec.options = {"flags2": "+export_mvs"}  # must be set before the first picture
        # what was read before the first picture, which tells whether packets can be sent on; None once that is known
        self._read: list[av.Packet[VideoStream]] | None = [] if packets and may_be_sent(self._stream) else None
        self._source_packets: SourcePackets | None = None
        self.carries_packets = False
        # frame threading delays pictures, and vectors are exported from one thread only
        codec.thread_type = "SLICE" if live or self._vectors or self._read is not None else "AUTO"
        rate = self._stream.average_rate or self._stream.guessed_rate
        self.fps = float(rate) if rate else None
        self.frame_count = self._stream.frames or None
        self.time_base: Fraction | None = self._stream.time_base

    def _pick_stream(self) -> VideoStream:
        """First video stream that is not a cover picture."""
        pictures = [
            stream for stream in self._container.streams.video if not stream.disposition & Disposition.attached_pic
        ]
        if pictures:
            return pictures[0]
        others = sorted({stream.type for stream in self._container.streams})
        self._container.close()
        raise VideoError(
            f"video {self.name!r} has no pictures, only: {', '.join(others) or 'nothing'}; "
            "give a file with a video track"
        )

    def frames(self) -> Iterator[DecodedPicture]:
        """Yields pictures; see `Reader`.

        Raises:
          VideoError: no picture decodes, or, in strict mode, the stream is damaged; all pictures before the damage are
            yielded first. Or pictures carry packets, and go out of order.
        """
        count, intact = 0, True
        failure: Exception | None = None
        fatal = False
        packets = self._container.demux(self._stream)
        while not fatal:
            try:
                packet = next(packets, None)
            except (av.FFmpegError, OSError) as error:
                failure, fatal = error, True
                pictures = self._drain()
            else:
                if packet is None:
                    break
                try:
                    pictures = self._decode(packet)
                except av.FFmpegError as error:
                    # errors before the first picture are normal for a stream joined midway
                    failure, fatal, intact = error, self._strict and count > 0, False
                    pictures = self._drain() if fatal else []
            for frame, own in pictures:
                yield DecodedPicture(frame=frame, intact=intact and not frame.is_corrupt, packets=own)
                count, intact = count + 1, True
        why = f": {reason(failure)}" if failure else ""
        if count == 0:
            raise VideoError(f"video {self.name!r} has a video track without a single frame that decodes{why}")
        if fatal and self._strict:
            raise VideoError(
                f"video {self.name!r} is damaged at frame {count}{why}; open it with strict=False to go on"
            )

    def _decode(self, packet: av.Packet[VideoStream]) -> list[PicturePackets]:
        """Pictures of one packet, with the packets to send on if there are any.

        Raises:
          av.FFmpegError: the packet is damaged.
          VideoError: pictures carry packets, and go out of order.
        """
        if self._source_packets is not None:
            return self._source_packets.decode(packet)
        if self._read is not None and packet.size:
            self._read.append(packet)
        pictures = packet.decode()
        if self._read and pictures:
            read, self._read = self._read, None
            found = SourcePackets.continuing(self._stream, self.name, read, pictures[0], motion_vectors=self._vectors)
            if found is not None and len(pictures) == 1:
                self._source_packets, first = found
                self.carries_packets = True
                return [first]
        return [(picture, ()) for picture in pictures]

    def _drain(self) -> list[PicturePackets]:
        """Flushes the decoder and returns its remaining pictures, without packets: what follows them is damaged."""
        if self._source_packets is not None:
            return []  # it has given each picture at once
        with suppress(av.FFmpegError):
            return [(picture, ()) for picture in self._stream.codec_context.decode(None)]
        return []

    def close(self) -> None:
        """Closes the container."""
        self._container.close()


class ImageReader:
    """Reader of image files of equal size.

    Args:
      paths: files in order, at least one.
      name: name of the source in messages.
      fps: frames per second; None takes `IMAGES_FPS`.
    """

    has_vectors = live = False
    carries_packets = False
    time_base: Fraction | None = None

    def __init__(self, paths: list[Path], name: str, *, fps: float | None) -> None:
        self.name = name
        self.fps: float | None = fps or IMAGES_FPS
        self.frame_count: int | None = len(paths)
        self._paths = paths

    def frames(self) -> Iterator[DecodedPicture]:
        """Yields the images; see `Reader`.

        Raises:
          VideoError: an image cannot be read, or has another size than the first.
        """
        first: tuple[int, int] | None = None
        for path in self._paths:
            frame = _read_image(path)
            size = (frame.height, frame.width)
            first = first or size
            if size != first:
                raise VideoError(
                    f"image {str(path)!r} has {size[0]}x{size[1]} px and the first of {self.name!r} "
                    f"{first[0]}x{first[1]} px; give images of one size"
                )
            yield DecodedPicture(frame=frame, intact=True)

    def close(self) -> None:
        """Does nothing: each file is closed after it was read."""


def open_reader(
    source: str | Path | int, *, fps: float | None, strict: bool, vectors: bool, packets: bool = False
) -> Reader:
    """Opens a source of pictures.

    Args:
      source: file, directory, camera number or URL, as for `fluxshard.video.open`.
      fps: frames per second of images.
      strict: whether damage is an error.
      vectors: whether to export motion vectors.
      packets: whether to give pictures the packets that hold them, where these can be sent on.

    Raises:
      VideoError: the source does not exist, cannot be opened or is not a video.
    """
    text = str(source)
    if not text:
        raise VideoError(
            "the source's name is empty; give a video file, a directory of images, a camera number or a URL"
        )
    path = Path(text)
    if text.isdecimal() and (isinstance(source, int) or not path.exists()):
        return _open_camera(int(text), strict=strict, vectors=vectors, packets=packets)
    if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*://", text):
        # UDP loses slices and their motion vectors
        options = {"rtsp_transport": "tcp"} if text.startswith("rtsp") else {}
        container = _open_container(text, None, options, f"video {text!r} cannot be opened")
        return ContainerReader(container, text, strict=strict, live=True, vectors=vectors, packets=packets)
    if path.is_dir():
        images = sorted((entry for entry in path.iterdir() if _is_image(entry)), key=_natural_key)
        if not images:
            raise VideoError(f"directory {text!r} has no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
        return ImageReader(images, text, fps=fps)
    if not path.exists():
        raise VideoError(
            f"video {text!r} does not exist; give a video file, a directory of images, a camera number or a URL"
        )
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return ImageReader([path], text, fps=fps)
    # with a scheme, a colon in the file name is not taken for one
    container = _open_container(f"file:{text}", None, {}, f"video {text!r} cannot be read")
    return ContainerReader(container, text, strict=strict, live=False, vectors=vectors, packets=packets)


def reason(error: Exception) -> str:
    """Message of an error of the system or FFmpeg, on one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())


def _open_container(url: str, format: str | None, options: dict[str, str], failed: str) -> InputContainer:
    """Opens a container with timeouts.

    Args:
      url: URL or device for FFmpeg.
      format: FFmpeg's input format; None probes it.
      options: FFmpeg's options.
      failed: beginning of the error message.

    Raises:
      VideoError: FFmpeg cannot open it.
    """
    try:
        container = av.open(url, "r", format=format, options=options, timeout=(_OPEN_TIMEOUT_S, _READ_TIMEOUT_S))
    except (av.FFmpegError, OSError, ValueError) as error:
        raise VideoError(f"{failed}: {reason(error)}") from error
    assert isinstance(container, InputContainer)
    return container


def _open_camera(number: int, *, strict: bool, vectors: bool, packets: bool) -> Reader:
    """Opens a camera by its number: V4L2 on Linux, AVFoundation on macOS.

    Args:
      number: of the camera.
      strict: whether damage is an error.
      vectors: whether to export motion vectors.
      packets: whether to give pictures the packets that hold them, where these can be sent on.

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
    container = _open_container(url, format, {}, f"{name} ({url}) cannot be opened")
    return ContainerReader(container, name, strict=strict, live=True, vectors=vectors, packets=packets)


def _is_image(entry: Path) -> bool:
    """Whether a directory's entry is a picture: hidden files are what other programs leave beside pictures."""
    return entry.suffix.lower() in IMAGE_SUFFIXES and not entry.name.startswith(".") and entry.is_file()


def _read_image(path: Path) -> av.VideoFrame:
    """Decodes an image file, upright.

    Raises:
      VideoError: it cannot be read.
    """
    try:
        data = path.read_bytes()
        # from memory: FFmpeg interprets "%" in the file name of an image as a pattern
        with av.open(io.BytesIO(data), "r") as container:
            for frame in container.decode(video=0):
                return _upright(frame, data)
    except (av.FFmpegError, OSError, ValueError, IndexError) as error:
        raise VideoError(f"image {str(path)!r} cannot be read: {reason(error)}") from error
    raise VideoError(f"image {str(path)!r} cannot be read: it has no picture")


def _upright(frame: av.VideoFrame, data: bytes) -> av.VideoFrame:
    """The frame as EXIF says that it is shown: PyAV tells no mirrored picture from one that is turned by half."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            orientation = orientation_of_exif(image.getexif().get(ExifTags.Base.Orientation))
    except (OSError, ValueError, SyntaxError):  # a format that only FFmpeg knows, or damage that only it forgives
        return frame
    if orientation.upright:
        return frame
    stored = to_pixels(frame, VideoReformatter())
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(orientation.apply(stored)), format="rgb24")


def _natural_key(path: Path) -> list[tuple[int, str]]:
    """Sort key of natural order: `frame2` before `frame10`."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name)]
