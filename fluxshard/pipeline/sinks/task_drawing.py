"""What is drawn into a film's pictures, and what their strip explains of it, by the network's task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fluxshard.models.detections.draw import draw_detections, draw_work
from fluxshard.models.drawing.class_map import draw_classes
from fluxshard.models.drawing.colours import DIM, Picture, colour_of
from fluxshard.models.drawing.heat_map import draw_heat, heat_colours
from fluxshard.models.drawing.strip import Field, ramp_bytes
from fluxshard.models.loading.loaded_model import Task
from fluxshard.models.tasks.class_map import ClassMap
from fluxshard.models.tasks.ranking import TOP, Ranking
from fluxshard.models.tasks.result import name_of
from fluxshard.models.tasks.value_map import ValueMap, range_of
from fluxshard.pipeline.frame_record import FrameRecord
from fluxshard.pipeline.sinks.sink import FrameView

_CLASSES = 8  # named at most: those that have most of the picture
_NAME_LETTERS = 14  # of a name
_WIDEST_CLASS = Field("a" * _NAME_LETTERS, swatch=DIM)
_WIDEST_RANK = Field("a" * _NAME_LETTERS + " 0.00", bar=0.0)
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
        if task in ("semantic", "classify"):
            count, widest = (_CLASSES, _WIDEST_CLASS) if task == "semantic" else (TOP, _WIDEST_RANK)
            self.widest = {f"class {n}": replace(widest, starts_row=n == 0) for n in range(count)}
        if task in ("raw", "depth"):
            self.widest = {
                "scale": Field("-0.00e+00 (99 channels of 999x999)", ramp=(_RAMP, "-0.00e+00"), starts_row=True)
            }

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
        elif isinstance(view.result, ClassMap):
            fields = self._draw_classes(canvas, view.result)
        elif isinstance(view.result, Ranking):
            fields = self._rank(view.result)
        if show_work:  # above maps, which have all colours, and below boxes, whose colours mean something else
            tinted = not isinstance(view.result, ValueMap | ClassMap)
            draw_work(canvas, view.work_map(), letterbox.scale, offset, tinted=tinted, in_place=True)
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

    def _draw_classes(self, canvas: Picture, found: ClassMap) -> dict[str, Field]:
        """Draws the map, and names the classes that have most of the picture, in the order of their indices."""
        draw_classes(canvas, found.labels, found.placement.scale, found.placement.offset, found.placement.size)
        shares = found.shares()
        largest = sorted(shares, key=lambda index: (-shares[index], index))[:_CLASSES]
        return {
            f"class {n}": Field(_short(name_of(index, self._names)), swatch=colour_of(index))
            for n, index in enumerate(sorted(largest))
        }

    def _rank(self, found: Ranking) -> dict[str, Field]:
        probabilities = found.probabilities
        return {
            f"class {n}": Field(
                f"{_short(name_of(index, self._names))} {probabilities[index]:.2f}",
                bar=round(float(probabilities[index]), 2),
                fill=colour_of(index),
            )
            for n, index in enumerate(found.classes)
        }

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


def _short(name: str) -> str:
    return name if len(name) <= _NAME_LETTERS else f"{name[: _NAME_LETTERS - 1]}…"
