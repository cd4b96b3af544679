"""A film of the frames with detections, a tint where work was done, and a caption."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from fluxshard.models.detections.draw import Picture, draw_caption, draw_detections, draw_work
from fluxshard.pipeline.frame_record import FrameRecord
from fluxshard.pipeline.sinks.sink import FrameView
from fluxshard.video import Letterbox, VideoWriter


class AnnotatedFilm:
    """An H.264 MP4 file that can be played while it is written; see `fluxshard.video.VideoWriter`.

    Args:
      path: file to write, replaced if it exists; its directory must exist.
      size: (h, w) of the film's pictures; where the video goes over to another size, pictures are fitted into it.
      fps: frames per second, where frames have no times of their own.
      pixel_aspect: width over height of the pictures' pixels as they are shown.
      names: class names; a class without one shows its number.
      show_work: tint what was recomputed.

    Raises:
      VideoError: the file cannot be written, or a size or rate is not allowed.
    """

    def __init__(
        self,
        path: Path,
        size: tuple[int, int],
        fps: float,
        *,
        pixel_aspect: Fraction = Fraction(1),
        names: tuple[str, ...] = (),
        show_work: bool = False,
    ) -> None:
        self._writer = VideoWriter(path, size, fps, pixel_aspect=pixel_aspect)
        self._names, self.shows_work = names, show_work

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finishes the file."""
        self._writer.__exit__(kind, error, trace)

    def prepare(self, record: FrameRecord, view: FrameView) -> Callable[[], None]:
        """Draws the frame's picture; what is returned encodes it."""
        picture = annotate(record, view, names=self._names, show_work=self.shows_work)
        if picture.shape[:2] != self._writer.size:
            picture = Letterbox((picture.shape[0], picture.shape[1]), self._writer.size).place(picture)
        return partial(self._writer.write, picture, record.time_s)

    def write(self, record: FrameRecord, view: FrameView) -> None:
        """Appends the frame's picture, annotated.

        Raises:
          VideoError: the disk is full, the file is gone, or the picture has another size.
        """
        self.prepare(record, view)()


def annotate(record: FrameRecord, view: FrameView, *, names: tuple[str, ...] = (), show_work: bool = False) -> Picture:
    """The frame's picture with what is known of it.

    Args:
      record: figures, for the caption.
      view: the picture and what was found in it.
      names: class names; a class without one shows its number.
      show_work: tint what was recomputed.

    Returns:
      a new `(h, w, 3)` uint8 RGB picture.
    """
    canvas = view.frame.picture.copy(order="C")
    if show_work:  # below the boxes, whose colours mean something else
        letterbox = view.frame.letterbox
        (top, left), (y, x) = letterbox.offset, record.origin
        draw_work(canvas, view.work_map(), letterbox.scale, (top + y, left + x), in_place=True)
    if view.found is not None:
        draw_detections(canvas, view.found, names, masks=view.masks, in_place=True)
    return draw_caption(canvas, caption(record), in_place=True)


def caption(record: FrameRecord) -> str:
    """One line of figures: frame, shares of the dense work and of the pixels, latency."""
    parts = [f"frame {record.frame}"]
    for name, field in (("compute", "compute_ratio"), ("pixels", "recompute_ratio")):
        value = record.ratio(field)
        if math.isfinite(value):
            parts.append(f"{name} {value:.0%}")
    latency = f"{record.incremental_ms:.1f} ms"
    parts.append(latency if record.dense_ms is None else f"{latency} (dense {record.dense_ms:.1f} ms)")
    if record.placement is not None:
        answered_by = record.placement["answered_by"]
        parts.append("not answered" if answered_by == "none" else str(answered_by))
    if record.carried:
        parts.append("moved result")
    if record.stats.get("keyframe"):
        parts.append("whole frame")
    return "   ·   ".join(parts)
