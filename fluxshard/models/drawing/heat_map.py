"""Maps of numbers as colours over a grey picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fluxshard.models.detections.mask_moves import Pair
from fluxshard.models.drawing.colours import Picture

_OF_HEAT = 0.62  # share of the colours over the grey picture
# dark blue, violet, red, orange, pale yellow: rising lightness, so that it is read without colour, too
_ANCHORS = ((8, 10, 40), (72, 18, 110), (150, 38, 112), (222, 74, 80), (250, 150, 70), (252, 248, 180))
_UNKNOWN = (110, 110, 110)  # values that are not finite


def heat_colours() -> NDArray[np.uint8]:
    """256 colours `(256, 3)`: the first for values that are not finite, the others from low to high."""
    at = np.linspace(0, len(_ANCHORS) - 1, 255)
    anchors = np.asarray(_ANCHORS, np.float64)
    ramp = np.stack([np.interp(at, np.arange(len(anchors)), anchors[:, channel]) for channel in range(3)], 1)
    return np.concatenate([np.asarray([_UNKNOWN]), ramp.round()]).astype(np.uint8)


def draw_heat(
    canvas: Picture, values: NDArray[np.float32], low: float, high: float, scale: Pair, offset: Pair, size: Pair
) -> None:
    """Draws a map over a picture, which becomes grey below it.

    Args:
      canvas: `(H, W, 3)` uint8 RGB; changed.
      values: `(h, w)` of what the map describes.
      low, high: values of the first and the last colour; others take the nearest.
      scale: (y, x) pixels of what the map describes per picture pixel.
      offset: (y, x) position of the picture's upper left corner in what the map describes.
      size: (H, W) of what the map describes, in its pixels.
    """
    spread = high - low
    with np.errstate(invalid="ignore", over="ignore"):
        steps = np.clip((values - low) * (254 / spread if spread > 0 else 0.0), 0, 254)
    steps = np.where(np.isfinite(values), steps + 1, 0).astype(np.uint8)
    colours = picture_of(steps, heat_colours(), canvas.shape[:2], scale, offset, size, smooth=True)
    grey = Image.fromarray(canvas).convert("L").convert("RGB")
    canvas[...] = np.asarray(Image.blend(grey, colours, _OF_HEAT))


def picture_of(
    steps: NDArray[np.uint8],
    colours: NDArray[np.uint8],
    shape: tuple[int, ...],
    scale: Pair,
    offset: Pair,
    size: Pair,
    *,
    smooth: bool,
) -> Image.Image:
    """A map of indices of colours, resampled to a picture.

    Args:
      steps: `(h, w)` uint8 indices.
      colours: `(N, 3)` uint8.
      shape: (H, W) of the picture.
      scale, offset, size: see `draw_heat`.
      smooth: between cells, indices are interpolated.
    """
    # (left, upper, right, lower) of the picture in cells of the map
    per_y, per_x = steps.shape[0] / size[0], steps.shape[1] / size[1]
    box = (
        max(offset[1] * per_x, 0.0),
        max(offset[0] * per_y, 0.0),
        min((offset[1] + shape[1] * scale[1]) * per_x, steps.shape[1]),
        min((offset[0] + shape[0] * scale[0]) * per_y, steps.shape[0]),
    )
    how = Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
    image = Image.fromarray(steps).resize((shape[1], shape[0]), how, box=box)
    image.putpalette(colours.tobytes())
    return image.convert("RGB")
