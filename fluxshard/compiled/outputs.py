"""From the outputs of a detector to its detections, in pixels of the image or of a video's picture."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol, cast

from fluxshard.errors import ModelError, OptionError
from fluxshard.models.detections.detections import Detections
from fluxshard.models.detections.postprocess import decode
from fluxshard.models.loading.loaded_model import HeadLayout, LoadedModel
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


def head_of(loaded: LoadedModel | None) -> HeadLayout:
    """Layout of a model's outputs.

    Raises:
      ModelError: it is not known.
    """
    if loaded is None or loaded.layout is None:
        raise ModelError(
            "what the outputs of this model mean is not known: compile the path of an Ultralytics checkpoint, or an "
            "ultralytics.YOLO"
        )
    return loaded.layout


def decoded(
    outputs: Any, loaded: LoadedModel | None, shape: tuple[int, int], *, confidence: float, iou: float
) -> Detections:
    """Detections in pixels of what the outputs describe, the image or the canvas, with names of classes.

    Args:
      outputs: of a session.
      loaded: what is known of the model.
      shape: (H, W) of what they describe.
      confidence, iou: see `CompiledModel.detections`.

    Raises:
      ModelError: what the outputs mean is not known, or these are not the model's.
      OptionError: a threshold outside 0..1.
    """
    layout = head_of(loaded)
    check_share("confidence", confidence)
    check_share("iou", iou)
    found = decode(outputs, layout, shape, confidence=confidence, iou=iou)
    return replace(found, names=() if loaded is None else loaded.names)


def in_picture(found: Detections, canvas_px: int, origin: tuple[int, int], placing: Placing | None) -> Detections:
    """Detections in pixels of the image, or of the picture that lies in it.

    Args:
      found: in pixels of what the outputs describe, the image or the canvas.
      canvas_px: by how much that is larger than the image, per axis.
      origin: (y, x) of the image on the canvas.
      placing: how the picture whose pixels are wanted lies in the image; None: the image's are wanted.
    """
    if canvas_px:
        size = found.shape[0] - canvas_px, found.shape[1] - canvas_px
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
