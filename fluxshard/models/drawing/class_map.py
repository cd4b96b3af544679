"""Maps of classes as colours over a picture."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fluxshard.models.detections.mask_moves import Pair
from fluxshard.models.drawing.colours import Picture, colour_of
from fluxshard.models.drawing.heat_map import picture_of

_OF_CLASS = 0.5  # share of the colours over the picture


def draw_classes(canvas: Picture, labels: NDArray[Any], scale: Pair, offset: Pair, size: Pair) -> None:
    """Draws a map of classes over a picture; a class has the colour that `colour_of` gives its index.

    Args:
      canvas: `(H, W, 3)` uint8 RGB; changed.
      labels: `(h, w)` class indices of what the map describes; above 255 they share the colours of the first.
      scale, offset, size: see `draw_heat`.
    """
    steps = labels if labels.dtype == np.uint8 else (labels % 256).astype(np.uint8)
    colours = np.asarray([colour_of(index) for index in range(256)], np.uint8)
    drawn = picture_of(steps, colours, canvas.shape[:2], scale, offset, size, smooth=False)
    canvas[...] = np.asarray(Image.blend(Image.fromarray(canvas), drawn, _OF_CLASS))
