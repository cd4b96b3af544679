"""From the outputs of a detector to its detections, in pixels of the image or of a video's picture."""

from __future__ import annotations

from typing import Any, Protocol, cast

from fluxshard.errors import OptionError
from fluxshard.models.detections.detections import Detections
from fluxshard.models.detections.postprocess import decode
from fluxshard.models.loading.loaded_model import HeadLayout
from fluxshard.options import check_share


class Placing(Protocol):
    """How a picture lies in an image; `fluxshard.video.Letterbox`."""

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the image."""
        ...

    @property
    def picture_size(self) -> tuple[int, int]:
        """(h, w) of the picture."""
        ...

    @property
    def scale(self) -> tuple[float, float]:
        """(y, x) pixels of the image per pixel of the picture."""
        ...

    @property
    def offset(self) -> tuple[int, int]:
        """(y, x) of the picture's upper left corner in the image."""
        ...


class PlacedFrame(Protocol):
    """A frame of `fluxshard.video`, as far as detections need it."""

    @property
    def letterbox(self) -> Placing:
        """How its picture lies in its image."""
        ...


def detections_of(
    outputs: Any,
    layout: HeadLayout,
    canvas: tuple[int, int],
    canvas_px: int,
    placing: Placing | None,
    origin: tuple[int, int],
    *,
    confidence: float,
    iou: float,
) -> Detections:
    """See `CompiledModel.detections`.

    Args:
      outputs, origin, confidence, iou: see there.
      layout: of the outputs.
      canvas: (H, W) of what the outputs describe.
      canvas_px: by how much that is larger than the image, per axis.
      placing: how the picture whose pixels are wanted lies in the image; None: the image's are wanted.
    """
    check_share("confidence", confidence)
    check_share("iou", iou)
    found = decode(outputs, layout, canvas, confidence=confidence, iou=iou)
    if canvas_px:
        size = canvas[0] - canvas_px, canvas[1] - canvas_px
        found = found.to_picture((1.0, 1.0), (float(origin[0]), float(origin[1])), size)
    if placing is None:
        return found
    y, x = placing.offset
    return found.to_picture(placing.scale, (float(y), float(x)), placing.picture_size)


def placing_of(given: PlacedFrame | Placing | None) -> Placing | None:
    """The letterbox of a frame, or the one that was given itself.

    Raises:
      OptionError: neither.
    """
    placing: Any = getattr(given, "letterbox", given)
    if placing is not None and not all(hasattr(placing, name) for name in ("size", "picture_size", "scale", "offset")):
        raise OptionError(f"frame is a {type(given).__name__}; give a frame of fluxshard.video, or its letterbox")
    return cast("Placing | None", placing)
