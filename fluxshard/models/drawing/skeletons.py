"""Skeletons: limbs and keypoints."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from fluxshard.models.drawing.colours import Colour, Picture

DRAWN_KEYPOINT = 0.5  # smallest confidence of a drawn keypoint
# COCO's 17 keypoints: nose, eyes, ears, shoulders, elbows, wrists, hips, knees, ankles (left before right)
HEAD, LEFT, RIGHT, TRUNK = (255, 214, 92), (190, 130, 255), (255, 150, 70), (170, 235, 150)
COCO_LIMBS: tuple[tuple[int, int, Colour], ...] = (
    (0, 1, HEAD), (0, 2, HEAD), (1, 3, HEAD), (2, 4, HEAD),
    (5, 6, TRUNK), (5, 11, TRUNK), (6, 12, TRUNK), (11, 12, TRUNK),
    (5, 7, LEFT), (7, 9, LEFT), (11, 13, LEFT), (13, 15, LEFT),
    (6, 8, RIGHT), (8, 10, RIGHT), (12, 14, RIGHT), (14, 16, RIGHT),
)  # fmt: skip


def draw_skeleton(canvas: Picture, keypoints: NDArray[np.float32], line: int) -> None:
    """Draws limbs and keypoints, antialiased by supersampling twice per axis.

    Args:
      canvas: `(H, W, 3)` uint8 RGB; changed.
      keypoints: `(K, 2 or 3)` x, y in pixels and confidence.
      line: width of outlines in pixels.
    """
    seen = np.isfinite(keypoints[:, 0]) & np.isfinite(keypoints[:, 1])
    if keypoints.shape[1] > 2:
        seen &= keypoints[:, 2] >= DRAWN_KEYPOINT
    if not seen.any():
        return
    margin, size = 3 * line, canvas.shape[1::-1]
    low = np.floor(np.clip(keypoints[seen, :2].min(0) - margin, 0, size)).astype(int)
    high = np.ceil(np.clip(keypoints[seen, :2].max(0) + margin, 0, size)).astype(int)
    if (high <= low).any():
        return
    width, height = (high - low).tolist()
    layer = Image.new("RGBA", (2 * width, 2 * height))
    pen = ImageDraw.Draw(layer)
    points = [tuple(2 * (point - low)) for point in keypoints[:, :2].astype(np.float64)]
    if len(points) == 17:
        for a, b, colour in COCO_LIMBS:
            if seen[a] and seen[b]:
                pen.line((*points[a], *points[b]), fill=(*colour, 235), width=3 * line, joint="curve")
    for index in np.flatnonzero(seen).tolist():
        x, y = points[index]
        radius = 2.2 * line + 1
        pen.ellipse(
            (x - radius, y - radius, x + radius, y + radius), fill=(255, 255, 255, 255), outline=(30, 30, 30, 255)
        )
    layer = layer.reduce(2)
    part = canvas[low[1] : high[1], low[0] : high[0]]
    image = Image.fromarray(part)
    image.paste(layer, (0, 0), layer)
    part[...] = np.asarray(image)
