"""Writer of H.264 MP4 files that remain playable if the process is killed."""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from numpy.typing import NDArray

from fluxshard.errors import VideoError
from fluxshard.options import is_number
from fluxshard.video.sources.frame_clock import LEAST_FPS, MOST_FPS

_MP4 = {
    # fragmented: the index is written with every frame, not at the end, so a killed process leaves a playable file
    "movflags": "frag_every_frame+empty_moov+default_base_moof",
    "flush_packets": "1",
}
_TICKS_PER_S = 90_000  # as MPEG counts: frames of 24, 25, 30 and 60 a second last whole ticks
_LARGEST_TERM = 255  # of an aspect: H.264 has 16 bits, players of old 8
_GOP_S = 2  # interval of keyframes in seconds: the most that a player decodes to seek
_X264 = {
    # as faithful as "veryfast" at 23, in less than half the time, for 1.4 times the bytes
    "preset": "ultrafast",
    "crf": "25",
    "tune": "zerolatency",  # every frame is in the file before the next is encoded
    "threads": "1",  # more wait for each other within a frame, and take processors from whatever makes the pictures
}


class VideoWriter:
    """Encodes `(h, w, 3)` uint8 RGB frames to an H.264 MP4 file, replacing an existing file.

    The file is playable while it is written; if the process is killed, it contains all frames but the last. Odd sizes
    are padded by repeating the last row or column, since players expect 4:2:0 chroma subsampling. Frames last until
    the next one, where their times are given.

    Args:
      path: file to write; its directory must exist.
      size: (h, w) of the frames.
      fps: frames per second; of frames whose times are given, the rate that they are expected at.
      pixel_aspect: width over height of a pixel as it is to be shown.

    Raises:
      VideoError: the file cannot be written, or the size or rate is out of range.
    """

    def __init__(
        self, path: str | Path, size: tuple[int, int], fps: float, *, pixel_aspect: Fraction = Fraction(1)
    ) -> None:
        pair = isinstance(size, (tuple, list)) and len(size) == 2 and all(isinstance(side, int) for side in size)
        if not pair or min(size) < 2:
            raise VideoError(f"size (={size!r}) must be (height, width), at least 2 px each way")
        if not (is_number(fps) and LEAST_FPS <= fps <= MOST_FPS):
            raise VideoError(f"fps (={fps!r}) must be between {LEAST_FPS} and {MOST_FPS}")
        self.path, self.size = Path(path), size
        self._frames = 0
        self._ticks, self._step = -1, max(1, round(_TICKS_PER_S / fps))  # of the last frame, and to the next
        self._start_s: float | None = None
        self._reformatter = VideoReformatter()
        rate = Fraction(fps).limit_denominator(1001)
        try:
            self._container = av.open(f"file:{path}", "w", format="mp4", options=_MP4)
            self._stream = self._container.add_stream("libx264", rate=rate)
            codec = self._stream.codec_context
            codec.height, codec.width = size[0] + size[0] % 2, size[1] + size[1] % 2
            codec.pix_fmt = "yuv420p"
            codec.time_base = Fraction(1, _TICKS_PER_S)
            if pixel_aspect != 1:
                codec.sample_aspect_ratio = pixel_aspect.limit_denominator(_LARGEST_TERM)
            codec.colorspace, codec.color_range = int(Colorspace.ITU709), int(ColorRange.MPEG)
            codec.gop_size = max(1, round(_GOP_S * fps))
            self._stream.options = dict(_X264)
            self._container.start_encoding()  # fails here, before any work is done, if the file cannot be written
        except (av.FFmpegError, OSError, ValueError) as error:
            raise self._failed(error) from error
        self._open = True

    def __repr__(self) -> str:
        state = "" if self._open else ", closed"
        return f"VideoWriter({str(self.path)!r}, {self.size[0]}x{self.size[1]} px, {self._frames} frames{state})"

    def write(self, picture: NDArray[np.uint8], time_s: float | None = None) -> None:
        """Appends a `(h, w, 3)` uint8 RGB picture.

        Args:
          picture: the next frame.
          time_s: when it is to be shown, from any start; a time that is not after the last one's, or None, is one
            frame after the last.

        Raises:
          VideoError: the file cannot be written, the picture has another size or dtype, or the writer is closed.
        """
        if not self._open:
            raise VideoError(f"video {str(self.path)!r} is closed; open a new writer")
        if not isinstance(picture, np.ndarray) or picture.shape != (*self.size, 3) or picture.dtype != np.uint8:
            shape, dtype = getattr(picture, "shape", None), getattr(picture, "dtype", type(picture).__name__)
            raise VideoError(
                f"picture has shape {shape} and dtype {dtype}; video {str(self.path)!r} takes "
                f"{(*self.size, 3)} and uint8"
            )
        bottom, right = self.size[0] % 2, self.size[1] % 2
        if bottom or right:
            picture = np.pad(picture, ((0, bottom), (0, right), (0, 0)), mode="edge")
        frame = self._converted(np.ascontiguousarray(picture))
        frame.pts, frame.time_base = self._next_tick(time_s), Fraction(1, _TICKS_PER_S)
        try:
            self._container.mux(self._stream.encode(frame))
        except (av.FFmpegError, OSError) as error:
            self._abandon()
            raise self._failed(error) from error
        self._frames += 1

    def close(self) -> None:
        """Flushes the encoder and closes the file; does nothing if it is closed.

        Raises:
          VideoError: the remaining frames cannot be written.
        """
        if not self._open:
            return
        self._open = False
        try:
            try:
                if self._frames:
                    self._container.mux(self._stream.encode(None))
            finally:
                self._container.close()
        except (av.FFmpegError, OSError) as error:
            raise self._failed(error) from error

    def __enter__(self) -> VideoWriter:
        """Returns itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the file; an error in flight is not replaced by one of closing."""
        if kind is None:
            self.close()
        else:
            self._abandon()

    def _next_tick(self, time_s: float | None) -> int:
        """Time stamp of the next frame."""
        following = self._ticks + self._step if self._frames else 0
        if time_s is not None:
            if self._start_s is None:
                self._start_s = time_s - following / _TICKS_PER_S
            wanted = round((time_s - self._start_s) * _TICKS_PER_S)
            following = wanted if wanted > self._ticks else following
        self._ticks = following
        return following

    def _converted(self, picture: NDArray[np.uint8]) -> av.VideoFrame:
        """The picture as the encoder takes it."""
        rgb = av.VideoFrame.from_numpy_buffer(picture, format="rgb24")
        how: dict[str, Any] = {
            "format": "yuv420p",
            "dst_colorspace": Colorspace.ITU709,
            "dst_color_range": ColorRange.MPEG,
            "interpolation": "POINT",  # of chroma only, since sizes agree: 0.1 of 255 away from means, in half the time
        }
        try:
            return self._reformatter.reformat(rgb, threads=1, **how)
        except TypeError:  # older PyAV always takes one
            return self._reformatter.reformat(rgb, **how)

    def _abandon(self) -> None:
        """Closes after an error; the frames in the file remain."""
        with suppress(VideoError):  # the first error is the one to report
            self.close()

    def _failed(self, error: Exception) -> VideoError:
        """Error that reports a failed write."""
        why = " ".join(str(getattr(error, "strerror", None) or error).split())
        return VideoError(f"video {str(self.path)!r} cannot be written after {self._frames} frames: {why}")
