"""Opens a video and iterates over its frames."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import get_args

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from fluxshard.errors import VideoError
from fluxshard.motion import MotionField, MotionSource
from fluxshard.options import is_number
from fluxshard.video.frame import Frame
from fluxshard.video.h264.stream_encoder import StreamEncoder
from fluxshard.video.letterbox import Letterbox
from fluxshard.video.motion.motion_tracker import MotionTracker, Vectors
from fluxshard.video.orientation import Orientation, orientation_of
from fluxshard.video.packet import Packet, PacketStream
from fluxshard.video.picture import to_picture
from fluxshard.video.sources.decoders import TIMEOUT_S, Transport, Wanted, open_reader
from fluxshard.video.sources.frame_clock import FrameClock
from fluxshard.video.sources.image_reader import ImageReader
from fluxshard.video.sources.reader import DecodedPicture, Reader

_TICK_SLACK = 1e-6  # time stamps are rounded to the container's time base


def open(
    source: str | Path | int,
    *,
    size: tuple[int, int] | None = None,
    max_frames: int | None = None,
    fps: float | None = None,
    stride: int = 1,
    vectors: Vectors = "auto",
    strict: bool | None = None,
    packets: bool = False,
    timeout_s: float = TIMEOUT_S,
    transport: Transport = "tcp",
) -> VideoSource:
    """Opens a video: a single-pass iterator over frames with motion, which must be closed.

    Args:
      source: path of a video file or image; directory of images of equal size, in natural order of their names; camera
        by its number or path (/dev/video0); URL of a stream (rtsp, http, HLS, tcp and others that FFmpeg reads).
      size: (H, W) of the frames' images; None does not scale pictures and pads them to multiples of 32 px.
      max_frames: maximum number of frames; None yields all.
      fps: largest rate of yielded frames per second, others are dropped; for images, which have no time stamps, their
        frame rate (default 30).
      stride: yields every `stride`-th frame, starting with the first.
      vectors: where motion comes from. "auto": the stream's own vectors where each refers to the frame before (H.264
        with one reference and MPEG-4, without B-frames, progressive, upright), otherwise a search in the images
        (`MotionEstimator`); "codec": nothing but the stream's; "search": nothing but a search; "encode": the vectors of
        a fast encoder that the images go through; "none": no motion.
      strict: whether damage is an error, raised after all frames before it were yielded, also where a decoder has
        filled in what it could not read. False leaves out damaged frames, counts them in `damaged`, and ends without
        error. None: damage is an error of files, and not of cameras and streams.
      packets: whether frames carry H.264 packets, from which another machine decodes the same pictures. They are those
        of the source where it is H.264 of 8 bits without B-frames, one upright picture in each packet, and `vectors` is
        not "encode". Otherwise the letterboxed pictures are encoded; frames then have the pixels that were decoded from
        their packets, and their motion from the same encoder ("auto", "encode").
      timeout_s: longest time in seconds without an answer from a camera or stream.
      transport: what RTSP comes over: "tcp", or "udp", which loses packets instead of delaying them.

    Raises:
      VideoError: the source is missing, damaged, has no pictures or cannot be opened; or an argument is out of range;
        or packets are asked for that nothing here can encode.
    """
    _check_at_least("stride", stride, 1)
    _check_at_least("max_frames", max_frames, 1)
    if fps is not None and not (is_number(fps) and fps > 0):
        raise VideoError(f"fps (={fps!r}) must be a finite number above 0")
    if vectors not in get_args(Vectors):
        raise VideoError(f"vectors (={vectors!r}) must be one of {', '.join(map(repr, get_args(Vectors)))}")
    if not (is_number(timeout_s) and timeout_s > 0):
        raise VideoError(f"timeout_s (={timeout_s}) must be a finite number of seconds above 0")
    if transport not in get_args(Transport):
        raise VideoError(f"transport (={transport!r}) must be one of {', '.join(map(repr, get_args(Transport)))}")
    if size is not None:
        Letterbox((1, 1), size)  # says what is wrong with a size before anything is opened
    wanted = Wanted(
        fps=fps,
        strict=strict,
        vectors=vectors in ("auto", "codec"),
        packets=packets and vectors != "encode",
        timeout_s=timeout_s,
        transport=transport,
    )
    reader = open_reader(source, wanted)
    is_images = isinstance(reader, ImageReader)
    return VideoSource(
        reader,
        size,
        max_frames=max_frames,
        fps=None if is_images else fps,
        stride=stride,
        vectors=vectors,
        packets=packets,
    )


class VideoSource:
    """Single-pass iterator over the frames of a video in presentation order; made by `fluxshard.video.open`.

    Closes itself after the last frame and on errors; as a context manager, also on early exit.

    Attributes:
      size: (H, W) of the frames' images.
      picture_size: (h, w) of the upright pictures; where it changes in the stream, of those that came last.
      pixel_aspect: width over height of the upright pictures' pixels as they are shown; where it changes, of those that
        came last.
      fps: rate of the yielded frames; None where unknown.
      frame_count: number of frames that will be yielded; None where unknown.
      letterbox: placement of pictures in images; where their size changes, of those that came last.
      is_live: frames come when they happen, as from a camera, and not when they are asked for.
      is_paced: they come by the sender's clock, and are lost or grow old where nobody takes them.
      is_endless: its end is that of a connection, and not of the video.
      packet_stream: what the frames' packets have in common; None where they carry none.
    """

    def __init__(
        self,
        reader: Reader,
        size: tuple[int, int] | None,
        *,
        max_frames: int | None,
        fps: float | None,
        stride: int,
        vectors: Vectors,
        packets: bool,
    ) -> None:
        self._reader = reader
        self._frames = reader.frames()
        self._encoder: StreamEncoder | None = None
        try:
            self._first: DecodedPicture | None = next(self._frames)
            self._padded = size is None
            self._lay_out(self._first, size)
            if packets and not reader.carries_packets:
                self._encoder = StreamEncoder(self.letterbox.size)
            self._encoder_moves = self._encoder is not None and vectors in ("auto", "encode")
            self._vectors: Vectors = "none" if self._encoder_moves else vectors
        except BaseException:
            reader.close()
            raise
        self.size = self.letterbox.size
        self._max_frames, self._max_fps, self._stride = max_frames, fps, stride
        rate = reader.fps / stride if reader.fps else None
        self.fps = rate if fps is None else min(fps, rate or fps)
        self.frame_count = self._expected_frames()
        self.is_live, self.is_paced, self.is_endless = reader.live, reader.paced, reader.endless
        self.packet_stream: PacketStream | None = None
        if self._encoder is not None:
            self.packet_stream = PacketStream(picture_size=self.size, encoded_here=True, fps=self.fps)
        elif packets:
            self.packet_stream = PacketStream(picture_size=self.picture_size, encoded_here=False, fps=reader.fps)
        self._packets: list[Packet] = []  # of the source, since the last yielded frame
        self._reformatter = VideoReformatter()
        self._position = 0  # of the next picture to decode
        self._yielded = 0
        self._tick = -1
        self._anew = False  # since the last yielded frame
        self._clock = FrameClock(reader.time_base, reader.fps)
        self._open = True

    @property
    def damaged(self) -> int:
        """Frames that were left out so far, since they or parts of them could not be decoded."""
        return self._reader.damaged

    @property
    def shown_size(self) -> tuple[int, int]:
        """(h, w) of the upright pictures as they are shown, in square pixels."""
        (height, width), aspect = self.picture_size, self.pixel_aspect
        return (height, round(width * aspect)) if aspect >= 1 else (round(height / aspect), width)

    def __iter__(self) -> Iterator[Frame]:
        """Returns itself; a second iteration continues the first."""
        return self

    def __next__(self) -> Frame:
        """Returns the next frame.

        Raises:
          VideoError: the source is damaged here.
        """
        while self._open and (self._max_frames is None or self._yielded < self._max_frames):
            frame = self._decode()
            if frame is None:
                break
            index = self._position - 1
            time_s = self._clock.time_of(frame, index)
            if not self._is_wanted(index, time_s):
                continue
            try:
                picture = to_picture(frame, self._reformatter)
                pixels, motion, motion_source, packets = self._finish(self.letterbox.place(picture))
            except BaseException:
                self.close()
                raise
            self._yielded += 1
            anew, self._anew = self._anew, False
            return Frame(
                motion,
                index,
                time_s,
                motion_source,
                self.letterbox,
                picture,
                pixels,
                packets,
                packets[-1].number if packets else None,
                starts_anew=anew,
            )
        self.close()
        raise StopIteration

    def fit(self, size: tuple[int, int]) -> None:
        """Makes the images of another size, before the first frame is taken: what fits is known once it is open.

        Args:
          size: as for `open`.

        Raises:
          VideoError: a size that images cannot have, frames have been taken, or they carry packets.
        """
        if self._position or self.packet_stream is not None or self._first is None:
            raise VideoError(
                f"video {self._reader.name!r} is fitted before its first frame, and without packets: open it with "
                f"size={size}"
            )
        self._padded = size is None
        self._lay_out(self._first, size)
        self.size = self.letterbox.size

    def skip(self, count: int) -> int:
        """Drops the next `count` pictures; the motion of the next frame still refers to the last yielded one.

        Returns:
          number of dropped pictures, below `count` at the end of the video.

        Raises:
          VideoError: the source is damaged here.
        """
        for dropped in range(count):
            frame = self._decode() if self._open else None
            if frame is None:
                return dropped
            self._clock.time_of(frame, self._position - 1)
        return count

    def request_keyframe(self) -> bool:
        """Makes the packet of the next frame a keyframe, where packets are encoded here.

        Returns:
          whether it will be one; a source's own packets come as they are.
        """
        if self._encoder is None:
            return False
        self._encoder.request_keyframe()
        return True

    def close(self) -> None:
        """Closes the source and ends the iteration."""
        self._open = False
        self._first = None
        self._reader.close()

    def __enter__(self) -> VideoSource:
        """Returns itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the source."""
        self.close()

    def _decode(self) -> av.VideoFrame | None:
        """Decodes the next picture; None at the end.

        Raises:
          VideoError: the source is damaged here, or the shape of its pictures changes and its packets are sent on.
        """
        try:
            taken = self._first or next(self._frames, None)
            self._first = None
            if taken is None:
                return None
            frame = taken.frame
            if _shape(taken) != (self._coded_size, self._orientation, self._coded_aspect):
                self._change(taken)
            self._motion().decoded(frame, intact=taken.intact, refers=taken.refers_to_last)
        except BaseException:
            self.close()
            raise
        self._packets += taken.packets
        self._position += 1
        return frame

    def _lay_out(self, taken: DecodedPicture, size: tuple[int, int] | None) -> None:
        """Takes size, orientation and aspect of the pictures from one, and places them in images of a size."""
        self._coded_size, self._orientation, self._coded_aspect = _shape(taken)
        self.picture_size = self._orientation.size(*self._coded_size)
        aspect = self._coded_aspect
        self.pixel_aspect = 1 / aspect if self._orientation.transposed else aspect
        self.letterbox = Letterbox(self.picture_size, size, self.pixel_aspect)
        self._tracker: MotionTracker | None = None

    def _motion(self) -> MotionTracker:
        """Of the pictures since they were laid out."""
        if self._tracker is None:
            usable = self._reader.has_vectors and self._orientation.upright
            self._tracker = MotionTracker(self.letterbox, self._vectors, has_vectors=usable)
        return self._tracker

    def _change(self, taken: DecodedPicture) -> None:
        """Goes over to pictures of another size, orientation or aspect, in images of the same size.

        Raises:
          VideoError: the source's packets are sent on, and their receiver knows one shape only.
        """
        (height, width), orientation, aspect = _shape(taken)
        alike = ((height, width), orientation) == (self._coded_size, self._orientation)
        if self._reader.carries_packets:
            what = f"changes from {self._coded_size[0]}x{self._coded_size[1]} to {height}x{width} px"
            if alike:
                what = f"changes the width of its pixels from {self._coded_aspect} to {aspect} times their height"
            elif (height, width) == self._coded_size:
                what = "is turned or mirrored in another way"
            raise VideoError(f"video {self._reader.name!r} {what} at frame {self._position}; open it again from there")
        # without a size that was asked for, pixels are not scaled, whatever their aspect
        self._lay_out(taken, None if self._padded and alike else self.size)
        self._anew = True

    def _finish(
        self, pixels: NDArray[np.uint8]
    ) -> tuple[NDArray[np.uint8], MotionField | None, MotionSource, tuple[Packet, ...]]:
        """Pixels of the frame that is yielded, its motion, where that comes from, and its packets.

        Raises:
          VideoError: an encoder failed.
        """
        if self._encoder is None:
            packets, self._packets = tuple(self._packets), []
            return pixels, *self._motion().yielded(pixels), packets
        encoded = self._encoder.encode(pixels)
        if self._encoder_moves:
            found = encoded.motion
            return encoded.pixels, found, "none" if found is None else "encoder", (encoded.packet,)
        return encoded.pixels, *self._motion().yielded(encoded.pixels), (encoded.packet,)

    def _is_wanted(self, index: int, time_s: float) -> bool:
        """Whether `stride` and `fps` select the frame; call once per frame."""
        if index % self._stride:
            return False
        if self._max_fps is None:
            return True
        tick = math.floor(time_s * self._max_fps + _TICK_SLACK)
        if tick <= self._tick:
            return False
        self._tick = tick
        return True

    def _expected_frames(self) -> int | None:
        """Number of frames that will be yielded; None where unknown."""
        count = self._reader.frame_count
        if count is None:
            return None
        wanted = -(-count // self._stride)
        if self._max_fps is not None and self._reader.fps:
            wanted = min(wanted, math.ceil(count / self._reader.fps * self._max_fps - _TICK_SLACK))
        return wanted if self._max_frames is None else min(wanted, self._max_frames)


def _shape(taken: DecodedPicture) -> tuple[tuple[int, int], Orientation, Fraction]:
    """What decides where a picture lies in the image: (h, w) and orientation of what is stored, and its aspect."""
    return (taken.frame.height, taken.frame.width), orientation_of(taken.frame), taken.pixel_aspect


def _check_at_least(name: str, value: int | None, least: int) -> None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise VideoError(f"{name} (={value!r}) must be a whole number")
    if value is not None and value < least:
        raise VideoError(f"{name} (={value}) must be at least {least}")
