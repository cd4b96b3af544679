"""A film of the frames with what was found and recomputed in them, above a strip of figures."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from fluxshard.models.drawing.colours import DARK, Picture
from fluxshard.models.loading.loaded_model import Task
from fluxshard.pipeline.frame_record import FrameRecord
from fluxshard.pipeline.sinks.film_strip import FilmStrip
from fluxshard.pipeline.sinks.sink import FrameView
from fluxshard.pipeline.sinks.task_drawing import TaskDrawing
from fluxshard.video import Letterbox, VideoWriter


class AnnotatedFilm:
    """An H.264 MP4 file that can be played while it is written; see `fluxshard.video.VideoWriter`.

    Below its pictures is a strip that says of each frame how it was made, its work and its latency; beside them are
    bars, so that a film has the shape of its video.

    Args:
      path: file to write, replaced if it exists; its directory must exist.
      size: (h, w) of the pictures of the video; where it goes over to another size, pictures are fitted into this one.
      fps: frames per second, where frames have no times of their own.
      pixel_aspect: width over height of the pictures' pixels as they are shown.
      names: class names; a class without one shows its number.
      task: what the outputs mean; it decides what else the strip explains.
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
        task: Task = "detect",
        show_work: bool = False,
    ) -> None:
        self._drawing = TaskDrawing(task, names)
        below = 0
        while True:  # the higher the strip, the wider the bars; a wider strip may take fewer rows, or hold more
            bar = round(size[1] * below / size[0] / 2)
            self._strip = FilmStrip(size, width=size[1] + 2 * bar, shows_work=show_work, widest=self._drawing.widest)
            if self._strip.height <= below:
                break
            below = self._strip.height
        self._size, self._page = size, (size[0] + below, size[1] + 2 * bar)
        self._rows, self._columns = slice(size[0]), slice(bar, bar + size[1])
        self._writer = VideoWriter(path, self._page, fps, pixel_aspect=pixel_aspect)
        self.shows_work = show_work

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finishes the file."""
        self._writer.__exit__(kind, error, trace)

    def prepare(self, record: FrameRecord, view: FrameView) -> Callable[[], None]:
        """Draws the frame's picture; what is returned encodes it."""
        return partial(self._writer.write, self.draw(record, view), record.time_s)

    def write(self, record: FrameRecord, view: FrameView) -> None:
        """Appends the frame's picture, annotated.

        Raises:
          VideoError: the disk is full, the file is gone, or the picture has another size.
        """
        self.prepare(record, view)()

    def draw(self, record: FrameRecord, view: FrameView) -> Picture:
        """The film's next picture, a new `(H, W, 3)` uint8 RGB one: the frame's, between bars and above its strip."""
        picture = view.frame.picture.copy(order="C")
        fields = self._drawing.draw(picture, record, view, show_work=self.shows_work)
        if picture.shape[:2] != self._size:
            picture = Letterbox((picture.shape[0], picture.shape[1]), self._size).place(picture)
        page = np.full((*self._page, 3), DARK, np.uint8)
        page[self._rows, self._columns] = picture
        self._strip.draw(page[self._size[0] :][: self._strip.height], record, fields)
        return page

    def picture_in(self, page: Picture) -> Picture:
        """The part of a film's picture that shows the video."""
        return page[self._rows, self._columns]


def annotate(
    record: FrameRecord,
    view: FrameView,
    *,
    names: tuple[str, ...] = (),
    task: Task = "detect",
    show_work: bool = False,
) -> Picture:
    """The frame's picture with what is known of it, without a strip.

    Args:
      record: of the frame.
      view: the picture and what was found in it.
      names: class names; a class without one shows its number.
      task: what the outputs mean.
      show_work: tint what was recomputed.

    Returns:
      a new `(h, w, 3)` uint8 RGB picture.
    """
    canvas = view.frame.picture.copy(order="C")
    TaskDrawing(task, names).draw(canvas, record, view, show_work=show_work)
    return canvas
