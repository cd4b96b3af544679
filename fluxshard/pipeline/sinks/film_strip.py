"""What the strip below a film's pictures says of a frame."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from fluxshard.models.drawing.colours import CARRIED, DIM, WHOLE, WORK, Colour, Picture, text_px
from fluxshard.models.drawing.strip import Field, Strip
from fluxshard.pipeline.frame_record import FrameRecord

_UNANSWERED: Colour = (240, 80, 80)
_PAST = 200  # frames that a chart shows at most
_WIDEST = {
    "how": Field("not answered", badge=WORK),
    "frame": Field("frame 000000"),
    "latency": Field("0000.0 ms"),
    "work": Field("work 100%", bar=0.0),
    "past": Field(chart=()),
}
_LEGEND = {"legend": Field("recomputed", ink=DIM, swatch=WORK)}
_OFTEN_EMPTY = {"dense": Field("dense 0000.0 ms"), "place": Field("answered: cloud")}


class FilmStrip:
    """Figures of frames, drawn below the pictures of one film; frames are drawn in their order.

    Args:
      size: (h, w) of the pictures.
      width: of the strip; None: that of the pictures.
      shows_work: the pictures show what was recomputed, in a colour that the strip explains.
      widest: further fields, of which the values are given with each frame; see `Strip`.

    Attributes:
      height: of the strip in pixels.
    """

    def __init__(
        self,
        size: tuple[int, int],
        *,
        width: int | None = None,
        shows_work: bool,
        widest: Mapping[str, Field] | None = None,
    ) -> None:
        self._legend = _LEGEND if shows_work else {}
        fields = {**_WIDEST, **self._legend, **_OFTEN_EMPTY, **(widest or {})}
        self._strip = Strip(width or size[1], text_px(size), fields)
        self._past: deque[tuple[float, Colour]] = deque(maxlen=_PAST)
        self.height = self._strip.height

    def draw(self, part: Picture, record: FrameRecord, more: Mapping[str, Field] | None = None) -> None:
        """Draws the strip of the next frame.

        Args:
          part: `(height, width, 3)` uint8 RGB; overwritten.
          record: of the frame.
          more: values of the further fields.
        """
        how, colour = how_made(record)
        self._past.append((record.ratio("compute_ratio"), colour))
        fields = fields_of(record) | {"past": Field(chart=tuple(self._past))} | self._legend | dict(more or {})
        self._strip.draw(part, fields, edge=WHOLE if how == "whole" else None)


def how_made(record: FrameRecord) -> tuple[str, Colour]:
    """How a frame came to its result, in a word, and the colour of that."""
    if record.placement is not None and record.placement["answered_by"] == "none":
        return "not answered", _UNANSWERED
    if record.carried:
        return "carried", CARRIED
    if record.stats.get("keyframe"):
        return "whole", WHOLE
    if record.calibrated is not None and record.calibrated["error"] is not None:
        return "measured", WHOLE
    planned = record.planned_work is not None or (record.placement or {}).get("server_planned", False)
    return ("planned" if planned else "propagated"), WORK


def fields_of(record: FrameRecord) -> dict[str, Field]:
    """Figures of a frame by the names of the strip's fields."""
    how, colour = how_made(record)
    fields = {
        "how": Field(how, badge=colour),
        "frame": Field(f"frame {record.frame}"),
        "latency": Field(f"{record.incremental_ms:.1f} ms"),
    }
    if record.dense_ms is not None:
        fields["dense"] = Field(f"dense {record.dense_ms:.1f} ms", ink=DIM)
    work = record.ratio("compute_ratio")
    if work == work:
        fields["work"] = Field(f"work {work:.0%}", bar=round(work, 2), fill=colour)
    if record.placement is not None and record.placement["answered_by"] != "none":
        fields["place"] = Field(f"answered: {record.placement['answered_by']}", ink=DIM)
    return fields
