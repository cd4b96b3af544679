"""Drawing of detections and of the recomputed area."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fluxshard.models.detections.detections import CroppedMask, Detections
from fluxshard.models.detections.drawing.boxes import draw_box
from fluxshard.models.detections.drawing.caption import write_caption
from fluxshard.models.detections.drawing.colours import WORK as WORK
from fluxshard.models.detections.drawing.colours import Picture as Picture
from fluxshard.models.detections.drawing.colours import colour_of as colour_of
from fluxshard.models.detections.drawing.masks import tint_mask
from fluxshard.models.detections.drawing.skeletons import draw_skeleton
from fluxshard.models.detections.drawing.work import tint_work
from fluxshard.models.detections.mask_moves import Pair
from fluxshard.motion import CELL_PX


def draw_detections(
    picture: Picture,
    found: Detections,
    names: tuple[str, ...] = (),
    *,
    masks: Sequence[CroppedMask] | None = None,
    in_place: bool = False,
) -> Picture:
    """Draws masks, boxes with labels, and skeletons.

    Args:
      picture: `(H, W, 3)` uint8 RGB.
      found: detections in pixels of the picture.
      names: class names; classes without a name show their index.
      masks: of the detections, where they have been computed already; see `Detections.mask`.
      in_place: changes `picture`, which is contiguous then, and returns it.

    Returns:
      `(H, W, 3)` uint8 picture, a new one unless `in_place`.
    """
    canvas = picture if in_place else picture.copy(order="C")
    people = found.keypoints is not None
    order = range(len(found))[::-1]  # the highest score is drawn last, on top
    for index in order:
        if found.masks is not None:
            mask = found.mask(index) if masks is None else masks[index]
            tint_mask(canvas, mask, colour_of(found.tone(index)))
    line = _line_px(picture)
    for index in order:
        if found.keypoints is not None:
            draw_skeleton(canvas, found.keypoints[index], line)
    for index in order:
        class_index = int(found.classes[index])
        name = names[class_index] if 0 <= class_index < len(names) else str(class_index)
        colour = colour_of(index) if people and found.ids is None else colour_of(found.tone(index))
        identity = f" #{found.ids[index]}" if found.ids is not None and found.ids[index] >= 0 else ""
        label = f"{name}{identity} {found.scores[index]:.2f}"
        draw_box(canvas, found.boxes[index], label, colour, max(line - 1, 1) if people else line)
    return canvas


def draw_work(
    picture: Picture,
    work: NDArray[np.float32],
    scale: Pair,
    offset: Pair,
    cell_px: int = CELL_PX,
    *,
    in_place: bool = False,
) -> Picture:
    """Tints the recomputed area in proportion to the work; reused pixels keep their colour.

    Args:
      picture: `(H, W, 3)` uint8 RGB.
      work: `(Hc, Wc)` float32 fraction of work per cell of the letterboxed image, 0..1.
      scale: (y, x) letterboxed pixels per picture pixel.
      offset: (y, x) position of the picture's upper left corner in the letterboxed image.
      cell_px: side of a cell in letterboxed pixels.
      in_place: changes `picture`, which is contiguous then, and returns it.

    Returns:
      `(H, W, 3)` uint8 picture, a new one unless `in_place`.
    """
    canvas = picture if in_place else picture.copy(order="C")
    tint_work(canvas, work, scale, offset, cell_px)
    return canvas


def draw_caption(picture: Picture, text: str, *, in_place: bool = False) -> Picture:
    """Writes one line of text on a dark translucent strip along the lower edge.

    Args:
      picture: `(H, W, 3)` uint8 RGB.
      text: set smaller where it does not fit.
      in_place: changes `picture`, and returns it.

    Returns:
      `(H, W, 3)` uint8 picture, a new one unless `in_place`.
    """
    canvas = picture if in_place else picture.copy(order="C")
    write_caption(canvas, text)
    return canvas


def _line_px(picture: Picture) -> int:
    """Line width for the size of the picture."""
    shorter: int = min(picture.shape[0], picture.shape[1])
    return max(2, round(shorter / 300))
