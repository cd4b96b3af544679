"""Cameras and streams: read in a thread of their own, and opened again whenever they break off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from fluxshard.errors import VideoError
from fluxshard.video.frame import Frame
from fluxshard.video.live.background import BackgroundFrames
from fluxshard.video.live.options import LiveOptions
from fluxshard.video.live.reconnecting import Reconnecting
from fluxshard.video.live.stats import LiveCounts, LiveStats
from fluxshard.video.motion.motion_tracker import Vectors
from fluxshard.video.packet import PacketStream
from fluxshard.video.sources.video_source import VideoSource
from fluxshard.video.sources.video_source import open as open_source


def open_live(
    source: str | Path | int,
    *,
    live: LiveOptions | None = None,
    size: tuple[int, int] | None = None,
    max_frames: int | None = None,
    fps: float | None = None,
    stride: int = 1,
    vectors: Vectors = "auto",
    packets: bool = False,
    stopped: Callable[[], bool] = lambda: False,
    changed: Callable[[LiveStats], None] = lambda stats: None,
) -> LiveSource:
    """Opens a camera or stream: an iterator over frames that outlives its connections, and must be closed.

        with video.open_live("rtsp://camera/stream", size=(384, 640)) as camera:
            for frame in camera:
                outputs = session.run_whole(frame.pixels) if frame.starts_anew else session.run(...)

    Damaged frames are left out and counted. After a gap the first frame says so (`Frame.starts_anew`, `Frame.gap_s`),
    has no motion, and may have another picture size; images keep theirs.

    Args:
      source, size, fps, stride, vectors, packets: as for `fluxshard.video.open`.
      live: how it is read; None for the defaults.
      max_frames: that are taken, over all connections; None for no end.
      stopped: asked while no frame comes: whether somebody wants an end.
      changed: told when the source breaks off, pauses, cannot be opened and is back; in the reader's thread.

    Raises:
      VideoError: the source cannot be opened now, or an argument is out of range.
    """
    live = LiveOptions() if live is None else live

    def opened(image_size: tuple[int, int] | None) -> VideoSource:
        return open_source(
            source, size=image_size, fps=fps, stride=stride, vectors=vectors, packets=packets, strict=False,
            timeout_s=live.timeout_s, transport=live.transport,
        )  # fmt: skip

    if max_frames is not None and max_frames < 1:
        raise VideoError(f"max_frames (={max_frames}) must be at least 1")
    return LiveSource(opened(size), opened, live, max_frames=max_frames, stopped=stopped, changed=changed)


class LiveSource:
    """Single-pass iterator over the frames of a camera or stream; made by `fluxshard.video.open_live`.

    Its methods may be called from any thread; frames are taken in one.

    Attributes:
      size: (H, W) of the frames' images.
      picture_size, pixel_aspect, shown_size, letterbox, fps: of the first connection; see `VideoSource`.
      frame_count: None.
      is_live, is_paced: see `VideoSource`.
      packet_stream: as for `VideoSource`; of all connections.
      keeps_newest: frames that were overtaken are dropped.
    """

    frame_count = None

    def __init__(
        self,
        first: VideoSource,
        opened: Callable[[tuple[int, int]], VideoSource],
        options: LiveOptions,
        *,
        max_frames: int | None,
        stopped: Callable[[], bool],
        changed: Callable[[LiveStats], None],
    ) -> None:
        self.size, self.letterbox, self.fps = first.size, first.letterbox, first.fps
        self.picture_size, self.pixel_aspect, self.shown_size = (
            first.picture_size, first.pixel_aspect, first.shown_size,
        )  # fmt: skip
        self.is_live, self.is_paced, self.packet_stream = first.is_live, first.is_paced, first.packet_stream
        self.keeps_newest = options.frames == "newest" or (options.frames == "auto" and first.is_paced)
        self._opened, self._left, self._stopped = opened, max_frames, stopped
        self._counts = LiveCounts()
        self._first = first
        self._connections = Reconnecting(first, self._again, options, self._counts, lambda: changed(self.stats))
        self._frames = BackgroundFrames(
            self._connections, None if self.keeps_newest else options.waiting, stopped=stopped
        )
        self._open = True
        self._frames.__enter__()

    @property
    def stats(self) -> LiveStats:
        """What became of it so far."""
        return replace(self._counts.now, dropped=self.dropped)

    @property
    def dropped(self) -> int:
        """Frames that were overtaken so far."""
        return self._frames.dropped

    def __iter__(self) -> Self:
        """Returns itself; a second iteration continues the first."""
        return self

    def __next__(self) -> Frame:
        """Returns the next frame, as soon as there is one.

        Raises:
          VideoError: the source broke off, and is not to be opened again.
        """
        if not self._open or self._left == 0 or self._stopped():
            raise StopIteration
        frame = self._frames.take()
        if frame is None:
            raise StopIteration
        self._counts.add(frames=1)
        if self._left is not None:
            self._left -= 1
        return frame

    def pause(self) -> None:
        """Closes the connection after the frame that is read now; frames that wait may still be taken."""
        self._connections.pause()

    def resume(self) -> None:
        """Opens the connection again; the first frame starts anew."""
        self._connections.resume()

    def request_keyframe(self) -> bool:
        """As for `VideoSource`, of the connection that is open now."""
        return self._connections.request_keyframe()

    def interrupt(self) -> None:
        """Ends the iteration after the frames that have come, at once where it waits for one; for any thread."""
        self._frames.interrupt()

    def close(self) -> None:
        """Ends the iteration, the connection and the thread; waits for FFmpeg, at most until it times out."""
        self._open = False
        self._connections.stop()
        self._frames.__exit__(None, None, None)
        self._first.close()  # where the thread had no time to
        self._counts.state("ended")

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the source."""
        self.close()

    def _again(self) -> VideoSource:
        """Another connection.

        Raises:
          VideoError: the source cannot be opened, or its packets are of another kind than before.
        """
        source = self._opened(self.size)
        if _kind(source.packet_stream) != _kind(self.packet_stream):
            source.close()
            raise VideoError(
                "the source has come back with packets of another kind or picture size, which their receiver cannot "
                "take: open it again"
            )
        return source


def _kind(stream: PacketStream | None) -> PacketStream | None:
    """What a receiver of packets relies on: their rate is estimated anew on each connection."""
    return None if stream is None else replace(stream, fps=None)
