"""What is drawn into a film's pictures, and what their strip explains of it, by the network's task."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fluxshard.models.detections.draw import draw_detections, draw_work
from fluxshard.models.drawing.colours import DIM, Picture
from fluxshard.models.drawing.heat_map import draw_heat, heat_colours
from fluxshard.models.drawing.strip import Field, ramp_bytes
from fluxshard.models.loading.loaded_model import Task
from fluxshard.models.tasks.value_map import ValueMap, range_of
from fluxshard.pipeline.frame_record import FrameRecord
from fluxshard.pipeline.sinks.sink import FrameView

_FORGET = 0.05  # per frame: a range widens at once, and narrows by this share
_RAMP = ramp_bytes(heat_colours()[1:])


class TaskDrawing:
    """Draws the results of one stream, frame by frame: colours of numbers do not flicker with their range.

    Args:
      task: what the outputs mean.
      names: class names; a class without one shows its number.

    Attributes:
      widest: of the strip's fields that explain what is drawn; see `Strip`.
    """

    def __init__(self, task: Task, names: tuple[str, ...] = ()) -> None:
        self._names = names
        self._range: tuple[float, float] | None = None
        self.widest: Mapping[str, Field] = {}
        if task == "raw":
            self.widest = {"scale": Field("-0.00e+00 (99 channels of 999x999)", ramp=(_RAMP, "-0.00e+00"))}

    def draw(self, canvas: Picture, record: FrameRecord, view: FrameView, *, show_work: bool) -> dict[str, Field]:
        """Draws what was recomputed and what was found.

        Args:
          canvas: `(h, w, 3)` uint8 RGB, contiguous, the picture of the frame; changed.
          record: of the frame.
          view: what was found.
          show_work: tint what was recomputed.

        Returns:
          fields of the strip.
        """
        fields: dict[str, Field] = {}
        letterbox = view.frame.letterbox
        (top, left), (y, x) = letterbox.offset, record.origin
        offset = float(top + y), float(left + x)
        if isinstance(view.result, ValueMap):
            fields = self._draw_values(canvas, view.result)
        if show_work:  # above maps, which have all colours, and below boxes, whose colours mean something else
            draw_work(canvas, view.work_map(), letterbox.scale, offset, in_place=True)
        if view.found is not None:
            draw_detections(canvas, view.found, self._names, masks=view.masks, in_place=True)
        return fields

    def _draw_values(self, canvas: Picture, found: ValueMap) -> dict[str, Field]:
        shown = found.shown()
        low, high = self._ranged(shown)
        placement = found.placement
        draw_heat(canvas, shown, low, high, placement.scale, placement.offset, placement.size)
        channels, rows, columns = found.values.shape
        of = f"({channels} channel{'s' * (channels > 1)} of {rows}x{columns})"
        return {"scale": Field(f"{high:.3g} {of}", ink=DIM, ramp=(_RAMP, f"{low:.3g}"))}

    def _ranged(self, values: NDArray[np.float32]) -> tuple[float, float]:
        """The range of colours for the next frame."""
        now = range_of(values)
        if now is None:
            return self._range or (0.0, 1.0)
        if self._range is not None:
            low, high = self._range
            now = min(now[0], low + _FORGET * (now[0] - low)), max(now[1], high + _FORGET * (now[1] - high))
        self._range = now
        return now
