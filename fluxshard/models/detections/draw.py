"""Drawing of detections and of the recomputed area."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fluxshard.models.detections.detections import CroppedMask, Detections
from fluxshard.models.detections.mask_moves import Pair
from fluxshard.models.drawing.boxes import draw_box
from fluxshard.models.drawing.caption import write_caption
from fluxshard.models.drawing.colours import WORK as WORK
from fluxshard.models.drawing.colours import Picture as Picture
from fluxshard.models.drawing.colours import colour_of as colour_of
from fluxshard.models.drawing.colours import line_px, text_px
from fluxshard.models.drawing.labels import Label, draw_labels
from fluxshard.models.drawing.masks import tint_mask
from fluxshard.models.drawing.skeletons import draw_skeleton
from fluxshard.models.drawing.work import tint_work
from fluxshard.motion import CELL_PX


def draw_detections(
    picture: Picture,
    found: Detections,
    names: tuple[str, ...] = (),
    *,
    masks: Sequence[CroppedMask] | None = None,
    in_place: bool = False,
) -> Picture:
    """Draws masks, boxes, skeletons and labels.

    Objects with identities have a colour each, which they keep; others have that of their class. No label hides
    another: in a crowd some are shortened, and some are left out.

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
    colours = [colour_of(found.tone(index)) for index in range(len(found))]
    order = range(len(found))[::-1]  # the highest score is drawn last, on top
    for index in order:
        if found.masks is not None:
            mask = found.mask(index) if masks is None else masks[index]
            tint_mask(canvas, mask, colours[index])
    size = canvas.shape[0], canvas.shape[1]
    line = line_px(size)
    if found.keypoints is not None:
        for index in order:
            draw_skeleton(canvas, found.keypoints[index], line)
    labels = []
    for index in order:
        width = line if found.keypoints is None else max(line - 1, 1)
        box = draw_box(canvas, found.boxes[index], colours[index], width)
        class_index = int(found.classes[index])
        name = names[class_index] if 0 <= class_index < len(names) else str(class_index)
        identity = -1 if found.ids is None else int(found.ids[index])
        number = f"#{identity}" if identity >= 0 else ""
        score, gap = f"{found.scores[index]:.2f}", "  " if number else " "  # "#1 0.54" is read as "#10.54"
        full = gap.join(part for part in (" ".join(filter(None, (name, number))), score) if part)
        labels.append(Label(box, (full, number or name), colours[index]))
    draw_labels(canvas, labels, text_px(size), line)
    return canvas


def draw_work(
    picture: Picture,
    work: NDArray[np.float32],
    scale: Pair,
    offset: Pair,
    cell_px: int = CELL_PX,
    *,
    tinted: bool = True,
    in_place: bool = False,
) -> Picture:
    """Tints the recomputed area lightly, by its work, with a line around it; reused pixels keep their colour.

    Where all of the picture was recomputed there is only the line, along the picture's border.

    Args:
      picture: `(H, W, 3)` uint8 RGB.
      work: `(Hc, Wc)` float32 fraction of work per cell of the letterboxed image, 0..1.
      scale: (y, x) letterboxed pixels per picture pixel.
      offset: (y, x) position of the picture's upper left corner in the letterboxed image.
      cell_px: side of a cell in letterboxed pixels.
      tinted: False draws the line only, for pictures whose colours mean something.
      in_place: changes `picture`, which is contiguous then, and returns it.

    Returns:
      `(H, W, 3)` uint8 picture, a new one unless `in_place`.
    """
    canvas = picture if in_place else picture.copy(order="C")
    tint_work(canvas, work, scale, offset, cell_px, line_px((canvas.shape[0], canvas.shape[1])), tinted=tinted)
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
